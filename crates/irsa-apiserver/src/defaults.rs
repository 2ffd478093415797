//! Values that fields have when nobody says otherwise. Run twice on every write; a second run changes nothing.

mod pods;

use serde_json::{Map, Value, json};

use crate::object::{ObjectExt, as_object_mut, entry_object, metadata_mut, now};
use crate::resources::Resource;

/// Fills in what is missing.
pub(crate) fn apply(resource: &Resource, object: &mut Value) {
    match resource.storage.as_str() {
        "pods" => pod(object),
        "podtemplates" => template(as_object_mut(object), "template"),
        "namespaces" => namespace(object),
        "secrets" => secret(object),
        "services" => service(object),
        "nodes" => {
            entry_object(object, "spec");
        }
        "persistentvolumeclaims" => {
            set(entry_object(object, "spec"), "volumeMode", "Filesystem");
            set(entry_object(object, "status"), "phase", "Pending");
        }
        "replicationcontrollers" => {
            let spec = entry_object(object, "spec");
            set(spec, "replicas", 1);
            template(spec, "template");
        }
        "deployments.apps" => deployment(object),
        "replicasets.apps" => {
            let spec = entry_object(object, "spec");
            set(spec, "replicas", 1);
            template(spec, "template");
            entry_object(object, "status")
                .entry("replicas")
                .or_insert_with(|| 0.into());
        }
        "daemonsets.apps" => daemon_set(object),
        "statefulsets.apps" => stateful_set(object),
        "jobs.batch" => job(object),
        "cronjobs.batch" => cron_job(object),
        "horizontalpodautoscalers.autoscaling" => set(entry_object(object, "spec"), "minReplicas", 1),
        "priorityclasses.scheduling.k8s.io" => {
            set(as_object_mut(object), "preemptionPolicy", "PreemptLowerPriority")
        }
        "mutatingwebhookconfigurations.admissionregistration.k8s.io" => webhooks(object, true),
        "validatingwebhookconfigurations.admissionregistration.k8s.io" => webhooks(object, false),
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            binding(object)
        }
        "customresourcedefinitions.apiextensions.k8s.io" => definition(object),
        "storageclasses.storage.k8s.io" => {
            let map = as_object_mut(object);
            set(map, "reclaimPolicy", "Delete");
            set(map, "volumeBindingMode", "Immediate");
        }
        "networkpolicies.networking.k8s.io" => {
            let spec = entry_object(object, "spec");
            let egress = spec.contains_key("egress");
            set(
                spec,
                "policyTypes",
                if egress {
                    json!(["Ingress", "Egress"])
                } else {
                    json!(["Ingress"])
                },
            );
        }
        _ => {}
    }
}

