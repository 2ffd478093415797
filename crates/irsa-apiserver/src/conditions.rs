//! `status.conditions` of objects.

use serde_json::{Value, json};

use crate::object::{ObjectExt, entry_object, now};

/// The condition of a type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .list_at(&["status", "conditions"])
        .iter()
        .find(|condition| condition.str_at(&["type"]) == kind)
}

/// Whether the condition of a type is `True`.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition.str_at(&["status"]) == "True")
}

/// Sets a condition; its transition time changes only with its status.
pub(crate) fn set_condition(object: &mut Value, kind: &str, value: &str, reason: &str, message: &str) {
    let conditions = entry_object(object, "status")
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    let mut fresh = json!({ "type": kind, "status": value, "lastTransitionTime": now() });
    for (key, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            fresh[key] = text.into();
        }
    }
    let Some(present) = conditions.iter_mut().find(|one| one.str_at(&["type"]) == kind) else {
        conditions.push(fresh);
        return;
    };
    if present.str_at(&["status"]) == value
        && let Some(since) = present.get("lastTransitionTime")
    {
        fresh["lastTransitionTime"] = since.clone();
    }
    let same = |key: &&str| present.get(*key) == fresh.get(*key);
    if !["status", "reason", "message"].iter().all(same) {
        *present = fresh;
    }
}
