//! Measures `irsa webhook` from outside: CPU per admission against a bare hyper + rustls server, and memory and CPU until
//! ready with many service accounts. Figures and how to read them: docs/performance.md.
//!
//! ```text
//! cargo build --release -p irsa --bin irsa --example webhook_bench
//! target/release/examples/webhook_bench admissions
//! target/release/examples/webhook_bench memory
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use irsa_apiserver::ApiServer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

const REVIEW: &[u8] = include_bytes!("../../irsa-webhook/benches/review.json");

#[derive(Parser)]
enum Bench {
    /// CPU time of the webhook's process per admission, as a ratio to that of a bare server
    Admissions {
        /// Admissions per round and server
        #[arg(long, default_value_t = 20_000)]
        count: usize,
        /// Rounds; the two servers take turns
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Connections, each kept alive
        #[arg(long, default_value_t = 8)]
        connections: usize,
    },
    /// Resident memory and CPU time until ready
    Memory {
        /// Service accounts in all
        #[arg(long, default_value_t = 100_000)]
        service_accounts: usize,
        /// Those with a role
        #[arg(long, default_value_t = 10_000)]
        annotated: usize,
    },
    /// (internal) The bare server
    #[command(hide = true)]
    Bare { dir: PathBuf, size: usize },
}

#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap();
    match Bench::parse() {
        Bench::Admissions {
            count,
            rounds,
            connections,
        } => admissions(count, rounds, connections).await,
        Bench::Memory {
            service_accounts,
            annotated,
        } => memory(service_accounts, annotated).await,
        Bench::Bare { dir, size } => bare(&dir, size).await,
    }
}

/// A process under measurement, ended when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts `command` and reads its output until `address` finds where it listens.
    fn start(
        mut command: Command,
        address: impl Fn(&str) -> Option<SocketAddr> + Send + 'static,
        ready: &'static str,
    ) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut found = None;
        for line in lines.by_ref() {
            found = address(&line).or(found);
            if line.contains(ready) {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: found.expect("it says where it listens"),
        }
    }

    /// Seconds of CPU that the process has used, user and system.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        let ticks: Vec<f64> = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse().unwrap())
            .collect();
        // The kernel counts in hundredths of a second towards user space on every Linux.
        (ticks[0] + ticks[1]) / 100.0
    }

    /// A line of `/proc/PID/status`, in MiB.
    fn mebibytes(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

/// The webhook as it is installed: the command beside this example.
fn webhook(dir: &Path, kubeconfig: &str) -> Process {
    std::fs::write(dir.join("kubeconfig"), kubeconfig).unwrap();
    let binary = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("irsa");
    assert!(
        binary.exists(),
        "build it first: cargo build --release -p irsa --bin irsa"
    );
    let mut command = Command::new(binary);
    command
        .args([
            "webhook",
            "--in-cluster=false",
            "--bind-address=127.0.0.1",
            "--port=0",
            "--metrics-port=0",
        ])
        .args(["--log-format=json", "--aws-default-region=us-west-2"])
        .arg("--kubeconfig")
        .arg(dir.join("kubeconfig"))
        .arg("--tls-cert")
        .arg(dir.join("tls.crt"))
        .arg("--tls-key")
        .arg(dir.join("tls.key"));
    let address = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        (event["message"] == "listening").then(|| event["address"].as_str()?.parse().ok())?
    };
    Process::start(command, address, "\"ready\"")
}

fn certificate(dir: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem()
}

