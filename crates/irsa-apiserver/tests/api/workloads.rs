//! Workloads end to end: rollouts, drains, and the pods of the procedure.

use crate::support::{Cluster, WEB, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_rolls_out_restarts_and_goes_back() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    assert!(
        cluster
            .ok("rollout status deploy/web --timeout=30s")
            .await
            .contains("successfully rolled out")
    );
    cluster.ok("set image deploy/web app=nginx:2").await;
    cluster.ok("rollout status deploy/web --timeout=30s").await;
    cluster.ok("rollout restart deploy/web").await;
    cluster.ok("rollout status deploy/web --timeout=30s").await;
    let history = cluster.ok("rollout history deploy/web").await;
    assert_eq!(
        history.lines().filter(|line| line.contains("<none>")).count(),
        3,
        "{history}"
    );
    cluster.ok("rollout undo deploy/web --to-revision=1").await;
    cluster.ok("rollout status deploy/web --timeout=30s").await;
    assert_eq!(
        cluster
            .ok("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}")
            .await,
        "nginx:1.25"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_daemon_set_come_back_when_they_are_deleted() {
    let cluster = Cluster::start().await;
    cluster
        .apply(
            r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: aws-node, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: aws-node}}
  template:
    metadata: {labels: {k8s-app: aws-node}}
    spec: {containers: [{name: aws-node, image: "amazon-k8s-cni:v1"}]}
"#,
        )
        .await;
    cluster
        .ok("rollout status ds/aws-node -n kube-system --timeout=30s")
        .await;
    let before = cluster
        .ok("get Pods -n kube-system -l k8s-app=aws-node -o name")
        .await;
    cluster.ok("delete Pods -n kube-system -l k8s-app=aws-node").await;
    eventually("a new pod runs", async || {
        let table = cluster.ok("get Pods -n kube-system -l k8s-app=aws-node").await;
        let name = before.trim().trim_start_matches("pod/");
        table.lines().count() == 2 && table.contains("Running") && !table.contains(name)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_respects_budgets_and_says_so() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    cluster.ok("rollout status deploy/web --timeout=30s").await;
    cluster
        .ok("create pdb b --selector=app=web --min-available=2")
        .await;
    let node = "ip-192-168-79-166.us-west-2.compute.internal";
    let refused = cluster
        .fails(&format!("drain {node} --ignore-daemonsets --force --timeout=2s"))
        .await;
    assert!(
        refused.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{refused}"
    );
    assert!(cluster.ok("get nodes").await.contains("SchedulingDisabled"));
    cluster.ok("delete pdb b").await;
    cluster
        .ok(&format!("drain {node} --ignore-daemonsets --force --timeout=30s"))
        .await;
    cluster.ok(&format!("uncordon {node}")).await;
    cluster.ok("rollout status deploy/web --timeout=30s").await;
}
