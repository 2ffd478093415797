//! Validation of pods.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::checks::Checks;
use crate::object::ObjectExt;
use crate::status::Cause;
use irsa_core::names;

/// What is wrong with the spec of a pod.
pub(super) fn spec(spec: &mut Checks<'_, '_>) {
    let mut volumes = HashSet::new();
    spec.each("volumes", |volume| {
        let name = volume.name("name", names::dns_label);
        volume.unique("name", name, &mut volumes);
        let fields = volume.value.as_object().map_or(0, serde_json::Map::len);
        if fields > 2 {
            volume.forbidden("", "may not specify more than 1 volume type");
        }
        let mut projected = volume.child("projected");
        projected.each("sources", |source| {
            token_source(&mut source.child("serviceAccountToken"))
        });
    });
    if spec.value.list_at(&["containers"]).is_empty() {
        spec.require("containers", "");
    }
    let mut seen = HashSet::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        spec.each(list, |one| {
            container(one, &volumes);
            one.unique("name", one.value.str_at(&["name"]), &mut seen);
            if list == "initContainers" {
                one.one_of("restartPolicy", &["Always", "Never", "OnFailure"]);
            }
        });
    }
    spec.one_of("restartPolicy", &["Always", "Never", "OnFailure"]);
    let policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    spec.one_of("dnsPolicy", &policies);
    for key in ["serviceAccountName", "nodeName", "priorityClassName"] {
        let value = spec.value.str_at(&[key]);
        if !value.is_empty() {
            spec.text(key, value, names::dns_subdomain(value));
        }
    }
    for (key, value) in spec.value.map_at(&["nodeSelector"]).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        spec.text("nodeSelector", key, names::qualified_name(key));
        spec.text("nodeSelector", value, names::label_value(value));
    }
    let most = i64::from(i32::MAX);
    spec.range(
        "activeDeadlineSeconds",
        1..=most,
        "must be between 1 and 2147483647, inclusive",
    );
}

fn token_source(token: &mut Checks<'_, '_>) {
    if token.value.is_null() {
        return;
    }
    let path = token.required("path");
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        token.invalid("path", &json!(path), "must be a relative path without '..'");
    }
    const SECONDS: &str = "expirationSeconds";
    token.range(
        SECONDS,
        600..=i64::MAX,
        "may not specify a duration less than 10 minutes",
    );
    token.range(
        SECONDS,
        i64::MIN..=1 << 32,
        "may not specify a duration larger than 2^32 seconds",
    );
}

fn container(container: &mut Checks<'_, '_>, volumes: &HashSet<&str>) {
    container.name("name", names::dns_label);
    let image = container.required("image");
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        container.invalid("image", &json!(image), why);
    }
    container.one_of("imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    let mut ports = HashSet::new();
    container.each("ports", |port| {
        port.port_number("containerPort");
        port.one_of("protocol", &["SCTP", "TCP", "UDP"]);
        port.unique("name", port.value.str_at(&["name"]), &mut ports);
    });
    container.each("env", |variable| {
        variable.name("name", names::environment_variable);
        let both = !variable.value.str_at(&["value"]).is_empty() && variable.value.get("valueFrom").is_some();
        if both {
            let why = "may not be specified when `value` is not empty";
            variable.invalid("valueFrom", &json!(""), why);
        }
    });
    let mut paths = HashSet::new();
    container.each("volumeMounts", |mount| {
        let volume = mount.required("name");
        if !volume.is_empty() && !volumes.contains(volume) {
            mount.not_found("name", volume);
        }
        let path = mount.required("mountPath");
        if !path.is_empty() && !paths.insert(path) {
            mount.invalid("mountPath", &json!(path), "must be unique");
        }
    });
}

const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Next to nothing of a pod's spec may change.
pub(super) fn changes(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let missing = Value::Null;
    let before = old.get("spec").unwrap_or(&missing);
    let mut after = new.get("spec").cloned().unwrap_or_default();
    for list in ["containers", "initContainers"] {
        let originals = before.list_at(&[list]);
        if let Some(Value::Array(containers)) = after.get_mut(list) {
            if containers.len() != originals.len() {
                causes.push(Cause::forbidden(
                    format!("spec.{list}"),
                    "pod updates may not add or remove containers",
                ));
                return;
            }
            for (index, (container, original)) in containers.iter_mut().zip(originals).enumerate() {
                if container.str_at(&["image"]).is_empty() {
                    causes.push(Cause::required(format!("spec.{list}[{index}].image"), ""));
                }
                if let (Some(map), Some(image)) = (container.as_object_mut(), original.get("image")) {
                    map.insert("image".into(), image.clone());
                }
            }
        }
    }
    let kept = before
        .list_at(&["tolerations"])
        .iter()
        .all(|one| after.list_at(&["tolerations"]).contains(one));
    if let Some(map) = after.as_object_mut() {
        let mut restore = |key: &str| match before.get(key) {
            Some(value) => {
                map.insert(key.to_owned(), value.clone());
            }
            None => {
                map.shift_remove(key);
            }
        };
        restore("activeDeadlineSeconds");
        if kept {
            restore("tolerations");
        }
        if before
            .int_at(&["terminationGracePeriodSeconds"])
            .is_some_and(|seconds| seconds < 0)
        {
            restore("terminationGracePeriodSeconds");
        }
        // Gates may be lifted.
        if map.get("schedulingGates").is_none() {
            map.extend(
                before
                    .get("schedulingGates")
                    .map(|gates| ("schedulingGates".to_owned(), gates.clone())),
            );
        }
    }
    if after != *before {
        causes.push(Cause::forbidden("spec", FIXED));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_image_of_a_pod_may_change_and_its_environment_may_not() {
        let pod = |image: &str, value: &str| json!({ "spec": { "containers": [{ "name": "a", "image": image, "env": [{ "name": "X", "value": value }] }] } });
        let refused = |new: &Value| {
            let mut causes = Vec::new();
            changes(&pod("1", "x"), new, &mut causes);
            !causes.is_empty()
        };
        assert!(!refused(&pod("2", "x")));
        assert!(refused(&pod("1", "y")));
    }
}
