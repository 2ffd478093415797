//! Discovery: which groups, versions, resources and verbs there are.

use serde_json::{Map, Value, json};

use crate::resources::{Registry, Resource, api_version};

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// `/api`.
pub(crate) fn core() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1" }],
    })
}

fn group_json(name: &str, versions: &[String]) -> Value {
    let version =
        |version: &String| json!({ "groupVersion": api_version(name, version), "version": version });
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/apis`.
pub(crate) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = registry
        .groups()
        .iter()
        .map(|(name, versions)| group_json(name, versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`.
pub(crate) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let (name, versions) = registry.groups().into_iter().find(|(group, _)| group == name)?;
    let mut value = group_json(&name, &versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

fn verbs(resource: &Resource) -> Vec<&'static str> {
    if resource.stored {
        VERBS.to_vec()
    } else {
        vec!["create"]
    }
}

/// What can be done with a subresource, and which kind it speaks, when that is not the resource's own.
fn subresource(
    resource: &Resource,
    name: &str,
) -> (
    Vec<&'static str>,
    Option<(&'static str, &'static str, &'static str)>,
) {
    match name {
        "scale" => (
            vec!["get", "patch", "update"],
            Some(("autoscaling", "v1", "Scale")),
        ),
        "eviction" => (vec!["create"], Some(("policy", "v1", "Eviction"))),
        "binding" => (vec!["create"], Some(("", "v1", "Binding"))),
        "token" => (
            vec!["create"],
            Some(("authentication.k8s.io", "v1", "TokenRequest")),
        ),
        "log" => (vec!["get"], None),
        "exec" => (vec!["create", "get"], Some(("", "v1", "PodExecOptions"))),
        "attach" => (vec!["create", "get"], Some(("", "v1", "PodAttachOptions"))),
        "portforward" => (vec!["create", "get"], Some(("", "v1", "PodPortForwardOptions"))),
        "finalize" => (vec!["update"], None),
        _ => {
            let _ = resource;
            (vec!["get", "patch", "update"], None)
        }
    }
}

fn of_version(registry: &Registry, group: &str, version: &str) -> Vec<std::sync::Arc<Resource>> {
    registry
        .all()
        .into_iter()
        .filter(|resource| {
            resource.group == group && resource.versions.iter().any(|served| served == version)
        })
        .collect()
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(crate) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let found = of_version(registry, group, version);
    if found.is_empty() {
        return None;
    }
    let mut list = Vec::new();
    for resource in found {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs(&resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = resource.short_names.clone().into();
        }
        if !resource.categories.is_empty() {
            entry["categories"] = resource.categories.clone().into();
        }
        list.push(entry);
        for name in &resource.subresources {
            let (verbs, kind) = subresource(&resource, name);
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": kind.map_or(resource.kind.as_str(), |(_, _, kind)| kind), "verbs": verbs,
            });
            if let Some((group, version, _)) = kind
                && !group.is_empty()
            {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            list.push(entry);
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": api_version(group, version), "resources": list,
    }))
}

/// `APIGroupDiscoveryList`: the core group, or all others.
pub(crate) fn aggregated(registry: &Registry, core: bool) -> Value {
    let groups = if core {
        vec![(String::new(), vec!["v1".to_owned()])]
    } else {
        registry.groups()
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = of_version(registry, group, version)
                        .iter()
                        .map(|one| aggregated_resource(one, version))
                        .collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            let mut metadata = Map::new();
            if !group.is_empty() {
                metadata.insert("name".into(), group.as_str().into());
            }
            metadata.insert("creationTimestamp".into(), Value::Null);
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(resource: &Resource, version: &str) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let own = kind(&resource.group, version, &resource.kind);
    let mut entry = json!({
        "resource": resource.plural, "responseKind": own,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    if !resource.subresources.is_empty() {
        let subresources: Vec<Value> = resource
            .subresources
            .iter()
            .map(|name| {
                let (verbs, response) = subresource(resource, name);
                let response = response.map_or_else(
                    || own.clone(),
                    |(group, version, name)| kind(group, version, name),
                );
                json!({ "subresource": name, "responseKind": response, "verbs": verbs })
            })
            .collect();
        entry["subresources"] = subresources.into();
    }
    entry
}

/// `/`.
pub(crate) fn paths(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for (group, versions) in registry.groups() {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    json!({ "paths": paths })
}
