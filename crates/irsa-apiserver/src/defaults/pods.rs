//! Defaults of pods.

use serde_json::{Map, Value, json};

use super::{each, set};
use crate::object::{ObjectExt, as_object_mut};

/// Defaults of a pod's spec.
pub(super) fn spec(spec: &mut Map<String, Value>) {
    set(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", "default-scheduler");
    // The old name of the field, kept in step.
    if let Some(name) = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"))
        .cloned()
    {
        spec.insert("serviceAccountName".into(), name.clone());
        spec.insert("serviceAccount".into(), name);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, list) {
            self::container(container, host_network);
        }
    }
    for volume in each(spec, "volumes") {
        self::volume(volume);
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if moves(image) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", policy);
    set(container, "resources", json!({}));
    if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut)
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = as_object_mut(resources.entry("requests").or_insert_with(|| json!({})));
        for (name, limit) in limits {
            set(requests, &name, limit);
        }
    }
    for port in each(container, "ports") {
        set(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    }
    for variable in each(container, "env") {
        let field = variable
            .get_mut("valueFrom")
            .and_then(|source| source.get_mut("fieldRef"));
        if let Some(field) = field.and_then(Value::as_object_mut) {
            set(field, "apiVersion", "v1");
        }
        if let Some(resource) = variable
            .get_mut("valueFrom")
            .and_then(|source| source.get_mut("resourceFieldRef"))
            .and_then(Value::as_object_mut)
        {
            set(resource, "divisor", "0");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) else {
            continue;
        };
        for (key, value) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            set(probe, key, value);
        }
        http_get(probe.get_mut("httpGet"));
        if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
            set(grpc, "service", "");
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
        for handler in lifecycle.values_mut() {
            http_get(handler.get_mut("httpGet"));
        }
    }
}

fn http_get(action: Option<&mut Value>) {
    if let Some(action) = action.and_then(Value::as_object_mut) {
        set(action, "path", "/");
        set(action, "scheme", "HTTP");
    }
}

/// Whether an image name may mean another image tomorrow: no tag, or `latest`, and no digest.
fn moves(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn volume(volume: &mut Map<String, Value>) {
    const MODE: i64 = 0o644;
    if volume.len() == 1 && volume.contains_key("name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            set(source, "defaultMode", MODE);
            field_references(source);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        set(path, "type", "");
    }
    if let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) {
        for source in each(projected, "sources") {
            if let Some(token) = source
                .get_mut("serviceAccountToken")
                .and_then(Value::as_object_mut)
            {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                field_references(downward);
            }
        }
    }
}

fn field_references(source: &mut Map<String, Value>) {
    for item in each(source, "items") {
        if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            set(field, "apiVersion", "v1");
        }
    }
}

/// The quality of service class that follows from requests and limits.
pub(super) fn quality(spec: &Map<String, Value>) -> &'static str {
    let mut guaranteed = true;
    let mut any = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get(list).and_then(Value::as_array).into_iter().flatten() {
            for resource in ["cpu", "memory"] {
                let request = container.str_at(&["resources", "requests", resource]);
                let limit = container.str_at(&["resources", "limits", resource]);
                any |= !request.is_empty() || !limit.is_empty();
                guaranteed &= !limit.is_empty() && request == limit;
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::moves;

    #[test]
    fn an_image_moves_unless_it_has_a_tag_or_a_digest() {
        for (image, expected) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("host:5000/nginx", true),
            ("nginx:1.2", false),
            ("nginx@sha256:abc", false),
        ] {
            assert_eq!(moves(image), expected, "{image}");
        }
    }
}
