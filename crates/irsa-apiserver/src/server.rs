//! Starting and ending the server: certificates, listener, connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::api::{Api, BoxFuture};
use crate::config::Config;
use crate::http::{self, Context};
use crate::logs::Logs;
use crate::shutdown::ended;
use crate::status::Status;
use crate::store::Store;
use crate::tokens::Tokens;
use crate::version::Version;
use crate::wiring::{self, Setup};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener's address is taken or not allowed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting cannot be used.
    #[error("{0}")]
    Config(String),
    /// No certificate could be made.
    #[error("cannot make the server's certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The objects that every cluster has could not be stored.
    #[error("cannot set up the cluster: {0}")]
    Bootstrap(#[from] Status),
}

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of an HTTP/1 request may take.
const REQUEST_HEAD: Duration = Duration::from_secs(30);
/// How long connections may take to end at shutdown.
const DRAIN: Duration = Duration::from_millis(400);

/// A running API server. Dropping it ends it at once; [`ApiServer::shutdown`] lets answers finish first.
#[derive(Debug)]
pub struct ApiServer {
    api: Arc<Api>,
    address: SocketAddr,
    url: String,
    ca_pem: String,
    issuer: String,
    token: String,
    version: Version,
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<()>,
    tokens: Arc<Tokens>,
    logs: Arc<Logs>,
}

impl ApiServer {
    /// Starts a server on the current tokio runtime. It answers when this returns.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start(config: Config) -> Result<Self, Error> {
        let version = Version::parse(&config.kubernetes, config.platform.as_deref()).ok_or_else(|| {
            Error::Config(format!(
                "{:?} is not a Kubernetes version such as 1.32",
                config.kubernetes
            ))
        })?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| Error::Listen {
                address: config.listen,
                source,
            })?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: config.listen,
            source,
        })?;
        let url = format!("https://{address}");
        let api = Api::new(&config.service_network)?;
        let identity = Identity::new(address, &api.kubernetes_address())?;
        let issuer = config.issuer.clone().unwrap_or_else(|| url.clone());
        let token = config
            .admin_token
            .clone()
            .unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
        let (shutdown, ending) = watch::channel(false);
        crate::bootstrap::populate(&api, address).await?;
        let setup = Setup {
            api: Arc::clone(&api),
            config,
            version: version.clone(),
            url: url.clone(),
            token: token.clone(),
            ca_pem: identity.ca_pem.clone(),
            issuer: issuer.clone(),
            ending: ending.clone(),
        };
        let (context, parts) = wiring::assemble(setup).await?;
        let (tokens, logs) = (Arc::clone(&context.tokens), Arc::clone(&context.logs));
        let context = Arc::new(context);
        let acceptor = TlsAcceptor::from(Arc::new(identity.config));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, context, ending.clone()));
        let namespaces: BoxFuture<'static, ()> = Box::pin(crate::namespaces::run(Arc::clone(&api)));
        for task in parts.into_iter().chain([namespaces]) {
            let mut ending = ending.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = task => {}
                    () = ended(&mut ending) => {}
                }
            });
        }
        Ok(Self {
            api,
            address,
            url,
            ca_pem: identity.ca_pem,
            issuer,
            token,
            version,
            shutdown,
            tasks,
            tokens,
            logs,
        })
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the CA that signed the server's.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The issuer in service account tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The administrator's bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The version that the cluster says it has.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The objects.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(self.api.store())
    }

    /// Service account tokens: issuing them, rotating the key.
    #[must_use]
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// What containers printed.
    #[must_use]
    pub fn logs(&self) -> &Arc<Logs> {
        &self.logs
    }

    /// The API without HTTP.
    #[must_use]
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// A kubeconfig for the administrator, as YAML (which is JSON here, and therefore both).
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        use base64::Engine as _;
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.ca_pem);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {},
            "clusters": [{ "name": "irsa-lab", "cluster": {
                "server": self.url, "certificate-authority-data": authority,
            } }],
            "users": [{ "name": "kubernetes-admin", "user": { "token": self.token } }],
            "contexts": [{ "name": "irsa-lab", "context": { "cluster": "irsa-lab", "user": "kubernetes-admin" } }],
            "current-context": "irsa-lab",
        });
        serde_json::to_string_pretty(&config).unwrap_or_default() + "\n"
    }

    /// Ends watches and connections, then everything else; at most half a second.
    pub async fn shutdown(mut self) {
        self.shutdown.send_replace(true);
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// The server's key and certificate, signed by a CA of its own. The CA's key is forgotten.
struct Identity {
    ca_pem: String,
    config: rustls::ServerConfig,
}

impl Identity {
    fn new(address: SocketAddr, service_address: &str) -> Result<Self, Error> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

        // ECDSA (the default): an RSA key would take longer to make than the rest of the start.
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        ca.distinguished_name
            .push(DnType::CommonName, "irsa lab Kubernetes CA");
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".into(),
            "::1".into(),
            "kubernetes".into(),
            "kubernetes.default".into(),
            "kubernetes.default.svc".into(),
            "kubernetes.default.svc.cluster.local".into(),
            service_address.to_owned(),
        ];
        let own = address.ip().to_string();
        if !names.contains(&own) {
            names.push(own);
        }
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &issuer)?;

        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem: ca_certificate.pem(),
            config,
        })
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    context: Arc<Context>,
    mut ending: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = ended(&mut ending) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&context), ending.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others have to close first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    context: Arc<Context>,
    mut ending: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
    let stream = tokio::select! {
        () = ended(&mut ending) => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        },
    };
    let service = service_fn(move |request| {
        let context = Arc::clone(&context);
        async move { Ok::<_, std::convert::Infallible>(http::serve(&context, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = ended(&mut ending) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "connection ended");
    }
}
