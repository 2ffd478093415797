//! The status of a Deployment: counts, and the conditions from which `kubectl rollout status` reads progress.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentSpec, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::plan::Rolling;
use crate::object::ObjectExt;

const PROGRESSING: &str = "Progressing";

/// What is noted of a rollout, besides the counts, when something happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress<'a> {
    Found(&'a str),
    Created(&'a str),
    CreateFailed(&'a str),
    Paused,
    Resumed,
}

impl Progress<'_> {
    pub(super) fn note(self, status: &mut DeploymentStatus, at: Timestamp) {
        let found = |name| format!("Found new replica set {name:?}");
        let created = |name| format!("Created new replica set {name:?}");
        let (value, reason, message) = match self {
            Self::Found(name) => ("True", "FoundNewReplicaSet", found(name)),
            Self::Created(name) => ("True", "NewReplicaSetCreated", created(name)),
            Self::CreateFailed(message) => ("False", "ReplicaSetCreateError", message.to_owned()),
            Self::Paused => ("Unknown", "DeploymentPaused", "Deployment is paused".to_owned()),
            Self::Resumed => ("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned()),
        };
        set(status, PROGRESSING, value, reason, &message, at);
    }
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_.as_deref() == Some(kind))
}

fn reason(status: &DeploymentStatus) -> &str {
    find(status, PROGRESSING)
        .and_then(|one| one.reason.as_deref())
        .unwrap_or_default()
}

/// As in `deploymentutil.SetDeploymentCondition`: nothing when neither status nor reason changes, else to the end of the
/// list. That makes the order which a finished rollout shows, `Available` before `Progressing`.
fn set(status: &mut DeploymentStatus, kind: &str, value: &str, reason: &str, message: &str, at: Timestamp) {
    let present = find(status, kind);
    let same_status = present.is_some_and(|present| present.status.as_deref() == Some(value));
    if same_status && present.is_some_and(|present| present.reason.as_deref() == Some(reason)) {
        return;
    }
    let since = present
        .filter(|_| same_status)
        .and_then(|present| present.last_transition_time.clone());
    remove(status, kind);
    status
        .conditions
        .get_or_insert_default()
        .push(DeploymentCondition {
            last_transition_time: Some(since.unwrap_or(Time(at))),
            last_update_time: Some(Time(at)),
            message: Some(message.to_owned()),
            reason: Some(reason.to_owned()),
            status: Some(value.to_owned()),
            type_: Some(kind.to_owned()),
        });
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_.as_deref() != Some(kind));
}

/// What the ReplicaSets of a Deployment have together.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) total: i64,
    pub(super) ready: i64,
    pub(super) available: i64,
    pub(super) updated: i64,
    /// What the sets are asked for.
    pub(super) wanted: i64,
    /// Name of the ReplicaSet of the present template.
    pub(super) new_set: Option<String>,
    /// The condition `ReplicaFailure` of one of the sets.
    pub(super) failure: Option<Value>,
}

/// The deadline for progress in seconds; the greatest number means none.
fn deadline(spec: &DeploymentSpec) -> Option<i64> {
    let seconds = spec
        .progress_deadline_seconds
        .filter(|seconds| *seconds < i32::MAX);
    seconds.map(i64::from)
}

fn nonzero(count: i64) -> Option<i32> {
    i32::try_from(count).ok().filter(|count| *count != 0)
}

impl Counts {
    fn is_complete(&self, replicas: i64) -> bool {
        self.new_set.is_some() && [self.updated, self.total, self.available] == [replicas; 3]
    }

    /// Writes counts and conditions into a status.
    pub(super) fn observe(
        &self,
        status: &mut DeploymentStatus,
        spec: &DeploymentSpec,
        generation: Option<i64>,
        at: Timestamp,
    ) {
        let progressed = self.has_progressed(status);
        status.observed_generation = generation;
        status.replicas = nonzero(self.total);
        status.updated_replicas = nonzero(self.updated);
        status.ready_replicas = nonzero(self.ready);
        status.available_replicas = nonzero(self.available);
        status.unavailable_replicas = nonzero((self.wanted - self.available).max(0));
        let rolling = Rolling::of(spec);
        let (value, reason, message) = if self.available >= rolling.replicas - rolling.max_unavailable {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            let message = "Deployment does not have minimum availability.";
            ("False", "MinimumReplicasUnavailable", message)
        };
        set(status, "Available", value, reason, message, at);
        if spec.paused != Some(true)
            && let Some(deadline) = deadline(spec)
        {
            self.observe_progress(status, rolling.replicas, progressed, deadline, at);
        }
        match &self.failure {
            Some(failure) => {
                let part = |key| failure.str_at(&[key]);
                set(
                    status,
                    "ReplicaFailure",
                    part("status"),
                    part("reason"),
                    part("message"),
                    at,
                );
            }
            None => remove(status, "ReplicaFailure"),
        }
    }

    fn has_progressed(&self, before: &DeploymentStatus) -> bool {
        let was = |count: Option<i32>| i64::from(count.unwrap_or_default());
        self.updated > was(before.updated_replicas)
            || self.ready > was(before.ready_replicas)
            || self.available > was(before.available_replicas)
            || self.total - self.updated < was(before.replicas) - was(before.updated_replicas)
    }

