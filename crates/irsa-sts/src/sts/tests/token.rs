//! Web identity tokens: taken, and refused for every reason.

use super::*;
use crate::call::Identity;
use crate::config::TokenVersion;
use crate::host::EndpointClass;

#[tokio::test]
async fn a_service_accounts_token_gives_credentials_of_its_role() {
    let world = World::new();
    let seen = world.assume(REGIONAL, &world.token()).await;
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert_eq!(seen.response.headers()["content-type"], "text/xml");
    assert_eq!(seen.response.headers()["date"], "Tue, 24 Nov 2026 00:18:30 GMT");
    assert_eq!(
        seen.response.headers()["x-amzn-requestid"],
        seen.element("RequestId").as_str()
    );
    assert!(seen.body.starts_with(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
         <AssumeRoleWithWebIdentityResult>\n"
    ));
    assert_eq!(seen.element("SubjectFromWebIdentityToken"), SUBJECT);
    assert_eq!(seen.element("Audience"), "sts.amazonaws.com");
    assert_eq!(
        seen.element("Arn"),
        "arn:aws:sts::111122223333:assumed-role/reader/session-1"
    );
    assert!(seen.element("AssumedRoleId").starts_with("AROA"));
    assert!(seen.element("AssumedRoleId").ends_with(":session-1"));
    assert_eq!(seen.element("Provider"), PROVIDER);
    assert_eq!(seen.element("Expiration"), "2026-11-24T01:18:30Z");
    let identity = world.caller_identity(REGIONAL, &seen.keys(), "us-west-2").await;
    assert_eq!(
        identity.element("Arn"),
        "arn:aws:sts::111122223333:assumed-role/reader/session-1"
    );
    assert_eq!(identity.element("UserId"), seen.element("AssumedRoleId"));
    assert_eq!(identity.element("Account"), ACCOUNT);
}

#[tokio::test]
async fn the_call_is_recorded_with_its_endpoint_and_without_secrets() {
    let world = World::new();
    let token = world.token();
    let seen = world.assume(GLOBAL, &token).await;
    let call = world.last_call();
    assert_eq!(call.action, "AssumeRoleWithWebIdentity");
    assert_eq!(call.endpoint, EndpointClass::Global);
    assert_eq!(
        (call.region.as_str(), call.serving_region.as_str()),
        ("us-east-1", "us-east-1")
    );
    assert_eq!(call.host, GLOBAL);
    assert_eq!(call.account.as_deref(), Some(ACCOUNT));
    assert_eq!(
        call.identity,
        Identity::WebIdentity {
            provider_arn: PROVIDER.to_owned(),
            audience: "sts.amazonaws.com".to_owned(),
            subject: SUBJECT.to_owned(),
        }
    );
    let shown = format!("{call:?}");
    let keys = seen.keys();
    for secret in [&token, &keys.secret_access_key, &keys.session_token.unwrap()] {
        assert!(!shown.contains(secret.as_str()));
    }
}

#[tokio::test]
async fn the_global_endpoint_is_served_where_the_caller_runs() {
    let world = World::new();
    let mut connection = Connection::to(GLOBAL);
    connection.caller_region = Some("eu-west-1".to_owned());
    let request = form(
        GLOBAL,
        &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
    );
    world.aws.handle(request, &connection).await;
    let call = world.last_call();
    assert_eq!(
        (call.region.as_str(), call.serving_region.as_str()),
        ("us-east-1", "eu-west-1")
    );
}

/// Sends a token whose claims were changed.
async fn with_claims(world: &World, change: impl FnOnce(&mut Value)) -> (u16, String, String) {
    let mut claims = world.claims();
    change(&mut claims);
    world.assume(REGIONAL, &world.signer.sign(&claims)).await.error()
}

