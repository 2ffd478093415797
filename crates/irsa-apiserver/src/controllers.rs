//! The controllers of the cluster: each brings the world to what objects of one kind ask for.
//!
//! They read the store and write through [`Api`], so that admission runs for the pods they make, as in the world.
//! What they do and leave out is told in `docs/lab-cluster.md`.

mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod garbage;
mod hash;
mod job;
pub(crate) mod pods;
mod queue;
pub(crate) mod recorder;
mod replicaset;
mod revisions;
mod scheduler;
mod serviceaccounts;
mod statefulset;

use std::sync::Arc;

use crate::api::{Api, BoxFuture, Caller};
use crate::controllers::queue::Controller;
use crate::controllers::recorder::Recorder;

/// What a controller works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) api: Arc<Api>,
    pub(crate) me: Caller,
    pub(crate) recorder: Recorder,
}

impl Context {
    fn new(api: &Arc<Api>, name: &'static str) -> Self {
        Self {
            api: Arc::clone(api),
            me: Caller::controller(name),
            recorder: Recorder::new(Arc::clone(api), name),
        }
    }
}

/// How many keys a workload controller works on at once: an admission webhook that does not answer holds up one.
const WORKERS: usize = 5;

/// The controllers that every cluster needs: service accounts, the CA's ConfigMap, garbage collection.
pub(crate) fn essential(api: &Arc<Api>, ca_pem: &str) -> Vec<BoxFuture<'static, ()>> {
    let mut tasks = vec![start(
        api,
        serviceaccounts::ServiceAccounts::new(Context::new(api, "service-account-controller"), ca_pem),
        WORKERS,
    )];
    tasks.push(Box::pin(garbage::run(Arc::clone(api))));
    tasks.push(Box::pin(garbage::expire_events(Arc::clone(api))));
    tasks
}

/// The controllers of workloads, and the scheduler.
pub(crate) fn workloads(api: &Arc<Api>) -> Vec<BoxFuture<'static, ()>> {
    vec![
        start(api, scheduler::Scheduler::new(api), 1),
        start(
            api,
            replicaset::ReplicaSets(Context::new(api, "replicaset-controller")),
            WORKERS,
        ),
        start(
            api,
            deployment::Deployments(Context::new(api, "deployment-controller")),
            WORKERS,
        ),
        start(
            api,
            daemonset::DaemonSets(Context::new(api, "daemonset-controller")),
            WORKERS,
        ),
        start(
            api,
            statefulset::StatefulSets(Context::new(api, "statefulset-controller")),
            WORKERS,
        ),
        start(api, job::Jobs::new(Context::new(api, "job-controller")), WORKERS),
        start(
            api,
            cronjob::CronJobs(Context::new(api, "cronjob-controller")),
            WORKERS,
        ),
        start(
            api,
            endpoints::Endpoints(Context::new(api, "endpoint-controller")),
            WORKERS,
        ),
        start(
            api,
            disruption::Budgets(Context::new(api, "controllermanager")),
            WORKERS,
        ),
        Box::pin(garbage::pods_without_node(Arc::clone(api))),
    ]
}

/// Makes what [`essential`] would make a moment later, so that it is there when the server says it is.
pub(crate) async fn prepare(api: &Arc<Api>, ca_pem: &str) -> crate::status::Result<()> {
    let controller =
        serviceaccounts::ServiceAccounts::new(Context::new(api, "service-account-controller"), ca_pem);
    for namespace in api.store().list("namespaces", None).items {
        controller
            .sync("", crate::object::ObjectExt::name(namespace.value()))
            .await?;
    }
    Ok(())
}

fn start(api: &Arc<Api>, controller: impl Controller + 'static, workers: usize) -> BoxFuture<'static, ()> {
    Box::pin(queue::run(Arc::clone(api.store()), Arc::new(controller), workers))
}
