//! The patches of the API: JSON Patch, JSON Merge Patch, and Kubernetes' strategic merge patch.
//!
//! Pure and total: bytes and a value in, a value or a [`Status`] out.

use serde_json::{Map, Value};

use crate::api::PatchKind;
use crate::resources::Resource;
use crate::status::{Cause, Result, Status};

/// No patch may have more operations, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// A patch that was read.
#[derive(Debug)]
pub struct Patch {
    kind: Parsed,
}

#[derive(Debug)]
enum Parsed {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads a patch. Server-side apply is not one of these: it is read as an object.
    ///
    /// # Errors
    /// 400 with what is wrong.
    pub fn parse(kind: PatchKind, body: &[u8]) -> Result<Self> {
        let bad = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
        let kind = match kind {
            PatchKind::Json => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(bad)?;
                if patch.0.len() > MAX_OPERATIONS {
                    return Err(Status::custom(
                        413,
                        "RequestEntityTooLarge",
                        format!(
                            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                            patch.0.len()
                        ),
                    ));
                }
                Parsed::Json(patch)
            }
            PatchKind::Merge | PatchKind::Apply => {
                Parsed::Merge(object(serde_json::from_slice(body).map_err(bad)?)?)
            }
            PatchKind::Strategic => Parsed::Strategic(object(serde_json::from_slice(body).map_err(bad)?)?),
        };
        Ok(Self { kind })
    }

    /// A merge patch.
    #[must_use]
    pub fn merge(patch: Value) -> Self {
        Self {
            kind: Parsed::Merge(patch),
        }
    }

    /// The patch for error messages.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.kind {
            Parsed::Json(patch) => serde_json::to_string(patch).unwrap_or_default(),
            Parsed::Merge(patch) | Parsed::Strategic(patch) => patch.to_string(),
        }
    }

    /// The object with the patch applied.
    ///
    /// # Errors
    /// 422 when the patch does not fit the object.
    pub fn apply(&self, resource: &Resource, current: &Value) -> Result<Value> {
        let mut next = current.clone();
        match &self.kind {
            Parsed::Json(patch) => json_patch::patch(&mut next, patch).map_err(|error| {
                Status::custom(
                    422,
                    "Invalid",
                    format!("the server rejected our request due to an error in our request: {error}"),
                )
            })?,
            Parsed::Merge(patch) => merge(&mut next, patch),
            Parsed::Strategic(patch) => crate::strategic::apply(resource, &mut next, patch)?,
        }
        if next.is_object() {
            return Ok(next);
        }
        let cause = Cause::invalid("patch", &Value::String(self.text()), "the result is no object");
        Err(Status::invalid("", "", "", &[cause]))
    }
}

fn object(patch: Value) -> Result<Value> {
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(Status::bad_request(
            "error decoding patch: a merge patch must be a JSON object",
        ))
    }
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = crate::object::as_object_mut(target);
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            merge(
                target.entry(key).or_insert_with(|| Value::Object(Map::new())),
                value,
            );
        }
    }
}

/// Reads an object that is YAML or JSON.
///
/// # Errors
/// 400 with the place of the mistake.
pub fn parse_yaml(body: &[u8]) -> Result<Value> {
    // JSON first: it is what clients send, and keeps numbers as they are.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text =
        std::str::from_utf8(body).map_err(|_| Status::bad_request("error decoding YAML: not UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|error| {
        let said = error.to_string();
        let first = said.lines().next().unwrap_or_default();
        Status::bad_request(format!("error decoding YAML: {first}"))
    })
}
