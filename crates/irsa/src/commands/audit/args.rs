//! What `irsa audit` is asked.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::args::{Format, FormatParser};

/// Show from CloudTrail who really calls which STS endpoint, with which SDK
///
/// `irsa status` predicts the endpoint of each container; CloudTrail has recorded it. Reads log files and folders of them
/// (.json, .jsonl, .gz), the output of `aws cloudtrail lookup-events`, and results of Athena and CloudTrail Lake as JSON or
/// CSV. Calls to the global endpoint are in the trail of us-east-1, wherever the caller runs: include that region.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  irsa audit AWSLogs/111122223333/CloudTrail         a folder, as downloaded from the trail's bucket
  irsa audit --fail-on global --since 7d logs/       for a pipeline: exit code 1 if anybody used the global endpoint
  irsa lab events -o json | irsa audit -             what the lab's AWS has recorded
  irsa audit query --athena logs.cloudtrail          the query that fetches what is needed

Exit codes: 0 done; 1 with --fail-on global: the global endpoint was called, or there was no STS call to judge by;
2 something could not be read."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Files and folders; - reads standard input
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// Only calls since a time, such as 2026-11-24T00:00:00Z, or within a duration until now, such as 36h or 7d
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(super) since: Option<Timestamp>,

    /// Only calls before a time, or before that long ago
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(super) until: Option<Timestamp>,

    /// Only service accounts of this namespace
    #[arg(short = 'n', long, value_name = "NAME")]
    pub(super) namespace: Option<String>,

    /// Only clusters whose issuer contains this, such as the id of an EKS cluster's OIDC provider
    #[arg(long, value_name = "TEXT")]
    pub(super) cluster: Option<String>,

    /// Only calls to this kind of endpoint
    #[arg(long, value_name = "TYPE", value_parser = ["global", "regional", "unknown"])]
    pub(super) endpoint: Option<String>,

    /// Exit with 1 if the global endpoint was called
    #[arg(long, value_name = "WHAT", value_parser = ["global", "never"], default_value = "never")]
    pub(super) fail_on: String,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::with(&[Format::Wide, Format::Csv])
    )]
    pub(super) format: Format,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    Query(QueryArgs),
}

/// Print the query or the commands that fetch what an audit needs
///
/// The SQL adds calls up in the service, so that the result has one row for each distinct caller. Save it as CSV or JSON
/// and give it to `irsa audit`.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("service").required(true))]
#[command(after_help = "\
Examples:
  irsa audit query --athena logs.cloudtrail --since 30d
  irsa audit query --lake 0123abcd-0123-abcd-0123-0123456789ab
  irsa audit query --cli --regions us-west-2,eu-west-1 --since 24h | sh; irsa audit sts-*.json")]
pub(super) struct QueryArgs {
    /// SQL for Athena over this table, TABLE or DATABASE.TABLE
    #[arg(long, value_name = "TABLE", group = "service")]
    pub(super) athena: Option<String>,

    /// How the table is partitioned: by a column `timestamp` (2026/11/24), by year, month and day, or not at all
    #[arg(long, value_name = "HOW", value_parser = ["timestamp", "ymd", "none"], default_value = "timestamp", requires = "athena")]
    pub(super) partitions: String,

    /// SQL for CloudTrail Lake, for the event data store with this id or ARN
    #[arg(long, value_name = "ID", group = "service")]
    pub(super) lake: Option<String>,

    /// Commands of the AWS CLI (the last 90 days, at most two requests a second)
    #[arg(long, group = "service")]
    pub(super) cli: bool,

    /// Regions that clusters run in; us-east-1 is always asked
    #[arg(long, value_name = "REGION,…", value_delimiter = ',', requires = "cli")]
    pub(super) regions: Vec<String>,

    /// Begin, as a time or as a duration until now
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "7d")]
    pub(super) since: Timestamp,

    /// End, as a time or as a duration until now
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "0s")]
    pub(super) until: Timestamp,
}

/// A time, or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong =
        || "expected a time such as 2026-11-24T00:00:00Z, or how long ago, such as 36h or 7d".to_owned();
    let seconds = match text.strip_suffix('d') {
        Some(days) => days
            .parse::<u64>()
            .ok()
            .and_then(|days| days.checked_mul(24 * 60 * 60)),
        None => irsa_core::duration::parse(text).ok().map(|ago| ago.as_secs()),
    };
    let ago = seconds
        .and_then(|seconds| i64::try_from(seconds).ok())
        .ok_or_else(wrong)?;
    let now = Timestamp::now().as_second();
    now.checked_sub(ago)
        .and_then(|at| Timestamp::from_second(at).ok())
        .ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_ages() {
        let now = Timestamp::now().as_second();
        assert_eq!(
            moment("2026-11-24T00:00:00Z").unwrap().to_string(),
            "2026-11-24T00:00:00Z"
        );
        for (text, ago) in [("7d", 7 * 86_400), ("36h", 36 * 3600), ("0s", 0)] {
            assert!(
                (now - moment(text).unwrap().as_second() - ago).abs() <= 5,
                "{text}"
            );
        }
        for wrong in [
            "",
            "yesterday",
            "d",
            "-1d",
            "99999999999999999999d",
            "9999999999999d",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
