//! The workload that a pod belongs to, and how its pods are recreated.
//!
//! A pod names its controller; a ReplicaSet or Job names the one above it. How pods are recreated depends on the kind of
//! the workload, its update strategy, and who else writes to it: an operator or a GitOps controller would remove a
//! restart annotation in the middle of the rollout.

use std::{borrow::Cow, collections::HashMap, fmt};

use irsa_core::selector::LabelSelector;
use serde_json::Value;

use crate::{
    cluster::{Cluster, Error},
    owner, wire,
};

/// A controller of pods, or a pod without one.
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
    /// Path of the object; nothing for kinds that this crate does not know.
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

/// How the pods of a workload are recreated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The restart annotation in its template: its controller rolls, with surge and partition as configured.
    Restart,
    /// `spec.restartAt` of an Argo Rollout.
    RestartAt,
    /// Evicting its pods one after another, which disruption budgets can refuse, with the reason for this way.
    Evict(Cow<'static, str>),
    /// Deleting a pod that has no controller, and creating it again from its own manifest.
    Recreate,
    /// Its pods cannot be recreated.
    Leave {
        /// Why not.
        reason: String,
        /// What the owner of the workload can do.
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

    fn evict(why: &'static str) -> Self {
        Self::Evict(Cow::Borrowed(why))
    }

    fn leave(reason: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Leave {
            reason: reason.into(),
            cure: cure.into(),
        }
    }
}

/// A workload with the way to recreate its pods.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name.
    pub reference: WorkloadRef,
    /// How its pods are recreated.
    pub way: Way,
    /// The object as it was read; `null` for unknown kinds.
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

/// Permissions of the caller for delicate cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Delete pods without a controller and create them again.
    pub recreate_bare_pods: bool,
    /// Change templates even where an operator or a GitOps controller owns the workload.
    pub restart_managed: bool,
}

/// Finds the workloads of pods. Each ReplicaSet and Job is read once.
#[derive(Debug, Default)]
pub struct Owners {
    seen: HashMap<WorkloadRef, WorkloadRef>,
}

/// A pod with its controller, not borrowed from a page.
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
        // No workload of Kubernetes or Argo has a longer chain of owners.
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

