//! Findings about pods and accounts, one rule after another.

use super::*;
use crate::{
    finding::Id,
    webhook::{Flavor, SettingsSource, Target, Version, Webhooks},
    wire,
};

const ROLE: &str = "arn:aws:iam::111122223333:role/vpc-cni";

/// A directory with service account `kube-system/aws-node`, annotated as given since 2026-01-02.
fn directory(annotations: &[(&str, &str)]) -> Directory {
    let mut webhooks = Webhooks::assumed(Settings::default(), SettingsSource::Given);
    webhooks.installed = vec![crate::webhook::Installed {
        configuration: "irsa".to_owned(),
        name: "irsa".to_owned(),
        flavor: Flavor::Irsa,
        target: Target::Url("https://127.0.0.1/mutate".to_owned()),
        failure_policy: "Ignore".to_owned(),
        reinvocation_policy: "IfNeeded".to_owned(),
        side_effects: "None".to_owned(),
        timeout_seconds: 10,
        ca_bundle: Vec::new(),
        namespace_selector: irsa_core::selector::LabelSelector::default(),
        object_selector: irsa_core::selector::LabelSelector::parse(
            "!eks.amazonaws.com/skip-pod-identity-webhook",
        )
        .unwrap(),
        review_versions: vec!["v1".to_owned()],
    }];
    let mut directory = Directory::offline(
        webhooks,
        Version {
            git_version: "v1.32.0".to_owned(),
        },
    );
    directory.accounts_complete = true;
    let fields: String = annotations
        .iter()
        .map(|(key, _)| format!(r#""f:{key}":{{}},"#))
        .collect();
    let account = serde_json::json!({"metadata": {"name": "aws-node", "namespace": "kube-system",
        "annotations": annotations.iter().map(|(k, v)| ((*k).to_owned(), serde_json::json!(v))).collect::<serde_json::Map<_, _>>(),
        "managedFields": [{"manager": "kubectl-annotate", "time": "2026-01-02T00:00:00Z",
            "fieldsV1": serde_json::from_str::<serde_json::Value>(&format!(
                r#"{{"f:metadata":{{"f:annotations":{{{}".":{{}}}}}}}}"#, fields)).unwrap()}]}})
    .to_string();
    directory.add_account(&serde_json::from_str::<wire::ServiceAccount<'_>>(&account).unwrap());
    directory
}

/// A pod made on `created` whose container has these variables and the token's volume.
fn pod_json(created: &str, env: &[(&str, &str)]) -> String {
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| serde_json::json!({"name": name, "value": value}))
        .collect();
    serde_json::json!({
        "metadata": {"name": "aws-node-6mfgv", "namespace": "kube-system", "creationTimestamp": created},
        "spec": {"serviceAccountName": "aws-node", "containers": [{"name": "aws-node", "image": "app", "env": env,
            "volumeMounts": [{"name": "aws-iam-token", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount"}]}],
            "volumes": [{"name": "aws-iam-token", "projected": {"sources": [{"serviceAccountToken":
                {"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}}]}}]},
        "status": {"phase": "Running"}})
    .to_string()
}

const TOKEN: (&str, &str) = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
);

fn injected(value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let mut env = vec![("APP", "x")];
    env.extend(value.map(|value| ("AWS_STS_REGIONAL_ENDPOINTS", value)));
    env.extend([
        ("AWS_DEFAULT_REGION", "us-west-2"),
        ("AWS_REGION", "us-west-2"),
        ("AWS_ROLE_ARN", ROLE),
        TOKEN,
    ]);
    env
}

fn ids(json: &str, directory: &Directory) -> Vec<&'static str> {
    let pod: Pod<'_> = serde_json::from_str(json).unwrap();
    let families = Families::new(vec!["js-v3".parse().unwrap()]);
    match super::pod(&pod, directory, &families) {
        Some(view) => view
            .findings
            .iter()
            .map(|finding| finding.id().as_str())
            .collect(),
        None => vec!["nothing to do with AWS"],
    }
}

const REGIONAL: [(&str, &str); 2] = [
    ("eks.amazonaws.com/role-arn", ROLE),
    ("eks.amazonaws.com/sts-regional-endpoints", "true"),
];

#[test]
fn a_pod_that_carries_what_was_chosen_has_no_finding() {
    let none: [&str; 0] = [];
    assert_eq!(
        ids(
            &pod_json("2026-01-03T00:00:00Z", &injected(Some("regional"))),
            &directory(&REGIONAL)
        ),
        none
    );
}

#[test]
fn a_pod_older_than_the_annotation_is_stale_and_one_that_sets_the_value_itself_is_not() {
    let directory = directory(&REGIONAL);
    assert_eq!(
        ids(
            &pod_json("2026-01-01T00:00:00Z", &injected(Some("legacy"))),
            &directory
        ),
        ["stale-pod"]
    );
    assert_eq!(
        ids(&pod_json("2026-01-01T00:00:00Z", &injected(None)), &directory),
        ["stale-pod"]
    );
    let mut own = vec![("AWS_STS_REGIONAL_ENDPOINTS", "legacy"), ("APP", "x")];
    own.extend(injected(None));
    assert_eq!(
        ids(&pod_json("2026-01-03T00:00:00Z", &own), &directory),
        ["set-in-pod"]
    );
}

#[test]
fn a_pod_without_identity_falls_back_to_the_role_of_its_node() {
    let directory = directory(&REGIONAL);
    assert_eq!(
        ids(&pod_json("2026-01-01T00:00:00Z", &[("APP", "x")]), &directory),
        ["unmutated-pod"]
    );
    let skipped = pod_json("2026-01-01T00:00:00Z", &[]).replacen(
        r#""name":"aws-node-6mfgv""#,
        r#""name":"x","labels":{"eks.amazonaws.com/skip-pod-identity-webhook":"true"}"#,
        1,
    );
    let pod: Pod<'_> = serde_json::from_str(&skipped).unwrap();
    let view = super::pod(&pod, &directory, &Families::default()).unwrap();
    assert!(!view.stale);
    assert!(
        matches!(
            &view.findings[0].fact,
            Fact::UnmutatedPod {
                why: WhyUnmutated::SkipLabel { .. },
                ..
            }
        ),
        "{:?}",
        view.findings
    );
    assert_eq!(
        ids(
            &pod_json("2026-01-01T00:00:00Z", &[]),
            &super::tests::directory(&[])
        ),
        ["nothing to do with AWS"]
    );
}

#[test]
fn values_that_stop_sdks_are_errors_and_empty_is_one_of_them() {
    let directory = directory(&REGIONAL);
    for value in ["global", "true", "Regional", ""] {
        let found = ids(
            &pod_json("2026-01-03T00:00:00Z", &injected(Some(value))),
            &directory,
        );
        assert!(found.contains(&"invalid-value"), "{value:?}: {found:?}");
    }
}

#[test]
fn regions_are_looked_at_one_by_one() {
    let directory = directory(&REGIONAL);
    let with = |regions: &[(&str, &str)]| {
        let mut env = vec![("AWS_STS_REGIONAL_ENDPOINTS", "regional")];
        env.extend(regions);
        env.extend([("AWS_ROLE_ARN", ROLE), TOKEN]);
        ids(&pod_json("2026-01-03T00:00:00Z", &env), &directory)
    };
    assert_eq!(with(&[("AWS_REGION", "us-west-2")]), ["lone-aws-region"]);
    assert_eq!(
        with(&[("AWS_DEFAULT_REGION", "us-west-2")]),
        ["lone-aws-default-region"]
    );
    assert_eq!(with(&[]), ["no-region"]);
    assert_eq!(
        with(&[("AWS_REGION", "us-west-2"), ("AWS_DEFAULT_REGION", "eu-west-1")]),
        ["regions-differ"]
    );
    assert!(
        with(&[("AWS_REGION", "cn-north-1"), ("AWS_DEFAULT_REGION", "cn-north-1")])
            .contains(&"role-partition")
    );
}

#[test]
fn the_identity_itself_is_checked() {
    let directory = directory(&REGIONAL);
    let with = |replace: &[(&str, &str)]| {
        let mut json = pod_json("2026-01-03T00:00:00Z", &injected(Some("regional")));
        for (from, to) in replace {
            assert!(json.contains(from), "{from}");
            json = json.replace(from, to);
        }
        ids(&json, &directory)
    };
    assert_eq!(
        with(&[("serviceaccount/token", "elsewhere/token")]),
        ["token-file-missing"]
    );
    assert_eq!(
        with(&[(r#""path":"token""#, r#""path":"other""#)]),
        ["token-file-missing"]
    );
    assert_eq!(
        with(&[("\"sts.amazonaws.com\"", "\"vault\"")]),
        ["token-audience"]
    );
    // The pod is newer than the annotation: its role is its author's.
    assert_eq!(with(&[("role/vpc-cni", "role/other")]), ["role-set-in-pod"]);
    assert_eq!(
        with(&[("role/vpc-cni", "role/other"), ("2026-01-03", "2026-01-01")]),
        ["stale-role"]
    );
    assert_eq!(
        with(&[(ROLE, "arn:aws:iam:111122223333:role/x")]),
        ["bad-role-arn", "role-set-in-pod"]
    );
    assert_eq!(with(&[("AWS_ROLE_ARN", "NOT_IT")]), ["half-identity"]);
}

#[test]
fn accounts_are_checked_without_pods() {
    let found = |annotations: &[(&str, &str)]| {
        let directory = directory(annotations);
        account(&directory, "kube-system", "aws-node")
            .iter()
            .map(|finding| finding.id().as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(&[
            ("eks.amazonaws.com/role-arn", ROLE),
            ("eks.amazonaws.com/sts-regional-endpoint", "true")
        ]),
        ["misspelt-annotation"]
    );
    assert_eq!(
        found(&[
            ("eks.amazonaws.com/role-arn", ROLE),
            ("eks.amazonaws.com/sts-regional-endpoints", "regional")
        ]),
        ["invalid-annotation"]
    );
    assert_eq!(
        found(&[("eks.amazonaws.com/role-arn", "arn:x")]),
        ["bad-role-arn"]
    );
    let mut old = directory(&REGIONAL);
    let settings = Settings {
        platform: irsa_core::endpoint::Platform::parse("1.22", None).ok(),
        ..Settings::default()
    };
    old.webhooks = Webhooks::assumed(settings, SettingsSource::Given);
    assert_eq!(
        account(&old, "kube-system", "aws-node")[0].id().as_str(),
        "cluster-too-old"
    );
}

#[test]
fn no_sentence_ends_with_a_full_stop_and_none_repeats_its_cure() {
    let directory = directory(&[
        ("eks.amazonaws.com/role-arn", "arn:x"),
        ("eks.amazonaws.com/sts-regional-endpoint", "true"),
        ("eks.amazonaws.com/token-expiration", "1"),
    ]);
    for finding in account(&directory, "kube-system", "aws-node") {
        assert!(!finding.message().ends_with(['.', '?']), "{}", finding.message());
        assert!(!finding.message().contains("; "), "{}", finding.message());
    }
}

#[test]
fn a_role_that_the_template_sets_is_not_stale_and_its_cure_is_in_the_template() {
    let directory = directory(&REGIONAL);
    let mut env = vec![
        ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/own"),
        ("APP", "x"),
    ];
    env.extend([
        ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
        ("AWS_DEFAULT_REGION", "us-west-2"),
        ("AWS_REGION", "us-west-2"),
        TOKEN,
    ]);
    let json = pod_json("2026-01-03T00:00:00Z", &env);
    let pod: Pod<'_> = serde_json::from_str(&json).unwrap();
    let view = super::pod(&pod, &directory, &Families::new(vec!["js-v3".parse().unwrap()])).unwrap();
    assert!(!view.stale);
    let found: Vec<_> = view.findings.iter().map(Finding::id).collect();
    assert_eq!(found, [Id::RoleSetInPod]);
}

#[test]
fn a_pod_is_stale_only_if_it_is_under_all_settings_that_are_possible() {
    let mut unread = directory(&[("eks.amazonaws.com/role-arn", ROLE)]);
    // Somebody else's webhook, whose flags cannot be read.
    unread.webhooks = Webhooks::unread_for_tests("v1.36.2", Flavor::Upstream);
    for carried in [None, Some("regional")] {
        let found = ids(&pod_json("2026-01-03T00:00:00Z", &injected(carried)), &unread);
        assert!(!found.contains(&"stale-pod"), "{carried:?}: {found:?}");
    }
    // What was chosen is written whatever the flags say.
    let mut chosen = directory(&REGIONAL);
    chosen.webhooks = Webhooks::unread_for_tests("v1.36.2", Flavor::Upstream);
    assert_eq!(
        ids(&pod_json("2026-01-01T00:00:00Z", &injected(None)), &chosen),
        ["stale-pod"]
    );
}
