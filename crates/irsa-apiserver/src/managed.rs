//! Who manages which field: `metadata.managedFields`, and server-side apply, which is decided by it.

use serde_json::{Map, Value, json};

use crate::fields::{self, Fields};
use crate::object::{ObjectExt, as_object_mut, metadata_mut, now};
use crate::resources::Resource;
use crate::schema::{self, Shape};
use crate::status::{Result, Status};

/// A field manager, for the object or for one subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    /// Name that the client chose.
    pub(crate) name: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: Manager,
    apply: bool,
    version: String,
    time: String,
    fields: Fields,
}

impl Entry {
    fn new(manager: Manager, apply: bool, version: String, fields: Fields) -> Self {
        Self {
            manager,
            apply,
            version,
            time: now(),
            fields,
        }
    }

    fn is(&self, manager: &Manager, apply: bool, version: &str) -> bool {
        self.manager == *manager && self.apply == apply && (apply || self.version == version)
    }

    /// As conflicts name it.
    fn title(&self) -> String {
        let mut title = format!("\"{}\"", self.manager.name);
        if !self.manager.subresource.is_empty() {
            title.push_str(&format!(" with subresource \"{}\"", self.manager.subresource));
        }
        if !self.apply {
            title.push_str(&format!(" using {}", self.version));
        }
        title
    }
}

fn read(object: &Value) -> Vec<Entry> {
    object
        .list_at(&["metadata", "managedFields"])
        .iter()
        .filter(|entry| !entry.str_at(&["operation"]).is_empty())
        .map(|entry| Entry {
            manager: Manager {
                name: entry.str_at(&["manager"]).to_owned(),
                subresource: entry.str_at(&["subresource"]).to_owned(),
            },
            apply: entry.str_at(&["operation"]) == "Apply",
            version: entry.str_at(&["apiVersion"]).to_owned(),
            time: entry.str_at(&["time"]).to_owned(),
            fields: entry.at(&["fieldsV1"]).map(Fields::parse).unwrap_or_default(),
        })
        .collect()
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    if entries.is_empty() {
        metadata_mut(object).shift_remove("managedFields");
        return;
    }
    // Applies first, then by time, as Kubernetes sorts them.
    entries.sort_by(|a, b| {
        (!a.apply, &a.time, &a.manager.name, &a.manager.subresource).cmp(&(
            !b.apply,
            &b.time,
            &b.manager.name,
            &b.manager.subresource,
        ))
    });
    let entries = entries.into_iter().map(|entry| {
        let mut value = json!({
            "manager": entry.manager.name,
            "operation": if entry.apply { "Apply" } else { "Update" },
            "apiVersion": entry.version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": entry.fields.to_json(),
        });
        if !entry.manager.subresource.is_empty() {
            value["subresource"] = entry.manager.subresource.into();
        }
        value
    });
    let entries = entries.collect();
    metadata_mut(object).insert("managedFields".into(), Value::Array(entries));
}

/// Nobody manages what the server writes, and what names the object.
fn without_own(mut fields: Fields) -> Fields {
    for own in ["f:apiVersion", "f:kind"] {
        fields.below.remove(own);
    }
    if let Some(metadata) = fields.below.get_mut("f:metadata") {
        for own in [
            "f:name",
            "f:namespace",
            "f:uid",
            "f:creationTimestamp",
            "f:deletionTimestamp",
            "f:deletionGracePeriodSeconds",
            "f:generation",
            "f:resourceVersion",
            "f:selfLink",
            "f:managedFields",
        ] {
            metadata.below.remove(own);
        }
        if metadata.below.is_empty() {
            fields.below.remove("f:metadata");
        }
    }
    fields
}

