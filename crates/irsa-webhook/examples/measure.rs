//! Measures the admission server from outside, in a process of its own: CPU per admission against a bare hyper + rustls
//! server that reads the same body and answers a constant of the same size; memory and CPU until ready with many
//! service accounts. Figures and how to read them: docs/performance.md.
//!
//! ```text
//! cargo build --release -p irsa-webhook --example measure
//! target/release/examples/measure admissions [COUNT [ROUNDS [CONNECTIONS]]]
//! target/release/examples/measure memory [SERVICE_ACCOUNTS [ANNOTATED]]
//! target/release/examples/measure attacks
//! ```
//!
//! `attacks` plays what a pod's author or a network peer could do to exhaust memory, one after the other against one
//! server, and prints the peak of each and what stays afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "measure/attacks.rs"]
mod attacks;

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use irsa_net::ca::{Ca, Period};
use irsa_net::files::Files;
use irsa_webhook::config::PlatformSource;
use irsa_webhook::{Certificates, Cluster, Config, Server};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

const REVIEW: &[u8] = include_bytes!("../benches/review.json");

#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, default: usize| words.get(index).map_or(default, |word| word.parse().unwrap());
    match words.first().map(String::as_str) {
        Some("admissions") => admissions(number(1, 20_000), number(2, 5), number(3, 8)).await,
        Some("memory") => memory(number(1, 100_000), number(2, 10_000)).await,
        Some("attacks") => attacks::run().await,
        Some("serve") => serve(Path::new(&words[1])).await,
        Some("bare") => bare(Path::new(&words[1]), number(2, 0)).await,
        _ => {
            eprintln!(
                "usage: measure admissions [COUNT [ROUNDS [CONNECTIONS]]] | memory [SERVICE_ACCOUNTS [ANNOTATED]] | attacks"
            );
            std::process::exit(2);
        }
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
    /// Starts this program again with these arguments and waits until it says where it listens.
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("ready on ")?.parse().ok());
        Self {
            child,
            address: address.expect("it says where it listens"),
        }
    }

    /// The process id.
    fn id(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of CPU that the process has used, user and system.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        let ticks = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<f64>().unwrap());
        // Linux counts in hundredths of a second towards programs, whatever its own tick is.
        ticks.sum::<f64>() / 100.0
    }

    /// A line of `/proc/PID/status`, in MiB.
    fn mebibytes(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

/// The admission server with the files in `dir`, as `irsa webhook` runs it.
async fn serve(dir: &Path) {
    let files = Files {
        cert: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        poll: Duration::from_secs(10),
    };
    let mut config = Config::new(Certificates::Files(files));
    config.cluster = Cluster::File(dir.join("kubeconfig"));
    config.platform = PlatformSource::Known(None);
    config.settings.region = Some("us-west-2".into());
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(600)).await.unwrap();
    println!("ready on {}", server.address());
    std::future::pending::<()>().await;
}

/// Reads each body to its end and answers with a constant.
async fn bare(dir: &Path, size: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("ready on {}", listener.local_addr().unwrap());
    let answer = Bytes::from(vec![b'x'; size]);
    accept(listener, dir.to_owned(), move |request| {
        let answer = answer.clone();
        async move {
            let _ = request.into_body().collect().await;
            answer
        }
    })
    .await;
}

/// Serves over TLS; `answer` makes the body of each answer.
async fn accept<F, A>(listener: TcpListener, dir: PathBuf, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Bytes> + Send,
{
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
                    let mut response = Response::new(Full::new(answer(request).await));
                    let media = hyper::header::HeaderValue::from_static("application/json");
                    response.headers_mut().insert(hyper::header::CONTENT_TYPE, media);
                    Ok::<_, Infallible>(response)
                }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Certificate, key and CA in `dir`; the CA.
fn certificate(dir: &Path) -> String {
    let ca = Ca::generate("measure", Period::a_year()).unwrap();
    let issued = ca.issue(&["127.0.0.1"], Period::a_year()).unwrap();
    std::fs::write(dir.join("tls.crt"), issued.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), issued.key_pem()).unwrap();
    ca.pem().to_owned()
}

