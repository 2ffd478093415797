//! What the server holds against under constant admissions: no admission is lost or answered wrongly.

use std::sync::Arc;
use std::time::Duration;

use irsa_net::files::Files;
use irsa_webhook::{Certificates, Config, Server};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{
    Caller, Cluster, Load, Pass, ROLE, ROLE_KEY, eventually, metric, pod, review, tls_client,
};

/// A ready server, callers with connections of their own, and a cluster with the service account that they use.
async fn loaded(change: impl FnOnce(&mut Config)) -> (Cluster, Server, Vec<Caller>) {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let (mut config, pki) = cluster.config();
    change(&mut config);
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let callers = (0..4).map(|_| Caller::new(server.address(), &pki.ca)).collect();
    (cluster, server, callers)
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_of_the_certificate_files() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let dir = tempfile::tempdir().unwrap();
    let (mut config, pki) = cluster.config();
    let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    std::fs::write(&cert, &pki.chain).unwrap();
    std::fs::write(&key, &pki.key).unwrap();
    config.certificates = Certificates::Files(Files {
        cert: cert.clone(),
        key: key.clone(),
        poll: Duration::from_millis(10),
    });
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    // A new connection for every few admissions, so that handshakes meet the rotation.
    let load = Load::start(
        (0..4).map(|_| Caller::new(server.address(), &pki.ca)).collect(),
        "default",
        "app",
    );
    for _ in 0..10 {
        let before = server.serving().validity().unwrap().serial;
        let (chain, new_key) = pki.issue();
        std::fs::write(&cert, chain).unwrap();
        // Between the two writes the pair does not fit: the last good one stays.
        let fresh = Caller::new(server.address(), &pki.ca);
        assert_eq!(fresh.role_of("default", "app").await, Ok(Some(ROLE.to_owned())));
        std::fs::write(&key, new_key).unwrap();
        eventually("the new certificate is served", async || {
            server.serving().validity().unwrap().serial != before
        })
        .await;
        let fresh = Caller::new(server.address(), &pki.ca);
        assert_eq!(fresh.role_of("default", "app").await, Ok(Some(ROLE.to_owned())));
    }
    load.more(50).await;
    load.all_right().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_the_api_server() {
    let (cluster, server, callers) = loaded(|_| {}).await;
    let load = Load::start(callers.clone(), "default", "app");
    for round in 0..3 {
        cluster.gate.set(Pass::Shut);
        load.more(100).await;
        assert!(
            server.readiness().is_ready(),
            "what is known stays in use: {}",
            server.readiness().page().1
        );
        let name = format!("meanwhile-{round}");
        cluster
            .service_account("default", &name, &[(ROLE_KEY, ROLE)])
            .await;
        cluster.gate.set(Pass::Open);
        eventually("the watch catches up", async || {
            callers[0].role_of("default", &name).await == Ok(Some(ROLE.to_owned()))
        })
        .await;
    }
    load.all_right().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_watch_lists_again_and_loses_nothing() {
    let (cluster, server, callers) = loaded(|config| config.lookup.wait = Duration::ZERO).await;
    cluster.service_account("default", "changed", &[]).await;
    eventually("the watch brings it", async || server.directory().counts().1 > 0).await;
    let load = Load::start(callers.clone(), "default", "app");
    cluster.gate.set(Pass::Shut);
    // More changes than the API server's history holds, written past HTTP for speed.
    let api: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "default");
    let store = cluster.api.store();
    let object = serde_json::Value::clone(&store.get("serviceaccounts", "default", "changed").unwrap());
    for _ in 0..20_100 {
        store.update("serviceaccounts", object.clone(), None).unwrap();
    }
    let change = json!({"metadata": {"annotations": {ROLE_KEY: ROLE}}});
    api.patch("changed", &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
    cluster
        .service_account("default", "created", &[(ROLE_KEY, ROLE)])
        .await;
    cluster.gate.set(Pass::Open);
    for name in ["changed", "created"] {
        eventually("the list brings what was missed", async || {
            callers[0].role_of("default", name).await == Ok(Some(ROLE.to_owned()))
        })
        .await;
    }
    load.all_right().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_server() {
    let (cluster, server, callers) = loaded(|config| config.lookup.wait = Duration::from_millis(200)).await;
    cluster.gate.set(Pass::Slow(Duration::from_secs(2)));
    let load = Load::start(callers.clone(), "default", "app");
    // Unknown service accounts wait for the API; nobody waits for them.
    let unknown = (0..20).map(|index| {
        let caller = callers[0].clone();
        async move {
            caller
                .review(review("default", &pod(&format!("unknown-{index}"))))
                .await
        }
    });
    for response in futures::future::join_all(unknown).await {
        assert_eq!(response.unwrap()["allowed"], true);
    }
    load.more(200).await;
    load.all_right().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_and_slow_clients() {
    let (_cluster, server, callers) = loaded(|config| {
        config.limits.connections = 64;
        config.limits.handshake = Duration::from_millis(500);
        config.limits.first_request = Duration::from_millis(500);
    })
    .await;
    // Connected before the flood, as an API server is.
    for caller in &callers {
        assert_eq!(caller.role_of("default", "app").await, Ok(Some(ROLE.to_owned())));
    }
    let load = Load::start(callers, "default", "app");
    let address = server.address();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Slow-loris clients: a handshake, then one byte of a header at a time.
    let mut lorises = tokio::task::JoinSet::new();
    for _ in 0..50 {
        lorises.spawn(async move {
            let Ok(mut stream) = TcpStream::connect(address).await else {
                return;
            };
            // A ClientHello that never ends: the type and version of a TLS record, then single bytes.
            for byte in [22, 3, 1, 2, 0].into_iter().cycle().take(1000) {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    load.more(400).await;
    eventually("silent connections are ended", async || {
        let page = server.metrics().page(irsa_webhook::metrics::Format::OpenMetrics);
        let refused: f64 = page
            .lines()
            .filter(|line| line.starts_with("irsa_webhook_connections_refused_total"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        refused >= 200.0
    })
    .await;
    eventually("slow clients are ended too", async || {
        metric(&server, "irsa_webhook_connections ") <= 10.0
    })
    .await;
    load.all_right().await;
    drop(silent);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_loris_after_the_handshake_is_ended_in_time() {
    let cluster = Cluster::start().await;
    let (mut config, pki) = cluster.config();
    config.limits.first_request = Duration::from_millis(200);
    let server = Server::start(config).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls_client(&pki.ca)));
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let mut stream = connector
        .connect("127.0.0.1".try_into().unwrap(), stream)
        .await
        .unwrap();
    stream.write_all(b"POST /mutate HTTP/1.1\r\nx-a: ").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is ended");
    assert_eq!(
        metric(
            &server,
            "irsa_webhook_connections_refused_total{reason=\"silent\"}"
        ),
        1.0
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_three_mebibytes_among_small_ones() {
    let (_cluster, server, callers) = loaded(|config| config.limits.inflight_bytes = 16 * 1024 * 1024).await;
    let load = Load::start(callers.clone(), "default", "app");
    let mut large = pod("app");
    large["metadata"]["annotations"] = json!({"large": "x".repeat(3 * 1024 * 1024 - 1024)});
    let body = review("default", &large);
    assert!(body.len() >= 3 * 1024 * 1024 - 1024);
    let all = (0..12).map(|index| {
        let (caller, body) = (callers[index % callers.len()].clone(), body.clone());
        async move { caller.review(body).await }
    });
    for response in futures::future::join_all(all).await {
        let response = response.unwrap();
        assert_eq!(response["allowed"], true);
        assert!(response["patch"].is_string());
    }
    load.all_right().await;
    server.shutdown().await;
}
