//! S3 as a client meets it: signed requests and presigned URLs, in every addressing form, right and wrong.
//!
//! The signer here is made of the verifier's own parts; that they agree with the signers of SDKs is shown where real
//! SDKs call the lab.

use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;
use crate::config::{Account, Bucket, Config, User};
use crate::events::EventLog;
use crate::sigv4::{Authentication, PathMode, SigningKey, sha256_hex};
use crate::xml::S3_NAMESPACE;
use crate::{Aws, Clock};

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const OTHER_KEY: &str = "AKIAIOSFODNN7STRANGER";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const NOW: &str = "2026-11-24T00:18:30Z";
const DATE: &str = "20261124T001830Z";

struct World {
    aws: Aws,
    log: Arc<EventLog>,
}

/// What came back.
#[derive(Debug)]
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    /// The text of the first element of that name.
    fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }

    fn code(&self) -> &str {
        self.element("Code").unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn world() -> World {
    let log = Arc::new(EventLog::default());
    let user = |key: &str| User {
        name: "u".to_owned(),
        path: "/".to_owned(),
        root: false,
        access_key_id: key.to_owned(),
        secret_access_key: SECRET.to_owned(),
    };
    let mut account = Account::new("111122223333");
    account.users.push(user(KEY));
    for (name, region) in [
        ("east", "us-east-1"),
        ("bucket", "us-west-2"),
        ("frankfurt", "eu-central-1"),
        ("hongkong", "ap-east-1"),
        ("my.dotted.bucket", "us-west-2"),
    ] {
        account.buckets.push(Bucket {
            name: name.to_owned(),
            region: region.to_owned(),
        });
    }
    let mut stranger = Account::new("444455556666");
    stranger.users.push(user(OTHER_KEY));
    let aws = Aws::new(Config {
        accounts: vec![account, stranger],
        clock: Clock::new(|| NOW.parse().unwrap()),
        events: Some(log.clone()),
        ..Config::default()
    })
    .unwrap();
    World { aws, log }
}

impl World {
    async fn send(&self, host: &str, request: http::Request<Bytes>) -> Seen {
        let connection = Connection::to(host).with_tls("TLSv1.3", "TLS_AES_128_GCM_SHA256");
        let response = self.aws.handle(request, &connection).await;
        let (parts, body) = response.into_parts();
        Seen {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// A request signed in its header.
    async fn signed(&self, method: &str, host: &str, target: &str, region: &str, body: &str) -> Seen {
        self.signed_with(method, host, target, region, body, &[]).await
    }

    async fn signed_with(
        &self,
        method: &str,
        host: &str,
        target: &str,
        region: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Seen {
        let hash = headers
            .iter()
            .find(|(name, _)| *name == "x-amz-content-sha256")
            .map_or_else(|| sha256_hex(body.as_bytes()), |(_, value)| (*value).to_owned());
        let mut request = http::Request::builder()
            .method(method)
            .uri(target)
            .header("host", host)
            .header("x-amz-date", DATE)
            .header("x-amz-content-sha256", &hash);
        let mut names = vec!["host", "x-amz-content-sha256", "x-amz-date"];
        for (name, value) in headers {
            if *name != "x-amz-content-sha256" {
                request = request.header(*name, *value);
                names.push(name);
            }
        }
        names.sort_unstable();
        let mut request = request.body(Bytes::from(body.to_owned())).unwrap();
        let authorization = |signature: &str| {
            let scope = format!("{KEY}/20261124/{region}/s3/aws4_request");
            let names = names.join(";");
            HeaderValue::try_from(format!(
                "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}"
            ))
            .unwrap()
        };
        request
            .headers_mut()
            .insert("authorization", authorization(&"0".repeat(64)));
        let signature = signature_of(&request, &hash);
        request
            .headers_mut()
            .insert("authorization", authorization(&signature));
        self.send(host, request).await
    }

    async fn presigned(&self, host: &str, path: &str, region: &str) -> Seen {
        self.send(host, presigned(KEY, host, path, region, DATE, "900", ""))
            .await
    }
}

/// The signature that a request should have, from what the verifier would have signed.
fn signature_of(request: &http::Request<Bytes>, payload_hash: &str) -> String {
    let (parts, _) = request.clone().into_parts();
    let view = RequestView::of(&parts);
    let claim = Authentication::of(&view).unwrap().unwrap();
    let mismatch = claim
        .verify(&view, PathMode::AsSent, payload_hash, SECRET)
        .unwrap_err();
    SigningKey::derive(SECRET, &claim.scope)
        .sign(mismatch.string_to_sign.as_bytes())
        .to_hex()
}

fn presigned(
    key: &str,
    host: &str,
    path: &str,
    region: &str,
    date: &str,
    expires: &str,
    more: &str,
) -> http::Request<Bytes> {
    let day = &date[..8];
    let query = |signature: &str| {
        format!(
            "{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={key}%2F{day}%2F{region}%2Fs3%2Faws4_request\
             &X-Amz-Date={date}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host{more}&X-Amz-Signature={signature}"
        )
    };
    let request = |signature: &str| {
        http::Request::get(query(signature))
            .header("host", host)
            .body(Bytes::new())
            .unwrap()
    };
    let signature = signature_of(&request(&"0".repeat(64)), "UNSIGNED-PAYLOAD");
    request(&signature)
}

/// A URL presigned with version 2, as boto3 makes it by default.
fn presigned_v2(host: &str, path: &str, resource: &str, expires: i64) -> http::Request<Bytes> {
    let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("GET\n\n\n{expires}\n{resource}").as_bytes());
    let signature = STANDARD.encode(tag);
    let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
    http::Request::get(format!(
        "{path}?AWSAccessKeyId={KEY}&Signature={signature}&Expires={expires}"
    ))
    .header("host", host)
    .body(Bytes::new())
    .unwrap()
}

const REGIONAL: &str = "bucket.s3.us-west-2.amazonaws.com";
const GLOBAL: &str = "bucket.s3.amazonaws.com";

async fn with_object() -> World {
    let world = world();
    let seen = world.signed("PUT", REGIONAL, "/path", "us-west-2", "hello").await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.body);
    world
}

#[tokio::test]
async fn an_object_is_put_listed_read_and_deleted_in_every_addressing_form() {
    let world = world();
    for (host, prefix) in [
        (REGIONAL, ""),
        (GLOBAL, ""),
        ("bucket.s3.dualstack.us-west-2.amazonaws.com", ""),
        ("s3.us-west-2.amazonaws.com", "/bucket"),
        ("s3.dualstack.us-west-2.amazonaws.com", "/bucket"),
    ] {
        let object = format!("{prefix}/a/b%20c");
        let put = world.signed("PUT", host, &object, "us-west-2", "hello").await;
        assert_eq!(put.status, StatusCode::OK, "{host}: {}", put.body);
        assert_eq!(put.header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
        let list = format!("{prefix}/?list-type=2&prefix=a%2F");
        let list = world.signed("GET", host, &list, "us-west-2", "").await;
        assert_eq!(list.element("Key"), Some("a/b c"), "{host}");
        assert_eq!(list.element("Size"), Some("5"));
        let get = world.signed("GET", host, &object, "us-west-2", "").await;
        assert_eq!(get.body, "hello");
        let head = world.signed("HEAD", host, &object, "us-west-2", "").await;
        assert_eq!((head.header("content-length"), head.body.as_str()), ("5", ""));
        let delete = world.signed("DELETE", host, &object, "us-west-2", "").await;
        assert_eq!(delete.status, StatusCode::NO_CONTENT);
        let gone = world.signed("GET", host, &object, "us-west-2", "").await;
        assert_eq!((gone.status, gone.code()), (StatusCode::NOT_FOUND, "NoSuchKey"));
    }
}

#[tokio::test]
async fn presigned_urls_of_both_forms_verify_with_the_buckets_region_in_their_scope() {
    let world = with_object().await;
    for host in [REGIONAL, GLOBAL] {
        let seen = world.presigned(host, "/path", "us-west-2").await;
        assert_eq!(
            (seen.status, seen.body.as_str()),
            (StatusCode::OK, "hello"),
            "{host}"
        );
    }
    let path_style = world
        .presigned("s3.us-west-2.amazonaws.com", "/bucket/path", "us-west-2")
        .await;
    assert_eq!(path_style.body, "hello");
}

#[tokio::test]
async fn another_region_in_the_scope_is_refused_and_the_right_one_is_told() {
    let world = with_object().await;
    let seen = world.presigned(GLOBAL, "/path", "us-east-1").await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError")
    );
    assert_eq!(
        seen.element("Message"),
        Some(
            "Error parsing the X-Amz-Credential parameter; the region 'us-east-1' is wrong; expecting \
             'us-west-2'"
        )
    );
    assert_eq!(seen.element("Region"), Some("us-west-2"));
    assert_eq!(seen.header("x-amz-bucket-region"), "us-west-2");
    assert_eq!(seen.header("content-type"), "application/xml");
    assert!(
        seen.body
            .starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>")
    );

    let seen = world.signed("GET", GLOBAL, "/path", "us-east-1", "").await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed")
    );
    assert!(seen.body.contains(
        "The authorization header is malformed; the region 'us-east-1' is wrong; expecting \
         'us-west-2'"
    ));
}

#[tokio::test]
async fn the_wrong_regional_host_redirects_and_names_the_right_one() {
    let world = with_object().await;
    let host = "bucket.s3.eu-west-1.amazonaws.com";
    let seen = world.presigned(host, "/path", "eu-west-1").await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::MOVED_PERMANENTLY, "PermanentRedirect")
    );
    assert_eq!(seen.element("Endpoint"), Some(REGIONAL));
    assert_eq!(seen.element("Bucket"), Some("bucket"));
    assert_eq!(seen.header("x-amz-bucket-region"), "us-west-2");
}

