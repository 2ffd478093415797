//! The patches of the API: JSON Patch, JSON Merge Patch, and Kubernetes' strategic merge patch.
//!
//! Pure and total: bytes and a value in, a value or a [`Status`] out.

use serde_json::{Map, Value};

use crate::object::MAX_OBJECT;
use crate::resources::Resource;
use crate::status::{Cause, Result, Status};

/// No patch may have more operations, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// How to read the body of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' merge, which knows the keys of lists.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchKind {
    /// The kind that a content type names.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        Some(match content_type {
            "application/json-patch+json" => Self::Json,
            "application/merge-patch+json" => Self::Merge,
            "application/strategic-merge-patch+json" => Self::Strategic,
            "application/apply-patch+yaml" => Self::Apply,
            _ => return None,
        })
    }
}

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
            Parsed::Json(patch) => apply_json(&mut next, patch)?,
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

/// RFC 6902. What `copy` copies is limited in sum: a few of them double an object again and again.
fn apply_json(target: &mut Value, patch: &json_patch::Patch) -> Result<()> {
    let refuse = |error: json_patch::PatchError| {
        Status::custom(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {error}"),
        )
    };
    let copies =
        |operation: &json_patch::PatchOperation| matches!(operation, json_patch::PatchOperation::Copy(_));
    if !patch.0.iter().any(copies) {
        return json_patch::patch(target, patch).map_err(refuse);
    }
    let mut copied = 0;
    for operation in &patch.0 {
        if let json_patch::PatchOperation::Copy(copy) = operation
            && let Some(value) = target.pointer(copy.from.as_str())
        {
            copied += value.to_string().len();
            if copied > MAX_OBJECT {
                return Err(Status::too_large(MAX_OBJECT));
            }
        }
        json_patch::patch(target, std::slice::from_ref(operation)).map_err(refuse)?;
    }
    Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Registry;

    fn patched(kind: PatchKind, target: &Value, patch: &Value) -> Result<Value> {
        let resource = Registry::default().by_storage("configmaps").unwrap();
        Patch::parse(kind, patch.to_string().as_bytes())?.apply(&resource, target)
    }

    #[test]
    fn a_merge_patch_removes_what_is_null_at_every_depth() {
        let patch = json!({ "a": { "b": null, "c": { "d": null } }, "e": [1] });
        let result = patched(
            PatchKind::Merge,
            &json!({ "a": { "b": 1 }, "e": { "f": 1 } }),
            &patch,
        )
        .unwrap();
        assert_eq!(result, json!({ "a": { "c": {} }, "e": [1] }));
    }

    #[test]
    fn a_patch_that_copies_an_object_into_itself_is_stopped() {
        let copies: Vec<Value> = (0..64)
            .map(|index| json!({ "op": "copy", "from": "/data", "path": format!("/data/k{index}") }))
            .collect();
        let refused = patched(PatchKind::Json, &json!({ "data": { "a": "x" } }), &copies.into()).unwrap_err();
        assert_eq!(refused.code, 413);
    }

    #[test]
    fn the_result_of_a_patch_must_be_an_object() {
        let patch = json!([{ "op": "replace", "path": "", "value": 3 }]);
        assert_eq!(
            patched(PatchKind::Json, &json!({}), &patch).unwrap_err().code,
            422
        );
        assert_eq!(
            patched(PatchKind::Merge, &json!({}), &json!(3)).unwrap_err().code,
            400
        );
    }

    #[test]
    fn yaml_says_where_it_is_wrong() {
        assert_eq!(
            parse_yaml(b"a: 1\nb: [x]\n").unwrap(),
            json!({ "a": 1, "b": ["x"] })
        );
        let refused = parse_yaml(b"a: [1").unwrap_err();
        assert!(refused.message.starts_with("error decoding YAML: "), "{refused}");
    }
}
