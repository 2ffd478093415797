//! Any `Authorization` header, any query, any chunked body: read or refused; and nothing verifies with a secret that
//! nobody had.
#![no_main]

use http::{HeaderMap, HeaderValue};
use irsa_sts::sigv4::{Authentication, PathMode, RequestView, chunked, v2};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &str, &str, &[u8])| {
    let (path, query, authorization, body) = data;
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("sts.us-west-2.amazonaws.com"));
    headers.insert("x-amz-date", HeaderValue::from_static("20261124T001830Z"));
    if let Ok(value) = HeaderValue::from_str(authorization) {
        headers.insert("authorization", value);
    }
    let request = RequestView { method: "GET", path, query, headers: &headers, authority: None };
    if let Ok(Some(claim)) = Authentication::of(&request) {
        for mode in [PathMode::AsSent, PathMode::Normalized] {
            assert!(claim.verify(&request, mode, "UNSIGNED-PAYLOAD", "a secret that nobody had").is_err());
        }
        let _ = claim.unsigned_amz_headers(&request);
    }
    if let Ok(Some(claim)) = v2::QueryAuthentication::of(&request) {
        assert!(claim.verify(&request, "/bucket", "a secret that nobody had").is_err());
    }
    for trailer in [false, true] {
        if let Ok(decoded) = chunked::decode(body, None, trailer) {
            assert!(decoded.content.len() < body.len());
        }
    }
});
