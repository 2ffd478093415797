//! The other actions: `AssumeRole`, `GetSessionToken`, `GetAccessKeyInfo`, `DecodeAuthorizationMessage`.

use super::*;

fn put_role(world: &World, name: &str, principal: &Value, condition: &Value, actions: &Value) {
    let role = Role::new(
        name,
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": principal, "Action": actions, "Condition": condition}
        ]}),
    );
    world.aws.put_role(ACCOUNT, role).unwrap();
}

fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

async fn assume(world: &World, keys: &Keys, role: &str, more: &[(&str, &str)]) -> Seen {
    let arn = role_arn(role);
    let mut parameters = vec![("RoleArn", arn.as_str()), ("RoleSessionName", "chained")];
    parameters.extend_from_slice(more);
    world
        .call(REGIONAL, keys, "us-west-2", "AssumeRole", &parameters)
        .await
}

#[tokio::test]
async fn a_role_trusts_the_principals_that_it_names() {
    let world = World::new();
    put_role(
        &world,
        "target",
        &json!({"AWS": ROLE}),
        &json!({}),
        &json!("sts:AssumeRole"),
    );
    let pod = world.assume(REGIONAL, &world.token()).await.keys();
    let seen = assume(&world, &pod, "target", &[]).await;
    assert_eq!(
        seen.element("Arn"),
        "arn:aws:sts::111122223333:assumed-role/target/chained"
    );
    assert_eq!(
        world
            .caller_identity(REGIONAL, &seen.keys(), "us-west-2")
            .await
            .element("Arn"),
        "arn:aws:sts::111122223333:assumed-role/target/chained"
    );
    assert_eq!(
        assume(&world, &alice(), "target", &[]).await.error(),
        (
            403,
            "AccessDenied".to_owned(),
            "User: arn:aws:iam::111122223333:user/alice is not authorized to perform: sts:AssumeRole on resource: \
             arn:aws:iam::111122223333:role/target"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn an_external_id_tags_and_a_source_identity_are_conditions_and_permissions() {
    let world = World::new();
    let everybody = json!({"AWS": ACCOUNT});
    put_role(
        &world,
        "vendor",
        &everybody,
        &json!({"StringEquals": {"sts:ExternalId": "secret-id"}}),
        &json!("sts:AssumeRole"),
    );
    assert_eq!(assume(&world, &alice(), "vendor", &[]).await.status, 403);
    assert_eq!(
        assume(&world, &alice(), "vendor", &[("ExternalId", "secret-id")])
            .await
            .status,
        200
    );
    let tags = [
        ("ExternalId", "secret-id"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "a"),
    ];
    assert!(
        assume(&world, &alice(), "vendor", &tags)
            .await
            .error()
            .2
            .contains("not authorized to perform: sts:TagSession")
    );
    put_role(
        &world,
        "tagged",
        &everybody,
        &json!({"StringEquals": {"aws:RequestTag/team": ["a"]}}),
        &json!(["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]),
    );
    let with = [
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "a"),
        ("SourceIdentity", "alice"),
    ];
    assert_eq!(
        assume(&world, &alice(), "tagged", &with)
            .await
            .element("SourceIdentity"),
        "alice"
    );
}

#[tokio::test]
async fn a_chain_of_roles_lasts_an_hour_at_most_and_root_takes_no_role() {
    let world = World::new();
    let mut role = Role::new(
        "long",
        json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}}),
    );
    role.max_session_duration = 43_200;
    world.aws.put_role(ACCOUNT, role).unwrap();
    let pod = world.assume(REGIONAL, &world.token()).await.keys();
    let two_hours = [("DurationSeconds", "7200")];
    assert_eq!(
        assume(&world, &alice(), "long", &two_hours)
            .await
            .element("Expiration"),
        "2026-11-24T02:18:30Z"
    );
    assert!(
        assume(&world, &pod, "long", &two_hours)
            .await
            .error()
            .2
            .contains("role chaining")
    );
    let root = Keys {
        access_key_id: "AKIAROOTROOTROOTROOT".to_owned(),
        ..alice()
    };
    world
        .aws
        .put_user(
            ACCOUNT,
            User {
                name: "root".to_owned(),
                path: "/".to_owned(),
                root: true,
                access_key_id: root.access_key_id.clone(),
                secret_access_key: root.secret_access_key.clone(),
            },
        )
        .unwrap();
    assert_eq!(
        assume(&world, &root, "long", &[]).await.error().2,
        "Roles may not be assumed by root accounts."
    );
    assert_eq!(
        world
            .caller_identity(REGIONAL, &root, "us-west-2")
            .await
            .element("Arn"),
        "arn:aws:iam::111122223333:root"
    );
    let session = world
        .call(
            REGIONAL,
            &root,
            "us-west-2",
            "GetSessionToken",
            &[("DurationSeconds", "7200")],
        )
        .await;
    assert_eq!(session.element("Expiration"), "2026-11-24T01:18:30Z");
}

#[tokio::test]
async fn a_session_token_is_for_long_term_keys() {
    let world = World::new();
    let seen = world
        .call(REGIONAL, &alice(), "us-west-2", "GetSessionToken", &[])
        .await;
    assert_eq!(seen.element("Expiration"), "2026-11-24T12:18:30Z");
    let session = seen.keys();
    assert_eq!(
        world
            .caller_identity(REGIONAL, &session, "us-west-2")
            .await
            .element("Arn"),
        "arn:aws:iam::111122223333:user/alice"
    );
    assert_eq!(
        world
            .call(REGIONAL, &session, "us-west-2", "GetSessionToken", &[])
            .await
            .error(),
        (
            403,
            "AccessDenied".to_owned(),
            "Cannot call GetSessionToken with session credentials".to_owned()
        )
    );
    let mfa = [
        ("SerialNumber", "arn:aws:iam::111122223333:mfa/alice"),
        ("TokenCode", "123456"),
    ];
    assert_eq!(
        world
            .call(REGIONAL, &alice(), "us-west-2", "GetSessionToken", &mfa)
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_key_tells_its_account() {
    let world = World::new();
    let pod = world.assume(REGIONAL, &world.token()).await.keys();
    for key in ["AKIAIOSFODNN7EXAMPLE", &pod.access_key_id] {
        let seen = world
            .call(
                REGIONAL,
                &alice(),
                "us-west-2",
                "GetAccessKeyInfo",
                &[("AccessKeyId", key)],
            )
            .await;
        assert_eq!(seen.element("Account"), ACCOUNT, "{key}");
    }
    let seen = world
        .call(
            REGIONAL,
            &alice(),
            "us-west-2",
            "GetAccessKeyInfo",
            &[("AccessKeyId", "AKIA000000000000")],
        )
        .await;
    assert_eq!(seen.status, 400);
}

#[tokio::test]
async fn an_encoded_message_is_decoded_and_a_foreign_one_is_not() {
    let world = World::new();
    let encoded = world
        .aws
        .encode_authorization_message(r#"{"allowed":false}"#)
        .unwrap();
    let decode = async |message: &str| {
        world
            .call(
                REGIONAL,
                &alice(),
                "us-west-2",
                "DecodeAuthorizationMessage",
                &[("EncodedMessage", message)],
            )
            .await
    };
    assert_eq!(
        decode(&encoded).await.element("DecodedMessage"),
        r#"{"allowed":false}"#
    );
    assert_eq!(
        decode("AAAA").await.error().1,
        "InvalidAuthorizationMessageException"
    );
    assert!(
        world.calls.0.lock().is_empty(),
        "CloudTrail has no record of this action"
    );
}
