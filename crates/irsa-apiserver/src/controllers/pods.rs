//! What controllers ask about pods, and how they make and claim them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::api::{Api, Caller, DeleteOptions, WriteOptions};
use crate::object::{Object, ObjectExt, metadata_mut};
use crate::pod::has_ended;
use crate::selectors::LabelSelector;
use crate::status::Result;

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
