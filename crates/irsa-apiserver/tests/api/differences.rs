//! What a real API server (1.36) was found to answer otherwise than this one once did.

use irsa_apiserver::{Config, NodeConfig};

use crate::support::{Cluster, WEB, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn health_endpoints_list_their_checks_when_asked() {
    let cluster = Cluster::bare().await;
    let said = cluster.ok("get --raw /readyz?verbose").await;
    assert!(
        said.starts_with("[+]ping ok\n") && said.trim_end().ends_with("readyz check passed"),
        "{said}"
    );
    assert_eq!(cluster.ok("get --raw /livez/ping").await.trim(), "ok");
    let (code, _) = cluster.request("GET", "/healthz/nothing", &[], "").await;
    assert_eq!(code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_objects_and_api_services_are_listed() {
    let cluster = Cluster::bare().await;
    let metrics = cluster.ok("get --raw /metrics").await;
    assert!(
        metrics.contains("apiserver_storage_objects{resource=\"namespaces\"} 4\n"),
        "{metrics}"
    );
    let services = cluster.ok("get apiservices").await;
    assert!(services.contains("v1.apps"), "{services}");
    assert!(
        services.lines().any(|line| line.starts_with("v1. ")),
        "{services}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_served_as_a_key_set_only() {
    let cluster = Cluster::bare().await;
    for (accept, expected) in [
        ("application/json", 406),
        ("application/jwk-set+json", 200),
        ("*/*", 200),
    ] {
        let headers = [("accept", accept)];
        let (code, _) = cluster.request("GET", "/openid/v1/jwks", &headers, "").await;
        assert_eq!(code, expected, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_have_service_links_and_templates_no_creation_time() {
    let cluster = Cluster::bare().await;
    cluster.apply(WEB).await;
    let yaml = cluster.ok("get deployment web -o yaml").await;
    assert!(yaml.contains("enableServiceLinks: true"), "{yaml}");
    assert!(!yaml.contains("creationTimestamp: null"), "{yaml}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_cluster_does_not_do_is_refused_in_one_line() {
    let cluster = Cluster::bare().await;
    cluster.ok("run p --image=nginx").await;
    let debug = cluster.fails("debug p --image=busybox -c extra").await;
    assert!(
        debug.contains("this cluster does not run ephemeral containers"),
        "{debug}"
    );
    let dotted = cluster.fails("create namespace a.b").await;
    assert!(dotted.contains("must not contain dots"), "{dotted}");
    let unknown = "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x}\n";
    let unknown = cluster.fails_with(&["apply", "-f", "-"], Some(unknown)).await;
    assert!(
        unknown.contains("no matches for kind \"Nothing\" in version \"example.com/v1\""),
        "{unknown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_deprecated_and_pods_carry_their_nodes_region_in_newer_clusters() {
    let config = Config {
        kubernetes: "1.36".into(),
        nodes: vec![NodeConfig::default()],
        ..Config::default()
    };
    let cluster = Cluster::with(config).await;
    let said = cluster.run(&["get", "endpoints"], None).await;
    assert!(
        said.stderr.contains("v1 Endpoints is deprecated in v1.33+"),
        "{said:?}"
    );
    cluster.ok("run p --image=nginx").await;
    eventually("the pod has its node's region", async || {
        let labels = cluster.ok("get pod p -o jsonpath={.metadata.labels}").await;
        labels.contains("\"topology.kubernetes.io/region\":\"us-west-2\"")
            && labels.contains("\"topology.kubernetes.io/zone\":\"us-west-2a\"")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_terminating_before_it_is_gone() {
    let cluster = Cluster::start().await;
    cluster.ok("create namespace going").await;
    let store = cluster.server.store();
    let mut watch = store.watch("namespaces", store.resource_version());
    cluster.ok("delete namespace going").await;
    let mut phases = Vec::new();
    loop {
        use irsa_apiserver::object::ObjectExt as _;
        let event = watch.next().await.unwrap();
        if event.change == irsa_apiserver::store::Change::Deleted {
            break;
        }
        phases.push(event.object.str_at(&["status", "phase"]).to_owned());
    }
    assert!(
        !phases.is_empty() && phases.iter().all(|phase| phase == "Terminating"),
        "{phases:?}"
    );
}
