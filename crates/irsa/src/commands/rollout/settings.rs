//! What the arguments of `irsa rollout` mean.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use irsa_core::variables;
use irsa_fleet::apply::Undo;
use irsa_fleet::cluster::ConnectOptions;
use irsa_fleet::rollout::RunOptions;
use irsa_fleet::webhook::Overrides;
use irsa_fleet::workload::Ways;

use super::args::{Args, Limit};
use crate::args::{DryRun, Format, Namespaces};
use crate::undo;

/// How often a workload is looked at.
const POLL: Duration = Duration::from_secs(1);
/// The least that `IRSA_POLL_INTERVAL_MS` can make of it.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

/// Everything decided.
pub(super) struct Settings {
    pub(super) connect: ConnectOptions,
    pub(super) selection: Selection,
    pub(super) ways: Ways,
    pub(super) overrides: Overrides,
    pub(super) dry_run: DryRun,
    pub(super) yes: bool,
    pub(super) run: RunOptions,
    /// Failures after which no further workload is started.
    pub(super) max_failures: Option<Limit>,
    /// Stale pods that remain make the answer "no".
    pub(super) fail_on_remaining: bool,
    /// Workloads that are left out.
    pub(super) exclude: BTreeSet<String>,
    /// Namespaces that are left out.
    pub(super) exclude_namespaces: BTreeSet<String>,
    pub(super) format: Format,
}

/// Whose pods are recreated.
pub(super) enum Selection {
    /// Those of a part of the cluster.
    Pods {
        namespaces: Namespaces,
        labels: Option<String>,
        /// Namespace (empty for any) and name; all if none is named.
        accounts: BTreeSet<(String, String)>,
    },
    /// Those of the service accounts in an undo file, after their annotations are set back.
    Undo { path: PathBuf, undo: Undo },
}

impl Settings {
    pub(super) fn resolve(args: Args) -> anyhow::Result<Self> {
        if args.undo.is_some() && args.dry_run.dry_run != DryRun::None {
            bail!(
                "--undo cannot be combined with --dry-run: try it with irsa set --undo FILE --dry-run=server"
            );
        }
        let selection = match args.undo {
            Some(path) => {
                let undo = undo::read(&path)?;
                Selection::Undo { path, undo }
            }
            None => Selection::Pods {
                namespaces: args.namespace.namespaces(),
                labels: args.selector,
                accounts: args
                    .names
                    .into_iter()
                    .map(|account| (account.namespace.unwrap_or_default(), account.name))
                    .collect(),
            },
        };
        let poll = std::env::var(variables::IRSA_POLL_INTERVAL_MS)
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(POLL, |ms| Duration::from_millis(ms).max(SHORTEST_POLL));
        Ok(Self {
            connect: args.cluster.options(),
            selection,
            ways: Ways {
                recreate_bare_pods: args.recreate_bare_pods,
                restart_managed: args.restart_managed,
            },
            overrides: args.knowledge.overrides(),
            dry_run: args.dry_run.dry_run,
            yes: args.yes,
            run: RunOptions {
                parallel_namespaces: usize::from(args.parallel_namespaces),
                max_parallel: usize::from(args.max_parallel),
                timeout: args.timeout,
                total_timeout: args.total_timeout,
                // Known once the workloads are counted.
                max_failures: None,
                poll,
            },
            max_failures: if args.fail_fast {
                Some(Limit::Count(1))
            } else {
                args.max_failures
            },
            fail_on_remaining: args.fail_on_remaining,
            exclude: args.exclude.into_iter().collect(),
            exclude_namespaces: args.exclude_namespace.into_iter().collect(),
            format: args.format,
        })
    }
}
