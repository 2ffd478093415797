//! PodDisruptionBudgets: how many pods may be evicted now.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Context;
use super::pods::int_or_percent;
use super::queue::{Controller, Key};
use crate::api::BoxFuture;
use crate::conditions::set_condition;
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::{has_ended, is_ready};
use crate::selectors::LabelSelector;
use crate::status::Result;
use crate::store::Event;

const RESOURCE: &str = "poddisruptionbudgets.policy";
/// A pod that an eviction was granted for and that is still there after this time was not evicted.
const PATIENCE: i64 = 120;

pub(crate) struct Budgets(pub(crate) Context);

fn selector(budget: &Value) -> LabelSelector {
    LabelSelector::from_object(budget.at(&["spec", "selector"]))
        .or_else(|_| LabelSelector::from_object(None))
        .unwrap_or_default()
}

impl Budgets {
    fn get(&self, namespace: &str, owner: &Value) -> Option<Object> {
        let resource = self
            .0
            .api
            .registry()
            .by_kind(owner.str_at(&["apiVersion"]), owner.kind())?;
        let found = self
            .0
            .api
            .store()
            .get(&resource.storage, namespace, owner.str_at(&["name"]))?;
        (found.uid() == owner.str_at(&["uid"])).then_some(found)
    }

    /// How many pods the controllers of these pods want; an error for controllers that cannot be asked.
    fn expected(&self, pods: &[Object]) -> std::result::Result<i64, String> {
        let mut scales: BTreeMap<String, i64> = BTreeMap::new();
        for pod in pods {
            let Some(owner) = pod.controller() else {
                // One that nobody would replace counts for itself.
                scales.insert(pod.uid().to_owned(), 1);
                continue;
            };
            let Some(mut workload) = self.get(pod.namespace(), owner) else {
                continue;
            };
            if let Some(owner) = workload.controller()
                && owner.kind() == "Deployment"
                && let Some(deployment) = self.get(pod.namespace(), owner)
            {
                workload = deployment;
            }
            let Some(replicas) = workload.int_at(&["spec", "replicas"]) else {
                return Err(format!(
                    "{} does not implement the scale subresource",
                    workload.kind().to_lowercase() + "s"
                ));
            };
            scales.insert(workload.uid().to_owned(), replicas);
        }
        Ok(scales.values().sum())
    }
}

impl Controller for Budgets {
    fn follows(&self) -> &'static [&'static str] {
        &[RESOURCE, "pods"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        if resource == RESOURCE {
            add((object.namespace().to_owned(), object.name().to_owned()));
            return;
        }
        let states = [Some(&event.object), event.previous.as_ref()];
        for budget in self
            .0
            .api
            .store()
            .find(RESOURCE, Some(object.namespace()), |budget| {
                let selector = selector(budget);
                states.iter().flatten().any(|pod| selector.matches(pod.labels()))
            })
        {
            add((budget.namespace().to_owned(), budget.name().to_owned()));
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let store = self.0.api.store();
            let Some(budget) = store.get(RESOURCE, namespace, name) else {
                return Ok(None);
            };
            let selector = selector(budget.value());
            let pods = store.find("pods", Some(namespace), |pod| {
                selector.matches(pod.labels()) && !has_ended(pod)
            });
            let least = budget.at(&["spec", "minAvailable"]);
            let most = budget.at(&["spec", "maxUnavailable"]);
            let count = i64::try_from(pods.len()).unwrap_or(i64::MAX);
            let by_count = matches!(least, Some(Value::Number(_)));
            let expected = if by_count { Ok(count) } else { self.expected(&pods) };
            let now = Timestamp::now();
            let generation = budget.generation();
            let mut disrupted = budget
                .map_at(&["status", "disruptedPods"])
                .cloned()
                .unwrap_or_default();
            disrupted.retain(|name, since| {
                let waiting = pods
                    .iter()
                    .any(|pod| pod.name() == name && pod.deletion_timestamp().is_none());
                let recent = since
                    .as_str()
                    .and_then(|since| since.parse::<Timestamp>().ok())
                    .is_some_and(|since| now.as_second() - since.as_second() < PATIENCE);
                waiting && recent
            });
            let healthy = pods
                .iter()
                .filter(|pod| {
                    is_ready(pod.value())
                        && pod.deletion_timestamp().is_none()
                        && !disrupted.contains_key(pod.name())
                })
                .count();
            let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
            let waiting = !disrupted.is_empty();
            let outcome = expected.map(|expected| {
                let desired = match (least, most) {
                    (Some(least), _) => int_or_percent(Some(least), expected, true, 0),
                    (None, most) => (expected - int_or_percent(most, expected, true, 0)).max(0),
                };
                let allowed = if expected > 0 {
                    (healthy - desired).max(0)
                } else {
                    0
                };
                (expected, desired, allowed)
            });
            if let Err(why) = &outcome {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                self.0
                    .recorder
                    .warning(&budget, "CalculateExpectedPodCountFailed", message)
                    .await;
            }
            let written = self
                .0
                .api
                .modify(&self.0.me, RESOURCE, namespace, name, "status", |budget| {
                    let status = entry_object(budget, "status");
                    if disrupted.is_empty() {
                        status.shift_remove("disruptedPods");
                    } else {
                        status.insert("disruptedPods".into(), disrupted.clone().into());
                    }
                    match &outcome {
                        Ok((expected, desired, allowed)) => {
                            status.insert("currentHealthy".into(), healthy.into());
                            status.insert("desiredHealthy".into(), (*desired).into());
                            status.insert("disruptionsAllowed".into(), (*allowed).into());
                            status.insert("expectedPods".into(), (*expected).into());
                            status.insert("observedGeneration".into(), generation.into());
                            let (value, reason) = if *allowed > 0 {
                                ("True", "SufficientPods")
                            } else {
                                ("False", "InsufficientPods")
                            };
                            set_condition(budget, "DisruptionAllowed", value, reason, "");
                        }
                        Err(why) => {
                            status.insert("disruptionsAllowed".into(), 0.into());
                            set_condition(budget, "DisruptionAllowed", "False", "SyncFailed", why);
                        }
                    }
                    Ok(())
                })
                .await;
            match written {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
            Ok(waiting.then(|| Duration::from_secs(PATIENCE.unsigned_abs())))
        })
    }
}
