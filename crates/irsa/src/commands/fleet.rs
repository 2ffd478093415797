//! What the commands on a running cluster share: how they are told which cluster, and how they write documents.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use irsa_core::sdk::Sdk;
use irsa_fleet::cluster::{self, Cluster, ConnectOptions};
use irsa_fleet::webhook::Overrides;
use serde::Serialize;

use crate::output::Output;

/// Which cluster.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// Path of the kubeconfig
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Name of the kubeconfig context
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) context: Option<String>,

    /// How long to wait for an answer of the API server, such as 30s or 1m
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = irsa_core::duration::parse,
        help_heading = "Cluster"
    )]
    pub(crate) request_timeout: Duration,
}

impl ConnectArgs {
    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            timeout: Some(self.request_timeout),
        }
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Cluster> {
        Ok(Cluster::connect(&self.options()).await?)
    }
}

/// Which part of a cluster.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct NamespaceArgs {
    /// Namespace; else that of the context
    #[arg(short = 'n', long, value_name = "NAME", conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

impl NamespaceArgs {
    /// The namespace to look at, or nothing for all.
    pub(crate) fn resolve(&self, cluster: &Cluster) -> Option<String> {
        if self.all_namespaces {
            return None;
        }
        Some(
            self.namespace
                .clone()
                .unwrap_or_else(|| cluster.namespace().to_owned()),
        )
    }
}

/// What the cluster does not tell.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct KnowledgeArgs {
    /// EKS platform version, which the Kubernetes API does not tell, such as eks.3
    #[arg(long, value_name = "eks.N", value_parser = platform_version)]
    pub(crate) platform_version: Option<u16>,

    /// SDKs that the containers use, such as boto3, boto3@1.39 or js-v2; else the one that an image is known for, or
    /// each that behaves in its own way
    #[arg(long, value_name = "SDK", value_delimiter = ',')]
    pub(crate) sdk: Vec<Sdk>,
}

impl KnowledgeArgs {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            platform_version: self.platform_version,
            settings: None,
        }
    }
}

/// Names of contexts: `--all-contexts`, several `--context a,b`, or the current one.
pub(crate) fn contexts(
    connect: &ConnectArgs,
    names: &[String],
    all: bool,
) -> anyhow::Result<Vec<Option<String>>> {
    if all {
        let names = cluster::contexts(&connect.options())?;
        anyhow::ensure!(!names.is_empty(), "the kubeconfig holds no context");
        return Ok(names.into_iter().map(Some).collect());
    }
    Ok(match names {
        [] => vec![None],
        names => names.iter().cloned().map(Some).collect(),
    })
}

/// Writes a document as JSON or YAML.
pub(crate) fn document(output: &Output, value: &impl Serialize, yaml: bool) -> anyhow::Result<()> {
    let mut to = std::io::BufWriter::new(output.stdout());
    if yaml {
        let text = serde_saphyr::to_string(value).context("writing YAML")?;
        to.write_all(text.as_bytes())?;
    } else {
        serde_json::to_writer_pretty(&mut to, value).map_err(std::io::Error::from)?;
        writeln!(to)?;
    }
    to.flush()?;
    Ok(())
}

fn platform_version(text: &str) -> Result<u16, String> {
    text.strip_prefix("eks.")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("`{text}` is no EKS platform version: expected one such as eks.1"))
}

/// `1 pod`, `2 pods`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_versions_are_written_as_eks_writes_them() {
        assert_eq!(platform_version("eks.12"), Ok(12));
        assert!(platform_version("12").is_err());
    }
}
