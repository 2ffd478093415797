//! Carrying a rollout out: workload by workload, awaited and verified, stopped at the first failure.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use irsa_core::settings::Settings;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{Proof, Rollout, Target, prove, sanitize};
use crate::{
    assess,
    cluster::{Cluster, Error, PatchKind, parse},
    directory::Directory,
    effective::Families,
    pages::{self, Query, collection},
    wire::{Page, Pod},
    workload::{Progress, Way, WorkloadRef, progress},
};

/// How a rollout is carried out.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Workloads of one namespace that roll at the same time.
    pub max_parallel: usize,
    /// How long one workload may take.
    pub timeout: Duration,
    /// How often a workload is looked at.
    pub poll: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            max_parallel: 1,
            timeout: Duration::from_secs(600),
            poll: Duration::from_secs(1),
        }
    }
}

/// What happens to a workload.
#[derive(Clone, Debug)]
pub enum Event {
    /// A dry run shows whether new pods will be right.
    Proving,
    /// It was started, or found to be under way already.
    Started {
        /// Pods that will be made anew.
        pods: u64,
        /// An earlier run had started it.
        resumed: bool,
    },
    /// So many of its pods are new and ready.
    Progress {
        /// New and ready.
        done: u64,
        /// All.
        of: u64,
    },
    /// It has to wait for something.
    Waiting {
        /// For what.
        reason: String,
    },
    /// It ended.
    Ended(Outcome),
}

/// How a workload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its pods are new, ready, and carry what was chosen.
    Verified {
        /// How many pods.
        pods: usize,
    },
    /// It failed; nothing after it was started.
    Failed(String),
    /// It was under way when the rollout was interrupted.
    Interrupted,
    /// It was not started, because another failed or the rollout was interrupted.
    NotStarted,
}

/// Who is told.
pub trait Observer: Sync {
    /// Something happened to a workload.
    fn event(&self, workload: &WorkloadRef, event: Event);
}

/// Carries a rollout out: namespace by namespace, in each `max_parallel` workloads at a time. `interrupt` turning true
/// stops it; what is under way in the cluster goes on there.
pub async fn run(
    cluster: &Cluster,
    rollout: &Rollout,
    options: RunOptions,
    observer: &dyn Observer,
    interrupt: watch::Receiver<bool>,
) -> Vec<(WorkloadRef, Outcome)> {
    let stop = AtomicBool::new(false);
    let mut outcomes = Vec::new();
    // Everything is proven before anything is touched.
    let mut proven = true;
    for target in &rollout.targets {
        let reference = &target.workload.reference;
        observer.event(reference, Event::Proving);
        let failure = match prove(cluster, &rollout.directory, target).await {
            Ok(Proof::Holds) => None,
            Ok(Proof::Fails(why)) => Some(why),
            Err(error) => Some(format!("the dry run could not be made: {error}")),
        };
        if let Some(why) = failure {
            let outcome = Outcome::Failed(why);
            observer.event(reference, Event::Ended(outcome.clone()));
            outcomes.push((reference.clone(), outcome));
            proven = false;
        }
        if *interrupt.borrow() {
            proven = false;
            break;
        }
    }
    if !proven {
        for target in &rollout.targets {
            let reference = &target.workload.reference;
            if !outcomes.iter().any(|(known, _)| known == reference) {
                outcomes.push((reference.clone(), Outcome::NotStarted));
            }
        }
        return outcomes;
    }
    let namespaces: BTreeSet<&str> = rollout
        .targets
        .iter()
        .map(|target| &*target.workload.reference.namespace)
        .collect();
    for namespace in namespaces {
        let batch = rollout
            .targets
            .iter()
            .filter(|target| &*target.workload.reference.namespace == namespace);
        let stop = &stop;
        let interrupt = &interrupt;
        let ended: Vec<(WorkloadRef, Outcome)> = stream::iter(batch)
            .map(|target| async move {
                let reference = target.workload.reference.clone();
                if stop.load(Ordering::Relaxed) || *interrupt.borrow() {
                    return (reference, Outcome::NotStarted);
                }
                let mut interrupt = interrupt.clone();
                let roll = Roll {
                    cluster,
                    directory: &rollout.directory,
                    target,
                    options,
                    observer,
                };
                // Between its deletion and its creation a bare pod exists only in this process: that is not interrupted.
                let lasting = target.workload.way != Way::Recreate;
                let outcome = tokio::select! {
                    biased;
                    _ = interrupt.wait_for(|stop| *stop), if lasting => Outcome::Interrupted,
                    outcome = roll.roll() => match outcome {
                        Ok(pods) => Outcome::Verified { pods },
                        Err(why) => Outcome::Failed(why),
                    },
                };
                if !matches!(outcome, Outcome::Verified { .. }) {
                    stop.store(true, Ordering::Relaxed);
                }
                observer.event(&reference, Event::Ended(outcome.clone()));
                (reference, outcome)
            })
            .buffer_unordered(options.max_parallel.max(1))
            .collect()
            .await;
        outcomes.extend(ended);
    }
    outcomes
}

