//! Gives pods a node: node selector, required node affinity, taints, and then the node with the fewest pods.
//! Resources, pod affinity and topology spread are not looked at.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Context;
use super::queue::{Controller, Key};
use crate::api::{Api, BoxFuture};
use crate::conditions::set_condition;
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::has_ended;
use crate::selectors::LabelSelector;
use crate::status::Result;
use crate::store::{Change, Event, StoreError};

/// Why a pod cannot go to a node, in the scheduler's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unfit {
    /// `spec.unschedulable`.
    Cordoned,
    /// Selector or affinity.
    Affinity,
    /// A taint that the pod does not tolerate.
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
pub(crate) fn fits(pod: &Value, node: &Value) -> std::result::Result<(), Unfit> {
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
            return Err(Unfit::Taint(
                taint.str_at(&["key"]).to_owned(),
                taint.str_at(&["value"]).to_owned(),
            ));
        }
    }
    Ok(())
}

/// Node selector and required node affinity.
pub(crate) fn matches_affinity(pod: &Value, node: &Value) -> bool {
    let selected = pod.map_at(&["spec", "nodeSelector"]).is_none_or(|wanted| {
        wanted
            .iter()
            .all(|(key, value)| node.label(key) == value.as_str())
    });
    if !selected {
        return false;
    }
    let required = pod.at(&[
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
    ]);
    let Some(required) = required else { return true };
    required.list_at(&["nodeSelectorTerms"]).iter().any(|term| {
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
    })
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

/// Which pod is on which node, kept from the changes of pods: counting them for every pod would take too long.
#[derive(Debug, Default)]
struct Placed {
    // uid of the pod → node
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
}

pub(crate) struct Scheduler {
    context: Context,
    placed: Mutex<Placed>,
}

impl Scheduler {
    pub(crate) fn new(api: &Arc<Api>) -> Self {
        Self {
            context: Context::new(api, "default-scheduler"),
            placed: Mutex::default(),
        }
    }

    fn waiting(&self) -> Vec<Object> {
        self.context.api.store().find("pods", None, is_waiting)
    }

    async fn refuse(&self, pod: &Object, nodes: &[Object], reasons: &BTreeMap<Unfit, usize>) -> Result<()> {
        let why: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        let message = if nodes.is_empty() {
            "no nodes available to schedule pods".to_owned()
        } else {
            format!(
                "0/{} nodes are available: {}. preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling.",
                nodes.len(),
                why.join(", ")
            )
        };
        self.context
            .recorder
            .warning(pod, "FailedScheduling", message.as_str())
            .await;
        self.context
            .api
            .modify(
                &self.context.me,
                "pods",
                pod.namespace(),
                pod.name(),
                "status",
                |pod| {
                    entry_object(pod, "status").insert("phase".into(), "Pending".into());
                    set_condition(pod, "PodScheduled", "False", "Unschedulable", &message);
                    Ok(())
                },
            )
            .await?;
        Ok(())
    }
}

fn is_waiting(pod: &Value) -> bool {
    pod.str_at(&["spec", "nodeName"]).is_empty()
        && pod.deletion_timestamp().is_none()
        && !has_ended(pod)
        && pod.list_at(&["spec", "schedulingGates"]).is_empty()
        && matches!(pod.str_at(&["spec", "schedulerName"]), "" | "default-scheduler")
}

/// Writes the node into a pod, as the `binding` subresource does: no update of the pod's spec is admitted or
/// validated for it.
fn bind(api: &Api, pod: &Object, node: &str) -> Result<Object, StoreError> {
    let mut current = Arc::clone(pod);
    loop {
        let mut next = current.value().clone();
        entry_object(&mut next, "spec").insert("nodeName".into(), node.into());
        entry_object(&mut next, "status").insert("phase".into(), "Pending".into());
        set_condition(&mut next, "PodScheduled", "True", "", "");
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

impl Controller for Scheduler {
    fn follows(&self) -> &'static [&'static str] {
        &["pods", "nodes"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let key = |pod: &Value| (pod.namespace().to_owned(), pod.name().to_owned());
        if resource == "pods" {
            let gone = event.change == Change::Deleted;
            self.placed.lock().see(event.object.value(), gone);
            if gone {
                return;
            }
        }
        match resource {
            // Our own refusal is a change too, of the status only.
            "pods" if is_waiting(event.object.value()) && matters(event) => add(key(event.object.value())),
            // Heartbeats change only the status, labels and taints do matter.
            "nodes" if matters(event) => self.waiting().iter().for_each(|pod| add(key(pod.value()))),
            _ => {}
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let store = self.context.api.store();
            let Some(pod) = store.get("pods", namespace, name) else {
                return Ok(None);
            };
            if !is_waiting(pod.value()) {
                return Ok(None);
            }
            let nodes = store.list("nodes", None).items;
            let mut reasons = BTreeMap::new();
            let mut fitting = Vec::new();
            for node in &nodes {
                match fits(pod.value(), node.value()) {
                    Ok(()) => fitting.push(node.name()),
                    Err(reason) => *reasons.entry(reason).or_insert(0) += 1,
                }
            }
            let least = {
                let placed = self.placed.lock();
                fitting
                    .iter()
                    .min_by_key(|node| placed.counts.get(**node).copied().unwrap_or_default())
                    .map(|node| (*node).to_owned())
            };
            let Some(node) = least else {
                self.refuse(&pod, &nodes, &reasons).await?;
                return Ok(None);
            };
            match bind(&self.context.api, &pod, &node) {
                Ok(bound) => {
                    // Before the change comes back: the next pod is already waiting.
                    self.placed.lock().see(bound.value(), false);
                    let message = format!("Successfully assigned {namespace}/{name} to {node}");
                    self.context.recorder.normal(&pod, "Scheduled", message).await;
                }
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(error.status("pods", name)),
            }
            Ok(None)
        })
    }
}

fn matters(event: &Event) -> bool {
    let Some(previous) = &event.previous else {
        return true;
    };
    let parts = |node: &Value| (node.at(&["spec"]).cloned(), node.labels().cloned());
    parts(previous.value()) != parts(event.object.value())
}

/// Whether a daemon's pod belongs on a node: cordoned nodes count, taints do as for other pods.
pub(crate) fn daemon_fits(pod: &Value, node: &Value) -> bool {
    fits(pod, node).is_ok()
}

/// Reads the label selector of a workload.
pub(crate) fn selector_of(workload: &Value) -> Result<LabelSelector> {
    LabelSelector::from_object(workload.at(&["spec", "selector"]))
        .map_err(|error| crate::status::Status::internal(format!("spec.selector: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
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
            pod(
                json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchExpressions": [expression] }],
            } } } }),
            )
        };
        let more = affine(json!({ "key": "cores", "operator": "Gt", "values": ["4"] }));
        let fewer = affine(json!({ "key": "cores", "operator": "Lt", "values": ["4"] }));
        assert_eq!(
            (fits(&more, &free), fits(&fewer, &free)),
            (Ok(()), Err(Unfit::Affinity))
        );
        let tainted = node(
            json!({}),
            json!({ "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }] }),
        );
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
    fn placed_pods_are_counted_once_until_they_end() {
        let mut placed = Placed::default();
        let mut pod = json!({ "metadata": { "uid": "u" }, "spec": { "nodeName": "n" }, "status": {} });
        placed.see(&pod, false);
        placed.see(&pod, false);
        assert_eq!(placed.counts["n"], 1);
        pod["status"]["phase"] = "Succeeded".into();
        placed.see(&pod, false);
        assert!(placed.counts.is_empty());
        placed.see(&pod, true);
        assert!(placed.nodes.is_empty());
    }
}
