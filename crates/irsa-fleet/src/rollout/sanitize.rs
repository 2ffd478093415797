//! The manifest of a pod without what the API server, the scheduler and webhooks have added to it.

use irsa_core::{annotations, settings::Settings, variable::Variable};
use serde_json::{Map, Value};

/// The manifest from which the pod can be created again, to be mutated by the webhooks as they are now.
pub(super) fn sanitize(pod: &Value, settings: &Settings) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = pod["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(&format!("{}/{}", settings.annotation_prefix, annotations::RECORD));
    }
    let mut spec = pod["spec"].clone();
    let injected_volume = |name: &str| {
        name == &*settings.volume_name
            || name == &*settings.container_credentials.volume_name
            || name.starts_with("kube-api-access-")
    };
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
        retain(spec.get_mut("volumes"), |volume| {
            !injected_volume(volume["name"].as_str().unwrap_or_default())
        });
        for list in ["containers", "initContainers"] {
            for container in spec
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                let carried_identity = container["volumeMounts"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|mount| mount["name"] == *settings.volume_name);
                let Some(container) = container.as_object_mut() else {
                    continue;
                };
                retain(container.get_mut("volumeMounts"), |mount| {
                    !injected_volume(mount["name"].as_str().unwrap_or_default())
                });
                if let (true, Some(variables)) = (
                    carried_identity,
                    container.get_mut("env").and_then(Value::as_array_mut),
                ) {
                    // Webhooks append: what follows the last variable of the container itself is theirs.
                    while variables.last().is_some_and(|variable| {
                        variable["name"]
                            .as_str()
                            .and_then(Variable::from_name)
                            .is_some_and(Variable::is_written)
                    }) {
                        variables.pop();
                    }
                }
            }
        }
    }
    serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn retain(list: Option<&mut Value>, keep: impl Fn(&Value) -> bool) {
    if let Some(list) = list.and_then(Value::as_array_mut) {
        list.retain(keep);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn injected_fields_are_removed_and_the_others_kept() {
        let pod = json!({
            "metadata": {"name": "tool", "namespace": "ops", "uid": "u", "resourceVersion": "7",
                "labels": {"a": "b"}, "annotations": {"eks.amazonaws.com/sts-endpoint": "regional,service-account", "x": "y"}},
            "spec": {"nodeName": "n", "serviceAccountName": "tool",
                "volumes": [{"name": "aws-iam-token"}, {"name": "kube-api-access-x"}, {"name": "data"}],
                "containers": [{"name": "c",
                    "env": [{"name": "AWS_REGION", "value": "eu-west-1"}, {"name": "APP", "value": "1"},
                        {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"}, {"name": "AWS_ROLE_ARN", "value": "r"}],
                    "volumeMounts": [{"name": "aws-iam-token"}, {"name": "data"}]}]},
            "status": {"phase": "Running"}});
        assert_eq!(
            sanitize(&pod, &Settings::default()),
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "tool", "namespace": "ops", "labels": {"a": "b"}, "annotations": {"x": "y"}},
                "spec": {"serviceAccountName": "tool", "volumes": [{"name": "data"}],
                    "containers": [{"name": "c",
                        "env": [{"name": "AWS_REGION", "value": "eu-west-1"}, {"name": "APP", "value": "1"}],
                        "volumeMounts": [{"name": "data"}]}]}})
        );
    }
}
