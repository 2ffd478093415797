//! Properties that hold for every pod: the patch applies, only adds, is empty the second time, and in compatibility
//! mode gives what the model of the Go webhook gives.

use irsa_core::endpoint::{EndpointType, GlobalValue};
use irsa_core::identity::{Known, Lookup, ServiceAccount, resolve};
use irsa_core::settings::Settings;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::*;
use crate::upstream::{flags, found};
use crate::upstream_model::mutate;

const VARIABLES: [&str; 12] = [
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "PATH",
    "",
];

/// JSON of any form, for fields that this build does not know.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn variable() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(""),
        Just("regional"),
        Just("legacy"),
        Just("eu-west-1"),
        Just("/own/token"),
        Just(TOKEN_FILE),
        Just("a\"\\é")
    ];
    (prop::sample::select(&VARIABLES[..]), value, 0..3).prop_map(|(name, value, form)| match form {
        0 => json!({"name": name}),
        1 => json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        _ => json!({"name": name, "value": value}),
    })
}

fn mount() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 3] = ["aws-iam-token", "eks-pod-identity-token", "data"];
    const PATHS: [&str; 3] = [
        "/data",
        "/var/run/secrets/eks.amazonaws.com/serviceaccount",
        "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/",
    ];
    (prop::sample::select(&NAMES[..]), prop::sample::select(&PATHS[..]))
        .prop_map(|(name, path)| json!({"name": name, "mountPath": path, "subPath": "x"}))
}

/// Absent, null, or a list.
fn list(entry: impl Strategy<Value = Value> + 'static, most: usize) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Value::Null)),
        5 => prop::collection::vec(entry, 0..=most).prop_map(|entries| Some(Value::from(entries))),
    ]
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[field] = value;
    }
}

fn container() -> impl Strategy<Value = Value> {
    (list(variable(), 6), list(mount(), 2), any_json(), any_json()).prop_map(
        |(env, mounts, future, probe)| {
            let mut container = json!({"image": "i", "x-future": future, "livenessProbe": probe});
            set(&mut container, "env", env);
            set(&mut container, "volumeMounts", mounts);
            container
        },
    )
}

fn named(list: Vec<Value>, prefix: &str) -> Value {
    let name = |(index, mut container): (usize, Value)| {
        container["name"] = format!("{prefix}{index}").into();
        container
    };
    list.into_iter().enumerate().map(name).collect()
}

fn any_pod() -> impl Strategy<Value = Value> {
    let volume = prop::sample::select(&["aws-iam-token", "eks-pod-identity-token", "data", "cache"][..])
        .prop_map(|name| json!({"name": name, "projected": {"sources": []}}));
    let annotations = prop::collection::vec(
        (
            prop::sample::select(
                &[
                    "eks.amazonaws.com/skip-containers",
                    "eks.amazonaws.com/token-expiration",
                    "a/b",
                ][..],
            ),
            prop::sample::select(&["c0", "c1,i0", "3600", "10", "x", "86400"][..]),
        ),
        0..3,
    )
    .prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect::<Map<_, _>>()
    });
    let os = prop::option::of(prop::sample::select(&["windows", "linux"][..]));
    (
        prop::collection::vec(container(), 1..4),
        prop::option::of(prop::collection::vec(container(), 0..3)),
        list(volume, 3),
        prop::option::of(annotations),
        os,
        any_json(),
        any::<bool>(),
    )
        .prop_map(|(containers, init, volumes, annotations, os, future, labels)| {
            let mut pod = json!({
                "kind": "Pod",
                "metadata": {"name": "p", "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {}}}]},
                "spec": {"serviceAccountName": "sa", "x-future": future},
                "status": {},
            });
            if labels {
                pod["metadata"]["labels"] = json!({"app": "a", "eks.amazonaws.com/pod-identity": future.as_str().unwrap_or("enabled")});
            }
            set(
                &mut pod["metadata"],
                "annotations",
                annotations.map(Value::Object),
            );
            set(
                &mut pod["spec"],
                "nodeSelector",
                os.map(|os| json!({"kubernetes.io/os": os})),
            );
            set(&mut pod["spec"], "volumes", volumes);
            set(
                &mut pod["spec"],
                "initContainers",
                init.map(|list| named(list, "i")),
            );
            pod["spec"]["containers"] = named(containers, "c");
            pod
        })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let endpoint = || prop::option::of(any::<bool>().prop_map(EndpointType::from_regional));
    (
        prop::option::of(Just("us-west-2".into())),
        endpoint(),
        any::<bool>(),
        any::<bool>(),
        0..3u8,
    )
        .prop_map(|(region, flag, session_name, record, global)| Settings {
            region,
            flag,
            session_name,
            record,
            global_value: [GlobalValue::Legacy, GlobalValue::Omit, GlobalValue::Global][usize::from(global)],
            ..Settings::default()
        })
}

