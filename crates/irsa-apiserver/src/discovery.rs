//! Discovery: which groups, versions, resources and verbs there are.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::resources::{Registry, Resource, api_version};

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
    let groups = registry.groups();
    let groups: Vec<Value> = groups
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

fn verbs(resource: &Resource) -> &'static [&'static str] {
    if resource.stored {
        &[
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
    } else {
        &["create"]
    }
}

/// Group, version and kind of what a subresource speaks.
type Kind = (&'static str, &'static str, &'static str);

/// What can be done with a subresource, and which kind it speaks when that is not the resource's own.
fn subresource(name: &str) -> (&'static [&'static str], Option<Kind>) {
    match name {
        "scale" => (&["get", "patch", "update"], Some(("autoscaling", "v1", "Scale"))),
        "eviction" => (&["create"], Some(("policy", "v1", "Eviction"))),
        "binding" => (&["create"], Some(("", "v1", "Binding"))),
        "token" => (&["create"], Some(("authentication.k8s.io", "v1", "TokenRequest"))),
        "log" => (&["get"], None),
        "exec" => (&["create", "get"], Some(("", "v1", "PodExecOptions"))),
        "attach" => (&["create", "get"], Some(("", "v1", "PodAttachOptions"))),
        "portforward" => (&["create", "get"], Some(("", "v1", "PodPortForwardOptions"))),
        "finalize" => (&["update"], None),
        _ => (&["get", "patch", "update"], None),
    }
}

fn of_version(registry: &Registry, group: &str, version: &str) -> Vec<Arc<Resource>> {
    let mut resources = registry.all();
    resources.retain(|resource| resource.group == group && resource.serves(version));
    resources
}

/// Adds what both forms of discovery say of a resource's names.
fn add_names(entry: &mut Value, resource: &Resource) {
    for (key, names) in [
        ("shortNames", &resource.short_names),
        ("categories", &resource.categories),
    ] {
        if !names.is_empty() {
            entry[key] = names.clone().into();
        }
    }
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
        add_names(&mut entry, &resource);
        list.push(entry);
        for name in &resource.subresources {
            let (verbs, kind) = subresource(name);
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": kind.map_or(resource.kind.as_str(), |(_, _, kind)| kind), "verbs": verbs,
            });
            if let Some((group, version, _)) = kind.filter(|(group, _, _)| !group.is_empty()) {
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
    let mut items = Vec::new();
    for (group, versions) in &groups {
        let mut metadata = Map::new();
        if !group.is_empty() {
            metadata.insert("name".into(), group.as_str().into());
        }
        let version = |version: &String| {
            let resources = of_version(registry, group, version);
            let resources: Vec<Value> = resources
                .iter()
                .map(|one| aggregated_resource(one, version))
                .collect();
            json!({ "version": version, "resources": resources, "freshness": "Current" })
        };
        let versions: Vec<Value> = versions.iter().map(version).collect();
        items.push(json!({ "metadata": metadata, "versions": versions }));
    }
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(resource: &Resource, version: &str) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({ "group": group, "version": version, "kind": kind });
    let own = (resource.group.as_str(), version, resource.kind.as_str());
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind(own),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": verbs(resource),
    });
    add_names(&mut entry, resource);
    if !resource.subresources.is_empty() {
        let subresources = resource.subresources.iter().map(|name| {
            let (verbs, spoken) = subresource(name);
            json!({ "subresource": name, "responseKind": kind(spoken.unwrap_or(own)), "verbs": verbs })
        });
        entry["subresources"] = subresources.collect();
    }
    entry
}

/// `/`.
pub(crate) fn paths(registry: &Registry) -> Value {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis"].map(str::to_owned).into();
    for (group, versions) in registry.groups() {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    let own = [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    paths.extend(own.map(str::to_owned));
    json!({ "paths": paths })
}
