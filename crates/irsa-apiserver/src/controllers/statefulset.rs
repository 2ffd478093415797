//! StatefulSets: numbered pods, one after the other or all at once; rolling update from the highest number.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use serde_json::{Value, json};

use super::context::Context;
use super::owned::{Moment, Words, count, from_template, nonzero, typed};
use super::queue::Controller;
use super::revisions::{self, History, POD_LABEL};
use crate::api::WriteOptions;
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::{has_ended, is_ready};
use crate::status::Result;

const RESOURCE: &str = "statefulsets.apps";
const CLAIMS: &str = "persistentvolumeclaims";
const REVISION_LABEL: &str = "controller.kubernetes.io/hash";

pub(crate) struct StatefulSets(pub(crate) Context);

/// The number at the end of a pod's name, when it is one of this set.
fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let number = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    number.parse().ok().filter(|ordinal| *ordinal >= 0)
}

/// The pod of this number, as a revision of the set describes it.
fn pod_for(set: &Value, revision: &Value, number: i64) -> Value {
    let template = revision.at(&["data", "spec", "template"]);
    let mut pod = from_template(set, template.unwrap_or(&Value::Null));
    let name = format!("{}-{number}", set.name());
    let metadata = entry_object(&mut pod, "metadata");
    metadata.shift_remove("generateName");
    metadata.insert("name".into(), name.as_str().into());
    let labels = entry_object(&mut pod["metadata"], "labels");
    labels.insert("apps.kubernetes.io/pod-index".into(), number.to_string().into());
    labels.insert(POD_LABEL.into(), revision.name().into());
    labels.insert("statefulset.kubernetes.io/pod-name".into(), name.as_str().into());
    let spec = entry_object(&mut pod, "spec");
    spec.insert("hostname".into(), name.as_str().into());
    let service = set.str_at(&["spec", "serviceName"]);
    if !service.is_empty() {
        spec.insert("subdomain".into(), service.into());
    }
    let claims = set.list_at(&["spec", "volumeClaimTemplates"]);
    if !claims.is_empty()
        && let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()
    {
        for claim in claims {
            volumes.retain(|volume| volume.str_at(&["name"]) != claim.name());
            let claim_name = format!("{}-{name}", claim.name());
            volumes.push(json!({
                "name": claim.name(), "persistentVolumeClaim": { "claimName": claim_name },
            }));
        }
    }
    pod
}

/// What is seen of a StatefulSet at one moment.
#[derive(Debug)]
struct View {
    /// Name of the revision that pods below the partition keep.
    current: String,
    /// Name of the revision of the present template.
    update: String,
    pods: BTreeMap<i64, Object>,
    start: i64,
    end: i64,
    partition: i64,
    /// Whether one pod has to be healthy before the next is made.
    ordered: bool,
    on_delete: bool,
    moment: Moment,
}

/// What is to be done next.
#[derive(Debug)]
enum Step<'a> {
    Create(i64),
    Delete(&'a Object),
}

impl View {
    fn new(object: &Object, spec: &StatefulSetSpec, history: &History, pods: Vec<Object>) -> Self {
        let number = |pod: Object| Some((ordinal(object.value(), pod.value())?, pod));
        let update = history.present.name().to_owned();
        let current = match object.str_at(&["status", "currentRevision"]) {
            "" => update.clone(),
            current => current.to_owned(),
        };
        let strategy = spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
        let start = i64::from(start.unwrap_or(0));
        Self {
            current,
            update,
            pods: pods.into_iter().filter_map(number).collect(),
            start,
            end: start + i64::from(spec.replicas.unwrap_or(1)),
            partition: i64::from(rolling.and_then(|rolling| rolling.partition).unwrap_or(0)),
            ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
            on_delete: strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete"),
            moment: Moment::now(spec.min_ready_seconds),
        }
    }

    /// Name of the revision for a pod that is made now.
    fn revision_for(&self, number: i64) -> &str {
        let keeps = !self.on_delete && number < self.start + self.partition;
        if keeps { &self.current } else { &self.update }
    }

