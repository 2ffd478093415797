//! What `irsa rollout` is asked.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{AccountName, ClusterArgs, DryRunArgs, Format, FormatParser, KnowledgeArgs, NamespaceArgs};
use crate::complete;

/// Recreate pods that do not have the setting of their service account, and verify the new ones
///
/// Finds stale pods and their workloads. Deployments, DaemonSets and StatefulSets are restarted as kubectl does it. Pods
/// of workloads that an operator or a GitOps tool manages, or that do not roll by themselves, are evicted one by one, so
/// that disruption budgets are respected. Pods that cannot be recreated are listed with the reason. Before anything is
/// touched, a server-side dry run with each workload's own pod template shows that the webhook would write the setting.
/// Each workload is awaited and its new pods are verified. A workload that fails does not stop the others, unless
/// --fail-fast or --max-failures says so. After a failure or an interruption, the same command continues with the rest.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa rollout -n kube-system -l k8s-app=aws-node
  irsa rollout -n shop checkout payments         pods of these service accounts
  irsa rollout -A --max-parallel 4 --parallel-namespaces 8 --max-failures 5% --yes
  irsa rollout -A --exclude-namespace kube-system --exclude deployment/gateway
  irsa rollout -A --dry-run=server               prove with dry-run pods, restart nothing
  irsa rollout --undo irsa-undo-20261124T093000Z.json
                                                 set the annotations back, and roll their pods

Exit codes: 0 every new pod verified, or nothing to do; 1 something failed, was not verified or does not exist;
2 could not do it.")]
pub(crate) struct Args {
    /// Service accounts; else all
    #[arg(value_name = "NAME", add = complete::accounts())]
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

    /// Workloads to leave out: KIND/NAME or NAMESPACE/KIND/NAME
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub(super) exclude: Vec<String>,

    /// Namespaces to leave out
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) exclude_namespace: Vec<String>,

    /// Start no further workload after the first failure
    #[arg(long, conflicts_with_all = ["keep_going", "max_failures"])]
    pub(super) fail_fast: bool,

    /// Continue with the other workloads after a failure; this is the default
    #[arg(long)]
    pub(super) keep_going: bool,

    /// Start no further workload after so many failures, or failures of such a share of the workloads
    #[arg(long, value_name = "N|N%")]
    pub(super) max_failures: Option<Limit>,

    /// Exit with 1 if any stale pod remains, also of workloads that cannot be recreated
    #[arg(long)]
    pub(super) fail_on_remaining: bool,

    /// Namespaces in which workloads roll at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) parallel_namespaces: u16,

    /// Workloads of one namespace that roll at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) max_parallel: u16,

    /// How long one workload may take, such as 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = irsa_core::duration::parse)]
    pub(super) timeout: Duration,

    /// How long all of them together may take, such as 2h; then no further workload is started
    #[arg(long, value_name = "DURATION", value_parser = irsa_core::duration::parse)]
    pub(super) total_timeout: Option<Duration>,

    /// Delete pods that have no controller, and create them again from their own manifest
    #[arg(long)]
    pub(super) recreate_bare_pods: bool,

    /// Restart workloads by their template even if an operator or a GitOps tool manages them
    #[arg(long)]
    pub(super) restart_managed: bool,

    /// Restore the annotations from an undo file of `irsa set`, then recreate the pods concerned
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

/// A number of workloads, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// So many.
    Count(usize),
    /// Percent of all workloads.
    Share(usize),
}

impl Limit {
    /// The number for `all` workloads; a share is at least one.
    pub(super) fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Share(percent) => (all * percent).div_ceil(100).max(1),
        }
    }
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number of at least 1 such as 3, or a share such as 5%".to_owned();
        let (number, share) = match text.strip_suffix('%') {
            Some(number) => (number, true),
            None => (text, false),
        };
        let number: usize = number.parse().map_err(|_| wrong())?;
        match (number, share) {
            (1..=100, true) => Ok(Self::Share(number)),
            (1.., false) => Ok(Self::Count(number)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_limited_by_number_or_by_share() {
        assert_eq!("3".parse::<Limit>().map(|limit| limit.of(10)), Ok(3));
        assert_eq!("5%".parse::<Limit>().map(|limit| limit.of(1000)), Ok(50));
        assert_eq!("5%".parse::<Limit>().map(|limit| limit.of(3)), Ok(1));
        for wrong in ["0", "0%", "101%", "x", "", "-1", "%"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }
}
