//! How an embedded cluster is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::Runtime;

/// Settings of an [`crate::ApiServer`]. `Config::default()` is a cluster of one node on a free loopback port.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Kubernetes version that the cluster says it has: `1.32`, or with a patch `1.32.4`.
    pub kubernetes: String,
    /// EKS platform version, such as `eks.1`; `None` for a cluster that is not EKS.
    pub platform: Option<String>,
    /// Issuer of service account tokens; the server's own URL when `None`.
    pub issuer: Option<String>,
    /// Network of cluster IPs.
    pub service_network: String,
    /// Network that pods get their addresses from.
    pub pod_network: String,
    /// Nodes that the cluster starts with.
    pub nodes: Vec<NodeConfig>,
    /// Whether workload controllers and node agents run.
    pub controllers: bool,
    /// What containers really do; they only pretend to run when `None`.
    pub runtime: Option<Arc<dyn Runtime>>,
    /// How fast nodes start and end containers.
    pub pace: Pace,
    /// Who may do what.
    pub authorization: Authorization,
    /// Whether OIDC discovery and keys are served without credentials, as EKS serves them; a plain kube-apiserver
    /// does not.
    pub anonymous_discovery: bool,
    /// Bearer token of the administrator; a random one when `None`.
    pub admin_token: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            kubernetes: "1.32".into(),
            platform: Some("eks.1".into()),
            issuer: None,
            service_network: "10.100.0.0/16".into(),
            pod_network: "192.168.0.0/16".into(),
            nodes: vec![NodeConfig::default()],
            controllers: true,
            runtime: None,
            pace: Pace::default(),
            authorization: Authorization::default(),
            anonymous_discovery: true,
            admin_token: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("kubernetes", &self.kubernetes)
            .field("platform", &self.platform)
            .field("issuer", &self.issuer)
            .field("nodes", &self.nodes)
            .field("controllers", &self.controllers)
            .finish_non_exhaustive()
    }
}

/// Who may do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// Everybody everything.
    #[default]
    AlwaysAllow,
    /// What roles and their bindings grant.
    Rbac,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Name, as EKS makes it from the private address.
    pub name: String,
    /// Internal address.
    pub address: String,
    /// Labels besides those that every node has.
    pub labels: Vec<(String, String)>,
    /// `spec.providerID`.
    pub provider_id: Option<String>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "ip-192-168-79-166.us-west-2.compute.internal".into(),
            address: "192.168.79.166".into(),
            labels: vec![
                ("topology.kubernetes.io/region".into(), "us-west-2".into()),
                ("topology.kubernetes.io/zone".into(), "us-west-2a".into()),
            ],
            provider_id: Some("aws:///us-west-2a/i-0123456789abcdef0".into()),
        }
    }
}

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
