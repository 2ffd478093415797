//! Validation of pods.

use std::collections::HashSet;

use serde_json::Value;

use super::{check, one_of};
use crate::object::ObjectExt;
use crate::status::Cause;
use irsa_core::names;

/// Shortest and longest life of a projected token, in seconds.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);

/// What is wrong with the spec of a pod.
pub(super) fn spec(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    let mut volumes = HashSet::new();
    for (index, volume) in spec.list_at(&["volumes"]).iter().enumerate() {
        let at = format!("{field}.volumes[{index}]");
        let name = volume.str_at(&["name"]);
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else {
            check(causes, format!("{at}.name"), name, names::dns_label(name));
        }
        if !volumes.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &Value::from(name)));
        }
        let sources = volume
            .as_object()
            .map_or(0, |map| map.keys().filter(|key| *key != "name").count());
        if sources > 1 {
            causes.push(Cause::forbidden(&at, "may not specify more than 1 volume type"));
        }
        for (source, token) in volume.list_at(&["projected", "sources"]).iter().enumerate() {
            let Some(token) = token.get("serviceAccountToken") else {
                continue;
            };
            token_source(
                token,
                &format!("{at}.projected.sources[{source}].serviceAccountToken"),
                causes,
            );
        }
    }
    let containers = spec.list_at(&["containers"]);
    if containers.is_empty() {
        causes.push(Cause::required(format!("{field}.containers"), ""));
    }
    let mut seen = HashSet::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, one) in spec.list_at(&[list]).iter().enumerate() {
            let at = format!("{field}.{list}[{index}]");
            container(one, &at, &volumes, causes);
            let name = one.str_at(&["name"]);
            if !name.is_empty() && !seen.insert(name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &Value::from(name)));
            }
            if list == "initContainers" {
                one_of(
                    causes,
                    one,
                    &["restartPolicy"],
                    &at,
                    &["Always", "Never", "OnFailure"],
                );
            }
        }
    }
    one_of(
        causes,
        spec,
        &["restartPolicy"],
        field,
        &["Always", "Never", "OnFailure"],
    );
    one_of(
        causes,
        spec,
        &["dnsPolicy"],
        field,
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    );
    for key in ["serviceAccountName", "nodeName", "priorityClassName"] {
        let value = spec.str_at(&[key]);
        if !value.is_empty() {
            check(
                causes,
                format!("{field}.{key}"),
                value,
                names::dns_subdomain(value),
            );
        }
    }
    for (key, value) in spec.map_at(&["nodeSelector"]).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        check(
            causes,
            format!("{field}.nodeSelector"),
            key,
            names::qualified_name(key),
        );
        check(
            causes,
            format!("{field}.nodeSelector"),
            value,
            names::label_value(value),
        );
    }
    if let Some(seconds) = spec.get("activeDeadlineSeconds")
        && seconds.as_i64().is_some_and(|seconds| seconds < 1)
    {
        causes.push(Cause::invalid(
            format!("{field}.activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
}

fn token_source(token: &Value, at: &str, causes: &mut Vec<Cause>) {
    let path = token.str_at(&["path"]);
    if path.is_empty() {
        causes.push(Cause::required(format!("{at}.path"), ""));
    } else if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(
            format!("{at}.path"),
            &Value::from(path),
            "must be a relative path without '..'",
        ));
    }
    if let Some(given) = token.get("expirationSeconds") {
        let seconds = given.as_i64().unwrap_or_default();
        let field = format!("{at}.expirationSeconds");
        if seconds < TOKEN_SECONDS.0 {
            causes.push(Cause::invalid(
                field,
                given,
                "may not specify a duration less than 10 minutes",
            ));
        } else if seconds > TOKEN_SECONDS.1 {
            causes.push(Cause::invalid(
                field,
                given,
                "may not specify a duration larger than 2^32 seconds",
            ));
        }
    }
}

fn container(container: &Value, at: &str, volumes: &HashSet<&str>, causes: &mut Vec<Cause>) {
    let name = container.str_at(&["name"]);
    if name.is_empty() {
        causes.push(Cause::required(format!("{at}.name"), ""));
    } else {
        check(causes, format!("{at}.name"), name, names::dns_label(name));
    }
    let image = container.str_at(&["image"]);
    if image.is_empty() {
        causes.push(Cause::required(format!("{at}.image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(format!("{at}.image"), &Value::from(image), why));
    }
    one_of(
        causes,
        container,
        &["imagePullPolicy"],
        at,
        &["Always", "IfNotPresent", "Never"],
    );
    let mut port_names = HashSet::new();
    for (index, port) in container.list_at(&["ports"]).iter().enumerate() {
        let at = format!("{at}.ports[{index}]");
        port_number(port.get("containerPort"), &format!("{at}.containerPort"), causes);
        one_of(causes, port, &["protocol"], &at, &["SCTP", "TCP", "UDP"]);
        let name = port.str_at(&["name"]);
        if !name.is_empty() && !port_names.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &Value::from(name)));
        }
    }
    for (index, variable) in container.list_at(&["env"]).iter().enumerate() {
        let at = format!("{at}.env[{index}]");
        let name = variable.str_at(&["name"]);
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else {
            check(
                causes,
                format!("{at}.name"),
                name,
                names::environment_variable(name),
            );
        }
        if !variable.str_at(&["value"]).is_empty() && variable.get("valueFrom").is_some() {
            let why = "may not be specified when `value` is not empty";
            causes.push(Cause::invalid(format!("{at}.valueFrom"), &Value::from(""), why));
        }
    }
    let mut paths = HashSet::new();
    for (index, mount) in container.list_at(&["volumeMounts"]).iter().enumerate() {
        let at = format!("{at}.volumeMounts[{index}]");
        let volume = mount.str_at(&["name"]);
        if volume.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if !volumes.contains(volume) {
            causes.push(Cause::not_found(format!("{at}.name"), &Value::from(volume)));
        }
        let path = mount.str_at(&["mountPath"]);
        if path.is_empty() {
            causes.push(Cause::required(format!("{at}.mountPath"), ""));
        } else if !paths.insert(path) {
            causes.push(Cause::invalid(
                format!("{at}.mountPath"),
                &Value::from(path),
                "must be unique",
            ));
        }
    }
}

/// A port between 1 and 65535 must be there.
pub(super) fn port_number(port: Option<&Value>, field: &str, causes: &mut Vec<Cause>) {
    match port {
        None => causes.push(Cause::required(field, "")),
        Some(value) if !value.as_i64().is_some_and(|port| (1..=65_535).contains(&port)) => {
            causes.push(Cause::invalid(
                field,
                value,
                "must be between 1 and 65535, inclusive",
            ));
        }
        Some(_) => {}
    }
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
