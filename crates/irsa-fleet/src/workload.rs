//! What makes a pod again when it is gone, and how that may be asked for.
//!
//! A pod says who manages it; a ReplicaSet or Job says who manages *that*. How a workload is recreated depends on its
//! kind, its update strategy, and on who else writes to it: a restart annotation on a workload that an operator or a
//! GitOps controller keeps in its own form is taken away again, in the middle of the roll.

use std::{collections::HashMap, fmt};

use irsa_core::selector::LabelSelector;
use serde_json::Value;

use crate::{
    cluster::{Cluster, Error},
    wire,
};

/// A controller of pods, or a pod that has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadRef {
    /// Namespace.
    pub namespace: Box<str>,
    /// Kind as Kubernetes spells it.
    pub kind: Box<str>,
    /// Group and version.
    pub api_version: Box<str>,
    /// Name.
    pub name: Box<str>,
}

impl WorkloadRef {
    /// Path of the object, for the kinds that this crate knows.
    pub fn path(&self) -> Option<String> {
        let resource = match (&*self.kind, self.group()) {
            ("Deployment", "apps") => "deployments",
            ("ReplicaSet", "apps") => "replicasets",
            ("DaemonSet", "apps") => "daemonsets",
            ("StatefulSet", "apps") => "statefulsets",
            ("Job", "batch") => "jobs",
            ("CronJob", "batch") => "cronjobs",
            ("ReplicationController", "") => "replicationcontrollers",
            ("Rollout", "argoproj.io") => "rollouts",
            ("Pod", "") => "pods",
            _ => return None,
        };
        Some(format!(
            "{}/{}",
            crate::pages::collection(&self.api_version, Some(&self.namespace), resource),
            self.name
        ))
    }

    fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

impl fmt::Display for WorkloadRef {
    /// As kubectl names it: `deployment/web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.to_ascii_lowercase(), self.name)
    }
}

/// How the pods of a workload are made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The restart annotation in its template: its controller rolls, with surge and partition as configured.
    Restart,
    /// `spec.restartAt` of an Argo Rollout.
    RestartAt,
    /// Evicting its pods one after another, which disruption budgets can refuse; why is said.
    Evict(&'static str),
    /// Deleting a pod that nobody makes again, and creating it from its own manifest.
    Recreate,
    /// Nothing is done; why, and what the owner can do, is said.
    Leave {
        /// Why.
        reason: String,
        /// What the owner can do.
        cure: String,
    },
}

impl Way {
    /// A short stable name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::RestartAt => "restart-at",
            Self::Evict(_) => "evict",
            Self::Recreate => "recreate",
            Self::Leave { .. } => "leave",
        }
    }

    fn leave(reason: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Leave {
            reason: reason.into(),
            cure: cure.into(),
        }
    }
}

/// A workload with the way its pods are made anew.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which.
    pub reference: WorkloadRef,
    /// How.
    pub way: Way,
    /// The object as it was read, for kinds that are known.
    pub object: Value,
}

impl Workload {
    /// The template of its pods.
    pub fn template(&self) -> Option<&Value> {
        let template = match &*self.reference.kind {
            "CronJob" => &self.object["spec"]["jobTemplate"]["spec"]["template"],
            "Pod" => &self.object,
            _ => &self.object["spec"]["template"],
        };
        template.is_object().then_some(template)
    }

    /// The selector of its pods, in the syntax of a list request.
    pub fn selector(&self) -> Option<String> {
        let selector = LabelSelector::from_object(Some(&self.object["spec"]["selector"])).ok()?;
        (!selector.is_nothing() && !selector.is_everything()).then(|| selector.to_string())
    }
}

/// Choices that the caller makes about delicate cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Delete and create again pods that have no controller.
    pub recreate_bare_pods: bool,
    /// Patch templates even where an operator or GitOps controller owns the workload.
    pub restart_managed: bool,
}

/// Finds who makes a pod again, remembering ReplicaSets and Jobs that were looked at.
#[derive(Debug, Default)]
pub struct Owners {
    seen: HashMap<WorkloadRef, WorkloadRef>,
}

/// A reference to an owner that need not be borrowed from a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodOwner {
    /// The pod itself.
    pub pod: Box<str>,
    /// Its manager, if it has one.
    pub manager: Option<WorkloadRef>,
    /// Whether it is the mirror of a static pod.
    pub mirror: bool,
}

