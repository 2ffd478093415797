//! Which Jobs a CronJob starts and deletes now. Pure.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};

use super::schedule::Schedule;
use crate::object::{Object, ObjectExt};

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// The last time of the schedule that has come since the last start.
    pub(super) due: Option<Timestamp>,
    /// The time for which a Job is to be started.
    pub(super) start: Option<Timestamp>,
    /// Something was due, and `Forbid` kept it from starting.
    pub(super) held_back: bool,
    /// Jobs beyond the limits of the history, or replaced.
    pub(super) delete: Vec<&'a Object>,
    /// The next time of the schedule.
    pub(super) next: Option<Timestamp>,
}

/// `Complete` or `Failed` of a Job that has ended.
pub(super) fn ended(job: &Job) -> Option<&str> {
    let conditions = job
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|one| one.status == "True")
        .map(|one| one.type_.as_str())
        .find(|kind| matches!(*kind, "Complete" | "Failed"))
}

/// What a CronJob with these Jobs needs.
pub(super) fn plan<'a>(
    cron: &CronJob,
    schedule: Option<&Schedule>,
    jobs: &'a [(Object, Job)],
    now: Timestamp,
) -> Plan<'a> {
    let spec = &cron.spec;
    let mut plan = Plan::default();
    for (kind, limit, default) in [
        ("Complete", spec.successful_jobs_history_limit, 3),
        ("Failed", spec.failed_jobs_history_limit, 1),
    ] {
        let limit = limit
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(default);
        plan.delete.extend(oldest(jobs, kind, limit));
    }
    let Some(schedule) = schedule.filter(|_| spec.suspend != Some(true)) else {
        return plan;
    };
    plan.next = schedule.next(now);
    let last = cron
        .status
        .as_ref()
        .and_then(|status| status.last_schedule_time.as_ref());
    let last = last.or(cron.metadata.creation_timestamp.as_ref());
    plan.due = last_missed(schedule, last.map_or(now, |last| last.0), now).filter(|due| {
        let late = now.as_second() - due.as_second();
        spec.starting_deadline_seconds
            .is_none_or(|deadline| late <= deadline)
    });
    if plan.due.is_none() {
        return plan;
    }
    let active: Vec<&Object> = jobs
        .iter()
        .filter(|(_, job)| ended(job).is_none())
        .map(|(object, _)| object)
        .collect();
    plan.start = plan.due;
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            plan.start = None;
            plan.held_back = true;
        }
        Some("Replace") => plan.delete.extend(active),
        _ => {}
    }
    plan
}

/// The Jobs that ended in this way beyond the limit, the oldest first.
fn oldest<'a>(jobs: &'a [(Object, Job)], kind: &str, limit: usize) -> Vec<&'a Object> {
    let mut of_kind: Vec<&Object> = jobs
        .iter()
        .filter(|(_, job)| ended(job) == Some(kind))
        .map(|(object, _)| object)
        .collect();
    of_kind.sort_by_key(|job| (job.str_at(&["metadata", "creationTimestamp"]), job.name()));
    of_kind.truncate(of_kind.len().saturating_sub(limit));
    of_kind
}

/// The latest time of the schedule after `last` that is not after `now`; the earlier ones are past.
fn last_missed(schedule: &Schedule, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let times = std::iter::successors(schedule.next(last), |at| schedule.next(*at));
    times.take_while(|at| *at <= now).last()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::owned::typed;
    use super::super::super::testing::object;
    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-11-24T{time}Z").parse().unwrap()
    }

    fn cron(mut spec: Value) -> CronJob {
        spec["schedule"] = "*/10 * * * *".into();
        spec["jobTemplate"] = json!({});
        let status = json!({ "lastScheduleTime": "2026-11-24T07:00:00Z" });
        typed(&json!({ "spec": spec, "status": status })).unwrap()
    }

    fn job(name: &str, ended: Option<&str>) -> (Object, Job) {
        let conditions: Vec<Value> = ended
            .into_iter()
            .map(|kind| json!({ "type": kind, "status": "True" }))
            .collect();
        let job = json!({
            "metadata": { "name": name, "creationTimestamp": "2026-11-24T06:00:00Z" },
            "status": { "conditions": conditions },
        });
        (object(job.clone()), typed(&job).unwrap())
    }

    fn planned<'a>(spec: Value, jobs: &'a [(Object, Job)], now: &str) -> Plan<'a> {
        let schedule = Schedule::parse("*/10 * * * *").unwrap();
        plan(&cron(spec), Some(&schedule), jobs, at(now))
    }

    #[test]
    fn only_the_last_of_the_missed_times_is_started() {
        let plan = planned(json!({}), &[], "07:35:00");
        assert_eq!(
            (plan.start, plan.next),
            (Some(at("07:30:00")), Some(at("07:40:00")))
        );
        assert_eq!(planned(json!({}), &[], "07:09:59").start, None);
        let strict = json!({ "startingDeadlineSeconds": 60 });
        assert_eq!(planned(strict.clone(), &[], "07:35:00").due, None);
        assert_eq!(planned(strict, &[], "07:31:00").start, Some(at("07:30:00")));
    }

    #[test]
    fn the_concurrency_policy_decides_about_jobs_that_still_run() {
        let jobs = [job("running", None)];
        let of = |policy: &str| {
            let plan = planned(json!({ "concurrencyPolicy": policy }), &jobs, "07:10:00");
            (plan.start.is_some(), plan.held_back, plan.delete.len())
        };
        assert_eq!(of("Allow"), (true, false, 0));
        assert_eq!(of("Forbid"), (false, true, 0));
        assert_eq!(of("Replace"), (true, false, 1));
    }

    #[test]
    fn the_oldest_ended_jobs_beyond_the_limits_are_deleted() {
        let ended = |name: &str, kind: &'static str| job(name, Some(kind));
        let jobs = [
            ended("b", "Complete"),
            ended("a", "Complete"),
            ended("y", "Failed"),
            ended("x", "Failed"),
            job("running", None),
        ];
        let plan = planned(json!({ "successfulJobsHistoryLimit": 0 }), &jobs, "07:01:00");
        let names: Vec<&str> = plan.delete.iter().map(|job| job.name()).collect();
        assert_eq!(names, ["a", "b", "x"]);
    }

    #[test]
    fn a_suspended_cron_job_starts_nothing() {
        let plan = planned(json!({ "suspend": true }), &[], "07:35:00");
        assert!(plan.due.is_none() && plan.start.is_none() && plan.next.is_none() && plan.delete.is_empty());
    }
}
