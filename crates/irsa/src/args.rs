//! Groups of arguments that several commands share, and what they mean.

mod dry_run;
mod findings;
mod format;

use std::path::{Path, PathBuf};
use std::time::Duration;

use irsa_core::sdk::Sdk;
use irsa_fleet::cluster::{self, Cluster, ConnectOptions};
use irsa_fleet::effective::Families;
use irsa_fleet::webhook::Overrides;

use crate::complete;

pub(crate) use dry_run::{DryRun, DryRunArgs};
pub(crate) use findings::{fail_on, finding_ids};
pub(crate) use format::{Format, FormatParser};

/// How an API server is found and asked.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Path of the kubeconfig
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,

    /// Name of the kubeconfig cluster, instead of the context's
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    cluster: Option<String>,

    /// Name of the kubeconfig user, instead of the context's
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    user: Option<String>,

    /// URL of the API server, instead of the cluster's
    #[arg(long, value_name = "URL", help_heading = "Cluster")]
    server: Option<String>,

    /// User to act as
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    act_as: Option<String>,

    /// Group to act as; may be repeated
    #[arg(long, value_name = "GROUP", requires = "act_as", help_heading = "Cluster")]
    as_group: Vec<String>,

    /// How long a request to the API server may take in all, such as 30s or 1m; 0 for no limit
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = irsa_core::duration::parse,
        help_heading = "Cluster"
    )]
    request_timeout: Duration,
}

impl ServerArgs {
    fn options(self, context: Option<String>) -> ConnectOptions {
        ConnectOptions {
            kubeconfig: self.kubeconfig,
            context,
            timeout: Some(self.request_timeout),
            cluster: self.cluster,
            user: self.user,
            server: self.server,
            impersonate: self.act_as,
            groups: self.as_group,
        }
    }
}

/// One cluster.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Name of the kubeconfig context
    #[arg(long, value_name = "NAME", help_heading = "Cluster", add = complete::contexts())]
    context: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl ClusterArgs {
    /// Which cluster is meant.
    pub(crate) fn options(self) -> ConnectOptions {
        self.server.options(self.context)
    }
}

/// One or several clusters.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClustersArgs {
    /// Kubeconfig contexts, separated by commas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Cluster", add = complete::contexts())]
    context: Vec<String>,

    /// All contexts of the kubeconfig
    #[arg(long, conflicts_with = "context", help_heading = "Cluster")]
    all_contexts: bool,

    #[command(flatten)]
    server: ServerArgs,
}

impl ClustersArgs {
    /// Which clusters are meant: all contexts, those that were named, or the current one.
    pub(crate) fn options(self) -> anyhow::Result<Vec<ConnectOptions>> {
        let contexts = if self.all_contexts {
            let names = cluster::contexts(&self.server.clone().options(None))?;
            anyhow::ensure!(!names.is_empty(), "the kubeconfig holds no context");
            names
        } else {
            self.context
        };
        if contexts.is_empty() {
            return Ok(vec![self.server.options(None)]);
        }
        let options = contexts
            .into_iter()
            .map(|context| self.server.clone().options(Some(context)));
        Ok(options.collect())
    }
}

/// Which part of a cluster.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct NamespaceArgs {
    /// Namespace; else that of the context
    #[arg(short = 'n', long, value_name = "NAME", conflicts_with = "all_namespaces", add = complete::namespaces())]
    namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

/// The namespaces that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// The one that the kubeconfig context names.
    OfContext,
    /// This one.
    One(String),
    /// All of them.
    All,
}

impl NamespaceArgs {
    /// The namespaces that are meant.
    pub(crate) fn namespaces(self) -> Namespaces {
        match self.namespace {
            _ if self.all_namespaces => Namespaces::All,
            Some(name) => Namespaces::One(name),
            None => Namespaces::OfContext,
        }
    }
}

impl Namespaces {
    /// The name of the one namespace, or nothing for all.
    pub(crate) fn name(&self, cluster: &Cluster) -> Option<String> {
        match self {
            Self::OfContext => Some(cluster.namespace().to_owned()),
            Self::One(name) => Some(name.clone()),
            Self::All => None,
        }
    }

    /// Whether all namespaces were asked for.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// What the cluster does not tell.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct KnowledgeArgs {
    /// EKS platform version, which the Kubernetes API does not tell, such as eks.3
    #[arg(long, value_name = "eks.N", value_parser = platform_version)]
    platform_version: Option<u16>,

    /// SDKs that the containers use, such as boto3, boto3@1.39 or js-v2; else the one that an image is known for, or
    /// each that behaves in its own way
    #[arg(long, value_name = "SDK", value_delimiter = ',')]
    sdk: Vec<Sdk>,
}

impl KnowledgeArgs {
    /// What is known about the webhook's settings.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            platform_version: self.platform_version,
            settings: None,
        }
    }

    /// The SDKs that containers may contain.
    pub(crate) fn families(&self) -> Families {
        Families::new(self.sdk.clone())
    }

    /// The SDKs that were named.
    pub(crate) fn sdks(&self) -> &[Sdk] {
        &self.sdk
    }
}

fn platform_version(text: &str) -> Result<u16, String> {
    text.strip_prefix("eks.")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| "expected an EKS platform version such as eks.1".to_owned())
}

/// A service account as people name it: `NAME`, `NAMESPACE/NAME`, or `serviceaccount/NAME` as kubectl prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountName {
    /// Nothing if it was not said.
    pub(crate) namespace: Option<String>,
    /// The name.
    pub(crate) name: String,
}

impl std::str::FromStr for AccountName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = ["serviceaccount/", "serviceaccounts/", "sa/"]
            .into_iter()
            .find_map(|kind| text.strip_prefix(kind))
            .unwrap_or(text);
        let (namespace, name) = match bare.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, bare),
        };
        if name.is_empty() || name.contains('/') || namespace == Some("") {
            return Err("not a service account: use NAME or NAMESPACE/NAME".to_owned());
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

/// Most that is read of a file or of standard input.
const MAX_INPUT: u64 = 64 << 20;

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// What the system says, with the path.
pub(crate) fn read_input(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;

    use anyhow::Context as _;

    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(MAX_INPUT)
            .read_to_string(&mut text)
            .context("reading standard input")?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text))
            .with_context(|| path.display().to_string())?;
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn platform_versions_are_written_as_eks_writes_them() {
        assert_eq!(platform_version("eks.12"), Ok(12));
        assert!(platform_version("12").is_err());
    }

    #[test]
    fn service_accounts_are_named_with_or_without_namespace_and_kind() {
        let read = |text: &str| {
            text.parse::<AccountName>()
                .map(|account| (account.namespace, account.name))
        };
        assert_eq!(read("web"), Ok((None, "web".into())));
        assert_eq!(read("sa/web"), Ok((None, "web".into())));
        assert_eq!(read("serviceaccount/web"), Ok((None, "web".into())));
        assert_eq!(read("shop/web"), Ok((Some("shop".into()), "web".into())));
        for wrong in ["", "shop/", "/web", "a/b/c", "sa/"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
