//! CronJobs: create Jobs on a schedule. Schedules are read in UTC; `spec.timeZone` is refused with an
//! event unless it is UTC.

mod plan;
mod schedule;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use self::plan::{Plan, plan};
use self::schedule::Schedule;
use super::context::Context;
use super::owned::{Words, controller_reference, typed};
use super::queue::Controller;
use crate::object::{Object, ObjectExt, entry_object};
use crate::status::Result;

const RESOURCE: &str = "cronjobs.batch";
const JOBS: &str = "jobs.batch";
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub(crate) struct CronJobs(pub(crate) Context);

/// The Job for one time of the schedule. Its name contains the time, so that it is created only once.
fn job_for(cron: &Object, due: Timestamp) -> Value {
    let template = cron.at(&["spec", "jobTemplate"]).cloned().unwrap_or_default();
    let mut job = json!({
        "metadata": {
            "name": format!("{}-{}", cron.name(), due.as_second() / 60),
            "ownerReferences": [controller_reference(cron.value())],
        },
        "spec": template.get("spec").cloned().unwrap_or_default(),
    });
    for key in ["labels", "annotations"] {
        if let Some(value) = template.at(&["metadata", key]) {
            job["metadata"][key] = value.clone();
        }
    }
    let annotations = entry_object(&mut job["metadata"], "annotations");
    annotations.insert(SCHEDULED.into(), format!("{due:.0}").into());
    job
}

impl CronJobs {
    fn jobs(&self, object: &Object) -> Result<Vec<(Object, Job)>> {
        let jobs = self
            .0
            .store()
            .controlled_by(JOBS, object.namespace(), object.uid());
        let parsed = jobs
            .into_iter()
            .map(|job| Ok((Object::clone(&job), typed(job.value())?)));
        parsed.collect()
    }

    /// The schedule, or `None` with an event if it is invalid.
    async fn schedule(&self, object: &Object, cron: &CronJob) -> Option<Schedule> {
        let zone = cron.spec.time_zone.as_deref().unwrap_or_default();
        let recorder = &self.0.recorder;
        if !matches!(zone, "" | "UTC" | "Etc/UTC") {
            let message = format!("invalid timeZone: {zone:?}: this cluster knows UTC only");
            recorder.warning(object, "UnknownTimeZone", message).await;
            return None;
        }
        let text = cron.spec.schedule.as_str();
        match Schedule::parse(text) {
            Ok(schedule) => Some(schedule),
            Err(why) => {
                let message = format!("unparseable schedule: {text:?} : {why}");
                recorder.warning(object, "UnparseableSchedule", message).await;
                None
            }
        }
    }

    async fn carry_out(&self, object: &Object, plan: &Plan<'_>) -> Result<()> {
        for job in &plan.delete {
            self.0.delete(JOBS, object, job, Words::Job).await?;
        }
        if plan.held_back {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.0.recorder.normal(object, "JobAlreadyActive", message).await;
        }
        if let Some(due) = plan.start {
            let job = job_for(object, due);
            // If it exists, it was started before the status was written.
            if self.0.store().get(JOBS, object.namespace(), job.name()).is_none() {
                self.0.create(JOBS, object, job, Words::Job).await?;
            }
        }
        Ok(())
    }

    async fn report(&self, object: &Object, due: Option<Timestamp>) -> Result<()> {
        let jobs = self.jobs(object)?;
        let reference = |(object, _): &(Object, Job)| ObjectReference {
            api_version: Some("batch/v1".into()),
            kind: Some("Job".into()),
            name: Some(object.name().to_owned()),
            namespace: Some(object.namespace().to_owned()),
            resource_version: Some(object.version().to_string()),
            uid: Some(object.uid().to_owned()),
            field_path: None,
        };
        let active: Vec<ObjectReference> = jobs
            .iter()
            .filter(|(_, job)| plan::ended(job).is_none())
            .map(reference)
            .collect();
        let completions = jobs
            .iter()
            .filter_map(|(_, job)| job.status.as_ref()?.completion_time.clone());
        let last_success = completions.max();
        let write = |status: &mut CronJobStatus| {
            status.active = Some(active.clone()).filter(|active| !active.is_empty());
            if let Some(due) = due {
                status.last_schedule_time = Some(Time(due));
            }
            status.last_successful_time = status.last_successful_time.take().max(last_success.clone());
        };
        self.0.report(RESOURCE, object, write).await?;
        Ok(())
    }
}

impl Controller for CronJobs {
    const RESOURCE: &'static str = RESOURCE;
    const KIND: &'static str = "CronJob";
    const OWNS: &'static [&'static str] = &[JOBS];

    fn context(&self) -> &Context {
        &self.0
    }

    async fn reconcile(&self, object: Object) -> Result<Option<Duration>> {
        let cron: CronJob = typed(object.value())?;
        let schedule = self.schedule(&object, &cron).await;
        let jobs = self.jobs(&object)?;
        let now = Timestamp::now();
        let plan = plan(&cron, schedule.as_ref(), &jobs, now);
        self.carry_out(&object, &plan).await?;
        self.report(&object, plan.due).await?;
        let seconds = |next: Timestamp| u64::try_from(next.as_second() - now.as_second()).unwrap_or_default();
        // Wake up slightly late, because nothing is due if it is too early.
        Ok(plan
            .next
            .map(|next| Duration::from_secs(seconds(next)) + Duration::from_millis(200)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::object;
    use super::*;

    #[test]
    fn a_job_carries_its_time_and_what_the_template_says() {
        let cron = object(
            json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "tick" },
            "spec": { "jobTemplate": { "metadata": { "labels": { "a": "b" } }, "spec": { "parallelism": 2 } } } }),
        );
        let job = job_for(&cron, Timestamp::UNIX_EPOCH);
        assert_eq!((job.name(), job.label("a")), ("tick-0", Some("b")));
        assert_eq!(job.annotation(SCHEDULED), Some("1970-01-01T00:00:00Z"));
        assert_eq!(job["spec"]["parallelism"], 2);
    }
}
