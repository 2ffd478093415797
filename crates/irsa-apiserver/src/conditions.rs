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

/// Sets a condition; its transition time changes only with its status.
pub(crate) fn set_condition(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str) {
    set_condition_at(status, kind, value, reason, message, &[]);
}

/// Like [`set_condition`], with further times to be set to now when anything changes (`lastUpdateTime`).
pub(crate) fn set_condition_at(
    status: &mut Value,
    kind: &str,
    value: &str,
    reason: &str,
    message: &str,
    times: &[&str],
) {
    let conditions = entry_object(status, "status")
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    let at = now();
    let mut fresh = json!({ "type": kind, "status": value });
    for time in times {
        fresh[*time] = at.as_str().into();
    }
    fresh["lastTransitionTime"] = at.as_str().into();
    if !reason.is_empty() {
        fresh["reason"] = reason.into();
    }
    if !message.is_empty() {
        fresh["message"] = message.into();
    }
    let found = conditions.iter_mut().find(|one| one.str_at(&["type"]) == kind);
    match found {
        Some(present) => {
            if present.str_at(&["status"]) == value {
                fresh["lastTransitionTime"] = present
                    .get("lastTransitionTime")
                    .cloned()
                    .unwrap_or_else(|| at.into());
            }
            let same = ["status", "reason", "message"]
                .iter()
                .all(|key| present.get(*key) == fresh.get(*key));
            if !same {
                *present = fresh;
            }
        }
        None => conditions.push(fresh),
    }
}

/// Removes a condition.
pub(crate) fn remove_condition(object: &mut Value, kind: &str) {
    if let Some(Value::Array(conditions)) = object
        .get_mut("status")
        .and_then(|status| status.get_mut("conditions"))
    {
        conditions.retain(|condition| condition.str_at(&["type"]) != kind);
    }
}
