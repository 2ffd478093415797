//! One running server: its ports, its watches, its readiness, and the way down.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use irsa_core::settings::Settings;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admit::Admission;
use crate::certificates::files::{self, Follower};
use crate::certificates::managed;
use crate::cluster;
use crate::config::{Certificates, Config, Drain, PlatformSource};
use crate::directory::lookup::Lookup;
use crate::directory::{Directory, credentials, watch as watches};
use crate::http::{AdmissionPort, MetricsPort, Routes};
use crate::listener::{Listener, Phase};
use crate::metrics::{Metrics, Watch};
use crate::platform;
use crate::readiness::Readiness;
use crate::tls::{self, Pair, Serving};

/// The tasks behind the ports, ended by being dropped.
#[derive(Debug)]
struct Background {
    tasks: JoinSet<()>,
    readiness: Readiness,
}

impl Background {
    /// Runs a task that never ends. If it does, by a defect, the process says that it is broken instead of going on
    /// with what it once knew.
    fn forever(&mut self, condition: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let readiness = self.readiness.clone();
        self.tasks.spawn(async move {
            let _ = AssertUnwindSafe(task).catch_unwind().await;
            tracing::error!(
                condition,
                "a task has ended by a defect of this program; restart the process"
            );
            readiness.break_down(condition);
        });
    }
}

