//! Recreating pods that do not have the current setting: which, how, in which order, and the proof before and after.
//!
//! Stale pods are computed from the cluster each time, so that an interrupted rollout needs no saved state: the next run
//! finds the rest.

mod event;
mod proof;
mod roll;
mod run;
mod sanitize;

use std::collections::{BTreeMap, BTreeSet};

pub use event::{Event, Interruption, NotStarted, Observer, Outcome};
pub use proof::{Proof, prove};
pub use run::{RunOptions, run};

use serde_json::Value;

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

/// A pod that has to be recreated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalePod {
    /// Name.
    pub name: Box<str>,
    /// Identity, so that its successor under the same name is not taken for it.
    pub uid: Box<str>,
    /// Its direct controller.
    pub manager: Option<WorkloadRef>,
}

/// A workload with stale pods.
#[derive(Clone, Debug)]
pub struct Target {
    /// The workload, and how its pods are recreated.
    pub workload: Workload,
    /// Service accounts of its stale pods.
    pub accounts: BTreeSet<Box<str>>,
    /// The stale pods.
    pub stale: Vec<StalePod>,
}

impl Target {
    /// Where it comes in a rollout: kube-system after the other namespaces, and in a namespace, workloads that the cluster
    /// depends on after the others, and small ones first.
    fn order(&self) -> (bool, Box<str>, bool, usize) {
        let namespace = &self.workload.reference.namespace;
        let priority = self
            .workload
            .template()
            .map(|template| &template["spec"]["priorityClassName"]);
        let critical = priority
            .and_then(Value::as_str)
            .is_some_and(|class| matches!(class, "system-cluster-critical" | "system-node-critical"));
        (
            &**namespace == "kube-system",
            namespace.clone(),
            critical,
            self.stale.len(),
        )
    }
}

/// What a rollout would do.
#[derive(Debug)]
pub struct Rollout {
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// Workloads that are rolled, in this order; those of a namespace are neighbours.
    pub targets: Vec<Target>,
    /// Workloads whose pods cannot be recreated, with the reason in their way.
    pub left: Vec<Target>,
    /// Service accounts that were named and do not exist.
    pub missing: Vec<String>,
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
    /// Namespaces that are left out.
    pub exclude_namespaces: BTreeSet<String>,
    /// Workloads that are left out, as `kind/name` or `namespace/kind/name`.
    pub exclude: BTreeSet<String>,
    /// Permissions for delicate cases.
    pub ways: Ways,
}

impl Options {
    fn includes(&self, namespace: &str, account: &str) -> bool {
        !self.exclude_namespaces.contains(namespace) && self.is_of_account(namespace, account)
    }

    fn excludes(&self, workload: &WorkloadRef) -> bool {
        self.exclude.contains(&workload.to_string())
            || self
                .exclude
                .contains(&format!("{}/{workload}", workload.namespace))
    }

