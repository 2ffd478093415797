//! The resolved settings of one server: no flags, no environment, nothing that could still fail to parse.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use irsa_core::endpoint::Platform;
use irsa_core::settings::Settings;
use irsa_net::files::Files;
use irsa_net::tls::TlsOptions;

use crate::certificates::managed::Managed;
use crate::cluster::Cluster;
use crate::directory::lookup;

/// Where the serving certificate comes from.
#[derive(Clone, Debug)]
pub enum Certificates {
    /// Files that somebody else renews.
    Files(Files),
    /// A chain and a key in PEM, for as long as the server runs.
    Pem {
        /// The chain, leaf first.
        chain: String,
        /// The key.
        key: String,
    },
    /// Made by this server and shared by its replicas.
    Managed(Managed),
}

/// Which EKS platform the cluster is, on which the endpoint rules depend.
#[derive(Clone, Debug)]
pub enum PlatformSource {
    /// Known: a platform, or none at all.
    Known(Option<Platform>),
    /// To be asked of the Kubernetes API before the server is ready, unless the settings name it.
    Ask,
}

/// Everything a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where admissions are served, over TLS.
    pub listen: SocketAddr,
    /// Where metrics are served, in the clear; `None` serves none.
    pub metrics_listen: Option<SocketAddr>,
    /// How the Kubernetes API is reached.
    pub cluster: Cluster,
    /// Where the serving certificate comes from.
    pub certificates: Certificates,
    /// Versions and suites of TLS.
    pub tls: TlsOptions,
    /// The settings of the rules; their platform is set from the next field.
    pub settings: Settings,
    /// Which EKS platform the cluster is.
    pub platform: PlatformSource,
    /// The namespace whose `pod-identity-webhook` ConfigMap is watched; `None` watches none.
    pub config_map_namespace: Option<String>,
    /// The container credentials file; `None` for none.
    pub container_credentials: Option<PathBuf>,
    /// How often files other than certificates are looked at.
    pub poll: Duration,
    /// How the API is asked for a service account that is not known.
    pub lookup: lookup::Options,
    /// Bounds of connections and bodies.
    pub limits: Limits,
    /// How the server goes down.
    pub drain: Drain,
    /// Whether `/debug/alpha/…` is served.
    pub debug_handlers: bool,
}

/// Bounds of what clients may take: connections, time and memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections to the admission port at most.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the end of the first request's header.
    pub first_request: Duration,
    /// From the end of a request's header to the end of its body.
    pub body: Duration,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of all bodies and answers in flight.
    pub inflight_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(5),
            body: Duration::from_secs(10),
            // A pod is 1.5 MiB in etcd and 3 MiB in a request at most; a review carries it with its options.
            body_bytes: 7 * 1024 * 1024,
            inflight_bytes: 32 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// The limits of a listener with so many connections. What one connection may hold before its requests are read is
    /// kept small, because it comes on top of the budget of [`Limits::inflight_bytes`].
    pub(crate) fn listener(&self, connections: usize) -> irsa_net::Limits {
        irsa_net::Limits {
            connections,
            streams: 100,
            handshake: self.handshake,
            first_request: self.first_request,
            idle: Duration::from_secs(120),
            write: Duration::from_secs(10),
            buffer: 32 * 1024,
            header: 8 * 1024,
            window: 64 * 1024,
        }
    }
}

/// How the server shuts down, one after the other.
#[derive(Clone, Debug)]
pub struct Drain {
    /// For how long it goes on accepting although it is no longer ready: the time in which everybody hears of it.
    pub announce: Duration,
    /// For how long open connections are served while nothing new is accepted and clients are asked to leave.
    pub linger: Duration,
    /// For how long requests in flight may take after that.
    pub finish: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            announce: Duration::from_secs(5),
            linger: Duration::from_secs(5),
            finish: Duration::from_secs(10),
        }
    }
}

impl Drain {
    /// No announcement: for a server that nobody else is told of.
    #[must_use]
    pub fn at_once() -> Self {
        Self {
            announce: Duration::ZERO,
            linger: Duration::ZERO,
            finish: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The defaults with a certificate: any free port of loopback, no metrics port.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics_listen: None,
            cluster: Cluster::default(),
            certificates,
            tls: TlsOptions::default(),
            settings: Settings::default(),
            platform: PlatformSource::Ask,
            config_map_namespace: None,
            container_credentials: None,
            poll: Duration::from_secs(10),
            lookup: lookup::Options::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            debug_handlers: false,
        }
    }
}