impl PodOwner {
    /// Reads it from a pod.
    pub fn of(pod: &wire::Pod<'_>) -> Self {
        Self {
            pod: (&*pod.metadata.name).into(),
            manager: pod.metadata.controller().map(|owner| WorkloadRef {
                namespace: (&*pod.metadata.namespace).into(),
                kind: (&*owner.kind).into(),
                api_version: (&*owner.api_version).into(),
                name: (&*owner.name).into(),
            }),
            mirror: pod.is_mirror(),
        }
    }

    /// The workload without asking the cluster: a ReplicaSet's Deployment is guessed from its name.
    pub fn likely(&self, namespace: &str) -> WorkloadRef {
        match &self.manager {
            Some(manager) if &*manager.kind == "ReplicaSet" => match manager.name.rsplit_once('-') {
                Some((name, _)) => WorkloadRef {
                    kind: "Deployment".into(),
                    name: name.into(),
                    ..manager.clone()
                },
                None => manager.clone(),
            },
            Some(manager) => manager.clone(),
            None => WorkloadRef {
                namespace: namespace.into(),
                kind: "Pod".into(),
                api_version: "v1".into(),
                name: self.pod.clone(),
            },
        }
    }
}

impl Owners {
    /// The topmost workload that a pod belongs to.
    pub async fn workload(
        &mut self,
        cluster: &Cluster,
        namespace: &str,
        owner: &PodOwner,
    ) -> Result<WorkloadRef, Error> {
        let Some(manager) = &owner.manager else {
            return Ok(owner.likely(namespace));
        };
        // A chain longer than this is no workload that Kubernetes or Argo makes.
        let mut current = manager.clone();
        for _ in 0..3 {
            if let Some(known) = self.seen.get(&current) {
                return Ok(known.clone());
            }
            if !matches!(&*current.kind, "ReplicaSet" | "Job") {
                break;
            }
            let Some(path) = current.path() else { break };
            let Some(object) = cluster.find(&path).await? else {
                break;
            };
            let Some(above) = controller_of(&object, namespace) else {
                break;
            };
            current = above;
        }
        self.seen.insert(manager.clone(), current.clone());
        Ok(current)
    }
}

fn controller_of(object: &Value, namespace: &str) -> Option<WorkloadRef> {
    let owner = object["metadata"]["ownerReferences"]
        .as_array()?
        .iter()
        .find(|owner| owner["controller"] == true)?;
    let text = |field: &str| owner[field].as_str().unwrap_or_default().into();
    Some(WorkloadRef {
        namespace: namespace.into(),
        kind: text("kind"),
        api_version: text("apiVersion"),
        name: text("name"),
    })
}

/// Reads a workload and decides how its pods are made anew.
pub async fn read(
    cluster: &Cluster,
    reference: WorkloadRef,
    mirror: bool,
    ways: Ways,
) -> Result<Workload, Error> {
    if mirror {
        return Ok(Workload {
            reference,
            way: Way::leave(
                "static pods are made from files on their node; the API server cannot make them anew",
                "write the variables into the manifest on the node, or run it as a DaemonSet",
            ),
            object: Value::Null,
        });
    }
    let Some(path) = reference.path() else {
        let way = Way::Evict("its controller is of a kind that has no restart of its own");
        return Ok(Workload {
            reference,
            way,
            object: Value::Null,
        });
    };
    let Some(object) = cluster.find(&path).await? else {
        return Ok(Workload {
            way: Way::leave(
                format!("{reference} does not exist any more"),
                "its pods are removed with it",
            ),
            reference,
            object: Value::Null,
        });
    };
    let way = way(&reference, &object, ways);
    Ok(Workload {
        reference,
        way,
        object,
    })
}

