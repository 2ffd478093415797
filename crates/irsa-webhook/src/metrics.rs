//! What the server counts. The names of the Go webhook are kept as they are; ours begin with `irsa_webhook_`.
//!
//! The Go names are counters without the `_total` which OpenMetrics demands of counters, so they are exposed with the
//! type `unknown`: queries written for the Go webhook go on working.

mod go;
mod labels;
mod page;
mod process;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use irsa_net::tls::Validity;
use irsa_net::{Observer, Refusal};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use go::{Plain, Summary, SummaryCollector};
use labels::{
    CertificateLabel, Endpoint, KindLabel, Method, OutcomeLabel, ReasonLabel, ReasonLabelOf, Request, Route,
    WarningLabel, WatchLabel,
};
pub use labels::{LookupResult, Reason, Watch};
pub use page::Format;

type Float = Gauge<f64, AtomicU64>;

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Plain>,
    latencies: Family<Route, Histogram, fn() -> Histogram>,
    durations: Arc<Summary>,
    used: Gauge,
    pods: Family<Method, Plain>,
    missing: Plain,
    admissions: Family<ReasonLabel, Counter>,
    warnings: Family<WarningLabel, Counter>,
    endpoints: Family<Endpoint, Counter>,
    patch_seconds: Histogram,
    patch_bytes: Histogram,
    cache: Family<KindLabel, Gauge>,
    synced: Family<WatchLabel, Gauge>,
    watch_errors: Family<WatchLabel, Counter>,
    watch_success: Family<WatchLabel, Gauge>,
    lookups: Family<OutcomeLabel, Counter>,
    not_after: Family<CertificateLabel, Gauge>,
    reloads: Family<OutcomeLabel, Counter>,
    ca_bundle_writes: Counter,
    rotation_seconds: Histogram,
    connections: Gauge,
    refused: Family<ReasonLabelOf, Counter>,
    accept_errors: Counter,
    ready: Gauge,
    credentials_file: Family<OutcomeLabel, Counter>,
    started: Float,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every metric at its first value.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            latencies: Family::new_with_constructor(go::latency_buckets),
            durations: Arc::default(),
            used: Gauge::default(),
            pods: Family::default(),
            missing: Plain::default(),
            admissions: Family::default(),
            warnings: Family::default(),
            endpoints: Family::default(),
            patch_seconds: Histogram::new(exponential_buckets(0.000_01, 2.0, 14)),
            patch_bytes: Histogram::new(exponential_buckets(256.0, 2.0, 8)),
            cache: Family::default(),
            synced: Family::default(),
            watch_errors: Family::default(),
            watch_success: Family::default(),
            lookups: Family::default(),
            not_after: Family::default(),
            reloads: Family::default(),
            ca_bundle_writes: Counter::default(),
            rotation_seconds: Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            connections: Gauge::default(),
            refused: Family::default(),
            accept_errors: Counter::default(),
            ready: Gauge::default(),
            credentials_file: Family::default(),
            started: Float::default(),
        };
        metrics.register_upstream();
        metrics.register_admissions();
        metrics.register_server();
        for reason in Reason::ALL {
            let _ = metrics.admissions.get_or_create(&ReasonLabel { reason });
        }
        for refusal in Refusal::ALL {
            let _ = metrics.refused.get_or_create(&ReasonLabelOf {
                reason: refusal.as_str(),
            });
        }
        if let Ok(since) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            metrics.started.set(since.as_secs_f64());
        }
        metrics
    }

    fn register_upstream(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "http_request_count",
            "Requests by verb, path and status code",
            self.requests.clone(),
        );
        registry.register(
            "http_request_latencies",
            "Latency of responses in microseconds, by verb and path",
            self.latencies.clone(),
        );
        registry.register(
            "pod_identity_webhook_used",
            "1 once a service account has been seen",
            self.used.clone(),
        );
        registry.register(
            "pod_identity_webhook_pod_count",
            "Pods that use web identity or container credentials, by method",
            self.pods.clone(),
        );
        registry.register(
            "pod_identity_webhook_missing_sa_count",
            "Pods whose service account was not known and could not be looked up in time",
            self.missing.clone(),
        );
        registry.register(
            "certificate_manager_server_rotation_seconds",
            "How long a self-made certificate was in use before it was rotated",
            self.rotation_seconds.clone(),
        );
        registry.register_collector(Box::new(SummaryCollector(Arc::clone(&self.durations))));
        registry.register_collector(Box::new(process::Process));
    }

    fn register_admissions(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("irsa_webhook");
        registry.register(
            "admissions",
            "Admissions by what became of them",
            self.admissions.clone(),
        );
        registry.register(
            "warnings",
            "Warnings given to users, by kind",
            self.warnings.clone(),
        );
        registry.register(
            "endpoint_choices",
            "Mutated pods by STS endpoint type and by who decided it",
            self.endpoints.clone(),
        );
        registry.register(
            "patch_seconds",
            "Time from the complete body to the complete answer, waiting for the API included",
            self.patch_seconds.clone(),
        );
        registry.register(
            "patch_bytes",
            "Size of the JSON patches",
            self.patch_bytes.clone(),
        );
        registry.register("cache_entries", "Objects known, by kind", self.cache.clone());
        registry.register(
            "watch_synced",
            "1 once the first list of a watch is in",
            self.synced.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed lists and watches",
            self.watch_errors.clone(),
        );
        registry.register(
            "watch_last_success_timestamp_seconds",
            "When the last event or list of a watch arrived",
            self.watch_success.clone(),
        );
    }

    fn register_server(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("irsa_webhook");
        registry.register(
            "service_account_lookups",
            "Reads of service accounts that the watch had not brought, by result",
            self.lookups.clone(),
        );
        registry.register(
            "certificate_not_after_timestamp_seconds",
            "When a certificate expires",
            self.not_after.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Reloads of the certificate, by result",
            self.reloads.clone(),
        );
        registry.register(
            "ca_bundle_writes",
            "Writes of the caBundle of the MutatingWebhookConfiguration",
            self.ca_bundle_writes.clone(),
        );
        registry.register(
            "connections",
            "Open connections to the admission port",
            self.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that ended before they carried a request, by reason",
            self.refused.clone(),
        );
        registry.register(
            "accept_errors",
            "Failures to accept a connection",
            self.accept_errors.clone(),
        );
        registry.register("ready", "1 while the server is ready", self.ready.clone());
        registry.register(
            "container_credentials_loads",
            "Loads of the container credentials file, by result",
            self.credentials_file.clone(),
        );
        registry.register(
            "start_time_seconds",
            "When the server started",
            self.started.clone(),
        );
    }

    /// The metrics page.
    #[must_use]
    pub fn page(&self, format: Format) -> String {
        page::page(&self.registry, format)
    }

    pub(crate) fn request(&self, verb: &'static str, path: &'static str, code: u16, took: Duration) {
        let micros = took.as_secs_f64() * 1e6;
        let route = Route { verb, path };
        self.requests.get_or_create(&Request { verb, path, code }).0.inc();
        self.latencies.get_or_create(&route).observe(micros);
        self.durations.observe(&route, micros);
    }

    pub(crate) fn admission(&self, reason: Reason, took: Duration) {
        self.admissions.get_or_create(&ReasonLabel { reason }).inc();
        self.patch_seconds.observe(took.as_secs_f64());
        if matches!(
            reason,
            Reason::NoServiceAccount | Reason::LookupTimeout | Reason::LookupFailed | Reason::LookupOff
        ) {
            self.missing.0.inc();
        }
    }

    pub(crate) fn pod(&self, method: &'static str) {
        self.pods.get_or_create(&Method { method }).0.inc();
    }

    pub(crate) fn patch(&self, bytes: usize, endpoint: Option<(&'static str, &'static str)>) {
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        self.patch_bytes.observe(bytes as f64);
        if let Some((endpoint, source)) = endpoint {
            self.endpoints.get_or_create(&Endpoint { endpoint, source }).inc();
        }
    }

    pub(crate) fn warning(&self, kind: &'static str) {
        self.warnings.get_or_create(&WarningLabel { kind }).inc();
    }

    pub(crate) fn service_account_seen(&self) {
        self.used.set(1);
    }

    pub(crate) fn cache_entries(&self, kind: &'static str, count: usize) {
        self.cache
            .get_or_create(&KindLabel { kind })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn watch_synced(&self, watch: Watch, synced: bool) {
        self.synced
            .get_or_create(&WatchLabel {
                resource: watch.as_str(),
            })
            .set(i64::from(synced));
    }

    pub(crate) fn watch_event(&self, watch: Watch) {
        self.watch_success
            .get_or_create(&WatchLabel {
                resource: watch.as_str(),
            })
            .set(jiff::Timestamp::now().as_second());
    }

    pub(crate) fn watch_error(&self, watch: Watch) {
        self.watch_errors
            .get_or_create(&WatchLabel {
                resource: watch.as_str(),
            })
            .inc();
    }

    pub(crate) fn lookup(&self, result: LookupResult) {
        self.lookups
            .get_or_create(&OutcomeLabel {
                result: result.as_str(),
            })
            .inc();
    }

    pub(crate) fn serving_certificate(&self, validity: &Validity) {
        self.not_after
            .get_or_create(&CertificateLabel {
                certificate: "serving",
            })
            .set(validity.not_after.as_second());
    }

    pub(crate) fn ca_certificate(&self, validity: &Validity) {
        self.not_after
            .get_or_create(&CertificateLabel { certificate: "ca" })
            .set(validity.not_after.as_second());
    }

    pub(crate) fn ca_bundle_written(&self) {
        self.ca_bundle_writes.inc();
    }

    pub(crate) fn rotated(&self, lived_seconds: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a lifetime is far below 2^52 seconds")]
        self.rotation_seconds.observe(lived_seconds as f64);
    }

    pub(crate) fn certificate_reloaded(&self, good: bool) {
        self.reloads
            .get_or_create(&OutcomeLabel {
                result: if good { "ok" } else { "error" },
            })
            .inc();
    }

    pub(crate) fn credentials_file_loaded(&self, good: bool) {
        self.credentials_file
            .get_or_create(&OutcomeLabel {
                result: if good { "ok" } else { "error" },
            })
            .inc();
    }

    pub(crate) fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }
}

