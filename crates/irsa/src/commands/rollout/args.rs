//! What `irsa rollout` is asked.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{AccountName, ClusterArgs, DryRunArgs, Format, FormatParser, KnowledgeArgs, NamespaceArgs};

/// Recreate pods that do not carry what their service account chose, and verify the new ones
///
/// Finds the pods that recreating would change and the workloads that make them. Deployments, DaemonSets and
/// StatefulSets are restarted as kubectl does it; pods of workloads that an operator or a GitOps tool keeps, or that do
/// not roll by themselves, are evicted one by one, so that disruption budgets are respected; what cannot be made anew
/// is named with the reason. Before anything is touched, a server-side dry run of each workload's own pod shows that the
/// webhook would write what was chosen. Each workload is awaited and its new pods are looked into; the first failure
/// stops everything after it. Interrupted and run again, it goes on with what is left.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa rollout -n kube-system -l k8s-app=aws-node
  irsa rollout -n shop checkout payments         pods of these service accounts
  irsa rollout -A --max-parallel 4 --yes
  irsa rollout -A --dry-run=server               prove with dry-run pods, restart nothing
  irsa rollout --undo irsa-undo-20261124T093000Z.json
                                                 set the annotations back, and roll their pods

Exit codes: 0 every new pod verified, or nothing to do; 1 something failed or was not verified; 2 could not do it.")]
pub(crate) struct Args {
    /// Service accounts; else all
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<AccountName>,

    #[command(flatten)]
    pub(super) namespace: NamespaceArgs,

    /// Select pods by labels, as kubectl does
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(super) selector: Option<String>,

    /// Do not ask
    #[arg(short = 'y', long)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) dry_run: DryRunArgs,

    /// Workloads of one namespace that roll at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) max_parallel: u16,

    /// How long one workload may take, such as 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = irsa_core::duration::parse)]
    pub(super) timeout: Duration,

    /// Delete pods that no controller makes, and create them again from their own manifest
    #[arg(long)]
    pub(super) recreate_bare_pods: bool,

    /// Restart also the templates of workloads that an operator or a GitOps tool keeps
    #[arg(long)]
    pub(super) restart_managed: bool,

    /// Set the annotations back as an undo file of `irsa set` says, then roll the pods concerned
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "selector"])]
    pub(super) undo: Option<PathBuf>,

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
