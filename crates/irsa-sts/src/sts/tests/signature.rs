//! Signatures on the way to STS: scope, time, key, token, and the order in which they are looked at.

use super::*;
use crate::fault::{FaultAnswer, RegionFault};
use crate::testing::in_query;

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

fn error(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

#[tokio::test]
async fn an_application_that_asks_for_the_global_endpoint_while_its_region_is_another_gets_the_error_of_the_guide()
 {
    let world = World::new();
    let keys = world.assume(REGIONAL, &world.token()).await.keys();
    let seen = world.caller_identity(GLOBAL, &keys, "us-west-2").await;
    assert_eq!(seen.error(), error(403, "SignatureDoesNotMatch", SCOPE_ERROR));
    assert!(
        world
            .last_call()
            .explanation
            .unwrap()
            .contains("signed for region us-west-2")
    );
    assert_eq!(
        world.caller_identity(GLOBAL, &keys, "us-east-1").await.status,
        200
    );
}

#[tokio::test]
async fn every_endpoint_takes_its_own_region_only() {
    let world = World::new();
    for (host, region) in [
        ("sts.us-east-1.amazonaws.com", "us-east-1"),
        ("sts.me-central-1.amazonaws.com", "me-central-1"),
        ("sts-fips.us-west-2.amazonaws.com", "us-west-2"),
        ("sts.eu-west-1.api.aws", "eu-west-1"),
    ] {
        assert_eq!(
            world.caller_identity(host, &alice(), region).await.status,
            200,
            "{host}"
        );
        for other in ["ap-south-1", "aws-global", "", "us-west-2a"] {
            let seen = world.caller_identity(host, &alice(), other).await;
            assert_eq!(
                seen.error(),
                error(403, "SignatureDoesNotMatch", SCOPE_ERROR),
                "{host} {other}"
            );
        }
    }
}

#[tokio::test]
async fn the_global_endpoint_takes_the_local_region_only_if_told_to() {
    let world = World::with(|config| config.global_accepts_local_region = true);
    let mut connection = Connection::to(GLOBAL);
    connection.caller_region = Some("us-west-2".to_owned());
    let send = async |region: &str| {
        let mut request = form(
            GLOBAL,
            &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
        );
        *request.uri_mut() = format!("https://{GLOBAL}/").parse().unwrap();
        world
            .aws
            .handle(
                signed(request, &alice(), region, "sts", world.now(), in_header()),
                &connection,
            )
            .await
            .status()
    };
    assert_eq!(send("us-west-2").await, 200);
    assert_eq!(send("us-east-1").await, 200);
    assert_eq!(send("eu-west-1").await, 403);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_scope_is_told_in_one_sentence_each() {
    let world = World::new();
    let mut request = form(
        REGIONAL,
        &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
    );
    request
        .headers_mut()
        .insert("x-amz-date", "20261124T001830Z".parse().unwrap());
    request.headers_mut().insert(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/us-east-1/s3/aws5, SignedHeaders=host, Signature=ab"
            .parse()
            .unwrap(),
    );
    assert_eq!(
        world.send(REGIONAL, request).await.error(),
        error(
            403,
            "SignatureDoesNotMatch",
            "Credential should be scoped to a valid region. Credential should be scoped to correct service: 'sts'. \
             Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'. Date in Credential scope \
             does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261123' != '20261124', from \
             '20261124T001830Z'. "
        )
    );
}

#[tokio::test]
async fn time_is_looked_at_before_the_scope_the_scope_before_the_key_and_the_key_before_the_signature() {
    let world = World::new();
    let mut stranger = alice();
    stranger.access_key_id = "AKIASTRANGERSTRANGER".to_owned();
    let mut liar = alice();
    liar.secret_access_key = "wrong".to_owned();
    let call = async |keys: &Keys, region: &str, offset: i64| {
        let mut request = form(
            REGIONAL,
            &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
        );
        *request.uri_mut() = format!("https://{REGIONAL}/").parse().unwrap();
        let then = world.now() + SignedDuration::from_secs(offset);
        world
            .send(REGIONAL, signed(request, keys, region, "sts", then, in_header()))
            .await
            .error()
    };
    assert_eq!(
        call(&stranger, "us-east-1", -901).await,
        error(
            403,
            "SignatureDoesNotMatch",
            "Signature expired: 20261124T000329Z is now earlier than 20261124T000330Z (20261124T001830Z - 15 min.)"
        )
    );
    assert_eq!(
        call(&stranger, "us-east-1", 901).await,
        error(
            403,
            "SignatureDoesNotMatch",
            "Signature not yet current: 20261124T003331Z is still later than 20261124T003330Z (20261124T001830Z + 15 \
             min.)"
        )
    );
    assert_eq!(
        call(&stranger, "us-east-1", 0).await,
        error(403, "SignatureDoesNotMatch", SCOPE_ERROR)
    );
    assert_eq!(
        call(&stranger, "us-west-2", 0).await,
        error(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid."
        )
    );
    assert_eq!(
        call(&liar, "us-west-2", 0).await,
        error(403, "SignatureDoesNotMatch", MISMATCH)
    );
}

#[tokio::test]
async fn a_session_token_is_bound_to_its_key_and_its_time() {
    let world = World::new();
    let a = world.assume(REGIONAL, &world.token()).await.keys();
    let b = world.assume(REGIONAL, &world.token()).await.keys();
    let corrupt = error(
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid",
    );
    let unknown = error(
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    );
    let with = |token: Option<&str>| Keys {
        session_token: token.map(str::to_owned),
        ..a.clone()
    };
    let call = async |keys: &Keys| world.caller_identity(REGIONAL, keys, "us-west-2").await;
    assert_eq!(call(&with(b.session_token.as_deref())).await.error(), corrupt);
    assert_eq!(call(&with(Some("IQoJb3JpZ2luX2VjXXX"))).await.error(), corrupt);
    assert_eq!(call(&with(None)).await.error(), unknown);
    let with_foreign_token = Keys {
        session_token: a.session_token.clone(),
        ..alice()
    };
    assert_eq!(call(&with_foreign_token).await.error(), unknown);
    world.pass(3599);
    assert_eq!(call(&a).await.status, 200);
    world.pass(1);
    assert_eq!(
        call(&a).await.error(),
        error(
            403,
            "ExpiredToken",
            "The security token included in the request is expired"
        )
    );
}

#[tokio::test]
async fn keys_of_another_partition_are_unknown_here() {
    let world = World::new();
    assert_eq!(
        world
            .caller_identity("sts.cn-north-1.amazonaws.com.cn", &alice(), "cn-north-1")
            .await
            .error()
            .1,
        "InvalidClientTokenId"
    );
}

#[tokio::test]
async fn a_presigned_caller_identity_is_good_for_fifteen_minutes_whatever_it_says() {
    let world = World::new();
    let keys = world.assume(REGIONAL, &world.token()).await.keys();
    let request = Request::get(format!(
        "https://{REGIONAL}/?Action=GetCallerIdentity&Version=2011-06-15"
    ))
    .header("x-k8s-aws-id", "cluster-1")
    .body(Bytes::new())
    .unwrap();
    let presigned = signed(request, &keys, "us-west-2", "sts", world.now(), in_query(60));
    world.pass(900);
    assert_eq!(
        world.send(REGIONAL, presigned.clone()).await.element("Account"),
        ACCOUNT
    );
    let mut other = presigned.clone();
    other
        .headers_mut()
        .insert("x-k8s-aws-id", "cluster-2".parse().unwrap());
    assert_eq!(
        world.send(REGIONAL, other).await.error(),
        error(403, "SignatureDoesNotMatch", MISMATCH)
    );
    world.pass(1);
    assert!(
        world
            .send(REGIONAL, presigned)
            .await
            .error()
            .2
            .starts_with("Signature expired: ")
    );
}

#[tokio::test]
async fn incomplete_signatures_say_what_they_lack() {
    let world = World::new();
    let with = async |name: &'static str, value: &str| {
        let mut request = form(
            REGIONAL,
            &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
        );
        request.headers_mut().insert(name, value.parse().unwrap());
        world.send(REGIONAL, request).await.error()
    };
    assert_eq!(
        with("accept", "*/*").await,
        error(
            403,
            "MissingAuthenticationToken",
            "Request is missing Authentication Token"
        )
    );
    assert_eq!(
        with("authorization", "Bearer x").await.1,
        "MissingAuthenticationToken"
    );
    let (status, code, message) = with("authorization", "AWS4-HMAC-SHA256 Credential=a").await;
    assert_eq!((status, code.as_str()), (400, "IncompleteSignature"));
    assert_eq!(
        message,
        "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. \
         Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. (Hashed with SHA-256 and \
         encoded with Base64) Authorization=NfzIKJLKNewkkcMzFRQnTjnA8pVQaTHHvXTMrbqbWMQ="
            .replace(
                "NfzIKJLKNewkkcMzFRQnTjnA8pVQaTHHvXTMrbqbWMQ=",
                message.rsplit_once("Authorization=").unwrap().1
            )
    );
    assert!(
        with("authorization", "AWS4-HMAC-SHA256 x")
            .await
            .2
            .starts_with("'x' not a valid key=value pair")
    );
    assert_eq!(
        with("authorization", "AWS4-HMAC-SHA1 x").await.2,
        "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'."
    );
}

#[tokio::test]
async fn a_malformed_date_credential_or_an_unsigned_host_is_told() {
    let world = World::new();
    let with = async |date: &str, rest: &str| {
        let mut request = form(
            REGIONAL,
            &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
        );
        request.headers_mut().insert("x-amz-date", date.parse().unwrap());
        request.headers_mut().insert(
            "authorization",
            format!("AWS4-HMAC-SHA256 {rest}").parse().unwrap(),
        );
        world.send(REGIONAL, request).await.error()
    };
    let good = "20261124T001830Z";
    assert_eq!(
        with("today", "Credential=a/b/c/d/e, SignedHeaders=host, Signature=x").await,
        error(
            400,
            "IncompleteSignature",
            "Date must be in ISO-8601 'basic format'. Got 'today'. See http://en.wikipedia.org/wiki/ISO_8601"
        )
    );
    assert_eq!(
        with(good, "Credential=a/b, SignedHeaders=host, Signature=x").await,
        error(
            400,
            "IncompleteSignature",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b'"
        )
    );
    assert!(
        with(
            "20260101T000000Z",
            "Credential=a/b, SignedHeaders=host, Signature=x"
        )
        .await
        .2
        .starts_with("Signature expired")
    );
    assert_eq!(
        with(
            good,
            "Credential=a/b/c/d/e, SignedHeaders=x-amz-date, Signature=x"
        )
        .await,
        error(
            403,
            "SignatureDoesNotMatch",
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    );
}

#[tokio::test]
async fn a_query_signature_lacking_parameters_names_them_and_two_signatures_are_none() {
    let world = World::new();
    let get = async |query: &str, authorization: Option<&str>| {
        let mut request = Request::get(format!("/?Action=GetCallerIdentity&Version=2011-06-15&{query}"))
            .header("host", REGIONAL);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        world.send(REGIONAL, request.body(Bytes::new()).unwrap()).await
    };
    assert_eq!(
        get(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261124T001830Z",
            None
        )
        .await
        .error(),
        error(
            400,
            "IncompleteSignature",
            "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include \
             'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the \
             query-string parameters."
        )
    );
    let both = get(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        Some("AWS4-HMAC-SHA256 Credential=a"),
    )
    .await;
    assert_eq!(
        (both.status.as_u16(), both.element("Code").as_str()),
        (403, "SignatureDoesNotMatch")
    );
    assert!(!both.body.contains("<Message>"));
}

#[tokio::test]
async fn a_failing_region_fails_and_heals() {
    let world = World::new();
    let fault = |answer| {
        Some(RegionFault {
            answer: Some(answer),
            ..RegionFault::default()
        })
    };
    for (answer, expected) in [
        (FaultAnswer::Unavailable, (503, "ServiceUnavailable")),
        (FaultAnswer::InternalFailure, (500, "InternalFailure")),
        (FaultAnswer::Throttling, (400, "Throttling")),
    ] {
        world.aws.set_fault("us-west-2", fault(answer));
        let (status, code, _) = world
            .caller_identity(REGIONAL, &alice(), "us-west-2")
            .await
            .error();
        assert_eq!((status, code.as_str()), expected);
        assert_eq!(
            world
                .caller_identity("sts.us-east-2.amazonaws.com", &alice(), "us-east-2")
                .await
                .status,
            200
        );
    }
    world.aws.set_fault("us-west-2", None);
    assert_eq!(
        world
            .caller_identity(REGIONAL, &alice(), "us-west-2")
            .await
            .status,
        200
    );
}
