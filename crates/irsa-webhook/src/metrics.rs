//! What the server counts. The names of the Go webhook are kept as they are; ours begin with `irsa_webhook_`.
//!
//! The Go names are counters without the `_total` which OpenMetrics demands of counters, so they are exposed with the
//! type `unknown`: queries written for the Go webhook go on working. Every label is bounded: reasons, sources and
//! watches are enumerations, paths are the ones served.

use std::fmt::Error as FmtError;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use irsa_net::tls::Validity;
use irsa_net::{Observer, Refusal};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A counter exposed under its own name, without `_total`.
#[derive(Clone, Debug, Default)]
struct Plain(Counter);

impl EncodeMetric for Plain {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), FmtError> {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Unknown
    }
}

impl TypedMetric for Plain {
    const TYPE: MetricType = MetricType::Unknown;
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    path: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    verb: &'static str,
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WarningLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: &'static str,
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabel {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

/// What became of one admission. The set is closed, so that it can be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The pod was given its identity.
    Mutated,
    /// The pod has all that it would be given; the answer has no patch.
    Complete,
    /// The service account asks for no identity.
    NotAsked,
    /// The service account does not exist, by the word of the API.
    NoServiceAccount,
    /// The service account is not known and the API did not answer within the bounded wait.
    LookupTimeout,
    /// The service account is not known and the API could not be asked.
    LookupFailed,
    /// The service account is not known and waiting is switched off.
    LookupOff,
    /// The service account asks for an identity in a way that cannot be followed.
    Unusable,
    /// Its annotations or its label exclude the pod, or every container of it.
    Skipped,
    /// The request is not the creation of a pod.
    NotPodCreation,
    /// The request could not be read.
    Malformed,
}

impl Reason {
    /// All of them, for the metric's first values.
    pub const ALL: [Self; 11] = [
        Self::Mutated,
        Self::Complete,
        Self::NotAsked,
        Self::NoServiceAccount,
        Self::LookupTimeout,
        Self::LookupFailed,
        Self::LookupOff,
        Self::Unusable,
        Self::Skipped,
        Self::NotPodCreation,
        Self::Malformed,
    ];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutated => "mutated",
            Self::Complete => "complete",
            Self::NotAsked => "not_asked",
            Self::NoServiceAccount => "no_service_account",
            Self::LookupTimeout => "lookup_timeout",
            Self::LookupFailed => "lookup_failed",
            Self::LookupOff => "lookup_off",
            Self::Unusable => "unusable",
            Self::Skipped => "skipped",
            Self::NotPodCreation => "not_pod_creation",
            Self::Malformed => "malformed",
        }
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), FmtError> {
        self.as_str().encode(encoder)
    }
}

/// A watch on the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watch {
    /// Service accounts of all namespaces.
    ServiceAccounts,
    /// Namespaces, for their default.
    Namespaces,
    /// The `pod-identity-webhook` ConfigMap.
    ConfigMap,
    /// The MutatingWebhookConfiguration whose `caBundle` is ours.
    WebhookConfiguration,
}

impl Watch {
    /// The resource watched.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccounts => "serviceaccounts",
            Self::Namespaces => "namespaces",
            Self::ConfigMap => "configmaps",
            Self::WebhookConfiguration => "mutatingwebhookconfigurations",
        }
    }
}

/// How a question to the API about an unknown service account ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupResult {
    /// The API knew it.
    Found,
    /// The API said that it does not exist.
    NotFound,
    /// It was remembered from a moment ago that it does not exist.
    Remembered,
    /// Another admission had asked already; this one shared the answer.
    Shared,
    /// The watch brought it while waiting.
    Watched,
    /// The bounded wait ran out.
    Timeout,
    /// The API could not be asked.
    Failed,
}

impl LookupResult {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => "not_found",
            Self::Remembered => "remembered",
            Self::Shared => "shared",
            Self::Watched => "watched",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
        }
    }
}

/// The duration summary of the Go webhook: without objectives it consists of a sum and a count only.
#[derive(Debug, Default)]
struct Summary {
    series: parking_lot::Mutex<Vec<(Route, f64, u64)>>,
}

impl Summary {
    fn observe(&self, route: &Route, value: f64) {
        let mut series = self.series.lock();
        match series.iter_mut().find(|(known, _, _)| known == route) {
            Some((_, sum, count)) => {
                *sum += value;
                *count += 1;
            }
            None => series.push((route.clone(), value, 1)),
        }
    }
}

#[derive(Debug)]
struct SummaryCollector(Arc<Summary>);

impl Collector for SummaryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), FmtError> {
        let series = self.0.series.lock().clone();
        let help = "Response latency in microseconds for each verb and path, as sum and count";
        let mut sum = encoder.encode_descriptor(
            "http_request_duration_microseconds_sum",
            help,
            None,
            MetricType::Unknown,
        )?;
        for (route, value, _) in &series {
            sum.encode_family(route)?.encode_gauge(value)?;
        }
        let mut count = encoder.encode_descriptor(
            "http_request_duration_microseconds_count",
            help,
            None,
            MetricType::Unknown,
        )?;
        for (route, _, value) in &series {
            count.encode_family(route)?.encode_gauge(value)?;
        }
        Ok(())
    }
}

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabelOf {
    reason: &'static str,
}

/// The buckets of the Go webhook: 125 ms to 8 s, in microseconds.
fn go_latency_buckets() -> Histogram {
    Histogram::new(exponential_buckets(125_000.0, 2.0, 7))
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
            latencies: Family::new_with_constructor(go_latency_buckets),
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
        metrics.register_own();
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
            "Requests broken out for each verb, path, and response code",
            self.requests.clone(),
        );
        registry.register(
            "http_request_latencies",
            "Response latency distribution in microseconds for each verb and path",
            self.latencies.clone(),
        );
        registry.register_collector(Box::new(SummaryCollector(Arc::clone(&self.durations))));
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
            "Pods whose service account was not known and could not be learned in time",
            self.missing.clone(),
        );
        registry.register(
            "certificate_manager_server_rotation_seconds",
            "How long a self-made certificate lived before it was rotated",
            self.rotation_seconds.clone(),
        );
    }

    fn register_own(&mut self) {
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

    /// The text of the metrics page.
    ///
    /// # Errors
    /// Never for a `String`; the signature is the encoder's.
    pub fn encode(&self) -> Result<String, FmtError> {
        let mut text = String::with_capacity(16 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
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

    #[test]
    fn the_names_of_the_go_webhook_are_exposed_unchanged() {
        let metrics = Metrics::new();
        metrics.request("POST", "/mutate", 200, Duration::from_millis(2));
        metrics.pod("sts_web_identity");
        metrics.admission(Reason::LookupTimeout, Duration::from_millis(1));
        metrics.service_account_seen();
        let text = metrics.encode().unwrap();
        for line in [
            "http_request_count{verb=\"POST\",path=\"/mutate\",code=\"200\"} 1",
            "http_request_latencies_bucket{le=\"125000.0\",verb=\"POST\",path=\"/mutate\"} 1",
            "http_request_duration_microseconds_count{verb=\"POST\",path=\"/mutate\"} 1",
            "pod_identity_webhook_used 1",
            "pod_identity_webhook_pod_count{method=\"sts_web_identity\"} 1",
            "pod_identity_webhook_missing_sa_count 1",
            "irsa_webhook_admissions_total{reason=\"lookup_timeout\"} 1",
            "irsa_webhook_admissions_total{reason=\"mutated\"} 0",
        ] {
            assert!(text.contains(line), "missing {line} in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
