//! Sets of field paths, in memory and in the form of `FieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{self, Shape};

/// A set of field paths. Path elements are written as in `FieldsV1`: `f:name`, `k:{"name":"x"}`, `v:"x"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// The path that ends here is in the set.
    pub(crate) here: bool,
    pub(crate) below: BTreeMap<String, Fields>,
}

impl Fields {
    fn leaf() -> Self {
        Self {
            here: true,
            below: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Self::is_empty)
    }

    /// Reads `FieldsV1`.
    pub(crate) fn parse(value: &Value) -> Self {
        Self::parse_to(value, 0)
    }

    fn parse_to(value: &Value, depth: usize) -> Self {
        let mut fields = Self::default();
        // Deeper than any kind is: not read further.
        if depth > 64 {
            return Self::leaf();
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            if key == "." {
                fields.here = true;
            } else {
                let mut inner = Self::parse_to(value, depth + 1);
                if value.as_object().is_none_or(Map::is_empty) {
                    inner.here = true;
                }
                fields.below.insert(key.clone(), inner);
            }
        }
        fields
    }

    /// As `FieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.below.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (key, inner) in &self.below {
            map.insert(key.clone(), inner.to_json());
        }
        Value::Object(map)
    }

    fn trimmed(mut self) -> Self {
        self.below = self
            .below
            .into_iter()
            .map(|(key, inner)| (key, inner.trimmed()))
            .filter(|(_, inner)| !inner.is_empty())
            .collect();
        self
    }

    pub(crate) fn union(&mut self, other: &Self) {
        self.here |= other.here;
        for (key, inner) in &other.below {
            self.below.entry(key.clone()).or_default().union(inner);
        }
    }

    #[must_use]
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let below = self.below.iter().map(|(key, inner)| {
            let inner = match other.below.get(key) {
                Some(taken) => inner.difference(taken),
                None => inner.clone(),
            };
            (key.clone(), inner)
        });
        Self {
            here: self.here && !other.here,
            below: below.collect(),
        }
        .trimmed()
    }

    #[must_use]
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let below = self
            .below
            .iter()
            .filter_map(|(key, inner)| Some((key.clone(), inner.intersection(other.below.get(key)?))));
        Self {
            here: self.here && other.here,
            below: below.collect(),
        }
        .trimmed()
    }

    /// The paths, as messages name them: `.spec.containers[name="a"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        if self.here {
            paths.push(path.clone());
        }
        let length = path.len();
        for (key, inner) in &self.below {
            match key.split_at(2.min(key.len())) {
                ("k:", key) => {
                    let pairs: Vec<String> = serde_json::from_str::<Map<String, Value>>(key)
                        .unwrap_or_default()
                        .into_iter()
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    path.push_str(&format!("[{}]", pairs.join(",")));
                }
                ("v:", value) => path.push_str(&format!("[={value}]")),
                (_, name) => {
                    path.push('.');
                    path.push_str(name);
                }
            }
            inner.collect(path, paths);
            path.truncate(length);
        }
    }
}

/// The parts of a value by path element; `None` when the value is one field.
pub(crate) fn parts(shape: Shape, value: &Value) -> Option<Vec<(String, Shape, &Value)>> {
    match (shape, value) {
        (Shape::Struct(_) | Shape::Map(_) | Shape::Free, Value::Object(map)) => Some(
            map.iter()
                .map(|(key, value)| (format!("f:{key}"), shape.child(key), value))
                .collect(),
        ),
        (Shape::Keyed(keys, _), Value::Array(list)) => list
            .iter()
            .map(|element| {
                let key = schema::element_key(keys, element)?;
                Some((format!("k:{key}"), shape.child(""), element))
            })
            .collect(),
        (Shape::Set, Value::Array(list)) => Some(
            list.iter()
                .map(|element| (format!("v:{element}"), Shape::Leaf, element))
                .collect(),
        ),
        _ => None,
    }
}

/// The fields of a value. With `containers`, maps and sets are members themselves, as they are in writes other than
/// applies; elements of keyed lists always are.
pub(crate) fn fields_of(shape: Shape, value: &Value, containers: bool) -> Fields {
    let Some(parts) = parts(shape, value) else {
        return Fields::leaf();
    };
    let mut fields = Fields {
        here: parts.is_empty() || containers && matches!(shape, Shape::Map(_) | Shape::Set),
        below: BTreeMap::new(),
    };
    for (element, shape, value) in parts {
        let mut inner = fields_of(shape, value, containers);
        inner.here |= element.starts_with("k:");
        fields.below.insert(element, inner);
    }
    fields
}

/// What differs between two states of a value.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Added or of another value.
    pub(crate) changed: Fields,
    /// Not there any more.
    pub(crate) removed: Fields,
}

pub(crate) fn compare(shape: Shape, old: Option<&Value>, new: &Value) -> Difference {
    let Some(old) = old else {
        return Difference {
            changed: fields_of(shape, new, true),
            removed: Fields::default(),
        };
    };
    let mut difference = Difference::default();
    if old == new {
        return difference;
    }
    match (parts(shape, old), parts(shape, new)) {
        (Some(before), Some(after)) => {
            let by_element = |parts: Vec<(String, Shape, _)>| -> BTreeMap<String, (Shape, _)> {
                let pairs = parts
                    .into_iter()
                    .map(|(element, shape, value)| (element, (shape, value)));
                pairs.collect()
            };
            let (before, after) = (by_element(before), by_element(after));
            for (element, (shape, value)) in &after {
                let inner = match before.get(element) {
                    Some((_, old)) => compare(*shape, Some(old), value),
                    None => {
                        let mut changed = fields_of(*shape, value, true);
                        changed.here |= element.starts_with("k:");
                        Difference {
                            changed,
                            removed: Fields::default(),
                        }
                    }
                };
                if !inner.changed.is_empty() {
                    difference.changed.below.insert(element.clone(), inner.changed);
                }
                if !inner.removed.is_empty() {
                    difference.removed.below.insert(element.clone(), inner.removed);
                }
            }
            for (element, (shape, value)) in &before {
                if !after.contains_key(element) {
                    let mut gone = fields_of(*shape, value, true);
                    gone.here = true;
                    difference.removed.below.insert(element.clone(), gone);
                }
            }
        }
        _ => difference.changed = fields_of(shape, new, true),
    }
    difference
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_v1_reads_back_as_written() {
        let value = json!({ "f:metadata": { "f:labels": { ".": {}, "f:a": {} } }, "f:spec": { "f:replicas": {},
            "f:containers": { "k:{\"name\":\"x\"}": { ".": {}, "f:image": {} } } } });
        assert_eq!(Fields::parse(&value).to_json(), value);
    }

    #[test]
    fn paths_are_named_as_in_messages() {
        let value = json!({ "f:spec": { "f:c": { "k:{\"name\":\"x\"}": { "f:image": {} } }, "f:l": { "v:\"z\"": {} } } });
        assert_eq!(
            Fields::parse(&value).paths(),
            [".spec.c[name=\"x\"].image", ".spec.l[=\"z\"]"]
        );
    }

    #[test]
    fn a_changed_image_is_one_changed_field() {
        let shape = Shape::of(&crate::resources::Registry::default().by_storage("pods").unwrap());
        let pod = |image: &str| json!({ "spec": { "containers": [{ "name": "a", "image": image }] } });
        let difference = compare(shape, Some(&pod("1")), &pod("2"));
        assert_eq!(difference.changed.paths(), [".spec.containers[name=\"a\"].image"]);
        assert!(difference.removed.is_empty());
    }
}
