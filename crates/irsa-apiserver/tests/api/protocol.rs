//! Forms of answers and versions of HTTP.

use crate::support::Cluster;

const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_watches_come_in_the_form_that_is_accepted() {
    let cluster = Cluster::bare().await;
    let path = "/api/v1/services";
    let (_, list) = cluster.request("GET", path, &[("accept", METADATA)], "").await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0].get("spec").is_none());
    let (_, table) = cluster.request("GET", path, &[("accept", TABLE)], "").await;
    assert_eq!(
        (table["kind"].as_str(), table["rows"][0]["cells"][0].as_str()),
        (Some("Table"), Some("kubernetes"))
    );
    let watch = format!("{path}?watch=1&timeoutSeconds=1");
    let (_, frame) = cluster.request("GET", &watch, &[("accept", TABLE)], "").await;
    assert_eq!(
        frame["object"]["rows"][0]["object"]["kind"],
        "PartialObjectMetadata"
    );
    let (_, frame) = cluster.request("GET", &watch, &[("accept", METADATA)], "").await;
    assert_eq!(frame["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_bodies_are_read_and_status_is_a_part_of_its_own() {
    let cluster = Cluster::bare().await;
    let yaml = "apiVersion: v1\nkind: Node\nmetadata: {name: one}\nspec: {unschedulable: true}\n";
    let headers = [("content-type", "application/yaml")];
    let (code, node) = cluster.request("POST", "/api/v1/nodes", &headers, yaml).await;
    assert_eq!(code, 201, "{node}");
    let merge = [("content-type", "application/merge-patch+json")];
    let both = r#"{"spec":{"unschedulable":false},"status":{"phase":"Running"}}"#;
    let (_, after) = cluster
        .request("PATCH", "/api/v1/nodes/one/status", &merge, both)
        .await;
    assert_eq!(
        (&after["spec"]["unschedulable"], &after["status"]["phase"]),
        (&true.into(), &"Running".into())
    );
    let (_, after) = cluster
        .request("PATCH", "/api/v1/nodes/one", &merge, r#"{"status":null}"#)
        .await;
    assert_eq!(after["status"]["phase"], "Running");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_cluster_says_so() {
    let config = irsa_apiserver::Config {
        kubernetes: "1.22".into(),
        platform: None,
        controllers: false,
        ..irsa_apiserver::Config::default()
    };
    let cluster = Cluster::with(config).await;
    let (_, version) = cluster.request("GET", "/version", &[], "").await;
    assert_eq!(
        (version["minor"].as_str(), version["gitVersion"].as_str()),
        (Some("22"), Some("v1.22.0"))
    );
    let wrong = irsa_apiserver::Config {
        kubernetes: "new".into(),
        ..irsa_apiserver::Config::default()
    };
    let refused = irsa_apiserver::ApiServer::start(wrong).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "\"new\" is not a Kubernetes version such as 1.32"
    );
}