/// As much of a Kubernetes API as the watches need: lists in pages, and watches on which nothing happens. Service
/// accounts come as a real API server sends them, metadata only and with managed fields.
async fn api(dir: &Path, ca: &str, accounts: Vec<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "measure",
        "clusters": [{"name": "measure", "cluster": {
            "server": format!("https://{}", listener.local_addr().unwrap()),
            "certificate-authority-data": base64::engine::general_purpose::STANDARD.encode(ca),
        }}],
        "users": [{"name": "measure", "user": {"token": "measure"}}],
        "contexts": [{"name": "measure", "context": {"cluster": "measure", "user": "measure"}}],
    });
    std::fs::write(dir.join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let accounts = Arc::new(accounts);
    tokio::spawn(accept(listener, dir.to_owned(), move |request| {
        let accounts = Arc::clone(&accounts);
        async move {
            let query = request.uri().query().unwrap_or_default();
            let field = |name: &str| {
                query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<usize>().ok())
            };
            let accounts = if request.uri().path().ends_with("/serviceaccounts") {
                &accounts[..]
            } else {
                &[]
            };
            if query.contains("watch=true") {
                if !query.contains("sendInitialEvents=true") {
                    std::future::pending::<()>().await;
                }
                let mut events = String::new();
                for account in accounts {
                    events.push_str(&json!({"type": "ADDED", "object": account}).to_string());
                    events.push('\n');
                }
                let end = json!({"type": "BOOKMARK", "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {
                        "resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"},
                    },
                }});
                events.push_str(&format!("{end}\n"));
                return Bytes::from(events);
            }
            let from = field("continue").unwrap_or(0).min(accounts.len());
            let to = (from + field("limit").unwrap_or(usize::MAX)).min(accounts.len());
            let more = if to < accounts.len() {
                to.to_string()
            } else {
                String::new()
            };
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": "1", "continue": more}, "items": accounts[from..to],
            });
            Bytes::from(list.to_string())
        }
    }));
}

async fn admissions(count: usize, rounds: usize, connections: usize) {
    let dir = tempfile::tempdir().unwrap();
    let ca = certificate(dir.path());
    let account = json!({"metadata": {"namespace": "shop", "name": "checkout", "resourceVersion": "1", "annotations": {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/checkout",
        "eks.amazonaws.com/sts-regional-endpoints": "true",
    }}});
    api(dir.path(), &ca, vec![account]).await;
    let path = dir.path().to_str().unwrap();
    let irsa = Process::start(&["serve", path]);
    let size = load(irsa.address, &ca, 10, 1).await;
    let bare = Process::start(&["bare", path, &size.to_string()]);
    println!(
        "review: {} bytes in, {size} bytes out, {connections} connections kept alive, {count} admissions a round",
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
        let ratio = bare_cpu / irsa_cpu;
        // The first round warms up.
        if round > 0 {
            ratios.push(ratio);
            println!(
                "round {round}: bare {bare_cpu:.1} µs, irsa {irsa_cpu:.1} µs of CPU a request; {:.0} admissions per CPU-second; ratio {ratio:.2}",
                1e6 / irsa_cpu,
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

async fn memory(service_accounts: usize, annotated: usize) {
    let dir = tempfile::tempdir().unwrap();
    let ca = certificate(dir.path());
    let every = (service_accounts / annotated.max(1)).max(1);
    let accounts = (0..service_accounts).map(|index| {
        let mut metadata = json!({
            "namespace": format!("team-{:03}", index % 500),
            "name": format!("workload-{index:06}-service-account"),
            "uid": format!("705ab4f5-6393-11e8-b7cc-{index:012x}"),
            "resourceVersion": index.to_string(),
            "creationTimestamp": "2026-11-24T07:00:00Z",
            "labels": {"app.kubernetes.io/name": "workload", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": format!("workload-{index:06}"), "meta.helm.sh/release-namespace": "team"},
            "managedFields": [{
                "manager": "helm", "operation": "Update", "apiVersion": "v1", "time": "2026-11-24T07:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {
                    "f:annotations": {".": {}, "f:meta.helm.sh/release-name": {}, "f:meta.helm.sh/release-namespace": {}},
                    "f:labels": {".": {}, "f:app.kubernetes.io/managed-by": {}, "f:app.kubernetes.io/name": {}},
                }},
            }],
        });
        if annotated > 0 && index % every == 0 && index / every < annotated {
            metadata["annotations"]["eks.amazonaws.com/role-arn"] =
                json!(format!("arn:aws:iam::111122223333:role/workloads/workload-{index:06}-production"));
            metadata["annotations"]["eks.amazonaws.com/sts-regional-endpoints"] = json!("true");
        }
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
    });
    api(dir.path(), &ca, accounts.collect()).await;
    println!("{service_accounts} service accounts, {annotated} of them annotated");
    let begun = Instant::now();
    let process = Process::start(&["serve", dir.path().to_str().unwrap()]);
    let (cpu, wall) = (process.cpu(), begun.elapsed().as_secs_f64());
    std::thread::sleep(Duration::from_secs(3));
    println!(
        "ready after {cpu:.2} s of CPU ({wall:.2} s by the clock, the API's work included); resident {:.1} MiB, at most {:.1} MiB",
        process.mebibytes("VmRSS"),
        process.mebibytes("VmHWM"),
    );
}
