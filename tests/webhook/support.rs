//! What these tests share: a cluster behind a gate that can be shut, a server in this process, and a caller that calls
//! as an API server does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use irsa_apiserver::ApiServer;
use irsa_net::ca::{Ca, Period};
use irsa_webhook::config::PlatformSource;
use irsa_webhook::{Certificates, Cluster as Access, Config, Drain, Server};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub const ROLE: &str = "arn:aws:iam::111122223333:role/app";
pub const ROLE_KEY: &str = "eks.amazonaws.com/role-arn";

/// The TLS provider of the process, as `main` installs it.
pub fn provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// An embedded cluster without controllers, and the gate in front of it.
pub struct Cluster {
    pub api: ApiServer,
    pub client: Client,
    pub gate: Gate,
}

impl Cluster {
    pub async fn start() -> Self {
        provider();
        let api = ApiServer::start(irsa_apiserver::Config {
            controllers: false,
            ..Default::default()
        })
        .await
        .unwrap();
        let client = client(&api.kubeconfig()).await;
        let gate = Gate::before(api.address()).await;
        Self { api, client, gate }
    }

    /// The kubeconfig that leads through the gate.
    pub fn kubeconfig(&self) -> String {
        let direct = self.api.address().to_string();
        let text = self.api.kubeconfig();
        assert!(text.contains(&direct), "the kubeconfig names {direct}");
        text.replace(&direct, &self.gate.address.to_string())
    }

    /// A service account with these annotations.
    pub async fn service_account(&self, namespace: &str, name: &str, annotations: &[(&str, &str)]) {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(pairs(annotations)),
            ..ObjectMeta::default()
        };
        let account = ServiceAccount {
            metadata,
            ..ServiceAccount::default()
        };
        api.create(&PostParams::default(), &account).await.unwrap();
    }

    pub async fn namespace(&self, name: &str, annotations: &[(&str, &str)]) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(pairs(annotations)),
            ..ObjectMeta::default()
        };
        api.create(
            &PostParams::default(),
            &Namespace {
                metadata,
                ..Namespace::default()
            },
        )
        .await
        .unwrap();
    }

    /// Settings of a server for this cluster, with a certificate and the CA to trust it by.
    pub fn config(&self) -> (Config, Pki) {
        let pki = Pki::new();
        let mut config = Config::new(Certificates::Pem {
            chain: pki.chain.clone(),
            key: pki.key.clone(),
        });
        config.cluster = Access::Kubeconfig(self.kubeconfig());
        config.platform = PlatformSource::Known(None);
        config.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.drain = Drain::at_once();
        (config, pki)
    }

    /// A ready server for this cluster.
    pub async fn server(&self) -> (Server, Caller) {
        let (config, pki) = self.config();
        let server = Server::start(config).await.unwrap();
        server.ready(Duration::from_secs(20)).await.unwrap();
        let caller = Caller::new(server.address(), &pki.ca);
        (server, caller)
    }
}

fn pairs(annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
    annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// A certificate for 127.0.0.1 and the CA that signed it.
pub struct Pki {
    pub ca: String,
    pub chain: String,
    pub key: String,
    authority: Ca,
}

impl Pki {
    pub fn new() -> Self {
        let authority = Ca::generate("test CA", Period::a_year()).unwrap();
        let mut pki = Self {
            ca: authority.pem().to_owned(),
            chain: String::new(),
            key: String::new(),
            authority,
        };
        (pki.chain, pki.key) = pki.issue();
        pki
    }

    /// A new certificate of the same CA.
    pub fn issue(&self) -> (String, String) {
        let issued = self.authority.issue(&["127.0.0.1"], Period::a_year()).unwrap();
        (issued.pem(), issued.key_pem().to_owned())
    }
}

/// Calls `/mutate` over TLS and HTTP/1.1 with kept connections, as the API server does, and never tries again.
#[derive(Clone)]
pub struct Caller {
    pub address: SocketAddr,
    client: HttpClient<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Caller {
    pub fn new(address: SocketAddr, ca: &str) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls_client(ca))
            .https_only()
            .enable_http1()
            .build();
        let client = HttpClient::builder(TokioExecutor::new()).build(connector);
        Self { address, client }
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| format!("{error:?}"))?;
            let status = response.status();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|error| format!("{error:?}"))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(Duration::from_secs(30), exchange)
            .await
            .map_err(|_| "no answer in 30 s".to_owned())?
    }

    pub async fn request(
        &self,
        method: Method,
        path: &str,
        media: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<(StatusCode, String), String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address));
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        let (status, body) = self.send(request.body(Full::new(body.into())).unwrap()).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The `response` of a review of `pod`.
    pub async fn review(&self, body: impl Into<Bytes>) -> Result<Value, String> {
        let (status, body) = self
            .request(
                Method::POST,
                "/mutate?timeout=10s",
                Some("application/json"),
                body,
            )
            .await?;
        if status != StatusCode::OK {
            return Err(format!("{status}: {body}"));
        }
        let mut answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        Ok(answer["response"].take())
    }

    /// Admits an ordinary pod and says which role it was given.
    pub async fn role_of(&self, namespace: &str, service_account: &str) -> Result<Option<String>, String> {
        let response = self.review(review(namespace, &pod(service_account))).await?;
        if response["allowed"] != true || response["uid"] != UID {
            return Err(format!("not an answer to the review: {response}"));
        }
        Ok(role_in(&response))
    }
}

