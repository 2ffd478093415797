//! How the time of a rollout grows with its pods. A measurement without a verdict: run it on a free machine with
//! `cargo test --release -p irsa-apiserver --test cluster -- --ignored --nocapture rollout_time`.

use std::process::Stdio;
use std::time::Instant;

use irsa_apiserver::{Config, NodeConfig};

use crate::support::Cluster;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec: {containers: [{name: a, image: "a:1"}]}
"#;

/// CPU time of this process, which the cluster shares, in seconds. Unlike wall time it does not depend on the load.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // `utime` and `stime`, in hundredths of a second; see proc_pid_stat(5).
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

async fn rolled_out(cluster: &Cluster) {
    // Several times, since kubectl gives up when a busy machine keeps it waiting for ten seconds.
    for _ in 0..10 {
        let mut kubectl = cluster.command(&["rollout", "status", "deployment/many", "--timeout=20m"]);
        if kubectl.stdout(Stdio::null()).status().await.unwrap().success() {
            return;
        }
    }
    panic!("the Deployment was not rolled out");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes"]
async fn rollout_time_by_number_of_pods() {
    for replicas in [625_u32, 1250, 2500, 5000] {
        let node = |index| NodeConfig {
            name: format!("node-{index}"),
            address: format!("192.168.200.{index}"),
            ..NodeConfig::default()
        };
        let cluster = Cluster::with(Config {
            nodes: (1..=20).map(node).collect(),
            ..Config::default()
        })
        .await;
        let (began, cpu) = (Instant::now(), cpu_seconds());
        cluster
            .apply(&DEPLOYMENT.replace("REPLICAS", &replicas.to_string()))
            .await;
        rolled_out(&cluster).await;
        let made = began.elapsed();
        let began = Instant::now();
        cluster.ok("set image deployment/many a=a:2").await;
        rolled_out(&cluster).await;
        let rolled = began.elapsed();
        let cpu = cpu_seconds() - cpu;
        println!(
            "{replicas:5} pods: created in {made:.1?}, rolled in {rolled:.1?}, {:.2} ms of CPU for each pod",
            cpu * 1e3 / f64::from(replicas),
        );
    }
}
