//! DaemonSets: one pod on every node that takes it; rolling update or replacement on delete.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use serde_json::{Value, json};

use super::context::Context;
use super::owned::{Moment, Words, count, from_template, nonzero, scaled, typed};
use super::queue::{Controller, Key, key_of};
use super::revisions::{self, POD_LABEL};
use super::scheduler;
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::{has_ended, is_ready};
use crate::status::Result;
use crate::store::Event;

const RESOURCE: &str = "daemonsets.apps";

pub(crate) struct DaemonSets(pub(crate) Context);

/// Taints that the pods of every DaemonSet tolerate.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The pod of a DaemonSet, still without a node.
fn daemon_pod(set: &Object, hash: &str) -> Value {
    let template = set.at(&["spec", "template"]).cloned().unwrap_or_default();
    let mut pod = from_template(set.value(), &template);
    let generation = set
        .annotation("deprecated.daemonset.template.generation")
        .unwrap_or("1");
    let labels = entry_object(&mut pod["metadata"], "labels");
    labels.insert(POD_LABEL.into(), hash.into());
    labels.insert("pod-template-generation".into(), generation.into());
    let spec = entry_object(&mut pod, "spec");
    let on_host = spec.get("hostNetwork") == Some(&Value::Bool(true));
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        let network = on_host.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
        for (key, effect) in TOLERATED.iter().copied().chain(network) {
            let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
            if !tolerations.contains(&toleration) {
                tolerations.push(toleration);
            }
        }
    }
    pod
}

/// Pins a pod to a node. Replaces the pod's own node affinity, which was used to select the node.
fn pin(mut pod: Value, node: &str) -> Value {
    let affinity = entry_object(&mut pod, "spec")
        .entry("affinity")
        .or_insert_with(|| json!({}));
    entry_object(affinity, "nodeAffinity").insert(
        "requiredDuringSchedulingIgnoredDuringExecution".into(),
        json!({ "nodeSelectorTerms": [{ "matchFields": [{
            "key": "metadata.name", "operator": "In", "values": [node],
        }] }] }),
    );
    pod
}

