//! OpenAPI documents, made from the table of fields: enough for kubectl's validation, `explain` and dry run checks.

use serde_json::{Map, Value, json};

use crate::object::ObjectExt;
use crate::resources::{Registry, Resource, api_version};
use crate::schema::{self, Merge, Struct, Type};
use crate::version::Version;

/// Where version 3 and version 2 keep their schemas.
const V3: &str = "#/components/schemas/";
const V2: &str = "#/definitions/";

/// `/openapi/v3`.
pub(crate) fn v3_index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, content: &str| {
        // FNV-1a; the hash tells clients when to read again.
        let hash = content.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let url = format!("/openapi/v3/{path}?hash={hash:016X}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    };
    add("api/v1".into(), "core");
    let all = registry.all();
    for (group, versions) in registry.groups() {
        let own = all.iter().filter(|resource| resource.group == group);
        let content: String = own
            .map(|resource| match &resource.custom {
                Some(definition) => definition.to_string(),
                None => resource.kind.clone(),
            })
            .collect();
        for version in versions {
            add(format!("apis/{group}/{version}"), &content);
        }
    }
    json!({ "paths": paths })
}

fn info(version: &Version) -> Value {
    json!({ "title": "Kubernetes", "version": version.git_version() })
}

/// The document of one group and version; `None` when nothing of it is served.
pub(crate) fn v3(registry: &Registry, version: &Version, group: &str, served: &str) -> Option<Value> {
    let mut resources = registry.all();
    resources.retain(|resource| resource.group == group && resource.serves(served));
    if resources.is_empty() {
        return None;
    }
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in &resources {
        let kind = gvk(resource, served);
        if let Some(root) = schema::root(group, served, &resource.kind) {
            add_schemas(&mut schemas, root);
        }
        let name = add_root(&mut schemas, resource, served);
        let reference = json!({ "$ref": format!("{V3}{name}") });
        let responses = json!({ "200": {
            "description": "OK", "content": { "application/json": { "schema": reference } },
        } });
        let operation = |action: &str| {
            let parameters: Vec<Value> = parameters(action)
                .iter()
                .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } }))
                .collect();
            let mut operation = json!({
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind,
                "parameters": parameters, "responses": responses,
            });
            let types = body_types(action, resource);
            if !types.is_empty() {
                let schema = if action == "patch" {
                    json!({})
                } else {
                    reference.clone()
                };
                let content = types
                    .iter()
                    .map(|one| ((*one).to_owned(), json!({ "schema": schema })));
                operation["requestBody"] = json!({ "content": content.collect::<Map<_, _>>() });
            }
            operation
        };
        let collection = collection_path(resource, served);
        let mut on_collection = json!({ "post": operation("post") });
        if resource.stored {
            on_collection["get"] = operation("list");
            on_collection["delete"] = operation("deletecollection");
            let mut on_item = json!({});
            for action in ["get", "put", "patch", "delete"] {
                on_item[action] = operation(action);
            }
            paths.insert(format!("{collection}/{{name}}"), on_item);
        }
        paths.insert(collection, on_collection);
    }
    let components = json!({ "schemas": schemas });
    Some(json!({ "openapi": "3.0.0", "info": info(version), "paths": paths, "components": components }))
}

/// `/openapi/v2`: all definitions, and of the paths what tells clients how to patch.
pub(crate) fn v2(registry: &Registry, version: &Version) -> Value {
    let mut definitions: Map<String, Value> = schema::all()
        .map(|one| (one.definition.to_owned(), struct_schema(one, V2)))
        .collect();
    let mut paths = Map::new();
    let parameters: Vec<Value> = parameters("patch")
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "type": "string" }))
        .collect();
    for resource in registry.all() {
        for served in &resource.versions {
            let name = add_root(&mut definitions, &resource, served);
            if resource.stored {
                let schema = json!({ "$ref": format!("{V2}{name}") });
                let patch = json!({
                    "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": gvk(&resource, served),
                    "parameters": parameters,
                    "responses": { "200": { "description": "OK", "schema": schema } },
                });
                let item = format!("{}/{{name}}", collection_path(&resource, served));
                paths.insert(item, json!({ "patch": patch }));
            }
        }
    }
    json!({ "swagger": "2.0", "info": info(version), "paths": paths, "definitions": definitions })
}

