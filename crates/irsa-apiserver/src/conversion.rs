//! Kinds that are served in more than one form and stored in one: events (two API groups with different names for the
//! same things, stored as those of the core group) and autoscalers (`autoscaling/v1` and `v2`, stored as `v2`).

use serde_json::{Map, Value, json};

use crate::object::{ObjectExt, Stored, as_object_mut, entry_object};
use crate::resources::{Resource, api_version};

/// The stored form of an object that a client sent in `version`.
pub(crate) fn to_stored(resource: &Resource, version: &str, mut object: Value) -> Value {
    if resource.group == "events.k8s.io" {
        rename(as_object_mut(&mut object), |new, old| (new, old));
        object["apiVersion"] = json!("v1");
        return object;
    }
    if resource.version() != version {
        if resource.kind == "HorizontalPodAutoscaler" {
            let spec = entry_object(&mut object, "spec");
            if let Some(percent) = spec.shift_remove("targetCPUUtilizationPercentage") {
                let target = json!({ "type": "Utilization", "averageUtilization": percent });
                spec.insert(
                    "metrics".into(),
                    json!([{ "type": "Resource", "resource": { "name": "cpu", "target": target } }]),
                );
            }
        }
        object["apiVersion"] = resource.api_version().into();
    }
    object
}

/// The form of a stored object that a client asked for; `None` when it is the stored one.
pub(crate) fn from_stored(resource: &Resource, version: &str, object: &Stored) -> Option<Value> {
    if resource.group == "events.k8s.io" {
        let mut event = object.value().clone();
        rename(as_object_mut(&mut event), |new, old| (old, new));
        event["apiVersion"] = json!("events.k8s.io/v1");
        return Some(event);
    }
    if resource.version() == version {
        return None;
    }
    let mut value = object.value().clone();
    value["apiVersion"] = api_version(&resource.group, version).into();
    if resource.kind == "HorizontalPodAutoscaler" {
        let spec = entry_object(&mut value, "spec");
        let metrics = spec.shift_remove("metrics").unwrap_or_default();
        let percent = metrics
            .as_array()
            .into_iter()
            .flatten()
            .find(|metric| metric.str_at(&["resource", "name"]) == "cpu")
            .and_then(|metric| metric.int_at(&["resource", "target", "averageUtilization"]));
        spec.extend(percent.map(|percent| ("targetCPUUtilizationPercentage".to_owned(), percent.into())));
        spec.shift_remove("behavior");
    }
    Some(value)
}

/// Fields of `events.k8s.io/v1` and what they are called in the core group.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn rename(
    map: &mut Map<String, Value>,
    direction: impl Fn(&'static str, &'static str) -> (&'static str, &'static str),
) {
    for (new, old) in RENAMED {
        let (from, to) = direction(new, old);
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.into(), value);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::resources::Registry;

    #[test]
    fn an_event_reads_in_both_groups() {
        let registry = Registry::default();
        let new = registry.by_path("events.k8s.io", "v1", "events").unwrap();
        let sent = json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "regarding": { "name": "x" } });
        let stored = to_stored(&new, "v1", sent.clone());
        assert_eq!(
            stored,
            json!({ "apiVersion": "v1", "kind": "Event", "message": "n", "involvedObject": { "name": "x" } })
        );
        assert_eq!(from_stored(&new, "v1", &Stored::new(stored, 1)), Some(sent));
    }

    #[test]
    fn the_target_of_an_old_autoscaler_is_a_metric_of_the_new() {
        let resource = Registry::default()
            .by_path("autoscaling", "v1", "horizontalpodautoscalers")
            .unwrap();
        let sent = json!({ "apiVersion": "autoscaling/v1", "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 80 } });
        let stored = to_stored(&resource, "v1", sent.clone());
        assert_eq!(
            stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            80
        );
        assert_eq!(from_stored(&resource, "v1", &Stored::new(stored, 1)), Some(sent));
    }
}
