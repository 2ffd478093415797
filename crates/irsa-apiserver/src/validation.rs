//! What a valid object looks like, and what may change in it. The messages are those of Kubernetes.

mod pods;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::object::ObjectExt;
use crate::resources::Resource;
use crate::selectors::LabelSelector;
use crate::status::Cause;
use irsa_core::names;

const IMMUTABLE: &str = "field is immutable";
/// The most that all annotations together may have.
const ANNOTATIONS: usize = 256 * 1024;

/// What is wrong with a new object.
pub(crate) fn create(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    metadata(resource, object, &mut causes);
    content(resource, object, &mut causes);
    if resource.storage == "pods" {
        pods::spec(object.get("spec").unwrap_or(&Value::Null), "spec", &mut causes);
    }
    causes
}

/// What is wrong with a new state of an object.
pub(crate) fn update(resource: &Resource, subresource: &str, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match subresource {
        "" => {}
        "ephemeralcontainers" => {
            pods::spec(new.get("spec").unwrap_or(&Value::Null), "spec", &mut causes);
            return causes;
        }
        _ => return causes,
    }
    metadata(resource, new, &mut causes);
    content(resource, new, &mut causes);
    changes(resource, old, new, &mut causes);
    if resource.storage == "pods" {
        pods::changes(old, new, &mut causes);
    }
    if old.deletion_timestamp().is_some() {
        let had = old.finalizers();
        let added: Vec<&Value> = new.finalizers().iter().filter(|one| !had.contains(one)).collect();
        if !added.is_empty() {
            causes.push(Cause::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                    json!(added)
                ),
            ));
        }
    }
    causes
}

fn check(causes: &mut Vec<Cause>, field: impl Into<String>, value: &str, result: Result<(), String>) {
    if let Err(why) = result {
        causes.push(Cause::invalid(field, &Value::from(value), &why));
    }
}

fn one_of(causes: &mut Vec<Cause>, object: &Value, path: &[&str], prefix: &str, allowed: &[&str]) {
    if let Some(value) = object.at(path)
        && !value.as_str().is_some_and(|text| allowed.contains(&text))
    {
        let field = path.join(".");
        let field = if prefix.is_empty() {
            field
        } else {
            format!("{prefix}.{field}")
        };
        causes.push(Cause::not_supported(field, value, allowed));
    }
}

fn not_negative(causes: &mut Vec<Cause>, object: &Value, path: &[&str]) {
    if let Some(value) = object.at(path)
        && value.as_i64().is_some_and(|number| number < 0)
    {
        causes.push(Cause::invalid(
            path.join("."),
            value,
            "must be greater than or equal to 0",
        ));
    }
}

fn metadata(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    let name = object.name();
    let rule = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => names::dns_label,
        ("", "services") => names::dns_1035_label,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        _ => names::dns_subdomain,
    };
    check(causes, "metadata.name", name, rule(name));
    labels(object.labels(), "metadata.labels", causes);
    let mut size = 0;
    for (key, value) in object.map_at(&["metadata", "annotations"]).into_iter().flatten() {
        size += key.len() + value.as_str().unwrap_or_default().len();
        check(
            causes,
            "metadata.annotations",
            key,
            names::qualified_name(&key.to_lowercase()),
        );
    }
    if size > ANNOTATIONS {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            field: "metadata.annotations".into(),
            message: format!("Too long: may not be more than {ANNOTATIONS} bytes"),
        });
    }
    for (index, finalizer) in object.finalizers().iter().enumerate() {
        let text = finalizer.as_str().unwrap_or_default();
        check(
            causes,
            format!("metadata.finalizers[{index}]"),
            text,
            names::qualified_name(text),
        );
    }
    let mut controllers = 0;
    for (index, owner) in object.owner_references().iter().enumerate() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if owner.str_at(&[key]).is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{key}");
                causes.push(Cause::invalid(field, &Value::from(""), "must not be empty"));
            }
        }
        controllers += usize::from(owner.get("controller") == Some(&Value::Bool(true)));
    }
    if controllers > 1 {
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            object
                .at(&["metadata", "ownerReferences"])
                .unwrap_or(&Value::Null),
            "Only one reference can have Controller set to true",
        ));
    }
}

