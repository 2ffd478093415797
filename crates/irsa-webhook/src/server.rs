//! One running server: its ports, its watches, its readiness, and its shutdown.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use irsa_net::ca::BACKDATE;
use irsa_net::files::{self, Follower};
use irsa_net::tls::{self, Pair, Serving};
use irsa_net::{Budget, Condition, Http, Listener, Observer, Phase, Readiness};
use jiff::Timestamp;
use kube::Client;
use tokio::task::JoinSet;

use crate::admit::Admission;
use crate::certificates::managed;
use crate::cluster;
use crate::config::{Certificates, Config, Drain, PlatformSource};
use crate::directory::lookup::ApiLookup;
use crate::directory::{Directory, credentials, watch as watches};
use crate::http::{AdmissionPort, MetricsPort, Routes};
use crate::metrics::{Metrics, Watch};
use crate::platform;
use crate::sample::Sampled;

/// The name of the certificate's condition in `/readyz`.
const CERTIFICATE: &str = "certificate";
/// The name of the condition that a server which is shutting down does not meet.
const RUNNING: &str = "running";

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate files cannot be used.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The certificate or the TLS settings cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The Kubernetes API's configuration cannot be used.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A port cannot be bound.
    #[error("cannot listen on {address} for {what}: {source}")]
    Bind {
        /// What it was to serve.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running server. Dropped, it ends at once; [`Server::shutdown`] drains it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    parts: Parts,
    running: Condition,
    phases: irsa_net::Drain,
    drain: Drain,
    ports: JoinSet<()>,
}

/// What the parts of a server share, and the tasks behind its ports, which end when they are dropped.
#[derive(Debug)]
struct Parts {
    readiness: Readiness,
    metrics: Arc<Metrics>,
    directory: Arc<Directory>,
    serving: Arc<Serving>,
    tasks: JoinSet<()>,
}

impl Parts {
    /// Runs a task that never ends. If it does, because it panicked, `/healthz` fails instead of the server going on
    /// with what it once knew.
    fn forever(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let readiness = self.readiness.clone();
        self.tasks.spawn(async move {
            let _ = AssertUnwindSafe(task).catch_unwind().await;
            tracing::error!(
                task = name,
                "internal error: a background task stopped unexpectedly; restart the process"
            );
            readiness.break_down(name);
        });
    }

    async fn start_certificates(&mut self, certificates: Certificates, client: &Client) -> Result<(), Error> {
        let (serving, metrics) = (Arc::clone(&self.serving), Arc::clone(&self.metrics));
        let condition = self.readiness.require(CERTIFICATE, "not read yet");
        match certificates {
            Certificates::Pem { chain, key } => {
                serving.set(Pair::from_pem(chain.as_bytes(), key.as_bytes())?);
            }
            Certificates::Managed(managed) => {
                let bundle = self
                    .readiness
                    .require(managed::CONDITION, "the caBundle has not been written yet");
                let keeper = managed::Keeper::new(
                    managed,
                    client.clone(),
                    Arc::clone(&serving),
                    bundle,
                    Arc::clone(&metrics),
                );
                self.forever(CERTIFICATE, keeper.run());
            }
            Certificates::Files(files) => {
                let follower = Follower::start(files, Arc::clone(&serving)).await?;
                let (serving, metrics) = (Arc::clone(&serving), Arc::clone(&metrics));
                let looked = move |result: Result<(), &files::Error>, first| {
                    report_files(result, first, &serving, &metrics)
                };
                self.forever(CERTIFICATE, follower.follow(looked));
            }
        }
        condition.set(serving.problem(Timestamp::now()));
        self.forever(CERTIFICATE, watch_expiry(serving, condition, metrics));
        Ok(())
    }