#[tokio::test]
async fn a_region_that_must_be_enabled_is_not_redirected_to() {
    let world = world();
    let seen = world
        .presigned("hongkong.s3.amazonaws.com", "/path", "us-east-1")
        .await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::BAD_REQUEST, "IllegalLocationConstraintException")
    );
    let regional = "hongkong.s3.ap-east-1.amazonaws.com";
    let seen = world.presigned(regional, "/path", "ap-east-1").await;
    assert_eq!(seen.code(), "NoSuchKey");
}

#[tokio::test]
async fn while_dns_is_behind_the_global_name_redirects_with_the_same_query() {
    let world = with_object().await;
    world.aws.set_redirects_new_buckets(true);
    let request = presigned(KEY, GLOBAL, "/path", "us-west-2", DATE, "900", "");
    let target = request.uri().to_string();
    let seen = world.send(GLOBAL, request).await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::TEMPORARY_REDIRECT, "TemporaryRedirect")
    );
    assert_eq!(seen.header("location"), format!("https://{REGIONAL}{target}"));
    // A client that follows meets its own signature for another host.
    let followed = http::Request::get(target)
        .header("host", REGIONAL)
        .body(Bytes::new())
        .unwrap();
    assert_eq!(
        world.send(REGIONAL, followed).await.code(),
        "SignatureDoesNotMatch"
    );
}