/// Content type of version 2 in protobuf, as clients ask for it. `@` is not allowed in a content type, so that answers
/// have [`V2_CONTENT`].
pub(crate) const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

pub(crate) const V2_CONTENT: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Version 2 in protobuf, which describes no kind: only its version and title. kubectl asks for it when version 3 does not
/// know a kind, and goes on to say that there is no such kind.
pub(crate) fn v2_protobuf(version: &Version) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        // Version and title are short, so that a length is one byte.
        let length = u8::try_from(bytes.len()).unwrap_or_default().min(127);
        let content = &bytes[..usize::from(length)];
        [&[number << 3 | 2, length], content].concat()
    };
    let info = [
        field(1, b"Kubernetes"),
        field(2, version.git_version().as_bytes()),
    ]
    .concat();
    [field(1, b"2.0"), field(2, &info)].concat()
}

fn gvk(resource: &Resource, version: &str) -> Value {
    json!({ "group": resource.group, "version": version, "kind": resource.kind })
}

/// Marks the schema of a kind as such, adding that of a custom resource. Returns its name.
fn add_root(schemas: &mut Map<String, Value>, resource: &Resource, version: &str) -> String {
    let name = match schema::root(&resource.group, version, &resource.kind) {
        Some(root) if resource.custom.is_none() => root.definition.to_owned(),
        _ => {
            let reversed: Vec<&str> = resource.group.split('.').rev().collect();
            let name = format!("{}.{version}.{}", reversed.join("."), resource.kind);
            schemas.insert(name.clone(), custom_schema(resource, version));
            name
        }
    };
    if let Some(schema) = schemas.get_mut(&name) {
        schema["x-kubernetes-group-version-kind"] = json!([gvk(resource, version)]);
    }
    name
}

