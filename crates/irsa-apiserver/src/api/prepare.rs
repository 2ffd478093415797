//! What the server itself does to an object on its way in: checks of identity, fields of the server's own, what a
//! subresource may change, generation, generated names.

use serde_json::{Map, Value};

use super::FieldValidation;
use crate::object::{Object, ObjectExt, as_object_mut, metadata_mut, now};
use crate::resources::Resource;
use crate::status::{Result, Status};
use crate::{patch, schema};

/// Fills in `apiVersion` and `kind`, and refuses others than the resource's.
pub(super) fn check_kind(resource: &Resource, object: &mut Value) -> Result<()> {
    if !object.is_object() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): it is no JSON object",
            resource.kind
        )));
    }
    let expected = resource.api_version();
    let (version, kind) = (object.api_version().to_owned(), object.kind().to_owned());
    if !kind.is_empty() && kind != resource.kind {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): it is a {kind}",
            resource.kind
        )));
    }
    let served = |version: &str| {
        resource
            .versions
            .iter()
            .any(|served| crate::resources::api_version(&resource.group, served) == version)
    };
    if !version.is_empty() && !served(&version) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    let map = as_object_mut(object);
    map.insert("apiVersion".into(), expected.into());
    map.insert("kind".into(), resource.kind.as_str().into());
    if map
        .get("metadata")
        .is_some_and(|metadata| !metadata.is_object() && !metadata.is_null())
    {
        return Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: metadata is no JSON object",
            resource.kind,
            resource.version(),
            resource.kind
        )));
    }
    Ok(())
}

pub(super) fn check_fields(
    resource: &Resource,
    object: &mut Value,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let prefix = || {
        format!(
            "{} in version \"{}\" cannot be handled as a {}",
            resource.kind,
            resource.version(),
            resource.kind
        )
    };
    let unknown = schema::prune(resource, object)
        .map_err(|error| Status::bad_request(format!("{}: {error}", prefix())))?;
    report_unknown(unknown, validation, warnings)
        .map_err(|text| Status::bad_request(format!("{}: {text}", prefix())))
}

pub(super) fn check_patched(
    resource: &Resource,
    object: &mut Value,
    validation: FieldValidation,
    patch: &patch::Patch,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let invalid = |text: String| {
        let cause = crate::status::Cause::invalid("patch", &Value::String(patch.text()), &text);
        Status::invalid("", "", "", &[cause])
    };
    let unknown = schema::prune(resource, object).map_err(|error| invalid(error.to_string()))?;
    report_unknown(unknown, validation, warnings).map_err(invalid)
}

pub(super) fn report_unknown(
    unknown: Vec<String>,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> std::result::Result<(), String> {
    let said = unknown
        .into_iter()
        .map(|path| format!("unknown field \"{path}\""));
    match validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            warnings.extend(said);
            Ok(())
        }
        FieldValidation::Strict => {
            let said: Vec<_> = said.collect();
            if said.is_empty() {
                Ok(())
            } else {
                Err(format!("strict decoding error: {}", said.join(", ")))
            }
        }
    }
}

/// The new state must be one of the same object, and of the version it was read at when it says so.
pub(super) fn check_identity(resource: &str, current: &Object, next: &Value) -> Result<()> {
    let version = next.str_at(&["metadata", "resourceVersion"]);
    if !version.is_empty() && version != current.str_at(&["metadata", "resourceVersion"]) {
        return Err(Status::modified(resource, current.name()));
    }
    let uid = next.uid();
    if !uid.is_empty() && uid != current.uid() {
        return Err(Status::conflict(
            resource,
            current.name(),
            &format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                current.uid()
            ),
        ));
    }
    if !next.name().is_empty() && next.name() != current.name() {
        let cause =
            crate::status::Cause::invalid("metadata.name", &Value::from(next.name()), "field is immutable");
        return Err(Status::invalid(
            next.kind(),
            split_group(next.api_version()),
            current.name(),
            &[cause],
        ));
    }
    Ok(())
}

pub(super) fn split_group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Kinds whose objects carry no `metadata.generation`.
pub(super) fn has_generation(resource: &Resource) -> bool {
    match resource.group.as_str() {
        "" => matches!(resource.plural.as_str(), "pods" | "replicationcontrollers"),
        "rbac.authorization.k8s.io" | "coordination.k8s.io" | "events.k8s.io" | "storage.k8s.io" => false,
        _ => resource.plural != "controllerrevisions",
    }
}

/// Kinds whose status may be given at creation: an agent registers its node with it.
pub(super) fn keeps_status_on_create(resource: &Resource) -> bool {
    resource.storage == "nodes" || !resource.has("status")
}

