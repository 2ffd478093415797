//! The query protocol: what comes in any order, and what is no request of it.

use super::*;

async fn raw(world: &World, method: &str, target: &str, content_type: Option<&str>, body: &str) -> Seen {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", REGIONAL);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    world
        .send(REGIONAL, request.body(Bytes::from(body.to_owned())).unwrap())
        .await
}

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

#[tokio::test]
async fn a_web_identity_may_come_in_a_get_too() {
    let world = World::new();
    let target = format!(
        "/?WebIdentityToken={}&RoleArn={}&RoleSessionName=nginx&Version=2011-06-15&Action=AssumeRoleWithWebIdentity",
        world.token(),
        escape(ROLE)
    );
    assert_eq!(raw(&world, "GET", &target, None, "").await.status, 200);
}

#[tokio::test]
async fn a_browser_is_sent_to_the_documentation() {
    let world = World::new();
    let seen = raw(&world, "GET", "/", None, "").await;
    assert_eq!(seen.status, 302);
    assert!(seen.response.headers().contains_key("location"));
    assert!(seen.body.is_empty());
}

#[tokio::test]
async fn actions_and_versions_that_do_not_exist_are_not_found() {
    let world = World::new();
    for (body, status, code, message) in [
        (
            "Version=2011-06-15",
            400,
            "MissingAction",
            "The request is missing the Action parameter.",
        ),
        (
            "Action=Nonsense&Version=2011-06-15",
            400,
            "InvalidAction",
            "Could not find operation Nonsense for version 2011-06-15",
        ),
        (
            "Action=GetCallerIdentity&Version=2010-05-08",
            400,
            "InvalidAction",
            "Could not find operation GetCallerIdentity for version 2010-05-08",
        ),
        (
            "Action=GetCallerIdentity",
            400,
            "InvalidAction",
            "Could not find operation GetCallerIdentity for version NO_VERSION_SPECIFIED",
        ),
        (
            "Action=AssumeRoleWithSAML&Version=2011-06-15",
            501,
            "NotImplemented",
            "irsa does not implement the operation AssumeRoleWithSAML.",
        ),
    ] {
        let seen = raw(&world, "POST", "/", FORM, body).await;
        assert_eq!(
            seen.error(),
            (status, code.to_owned(), message.to_owned()),
            "{body}"
        );
        let front = seen
            .body
            .contains("http://webservices.amazon.com/AWSFault/2005-15-09");
        assert_eq!(front, status == 400, "{body}");
    }
}