/// The node that a pod is on, or is pinned to.
fn node_of(pod: &Value) -> &str {
    let assigned = pod.str_at(&["spec", "nodeName"]);
    if !assigned.is_empty() {
        return assigned;
    }
    pod.at(&["spec", "affinity"])
        .and_then(|affinity| {
            affinity.pointer(
                "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0",
            )
        })
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The state of a DaemonSet that planning needs.
#[derive(Debug)]
struct View {
    /// Hash of the present template.
    hash: String,
    moment: Moment,
    /// Pods by node, the oldest first.
    pods: BTreeMap<String, Vec<Object>>,
    /// Nodes that should have a pod.
    wanted: Vec<String>,
    surge: i64,
    unavailable: i64,
    on_delete: bool,
}

/// One step towards the desired state.
#[derive(Debug)]
enum Step<'a> {
    Create(&'a str),
    Delete(&'a Object),
    /// Delete a pod that has failed, with an event that names its node.
    Replace(&'a str, &'a Object),
}

fn living(pods: &[Object]) -> impl Iterator<Item = &Object> {
    pods.iter().filter(|pod| pod.deletion_timestamp().is_none())
}

impl View {
    fn new(spec: &DaemonSetSpec, hash: &str, pods: Vec<Object>, wanted: Vec<String>) -> Self {
        let mut by_node: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for pod in pods {
            let node = node_of(pod.value()).to_owned();
            by_node.entry(node).or_default().push(pod);
        }
        for pods in by_node.values_mut() {
            pods.sort_by_cached_key(|pod| {
                let created = pod.str_at(&["metadata", "creationTimestamp"]);
                (created.to_owned(), pod.name().to_owned())
            });
        }
        let strategy = spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let total = i64::from(count(wanted.len()));
        let part = |value: Option<_>| value.and_then(|value| scaled(value, total, true));
        let surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref())).unwrap_or(0);
        let unavailable = part(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()));
        let unavailable = unavailable.unwrap_or(i64::from(surge == 0));
        Self {
            hash: hash.to_owned(),
            moment: Moment::now(spec.min_ready_seconds),
            pods: by_node,
            wanted,
            surge,
            // At least one of the two is positive.
            unavailable: unavailable.max(i64::from(surge == 0)),
            on_delete: strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete"),
        }
    }

    fn on(&self, node: &str) -> &[Object] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    fn is_new(&self, pod: &Object) -> bool {
        pod.label(POD_LABEL) == Some(&self.hash)
    }

    /// Creates missing pods and deletes surplus ones. If there are none, replaces pods of earlier templates.
    fn plan(&self) -> Vec<Step<'_>> {
        let steps = self.manage();
        if steps.is_empty() && !self.on_delete {
            return self.roll();
        }
        steps
    }

    fn manage(&self) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        for node in &self.wanted {
            let pods = self.on(node);
            if pods.is_empty() {
                steps.push(Step::Create(node));
            }
            let (ended, running): (Vec<&Object>, Vec<&Object>) =
                living(pods).partition(|pod| has_ended(pod.value()));
            steps.extend(ended.into_iter().map(|pod| Step::Replace(node, pod)));
            let replacing = self.surge > 0
                && running.len() == 2
                && running.iter().filter(|pod| self.is_new(pod)).count() == 1;
            if !replacing {
                steps.extend(running.into_iter().skip(1).map(Step::Delete));
            }
        }
        let elsewhere = self.pods.iter().filter(|(node, _)| !self.wanted.contains(node));
        steps.extend(elsewhere.flat_map(|(_, pods)| living(pods)).map(Step::Delete));
        steps
    }

    /// Replaces pods of earlier templates, as many at a time as the strategy allows.
    fn roll(&self) -> Vec<Step<'_>> {
        let (mut unavailable, mut surging) = (0, 0);
        let (mut steps, mut candidates, mut surge_on) = (Vec::new(), Vec::new(), Vec::new());
        let available = |pod| self.moment.is_available(pod);
        for node in &self.wanted {
            let of = |new: bool| living(self.on(node)).find(|pod| self.is_new(pod) == new);
            match (of(false), of(true)) {
                (None, None) => unavailable += 1,
                (None, Some(new)) => unavailable += i64::from(!available(new)),
                (Some(old), Some(new)) => {
                    surging += 1;
                    if available(new) || !available(old) {
                        steps.push(Step::Delete(old));
                    }
                }
                // It is unavailable anyway, so it can be replaced at once.
                (Some(old), None) if !available(old) => {
                    unavailable += 1;
                    if self.surge > 0 {
                        surge_on.insert(0, Step::Create(node));
                    } else {
                        steps.push(Step::Delete(old));
                    }
                }
                (Some(_), None) if self.surge > 0 => surge_on.push(Step::Create(node)),
                (Some(old), None) => candidates.push(Step::Delete(old)),
            }
        }
        let room = |most: i64, now: i64| usize::try_from(most - now).unwrap_or_default();
        steps.extend(candidates.into_iter().take(room(self.unavailable, unavailable)));
        steps.extend(surge_on.into_iter().take(room(self.surge, surging)));
        steps
    }

    fn observe(&self, status: &mut DaemonSetStatus, generation: Option<i64>) {
        // The newest counts while two are there.
        let pods: Vec<&Object> = self
            .wanted
            .iter()
            .filter_map(|node| living(self.on(node)).max_by_key(|pod| self.is_new(pod)))
            .collect();
        let number = |keep: &dyn Fn(&Object) -> bool| count(pods.iter().filter(|pod| keep(pod)).count());
        let elsewhere = self.pods.iter().filter(|(node, pods)| {
            !self.wanted.contains(node) && pods.iter().any(|pod| !has_ended(pod.value()))
        });
        let available = number(&|pod| self.moment.is_available(pod));
        status.current_number_scheduled = count(pods.len());
        status.number_misscheduled = count(elsewhere.count());
        status.desired_number_scheduled = count(self.wanted.len());
        status.number_ready = number(&|pod| is_ready(pod.value()));
        status.updated_number_scheduled = nonzero(number(&|pod| self.is_new(pod)));
        status.number_available = nonzero(available);
        status.number_unavailable = nonzero(count(self.wanted.len()) - available);
        status.observed_generation = generation;
    }
}

