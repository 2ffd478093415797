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

/// A signed request of an example. `expect` is a part of its canonical request, where one is worth looking at.
#[derive(Default)]
struct Example<'a> {
    name: &'a str,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: &'a [(&'a str, &'a str)],
    signed: &'a str,
    body: &'a [u8],
    signature: &'a str,
    expect: &'a str,
}

/// The service, day and key of a set of examples.
struct Setting {
    scope: &'static str,
    date: &'static str,
    host: &'static str,
    secret: &'static str,
    mode: PathMode,
}

impl Example<'_> {
    #[track_caller]
    fn check(&self, setting: &Setting) {
        let hash = sha256_hex(self.body);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={}",
            setting.scope, self.signed, self.signature
        );
        let mut all = vec![
            ("host", setting.host),
            ("x-amz-date", setting.date),
            ("authorization", authorization.as_str()),
        ];
        if setting.mode == PathMode::AsSent {
            all.push(("x-amz-content-sha256", &hash));
        }
        all.extend_from_slice(self.headers);
        let headers = headers(&all);
        let request = RequestView {
            method: self.method,
            path: self.path,
            query: self.query,
            headers: &headers,
            authority: None,
        };
        let claim = Authentication::of(&request).unwrap().unwrap();
        match claim.verify(&request, setting.mode, &hash, setting.secret) {
            Ok(verified) => assert!(
                verified.canonical_request.contains(self.expect),
                "{}: {}",
                self.name,
                verified.canonical_request
            ),
            Err(mismatch) => panic!(
                "{}: {}\n\n{}",
                self.name, mismatch.canonical_request, mismatch.string_to_sign
            ),
        }
    }
}

/// A case of the suite that signs `host` and `x-amz-date` of a GET.
fn get<'a>(name: &'a str, path: &'a str, query: &'a str, signature: &'a str) -> Example<'a> {
    Example {
        name,
        method: "GET",
        path,
        query,
        signed: "host;x-amz-date",
        signature,
        ..Example::default()
    }
}

#[test]
fn the_signing_test_suite_verifies() {
    const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let setting = Setting {
        scope: "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request",
        date: "20150830T123600Z",
        host: "example.amazonaws.com",
        secret: SUITE_SECRET,
        mode: PathMode::Normalized,
    };
    let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let (path, query) = (format!("/{unreserved}"), format!("{unreserved}={unreserved}"));
    for path in ["/", "//", "/./", "/example/..", "/example1/example2/../.."] {
        get("normalize-path", path, "", VANILLA).check(&setting);
    }
    let post = Example {
        method: "POST",
        ..get(
            "post-vanilla",
            "/",
            "",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        )
    };
    for example in [
        Example {
            expect: "GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n\
                     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ..get("get-vanilla", "/", "", VANILLA)
        },
        get(
            "get-vanilla-query-order-key-case",
            "/",
            "Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        get(
            "get-vanilla-empty-query-key",
            "/",
            "Param1=value1",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        get(
            "get-vanilla-query-unreserved",
            "/",
            &query,
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        get(
            "get-unreserved",
            &path,
            "",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        get(
            "get-utf8",
            "/ሴ",
            "",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        get(
            "get-space",
            "/example space/",
            "",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
        Example {
            headers: &[
                ("My-Header1", "value2"),
                ("My-Header1", "value2"),
                ("My-Header1", "value1"),
            ],
            signed: "host;my-header1;x-amz-date",
            expect: "\nmy-header1:value2,value2,value1\n",
            ..get(
                "get-header-key-duplicate",
                "/",
                "",
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            )
        },
        Example {
            headers: &[
                ("My-Header1", "value4"),
                ("My-Header1", "value1"),
                ("My-Header1", "value3"),
                ("My-Header1", "value2"),
            ],
            signed: "host;my-header1;x-amz-date",
            ..get(
                "get-header-value-order",
                "/",
                "",
                "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
            )
        },
        Example {
            headers: &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
            signed: "host;my-header1;my-header2;x-amz-date",
            expect: "\nmy-header2:\"a b c\"\n",
            ..get(
                "get-header-value-trim",
                "/",
                "",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            )
        },
        Example {
            name: "post-header-key-sort",
            headers: &[("My-Header1", "value1")],
            signed: "host;my-header1;x-amz-date",
            signature: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ..post
        },
        Example {
            name: "post-x-www-form-urlencoded",
            headers: &[("Content-Type", "application/x-www-form-urlencoded")],
            signed: "content-type;host;x-amz-date",
            body: b"Param1=value1",
            signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ..post
        },
        post,
    ] {
        example.check(&setting);
    }
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

#[test]
fn the_examples_of_the_s3_documentation_verify() {
    let setting = Setting {
        scope: "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
        date: "20130524T000000Z",
        host: "examplebucket.s3.amazonaws.com",
        secret: S3_SECRET,
        mode: PathMode::AsSent,
    };
    for example in [
        Example {
            headers: &[("range", "bytes=0-9")],
            signed: "host;range;x-amz-content-sha256;x-amz-date",
            ..get(
                "GET object with a range",
                "/test.txt",
                "",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            )
        },
        Example {
            method: "PUT",
            headers: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            signed: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            body: b"Welcome to Amazon S3.",
            ..get(
                "PUT object",
                "/test%24file.text",
                "",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            )
        },
        Example {
            signed: "host;x-amz-content-sha256;x-amz-date",
            ..get(
                "GET bucket lifecycle",
                "/",
                "lifecycle",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            )
        },
        Example {
            signed: "host;x-amz-content-sha256;x-amz-date",
            ..get(
                "GET bucket (list objects)",
                "/",
                "max-keys=2&prefix=J",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            )
        },
    ] {
        example.check(&setting);
    }
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
