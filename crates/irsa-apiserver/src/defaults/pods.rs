//! Defaults of pods that depend on other fields.

use serde_json::{Map, Value, json};

use super::{each, entry_in, from_table, set};
use crate::object::ObjectExt;

/// Defaults of a pod's spec.
pub(super) fn spec(spec: &mut Map<String, Value>) {
    for volume in each(spec, "volumes") {
        if volume.len() == 1 && volume.contains_key("name") {
            volume.insert("emptyDir".into(), json!({}));
        }
    }
    from_table("pod-spec", spec);
    // The old name of the field, kept in step.
    let account = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"));
    if let Some(name) = account.cloned() {
        spec.insert("serviceAccountName".into(), name.clone());
        spec.insert("serviceAccount".into(), name);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, list) {
            self::container(container, host_network);
        }
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    from_table("container", container);
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if moves(image) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", policy);
    if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut)
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = entry_in(resources, "requests");
        for (name, limit) in limits {
            set(requests, &name, limit);
        }
    }
    for port in each(container, "ports").filter(|_| host_network) {
        if let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
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
