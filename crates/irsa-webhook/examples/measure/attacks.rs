//! What a pod's author or a network peer could do to exhaust the server's memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::{Process, REVIEW, api, certificate};

const MIB: usize = 1 << 20;
/// How long attacks that do not end by themselves are kept up.
const HOLD: Duration = Duration::from_secs(4);

#[derive(Clone)]
struct Target {
    address: SocketAddr,
    http1: tokio_rustls::TlsConnector,
    http2: tokio_rustls::TlsConnector,
}

impl Target {
    fn new(address: SocketAddr, ca: &str) -> Self {
        let connector = |protocol: &[u8]| {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
                .unwrap();
            let mut config = rustls::ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            tokio_rustls::TlsConnector::from(Arc::new(config))
        };
        Self {
            address,
            http1: connector(b"http/1.1"),
            http2: connector(b"h2"),
        }
    }

    async fn connect(&self, connector: &tokio_rustls::TlsConnector) -> Option<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        connector
            .connect("127.0.0.1".try_into().unwrap(), stream)
            .await
            .ok()
    }

    /// Sends one review and reads the answer; its status and size.
    async fn send(&self, body: Bytes) -> Option<(u16, usize)> {
        let mut stream = self.connect(&self.http1).await?;
        stream.write_all(head(body.len()).as_bytes()).await.ok()?;
        // The server may answer before it has read all.
        let _ = stream.write_all(&body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        Some((status, answer.len()))
    }
}

fn head(length: usize) -> String {
    format!(
        "POST /mutate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// A review of a pod with so many empty containers.
fn containers(count: usize) -> Bytes {
    let list = vec!["{}"; count].join(",");
    review(&format!(
        r#"{{"spec":{{"serviceAccountName":"checkout","containers":[{list}]}}}}"#
    ))
}

/// A review of a pod whose annotation has so many bytes, all of them names of containers that do not exist.
fn names(bytes: usize) -> Bytes {
    let pod = json!({
        "metadata": {"annotations": {"eks.amazonaws.com/skip-containers": "a,".repeat(bytes / 2)}},
        "spec": {"serviceAccountName": "checkout", "containers": [{"name": "app"}]},
    });
    review(&pod.to_string())
}

fn review(pod: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"namespace":"shop","operation":"CREATE","object":{pod}}}}}"#
    ))
}

/// Sends the body on so many connections at once; the statuses and sizes of the answers.
async fn at_once(target: &Target, body: Bytes, connections: usize) -> String {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (target, body) = (target.clone(), body.clone());
        tasks.spawn(async move { target.send(body).await });
    }
    let mut answers = std::collections::BTreeMap::new();
    while let Some(answer) = tasks.join_next().await {
        *answers.entry(answer.unwrap()).or_insert(0) += 1;
    }
    answers
        .into_iter()
        .map(|(answer, count)| match answer {
            Some((status, size)) => format!("{count} × {status} ({size} bytes)"),
            None => format!("{count} × no answer"),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// HTTP/2: many streams on many connections, each with a body that never ends.
async fn streams(target: &Target, connections: usize, streams: usize, bytes: usize, header: usize) -> String {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let Some(stream) = target.connect(&target.http2).await else {
                return;
            };
            let handshake =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let Ok((sender, connection)) = handshake else {
                return;
            };
            tokio::spawn(connection);
            let mut answers = JoinSet::new();
            for _ in 0..streams {
                let first = futures::stream::once(async move {
                    Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b' '; bytes])))
                });
                let endless = futures::StreamExt::chain(first, futures::stream::pending());
                let body = StreamBody::new(Box::pin(endless));
                let request = Request::post(format!("https://{}/mutate", target.address))
                    .header("content-type", "application/json")
                    .header("x-fill", "x".repeat(header))
                    .body(body)
                    .unwrap();
                let mut sender = sender.clone();
                answers.spawn(async move { sender.send_request(request).await.map(|_| ()) });
            }
            let _ = tokio::time::timeout(HOLD, async { while answers.join_next().await.is_some() {} }).await;
        });
    }
    while tasks.join_next().await.is_some() {}
    String::new()
}

/// Reviews whose answers nobody reads.
async fn unread(target: &Target, connections: usize) -> String {
    let body = containers(900);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (target, body) = (target.clone(), body.clone());
        tasks.spawn(async move {
            let mut stream = target.connect(&target.http1).await?;
            let request = head(body.len()).replace("connection: close\r\n", "");
            let sending = async {
                for _ in 0..50 {
                    stream.write_all(request.as_bytes()).await?;
                    stream.write_all(&body).await?;
                }
                std::io::Result::Ok(())
            };
            let _ = tokio::time::timeout(HOLD, sending).await;
            Some(())
        });
    }
    while tasks.join_next().await.is_some() {}
    String::new()
}

