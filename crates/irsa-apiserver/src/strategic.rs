//! Kubernetes' strategic merge patch.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::Result;

pub(crate) fn apply(_resource: &Resource, target: &mut Value, patch: &Value) -> Result<()> {
    crate::patch::merge(target, patch);
    Ok(())
}