    /// Missing and failed pods first, then those that are too many, then pods of earlier templates. An ordered set takes
    /// one step and waits for it.
    fn plan(&self) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        for number in self.start..self.end {
            match self.pods.get(&number) {
                None => steps.push(Step::Create(number)),
                Some(pod) if has_ended(pod.value()) => {
                    if pod.deletion_timestamp().is_none() {
                        steps.push(Step::Delete(pod));
                    }
                }
                Some(pod) if self.ordered && !self.moment.is_available(pod) => return steps,
                Some(_) => {}
            }
            if self.ordered && !steps.is_empty() {
                return steps;
            }
        }
        let in_range = |number: &i64| (self.start..self.end).contains(number);
        let condemned = self.pods.iter().rev().filter(|(number, _)| !in_range(number));
        let condemned: Vec<&Object> = condemned.map(|(_, pod)| pod).collect();
        let any = !condemned.is_empty();
        let first = if self.ordered { 1 } else { condemned.len() };
        let going = condemned.into_iter().take(first);
        steps.extend(
            going
                .filter(|pod| pod.deletion_timestamp().is_none())
                .map(Step::Delete),
        );
        if !any && !self.on_delete {
            steps.extend(self.roll());
        }
        steps
    }

    /// The next pod of an earlier template: the highest first, each healthy before the next.
    fn roll(&self) -> Option<Step<'_>> {
        let first = (self.start + self.partition).min(self.end);
        for (_, pod) in self.pods.range(first..self.end).rev() {
            if pod.deletion_timestamp().is_some() {
                return None;
            }
            if pod.label(POD_LABEL) != Some(&self.update) {
                return Some(Step::Delete(pod));
            }
            if !self.moment.is_available(pod) {
                return None;
            }
        }
        None
    }

    fn observe(&self, status: &mut StatefulSetStatus, generation: Option<i64>) {
        let living = || {
            self.pods
                .values()
                .filter(|pod| pod.deletion_timestamp().is_none())
        };
        let number = |keep: &dyn Fn(&Object) -> bool| count(living().filter(|pod| keep(pod)).count());
        let of = |revision: &str| number(&|pod| pod.label(POD_LABEL) == Some(revision));
        let (total, ready) = (count(self.pods.len()), number(&|pod| is_ready(pod.value())));
        let (updated, wanted) = (
            of(&self.update),
            i32::try_from(self.end - self.start).unwrap_or(i32::MAX),
        );
        let rolled = !self.on_delete && [updated, ready, total] == [wanted; 3];
        let current = if rolled { &self.update } else { &self.current };
        status.observed_generation = generation;
        status.replicas = total;
        status.available_replicas = Some(number(&|pod| self.moment.is_available(pod)));
        status.ready_replicas = nonzero(ready);
        status.current_replicas = nonzero(of(current));
        status.updated_replicas = nonzero(updated);
        status.current_revision = Some(current.clone());
        status.update_revision = Some(self.update.clone());
        status.collision_count = Some(0);
    }
}

impl StatefulSets {
    async fn view(&self, object: &Object, spec: &StatefulSetSpec, history: &History) -> Result<View> {
        let pods = self.0.claim("pods", object).await?;
        Ok(View::new(object, spec, history, pods))
    }

    async fn make(&self, object: &Object, history: &History, view: &View, number: i64) -> Result<()> {
        let name = view.revision_for(number);
        let kept = history.all.iter().find(|revision| revision.name() == name);
        let revision = kept.unwrap_or(&history.present);
        let pod = pod_for(object.value(), revision.value(), number);
        self.claim_volumes(object, pod.name()).await?;
        let made = self.0.create("pods", object, pod, Words::NumberedPod).await;
        made.map(|_| ())
    }