/// Uploads that stop short of their end, and how long a review of 100 KB takes beside them.
async fn stalled(target: &Target, uploads: usize) -> String {
    let mut held = JoinSet::new();
    for _ in 0..uploads {
        let target = target.clone();
        held.spawn(async move {
            let mut stream = target.connect(&target.http1).await?;
            stream.write_all(head(7 * MIB).as_bytes()).await.ok()?;
            let _ = tokio::time::timeout(HOLD, stream.write_all(&vec![b' '; 7 * MIB - 1])).await;
            tokio::time::sleep(HOLD).await;
            Some(())
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pod = json!({
        "metadata": {"annotations": {"note": "x".repeat(100_000)}},
        "spec": {"serviceAccountName": "checkout", "containers": [{"name": "app"}]},
    });
    let begun = Instant::now();
    let answer = target.send(review(&pod.to_string())).await;
    let took = begun.elapsed();
    held.abort_all();
    format!(
        "a review of 100 KB beside it: {answer:?} after {} ms",
        took.as_millis()
    )
}

/// Connections that say nothing.
async fn silent(target: &Target, connections: usize) -> String {
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(TcpStream::connect(target.address).await.unwrap());
    }
    tokio::time::sleep(HOLD).await;
    String::new()
}

/// Ordinary reviews on kept connections over HTTP/2, as a check that all is well afterwards.
async fn ordinary(target: &Target) -> String {
    let stream = target.connect(&target.http2).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..1_000 {
        let request = Request::post(format!("https://{}/mutate", target.address))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(REVIEW)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert!(response.status().is_success());
        response.into_body().collect().await.unwrap();
    }
    "1,000 × 200".to_owned()
}

pub(super) async fn run() {
    let dir = tempfile::tempdir().unwrap();
    let ca = certificate(dir.path());
    let account = json!({"metadata": {"namespace": "shop", "name": "checkout", "resourceVersion": "1", "annotations": {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/checkout",
        "eks.amazonaws.com/sts-regional-endpoints": "true",
    }}});
    api(dir.path(), &ca, vec![account]).await;
    let process = Process::start(&["serve", dir.path().to_str().unwrap()]);
    let target = Target::new(process.address, &ca);
    let mut worst = 0.0_f64;
    macro_rules! play {
        ($name:literal, $attack:expr) => {
            // Sets the peak back to what is resident now.
            std::fs::write(format!("/proc/{}/clear_refs", process.id()), "5").unwrap();
            let outcome = $attack.await;
            let peak = process.mebibytes("VmHWM");
            tokio::time::sleep(Duration::from_secs(3)).await;
            worst = worst.max(peak);
            println!(
                "{:<64} peak {peak:6.1} MiB, afterwards {:6.1} MiB  {outcome}",
                $name,
                process.mebibytes("VmRSS")
            );
        };
    }
    play!("ordinary reviews", ordinary(&target));
    play!(
        "8 × a pod of 45,000 empty containers",
        at_once(&target, containers(45_000), 8)
    );
    play!(
        "64 × a pod of 1,000 empty containers",
        at_once(&target, containers(1_000), 64)
    );
    play!(
        "16 × 7 MiB of empty containers",
        at_once(&target, containers(7 * MIB / 3 - 200), 16)
    );
    play!(
        "16 × 7 MiB of names in an annotation",
        at_once(&target, names(7 * MIB - 1000), 16)
    );
    play!(
        "64 × a body of 7 MiB that is no review",
        at_once(&target, Bytes::from(vec![b' '; 7 * MIB]), 64)
    );
    play!(
        "HTTP/2: 40 connections × 250 streams × 63 KiB that never end",
        streams(&target, 40, 250, 63 * 1024, 10)
    );
    play!(
        "HTTP/2: 256 connections × 100 streams with 7 KiB of header",
        streams(&target, 256, 100, 1, 7 * 1024)
    );
    play!(
        "256 connections that do not read their answers",
        unread(&target, 256)
    );
    play!("30 uploads that stall", stalled(&target, 30));
    play!("250 uploads that stall", stalled(&target, 250));
    play!("2,000 connections that say nothing", silent(&target, 2_000));
    play!("ordinary reviews", ordinary(&target));
    println!("highest peak {worst:.1} MiB");
}