    fn observe_progress(
        &self,
        status: &mut DeploymentStatus,
        replicas: i64,
        progressed: bool,
        deadline: i64,
        at: Timestamp,
    ) {
        let what = self
            .new_set
            .as_deref()
            .map_or("Deployment".to_owned(), |name| format!("ReplicaSet {name:?}"));
        if self.is_complete(replicas) {
            let message = format!("{what} has successfully progressed.");
            set(
                status,
                PROGRESSING,
                "True",
                "NewReplicaSetAvailable",
                &message,
                at,
            );
        } else if progressed && reason(status) != "NewReplicaSetAvailable" {
            // Progress restarts the deadline even when the words stay the same.
            let since = find(status, PROGRESSING).filter(|one| one.status.as_deref() == Some("True"));
            let since = since.and_then(|one| one.last_transition_time.clone());
            remove(status, PROGRESSING);
            let message = format!("{what} is progressing.");
            set(status, PROGRESSING, "True", "ReplicaSetUpdated", &message, at);
            if let (Some(since), Some(last)) = (since, status.conditions.iter_mut().flatten().last()) {
                last.last_transition_time = Some(since);
            }
        } else if has_timed_out(status, deadline, at) {
            let message = format!("{what} has timed out progressing.");
            set(
                status,
                PROGRESSING,
                "False",
                "ProgressDeadlineExceeded",
                &message,
                at,
            );
        }
    }

    /// When the deadline of a rollout that is under way has to be looked at.
    pub(super) fn look_again(&self, spec: &DeploymentSpec, written: &Value) -> Option<Duration> {
        let deadline = deadline(spec).filter(|_| spec.paused != Some(true))?;
        let progressing = crate::conditions::condition(written, PROGRESSING)?;
        match progressing.str_at(&["reason"]) {
            "NewReplicaSetAvailable" | "ProgressDeadlineExceeded" => None,
            _ => Some(Duration::from_secs(u64::try_from(deadline).ok()? + 1)),
        }
    }
}

fn has_timed_out(status: &DeploymentStatus, deadline: i64, at: Timestamp) -> bool {
    let under_way = !matches!(reason(status), "NewReplicaSetAvailable" | "DeploymentPaused");
    let since = find(status, PROGRESSING).and_then(|one| one.last_update_time.as_ref());
    under_way && since.is_some_and(|since| at.as_second() > since.0.as_second() + deadline)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::super::super::owned::typed;
    use super::*;

    fn spec() -> DeploymentSpec {
        typed(&json!({ "replicas": 2, "selector": {}, "template": {}, "progressDeadlineSeconds": 600 }))
            .unwrap()
    }

    fn counts(updated: i64, available: i64) -> Counts {
        Counts {
            total: updated,
            ready: available,
            available,
            updated,
            wanted: 2,
            new_set: Some("web-1".into()),
            failure: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(status: &DeploymentStatus) -> Vec<String> {
        let one = |condition: &DeploymentCondition| {
            let [kind, value, reason] = [&condition.type_, &condition.status, &condition.reason];
            format!(
                "{}={} {}",
                kind.as_ref().unwrap(),
                value.as_ref().unwrap(),
                reason.as_ref().unwrap()
            )
        };
        status.conditions.iter().flatten().map(one).collect()
    }

    #[test]
    fn a_rollout_ends_with_available_before_progressing() {
        let mut status = DeploymentStatus::default();
        Progress::Created("web-1").note(&mut status, at(0));
        counts(1, 0).observe(&mut status, &spec(), Some(1), at(1));
        assert_eq!(
            told(&status),
            [
                "Available=False MinimumReplicasUnavailable",
                "Progressing=True ReplicaSetUpdated"
            ]
        );
        counts(2, 2).observe(&mut status, &spec(), Some(1), at(2));
        assert_eq!(
            told(&status),
            [
                "Available=True MinimumReplicasAvailable",
                "Progressing=True NewReplicaSetAvailable"
            ]
        );
        assert_eq!(
            (status.available_replicas, status.unavailable_replicas),
            (Some(2), None)
        );
    }

    #[test]
    fn a_status_that_says_the_same_is_left_as_it_is() {
        let mut status = DeploymentStatus::default();
        counts(2, 2).observe(&mut status, &spec(), Some(1), at(1));
        let before = status.clone();
        counts(2, 2).observe(&mut status, &spec(), Some(1), at(5));
        assert_eq!(status, before);
    }

    #[test]
    fn a_rollout_without_progress_times_out_at_its_deadline() {
        let mut status = DeploymentStatus::default();
        counts(1, 0).observe(&mut status, &spec(), Some(1), at(0));
        counts(1, 0).observe(&mut status, &spec(), Some(1), at(600));
        assert_eq!(told(&status)[1], "Progressing=True ReplicaSetUpdated");
        counts(1, 0).observe(&mut status, &spec(), Some(1), at(601));
        assert_eq!(told(&status)[1], "Progressing=False ProgressDeadlineExceeded");
    }

    #[test]
    fn progress_restarts_the_deadline_but_is_no_transition() {
        let mut status = DeploymentStatus::default();
        counts(1, 0).observe(&mut status, &spec(), Some(1), at(0));
        counts(2, 0).observe(&mut status, &spec(), Some(1), at(500));
        let progressing = find(&status, PROGRESSING).unwrap();
        assert_eq!(progressing.last_update_time, Some(Time(at(500))));
        assert_eq!(progressing.last_transition_time, Some(Time(at(0))));
    }

    #[test]
    fn a_failure_of_a_set_is_shown_until_it_is_over() {
        let mut status = DeploymentStatus::default();
        let failure =
            json!({ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no" });
        let failing = Counts {
            failure: Some(failure),
            ..counts(1, 0)
        };
        failing.observe(&mut status, &spec(), Some(1), at(0));
        assert!(told(&status).contains(&"ReplicaFailure=True FailedCreate".to_owned()));
        counts(1, 0).observe(&mut status, &spec(), Some(1), at(1));
        assert!(find(&status, "ReplicaFailure").is_none());
    }
}