#[tokio::test]
async fn presigned_urls_are_valid_from_their_date_until_they_expire() {
    let world = with_object().await;
    let send = async |date: &str, expires: &str| {
        let request = presigned(KEY, REGIONAL, "/path", "us-west-2", date, expires, "");
        world.send(REGIONAL, request).await
    };
    // There is no limit of 15 minutes to the past.
    assert_eq!(send("20261123T230000Z", "4710").await.body, "hello");
    let seen = send("20261123T230000Z", "4709").await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::FORBIDDEN, "AccessDenied")
    );
    assert_eq!(seen.element("Message"), Some("Request has expired"));
    assert_eq!(seen.element("X-Amz-Expires"), Some("4709"));
    assert_eq!(seen.element("Expires"), Some("2026-11-24T00:18:29Z"));
    assert_eq!(seen.element("ServerTime"), Some(NOW));
    assert_eq!(
        send("20261124T010000Z", "60").await.element("Message"),
        Some("Request is not yet valid")
    );
    for (expires, text) in [
        ("604801", "X-Amz-Expires must be less than a week (in seconds)"),
        ("-1", "X-Amz-Expires must be non-negative"),
        ("soon", "X-Amz-Expires should be a number"),
        ("", "Query-string authentication version 4 requires"),
    ] {
        let seen = send(DATE, expires).await;
        assert_eq!(seen.code(), "AuthorizationQueryParametersError");
        assert!(seen.body.contains(text), "{expires}: {}", seen.body);
    }
}

