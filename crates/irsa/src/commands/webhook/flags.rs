//! The flags of `irsa webhook`: those of the Go webhook in their spelling and with their defaults, and ours. Each has an
//! environment variable, `IRSA_WEBHOOK_` and its name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use irsa_core::duration::parse_go;
use irsa_core::flags::PlatformFlag;
use irsa_net::files::Files;
use irsa_net::tls::{MinVersion, TlsOptions};
use irsa_webhook::certificates::managed::Managed;
use irsa_webhook::config::PlatformSource;
use irsa_webhook::directory::lookup;
use irsa_webhook::{Certificates, Cluster, Config, Drain, Limits, imds};

use super::rules::Rules;
use super::{go, klog};

/// Give the pods of annotated service accounts their identity and their STS endpoint (the admission webhook)
///
/// A drop-in for aws/amazon-eks-pod-identity-webhook: the same flags, annotations, paths and metrics. See docs/webhook.md
/// for what differs and why.
///
/// A flag that is given more than once has its last value, as in Go.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) log: klog::Logging,
    #[command(flatten)]
    pub(super) server: Server,
    #[command(flatten)]
    pub(super) lookup: LookupArgs,
    #[command(flatten)]
    pub(super) rules: Rules,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Server and Kubernetes API")]
pub(crate) struct Server {
    /// Port to listen on
    // Not IRSA_WEBHOOK_PORT: Kubernetes sets that for a Service named irsa-webhook.
    #[arg(long, value_parser = go::port, default_value = "443", env = "IRSA_WEBHOOK_PORT_NUMBER")]
    port: u16,
    /// Port to listen on for metrics (http)
    #[arg(long, value_parser = go::port, default_value = "9999", env = "IRSA_WEBHOOK_METRICS_PORT_NUMBER")]
    metrics_port: u16,
    /// Address to listen on for both ports; all addresses when left out
    #[arg(long, value_name = "ADDRESS", env = "IRSA_WEBHOOK_BIND_ADDRESS")]
    bind_address: Option<IpAddr>,
    /// (out-of-cluster) Path of the kubeconfig
    #[arg(long, value_name = "FILE", env = "IRSA_WEBHOOK_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// (out-of-cluster) The URL of the API server
    #[arg(long, value_name = "URL", env = "IRSA_WEBHOOK_KUBE_API")]
    kube_api: Option<String>,
    /// Make the serving certificate itself and keep it in a Secret; false takes it from --tls-cert and --tls-key
    #[arg(long, value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", env = "IRSA_WEBHOOK_IN_CLUSTER")]
    in_cluster: bool,
    /// The namespace of this webhook, its Secret and its ConfigMap
    #[arg(long, default_value = "eks", env = "IRSA_WEBHOOK_NAMESPACE")]
    namespace: String,
    /// (in-cluster) The Service in front of this webhook
    #[arg(
        long,
        default_value = "pod-identity-webhook",
        env = "IRSA_WEBHOOK_SERVICE_NAME"
    )]
    service_name: String,
    /// (in-cluster) The Secret that keeps CA and serving certificate
    #[arg(long, default_value = "pod-identity-webhook", env = "IRSA_WEBHOOK_TLS_SECRET")]
    tls_secret: String,
    /// (in-cluster) The MutatingWebhookConfiguration whose caBundle is kept right; empty to leave it to somebody else
    #[arg(
        long,
        default_value = "pod-identity-webhook",
        value_name = "NAME",
        env = "IRSA_WEBHOOK_WEBHOOK_CONFIGURATION"
    )]
    webhook_configuration: String,
    /// (in-cluster) A further name or address that the serving certificate is good for; may be repeated
    #[arg(
        long,
        value_name = "NAME",
        env = "IRSA_WEBHOOK_TLS_NAME",
        value_delimiter = ','
    )]
    tls_name: Vec<String>,
    /// (in-cluster) How long a serving certificate is valid; it is renewed after two thirds of that
    #[arg(long, value_name = "DURATION", value_parser = parse_go, default_value = "2160h", env = "IRSA_WEBHOOK_CERTIFICATE_LIFETIME")]
    certificate_lifetime: Duration,
    /// (in-cluster) How long a CA is valid; the next one is trusted beside it after two thirds of that
    #[arg(long, value_name = "DURATION", value_parser = parse_go, default_value = "8760h", env = "IRSA_WEBHOOK_CA_LIFETIME")]
    ca_lifetime: Duration,
    /// (in-cluster) How long a new CA is trusted before it signs what is served
    #[arg(long, value_name = "DURATION", value_parser = parse_go, default_value = "2m", env = "IRSA_WEBHOOK_CA_OVERLAP")]
    ca_overlap: Duration,
    /// (out-of-cluster) TLS certificate file, read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/webhook/certs/tls.crt",
        env = "IRSA_WEBHOOK_TLS_CERT"
    )]
    tls_cert: PathBuf,
    /// (out-of-cluster) TLS key file, read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/webhook/certs/tls.key",
        env = "IRSA_WEBHOOK_TLS_KEY"
    )]
    tls_key: PathBuf,
    /// How often files are looked at
    #[arg(long, value_name = "DURATION", value_parser = parse_go, default_value = "10s", env = "IRSA_WEBHOOK_POLL_INTERVAL")]
    poll_interval: Duration,
    /// Comma-separated cipher suites for TLS 1.2, in the names of Go; all that are offered when left out
    #[arg(
        long,
        value_name = "LIST",
        env = "IRSA_WEBHOOK_TLS_CIPHER_SUITES",
        default_value = "",
        hide_default_value = true
    )]
    tls_cipher_suites: String,
    /// The minimum TLS version: 1.2 or 1.3
    #[arg(
        long,
        value_name = "VERSION",
        env = "IRSA_WEBHOOK_TLS_MIN_VERSION",
        default_value = "",
        hide_default_value = true
    )]
    tls_min_version: String,
    /// Connections open at once; at the limit the ones that carry nothing make room
    #[arg(long, default_value_t = 256, env = "IRSA_WEBHOOK_MAX_CONNECTIONS")]
    max_connections: usize,
    /// Bytes of all request bodies and responses in flight; at least 7 MiB
    #[arg(long, default_value_t = 33_554_432, env = "IRSA_WEBHOOK_MAX_INFLIGHT_BYTES")]
    max_inflight_bytes: usize,
    /// On SIGTERM: how long to go on accepting while no longer ready, so that everybody hears of it
    #[arg(long, value_name = "DURATION", value_parser = parse_go, default_value = "5s", env = "IRSA_WEBHOOK_SHUTDOWN_DELAY")]
    shutdown_delay: Duration,
    /// On SIGTERM, after that: how long open connections and requests may take
    #[arg(long, value_name = "DURATION", value_parser = parse_go, default_value = "10s", env = "IRSA_WEBHOOK_SHUTDOWN_TIMEOUT")]
    shutdown_timeout: Duration,
    /// Serve /debug/alpha/cache, cache/clear, deny and 500
    #[arg(long, value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", env = "IRSA_WEBHOOK_ENABLE_DEBUGGING_HANDLERS")]
    enable_debugging_handlers: bool,
    /// Accepted and without effect: the watch needs no resync, nothing is read twice
    #[arg(long, value_name = "DURATION", value_parser = parse_go, default_value = "60s", hide = true)]
    _resync_period: Duration,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Service accounts that are not known yet")]