impl Observer for Metrics {
    fn opened(&self) {
        self.connections.inc();
    }

    fn closed(&self) {
        self.connections.dec();
    }

    fn refused(&self, refusal: Refusal) {
        self.refused
            .get_or_create(&ReasonLabelOf {
                reason: refusal.as_str(),
            })
            .inc();
    }

    fn accept_failed(&self) {
        self.accept_errors.inc();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn used() -> Metrics {
        let metrics = Metrics::new();
        metrics.request("POST", "/mutate", 200, Duration::from_millis(2));
        metrics.pod("sts_web_identity");
        metrics.admission(Reason::LookupTimeout, Duration::from_millis(1));
        metrics.service_account_seen();
        metrics
    }

    #[test]
    fn the_names_of_the_go_webhook_are_exposed_in_both_formats() {
        let metrics = used();
        let lines = [
            "http_request_count{verb=\"POST\",path=\"/mutate\",code=\"200\"} 1\n",
            "http_request_latencies_bucket{le=\"125000\",verb=\"POST\",path=\"/mutate\"} 1\n",
            "http_request_latencies_bucket{le=\"1e+06\",verb=\"POST\",path=\"/mutate\"} 1\n",
            "http_request_latencies_bucket{le=\"+Inf\",verb=\"POST\",path=\"/mutate\"} 1\n",
            "http_request_duration_microseconds_count{verb=\"POST\",path=\"/mutate\"} 1\n",
            "pod_identity_webhook_used 1\n",
            "pod_identity_webhook_pod_count{method=\"sts_web_identity\"} 1\n",
            "pod_identity_webhook_missing_sa_count 1\n",
            "irsa_webhook_admissions_total{reason=\"lookup_timeout\"} 1\n",
            "irsa_webhook_admissions_total{reason=\"mutated\"} 0\n",
        ];
        for format in [Format::OpenMetrics, Format::Text] {
            let page = metrics.page(format);
            for line in lines {
                assert!(page.contains(line), "missing {line} in:\n{page}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_described_as_every_exporter_does_it() {
        let page = used().page(Format::Text);
        let value = |name: &str| -> f64 {
            let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in:\n{page}"))[name.len() + 1..]
                .parse()
                .unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!((now - value("process_start_time_seconds")).abs() < 3600.0);
    }
}
