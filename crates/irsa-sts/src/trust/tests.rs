use serde_json::{Value, json};

use super::*;

const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/EX";
const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";

fn context() -> ConditionKeys {
    let mut context = ConditionKeys::new();
    context.set(
        "oidc.example/id/EX:sub",
        "system:serviceaccount:kube-system:aws-node",
    );
    context.set("oidc.example/id/EX:aud", "sts.amazonaws.com");
    context.set("aws:SourceIp", "192.0.2.10");
    context.set("aws:SecureTransport", "true");
    context.set("aws:CurrentTime", "2026-11-24T00:00:00Z");
    context.set("sts:RoleSessionName", "session-1");
    context
}

fn statement(effect: &str, condition: Value) -> Value {
    json!({
        "Effect": effect,
        "Principal": {"Federated": PROVIDER},
        "Action": WEB_IDENTITY,
        "Condition": condition,
    })
}

fn policy(statements: &[Value]) -> TrustPolicy {
    TrustPolicy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
}

fn evaluate(policy: &TrustPolicy) -> Decision {
    policy.evaluate(
        WEB_IDENTITY,
        &Principal::Federated {
            provider_arn: PROVIDER,
        },
        &context(),
    )
}

fn allows(condition: Value) -> bool {
    evaluate(&policy(&[statement("Allow", condition)])) == Decision::Allowed
}

#[test]
fn the_policy_of_the_eks_guide_admits_its_service_account_only() {
    let of = |subject: &str| {
        allows(json!({"StringEquals": {
            "oidc.example/id/EX:sub": subject,
            "oidc.example/id/EX:aud": "sts.amazonaws.com",
        }}))
    };
    assert!(of("system:serviceaccount:kube-system:aws-node"));
    assert!(!of("system:serviceaccount:default:aws-node"));
    assert!(
        !of("system:serviceaccount:kube-system:AWS-NODE"),
        "values depend on case"
    );
}

#[test]
fn keys_do_not_depend_on_case_and_all_must_hold() {
    assert!(allows(
        json!({"StringEquals": {"OIDC.Example/id/ex:SUB": "system:serviceaccount:kube-system:aws-node"}})
    ));
    assert!(!allows(json!({
        "StringEquals": {"oidc.example/id/EX:sub": "system:serviceaccount:kube-system:aws-node"},
        "StringLike": {"oidc.example/id/EX:aud": "other*"},
    })));
}

#[test]
fn several_values_are_alternatives() {
    assert!(allows(
        json!({"StringEquals": {"oidc.example/id/EX:aud": ["a", "sts.amazonaws.com"]}})
    ));
    assert!(!allows(
        json!({"StringNotEquals": {"oidc.example/id/EX:aud": ["a", "sts.amazonaws.com"]}})
    ));
    assert!(allows(
        json!({"StringNotEquals": {"oidc.example/id/EX:aud": ["a", "b"]}})
    ));
}

#[test]
fn every_operator_compares_as_its_name_says() {
    for (operator, key, value, expected) in [
        ("StringEquals", "sts:RoleSessionName", "session-1", true),
        ("StringEquals", "sts:RoleSessionName", "session-*", false),
        ("StringLike", "sts:RoleSessionName", "session-?", true),
        ("StringNotLike", "sts:RoleSessionName", "session-?", false),
        ("StringEqualsIgnoreCase", "sts:RoleSessionName", "SESSION-1", true),
        (
            "StringNotEqualsIgnoreCase",
            "sts:RoleSessionName",
            "SESSION-1",
            false,
        ),
        ("IpAddress", "aws:SourceIp", "192.0.2.0/24", true),
        ("IpAddress", "aws:SourceIp", "192.0.3.0/24", false),
        ("IpAddress", "aws:SourceIp", "0.0.0.0/0", true),
        ("IpAddress", "aws:SourceIp", "2001:db8::/32", false),
        ("NotIpAddress", "aws:SourceIp", "192.0.2.10", false),
        ("Bool", "aws:SecureTransport", "true", true),
        ("Bool", "aws:SecureTransport", "false", false),
        ("DateLessThan", "aws:CurrentTime", "2026-12-01T00:00:00Z", true),
        ("DateGreaterThan", "aws:CurrentTime", "2026-12-01", false),
        ("NumericLessThan", "sts:RoleSessionName", "5", false),
    ] {
        assert_eq!(
            allows(json!({operator: {key: value}})),
            expected,
            "{operator} {value}"
        );
    }
}

