//! What `irsa set` is asked.

use std::path::PathBuf;

use clap::ValueEnum;
use irsa_fleet::plan::Wish;

use crate::args::{AccountName, ClusterArgs, DryRunArgs, Format, FormatParser, KnowledgeArgs, NamespaceArgs};
use crate::complete;

/// Choose the STS endpoint type of service accounts
///
/// Shows what would change: annotations before and after, pods that would have to be recreated, and where their SDKs
/// would call then. Asks, and writes the annotation by server-side apply with the field manager `irsa`, so that an
/// annotation that Helm, Argo CD or another tool manages is not overwritten by accident. Pods that run already keep
/// what they have until they are recreated: `irsa rollout` does that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa set regional -n kube-system aws-node      one service account
  irsa set regional -A                           every service account that has a role
  irsa set global -n shop --account-selector team=payments
                                                 those with a label
  irsa set default -n shop checkout              no choice of its own any more
  irsa status -A --finding uses-global -o name | irsa set regional --file - --yes
  irsa set regional -A --dry-run=server          the server goes through it and keeps nothing
  irsa set --undo irsa-undo-20261124T093000Z.json

Exit codes: 0 done, or nothing to do; 1 some service accounts were not written; 2 could not do it.")]
pub(crate) struct Args {
    /// What to choose
    #[arg(value_enum, value_name = "TYPE", required_unless_present = "undo")]
    pub(super) wish: Option<Choice>,

    /// Service accounts: NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME", add = complete::accounts())]
    pub(super) names: Vec<AccountName>,

    #[command(flatten)]
    pub(super) namespace: NamespaceArgs,

    /// Select service accounts by their labels
    #[arg(long, value_name = "LABELS", conflicts_with = "names")]
    pub(super) account_selector: Option<String>,

    /// Refused: everywhere else it selects pods
    #[arg(short = 'l', long, value_name = "LABELS", hide = true)]
    pub(super) selector: Option<String>,

    /// Every service account of the namespace that has a role
    #[arg(long, conflicts_with_all = ["names", "account_selector"])]
    pub(super) all: bool,

    /// File with a service account a line (NAME or NAMESPACE/NAME); - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "account_selector", "all"])]
    pub(super) file: Option<PathBuf>,

    /// Set back what an undo file says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wish", "names", "account_selector", "all", "file"])]
    pub(super) undo: Option<PathBuf>,

    /// Do not ask
    #[arg(short = 'y', long)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) dry_run: DryRunArgs,

    /// Take the annotation over from the tool that manages it
    #[arg(long)]
    pub(super) force_conflicts: bool,

    /// Skip annotations that a tool manages, and write the others
    #[arg(long, conflicts_with = "force_conflicts")]
    pub(super) skip_conflicts: bool,

    /// Where to write the undo file; irsa-undo-TIME.json if not given
    #[arg(long, value_name = "FILE")]
    pub(super) undo_file: Option<PathBuf>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::with(&[Format::Wide])
    )]
    pub(super) format: Format,

    #[command(flatten)]
    pub(super) knowledge: KnowledgeArgs,

    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Choice {
    /// sts.REGION.amazonaws.com
    Regional,
    /// sts.amazonaws.com
    Global,
    /// What the namespace, the webhook or the platform says
    Default,
}

impl From<Choice> for Wish {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Regional => Self::Regional,
            Choice::Global => Self::Global,
            Choice::Default => Self::Default,
        }
    }
}
