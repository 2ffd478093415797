//! ReplicaSets: as many pods as asked for.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Context;
use super::pods::{claim, create, delete, from_template, set_count};
use super::queue::{Controller, Key, adopters, owners};
use super::scheduler::selector_of;
use crate::api::BoxFuture;
use crate::conditions::{condition, remove_condition, set_condition};
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::{Availability, availability, is_active, is_ready};
use crate::status::{Result, Status};
use crate::store::Event;

const RESOURCE: &str = "replicasets.apps";

pub(crate) struct ReplicaSets(pub(crate) Context);

/// The order in which pods are given up: those that are worth least first.
fn worth(pod: &Value) -> (bool, u8, bool, i64, std::cmp::Reverse<i64>, String) {
    let assigned = !pod.str_at(&["spec", "nodeName"]).is_empty();
    let phase = match pod.str_at(&["status", "phase"]) {
        "Running" => 2,
        "" | "Unknown" => 1,
        _ => 0,
    };
    let cost = pod
        .annotation("controller.kubernetes.io/pod-deletion-cost")
        .and_then(|cost| cost.parse().ok())
        .unwrap_or_default();
    let created = pod
        .str_at(&["metadata", "creationTimestamp"])
        .parse::<Timestamp>()
        .map_or(0, Timestamp::as_second);
    // The youngest go first.
    (
        assigned,
        phase,
        is_ready(pod),
        cost,
        std::cmp::Reverse(created),
        pod.name().to_owned(),
    )
}

impl ReplicaSets {
    async fn active(&self, set: &Object) -> Result<Vec<Object>> {
        let selector = selector_of(set.value())?;
        let pods = claim(&self.0.api, &self.0.me, "pods", set, &selector).await?;
        Ok(pods.into_iter().filter(|pod| is_active(pod.value())).collect())
    }

    async fn manage(&self, set: &Object, mut pods: Vec<Object>) -> Result<()> {
        let context = &self.0;
        let wanted = usize::try_from(set.int_at(&["spec", "replicas"]).unwrap_or(1)).unwrap_or_default();
        let template = set.at(&["spec", "template"]).cloned().unwrap_or_default();
        for _ in pods.len()..wanted {
            let pod = from_template(set.value(), &template);
            // One refusal is enough: the others would be refused too.
            create(&context.api, &context.me, &context.recorder, set, pod).await?;
        }
        if pods.len() > wanted {
            pods.sort_by_cached_key(|pod| worth(pod.value()));
            let too_many = pods.len() - wanted;
            for pod in &pods[..too_many] {
                delete(&context.api, &context.me, &context.recorder, set, pod).await?;
            }
        }
        Ok(())
    }

    async fn report(&self, set: &Object, failure: Option<&Status>) -> Result<Option<Duration>> {
        let pods = self.active(set).await?;
        let min_ready = set.int_at(&["spec", "minReadySeconds"]).unwrap_or_default();
        let template_labels = set.map_at(&["spec", "template", "metadata", "labels"]);
        let now = Timestamp::now();
        let (mut ready, mut available, mut labelled) = (0, 0, 0);
        let mut soon: Option<Duration> = None;
        for pod in &pods {
            ready += i64::from(is_ready(pod.value()));
            match availability(pod.value(), min_ready, now) {
                Availability::Available => available += 1,
                Availability::In(time) => soon = Some(soon.map_or(time, |soon| soon.min(time))),
                Availability::No => {}
            }
            let full = template_labels
                .is_none_or(|labels| labels.iter().all(|(key, value)| pod.label(key) == value.as_str()));
            labelled += i64::from(full);
        }
        let count = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        let generation = set.generation();
        self.0
            .api
            .modify(
                &self.0.me,
                RESOURCE,
                set.namespace(),
                set.name(),
                "status",
                |set| {
                    let status = entry_object(set, "status");
                    status.insert("replicas".into(), count.into());
                    set_count(status, "fullyLabeledReplicas", labelled);
                    set_count(status, "readyReplicas", ready);
                    set_count(status, "availableReplicas", available);
                    status.insert("observedGeneration".into(), generation.into());
                    match failure {
                        Some(failure) => {
                            let same = condition(set, "ReplicaFailure")
                                .is_some_and(|one| one.str_at(&["message"]) == failure.message);
                            if !same {
                                set_condition(
                                    set,
                                    "ReplicaFailure",
                                    "True",
                                    "FailedCreate",
                                    &failure.message,
                                );
                            }
                        }
                        None => {
                            remove_condition(set, "ReplicaFailure");
                            let none = set.list_at(&["status", "conditions"]).is_empty();
                            if none {
                                entry_object(set, "status").shift_remove("conditions");
                            }
                        }
                    }
                    Ok(())
                },
            )
            .await?;
        Ok(soon)
    }
}

impl Controller for ReplicaSets {
    fn follows(&self) -> &'static [&'static str] {
        &[RESOURCE, "pods"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        if resource == RESOURCE {
            add((object.namespace().to_owned(), object.name().to_owned()));
        } else {
            owners(event, "ReplicaSet", add);
            adopters(self.0.api.store(), RESOURCE, event, add);
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let Some(set) = self.0.api.store().get(RESOURCE, namespace, name) else {
                return Ok(None);
            };
            let mut failure = None;
            if set.deletion_timestamp().is_none() {
                let pods = self.active(&set).await?;
                failure = self.manage(&set, pods).await.err();
            }
            let soon = match self.report(&set, failure.as_ref()).await {
                Err(status) if status.code == 404 => None,
                other => other?,
            };
            failure.map_or(Ok(soon), Err)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::{Value, json};

    use super::worth;

    fn pod(name: &str, phase: &str, node: &str, created: &str) -> Value {
        json!({
            "metadata": { "name": name, "creationTimestamp": created },
            "spec": { "nodeName": node },
            "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": if phase == "Running" { "True" } else { "False" } }] },
        })
    }

    #[test]
    fn unassigned_then_pending_then_young_pods_go_first() {
        let mut pods = [
            pod("old", "Running", "n", "2026-11-24T07:00:00Z"),
            pod("young", "Running", "n", "2026-11-24T08:00:00Z"),
            pod("pending", "Pending", "n", "2026-11-24T07:00:00Z"),
            pod("unassigned", "Pending", "", "2026-11-24T07:00:00Z"),
        ];
        pods.sort_by_cached_key(worth);
        let names: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .collect();
        assert_eq!(names, ["unassigned", "pending", "young", "old"]);
    }
}