#[test]
fn a_missing_key_fails_a_comparison_and_passes_its_negation() {
    let absent = "oidc.example/id/EX:amr";
    for (operator, expected) in [
        ("StringEquals", false),
        ("StringNotEquals", true),
        ("StringEqualsIfExists", true),
        ("StringNotEqualsIfExists", true),
        ("StringLikeIfExists", true),
        ("ForAllValues:StringEquals", true),
        ("ForAnyValue:StringEquals", false),
        ("ForAnyValue:StringNotEquals", false),
        ("ForAnyValue:StringEqualsIfExists", true),
    ] {
        assert_eq!(allows(json!({operator: {absent: "x"}})), expected, "{operator}");
    }
    assert!(allows(json!({"Null": {absent: "true"}})));
    assert!(!allows(json!({"Null": {absent: "false"}})));
    assert!(allows(json!({"Null": {"oidc.example/id/EX:sub": false}})));
}

#[test]
fn quantifiers_look_at_every_value() {
    let mut context = context();
    context.set_all("oidc.example/id/EX:amr", vec!["a".to_owned(), "b".to_owned()]);
    for (operator, values, expected) in [
        ("ForAllValues:StringEquals", json!(["a", "b", "c"]), true),
        ("ForAllValues:StringEquals", json!(["a"]), false),
        ("ForAnyValue:StringEquals", json!(["b"]), true),
        ("ForAnyValue:StringEquals", json!(["c"]), false),
        ("ForAnyValue:StringNotEquals", json!(["a"]), true),
        ("ForAllValues:StringNotEquals", json!(["c"]), true),
        ("ForAllValues:StringNotEquals", json!(["a"]), false),
    ] {
        let policy = policy(&[statement(
            "Allow",
            json!({operator: {"oidc.example/id/EX:amr": values}}),
        )]);
        let decision = policy.evaluate(
            WEB_IDENTITY,
            &Principal::Federated {
                provider_arn: PROVIDER,
            },
            &context,
        );
        assert_eq!(decision == Decision::Allowed, expected, "{operator} {values}");
    }
}

#[test]
fn a_deny_wins_wherever_it_stands() {
    let allow = statement("Allow", json!({}));
    let deny = statement(
        "Deny",
        json!({"StringLike": {"oidc.example/id/EX:sub": "*:kube-system:*"}}),
    );
    for order in [[allow.clone(), deny.clone()], [deny, allow]] {
        assert_eq!(
            evaluate(&policy(&order)),
            Decision::Denied(match order[0]["Effect"].as_str() {
                Some("Deny") => "statement 1 denies it".to_owned(),
                _ => "statement 2 denies it".to_owned(),
            })
        );
    }
}

#[test]
fn a_refusal_says_which_condition_did_not_hold() {
    let policy = policy(&[statement(
        "Allow",
        json!({"StringEquals": {"oidc.example/id/EX:sub": "x"}}),
    )]);
    assert_eq!(
        evaluate(&policy),
        Decision::Denied(
            "statement 1: StringEquals is not met: oidc.example/id/EX:sub is \
             \"system:serviceaccount:kube-system:aws-node\", the policy has [\"x\"]"
                .to_owned()
        )
    );
}

#[test]
fn another_provider_or_action_is_not_meant() {
    let policy = policy(&[statement("Allow", json!({}))]);
    let other = Principal::Federated {
        provider_arn: "arn:aws:iam::111122223333:oidc-provider/other",
    };
    assert!(matches!(
        policy.evaluate(WEB_IDENTITY, &other, &context()),
        Decision::Denied(_)
    ));
    let ours = Principal::Federated {
        provider_arn: PROVIDER,
    };
    assert!(matches!(
        policy.evaluate("sts:AssumeRole", &ours, &context()),
        Decision::Denied(_)
    ));
}

#[test]
fn accounts_users_roles_and_sessions_are_principals() {
    let session = Principal::Aws {
        arn: "arn:aws:sts::111122223333:assumed-role/r/s",
        account: "111122223333",
        role_arn: Some("arn:aws:iam::111122223333:role/p/r"),
    };
    for (name, expected) in [
        ("111122223333", true),
        ("arn:aws:iam::111122223333:root", true),
        ("arn:aws:iam::111122223333:role/p/r", true),
        ("arn:aws:sts::111122223333:assumed-role/r/s", true),
        ("arn:aws:sts::111122223333:assumed-role/r/t", false),
        ("arn:aws:iam::111122223333:role/r", false),
        ("444455556666", false),
        ("arn:aws:iam::444455556666:root", false),
        ("*", true),
    ] {
        let policy = TrustPolicy::from_value(&json!({
            "Statement": {"Effect": "Allow", "Principal": {"AWS": [name]}, "Action": "STS:assume*"}
        }))
        .unwrap();
        let decision = policy.evaluate("sts:AssumeRole", &session, &ConditionKeys::new());
        assert_eq!(decision == Decision::Allowed, expected, "{name}");
    }
}

