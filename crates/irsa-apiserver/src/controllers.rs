//! The controllers of the cluster. Each one reconciles the objects of one kind.
//!
//! They read the store and write through [`Api`], so that admission runs for the pods that they create. Pure functions
//! (the `plan`s) decide what to do next, and `queue` is the loop around them. `docs/lab-cluster.md` lists what they
//! implement.

mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod garbage;
mod hash;
mod job;
mod owned;
mod queue;
pub(crate) mod recorder;
mod replicaset;
mod revisions;
mod scheduler;
mod serviceaccounts;
mod statefulset;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use self::context::Context;
use self::queue::{Controller, run};
use self::serviceaccounts::ServiceAccounts;
use crate::api::{Api, BoxFuture};
use crate::object::ObjectExt as _;
use crate::status::Result;

/// How many keys a controller reconciles at once, so that an admission webhook that does not answer delays only one.
const WORKERS: usize = 5;

fn service_accounts(api: &Arc<Api>, ca_pem: &str) -> ServiceAccounts {
    ServiceAccounts::new(Context::new(api, "service-account-controller"), ca_pem)
}

/// The controllers that every cluster needs: service accounts, the CA's ConfigMap, garbage collection.
pub(crate) fn essential(api: &Arc<Api>, ca_pem: &str) -> Vec<BoxFuture<'static, ()>> {
    vec![
        start(service_accounts(api, ca_pem)),
        Box::pin(garbage::run(Arc::clone(api))),
        Box::pin(garbage::expire_events(Arc::clone(api))),
    ]
}

/// The controllers of workloads, and the scheduler.
pub(crate) fn workloads(api: &Arc<Api>) -> Vec<BoxFuture<'static, ()>> {
    let context = |name| Context::new(api, name);
    vec![
        Box::pin(run(scheduler::Scheduler::new(context("default-scheduler")), 1)),
        start(replicaset::ReplicaSets(context("replicaset-controller"))),
        start(deployment::Deployments(context("deployment-controller"))),
        start(daemonset::DaemonSets(context("daemonset-controller"))),
        start(statefulset::StatefulSets(context("statefulset-controller"))),
        start(job::Jobs::new(context("job-controller"))),
        start(cronjob::CronJobs(context("cronjob-controller"))),
        start(endpoints::Endpoints(context("endpoint-controller"))),
        start(disruption::Budgets(context("controllermanager"))),
        Box::pin(garbage::pods_without_node(Arc::clone(api))),
    ]
}

/// Creates what [`essential`] would create a moment later, so that it exists when the server is ready.
pub(crate) async fn prepare(api: &Arc<Api>, ca_pem: &str) -> Result<()> {
    let controller = service_accounts(api, ca_pem);
    for namespace in api.store().list("namespaces", None).items {
        controller.ensure(namespace.name()).await?;
    }
    Ok(())
}

fn start(controller: impl Controller) -> BoxFuture<'static, ()> {
    Box::pin(run(controller, WORKERS))
}