/// The name of the certificate's condition in `/readyz`.
const CERTIFICATE: &str = "certificate";
/// The name of the condition which a server on its way down does not meet.
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
    readiness: Readiness,
    metrics: Arc<Metrics>,
    directory: Arc<Directory>,
    serving: Arc<Serving>,
    phase: watch::Sender<Phase>,
    drain: Drain,
    ports: JoinSet<()>,
    /// Ended by being dropped.
    _background: Background,
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
    pub async fn start_with(config: Config, client: Client) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::new());
        let readiness = Readiness::default();
        let mut settings = config.settings;
        let ask_platform = match config.platform {
            PlatformSource::Known(platform) => {
                settings.platform = platform;
                false
            }
            // Settings that name a platform know better than the API, which does not tell all of it.
            PlatformSource::Ask => settings.platform.is_none(),
        };
        let settings = Arc::new(settings);
        let directory = Arc::new(Directory::new(Arc::clone(&settings)));
        let settings = Arc::new(ArcSwap::new(settings));
        let serving = Arc::new(Serving::default());
        let mut background = Background {
            tasks: JoinSet::new(),
            readiness: readiness.clone(),
        };

        readiness.require(CERTIFICATE, "not read yet");
        match config.certificates {
            Certificates::Pem { chain, key } => {
                serving.set(Pair::from_pem(chain.as_bytes(), key.as_bytes())?)
            }
            Certificates::Managed(managed) => {
                readiness.require(managed::CONDITION, "the caBundle has not been written yet");
                let keeper = managed::Keeper::new(
                    managed,
                    client.clone(),
                    Arc::clone(&serving),
                    readiness.clone(),
                    Arc::clone(&metrics),
                );
                background.forever(CERTIFICATE, keeper.run(CERTIFICATE));
            }
            Certificates::Files(files) => {
                let follower = Follower::start(files, Arc::clone(&serving)).await?;
                background.forever(CERTIFICATE, follower.follow(Arc::clone(&metrics)));
            }
        }
        if ask_platform {
            readiness.require(platform::CONDITION, "the Kubernetes API has not been asked yet");
            background.tasks.spawn(find_platform(
                client.clone(),
                Arc::clone(&settings),
                readiness.clone(),
            ));
        }
        background.forever(
            CERTIFICATE,
            watch_expiry(Arc::clone(&serving), readiness.clone(), Arc::clone(&metrics)),
        );
        if let Some(validity) = serving.validity() {
            metrics.serving_certificate(&validity);
            readiness.set(CERTIFICATE, expired(&validity, Timestamp::now()));
        }

        readiness.require(Watch::ServiceAccounts.as_str(), "the first list has not begun");
        background.forever(
            Watch::ServiceAccounts.as_str(),
            watches::service_accounts(
                client.clone(),
                Arc::clone(&directory),
                readiness.clone(),
                Arc::clone(&metrics),
            ),
        );
        if directory.settings().namespace_defaults {
            readiness.require(Watch::Namespaces.as_str(), "the first list has not begun");
            background.forever(
                Watch::Namespaces.as_str(),
                watches::namespaces(
                    client.clone(),
                    Arc::clone(&directory),
                    readiness.clone(),
                    Arc::clone(&metrics),
                ),
            );
        }
        if let Some(namespace) = config.config_map_namespace {
            readiness.require(Watch::ConfigMap.as_str(), "the first list has not begun");
            background.forever(
                Watch::ConfigMap.as_str(),
                watches::config_map(
                    client.clone(),
                    namespace,
                    Arc::clone(&directory),
                    readiness.clone(),
                    Arc::clone(&metrics),
                ),
            );
        }
        if let Some(path) = config.container_credentials {
            readiness.require(credentials::CONDITION, "not read yet");
            let follower = credentials::Follower::new(path, config.poll, Arc::clone(&directory));
            background.forever(
                credentials::CONDITION,
                follower.follow(readiness.clone(), Arc::clone(&metrics)),
            );
        }

        let lookup = Lookup::new(
            Arc::clone(&directory),
            client,
            config.lookup,
            Arc::clone(&metrics),
        );
        let routes = Arc::new(Routes {
            admission: Admission::new(Arc::clone(&directory), settings, lookup, Arc::clone(&metrics)),
            directory: Arc::clone(&directory),
            readiness: readiness.clone(),
            metrics: Arc::clone(&metrics),
            inflight: Routes::inflight(&config.limits),
            limits: config.limits.clone(),
            debug: config.debug_handlers,
        });
        let tls = Arc::new(
            config
                .tls
                .server_config(Arc::clone(&serving), &[b"h2", b"http/1.1"])?,
        );
        let (phase, phases) = watch::channel(Phase::Open);
        let mut ports = JoinSet::new();
        let bind = |what, address, tls| {
            let listener = Listener::bind(address, tls, config.limits.clone(), Arc::clone(&metrics));
            async move {
                listener.await.map_err(|source| Error::Bind {
                    what,
                    address,
                    source,
                })
            }
        };
        let admission = bind("admissions", config.listen, Some(tls)).await?;
        let address = admission.address();
        let mut metrics_address = None;
        if let Some(listen) = config.metrics_listen {
            let listener = bind("metrics", listen, None).await?;
            metrics_address = Some(listener.address());
            ports.spawn(listener.serve(MetricsPort(Arc::clone(&routes)), phases.clone()));
        }
        ports.spawn(admission.serve(AdmissionPort(routes), phases));
        // In the log, where it listens comes before that it is ready.
        tracing::info!(%address, metrics = ?metrics_address, "listening");
        background.forever(RUNNING, report_ready(readiness.clone(), Arc::clone(&metrics)));

        Ok(Self {
            address,
            metrics_address,
            readiness,
            metrics,
            directory,
            serving,
            phase,
            drain: config.drain,
            ports,
            _background: background,
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
        &self.readiness
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What it knows.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// The certificate it shows.
    #[must_use]
    pub fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }

    /// Waits until it is ready, at most for `patience`.
    ///
    /// # Errors
    /// The page of `/readyz` with each reason, when the time is over.
    pub async fn ready(&self, patience: Duration) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + patience;
        while !self.readiness.is_ready() {
            if tokio::time::Instant::now() >= deadline {
                return Err(self.readiness.page().1);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Goes down in the steps of [`Drain`]; no request that was accepted is lost. Dropping the future cuts it short.
    pub async fn shutdown(self) {
        let drain = self.drain.clone();
        self.shutdown_with(drain).await;
    }

    /// The same with other times than the configured ones.
    pub async fn shutdown_with(mut self, drain: Drain) {
        self.readiness.require(RUNNING, "shutting down");
        self.metrics.ready(false);
        if !drain.announce.is_zero() {
            tracing::info!(
                seconds = drain.announce.as_secs_f64(),
                "shutting down: no longer ready, still serving"
            );
            self.phase.send_replace(Phase::Closing);
            tokio::time::sleep(drain.announce).await;
        }
        if !drain.linger.is_zero() {
            tracing::info!("shutting down: accepting no new connections");
            self.phase.send_replace(Phase::Lingering);
            if self.finished(drain.linger).await {
                return;
            }
        }
        self.phase.send_replace(Phase::Stopping);
        if self.finished(drain.finish).await {
            return;
        }
        tracing::warn!("shutting down: requests in flight took too long and are cut off");
        self.phase.send_replace(Phase::Aborting);
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

/// Asks until there is an answer, then lets the rules know.
async fn find_platform(client: Client, settings: Arc<ArcSwap<Settings>>, readiness: Readiness) {
    let mut wait = Duration::from_millis(200);
    loop {
        let reason = match tokio::time::timeout(Duration::from_secs(5), platform::ask(&client)).await {
            Ok(Ok(platform)) => {
                settings.rcu(|before| Settings {
                    platform,
                    ..Settings::clone(before)
                });
                readiness.set(platform::CONDITION, None);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer within 5 s".to_owned(),
        };
        let reason = format!("cannot ask the Kubernetes API for its version: {reason}; or pass --kubernetes");
        readiness.set(platform::CONDITION, Some(reason));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

/// Why a certificate is not good now.
fn expired(validity: &tls::Validity, now: Timestamp) -> Option<String> {
    if now > validity.not_after {
        Some(format!("expired at {}", validity.not_after))
    } else if now < validity.not_before {
        Some(format!("not valid before {}", validity.not_before))
    } else {
        None
    }
}

/// Looks at the wall clock: a timer of the duration would drift over a suspended machine.
async fn watch_expiry(serving: Arc<Serving>, readiness: Readiness, metrics: Arc<Metrics>) {
    let mut warned = false;
    loop {
        match serving.validity() {
            None => {}
            Some(validity) => {
                let now = Timestamp::now();
                metrics.serving_certificate(&validity);
                readiness.set(CERTIFICATE, expired(&validity, now));
                let left = validity.not_after.as_second() - now.as_second();
                let whole = validity.not_after.as_second() - validity.not_before.as_second();
                let late = left * 10 < whole;
                if late && !warned {
                    tracing::warn!(not_after = %validity.not_after, "the serving certificate has used up nine tenths of its time and was not renewed");
                }
                warned = late;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Keeps the metric, and says in the log when readiness changes.
async fn report_ready(readiness: Readiness, metrics: Arc<Metrics>) {
    let mut before = None;
    loop {
        let ready = readiness.is_ready();
        metrics.ready(ready);
        if before != Some(ready) {
            if ready {
                tracing::info!("ready");
            } else if before.is_some() {
                tracing::warn!(
                    "no longer ready: {}",
                    readiness.page().1.trim_end().replace('\n', "; ")
                );
            }
            before = Some(ready);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
