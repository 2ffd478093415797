//! Jobs: pods until enough of them have succeeded, or too many have failed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Context;
use super::pods::{create, delete, from_template, is_controlled_by, set_count};
use super::queue::{Controller, Key, owners};
use crate::api::{BoxFuture, DeleteOptions, Propagation};
use crate::conditions::{condition, set_condition_at};
use crate::object::{Object, ObjectExt, entry_object, now};
use crate::pod::{has_ended, is_active, is_ready};
use crate::status::Result;
use crate::store::{Change, Event};

const RESOURCE: &str = "jobs.batch";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The longest pause after failures.
const LONGEST_PAUSE: i64 = 360;

/// Pods of a job that have ended: they count even when somebody deletes them.
#[derive(Debug, Default)]
struct Tally {
    succeeded: HashSet<String>,
    failed: HashMap<String, i64>,
    indexes: BTreeSet<i64>,
}

pub(crate) struct Jobs {
    context: Context,
    // By uid of the job.
    tallies: Mutex<HashMap<String, Tally>>,
}

impl Jobs {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            tallies: Mutex::default(),
        }
    }
}

/// The verdict on a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Going,
    Complete,
    Failed(&'static str, &'static str),
}

fn finished(job: &Value) -> bool {
    ["Complete", "Failed"]
        .iter()
        .any(|kind| condition(job, kind).is_some_and(|one| one.str_at(&["status"]) == "True"))
}

fn suspended(job: &Value) -> bool {
    job.at(&["spec", "suspend"]) == Some(&Value::Bool(true))
}

fn indexed(job: &Value) -> bool {
    job.str_at(&["spec", "completionMode"]) == "Indexed"
}

fn index_of(pod: &Value) -> Option<i64> {
    pod.annotation(INDEX)?.parse().ok()
}

fn seconds_since(text: &str) -> Option<i64> {
    let since = text.parse::<Timestamp>().ok()?;
    Some(Timestamp::now().as_second() - since.as_second())
}

fn pod_for(job: &Object, index: Option<i64>) -> Value {
    let template = job.at(&["spec", "template"]).cloned().unwrap_or_default();
    let mut pod = from_template(job.value(), &template);
    let labels = entry_object(&mut pod["metadata"], "labels");
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", job.uid()),
        ("batch.kubernetes.io/job-name", job.name()),
        ("controller-uid", job.uid()),
        ("job-name", job.name()),
    ] {
        labels.insert(key.into(), value.into());
    }
    let Some(index) = index else { return pod };
    labels.insert(INDEX.into(), index.to_string().into());
    entry_object(&mut pod["metadata"], "annotations").insert(INDEX.into(), index.to_string().into());
    pod["metadata"]["generateName"] = format!("{}-{index}-", job.name()).into();
    pod["spec"]["hostname"] = format!("{}-{index}", job.name()).into();
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = pod["spec"].get_mut(list) else {
            continue;
        };
        for container in containers {
            let variables = entry_list(container, "env");
            if !variables.iter().any(|one| one["name"] == "JOB_COMPLETION_INDEX") {
                variables.push(
                    json!({ "name": "JOB_COMPLETION_INDEX", "valueFrom": { "fieldRef": {
                    "apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']"),
                } } }),
                );
            }
        }
    }
    pod
}

fn entry_list<'a>(value: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    if !value[key].is_array() {
        value[key] = json!([]);
    }
    match &mut value[key] {
        Value::Array(list) => list,
        _ => unreachable!("was made an array above"),
    }
}

/// `1,3-5` as Kubernetes writes completed indexes.
fn ranges(indexes: &BTreeSet<i64>) -> String {
    let mut parts: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => parts.push((*index, *index)),
        }
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    parts.join(",")
}

impl Jobs {
    fn note(&self, pod: &Value) {
        if !has_ended(pod) {
            return;
        }
        let Some(owner) = pod.controller().filter(|owner| owner.kind() == "Job") else {
            return;
        };
        // The pods of a job that has gone need no count.
        let job = self
            .context
            .api
            .store()
            .get(RESOURCE, pod.namespace(), owner.str_at(&["name"]));
        if job.is_none_or(|job| job.uid() != owner.str_at(&["uid"])) {
            return;
        }
        let mut tallies = self.tallies.lock();
        let tally = tallies.entry(owner.str_at(&["uid"]).to_owned()).or_default();
        if pod.str_at(&["status", "phase"]) == "Succeeded" {
            tally.succeeded.insert(pod.uid().to_owned());
            tally.indexes.extend(index_of(pod));
        } else {
            let at = Timestamp::now().as_second();
            tally.failed.entry(pod.uid().to_owned()).or_insert(at);
        }
    }