pub fn tls_client(ca: &str) -> rustls::ClientConfig {
    use rustls::pki_types::pem::PemObject as _;
    provider();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// A pod of one container.
pub fn pod(service_account: &str) -> Value {
    json!({
        "metadata": {"generateName": "app-", "labels": {"app": "app"}},
        "spec": {
            "serviceAccountName": service_account,
            "containers": [{"name": "app", "image": "app", "env": [{"name": "A", "value": "b"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

/// The body of a review of `pod`, as API servers write it.
pub fn review(namespace: &str, pod: &Value) -> String {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
    .to_string()
}

/// The patch of a response.
pub fn patch_in(response: &Value) -> Value {
    let Some(patch) = response["patch"].as_str() else {
        return Value::Null;
    };
    assert_eq!(response["patchType"], "JSONPatch");
    serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(patch).unwrap()).unwrap()
}

/// The pod after the patch of a response.
pub fn patched(pod: &Value, response: &Value) -> Value {
    let mut pod = pod.clone();
    let patch = patch_in(response);
    if !patch.is_null() {
        json_patch::patch(
            &mut pod,
            &serde_json::from_value::<json_patch::Patch>(patch).unwrap(),
        )
        .unwrap();
    }
    pod
}

/// The value of a variable of the first container.
pub fn variable(pod: &Value, name: &str) -> Option<String> {
    let env = pod["spec"]["containers"][0]["env"].as_array()?;
    env.iter().find(|variable| variable["name"] == name)?["value"]
        .as_str()
        .map(str::to_owned)
}

pub fn role_in(response: &Value) -> Option<String> {
    variable(&patched(&pod("any"), response), "AWS_ROLE_ARN")
}

/// Admissions one after the other on several connections for as long as it lives; every one is checked.
pub struct Load {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    pub done: Arc<AtomicU64>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Load {
    /// `callers` admit pods of `namespace/service_account` and expect [`ROLE`].
    pub fn start(callers: Vec<Caller>, namespace: &'static str, service_account: &'static str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let done = Arc::new(AtomicU64::new(0));
        let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut tasks = JoinSet::new();
        for caller in callers {
            let (stopped, done, wrong) = (stopped.clone(), Arc::clone(&done), Arc::clone(&wrong));
            tasks.spawn(async move {
                while !*stopped.borrow() {
                    match caller.role_of(namespace, service_account).await {
                        Ok(Some(role)) if role == ROLE => {}
                        Ok(role) => wrong.lock().unwrap().push(format!("given {role:?}")),
                        Err(error) => wrong.lock().unwrap().push(error),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        Self {
            tasks,
            stop,
            done,
            wrong,
        }
    }

    /// Waits until so many more admissions are done.
    pub async fn more(&self, count: u64) {
        let goal = self.done.load(Ordering::Relaxed) + count;
        let waited = async {
            while self.done.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waited)
            .await
            .expect("admissions go on");
    }

    /// Ends it; panics unless every admission was right.
    pub async fn all_right(mut self) -> u64 {
        self.stop.send_replace(true);
        while let Some(joined) = self.tasks.join_next().await {
            joined.unwrap();
        }
        let wrong = self.wrong.lock().unwrap();
        let done = self.done.load(Ordering::Relaxed);
        assert!(
            wrong.is_empty(),
            "{} of {done} admissions lost or wrong, first: {}",
            wrong.len(),
            wrong[0]
        );
        done
    }
}

/// What passes a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Everything.
    Open,
    /// Nothing: connections are cut and refused.
    Shut,
    /// Everything, each piece after a delay.
    Slow(Duration),
}

/// A TCP relay in front of a server, which can be shut.
pub struct Gate {
    pub address: SocketAddr,
    pass: watch::Sender<Pass>,
    _tasks: JoinSet<()>,
}

impl Gate {
    pub async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pass, passing) = watch::channel(Pass::Open);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (inbound, _) = listener.accept().await.unwrap();
                if *passing.borrow() == Pass::Shut {
                    continue;
                }
                let passing = passing.clone();
                connections.spawn(async move {
                    let Ok(outbound) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (inbound_read, inbound_write) = inbound.into_split();
                    let (outbound_read, outbound_write) = outbound.into_split();
                    let mut shut = passing.clone();
                    tokio::select! {
                        _ = relay(inbound_read, outbound_write, passing.clone()) => {}
                        _ = relay(outbound_read, inbound_write, passing) => {}
                        _ = shut.wait_for(|pass| *pass == Pass::Shut) => {}
                    }
                });
            }
        });
        Self {
            address,
            pass,
            _tasks: tasks,
        }
    }

    pub fn set(&self, pass: Pass) {
        self.pass.send_replace(pass);
    }
}

async fn relay(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    passing: watch::Receiver<Pass>,
) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let pass = *passing.borrow();
        if let Pass::Slow(delay) = pass {
            tokio::time::sleep(delay).await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// A line of the metrics page.
pub fn metric(server: &Server, line_start: &str) -> f64 {
    let page = server.metrics().page(irsa_webhook::metrics::Format::OpenMetrics);
    let line = page.lines().find(|line| line.starts_with(line_start));
    line.and_then(|line| line.rsplit(' ').next())
        .map_or(0.0, |value| value.parse().unwrap())
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited)
        .await
        .unwrap_or_else(|_| panic!("never so: {what}"));
}
