//! DaemonSets: one pod on every node that takes it; rolling update or replacement on delete.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::pods::{claim, create, delete, from_template, int_or_percent, set_count};
use super::queue::{Controller, Key, adopters, owners};
use super::revisions::{self, History, POD_LABEL};
use super::scheduler::{daemon_fits, selector_of};
use crate::api::BoxFuture;
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::{Availability, availability, has_ended, is_ready};
use crate::status::{Result, Status};
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

/// The pod of a DaemonSet for one node.
fn pod_for(set: &Object, node: &str, hash: &str) -> Value {
    let template = set.at(&["spec", "template"]).cloned().unwrap_or_default();
    let mut pod = from_template(set.value(), &template);
    let generation = set
        .annotation("deprecated.daemonset.template.generation")
        .unwrap_or("1");
    let labels = entry_object(&mut pod["metadata"], "labels");
    labels.insert(POD_LABEL.into(), hash.into());
    labels.insert("pod-template-generation".into(), generation.into());
    let spec = entry_object(&mut pod, "spec");
    let affinity = spec.entry("affinity").or_insert_with(|| json!({}));
    let node_affinity = entry_object(affinity, "nodeAffinity");
    node_affinity.insert(
        "requiredDuringSchedulingIgnoredDuringExecution".into(),
        json!({ "nodeSelectorTerms": [{ "matchFields": [{
            "key": "metadata.name", "operator": "In", "values": [node],
        }] }] }),
    );
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        let network = host_network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
        for (key, effect) in TOLERATED.iter().copied().chain(network) {
            let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
            if !tolerations.contains(&toleration) {
                tolerations.push(toleration);
            }
        }
    }
    pod
}

/// The node that a pod is on, or is meant for.
fn node_of(pod: &Value) -> &str {
    let assigned = pod.str_at(&["spec", "nodeName"]);
    if !assigned.is_empty() {
        return assigned;
    }
    pod.list_at(&[
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ])
    .iter()
    .flat_map(|term| term.list_at(&["matchFields"]))
    .find(|field| field.str_at(&["key"]) == "metadata.name")
    .and_then(|field| field.list_at(&["values"]).first()?.as_str())
    .unwrap_or_default()
}

/// What is seen of a DaemonSet at one moment.
struct View {
    set: Object,
    hash: String,
    min_ready: i64,
    at: Timestamp,
    by_node: BTreeMap<String, Vec<Object>>,
    wanted: Vec<String>,
}

impl View {
    fn available(&self, pod: &Object) -> bool {
        pod.deletion_timestamp().is_none()
            && availability(pod.value(), self.min_ready, self.at) == Availability::Available
    }

    fn is_new(&self, pod: &Object) -> bool {
        pod.label(POD_LABEL) == Some(&self.hash)
    }

    /// `maxSurge` and `maxUnavailable`, at least one of them positive.
    fn rolling(&self) -> (i64, i64) {
        let total = i64::try_from(self.wanted.len()).unwrap_or(i64::MAX);
        let part = |key: &str| self.set.at(&["spec", "updateStrategy", "rollingUpdate", key]);
        let surge = int_or_percent(part("maxSurge"), total, true, 0);
        let unavailable = int_or_percent(part("maxUnavailable"), total, true, if surge > 0 { 0 } else { 1 });
        if surge == 0 && unavailable == 0 {
            (0, 1)
        } else {
            (surge, unavailable)
        }
    }
}