#[tokio::test]
async fn the_scope_must_be_one_of_s3_and_of_the_day() {
    let world = with_object().await;
    let good = presigned(KEY, REGIONAL, "/path", "us-west-2", DATE, "900", "");
    for (from, to, text) in [
        (
            "%2Fs3%2F",
            "%2Fsts%2F",
            "incorrect service &quot;sts&quot;. This endpoint belongs to &quot;s3&quot;.",
        ),
        (
            "aws4_request",
            "aws3",
            "incorrect terminal &quot;aws3&quot;. This endpoint uses &quot;aws4_request&quot;.",
        ),
        (
            "%2F20261124%2F",
            "%2F20261123%2F",
            "Invalid credential date &quot;20261123&quot;. This date is not the same as X-Amz-Date: \
             &quot;20261124T001830Z&quot;.",
        ),
        (
            "X-Amz-Date=20261124T001830Z",
            "X-Amz-Date=now",
            "X-Amz-Date must be in the ISO8601 Long Format &quot;yyyyMMdd'T'HHmmss'Z'&quot;",
        ),
        (
            "&X-Amz-SignedHeaders=host",
            "",
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
             X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ),
    ] {
        let target = good.uri().to_string().replace(from, to);
        let request = http::Request::get(target)
            .header("host", REGIONAL)
            .body(Bytes::new())
            .unwrap();
        let seen = world.send(REGIONAL, request).await;
        assert_eq!(seen.code(), "AuthorizationQueryParametersError", "{to}");
        assert!(seen.body.contains(text), "{to}: {}", seen.body);
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_with_what_the_server_would_have_signed() {
    let world = with_object().await;
    let good = presigned(KEY, REGIONAL, "/path", "us-west-2", DATE, "900", "");
    let target = good.uri().to_string().replace("/path?", "/other?");
    let request = http::Request::get(target)
        .header("host", REGIONAL)
        .body(Bytes::new())
        .unwrap();
    let seen = world.send(REGIONAL, request).await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::FORBIDDEN, "SignatureDoesNotMatch")
    );
    assert_eq!(seen.element("AWSAccessKeyId"), Some(KEY));
    assert!(
        seen.element("StringToSign")
            .unwrap()
            .starts_with("AWS4-HMAC-SHA256\n20261124T001830Z\n")
    );
    assert!(
        seen.element("CanonicalRequest")
            .unwrap()
            .starts_with("GET\n/other\n")
    );
    assert!(
        seen.element("CanonicalRequestBytes")
            .unwrap()
            .starts_with("47 45 54 0a")
    );
    assert!(!seen.body.contains(SECRET));
}

#[tokio::test]
async fn boto3s_default_url_of_version_2_is_taken_where_aws_takes_it() {
    let world = with_object().await;
    let expires = NOW.parse::<Timestamp>().unwrap().as_second() + 60;
    let seen = world
        .send(GLOBAL, presigned_v2(GLOBAL, "/path", "/bucket/path", expires))
        .await;
    assert_eq!((seen.status, seen.body.as_str()), (StatusCode::OK, "hello"));
    let seen = world
        .send(GLOBAL, presigned_v2(GLOBAL, "/path", "/bucket/other", expires))
        .await;
    assert_eq!(seen.code(), "SignatureDoesNotMatch");
    let seen = world
        .send(
            GLOBAL,
            presigned_v2(GLOBAL, "/path", "/bucket/path", expires - 61),
        )
        .await;
    assert_eq!(seen.element("Message"), Some("Request has expired"));
    let host = "frankfurt.s3.amazonaws.com";
    let seen = world
        .send(host, presigned_v2(host, "/path", "/frankfurt/path", expires))
        .await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::BAD_REQUEST, "InvalidRequest")
    );
    assert_eq!(
        seen.element("Message"),
        Some("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
    );
}

