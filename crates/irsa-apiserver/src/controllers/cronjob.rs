//! CronJobs: a Job whenever the schedule says so. Schedules are read in UTC; `spec.timeZone` is refused with an
//! event unless it is UTC.

mod schedule;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::schedule::Schedule;
use super::Context;
use super::pods::{controller_reference, is_controlled_by};
use super::queue::{Controller, Key, owners};
use crate::api::{BoxFuture, DeleteOptions, WriteOptions};
use crate::conditions::condition;
use crate::object::{Object, ObjectExt, entry_object};
use crate::status::Result;
use crate::store::Event;

const RESOURCE: &str = "cronjobs.batch";
const JOBS: &str = "jobs.batch";

pub(crate) struct CronJobs(pub(crate) Context);

fn done(job: &Value, kind: &str) -> bool {
    condition(job, kind).is_some_and(|one| one.str_at(&["status"]) == "True")
}

fn seconds(until: Timestamp) -> Duration {
    let left = until.as_second() - Timestamp::now().as_second();
    Duration::from_secs(u64::try_from(left).unwrap_or_default()) + Duration::from_millis(200)
}

impl CronJobs {
    fn jobs(&self, cron: &Object) -> Vec<Object> {
        self.0.api.store().find(JOBS, Some(cron.namespace()), |job| {
            is_controlled_by(job, cron.uid())
        })
    }

    async fn remove(&self, cron: &Object, job: &Object) -> Result<()> {
        let context = &self.0;
        let options = DeleteOptions {
            uid: Some(job.uid().to_owned()),
            ..DeleteOptions::default()
        };
        match context
            .api
            .delete(&context.me, JOBS, job.namespace(), job.name(), &options)
            .await
        {
            Ok(_) => {
                let message = format!("Deleted job {}", job.name());
                context.recorder.normal(cron, "SuccessfulDelete", message).await;
                Ok(())
            }
            Err(status) if status.code == 404 => Ok(()),
            Err(status) => Err(status),
        }
    }

    async fn trim(&self, cron: &Object) -> Result<()> {
        for (kind, key, default) in [
            ("Complete", "successfulJobsHistoryLimit", 3),
            ("Failed", "failedJobsHistoryLimit", 1),
        ] {
            let limit = cron
                .int_at(&["spec", key])
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(default);
            let mut ended: Vec<Object> = self.jobs(cron);
            ended.retain(|job| done(job.value(), kind));
            ended.sort_by_key(|job| {
                (
                    job.str_at(&["metadata", "creationTimestamp"]).to_owned(),
                    job.name().to_owned(),
                )
            });
            let many = ended.len().saturating_sub(limit);
            for job in &ended[..many] {
                self.remove(cron, job).await?;
            }
        }
        Ok(())
    }

