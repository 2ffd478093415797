//! Values that fields have when nobody says otherwise.

use serde_json::Value;

use crate::resources::Resource;

pub(crate) fn apply(_resource: &Resource, _object: &mut Value) {}
