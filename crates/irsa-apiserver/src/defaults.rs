//! Values that fields have when an object does not set them: the table `schema/defaults.txt`, and what depends on other
//! fields. Applied twice on every write; the second time changes nothing.

mod pods;

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::object::{ObjectExt, as_object_mut, entry_object, metadata_mut, now};
use crate::resources::Resource;

type Rows = Vec<(Vec<&'static str>, Value)>;

static TABLE: LazyLock<HashMap<&'static str, Rows>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, Rows> = HashMap::new();
    let mut name = "";
    let lines = include_str!("../schema/defaults.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        match line.trim_start().split_once(' ') {
            // A row that is not JSON would be left out; a test reads them all.
            Some((path, value)) => {
                if let Ok(value) = serde_json::from_str(value) {
                    let rows = table.entry(name).or_default();
                    rows.push((path.split('.').collect(), value));
                }
            }
            None => name = line,
        }
    }
    table
});

/// Applies the rows of one name of the table.
fn from_table(name: &str, map: &mut Map<String, Value>) {
    for (path, value) in TABLE.get(name).into_iter().flatten() {
        if let [first, _, ..] = path.as_slice()
            && matches!(*first, "spec" | "status")
        {
            map.entry(*first).or_insert_with(|| json!({}));
        }
        apply_row(map, path, value);
    }
}

fn apply_row(map: &mut Map<String, Value>, path: &[&str], value: &Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let (names, each) = match first.strip_suffix("[]") {
        Some(names) => (names, true),
        None => (*first, false),
    };
    for name in names.split('|') {
        if rest.is_empty() {
            set(map, name, value.clone());
            continue;
        }
        match map.get_mut(name) {
            Some(Value::Object(inner)) if !each => apply_row(inner, rest, value),
            Some(Value::Array(list)) if each => {
                for inner in list.iter_mut().filter_map(Value::as_object_mut) {
                    apply_row(inner, rest, value);
                }
            }
            _ => {}
        }
    }
}

/// Fills in what is missing.
pub(crate) fn apply(resource: &Resource, object: &mut Value) {
    let storage = resource.storage.as_str();
    if storage == "jobs.batch" {
        let spec = entry_object(object, "spec");
        if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
            set(spec, "completions", 1);
        }
    }
    from_table(storage, as_object_mut(object));
    if let Some(path) = template_path(storage)
        && let Some(template) = object.pointer_mut(path).filter(|template| template.is_object())
    {
        pods::spec(entry_object(template, "spec"));
    }
    match storage {
        "pods" => {
            let spec = entry_object(object, "spec");
            pods::spec(spec);
            let class = pods::quality(spec);
            set(entry_object(object, "status"), "qosClass", class);
        }
        "namespaces" => namespace(object),
        "secrets" => secret(as_object_mut(object)),
        "services" => service(entry_object(object, "spec")),
        "deployments.apps" => rolling(
            object,
            "strategy",
            &[("maxUnavailable", "25%".into()), ("maxSurge", "25%".into())],
        ),
        "daemonsets.apps" => rolling(
            object,
            "updateStrategy",
            &[("maxUnavailable", 1.into()), ("maxSurge", 0.into())],
        ),
        "statefulsets.apps" => rolling(object, "updateStrategy", &[("partition", 0.into())]),
        "jobs.batch" => job(object),
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            for subject in each(as_object_mut(object), "subjects") {
                if subject
                    .get("kind")
                    .is_some_and(|kind| kind == "User" || kind == "Group")
                {
                    set(subject, "apiGroup", "rbac.authorization.k8s.io");
                }
            }
        }
        "customresourcedefinitions.apiextensions.k8s.io" => definition(object),
        "networkpolicies.networking.k8s.io" => {
            let spec = entry_object(object, "spec");
            let types = match spec.contains_key("egress") {
                true => json!(["Ingress", "Egress"]),
                false => json!(["Ingress"]),
            };
            set(spec, "policyTypes", types);
        }
        _ => {}
    }
}