fn parameters(action: &str) -> &'static [&'static str] {
    match action {
        "post" | "put" => &["dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
        "delete" => &[
            "dryRun",
            "gracePeriodSeconds",
            "orphanDependents",
            "propagationPolicy",
        ],
        "list" | "deletecollection" => &[
            "allowWatchBookmarks",
            "continue",
            "fieldSelector",
            "labelSelector",
            "limit",
            "resourceVersion",
            "resourceVersionMatch",
            "sendInitialEvents",
            "timeoutSeconds",
            "watch",
        ],
        _ => &[],
    }
}

/// Content types of an action's body; none when it has no body.
fn body_types(action: &str, resource: &Resource) -> &'static [&'static str] {
    const PATCHES: &[&str] = &[
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    match action {
        // Nothing is known of a custom resource's lists.
        "patch" if resource.custom.is_some() => &PATCHES[..3],
        "patch" => PATCHES,
        "post" | "put" => &["application/json"],
        _ => &[],
    }
}

fn collection_path(resource: &Resource, version: &str) -> String {
    let root = if resource.group.is_empty() {
        "/api"
    } else {
        "/apis"
    };
    let namespace = if resource.namespaced {
        "namespaces/{namespace}/"
    } else {
        ""
    };
    format!(
        "{root}/{}/{namespace}{}",
        api_version(&resource.group, version),
        resource.plural
    )
}

fn custom_schema(resource: &Resource, version: &str) -> Value {
    let versions = resource
        .custom
        .as_ref()
        .map_or(&[][..], |one| one.list_at(&["spec", "versions"]));
    let schema = versions
        .iter()
        .find(|one| one.str_at(&["name"]) == version)
        .and_then(|one| one.at(&["schema", "openAPIV3Schema"]));
    let unknown = || json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    schema.cloned().unwrap_or_else(unknown)
}

fn add_schemas(schemas: &mut Map<String, Value>, one: &'static Struct) {
    if schemas.contains_key(one.definition) {
        return;
    }
    schemas.insert(one.definition.to_owned(), struct_schema(one, V3));
    for field in &one.fields {
        let mut kind = &field.kind;
        while let Type::List(inner) | Type::Map(inner) = kind {
            kind = inner;
        }
        if let Type::Named(name) = kind
            && let Some(found) = schema::lookup(name)
        {
            add_schemas(schemas, found);
        }
    }
}

fn struct_schema(one: &Struct, prefix: &str) -> Value {
    let mut properties = Map::new();
    if one.is_object() {
        for name in ["apiVersion", "kind"] {
            properties.insert(name.into(), json!({ "type": "string" }));
        }
    }
    for field in &one.fields {
        let mut property = type_schema(&field.kind, prefix);
        match (&field.merge, &field.kind) {
            (Merge::Keyed(keys), _) => {
                property["x-kubernetes-list-type"] = "map".into();
                property["x-kubernetes-list-map-keys"] = json!(keys);
                property["x-kubernetes-patch-merge-key"] = keys[0].into();
                property["x-kubernetes-patch-strategy"] = "merge".into();
            }
            (Merge::Set, _) => {
                property["x-kubernetes-list-type"] = "set".into();
                property["x-kubernetes-patch-strategy"] = "merge".into();
            }
            (Merge::Atomic, Type::List(_)) => property["x-kubernetes-list-type"] = "atomic".into(),
            (Merge::Atomic, _) => property["x-kubernetes-map-type"] = "atomic".into(),
            (Merge::Granular, _) => {}
        }
        properties.insert(field.name.to_owned(), property);
    }
    let required = one.fields.iter().filter(|field| field.required);
    let required: Vec<&str> = required.map(|field| field.name).collect();
    let mut value =
        json!({ "type": "object", "description": one.name.rsplit('.').next(), "properties": properties });
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    if one.atomic {
        value["x-kubernetes-map-type"] = "atomic".into();
    }
    value
}

fn type_schema(kind: &Type, prefix: &str) -> Value {
    match kind {
        Type::String | Type::Quantity => json!({ "type": "string" }),
        Type::Int => json!({ "type": "integer" }),
        Type::Number => json!({ "type": "number" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Bytes => json!({ "type": "string", "format": "byte" }),
        Type::Time => json!({ "type": "string", "format": "date-time" }),
        Type::IntOrString => json!({ "type": "string", "format": "int-or-string" }),
        Type::Any => json!({ "type": "object" }),
        Type::List(inner) => json!({ "type": "array", "items": type_schema(inner, prefix) }),
        Type::Map(inner) => json!({ "type": "object", "additionalProperties": type_schema(inner, prefix) }),
        Type::Named(name) => match schema::lookup(name) {
            Some(found) if prefix == V3 => {
                json!({ "allOf": [{ "$ref": format!("{prefix}{}", found.definition) }], "default": {} })
            }
            Some(found) => json!({ "$ref": format!("{prefix}{}", found.definition) }),
            None => json!({ "type": "object" }),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_every_document_leads_somewhere() {
        let registry = Registry::default();
        let version = Version::parse("1.32", None).unwrap();
        for (group, versions) in registry
            .groups()
            .into_iter()
            .chain([(String::new(), vec!["v1".to_owned()])])
        {
            for served in versions {
                let document = v3(&registry, &version, &group, &served).unwrap();
                let text = document.to_string();
                for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
                    let name = reference.split('"').next().unwrap();
                    assert!(
                        document["components"]["schemas"].get(name).is_some(),
                        "{group}/{served}: {name}"
                    );
                }
            }
        }
    }
}
