//! What `irsa doctor` is asked.

use std::path::PathBuf;

use crate::args::{ClusterArgs, Format, FormatParser, KnowledgeArgs};
use crate::complete;

/// Find out why pods do not get their identity or their endpoint
///
/// Looks in order at the API server and your rights, the cluster's version, the webhook's configuration, selectors, pods
/// and certificate, a dry-run pod, the OIDC issuer and its keys, a token, the regions, and what pods carry. Each check
/// says what was seen and what to do. With --error, recognises an error text and says which check decides it; no
/// cluster is needed for that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa doctor
  irsa doctor --probe                            also resolve and connect to STS and the issuer
  aws eks describe-cluster --name demo > c.json && irsa doctor --cluster-file c.json
  irsa doctor --error 'An error occurred (SignatureDoesNotMatch) when calling the GetCallerIdentity operation: Credential should be scoped to a valid region'
  kubectl logs deploy/app | irsa doctor --error -

Exit codes: 0 all checks passed, perhaps with warnings, or the error was recognised; 1 a check failed or could not be
made, or the error is not known; 2 the API server cannot be reached.")]
pub(crate) struct Args {
    /// An error text to recognise; - reads it from standard input
    #[arg(long, value_name = "TEXT")]
    pub(super) error: Option<String>,

    /// Namespace to look at; else all
    #[arg(short = 'n', long, value_name = "NAME", add = complete::namespaces())]
    pub(super) namespace: Option<String>,

    /// Allow connections to hosts other than the API server
    #[arg(long)]
    pub(super) probe: bool,

    /// What `aws eks describe-cluster` printed, for the platform version; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) cluster_file: Option<PathBuf>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::plain()
    )]
    pub(super) format: Format,

    #[command(flatten)]
    pub(super) knowledge: KnowledgeArgs,

    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}