/// The manager to which everything belongs that was written before the first apply of an object without managers.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Notes what a write other than an apply changed. `new` may carry a client's own edit of the managed fields.
///
/// As in Kubernetes, an object that has no managers (it was created without any field that could have one) gets none by
/// updates, until it is first applied.
pub(crate) fn record_update(resource: &Resource, old: Option<&Value>, new: &mut Value, manager: &Manager) {
    // There are more events than anything else, and nobody applies them.
    if resource.storage == "events" {
        return;
    }
    // An explicit empty list (or one empty entry) forgets all managers.
    let given = new.at(&["metadata", "managedFields"]);
    let reset = given.and_then(Value::as_array).is_some_and(|list| {
        old.is_some()
            && list
                .iter()
                .all(|entry| entry.as_object().is_none_or(Map::is_empty))
    });
    if reset {
        metadata_mut(new).shift_remove("managedFields");
        return;
    }
    let mut entries = match (given, old) {
        (Some(_), _) => read(new),
        (None, Some(old)) => read(old),
        (None, None) => Vec::new(),
    };
    if old.is_some() && entries.is_empty() {
        return;
    }
    let difference = fields::compare(Shape::of(resource), old, new);
    let changed = without_own(difference.changed);
    let removed = without_own(difference.removed);
    let version = resource.api_version();
    if !changed.is_empty() || !removed.is_empty() {
        for entry in &mut entries {
            if !entry.is(manager, false, &version) {
                entry.fields = entry.fields.difference(&changed);
            }
            entry.fields = entry.fields.difference(&removed);
        }
    }
    if !changed.is_empty() {
        match entries
            .iter_mut()
            .find(|entry| entry.is(manager, false, &version))
        {
            Some(entry) => {
                entry.fields.union(&changed);
                entry.time = now();
            }
            None => entries.push(Entry::new(manager.clone(), false, version, changed)),
        }
    }
    write(new, entries);
}

/// Notes the manager of an object that an apply creates.
pub(crate) fn record_first_apply(resource: &Resource, object: &mut Value, manager: &Manager) {
    let fields = without_own(fields::fields_of(Shape::of(resource), object, false));
    let entry = Entry::new(manager.clone(), true, resource.api_version(), fields);
    write(object, vec![entry]);
}

/// Merges an applied object into the present one.
///
/// # Errors
/// 409 when the apply changes what others manage and `force` is false.
pub(crate) fn apply(
    resource: &Resource,
    current: &Value,
    applied: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value> {
    let shape = Shape::of(resource);
    let version = resource.api_version();
    let wanted = without_own(fields::fields_of(shape, applied, false));
    let mut entries = read(current);
    if entries.is_empty() {
        let fields = without_own(fields::fields_of(shape, current, true));
        let name = BEFORE_FIRST_APPLY.to_owned();
        let manager = Manager {
            name,
            subresource: String::new(),
        };
        entries.push(Entry::new(manager, false, version.clone(), fields));
    }
    let before = entries
        .iter()
        .find(|entry| entry.is(manager, true, &version))
        .map(|entry| entry.fields.clone());

    let mut next = current.clone();
    merge(shape, &mut next, applied);
    // What only this manager had and does not want any more goes.
    if let Some(before) = before {
        let mut kept = wanted.clone();
        for entry in entries.iter().filter(|entry| !entry.is(manager, true, &version)) {
            kept.union(&entry.fields);
        }
        prune(shape, &mut next, &before, &kept);
    }
    metadata_mut(&mut next).shift_remove("managedFields");
    let mut unmanaged = current.clone();
    metadata_mut(&mut unmanaged).shift_remove("managedFields");
    let difference = fields::compare(shape, Some(&unmanaged), &next);
    let changed = without_own(difference.changed);
    let removed = without_own(difference.removed);

    let mut conflicts = Vec::new();
    for entry in entries
        .iter_mut()
        .filter(|entry| !entry.is(manager, true, &version))
    {
        let conflict = entry.fields.intersection(&changed);
        // That both want a map or an element to be there is no conflict.
        let paths: Vec<String> = conflict
            .paths()
            .into_iter()
            .filter(|path| !path.ends_with(']'))
            .collect();
        if !paths.is_empty() && !force {
            conflicts.push((entry.title(), paths));
        }
        entry.fields = entry.fields.difference(&conflict).difference(&removed);
    }
    if !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    match entries.iter_mut().find(|entry| entry.is(manager, true, &version)) {
        Some(entry) => {
            if entry.fields != wanted || !changed.is_empty() || !removed.is_empty() {
                entry.time = now();
            }
            entry.fields = wanted;
            entry.version = version;
        }
        None => entries.push(Entry::new(manager.clone(), true, version, wanted)),
    }
    write(&mut next, entries);
    Ok(next)
}

fn conflict(conflicts: &[(String, Vec<String>)]) -> Status {
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let said: Vec<String> = conflicts
        .iter()
        .map(|(title, paths)| match paths.as_slice() {
            [path] => format!("conflict with {title}: {path}"),
            paths => {
                let paths: Vec<String> = paths.iter().map(|path| format!("- {path}")).collect();
                format!("conflicts with {title}:\n{}", paths.join("\n"))
            }
        })
        .collect();
    let plural = if count == 1 { "" } else { "s" };
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(title, paths)| {
            paths.iter().map(move |path| {
                json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {title}"), "field": path })
            })
        })
        .collect();
    let mut status = Status::custom(
        409,
        "Conflict",
        format!("Apply failed with {count} conflict{plural}: {}", said.join("\n")),
    );
    status.details = Some(Box::new(json!({ "causes": causes })));
    status
}

