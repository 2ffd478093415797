//! Lists of a large cluster over HTTP: a page costs what it contains, wherever it begins; a whole list costs little more
//! than sending its bytes. Compare the figures of one run with each other.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::{BodyExt, Empty};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use irsa_apiserver::{ApiServer, Config};
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const ACCOUNTS: usize = 100_000;
const PODS: usize = 50_000;

struct Bench {
    runtime: Runtime,
    server: ApiServer,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let config = Config {
            controllers: false,
            nodes: Vec::new(),
            ..Config::default()
        };
        let server = runtime.block_on(ApiServer::start(config)).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(rustls_pki_types::CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).unwrap())
            .unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
        Self {
            runtime,
            server,
            client,
        }
    }

    fn get(&self, path: &str, accept: &str) -> Bytes {
        let request = http::Request::get(format!("{}{path}", self.server.url()))
            .header("authorization", format!("Bearer {}", self.server.token()))
            .header("accept", accept)
            .body(Empty::new())
            .unwrap();
        self.runtime.block_on(async {
            let response = self.client.request(request).await.unwrap();
            assert!(response.status().is_success());
            response.into_body().collect().await.unwrap().to_bytes()
        })
    }
}

fn account(index: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": format!("account-{index:06}"), "namespace": format!("team-{:03}", index % 100),
        "uid": format!("00000000-0000-4000-8000-{index:012}"), "creationTimestamp": "2026-11-24T00:00:00Z",
        "annotations": { "eks.amazonaws.com/role-arn": format!("arn:aws:iam::111122223333:role/role-{index}") },
    } })
}

fn pod(index: usize) -> Value {
    let env: Vec<Value> = (0..20)
        .map(|index| json!({ "name": format!("V{index}"), "value": "x".repeat(40) }))
        .collect();
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": format!("pod-{index:06}"), "namespace": format!("team-{:03}", index % 100),
        "uid": format!("00000000-0000-4000-8000-{index:012}"), "creationTimestamp": "2026-11-24T00:00:00Z",
        "labels": { "app": format!("app-{}", index % 500) },
    }, "spec": { "nodeName": format!("node-{}", index % 1000), "containers": [{ "name": "a", "image": "x", "env": env }] },
    "status": { "phase": "Running" } })
}

fn lists(criterion: &mut Criterion) {
    let bench = Bench::new();
    let store = bench.server.store();
    for index in 0..ACCOUNTS {
        store.create("serviceaccounts", account(index)).unwrap();
    }
    for index in 0..PODS {
        store.create("pods", pod(index)).unwrap();
    }
    const JSON: &str = "application/json";
    const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
    const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

    let mut group = criterion.benchmark_group("page of 500");
    for (what, path) in [
        ("service accounts", "/api/v1/serviceaccounts"),
        ("pods", "/api/v1/pods"),
    ] {
        let mut token = String::new();
        let mut last = String::new();
        loop {
            let page: Value =
                serde_json::from_slice(&bench.get(&format!("{path}?limit=500{token}"), METADATA)).unwrap();
            let Some(next) = page["metadata"]["continue"].as_str() else {
                break;
            };
            last.clone_from(&token);
            token = format!("&continue={next}");
        }
        for (form, accept) in [("JSON", JSON), ("metadata", METADATA), ("table", TABLE)] {
            for (place, token) in [("first", ""), ("last but one", last.as_str())] {
                let path = format!("{path}?limit=500{token}");
                group.throughput(Throughput::Bytes(bench.get(&path, accept).len() as u64));
                group.bench_function(BenchmarkId::new(format!("{what}, {form}"), place), |bencher| {
                    bencher.iter(|| bench.get(&path, accept));
                });
            }
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("whole list");
    group.sample_size(10);
    for (what, path) in [
        ("100,000 service accounts", "/api/v1/serviceaccounts"),
        ("50,000 pods", "/api/v1/pods"),
    ] {
        group.throughput(Throughput::Bytes(bench.get(path, JSON).len() as u64));
        group.bench_function(what, |bencher| bencher.iter(|| bench.get(path, JSON)));
    }
    group.finish();
    bench.runtime.block_on(bench.server.shutdown());
}

criterion_group!(benches, lists);
criterion_main!(benches);