    /// Starts the watches and the credentials file's follower.
    fn start_watches(&mut self, config: &Config, client: &Client) {
        let condition = |which: Watch| {
            self.readiness
                .require(which.as_str(), "the first list has not begun")
        };
        let accounts = condition(Watch::ServiceAccounts);
        let namespaces = self
            .directory
            .settings()
            .namespace_defaults
            .then(|| condition(Watch::Namespaces));
        let config_map = config
            .config_map_namespace
            .clone()
            .map(|namespace| (namespace, condition(Watch::ConfigMap)));
        let (directory, metrics) = (Arc::clone(&self.directory), Arc::clone(&self.metrics));
        let shared = || (client.clone(), Arc::clone(&directory));
        let (own, all) = shared();
        let watch = watches::service_accounts(own, all, accounts, Arc::clone(&metrics));
        self.forever(Watch::ServiceAccounts.as_str(), watch);
        if let Some(condition) = namespaces {
            let (own, all) = shared();
            let watch = watches::namespaces(own, all, condition, Arc::clone(&metrics));
            self.forever(Watch::Namespaces.as_str(), watch);
        }
        if let Some((namespace, condition)) = config_map {
            let (own, all) = shared();
            let watch = watches::config_map(own, namespace, all, condition, Arc::clone(&metrics));
            self.forever(Watch::ConfigMap.as_str(), watch);
        }
        if let Some(path) = config.container_credentials.clone() {
            let condition = self.readiness.require(credentials::CONDITION, "not read yet");
            let follower = credentials::Follower::new(path, config.poll, Arc::clone(&directory));
            self.forever(credentials::CONDITION, follower.follow(condition, metrics));
        }
    }
}

impl Server {
    /// Starts a server: everything that can be wrong with the settings is found here; what has to come from the
    /// Kubernetes API is waited for in the background, see [`Server::readiness`].
    ///
    /// # Errors
    /// Each says what is wrong and with which setting.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let client = cluster::client(&config.cluster).await?;
        Self::start_with(config, client).await
    }

    /// The same with a client that exists already.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(mut config: Config, client: Client) -> Result<Self, Error> {
        let ask_platform = match config.platform {
            PlatformSource::Known(platform) => {
                config.settings.platform = platform;
                false
            }
            // Settings that name a platform know better than the API, which does not tell all of it.
            PlatformSource::Ask => config.settings.platform.is_none(),
        };
        let settings = Arc::new(config.settings.clone());
        let mut parts = Parts {
            readiness: Readiness::default(),
            metrics: Arc::new(Metrics::new()),
            directory: Arc::new(Directory::new(Arc::clone(&settings))),
            serving: Arc::default(),
            tasks: JoinSet::new(),
        };
        let settings = Arc::new(ArcSwap::new(settings));
        parts
            .start_certificates(config.certificates.clone(), &client)
            .await?;
        if ask_platform {
            let condition = parts
                .readiness
                .require(platform::CONDITION, "the Kubernetes API has not been asked yet");
            parts
                .tasks
                .spawn(platform::find(client.clone(), Arc::clone(&settings), condition));
        }
        parts.start_watches(&config, &client);
        let running = parts.readiness.require(RUNNING, "starting");
        let lookup = ApiLookup::new(
            Arc::clone(&parts.directory),
            client,
            config.lookup.clone(),
            Arc::clone(&parts.metrics),
        );
        let routes = Arc::new(Routes {
            admission: Admission::new(
                Arc::clone(&parts.directory),
                settings,
                lookup,
                Arc::clone(&parts.metrics),
            ),
            directory: Arc::clone(&parts.directory),
            readiness: parts.readiness.clone(),
            metrics: Arc::clone(&parts.metrics),
            budget: Budget::new(config.limits.inflight_bytes.max(config.limits.body_bytes)),
            limits: config.limits.clone(),
            debug: config.debug_handlers,
            log: Sampled::default(),
        });
        Self::listen(config, parts, running, routes).await
    }

    /// Binds the ports and starts to serve.
    async fn listen(
        config: Config,
        mut parts: Parts,
        running: Condition,
        routes: Arc<Routes>,
    ) -> Result<Self, Error> {
        let tls = config
            .tls
            .server_config(Arc::clone(&parts.serving), &[b"h2", b"http/1.1"])?;
        let bind = async |what, address| {
            Listener::bind(address).await.map_err(|source| Error::Bind {
                what,
                address,
                source,
            })
        };
        let phases = irsa_net::Drain::default();
        let mut ports = JoinSet::new();
        let admission = bind("admissions", config.listen).await?;
        let address = admission.address();
        let mut metrics_address = None;
        if let Some(listen) = config.metrics_listen {
            let listener = bind("metrics", listen).await?;
            metrics_address = Some(listener.address());
            let port = Http::plain(MetricsPort(Arc::clone(&routes)));
            let limits = config.limits.listener(METRICS_CONNECTIONS);
            ports.spawn(listener.serve(port, limits, Arc::new(()), phases.phases()));
        }
        let port = Http::tls(AdmissionPort(routes), Arc::new(tls));
        let limits = config.limits.listener(config.limits.connections);
        let observer: Arc<dyn Observer> = parts.metrics.clone();
        ports.spawn(admission.serve(port, limits, observer, phases.phases()));
        running.met();
        // In the log, where it listens comes before that it is ready.
        tracing::info!(%address, metrics = ?metrics_address, "listening");
        let report = report_ready(parts.readiness.clone(), Arc::clone(&parts.metrics));
        parts.forever(RUNNING, report);
        Ok(Self {
            address,
            metrics_address,
            parts,
            running,
            phases,
            drain: config.drain,
            ports,
        })
    }

    /// Where admissions are served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Whether it may be sent admissions, and why not.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.parts.readiness
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// What it knows.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.parts.directory
    }

    /// The certificate it shows.
    #[must_use]
    pub fn serving(&self) -> &Arc<Serving> {
        &self.parts.serving
    }

    /// Waits until it is ready, at most for `patience`.
    ///
    /// # Errors
    /// The page of `/readyz` with each reason, when the time is over.
    pub async fn ready(&self, patience: Duration) -> Result<(), String> {
        tokio::time::timeout(patience, self.parts.readiness.ready())
            .await
            .map_err(|_elapsed| self.parts.readiness.page().1)
    }

    /// Shuts down in the steps of [`Drain`]; no request that was accepted is lost. Dropping the future cuts it short.
    pub async fn shutdown(self) {
        let drain = self.drain.clone();
        self.shutdown_with(drain).await;
    }

    /// The same with other times than the configured ones.
    pub async fn shutdown_with(mut self, drain: Drain) {
        self.running.unmet("shutting down");
        if !drain.announce.is_zero() {
            tracing::info!(
                seconds = drain.announce.as_secs_f64(),
                "shutting down: no longer ready, still serving"
            );
            self.phases.advance(Phase::Closing);
            tokio::time::sleep(drain.announce).await;
        }
        if !drain.linger.is_zero() {
            tracing::info!("shutting down: accepting no new connections");
            self.phases.advance(Phase::Lingering);
            if self.finished(drain.linger).await {
                return;
            }
        }
        self.phases.advance(Phase::Stopping);
        if self.finished(drain.finish).await {
            return;
        }
        tracing::warn!("shutting down: requests in flight took too long and are cut off");
        self.phases.advance(Phase::Aborting);
        while self.ports.join_next().await.is_some() {}
    }

    /// Whether both ports were done within `patience`.
    async fn finished(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, async {
            while self.ports.join_next().await.is_some() {}
        })
        .await
        .is_ok()
    }
}