impl DaemonSets {
    async fn view(&self, set: Object) -> Result<(View, History)> {
        let selector = selector_of(set.value())?;
        let api = &self.0.api;
        let history = revisions::sync(&self.0, &set, &selector, POD_LABEL).await?;
        let hash = history.present.label(POD_LABEL).unwrap_or_default().to_owned();
        let pods = claim(api, &self.0.me, "pods", &set, &selector).await?;
        let mut by_node: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for pod in pods {
            by_node
                .entry(node_of(pod.value()).to_owned())
                .or_default()
                .push(pod);
        }
        for pods in by_node.values_mut() {
            pods.sort_by(|one, other| {
                let created = |pod: &Object| pod.str_at(&["metadata", "creationTimestamp"]).to_owned();
                (created(one), one.name()).cmp(&(created(other), other.name()))
            });
        }
        let mut wanted = Vec::new();
        for node in api.store().list("nodes", None).items {
            if node.deletion_timestamp().is_some() {
                continue;
            }
            let mut trial = pod_for(&set, node.name(), &hash);
            // The template's own affinity decides, not the one that pins the pod to this node.
            let affinity = set.at(&["spec", "template", "spec", "affinity"]);
            match affinity {
                Some(affinity) => trial["spec"]["affinity"] = affinity.clone(),
                None => {
                    entry_object(&mut trial, "spec").shift_remove("affinity");
                }
            }
            if daemon_fits(&trial, node.value()) {
                wanted.push(node.name().to_owned());
            }
        }
        let view = View {
            min_ready: set.int_at(&["spec", "minReadySeconds"]).unwrap_or_default(),
            at: Timestamp::now(),
            set,
            hash,
            by_node,
            wanted,
        };
        Ok((view, history))
    }

