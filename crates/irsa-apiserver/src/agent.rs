//! The node agent: registers nodes, keeps their leases, and takes the pods that the scheduler gives them.
//!
//! One agent serves all nodes, also those that somebody adds with kubectl. Probes, resources and images are not
//! looked at; what a container without a [`Runtime`] pretends to do is told in `agent/pretence.rs`.

mod pod;
mod pretence;
mod status;
mod volumes;

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{Api, Caller, WriteOptions};
use crate::config::{NodeConfig, Version, architecture};
use crate::controllers::pods::{condition, has_ended};
use crate::controllers::recorder::Recorder;
use crate::logs::Logs;
use crate::object::{Object, ObjectExt, now, now_micro};
use crate::runtime::{Running, Runtime};
use crate::status::{Result, Status};
use crate::store::Change;

/// How fast nodes work. The default is quick; slower ones let people watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From a pod's arrival on its node to its first container.
    pub start: Duration,
    /// From the start of a pretended container to its readiness.
    pub ready: Duration,
    /// How long a pretended container takes to end when told to, at most the pod's grace period.
    pub stop: Duration,
    /// How long a pretended container works that is to end by itself.
    pub work: Duration,
    /// The pause before a failed container is started again; doubles each time up to five minutes.
    pub back_off: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            start: Duration::from_millis(20),
            ready: Duration::from_millis(20),
            stop: Duration::from_millis(20),
            work: Duration::from_millis(100),
            back_off: Duration::from_secs(1),
        }
    }
}

/// How often a node renews its lease.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Which local addresses serve the ports of which containers, and what really runs.
#[derive(Default)]
pub struct Containers {
    // By uid of the pod and name of the container.
    running: Mutex<HashMap<(String, String), Arc<dyn Running>>>,
}

impl std::fmt::Debug for Containers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Containers")
            .field("running", &self.running.lock().len())
            .finish()
    }
}

impl Containers {
    /// The local address that serves a container port of a pod.
    #[must_use]
    pub fn address(&self, pod_uid: &str, port: u16) -> Option<SocketAddr> {
        let running = self.running.lock();
        running
            .iter()
            .filter(|((uid, _), _)| uid == pod_uid)
            .flat_map(|(_, container)| container.ports())
            .find(|(container_port, _)| *container_port == port)
            .map(|(_, address)| address)
    }

    fn insert(&self, pod_uid: &str, container: &str, running: Arc<dyn Running>) {
        self.running
            .lock()
            .insert((pod_uid.to_owned(), container.to_owned()), running);
    }

    fn remove(&self, pod_uid: &str, container: &str) {
        self.running
            .lock()
            .remove(&(pod_uid.to_owned(), container.to_owned()));
    }
}

/// Addresses for pods.
#[derive(Debug)]
struct PodNetwork {
    first: u32,
    size: u32,
    taken: Mutex<(HashSet<u32>, u32)>,
}

impl PodNetwork {
    fn parse(network: &str) -> Result<Self> {
        let bad = || {
            Status::bad_request(format!(
                "pod network {network:?} is not an IPv4 network such as 192.168.0.0/16 (prefix 8 to 28)"
            ))
        };
        let (address, prefix) = network.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u32 = prefix.parse().map_err(|_| bad())?;
        if !(8..=28).contains(&prefix) {
            return Err(bad());
        }
        let size = 1_u32 << (32 - prefix);
        let first = u32::from(address) & !(size - 1);
        Ok(Self {
            first,
            size,
            taken: Mutex::new((HashSet::new(), 10)),
        })
    }

    /// Marks an address as used by a node.
    fn reserve(&self, address: &str) {
        if let Ok(address) = address.parse::<Ipv4Addr>()
            && let Some(offset) = u32::from(address).checked_sub(self.first)
            && offset < self.size
        {
            self.taken.lock().0.insert(offset);
        }
    }

    fn take(&self) -> Option<String> {
        let mut taken = self.taken.lock();
        for _ in 0..self.size {
            let offset = taken.1;
            taken.1 = (taken.1 + 1) % self.size;
            // Neither the network's address, its router nor its broadcast.
            let usable = offset > 1 && offset < self.size - 1;
            if usable && taken.0.insert(offset) {
                return Some(Ipv4Addr::from(self.first + offset).to_string());
            }
        }
        None
    }

    fn release(&self, address: &str) {
        if let Ok(address) = address.parse::<Ipv4Addr>()
            && let Some(offset) = u32::from(address).checked_sub(self.first)
        {
            self.taken.lock().0.remove(&offset);
        }
    }
}

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
    network: PodNetwork,
    pace: Pace,
    runtime: Option<Arc<dyn Runtime>>,
    logs: Arc<Logs>,
    containers: Arc<Containers>,
    recorders: Mutex<HashMap<String, Arc<Recorder>>>,
}

impl Agent {
    /// An agent; 400 when the pod network cannot be used.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>> {
        let network = PodNetwork::parse(&parts.pod_network)?;
        for node in &parts.nodes {
            network.reserve(&node.address);
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
        self.api
            .update(
                &Caller::node(name),
                "leases.coordination.k8s.io",
                "kube-node-lease",
                name,
                "",
                lease,
                &options,
            )
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
        self.network.reserve(&address);
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

/// The architecture label of this machine.
fn node_architecture() -> &'static str {
    architecture()
}
