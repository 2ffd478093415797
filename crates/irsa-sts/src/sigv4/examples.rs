//! AWS's own examples: the signing test suite, the general documentation, and S3's. Each with its intermediate strings
//! where they are published.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::canonical::{canonical_request, string_to_sign};
use super::*;

const SUITE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const S3_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

/// One case of the signing test suite: service `service` in us-east-1 at 20150830T123600Z.
fn suite(
    method: &str,
    path: &str,
    query: &str,
    extra: &[(&str, &str)],
    signed: &str,
    body: &[u8],
    signature: &str,
) -> String {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, \
         Signature={signature}"
    );
    let mut all = vec![
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("authorization", authorization.as_str()),
    ];
    all.extend_from_slice(extra);
    let headers = headers(&all);
    let request = RequestView {
        method,
        path,
        query,
        headers: &headers,
        authority: None,
    };
    let claim = Authentication::of(&request).unwrap().unwrap();
    match claim.verify(&request, PathMode::Normalized, &sha256_hex(body), SUITE_SECRET) {
        Ok(verified) => verified.canonical_request,
        Err(mismatch) => panic!("{}\n\n{}", mismatch.canonical_request, mismatch.string_to_sign),
    }
}

#[test]
fn get_vanilla() {
    let canonical = suite(
        "GET",
        "/",
        "",
        &[],
        "host;x-amz-date",
        b"",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    );
    assert_eq!(
        canonical,
        format!(
            "GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n{EMPTY_HASH}"
        )
    );
    assert_eq!(
        sha256_hex(canonical.as_bytes()),
        "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63"
    );
}

#[test]
fn post_vanilla() {
    suite(
        "POST",
        "/",
        "",
        &[],
        "host;x-amz-date",
        b"",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    );
}

#[test]
fn get_vanilla_query_order_key_case() {
    suite(
        "GET",
        "/",
        "Param2=value2&Param1=value1",
        &[],
        "host;x-amz-date",
        b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    );
}

#[test]
fn get_vanilla_empty_query_key() {
    suite(
        "GET",
        "/",
        "Param1=value1",
        &[],
        "host;x-amz-date",
        b"",
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    );
}

#[test]
fn get_vanilla_query_unreserved() {
    let all = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    suite(
        "GET",
        "/",
        &format!("{all}={all}"),
        &[],
        "host;x-amz-date",
        b"",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    );
}

#[test]
fn get_unreserved() {
    suite(
        "GET",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "",
        &[],
        "host;x-amz-date",
        b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    );
}

#[test]
fn get_utf8_and_get_space() {
    suite(
        "GET",
        "/ሴ",
        "",
        &[],
        "host;x-amz-date",
        b"",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    );
    suite(
        "GET",
        "/example space/",
        "",
        &[],
        "host;x-amz-date",
        b"",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    );
}

#[test]
fn paths_are_normalized() {
    for path in ["/", "//", "/./", "/example/..", "/example1/example2/../.."] {
        suite(
            "GET",
            path,
            "",
            &[],
            "host;x-amz-date",
            b"",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        );
    }
}

#[test]
fn get_header_key_duplicate() {
    let canonical = suite(
        "GET",
        "/",
        "",
        &[
            ("My-Header1", "value2"),
            ("My-Header1", "value2"),
            ("My-Header1", "value1"),
        ],
        "host;my-header1;x-amz-date",
        b"",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    );
    assert!(canonical.contains("\nmy-header1:value2,value2,value1\n"));
}

#[test]
fn get_header_value_order() {
    suite(
        "GET",
        "/",
        "",
        &[
            ("My-Header1", "value4"),
            ("My-Header1", "value1"),
            ("My-Header1", "value3"),
            ("My-Header1", "value2"),
        ],
        "host;my-header1;x-amz-date",
        b"",
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    );
}

#[test]
fn get_header_value_trim() {
    let canonical = suite(
        "GET",
        "/",
        "",
        &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
        "host;my-header1;my-header2;x-amz-date",
        b"",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    );
    assert!(canonical.contains("\nmy-header2:\"a b c\"\n"));
}

#[test]
fn post_header_key_sort() {
    suite(
        "POST",
        "/",
        "",
        &[("My-Header1", "value1")],
        "host;my-header1;x-amz-date",
        b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    );
}

#[test]
fn post_x_www_form_urlencoded() {
    suite(
        "POST",
        "/",
        "",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        "content-type;host;x-amz-date",
        b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    );
}

/// The example that the general documentation goes through step by step.
#[test]
fn list_users_of_iam() {
    let headers = headers(&[
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ]);
    let request = RequestView {
        method: "GET",
        path: "/",
        query: "Action=ListUsers&Version=2010-05-08",
        headers: &headers,
        authority: None,
    };
    let claim = Authentication::of(&request).unwrap().unwrap();
    let verified = claim
        .verify(&request, PathMode::Normalized, EMPTY_HASH, SUITE_SECRET)
        .unwrap();
    assert_eq!(
        verified.canonical_request,
        format!(
            "GET\n/\nAction=ListUsers&Version=2010-05-08\ncontent-type:application/x-www-form-urlencoded; \
             charset=utf-8\nhost:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\ncontent-type;host;x-amz-date\n\
             {EMPTY_HASH}"
        )
    );
    assert_eq!(
        verified.string_to_sign,
        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
         f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    );
}