impl DaemonSets {
    async fn view(&self, object: &Object, spec: &DaemonSetSpec, hash: &str) -> Result<View> {
        let pods = self.0.claim("pods", object).await?;
        let pod = daemon_pod(object, hash);
        let nodes = self.0.store().list("nodes", None).items;
        let wanted = nodes
            .iter()
            .filter(|node| node.deletion_timestamp().is_none() && scheduler::fits(&pod, node.value()).is_ok())
            .map(|node| node.name().to_owned())
            .collect();
        Ok(View::new(spec, hash, pods, wanted))
    }

    async fn take(&self, object: &Object, view: &View, step: Step<'_>) -> Result<()> {
        let context = &self.0;
        match step {
            Step::Create(node) => {
                let pod = pin(daemon_pod(object, &view.hash), node);
                context.create("pods", object, pod, Words::Pod).await.map(|_| ())
            }
            Step::Delete(pod) => context.delete("pods", object, pod, Words::Pod).await,
            Step::Replace(node, pod) => {
                let message = format!(
                    "Found failed daemon pod {}/{} on node {node}, will try to kill it",
                    pod.namespace(),
                    pod.name()
                );
                context.recorder.warning(object, "FailedDaemonPod", message).await;
                context.delete("pods", object, pod, Words::Pod).await
            }
        }
    }
}

