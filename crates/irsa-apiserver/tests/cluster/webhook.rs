//! A real webhook server over TLS, which answers as a test wants.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What the server answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The `response` of a review; the uid is added.
    Response(Value),
    /// Anything.
    Raw(u16, String),
    /// Nothing, for a long time.
    Silence,
}

type Decide = dyn Fn(&Value) -> Answer + Send + Sync;

pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    ca_pem: String,
    seen: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A response that allows with a patch.
pub(crate) fn patching(operations: Value) -> Answer {
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    Answer::Response(json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch }))
}

pub(crate) fn allowing() -> Answer {
    Answer::Response(json!({ "allowed": true }))
}

impl Webhook {
    /// A server whose certificate is valid for these names.
    pub(crate) async fn start(
        names: &[&str],
        decide: impl Fn(&Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let decide: Arc<Decide> = Arc::new(decide);
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, decide, record) = (acceptor.clone(), Arc::clone(&decide), Arc::clone(&record));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let (decide, record) = (Arc::clone(&decide), Arc::clone(&record));
                        async move {
                            let query = request.uri().query().unwrap_or_default().to_owned();
                            let body = request.into_body().collect().await?.to_bytes();
                            let mut review: Value = serde_json::from_slice(&body).unwrap();
                            review["query"] = query.into();
                            record.lock().push(review.clone());
                            let (code, body) = match decide(&review) {
                                Answer::Response(mut response) => {
                                    response["uid"] = review["request"]["uid"].clone();
                                    let review = json!({
                                        "apiVersion": review["apiVersion"], "kind": "AdmissionReview",
                                        "response": response,
                                    });
                                    (200, review.to_string())
                                }
                                Answer::Raw(code, body) => (code, body),
                                Answer::Silence => std::future::pending().await,
                            };
                            let mut answer = Response::new(Full::new(Bytes::from(body)));
                            *answer.status_mut() = StatusCode::from_u16(code).unwrap();
                            Ok::<_, hyper::Error>(answer)
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            ca_pem: cert.pem(),
            seen,
            task,
        }
    }

    pub(crate) fn ca_bundle(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(&self.ca_pem)
    }

    /// The reviews that arrived.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().clone()
    }

    /// A configuration of this webhook by URL; `extra` overrides parts of the webhook.
    pub(crate) fn configuration(&self, kind: &str, name: &str, extra: Value) -> String {
        let mut webhook = json!({
            "name": format!("{name}.example.com"),
            "clientConfig": { "url": format!("https://{}/mutate", self.address), "caBundle": self.ca_bundle() },
            "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5,
        });
        for (key, value) in extra.as_object().unwrap() {
            webhook[key] = value.clone();
        }
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": name }, "webhooks": [webhook],
        })
        .to_string()
    }

    pub(crate) fn mutating(&self, name: &str, extra: Value) -> String {
        self.configuration("MutatingWebhookConfiguration", name, extra)
    }
}
