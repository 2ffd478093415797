//! Kubernetes' strategic merge patch: a merge that knows by which field the elements of a list are told apart, with
//! the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…` and `$setElementOrder/…`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::object::as_object_mut;
use crate::resources::Resource;
use crate::schema::Shape;
use crate::status::{Cause, Result, Status};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies a patch to an object of a built-in kind.
///
/// # Errors
/// 422 for an element without its key or a directive that does not exist.
pub(crate) fn apply(resource: &Resource, target: &mut Value, patch: &Value) -> Result<()> {
    let Value::Object(patch) = patch else {
        return Err(Status::bad_request(
            "a strategic merge patch must be a JSON object",
        ));
    };
    merge_map(Shape::of(resource), as_object_mut(target), patch).map_err(|text| {
        let cause = Cause::invalid(
            "patch",
            &Value::String(Value::Object(patch.clone()).to_string()),
            &text,
        );
        Status::invalid("", "", "", &[cause])
    })
}

fn merge_map(
    shape: Shape,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    if follow_directives(target, patch)? {
        return Ok(());
    }
    for (key, value) in patch {
        if key == PATCH || key == RETAIN || key.starts_with(DELETE_FROM) || key.starts_with(ORDER) {
            continue;
        }
        let inner = shape.child(key);
        match value {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Object(map) => {
                if map.get(PATCH).and_then(Value::as_str) == Some("delete") {
                    target.shift_remove(key);
                    continue;
                }
                let entry = target.entry(key).or_insert_with(|| Value::Object(Map::new()));
                merge_map(inner, as_object_mut(entry), map)?;
            }
            Value::Array(list) => {
                let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
                let entry = target.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                let before = match entry {
                    Value::Array(before) => std::mem::take(before),
                    _ => Vec::new(),
                };
                // Strategic merge patches know the first key of a list only.
                *entry = Value::Array(match inner {
                    Shape::Keyed(keys, _) => merge_list(inner.child(""), keys[0], before, list, order)?,
                    Shape::Set => merge_set(before, list, order),
                    _ => list.clone(),
                });
            }
            scalar => {
                target.insert(key.clone(), scalar.clone());
            }
        }
    }
    reorder(shape, target, patch);
    Ok(())
}

/// Does what `$patch`, `$retainKeys` and `$deleteFromPrimitiveList` say; true when nothing is left to merge.
fn follow_directives(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<bool, String> {
    match patch.get(PATCH).map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            *target = patch.clone();
            target.shift_remove(PATCH);
            return Ok(true);
        }
        Some(Some("delete")) => {
            target.clear();
            return Ok(true);
        }
        Some(other) => {
            let other = other.unwrap_or_default();
            return Err(format!("unknown patch type {other:?} found in: {patch:?}"));
        }
    }
    // Before merging, so that a key which is retained and patched is patched.
    if let Some(keys) = patch.get(RETAIN) {
        let keys = keys.as_array().ok_or("$retainKeys must be a list")?;
        let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
        target.retain(|key, _| keys.contains(key.as_str()));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            let values = value.as_array().ok_or_else(|| format!("{key} must be a list"))?;
            if let Some(Value::Array(list)) = target.get_mut(field) {
                list.retain(|one| !values.contains(one));
            }
        }
    }
    Ok(false)
}

/// An order without a list to merge still orders.
fn reorder(shape: Shape, target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        let Some(field) = key
            .strip_prefix(ORDER)
            .filter(|field| !patch.contains_key(*field))
        else {
            continue;
        };
        let key = match shape.child(field) {
            Shape::Keyed(keys, _) => Some(keys[0]),
            _ => None,
        };
        if let (Some(order), Some(Value::Array(list))) = (value.as_array(), target.get_mut(field)) {
            let server = list.clone();
            *list = ordered(std::mem::take(list), &server, order, key);
        }
    }
}

