//! `irsa lab events`: what was called on the lab's AWS, as CloudTrail would have it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use irsa_lab::control::{Addresses, Events, Request};
use irsa_lab::state;
use irsa_sts::events::{DEFAULT_CAPACITY, Entry, Filter};
use owo_colors::OwoColorize;

use crate::output::Output;

/// How long one question of `--follow` waits, in seconds.
const WAIT: u64 = 20;

/// Show the calls to the lab's AWS, in CloudTrail's form
///
/// Which endpoint a pod really reached is in ENDPOINT (global or regional) and HOST. Calls to the global endpoint are
/// in the trail of us-east-1, wherever they were served.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa lab events                                    all that is kept (the newest 10,000)
  irsa lab events -f --service sts                   as they come
  irsa lab events --caller kube-system:aws-node      of one service account
  irsa lab events -o json | jq .additionalEventData  CloudTrail records, one a line")]
pub(crate) struct Args {
    /// Go on, as further calls arrive
    #[arg(short, long)]
    follow: bool,

    /// table, or json: one CloudTrail record a line
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    /// Only the newest so many
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CAPACITY)]
    tail: usize,

    /// Only this action, `AssumeRoleWithWebIdentity` for instance
    #[arg(long, value_name = "ACTION")]
    name: Option<String>,

    /// Only sts or only s3
    #[arg(long, value_parser = ["sts", "s3"])]
    service: Option<String>,

    /// Only calls to this kind of STS endpoint
    #[arg(long, value_parser = ["global", "regional"])]
    endpoint: Option<String>,

    /// Only the trail of this region, or calls served by it
    #[arg(long)]
    region: Option<String>,

    /// Only calls to this host name
    #[arg(long)]
    host: Option<String>,

    /// Only callers whose service account, role or session contains this
    #[arg(long, value_name = "TEXT")]
    caller: Option<String>,

    /// Only calls that were refused
    #[arg(long)]
    refused: bool,

    /// Folder of the lab
    #[arg(long, value_name = "DIR", env = state::VARIABLE)]
    state_dir: Option<PathBuf>,
}

/// How calls are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let lab = Addresses::read(&args.state_dir.unwrap_or_else(state::default_path))?;
    let filter = Filter {
        event_name: args.name,
        service: args.service,
        endpoint_type: args.endpoint,
        region: args.region,
        host: args.host,
        caller: args.caller,
        refused: args.refused.then_some(true),
    };
    let ask = async |after, wait| {
        lab.ask(&Request::Events {
            after,
            limit: args.tail,
            wait,
            filter: filter.clone(),
        })
        .await
    };
    let Events { newest, entries } = ask(0, 0).await?;
    print(&entries, args.output, true, output)?;
    let mut headings = entries.is_empty();
    if entries.is_empty() && args.output == Format::Table && !args.follow {
        output.note("no such call yet")?;
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let mut after = newest;
    loop {
        let found = ask(after, WAIT).await?;
        print(&found.entries, args.output, headings, output)?;
        headings &= found.entries.is_empty();
        after = found.newest.max(after);
    }
}

/// Shows calls; `headings` before the first of a table.
pub(crate) fn print(
    entries: &[Entry],
    format: Format,
    headings: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let mut out = output.stdout();
    for entry in entries {
        match format {
            Format::Json => {
                serde_json::to_writer(&mut out, &*entry.record)?;
                writeln!(out)?;
            }
            Format::Table => {
                if headings && entry.sequence == entries[0].sequence {
                    writeln!(out, "{}", line(HEADINGS).bold())?;
                }
                let record = &entry.record;
                let result = record.error_code.as_deref().unwrap_or("ok");
                writeln!(
                    out,
                    "{}",
                    line([
                        &record.event_time,
                        &record.event_name,
                        record.endpoint_type().unwrap_or("-"),
                        record.host(),
                        record.serving_region().unwrap_or(&record.aws_region),
                        result,
                        record.caller(),
                    ])
                )?;
                // The message is the client's to see; the explanation is what AWS tells nobody.
                for text in [record.error_message.as_deref(), entry.explanation.as_deref()]
                    .into_iter()
                    .flatten()
                {
                    writeln!(out, "{}", format_args!("    {}", text.trim_end()).dimmed())?;
                }
            }
        }
    }
    out.flush()?;
    Ok(())
}

const HEADINGS: [&str; 7] = [
    "TIME",
    "EVENT",
    "ENDPOINT",
    "HOST",
    "SERVED BY",
    "RESULT",
    "CALLER",
];

/// Columns of fixed width, since nobody knows what is still to come. Longer cells push the rest of their line.
fn line(cells: [&str; 7]) -> String {
    const WIDTHS: [usize; 7] = [20, 25, 8, 30, 14, 21, 0];
    let mut text = String::new();
    for (cell, width) in cells.into_iter().zip(WIDTHS) {
        text.push_str(&format!("{cell:<width$}   "));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_until_a_cell_is_too_long() {
        let first = line([
            "t",
            "GetCallerIdentity",
            "global",
            "sts.amazonaws.com",
            "us-east-1",
            "ok",
            "a",
        ]);
        let second = line([
            "t",
            "GetCallerIdentity",
            "regional",
            "sts.us-west-2.amazonaws.com",
            "us-west-2",
            "ok",
            "a",
        ]);
        // The last one: the host has the region in its name, too.
        assert_eq!(first.rfind("us-east-1"), second.rfind("us-west-2"));
        assert!(!first.ends_with(' '));
    }
}