#[test]
fn variables_are_those_of_version_2012_only() {
    let of = |version: &str| {
        let policy = TrustPolicy::from_value(&json!({
            "Version": version,
            "Statement": [statement("Allow", json!({"StringEquals": {"sts:RoleSessionName": "${sts:RoleSessionName}"}}))],
        }))
        .unwrap();
        evaluate(&policy) == Decision::Allowed
    };
    assert!(of("2012-10-17"));
    assert!(!of("2008-10-17"));
}

#[test]
fn what_is_not_evaluated_is_refused_with_a_sentence() {
    let message = |value: Value| TrustPolicy::from_value(&value).unwrap_err().to_string();
    let with = |condition: Value| json!({"Statement": [statement("Allow", condition)]});
    assert_eq!(
        message(with(json!({"stringEquals": {"a:b": "c"}}))),
        "statement 1: condition operator \"stringEquals\" does not exist; StringEquals does"
    );
    assert_eq!(
        message(with(json!({"Matches": {"a:b": "c"}}))),
        "statement 1: condition operator \"Matches\" does not exist"
    );
    assert_eq!(
        message(with(json!({"ForSome:StringEquals": {"a:b": "c"}}))),
        "statement 1: condition operator \"ForSome:StringEquals\": \"ForSome\" is neither ForAllValues nor ForAnyValue"
    );
    assert_eq!(
        message(with(json!({"Bool": {"a:b": "maybe"}}))),
        "statement 1: condition Bool on a:b: \"maybe\" is neither true nor false"
    );
    assert_eq!(
        message(with(json!({"StringEquals": {"sub": "x"}}))),
        "statement 1: condition key \"sub\" has no prefix; the subject of a token is ISSUER:sub, without https://"
    );
    assert!(message(json!({"Statement": []})).contains("Statement is missing"));
    assert!(message(json!({"Version": "2012", "Statement": {}})).contains("Version"));
    assert!(
        message(
            json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:*", "Resource": "*"}})
        )
        .contains("cannot have")
    );
    assert!(
        message(json!({"Statement": {"Effect": "Allow", "Principal": {"Federated": "https://x"}, "Action": "sts:*"}}))
            .contains("is a URL")
    );
    assert!(
        message(json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}}))
            .contains("not one of sts")
    );
}

#[test]
fn every_documented_operator_is_known_in_all_its_forms() {
    for base in [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
        "ArnEquals",
        "ArnLike",
        "ArnNotEquals",
        "ArnNotLike",
    ] {
        for prefix in ["", "ForAllValues:", "ForAnyValue:"] {
            for suffix in ["", "IfExists"] {
                let name = format!("{prefix}{base}{suffix}");
                assert!(
                    Condition::parse(&name, "a:b", vec!["arn:aws:iam::1:x".to_owned()], true).is_ok(),
                    "{name}"
                );
            }
        }
    }
    assert!(Condition::parse("StringEqualsIfExistsIfExists", "a:b", vec!["x".to_owned()], true).is_err());
}

mod any_document {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_read_or_refused(
            effect in "Allow|Deny|[a-z]{0,4}",
            principal in prop_oneof![
                Just(json!("*")), Just(json!({"AWS": "*"})), Just(json!({"Federated": PROVIDER})), Just(json!(7)),
            ],
            operator in "(ForAllValues:|ForAnyValue:)?(StringLike|ArnLike|Bool|NumericLessThan|DateEquals|IpAddress|Null|X)(IfExists)?",
            key in "[a-z:]{0,8}",
            value in "\\PC{0,12}",
        ) {
            let document = json!({"Version": "2012-10-17", "Statement": {
                "Effect": effect, "Principal": principal, "Action": WEB_IDENTITY,
                "Condition": {operator: {key: value}},
            }});
            match TrustPolicy::from_value(&document) {
                Ok(policy) => {
                    let _ = evaluate(&policy);
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }

        #[test]
        fn any_text_is_refused_with_a_sentence(text in "\\PC{0,60}") {
            prop_assert!(!TrustPolicy::from_json(&text).unwrap_err().to_string().is_empty());
        }
    }
}