    fn is_of_account(&self, namespace: &str, account: &str) -> bool {
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

/// Finds the stale pods, their workloads, and how they are recreated. Only reads.
pub async fn plan(cluster: &Cluster, options: &Options, overrides: &Overrides) -> Result<Rollout, Error> {
    let whole = Scope {
        labels: None,
        ..options.scope.clone()
    };
    let mut directory = Directory::gather(cluster, &whole, overrides).await?;
    probe::learn(cluster, &mut directory, options.scope.namespace.as_deref()).await?;
    let (found, pods) = stale_pods(cluster, options, &mut directory).await?;
    let mut owners = Owners::default();
    let mut grouped: BTreeMap<WorkloadRef, Group> = BTreeMap::new();
    for (namespace, account, owner, stale) in found {
        let workload = owners.workload(cluster, &namespace, &owner).await?;
        if options.excludes(&workload) {
            continue;
        }
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
        missing: directory.missing(&options.accounts),
        directory,
        pods,
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
    // What hurts least goes first: its failure may stop the rest.
    rollout.targets.sort_by_cached_key(Target::order);
    Ok(rollout)
}

/// Namespace, service account and owner of a stale pod.
type Found = (Box<str>, Box<str>, PodOwner, StalePod);

/// The stale pods of the scope, and the number of pods looked at.
async fn stale_pods(
    cluster: &Cluster,
    options: &Options,
    directory: &mut Directory,
) -> Result<(Vec<Found>, usize), Error> {
    let query = Query {
        labels: options.scope.labels.clone(),
        ..options.scope.query()
    };
    let path = collection("v1", options.scope.namespace.as_deref(), "pods");
    let families = Families::default();
    let mut found = Vec::new();
    let mut count = 0;
    pages::pages(cluster, &path, &query, |body| {
        let page: Page<'_, Pod<'_>> = parse(&path, body)?;
        directory.learn(&page.items);
        for pod in &page.items {
            count += 1;
            let namespace = &*pod.metadata.namespace;
            let account = pod.service_account();
            let ending = pod.is_finished() || pod.metadata.deletion_timestamp.is_some();
            if ending || !options.includes(namespace, account) {
                continue;
            }
            if assess::pod(pod, directory, &families).is_some_and(|view| view.stale) {
                let owner = PodOwner::of(pod);
                let stale = StalePod {
                    name: (&*pod.metadata.name).into(),
                    uid: (&*pod.metadata.uid).into(),
                    manager: owner.manager.clone(),
                };
                found.push((namespace.into(), account.into(), owner, stale));
            }
        }
        Ok(())
    })
    .await?;
    Ok((found, count))
}

impl Rollout {
    /// The workloads whose stale pods remain: those that cannot be recreated, and those that were not verified.
    pub fn remaining<'r>(
        &'r self,
        is_verified: impl Fn(&WorkloadRef) -> bool + 'r,
    ) -> impl Iterator<Item = &'r Target> {
        let targets = self.targets.iter();
        let failed = targets.filter(move |target| !is_verified(&target.workload.reference));
        self.left.iter().chain(failed)
    }

    /// Pods that would be recreated.
    pub fn stale(&self) -> usize {
        self.targets.iter().map(|target| target.stale.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn small_workloads_go_first_and_those_that_the_cluster_depends_on_last() {
        let target = |namespace: &str, name: &str, stale: usize, priority: &str| Target {
            workload: Workload {
                reference: WorkloadRef {
                    namespace: namespace.into(),
                    kind: "Deployment".into(),
                    api_version: "apps/v1".into(),
                    name: name.into(),
                },
                way: Way::Restart,
                object: json!({"spec": {"template": {"spec": {"priorityClassName": priority}}}}),
            },
            accounts: BTreeSet::new(),
            stale: (0..stale)
                .map(|number| StalePod {
                    name: number.to_string().into(),
                    uid: "".into(),
                    manager: None,
                })
                .collect(),
        };
        let mut targets = [
            target("kube-system", "dns", 1, ""),
            target("shop", "large", 9, ""),
            target("shop", "gateway", 1, "system-cluster-critical"),
            target("shop", "small", 2, ""),
            target("web", "any", 5, ""),
        ];
        targets.sort_by_cached_key(Target::order);
        let names: Vec<&str> = targets
            .iter()
            .map(|target| &*target.workload.reference.name)
            .collect();
        assert_eq!(names, ["small", "large", "gateway", "any", "dns"]);
    }

    #[test]
    fn excluded_namespaces_and_workloads_are_left_out() {
        let options = Options {
            exclude_namespaces: BTreeSet::from(["kube-system".to_owned()]),
            exclude: BTreeSet::from(["deployment/web".to_owned(), "shop/daemonset/agent".to_owned()]),
            ..Options::default()
        };
        assert!(!options.includes("kube-system", "aws-node"));
        assert!(options.includes("shop", "cart"));
        let workload = |namespace: &str, kind: &str, name: &str| WorkloadRef {
            namespace: namespace.into(),
            kind: kind.into(),
            api_version: "apps/v1".into(),
            name: name.into(),
        };
        assert!(options.excludes(&workload("shop", "Deployment", "web")));
        assert!(options.excludes(&workload("shop", "DaemonSet", "agent")));
        assert!(!options.excludes(&workload("other", "DaemonSet", "agent")));
    }
}
