//! Which pods are behind a service.

use serde_json::{Value, json};

use crate::object::{Object, ObjectExt};
use crate::pod::has_ended;
use crate::selectors::LabelSelector;
use crate::store::Store;

/// The pods behind a service that have an address.
pub(crate) fn backends(store: &Store, service: &Value) -> Vec<Object> {
    let Some(selector) = service.at(&["spec", "selector"]) else {
        return Vec::new();
    };
    let Ok(selector) = LabelSelector::from_object(Some(&json!({ "matchLabels": selector }))) else {
        return Vec::new();
    };
    store.find("pods", Some(service.namespace()), |pod| {
        !pod.str_at(&["status", "podIP"]).is_empty() && !has_ended(pod) && selector.matches(pod.labels())
    })
}
