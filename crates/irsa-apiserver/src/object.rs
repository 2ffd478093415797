//! One stored object, and short ways to read the parts of an object that every module needs.

use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Map, Value};

/// A stored object. Cheap to clone, never changes; reads like a [`serde_json::Value`].
pub type Object = Arc<Stored>;

/// The largest object that a request may send, in bytes, as in Kubernetes.
pub(crate) const MAX_OBJECT: usize = 3 * 1024 * 1024;

/// One state of an object: its value, its JSON, or both. Each is made from the other when it is first asked for.
///
/// The JSON is shared by every list, get and watch that sends the object. A value takes many times the memory of its
/// JSON, so the store keeps states that nobody has looked at for a while as JSON only (`packed`).
#[derive(Debug)]
pub struct Stored {
    version: u64,
    written: Instant,
    value: OnceLock<Value>,
    // With the place of the metadata in it.
    json: OnceLock<(Bytes, Range<usize>)>,
}

impl Stored {
    /// Wraps a value whose `metadata.resourceVersion` is `version`.
    #[must_use]
    pub fn new(value: Value, version: u64) -> Self {
        Self {
            version,
            written: Instant::now(),
            value: OnceLock::from(value),
            json: OnceLock::new(),
        }
    }

    /// The same state as JSON only. The bytes are shared.
    #[must_use]
    pub(crate) fn packed(&self) -> Self {
        Self {
            version: self.version,
            written: self.written,
            value: OnceLock::new(),
            json: OnceLock::from(self.serialised().clone()),
        }
    }

    /// Whether the value is in memory.
    #[cfg(test)]
    pub(crate) fn has_value(&self) -> bool {
        self.value.get().is_some()
    }

    /// The resource version at which this state was written; 0 for a state that was never stored (dry run).
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When this state was written.
    pub(crate) fn written(&self) -> Instant {
        self.written
    }

    /// The object as it is stored.
    #[must_use]
    pub fn value(&self) -> &Value {
        // What was serialised here is always readable.
        self.value.get_or_init(|| {
            self.json
                .get()
                .and_then(|(json, _)| serde_json::from_slice(json).ok())
                .unwrap_or_default()
        })
    }

    /// The object as JSON bytes.
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.serialised().0.clone()
    }

    /// The JSON of its metadata, a part of the same bytes.
    #[must_use]
    pub fn metadata_json(&self) -> Bytes {
        let (json, metadata) = self.serialised();
        json.slice(metadata.clone())
    }

    /// Appends the object's `PartialObjectMetadata`.
    pub(crate) fn write_metadata(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
        );
        let metadata = self.metadata_json();
        out.extend_from_slice(if metadata.is_empty() { b"{}" } else { &metadata });
        out.push(b'}');
    }

    fn serialised(&self) -> &(Bytes, Range<usize>) {
        self.json.get_or_init(|| serialise(self.value()))
    }
}

fn serialise(value: &Value) -> (Bytes, Range<usize>) {
    let Value::Object(map) = value else {
        return (Bytes::from(value.to_string()), 0..0);
    };
    let mut out = Vec::with_capacity(512);
    let mut metadata = 0..0;
    for (index, (key, value)) in map.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut out, key);
        out.push(b':');
        let start = out.len();
        let _ = serde_json::to_writer(&mut out, value);
        if key == "metadata" {
            metadata = start..out.len();
        }
    }
    if map.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    // Kept for as long as the object: without the room that writing left at the end.
    out.shrink_to_fit();
    (Bytes::from(out), metadata)
}

impl Deref for Stored {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.value()
    }
}

/// Reading an object's metadata without a ladder of `get`s. Missing parts read as empty.
pub trait ObjectExt {
    /// The value itself.
    fn as_json(&self) -> &Value;