pub(super) fn prepare_create(resource: &Resource, object: &mut Value) {
    if !keeps_status_on_create(resource) {
        as_object_mut(object).shift_remove("status");
    }
    let metadata = metadata_mut(object);
    for server_owned in [
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.shift_remove(server_owned);
    }
    metadata.retain(|_, value| !value.is_null());
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), now().into());
    if has_generation(resource) {
        metadata.insert("generation".into(), 1.into());
    }
}

const SERVER_OWNED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "generateName",
];

pub(super) fn prepare_update(resource: &Resource, subresource: &str, current: &Object, next: &mut Value) {
    match subresource {
        "status" => {
            let mut base = current.value().clone();
            let status = as_object_mut(next).shift_remove("status");
            let given = as_object_mut(next).shift_remove("metadata");
            if let Some(status) = status {
                as_object_mut(&mut base).insert("status".into(), status);
            }
            if let Some(Value::Object(mut given)) = given {
                let metadata = metadata_mut(&mut base);
                if let Some(managed) = given.shift_remove("managedFields") {
                    metadata.insert("managedFields".into(), managed);
                }
                if matches!(resource.storage.as_str(), "pods" | "nodes") {
                    for key in ["labels", "annotations"] {
                        match given.shift_remove(key) {
                            Some(value) => metadata.insert(key.into(), value),
                            None => metadata.shift_remove(key),
                        };
                    }
                }
            }
            *next = base;
        }
        "finalize" => {
            let mut base = current.value().clone();
            let finalizers = next.at(&["spec", "finalizers"]).cloned();
            let spec = crate::object::entry_object(&mut base, "spec");
            match finalizers {
                Some(finalizers) => spec.insert("finalizers".into(), finalizers),
                None => spec.shift_remove("finalizers"),
            };
            *next = base;
        }
        _ => {
            let map = as_object_mut(next);
            if resource.has("status") {
                map.shift_remove("status");
                if let Some(status) = current.at(&["status"]) {
                    map.insert("status".into(), status.clone());
                }
            }
            if resource.storage == "namespaces"
                && let Some(spec) = current.at(&["spec"])
            {
                map.insert("spec".into(), spec.clone());
            }
        }
    }
    let metadata = metadata_mut(next);
    for key in SERVER_OWNED {
        match current.at(&["metadata", key]) {
            Some(value) => metadata.insert((*key).to_owned(), value.clone()),
            None => metadata.shift_remove(*key),
        };
    }
    metadata.retain(|_, value| !value.is_null());
    // An emptied map is no map, as Go leaves it out.
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = metadata.get(key).is_some_and(|value| match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        });
        if empty {
            metadata.shift_remove(key);
        }
    }
}

pub(super) fn bump_generation(resource: &Resource, current: &Object, next: &mut Value) {
    if !has_generation(resource) {
        return;
    }
    let content = |value: &Value| -> Map<String, Value> {
        let mut map = value.as_object().cloned().unwrap_or_default();
        for key in ["metadata", "status"] {
            map.shift_remove(key);
        }
        map
    };
    if content(current.value()) != content(next) {
        metadata_mut(next).insert("generation".into(), (current.generation() + 1).into());
    }
}

/// Equal but for the times at which managers wrote: then nothing is written.
pub(super) fn same_state(current: &Value, next: &Value) -> bool {
    let without_times = |value: &Value| -> Value {
        let mut value = value.clone();
        if let Some(Value::Array(managers)) = metadata_mut(&mut value).get_mut("managedFields") {
            for manager in managers {
                as_object_mut(manager).shift_remove("time");
            }
        }
        value
    };
    if current == next {
        return true;
    }
    let differs = |key: &str| key != "metadata" && current.get(key) != next.get(key);
    let keys = |value: &Value| value.as_object().map(Map::len);
    if keys(current) != keys(next)
        || current
            .as_object()
            .is_some_and(|map| map.keys().any(|key| differs(key)))
    {
        return false;
    }
    without_times(current) == without_times(next)
}

/// Marked for deletion with nothing left to wait for.
pub(super) fn may_go(storage: &str, object: &Value) -> bool {
    object.deletion_timestamp().is_some()
        && object.finalizers().is_empty()
        && object
            .int_at(&["metadata", "deletionGracePeriodSeconds"])
            .unwrap_or_default()
            == 0
        && (storage != "namespaces" || object.list_at(&["spec", "finalizers"]).is_empty())
}

/// Appends five letters and digits to `generateName`, of those that make no words.
pub(super) fn generate_name(object: &mut Value) {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // Room for the suffix within 63 characters.
    let base: String = object
        .str_at(&["metadata", "generateName"])
        .chars()
        .take(58)
        .collect();
    let random = uuid::Uuid::new_v4();
    let suffix: String = random
        .as_bytes()
        .iter()
        .take(5)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect();
    metadata_mut(object).insert("name".into(), format!("{base}{suffix}").into());
}