/// Decides how the pods of a workload are made anew. Pure: the object is all that is looked at.
pub fn way(reference: &WorkloadRef, object: &Value, ways: Ways) -> Way {
    let spec = &object["spec"];
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Way::leave("it is being deleted", "its pods are removed with it");
    }
    match &*reference.kind {
        "Pod" if ways.recreate_bare_pods => Way::Recreate,
        "Pod" => Way::leave(
            "no controller makes this pod again",
            "delete and create it yourself, or let --recreate-bare-pods do it",
        ),
        "Job" => Way::leave(
            "the pod template of a Job cannot be changed and its pods run to their end",
            "let it finish; run the Job again for pods with the new choice",
        ),
        "CronJob" => Way::leave(
            "the next Job of the CronJob gets the new choice by itself",
            "wait for its next run, or start one with kubectl create job --from",
        ),
        "Rollout" => Way::RestartAt,
        "ReplicaSet" | "ReplicationController" => {
            Way::Evict("a bare ReplicaSet does not roll when its template changes")
        }
        "Deployment" | "DaemonSet" | "StatefulSet" => {
            if spec["paused"] == true {
                return Way::leave(
                    "the Deployment is paused and would not roll",
                    format!(
                        "kubectl rollout resume -n {} {reference}, then run this again",
                        reference.namespace
                    ),
                );
            }
            if spec["updateStrategy"]["type"] == "OnDelete" {
                return Way::Evict("its update strategy is OnDelete, so it does not roll by itself");
            }
            if !ways.restart_managed {
                if let Some(owner) = controller_of(object, &reference.namespace) {
                    return Way::Evict(match &*owner.kind {
                        "Deployment" | "DaemonSet" | "StatefulSet" => "another workload owns it",
                        _ => "an operator owns it and would take a restart annotation away again",
                    });
                }
                if let Some(tool) = gitops(object) {
                    return Way::Evict(tool);
                }
            }
            Way::Restart
        }
        _ => Way::Evict("its controller is of a kind that has no restart of its own"),
    }
}

/// The GitOps controller that keeps an object in the form of a repository, if one does.
fn gitops(object: &Value) -> Option<&'static str> {
    let metadata = &object["metadata"];
    let has = |map: &str, key: &str| !metadata[map][key].is_null();
    if has("annotations", "argocd.argoproj.io/tracking-id") || has("labels", "argocd.argoproj.io/instance") {
        Some("Argo CD manages it and would report or revert a changed template")
    } else if has("labels", "kustomize.toolkit.fluxcd.io/name")
        || has("labels", "helm.toolkit.fluxcd.io/name")
    {
        Some("Flux manages it and would report or revert a changed template")
    } else if has("annotations", "objectset.rio.cattle.io/id") {
        Some("Fleet manages it and would report or revert a changed template")
    } else {
        None
    }
}

/// Whether a workload stands as its template wants it, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pods from the current template that are ready.
    pub updated: u64,
    /// Pods wanted.
    pub wanted: u64,
    /// Whether the roll is over.
    pub done: bool,
    /// Why it will not end, if the controller says so.
    pub failed: Option<String>,
}

