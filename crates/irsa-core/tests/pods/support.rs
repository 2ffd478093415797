//! Pods, service accounts and the application of patches.

use irsa_core::identity::{ConfigMap, Identity, Known, Lookup, NoIdentity, ServiceAccount, resolve};
use irsa_core::mutation::Outcome;
use irsa_core::pod::Pod;
use irsa_core::settings::Settings;
use serde_json::{Value, json};

pub(crate) const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
pub(crate) const TOKEN_FILE: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";

/// Settings as an operator of a cluster in us-west-2 has them.
pub(crate) fn settings() -> Settings {
    Settings {
        region: Some("us-west-2".into()),
        record: false,
        ..Settings::default()
    }
}

/// A service account with these annotations under the usual prefix.
pub(crate) fn service_account(annotations: &[(&str, &str)], settings: &Settings) -> Option<ServiceAccount> {
    let prefixed: Vec<_> = annotations
        .iter()
        .map(|(name, value)| (format!("eks.amazonaws.com/{name}"), *value))
        .collect();
    ServiceAccount::from_annotations(prefixed.iter().map(|(key, value)| (&**key, *value)), settings)
}

/// A service account with a role and nothing else.
pub(crate) fn reader(settings: &Settings) -> ServiceAccount {
    service_account(&[("role-arn", ROLE)], settings).unwrap()
}

/// What a service account that exists gets.
pub(crate) fn identity<'a>(account: &'a ServiceAccount, settings: &'a Settings) -> Identity<'a> {
    resolve(
        &Lookup {
            service_account: Known::Annotated(account),
            ..Lookup::NOTHING
        },
        settings,
    )
    .unwrap()
}

/// What is found for `namespace/name` when only the ConfigMap knows it.
pub(crate) fn from_config_map<'a>(
    map: &'a ConfigMap,
    namespace: &str,
    name: &str,
    settings: &'a Settings,
) -> Result<Identity<'a>, NoIdentity> {
    let lookup = Lookup {
        service_account: Known::Plain,
        config_map: map.find(namespace, name),
        ..Lookup::NOTHING
    };
    resolve(&lookup, settings)
}

/// A pod with these containers.
pub(crate) fn pod(containers: Value) -> Value {
    json!({
        "metadata": {"name": "aws-node-6mfgv", "labels": {"k8s-app": "aws-node"}},
        "spec": {"serviceAccountName": "aws-node", "containers": containers}
    })
}

/// A pod with one container `main` that has these variables.
pub(crate) fn pod_with_env(env: Value) -> Value {
    pod(json!([{"name": "main", "image": "main:1", "env": env}]))
}

/// The pod after its patch.
pub(crate) fn patched(pod: &Value, identity: &Identity<'_>, settings: &Settings) -> Value {
    let bytes = serde_json::to_vec(pod).unwrap();
    let parsed = Pod::parse(&bytes).unwrap();
    let outcome = parsed.patch(identity, settings, 0).unwrap();
    apply(pod, &outcome)
}

/// What becomes of the pod, with its warnings as text, shown to `look`.
pub(crate) fn outcome<T>(
    pod: &Value,
    identity: &Identity<'_>,
    settings: &Settings,
    look: impl FnOnce(&Outcome<'_>) -> T,
) -> T {
    let bytes = serde_json::to_vec(pod).unwrap();
    let parsed = Pod::parse(&bytes).unwrap();
    look(&parsed.patch(identity, settings, 0).unwrap())
}

/// Applies the patch with another implementation of RFC 6902.
pub(crate) fn apply(pod: &Value, outcome: &Outcome<'_>) -> Value {
    let mut pod = pod.clone();
    if !outcome.patch.is_empty() {
        let patch: json_patch::Patch = serde_json::from_slice(&outcome.patch).unwrap();
        assert_eq!(patch.0.len(), outcome.operations, "the count of operations");
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}

/// The text of all warnings about a pod.
pub(crate) fn warnings(pod: &Value, identity: &Identity<'_>, settings: &Settings) -> Vec<String> {
    outcome(pod, identity, settings, |outcome| {
        outcome.warnings.iter().map(ToString::to_string).collect()
    })
}

/// The variables of the first container as `NAME=value`, in order.
pub(crate) fn env(pod: &Value) -> Vec<String> {
    env_of(&pod["spec"]["containers"][0])
}

/// The variables of a container as `NAME=value`, in order.
pub(crate) fn env_of(container: &Value) -> Vec<String> {
    let text = |var: &Value| match var.get("valueFrom") {
        Some(from) => format!("{} from {}", var["name"].as_str().unwrap(), from),
        None => format!(
            "{}={}",
            var["name"].as_str().unwrap(),
            var["value"].as_str().unwrap_or_default()
        ),
    };
    container["env"]
        .as_array()
        .map(|env| env.iter().map(text).collect())
        .unwrap_or_default()
}
