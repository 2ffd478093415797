//! The ServiceAccount plugin: the account's name, the `kube-api-access` volume and its mounts, pull secrets.

use serde_json::{Value, json};

use crate::object::{ObjectExt, entry_object};

/// Where containers find the token for the API.
pub(crate) const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// Marks a pod that a node has of its own.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The account that a pod runs as, set to `default` when the pod says nothing.
pub(crate) fn set_name(pod: &mut Value) -> String {
    let named = match pod.str_at(&["spec", "serviceAccountName"]) {
        // The old name of the field.
        "" => pod.str_at(&["spec", "serviceAccount"]),
        name => name,
    };
    let name = if named.is_empty() { "default" } else { named }.to_owned();
    let spec = entry_object(pod, "spec");
    spec.insert("serviceAccountName".into(), name.as_str().into());
    spec.insert("serviceAccount".into(), name.as_str().into());
    name
}

/// Gives a pod what its service account brings. A second run changes nothing.
pub(crate) fn inject(pod: &mut Value, account: &Value, new_suffix: &dyn Fn() -> String) {
    if mounts_token(pod, account) {
        mount_token(pod, new_suffix);
    }
    let secrets = account.list_at(&["imagePullSecrets"]);
    if pod.list_at(&["spec", "imagePullSecrets"]).is_empty() && !secrets.is_empty() {
        entry_object(pod, "spec").insert("imagePullSecrets".into(), secrets.into());
    }
}

/// The pod decides when it says something, then the account; yes when neither does.
fn mounts_token(pod: &Value, account: &Value) -> bool {
    let said = |value: Option<&Value>| value.and_then(Value::as_bool);
    said(pod.at(&["spec", "automountServiceAccountToken"]))
        .or_else(|| said(account.get("automountServiceAccountToken")))
        .unwrap_or(true)
}

fn mount_token(pod: &mut Value, new_suffix: &dyn Fn() -> String) {
    let existing = pod
        .list_at(&["spec", "volumes"])
        .iter()
        .map(|volume| volume.str_at(&["name"]))
        .find(|name| name.starts_with(VOLUME))
        .map(str::to_owned);
    let name = existing
        .clone()
        .unwrap_or_else(|| format!("{VOLUME}{}", new_suffix()));
    let mut needed = false;
    let spec = entry_object(pod, "spec");
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = spec.get_mut(list) else {
            continue;
        };
        for container in containers {
            let there = container
                .list_at(&["volumeMounts"])
                .iter()
                .any(|mount| mount.str_at(&["mountPath"]) == MOUNT_PATH);
            if there || !container.is_object() {
                continue;
            }
            needed = true;
            let mount = json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH });
            push(container, "volumeMounts", mount);
        }
    }
    if needed && existing.is_none() {
        let volume = json!({
            "name": name,
            "projected": {
                "sources": [
                    { "serviceAccountToken": { "expirationSeconds": crate::tokens::EXTENDED_FOR, "path": "token" } },
                    { "configMap": {
                        "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }],
                    } },
                    { "downwardAPI": { "items": [{
                        "path": "namespace",
                        "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
                    }] } },
                ],
                "defaultMode": 420,
            },
        });
        match spec.get_mut("volumes") {
            Some(Value::Array(volumes)) => volumes.push(volume),
            _ => {
                spec.insert("volumes".into(), json!([volume]));
            }
        }
    }
}

fn push(object: &mut Value, key: &str, value: Value) {
    match object.get_mut(key) {
        Some(Value::Array(list)) => list.push(value),
        _ => object[key] = json!([value]),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({ "metadata": { "name": "p" }, "spec": {
            "initContainers": [{ "name": "i" }],
            "containers": [
                { "name": "a" },
                { "name": "b", "volumeMounts": [{ "name": "own", "mountPath": MOUNT_PATH }] },
            ],
        } })
    }

    fn injected(account: &Value) -> Value {
        let mut pod = pod();
        set_name(&mut pod);
        inject(&mut pod, account, &|| "abcde".into());
        pod
    }

    #[test]
    fn every_container_without_an_own_mount_gets_the_token() {
        let pod = injected(&json!({}));
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(pod["spec"]["volumes"][0]["name"], "kube-api-access-abcde");
        let sources = &pod["spec"]["volumes"][0]["projected"]["sources"];
        assert_eq!(sources[0]["serviceAccountToken"]["expirationSeconds"], 3607);
        assert_eq!(
            pod["spec"]["initContainers"][0]["volumeMounts"][0]["mountPath"],
            MOUNT_PATH
        );
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"], true);
        assert_eq!(
            pod["spec"]["containers"][1]["volumeMounts"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_second_run_changes_nothing() {
        let mut pod = injected(&json!({}));
        let first = pod.clone();
        inject(&mut pod, &json!({}), &|| "other".into());
        assert_eq!(pod, first);
    }

    #[test]
    fn the_account_can_say_no_and_the_pod_has_the_last_word() {
        let account = json!({ "automountServiceAccountToken": false });
        assert!(injected(&account)["spec"].get("volumes").is_none());
        let mut pod = pod();
        pod["spec"]["automountServiceAccountToken"] = true.into();
        inject(&mut pod, &account, &|| "abcde".into());
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn pull_secrets_come_from_the_account_when_the_pod_has_none() {
        let account = json!({ "imagePullSecrets": [{ "name": "registry" }] });
        assert_eq!(
            injected(&account)["spec"]["imagePullSecrets"][0]["name"],
            "registry"
        );
    }
}
