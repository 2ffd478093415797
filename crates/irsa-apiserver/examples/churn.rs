//! Memory of the cluster while pods come and go: `cargo run --release -p irsa-apiserver --example churn -- 10000`.
//!
//! Prints the resident memory of this process (Linux) after each tenth of the cycles. A cycle creates a pod, waits until
//! it runs, and deletes it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use irsa_apiserver::api::{Caller, DeleteOptions, WriteOptions};
use irsa_apiserver::object::ObjectExt as _;
use irsa_apiserver::{ApiServer, Config};
use serde_json::json;

/// How many pods there are at a time.
const AT_ONCE: usize = 50;

/// Resident and peak memory, in MB; zeros where there is no `/proc`.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_default() / 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

async fn cycle(server: &ApiServer, index: usize) -> Result<(), irsa_apiserver::status::Status> {
    let (api, me) = (server.api(), Caller::admin());
    let name = format!("p{index}");
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": "churn" } },
        "spec": { "containers": [{
            "name": "app", "image": "example.com/app:1", "ports": [{ "containerPort": 80 }],
            "env": [{ "name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional" }],
        }] },
    });
    let mut watch = api.store().watch("pods", api.store().resource_version());
    api.create(&me, "pods", "default", pod, &WriteOptions::default())
        .await?;
    let mut deleted = false;
    loop {
        match api.store().get("pods", "default", &name) {
            None => return Ok(()),
            Some(pod) if !deleted && pod.str_at(&["status", "phase"]) == "Running" => {
                deleted = true;
                api.delete(&me, "pods", "default", &name, &DeleteOptions::grace(1))
                    .await?;
            }
            Some(_) => {}
        }
        if watch.next().await.is_err() {
            watch = api.store().watch("pods", api.store().resource_version());
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cycles = std::env::args()
        .nth(1)
        .map_or(Ok(10_000), |text| text.parse::<usize>());
    let (Ok(cycles), Ok(server)) = (cycles, ApiServer::start(Config::default()).await) else {
        eprintln!("usage: churn [CYCLES]");
        return ExitCode::from(2);
    };
    let server = Arc::new(server);
    println!("cycles  resident MB  peak MB");
    println!("{:>6}  {:>11}  {:>7}", 0, memory().0, memory().1);
    let step = (cycles / 10).max(1);
    for start in (0..cycles).step_by(step) {
        let limit = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        let mut running = tokio::task::JoinSet::new();
        for index in start..(start + step).min(cycles) {
            let (server, limit) = (Arc::clone(&server), Arc::clone(&limit));
            running.spawn(async move {
                let _turn = limit.acquire().await;
                tokio::time::timeout(Duration::from_secs(60), cycle(&server, index)).await
            });
        }
        while let Some(done) = running.join_next().await {
            if !matches!(done, Ok(Ok(Ok(())))) {
                eprintln!("a cycle failed: {done:?}");
                return ExitCode::FAILURE;
            }
        }
        let (resident, peak) = memory();
        println!("{:>6}  {resident:>11}  {peak:>7}", start + step);
    }
    ExitCode::SUCCESS
}