impl Controller for DaemonSets {
    const RESOURCE: &'static str = RESOURCE;
    const KIND: &'static str = "DaemonSet";
    const OWNS: &'static [&'static str] = &["pods", revisions::RESOURCE];
    const FOLLOWS: &'static [&'static str] = &["nodes"];

    fn context(&self) -> &Context {
        &self.0
    }

    fn concerned(&self, _: &str, event: &Event) -> Vec<Key> {
        if !scheduler::spec_or_labels_changed(event) {
            return Vec::new();
        }
        let sets = self.0.store().list(RESOURCE, None).items;
        sets.iter().map(key_of).collect()
    }

    async fn reconcile(&self, object: Object) -> Result<Option<Duration>> {
        let set: DaemonSet = typed(object.value())?;
        let spec = set.spec;
        let history = self.0.history(&object, POD_LABEL).await?;
        let hash = history.present.label(POD_LABEL).unwrap_or_default();
        let view = self.view(&object, &spec, hash).await?;
        let mut failure = None;
        for step in view.plan() {
            // Continue with the other nodes if the pod of one is rejected.
            if let Err(status) = self.take(&object, &view, step).await {
                failure.get_or_insert(status);
            }
        }
        let view = self.view(&object, &spec, hash).await?;
        let generation = set.metadata.generation;
        self.0
            .report(RESOURCE, &object, |status| view.observe(status, generation))
            .await?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let all = || view.pods.values().flatten();
        let used = |revision: &Object| {
            all().any(|pod| {
                pod.label(POD_LABEL)
                    .is_some_and(|hash| revision.label(POD_LABEL) == Some(hash))
            })
        };
        self.0
            .trim_history(spec.revision_history_limit, &history, used)
            .await?;
        Ok(view.moment.soon(all()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing::object;
    use super::*;

    /// A pod on a node, of the old or new template.
    fn pod(node: &str, new: bool, ready: bool) -> Object {
        let (hash, name) = if new { ("new", "b") } else { ("old", "a") };
        object(json!({
            "metadata": { "name": format!("{name}-{node}"), "labels": { POD_LABEL: hash } },
            "spec": { "nodeName": node },
            "status": { "phase": "Running",
                "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
    }

    fn view(strategy: Value, pods: Vec<Object>) -> View {
        let spec = json!({ "selector": {}, "template": {}, "updateStrategy": strategy });
        let spec: DaemonSetSpec = typed(&spec).unwrap();
        View::new(&spec, "new", pods, vec!["1".into(), "2".into(), "3".into()])
    }

    /// `+node` for a pod to be made, `-pod` for one to be deleted, `!pod` for a failed one.
    fn steps(view: &View) -> String {
        let text = |step| match step {
            Step::Create(node) => format!("+{node}"),
            Step::Delete(pod) => format!("-{}", pod.name()),
            Step::Replace(_, pod) => format!("!{}", pod.name()),
        };
        view.plan().into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_node_gets_one_pod_and_no_other_node_keeps_one() {
        assert_eq!(steps(&view(json!({}), vec![])), "+1 +2 +3");
        let pods = vec![
            pod("1", true, true),
            pod("2", true, true),
            pod("2", false, true),
            pod("9", true, true),
        ];
        assert_eq!(steps(&view(json!({}), pods)), "-b-2 +3 -b-9");
    }

    #[test]
    fn a_failed_pod_is_replaced() {
        let mut failed = pod("1", true, false).value().clone();
        failed["status"]["phase"] = "Failed".into();
        let pods = vec![object(failed), pod("2", true, true), pod("3", true, true)];
        assert_eq!(steps(&view(json!({}), pods)), "!b-1");
    }

    #[test]
    fn a_rolling_update_replaces_one_available_pod_at_a_time() {
        let old = |ready: [bool; 3]| {
            vec![
                pod("1", false, ready[0]),
                pod("2", false, ready[1]),
                pod("3", false, ready[2]),
            ]
        };
        assert_eq!(steps(&view(json!({}), old([true; 3]))), "-a-1");
        // An unavailable pod is replaced first and counts towards `maxUnavailable`.
        assert_eq!(steps(&view(json!({}), old([true, false, true]))), "-a-2");
        let two = json!({ "rollingUpdate": { "maxUnavailable": "50%" } });
        assert_eq!(steps(&view(two, old([true; 3]))), "-a-1 -a-2");
        assert_eq!(steps(&view(json!({ "type": "OnDelete" }), old([true; 3]))), "");
    }

    #[test]
    fn a_surge_makes_the_new_pod_first() {
        let surge = json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
        let old = || {
            vec![
                pod("1", false, true),
                pod("2", false, true),
                pod("3", false, true),
            ]
        };
        assert_eq!(steps(&view(surge.clone(), old())), "+1");
        let mut with_new = old();
        with_new.push(pod("1", true, false));
        assert_eq!(steps(&view(surge.clone(), with_new)), "");
        let mut with_ready = old();
        with_ready.push(pod("1", true, true));
        assert_eq!(steps(&view(surge, with_ready)), "-a-1");
    }

    #[test]
    fn the_status_counts_nodes() {
        let pods = vec![pod("1", true, true), pod("2", false, true), pod("9", true, true)];
        let mut status = DaemonSetStatus::default();
        view(json!({}), pods).observe(&mut status, Some(3));
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({ "currentNumberScheduled": 2, "desiredNumberScheduled": 3, "numberAvailable": 2,
                "numberMisscheduled": 1, "numberReady": 2, "numberUnavailable": 1, "observedGeneration": 3,
                "updatedNumberScheduled": 1 })
        );
    }

    #[test]
    fn a_pod_is_pinned_to_its_node() {
        let set = object(json!({ "kind": "DaemonSet", "metadata": { "name": "d" },
            "spec": { "template": { "spec": { "hostNetwork": true } } } }));
        let pod = pin(daemon_pod(&set, "h"), "n");
        assert_eq!(node_of(&pod), "n");
        assert_eq!(pod.list_at(&["spec", "tolerations"]).len(), TOLERATED.len() + 1);
    }
}
