//! Starting and ending the server: certificates, listener, connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use irsa_net::ca::{self, Ca, Period};
use irsa_net::{Drain, Handler, Http, Limits, Listener, Phase, tls};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{Api, BoxFuture};
use crate::config::Config;
use crate::http::{self, Body, Context};
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
    #[error(transparent)]
    Certificate(#[from] ca::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The objects that every cluster has could not be stored.
    #[error("cannot set up the cluster: {0}")]
    Bootstrap(#[from] Status),
}

/// Connections at once: every kubectl, controller and webhook of a lab has a few.
const CONNECTIONS: usize = 4096;
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
    connections: Drain,
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
        let listener = Listener::bind(config.listen)
            .await
            .map_err(|source| Error::Listen {
                address: config.listen,
                source,
            })?;
        let address = listener.address();
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
        let connections = Drain::default();
        let limits = Limits {
            connections: CONNECTIONS,
            streams: 1000,
            ..Limits::default()
        };
        let port = Http::tls(Port(Arc::new(context)), Arc::new(identity.config));
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.serve(port, limits, Arc::new(()), connections.phases()));
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
            connections,
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
        self.connections.advance(Phase::Stopping);
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
        let ca = Ca::generate("irsa lab Kubernetes CA", Period::a_year())?;
        let own = address.ip().to_string();
        let mut names = vec![
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            "::1",
            service_address,
        ];
        if !names.contains(&own.as_str()) {
            names.push(&own);
        }
        let issued = ca.issue(&names, Period::a_year())?;
        Ok(Self {
            ca_pem: ca.pem().to_owned(),
            config: tls::fixed(vec![issued.der()], issued.key_der())?,
        })
    }
}

/// The API's port.
#[derive(Clone)]
struct Port(Arc<Context>);

impl Handler for Port {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        http::serve(&self.0, request).await
    }
}