/// Reads a workload and decides how its pods are recreated.
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
                "the kubelet creates static pods from files on their node; the API server cannot recreate them",
                "write the variables into the manifest on the node, or run it as a DaemonSet",
            ),
            object: Value::Null,
        });
    }
    let Some(path) = reference.path() else {
        let way = Way::evict("its kind has no restart of its own");
        return Ok(Workload {
            reference,
            way,
            object: Value::Null,
        });
    };
    let Some(object) = cluster.find(&path).await? else {
        return Ok(Workload {
            way: Way::leave(
                format!("{reference} no longer exists"),
                "its pods are deleted with it",
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

/// Decides how the pods of a workload are recreated. Pure.
pub fn way(reference: &WorkloadRef, object: &Value, ways: Ways) -> Way {
    let spec = &object["spec"];
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Way::leave("it is being deleted", "its pods are deleted with it");
    }
    match &*reference.kind {
        "Pod" if ways.recreate_bare_pods => Way::Recreate,
        "Pod" => Way::leave(
            "no controller would create this pod again",
            "delete it and create it again, or let --recreate-bare-pods do it",
        ),
        "Job" => Way::leave(
            "the pod template of a Job cannot be changed, and its pods run to completion",
            "let it finish; run the Job again for pods with the new setting",
        ),
        "CronJob" => Way::leave(
            "the next Job of the CronJob gets the new setting",
            "wait for its next run, or start one with kubectl create job --from",
        ),
        "Rollout" => Way::RestartAt,
        "ReplicaSet" | "ReplicationController" => {
            Way::evict("a ReplicaSet without a Deployment does not roll when its template changes")
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
                return Way::evict("its update strategy is OnDelete, so it does not roll by itself");
            }
            if !ways.restart_managed {
                if let Some(owner) = controller_of(object, &reference.namespace) {
                    return Way::evict(match &*owner.kind {
                        "Deployment" | "DaemonSet" | "StatefulSet" => "another workload owns it",
                        _ => "an operator owns it and would remove a restart annotation",
                    });
                }
                if let Some(tool) = gitops(object) {
                    return Way::Evict(tool.into());
                }
            }
            Way::Restart
        }
        _ => Way::evict("its kind has no restart of its own"),
    }
}

/// Why a changed template would not stay, if a GitOps controller manages the object.
fn gitops(object: &Value) -> Option<String> {
    let metadata = &object["metadata"];
    let tool = owner::gitops(
        |label| !metadata["labels"][label].is_null(),
        |annotation| !metadata["annotations"][annotation].is_null(),
    )?;
    Some(format!(
        "{} manages it and would report or revert a changed template",
        tool.name()
    ))
}

/// How far the rolling update of a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pods of the current template that are ready, as far as the status proves it.
    pub updated: u64,
    /// Pods wanted.
    pub wanted: u64,
    /// Whether the rolling update is complete.
    pub done: bool,
    /// Why it will not complete, if the controller says so.
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
    let (wanted, total, updated, ready) = match kind {
        "DaemonSet" => (
            number(&status["desiredNumberScheduled"]),
            number(&status["currentNumberScheduled"]),
            number(&status["updatedNumberScheduled"]),
            number(&status["numberAvailable"]),
        ),
        _ => (
            spec["replicas"].as_u64().unwrap_or(1),
            number(&status["replicas"]),
            number(&status["updatedReplicas"]),
            number(
                &status[if kind == "StatefulSet" {
                    "readyReplicas"
                } else {
                    "availableReplicas"
                }],
            ),
        ),
    };
    // The status counts ready pods of both templates: only those that exceed the old pods are certainly new. Until the
    // controller has seen the change, all of its numbers are about the pods before it.
    let old = total.saturating_sub(updated);
    let new_and_ready = if seen {
        ready.saturating_sub(old).min(updated)
    } else {
        0
    };
    let to_update = match kind {
        "StatefulSet" => wanted.saturating_sub(number(&spec["updateStrategy"]["rollingUpdate"]["partition"])),
        _ => wanted,
    };
    let old_gone = matches!(kind, "DaemonSet" | "StatefulSet") || total <= updated;
    Progress {
        updated: new_and_ready,
        wanted,
        done: seen && updated >= to_update && ready >= wanted && old_gone,
        failed: deadline_exceeded(status).filter(|_| seen),
    }
}

/// What a Deployment says once its progress deadline has passed.
fn deadline_exceeded(status: &Value) -> Option<String> {
    let condition = status["conditions"].as_array()?.iter().find(|condition| {
        condition["type"] == "Progressing"
            && condition["status"] == "False"
            && condition["reason"] == "ProgressDeadlineExceeded"
    })?;
    let message = condition["message"].as_str();
    Some(message.unwrap_or("its progress deadline is exceeded").to_owned())
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
    fn only_plain_deployments_daemon_sets_and_stateful_sets_are_restarted() {
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
            "the controller has not observed the change yet"
        );
        object["status"]["observedGeneration"] = json!(3);
        assert!(progress("Deployment", &object).done);
        object["status"]["replicas"] = json!(3);
        assert!(!progress("Deployment", &object).done, "an old pod still exists");
        object["status"]["conditions"] = json!([{"type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet has timed out"}]);
        assert_eq!(
            progress("Deployment", &object).failed.as_deref(),
            Some("ReplicaSet has timed out")
        );
    }

    #[test]
    fn a_new_pod_that_is_not_ready_is_not_counted_because_old_ones_are() {
        // One new pod in CreateContainerConfigError beside two old ones that are ready.
        let deployment = json!({"metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}});
        assert_eq!(progress("Deployment", &deployment).updated, 0);
        let set = json!({"metadata": {"generation": 2}, "spec": {"replicas": 3},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}});
        assert_eq!(progress("StatefulSet", &set).updated, 0);
        let daemons = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2,
            "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 2}});
        assert_eq!(progress("DaemonSet", &daemons).updated, 0);
        // The same with the new pod ready.
        let mut deployment = deployment;
        deployment["status"]["availableReplicas"] = json!(3);
        assert_eq!(progress("Deployment", &deployment).updated, 1);
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
