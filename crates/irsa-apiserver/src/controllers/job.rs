//! Jobs: pods until enough of them have succeeded, or too many have failed.

mod plan;
mod tally;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::plan::{Plan, Verdict, is_indexed, is_suspended, plan};
use self::tally::{INDEX, Tally};
use super::context::Context;
use super::owned::{Words, count, from_template, nonzero, typed};
use super::queue::Controller;
use crate::api::{DeleteOptions, Propagation};
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::{has_ended, is_active, is_ready};
use crate::status::Result;
use crate::store::{Change, Event};

const RESOURCE: &str = "jobs.batch";

pub(crate) struct Jobs {
    context: Context,
    /// By uid of the job.
    tallies: Mutex<HashMap<String, Tally>>,
}

/// The condition `Complete` or `Failed` of a job that has finished.
fn finished(status: &JobStatus) -> Option<&JobCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}

/// A pod of a job, in indexed jobs with its index.
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
    let variable = json!({ "name": "JOB_COMPLETION_INDEX", "valueFrom": { "fieldRef": {
        "apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']"),
    } } });
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let variables = container.entry("env").or_insert_with(|| json!([]));
            if let Some(variables) = variables.as_array_mut()
                && !variables.iter().any(|one| one["name"] == variable["name"])
            {
                variables.push(variable.clone());
            }
        }
    }
    pod
}

/// Sets a condition; `false` when it says so already.
fn set_condition(status: &mut JobStatus, kind: &str, value: &str, why: (&str, &str), at: Timestamp) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    if conditions
        .iter()
        .any(|one| one.type_ == kind && one.status == value)
    {
        return false;
    }
    let fresh = JobCondition {
        last_probe_time: Some(Time(at)),
        last_transition_time: Some(Time(at)),
        message: Some(why.1.to_owned()),
        reason: Some(why.0.to_owned()),
        status: value.to_owned(),
        type_: kind.to_owned(),
    };
    match conditions.iter_mut().find(|one| one.type_ == kind) {
        Some(present) => *present = fresh,
        None => conditions.push(fresh),
    }
    true
}

/// `True` or `False` when the condition `Suspended` of this status has to change to that.
fn suspension(job: &Job, status: &JobStatus) -> Option<bool> {
    let present = status
        .conditions
        .iter()
        .flatten()
        .find(|one| one.type_ == "Suspended");
    let was = present.is_some_and(|one| one.status == "True");
    (is_suspended(job) != was).then(|| is_suspended(job))
}

/// Writes counts, times and conditions into the status of a job that has not finished.
fn observe(
    status: &mut JobStatus,
    job: &Job,
    pods: &[Object],
    tally: &Tally,
    verdict: Verdict,
    at: Timestamp,
) {
    let active: Vec<&Object> = pods.iter().filter(|pod| is_active(pod.value())).collect();
    let going = |pod: &&Object| pod.deletion_timestamp().is_some() && !has_ended(pod.value());
    let indexed = is_indexed(job);
    status.start_time = match status.start_time.take() {
        _ if is_suspended(job) => None,
        None => Some(Time(at)),
        started => started,
    };
    status.active = nonzero(count(active.len()));
    status.succeeded = nonzero(count(tally.succeeded(indexed)));
    status.failed = nonzero(count(tally.failed()));
    status.ready = Some(count(active.iter().filter(|pod| is_ready(pod.value())).count()));
    status.terminating = Some(count(pods.iter().filter(going).count()));
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods::default());
    if indexed && !tally.indexes().is_empty() {
        status.completed_indexes = Some(ranges(tally.indexes()));
    }
    match verdict {
        Verdict::Going => match suspension(job, status) {
            Some(true) => {
                set_condition(status, "Suspended", "True", ("JobSuspended", "Job suspended"), at);
            }
            Some(false) => {
                set_condition(status, "Suspended", "False", ("JobResumed", "Job resumed"), at);
            }
            None => {}
        },
        Verdict::Complete => {
            status.completion_time = Some(Time(at));
            let why = ("CompletionsReached", "Reached expected number of succeeded pods");
            for kind in ["SuccessCriteriaMet", "Complete"] {
                set_condition(status, kind, "True", why, at);
            }
        }
        Verdict::Failed(reason, message) => {
            for kind in ["FailureTarget", "Failed"] {
                set_condition(status, kind, "True", (reason, message), at);
            }
        }
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
    let text = |(first, last): (i64, i64)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    parts.into_iter().map(text).collect::<Vec<_>>().join(",")
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

impl Jobs {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            tallies: Mutex::default(),
        }
    }

    fn pods(&self, job: &Object) -> Vec<Object> {
        let store = self.context.store();
        store.controlled_by("pods", job.namespace(), job.uid())
    }

    fn tally(&self, job: &Object) -> Tally {
        self.tallies.lock().get(job.uid()).cloned().unwrap_or_default()
    }

    fn note(&self, pod: &Value, gone: bool) {
        let Some(owner) = pod.controller().filter(|owner| owner.kind() == "Job") else {
            return;
        };
        let (name, uid) = (owner.str_at(&["name"]), owner.str_at(&["uid"]));
        let job = self.context.store().get(RESOURCE, pod.namespace(), name);
        // Pods of a deleted Job are not counted.
        if job.is_some_and(|job| job.uid() == uid) {
            let mut tallies = self.tallies.lock();
            let tally = tallies.entry(uid.to_owned()).or_default();
            tally.note(pod, gone, Timestamp::now());
        }
    }

    fn dismiss(&self, job: &Object, pod: &Object) {
        let mut tallies = self.tallies.lock();
        tallies
            .entry(job.uid().to_owned())
            .or_default()
            .dismiss(pod.uid());
    }

    async fn carry_out(&self, object: &Object, plan: &Plan<'_>) -> Result<()> {
        for pod in &plan.delete {
            // Before the deletion is observed: pods that this controller deletes do not count as failures.
            self.dismiss(object, pod);
            self.context.delete("pods", object, pod, Words::Pod).await?;
        }
        for index in &plan.create {
            let pod = pod_for(object, *index);
            self.context.create("pods", object, pod, Words::Pod).await?;
        }
        Ok(())
    }

    async fn report(&self, object: &Object, job: &Job, verdict: Verdict) -> Result<()> {
        let (pods, tally, at) = (self.pods(object), self.tally(object), Timestamp::now());
        let before = job.status.clone().unwrap_or_default();
        let write = |status: &mut JobStatus| observe(status, job, &pods, &tally, verdict, at);
        let written = self.context.report(RESOURCE, object, write).await?;
        let recorder = &self.context.recorder;
        match verdict {
            Verdict::Going => match suspension(job, &before) {
                Some(true) => recorder.normal(&written, "Suspended", "Job suspended").await,
                Some(false) => recorder.normal(&written, "Resumed", "Job resumed").await,
                None => {}
            },
            Verdict::Complete => recorder.normal(&written, "Completed", "Job completed").await,
            Verdict::Failed(reason, message) => recorder.warning(&written, reason, message).await,
        }
        Ok(())
    }

    /// Deletes a finished job after its `ttlSecondsAfterFinished`.
    async fn expire(&self, object: &Object, job: &Job, since: Option<&Time>) -> Result<Option<Duration>> {
        let life = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
        let Some((life, since)) = life.zip(since) else {
            return Ok(None);
        };
        let left = since.0.as_second() + i64::from(life) - Timestamp::now().as_second();
        if left > 0 {
            return Ok(Some(seconds(left)));
        }
        let options = DeleteOptions {
            uid: Some(object.uid().to_owned()),
            propagation: Propagation::Foreground,
            ..DeleteOptions::default()
        };
        let Context { api, me, .. } = &self.context;
        api.delete(me, RESOURCE, object.namespace(), object.name(), &options)
            .await?;
        Ok(None)
    }
}

