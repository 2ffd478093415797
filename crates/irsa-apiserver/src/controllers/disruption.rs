//! PodDisruptionBudgets: how many pods may be evicted now.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::context::Context;
use super::owned::{count, scaled, selector_of, typed};
use super::queue::{Controller, Key, key_of};
use crate::object::{Object, ObjectExt};
use crate::pod::{has_ended, is_ready};
use crate::status::Result;
use crate::store::Event;

const RESOURCE: &str = "poddisruptionbudgets.policy";
/// Seconds after which a granted eviction is considered to have failed if the pod still exists.
const PATIENCE: i64 = 120;

pub(crate) struct Budgets(pub(crate) Context);

/// How many pods there should be, must be healthy, and may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowance {
    expected: i32,
    desired: i32,
    allowed: i32,
}

fn allowance(spec: &PodDisruptionBudgetSpec, expected: i64, healthy: i64) -> Allowance {
    let of = |value: &IntOrString| scaled(value, expected, true).unwrap_or(0);
    let desired = match (&spec.min_available, &spec.max_unavailable) {
        (Some(least), _) => of(least),
        (None, most) => (expected - most.as_ref().map_or(0, of)).max(0),
    };
    let allowed = if expected > 0 {
        (healthy - desired).max(0)
    } else {
        0
    };
    let [expected, desired, allowed] =
        [expected, desired, allowed].map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    Allowance {
        expected,
        desired,
        allowed,
    }
}

/// Forgets evictions that happened, or were granted too long ago.
fn forget_evicted(disrupted: &mut BTreeMap<String, Time>, pods: &[Object], now: Timestamp) {
    disrupted.retain(|name, since| {
        let waits = |pod: &Object| pod.name() == name && pod.deletion_timestamp().is_none();
        pods.iter().any(waits) && now.as_second() - since.0.as_second() < PATIENCE
    });
}

fn set_condition(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: &str,
    at: Timestamp,
) {
    const KIND: &str = "DisruptionAllowed";
    let conditions = status.conditions.get_or_insert_default();
    let present = conditions.iter().find(|one| one.type_ == KIND);
    let since = present
        .filter(|one| one.status == value)
        .map(|one| one.last_transition_time.clone());
    let fresh = Condition {
        last_transition_time: since.unwrap_or(Time(at)),
        message: message.to_owned(),
        observed_generation: None,
        reason: reason.to_owned(),
        status: value.to_owned(),
        type_: KIND.to_owned(),
    };
    conditions.retain(|one| one.type_ != KIND);
    conditions.push(fresh);
}

impl Budgets {
    fn owner_of(&self, object: &Object) -> Option<Object> {
        let owner = object.controller()?;
        let api = &self.0.api;
        let resource = api
            .registry()
            .by_kind(owner.str_at(&["apiVersion"]), owner.kind())?;
        let name = owner.str_at(&["name"]);
        let found = api.store().get(&resource.storage, object.namespace(), name)?;
        (found.uid() == owner.str_at(&["uid"])).then_some(found)
    }

    /// How many pods the controllers of these pods want. Fails for controllers without replicas.
    fn expected(&self, pods: &[Object]) -> Result<i64, String> {
        let mut scales: BTreeMap<String, i64> = BTreeMap::new();
        for pod in pods {
            if pod.controller().is_none() {
                // A pod without a controller counts as one expected pod.
                scales.insert(pod.uid().to_owned(), 1);
                continue;
            }
            let Some(owner) = self.owner_of(pod) else { continue };
            let deployment = self.owner_of(&owner).filter(|owner| owner.kind() == "Deployment");
            let workload = deployment.unwrap_or(owner);
            let Some(replicas) = workload.int_at(&["spec", "replicas"]) else {
                let plural = workload.kind().to_lowercase() + "s";
                return Err(format!("{plural} does not implement the scale subresource"));
            };
            scales.insert(workload.uid().to_owned(), replicas);
        }
        Ok(scales.values().sum())
    }
}

/// Writes counts and condition into the status of a budget over these pods.
fn observe(
    status: &mut PodDisruptionBudgetStatus,
    budget: &PodDisruptionBudget,
    pods: &[Object],
    expected: &Result<i64, String>,
    now: Timestamp,
) {
    let mut disrupted = status.disrupted_pods.take().unwrap_or_default();
    forget_evicted(&mut disrupted, pods, now);
    let is_healthy = |pod: &&Object| {
        is_ready(pod.value()) && pod.deletion_timestamp().is_none() && !disrupted.contains_key(pod.name())
    };
    let healthy = count(pods.iter().filter(is_healthy).count());
    status.disrupted_pods = Some(disrupted).filter(|disrupted| !disrupted.is_empty());
    match expected {
        Ok(expected) => {
            let spec = budget.spec.clone().unwrap_or_default();
            let allowance = allowance(&spec, *expected, i64::from(healthy));
            status.current_healthy = Some(healthy);
            status.desired_healthy = Some(allowance.desired);
            status.disruptions_allowed = Some(allowance.allowed);
            status.expected_pods = Some(allowance.expected);
            status.observed_generation = budget.metadata.generation;
            let (value, reason) = match allowance.allowed {
                0 => ("False", "InsufficientPods"),
                _ => ("True", "SufficientPods"),
            };
            set_condition(status, value, reason, "", now);
        }
        Err(why) => {
            status.disruptions_allowed = Some(0);
            set_condition(status, "False", "SyncFailed", why, now);
        }
    }
}

