//! Requests signed by AWS's own library verify here, whatever their path, query, headers and body; and no longer when
//! anything that is signed changes.

use bytes::Bytes;
use http::Request;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;
use crate::testing::{Keys, in_header, in_query, of_s3, signed};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn keys() -> Keys {
    Keys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: SECRET.to_owned(),
        session_token: Some("tok/en+=".to_owned()),
    }
}

fn now() -> Timestamp {
    "2026-11-24T00:18:30Z".parse().unwrap()
}

fn verifies(request: &Request<Bytes>, mode: PathMode, payload_hash: &str) -> bool {
    let (parts, _) = request.clone().into_parts();
    let view = RequestView::of(&parts);
    let claim = Authentication::of(&view).unwrap().unwrap();
    assert_eq!(claim.session_token.as_deref(), Some("tok/en+="));
    claim.verify(&view, mode, payload_hash, SECRET).is_ok()
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn request(path: &[String], query: &[(String, String)], header: &str, body: &[u8]) -> Request<Bytes> {
    let path: Vec<String> = path.iter().map(|segment| escape(segment)).collect();
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    Request::post(format!(
        "https://b.example.amazonaws.com/{}?{}",
        path.join("/"),
        query.join("&")
    ))
    .header("x-test", header)
    .header("content-type", "text/plain")
    .body(Bytes::copy_from_slice(body))
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn header_signatures_verify(
        path in proptest::collection::vec("[ -~é]{1,6}", 0..4),
        query in proptest::collection::vec(("[ -~é]{1,6}", "[ -~é]{0,6}"), 0..4),
        header in "[!-~]([ -~]{0,10}[!-~])?",
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let path: Vec<String> = path.into_iter().filter(|segment| segment != "." && segment != "..").collect();
        let request = request(&path, &query, &header, &body);
        let hash = sha256_hex(&body);
        let good = signed(request, &keys(), "us-west-2", "sts", now(), in_header());
        prop_assert!(verifies(&good, PathMode::Normalized, &hash));
        prop_assert!(!verifies(&good, PathMode::Normalized, &sha256_hex(b"another body, longer than any")));
        let mut changed = good.clone();
        changed.headers_mut().insert("x-test", "something else entirely".parse().unwrap());
        prop_assert!(!verifies(&changed, PathMode::Normalized, &hash));
    }

    #[test]
    fn s3_signatures_verify(
        path in proptest::collection::vec("[ -~é]{0,6}", 0..4),
        query in proptest::collection::vec(("[ -~é]{1,6}", "[ -~é]{0,6}"), 0..3),
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let request = request(&path, &query, "x", &body);
        let good = signed(request, &keys(), "us-west-2", "s3", now(), of_s3());
        prop_assert!(verifies(&good, PathMode::AsSent, &sha256_hex(&body)));
    }

    #[test]
    fn query_signatures_verify(
        query in proptest::collection::vec(("[ -~é]{1,6}", "[ -~é]{0,6}"), 0..4),
    ) {
        let request = request(&[], &query, "x", b"");
        let good = signed(request, &keys(), "us-west-2", "sts", now(), in_query(60));
        prop_assert!(verifies(&good, PathMode::Normalized, &sha256_hex(b"")));
    }

    #[test]
    fn any_header_and_query_are_read_without_panic(header in "\\PC{0,80}", query in "[!-~]{0,80}") {
        let mut headers = http::HeaderMap::new();
        if let Ok(value) = http::HeaderValue::from_str(&format!("AWS4-HMAC-SHA256 {header}")) {
            headers.insert("authorization", value);
        }
        for query in [query.clone(), format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}")] {
            let view = RequestView { method: "GET", path: "/", query: &query, headers: &headers, authority: None };
            if let Ok(Some(claim)) = Authentication::of(&view) {
                let _ = claim.verify(&view, PathMode::Normalized, "", SECRET);
            }
            let _ = v2::QueryAuthentication::of(&view);
        }
    }
}
