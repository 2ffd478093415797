//! `irsa webhook` as a process: its flags, its signals, and a rolling replacement of two replicas.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

use super::support::{Caller, Cluster, Load, Pki, ROLE, ROLE_KEY};

/// A webhook process that is ready.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    async fn start(cluster: &Cluster, dir: &std::path::Path, pki: &Pki, args: &[&str]) -> Self {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut child = crate::common::irsa()
            .args([
                "webhook",
                "--in-cluster=false",
                "--bind-address=127.0.0.1",
                "--port=0",
                "--metrics-port=0",
            ])
            .arg("--kubeconfig")
            .arg(file("kubeconfig", &cluster.kubeconfig()))
            .arg("--tls-cert")
            .arg(file("tls.crt", &pki.chain))
            .arg("--tls-key")
            .arg(file("tls.key", &pki.key))
            .args(["--log-format=json", "--kubernetes=none"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut address = None;
            for line in lines.map_while(Result::ok) {
                let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else {
                    continue;
                };
                match event["message"].as_str() {
                    Some("listening") => {
                        address = event["address"].as_str().and_then(|text| text.parse().ok())
                    }
                    Some("ready") => {
                        let _ = tell.send(address);
                    }
                    _ => {}
                }
            }
        });
        let address = tokio::task::spawn_blocking(move || told.recv_timeout(Duration::from_secs(60)));
        let address: Option<SocketAddr> = address.await.unwrap().expect("the webhook becomes ready");
        Self {
            child,
            address: address.unwrap(),
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    async fn ended(mut self) -> std::process::ExitStatus {
        let waited = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        tokio::time::timeout(Duration::from_secs(40), waited)
            .await
            .expect("the process ends")
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Service: each new connection goes to the next endpoint.
struct Service {
    address: SocketAddr,
    endpoints: Arc<Mutex<Vec<SocketAddr>>>,
    _task: tokio::task::JoinSet<()>,
}

impl Service {
    async fn start(endpoints: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoints = Arc::new(Mutex::new(endpoints));
        let mut task = tokio::task::JoinSet::new();
        let shared = Arc::clone(&endpoints);
        task.spawn(async move {
            let mut next = 0_usize;
            while let Ok((mut inbound, _)) = listener.accept().await {
                next += 1;
                let endpoint = {
                    let endpoints = shared.lock();
                    endpoints[next % endpoints.len()]
                };
                tokio::spawn(async move {
                    if let Ok(mut outbound) = TcpStream::connect(endpoint).await {
                        let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                    }
                });
            }
        });
        Self {
            address,
            endpoints,
            _task: task,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_replacement_of_two_replicas_loses_no_admission() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let args = ["--shutdown-delay=1500ms", "--shutdown-timeout=6s"];
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Process::start(&cluster, dir.path(), &pki, &args).await);
    }
    let service = Service::start(replicas.iter().map(|replica| replica.address).collect()).await;
    let load = Load::start(
        (0..6).map(|_| Caller::new(service.address, &pki.ca)).collect(),
        "default",
        "app",
    );
    load.more(100).await;
    let mut fresh = Vec::new();
    for old in replicas {
        let new = Process::start(&cluster, dir.path(), &pki, &args).await;
        service.endpoints.lock().push(new.address);
        let address = old.address;
        old.signal("TERM");
        // It takes a while until everybody has heard that the endpoint is gone.
        tokio::time::sleep(Duration::from_millis(700)).await;
        service.endpoints.lock().retain(|endpoint| *endpoint != address);
        assert!(old.ended().await.success());
        load.more(100).await;
        fresh.push(new);
    }
    load.all_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_a_second_one_aborts_and_sigint_is_quick() {
    let cluster = Cluster::start().await;
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let patient = ["--shutdown-delay=10m", "--shutdown-timeout=10m"];
    let process = Process::start(&cluster, dir.path(), &pki, &patient).await;
    let caller = Caller::new(process.address, &pki.ca);
    process.signal("TERM");
    // Still serving while everybody hears of it, but no longer ready.
    super::support::eventually("it is no longer ready", async || {
        let answer = caller.request(hyper::Method::GET, "/readyz", None, "").await;
        matches!(answer, Ok((status, page)) if status == 503 && page.contains("shutting down"))
    })
    .await;
    process.signal("TERM");
    assert!(process.ended().await.success());

    let process = Process::start(&cluster, dir.path(), &pki, &patient).await;
    process.signal("INT");
    assert!(process.ended().await.success());
}

#[test]
fn a_flag_that_cannot_be_honoured_ends_the_process_with_a_sentence() {
    for (args, part) in [
        (
            &["--log_dir=/var/log"] as &[&str],
            "--log_dir `/var/log` cannot be honoured",
        ),
        (&["--tls-min-version=1.1"], "use `1.2` or `1.3`"),
        (
            &[
                "--in-cluster=false",
                "--tls-cert=/nowhere/tls.crt",
                "--kube-api=http://127.0.0.1:1",
            ],
            "--tls-cert `/nowhere/tls.crt`",
        ),
        (&["--kubeconfig=/nowhere/config"], "/nowhere/config"),
        (&["--no-such-flag"], "--no-such-flag"),
    ] {
        let output = crate::common::irsa().arg("webhook").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(part), "{args:?}: {text}");
    }
}