/// Reads the progress of a Deployment, DaemonSet, StatefulSet or Argo Rollout from its status.
pub fn progress(kind: &str, object: &Value) -> Progress {
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let generation = number(&object["metadata"]["generation"]);
    // Argo writes it as text.
    let observed = status["observedGeneration"]
        .as_u64()
        .or_else(|| status["observedGeneration"].as_str()?.parse().ok())
        .unwrap_or(0);
    let seen = observed >= generation;
    // Until the controller has seen the change its numbers are about the pods before it.
    let new = |count: u64| if seen { count } else { 0 };
    match kind {
        "DaemonSet" => {
            let wanted = number(&status["desiredNumberScheduled"]);
            let updated = number(&status["updatedNumberScheduled"]);
            let available = number(&status["numberAvailable"]);
            Progress {
                updated: new(updated.min(available)),
                wanted,
                done: seen && updated >= wanted && available >= wanted,
                failed: None,
            }
        }
        "StatefulSet" => {
            let wanted = spec["replicas"].as_u64().unwrap_or(1);
            let partition = number(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
            let updated = number(&status["updatedReplicas"]);
            let ready = number(&status["readyReplicas"]);
            let rolled = status["updateRevision"].is_null()
                || status["currentRevision"] == status["updateRevision"]
                || updated >= wanted.saturating_sub(partition);
            Progress {
                updated: new(updated.min(ready)),
                wanted,
                done: seen && rolled && updated >= wanted.saturating_sub(partition) && ready >= wanted,
                failed: None,
            }
        }
        _ => {
            let wanted = spec["replicas"].as_u64().unwrap_or(1);
            let updated = number(&status["updatedReplicas"]);
            let available = number(&status["availableReplicas"]);
            let total = number(&status["replicas"]);
            let failed = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|condition| {
                    condition["type"] == "Progressing"
                        && condition["status"] == "False"
                        && condition["reason"] == "ProgressDeadlineExceeded"
                })
                .filter(|_| seen)
                .map(|condition| {
                    condition["message"]
                        .as_str()
                        .unwrap_or("its progress deadline is exceeded")
                        .to_owned()
                });
            Progress {
                updated: new(updated.min(available)),
                wanted,
                done: seen && updated >= wanted && available >= wanted && total <= updated,
                failed,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reference(kind: &str) -> WorkloadRef {
        WorkloadRef {
            namespace: "shop".into(),
            kind: kind.into(),
            api_version: match kind {
                "Pod" => "v1",
                "Job" | "CronJob" => "batch/v1",
                "Rollout" => "argoproj.io/v1alpha1",
                _ => "apps/v1",
            }
            .into(),
            name: "web".into(),
        }
    }

    #[test]
    fn plain_workloads_are_restarted_and_the_delicate_ones_are_not() {
        let way_of = |kind: &str, object: Value| way(&reference(kind), &object, Ways::default());
        assert_eq!(way_of("Deployment", json!({"spec": {}})), Way::Restart);
        assert!(matches!(
            way_of("Deployment", json!({"spec": {"paused": true}})),
            Way::Leave { .. }
        ));
        for kind in ["DaemonSet", "StatefulSet"] {
            assert!(matches!(
                way_of(kind, json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})),
                Way::Evict(why) if why.contains("OnDelete")
            ));
        }
        let operated = json!({"metadata": {"ownerReferences": [{"controller": true, "kind": "OpenTelemetryCollector", "name": "o"}]}});
        assert!(
            matches!(way_of("Deployment", operated.clone()), Way::Evict(why) if why.contains("operator"))
        );
        assert_eq!(
            way(
                &reference("Deployment"),
                &operated,
                Ways {
                    restart_managed: true,
                    ..Ways::default()
                }
            ),
            Way::Restart
        );
        let argo = json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}});
        assert!(matches!(way_of("Deployment", argo), Way::Evict(why) if why.contains("Argo CD")));
        assert!(matches!(way_of("Job", json!({})), Way::Leave { .. }));
        assert!(matches!(way_of("CronJob", json!({})), Way::Leave { .. }));
        assert!(matches!(way_of("Pod", json!({})), Way::Leave { .. }));
        assert_eq!(
            way(
                &reference("Pod"),
                &json!({}),
                Ways {
                    recreate_bare_pods: true,
                    ..Ways::default()
                }
            ),
            Way::Recreate
        );
        assert_eq!(way_of("Rollout", json!({})), Way::RestartAt);
        assert!(matches!(way_of("Widget", json!({})), Way::Evict(_)));
    }

    #[test]
    fn a_deployment_is_done_when_only_new_pods_are_left_and_available() {
        let mut object = json!({"metadata": {"generation": 3}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}});
        assert!(
            !progress("Deployment", &object).done,
            "the controller has not seen the change yet"
        );
        object["status"]["observedGeneration"] = json!(3);
        assert!(progress("Deployment", &object).done);
        object["status"]["replicas"] = json!(3);
        assert!(!progress("Deployment", &object).done, "an old pod is still there");
        object["status"]["conditions"] = json!([{"type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet has timed out"}]);
        assert_eq!(
            progress("Deployment", &object).failed.as_deref(),
            Some("ReplicaSet has timed out")
        );
    }

    #[test]
    fn daemon_sets_and_stateful_sets_count_their_own_way() {
        let daemons = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1,
            "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}});
        assert_eq!(progress("DaemonSet", &daemons).updated, 2);
        assert!(!progress("DaemonSet", &daemons).done);
        let set = json!({"metadata": {"generation": 1}, "spec": {"replicas": 3,
            "updateStrategy": {"rollingUpdate": {"partition": 2}}},
            "status": {"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 3, "updateRevision": "b", "currentRevision": "a"}});
        assert!(
            progress("StatefulSet", &set).done,
            "a partition leaves the first two alone"
        );
    }

    #[test]
    fn paths_follow_the_group() {
        assert_eq!(
            reference("Deployment").path().unwrap(),
            "/apis/apps/v1/namespaces/shop/deployments/web"
        );
        assert_eq!(
            reference("Pod").path().unwrap(),
            "/api/v1/namespaces/shop/pods/web"
        );
        assert_eq!(reference("Widget").path(), None);
        assert_eq!(reference("Deployment").to_string(), "deployment/web");
    }
}