impl Controller for Budgets {
    const RESOURCE: &'static str = RESOURCE;
    const FOLLOWS: &'static [&'static str] = &["pods"];

    fn context(&self) -> &Context {
        &self.0
    }

    fn concerned(&self, _: &str, event: &Event) -> Vec<Key> {
        let pod = &event.object;
        let states = [Some(pod), event.previous.as_ref()];
        let selects = |budget: &Value| {
            selector_of(budget)
                .is_ok_and(|selector| states.iter().flatten().any(|pod| selector.matches(pod.labels())))
        };
        let budgets = self.0.store().find(RESOURCE, Some(pod.namespace()), selects);
        budgets.iter().map(key_of).collect()
    }

    async fn reconcile(&self, object: Object) -> Result<Option<Duration>> {
        let budget: PodDisruptionBudget = typed(object.value())?;
        let selector = selector_of(object.value())?;
        let pods = self.0.store().find("pods", Some(object.namespace()), |pod| {
            selector.matches(pod.labels()) && !has_ended(pod)
        });
        let least = budget.spec.as_ref().and_then(|spec| spec.min_available.as_ref());
        let expected = match least {
            Some(IntOrString::Int(_)) => Ok(i64::from(count(pods.len()))),
            _ => self.expected(&pods),
        };
        if let Err(why) = &expected {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            let reason = "CalculateExpectedPodCountFailed";
            self.0.recorder.warning(&object, reason, message).await;
        }
        let now = Timestamp::now();
        let write = |status: &mut PodDisruptionBudgetStatus| observe(status, &budget, &pods, &expected, now);
        let written = self.0.report(RESOURCE, &object, write).await?;
        let waits = written.at(&["status", "disruptedPods"]).is_some();
        Ok(waits.then(|| Duration::from_secs(PATIENCE.unsigned_abs())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::super::testing::object;
    use super::*;

    fn allowed(spec: Value, expected: i64, healthy: i64) -> (i32, i32) {
        let allowance = allowance(&typed(&spec).unwrap(), expected, healthy);
        (allowance.desired, allowance.allowed)
    }

    #[test]
    fn what_is_more_than_must_stay_may_go() {
        assert_eq!(allowed(json!({ "minAvailable": 2 }), 3, 3), (2, 1));
        assert_eq!(allowed(json!({ "minAvailable": "50%" }), 3, 3), (2, 1));
        assert_eq!(allowed(json!({ "maxUnavailable": 1 }), 3, 2), (2, 0));
        assert_eq!(allowed(json!({ "maxUnavailable": "30%" }), 4, 4), (2, 2));
        assert_eq!(allowed(json!({ "minAvailable": 0 }), 0, 0), (0, 0));
    }

    fn pod(name: &str, ready: bool) -> Object {
        let ready = if ready { "True" } else { "False" };
        object(json!({ "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] } }))
    }

    #[test]
    fn an_eviction_that_was_granted_is_forgotten_when_the_pod_stays() {
        let budget: PodDisruptionBudget = typed(&json!({ "spec": { "minAvailable": 1 } })).unwrap();
        let pods = [pod("a", true), pod("b", true)];
        let granted = |seconds: i64| {
            let since = Time(Timestamp::from_second(-seconds).unwrap());
            let mut status = PodDisruptionBudgetStatus {
                disrupted_pods: Some([("a".to_owned(), since)].into()),
                ..PodDisruptionBudgetStatus::default()
            };
            observe(&mut status, &budget, &pods, &Ok(2), Timestamp::UNIX_EPOCH);
            (
                status.disruptions_allowed.unwrap(),
                status.disrupted_pods.is_some(),
            )
        };
        assert_eq!(granted(60), (0, true));
        assert_eq!(granted(120), (1, false));
    }

    #[test]
    fn a_controller_without_a_scale_allows_nothing() {
        let mut status = PodDisruptionBudgetStatus::default();
        let expected = Err("jobs does not implement the scale subresource".to_owned());
        observe(
            &mut status,
            &PodDisruptionBudget::default(),
            &[pod("a", true)],
            &expected,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(status.disruptions_allowed, Some(0));
        assert_eq!(status.conditions.unwrap()[0].reason, "SyncFailed");
    }
}
