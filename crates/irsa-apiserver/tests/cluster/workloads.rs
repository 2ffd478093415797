//! Controllers and the node agent.

use irsa_apiserver::{Config, NodeConfig};

use crate::support::{Cluster, WEB, eventually};

fn nodes(count: usize) -> Config {
    Config {
        nodes: (0..count)
            .map(|index| NodeConfig {
                name: format!("ip-192-168-79-{index}.us-west-2.compute.internal"),
                address: format!("192.168.79.{index}"),
                ..NodeConfig::default()
            })
            .collect(),
        ..Config::default()
    }
}

const DAEMONS: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, labels: {app: agent}}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: a, image: "a:1"}]}
"#;

#[tokio::test]
async fn a_daemon_set_has_a_pod_on_every_node_also_on_new_ones() {
    let cluster = Cluster::with(nodes(3)).await;
    cluster.apply(DAEMONS).await;
    cluster.ok("rollout status daemonset/agent --timeout=30s").await;
    let on = cluster
        .ok("get pods -l app=agent -o jsonpath={.items[*].spec.nodeName}")
        .await;
    assert_eq!(
        on.split_whitespace()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3,
        "{on}"
    );
    cluster
        .apply("apiVersion: v1\nkind: Node\nmetadata: {name: ip-10-0-0-9.eu-west-1.compute.internal}\n")
        .await;
    eventually("the new node has its pod", async || {
        cluster
            .ok("get daemonset agent -o jsonpath={.status.numberReady}")
            .await
            == "4"
    })
    .await;
    let ready = cluster
        .ok("get node ip-10-0-0-9.eu-west-1.compute.internal")
        .await;
    assert!(ready.contains("Ready"), "{ready}");
    cluster
        .ok("delete node ip-10-0-0-9.eu-west-1.compute.internal")
        .await;
    eventually("its pod goes with it", async || {
        cluster.ok("get pods -l app=agent -o name").await.lines().count() == 3
    })
    .await;
}

#[tokio::test]
async fn a_daemon_set_rolls_one_pod_at_a_time_and_goes_back() {
    let cluster = Cluster::with(nodes(3)).await;
    cluster.apply(DAEMONS).await;
    cluster.ok("rollout status daemonset/agent --timeout=30s").await;
    cluster.ok("set image daemonset/agent a=a:2").await;
    cluster.ok("rollout status daemonset/agent --timeout=30s").await;
    let images = cluster
        .ok("get pods -l app=agent -o jsonpath={.items[*].spec.containers[0].image}")
        .await;
    assert_eq!(images, "a:2 a:2 a:2");
    let history = cluster.ok("rollout history daemonset/agent").await;
    assert!(history.contains("1 ") && history.contains("2 "), "{history}");
    cluster.ok("rollout undo daemonset/agent").await;
    cluster.ok("rollout status daemonset/agent --timeout=30s").await;
    let images = cluster
        .ok("get pods -l app=agent -o jsonpath={.items[*].spec.containers[0].image}")
        .await;
    assert_eq!(images, "a:1 a:1 a:1");
}

#[tokio::test]
async fn a_stateful_set_numbers_its_pods_and_respects_its_partition() {
    let cluster = Cluster::start().await;
    cluster
        .apply(
            r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: a, image: "a:1"}]}
"#,
        )
        .await;
    cluster.ok("rollout status statefulset/db --timeout=30s").await;
    assert_eq!(
        cluster.ok("get pods -l app=db -o name").await,
        "pod/db-0\npod/db-1\npod/db-2\n"
    );
    cluster.ok("set image statefulset/db a=a:2").await;
    cluster.ok("rollout status statefulset/db --timeout=30s").await;
    let images = cluster
        .ok("get pods -l app=db -o jsonpath={.items[*].spec.containers[0].image}")
        .await;
    assert_eq!(images, "a:1 a:1 a:2");
    // A pod below the partition comes back as it was.
    cluster.ok("delete pod db-0").await;
    cluster
        .ok("wait --for=jsonpath={.status.readyReplicas}=3 statefulset/db --timeout=30s")
        .await;
    let image = cluster
        .ok("get pod db-0 -o jsonpath={.spec.containers[0].image}")
        .await;
    assert_eq!(image, "a:1");
    cluster.ok("scale statefulset/db --replicas=1").await;
    eventually("the highest go first, and all but one go", async || {
        cluster.ok("get pods -l app=db -o name").await == "pod/db-0\n"
    })
    .await;
}

