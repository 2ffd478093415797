//! Fills a cluster with pods and service accounts, for measuring `irsa status`; see docs/performance-fleet.md.
//!
//! `cargo run --release -p irsa-fleet --example fill -- KUBECONFIG [PODS] [SERVICE_ACCOUNTS]`
//!
//! The pods ask for a scheduler that does not exist and have no owner, whose absence would be their end, so that they
//! stay as they are. Meant for a lab: it makes as many
//! objects as it is told to, in namespaces `load-0`, `load-1` and so on.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::{path::PathBuf, time::Instant};

use futures::{StreamExt as _, stream};
use irsa_fleet::cluster::{Cluster, ConnectOptions, Error};
use serde_json::{Value, json};

/// Pods in a namespace.
const NAMESPACE: usize = 1000;
/// Requests under way at a time.
const PARALLEL: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut args = std::env::args().skip(1);
    let kubeconfig = args
        .next()
        .ok_or("usage: fill KUBECONFIG [PODS] [SERVICE_ACCOUNTS]")?;
    let pods: usize = args.next().map_or(Ok(50_000), |text| text.parse())?;
    let accounts: usize = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let cluster = Cluster::connect(&ConnectOptions {
        kubeconfig: Some(PathBuf::from(kubeconfig)),
        ..ConnectOptions::default()
    })
    .await?;
    let started = Instant::now();
    let namespaces = pods.div_ceil(NAMESPACE).max(1);
    let per_namespace = accounts.div_ceil(namespaces).max(1);
    let named = (0..namespaces).map(|n| {
        (
            "/api/v1/namespaces".to_owned(),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("load-{n}")}}),
        )
    });
    create(&cluster, named).await?;
    let annotated = (0..accounts).map(|n| {
        let namespace = format!("load-{}", n / per_namespace);
        let mut metadata = json!({"name": format!("app-{}", n % per_namespace), "namespace": namespace});
        if n % 2 == 0 {
            metadata["annotations"] = json!({
                "eks.amazonaws.com/role-arn": format!("arn:aws:iam::111122223333:role/app-{n}"),
                "eks.amazonaws.com/sts-regional-endpoints": if n % 4 == 0 { "true" } else { "false" },
            });
        }
        (
            format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        )
    });
    create(&cluster, annotated).await?;
    let running = (0..pods).map(|n| {
        let namespace = format!("load-{}", n / NAMESPACE);
        (
            format!("/api/v1/namespaces/{namespace}/pods"),
            pod(n, &namespace, per_namespace),
        )
    });
    create(&cluster, running).await?;
    println!(
        "{pods} pods and {accounts} service accounts in {:.1?}",
        started.elapsed()
    );
    Ok(())
}

async fn create(cluster: &Cluster, objects: impl Iterator<Item = (String, Value)>) -> Result<(), Error> {
    let mut under_way = stream::iter(objects)
        .map(|(path, object)| async move {
            match cluster.post(&path, &object).await {
                // Run again after an interruption.
                Err(error) if error.is_conflict() => Ok(()),
                other => other.map(drop),
            }
        })
        .buffer_unordered(PARALLEL);
    while let Some(done) = under_way.next().await {
        done?;
    }
    Ok(())
}

/// A pod as they are: several variables, probes, resources, a sidecar.
fn pod(n: usize, namespace: &str, accounts: usize) -> Value {
    let variables: Vec<Value> = (0..12)
        .map(|v| json!({"name": format!("SETTING_{v}"), "value": format!("value-{v}-of-the-application")}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name,
            "image": format!("111122223333.dkr.ecr.us-west-2.amazonaws.com/team/{name}:1.{}.0", n % 40),
            "env": variables,
            "ports": [{"containerPort": 8080, "name": "http"}],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 10},
            "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "initialDelaySeconds": 20},
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true},
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("app-{n}"),
            "namespace": namespace,
            "labels": {"app": format!("app-{}", n % accounts), "team": "payments", "pod-template-hash": "5997c85695"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
        },
        "spec": {
            "schedulerName": "none",
            "serviceAccountName": format!("app-{}", n % accounts),
            "containers": [container("main"), container("proxy")],
        },
    })
}
