//! Reading: tables, output formats, selectors, paging, describe, discovery.

use crate::support::{Cluster, WEB};

fn header(table: &str) -> Vec<&str> {
    table
        .lines()
        .next()
        .unwrap_or_default()
        .split("   ")
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_kubectls_columns() {
    let cluster = Cluster::bare().await;
    cluster.apply(WEB).await;
    for line in [
        "create sa mysa",
        "create configmap cm --from-literal=a=b",
        "create secret generic sec --from-literal=a=b",
        "run p --image=x",
        "create job j --image=x",
        "create pdb b --selector=app=web --min-available=1",
    ] {
        cluster.ok(line).await;
    }
    for (resource, columns) in [
        (
            "deploy",
            "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
        ),
        ("sa", "NAME AGE"),
        ("cm", "NAME DATA AGE"),
        ("secret", "NAME TYPE DATA AGE"),
        (
            "job",
            "NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR",
        ),
        ("svc", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"),
        ("ns", "NAME STATUS AGE"),
    ] {
        let table = cluster.ok(&format!("get {resource} -o wide")).await;
        assert_eq!(header(&table).join(" "), columns, "{table}");
    }
    let table = cluster.ok("get pods -o wide").await;
    assert_eq!(
        header(&table),
        [
            "NAME",
            "READY",
            "STATUS",
            "RESTARTS",
            "AGE",
            "IP",
            "NODE",
            "NOMINATED NODE",
            "READINESS GATES"
        ],
    );
    let table = cluster.ok("get pdb").await;
    assert_eq!(
        header(&table),
        [
            "NAME",
            "MIN AVAILABLE",
            "MAX UNAVAILABLE",
            "ALLOWED DISRUPTIONS",
            "AGE"
        ]
    );
    assert!(cluster.ok("get all").await.contains("service/kubernetes"));
    assert!(
        cluster
            .ok("get sa,cm -A --no-headers")
            .await
            .contains("configmap/cm")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_output_format_works() {
    let cluster = Cluster::bare().await;
    cluster.apply(WEB).await;
    assert_eq!(
        cluster.ok("get deploy web -o name").await,
        "deployment.apps/web\n"
    );
    assert_eq!(
        cluster.ok("get deploy web -o jsonpath={.spec.replicas}").await,
        "2"
    );
    let yaml = cluster.ok("get deploy web -o yaml").await;
    assert!(
        yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n")
            && yaml.contains("progressDeadlineSeconds: 600")
    );
    let list: serde_json::Value = serde_json::from_str(&cluster.ok("get deploy -o json").await).unwrap();
    assert_eq!(list["items"][0]["metadata"]["generation"], 1);
    let columns = cluster
        .ok("get ns --sort-by=.metadata.name -o custom-columns=N:.metadata.name --no-headers")
        .await;
    assert_eq!(
        columns.lines().collect::<Vec<_>>(),
        ["default", "kube-node-lease", "kube-public", "kube-system"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_choose_and_wrong_ones_are_refused() {
    let cluster = Cluster::bare().await;
    for name in ["a", "b", "c"] {
        cluster.ok(&format!("create cm {name}")).await;
    }
    cluster.ok("label cm a b tier=x").await;
    cluster.ok("label cm b env=y").await;
    assert_eq!(cluster.ok("get cm -l tier=x,!env -o name").await, "configmap/a\n");
    assert_eq!(
        cluster
            .ok_with(&["get", "cm", "-l", "env in (y,z)", "-o", "name"], None)
            .await,
        "configmap/b\n"
    );
    assert_eq!(
        cluster
            .ok("get cm -A --field-selector metadata.name=c -o name")
            .await,
        "configmap/c\n"
    );
    let refused = cluster.fails("get cm --field-selector spec.x=1").await;
    assert!(refused.contains("field label not supported: spec.x"), "{refused}");
    let refused = cluster.fails_with(&["get", "cm", "-l", "a in (b"], None).await;
    assert!(refused.contains("unable to parse requirement"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages_of_one_moment() {
    let cluster = Cluster::bare().await;
    let create = |name: String| {
        let object = serde_json::json!({ "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "namespace": "default" } });
        cluster.server.store().create("secrets", object).unwrap();
    };
    for index in 0..7 {
        create(format!("m{index}"));
    }
    assert_eq!(
        cluster
            .ok("get secret --chunk-size=2 -o name")
            .await
            .lines()
            .count(),
        7
    );

    let path = "/api/v1/namespaces/default/secrets?limit=3";
    let (_, first) = cluster.request("GET", path, &[], "").await;
    // What is written between two pages is in neither.
    create("m5a".into());
    cluster
        .server
        .store()
        .delete("secrets", "default", "m6", None)
        .unwrap();
    let mut names: Vec<String> = Vec::new();
    let mut page = first.clone();
    loop {
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["metadata"]["name"].as_str().unwrap().into()),
        );
        let Some(token) = page["metadata"]["continue"].as_str() else {
            break;
        };
        let (code, next) = cluster
            .request("GET", &format!("{path}&continue={token}"), &[], "")
            .await;
        assert_eq!(code, 200);
        assert_eq!(
            next["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        page = next;
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);

    use base64::Engine as _;
    let old = serde_json::json!({ "v": 1, "rv": 1, "ns": "default", "name": "m0", "seen": 1 }).to_string();
    let old = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(old);
    let (code, expired) = cluster
        .request("GET", &format!("{path}&continue={old}"), &[], "")
        .await;
    assert_eq!((code, expired["reason"].as_str()), (410, Some("Expired")));
    let (code, _) = cluster
        .request("GET", &format!("{path}&continue=%21"), &[], "")
        .await;
    assert_eq!(code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_finds_everything_it_asks_for() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    cluster.ok("rollout status deploy/web --timeout=30s").await;
    let pod = cluster.ok("describe pod -l app=web").await;
    assert!(
        pod.contains("Node:             ip-192-168-79-166.us-west-2.compute.internal/192.168.79.166"),
        "{pod}"
    );
    assert!(pod.contains("A:  1") && pod.contains("Scheduled"), "{pod}");
    let deployment = cluster.ok("describe deploy web").await;
    assert!(
        deployment.contains("2 desired | 2 updated | 2 total | 2 available"),
        "{deployment}"
    );
    let node = cluster.ok("describe node").await;
    assert!(
        node.contains("topology.kubernetes.io/region=us-west-2") && node.contains("web-"),
        "{node}"
    );
    for line in [
        "describe rs",
        "describe sa default",
        "describe ns default",
        "describe svc kubernetes",
        "describe cm",
    ] {
        let said = cluster.ok(line).await;
        assert!(said.starts_with("Name:"), "{line}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_documents_are_there() {
    let cluster = Cluster::bare().await;
    let resources = cluster.ok("api-resources").await;
    assert!(
        resources.contains("serviceaccounts") && resources.contains("sa "),
        "{resources}"
    );
    assert!(cluster.ok("api-versions").await.contains("apps/v1\n"));
    assert!(
        cluster
            .ok("version")
            .await
            .contains("Server Version: v1.32.0-eks-1")
    );
    assert!(
        cluster
            .ok("cluster-info")
            .await
            .contains("Kubernetes control plane")
    );
    assert!(
        cluster
            .ok("explain sa.imagePullSecrets")
            .await
            .contains("LocalObjectReference")
    );
    assert_eq!(cluster.ok("auth can-i delete nodes").await, "yes\n");
    assert!(cluster.ok("auth whoami").await.contains("kubernetes-admin"));
    assert!(cluster.ok("--as=jane auth whoami").await.contains("jane"));
    assert_eq!(cluster.ok("get --raw /readyz").await, "ok");
    // Without the aggregated form, as older clients ask.
    let (code, groups) = cluster
        .request("GET", "/apis", &[("accept", "application/json")], "")
        .await;
    assert_eq!((code, groups["kind"].as_str()), (200, Some("APIGroupList")));
}
