//! OpenAPI documents, made from the table of fields: enough for kubectl's validation, `explain` and dry run checks.

use serde_json::{Map, Value, json};

use crate::object::ObjectExt;
use crate::resources::{Registry, Resource, api_version};
use crate::schema::{self, Merge, Struct, Type};
use crate::version::Version;

/// `/openapi/v3`.
pub(crate) fn v3_index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, content: &str| {
        // The hash tells clients when to read again.
        let hash = content.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let url = format!("/openapi/v3/{path}?hash={hash:016X}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    };
    add("api/v1".into(), "core");
    for (group, versions) in registry.groups() {
        for version in versions {
            let content: String = registry
                .all()
                .iter()
                .filter(|resource| resource.group == group)
                .map(|resource| {
                    resource
                        .custom
                        .as_ref()
                        .map_or_else(|| resource.kind.clone(), |definition| definition.to_string())
                })
                .collect();
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
    let resources: Vec<_> = registry
        .all()
        .into_iter()
        .filter(|resource| resource.group == group && resource.versions.iter().any(|one| one == served))
        .collect();
    if resources.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in &resources {
        let gvk = json!({ "group": group, "version": served, "kind": resource.kind });
        let name = match schema::root(group, served, &resource.kind) {
            Some(root) if resource.custom.is_none() => {
                add_schemas(&mut schemas, root);
                root.definition.to_owned()
            }
            _ => {
                let name = custom_name(group, served, &resource.kind);
                schemas.insert(name.clone(), custom_schema(resource, served));
                name
            }
        };
        if let Some(schema) = schemas.get_mut(&name) {
            schema["x-kubernetes-group-version-kind"] = json!([gvk]);
        }
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        let (collection, item) = resource_paths(resource, served);
        let content = json!({ "application/json": { "schema": reference } });
        let responses = json!({ "200": { "description": "OK", "content": content } });
        let operation = |action: &str, body: bool| {
            let mut operation = json!({
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
                "parameters": parameters(action), "responses": responses,
            });
            if body {
                let types: &[&str] = match action {
                    "patch" if resource.custom.is_some() => &[
                        "application/apply-patch+yaml",
                        "application/json-patch+json",
                        "application/merge-patch+json",
                    ],
                    "patch" => &[
                        "application/apply-patch+yaml",
                        "application/json-patch+json",
                        "application/merge-patch+json",
                        "application/strategic-merge-patch+json",
                    ],
                    _ => &["application/json"],
                };
                let content: Map<String, Value> = types
                    .iter()
                    .map(|one| ((*one).to_owned(), json!({ "schema": if action == "patch" { json!({}) } else { reference.clone() } })))
                    .collect();
                operation["requestBody"] = json!({ "content": content });
            }
            operation
        };
        let mut on_collection = json!({ "post": operation("post", true) });
        if resource.stored {
            on_collection["get"] = operation("list", false);
            on_collection["delete"] = operation("deletecollection", false);
            paths.insert(
                item,
                json!({
                    "get": operation("get", false), "put": operation("put", true),
                    "patch": operation("patch", true), "delete": operation("delete", false),
                }),
            );
        }
        paths.insert(collection, on_collection);
    }
    Some(
        json!({ "openapi": "3.0.0", "info": info(version), "paths": paths, "components": { "schemas": schemas } }),
    )
}

/// `/openapi/v2`.
pub(crate) fn v2(registry: &Registry, version: &Version) -> Value {
    let mut definitions: Map<String, Value> = schema::all()
        .map(|one| (one.definition.to_owned(), struct_schema(one, "#/definitions/")))
        .collect();
    let mut paths = Map::new();
    for resource in registry.all() {
        for served in &resource.versions {
            let gvk = json!({ "group": resource.group, "version": served, "kind": resource.kind });
            let name = match schema::root(&resource.group, served, &resource.kind) {
                Some(root) if resource.custom.is_none() => root.definition.to_owned(),
                _ => {
                    let name = custom_name(&resource.group, served, &resource.kind);
                    definitions.insert(name.clone(), custom_schema(&resource, served));
                    name
                }
            };
            if let Some(definition) = definitions.get_mut(&name) {
                definition["x-kubernetes-group-version-kind"] = json!([gvk]);
            }
            if !resource.stored {
                continue;
            }
            let (_, item) = resource_paths(&resource, served);
            let parameters: Vec<Value> = parameters("patch")
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| json!({ "name": one.get("name"), "in": "query", "type": "string" }))
                .collect();
            paths.insert(
                item,
                json!({ "patch": {
                    "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": gvk,
                    "parameters": parameters,
                    "responses": { "200": { "description": "OK", "schema": { "$ref": format!("#/definitions/{name}") } } },
                } }),
            );
        }
    }
    json!({ "swagger": "2.0", "info": info(version), "paths": paths, "definitions": definitions })
}

fn parameters(action: &str) -> Value {
    let names: &[&str] = match action {
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
    };
    names
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } }))
        .collect()
}

fn resource_paths(resource: &Resource, version: &str) -> (String, String) {
    let root = if resource.group.is_empty() {
        "/api/".to_owned()
    } else {
        "/apis/".into()
    };
    let root = root + &api_version(&resource.group, version);
    let collection = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let item = format!("{collection}/{{name}}");
    (collection, item)
}

fn custom_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

fn custom_schema(resource: &Resource, version: &str) -> Value {
    let found = resource.custom.as_ref().and_then(|definition| {
        definition
            .list_at(&["spec", "versions"])
            .iter()
            .find(|one| one.str_at(&["name"]) == version)
            .and_then(|one| one.at(&["schema", "openAPIV3Schema"]))
            .cloned()
    });
    found.unwrap_or_else(|| json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }))
}

fn add_schemas(schemas: &mut Map<String, Value>, one: &'static Struct) {
    if schemas.contains_key(one.definition) {
        return;
    }
    schemas.insert(
        one.definition.to_owned(),
        struct_schema(one, "#/components/schemas/"),
    );
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
    properties.extend(root_properties(one));
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
    let required: Vec<&str> = one
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
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

/// Kinds (whatever has metadata) also have `apiVersion` and `kind`.
fn root_properties(one: &Struct) -> Map<String, Value> {
    let mut properties = Map::new();
    if one
        .field("metadata")
        .is_some_and(|field| field.kind == Type::Named("ObjectMeta"))
    {
        properties.insert("apiVersion".into(), json!({ "type": "string" }));
        properties.insert("kind".into(), json!({ "type": "string" }));
    }
    properties
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
            Some(found) if prefix.starts_with("#/components") => {
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
