//! Which fields the built-in kinds have.

use serde_json::Value;

use crate::resources::Resource;

/// A value is of another type than its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(pub String);

/// Drops fields that the kind does not have and says which.
pub(crate) fn prune(_resource: &Resource, _object: &mut Value) -> Result<Vec<String>, TypeError> {
    Ok(Vec::new())
}