fn merge_list(
    shape: Shape,
    key: &str,
    mut target: Vec<Value>,
    patch: &[Value],
    order: Option<&Vec<Value>>,
) -> Result<Vec<Value>, String> {
    let server = target.clone();
    let directive = |element: &Value| element.get(PATCH).and_then(Value::as_str).map(str::to_owned);
    if patch
        .iter()
        .any(|element| directive(element).as_deref() == Some("replace"))
    {
        return Ok(patch
            .iter()
            .filter(|element| directive(element).is_none())
            .cloned()
            .collect());
    }
    for element in patch {
        let Value::Object(map) = element else {
            return Err(format!("expected an object with the key {key}, found {element}"));
        };
        let Some(wanted) = map.get(key) else {
            return Err(format!(
                "map: {element} does not contain declared merge key: {key}"
            ));
        };
        if directive(element).as_deref() == Some("delete") {
            target.retain(|one| one.get(key) != Some(wanted));
            continue;
        }
        match target.iter_mut().find(|one| one.get(key) == Some(wanted)) {
            Some(found) => merge_map(shape, as_object_mut(found), map)?,
            None => {
                let mut new = Map::new();
                merge_map(shape, &mut new, map)?;
                target.push(Value::Object(new));
            }
        }
    }
    Ok(match order {
        Some(order) => ordered(target, &server, order, Some(key)),
        None => target,
    })
}

fn merge_set(mut target: Vec<Value>, patch: &[Value], order: Option<&Vec<Value>>) -> Vec<Value> {
    let server = target.clone();
    for value in patch {
        if !target.contains(value) {
            target.push(value.clone());
        }
    }
    match order {
        Some(order) => ordered(target, &server, order, None),
        None => target,
    }
}