    /// succeeded, failed, last failure, completed indexes
    fn tally(&self, job: &Object) -> (i64, i64, Option<i64>, BTreeSet<i64>) {
        let tallies = self.tallies.lock();
        let Some(tally) = tallies.get(job.uid()) else {
            return (0, 0, None, BTreeSet::new());
        };
        let succeeded = if indexed(job.value()) {
            tally.indexes.len()
        } else {
            tally.succeeded.len()
        };
        (
            i64::try_from(succeeded).unwrap_or(i64::MAX),
            i64::try_from(tally.failed.len()).unwrap_or(i64::MAX),
            tally.failed.values().max().copied(),
            tally.indexes.clone(),
        )
    }

    fn verdict(&self, job: &Object, active: &[Object], succeeded: i64, failed: i64) -> Verdict {
        let limit = job.int_at(&["spec", "backoffLimit"]).unwrap_or(6);
        let restarts: i64 = if job.str_at(&["spec", "template", "spec", "restartPolicy"]) == "OnFailure" {
            active
                .iter()
                .flat_map(|pod| pod.list_at(&["status", "containerStatuses"]))
                .filter_map(|status| status.int_at(&["restartCount"]))
                .sum()
        } else {
            0
        };
        if failed > limit || (restarts > 0 && restarts >= limit) {
            return Verdict::Failed(
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            );
        }
        let over = job
            .int_at(&["spec", "activeDeadlineSeconds"])
            .zip(seconds_since(job.str_at(&["status", "startTime"])))
            .is_some_and(|(deadline, age)| age >= deadline);
        if over {
            return Verdict::Failed(
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            );
        }
        match job.int_at(&["spec", "completions"]) {
            Some(completions) if succeeded >= completions => Verdict::Complete,
            // A work queue: one success, and everybody has gone home.
            None if succeeded > 0 && active.is_empty() => Verdict::Complete,
            _ => Verdict::Going,
        }
    }

    async fn remove(&self, job: &Object, pods: &[Object]) -> Result<()> {
        let context = &self.context;
        for pod in pods {
            delete(&context.api, &context.me, &context.recorder, job, pod).await?;
        }
        Ok(())
    }

    /// Makes as many pods as may run now; `Some` when it has to wait after failures.
    async fn grow(
        &self,
        job: &Object,
        active: &[Object],
        (succeeded, failed, last_failure, done): &(i64, i64, Option<i64>, BTreeSet<i64>),
    ) -> Result<Option<Duration>> {
        let context = &self.context;
        let parallelism = job.int_at(&["spec", "parallelism"]).unwrap_or(1);
        let running = i64::try_from(active.len()).unwrap_or(i64::MAX);
        let wanted = match job.int_at(&["spec", "completions"]) {
            Some(completions) => (completions - succeeded).clamp(0, parallelism),
            None if *succeeded > 0 => running,
            None => parallelism,
        };
        if running > wanted {
            let many = usize::try_from(running - wanted).unwrap_or_default();
            self.remove(job, &active[..many]).await?;
            return Ok(None);
        }
        if running == wanted {
            return Ok(None);
        }
        if let Some(last) = last_failure {
            let pause = 1_i64
                .checked_shl(u32::try_from(*failed - 1).unwrap_or(30).min(30))
                .unwrap_or(LONGEST_PAUSE)
                .min(LONGEST_PAUSE);
            let left = last + pause - Timestamp::now().as_second();
            if left > 0 {
                return Ok(Some(Duration::from_secs(u64::try_from(left).unwrap_or(1))));
            }
        }
        let mut taken: BTreeSet<i64> = done.clone();
        taken.extend(active.iter().filter_map(|pod| index_of(pod.value())));
        let mut free = (0..).filter(|index| !taken.contains(index));
        for _ in running..wanted {
            let index = if indexed(job.value()) { free.next() } else { None };
            let pod = pod_for(job, index);
            create(&context.api, &context.me, &context.recorder, job, pod).await?;
        }
        Ok(None)
    }

