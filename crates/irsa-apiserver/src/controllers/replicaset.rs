//! ReplicaSets: as many pods as asked for.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::context::Context;
use super::owned::{Moment, Words, count, from_template, nonzero, typed};
use super::queue::Controller;
use crate::object::{Object, ObjectExt};
use crate::pod::{is_active, is_ready};
use crate::status::{Result, Status};

const RESOURCE: &str = "replicasets.apps";
/// The condition of a set whose pods are refused.
const FAILURE: &str = "ReplicaFailure";

pub(crate) struct ReplicaSets(pub(crate) Context);

/// How many pods a set lacks, and which of its pods are too many.
#[derive(Debug)]
struct Plan<'a> {
    create: usize,
    delete: Vec<&'a Object>,
}

fn plan(wanted: usize, pods: &[Object]) -> Plan<'_> {
    let mut delete = Vec::new();
    if pods.len() > wanted {
        delete.extend(pods);
        delete.sort_by_cached_key(|pod| worth(pod.value()));
        delete.truncate(pods.len() - wanted);
    }
    Plan {
        create: wanted.saturating_sub(pods.len()),
        delete,
    }
}

/// The order in which pods are given up, as in `controller.ActivePodsWithRanks`: unassigned, pending, unready, cheap
/// and young ones first.
fn worth(pod: &Value) -> (bool, u8, bool, i64, Reverse<String>, String) {
    let phase = match pod.str_at(&["status", "phase"]) {
        "Running" => 2,
        "" | "Unknown" => 1,
        _ => 0,
    };
    let cost = pod
        .annotation("controller.kubernetes.io/pod-deletion-cost")
        .and_then(|cost| cost.parse().ok())
        .unwrap_or_default();
    (
        !pod.str_at(&["spec", "nodeName"]).is_empty(),
        phase,
        is_ready(pod),
        cost,
        // RFC 3339 in UTC sorts as text.
        Reverse(pod.str_at(&["metadata", "creationTimestamp"]).to_owned()),
        pod.name().to_owned(),
    )
}

/// Counts the pods of a set into its status.
fn observe(status: &mut ReplicaSetStatus, set: &ReplicaSet, pods: &[Object], moment: Moment) {
    let labels = set
        .spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let has_labels = |pod: &&Object| {
        labels.is_none_or(|labels| labels.iter().all(|(key, value)| pod.label(key) == Some(value)))
    };
    let number = |keep: &dyn Fn(&&Object) -> bool| nonzero(count(pods.iter().filter(keep).count()));
    status.replicas = count(pods.len());
    status.fully_labeled_replicas = number(&has_labels);
    status.ready_replicas = number(&|pod| is_ready(pod.value()));
    status.available_replicas = number(&|pod| moment.is_available(pod));
    status.observed_generation = set.metadata.generation;
}

/// Sets or removes the condition `ReplicaFailure`.
fn note_failure(status: &mut ReplicaSetStatus, failure: Option<&Status>, at: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    match failure {
        Some(failure) => {
            let same = conditions.iter().any(|one| {
                one.type_.as_deref() == Some(FAILURE) && one.message.as_ref() == Some(&failure.message)
            });
            if !same {
                conditions.retain(|one| one.type_.as_deref() != Some(FAILURE));
                conditions.push(ReplicaSetCondition {
                    last_transition_time: Some(Time(at)),
                    message: Some(failure.message.clone()),
                    reason: Some("FailedCreate".into()),
                    status: Some("True".into()),
                    type_: Some(FAILURE.into()),
                });
            }
        }
        None => conditions.retain(|one| one.type_.as_deref() != Some(FAILURE)),
    }
    if conditions.is_empty() {
        status.conditions = None;
    }
}

impl ReplicaSets {
    async fn active(&self, set: &Object) -> Result<Vec<Object>> {
        let mut pods = self.0.claim("pods", set).await?;
        pods.retain(|pod| is_active(pod.value()));
        Ok(pods)
    }