/// Where objects of a resource have a template of pods, as a JSON pointer.
fn template_path(storage: &str) -> Option<&'static str> {
    match storage {
        "podtemplates" => Some("/template"),
        "replicationcontrollers"
        | "deployments.apps"
        | "replicasets.apps"
        | "daemonsets.apps"
        | "statefulsets.apps"
        | "jobs.batch" => Some("/spec/template"),
        "cronjobs.batch" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn set(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// The objects of a list.
fn each<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = map.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn namespace(object: &mut Value) {
    let name = object.name().to_owned();
    if !name.is_empty() {
        entry_in(metadata_mut(object), "labels").insert("kubernetes.io/metadata.name".into(), name.into());
    }
    if object.deletion_timestamp().is_none() {
        set(entry_object(object, "spec"), "finalizers", json!(["kubernetes"]));
    }
}

/// The object at `key`, made empty when it is missing.
fn entry_in<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    as_object_mut(map.entry(key).or_insert_with(|| json!({})))
}

fn secret(map: &mut Map<String, Value>) {
    if let Some(Value::Object(texts)) = map.shift_remove("stringData") {
        let data = entry_in(map, "data");
        for (key, text) in texts {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
    }
}

fn service(spec: &mut Map<String, Value>) {
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default();
    let outside = matches!(kind, "NodePort" | "LoadBalancer");
    let balanced = kind == "LoadBalancer";
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", "SingleStack");
    }
    if outside {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if balanced {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in each(spec, "ports") {
        if let Some(number) = port.get("port").cloned() {
            set(port, "targetPort", number);
        }
        if outside && port.get("nodePort").and_then(Value::as_i64).unwrap_or_default() == 0 {
            let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
            let offset = u16::from_be_bytes([first, second]) % 2768;
            port.insert("nodePort".into(), (30_000 + offset).into());
        }
    }
}

fn rolling(object: &mut Value, key: &str, parameters: &[(&str, Value)]) {
    let strategy = entry_in(entry_object(object, "spec"), key);
    if strategy.get("type").is_some_and(|kind| kind == "RollingUpdate") {
        let rolling = entry_in(strategy, "rollingUpdate");
        for (name, value) in parameters {
            set(rolling, name, value.clone());
        }
    }
}

/// A job selects its pods by its uid, which no other job has.
fn job(object: &mut Value) {
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    let spec = entry_object(object, "spec");
    if spec.get("manualSelector") == Some(&Value::Bool(true)) || uid.is_empty() {
        return;
    }
    if let Some(template) = spec.get_mut("template").filter(|template| template.is_object()) {
        let labels = entry_in(metadata_mut(template), "labels");
        for prefix in ["batch.kubernetes.io/", ""] {
            set(labels, &format!("{prefix}controller-uid"), uid.as_str());
            set(labels, &format!("{prefix}job-name"), name.as_str());
        }
    }
    let selector = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
    set(spec, "selector", selector);
}

/// A definition is established as soon as it is stored: nobody else accepts names here.
fn definition(object: &mut Value) {
    let spec = entry_object(object, "spec");
    set(spec, "conversion", json!({ "strategy": "None" }));
    let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) else {
        return;
    };
    let kind = names
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    set(names, "singular", kind.to_lowercase());
    set(names, "listKind", format!("{kind}List"));
    let names = names.clone();
    let stored: Vec<Value> = object
        .list_at(&["spec", "versions"])
        .iter()
        .filter(|version| version.get("storage") == Some(&Value::Bool(true)))
        .filter_map(|version| version.get("name").cloned())
        .collect();
    let status = entry_object(object, "status");
    status.insert("acceptedNames".into(), Value::Object(names));
    set(status, "storedVersions", stored);
    if !status.contains_key("conditions") {
        let at = now();
        let condition = |kind: &str, reason: &str, message: &str| json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at });
        let conditions = json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "InitialNamesAccepted",
                "the initial names have been accepted"
            ),
        ]);
        status.insert("conditions".into(), conditions);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::resources::Registry;

    fn defaulted(storage: &str, object: Value) -> Value {
        let resource = Registry::default().by_storage(storage).unwrap();
        let mut once = object;
        apply(&resource, &mut once);
        let mut twice = once.clone();
        apply(&resource, &mut twice);
        assert_eq!(once, twice, "a second run changes something");
        once
    }

    #[test]
    fn a_pod_gets_the_defaults_that_kubectl_shows() {
        let pod = defaulted(
            "pods",
            json!({ "spec": { "containers": [
                { "name": "a", "image": "x", "env": [{ "name": "N", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }] },
                { "name": "b", "image": "x:1", "resources": { "limits": { "cpu": "1" } } },
            ], "volumes": [{ "name": "v", "projected": { "sources": [{ "serviceAccountToken": { "path": "token" } }] } }] } }),
        );
        assert_eq!(pod["spec"]["restartPolicy"], "Always");
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["spec"]["containers"][1]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(pod["spec"]["containers"][1]["resources"]["requests"]["cpu"], "1");
        assert_eq!(
            pod["spec"]["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"],
            "v1"
        );
        assert_eq!(
            pod["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
            3600
        );
        assert_eq!(
            pod["status"],
            json!({ "phase": "Pending", "qosClass": "Burstable" })
        );
    }

    #[test]
    fn every_row_of_the_table_is_a_path_and_json_below_a_resource() {
        let text = include_str!("../schema/defaults.txt");
        let rows = text.lines().filter(|line| line.starts_with(' ')).count();
        assert_eq!(TABLE.values().map(Vec::len).sum::<usize>(), rows);
        let registry = Registry::default();
        for name in TABLE.keys() {
            assert!(
                matches!(*name, "pod-spec" | "container") || registry.by_storage(name).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn text_of_a_secret_becomes_data() {
        let secret = defaulted("secrets", json!({ "stringData": { "a": "b" } }));
        assert_eq!(secret, json!({ "type": "Opaque", "data": { "a": "Yg==" } }));
    }

    #[test]
    fn workloads_get_their_strategies() {
        let deployment = defaulted(
            "deployments.apps",
            json!({ "spec": { "template": { "spec": {} } } }),
        );
        assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        let recreate = defaulted(
            "deployments.apps",
            json!({ "spec": { "strategy": { "type": "Recreate" } } }),
        );
        assert_eq!(recreate["spec"]["strategy"], json!({ "type": "Recreate" }));
        let daemon_set = defaulted("daemonsets.apps", json!({ "spec": {} }));
        assert_eq!(
            daemon_set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"],
            1
        );
    }
}
