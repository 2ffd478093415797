//! Deleting: by name and label, finalizers, preconditions, dependents, namespaces, eviction.

use crate::support::{Cluster, WEB, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_by_name_by_label_and_all_at_once() {
    let cluster = Cluster::bare().await;
    for name in ["a", "b", "c", "d"] {
        cluster.ok(&format!("create secret generic {name}")).await;
    }
    cluster.ok("label secret a b x=y").await;
    assert_eq!(
        cluster.ok("delete secret -l x=y -o name").await.lines().count(),
        2
    );
    let said = cluster.run(&["delete", "secret", "c", "nope"], None).await;
    assert!(
        said.stdout.contains("\"c\" deleted") && said.stderr.contains("secrets \"nope\" not found"),
        "{said:?}"
    );
    let (code, gone) = cluster
        .request("DELETE", "/api/v1/namespaces/default/secrets", &[], "")
        .await;
    assert_eq!((code, gone["items"].as_array().unwrap().len()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_holds_an_object_until_it_is_removed() {
    let cluster = Cluster::bare().await;
    cluster.ok("create cm held").await;
    cluster
        .ok_with(
            &[
                "patch",
                "cm",
                "held",
                "-p",
                r#"{"metadata":{"finalizers":["a.b/c"]}}"#,
            ],
            None,
        )
        .await;
    cluster.ok("delete cm held --wait=false").await;
    assert_ne!(
        cluster
            .ok("get cm held -o jsonpath={.metadata.deletionTimestamp}")
            .await,
        ""
    );
    let added = r#"{"metadata":{"finalizers":["a.b/c","d.e/f"]}}"#;
    let refused = cluster
        .fails_with(&["patch", "cm", "held", "--type=merge", "-p", added], None)
        .await;
    assert!(
        refused.contains("no new finalizers can be added if the object is being deleted"),
        "{refused}"
    );
    cluster
        .ok_with(
            &[
                "patch",
                "cm",
                "held",
                "--type=merge",
                "-p",
                r#"{"metadata":{"finalizers":null}}"#,
            ],
            None,
        )
        .await;
    assert!(cluster.fails("get cm held").await.contains("not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_must_hold() {
    let cluster = Cluster::bare().await;
    cluster.ok("create cm cm").await;
    let body = r#"{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"x"}}"#;
    let headers = [("content-type", "application/json")];
    let (code, refused) = cluster
        .request(
            "DELETE",
            "/api/v1/namespaces/default/configmaps/cm",
            &headers,
            body,
        )
        .await;
    assert_eq!(code, 409);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("UID in precondition: x"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_a_node_goes_gracefully_or_at_once() {
    let cluster = Cluster::bare().await;
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},
        "spec":{"nodeName":"n","containers":[{"name":"a","image":"x"}]}}"#;
    cluster.ok_with(&["create", "-f", "-"], Some(pod)).await;
    cluster.ok("delete pod p --wait=false").await;
    assert_eq!(
        cluster
            .ok("get pod p -o jsonpath={.metadata.deletionGracePeriodSeconds}")
            .await,
        "30"
    );
    assert!(cluster.ok("get pod p").await.contains("Terminating"));
    cluster.ok("delete pod p --grace-period=5 --wait=false").await;
    assert_eq!(
        cluster
            .ok("get pod p -o jsonpath={.metadata.deletionGracePeriodSeconds}")
            .await,
        "5"
    );
    cluster.ok("delete pod p --grace-period=0 --force").await;
    assert!(cluster.fails("get pod p").await.contains("not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_takes_its_contents_along() {
    let cluster = Cluster::bare().await;
    cluster.ok("create ns doomed").await;
    cluster.ok("create cm cm -n doomed").await;
    cluster
        .ok_with(
            &[
                "patch",
                "cm",
                "cm",
                "-n",
                "doomed",
                "-p",
                r#"{"metadata":{"finalizers":["a.b/c"]}}"#,
            ],
            None,
        )
        .await;
    cluster.ok("delete ns doomed --wait=false").await;
    assert!(cluster.ok("get ns doomed").await.contains("Terminating"));
    let refused = cluster.fails("create cm late -n doomed").await;
    assert!(
        refused.contains("unable to create new content in namespace doomed because it is being terminated"),
        "{refused}"
    );
    let free = r#"{"metadata":{"finalizers":null}}"#;
    cluster
        .ok_with(
            &["patch", "cm", "cm", "-n", "doomed", "--type=merge", "-p", free],
            None,
        )
        .await;
    cluster.ok("wait --for=delete ns/doomed --timeout=20s").await;
    assert!(
        cluster
            .fails("delete ns kube-system")
            .await
            .contains("this namespace may not be deleted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_go_first_afterwards_or_stay() {
    let cluster = Cluster::start().await;
    for (policy, left) in [("foreground", 0), ("background", 0), ("orphan", 1)] {
        cluster.apply(WEB).await;
        cluster.ok("rollout status deploy/web --timeout=30s").await;
        cluster
            .ok(&format!("delete deploy web --cascade={policy} --timeout=30s"))
            .await;
        eventually(policy, async || {
            cluster.ok("get rs -l app=web -o name").await.lines().count() == left
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_that_breaks_a_budget_is_refused() {
    let cluster = Cluster::bare().await;
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"app":"x"}},
        "spec":{"nodeName":"n","containers":[{"name":"a","image":"x"}]}}"#;
    cluster.ok_with(&["create", "-f", "-"], Some(pod)).await;
    let running = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    cluster
        .ok_with(
            &["patch", "pod", "p", "--subresource=status", "-p", running],
            None,
        )
        .await;
    cluster
        .ok("create pdb b --selector=app=x --min-available=1")
        .await;
    let evict = async || {
        let body =
            r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p","namespace":"default"}}"#;
        let headers = [("content-type", "application/json")];
        cluster
            .request(
                "POST",
                "/api/v1/namespaces/default/pods/p/eviction",
                &headers,
                body,
            )
            .await
    };
    let (code, refused) = evict().await;
    assert_eq!(code, 429);
    assert_eq!(
        refused["message"],
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    assert_eq!(refused["details"]["causes"][0]["reason"], "DisruptionBudget");
    let allowed =
        r#"{"status":{"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}}"#;
    cluster
        .ok_with(
            &[
                "patch",
                "pdb",
                "b",
                "--subresource=status",
                "--type=merge",
                "-p",
                allowed,
            ],
            None,
        )
        .await;
    assert_eq!(evict().await.0, 201);
    assert_eq!(
        cluster
            .ok("get pdb b -o jsonpath={.status.disruptionsAllowed}")
            .await,
        "0"
    );
    assert!(cluster.ok("get pod p").await.contains("Terminating"));
}