pub(crate) struct LookupArgs {
    /// How long a pod may wait for a service account that is not known yet; 2s unless --compat upstream, which has 0
    #[arg(long, value_name = "DURATION", value_parser = parse_go, env = "IRSA_WEBHOOK_SERVICE_ACCOUNT_LOOKUP_GRACE_PERIOD")]
    service_account_lookup_grace_period: Option<Duration>,
    /// Reads of unknown service accounts per second, in the long run
    #[arg(long, default_value_t = 10.0, env = "IRSA_WEBHOOK_SERVICE_ACCOUNT_LOOKUP_QPS")]
    service_account_lookup_qps: f64,
    /// Reads of unknown service accounts at once
    #[arg(long, default_value_t = 20, env = "IRSA_WEBHOOK_SERVICE_ACCOUNT_LOOKUP_BURST")]
    service_account_lookup_burst: u32,
}

impl Args {
    /// The settings that these flags mean, the instance's metadata included if they ask for it. `arguments` and
    /// `variable` are the words and the environment that they were parsed from.
    ///
    /// # Errors
    /// A flag that cannot be honoured, in a sentence that says what to do.
    pub(super) async fn config(
        self,
        arguments: &[String],
        variable: impl FnMut(&str) -> Option<String>,
    ) -> anyhow::Result<Config> {
        let Self {
            log: _,
            server,
            lookup,
            rules: Rules,
        } = self;
        let read = irsa_core::flags::read(arguments, variable)?;
        let mut settings = read.settings;
        if read.compose_from_metadata {
            let found = imds::compose(&imds::Options::from_env()).await.context(
                "--compose-role-arn: the instance's metadata cannot be read; pass --compose-role-account instead",
            )?;
            settings.compose = Some(found);
        }
        let wait = if settings.compat.is_upstream() {
            Duration::ZERO
        } else {
            Duration::from_secs(2)
        };
        if !(lookup.service_account_lookup_qps.is_finite() && lookup.service_account_lookup_qps > 0.0) {
            bail!("--service-account-lookup-qps must be a number greater than zero");
        }
        let lookup = lookup::Options {
            wait: lookup.service_account_lookup_grace_period.unwrap_or(wait),
            per_second: lookup.service_account_lookup_qps,
            burst: f64::from(lookup.service_account_lookup_burst.max(1)),
            ..lookup::Options::default()
        };
        let address = |port| SocketAddr::new(server.bind_address.unwrap_or_else(every_address), port);
        let config = Config {
            listen: address(server.port),
            metrics_listen: Some(address(server.metrics_port)),
            cluster: match (server.kubeconfig.clone(), server.kube_api.clone()) {
                (kubeconfig, Some(url)) if !url.is_empty() => Cluster::Address { url, kubeconfig },
                (Some(path), _) => Cluster::File(path),
                (None, _) => Cluster::Infer,
            },
            tls: TlsOptions {
                min_version: match server.tls_min_version.as_str() {
                    "" => MinVersion::default(),
                    text => MinVersion::parse(text).context("--tls-min-version")?,
                },
                cipher_suites: TlsOptions::parse_cipher_suites(&server.tls_cipher_suites)
                    .context("--tls-cipher-suites")?,
            },
            certificates: server.certificates()?,
            settings,
            platform: match read.platform {
                PlatformFlag::Ask => PlatformSource::Ask,
                PlatformFlag::Known(platform) => PlatformSource::Known(platform),
            },
            config_map_namespace: read.watch_config_map.then(|| server.namespace.clone()),
            container_credentials: read.container_credentials_file.map(|path| PathBuf::from(&*path)),
            poll: server.poll_interval,
            lookup,
            limits: Limits {
                connections: server.max_connections.max(1),
                inflight_bytes: server.max_inflight_bytes,
                ..Limits::default()
            },
            drain: Drain {
                announce: server.shutdown_delay,
                linger: server.shutdown_timeout / 2,
                finish: server.shutdown_timeout / 2,
            },
            debug_handlers: server.enable_debugging_handlers,
        };
        Ok(config)
    }
}

