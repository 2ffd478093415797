//! What `irsa status` is asked.

use std::time::Duration;

use irsa_fleet::finding::{FailOn, Id};

use crate::args::{
    AccountName, ClustersArgs, Format, FormatParser, KnowledgeArgs, NamespaceArgs, fail_on, finding_ids,
};
use crate::complete;

/// Show which STS endpoint service accounts chose and their pods really use
///
/// One row for each service account that has something to do with AWS: what it chose and who decided that, what its
/// pods carry in AWS_STS_REGIONAL_ENDPOINTS, and which host the SDKs in them therefore call. Below it what is wrong,
/// with a cure. Pods are read page by page: memory does not grow with the size of the cluster.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa status -A                                 everything in the cluster
  irsa status -n kube-system aws-node            one service account
  irsa status -n kube-system -l k8s-app=aws-node --pods
                                                 the pods with a label, one by one
  irsa status -A --sdk boto3@1.39,js-v2          what these SDKs do
  irsa status -A --finding uses-global -o name   whatever still calls the global endpoint
  irsa status --all-contexts --fail-on error     for CI: exit code 1 if something is broken
  irsa status -A -o json | jq '.clusters[].summary'

Exit codes: 0 nothing found at or above --fail-on; 1 something found, or a name does not exist; 2 could not look.")]
pub(crate) struct Args {
    /// Service accounts; else all
    #[arg(value_name = "NAME", add = complete::accounts())]
    pub(super) names: Vec<AccountName>,

    #[command(flatten)]
    pub(super) namespace: NamespaceArgs,

    /// Select pods by labels, as kubectl does
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(super) selector: Option<String>,

    /// Show pods one by one
    #[arg(long)]
    pub(super) pods: bool,

    /// Show every row, also those that a terminal would only be told the number of
    #[arg(long)]
    pub(super) all: bool,

    /// Only the rows of the table, for scripts
    #[arg(long)]
    pub(super) no_headers: bool,

    /// Show only what has one of these findings
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = finding_ids(), hide_possible_values = true)]
    pub(super) finding: Vec<Id>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::with(&[Format::Wide, Format::Name]).and_columns()
    )]
    pub(super) format: Format,

    /// When to answer with exit code 1: error, warning, info, never, or ids of findings
    #[arg(long, value_name = "SEVERITY|ID,…", default_value = "never", value_parser = fail_on)]
    pub(super) fail_on: FailOn,

    /// Look again every few seconds until interrupted
    #[arg(
        short = 'w',
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        default_missing_value = "5s",
        require_equals = true,
        value_parser = irsa_core::duration::parse
    )]
    pub(super) watch: Option<Duration>,

    /// Objects asked for at a time
    #[arg(long, value_name = "N", default_value_t = irsa_fleet::pages::PAGE, hide = true)]
    pub(super) chunk_size: usize,

    #[command(flatten)]
    pub(super) knowledge: KnowledgeArgs,

    #[command(flatten)]
    pub(super) clusters: ClustersArgs,
}
