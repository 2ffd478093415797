//! Gives pods a node: node selector, required node affinity, taints, and then the node with the fewest pods.
//! Resources, pod affinity and topology spread are not looked at.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::context::Context;
use super::queue::{Controller, Key, key_of};
use crate::conditions::set_condition;
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::has_ended;
use crate::status::Result;
use crate::store::{Change, Event, StoreError};

/// Why a pod cannot go to a node, in the scheduler's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unfit {
    /// `spec.unschedulable`.
    Cordoned,
    /// Selector or affinity.
    Affinity,
    /// A taint that the pod does not tolerate: key and value.
    Taint(String, String),
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cordoned => f.write_str("node(s) were unschedulable"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Taint(key, value) => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
        }
    }
}

/// Whether a pod may be put on a node.
pub(super) fn fits(pod: &Value, node: &Value) -> Result<(), Unfit> {
    let cordoned = node.at(&["spec", "unschedulable"]) == Some(&Value::Bool(true));
    let unschedulable = json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" });
    if cordoned && !tolerates(pod, &unschedulable) {
        return Err(Unfit::Cordoned);
    }
    if !matches_affinity(pod, node) {
        return Err(Unfit::Affinity);
    }
    for taint in node.list_at(&["spec", "taints"]) {
        let hard = matches!(taint.str_at(&["effect"]), "NoSchedule" | "NoExecute");
        if hard && !tolerates(pod, taint) {
            let part = |key| taint.str_at(&[key]).to_owned();
            return Err(Unfit::Taint(part("key"), part("value")));
        }
    }
    Ok(())
}

/// Node selector and required node affinity.
fn matches_affinity(pod: &Value, node: &Value) -> bool {
    let selected = pod.map_at(&["spec", "nodeSelector"]).is_none_or(|wanted| {
        wanted
            .iter()
            .all(|(key, value)| node.label(key) == value.as_str())
    });
    let required = pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    let matches_term = |term: &Value| {
        let expressions = term.list_at(&["matchExpressions"]);
        let fields = term.list_at(&["matchFields"]);
        // An empty term matches nothing.
        !(expressions.is_empty() && fields.is_empty())
            && expressions
                .iter()
                .all(|one| holds(one, node.label(one.str_at(&["key"]))))
            && fields.iter().all(|one| {
                let value = (one.str_at(&["key"]) == "metadata.name").then(|| node.name());
                holds(one, value)
            })
    };
    selected
        && required.is_none_or(|required| required.list_at(&["nodeSelectorTerms"]).iter().any(matches_term))
}

fn holds(requirement: &Value, value: Option<&str>) -> bool {
    let values = requirement.list_at(&["values"]);
    let among = |value: &str| values.iter().any(|one| one.as_str() == Some(value));
    let compare = |value: &str| {
        let wanted = values.first()?.as_str()?.parse::<i64>().ok()?;
        Some(value.parse::<i64>().ok()?.cmp(&wanted))
    };
    match requirement.str_at(&["operator"]) {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(compare) == Some(std::cmp::Ordering::Greater),
        "Lt" => value.and_then(compare) == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

fn tolerates(pod: &Value, taint: &Value) -> bool {
    pod.list_at(&["spec", "tolerations"]).iter().any(|toleration| {
        let effect = toleration.str_at(&["effect"]);
        let key = toleration.str_at(&["key"]);
        let exists = toleration.str_at(&["operator"]) == "Exists";
        (effect.is_empty() || effect == taint.str_at(&["effect"]))
            && (key == taint.str_at(&["key"]) || (key.is_empty() && exists))
            && (exists || toleration.str_at(&["value"]) == taint.str_at(&["value"]))
    })
}

/// The fitting node with the fewest pods, or the message that says why none fits.
fn choose<'a>(pod: &Value, nodes: &'a [Object], placed: &Placed) -> Result<&'a str, String> {
    let mut reasons: BTreeMap<Unfit, usize> = BTreeMap::new();
    let mut fitting = Vec::new();
    for node in nodes {
        match fits(pod, node.value()) {
            Ok(()) => fitting.push(node.name()),
            Err(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    let least = fitting.into_iter().min_by_key(|node| placed.on(node));
    least.ok_or_else(|| {
        if nodes.is_empty() {
            return "no nodes available to schedule pods".to_owned();
        }
        let why: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        format!(
            "0/{} nodes are available: {}. preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling.",
            nodes.len(),
            why.join(", ")
        )
    })
}

/// Which pod is on which node, kept from the changes of pods: counting them for every pod would take too long.
#[derive(Debug, Default)]
struct Placed {
    /// By uid of the pod.
    nodes: HashMap<String, String>,
    counts: HashMap<String, usize>,
}

impl Placed {
    fn see(&mut self, pod: &Value, gone: bool) {
        let node = pod.str_at(&["spec", "nodeName"]);
        let counts = !gone && !node.is_empty() && !has_ended(pod);
        if counts && !self.nodes.contains_key(pod.uid()) {
            self.nodes.insert(pod.uid().to_owned(), node.to_owned());
            *self.counts.entry(node.to_owned()).or_default() += 1;
        } else if !counts
            && let Some(node) = self.nodes.remove(pod.uid())
            && let Some(count) = self.counts.get_mut(&node)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&node);
            }
        }
    }

    fn on(&self, node: &str) -> usize {
        self.counts.get(node).copied().unwrap_or_default()
    }
}

