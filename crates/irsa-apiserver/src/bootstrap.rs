//! The objects that every cluster has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::{Api, Caller, WriteOptions};
use crate::resources::Registry;
use crate::status::Result;

const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

/// Stores them. Service accounts, nodes and the CA's ConfigMap come from their controllers.
pub(crate) async fn populate(api: &Arc<Api>, address: SocketAddr) -> Result<()> {
    let me = Caller {
        manager: "kube-apiserver".into(),
        ..Caller::admin()
    };
    let options = WriteOptions::default();
    let mut objects: Vec<(&str, &str, Value)> = Vec::new();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        objects.push(("namespaces", "", json!({ "metadata": { "name": name } })));
    }
    for (name, value) in [
        ("system-cluster-critical", 2_000_000_000_u32),
        ("system-node-critical", 2_000_001_000),
    ] {
        let class = json!({
            "metadata": { "name": name }, "value": value,
            "description": "Used for system critical pods that must not be moved from their current node.",
        });
        objects.push(("priorityclasses.scheduling.k8s.io", "", class));
    }
    for (name, rules, group) in roles(api.registry()) {
        let role = json!({ "metadata": { "name": name }, "rules": rules });
        objects.push((CLUSTER_ROLES, "", role));
        if !group.is_empty() {
            let binding = json!({
                "metadata": { "name": name },
                "roleRef": { "kind": "ClusterRole", "name": name },
                "subjects": [{ "kind": "Group", "name": group }],
            });
            objects.push((CLUSTER_BINDINGS, "", binding));
        }
    }
    for (group, version) in served(api.registry()) {
        let service = json!({
            "metadata": { "name": format!("{version}.{group}"), "labels": { "kube-aggregator.kubernetes.io/automanaged": "onstart" } },
            "spec": { "group": group, "version": version, "groupPriorityMinimum": 17_800, "versionPriority": 15 },
            "status": { "conditions": [{
                "type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available", "lastTransitionTime": crate::object::now(),
            }] },
        });
        objects.push(("apiservices.apiregistration.k8s.io", "", service));
    }
    let (ip, port) = (address.ip().to_string(), address.port());
    let ports = json!([{ "name": "https", "port": port, "protocol": "TCP" }]);
    objects.extend([
        ("services", "default", json!({
            "metadata": { "name": "kubernetes", "labels": { "component": "apiserver", "provider": "kubernetes" } },
            "spec": {
                "clusterIP": api.kubernetes_address(),
                "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": port }],
            },
        })),
        ("endpoints", "default", json!({
            "metadata": { "name": "kubernetes", "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
            "subsets": [{ "addresses": [{ "ip": ip }], "ports": ports }],
        })),
        ("endpointslices.discovery.k8s.io", "default", json!({
            "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
            "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }],
            "ports": ports,
        })),
    ]);
    for (resource, namespace, object) in objects {
        api.create(&me, resource, namespace, object, &options).await?;
    }
    Ok(())
}

/// Groups and versions that are served.
fn served(registry: &Registry) -> Vec<(String, String)> {
    let core = (String::new(), vec!["v1".to_owned()]);
    let groups = registry.groups().into_iter().chain([core]);
    groups
        .flat_map(|(group, versions)| versions.into_iter().map(move |version| (group.clone(), version)))
        .collect()
}

/// Name, rules, and the group that has the role in the whole cluster (or nobody).
fn roles(registry: &Registry) -> Vec<(&'static str, Value, &'static str)> {
    const READ: &[&str] = &["get", "list", "watch"];
    const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
    let everything = json!([
        { "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] },
        { "nonResourceURLs": ["*"], "verbs": ["*"] },
    ]);
    let paths = |paths: &[&str]| json!([{ "nonResourceURLs": paths, "verbs": ["get"] }]);
    let create = |group: &str, resources: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": ["create"] });
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let reviews = json!([
        create(
            "authorization.k8s.io",
            &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
        ),
        create("authentication.k8s.io", &["selfsubjectreviews"]),
    ]);
    let delegated = json!([
        create("authentication.k8s.io", &["tokenreviews"]),
        create("authorization.k8s.io", &["subjectaccessreviews"]),
    ]);
    // What is in namespaces, by group; roles are for administrators, secrets not for viewers.
    let namespaced = |verbs: &[&[&str]], with_secrets: bool, with_roles: bool| -> Vec<Value> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in registry.all().iter().filter(|one| one.namespaced && one.stored) {
            let wanted = match resource.storage.as_str() {
                "secrets" => with_secrets,
                storage if storage.ends_with(".rbac.authorization.k8s.io") => with_roles,
                _ => true,
            };
            if wanted {
                let resources = groups.entry(resource.group.clone()).or_default();
                let with_sub = resource
                    .subresources
                    .iter()
                    .map(|sub| format!("{}/{sub}", resource.plural));
                resources.extend([resource.plural.clone()].into_iter().chain(with_sub));
            }
        }
        let verbs = verbs.concat();
        let rule =
            |(group, resources)| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
        groups.into_iter().map(rule).collect()
    };
    vec![
        ("cluster-admin", everything, "system:masters"),
        ("system:discovery", paths(&discovery), "system:authenticated"),
        ("system:basic-user", reviews, "system:authenticated"),
        ("system:auth-delegator", delegated, ""),
        (
            "system:service-account-issuer-discovery",
            paths(&["/.well-known/openid-configuration", "/openid/v1/jwks"]),
            "system:serviceaccounts",
        ),
        ("view", namespaced(&[READ], false, false).into(), ""),
        ("edit", namespaced(&[READ, WRITE], true, false).into(), ""),
        ("admin", namespaced(&[READ, WRITE], true, true).into(), ""),
    ]
}
