//! What a valid object looks like, and what may change in it. The messages are those of Kubernetes.

mod checks;
mod pods;

use std::collections::HashSet;

use serde_json::{Value, json};

use self::checks::Checks;
use crate::object::ObjectExt;
use crate::resources::Resource;
use crate::selectors::LabelSelector;
use crate::status::Cause;
use irsa_core::names;

const IMMUTABLE: &str = "field is immutable";
/// The most that all annotations together may have, in bytes.
const ANNOTATIONS: usize = 256 * 1024;

/// What is wrong with a new object.
pub(crate) fn create(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut checks = Checks::new(object, &mut causes);
    metadata(resource, &mut checks);
    content(resource, &mut checks);
    if resource.storage == "pods" {
        pods::spec(&mut checks.child("spec"));
    }
    causes
}

/// What is wrong with a new state of an object.
pub(crate) fn update(resource: &Resource, subresource: &str, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut checks = Checks::new(new, &mut causes);
    if !subresource.is_empty() {
        return causes;
    }
    metadata(resource, &mut checks);
    content(resource, &mut checks);
    changes(resource, old, &mut checks);
    if resource.storage == "pods" {
        pods::changes(old, new, checks.causes);
    }
    if old.deletion_timestamp().is_some() {
        let had = old.finalizers();
        let added: Vec<&Value> = new.finalizers().iter().filter(|one| !had.contains(one)).collect();
        if !added.is_empty() {
            let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
            checks.forbidden("metadata.finalizers", &format!("{why} {}", json!(added)));
        }
    }
    causes
}

fn metadata(resource: &Resource, checks: &mut Checks<'_, '_>) {
    let object = checks.value;
    let name = object.name();
    let rule = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => names::dns_label,
        ("", "services") => names::dns_1035_label,
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io", _) => names::path_segment,
        _ => names::dns_subdomain,
    };
    checks.text("metadata.name", name, rule(name));
    labels(checks, "metadata.labels", object);
    let mut size = 0;
    for (key, value) in object.map_at(&["metadata", "annotations"]).into_iter().flatten() {
        size += key.len() + value.as_str().unwrap_or_default().len();
        let valid = names::qualified_name(&key.to_lowercase());
        checks.text("metadata.annotations", key, valid);
    }
    if size > ANNOTATIONS {
        checks.causes.push(Cause {
            reason: "FieldValueTooLong",
            field: "metadata.annotations".into(),
            message: format!("Too long: may not be more than {ANNOTATIONS} bytes"),
        });
    }
    for (index, finalizer) in object.finalizers().iter().enumerate() {
        let text = finalizer.as_str().unwrap_or_default();
        let valid = names::qualified_name(text);
        checks.text(&format!("metadata.finalizers[{index}]"), text, valid);
    }
    let mut controllers = 0;
    checks.child("metadata").each("ownerReferences", |owner| {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if owner.value.str_at(&[key]).is_empty() {
                owner.invalid(key, &json!(""), "must not be empty");
            }
        }
        controllers += usize::from(owner.is_true("controller"));
    });
    if controllers > 1 {
        let owners = json!(object.owner_references());
        let why = "Only one reference can have Controller set to true";
        checks.invalid("metadata.ownerReferences", &owners, why);
    }
}

/// The labels of an object or of a template.
fn labels(checks: &mut Checks<'_, '_>, field: &str, object: &Value) {
    for (key, value) in object.labels().into_iter().flatten() {
        checks.text(field, key, names::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        checks.text(field, value, names::label_value(value));
    }
}

fn content(resource: &Resource, checks: &mut Checks<'_, '_>) {
    match resource.storage.as_str() {
        "deployments.apps" => {
            workload(checks);
            checks.one_of("spec.strategy.type", &["Recreate", "RollingUpdate"]);
        }
        "daemonsets.apps" | "statefulsets.apps" => {
            workload(checks);
            checks.one_of("spec.updateStrategy.type", &["OnDelete", "RollingUpdate"]);
        }
        "replicasets.apps" => workload(checks),
        "jobs.batch" => job(&mut checks.child("spec")),
        "cronjobs.batch" => cron_job(checks),
        "configmaps" | "secrets" => data_keys(checks),
        "services" => service(&mut checks.child("spec")),
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => webhooks(checks),
        "customresourcedefinitions.apiextensions.k8s.io" => definition(checks),
        "poddisruptionbudgets.policy" => {
            let spec = checks.value.get("spec").unwrap_or(&Value::Null);
            if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
                checks.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
            }
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            for key in ["kind", "name"] {
                checks.child("roleRef").required(key);
            }
        }
        _ => {}
    }
}