/// One workload on its way.
struct Roll<'a> {
    cluster: &'a Cluster,
    directory: &'a Directory,
    target: &'a Target,
    options: RunOptions,
    observer: &'a dyn Observer,
}

impl Roll<'_> {
    fn reference(&self) -> &WorkloadRef {
        &self.target.workload.reference
    }

    fn tell(&self, event: Event) {
        self.observer.event(self.reference(), event);
    }

    /// Rolls the workload and verifies its pods; how many there are.
    async fn roll(&self) -> Result<usize, String> {
        let deadline = Instant::now() + self.options.timeout;
        match &self.target.workload.way {
            Way::Restart | Way::RestartAt => self.restart(deadline).await?,
            Way::Evict(_) => self.evict(deadline).await?,
            Way::Recreate => self.recreate(deadline).await?,
            Way::Leave { reason, .. } => return Err(reason.clone()),
        }
        self.verify(deadline).await
    }

    async fn restart(&self, deadline: Instant) -> Result<(), String> {
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
        if !resumed {
            let now = now();
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
            if Instant::now() >= deadline {
                return Err(format!(
                    "not ready after {} s: {} of {} pods are new and ready{}",
                    self.options.timeout.as_secs(),
                    state.updated,
                    state.wanted,
                    self.first_trouble().await
                ));
            }
            tokio::time::sleep(self.options.poll).await;
        }
    }

    /// Whether the template was restarted after the choice of its accounts last changed: then that roll is the one
    /// that is wanted.
    fn restarted_since_the_choice(&self, object: &Value) -> bool {
        let restarted = if self.target.workload.way == Way::RestartAt {
            &object["spec"]["restartAt"]
        } else {
            &object["spec"]["template"]["metadata"]["annotations"][RESTARTED_AT]
        };
        let Some(restarted) = restarted
            .as_str()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
        else {
            return false;
        };
        self.target.accounts.iter().all(|account| {
            self.directory
                .account(&self.reference().namespace, account)
                .and_then(|account| account.endpoint_changed.max(account.role_changed))
                .is_some_and(|changed| restarted > changed)
        })
    }

    /// Evicts the stale pods one by one; each successor has to be ready before the next goes.
    async fn evict(&self, deadline: Instant) -> Result<(), String> {
        let of = self.target.stale.len() as u64;
        self.tell(Event::Started {
            pods: of,
            resumed: false,
        });
        let ready_before = self.ready().await?;
        for (index, stale) in self.target.stale.iter().enumerate() {
            self.evict_one(&stale.name, &stale.uid, deadline).await?;
            let mut trouble = None;
            loop {
                let (gone, ready) = self.state_without(&stale.uid).await?;
                if gone && ready >= ready_before {
                    break;
                }
                let waits_for = if gone {
                    "its successor to be ready"
                } else {
                    "the evicted pod to end"
                };
                if trouble != Some(waits_for) {
                    trouble = Some(waits_for);
                    self.tell(Event::Waiting {
                        reason: waits_for.to_owned(),
                    });
                }
                if Instant::now() >= deadline {
                    return Err(format!(
                        "pod {} was evicted, but after {} s this still waits for {waits_for}{}",
                        stale.name,
                        self.options.timeout.as_secs(),
                        self.first_trouble().await
                    ));
                }
                tokio::time::sleep(self.options.poll).await;
            }
            self.tell(Event::Progress {
                done: index as u64 + 1,
                of,
            });
        }
        Ok(())
    }

    async fn evict_one(&self, name: &str, uid: &str, deadline: Instant) -> Result<(), String> {
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
                // Gone, or another pod under its name: either way the stale one is no more.
                Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
                Err(Error::Api { status, .. }) if status.code == 429 => {
                    if !told {
                        told = true;
                        self.tell(Event::Waiting {
                            reason: format!("a disruption budget to allow the eviction of {name} ({status})"),
                        });
                    }
                    if Instant::now() >= deadline {
                        return Err(format!(
                            "pod {name} could not be evicted within {} s: {status}",
                            self.options.timeout.as_secs()
                        ));
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
            tokio::time::sleep(self.options.poll).await;
        }
    }

    async fn recreate(&self, deadline: Instant) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        let namespace = &*self.reference().namespace;
        let settings: &Settings = &self.directory.webhooks.settings;
        self.tell(Event::Started {
            pods: self.target.stale.len() as u64,
            resumed: false,
        });
        for stale in &self.target.stale {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{}", stale.name);
            let pod = self.cluster.get_value(&path).await.map_err(text)?;
            let manifest = sanitize(&pod, settings);
            self.cluster
                .delete(&path, &json!({"preconditions": {"uid": stale.uid}}))
                .await
                .map_err(text)?;
            // From here on the manifest exists only in this process: it has to be created again, come what may.
            loop {
                let created = self
                    .cluster
                    .post(
                        &format!("/api/v1/namespaces/{namespace}/pods?fieldManager=irsa"),
                        &manifest,
                    )
                    .await;
                match created {
                    Ok(_) => break,
                    // The old pod is still ending.
                    Err(error) if error.is_conflict() && Instant::now() < deadline => {}
                    Err(error) => {
                        return Err(format!(
                            "pod {} was deleted but could not be created again ({error}); its manifest: {manifest}",
                            stale.name
                        ));
                    }
                }
                tokio::time::sleep(self.options.poll).await;
            }
            loop {
                let now = self.cluster.get_value(&path).await.map_err(text)?;
                let ready = now["status"]["conditions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
                if ready {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(format!("pod {} was created again, but is not ready", stale.name));
                }
                tokio::time::sleep(self.options.poll).await;
            }
        }
        Ok(())
    }

    /// Hands each pod of the workload that is not ending to `each`.
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

    /// Looks into every pod of the workload: none may be stale. A pod that is ending is given time to end.
    async fn verify(&self, deadline: Instant) -> Result<usize, String> {
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
                        .map_or_else(String::new, |finding| finding.message.clone());
                    wrong = Some(format!("pod {}: {why}", pod.metadata.name));
                }
            })
            .await?;
            match wrong {
                None if pods > 0 => return Ok(pods),
                // Scaled to nothing while it rolled: there is no pod that could be wrong.
                None if !ending => return Ok(0),
                Some(why) if !ending || Instant::now() >= deadline => {
                    return Err(format!("the new pods are not what was chosen: {why}"));
                }
                _ if Instant::now() >= deadline => return Err("its pods did not end".to_owned()),
                _ => tokio::time::sleep(self.options.poll).await,
            }
        }
    }

    /// Why the first pod that is not ready is not, for the error of a workload that does not get ready.
    async fn first_trouble(&self) -> String {
        let path = collection("v1", Some(&self.reference().namespace), "pods");
        let query = Query {
            labels: self.target.workload.selector(),
            ..Query::default()
        };
        let mut trouble = None;
        let _ = pages::pages(self.cluster, &path, &query, |body| {
            let page: Value = parse(&path, body)?;
            for pod in page["items"].as_array().into_iter().flatten() {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                for status in pod["status"]["containerStatuses"]
                    .as_array()
                    .into_iter()
                    .flatten()
                {
                    let waiting = &status["state"]["waiting"];
                    if trouble.is_none() && waiting.is_object() {
                        let part = |field: &str| waiting[field].as_str().unwrap_or_default();
                        trouble = Some(
                            format!("; pod {name}: {} {}", part("reason"), part("message"))
                                .trim_end()
                                .to_owned(),
                        );
                    }
                }
            }
            Ok(())
        })
        .await;
        trouble.unwrap_or_default()
    }
}

const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Finer than the seconds of kubectl: a second restart within one second would change nothing and restart nothing.
fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        .to_string()
}
