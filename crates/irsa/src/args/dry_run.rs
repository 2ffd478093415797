//! `--dry-run`, as in kubectl.

use clap::ValueEnum;

/// How far a command goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Do it
    #[default]
    None,
    /// Only show the plan
    Client,
    /// Let the server go through it without keeping anything
    Server,
}

impl DryRun {
    /// The word in documents.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// `--dry-run`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct DryRunArgs {
    /// Show what would happen: only the plan, or let the server go through it
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        num_args = 0..=1,
        default_value_t,
        default_missing_value = "client",
        require_equals = true
    )]
    pub(crate) dry_run: DryRun,
}
