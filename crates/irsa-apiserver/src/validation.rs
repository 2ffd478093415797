//! What a valid object looks like.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::Cause;

pub(crate) fn create(_resource: &Resource, _object: &Value) -> Vec<Cause> {
    Vec::new()
}

pub(crate) fn update(_resource: &Resource, _subresource: &str, _old: &Value, _new: &Value) -> Vec<Cause> {
    Vec::new()
}
