//! Regions that misbehave, on purpose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::host::{Endpoint, EndpointClass};

/// The name under which the global endpoint itself can be made to fail.
pub(crate) const GLOBAL: &str = irsa_core::partition::AWS_GLOBAL;

/// How a region misbehaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegionFault {
    /// Every answer comes this much later.
    pub delay: Duration,
    /// What is answered instead of the truth.
    pub answer: Option<FaultAnswer>,
    /// Only every n-th call is hit by `answer`; 0 and 1 mean every call.
    pub every: u32,
}

/// The answer of a misbehaving region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAnswer {
    /// 500 `InternalFailure`.
    InternalFailure,
    /// Nothing for as long as a client is likely to wait (one minute), then 503: an outage that clients see as a
    /// timeout.
    Silence,
    /// 400 `Throttling`, `Rate exceeded`.
    Throttling,
    /// 503 `ServiceUnavailable`: an outage that clients see at once.
    Unavailable,
}

/// All faults that are set.
#[derive(Default)]
pub(crate) struct Faults {
    by_region: RwLock<HashMap<String, (RegionFault, AtomicU32)>>,
}

/// What one call suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Suffered {
    pub(crate) delay: Duration,
    pub(crate) answer: Option<FaultAnswer>,
}

impl Faults {
    /// Sets or removes a region's fault.
    pub(crate) fn set(&self, region: &str, fault: Option<RegionFault>) {
        let mut faults = self.by_region.write();
        match fault {
            Some(fault) => {
                faults.insert(region.to_owned(), (fault, AtomicU32::new(0)));
            }
            None => {
                faults.remove(region);
            }
        }
    }

    /// What a call to an endpoint, served by a region, suffers.
    pub(crate) fn of_call(&self, endpoint: &Endpoint, serving_region: &str) -> Suffered {
        let faults = self.by_region.read();
        if faults.is_empty() {
            return Suffered::default();
        }
        let global = (endpoint.class == EndpointClass::Global).then_some(GLOBAL);
        let mut suffered = Suffered::default();
        for name in global.into_iter().chain([serving_region]) {
            let Some((fault, calls)) = faults.get(name) else {
                continue;
            };
            suffered.delay += fault.delay;
            let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
            if fault.every <= 1 || number.is_multiple_of(fault.every) {
                suffered.answer = suffered.answer.or(fault.answer);
            }
        }
        suffered
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint::of_host(host).unwrap()
    }

    #[test]
    fn a_fault_hits_its_region_and_what_that_region_serves() {
        let faults = Faults::default();
        let broken = RegionFault {
            answer: Some(FaultAnswer::Unavailable),
            ..RegionFault::default()
        };
        faults.set("us-west-2", Some(broken));
        let regional = endpoint("sts.us-west-2.amazonaws.com");
        let global = endpoint("sts.amazonaws.com");
        assert_eq!(
            faults.of_call(&regional, "us-west-2").answer,
            Some(FaultAnswer::Unavailable)
        );
        assert_eq!(
            faults.of_call(&global, "us-west-2").answer,
            Some(FaultAnswer::Unavailable)
        );
        assert_eq!(faults.of_call(&global, "us-east-1").answer, None);
        faults.set("us-west-2", None);
        assert_eq!(faults.of_call(&regional, "us-west-2"), Suffered::default());
    }

    #[test]
    fn throttling_can_hit_every_third_call() {
        let faults = Faults::default();
        let fault = RegionFault {
            answer: Some(FaultAnswer::Throttling),
            every: 3,
            ..RegionFault::default()
        };
        faults.set(GLOBAL, Some(fault));
        let global = endpoint("sts.amazonaws.com");
        let hits: Vec<bool> = (0..6)
            .map(|_| faults.of_call(&global, "us-east-1").answer.is_some())
            .collect();
        assert_eq!(hits, [false, false, true, false, false, true]);
    }
}
