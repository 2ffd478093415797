//! The mutation outside compatibility mode.

use irsa_core::endpoint::{ChoiceSource, EndpointType, GlobalValue};
use irsa_core::finding::{Id, Severity};
use irsa_core::identity::{Identity, Known, Lookup, Method, resolve};
use irsa_core::mutation::Unchanged;
use irsa_core::pod::{Pod, Skipped};
use irsa_core::settings::Settings;
use serde_json::{Value, json};

use crate::support::*;

fn after(pod: &Value, annotations: &[(&str, &str)], settings: &Settings) -> Value {
    let account = service_account(annotations, settings).unwrap();
    patched(pod, &identity(&account, settings), settings)
}

fn role() -> [(&'static str, &'static str); 1] {
    [("role-arn", ROLE)]
}

#[test]
fn the_page_s_aws_node_gets_regional_when_it_is_annotated_true() {
    let settings = settings();
    let after = after(
        &pod_with_env(json!(null)),
        &[("role-arn", ROLE), ("sts-regional-endpoints", "true")],
        &settings,
    );
    assert_eq!(
        env(&after),
        [
            "AWS_STS_REGIONAL_ENDPOINTS=regional",
            "AWS_DEFAULT_REGION=us-west-2",
            "AWS_REGION=us-west-2",
            &format!("AWS_ROLE_ARN={ROLE}"),
            &format!("AWS_WEB_IDENTITY_TOKEN_FILE={TOKEN_FILE}"),
        ]
    );
    assert_eq!(
        after["spec"]["volumes"],
        json!([{"name": "aws-iam-token", "projected": {"sources": [{"serviceAccountToken": {
            "audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}}]}}])
    );
    assert_eq!(
        after["spec"]["containers"][0]["volumeMounts"],
        json!([{"name": "aws-iam-token", "readOnly": true, "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount"}])
    );
}

#[test]
fn global_is_written_as_legacy_unless_the_operator_says_otherwise() {
    let global = [("role-arn", ROLE), ("sts-regional-endpoints", "false")];
    for (value, expected) in [
        (GlobalValue::Legacy, Some("legacy")),
        (GlobalValue::Global, Some("global")),
        (GlobalValue::Omit, None),
    ] {
        let settings = Settings {
            global_value: value,
            region: None,
            ..settings()
        };
        let after = after(&pod_with_env(json!([])), &global, &settings);
        let written = env(&after).iter().find_map(|var| {
            var.strip_prefix("AWS_STS_REGIONAL_ENDPOINTS=")
                .map(ToOwned::to_owned)
        });
        assert_eq!(written.as_deref(), expected);
    }
}

#[test]
fn nothing_is_written_when_nobody_chose() {
    let settings = Settings {
        region: None,
        ..settings()
    };
    let after = after(&pod_with_env(json!([])), &role(), &settings);
    assert_eq!(
        env(&after),
        [
            format!("AWS_ROLE_ARN={ROLE}"),
            format!("AWS_WEB_IDENTITY_TOKEN_FILE={TOKEN_FILE}")
        ]
    );
}

#[test]
fn the_container_s_own_value_is_kept_and_reported_as_its_choice() {
    let settings = settings();
    let pod = pod_with_env(json!([{"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "legacy"}]));
    let account = service_account(
        &[("role-arn", ROLE), ("sts-regional-endpoints", "true")],
        &settings,
    )
    .unwrap();
    let identity = identity(&account, &settings);
    outcome(&pod, &identity, &settings, |outcome| {
        let facts = &outcome.containers[0];
        assert_eq!(
            (facts.endpoint, facts.source, facts.written),
            (Some(EndpointType::Global), ChoiceSource::Container, None)
        );
    });
    assert_eq!(
        env(&patched(&pod, &identity, &settings))
            .iter()
            .filter(|var| var.starts_with("AWS_STS"))
            .count(),
        1
    );
}

#[test]
fn a_value_that_stops_sdks_is_kept_and_warned_of() {
    let settings = settings();
    let account = reader(&settings);
    let identity = identity(&account, &settings);
    for (value, said) in [
        ("global", "`legacy`"),
        ("true", "accept only"),
        ("", "empty"),
        ("REGIONAL", "lower case"),
    ] {
        let pod = pod_with_env(json!([{"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": value}]));
        let warnings = warnings(&pod, &identity, &settings);
        assert!(
            warnings
                .iter()
                .any(|w| w.contains("container main") && w.contains(said)),
            "{value}: {warnings:?}"
        );
    }
    let unknowable = pod_with_env(
        json!([{"name": "AWS_STS_REGIONAL_ENDPOINTS", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]),
    );
    outcome(&unknowable, &identity, &settings, |outcome| {
        assert_eq!(outcome.containers[0].endpoint, None);
        assert!(outcome.warnings.is_empty());
    });
}

#[test]
fn a_lone_region_variable_is_joined_by_the_other_with_the_same_value() {
    let settings = settings();
    for (set, other) in [
        ("AWS_REGION", "AWS_DEFAULT_REGION"),
        ("AWS_DEFAULT_REGION", "AWS_REGION"),
    ] {
        let literal = after(
            &pod_with_env(json!([{"name": set, "value": "eu-west-1"}])),
            &role(),
            &settings,
        );
        assert!(env(&literal).contains(&format!("{other}=eu-west-1")), "{literal}");
        let from = json!([{"name": set, "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]);
        let from = after(&pod_with_env(from), &role(), &settings);
        assert!(env(&from).contains(&format!("{other}=$({set})")), "{from}");
        let empty = after(
            &pod_with_env(json!([{"name": set, "value": ""}])),
            &role(),
            &settings,
        );
        assert!(env(&empty).contains(&format!("{other}=us-west-2")), "{empty}");
    }
}

#[test]
fn a_lone_region_variable_is_warned_of_when_no_region_is_set_for_the_webhook() {
    let settings = Settings {
        region: None,
        ..settings()
    };
    let account = reader(&settings);
    let pod = pod_with_env(json!([{"name": "AWS_REGION", "value": "eu-west-1"}]));
    let warnings = warnings(&pod, &identity(&account, &settings), &settings);
    assert_eq!(
        warnings,
        [
            "container main: AWS_REGION is set without AWS_DEFAULT_REGION, the only one that boto3 and AWS CLI v1 read: \
             they call the global endpoint even where regional was chosen; set both in the pod's template, or none so \
             that the webhook writes both"
        ]
    );
}

#[test]
fn each_identity_variable_is_filled_in_on_its_own() {
    let settings = Settings {
        region: None,
        ..settings()
    };
    let own_role = after(
        &pod_with_env(json!([{"name": "AWS_ROLE_ARN", "value": "mine"}])),
        &role(),
        &settings,
    );
    assert_eq!(
        env(&own_role),
        [
            "AWS_ROLE_ARN=mine".to_owned(),
            format!("AWS_WEB_IDENTITY_TOKEN_FILE={TOKEN_FILE}")
        ]
    );
    let own_file = after(
        &pod_with_env(json!([{"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/own/token"}])),
        &role(),
        &settings,
    );
    assert_eq!(
        env(&own_file),
        [
            "AWS_WEB_IDENTITY_TOKEN_FILE=/own/token".to_owned(),
            format!("AWS_ROLE_ARN={ROLE}")
        ]
    );
    // Its own token needs no volume of ours.
    assert!(own_file["spec"].get("volumes").is_none());
    assert!(own_file["spec"]["containers"][0].get("volumeMounts").is_none());
}

#[test]
fn a_volume_mounted_elsewhere_is_where_the_token_is_looked_for() {
    let settings = Settings {
        region: None,
        ..settings()
    };
    let pod =
        pod(json!([{"name": "main", "volumeMounts": [{"name": "aws-iam-token", "mountPath": "/tokens/"}]}]));
    assert_eq!(
        env(&after(&pod, &role(), &settings))[1],
        "AWS_WEB_IDENTITY_TOKEN_FILE=/tokens/token"
    );
}

#[test]
fn another_volume_at_the_token_s_path_is_left_alone_and_warned_of() {
    let settings = settings();
    let mount = json!({"name": "mine", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount/"});
    let pod = pod(json!([{"name": "main", "volumeMounts": [mount]}]));
    let account = reader(&settings);
    let identity = identity(&account, &settings);
    let after = patched(&pod, &identity, &settings);
    assert_eq!(
        after["spec"]["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(after["spec"].get("volumes").is_none());
    assert!(warnings(&pod, &identity, &settings)[0].contains("another volume is mounted"));
}

#[test]
fn a_volume_of_the_token_s_name_that_cannot_hold_it_is_warned_of() {
    let settings = settings();
    let mut pod = pod_with_env(json!([]));
    pod["spec"]["volumes"] = json!([{"name": "aws-iam-token", "emptyDir": {}}]);
    let account = reader(&settings);
    assert!(warnings(&pod, &identity(&account, &settings), &settings)[0].contains("not a projected volume"));
}

#[test]
fn init_containers_and_native_sidecars_are_mutated_and_keep_their_fields() {
    let settings = settings();
    let mut pod = pod(json!([{"name": "main"}]));
    pod["spec"]["initContainers"] = json!([
        {"name": "setup", "image": "s"},
        {"name": "proxy", "restartPolicy": "Always", "startupProbe": {"grpc": {"port": 1}}, "futureField": {"a": [1]}},
    ]);
    let after = after(&pod, &role(), &settings);
    for index in 0..2 {
        assert_eq!(env_of(&after["spec"]["initContainers"][index]).len(), 4);
    }
    assert_eq!(after["spec"]["initContainers"][1]["restartPolicy"], "Always");
    assert_eq!(
        after["spec"]["initContainers"][1]["futureField"],
        json!({"a": [1]})
    );
}

#[test]
fn lists_of_containers_are_respected_and_names_that_do_not_exist_are_warned_of() {
    let settings = settings();
    let account = reader(&settings);
    let identity = identity(&account, &settings);
    let mut pod = pod(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
    let mutated = |pod: &Value| -> Vec<String> {
        outcome(pod, &identity, &settings, |outcome| {
            let facts = outcome.containers.iter().filter(|facts| facts.skipped.is_none());
            facts.map(|facts| facts.name.to_owned()).collect()
        })
    };
    pod["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": " a , nope"});
    assert_eq!(mutated(&pod), ["b", "c"]);
    assert_eq!(
        warnings(&pod, &identity, &settings),
        ["pod annotation skip-containers names `nope`, but the pod has no such container; correct the name"]
    );
    pod["metadata"]["annotations"] =
        json!({"eks.amazonaws.com/include-containers": "a,b", "eks.amazonaws.com/skip-containers": "b"});
    assert_eq!(mutated(&pod), ["a"]);
    outcome(&pod, &identity, &settings, |outcome| {
        let skipped: Vec<_> = outcome.containers.iter().map(|facts| facts.skipped).collect();
        assert_eq!(skipped, [None, Some(Skipped::Listed), Some(Skipped::NotIncluded)]);
    });
    pod["metadata"]["annotations"] = json!({"eks.amazonaws.com/include-containers": "nope"});
    outcome(&pod, &identity, &settings, |outcome| {
        assert_eq!(outcome.unchanged, Some(Unchanged::AllContainersSkipped));
        assert!(outcome.patch.is_empty());
    });
}

#[test]
fn windows_is_told_by_selector_os_or_required_affinity() {
    let settings = settings();
    let term = |values: Value| json!({"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": values}]});
    let affinity = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let windows = |field: &str, value: Value| {
        let mut pod = pod_with_env(json!([]));
        pod["spec"][field] = value;
        let after = after(&pod, &role(), &settings);
        env(&after).last().unwrap()
            == r"AWS_WEB_IDENTITY_TOKEN_FILE=C:\var\run\secrets\eks.amazonaws.com\serviceaccount\token"
    };
    assert!(windows("nodeSelector", json!({"kubernetes.io/os": "windows"})));
    assert!(windows(
        "nodeSelector",
        json!({"beta.kubernetes.io/os": "windows"})
    ));
    assert!(windows("os", json!({"name": "windows"})));
    assert!(windows("affinity", affinity(json!([term(json!(["windows"]))]))));
    assert!(!windows(
        "affinity",
        affinity(json!([term(json!(["windows"])), term(json!(["linux"]))]))
    ));
    assert!(!windows(
        "affinity",
        affinity(json!([term(json!(["windows", "linux"]))]))
    ));
    assert!(!windows("affinity", json!({"nodeAffinity": {"windows": 1}})));
    assert!(!windows("nodeSelector", json!({"kubernetes.io/os": "linux"})));
}

#[test]
fn the_session_is_named_after_the_pod_within_the_limits_of_sts() {
    let settings = Settings {
        session_name: true,
        region: None,
        ..settings()
    };
    let named = |metadata: Value| {
        let mut pod = pod_with_env(json!([]));
        pod["metadata"] = metadata;
        env(&after(&pod, &role(), &settings)).pop().unwrap()
    };
    let by_kubelet = r#"AWS_ROLE_SESSION_NAME from {"fieldRef":{"fieldPath":"metadata.name"}}"#;
    assert_eq!(named(json!({"name": "web-0"})), by_kubelet);
    assert_eq!(named(json!({"generateName": "web-"})), by_kubelet);
    assert_eq!(named(json!({"name": "a"})), "AWS_ROLE_SESSION_NAME=pod-a");
    assert_eq!(
        named(json!({"name": "x".repeat(100)})),
        format!("AWS_ROLE_SESSION_NAME={}", "x".repeat(64))
    );
    let own = pod_with_env(json!([{"name": "AWS_ROLE_SESSION_NAME", "value": "mine"}]));
    assert_eq!(
        env(&after(&own, &role(), &settings))
            .iter()
            .filter(|v| v.starts_with("AWS_ROLE_SESSION"))
            .count(),
        1
    );
}

#[test]
fn the_record_tells_endpoint_and_source_and_is_written_once() {
    let settings = Settings {
        record: true,
        flag: Some(EndpointType::Regional),
        ..settings()
    };
    let mut pod = pod_with_env(json!([]));
    let first = after(&pod, &role(), &settings);
    assert_eq!(
        first["metadata"]["annotations"],
        json!({"eks.amazonaws.com/sts-endpoint": "regional,flag"})
    );
    pod["metadata"]["annotations"] = json!({"a/b": "c"});
    let second = after(
        &pod,
        &[("role-arn", ROLE), ("sts-regional-endpoints", "0")],
        &settings,
    );
    assert_eq!(
        second["metadata"]["annotations"],
        json!({"a/b": "c", "eks.amazonaws.com/sts-endpoint": "global,service-account"})
    );
    assert_eq!(after(&second, &role(), &settings), second);
}

#[test]
fn a_second_call_fills_in_only_the_sidecar_that_came_between() {
    let settings = Settings {
        record: true,
        ..settings()
    };
    let mut pod = after(&pod_with_env(json!([])), &role(), &settings);
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "sidecar"}));
    let account = reader(&settings);
    let identity = identity(&account, &settings);
    outcome(&pod, &identity, &settings, |outcome| {
        assert_eq!(outcome.operations, 2, "the sidecar's variables and its mount");
        assert_eq!(outcome.containers[0].skipped, Some(Skipped::Complete));
    });
    let again = patched(&pod, &identity, &settings);
    outcome(&again, &identity, &settings, |outcome| {
        assert_eq!(outcome.unchanged, Some(Unchanged::AlreadyComplete));
        assert!(outcome.patch.is_empty());
    });
}

#[test]
fn a_pod_with_the_skip_label_is_left_alone_whatever_the_selector() {
    let settings = settings();
    let mut pod = pod_with_env(json!([]));
    pod["metadata"]["labels"] = json!({"eks.amazonaws.com/skip-pod-identity-webhook": ""});
    let account = reader(&settings);
    outcome(&pod, &identity(&account, &settings), &settings, |outcome| {
        assert_eq!(outcome.unchanged, Some(Unchanged::SkipLabel));
    });
}

#[test]
fn static_credentials_and_env_from_are_warned_of() {
    let settings = settings();
    let account = reader(&settings);
    let pod = pod(
        json!([{"name": "main", "env": [{"name": "AWS_ACCESS_KEY_ID", "value": "AKIA"}], "envFrom": [{"secretRef": {"name": "s"}}]}]),
    );
    outcome(&pod, &identity(&account, &settings), &settings, |outcome| {
        let found: Vec<_> = outcome
            .warnings
            .iter()
            .map(|finding| (finding.id(), finding.severity()))
            .collect();
        assert_eq!(
            found,
            [
                (Id::StaticCredentials, Severity::Warning),
                (Id::EnvFrom, Severity::Info)
            ]
        );
    });
}

const OWN_TOKEN_FILE: &str = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token";

fn container_credentials(settings: &Settings) -> Identity<'_> {
    let lookup = Lookup {
        service_account: Known::Plain,
        container_credentials: true,
        ..Lookup::NOTHING
    };
    let identity = resolve(&lookup, settings).unwrap();
    assert_eq!(identity.method, Method::ContainerCredentials);
    identity
}

#[test]
fn container_credentials_keep_a_label_that_is_there_and_write_both_variables() {
    let settings = settings();
    let identity = container_credentials(&settings);
    let mut pod = pod_with_env(json!([]));
    pod["metadata"]["labels"] = json!({"eks.amazonaws.com/pod-identity": "mine"});
    let after = patched(&pod, &identity, &settings);
    assert_eq!(
        after["metadata"]["labels"]["eks.amazonaws.com/pod-identity"],
        "mine"
    );
    let file = format!("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={OWN_TOKEN_FILE}");
    assert_eq!(env(&after).last().unwrap(), &file);
    assert_eq!(
        after["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"],
        "pods.eks.amazonaws.com"
    );
    // A second look at what was written is not taken for its author's.
    outcome(&after, &identity, &settings, |outcome| {
        assert_eq!(outcome.operations, 0);
        assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
    });
}

#[test]
fn one_container_credentials_variable_of_the_author_keeps_all_of_them_from_being_written() {
    let settings = Settings {
        region: None,
        ..settings()
    };
    let identity = container_credentials(&settings);
    for (variable, value) in [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://collector.example/"),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        ),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/own/token"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", OWN_TOKEN_FILE),
    ] {
        let pod = pod_with_env(json!([{"name": variable, "value": value}]));
        outcome(&pod, &identity, &settings, |outcome| {
            assert_eq!(outcome.operations, 0, "{variable}={value}");
            let found: Vec<_> = outcome.warnings.iter().map(|w| w.id()).collect();
            assert_eq!(found, [Id::ContainerCredentialsSetInPod], "{variable}={value}");
        });
    }
    // Ours, joined by one that takes precedence over it.
    let pod = pod_with_env(json!([
        {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"},
        {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": OWN_TOKEN_FILE},
        {"name": "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "value": "/mine"},
    ]));
    outcome(&pod, &identity, &settings, |outcome| {
        assert_eq!((outcome.operations, outcome.warnings.len()), (0, 1));
    });
}

#[test]
fn a_mount_of_a_part_of_the_token_s_volume_is_warned_of_and_joined_by_the_whole() {
    let settings = Settings {
        region: None,
        ..settings()
    };
    let account = reader(&settings);
    let identity = identity(&account, &settings);
    for sub in ["subPath", "subPathExpr"] {
        let pod = pod(json!([{"name": "main", "volumeMounts": [
            {"name": "aws-iam-token", "mountPath": "/tokens/mine", sub: "token"}]}]));
        let after = patched(&pod, &identity, &settings);
        assert_eq!(
            env(&after)[1],
            format!("AWS_WEB_IDENTITY_TOKEN_FILE={TOKEN_FILE}")
        );
        assert_eq!(
            after["spec"]["containers"][0]["volumeMounts"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert_eq!(after["spec"]["volumes"].as_array().unwrap().len(), 1);
        for (pod, operations) in [(&pod, 3), (&after, 0)] {
            outcome(pod, &identity, &settings, |outcome| {
                assert_eq!(outcome.operations, operations);
                assert_eq!(outcome.warnings[0].id(), Id::TokenSubPath);
            });
        }
    }
}

#[test]
fn an_empty_region_stays_and_is_warned_of() {
    let settings = settings();
    let account = reader(&settings);
    let identity = identity(&account, &settings);
    let pod = pod_with_env(json!([{"name": "AWS_REGION", "value": ""}]));
    assert!(env(&patched(&pod, &identity, &settings)).contains(&"AWS_REGION=".to_owned()));
    outcome(&pod, &identity, &settings, |outcome| {
        assert_eq!(outcome.warnings[0].id(), Id::EmptyRegion);
    });
}

#[test]
fn lists_that_are_null_or_missing_are_created_and_metadata_too() {
    let settings = Settings {
        record: true,
        ..settings()
    };
    let mut pod = json!({"spec": {"volumes": null, "initContainers": null, "containers": [{"name": "main", "env": null, "volumeMounts": null}]}});
    let first = after(&pod, &role(), &settings);
    assert_eq!(first["spec"]["containers"][0]["env"].as_array().unwrap().len(), 4);
    assert_eq!(first["metadata"]["annotations"].as_object().unwrap().len(), 1);
    pod["metadata"] = json!({"annotations": null, "labels": null});
    assert_eq!(after(&pod, &role(), &settings), first_with_null_labels(first));
}

fn first_with_null_labels(mut pod: Value) -> Value {
    pod["metadata"]["labels"] = Value::Null;
    pod
}

#[test]
fn odd_characters_survive_the_patch() {
    let odd = "arn:aws:iam::1:role/\"\\\u{1}é\n";
    let settings = Settings {
        annotation_prefix: "a~b.example".into(),
        record: true,
        ..settings()
    };
    let account =
        irsa_core::identity::ServiceAccount::from_annotations([("a~b.example/role-arn", odd)], &settings)
            .unwrap();
    let mut pod = pod_with_env(json!([]));
    pod["metadata"]["annotations"] = json!({});
    let after = patched(&pod, &identity(&account, &settings), &settings);
    assert!(env(&after).contains(&format!("AWS_ROLE_ARN={odd}")));
    assert_eq!(
        after["metadata"]["annotations"],
        json!({"a~b.example/sts-endpoint": "global,unset"})
    );
}

#[test]
fn text_that_is_no_pod_is_an_error_that_says_where() {
    for text in [
        "",
        "7",
        r#"{"spec": 1}"#,
        r#"{"spec":{"containers":[{"name":1}]}}"#,
        "{\"metadata\":",
    ] {
        let error = Pod::parse(text.as_bytes()).map(drop).unwrap_err().to_string();
        assert!(
            error.starts_with("the pod is not readable: ") && error.contains("line 1"),
            "{error}"
        );
    }
    let settings = settings();
    let account = reader(&settings);
    for text in [
        r#"{"metadata":{"annotations":[1]},"spec":{"containers":[{"name":"a"}]}}"#,
        r#"{"spec":{"volumes":7,"containers":[{"name":"a"}]}}"#,
    ] {
        assert!(
            Pod::parse(text.as_bytes())
                .unwrap()
                .patch(&identity(&account, &settings), &settings, 0)
                .is_err()
        );
    }
}
