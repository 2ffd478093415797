//! Who manages which field (`metadata.managedFields`).

use serde_json::Value;

use crate::resources::Resource;
use crate::status::Result;

/// A field manager, for the object or for one subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Name that the client chose.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
}

pub(crate) fn record_update(
    _resource: &Resource,
    _old: Option<&Value>,
    _new: &mut Value,
    _manager: &Manager,
) {
}

pub(crate) fn record_first_apply(_resource: &Resource, _object: &mut Value, _manager: &Manager) {}

pub(crate) fn apply(
    _resource: &Resource,
    current: &Value,
    applied: &Value,
    _manager: &Manager,
    _force: bool,
) -> Result<Value> {
    let mut next = current.clone();
    crate::patch::merge(&mut next, applied);
    Ok(next)
}
