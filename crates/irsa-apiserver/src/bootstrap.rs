//! The objects that every cluster has.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;

use crate::api::{Api, Caller, WriteOptions};
use crate::status::Result;

/// Stores them. Service accounts, nodes and the CA's ConfigMap come from their controllers.
pub(crate) async fn populate(api: &Arc<Api>, address: SocketAddr) -> Result<()> {
    let me = Caller {
        manager: "kube-apiserver".into(),
        ..Caller::admin()
    };
    let options = WriteOptions::default();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        api.create(
            &me,
            "namespaces",
            "",
            json!({ "metadata": { "name": name } }),
            &options,
        )
        .await?;
    }
    for (name, value) in [
        ("system-cluster-critical", 2_000_000_000_u32),
        ("system-node-critical", 2_000_001_000),
    ] {
        let class = json!({
            "metadata": { "name": name }, "value": value,
            "description": "Used for system critical pods that must not be moved from their current node.",
        });
        api.create(&me, "priorityclasses.scheduling.k8s.io", "", class, &options)
            .await?;
    }
    let role = json!({
        "metadata": { "name": "cluster-admin" },
        "rules": [
            { "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] },
            { "nonResourceURLs": ["*"], "verbs": ["*"] },
        ],
    });
    api.create(&me, "clusterroles.rbac.authorization.k8s.io", "", role, &options)
        .await?;
    let binding = json!({
        "metadata": { "name": "cluster-admin" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:masters" }],
    });
    api.create(
        &me,
        "clusterrolebindings.rbac.authorization.k8s.io",
        "",
        binding,
        &options,
    )
    .await?;
    let service = json!({
        "metadata": { "name": "kubernetes", "labels": { "component": "apiserver", "provider": "kubernetes" } },
        "spec": {
            "clusterIP": api.kubernetes_address(),
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port() }],
        },
    });
    api.create(&me, "services", "default", service, &options).await?;
    let endpoints = json!({
        "metadata": { "name": "kubernetes", "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{
            "addresses": [{ "ip": address.ip().to_string() }],
            "ports": [{ "name": "https", "port": address.port(), "protocol": "TCP" }],
        }],
    });
    api.create(&me, "endpoints", "default", endpoints, &options)
        .await?;
    let slice = json!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [address.ip().to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": address.port(), "protocol": "TCP" }],
    });
    api.create(&me, "endpointslices.discovery.k8s.io", "default", slice, &options)
        .await?;
    Ok(())
}