/// Elements that the patch orders come in that order; those that only the server knows keep their place among them.
/// Elements are told apart by the field `key`, or by their value.
fn ordered(merged: Vec<Value>, server: &[Value], order: &[Value], key: Option<&str>) -> Vec<Value> {
    fn identity<'v>(one: &'v Value, key: Option<&str>) -> Option<&'v Value> {
        key.map_or(Some(one), |key| one.get(key))
    }
    let rank = |list: &[Value], one: &Value| {
        let wanted = identity(one, key)?;
        list.iter().position(|other| identity(other, key) == Some(wanted))
    };
    let (mut listed, rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|one| rank(order, one).is_some());
    listed.sort_by_key(|one| rank(order, one));
    let mut rest = rest.into_iter().peekable();
    let mut result = Vec::with_capacity(listed.len());
    for one in listed {
        let place = rank(server, &one);
        while let Some(other) = rest.next_if(|other| match (rank(server, other), place) {
            (Some(other), Some(place)) => other < place,
            _ => false,
        }) {
            result.push(other);
        }
        result.push(one);
    }
    result.extend(rest);
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::resources::Registry;

    fn patched(storage: &str, target: Value, patch: &Value) -> Value {
        let resource = Registry::default().by_storage(storage).unwrap();
        let mut target = target;
        apply(&resource, &mut target, patch).unwrap();
        target
    }

    fn names(pod: &Value) -> Vec<String> {
        pod["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().into())
            .collect()
    }

    #[test]
    fn containers_are_merged_by_name_and_their_variables_too() {
        let pod = json!({ "spec": { "containers": [
            { "name": "a", "image": "1", "env": [{ "name": "X", "value": "1" }, { "name": "Y", "value": "2" }] },
            { "name": "b", "image": "2" },
        ] } });
        let patch = json!({ "spec": { "containers": [
            { "name": "a", "env": [{ "name": "Y", "$patch": "delete" }, { "name": "Z", "value": "3" }] },
            { "name": "c", "image": "3" },
        ] } });
        let result = patched("pods", pod, &patch);
        assert_eq!(names(&result), ["a", "b", "c"]);
        assert_eq!(result["spec"]["containers"][0]["image"], "1");
        assert_eq!(
            result["spec"]["containers"][0]["env"],
            json!([{ "name": "X", "value": "1" }, { "name": "Z", "value": "3" }])
        );
    }

    #[test]
    fn an_element_with_replace_replaces_the_list() {
        let pod = json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b" }] } });
        let patch = json!({ "spec": { "containers": [{ "name": "c" }, { "$patch": "replace" }] } });
        assert_eq!(names(&patched("pods", pod, &patch)), ["c"]);
    }

    #[test]
    fn retain_keys_drops_the_other_sources_of_a_volume() {
        let pod = json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": {} }] } });
        let patch = json!({ "spec": { "volumes": [
            { "name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": { "path": "/x" } },
        ] } });
        assert_eq!(
            patched("pods", pod, &patch)["spec"]["volumes"],
            json!([{ "name": "v", "hostPath": { "path": "/x" } }])
        );
    }

    #[test]
    fn values_are_deleted_from_primitive_lists_by_value() {
        let object = json!({ "metadata": { "finalizers": ["a", "b", "c"] } });
        let patch = json!({ "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["d", "a", "c"], "finalizers": ["d"],
        } });
        assert_eq!(
            patched("pods", object, &patch)["metadata"]["finalizers"],
            json!(["d", "a", "c"])
        );
    }

    #[test]
    fn atomic_lists_and_unordered_elements_keep_to_their_rules() {
        let pod = json!({ "spec": { "tolerations": [{ "key": "a" }], "containers": [{ "name": "s" }, { "name": "a" }, { "name": "b" }] } });
        let patch = json!({ "spec": {
            "tolerations": [{ "key": "b" }],
            "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }],
            "containers": [{ "name": "a", "image": "x" }],
        } });
        let result = patched("pods", pod, &patch);
        assert_eq!(result["spec"]["tolerations"], json!([{ "key": "b" }]));
        assert_eq!(names(&result), ["s", "b", "a"]);
    }

    #[test]
    fn an_element_without_its_key_is_refused() {
        let resource = Registry::default().by_storage("pods").unwrap();
        let patch = json!({ "spec": { "containers": [{ "image": "x" }] } });
        let refused = apply(&resource, &mut json!({}), &patch).unwrap_err();
        assert!(
            refused
                .message
                .contains("does not contain declared merge key: name"),
            "{refused}"
        );
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("spec"),
            Just("containers"),
            Just("name"),
            Just("env"),
            Just("metadata"),
            Just("finalizers"),
            Just("$patch"),
            Just("$retainKeys"),
            Just("$setElementOrder/containers"),
            Just("volumes"),
            Just("x"),
        ];
        leaf.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((key.clone().prop_map(str::to_owned), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_patch_over_any_object_gives_an_object_or_an_error(target in json_value(), patch in json_value()) {
            let resource = Registry::default().by_storage("pods").unwrap();
            let mut target = target;
            if apply(&resource, &mut target, &patch).is_ok() {
                prop_assert!(target.is_object());
            }
        }

        #[test]
        fn merging_containers_twice_is_merging_them_once(
            before in prop::collection::btree_map("[a-d]", "[x-z]", 0..4),
            patch in prop::collection::btree_map("[a-d]", "[x-z]", 0..4),
        ) {
            let pod = |containers: &std::collections::BTreeMap<String, String>| json!({ "spec": { "containers":
                containers.iter().map(|(name, image)| json!({ "name": name, "image": image })).collect::<Vec<_>>() } });
            let once = patched("pods", pod(&before), &pod(&patch));
            let twice = patched("pods", once.clone(), &pod(&patch));
            prop_assert_eq!(&once, &twice);
            for (name, image) in before.iter().chain(&patch) {
                let image = patch.get(name).unwrap_or(image);
                let wanted = json!({ "name": name, "image": image });
                prop_assert!(once["spec"]["containers"].as_array().unwrap().contains(&wanted));
            }
        }
    }
}