fn workload(checks: &mut Checks<'_, '_>) {
    checks.not_negative("spec.replicas");
    checks.not_negative("spec.minReadySeconds");
    selector_matches(checks);
    let template = checks.value.at(&["spec", "template"]).unwrap_or(&Value::Null);
    labels(checks, "spec.template.metadata.labels", template);
    pods::spec(&mut checks.child("spec.template.spec"));
    checks.one_of("spec.template.spec.restartPolicy", &["Always"]);
}

fn selector_matches(checks: &mut Checks<'_, '_>) {
    const LABELS: &str = "spec.template.metadata.labels";
    const MISMATCH: &str = "`selector` does not match template `labels`";
    let object = checks.value;
    let template = object.at(&["spec", "template"]).unwrap_or(&Value::Null);
    let labels = template.at(&["metadata", "labels"]).unwrap_or(&Value::Null);
    let Some(selector) = object.at(&["spec", "selector"]) else {
        checks.require("spec.selector", "");
        checks.invalid(LABELS, labels, MISMATCH);
        return;
    };
    match LabelSelector::from_object(Some(selector)) {
        Err(error) => checks.invalid("spec.selector", selector, &error.to_string()),
        Ok(parsed) if parsed.is_everything() => {
            checks.invalid(
                "spec.selector",
                selector,
                "empty selector is invalid for deployment",
            );
        }
        Ok(parsed) if !parsed.matches(template.labels()) => checks.invalid(LABELS, labels, MISMATCH),
        Ok(_) => {}
    }
}

fn job(spec: &mut Checks<'_, '_>) {
    for key in [
        "parallelism",
        "completions",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        spec.not_negative(key);
    }
    pods::spec(&mut spec.child("template.spec"));
    let policy = spec.value.str_at(&["template", "spec", "restartPolicy"]);
    if policy == "Always" || policy.is_empty() {
        spec.require(
            "template.spec.restartPolicy",
            "valid values: \"OnFailure\", \"Never\"",
        );
    }
}