#[tokio::test]
async fn strangers_and_the_unsigned_are_refused() {
    let world = with_object().await;
    let unknown = presigned(
        "AKIAIOSFODNN7UNKNOWN",
        REGIONAL,
        "/path",
        "us-west-2",
        DATE,
        "900",
        "",
    );
    assert_eq!(world.send(REGIONAL, unknown).await.code(), "InvalidAccessKeyId");
    let stranger = presigned(OTHER_KEY, REGIONAL, "/path", "us-west-2", DATE, "900", "");
    assert_eq!(world.send(REGIONAL, stranger).await.code(), "AccessDenied");
    let token = "&X-Amz-Security-Token=junk";
    let corrupt = presigned(
        "ASIAIOSFODNN7EXAMPLE",
        REGIONAL,
        "/path",
        "us-west-2",
        DATE,
        "900",
        token,
    );
    let seen = world.send(REGIONAL, corrupt).await;
    assert_eq!(
        (seen.status, seen.code()),
        (StatusCode::BAD_REQUEST, "InvalidToken")
    );
    let unsigned = http::Request::get("/path")
        .header("host", REGIONAL)
        .body(Bytes::new())
        .unwrap();
    assert_eq!(world.send(REGIONAL, unsigned).await.code(), "AccessDenied");
    let nowhere = world
        .presigned("nowhere.s3.us-west-2.amazonaws.com", "/k", "us-west-2")
        .await;
    assert_eq!(
        (nowhere.status, nowhere.code()),
        (StatusCode::NOT_FOUND, "NoSuchBucket")
    );
}

#[tokio::test]
async fn a_body_must_be_the_one_that_was_signed_and_bring_the_right_checksum() {
    let world = world();
    let put = async |body: &str, headers: &[(&str, &str)]| {
        world
            .signed_with("PUT", REGIONAL, "/k", "us-west-2", body, headers)
            .await
    };
    let other = sha256_hex(b"other");
    let seen = put("body", &[("x-amz-content-sha256", &other)]).await;
    assert_eq!(seen.code(), "XAmzContentSHA256Mismatch");
    let seen = put("body", &[("x-amz-checksum-crc32", "AAAAAA==")]).await;
    assert_eq!(seen.code(), "BadDigest");

    let chunked = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    let headers = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "11"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let seen = put(chunked, &headers).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.body);
    assert_eq!(seen.header("x-amz-checksum-crc32"), "DUoRhQ==");
    let get = world
        .signed_with(
            "GET",
            REGIONAL,
            "/k",
            "us-west-2",
            "",
            &[("x-amz-checksum-mode", "ENABLED")],
        )
        .await;
    assert_eq!(get.body, "hello world");
    assert_eq!(get.header("x-amz-checksum-crc32"), "DUoRhQ==");
    assert_eq!(get.header("content-encoding"), "");
    let seen = put(&chunked.replace("DUoRhQ==", "DUoRhA=="), &headers).await;
    assert_eq!(seen.code(), "BadDigest");
    let seen = put(&chunked.replace("6\r\n", "7\r\n"), &headers).await;
    assert_eq!(seen.code(), "IncompleteBody");
}

#[tokio::test]
async fn an_amz_header_that_is_not_signed_is_refused() {
    let world = with_object().await;
    let mut request = presigned(KEY, REGIONAL, "/path", "us-west-2", DATE, "900", "");
    request
        .headers_mut()
        .insert("x-amz-meta-a", HeaderValue::from_static("1"));
    let seen = world.send(REGIONAL, request).await;
    assert_eq!(seen.code(), "AccessDenied");
    assert_eq!(seen.element("HeadersNotSigned"), Some("x-amz-meta-a"));
}