    /// Pods that are missing or too many.
    async fn manage(&self, view: &View) -> Result<()> {
        let (surge, _) = view.rolling();
        let context = &self.0;
        let mut first_error = None;
        for node in &view.wanted {
            let pods = view.by_node.get(node).map_or(&[][..], Vec::as_slice);
            if pods.is_empty() {
                self.make(view, node, &mut first_error).await;
                continue;
            }
            let mut running = Vec::new();
            for pod in pods.iter().filter(|pod| pod.deletion_timestamp().is_none()) {
                if has_ended(pod.value()) {
                    let message = format!(
                        "Found failed daemon pod {}/{} on node {node}, will try to kill it",
                        pod.namespace(),
                        pod.name()
                    );
                    context
                        .recorder
                        .warning(&view.set, "FailedDaemonPod", message)
                        .await;
                    delete(&context.api, &context.me, &context.recorder, &view.set, pod).await?;
                } else {
                    running.push(pod);
                }
            }
            let old_and_new =
                surge > 0 && running.len() == 2 && running.iter().filter(|pod| view.is_new(pod)).count() == 1;
            if running.len() > 1 && !old_and_new {
                for pod in &running[1..] {
                    delete(&context.api, &context.me, &context.recorder, &view.set, pod).await?;
                }
            }
        }
        for (node, pods) in &view.by_node {
            if view.wanted.contains(node) {
                continue;
            }
            for pod in pods.iter().filter(|pod| pod.deletion_timestamp().is_none()) {
                delete(&context.api, &context.me, &context.recorder, &view.set, pod).await?;
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn make(&self, view: &View, node: &str, first_error: &mut Option<Status>) {
        let context = &self.0;
        let pod = pod_for(&view.set, node, &view.hash);
        let made = create(&context.api, &context.me, &context.recorder, &view.set, pod).await;
        if let Err(status) = made {
            first_error.get_or_insert(status);
        }
    }

    /// Replaces pods of earlier templates, as many at a time as the strategy allows.
    async fn roll(&self, view: &View) -> Result<()> {
        let (surge, max_unavailable) = view.rolling();
        let mut unavailable = 0;
        let mut surging = 0;
        let mut replace_now = Vec::new();
        let mut candidates = Vec::new();
        let mut surge_on = Vec::new();
        for node in &view.wanted {
            let pods = view.by_node.get(node).map_or(&[][..], Vec::as_slice);
            let living = |new: bool| {
                pods.iter()
                    .find(|pod| pod.deletion_timestamp().is_none() && view.is_new(pod) == new)
            };
            match (living(false), living(true)) {
                (None, None) => unavailable += 1,
                (None, Some(new)) => unavailable += i64::from(!view.available(new)),
                (Some(old), Some(new)) => {
                    surging += 1;
                    if view.available(new) || !view.available(old) {
                        replace_now.push(old);
                    }
                }
                (Some(old), None) if !view.available(old) => {
                    // It serves nobody: replacing it makes nothing worse.
                    unavailable += 1;
                    if surge > 0 {
                        surge_on.insert(0, node);
                    } else {
                        replace_now.push(old);
                    }
                }
                (Some(old), None) => {
                    if surge > 0 {
                        surge_on.push(node);
                    } else {
                        candidates.push(old);
                    }
                }
            }
        }
        let room = usize::try_from(max_unavailable - unavailable).unwrap_or_default();
        replace_now.extend(candidates.into_iter().take(room));
        let context = &self.0;
        for pod in replace_now {
            delete(&context.api, &context.me, &context.recorder, &view.set, pod).await?;
        }
        let mut first_error = None;
        let room = usize::try_from(surge - surging).unwrap_or_default();
        for node in surge_on.into_iter().take(room) {
            self.make(view, node, &mut first_error).await;
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn report(&self, view: &View) -> Result<()> {
        let (mut scheduled, mut ready, mut available, mut updated, mut misscheduled) = (0, 0, 0, 0, 0);
        for node in &view.wanted {
            let pods = view.by_node.get(node).map_or(&[][..], Vec::as_slice);
            // The newest counts while two are there.
            let Some(pod) = pods
                .iter()
                .filter(|pod| pod.deletion_timestamp().is_none())
                .max_by_key(|pod| view.is_new(pod))
            else {
                continue;
            };
            scheduled += 1;
            ready += i64::from(is_ready(pod.value()));
            available += i64::from(view.available(pod));
            updated += i64::from(view.is_new(pod));
        }
        for (node, pods) in &view.by_node {
            let running = pods.iter().any(|pod| !has_ended(pod.value()));
            misscheduled += i64::from(running && !view.wanted.contains(node));
        }
        let desired = i64::try_from(view.wanted.len()).unwrap_or(i64::MAX);
        let generation = view.set.generation();
        self.0
            .api
            .modify(
                &self.0.me,
                RESOURCE,
                view.set.namespace(),
                view.set.name(),
                "status",
                |set| {
                    let status = entry_object(set, "status");
                    for (key, count) in [
                        ("currentNumberScheduled", scheduled),
                        ("numberMisscheduled", misscheduled),
                        ("desiredNumberScheduled", desired),
                        ("numberReady", ready),
                    ] {
                        status.insert(key.into(), count.into());
                    }
                    status.insert("observedGeneration".into(), generation.into());
                    set_count(status, "updatedNumberScheduled", updated);
                    set_count(status, "numberAvailable", available);
                    set_count(status, "numberUnavailable", desired - available);
                    Ok(())
                },
            )
            .await?;
        Ok(())
    }
}

impl Controller for DaemonSets {
    fn follows(&self) -> &'static [&'static str] {
        &[RESOURCE, "pods", "nodes", "controllerrevisions.apps"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        match resource {
            RESOURCE => add((object.namespace().to_owned(), object.name().to_owned())),
            "nodes" => {
                let all = event.previous.as_ref().is_none_or(|previous| {
                    previous.at(&["spec"]) != object.at(&["spec"]) || previous.labels() != object.labels()
                });
                if all {
                    for set in self.0.api.store().list(RESOURCE, None).items {
                        add((set.namespace().to_owned(), set.name().to_owned()));
                    }
                }
            }
            _ => {
                owners(event, "DaemonSet", add);
                adopters(self.0.api.store(), RESOURCE, event, add);
            }
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let Some(set) = self.0.api.store().get(RESOURCE, namespace, name) else {
                return Ok(None);
            };
            if set.deletion_timestamp().is_some() {
                return Ok(None);
            }
            let (view, history) = self.view(set).await?;
            let managed = self.manage(&view).await;
            // What was just made and deleted is seen by the next steps.
            let (view, _) = self.view(view.set).await?;
            if managed.is_ok() && view.set.str_at(&["spec", "updateStrategy", "type"]) != "OnDelete" {
                self.roll(&view).await?;
            }
            let (view, _) = self.view(view.set).await?;
            self.report(&view).await?;
            managed?;
            let used: Vec<String> = view
                .by_node
                .values()
                .flatten()
                .filter_map(|pod| pod.label(POD_LABEL).map(str::to_owned))
                .collect();
            revisions::clean_up(&self.0, &view.set, &history, |revision| {
                revision
                    .label(POD_LABEL)
                    .is_some_and(|hash| used.iter().any(|used| used == hash))
            })
            .await?;
            let soon = view
                .by_node
                .values()
                .flatten()
                .filter_map(|pod| match availability(pod.value(), view.min_ready, view.at) {
                    Availability::In(time) => Some(time),
                    _ => None,
                })
                .min();
            Ok(soon)
        })
    }
}