pub(crate) struct Scheduler {
    context: Context,
    placed: Mutex<Placed>,
}

fn is_waiting(pod: &Value) -> bool {
    pod.str_at(&["spec", "nodeName"]).is_empty()
        && pod.deletion_timestamp().is_none()
        && !has_ended(pod)
        && pod.list_at(&["spec", "schedulingGates"]).is_empty()
        && matches!(pod.str_at(&["spec", "schedulerName"]), "" | "default-scheduler")
}

/// Whether a change is one of spec or labels: of a node's, those decide which pods fit; heartbeats do not.
pub(super) fn spec_or_labels_changed(event: &Event) -> bool {
    event.previous.as_ref().is_none_or(|previous| {
        previous.at(&["spec"]) != event.object.at(&["spec"]) || previous.labels() != event.object.labels()
    })
}

/// Writes the node into a pod, as the `binding` subresource does: no update of the pod's spec is admitted or
/// validated for it.
fn bind(api: &crate::api::Api, pod: &Object, node: &str) -> Result<Object, StoreError> {
    let mut current = Object::clone(pod);
    loop {
        let mut next = current.value().clone();
        entry_object(&mut next, "spec").insert("nodeName".into(), node.into());
        entry_object(&mut next, "status").insert("phase".into(), "Pending".into());
        set_condition(&mut next, "PodScheduled", "True", "", "");
        api.add_topology_labels(&mut next);
        match api.store().update("pods", next, Some(current.version())) {
            Err(StoreError::Conflict) => {
                current = api
                    .store()
                    .get("pods", pod.namespace(), pod.name())
                    .filter(|now| now.uid() == pod.uid() && is_waiting(now.value()))
                    .ok_or(StoreError::NotFound)?;
            }
            other => return other,
        }
    }
}

impl Scheduler {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            placed: Mutex::default(),
        }
    }

    async fn refuse(&self, pod: &Object, message: &str) -> Result<()> {
        self.context
            .recorder
            .warning(pod, "FailedScheduling", message)
            .await;
        let unschedulable = |pod: &mut Value| {
            entry_object(pod, "status").insert("phase".into(), "Pending".into());
            set_condition(pod, "PodScheduled", "False", "Unschedulable", message);
            Ok(())
        };
        self.context.modify("pods", pod, "status", unschedulable).await?;
        Ok(())
    }
}