/// The annotations of a service account with a role, and whether the credentials file lists it.
fn any_account() -> impl Strategy<Value = (Vec<(&'static str, &'static str)>, bool)> {
    let extra = prop::collection::vec(
        prop::sample::select(
            &[
                ("sts-regional-endpoints", "true"),
                ("sts-regional-endpoints", "false"),
                ("audience", "a"),
                ("token-expiration", "700"),
                ("sts-regional-endpoints", "x"),
            ][..],
        ),
        0..3,
    );
    (extra, any::<bool>()).prop_map(|(mut annotations, container_credentials)| {
        annotations.push(("role-arn", ROLE));
        (annotations, container_credentials)
    })
}

fn account(annotations: &[(&str, &str)], settings: &Settings) -> ServiceAccount {
    // A real map has each key once.
    let unique: std::collections::BTreeMap<_, _> = annotations.iter().copied().collect();
    service_account(&unique.into_iter().collect::<Vec<_>>(), settings).unwrap()
}

/// Whether everything of `before` is still in `after`: lists may have grown at their end (or, for volumes in
/// compatibility mode, at their beginning), maps may have new keys, `null` may have become a list or map.
fn only_grew(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Null, Value::Array(_) | Value::Object(_)) => true,
        (Value::Object(before), Value::Object(after)) => {
            let kept: Vec<_> = after.keys().filter(|key| before.contains_key(*key)).collect();
            kept.iter().copied().eq(before.keys())
                && before.iter().all(|(key, value)| only_grew(value, &after[key]))
        }
        (Value::Array(before), Value::Array(after)) => {
            after.len() >= before.len()
                && before
                    .iter()
                    .zip(after)
                    .all(|(before, after)| only_grew(before, after))
        }
        _ => before == after,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_patch_applies_only_adds_and_is_empty_the_second_time(
        pod in any_pod(), settings in any_settings(), (annotations, container_credentials) in any_account(),
    ) {
        let account = account(&annotations, &settings);
        let lookup = Lookup { service_account: Known::Annotated(&account), container_credentials, ..Lookup::NOTHING };
        let identity = resolve(&lookup, &settings).unwrap();
        let once = patched(&pod, &identity, &settings);
        prop_assert!(only_grew(&pod, &once), "before {pod}\nafter {once}");
        outcome(&once, &identity, &settings, |again| {
            assert!(again.patch.is_empty(), "second patch {}", String::from_utf8_lossy(&again.patch));
            assert!(again.unchanged.is_some());
        });
        outcome(&pod, &identity, &settings, |first| {
            assert_eq!(first.patch.is_empty(), first.unchanged.is_some());
            let all = |list: &str| pod["spec"][list].as_array().map_or(0, Vec::len);
            assert_eq!(first.containers.len(), all("containers") + all("initContainers"));
        });
    }

    #[test]
    fn in_compatibility_mode_the_pod_is_that_of_the_go_webhook(
        pod in any_pod(), settings in any_settings(), (annotations, container_credentials) in any_account(),
    ) {
        let settings = settings.upstream();
        let account = account(&annotations, &settings);
        let lookup = Lookup { service_account: Known::Annotated(&account), container_credentials, ..Lookup::NOTHING };
        let identity = resolve(&lookup, &settings).unwrap();
        let expected = mutate(&pod, &found(&identity), &flags(&settings, container_credentials));
        let once = patched(&pod, &identity, &settings);
        prop_assert_eq!(&once, &expected);
        outcome(&once, &identity, &settings, |again| assert!(again.patch.is_empty(), "{}", String::from_utf8_lossy(&again.patch)));
    }

    #[test]
    fn no_bytes_make_the_readers_panic(text in ".{0,200}", key in "[a-zA-Z./_-]{0,70}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let settings = settings();
        let _ = irsa_core::identity::ConfigMap::parse(&text, &settings);
        let _ = irsa_core::identity::CredentialsFile::parse(&bytes);
        let _ = irsa_core::pod::Pod::parse(&bytes);
        let _ = irsa_core::annotations::service_account("eks.amazonaws.com", None, [(&*key, &*text), (&*text, &*key)]);
        let _ = irsa_core::annotations::pod("eks.amazonaws.com", true, [("eks.amazonaws.com/skip-containers", &*text)]);
        let _ = irsa_core::node::region(&text, [(irsa_core::node::ZONE_LABEL, &*key)], Some(&text));
    }
}