    /// The value at a path of object keys.
    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self.as_json(), |value, key| value.get(key))
    }

    /// The string at a path of object keys; empty when it is missing or no string.
    fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The integer at a path of object keys.
    fn int_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path).and_then(Value::as_i64)
    }

    /// The array at a path of object keys; empty when it is missing or no array.
    fn list_at(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The object at a path of object keys.
    fn map_at(&self, path: &[&str]) -> Option<&Map<String, Value>> {
        self.at(path).and_then(Value::as_object)
    }

    /// `kind`.
    fn kind(&self) -> &str {
        self.str_at(&["kind"])
    }

    /// `apiVersion`.
    fn api_version(&self) -> &str {
        self.str_at(&["apiVersion"])
    }

    /// `metadata.name`.
    fn name(&self) -> &str {
        self.str_at(&["metadata", "name"])
    }

    /// `metadata.namespace`; empty for cluster-scoped objects.
    fn namespace(&self) -> &str {
        self.str_at(&["metadata", "namespace"])
    }

    /// `metadata.uid`.
    fn uid(&self) -> &str {
        self.str_at(&["metadata", "uid"])
    }

    /// `metadata.generation`; 0 when missing.
    fn generation(&self) -> i64 {
        self.int_at(&["metadata", "generation"]).unwrap_or_default()
    }

    /// `metadata.labels`.
    fn labels(&self) -> Option<&Map<String, Value>> {
        self.map_at(&["metadata", "labels"])
    }

    /// The value of one label.
    fn label(&self, key: &str) -> Option<&str> {
        self.labels()
            .and_then(|labels| labels.get(key))
            .and_then(Value::as_str)
    }

    /// The value of one annotation.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.map_at(&["metadata", "annotations"])
            .and_then(|all| all.get(key))
            .and_then(Value::as_str)
    }

    /// `metadata.finalizers`.
    fn finalizers(&self) -> &[Value] {
        self.list_at(&["metadata", "finalizers"])
    }

    /// `metadata.ownerReferences`.
    fn owner_references(&self) -> &[Value] {
        self.list_at(&["metadata", "ownerReferences"])
    }

    /// The owner reference that has `controller: true`.
    fn controller(&self) -> Option<&Value> {
        self.owner_references()
            .iter()
            .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
    }

    /// `metadata.deletionTimestamp`, when the object is being deleted.
    fn deletion_timestamp(&self) -> Option<&str> {
        self.at(&["metadata", "deletionTimestamp"])
            .and_then(Value::as_str)
    }
}

impl ObjectExt for Value {
    fn as_json(&self) -> &Value {
        self
    }
}

impl ObjectExt for Stored {
    fn as_json(&self) -> &Value {
        self.value()
    }
}

/// The object at `key` of an object, made empty when it is missing or of another type.
pub fn entry_object<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let map = as_object_mut(value);
    as_object_mut(map.entry(key).or_insert_with(|| Value::Object(Map::new())))
}

/// The metadata of an object, made empty when it is missing.
pub fn metadata_mut(value: &mut Value) -> &mut Map<String, Value> {
    entry_object(value, "metadata")
}

/// Reads a value as an object, replacing anything else by an empty one.
pub(crate) fn as_object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("was made an object above"),
    }
}

/// The present instant as Kubernetes writes `Time`: RFC 3339 in UTC with whole seconds.
#[must_use]
pub fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}

/// The present instant as Kubernetes writes `MicroTime`.
#[must_use]
pub fn now_micro() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_of_an_object_is_its_value_and_metadata_is_a_part_of_it() {
        for value in [
            json!({ "kind": "A", "metadata": { "name": "x", "labels": { "a\"b": "c" } }, "spec": [1, null] }),
            json!({}),
            json!({ "metadata": {} }),
        ] {
            let stored = Stored::new(value.clone(), 1);
            let packed = stored.packed();
            assert!(packed.value.get().is_none());
            assert_eq!((packed.value(), packed.json()), (&value, stored.json()));
            assert_eq!(serde_json::from_slice::<Value>(&stored.json()).unwrap(), value);
            if let Some(metadata) = value.get("metadata") {
                assert_eq!(
                    serde_json::from_slice::<Value>(&stored.metadata_json()).unwrap(),
                    *metadata
                );
            }
        }
    }
}