fn labels(labels: Option<&Map<String, Value>>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.into_iter().flatten() {
        check(causes, field, key, names::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        check(causes, field, value, names::label_value(value));
    }
}

fn content(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    match resource.storage.as_str() {
        "deployments.apps" => {
            workload(object, causes);
            one_of(
                causes,
                object,
                &["spec", "strategy", "type"],
                "",
                &["Recreate", "RollingUpdate"],
            );
        }
        "daemonsets.apps" | "statefulsets.apps" => {
            workload(object, causes);
            one_of(
                causes,
                object,
                &["spec", "updateStrategy", "type"],
                "",
                &["OnDelete", "RollingUpdate"],
            );
        }
        "replicasets.apps" => workload(object, causes),
        "jobs.batch" => job(object.get("spec").unwrap_or(&Value::Null), "spec", causes),
        "cronjobs.batch" => cron_job(object, causes),
        "configmaps" | "secrets" => data_keys(object, causes),
        "services" => service(object, causes),
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => webhooks(object, causes),
        "customresourcedefinitions.apiextensions.k8s.io" => definition(object, causes),
        "poddisruptionbudgets.policy" => {
            let has = |key: &str| object.at(&["spec", key]).is_some();
            if has("minAvailable") && has("maxUnavailable") {
                causes.push(Cause::invalid(
                    "spec",
                    object.get("spec").unwrap_or(&Value::Null),
                    "minAvailable and maxUnavailable cannot be both set",
                ));
            }
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            for key in ["kind", "name"] {
                if object.str_at(&["roleRef", key]).is_empty() {
                    causes.push(Cause::required(format!("roleRef.{key}"), ""));
                }
            }
        }
        _ => {}
    }
}

fn workload(object: &Value, causes: &mut Vec<Cause>) {
    not_negative(causes, object, &["spec", "replicas"]);
    not_negative(causes, object, &["spec", "minReadySeconds"]);
    selector_matches(object, causes);
    let template = object.at(&["spec", "template"]).unwrap_or(&Value::Null);
    labels(template.labels(), "spec.template.metadata.labels", causes);
    pods::spec(
        template.get("spec").unwrap_or(&Value::Null),
        "spec.template.spec",
        causes,
    );
    one_of(
        causes,
        template,
        &["spec", "restartPolicy"],
        "spec.template",
        &["Always"],
    );
}

fn selector_matches(object: &Value, causes: &mut Vec<Cause>) {
    let selector = object.at(&["spec", "selector"]);
    let Some(selector) = selector else {
        causes.push(Cause::required("spec.selector", ""));
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            object
                .at(&["spec", "template", "metadata", "labels"])
                .unwrap_or(&Value::Null),
            "`selector` does not match template `labels`",
        ));
        return;
    };
    match LabelSelector::from_object(Some(selector)) {
        Err(error) => causes.push(Cause::invalid("spec.selector", selector, &error.to_string())),
        Ok(parsed) if parsed.is_everything() => {
            causes.push(Cause::invalid(
                "spec.selector",
                selector,
                "empty selector is invalid for deployment",
            ));
        }
        Ok(parsed) => {
            let template = object.at(&["spec", "template"]).unwrap_or(&Value::Null);
            if !parsed.matches(template.labels()) {
                let labels = template.at(&["metadata", "labels"]).unwrap_or(&Value::Null);
                causes.push(Cause::invalid(
                    "spec.template.metadata.labels",
                    labels,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
}

fn job(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    for key in [
        "parallelism",
        "completions",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        if let Some(value) = spec.get(key)
            && value.as_i64().is_some_and(|number| number < 0)
        {
            causes.push(Cause::invalid(
                format!("{field}.{key}"),
                value,
                "must be greater than or equal to 0",
            ));
        }
    }
    let template = spec.get("template").unwrap_or(&Value::Null);
    let prefix = format!("{field}.template");
    pods::spec(
        template.get("spec").unwrap_or(&Value::Null),
        &format!("{prefix}.spec"),
        causes,
    );
    if template.str_at(&["spec", "restartPolicy"]) == "Always" {
        causes.push(Cause {
            reason: "FieldValueRequired",
            field: format!("{prefix}.spec.restartPolicy"),
            message: "Required value: valid values: \"OnFailure\", \"Never\"".into(),
        });
    }
}

fn cron_job(object: &Value, causes: &mut Vec<Cause>) {
    let schedule = object.str_at(&["spec", "schedule"]);
    if schedule.is_empty() {
        causes.push(Cause::required("spec.schedule", ""));
    } else if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 {
        causes.push(Cause::invalid(
            "spec.schedule",
            &Value::from(schedule),
            &format!(
                "expected exactly 5 fields, found {}: [{schedule}]",
                schedule.split_whitespace().count()
            ),
        ));
    }
    one_of(
        causes,
        object,
        &["spec", "concurrencyPolicy"],
        "",
        &["Allow", "Forbid", "Replace"],
    );
    job(
        object
            .at(&["spec", "jobTemplate", "spec"])
            .unwrap_or(&Value::Null),
        "spec.jobTemplate.spec",
        causes,
    );
}

fn data_keys(object: &Value, causes: &mut Vec<Cause>) {
    for part in ["data", "binaryData"] {
        for key in object.map_at(&[part]).into_iter().flatten().map(|(key, _)| key) {
            let good = !key.is_empty()
                && key.len() <= 253
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                && key != "."
                && !key.starts_with("..");
            if !good {
                causes.push(Cause::invalid(
                    format!("{part}[{key}]"),
                    &Value::from(key.as_str()),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                     'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                ));
            }
        }
    }
}

fn service(object: &Value, causes: &mut Vec<Cause>) {
    one_of(
        causes,
        object,
        &["spec", "type"],
        "",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    let ports = object.list_at(&["spec", "ports"]);
    let kind = object.str_at(&["spec", "type"]);
    let headless = object.str_at(&["spec", "clusterIP"]) == "None";
    if ports.is_empty() && kind != "ExternalName" && !headless {
        causes.push(Cause::required("spec.ports", ""));
    }
    if kind == "ExternalName" && object.str_at(&["spec", "externalName"]).is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        pods::port_number(port.get("port"), &format!("spec.ports[{index}].port"), causes);
        let name = port.str_at(&["name"]);
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("spec.ports[{index}].name"), ""));
        } else if !name.is_empty() && !seen.insert(name) {
            causes.push(Cause::duplicate(
                format!("spec.ports[{index}].name"),
                &Value::from(name),
            ));
        }
    }
}

fn webhooks(object: &Value, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (index, webhook) in object.list_at(&["webhooks"]).iter().enumerate() {
        let at = |key: &str| format!("webhooks[{index}].{key}");
        let name = webhook.str_at(&["name"]);
        if name.is_empty() {
            causes.push(Cause::required(at("name"), ""));
        } else if names::dns_subdomain(name).is_err() || name.split('.').count() < 3 {
            let why = "should be a domain with at least three segments separated by dots";
            causes.push(Cause::invalid(at("name"), &Value::from(name), why));
        }
        if !name.is_empty() && !seen.insert(name) {
            causes.push(Cause::duplicate(at("name"), &Value::from(name)));
        }
        let url = webhook.str_at(&["clientConfig", "url"]);
        match (url.is_empty(), webhook.at(&["clientConfig", "service"])) {
            (true, None) | (false, Some(_)) => {
                causes.push(Cause::required(
                    at("clientConfig"),
                    "exactly one of url or service is required",
                ));
            }
            (false, None) if !url.starts_with("https://") => {
                let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                causes.push(Cause::invalid(at("clientConfig.url"), &Value::from(url), why));
            }
            _ => {}
        }
        if webhook.list_at(&["admissionReviewVersions"]).is_empty() {
            let why = "must specify one of v1, v1beta1";
            causes.push(Cause::required(at("admissionReviewVersions"), why));
        } else if !webhook
            .list_at(&["admissionReviewVersions"])
            .iter()
            .any(|one| one == "v1" || one == "v1beta1")
        {
            let why = "must include at least one of v1, v1beta1";
            let given = webhook.get("admissionReviewVersions").unwrap_or(&Value::Null);
            causes.push(Cause::invalid(at("admissionReviewVersions"), given, why));
        }
        match webhook.get("sideEffects") {
            None => causes.push(Cause::required(
                at("sideEffects"),
                "must specify one of None, NoneOnDryRun",
            )),
            Some(_) => one_of(
                causes,
                webhook,
                &["sideEffects"],
                &format!("webhooks[{index}]"),
                &["None", "NoneOnDryRun"],
            ),
        }
        one_of(
            causes,
            webhook,
            &["failurePolicy"],
            &format!("webhooks[{index}]"),
            &["Fail", "Ignore"],
        );
        if let Some(seconds) = webhook.get("timeoutSeconds")
            && !seconds
                .as_i64()
                .is_some_and(|seconds| (1..=30).contains(&seconds))
        {
            causes.push(Cause::invalid(
                at("timeoutSeconds"),
                seconds,
                "the timeout value must be between 1 and 30 seconds",
            ));
        }
    }
}

fn definition(object: &Value, causes: &mut Vec<Cause>) {
    let (plural, group) = (
        object.str_at(&["spec", "names", "plural"]),
        object.str_at(&["spec", "group"]),
    );
    for (field, value) in [
        ("spec.group", group),
        ("spec.names.plural", plural),
        ("spec.names.kind", object.str_at(&["spec", "names", "kind"])),
    ] {
        if value.is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    if object.name() != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &Value::from(object.name()), why));
    }
    one_of(causes, object, &["spec", "scope"], "", &["Cluster", "Namespaced"]);
    let stored = object
        .list_at(&["spec", "versions"])
        .iter()
        .filter(|version| version.get("storage") == Some(&Value::Bool(true)))
        .count();
    if stored != 1 {
        let versions = object.at(&["spec", "versions"]).unwrap_or(&Value::Null);
        causes.push(Cause::invalid(
            "spec.versions",
            versions,
            "must have exactly one version marked as storage version",
        ));
    }
}

/// Fields that may not change.
fn changes(resource: &Resource, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let mut fixed = |path: &[&str], why: &str| {
        if old.at(path) != new.at(path) {
            causes.push(Cause::invalid(
                path.join("."),
                new.at(path).unwrap_or(&Value::Null),
                why,
            ));
        }
    };
    match resource.storage.as_str() {
        "deployments.apps" | "daemonsets.apps" | "replicasets.apps" => {
            fixed(&["spec", "selector"], IMMUTABLE)
        }
        "jobs.batch" => {
            fixed(&["spec", "selector"], IMMUTABLE);
            fixed(&["spec", "completionMode"], IMMUTABLE);
            // While it is suspended and never ran, its scheduling directives may still change.
            let suspended = old.at(&["spec", "suspend"]) == Some(&Value::Bool(true));
            if !suspended {
                fixed(&["spec", "template"], IMMUTABLE);
            }
        }
        "statefulsets.apps" => {
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
            if rest(old) != rest(new) {
                causes.push(Cause::forbidden(
                    "spec",
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                     'minReadySeconds' are forbidden",
                ));
            }
        }
        "secrets" | "configmaps" => {
            if resource.storage == "secrets" {
                fixed(&["type"], IMMUTABLE);
            }
            if old.get("immutable") == Some(&Value::Bool(true)) {
                for part in ["immutable", "data", "binaryData"] {
                    if old.get(part) != new.get(part) {
                        causes.push(Cause::forbidden(
                            part,
                            "field is immutable when `immutable` is set",
                        ));
                    }
                }
            }
        }
        "services" => {
            let (before, after) = (
                old.str_at(&["spec", "clusterIP"]),
                new.str_at(&["spec", "clusterIP"]),
            );
            let external = |object: &Value| object.str_at(&["spec", "type"]) == "ExternalName";
            if !before.is_empty() && !after.is_empty() && before != after && !external(old) && !external(new)
            {
                let given = new
                    .at(&["spec", "clusterIPs"])
                    .cloned()
                    .unwrap_or_else(|| json!([after]));
                causes.push(Cause::invalid(
                    "spec.clusterIPs[0]",
                    &given,
                    "may not change once set",
                ));
            }
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            fixed(&["roleRef"], "cannot change roleRef");
        }
        "priorityclasses.scheduling.k8s.io" if old.get("value") != new.get("value") => {
            causes.push(Cause::forbidden("value", "may not be changed in an update."));
        }
        "customresourcedefinitions.apiextensions.k8s.io" => fixed(&["spec", "scope"], IMMUTABLE),
        _ => {}
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
    fn names_and_labels_are_checked() {
        let object = json!({ "metadata": { "name": "A_", "labels": { "-x": "a b" } } });
        assert_eq!(said("configmaps", &object).len(), 3);
    }
}