#[tokio::test]
async fn forms_that_are_none_are_refused() {
    let world = World::new();
    let code = async |content_type: Option<&str>, body: &str| {
        let seen = raw(&world, "POST", "/", content_type, body).await;
        (seen.status.as_u16(), seen.element("Code"))
    };
    let malformed = (404, "MalformedQueryString".to_owned());
    assert_eq!(code(FORM, "Action=%zz").await, malformed);
    assert_eq!(code(FORM, "Action=%").await, malformed);
    assert_eq!(code(FORM, "Action=%ff").await, malformed);
    assert_eq!(code(FORM, "Action=a&Action=b").await, malformed);
    assert_eq!(code(FORM, &"a=b&".repeat(1000)).await, malformed);
    let json = Some("application/json");
    assert_eq!(code(json, "{}").await, (400, "InvalidContentType".to_owned()));
    let latin = Some("application/x-www-form-urlencoded; charset=latin-1");
    assert_eq!(
        code(latin, "Action=x").await,
        (400, "InvalidBodyEncoding".to_owned())
    );
    assert_eq!(
        code(FORM, &"a".repeat(200_000)).await,
        (413, "RequestEntityTooLarge".to_owned())
    );
    assert_eq!(raw(&world, "DELETE", "/", None, "").await.status, 405);
    assert_eq!(
        raw(&world, "POST", "/x", FORM, "Action=GetCallerIdentity")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_body_without_content_type_and_with_a_line_end_is_a_form() {
    let world = World::new();
    let seen = raw(
        &world,
        "POST",
        "/",
        None,
        "Version=2011-06-15&Action=GetCallerIdentity\r\n",
    )
    .await;
    assert_eq!(seen.error().1, "MissingAuthenticationToken");
}

#[tokio::test]
async fn every_broken_constraint_is_told_at_once() {
    let world = World::new();
    let seen = world
        .post(
            REGIONAL,
            &[
                ("Action", "AssumeRoleWithWebIdentity"),
                ("Version", "2011-06-15"),
                ("RoleArn", "short"),
                ("RoleSessionName", "a b"),
            ],
        )
        .await;
    assert_eq!(
        seen.error(),
        (
            400,
            "ValidationError".to_owned(),
            "3 validation errors detected: Value at 'roleArn' failed to satisfy constraint: Member must have length \
             greater than or equal to 20; Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]*; Value at 'webIdentityToken' failed to satisfy \
             constraint: Member must not be null"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn an_arn_that_is_none_and_policies_that_are_none_are_refused() {
    let world = World::new();
    let token = world.token();
    let with = async |arn: &str, name: &str, value: &str| {
        world
            .post(
                REGIONAL,
                &[
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", arn),
                    ("RoleSessionName", "session-1"),
                    ("WebIdentityToken", &token),
                    (name, value),
                ],
            )
            .await
    };
    assert_eq!(
        with("arn:aws:iam:111122223333:role/x", "X", "").await.error(),
        (
            400,
            "ValidationError".to_owned(),
            "Request ARN is invalid".to_owned()
        )
    );
    assert_eq!(
        with(ROLE, "Policy", "{").await.error().1,
        "MalformedPolicyDocument"
    );
    assert_eq!(
        with(ROLE, "Policy", r#"{"Version":"2012-10-17","Statement":[]}"#)
            .await
            .element("PackedPolicySize"),
        "2"
    );
    let long = format!("{{\"Statement\":\"{}\"}}", "x".repeat(3000));
    assert_eq!(with(ROLE, "Policy", &long).await.error().1, "ValidationError");
}

#[tokio::test]
async fn a_host_that_aws_does_not_have_is_not_answered_for() {
    let world = World::new();
    for host in [
        "sts.xx-foo-1.amazonaws.com",
        "example.com",
        "sts-fips.eu-west-1.amazonaws.com",
    ] {
        assert_eq!(world.post(host, &[]).await.status, 421, "{host}");
    }
}

mod any_request {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of real requests, and of none.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("Action=AssumeRoleWithWebIdentity&Version=2011-06-15".to_owned()),
            Just("Action=GetCallerIdentity&Version=2011-06-15".to_owned()),
            Just(
                "RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fpods%2Freader&RoleSessionName=aa"
                    .to_owned()
            ),
            Just("WebIdentityToken=eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL3gifQ.AA".to_owned()),
            Just("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2Fb%2Fc%2Fd%2Fe".to_owned()),
            Just("Tags.member.1.Key=a&Tags.member.99999999999.Value=b&PolicyArns.member.x.arn=c".to_owned()),
            "[ -~é]{0,30}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn is_answered(
            get: bool,
            query in "[!-~]{0,40}",
            pieces in proptest::collection::vec(piece(), 0..5),
            authorization in prop_oneof![
                "AWS4-HMAC-SHA256 Credential=[A-Za-z0-9/]{0,30}, ?SignedHeaders=[a-z;-]{0,20}, ?Signature=[0-9a-f]{0,64}",
                "[ -~]{0,60}",
            ],
            date in prop_oneof!["20261124T001830Z", "[ -~]{0,20}"],
        ) {
            let world = World::new();
            let body = pieces.join("&");
            let mut request = Request::builder()
                .method(if get { "GET" } else { "POST" })
                .header("host", REGIONAL)
                .header("authorization", authorization)
                .header("x-amz-date", date);
            request = match format!("/?{query}").parse::<http::Uri>() {
                Ok(uri) => request.uri(uri),
                Err(_) => request.uri("/"),
            };
            let request = request.body(Bytes::from(body)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let seen = runtime.block_on(world.send(REGIONAL, request));
            // Nobody here has a key or a token, so nothing succeeds but the redirect to the documentation.
            prop_assert!(seen.status != StatusCode::OK && !seen.status.is_server_error(), "{}", seen.body);
        }
    }
}

#[test]
fn no_more_than_an_endpoint_looks_at_need_be_read() {
    assert_eq!(Aws::max_body(REGIONAL), 100 * 1024);
    assert_eq!(Aws::max_body("bucket.s3.us-west-2.amazonaws.com"), 64 << 20);
    assert_eq!(Aws::max_body("example.com"), 100 * 1024);
}
