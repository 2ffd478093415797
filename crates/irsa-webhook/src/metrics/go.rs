//! Metrics in the form in which the Go webhook exposes them: counters without `_total`, and a summary without quantiles.

use std::fmt::Error as FmtError;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::labels::Route;

/// A counter exposed under its own name, without `_total`.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain(pub(super) Counter);

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

/// The duration summary of the Go webhook: without objectives it consists of a sum and a count only.
#[derive(Debug, Default)]
pub(super) struct Summary {
    series: parking_lot::Mutex<Vec<(Route, f64, u64)>>,
}

impl Summary {
    pub(super) fn observe(&self, route: &Route, value: f64) {
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
pub(super) struct SummaryCollector(pub(super) Arc<Summary>);

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

/// The buckets of the Go webhook: 125 ms to 8 s, in microseconds.
pub(super) fn latency_buckets() -> Histogram {
    Histogram::new(exponential_buckets(125_000.0, 2.0, 7))
}
