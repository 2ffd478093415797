//! What controllers ask about pods, and how they make and claim them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::{Api, Caller, DeleteOptions, WriteOptions};
use crate::object::{Object, ObjectExt, entry_object, metadata_mut, now};
use crate::selectors::LabelSelector;
use crate::status::Result;

/// The condition of a type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .list_at(&["status", "conditions"])
        .iter()
        .find(|condition| condition.str_at(&["type"]) == kind)
}

/// Whether a pod's `Ready` condition is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.str_at(&["status"]) == "True")
}

/// Whether a pod has neither ended nor been told to.
pub(crate) fn is_active(pod: &Value) -> bool {
    !has_ended(pod) && pod.deletion_timestamp().is_none()
}

/// Whether all containers of a pod have ended for good.
pub(crate) fn has_ended(pod: &Value) -> bool {
    matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed")
}

/// How far a pod is from being available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Ready for long enough.
    Available,
    /// Ready, and available after this time.
    In(Duration),
    /// Not ready.
    No,
}

/// Whether a pod has been ready for `min_ready` seconds.
pub(crate) fn availability(pod: &Value, min_ready: i64, at: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::No;
    }
    if min_ready <= 0 {
        return Availability::Available;
    }
    let since = condition(pod, "Ready")
        .and_then(|ready| ready.str_at(&["lastTransitionTime"]).parse::<Timestamp>().ok())
        .unwrap_or(at);
    let left = since.as_second() + min_ready - at.as_second();
    match u64::try_from(left) {
        Ok(left) if left > 0 => Availability::In(Duration::from_secs(left)),
        _ => Availability::Available,
    }
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

/// Sets an integer of a status that Go leaves out when it is zero.
pub(crate) fn set_count(status: &mut Map<String, Value>, key: &str, count: i64) {
    if count == 0 {
        status.shift_remove(key);
    } else {
        status.insert(key.to_owned(), count.into());
    }
}

/// The owner reference of a controller.
pub(crate) fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner.api_version(), "kind": owner.kind(), "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A pod as a controller's template describes it.
pub(crate) fn from_template(owner: &Value, template: &Value) -> Value {
    let mut metadata = Map::new();
    metadata.insert("generateName".into(), format!("{}-", owner.name()).into());
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.at(&["metadata", key]) {
            metadata.insert(key.into(), value.clone());
        }
    }
    metadata.insert("ownerReferences".into(), json!([controller_reference(owner)]));
    json!({
        "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    })
}

/// Whether this object is controlled by that uid.
pub(crate) fn is_controlled_by(object: &Value, uid: &str) -> bool {
    object
        .controller()
        .is_some_and(|owner| owner.str_at(&["uid"]) == uid)
}

/// The objects of `resource` that belong to `owner`: those it controls and that still match, and matching ones
/// without a controller, which it adopts. Those that no longer match are released.
pub(crate) async fn claim(
    api: &Arc<Api>,
    me: &Caller,
    resource: &str,
    owner: &Object,
    selector: &LabelSelector,
) -> Result<Vec<Object>> {
    let candidates = api.store().find(resource, Some(owner.namespace()), |object| {
        is_controlled_by(object, owner.uid())
            || (object.controller().is_none() && selector.matches(object.labels()))
    });
    let mut claimed = Vec::with_capacity(candidates.len());
    let going = owner.deletion_timestamp().is_some();
    for object in candidates {
        let mine = is_controlled_by(object.value(), owner.uid());
        let matches = selector.matches(object.labels());
        if mine && matches {
            claimed.push(object);
            continue;
        }
        if going || object.deletion_timestamp().is_some() || (!mine && has_ended(object.value())) {
            continue;
        }
        let change = |next: &mut Value| {
            let mut owners = next.owner_references().to_vec();
            owners.retain(|one| one.str_at(&["uid"]) != owner.uid());
            if !mine {
                owners.push(controller_reference(owner.value()));
            }
            metadata_mut(next).insert("ownerReferences".into(), owners.into());
            Ok(())
        };
        let written = api
            .modify(me, resource, object.namespace(), object.name(), "", change)
            .await;
        match written {
            Ok(written) if !mine => claimed.push(written.object),
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(claimed)
}

/// Creates a pod and says so; a refusal is said too and returned.
pub(crate) async fn create(
    api: &Arc<Api>,
    me: &Caller,
    recorder: &super::recorder::Recorder,
    owner: &Object,
    pod: Value,
) -> Result<Object> {
    let options = WriteOptions::default();
    match api.create(me, "pods", owner.namespace(), pod, &options).await {
        Ok(written) => {
            let message = format!("Created pod: {}", written.object.name());
            recorder.normal(owner, "SuccessfulCreate", message).await;
            Ok(written.object)
        }
        Err(status) => {
            // A namespace that is going is no news.
            let terminating = status
                .details
                .as_ref()
                .is_some_and(|details| details.to_string().contains("NamespaceTerminating"));
            if !terminating {
                let message = format!("Error creating: {}", status.message);
                recorder.warning(owner, "FailedCreate", message).await;
            }
            Err(status)
        }
    }
}

/// Deletes a pod of a controller and says so.
pub(crate) async fn delete(
    api: &Arc<Api>,
    me: &Caller,
    recorder: &super::recorder::Recorder,
    owner: &Object,
    pod: &Object,
) -> Result<()> {
    let options = DeleteOptions {
        uid: Some(pod.uid().to_owned()),
        ..DeleteOptions::default()
    };
    match api
        .delete(me, "pods", pod.namespace(), pod.name(), &options)
        .await
    {
        Ok(_) => {
            recorder
                .normal(owner, "SuccessfulDelete", format!("Deleted pod: {}", pod.name()))
                .await;
            Ok(())
        }
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => {
            recorder
                .warning(
                    owner,
                    "FailedDelete",
                    format!("Error deleting: {}", status.message),
                )
                .await;
            Err(status)
        }
    }
}

/// An `IntOrString` of a rolling update, of `total`.
pub(crate) fn int_or_percent(value: Option<&Value>, total: i64, round_up: bool, default: i64) -> i64 {
    match value {
        Some(Value::Number(number)) => number.as_i64().unwrap_or(default),
        Some(Value::String(text)) => match text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok()) {
            Some(percent) => {
                let product = percent * total;
                if round_up {
                    (product + 99).div_euclid(100)
                } else {
                    product.div_euclid(100)
                }
            }
            None => text.parse().unwrap_or(default),
        },
        _ => default,
    }
}
