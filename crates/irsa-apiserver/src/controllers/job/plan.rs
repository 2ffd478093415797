//! What a Job needs next: pods to be made or deleted, or a verdict. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};

use super::tally::{Tally, index_of};
use crate::object::{Object, ObjectExt};

/// The longest pause after failures, in seconds.
const LONGEST_PAUSE: i64 = 360;

/// Whether each pod of a Job has an index.
pub(super) fn is_indexed(job: &Job) -> bool {
    let spec = job.spec.as_ref();
    spec.and_then(|spec| spec.completion_mode.as_deref()) == Some("Indexed")
}

pub(super) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

/// Whether a Job has finished, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Going,
    Complete,
    /// Reason and message.
    Failed(&'static str, &'static str),
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) verdict: Verdict,
    /// Pods to be made, in indexed Jobs with their indexes.
    pub(super) create: Vec<Option<i64>>,
    pub(super) delete: Vec<&'a Object>,
    /// Seconds after which something changes without an event.
    pub(super) look_again: Option<i64>,
}

/// What a Job with these active pods needs.
pub(super) fn plan<'a>(job: &Job, active: &'a [Object], tally: &Tally, now: Timestamp) -> Plan<'a> {
    let spec = job.spec.clone().unwrap_or_default();
    let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
    let left = spec
        .active_deadline_seconds
        .map(|deadline| deadline - started.map_or(0, |start| now.as_second() - start.0.as_second()));
    let mut plan = Plan {
        verdict: verdict(&spec, active, tally, left),
        create: Vec::new(),
        delete: Vec::new(),
        look_again: None,
    };
    if plan.verdict != Verdict::Going || is_suspended(job) {
        plan.delete.extend(active);
        return plan;
    }
    let indexed = is_indexed(job);
    let (running, wanted) = (
        active.len(),
        wanted(&spec, active.len(), tally.succeeded(indexed)),
    );
    let pause = pause_left(tally, now).filter(|_| wanted > running);
    if running > wanted {
        plan.delete.extend(&active[..running - wanted]);
    } else if pause.is_none() {
        let mut taken: BTreeSet<i64> = tally.indexes().clone();
        taken.extend(active.iter().filter_map(|pod| index_of(pod.value())));
        let free = (0..).filter(|index| !taken.contains(index));
        let index = |index| indexed.then_some(index);
        plan.create.extend(free.map(index).take(wanted - running));
    }
    plan.look_again = [left, pause].into_iter().flatten().min();
    plan
}

fn size(number: Option<i32>) -> Option<usize> {
    number.and_then(|number| usize::try_from(number).ok())
}

/// How many pods should be active.
fn wanted(spec: &JobSpec, running: usize, succeeded: usize) -> usize {
    let parallelism = size(spec.parallelism).unwrap_or(1);
    match size(spec.completions) {
        Some(completions) => completions.saturating_sub(succeeded).min(parallelism),
        // A work queue: after the first success nobody new is needed.
        None if succeeded > 0 => running.min(parallelism),
        None => parallelism,
    }
}

/// Seconds until a pod may be made after failures: one second after the first, doubled by each further one.
fn pause_left(tally: &Tally, now: Timestamp) -> Option<i64> {
    let last = tally.last_failure()?;
    let doublings = u32::try_from(tally.failed().saturating_sub(1))
        .unwrap_or(30)
        .min(30);
    let pause = (1_i64 << doublings).min(LONGEST_PAUSE);
    Some(last.as_second() + pause - now.as_second()).filter(|left| *left > 0)
}