    async fn claim_volumes(&self, object: &Object, pod: &str) -> Result<()> {
        let context = &self.0;
        for template in object.list_at(&["spec", "volumeClaimTemplates"]) {
            let name = format!("{}-{pod}", template.name());
            if context.store().get(CLAIMS, object.namespace(), &name).is_some() {
                continue;
            }
            let mut claim = template.clone();
            entry_object(&mut claim, "metadata").insert("name".into(), name.into());
            if let Some(claim) = claim.as_object_mut() {
                claim.shift_remove("status");
            }
            let options = WriteOptions::default();
            context
                .api
                .create(&context.me, CLAIMS, object.namespace(), claim, &options)
                .await?;
        }
        Ok(())
    }
}

impl Controller for StatefulSets {
    const RESOURCE: &'static str = RESOURCE;
    const KIND: &'static str = "StatefulSet";
    const OWNS: &'static [&'static str] = &["pods", revisions::RESOURCE];

    fn context(&self) -> &Context {
        &self.0
    }

    async fn reconcile(&self, object: Object) -> Result<Option<Duration>> {
        let set: StatefulSet = typed(object.value())?;
        let spec = set.spec;
        let history = self.0.history(&object, REVISION_LABEL).await?;
        let view = self.view(&object, &spec, &history).await?;
        let mut result = Ok(());
        for step in view.plan() {
            result = match step {
                Step::Create(number) => self.make(&object, &history, &view, number).await,
                Step::Delete(pod) => self.0.delete("pods", &object, pod, Words::NumberedPod).await,
            };
            if result.is_err() {
                break;
            }
        }
        let view = self.view(&object, &spec, &history).await?;
        let generation = set.metadata.generation;
        self.0
            .report(RESOURCE, &object, |status| view.observe(status, generation))
            .await?;
        result?;
        let used = |revision: &Object| {
            let name = revision.name();
            name == view.current || view.pods.values().any(|pod| pod.label(POD_LABEL) == Some(name))
        };
        self.0
            .trim_history(spec.revision_history_limit, &history, used)
            .await?;
        Ok(view.moment.soon(view.pods.values()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing::object;
    use super::*;

    #[derive(Clone, Copy)]
    enum Is {
        Ready,
        Starting,
        Ended,
        Going,
    }
    use Is::{Ended, Going, Ready, Starting};

    fn pod(number: usize, revision: &str, is: Is) -> Object {
        let phase = if matches!(is, Ended) { "Failed" } else { "Running" };
        let ready = if matches!(is, Ready | Going) {
            "True"
        } else {
            "False"
        };
        let mut pod = json!({
            "metadata": { "name": format!("db-{number}"), "labels": { POD_LABEL: revision } },
            "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
        });
        if matches!(is, Going) {
            pod["metadata"]["deletionTimestamp"] = "2026-11-24T07:00:00Z".into();
        }
        object(pod)
    }

    fn view(spec: Value, pods: &[(&str, Is)]) -> View {
        let set = object(
            json!({ "metadata": { "name": "db" }, "spec": spec, "status": { "currentRevision": "old" } }),
        );
        let revision = |name: &str| object(json!({ "metadata": { "name": name, "uid": name } }));
        let history = History {
            present: revision("new"),
            all: vec![revision("old"), revision("new")],
        };
        let pods = pods
            .iter()
            .enumerate()
            .map(|(number, (revision, is))| pod(number, revision, *is))
            .collect();
        View::new(&set, &typed(set.at(&["spec"]).unwrap()).unwrap(), &history, pods)
    }

    fn steps(spec: Value, pods: &[(&str, Is)]) -> String {
        let view = view(spec, pods);
        let text = |step| match step {
            Step::Create(number) => format!("+{number}"),
            Step::Delete(pod) => format!("-{}", pod.name()),
        };
        view.plan().into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_ordered_set_makes_one_pod_after_the_other() {
        let three = || json!({ "replicas": 3 });
        assert_eq!(steps(three(), &[]), "+0");
        assert_eq!(steps(three(), &[("new", Starting)]), "");
        assert_eq!(steps(three(), &[("new", Ready)]), "+1");
        assert_eq!(steps(three(), &[("new", Ready), ("new", Ended)]), "-db-1");
        let parallel = json!({ "replicas": 3, "podManagementPolicy": "Parallel" });
        assert_eq!(steps(parallel, &[("new", Starting)]), "+1 +2");
    }

    #[test]
    fn the_highest_numbers_go_first() {
        let pods = [("new", Ready), ("new", Ready), ("new", Ready)];
        assert_eq!(steps(json!({ "replicas": 1 }), &pods), "-db-2");
        let going = [("new", Ready), ("new", Ready), ("new", Going)];
        assert_eq!(steps(json!({ "replicas": 1 }), &going), "");
        let parallel = json!({ "replicas": 1, "podManagementPolicy": "Parallel" });
        assert_eq!(steps(parallel, &pods), "-db-2 -db-1");
        let later = json!({ "replicas": 1, "ordinals": { "start": 2 } });
        assert_eq!(steps(later, &pods), "-db-1");
    }

    #[test]
    fn a_rolling_update_begins_with_the_highest_and_stops_at_the_partition() {
        let three = || json!({ "replicas": 3 });
        assert_eq!(
            steps(three(), &[("old", Ready), ("old", Ready), ("old", Ready)]),
            "-db-2"
        );
        assert_eq!(
            steps(three(), &[("old", Ready), ("old", Ready), ("new", Ready)]),
            "-db-1"
        );
        assert_eq!(
            steps(three(), &[("old", Ready), ("old", Ready), ("new", Going)]),
            ""
        );
        let partition = json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 2 } } });
        assert_eq!(
            steps(partition, &[("old", Ready), ("old", Ready), ("new", Ready)]),
            ""
        );
        let on_delete = json!({ "replicas": 3, "updateStrategy": { "type": "OnDelete" } });
        assert_eq!(
            steps(on_delete, &[("old", Ready), ("old", Ready), ("old", Ready)]),
            ""
        );
    }

    #[test]
    fn a_pod_below_the_partition_comes_back_as_it_was() {
        let spec = json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 2 } } });
        let view = view(spec, &[]);
        assert_eq!((view.revision_for(1), view.revision_for(2)), ("old", "new"));
    }

    #[test]
    fn the_current_revision_changes_when_all_pods_are_new_and_ready() {
        let status = |pods: &[(&str, Is)]| {
            let mut status = StatefulSetStatus::default();
            view(json!({ "replicas": 2 }), pods).observe(&mut status, Some(1));
            (
                status.current_revision.unwrap(),
                status.current_replicas,
                status.updated_replicas,
            )
        };
        assert_eq!(
            status(&[("old", Ready), ("new", Ready)]),
            ("old".into(), Some(1), Some(1))
        );
        assert_eq!(
            status(&[("new", Ready), ("new", Starting)]),
            ("old".into(), None, Some(2))
        );
        assert_eq!(
            status(&[("new", Ready), ("new", Ready)]),
            ("new".into(), Some(2), Some(2))
        );
    }

    #[test]
    fn a_pod_has_its_number_in_name_labels_and_claims() {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "name": "web", "namespace": "n", "uid": "u" },
            "spec": { "serviceName": "web", "volumeClaimTemplates": [{ "metadata": { "name": "data" } }] },
        });
        let revision = json!({ "metadata": { "name": "web-abc" }, "data": { "spec": { "template": {
            "$patch": "replace", "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } } } } });
        let pod = pod_for(&set, &revision, 2);
        assert_eq!(pod["metadata"]["name"], "web-2");
        assert_eq!(
            pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"],
            "web-2"
        );
        assert_eq!(pod["metadata"]["labels"][POD_LABEL], "web-abc");
        assert_eq!(
            (&pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
            (&"web-2".into(), &"web".into())
        );
        let claim = &pod["spec"]["volumes"][0]["persistentVolumeClaim"];
        assert_eq!(claim["claimName"], "data-web-2");
        assert_eq!(ordinal(&set, &pod), Some(2));
        assert_eq!(ordinal(&set, &json!({ "metadata": { "name": "web-a" } })), None);
    }
}