impl Controller for Scheduler {
    const RESOURCE: &'static str = "pods";
    const FOLLOWS: &'static [&'static str] = &["nodes"];

    fn context(&self) -> &Context {
        &self.context
    }

    fn observe(&self, resource: &str, event: &Event) {
        if resource == "pods" {
            let gone = event.change == Change::Deleted;
            self.placed.lock().see(event.object.value(), gone);
        }
    }

    fn matters(&self, event: &Event) -> bool {
        // Our own refusal is a change, too, of the status only.
        event.change != Change::Deleted && is_waiting(event.object.value()) && spec_or_labels_changed(event)
    }

    fn concerned(&self, _: &str, event: &Event) -> Vec<Key> {
        if !spec_or_labels_changed(event) {
            return Vec::new();
        }
        let waiting = self.context.store().find("pods", None, is_waiting);
        waiting.iter().map(key_of).collect()
    }

    async fn reconcile(&self, pod: Object) -> Result<Option<Duration>> {
        if !is_waiting(pod.value()) {
            return Ok(None);
        }
        let nodes = self.context.store().list("nodes", None).items;
        let chosen = choose(pod.value(), &nodes, &self.placed.lock());
        let node = match chosen {
            Ok(node) => node,
            Err(message) => return self.refuse(&pod, &message).await.map(|()| None),
        };
        match bind(&self.context.api, &pod, node) {
            Ok(bound) => {
                // Before the change comes back: the next pod is already waiting.
                self.placed.lock().see(bound.value(), false);
                let message = format!(
                    "Successfully assigned {}/{} to {node}",
                    pod.namespace(),
                    pod.name()
                );
                self.context.recorder.normal(&pod, "Scheduled", message).await;
                Ok(None)
            }
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error.status("pods", pod.name())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing::object;
    use super::*;

    fn node(labels: Value, spec: Value) -> Value {
        json!({ "metadata": { "name": "n", "labels": labels }, "spec": spec })
    }

    #[test]
    fn selector_affinity_taints_and_cordons_keep_pods_away() {
        let free = node(json!({ "disk": "ssd", "cores": "8" }), json!({}));
        let pod = |spec: Value| json!({ "spec": spec });
        assert_eq!(fits(&pod(json!({})), &free), Ok(()));
        assert_eq!(
            fits(&pod(json!({ "nodeSelector": { "disk": "hdd" } })), &free),
            Err(Unfit::Affinity)
        );
        let affine = |expression: Value| {
            let terms = json!([{ "matchExpressions": [expression] }]);
            pod(json!({ "affinity": { "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } }))
        };
        let more = affine(json!({ "key": "cores", "operator": "Gt", "values": ["4"] }));
        let fewer = affine(json!({ "key": "cores", "operator": "Lt", "values": ["4"] }));
        assert_eq!(
            (fits(&more, &free), fits(&fewer, &free)),
            (Ok(()), Err(Unfit::Affinity))
        );
        let taint = json!([{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }]);
        let tainted = node(json!({}), json!({ "taints": taint }));
        assert_eq!(
            fits(&pod(json!({})), &tainted).unwrap_err().to_string(),
            "node(s) had untolerated taint {gpu: yes}"
        );
        let tolerant = pod(json!({ "tolerations": [{ "key": "gpu", "operator": "Exists" }] }));
        assert_eq!(fits(&tolerant, &tainted), Ok(()));
        let cordoned = node(json!({}), json!({ "unschedulable": true }));
        assert_eq!(fits(&pod(json!({})), &cordoned), Err(Unfit::Cordoned));
    }

    #[test]
    fn the_node_with_the_fewest_pods_is_chosen() {
        let node = |name: &str| object(json!({ "metadata": { "name": name, "labels": { "disk": name } } }));
        let nodes = [node("a"), node("b")];
        let mut placed = Placed::default();
        placed.see(
            &json!({ "metadata": { "uid": "u" }, "spec": { "nodeName": "a" } }),
            false,
        );
        assert_eq!(choose(&json!({}), &nodes, &placed), Ok("b"));
        let picky = |disk: &str| json!({ "spec": { "nodeSelector": { "disk": disk } } });
        assert_eq!(choose(&picky("a"), &nodes, &placed), Ok("a"));
        assert_eq!(
            choose(&picky("c"), &nodes, &placed).unwrap_err(),
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes \
             are available: 2 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn placed_pods_are_counted_once_until_they_end() {
        let mut placed = Placed::default();
        let mut pod = json!({ "metadata": { "uid": "u" }, "spec": { "nodeName": "n" }, "status": {} });
        placed.see(&pod, false);
        placed.see(&pod, false);
        assert_eq!(placed.on("n"), 1);
        pod["status"]["phase"] = "Succeeded".into();
        placed.see(&pod, false);
        assert_eq!(placed.on("n"), 0);
        placed.see(&pod, true);
        assert!(placed.nodes.is_empty() && placed.counts.is_empty());
    }
}