fn verdict(spec: &JobSpec, active: &[Object], tally: &Tally, left: Option<i64>) -> Verdict {
    let limit = size(spec.backoff_limit).unwrap_or(6);
    let policy = spec
        .template
        .spec
        .as_ref()
        .and_then(|pod| pod.restart_policy.as_deref());
    let restarts: i64 = active
        .iter()
        .filter(|_| policy == Some("OnFailure"))
        .flat_map(|pod| pod.list_at(&["status", "containerStatuses"]))
        .filter_map(|status| status.int_at(&["restartCount"]))
        .sum();
    let restarts = usize::try_from(restarts).unwrap_or_default();
    if tally.failed() > limit || (restarts > 0 && restarts >= limit) {
        return Verdict::Failed(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        );
    }
    if left.is_some_and(|left| left <= 0) {
        return Verdict::Failed(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        );
    }
    let succeeded = tally.succeeded(spec.completion_mode.as_deref() == Some("Indexed"));
    match size(spec.completions) {
        Some(completions) if succeeded >= completions => Verdict::Complete,
        // A work queue: one success, and everybody has ended.
        None if succeeded > 0 && active.is_empty() => Verdict::Complete,
        _ => Verdict::Going,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::owned::typed;
    use super::super::super::testing::object;
    use super::super::tally::INDEX;
    use super::*;

    const START: &str = "2026-11-24T07:00:00Z";

    fn job(mut spec: Value) -> Job {
        spec["template"] = json!({ "spec": { "restartPolicy": "OnFailure", "containers": [] } });
        typed(&json!({ "spec": spec, "status": { "startTime": START } })).unwrap()
    }

    fn pod(name: &str, index: i64, restarts: i64) -> Object {
        object(json!({
            "metadata": { "name": name, "uid": name, "annotations": { INDEX: index.to_string() } },
            "status": { "containerStatuses": [{ "restartCount": restarts }] },
        }))
    }

    fn tally(succeeded: &[i64], failed: usize) -> Tally {
        let mut tally = Tally::default();
        let ended = |uid: String, phase: &str, index: i64| {
            json!({ "metadata": { "uid": uid, "annotations": { INDEX: index.to_string() } },
                "status": { "phase": phase } })
        };
        for index in succeeded {
            tally.note(&ended(format!("s{index}"), "Succeeded", *index), false, at(0));
        }
        for index in 0..failed {
            tally.note(&ended(format!("f{index}"), "Failed", 0), false, at(0));
        }
        tally
    }

    fn at(seconds: i64) -> Timestamp {
        let start: Timestamp = START.parse().unwrap();
        start + jiff::SignedDuration::from_secs(seconds)
    }

    #[test]
    fn no_more_pods_run_than_are_still_needed() {
        let job = job(json!({ "completions": 3, "parallelism": 2 }));
        assert_eq!(plan(&job, &[], &tally(&[], 0), at(0)).create, [None, None]);
        assert_eq!(plan(&job, &[], &tally(&[0, 1], 0), at(0)).create, [None]);
        let active = [pod("a", 0, 0), pod("b", 0, 0)];
        assert_eq!(
            plan(&job, &active, &tally(&[0, 1], 0), at(0)).delete[0].name(),
            "a"
        );
        assert_eq!(
            plan(&job, &active, &tally(&[0, 1, 2], 0), at(0)).verdict,
            Verdict::Complete
        );
    }

    #[test]
    fn an_indexed_job_fills_the_lowest_free_indexes() {
        let job = job(json!({ "completions": 5, "parallelism": 3, "completionMode": "Indexed" }));
        let active = [pod("a", 1, 0)];
        let plan = plan(&job, &active, &tally(&[0, 3], 0), at(0));
        assert_eq!(plan.create, [Some(2), Some(4)]);
    }

    #[test]
    fn a_pause_after_failures_doubles() {
        let job = job(json!({ "completions": 1 }));
        let wait = |failed, seconds| {
            let tally = tally(&[], failed);
            let plan = plan(&job, &[], &tally, at(seconds));
            (plan.create.len(), plan.look_again)
        };
        assert_eq!(wait(1, 0), (0, Some(1)));
        assert_eq!(wait(3, 1), (0, Some(3)));
        assert_eq!(wait(3, 4), (1, None));
    }

    #[test]
    fn too_many_failures_end_the_job() {
        let job = job(json!({ "completions": 1, "backoffLimit": 2 }));
        let is_over = |failed, restarts| {
            let active = [pod("a", 0, restarts)];
            let (tally, now) = (tally(&[], failed), at(900));
            let plan = plan(&job, &active, &tally, now);
            plan.verdict != Verdict::Going && plan.delete.len() == 1
        };
        assert!(!is_over(2, 0) && is_over(3, 0));
        assert!(!is_over(0, 1) && is_over(0, 2));
    }

    #[test]
    fn a_deadline_counts_from_the_start() {
        let job = job(json!({ "completions": 1, "activeDeadlineSeconds": 60 }));
        assert_eq!(plan(&job, &[], &tally(&[], 0), at(50)).look_again, Some(10));
        let late = plan(&job, &[], &tally(&[], 0), at(60));
        assert!(matches!(late.verdict, Verdict::Failed("DeadlineExceeded", _)));
    }

    #[test]
    fn a_work_queue_is_complete_when_one_succeeded_and_all_have_ended() {
        let job = job(json!({ "parallelism": 2 }));
        let active = [pod("a", 0, 0)];
        let plan_of = |active| {
            let plan = plan(&job, active, &tally(&[0], 0), at(0));
            (plan.verdict, plan.create.len())
        };
        assert_eq!(plan_of(&active), (Verdict::Going, 0));
        assert_eq!(plan_of(&[]), (Verdict::Complete, 0));
    }

    #[test]
    fn a_suspended_job_gives_up_its_pods() {
        let active = [pod("a", 0, 0)];
        let plan = plan(
            &job(json!({ "completions": 1, "suspend": true })),
            &active,
            &tally(&[], 0),
            at(0),
        );
        assert_eq!(
            (plan.verdict, plan.delete.len(), plan.create.len()),
            (Verdict::Going, 1, 0)
        );
    }
}