#[tokio::test]
async fn a_job_completes_and_another_reaches_its_limit() {
    let cluster = Cluster::start().await;
    cluster
        .apply(
            r#"
apiVersion: batch/v1
kind: Job
metadata: {name: good}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template: {spec: {restartPolicy: Never, containers: [{name: a, image: i, command: ["true"]}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 1
  template: {spec: {restartPolicy: Never, containers: [{name: a, image: i, command: [sh, -c, exit 3]}]}}
"#,
        )
        .await;
    cluster
        .ok("wait --for=condition=Complete job/good --timeout=30s")
        .await;
    assert_eq!(
        cluster
            .ok("get job good -o jsonpath={.status.completedIndexes}")
            .await,
        "0-2"
    );
    cluster
        .ok("wait --for=condition=Failed job/bad --timeout=30s")
        .await;
    let why = cluster
        .ok("get job bad -o jsonpath={.status.conditions[?(@.type==\"Failed\")].reason}/{.status.failed}")
        .await;
    assert_eq!(why, "BackoffLimitExceeded/2");
    let code = cluster
        .ok("get pods -l job-name=bad -o jsonpath={.items[0].status.containerStatuses[0].state.terminated.exitCode}")
        .await;
    assert_eq!(code, "3");
}

#[tokio::test]
async fn dependents_go_with_their_owner_or_stay_as_asked() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
    cluster.ok("delete deployment web --cascade=orphan").await;
    let sets = cluster.ok("get replicasets,pods -l app=web -o name").await;
    assert_eq!(sets.lines().count(), 3, "{sets}");
    // A new one of the same template adopts what is there.
    let pods = cluster.ok("get pods -l app=web -o name").await;
    cluster.apply(WEB).await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
    assert_eq!(cluster.ok("get pods -l app=web -o name").await, pods);
    cluster
        .ok("delete deployment web --cascade=foreground --timeout=30s")
        .await;
    assert_eq!(cluster.ok("get replicasets,pods -l app=web -o name").await, "");
    cluster.apply(WEB).await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
    cluster.ok("delete deployment web").await;
    eventually("pods go in the background", async || {
        cluster
            .ok("get replicasets,pods -l app=web -o name")
            .await
            .is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_deployment_pauses_resumes_and_recreates() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
    cluster.ok("rollout pause deployment/web").await;
    cluster.ok("set image deployment/web app=nginx:2").await;
    eventually("the change was seen", async || {
        let status = cluster
            .ok("get deployment web -o jsonpath={.metadata.generation}/{.status.observedGeneration}")
            .await;
        let (generation, observed) = status.split_once('/').unwrap();
        generation == observed
    })
    .await;
    let image = "get pods -l app=web -o jsonpath={.items[*].spec.containers[0].image}";
    assert_eq!(cluster.ok(image).await, "nginx:1.25 nginx:1.25");
    cluster.ok("rollout resume deployment/web").await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
    eventually("only new pods are left", async || {
        cluster.ok(image).await == "nginx:2 nginx:2"
    })
    .await;
    cluster
        .ok_with(
            &["patch", "deployment", "web", "-p", r#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"},"template":{"spec":{"containers":[{"name":"app","image":"nginx:3"}]}}}}"#],
            None,
        )
        .await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
    eventually("only the newest pods are left", async || {
        cluster.ok(image).await == "nginx:3 nginx:3"
    })
    .await;
}

#[tokio::test]
async fn a_pod_waits_for_what_its_volumes_name_and_runs_its_init_containers_first() {
    let cluster = Cluster::start().await;
    cluster
        .apply(
            r#"
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  initContainers:
  - {name: sidecar, image: s, restartPolicy: Always}
  - {name: first, image: f}
  containers: [{name: a, image: a}]
  volumes: [{name: config, configMap: {name: settings}}]
"#,
        )
        .await;
    eventually("the missing map is an event", async || {
        cluster
            .ok("get events --field-selector involvedObject.name=p,reason=FailedMount")
            .await
            .contains("MountVolume.SetUp failed for volume \"config\" : configmap \"settings\" not found")
    })
    .await;
    assert_eq!(
        cluster.ok("get pod p -o jsonpath={.status.phase}").await,
        "Pending"
    );
    cluster.ok("create configmap settings").await;
    cluster.ok("wait --for=condition=Ready pod/p --timeout=30s").await;
    let shown = cluster.ok("get pod p").await;
    assert!(shown.contains("2/2") && shown.contains("Running"), "{shown}");
    let first = cluster
        .ok("get pod p -o jsonpath={.status.initContainerStatuses[1].state.terminated.reason}")
        .await;
    assert_eq!(first, "Completed");
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_says_why_and_runs_when_a_node_fits() {
    let cluster = Cluster::start().await;
    cluster
        .ok_with(
            &[
                "run",
                "p",
                "--image=i",
                "--overrides",
                r#"{"spec":{"nodeSelector":{"disk":"ssd"}}}"#,
            ],
            None,
        )
        .await;
    eventually("the refusal is an event", async || {
        cluster
            .ok("describe pod p")
            .await
            .contains("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
    })
    .await;
    cluster.ok("label node --all disk=ssd").await;
    cluster.ok("wait --for=condition=Ready pod/p --timeout=30s").await;
}

#[tokio::test]
async fn a_container_is_started_again_when_its_image_changes() {
    let cluster = Cluster::start().await;
    cluster.ok("run p --image=i:1").await;
    cluster.ok("wait --for=condition=Ready pod/p --timeout=30s").await;
    cluster.ok("set image pod/p p=i:2").await;
    eventually("the new image runs", async || {
        cluster
            .ok("get pod p -o jsonpath={.status.containerStatuses[0].image}/{.status.containerStatuses[0].restartCount}/{.status.containerStatuses[0].ready}")
            .await
            == "i:2/1/true"
    })
    .await;
}

#[tokio::test]
async fn a_namespace_gets_its_account_and_its_authority_back() {
    let cluster = Cluster::start().await;
    cluster.ok("create namespace n").await;
    cluster.ok("run -n n p --image=i").await;
    cluster
        .ok("delete -n n serviceaccount/default configmap/kube-root-ca.crt")
        .await;
    eventually("both are there again", async || {
        let said = cluster
            .run(
                &[
                    "get",
                    "-n",
                    "n",
                    "serviceaccount/default",
                    "configmap/kube-root-ca.crt",
                    "-o",
                    "name",
                ],
                None,
            )
            .await;
        said.code == 0
    })
    .await;
    cluster.ok("delete namespace n --timeout=30s").await;
}

#[tokio::test]
async fn a_cron_job_starts_jobs_and_kubectl_can_start_one_now() {
    let cluster = Cluster::start().await;
    cluster
        .ok_with(
            &[
                "create",
                "cronjob",
                "tick",
                "--image=i",
                "--schedule=0 0 1 1 *",
                "--",
                "true",
            ],
            None,
        )
        .await;
    cluster.ok("create job now --from=cronjob/tick").await;
    cluster
        .ok("wait --for=condition=Complete job/now --timeout=30s")
        .await;
    // Due since long: the last of the missed times is made up for.
    let past = r#"{"status":{"lastScheduleTime":"2020-01-01T00:00:00Z"}}"#;
    cluster
        .ok_with(
            &[
                "patch",
                "cronjob",
                "tick",
                "--subresource=status",
                "--type=merge",
                "-p",
                past,
            ],
            None,
        )
        .await;
    eventually("the missed job has run", async || {
        cluster
            .ok("get events --field-selector involvedObject.name=tick,reason=SuccessfulCreate")
            .await
            .contains("Created job tick-")
    })
    .await;
}

#[tokio::test]
async fn a_deleted_pod_of_a_job_is_a_failure_and_is_replaced() {
    let cluster = Cluster::start().await;
    cluster
        .ok_with(&["create", "job", "long", "--image=i", "--", "sleep", "60"], None)
        .await;
    let name = "get pods -l job-name=long -o name";
    eventually("the pod runs", async || {
        cluster.ok("get job long -o jsonpath={.status.ready}").await == "1"
    })
    .await;
    let first = cluster.ok(name).await;
    cluster.ok(&format!("delete {} --wait", first.trim())).await;
    eventually("another pod runs", async || {
        let pods = cluster.ok(name).await;
        !pods.is_empty() && pods != first
    })
    .await;
    let status = cluster
        .ok("get job long -o jsonpath={.status.failed}/{.status.succeeded}/{.status.active}")
        .await;
    assert_eq!(status, "1//1");
    // Suspension ends the pods, and is no failure.
    cluster
        .ok_with(
            &["patch", "job", "long", "-p", r#"{"spec":{"suspend":true}}"#],
            None,
        )
        .await;
    eventually("the suspension is an event", async || {
        cluster
            .ok("get events --field-selector involvedObject.name=long,reason=Suspended")
            .await
            .contains("Job suspended")
    })
    .await;
    assert_eq!(cluster.ok("get job long -o jsonpath={.status.failed}").await, "1");
}