fn error(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

#[tokio::test]
async fn tokens_that_are_not_right_are_refused_in_aws_words() {
    let world = World::new();
    let now = world.now().as_second();
    assert_eq!(
        with_claims(&world, |claims| claims["aud"] = json!(["other"])).await,
        error(400, "InvalidIdentityToken", "Incorrect token audience")
    );
    assert_eq!(
        with_claims(&world, |claims| claims["aud"] =
            json!(["sts.amazonaws.com", "other"]))
        .await,
        error(400, "InvalidIdentityToken", "Incorrect token audience")
    );
    assert_eq!(
        with_claims(&world, |claims| claims["exp"] = json!(now - 301)).await,
        error(
            400,
            "ExpiredTokenException",
            &format!(
                "Token expired: current date/time {now} must be before the expiration date/time {}",
                now - 301
            )
        )
    );
    assert_eq!(
        with_claims(&world, |claims| claims["iss"] =
            json!("https://elsewhere.example"))
        .await,
        error(
            400,
            "InvalidIdentityToken",
            "No OpenIDConnect provider found in your account for https://elsewhere.example"
        )
    );
    for name in ["iat", "sub", "exp", "aud"] {
        let seen = with_claims(&world, |claims| {
            claims.as_object_mut().unwrap().remove(name);
        })
        .await;
        assert_eq!(
            seen,
            error(
                400,
                "InvalidIdentityToken",
                &format!("Missing a required claim: {name}")
            )
        );
    }
    let (status, code, _) = with_claims(&world, |claims| claims["nbf"] = json!(now + 301)).await;
    assert_eq!((status, code.as_str()), (400, "InvalidIdentityToken"));
    assert_eq!(
        world.assume(REGIONAL, "not.a.jwt").await.error(),
        error(
            400,
            "InvalidIdentityToken",
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        )
    );
}

#[tokio::test]
async fn the_issuer_is_compared_character_for_character() {
    let world = World::new();
    for issuer in [
        format!("{ISSUER}/"),
        ISSUER.replace("https", "HTTPS"),
        ISSUER.to_uppercase(),
    ] {
        let seen = with_claims(&world, |claims| claims["iss"] = json!(issuer)).await;
        let message = format!("No OpenIDConnect provider found in your account for {issuer}");
        assert_eq!(seen, error(400, "InvalidIdentityToken", &message));
    }
}

#[tokio::test]
async fn a_foreign_key_is_refused_whatever_it_is_called() {
    let world = World::new();
    let foreign = Signer::new("ES256", "key-1").sign(&world.claims());
    assert_eq!(
        world.assume(REGIONAL, &foreign).await.error(),
        error(
            400,
            "InvalidIdentityToken",
            "The web identity token provided could not be validated"
        )
    );
    let unknown = Signer::new("ES256", "key-2").sign(&world.claims());
    assert_eq!(
        world.assume(REGIONAL, &unknown).await.error(),
        error(
            400,
            "InvalidIdentityToken",
            "Couldn't retrieve verification key from your identity provider,  please reference \
             AssumeRoleWithWebIdentity documentation for requirements"
        )
    );
}

#[tokio::test]
async fn a_wrong_subject_and_an_absent_role_look_the_same_to_the_caller() {
    let world = World::new();
    let denied = error(
        403,
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    );
    let wrong = with_claims(&world, |claims| {
        claims["sub"] = json!("system:serviceaccount:default:x")
    })
    .await;
    assert_eq!(wrong, denied);
    assert!(
        world
            .last_call()
            .explanation
            .unwrap()
            .contains("StringEquals is not met")
    );
    let token = world.token();
    for arn in [
        "arn:aws:iam::111122223333:role/nobody",
        "arn:aws:iam::111122223333:role/reader",
    ] {
        let seen = world
            .post(
                REGIONAL,
                &[
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", arn),
                    ("RoleSessionName", "session-1"),
                    ("WebIdentityToken", &token),
                ],
            )
            .await;
        assert_eq!(seen.error(), denied, "{arn}");
        assert!(
            world
                .last_call()
                .explanation
                .unwrap()
                .contains("there is no role")
        );
    }
}

#[tokio::test]
async fn a_token_may_be_late_by_the_leeway_and_no_more() {
    let world = World::new();
    let token = world.token();
    world.pass(3600 + 299);
    assert_eq!(world.assume(REGIONAL, &token).await.status, 200);
    world.pass(1);
    assert_eq!(
        world.assume(REGIONAL, &token).await.error().1,
        "ExpiredTokenException"
    );
}

#[tokio::test]
async fn a_deactivated_region_refuses_and_the_others_do_not() {
    let world = World::new();
    world.aws.deactivate_region(ACCOUNT, "us-west-2").unwrap();
    let token = world.token();
    let disabled = error(
        403,
        "RegionDisabledException",
        "STS is not activated in this region for account:111122223333. Your account administrator can activate STS in \
         this region using the IAM Console.",
    );
    assert_eq!(world.assume(REGIONAL, &token).await.error(), disabled);
    assert_eq!(
        world
            .caller_identity(REGIONAL, &alice(), "us-west-2")
            .await
            .error(),
        disabled
    );
    assert_eq!(world.assume(GLOBAL, &token).await.status, 200);
    assert_eq!(
        world.assume("sts.us-east-2.amazonaws.com", &token).await.status,
        200
    );
    world.aws.activate_region(ACCOUNT, "us-west-2").unwrap();
    assert_eq!(world.assume(REGIONAL, &token).await.status, 200);
    assert!(world.aws.deactivate_region(ACCOUNT, "us-east-1").is_err());
}

#[tokio::test]
async fn a_role_of_another_partition_cannot_be_assumed_here() {
    let world = World::new();
    let seen = world
        .assume("sts.us-gov-west-1.amazonaws.com", &world.token())
        .await;
    assert_eq!(
        seen.error(),
        error(400, "ValidationError", "Request ARN is invalid")
    );
    assert_eq!(
        world.last_call().explanation.as_deref(),
        Some("the role is in partition aws, but this endpoint is in aws-us-gov")
    );
}

#[tokio::test]
async fn sessions_last_as_long_as_asked_and_as_the_role_allows() {
    let world = World::new();
    let token = world.token();
    for (seconds, expected) in [
        ("900", Ok("2026-11-24T00:33:30Z")),
        ("3600", Ok("2026-11-24T01:18:30Z")),
        (
            "3601",
            Err("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."),
        ),
        (
            "899",
            Err(
                "1 validation error detected: Value '899' at 'durationSeconds' failed to satisfy constraint: Member \
                 must have value greater than or equal to 900",
            ),
        ),
    ] {
        let seen = world
            .post(
                REGIONAL,
                &[
                    ("WebIdentityToken", token.as_str()),
                    ("DurationSeconds", seconds),
                    ("RoleSessionName", "session-1"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", ROLE),
                    ("Action", "AssumeRoleWithWebIdentity"),
                ],
            )
            .await;
        match expected {
            Ok(expiration) => assert_eq!(seen.element("Expiration"), expiration),
            Err(message) => assert_eq!(seen.error(), error(400, "ValidationError", message)),
        }
    }
}

#[tokio::test]
async fn tokens_of_the_global_endpoint_are_not_good_in_opt_in_regions_unless_they_are_version_2() {
    let world = World::new();
    let invalid = error(
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    );
    let v1 = world.assume(GLOBAL, &world.token()).await.keys();
    assert!(v1.session_token.as_ref().unwrap().starts_with("FwoGZXIvYXdzE"));
    assert_eq!(
        world
            .caller_identity("sts.ap-east-1.amazonaws.com", &v1, "ap-east-1")
            .await
            .error(),
        invalid
    );
    assert_eq!(
        world
            .caller_identity("sts.ap-northeast-2.amazonaws.com", &v1, "ap-northeast-2")
            .await
            .status,
        200
    );
    let regional = world.assume(REGIONAL, &world.token()).await.keys();
    assert_eq!(
        world
            .caller_identity("sts.ap-east-1.amazonaws.com", &regional, "ap-east-1")
            .await
            .status,
        200
    );
    world
        .aws
        .set_global_token_version(ACCOUNT, TokenVersion::V2)
        .unwrap();
    let v2 = world.assume(GLOBAL, &world.token()).await.keys();
    assert_eq!(
        world
            .caller_identity("sts.ap-east-1.amazonaws.com", &v2, "ap-east-1")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_token_is_made_longer_on_request() {
    let world = World::new();
    for minimum in ["0", "2000", "4096"] {
        let seen = world
            .post(
                REGIONAL,
                &[
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", ROLE),
                    ("RoleSessionName", "session-1"),
                    ("WebIdentityToken", &world.token()),
                    ("MinimumSessionTokenSize", minimum),
                ],
            )
            .await;
        let keys = seen.keys();
        let size = keys.session_token.as_ref().unwrap().len();
        assert!(size + 16 >= minimum.parse().unwrap() && size <= 4096, "{size}");
        assert_eq!(seen.element("SessionTokenSize"), size.to_string());
        assert_eq!(
            world.caller_identity(REGIONAL, &keys, "us-west-2").await.status,
            200
        );
    }
}

#[tokio::test]
async fn an_issuer_that_is_away_is_told_from_one_that_has_no_keys() {
    let world = World::new();
    let fetched_from = |base: String| OidcProvider {
        url: ISSUER.to_owned(),
        client_ids: vec!["sts.amazonaws.com".to_owned()],
        documents: IssuerDocuments::Fetch {
            base_url: Some(base),
            ca_pem: None,
            bearer_token: None,
        },
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    world
        .aws
        .put_oidc_provider(ACCOUNT, fetched_from(format!("http://{closed}")))
        .unwrap();
    let (status, code, _) = world.assume(REGIONAL, &world.token()).await.error();
    assert_eq!((status, code.as_str()), (400, "IDPCommunicationError"));
    assert!(world.last_call().explanation.unwrap().contains("no answer from"));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
        }
    });
    world
        .aws
        .put_oidc_provider(ACCOUNT, fetched_from(format!("http://{address}")))
        .unwrap();
    let (status, code, message) = world.assume(REGIONAL, &world.token()).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidIdentityToken"));
    assert!(message.starts_with("Couldn't retrieve verification key"));
    assert!(world.last_call().explanation.unwrap().contains("404 Not Found"));
}

#[tokio::test]
async fn what_a_client_makes_up_is_recorded_in_bounds() {
    let world = World::new();
    let long = "é".repeat(10_000);
    let mut request = form(REGIONAL, &[("Action", &long), ("Version", "2011-06-15")]);
    request
        .headers_mut()
        .insert("user-agent", "x".repeat(50_000).parse().unwrap());
    request
        .headers_mut()
        .insert("host", "y".repeat(50_000).parse().unwrap());
    assert_eq!(world.send(REGIONAL, request).await.error().1, "InvalidAction");
    assert!(format!("{:?}", world.last_call()).len() < 8000);
}
