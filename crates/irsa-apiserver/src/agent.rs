//! The node agent: registers nodes, keeps their leases, and takes the pods that the scheduler gives them.
//!
//! One agent serves all nodes, also those that somebody adds with kubectl. Probes, resources and images are not
//! looked at; what a container without a [`Runtime`] pretends to do is told in `agent/pretence.rs`.

mod pod;
mod pretence;
mod status;
mod volumes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::addresses::Addresses;
use crate::api::{Api, Caller, Place, WriteOptions};
use crate::conditions::condition;
use crate::config::{NodeConfig, Pace};
use crate::controllers::recorder::Recorder;
use crate::logs::Logs;
use crate::object::{Object, ObjectExt, now, now_micro};
use crate::pod::has_ended;
use crate::runtime::{Containers, Runtime};
use crate::status::Result;
use crate::store::Change;
use crate::version::Version;

/// How often a node renews its lease.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What the agent is built from.
pub(crate) struct Parts {
    pub(crate) api: Arc<Api>,
    pub(crate) version: Version,
    pub(crate) nodes: Vec<NodeConfig>,
    pub(crate) pod_network: String,
    pub(crate) pace: Pace,
    pub(crate) runtime: Option<Arc<dyn Runtime>>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) containers: Arc<Containers>,
}

/// The agent of all nodes.
pub(crate) struct Agent {
    api: Arc<Api>,
    version: Version,
    nodes: Vec<NodeConfig>,
    network: Addresses,
    pace: Pace,
    runtime: Option<Arc<dyn Runtime>>,
    logs: Arc<Logs>,
    containers: Arc<Containers>,
    recorders: Mutex<HashMap<String, Arc<Recorder>>>,
}

impl Agent {
    /// An agent; 400 when the pod network cannot be used.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>> {
        let network = Addresses::parse("pod", &parts.pod_network)?;
        for node in &parts.nodes {
            network.take_this(&node.address);
        }
        Ok(Arc::new(Self {
            api: parts.api,
            version: parts.version,
            nodes: parts.nodes,
            network,
            pace: parts.pace,
            runtime: parts.runtime,
            logs: parts.logs,
            containers: parts.containers,
            recorders: Mutex::default(),
        }))
    }

    fn recorder(&self, node: &str) -> Arc<Recorder> {
        let mut recorders = self.recorders.lock();
        Arc::clone(
            recorders
                .entry(node.to_owned())
                .or_insert_with(|| Arc::new(Recorder::of_node(Arc::clone(&self.api), node))),
        )
    }

    /// Creates the configured nodes.
    pub(crate) async fn register(&self) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            let object = status::node(node, index, &self.version);
            let options = WriteOptions::default();
            self.api
                .create(&Caller::node(&node.name), "nodes", "", object, &options)
                .await?;
            self.renew(&node.name).await?;
        }
        Ok(())
    }

    async fn renew(&self, name: &str) -> Result<()> {
        let Some(node) = self.api.store().get("nodes", "", name) else {
            return Ok(());
        };
        let lease = json!({
            "metadata": { "name": name, "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid(),
            }] },
            "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now_micro() },
        });
        let options = WriteOptions::default();
        let place = Place {
            resource: "leases.coordination.k8s.io",
            namespace: "kube-node-lease",
            name,
            subresource: "",
        };
        self.api
            .update(&Caller::node(name), place, lease, &options)
            .await?;
        Ok(())
    }

    /// Gives a node that somebody added what its agent would report.
    async fn report(&self, node: &Object) -> Result<()> {
        if condition(node.value(), "Ready").is_some() {
            return Ok(());
        }
        let name = node.name();
        let address = node
            .list_at(&["status", "addresses"])
            .iter()
            .find(|address| address.str_at(&["type"]) == "InternalIP")
            .map(|address| address.str_at(&["address"]).to_owned());
        let address = match address {
            Some(address) => address,
            None => self.network.take().unwrap_or_default(),
        };
        self.network.take_this(&address);
        let config = NodeConfig {
            name: name.to_owned(),
            address,
            labels: Vec::new(),
            provider_id: None,
        };
        let reported = status::node(&config, 0, &self.version);
        let me = Caller::node(name);
        self.api
            .modify(&me, "nodes", "", name, "status", |node| {
                let own = reported["status"].as_object().into_iter().flatten();
                for (key, value) in own {
                    let status = crate::object::entry_object(node, "status");
                    status.entry(key.as_str()).or_insert_with(|| value.clone());
                }
                Ok(())
            })
            .await?;
        self.renew(name).await
    }

    /// Keeps leases until dropped.
    pub(crate) async fn heartbeats(self: Arc<Self>) {
        let mut watch = self.api.store().watch("nodes", 0);
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    for node in self.api.store().list("nodes", None).items {
                        let _ = self.renew(node.name()).await;
                    }
                }
                event = watch.next() => match event {
                    Ok(event) if event.change == Change::Added => {
                        if let Err(status) = self.report(&event.object).await {
                            tracing::debug!(%status, "node not reported");
                        }
                    }
                    Ok(_) => {}
                    Err(_) => watch = self.api.store().watch("nodes", self.api.store().resource_version()),
                },
            }
        }
    }

    /// Takes pods until dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut pods: HashMap<String, watch::Sender<Option<Object>>> = HashMap::new();
        let mut workers: JoinSet<String> = JoinSet::new();
        loop {
            let listing = self.api.store().list("pods", None);
            let mut watch = self.api.store().watch("pods", listing.resource_version);
            let present: HashSet<&str> = listing.items.iter().map(|pod| pod.uid()).collect();
            for (uid, latest) in &pods {
                if !present.contains(uid.as_str()) {
                    latest.send_replace(None);
                }
            }
            for pod in &listing.items {
                self.take(pod, &mut pods, &mut workers);
            }
            loop {
                tokio::select! {
                    event = watch.next() => match event {
                        Ok(event) if event.change == Change::Deleted => {
                            if let Some(latest) = pods.get(event.object.uid()) {
                                latest.send_replace(None);
                            }
                        }
                        Ok(event) => self.take(&event.object, &mut pods, &mut workers),
                        Err(_) => break,
                    },
                    Some(done) = workers.join_next() => if let Ok(uid) = done {
                        pods.remove(&uid);
                    },
                }
            }
        }
    }

    fn take(
        self: &Arc<Self>,
        pod: &Object,
        pods: &mut HashMap<String, watch::Sender<Option<Object>>>,
        workers: &mut JoinSet<String>,
    ) {
        if pod.str_at(&["spec", "nodeName"]).is_empty() {
            return;
        }
        if let Some(latest) = pods.get(pod.uid()) {
            latest.send_replace(Some(Arc::clone(pod)));
            return;
        }
        // One that ended before this agent began, for example written so by a test.
        if has_ended(pod.value()) && pod.deletion_timestamp().is_none() {
            return;
        }
        let (sender, receiver) = watch::channel(Some(Arc::clone(pod)));
        pods.insert(pod.uid().to_owned(), sender);
        let agent = Arc::clone(self);
        let pod = Arc::clone(pod);
        workers.spawn(async move {
            let uid = pod.uid().to_owned();
            pod::Worker::new(agent, pod, receiver).run().await;
            uid
        });
    }
}

/// Kubelet's conditions of a node.
fn node_conditions() -> Value {
    let at = now();
    let row = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "lastHeartbeatTime": at, "lastTransitionTime": at,
            "reason": reason, "message": message,
        })
    };
    json!([
        row(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        row(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure"
        ),
        row(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available"
        ),
        row("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ])
}
