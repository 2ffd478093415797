//! What the arguments of `irsa status` mean.

use std::time::Duration;

use anyhow::bail;
use irsa_fleet::cluster::ConnectOptions;
use irsa_fleet::effective::Families;
use irsa_fleet::finding::{FailOn, Id};
use irsa_fleet::webhook::Overrides;

use super::args::Args;
use crate::args::{AccountName, Format, Namespaces};

/// Shortest time between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Everything decided.
pub(super) struct Settings {
    /// Where to look; one at least.
    pub(super) clusters: Vec<ConnectOptions>,
    /// What to look for.
    pub(super) query: Query,
    /// What to show.
    pub(super) view: View,
    /// What makes the answer "no".
    pub(super) fail_on: FailOn,
    /// How long to wait before looking again.
    pub(super) watch: Option<Duration>,
}

/// What is looked for in each cluster.
pub(super) struct Query {
    pub(super) namespaces: Namespaces,
    pub(super) accounts: Vec<AccountName>,
    /// Of pods.
    pub(super) labels: Option<String>,
    pub(super) page: usize,
    pub(super) families: Families,
    pub(super) overrides: Overrides,
    /// Only what has one of these, if any are named.
    pub(super) findings: Vec<Id>,
    pub(super) pods: bool,
}

/// How it is shown.
pub(super) struct View {
    pub(super) format: Format,
    pub(super) pods: bool,
    /// Names have their namespace.
    pub(super) with_namespace: bool,
    /// Only rows: no headings, totals and findings.
    pub(super) bare: bool,
    /// Rows without findings may be counted instead of shown.
    pub(super) fold: bool,
}

impl Settings {
    /// `on_terminal`: a person reads the answer, not a program.
    pub(super) fn resolve(args: Args, on_terminal: bool) -> anyhow::Result<Self> {
        // `-w 2s` would otherwise watch the service account `2s`.
        let interval = args.names.first().filter(|account| {
            account.namespace.is_none()
                && account.name.ends_with(['s', 'm', 'h'])
                && irsa_core::duration::parse(&account.name).is_ok()
        });
        if let (Some(_), Some(interval)) = (args.watch, interval) {
            bail!("write the interval as --watch={0} or -w={0}", interval.name);
        }
        let namespaces = args.namespace.namespaces();
        Ok(Self {
            clusters: args.clusters.options()?,
            view: View {
                format: args.format,
                pods: args.pods,
                with_namespace: namespaces.is_all(),
                bare: args.no_headers,
                fold: on_terminal && !args.all && !args.no_headers && args.names.is_empty(),
            },
            query: Query {
                namespaces,
                accounts: args.names,
                labels: args.selector,
                page: args.chunk_size.max(1),
                families: args.knowledge.families(),
                overrides: args.knowledge.overrides(),
                findings: args.finding,
                pods: args.pods,
            },
            fail_on: args.fail_on,
            watch: args.watch.map(|pause| pause.max(SHORTEST_PAUSE)),
        })
    }
}