impl Controller for Jobs {
    const RESOURCE: &'static str = RESOURCE;
    const KIND: &'static str = "Job";
    const OWNS: &'static [&'static str] = &["pods"];

    fn context(&self) -> &Context {
        &self.context
    }

    fn observe(&self, resource: &str, event: &Event) {
        let gone = event.change == Change::Deleted;
        if resource == "pods" {
            self.note(event.object.value(), gone);
        } else if gone {
            self.tallies.lock().remove(event.object.uid());
        }
    }

    async fn reconcile(&self, object: Object) -> Result<Option<Duration>> {
        let job: Job = typed(object.value())?;
        let status = job.status.clone().unwrap_or_default();
        if let Some(condition) = finished(&status) {
            return self
                .expire(&object, &job, condition.last_transition_time.as_ref())
                .await;
        }
        let mut pods = self.pods(&object);
        pods.iter().for_each(|pod| self.note(pod.value(), false));
        pods.retain(|pod| is_active(pod.value()));
        let tally = self.tally(&object);
        let plan = plan(&job, &pods, &tally, Timestamp::now());
        let carried_out = self.carry_out(&object, &plan).await;
        self.report(&object, &job, plan.verdict).await?;
        carried_out.map(|()| plan.look_again.map(seconds))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing::object;
    use super::tally::index_of;
    use super::*;

    #[test]
    fn completed_indexes_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 2, 3, 5, 6, 7].into()), "0,2,3,5-7");
        assert_eq!(ranges(&BTreeSet::new()), "");
    }

    #[test]
    fn suspension_is_a_condition_and_resets_the_start() {
        let job = |suspend: bool| -> Job {
            typed(&json!({ "spec": { "suspend": suspend, "template": {} } })).unwrap()
        };
        let mut status = JobStatus::default();
        let at = Timestamp::UNIX_EPOCH;
        let look = |suspend, status: &mut JobStatus| {
            let change = suspension(&job(suspend), status);
            observe(status, &job(suspend), &[], &Tally::default(), Verdict::Going, at);
            change
        };
        assert_eq!(look(false, &mut status), None);
        assert!(status.start_time.is_some() && status.conditions.is_none());
        assert_eq!(look(true, &mut status), Some(true));
        assert_eq!(look(true, &mut status), None);
        assert!(status.start_time.is_none());
        assert_eq!(look(false, &mut status), Some(false));
        let suspended = status.conditions.unwrap();
        assert_eq!((suspended.len(), suspended[0].status.as_str()), (1, "False"));
    }

    #[test]
    fn a_pod_of_an_indexed_job_knows_its_index() {
        let job = object(json!({ "kind": "Job", "metadata": { "name": "j", "uid": "u" },
            "spec": { "template": { "spec": { "containers": [{ "name": "a" }] } } } }));
        let pod = pod_for(&job, Some(3));
        assert_eq!(index_of(&pod), Some(3));
        assert_eq!(pod["spec"]["hostname"], "j-3");
        assert_eq!(
            pod["spec"]["containers"][0]["env"][0]["name"],
            "JOB_COMPLETION_INDEX"
        );
        assert_eq!(pod_for(&job, None).label("job-name"), Some("j"));
    }
}