async fn admissions(count: usize, rounds: usize, connections: usize) {
    let dir = tempfile::tempdir().unwrap();
    let ca = certificate(dir.path());
    let api = ApiServer::start(irsa_apiserver::Config {
        controllers: false,
        ..Default::default()
    })
    .await
    .unwrap();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "namespace": "shop", "name": "checkout",
        "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/checkout"},
    }});
    api.store().create("serviceaccounts", account).unwrap();
    let irsa = webhook(dir.path(), &api.kubeconfig());
    let size = load(irsa.address, &ca, 10, 1).await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("bare").arg(dir.path()).arg(size.to_string());
    let bare = Process::start(
        command,
        |line| line.strip_prefix("listening on ")?.parse().ok(),
        "listening on ",
    );
    println!(
        "review: {} bytes in, {size} bytes out, {connections} connections, {count} admissions a round",
        REVIEW.len()
    );
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let mut per = [0.0; 2];
        for (process, cpu) in [&bare, &irsa].into_iter().zip(&mut per) {
            let before = process.cpu();
            load(process.address, &ca, count, connections).await;
            *cpu = (process.cpu() - before) / count as f64 * 1e6;
        }
        let [bare_cpu, irsa_cpu] = per;
        // The first round warms up.
        if round > 0 {
            ratios.push(bare_cpu / irsa_cpu);
            println!(
                "round {round}: bare {bare_cpu:.1} µs, irsa {irsa_cpu:.1} µs of CPU per request; {:.0} admissions per CPU-second; ratio {:.2}",
                1e6 / irsa_cpu,
                bare_cpu / irsa_cpu
            );
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
}

/// Sends `count` reviews over `connections`; the size of an answer.
async fn load(address: SocketAddr, ca: &str, count: usize, connections: usize) -> usize {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let connector = connector.clone();
        tasks.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stream = connector
                .connect("127.0.0.1".try_into().unwrap(), stream)
                .await
                .unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(connection);
            let mut size = 0;
            for _ in 0..count / connections {
                let request = Request::post("/mutate?timeout=10s")
                    .header("host", "webhook")
                    .header("content-type", "application/json")
                    .header("accept", "application/json, */*")
                    .body(Full::new(Bytes::from_static(REVIEW)))
                    .unwrap();
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert!(response.status().is_success());
                size = response.into_body().collect().await.unwrap().to_bytes().len();
            }
            size
        });
    }
    let mut size = 0;
    while let Some(done) = tasks.join_next().await {
        size = done.unwrap();
    }
    size
}

/// Reads each body to its end and answers with a constant.
async fn bare(dir: &Path, size: usize) {
    let chain = CertificateDer::pem_file_iter(dir.join("tls.crt"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    eprintln!("listening on {}", listener.local_addr().unwrap());
    let answer = Bytes::from(vec![b'x'; size]);
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    request.into_body().collect().await?;
                    let mut response = Response::new(Full::new(answer));
                    let media = hyper::header::HeaderValue::from_static("application/json");
                    response.headers_mut().insert(hyper::header::CONTENT_TYPE, media);
                    Ok::<_, hyper::Error>(response)
                }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn memory(service_accounts: usize, annotated: usize) {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let api = ApiServer::start(irsa_apiserver::Config {
        controllers: false,
        ..Default::default()
    })
    .await
    .unwrap();
    let store = api.store();
    let every = (service_accounts / annotated.max(1)).max(1);
    for index in 0..service_accounts {
        let mut metadata = json!({
            "namespace": format!("team-{:03}", index % 500),
            "name": format!("workload-{index:06}-service-account"),
            "labels": {"app.kubernetes.io/name": "workload", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": format!("workload-{index:06}"), "meta.helm.sh/release-namespace": "team"},
            "managedFields": [{
                "manager": "helm", "operation": "Update", "apiVersion": "v1", "time": "2026-11-24T07:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:meta.helm.sh/release-name": {}, "f:meta.helm.sh/release-namespace": {}},
                    "f:labels": {".": {}, "f:app.kubernetes.io/managed-by": {}, "f:app.kubernetes.io/name": {}}}},
            }],
        });
        if annotated > 0 && index % every == 0 && index / every < annotated {
            metadata["annotations"]["eks.amazonaws.com/role-arn"] = json!(format!(
                "arn:aws:iam::111122223333:role/workloads/workload-{index:06}-production"
            ));
            metadata["annotations"]["eks.amazonaws.com/sts-regional-endpoints"] = json!("true");
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        store.create("serviceaccounts", account).unwrap();
    }
    println!("{service_accounts} service accounts, {annotated} of them annotated");
    let begun = Instant::now();
    let process = webhook(dir.path(), &api.kubeconfig());
    let (cpu, wall) = (process.cpu(), begun.elapsed());
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!(
        "ready after {cpu:.2} s of CPU ({:.2} s by the clock, the API server's work included); resident {:.1} MiB, at most {:.1} MiB",
        wall.as_secs_f64(),
        process.mebibytes("VmRSS"),
        process.mebibytes("VmHWM"),
    );
}