    async fn start(&self, cron: &Object, due: Timestamp) -> Result<()> {
        let context = &self.0;
        let active: Vec<Object> = self
            .jobs(cron)
            .into_iter()
            .filter(|job| !done(job.value(), "Complete") && !done(job.value(), "Failed"))
            .collect();
        match cron.str_at(&["spec", "concurrencyPolicy"]) {
            "Forbid" if !active.is_empty() => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                context.recorder.normal(cron, "JobAlreadyActive", message).await;
                return Ok(());
            }
            "Replace" => {
                for job in &active {
                    self.remove(cron, job).await?;
                }
            }
            _ => {}
        }
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
        entry_object(&mut job["metadata"], "annotations").insert(
            "batch.kubernetes.io/cronjob-scheduled-timestamp".into(),
            due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
        );
        let options = WriteOptions::default();
        match context
            .api
            .create(&context.me, JOBS, cron.namespace(), job, &options)
            .await
        {
            Ok(written) => {
                let message = format!("Created job {}", written.object.name());
                context.recorder.normal(cron, "SuccessfulCreate", message).await;
                Ok(())
            }
            Err(status) if status.reason == "AlreadyExists" => Ok(()),
            Err(status) => {
                let message = format!("Error creating job: {}", status.message);
                context.recorder.warning(cron, "FailedCreate", message).await;
                Err(status)
            }
        }
    }

    async fn report(&self, cron: &Object, started: Option<Timestamp>) -> Result<()> {
        let jobs = self.jobs(cron);
        let active: Vec<Value> = jobs
            .iter()
            .filter(|job| !done(job.value(), "Complete") && !done(job.value(), "Failed"))
            .map(|job| {
                json!({
                    "apiVersion": "batch/v1", "kind": "Job", "name": job.name(), "namespace": job.namespace(),
                    "resourceVersion": job.str_at(&["metadata", "resourceVersion"]), "uid": job.uid(),
                })
            })
            .collect();
        let successful = jobs
            .iter()
            .map(|job| job.str_at(&["status", "completionTime"]).to_owned())
            .max()
            .unwrap_or_default();
        self.0
            .api
            .modify(
                &self.0.me,
                RESOURCE,
                cron.namespace(),
                cron.name(),
                "status",
                |cron| {
                    let status = entry_object(cron, "status");
                    if active.is_empty() {
                        status.shift_remove("active");
                    } else {
                        status.insert("active".into(), active.clone().into());
                    }
                    if let Some(at) = started {
                        status.insert(
                            "lastScheduleTime".into(),
                            at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
                        );
                    }
                    if successful.as_str()
                        > status
                            .get("lastSuccessfulTime")
                            .and_then(Value::as_str)
                            .unwrap_or_default()
                    {
                        status.insert("lastSuccessfulTime".into(), successful.as_str().into());
                    }
                    Ok(())
                },
            )
            .await?;
        Ok(())
    }
}

impl Controller for CronJobs {
    fn follows(&self) -> &'static [&'static str] {
        &[RESOURCE, JOBS]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        if resource == RESOURCE {
            add((object.namespace().to_owned(), object.name().to_owned()));
        } else {
            owners(event, "CronJob", add);
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let Some(cron) = self.0.api.store().get(RESOURCE, namespace, name) else {
                return Ok(None);
            };
            if cron.deletion_timestamp().is_some() {
                return Ok(None);
            }
            self.trim(&cron).await?;
            let zone = cron.str_at(&["spec", "timeZone"]);
            if !matches!(zone, "" | "UTC" | "Etc/UTC") {
                let message = format!("invalid timeZone: {zone:?}: this cluster knows UTC only");
                self.0.recorder.warning(&cron, "UnknownTimeZone", message).await;
                return Ok(None);
            }
            let schedule = match Schedule::parse(cron.str_at(&["spec", "schedule"])) {
                Ok(schedule) => schedule,
                Err(why) => {
                    let text = cron.str_at(&["spec", "schedule"]);
                    let message = format!("unparseable schedule: {text:?} : {why}");
                    self.0
                        .recorder
                        .warning(&cron, "UnparseableSchedule", message)
                        .await;
                    return Ok(None);
                }
            };
            if cron.at(&["spec", "suspend"]) == Some(&Value::Bool(true)) {
                self.report(&cron, None).await?;
                return Ok(None);
            }
            let last = ["lastScheduleTime"]
                .iter()
                .map(|key| cron.str_at(&["status", key]))
                .chain([cron.str_at(&["metadata", "creationTimestamp"])])
                .find_map(|text| text.parse::<Timestamp>().ok())
                .unwrap_or_else(Timestamp::now);
            let now = Timestamp::now();
            // The latest of those that were missed; the earlier ones are past.
            let mut due = schedule.next(last).filter(|at| *at <= now);
            while let Some(later) = due.and_then(|at| schedule.next(at)).filter(|at| *at <= now) {
                due = Some(later);
            }
            let deadline = cron.int_at(&["spec", "startingDeadlineSeconds"]);
            let due =
                due.filter(|at| deadline.is_none_or(|deadline| now.as_second() - at.as_second() <= deadline));
            if let Some(at) = due {
                self.start(&cron, at).await?;
            }
            match self.report(&cron, due).await {
                Err(status) if status.code == 404 => return Ok(None),
                other => other?,
            }
            Ok(schedule.next(now).map(seconds))
        })
    }
}