    async fn report(&self, job: &Object, verdict: Verdict) -> Result<()> {
        let context = &self.context;
        let pods = self.pods(job);
        let active: Vec<&Object> = pods.iter().filter(|pod| is_active(pod.value())).collect();
        let (succeeded, failed, _, done) = self.tally(job);
        let ready =
            i64::try_from(active.iter().filter(|pod| is_ready(pod.value())).count()).unwrap_or(i64::MAX);
        let active = i64::try_from(active.len()).unwrap_or(i64::MAX);
        let is_indexed = indexed(job.value());
        context
            .api
            .modify(
                &context.me,
                RESOURCE,
                job.namespace(),
                job.name(),
                "status",
                |job| {
                    let paused = suspended(job);
                    let status = entry_object(job, "status");
                    if paused {
                        status.shift_remove("startTime");
                    } else {
                        status.entry("startTime").or_insert_with(|| now().into());
                    }
                    set_count(status, "active", active);
                    set_count(status, "succeeded", succeeded);
                    set_count(status, "failed", failed);
                    status.insert("ready".into(), ready.into());
                    status.insert("terminating".into(), 0.into());
                    status.insert("uncountedTerminatedPods".into(), json!({}));
                    if is_indexed && !done.is_empty() {
                        status.insert("completedIndexes".into(), ranges(&done).into());
                    }
                    let times = &["lastProbeTime"];
                    match verdict {
                        Verdict::Going => {
                            let was = condition(job, "Suspended").is_some();
                            if paused {
                                set_condition_at(
                                    job,
                                    "Suspended",
                                    "True",
                                    "JobSuspended",
                                    "Job suspended",
                                    times,
                                );
                            } else if was {
                                set_condition_at(
                                    job,
                                    "Suspended",
                                    "False",
                                    "JobResumed",
                                    "Job resumed",
                                    times,
                                );
                            }
                        }
                        Verdict::Complete => {
                            status.insert("completionTime".into(), now().into());
                            let message = "Reached expected number of succeeded pods";
                            for kind in ["SuccessCriteriaMet", "Complete"] {
                                set_condition_at(job, kind, "True", "CompletionsReached", message, times);
                            }
                        }
                        Verdict::Failed(reason, message) => {
                            for kind in ["FailureTarget", "Failed"] {
                                set_condition_at(job, kind, "True", reason, message, times);
                            }
                        }
                    }
                    Ok(())
                },
            )
            .await?;
        match verdict {
            Verdict::Going => {}
            Verdict::Complete => context.recorder.normal(job, "Completed", "Job completed").await,
            Verdict::Failed(reason, message) => context.recorder.warning(job, reason, message).await,
        }
        Ok(())
    }

    fn pods(&self, job: &Object) -> Vec<Object> {
        self.context
            .api
            .store()
            .find("pods", Some(job.namespace()), |pod| {
                is_controlled_by(pod, job.uid())
            })
    }

    /// Deletes a finished job after its `ttlSecondsAfterFinished`.
    async fn expire(&self, job: &Object) -> Result<Option<Duration>> {
        let Some(life) = job.int_at(&["spec", "ttlSecondsAfterFinished"]) else {
            return Ok(None);
        };
        let at = ["Complete", "Failed"]
            .iter()
            .find_map(|kind| condition(job.value(), kind))
            .map(|one| one.str_at(&["lastTransitionTime"]))
            .unwrap_or_default();
        let left = life - seconds_since(at).unwrap_or_default();
        if left > 0 {
            return Ok(Some(Duration::from_secs(u64::try_from(left).unwrap_or(1))));
        }
        let options = DeleteOptions {
            uid: Some(job.uid().to_owned()),
            propagation: Propagation::Foreground,
            ..DeleteOptions::default()
        };
        let context = &self.context;
        match context
            .api
            .delete(&context.me, RESOURCE, job.namespace(), job.name(), &options)
            .await
        {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(None),
        }
    }
}

impl Controller for Jobs {
    fn follows(&self) -> &'static [&'static str] {
        &[RESOURCE, "pods"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        if resource == RESOURCE {
            if event.change == Change::Deleted {
                self.tallies.lock().remove(object.uid());
            }
            add((object.namespace().to_owned(), object.name().to_owned()));
        } else {
            self.note(object);
            owners(event, "Job", add);
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let Some(job) = self.context.api.store().get(RESOURCE, namespace, name) else {
                return Ok(None);
            };
            if job.deletion_timestamp().is_some() {
                return Ok(None);
            }
            if finished(job.value()) {
                return self.expire(&job).await;
            }
            let pods = self.pods(&job);
            for pod in &pods {
                self.note(pod.value());
            }
            let active: Vec<Object> = pods.into_iter().filter(|pod| is_active(pod.value())).collect();
            let tally = self.tally(&job);
            let verdict = self.verdict(&job, &active, tally.0, tally.1);
            let mut again = None;
            let mut grown = Ok(None);
            if verdict != Verdict::Going || suspended(job.value()) {
                self.remove(&job, &active).await?;
            } else {
                grown = self.grow(&job, &active, &tally).await;
                again = job
                    .int_at(&["spec", "activeDeadlineSeconds"])
                    .and_then(|deadline| u64::try_from(deadline).ok())
                    .map(Duration::from_secs);
            }
            match self.report(&job, verdict).await {
                Err(status) if status.code == 404 => return Ok(None),
                other => other?,
            }
            let wait = grown?;
            Ok([again, wait].into_iter().flatten().min())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::ranges;

    #[test]
    fn completed_indexes_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 2, 3, 5, 6, 7].into()), "0,2,3,5-7");
        assert_eq!(ranges(&std::collections::BTreeSet::new()), "");
    }
}
