//! Making pods anew that do not carry what was chosen: which, how, in which order, and the proof before and after.
//!
//! What is stale is computed from the cluster each time. That is why an interrupted rollout needs no memory: run again,
//! it finds what is left.

mod proof;
mod run;
mod sanitize;

use std::collections::{BTreeMap, BTreeSet};

pub use proof::{Proof, prove};
pub use run::{Event, Observer, Outcome, RunOptions, run};
pub use sanitize::sanitize;

use crate::{
    assess,
    cluster::{Cluster, Error, parse},
    directory::{Directory, Scope},
    effective::Families,
    pages::{self, Query, collection},
    probe,
    webhook::Overrides,
    wire::{Page, Pod},
    workload::{self, Owners, PodOwner, Way, Ways, Workload, WorkloadRef},
};

/// A pod that has to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalePod {
    /// Name.
    pub name: Box<str>,
    /// Identity, so that its successor under the same name is not taken for it.
    pub uid: Box<str>,
    /// Its direct controller.
    pub manager: Option<WorkloadRef>,
}

/// A workload whose pods have to be made anew.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which, and how.
    pub workload: Workload,
    /// Service accounts of its stale pods.
    pub accounts: BTreeSet<Box<str>>,
    /// The stale pods.
    pub stale: Vec<StalePod>,
}

/// What a rollout would do.
#[derive(Debug)]
pub struct Rollout {
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// Workloads that are rolled, by namespace and name.
    pub targets: Vec<Target>,
    /// Workloads that are left alone, with the reason in their way.
    pub left: Vec<Target>,
    /// What pods refer to.
    pub directory: Directory,
    /// Pods looked at.
    pub pods: usize,
}

/// What a rollout looks at.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The part of the cluster; the labels select pods.
    pub scope: Scope,
    /// Only pods of these service accounts, as namespace (empty for any) and name; with none, all.
    pub accounts: BTreeSet<(String, String)>,
    /// Delicate cases.
    pub ways: Ways,
}

impl Options {
    fn includes(&self, namespace: &str, account: &str) -> bool {
        self.accounts.is_empty()
            || self.accounts.iter().any(|(wanted_namespace, wanted)| {
                wanted == account && (wanted_namespace.is_empty() || wanted_namespace == namespace)
            })
    }
}

/// The stale pods of one workload.
#[derive(Default)]
struct Group {
    mirror: bool,
    accounts: BTreeSet<Box<str>>,
    stale: Vec<StalePod>,
}

/// Finds what has to be made anew, and how. Reads only.
pub async fn plan(cluster: &Cluster, options: &Options, overrides: &Overrides) -> Result<Rollout, Error> {
    let whole = Scope {
        labels: None,
        ..options.scope.clone()
    };
    let mut directory = Directory::gather(cluster, &whole, overrides).await?;
    probe::learn(cluster, &mut directory, options.scope.namespace.as_deref()).await?;
    let query = Query {
        labels: options.scope.labels.clone(),
        ..options.scope.query()
    };
    let path = collection("v1", options.scope.namespace.as_deref(), "pods");
    let families = Families::default();
    let mut found: Vec<(Box<str>, Box<str>, PodOwner, StalePod)> = Vec::new();
    let mut count = 0;
    pages::pages(cluster, &path, &query, |body| {
        let page: Page<'_, Pod<'_>> = parse(&path, body)?;
        directory.webhooks.learn(&page.items);
        for pod in &page.items {
            count += 1;
            let namespace = &*pod.metadata.namespace;
            if pod.is_finished()
                || pod.metadata.deletion_timestamp.is_some()
                || !options.includes(namespace, pod.service_account())
            {
                continue;
            }
            let stale = assess::pod(pod, &directory, &families).is_some_and(|view| view.stale);
            if stale {
                let owner = PodOwner::of(pod);
                let stale = StalePod {
                    name: (&*pod.metadata.name).into(),
                    uid: (&*pod.metadata.uid).into(),
                    manager: owner.manager.clone(),
                };
                found.push((namespace.into(), pod.service_account().into(), owner, stale));
            }
        }
        Ok(())
    })
    .await?;
    let mut owners = Owners::default();
    let mut grouped: BTreeMap<WorkloadRef, Group> = BTreeMap::new();
    for (namespace, account, owner, stale) in found {
        let workload = owners.workload(cluster, &namespace, &owner).await?;
        let group = grouped.entry(workload).or_default();
        group.mirror |= owner.mirror;
        group.accounts.insert(account);
        group.stale.push(stale);
    }
    let mut rollout = Rollout {
        context: cluster.context().to_owned(),
        server: cluster.server().to_owned(),
        targets: Vec::new(),
        left: Vec::new(),
        directory,
        pods: count,
    };
    for (reference, group) in grouped {
        let workload = workload::read(cluster, reference, group.mirror, options.ways).await?;
        let left = matches!(workload.way, Way::Leave { .. });
        let target = Target {
            workload,
            accounts: group.accounts,
            stale: group.stale,
        };
        if left {
            rollout.left.push(target);
        } else {
            rollout.targets.push(target);
        }
    }
    Ok(rollout)
}

impl Rollout {
    /// Pods that would be made anew.
    pub fn stale(&self) -> usize {
        self.targets.iter().map(|target| target.stale.len()).sum()
    }
}