fn cron_job(checks: &mut Checks<'_, '_>) {
    let schedule = checks.value.str_at(&["spec", "schedule"]);
    let fields = schedule.split_whitespace().count();
    if schedule.is_empty() {
        checks.require("spec.schedule", "");
    } else if !schedule.starts_with('@') && fields != 5 {
        let why = format!("expected exactly 5 fields, found {fields}: [{schedule}]");
        checks.invalid("spec.schedule", &json!(schedule), &why);
    }
    checks.one_of("spec.concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    job(&mut checks.child("spec.jobTemplate.spec"));
}

fn data_keys(checks: &mut Checks<'_, '_>) {
    for part in ["data", "binaryData"] {
        for (key, _) in checks.value.map_at(&[part]).into_iter().flatten() {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let good = (1..=253).contains(&key.len())
                && key.bytes().all(letters)
                && key != "."
                && !key.starts_with("..");
            if !good {
                checks.invalid(
                    &format!("{part}[{key}]"),
                    &json!(key),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                     'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                );
            }
        }
    }
}

fn service(spec: &mut Checks<'_, '_>) {
    spec.one_of("type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    let ports = spec.value.list_at(&["ports"]).len();
    let external = spec.value.str_at(&["type"]) == "ExternalName";
    if ports == 0 && !external && spec.value.str_at(&["clusterIP"]) != "None" {
        spec.require("ports", "");
    }
    if external {
        spec.required("externalName");
    }
    let mut seen = HashSet::new();
    spec.each("ports", |port| {
        port.port_number("port");
        let name = port.value.str_at(&["name"]);
        if name.is_empty() && ports > 1 {
            port.require("name", "");
        }
        port.unique("name", name, &mut seen);
    });
}

fn webhooks(checks: &mut Checks<'_, '_>) {
    let mut seen = HashSet::new();
    checks.each("webhooks", |webhook| {
        let name = webhook.required("name");
        if !name.is_empty() && (names::dns_subdomain(name).is_err() || name.split('.').count() < 3) {
            let why = "should be a domain with at least three segments separated by dots";
            webhook.invalid("name", &json!(name), why);
        }
        webhook.unique("name", name, &mut seen);
        let url = webhook.value.str_at(&["clientConfig", "url"]);
        let service = webhook.value.at(&["clientConfig", "service"]);
        if url.is_empty() == service.is_none() {
            webhook.require("clientConfig", "exactly one of url or service is required");
        } else if service.is_none() && !url.starts_with("https://") {
            let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
            webhook.invalid("clientConfig.url", &json!(url), why);
        }
        let versions = webhook.value.list_at(&["admissionReviewVersions"]);
        if versions.is_empty() {
            webhook.require("admissionReviewVersions", "must specify one of v1, v1beta1");
        } else if !versions.iter().any(|one| one == "v1" || one == "v1beta1") {
            let why = "must include at least one of v1, v1beta1";
            webhook.invalid("admissionReviewVersions", &json!(versions), why);
        }
        if webhook.value.get("sideEffects").is_none() {
            webhook.require("sideEffects", "must specify one of None, NoneOnDryRun");
        }
        webhook.one_of("sideEffects", &["None", "NoneOnDryRun"]);
        webhook.one_of("failurePolicy", &["Fail", "Ignore"]);
        webhook.range(
            "timeoutSeconds",
            1..=30,
            "the timeout value must be between 1 and 30 seconds",
        );
    });
}

fn definition(checks: &mut Checks<'_, '_>) {
    let object = checks.value;
    let group = checks.required("spec.group");
    let plural = checks.required("spec.names.plural");
    checks.required("spec.names.kind");
    if object.name() != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        checks.invalid("metadata.name", &json!(object.name()), why);
    }
    checks.one_of("spec.scope", &["Cluster", "Namespaced"]);
    let versions = object.list_at(&["spec", "versions"]);
    let stored = versions
        .iter()
        .filter(|version| version.get("storage") == Some(&Value::Bool(true)));
    if stored.count() != 1 {
        let why = "must have exactly one version marked as storage version";
        checks.invalid("spec.versions", &json!(versions), why);
    }
}

/// Fields that may not change.
fn changes(resource: &Resource, old: &Value, checks: &mut Checks<'_, '_>) {
    let new = checks.value;
    match resource.storage.as_str() {
        "deployments.apps" | "daemonsets.apps" | "replicasets.apps" => {
            checks.unchanged(old, &["spec", "selector"], IMMUTABLE);
        }
        "jobs.batch" => {
            checks.unchanged(old, &["spec", "selector"], IMMUTABLE);
            checks.unchanged(old, &["spec", "completionMode"], IMMUTABLE);
            job_template_changes(old, checks);
        }
        "statefulsets.apps" => stateful_set_changes(old, checks),
        "secrets" | "configmaps" => {
            if resource.storage == "secrets" {
                checks.unchanged(old, &["type"], IMMUTABLE);
            }
            if old.get("immutable") == Some(&Value::Bool(true)) {
                for part in ["immutable", "data", "binaryData"] {
                    if old.get(part) != new.get(part) {
                        checks.forbidden(part, "field is immutable when `immutable` is set");
                    }
                }
            }
        }
        "services" => {
            let address = |service: &Value| service.str_at(&["spec", "clusterIP"]).to_owned();
            let external = |service: &Value| service.str_at(&["spec", "type"]) == "ExternalName";
            let (before, after) = (address(old), address(new));
            let both = !before.is_empty() && !after.is_empty() && !external(old) && !external(new);
            if both && before != after {
                let given = json!(new.list_at(&["spec", "clusterIPs"]));
                checks.invalid("spec.clusterIPs[0]", &given, "may not change once set");
            }
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            checks.unchanged(old, &["roleRef"], "cannot change roleRef");
        }
        "priorityclasses.scheduling.k8s.io" if old.get("value") != new.get("value") => {
            checks.forbidden("value", "may not be changed in an update.");
        }
        "customresourcedefinitions.apiextensions.k8s.io" => {
            checks.unchanged(old, &["spec", "scope"], IMMUTABLE);
        }
        _ => {}
    }
}

/// While a job is suspended and has not started, how its pods are scheduled may still change, and nothing else.
fn job_template_changes(old: &Value, checks: &mut Checks<'_, '_>) {
    const OPEN: &[&str] = &[
        "/spec/nodeSelector",
        "/spec/affinity",
        "/spec/tolerations",
        "/spec/schedulingGates",
        "/metadata/labels",
        "/metadata/annotations",
    ];
    let template = |job: &Value| job.at(&["spec", "template"]).cloned().unwrap_or_default();
    let (mut before, mut after) = (template(old), template(checks.value));
    let waiting = old.at(&["spec", "suspend"]) == Some(&Value::Bool(true))
        && old.at(&["status", "startTime"]).is_none();
    if waiting {
        for template in [&mut before, &mut after] {
            for (parent, key) in OPEN.iter().filter_map(|path| path.rsplit_once('/')) {
                if let Some(Value::Object(parent)) = template.pointer_mut(parent) {
                    parent.shift_remove(key);
                }
            }
        }
    }
    if before != after {
        let given = checks.value.at(&["spec", "template"]).unwrap_or(&Value::Null);
        checks.invalid("spec.template", given, IMMUTABLE);
    }
}

fn stateful_set_changes(old: &Value, checks: &mut Checks<'_, '_>) {
    const OPEN: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |object: &Value| {
        let mut spec = object.map_at(&["spec"]).cloned().unwrap_or_default();
        spec.retain(|key, _| !OPEN.contains(&key.as_str()));
        spec
    };
    if rest(old) != rest(checks.value) {
        checks.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::resources::Registry;

    fn said(storage: &str, object: &Value) -> Vec<String> {
        let resource = Registry::default().by_storage(storage).unwrap();
        create(&resource, object)
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    #[test]
    fn a_pod_without_an_image_is_told_so() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a" }] } });
        assert_eq!(said("pods", &pod), ["spec.containers[0].image: Required value"]);
    }

    #[test]
    fn a_short_lived_projected_token_is_refused() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a", "image": "x" }], "volumes": [
            { "name": "t", "projected": { "sources": [{ "serviceAccountToken": { "path": "token", "expirationSeconds": 599 } }] } },
        ] } });
        let causes = said("pods", &pod);
        assert_eq!(causes.len(), 1);
        assert!(
            causes[0].ends_with("may not specify a duration less than 10 minutes"),
            "{causes:?}"
        );
    }

    #[test]
    fn a_selector_must_match_its_template() {
        let deployment = json!({ "metadata": { "name": "d" }, "spec": { "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "c" } }, "spec": { "containers": [{ "name": "a", "image": "x" }] } } } });
        assert_eq!(
            said("deployments.apps", &deployment),
            [
                "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`"
            ]
        );
    }

    #[test]
    fn a_suspended_job_may_change_its_node_selector_and_not_its_image() {
        let resource = Registry::default().by_storage("jobs.batch").unwrap();
        let job = |image: &str, node: &str, suspend: bool| {
            json!({ "metadata": { "name": "j" }, "spec": { "suspend": suspend, "template": { "spec": {
                "restartPolicy": "Never", "nodeSelector": { "kubernetes.io/hostname": node },
                "containers": [{ "name": "a", "image": image }],
            } } } })
        };
        let refused = |old: &Value, new: &Value| {
            let causes = update(&resource, "", old, new);
            causes.iter().any(|cause| cause.field == "spec.template")
        };
        assert!(!refused(&job("1", "a", true), &job("1", "b", true)));
        assert!(refused(&job("1", "a", true), &job("2", "a", true)));
        assert!(refused(&job("1", "a", false), &job("1", "b", false)));
    }

    #[test]
    fn names_and_labels_are_checked() {
        let object = json!({ "metadata": { "name": "A_", "labels": { "-x": "a b" } } });
        assert_eq!(said("configmaps", &object).len(), 3);
    }
}
