//! Watching, and the end of the server.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::Cluster;

/// Frames of a watch on secrets (of which a new cluster has none) that ends by its own timeout.
async fn frames(cluster: &Cluster, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/namespaces/default/secrets?watch=1&timeoutSeconds=1&{query}");
    let (code, body) = cluster.request("GET", &path, &[], "").await;
    assert_eq!(code, 200);
    match body {
        Value::String(lines) => lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        one => vec![one],
    }
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| frame["type"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_each_change_as_it_happens() {
    let cluster = Cluster::bare().await;
    let mut command = cluster.command(&[
        "get",
        "secret",
        "--watch",
        "--output-watch-events",
        "--no-headers",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The watch has begun when a change is seen; until then each new object may be part of its list.
    cluster.ok("create secret generic one").await;
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(20), lines.next_line())
            .await
            .expect("a line")
            .unwrap()
            .unwrap()
    };
    assert!(next().await.starts_with("ADDED"), "the first is added");
    cluster.ok("label secret one a=b").await;
    assert!(next().await.starts_with("MODIFIED"));
    cluster.ok("delete secret one").await;
    assert!(next().await.starts_with("DELETED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_with_what_is_there_or_where_it_is_told() {
    let cluster = Cluster::bare().await;
    cluster.ok("create secret generic a").await;
    let version = cluster.server.store().resource_version();
    cluster.ok("label secret a x=y").await;
    assert_eq!(kinds(&frames(&cluster, "").await), ["ADDED"]);
    assert_eq!(
        kinds(&frames(&cluster, &format!("resourceVersion={version}")).await),
        ["MODIFIED"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_end_with_their_bookmark() {
    let cluster = Cluster::bare().await;
    cluster.ok("create secret generic a").await;
    cluster.ok("create secret generic b").await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let frames = frames(&cluster, query).await;
    assert_eq!(kinds(&frames), ["ADDED", "ADDED", "BOOKMARK"]);
    let bookmark = &frames[2]["object"];
    assert_eq!(
        bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(bookmark["kind"], "Secret");
    assert_ne!(bookmark["metadata"]["resourceVersion"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_a_selection_is_a_deletion_for_its_watcher() {
    let cluster = Cluster::bare().await;
    cluster.ok("create secret generic a").await;
    let version = cluster.server.store().resource_version();
    cluster.ok("label secret a x=y").await;
    cluster.ok("label secret a x-").await;
    let frames = frames(
        &cluster,
        &format!("resourceVersion={version}&labelSelector=x%3Dy"),
    )
    .await;
    assert_eq!(kinds(&frames), ["ADDED", "DELETED"]);
    assert_eq!(frames[1]["object"]["metadata"]["labels"]["x"], "y");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_forgotten_version_is_told_to_begin_again() {
    let cluster = Cluster::bare().await;
    let store = cluster.server.store();
    let version = store.resource_version();
    let object = serde_json::json!({ "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "busy", "namespace": "default" } });
    store.create("secrets", object.clone()).unwrap();
    for _ in 0..20_001 {
        store.update("secrets", object.clone(), None).unwrap();
    }
    let frames = frames(&cluster, &format!("resourceVersion={version}")).await;
    assert_eq!(kinds(&frames), ["ERROR"]);
    assert_eq!(
        (
            frames[0]["object"]["code"].as_u64(),
            frames[0]["object"]["reason"].as_str()
        ),
        (Some(410), Some("Expired"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_server_ends_open_watches_within_a_second() {
    let cluster = Cluster::bare().await;
    let mut command = cluster.command(&["get", "ns", "--watch"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("NAME"));
    let Cluster { server, .. } = cluster;
    let address = server.address();
    let before = Instant::now();
    server.shutdown().await;
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
