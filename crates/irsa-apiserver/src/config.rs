//! How an embedded cluster is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::agent::Pace;
use crate::hooks::Runtime;

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

/// The version that the cluster says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
    /// EKS platform version.
    pub platform: Option<String>,
}

impl Version {
    /// Reads `1.32`, `v1.32`, `1.32.4`.
    #[must_use]
    pub fn parse(text: &str, platform: Option<&str>) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts = text.split('.').map(str::parse::<u32>);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().unwrap_or(Ok(0)).ok()?;
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            major,
            minor,
            patch,
            platform: platform.map(str::to_owned),
        })
    }

    /// `v1.32.0`, and as EKS says it `v1.32.0-eks-1`.
    #[must_use]
    pub fn git_version(&self) -> String {
        let suffix = self
            .platform
            .as_deref()
            .map(|platform| format!("-{}", platform.replace('.', "-")));
        format!(
            "v{}.{}.{}{}",
            self.major,
            self.minor,
            self.patch,
            suffix.unwrap_or_default()
        )
    }

    /// The document of `/version`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let plus = if self.platform.is_some() { "+" } else { "" };
        json!({
            "major": self.major.to_string(),
            "minor": format!("{}{plus}", self.minor),
            "gitVersion": self.git_version(),
            "gitCommit": "0000000000000000000000000000000000000000",
            "gitTreeState": "clean",
            "buildDate": "2026-11-24T00:00:00Z",
            "goVersion": "irsa",
            "compiler": "rustc",
            "platform": format!("{}/{}", std::env::consts::OS, architecture()),
        })
    }
}

/// The name that Go has for this machine's architecture.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