    async fn manage(&self, object: &Object, wanted: usize) -> Result<()> {
        let pods = self.active(object).await?;
        let plan = plan(wanted, &pods);
        let template = object.at(&["spec", "template"]).cloned().unwrap_or_default();
        for _ in 0..plan.create {
            let pod = from_template(object.value(), &template);
            // One refusal is enough: the others would be refused, too.
            self.0.create("pods", object, pod, Words::Pod).await?;
        }
        for pod in plan.delete {
            self.0.delete("pods", object, pod, Words::Pod).await?;
        }
        Ok(())
    }
}

impl Controller for ReplicaSets {
    const RESOURCE: &'static str = RESOURCE;
    const KIND: &'static str = "ReplicaSet";
    const OWNS: &'static [&'static str] = &["pods"];

    fn context(&self) -> &Context {
        &self.0
    }

    async fn reconcile(&self, object: Object) -> Result<Option<Duration>> {
        let set: ReplicaSet = typed(object.value())?;
        let wanted = set.spec.replicas.unwrap_or(1);
        let managed = self
            .manage(&object, usize::try_from(wanted).unwrap_or_default())
            .await;
        let pods = self.active(&object).await?;
        let moment = Moment::now(set.spec.min_ready_seconds);
        self.0
            .report(RESOURCE, &object, |status| {
                observe(status, &set, &pods, moment);
                note_failure(status, managed.as_ref().err(), moment.at);
            })
            .await?;
        managed.map(|()| moment.soon(&pods))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::super::testing::object;
    use super::*;

    fn pod(name: &str, phase: &str, node: &str, created: &str) -> Object {
        let ready = if phase == "Running" { "True" } else { "False" };
        object(json!({
            "metadata": { "name": name, "creationTimestamp": created, "labels": { "app": "web" } },
            "spec": { "nodeName": node },
            "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
        }))
    }

    fn pods() -> Vec<Object> {
        vec![
            pod("old", "Running", "n", "2026-11-24T07:00:00Z"),
            pod("young", "Running", "n", "2026-11-24T08:00:00Z"),
            pod("pending", "Pending", "n", "2026-11-24T07:00:00Z"),
            pod("unassigned", "Pending", "", "2026-11-24T07:00:00Z"),
        ]
    }

    #[test]
    fn missing_pods_are_made() {
        let pods = pods();
        for (wanted, missing) in [(6, 2), (4, 0)] {
            let plan = plan(wanted, &pods);
            assert_eq!((plan.create, plan.delete.len()), (missing, 0));
        }
    }

    #[test]
    fn unassigned_then_pending_then_young_pods_go_first() {
        let pods = pods();
        let plan = plan(1, &pods);
        let names: Vec<&str> = plan.delete.iter().map(|pod| pod.name()).collect();
        assert_eq!((plan.create, names), (0, vec!["unassigned", "pending", "young"]));
    }

    #[test]
    fn the_status_counts_pods_and_leaves_out_zeros() {
        let set = json!({ "metadata": { "generation": 2 }, "spec": {
            "selector": {}, "template": { "metadata": { "labels": { "app": "web" } } } } });
        let set: ReplicaSet = typed(&set).unwrap();
        let mut status = ReplicaSetStatus::default();
        observe(&mut status, &set, &pods(), Moment::now(None));
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({ "replicas": 4, "fullyLabeledReplicas": 4, "readyReplicas": 2, "availableReplicas": 2,
                "observedGeneration": 2 })
        );
        observe(&mut status, &set, &[], Moment::now(None));
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({ "replicas": 0, "observedGeneration": 2 })
        );
    }

    #[test]
    fn a_refusal_is_a_condition_until_it_is_over() {
        let mut status = ReplicaSetStatus::default();
        let refused = Status::bad_request("quota exceeded");
        note_failure(&mut status, Some(&refused), Timestamp::UNIX_EPOCH);
        note_failure(&mut status, Some(&refused), Timestamp::MAX);
        let conditions = status.conditions.clone().unwrap();
        assert_eq!(conditions.len(), 1);
        assert_eq!(
            conditions[0].last_transition_time,
            Some(Time(Timestamp::UNIX_EPOCH))
        );
        note_failure(&mut status, None, Timestamp::MAX);
        assert_eq!(status.conditions, None);
    }
}