#[tokio::test]
async fn buckets_are_created_where_the_endpoint_allows_it() {
    let world = world();
    let create = async |host: &str, region: &str, constraint: &str| {
        let body = match constraint {
            "" => String::new(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"{}\"><LocationConstraint>{region}</LocationConstraint>\
                 </CreateBucketConfiguration>",
                S3_NAMESPACE
            ),
        };
        world.signed("PUT", host, "/", region, &body).await
    };
    let west = "new-west.s3.us-west-2.amazonaws.com";
    assert_eq!(
        create(west, "us-west-2", "").await.element("Message"),
        Some(
            "The unspecified location constraint is incompatible for the region specific endpoint this request was \
             sent to."
        )
    );
    assert_eq!(
        create(west, "us-west-2", "us-west-2").await.status,
        StatusCode::OK
    );
    assert_eq!(
        create(west, "us-west-2", "us-west-2").await.code(),
        "BucketAlreadyOwnedByYou"
    );
    let global = "new-east.s3.amazonaws.com";
    assert_eq!(create(global, "us-east-1", "").await.status, StatusCode::OK);
    let far = "new-far.s3.amazonaws.com";
    assert_eq!(
        create(far, "us-east-1", "af-south-1").await.code(),
        "IllegalLocationConstraintException"
    );
    assert_eq!(create(far, "us-east-1", "eu-west-1").await.status, StatusCode::OK);
    assert_eq!(
        create("s3.amazonaws.com", "us-east-1", "").await.code(),
        "MethodNotAllowed"
    );

    let list = world
        .signed("GET", "s3.amazonaws.com", "/", "us-east-1", "")
        .await;
    for name in ["new-west", "new-east", "new-far", "bucket"] {
        assert!(
            list.body.contains(&format!("<Name>{name}</Name>")),
            "{}",
            list.body
        );
    }
    let target = "/?location";
    let seen = world
        .signed("GET", "new-far.s3.amazonaws.com", target, "eu-west-1", "")
        .await;
    assert!(
        seen.body.contains(">eu-west-1</LocationConstraint>"),
        "{}",
        seen.body
    );
    let head = world.signed("HEAD", west, "/", "us-west-2", "").await;
    assert_eq!(head.header("x-amz-bucket-region"), "us-west-2");
    assert_eq!(
        world.signed("DELETE", west, "/", "us-west-2", "").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        world.signed("HEAD", west, "/", "us-west-2", "").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_listing_goes_in_pages_and_folds_what_lies_under_a_delimiter() {
    let world = world();
    for key in ["a/1", "a/2", "b", "c/1", "d"] {
        world
            .signed("PUT", REGIONAL, &format!("/{key}"), "us-west-2", "x")
            .await;
    }
    let mut target = "/?list-type=2&delimiter=%2F&max-keys=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = world.signed("GET", REGIONAL, &target, "us-west-2", "").await;
        let names: Vec<_> = page
            .body
            .split("<Key>")
            .skip(1)
            .chain(page.body.split("<CommonPrefixes><Prefix>").skip(1))
            .map(|rest| rest.split('<').next().unwrap().to_owned())
            .collect();
        pages.push(names.join(" "));
        match page.element("NextContinuationToken") {
            Some(token) => {
                target = format!("/?list-type=2&delimiter=%2F&max-keys=2&continuation-token={token}");
            }
            None => break,
        }
    }
    assert_eq!(pages, ["b a/", "d c/"]);
    let none = world
        .signed("GET", REGIONAL, "/?list-type=2&max-keys=0", "us-west-2", "")
        .await;
    assert_eq!(none.element("IsTruncated"), Some("false"));
    let not_empty = world.signed("DELETE", REGIONAL, "/", "us-west-2", "").await;
    assert_eq!(not_empty.code(), "BucketNotEmpty");
    let delete = "<Delete><Object><Key>a/1</Key></Object><Object><Key>nothing</Key></Object></Delete>";
    let seen = world
        .signed("POST", REGIONAL, "/?delete", "us-west-2", delete)
        .await;
    assert_eq!(seen.body.matches("<Deleted>").count(), 2, "{}", seen.body);
}

#[tokio::test]
async fn an_upload_in_parts_becomes_one_object() {
    let world = world();
    let begun = world
        .signed("POST", REGIONAL, "/big?uploads", "us-west-2", "")
        .await;
    let id = begun.element("UploadId").unwrap();
    let large = "x".repeat(5 << 20);
    let mut etags = Vec::new();
    for (number, body) in [(1, large.as_str()), (2, "end")] {
        let target = format!("/big?partNumber={number}&uploadId={id}");
        let seen = world.signed("PUT", REGIONAL, &target, "us-west-2", body).await;
        etags.push(seen.header("etag").to_owned());
    }
    let complete = |etags: &[String]| {
        let parts: String = etags
            .iter()
            .zip(1..)
            .map(|(etag, number)| {
                format!("<Part><ETag>{etag}</ETag><PartNumber>{number}</PartNumber></Part>")
            })
            .collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    };
    let target = format!("/big?uploadId={id}");
    let wrong = complete(&[etags[1].clone()]);
    let seen = world.signed("POST", REGIONAL, &target, "us-west-2", &wrong).await;
    assert_eq!(seen.code(), "InvalidPart");
    let seen = world
        .signed("POST", REGIONAL, &target, "us-west-2", &complete(&etags))
        .await;
    assert!(
        seen.element("ETag").unwrap().ends_with("-2&quot;"),
        "{}",
        seen.body
    );
    let range = [("range", "bytes=-4")];
    let seen = world
        .signed_with("GET", REGIONAL, "/big", "us-west-2", "", &range)
        .await;
    assert_eq!(
        (seen.status, seen.body.as_str()),
        (StatusCode::PARTIAL_CONTENT, "xend")
    );
    assert_eq!(seen.header("content-range"), "bytes 5242879-5242882/5242883");
}

#[tokio::test]
async fn operations_that_are_not_played_are_not_taken_for_others() {
    let world = with_object().await;
    for (method, target) in [
        ("GET", "/?acl"),
        ("PUT", "/?policy"),
        ("GET", "/path?tagging"),
        ("DELETE", "/path?versionId=1"),
        ("PUT", "/?versioning"),
    ] {
        let seen = world.signed(method, REGIONAL, target, "us-west-2", "").await;
        assert_eq!(
            (seen.status, seen.code()),
            (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            "{method} {target}"
        );
    }
    assert_eq!(
        world.presigned(REGIONAL, "/path", "us-west-2").await.body,
        "hello"
    );
}

#[tokio::test]
async fn headers_that_ask_for_more_than_is_played_are_refused() {
    let world = world();
    let put = async |name: &str, value: &str| {
        let headers = [(name, value)];
        world
            .signed_with("PUT", REGIONAL, "/k", "us-west-2", "x", &headers)
            .await
    };
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-website-redirect-location", "/other"),
    ] {
        let seen = put(name, value).await;
        assert_eq!(
            (seen.status.as_u16(), seen.code()),
            (501, "NotImplemented"),
            "{name}"
        );
        assert!(seen.element("Message").unwrap().ends_with(name), "{}", seen.body);
    }
    for (name, value) in [("x-amz-acl", "private"), ("x-amz-storage-class", "STANDARD")] {
        assert_eq!(put(name, value).await.status, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn the_expected_owner_of_a_bucket_counts() {
    let world = with_object().await;
    let owned_by = async |method: &str, header: &str, account: &str| {
        let mut headers = vec![(header, account)];
        if method == "PUT" {
            headers.push(("x-amz-copy-source", "bucket/path"));
        }
        let target = if method == "PUT" { "/copy" } else { "/path" };
        world
            .signed_with(method, REGIONAL, target, "us-west-2", "", &headers)
            .await
    };
    for (method, header) in [
        ("GET", "x-amz-expected-bucket-owner"),
        ("PUT", "x-amz-expected-bucket-owner"),
        ("PUT", "x-amz-source-expected-bucket-owner"),
    ] {
        let seen = owned_by(method, header, "444455556666").await;
        assert_eq!(
            (seen.status.as_u16(), seen.code()),
            (403, "AccessDenied"),
            "{header}"
        );
        let seen = owned_by(method, header, "111122223333").await;
        assert_eq!(seen.status, StatusCode::OK, "{header}: {}", seen.body);
    }
}

#[tokio::test]
async fn user_metadata_is_bounded() {
    let world = world();
    let put = async |value: &str| {
        let headers = [("x-amz-meta-k", value)];
        world
            .signed_with("PUT", REGIONAL, "/k", "us-west-2", "", &headers)
            .await
    };
    let seen = put(&"x".repeat(2048)).await;
    assert_eq!(
        (seen.status.as_u16(), seen.code(), seen.element("MaxSizeAllowed")),
        (400, "MetadataTooLarge", Some("2048"))
    );
    assert_eq!(put(&"x".repeat(2047)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn names_that_aws_reserves_are_refused() {
    let world = world();
    for name in [
        "xn--a",
        "sthree-a",
        "amzn-s3-demo-bucket",
        "a--x-s3",
        "a--ol-s3",
        "a.mrap",
    ] {
        let seen = world
            .signed("PUT", "s3.amazonaws.com", &format!("/{name}"), "us-east-1", "")
            .await;
        assert_eq!(
            (seen.status.as_u16(), seen.code()),
            (400, "InvalidBucketName"),
            "{name}: {}",
            seen.body
        );
    }
}

#[tokio::test]
async fn the_log_tells_the_form_of_the_url_but_none_of_its_secrets() {
    let world = with_object().await;
    world.presigned(GLOBAL, "/path", "us-west-2").await;
    world.presigned(GLOBAL, "/path", "us-east-1").await;
    let records = world.log.all();
    let record = &records[1];
    assert_eq!(record.event_name, "GetObject");
    assert_eq!(record.host(), GLOBAL);
    assert_eq!(record.aws_region, "us-west-2");
    assert_eq!(record.event_category, "Data");
    assert_eq!(record.user_identity.access_key_id.as_deref(), Some(KEY));
    assert_eq!(record.additional_event_data["SignatureVersion"], "SigV4");
    assert_eq!(
        record.additional_event_data["AuthenticationMethod"],
        "QueryString"
    );
    assert_eq!(record.additional_event_data["bytesTransferredOut"], 5);
    assert_eq!(record.request_parameters["bucketName"], "bucket");
    assert_eq!(record.request_parameters["key"], "path");
    assert_eq!(record.request_parameters["X-Amz-Expires"], "900");
    let refused = &records[2];
    assert_eq!(
        refused.error_code.as_deref(),
        Some("AuthorizationQueryParametersError")
    );
    let text = serde_json::to_string(&records).unwrap();
    for secret in ["X-Amz-Signature\"", "X-Amz-Credential\"", SECRET] {
        assert!(!text.contains(secret), "{text}");
    }
}

proptest::proptest! {
    /// Whatever arrives is answered, and nobody gets in without a signature.
    #[test]
    fn nothing_that_arrives_brings_it_down(
        method in "GET|PUT|POST|DELETE|HEAD|OPTIONS",
        host in "bucket\\.s3\\.amazonaws\\.com|s3\\.us-west-2\\.amazonaws\\.com|hongkong\\.s3\\.amazonaws\\.com",
        path in "(/[a-z%0-9.]{0,6}){1,4}",
        query in "((list-type=2|uploads|uploadId=x|partNumber=[0-9]{1,6}|delete|max-keys=-?[0-9]{1,20}|X-Amz-Algorithm=AWS4-HMAC-SHA256|X-Amz-Credential=[a-z/%2F0-9]{0,20}|X-Amz-Date=[0-9TZ]{0,17}|X-Amz-Expires=-?[0-9]{0,20}|X-Amz-SignedHeaders=host|X-Amz-Signature=[0-9a-f]{0,64}|AWSAccessKeyId=a|Signature=[a-zA-Z%+=]{0,8}|Expires=-?[0-9]{1,20}|%[0-9a-f]{0,3})&?){0,8}",
        authorization in proptest::option::of("AWS4-HMAC-SHA256 [ -~]{0,120}|AWS [ -~]{0,20}|[ -~]{0,20}"),
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut request = http::Request::builder()
            .method(method.as_str())
            .uri(format!("{path}?{query}"))
            .header("host", &host);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if let Ok(request) = request.body(Bytes::from(body)) {
            let response = runtime.block_on(async {
                world().aws.handle(request, &Connection::to(host)).await
            });
            proptest::prop_assert!(!response.status().is_success());
            proptest::prop_assert!(response.headers().contains_key("x-amz-request-id"));
        }
    }

    /// Documents that clients send are read or refused.
    #[test]
    fn no_document_brings_it_down(
        text in "(<[A-Za-z:/]{0,8}>|</[A-Za-z]{0,6}>|&[a-z#0-9x]{0,6};|<!\\[CDATA\\[|\\]\\]>|<!--|[a-z ]{0,3}){0,30}",
    ) {
        let _ = xml::leaves(text.as_bytes(), "Delete");
        let _ = xml::leaves(format!("<Delete>{text}</Delete>").as_bytes(), "Delete");
    }
}