/// Connections to the metrics port at once.
const METRICS_CONNECTIONS: usize = 64;

/// Counts and logs what a look at the certificate files brought.
fn report_files(result: Result<(), &files::Error>, first: bool, serving: &Serving, metrics: &Metrics) {
    metrics.certificate_reloaded(result.is_ok());
    match result {
        Ok(()) => {
            if let Some(validity) = serving.validity() {
                tracing::info!(serial = %validity.serial, not_after = %validity.not_after, "certificate reloaded");
            }
        }
        // Once for each failure, not once for each look.
        Err(error) if first => {
            tracing::warn!(%error, "the certificate files cannot be used; the last good pair stays in service");
        }
        Err(_) => {}
    }
}

/// Keeps the condition and the metric of the served certificate. Looks at the wall clock: a timer of the duration would
/// drift while a machine is suspended.
async fn watch_expiry(serving: Arc<Serving>, condition: Condition, metrics: Arc<Metrics>) {
    let mut warned = false;
    loop {
        let now = Timestamp::now();
        condition.set(serving.problem(now));
        if let Some(validity) = serving.validity() {
            metrics.serving_certificate(&validity);
            let left = validity.not_after.as_second() - now.as_second();
            // Most of the life of a short-lived certificate can lie before it was made.
            let whole = validity.not_after.as_second() - validity.not_before.as_second() - BACKDATE;
            let late = left * 10 < whole.max(1);
            if late && !warned {
                tracing::warn!(not_after = %validity.not_after, "the serving certificate has less than a tenth of its lifetime left and has not been renewed");
            }
            warned = late;
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), serving.changed()).await;
    }
}

/// Keeps the metric, and logs when readiness changes.
async fn report_ready(readiness: Readiness, metrics: Arc<Metrics>) {
    loop {
        readiness.ready().await;
        metrics.ready(true);
        tracing::info!("ready");
        readiness.not_ready().await;
        metrics.ready(false);
        let (_, page) = readiness.page();
        tracing::warn!("no longer ready: {}", page.trim_end().replace('\n', "; "));
    }
}