/// One example of the S3 documentation: bucket `examplebucket` at 20130524T000000Z.
fn s3(
    method: &str,
    path: &str,
    query: &str,
    extra: &[(&str, &str)],
    signed: &str,
    hash: &str,
    signature: &str,
) {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={signature}"
    );
    let mut all = vec![
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-content-sha256", hash),
        ("x-amz-date", "20130524T000000Z"),
        ("authorization", authorization.as_str()),
    ];
    all.extend_from_slice(extra);
    let headers = headers(&all);
    let request = RequestView {
        method,
        path,
        query,
        headers: &headers,
        authority: None,
    };
    let claim = Authentication::of(&request).unwrap().unwrap();
    if let Err(mismatch) = claim.verify(&request, PathMode::AsSent, hash, S3_SECRET) {
        panic!("{}\n\n{}", mismatch.canonical_request, mismatch.string_to_sign);
    }
}

#[test]
fn s3_get_object_with_range() {
    s3(
        "GET",
        "/test.txt",
        "",
        &[("range", "bytes=0-9")],
        "host;range;x-amz-content-sha256;x-amz-date",
        EMPTY_HASH,
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
}

#[test]
fn s3_put_object_keeps_the_path_as_sent() {
    s3(
        "PUT",
        "/test%24file.text",
        "",
        &[
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ],
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        &sha256_hex(b"Welcome to Amazon S3."),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
}

#[test]
fn s3_get_bucket_lifecycle() {
    s3(
        "GET",
        "/",
        "lifecycle",
        &[],
        "host;x-amz-content-sha256;x-amz-date",
        EMPTY_HASH,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
}

#[test]
fn s3_list_objects() {
    s3(
        "GET",
        "/",
        "max-keys=2&prefix=J",
        &[],
        "host;x-amz-content-sha256;x-amz-date",
        EMPTY_HASH,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
}

#[test]
fn s3_presigned_url() {
    let headers = headers(&[("host", "examplebucket.s3.amazonaws.com")]);
    let request = RequestView {
        method: "GET",
        path: "/test.txt",
        query: "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F\
                aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&\
                X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        headers: &headers,
        authority: None,
    };
    let claim = Authentication::of(&request).unwrap().unwrap();
    assert_eq!(claim.location, Location::Query);
    assert_eq!(claim.expires.as_deref(), Some("86400"));
    let verified = claim
        .verify(&request, PathMode::AsSent, UNSIGNED_PAYLOAD, S3_SECRET)
        .unwrap();
    assert_eq!(
        verified.canonical_request,
        "GET\n/test.txt\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1\
         %2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\n\
         host:examplebucket.s3.amazonaws.com\n\nhost\nUNSIGNED-PAYLOAD"
    );
    assert_eq!(
        verified.string_to_sign,
        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n\
         3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04"
    );
}

#[test]
fn s3_does_not_normalize_or_encode_again() {
    let headers = headers(&[("host", "b.s3.amazonaws.com")]);
    let request = RequestView {
        method: "GET",
        path: "/a%20b//../%C3%A9%2Bx%3D~%281%29.txt",
        query: "",
        headers: &headers,
        authority: None,
    };
    let signed = ["host".to_owned()];
    let canonical = canonical_request(
        &request,
        PathMode::AsSent,
        Location::Query,
        &signed,
        UNSIGNED_PAYLOAD,
    );
    assert!(canonical.starts_with("GET\n/a%20b//../%C3%A9%2Bx%3D~%281%29.txt\n\n"));
}

#[test]
fn the_authority_stands_for_the_host_header_on_http_2() {
    let headers = HeaderMap::new();
    let request = RequestView {
        method: "GET",
        path: "/",
        query: "",
        headers: &headers,
        authority: Some("sts.us-west-2.amazonaws.com"),
    };
    let signed = ["host".to_owned()];
    let canonical = canonical_request(
        &request,
        PathMode::Normalized,
        Location::Header,
        &signed,
        EMPTY_HASH,
    );
    assert!(canonical.contains("\nhost:sts.us-west-2.amazonaws.com\n"));
    let scope = CredentialScope::parse("A/20150830/us-west-2/sts/aws4_request").unwrap();
    let date = AmzDate::from("2015-08-30T12:36:00Z".parse::<Timestamp>().unwrap());
    assert!(string_to_sign(date, &scope, &canonical).contains("\n20150830/us-west-2/sts/aws4_request\n"));
}

#[test]
fn a_signed_header_that_is_not_there_never_matches() {
    let scope = CredentialScope::parse("AKIDEXAMPLE/20150830/us-east-1/service/aws4_request").unwrap();
    let base = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    let unsigned = headers(&base);
    let request = RequestView {
        method: "GET",
        path: "/",
        query: "",
        headers: &unsigned,
        authority: None,
    };
    let signed: Vec<String> = ["host", "x-absent", "x-amz-date"].map(str::to_owned).into();
    let canonical = canonical_request(
        &request,
        PathMode::Normalized,
        Location::Header,
        &signed,
        EMPTY_HASH,
    );
    let date = AmzDate::parse("20150830T123600Z").unwrap();
    let signature = SigningKey::derive(SUITE_SECRET, &scope)
        .sign(string_to_sign(date, &scope, &canonical).as_bytes())
        .to_hex();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-absent;x-amz-date, Signature={signature}"
    );
    let mut all = base.to_vec();
    all.push(("authorization", &authorization));
    let with = headers(&all);
    let request = RequestView {
        headers: &with,
        ..request
    };
    let claim = Authentication::of(&request).unwrap().unwrap();
    assert!(
        claim
            .verify(&request, PathMode::Normalized, EMPTY_HASH, SUITE_SECRET)
            .is_err()
    );
}
