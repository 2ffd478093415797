//! Events have two API groups with different names for the same things; they are stored as those of the core group.

use serde_json::{Map, Value, json};

use crate::object::as_object_mut;

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

/// The core form of an event of `events.k8s.io/v1`.
pub(crate) fn to_core(mut event: Value) -> Value {
    rename(as_object_mut(&mut event), |new, old| (new, old));
    event["apiVersion"] = json!("v1");
    event
}

/// The form of `events.k8s.io/v1` of a core event.
pub(crate) fn from_core(event: &Value) -> Value {
    let mut event = event.clone();
    rename(as_object_mut(&mut event), |new, old| (old, new));
    event["apiVersion"] = json!("events.k8s.io/v1");
    event
}

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
