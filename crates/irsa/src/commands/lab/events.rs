//! `irsa lab events`: what was called on the lab's AWS, as CloudTrail would have it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use irsa_core::text::Foreign;
use irsa_lab::control::{Addresses, Events, Request};
use irsa_lab::state;
use irsa_sts::events::{DEFAULT_CAPACITY, Entry, Filter, Record};
use owo_colors::OwoColorize;
use unicode_width::UnicodeWidthStr as _;

use crate::output::{Output, wrapped};

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
    let mut listing = Listing::new(output, args.output);
    let Events { newest, entries } = ask(0, 0).await?;
    listing.print(&entries)?;
    if listing.is_empty() && args.output == Format::Table && !args.follow {
        output.note("no such call yet")?;
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let mut after = newest;
    loop {
        let found = ask(after, WAIT).await?;
        listing.print(&found.entries)?;
        after = found.newest.max(after);
    }
}

/// Calls as they are listed: columns are as wide as the widest cell so far, so that they stay aligned while further calls
/// arrive.
pub(crate) struct Listing<'a> {
    output: &'a Output,
    format: Format,
    widths: [usize; 6],
    empty: bool,
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

impl<'a> Listing<'a> {
    /// An empty list.
    pub(crate) fn new(output: &'a Output, format: Format) -> Self {
        Self {
            output,
            format,
            // Room for what is usual, so that few lines have to be wider than those above them.
            widths: [20, 25, 8, 27, 9, 6],
            empty: true,
        }
    }

    /// Whether nothing has been listed yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty
    }

    /// Adds calls.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn print(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        match self.format {
            Format::Json => {
                for entry in entries {
                    self.output.json_line(&*entry.record)?;
                }
            }
            Format::Table if !entries.is_empty() => {
                let cells: Vec<[String; 7]> = entries.iter().map(|entry| cells(&entry.record)).collect();
                for row in &cells {
                    for (width, cell) in self.widths.iter_mut().zip(row) {
                        *width = (*width).max(cell.width());
                    }
                }
                let headings = std::mem::take(&mut self.empty);
                let columns = self.output.columns();
                self.output.page(|to| {
                    if headings {
                        writeln!(to, "{}", line(&HEADINGS.map(str::to_owned), &self.widths).bold())?;
                    }
                    for (entry, row) in entries.iter().zip(&cells) {
                        writeln!(to, "{}", line(row, &self.widths))?;
                        explain(to, entry, columns)?;
                    }
                    Ok(())
                })?;
            }
            Format::Table => {}
        }
        self.empty &= entries.is_empty();
        Ok(())
    }
}

/// The message is the client's to see; the explanation is what AWS tells nobody.
fn explain(to: &mut impl Write, entry: &Entry, columns: Option<usize>) -> io::Result<()> {
    let texts = [
        entry.record.error_message.as_deref(),
        entry.explanation.as_deref(),
    ];
    for text in texts.into_iter().flatten().flat_map(str::lines) {
        for line in wrapped(&format!("    {}", Foreign(text.trim())), columns) {
            writeln!(to, "{}", line.dimmed())?;
        }
    }
    Ok(())
}

fn cells(record: &Record) -> [String; 7] {
    [
        &record.event_time,
        &record.event_name,
        record.endpoint_type().unwrap_or("-"),
        record.host(),
        record.serving_region().unwrap_or(&record.aws_region),
        record.error_code.as_deref().unwrap_or("ok"),
        record.caller(),
    ]
    .map(|cell| Foreign(cell).to_string())
}

fn line(cells: &[String; 7], widths: &[usize; 6]) -> String {
    let mut text = String::new();
    for (index, cell) in cells.iter().enumerate() {
        text.push_str(cell);
        if let Some(width) = widths.get(index) {
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 3));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_listed_without_their_control_characters() {
        let hostile = "\u{1b}[2J\u{202e}\nforged";
        let record: Record = serde_json::from_value(serde_json::json!({
            "eventVersion": "1.08", "userIdentity": {"type": "Unknown", "userName": hostile}, "eventTime": "t",
            "eventSource": "sts.amazonaws.com", "eventName": hostile, "awsRegion": hostile,
            "sourceIPAddress": "127.0.0.1", "userAgent": hostile, "errorCode": hostile, "errorMessage": hostile,
            "requestParameters": null, "responseElements": null, "additionalEventData": null, "requestID": "",
            "eventID": "", "readOnly": true, "eventType": "AwsApiCall", "managementEvent": true,
            "eventCategory": "Management",
            "tlsDetails": {"tlsVersion": "", "cipherSuite": "", "clientProvidedHostHeader": hostile},
        }))
        .unwrap();
        let row = cells(&record);
        assert!(row.iter().all(|cell| irsa_core::text::is_safe(cell)), "{row:?}");
        assert!(row.iter().any(|cell| cell.contains(r"\nforged")), "{row:?}");
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let row = |host: &str, region: &str| {
            ["t", "GetCallerIdentity", "global", host, region, "ok", "a"].map(str::to_owned)
        };
        let rows = [
            row("sts.amazonaws.com", "us-east-1"),
            row(
                "a-very-long-bucket-name-of-somebody.s3.us-west-2.amazonaws.com",
                "eu-west-1",
            ),
        ];
        let mut widths = [0; 6];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        let lines = rows.map(|row| line(&row, &widths));
        assert_eq!(lines[0].find("us-east-1"), lines[1].find("eu-west-1"));
        assert!(!lines[0].ends_with(' '));
    }
}