fn set(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Objects of a list of objects.
fn each<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn pod(object: &mut Value) {
    let spec = entry_object(object, "spec");
    pods::spec(spec);
    let class = pods::quality(spec);
    let status = entry_object(object, "status");
    set(status, "phase", "Pending");
    set(status, "qosClass", class);
}

fn template(map: &mut Map<String, Value>, key: &str) {
    let Some(template) = map.get_mut(key).filter(|template| template.is_object()) else {
        return;
    };
    // Go's zero time, which clients compare with.
    metadata_mut(template)
        .entry("creationTimestamp")
        .or_insert(Value::Null);
    pods::spec(entry_object(template, "spec"));
}

fn namespace(object: &mut Value) {
    let name = object.name().to_owned();
    let going = object.deletion_timestamp().is_some();
    if !name.is_empty() {
        let labels = as_object_mut(metadata_mut(object).entry("labels").or_insert_with(|| json!({})));
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
    if !going {
        set(entry_object(object, "spec"), "finalizers", json!(["kubernetes"]));
    }
    set(entry_object(object, "status"), "phase", "Active");
}

fn secret(object: &mut Value) {
    use base64::Engine as _;
    let map = as_object_mut(object);
    set(map, "type", "Opaque");
    if let Some(Value::Object(texts)) = map.shift_remove("stringData") {
        let data = as_object_mut(map.entry("data").or_insert_with(|| json!({})));
        for (key, text) in texts {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
    }
}

fn service(object: &mut Value) {
    let spec = entry_object(object, "spec");
    set(spec, "type", "ClusterIP");
    set(spec, "sessionAffinity", "None");
    let kind = spec
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", "SingleStack");
    }
    let outside = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    if outside {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in each(spec, "ports") {
        set(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            set(port, "targetPort", number);
        }
        if outside && port.get("nodePort").and_then(Value::as_i64).unwrap_or_default() == 0 {
            let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
            let offset = u16::from_be_bytes([first, second]) % 2768;
            port.insert("nodePort".into(), (30_000 + offset).into());
        }
    }
    let status = entry_object(object, "status");
    set(status, "loadBalancer", json!({}));
}

fn rolling(spec: &mut Map<String, Value>, key: &str, parameters: &[(&str, Value)]) {
    let strategy = as_object_mut(spec.entry(key).or_insert_with(|| json!({})));
    set(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") && !parameters.is_empty() {
        let rolling = as_object_mut(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
        for (name, value) in parameters {
            set(rolling, name, value.clone());
        }
    }
}

fn deployment(object: &mut Value) {
    let spec = entry_object(object, "spec");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    rolling(
        spec,
        "strategy",
        &[("maxUnavailable", "25%".into()), ("maxSurge", "25%".into())],
    );
    template(spec, "template");
}

fn daemon_set(object: &mut Value) {
    let spec = entry_object(object, "spec");
    set(spec, "revisionHistoryLimit", 10);
    rolling(
        spec,
        "updateStrategy",
        &[("maxUnavailable", 1.into()), ("maxSurge", 0.into())],
    );
    template(spec, "template");
    let status = entry_object(object, "status");
    for key in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
    ] {
        set(status, key, 0);
    }
}

fn stateful_set(object: &mut Value) {
    let spec = entry_object(object, "spec");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "serviceName", "");
    rolling(spec, "updateStrategy", &[("partition", 0.into())]);
    let retention = as_object_mut(
        spec.entry("persistentVolumeClaimRetentionPolicy")
            .or_insert_with(|| json!({})),
    );
    set(retention, "whenDeleted", "Retain");
    set(retention, "whenScaled", "Retain");
    template(spec, "template");
    for claim in each(spec, "volumeClaimTemplates") {
        set(
            as_object_mut(claim.entry("spec").or_insert_with(|| json!({}))),
            "volumeMode",
            "Filesystem",
        );
    }
    let status = entry_object(object, "status");
    set(status, "replicas", 0);
    set(status, "availableReplicas", 0);
}

/// A job selects its pods by its uid, which no other job has.
fn job(object: &mut Value) {
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    let spec = entry_object(object, "spec");
    job_spec(spec);
    let manual = spec.get("manualSelector") == Some(&Value::Bool(true));
    if manual || uid.is_empty() {
        return;
    }
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    if let Some(template) = spec.get_mut("template").filter(|template| template.is_object()) {
        let all = as_object_mut(
            metadata_mut(template)
                .entry("labels")
                .or_insert_with(|| json!({})),
        );
        for (key, value) in labels {
            set(all, key, value.as_str());
        }
    }
    set(
        spec,
        "selector",
        json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } }),
    );
}

fn job_spec(spec: &mut Map<String, Value>) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    set(spec, "backoffLimit", 6);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    set(spec, "podReplacementPolicy", "TerminatingOrFailed");
    template(spec, "template");
}

fn cron_job(object: &mut Value) {
    let spec = entry_object(object, "spec");
    set(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    if let Some(template_of_job) = spec.get_mut("jobTemplate").filter(|one| one.is_object()) {
        metadata_mut(template_of_job)
            .entry("creationTimestamp")
            .or_insert(Value::Null);
        template(entry_object(template_of_job, "spec"), "template");
    }
}

fn webhooks(object: &mut Value, mutating: bool) {
    for webhook in each(as_object_mut(object), "webhooks") {
        set(webhook, "failurePolicy", "Fail");
        set(webhook, "matchPolicy", "Equivalent");
        set(webhook, "namespaceSelector", json!({}));
        set(webhook, "objectSelector", json!({}));
        set(webhook, "timeoutSeconds", 10);
        if mutating {
            set(webhook, "reinvocationPolicy", "Never");
        }
        for rule in each(webhook, "rules") {
            set(rule, "scope", "*");
        }
        let service = webhook
            .get_mut("clientConfig")
            .and_then(|config| config.get_mut("service"));
        if let Some(service) = service.and_then(Value::as_object_mut) {
            set(service, "port", 443);
        }
    }
}

fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let map = as_object_mut(object);
    if let Some(role) = map.get_mut("roleRef").and_then(Value::as_object_mut) {
        set(role, "apiGroup", GROUP);
    }
    for subject in each(map, "subjects") {
        if matches!(
            subject.get("kind").and_then(Value::as_str),
            Some("User" | "Group")
        ) {
            set(subject, "apiGroup", GROUP);
        }
    }
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
        let condition = |kind: &str, reason: &str, message: &str| json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now() });
        let conditions = [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
        ];
        status.insert("conditions".into(), conditions.to_vec().into());
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
