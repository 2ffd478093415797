//! One workload on its way: started, awaited, and its new pods verified.

use std::{
    collections::BTreeSet,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use irsa_core::settings::Settings;
use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Target,
    event::{Event, Interruption, Observer},
    sanitize::sanitize,
};
use crate::{
    assess,
    cluster::{Cluster, Error, PatchKind, parse},
    directory::Directory,
    effective::Families,
    pages::{self, Query, collection},
    wire::{Page, Pod},
    workload::{Progress, Way, Workload, WorkloadRef, progress},
};

/// One workload on its way.
pub(super) struct Roll<'a> {
    cluster: &'a Cluster,
    directory: &'a Directory,
    target: &'a Target,
    observer: &'a dyn Observer,
    poll: Duration,
    begun: Instant,
    deadline: Instant,
    /// The value of the restart annotation or field that this run wrote or found.
    restart: OnceLock<String>,
    evicted: AtomicU64,
}

impl<'a> Roll<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        directory: &'a Directory,
        target: &'a Target,
        observer: &'a dyn Observer,
        poll: Duration,
        deadline: Instant,
    ) -> Self {
        Self {
            cluster,
            directory,
            target,
            observer,
            poll,
            begun: Instant::now(),
            deadline,
            restart: OnceLock::new(),
            evicted: AtomicU64::new(0),
        }
    }

    fn reference(&self) -> &WorkloadRef {
        &self.target.workload.reference
    }

    fn tell(&self, event: Event) {
        self.observer.event(self.reference(), event);
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// The time limit, in seconds.
    fn limit(&self) -> u64 {
        (self.deadline - self.begun).as_secs_f64().round() as u64
    }

    /// Rolls the workload and verifies its pods; the number of pods.
    pub(super) async fn roll(&self) -> Result<usize, String> {
        match &self.target.workload.way {
            Way::Restart | Way::RestartAt => self.restart().await?,
            Way::Evict(_) => self.evict().await?,
            Way::Recreate => self.recreate().await?,
            Way::Leave { reason, .. } => return Err(reason.clone()),
        }
        self.verify().await
    }

    /// In which state the workload is left when [`Self::roll`] is dropped now.
    pub(super) async fn interrupted(&self) -> Interruption {
        if matches!(self.target.workload.way, Way::Evict(_)) {
            return match self.evicted.load(Ordering::Relaxed) {
                0 => Interruption::NotStarted,
                evicted => Interruption::Stopped {
                    evicted,
                    of: self.target.stale.len() as u64,
                },
            };
        }
        let (Some(restart), Some(path)) = (self.restart.get(), self.reference().path()) else {
            return Interruption::NotStarted;
        };
        // The request may have been cut off before it was sent: only the cluster knows.
        let patience = Duration::from_secs(5);
        match tokio::time::timeout(patience, self.cluster.get_value(&path)).await {
            Ok(Ok(object)) => state(&self.target.workload, &object, restart),
            _ => Interruption::Unknown,
        }
    }

    async fn restart(&self) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        let path = self
            .reference()
            .path()
            .ok_or_else(|| "its kind has no restart".to_owned())?;
        let current = self.cluster.get_value(&path).await.map_err(text)?;
        let kind = &*self.reference().kind;
        let before = progress(kind, &current);
        let resumed = !before.done && self.restarted_since_the_choice(&current);
        self.tell(Event::Started {
            pods: before.wanted,
            resumed,
        });
        if resumed {
            self.restart.get_or_init(|| {
                restarted(&self.target.workload.way, &current)
                    .unwrap_or_default()
                    .to_owned()
            });
        } else {
            let now = self.restart.get_or_init(now);
            let (patch, body) = if self.target.workload.way == Way::RestartAt {
                (PatchKind::Merge, json!({"spec": {"restartAt": now}}))
            } else {
                (
                    PatchKind::Strategic,
                    json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}}),
                )
            };
            self.cluster
                .patch(&format!("{path}?fieldManager=irsa"), patch, &body)
                .await
                .map_err(text)?;
        }
        let mut last = None;
        loop {
            let object = self.cluster.get_value(&path).await.map_err(text)?;
            let state: Progress = progress(kind, &object);
            if let Some(why) = state.failed {
                return Err(format!("{why}{}", self.first_trouble().await));
            }
            if last != Some((state.updated, state.wanted)) {
                last = Some((state.updated, state.wanted));
                self.tell(Event::Progress {
                    done: state.updated,
                    of: state.wanted,
                });
            }
            if state.done {
                return Ok(());
            }
            if self.is_late() {
                return Err(format!(
                    "not ready after {} s: {} of {} pods are new and ready{}",
                    self.limit(),
                    state.updated,
                    state.wanted,
                    self.first_trouble().await
                ));
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Whether the template was restarted after the setting of its service accounts last changed. That rollout is then
    /// the one that is wanted.
    fn restarted_since_the_choice(&self, object: &Value) -> bool {
        let restarted = restarted(&self.target.workload.way, object)
            .and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let Some(restarted) = restarted else {
            return false;
        };
        self.target.accounts.iter().all(|account| {
            self.directory
                .account(&self.reference().namespace, account)
                .and_then(|account| account.endpoint_changed.max(account.role_changed))
                .is_some_and(|changed| restarted > changed)
        })
    }

    /// Evicts the stale pods one by one; each successor has to be ready before the next pod goes.
    async fn evict(&self) -> Result<(), String> {
        let of = self.target.stale.len() as u64;
        self.tell(Event::Started {
            pods: of,
            resumed: false,
        });
        let ready_before = self.ready().await?;
        for (done, stale) in (1..).zip(&self.target.stale) {
            self.evict_one(&stale.name, &stale.uid).await?;
            self.evicted.store(done as u64, Ordering::Relaxed);
            // Where too few pods were ready before, the new ones still have to be.
            self.await_successor(&stale.name, &stale.uid, ready_before.max(done))
                .await?;
            self.tell(Event::Progress {
                done: done as u64,
                of,
            });
        }
        Ok(())
    }

    async fn await_successor(&self, name: &str, uid: &str, wanted: usize) -> Result<(), String> {
        let mut told = None;
        loop {
            let (gone, ready) = self.state_without(uid).await?;
            if gone && ready >= wanted {
                return Ok(());
            }
            let waits_for = if gone {
                "its successor to become ready"
            } else {
                "the evicted pod to terminate"
            };
            if told != Some(waits_for) {
                told = Some(waits_for);
                self.tell(Event::Waiting {
                    reason: waits_for.to_owned(),
                });
            }
            if self.is_late() {
                return Err(format!(
                    "pod {name} was evicted, but after {} s this still waits for {waits_for}{}",
                    self.limit(),
                    self.first_trouble().await
                ));
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    async fn evict_one(&self, name: &str, uid: &str) -> Result<(), String> {
        let namespace = &*self.reference().namespace;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        let mut told = false;
        loop {
            match self.cluster.post(&path, &body).await {
                Ok(_) => return Ok(()),
                // Deleted, or replaced by another pod of its name: either way the stale one no longer exists.
                Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
                Err(Error::Api { status, .. }) if status.code == 429 => {
                    if !told {
                        told = true;
                        self.tell(Event::Waiting {
                            reason: format!("a disruption budget to allow the eviction of {name} ({status})"),
                        });
                    }
                    if self.is_late() {
                        return Err(format!(
                            "pod {name} could not be evicted within {} s: {status}",
                            self.limit()
                        ));
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    async fn recreate(&self) -> Result<(), String> {
        self.tell(Event::Started {
            pods: self.target.stale.len() as u64,
            resumed: false,
        });
        for stale in &self.target.stale {
            self.recreate_one(&stale.name, &stale.uid).await?;
        }
        Ok(())
    }

    async fn recreate_one(&self, name: &str, uid: &str) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        let settings: &Settings = &self.directory.webhooks.settings;
        let pods = collection("v1", Some(&self.reference().namespace), "pods");
        let path = format!("{pods}/{name}");
        let pod = self.cluster.get_value(&path).await.map_err(text)?;
        let manifest = sanitize(&pod, settings);
        self.cluster
            .delete(&path, &json!({"preconditions": {"uid": uid}}))
            .await
            .map_err(text)?;
        // From here on the manifest exists only in this process: if it cannot be created, it is printed.
        loop {
            match self
                .cluster
                .post(&format!("{pods}?fieldManager=irsa"), &manifest)
                .await
            {
                Ok(_) => break,
                // The old pod is still terminating.
                Err(error) if error.is_conflict() && !self.is_late() => {}
                Err(error) => {
                    return Err(format!(
                        "pod {name} was deleted but could not be created again ({error}); its manifest: {manifest}"
                    ));
                }
            }
            tokio::time::sleep(self.poll).await;
        }
        while !self.is_ready(&path).await? {
            if self.is_late() {
                return Err(format!(
                    "pod {name} was created again, but is not ready{}",
                    self.first_trouble().await
                ));
            }
            tokio::time::sleep(self.poll).await;
        }
        Ok(())
    }

    async fn is_ready(&self, path: &str) -> Result<bool, String> {
        let body = self.cluster.get(path).await.map_err(|error| error.to_string())?;
        let pod: Pod<'_> = parse(path, &body).map_err(|error| error.to_string())?;
        Ok(pod.is_ready())
    }

    /// Calls `each` with each pod of the workload that has not finished.
    async fn pods(&self, mut each: impl FnMut(&Pod<'_>)) -> Result<(), String> {
        let workload = &self.target.workload;
        let managers: BTreeSet<&WorkloadRef> = self
            .target
            .stale
            .iter()
            .filter_map(|stale| stale.manager.as_ref())
            .collect();
        let by_manager = matches!(workload.way, Way::Evict(_));
        let names: BTreeSet<&str> = self.target.stale.iter().map(|stale| &*stale.name).collect();
        let query = Query {
            labels: workload.selector().filter(|_| !by_manager),
            ..Query::default()
        };
        let path = collection("v1", Some(&self.reference().namespace), "pods");
        pages::pages(self.cluster, &path, &query, |body| {
            let page: Page<'_, Pod<'_>> = parse(&path, body)?;
            for pod in &page.items {
                if pod.is_finished() {
                    continue;
                }
                let ours = match &workload.way {
                    Way::Recreate => names.contains(&*pod.metadata.name),
                    Way::Evict(_) => pod.metadata.controller().is_some_and(|owner| {
                        managers
                            .iter()
                            .any(|manager| *manager.kind == *owner.kind && *manager.name == *owner.name)
                    }),
                    _ => pod.metadata.controller().is_some(),
                };
                if ours {
                    each(pod);
                }
            }
            Ok(())
        })
        .await
        .map(drop)
        .map_err(|error| error.to_string())
    }

    async fn ready(&self) -> Result<usize, String> {
        let mut ready = 0;
        self.pods(|pod| ready += usize::from(pod.is_ready() && pod.metadata.deletion_timestamp.is_none()))
            .await?;
        Ok(ready)
    }

    /// Whether the pod `uid` is gone, and how many of the others are ready.
    async fn state_without(&self, uid: &str) -> Result<(bool, usize), String> {
        let (mut gone, mut ready) = (true, 0);
        self.pods(|pod| {
            if *pod.metadata.uid == *uid {
                gone = false;
            } else if pod.is_ready() && pod.metadata.deletion_timestamp.is_none() {
                ready += 1;
            }
        })
        .await?;
        Ok((gone, ready))
    }

    /// Checks every pod of the workload: none may be stale. A pod that is terminating is given time to do so.
    async fn verify(&self) -> Result<usize, String> {
        let families = Families::default();
        loop {
            let (mut pods, mut wrong, mut ending) = (0, None, false);
            self.pods(|pod| {
                if pod.metadata.deletion_timestamp.is_some() {
                    ending = true;
                    return;
                }
                if !self
                    .target
                    .accounts
                    .iter()
                    .any(|account| **account == *pod.service_account())
                {
                    return;
                }
                pods += 1;
                let Some(view) = assess::pod(pod, self.directory, &families) else {
                    return;
                };
                if view.stale && wrong.is_none() {
                    let why = view
                        .findings
                        .first()
                        .map_or_else(String::new, |finding| finding.message());
                    wrong = Some(format!("pod {}: {why}", pod.metadata.name));
                }
            })
            .await?;
            match wrong {
                None if pods > 0 => return Ok(pods),
                // Scaled to zero while it rolled.
                None if !ending => return Ok(0),
                Some(why) if !ending || self.is_late() => {
                    return Err(format!("the new pods do not have the setting: {why}"));
                }
                _ if self.is_late() => return Err("its old pods did not terminate".to_owned()),
                _ => tokio::time::sleep(self.poll).await,
            }
        }
    }

    /// Why the first pod that is not ready is not, to be appended to an error.
    async fn first_trouble(&self) -> String {
        let path = collection("v1", Some(&self.reference().namespace), "pods");
        let query = Query {
            labels: self.target.workload.selector(),
            ..Query::default()
        };
        let mut found = None;
        // The error to which this is appended matters more than one from looking for its cause.
        let _ = pages::pages(self.cluster, &path, &query, |body| {
            let page: Page<'_, api::Pod> = parse(&path, body)?;
            if found.is_none() {
                found = page.items.iter().find_map(trouble);
            }
            Ok(())
        })
        .await;
        found.map(|trouble| format!("; {trouble}")).unwrap_or_default()
    }
}

/// Whether a workload that was restarted at `restart` is still rolling.
fn state(workload: &Workload, object: &Value, restart: &str) -> Interruption {
    if restarted(&workload.way, object) != Some(restart) {
        Interruption::NotStarted
    } else if object["spec"]["paused"] == true {
        Interruption::Unknown
    } else if progress(&workload.reference.kind, object).done {
        Interruption::Rolled
    } else {
        Interruption::Rolling
    }
}

/// When the pods of a workload were last restarted, as written in the object.
fn restarted<'o>(way: &Way, object: &'o Value) -> Option<&'o str> {
    let restarted = if *way == Way::RestartAt {
        &object["spec"]["restartAt"]
    } else {
        &object["spec"]["template"]["metadata"]["annotations"][RESTARTED_AT]
    };
    restarted.as_str()
}

/// Why a pod does not start, by its containers or the scheduler.
fn trouble(pod: &api::Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref());
    let (reason, message) = match waiting {
        Some(waiting) => (waiting.reason.as_deref(), waiting.message.as_deref()),
        None => {
            let mut conditions = status.conditions.iter().flatten();
            let unscheduled = conditions
                .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
            (unscheduled.reason.as_deref(), unscheduled.message.as_deref())
        }
    };
    let text = format!(
        "pod {name}: {} {}",
        reason.unwrap_or_default(),
        message.unwrap_or_default()
    );
    Some(text.trim_end().to_owned())
}

const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// With microseconds: a second restart within the same second would otherwise change nothing.
fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_workload_is_rolling_only_if_its_restart_is_ours_and_not_complete() {
        let workload = Workload {
            reference: WorkloadRef {
                namespace: "shop".into(),
                kind: "Deployment".into(),
                api_version: "apps/v1".into(),
                name: "web".into(),
            },
            way: Way::Restart,
            object: Value::Null,
        };
        let object = |updated: u64| {
            json!({"metadata": {"generation": 2},
                "spec": {"replicas": 2, "template": {"metadata": {"annotations": {RESTARTED_AT: "now"}}}},
                "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": updated, "availableReplicas": 2}})
        };
        assert_eq!(state(&workload, &object(1), "now"), Interruption::Rolling);
        assert_eq!(state(&workload, &object(2), "now"), Interruption::Rolled);
        // The request was cut off before it was sent.
        assert_eq!(state(&workload, &object(1), "later"), Interruption::NotStarted);
        let mut paused = object(1);
        paused["spec"]["paused"] = json!(true);
        assert_eq!(state(&workload, &paused, "now"), Interruption::Unknown);
    }

    #[test]
    fn the_trouble_of_a_pod_is_the_reason_of_its_waiting_container_or_of_the_scheduler() {
        let pod = |status: Value| -> api::Pod {
            serde_json::from_value(json!({"metadata": {"name": "web-1"}, "status": status}))
                .unwrap_or_default()
        };
        let waiting = pod(
            json!({"containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "CreateContainerConfigError",
                "message": "secret \"db\" not found"}}}]}),
        );
        assert_eq!(
            trouble(&waiting).as_deref(),
            Some("pod web-1: CreateContainerConfigError secret \"db\" not found")
        );
        let unscheduled = pod(json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available"}]}));
        assert_eq!(
            trouble(&unscheduled).as_deref(),
            Some("pod web-1: Unschedulable 0/3 nodes are available")
        );
        assert_eq!(trouble(&pod(json!({}))), None);
    }
}