fn merge(shape: Shape, target: &mut Value, applied: &Value) {
    match (shape, applied) {
        (Shape::Struct(_) | Shape::Map(_) | Shape::Free, Value::Object(map)) => {
            let target = as_object_mut(target);
            for (key, value) in map {
                if value.is_null() {
                    target.shift_remove(key);
                    continue;
                }
                match target.get_mut(key) {
                    Some(existing) => merge(shape.child(key), existing, value),
                    None => {
                        target.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Shape::Keyed(keys, _), Value::Array(list)) if target.is_array() => {
            let Value::Array(target) = target else { return };
            let order: Vec<Option<Value>> = list
                .iter()
                .map(|element| schema::element_key(keys, element))
                .collect();
            for (element, key) in list.iter().zip(&order) {
                match target
                    .iter_mut()
                    .find(|one| key.is_some() && schema::element_key(keys, one) == *key)
                {
                    Some(existing) => merge(shape.child(""), existing, element),
                    None => target.push(element.clone()),
                }
            }
            // Applied elements come in the order of the apply, among the others where they were.
            let rank = |one: &Value| {
                let key = schema::element_key(keys, one);
                order.iter().position(|wanted| *wanted == key)
            };
            let places: Vec<usize> = target
                .iter()
                .enumerate()
                .filter(|(_, one)| rank(one).is_some())
                .map(|(index, _)| index)
                .collect();
            let mut listed: Vec<Value> = places.iter().map(|index| target[*index].clone()).collect();
            listed.sort_by_key(rank);
            for (place, element) in places.into_iter().zip(listed) {
                target[place] = element;
            }
        }
        (Shape::Set, Value::Array(list)) if target.is_array() => {
            let Value::Array(target) = target else { return };
            for element in list {
                if !target.contains(element) {
                    target.push(element.clone());
                }
            }
        }
        _ => *target = applied.clone(),
    }
}

/// Removes what `before` has and `kept` has not. `true` when nothing of the value is left that anybody asked for.
fn prune(shape: Shape, value: &mut Value, before: &Fields, kept: &Fields) -> bool {
    let Some(parts) = fields::parts(shape, value) else {
        return before.here && kept.is_empty();
    };
    let mut gone = Vec::new();
    let elements: Vec<(String, Shape)> = parts
        .into_iter()
        .map(|(element, shape, _)| (element, shape))
        .collect();
    let nothing = Fields::default();
    let count = elements.len();
    for (index, (element, shape)) in elements.into_iter().enumerate() {
        let Some(before) = before.below.get(&element) else {
            continue;
        };
        let kept = kept.below.get(&element).unwrap_or(&nothing);
        // An element of a list goes as a whole when nobody wants anything of it.
        if element.starts_with("k:") && before.here && kept.is_empty() {
            gone.push(index);
            continue;
        }
        let inner = match value {
            Value::Object(map) => map.values_mut().nth(index),
            Value::Array(list) => list.get_mut(index),
            _ => None,
        };
        if inner.is_some_and(|inner| prune(shape, inner, before, kept)) {
            gone.push(index);
        }
    }
    let emptied = !gone.is_empty() && gone.len() == count;
    for index in gone.into_iter().rev() {
        match value {
            Value::Object(map) => {
                let key = map.keys().nth(index).cloned();
                if let Some(key) = key {
                    map.shift_remove(&key);
                }
            }
            Value::Array(list) => {
                list.remove(index);
            }
            _ => {}
        }
    }
    (emptied || count == 0 && before.here) && kept.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::resources::Registry;

    fn manager(name: &str) -> Manager {
        Manager {
            name: name.into(),
            subresource: String::new(),
        }
    }

    fn deployments() -> std::sync::Arc<Resource> {
        Registry::default().by_storage("deployments.apps").unwrap()
    }

    fn deployment(spec: Value) -> Value {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" }, "spec": spec })
    }

    fn container(image: &str) -> Value {
        json!({ "template": { "spec": { "containers": [{ "name": "a", "image": image }] } } })
    }

    #[test]
    fn two_managers_conflict_over_one_field_until_one_forces() {
        let resource = deployments();
        let mut object = deployment(container("1"));
        record_first_apply(&resource, &mut object, &manager("one"));
        let refused = apply(
            &resource,
            &object,
            &deployment(container("2")),
            &manager("two"),
            false,
        )
        .unwrap_err();
        assert_eq!(
            refused.message,
            "Apply failed with 1 conflict: conflict with \"one\": .spec.template.spec.containers[name=\"a\"].image"
        );
        let forced = apply(
            &resource,
            &object,
            &deployment(container("2")),
            &manager("two"),
            true,
        )
        .unwrap();
        assert_eq!(forced["spec"]["template"]["spec"]["containers"][0]["image"], "2");
        // Now the field is the second's: the first conflicts in turn.
        assert!(
            apply(
                &resource,
                &forced,
                &deployment(container("1")),
                &manager("one"),
                false
            )
            .is_err()
        );
    }

    #[test]
    fn the_same_value_is_shared_and_a_field_no_longer_applied_goes() {
        let resource = deployments();
        let mut object = deployment(json!({ "replicas": 2, "minReadySeconds": 5 }));
        record_first_apply(&resource, &mut object, &manager("one"));
        let shared = apply(
            &resource,
            &object,
            &deployment(json!({ "replicas": 2 })),
            &manager("two"),
            false,
        )
        .unwrap();
        let without = apply(&resource, &shared, &deployment(json!({})), &manager("one"), false).unwrap();
        assert_eq!(without["spec"], json!({ "replicas": 2 }));
    }

    #[test]
    fn a_container_no_longer_applied_goes_and_others_stay() {
        let resource = deployments();
        let containers = |names: &[&str]| {
            let list: Vec<Value> = names
                .iter()
                .map(|name| json!({ "name": name, "image": "x" }))
                .collect();
            deployment(json!({ "template": { "spec": { "containers": list } } }))
        };
        let mut object = containers(&["a", "b"]);
        record_first_apply(&resource, &mut object, &manager("one"));
        let next = apply(&resource, &object, &containers(&["b"]), &manager("one"), false).unwrap();
        assert_eq!(
            next["spec"]["template"]["spec"]["containers"],
            json!([{ "name": "b", "image": "x" }])
        );
    }

    #[test]
    fn an_update_takes_fields_over_and_an_apply_then_conflicts_with_it() {
        let resource = deployments();
        let mut object = deployment(json!({ "replicas": 2 }));
        record_first_apply(&resource, &mut object, &manager("one"));
        let mut scaled = object.clone();
        scaled["spec"]["replicas"] = 3.into();
        record_update(&resource, Some(&object), &mut scaled, &manager("kubectl"));
        let refused = apply(
            &resource,
            &scaled,
            &deployment(json!({ "replicas": 2 })),
            &manager("one"),
            false,
        );
        assert_eq!(
            refused.unwrap_err().message,
            "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas"
        );
    }

    #[test]
    fn fields_written_before_the_first_apply_belong_to_a_manager_of_that_name() {
        let resource = Registry::default().by_storage("serviceaccounts").unwrap();
        let account = |annotations: Value| json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a", "annotations": annotations } });
        // Nothing but a name: there is no field to manage.
        let mut created =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a" } });
        record_update(&resource, None, &mut created, &manager("kubectl-create"));
        let mut annotated = account(json!({ "x": "1" }));
        record_update(
            &resource,
            Some(&created),
            &mut annotated,
            &manager("kubectl-annotate"),
        );
        assert!(annotated.at(&["metadata", "managedFields"]).is_none());
        let refused = apply(
            &resource,
            &annotated,
            &account(json!({ "x": "2" })),
            &manager("irsa"),
            false,
        );
        assert_eq!(
            refused.unwrap_err().message,
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .metadata.annotations.x"
        );
        let other = apply(
            &resource,
            &annotated,
            &account(json!({ "y": "2" })),
            &manager("irsa"),
            false,
        )
        .unwrap();
        assert_eq!(other["metadata"]["managedFields"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_removed_annotation_is_nobodys_and_removed_by_its_owner_only() {
        let resource = deployments();
        let with = |annotations: Value| {
            json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "d", "annotations": annotations }, "spec": {} })
        };
        let mut object = with(json!({ "x": "1" }));
        record_first_apply(&resource, &mut object, &manager("one"));
        let both = apply(
            &resource,
            &object,
            &with(json!({ "y": "2" })),
            &manager("two"),
            false,
        )
        .unwrap();
        assert_eq!(both["metadata"]["annotations"], json!({ "x": "1", "y": "2" }));
        let one = apply(&resource, &both, &with(json!({})), &manager("one"), false).unwrap();
        assert_eq!(one["metadata"]["annotations"], json!({ "y": "2" }));
    }

    use proptest::prelude::*;

    fn applied() -> impl Strategy<Value = Value> {
        let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
        let env = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
        let containers = prop::collection::btree_map("[a-c]", ("[x-z]", env), 0..3);
        let finalizers = prop::collection::btree_set("[a-c]", 0..3);
        (labels, containers, finalizers, prop::option::of(0_i64..5)).prop_map(
            |(labels, containers, finalizers, replicas)| {
                let containers: Vec<Value> = containers
                    .into_iter()
                    .map(|(name, (image, env))| {
                        let env: Vec<Value> = env
                            .into_iter()
                            .map(|(name, value)| json!({ "name": name, "value": value }))
                            .collect();
                        json!({ "name": name, "image": image, "env": env })
                    })
                    .collect();
                let mut spec = json!({ "template": { "spec": { "containers": containers } } });
                if let Some(replicas) = replicas {
                    spec["replicas"] = replicas.into();
                }
                json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "d", "labels": labels, "finalizers": finalizers }, "spec": spec })
            },
        )
    }

    /// Every leaf of `part` is in `whole` with the same value.
    fn is_in(part: &Value, whole: &Value) -> bool {
        let shape = Shape::of(&deployments());
        let difference = fields::compare(shape, Some(whole), part);
        difference
            .changed
            .paths()
            .iter()
            .all(|path| path.ends_with("managedFields"))
    }

    proptest! {
        #[test]
        fn what_is_applied_by_force_is_there_and_applying_it_again_changes_nothing(
            first in applied(), second in applied(), third in applied(),
        ) {
            let resource = deployments();
            let mut object = first.clone();
            record_first_apply(&resource, &mut object, &manager("one"));
            let both = apply(&resource, &object, &second, &manager("two"), true).unwrap();
            prop_assert!(is_in(&second, &both));
            let next = apply(&resource, &both, &third, &manager("one"), true).unwrap();
            prop_assert!(is_in(&third, &next));
            let mut again = apply(&resource, &next, &third, &manager("one"), false).unwrap();
            let mut next = next;
            for object in [&mut again, &mut next] {
                for entry in metadata_mut(object)["managedFields"].as_array_mut().unwrap() {
                    as_object_mut(entry).shift_remove("time");
                }
            }
            prop_assert_eq!(again, next);
        }

        #[test]
        fn a_lone_manager_that_applies_less_leaves_no_more_than_that(first in applied(), second in applied()) {
            let resource = deployments();
            let mut object = first.clone();
            record_first_apply(&resource, &mut object, &manager("one"));
            let next = apply(&resource, &object, &second, &manager("one"), false).unwrap();
            let left = fields::fields_of(Shape::of(&resource), &next, false);
            let wanted = fields::fields_of(Shape::of(&resource), &second, false);
            // Emptied maps and lists may stay or go; whatever has a value was asked for.
            let extra = without_own(left.difference(&wanted));
            for path in extra.paths() {
                let value = path.trim_start_matches('.').split('.').try_fold(&next, |value, key| value.get(key));
                let empty = value.is_some_and(|value| {
                    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
                });
                prop_assert!(empty, "{path} of {next}");
            }
        }
    }
}
