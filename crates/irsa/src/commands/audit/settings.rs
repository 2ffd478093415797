//! What the arguments of `irsa audit` mean.

use irsa_trail::audit::Period;
use irsa_trail::query::{self, Partitions};
use irsa_trail::read::Source;
use irsa_trail::report::CallerReport;

use super::args::{Args, Command, QueryArgs};
use crate::args::Format;

/// Everything decided.
pub(super) struct Settings {
    pub(super) question: Question,
}

/// What is to be done.
pub(super) enum Question {
    /// Print this query.
    Query(String),
    /// Read records.
    Records(Reading),
}

/// What is to be read, and how it is shown.
pub(super) struct Reading {
    pub(super) sources: Vec<Source>,
    pub(super) period: Period,
    pub(super) filter: Filter,
    pub(super) fail_on_global: bool,
    pub(super) format: Format,
}

/// Which callers are shown.
pub(super) struct Filter {
    namespace: Option<String>,
    cluster: Option<String>,
    endpoint: Option<String>,
}

impl Filter {
    pub(super) fn keeps(&self, caller: &CallerReport) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| caller.namespace.as_ref() == Some(namespace))
            && self
                .cluster
                .as_ref()
                .is_none_or(|cluster| caller.cluster.contains(cluster.as_str()))
            && self
                .endpoint
                .as_ref()
                .is_none_or(|endpoint| caller.endpoint.as_str() == endpoint)
    }
}

impl Settings {
    pub(super) fn resolve(args: Args) -> anyhow::Result<Self> {
        if let Some(Command::Query(query)) = args.command {
            return Ok(Self {
                question: Question::Query(text_of(&query)?),
            });
        }
        let period = Period {
            since: args.since,
            until: args.until,
        };
        if let (Some(since), Some(until)) = (period.since, period.until) {
            anyhow::ensure!(since < until, "--since {since} is not before --until {until}");
        }
        let sources = args.files.into_iter().map(|path| {
            if path.as_os_str() == "-" {
                Source::Stdin
            } else {
                Source::Path(path)
            }
        });
        Ok(Self {
            question: Question::Records(Reading {
                sources: sources.collect(),
                period,
                filter: Filter {
                    namespace: args.namespace,
                    cluster: args.cluster,
                    endpoint: args.endpoint,
                },
                fail_on_global: args.fail_on == "global",
                format: args.format,
            }),
        })
    }
}

fn text_of(args: &QueryArgs) -> anyhow::Result<String> {
    anyhow::ensure!(
        args.since < args.until,
        "--since {} is not before --until {}",
        args.since,
        args.until
    );
    let question = query::Question {
        since: args.since,
        until: args.until,
    };
    let partitions = match args.partitions.as_str() {
        "ymd" => Partitions::YearMonthDay,
        "none" => Partitions::None,
        _ => Partitions::Timestamp,
    };
    Ok(match (&args.athena, &args.lake) {
        (Some(table), _) => query::athena(&question, table, partitions)?,
        (None, Some(store)) => query::lake(&question, store)?,
        (None, None) => query::cli(&question, &args.regions)?,
    })
}