impl Server {
    fn certificates(&self) -> anyhow::Result<Certificates> {
        if !self.in_cluster {
            return Ok(Certificates::Files(Files {
                cert: self.tls_cert.clone(),
                key: self.tls_key.clone(),
                poll: self.poll_interval.max(Duration::from_millis(10)),
            }));
        }
        if self.ca_lifetime < self.certificate_lifetime {
            bail!(
                "--ca-lifetime must not be shorter than --certificate-lifetime: a certificate cannot outlive its CA"
            );
        }
        if self.ca_overlap < self.poll_interval * 3 {
            bail!(
                "--ca-overlap must be three times --poll-interval at least: every replica has to have seen a new CA before it signs"
            );
        }
        if self.ca_overlap * 6 > self.certificate_lifetime {
            bail!("--ca-overlap is too long for --certificate-lifetime: it must be a sixth of it at most");
        }
        Ok(Certificates::Managed(Managed {
            namespace: self.namespace.clone(),
            secret: self.tls_secret.clone(),
            service: self.service_name.clone(),
            names: self.tls_name.clone(),
            webhook_configuration: Some(self.webhook_configuration.clone()).filter(|name| !name.is_empty()),
            ca_lifetime: self.ca_lifetime,
            leaf_lifetime: self.certificate_lifetime,
            overlap: self.ca_overlap,
            poll: self.poll_interval.max(Duration::from_millis(50)),
        }))
    }
}

/// Both families where the machine has both, as Go listens.
fn every_address() -> IpAddr {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Err(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}
