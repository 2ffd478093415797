//! `irsa url inspect`: what a presigned URL is, and what AWS would answer to it.

use std::io::{self, BufRead as _, Read as _, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use irsa_core::duration;
use irsa_core::partition::S3Addressing;
use irsa_core::presign::{self, Anatomy, Target};
use irsa_core::text::Foreign;
use owo_colors::OwoColorize as _;

use super::inspect_report::{List, UrlReport};
use crate::args::{Format, FormatParser};
use crate::exit;
use crate::output::Output;

/// More than any list of URLs that a person pipes in.
const MAX_INPUT: u64 = 16 * 1024 * 1024;

/// Say what a presigned URL of S3 or STS is, and what AWS would answer to it
///
/// Form of the host, bucket and key, version and scope of the signature, time left, session token; and whether these
/// fit together or which error AWS gives. The signature itself cannot be checked without the secret key. Nothing is
/// sent anywhere. Signatures and tokens are masked in the output.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa url inspect 'https://bucket.s3.us-west-2.amazonaws.com/path?X-Amz-Algorithm=…'
  aws s3 presign s3://bucket/path | irsa url inspect -
  irsa url inspect --bucket-region eu-central-1 \"$URL\"
  irsa url inspect -o json - < urls.txt | jq '.items[] | select(.consistent | not)'

Exit codes: 0 the URL is consistent; 1 AWS would refuse it; 2 it, or one of several, is not a presigned URL.")]
pub(super) struct Args {
    /// The URL, in quotes, or - for one URL a line on standard input
    #[arg(value_name = "URL|-", required = true)]
    urls: Vec<String>,

    /// The region of the bucket, which a global host does not tell
    #[arg(long, value_name = "REGION")]
    bucket_region: Option<String>,

    /// Show signatures and tokens
    #[arg(long)]
    show_secrets: bool,

    /// Judge the URL at this time instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::plain()
    )]
    format: Format,
}

pub(super) fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let now = args.at.unwrap_or_else(jiff::Timestamp::now).as_second();
    let streamed = args.urls.iter().any(|url| url == "-");
    let urls = read_urls(&args.urls)?;
    let mut read = Vec::with_capacity(urls.len());
    let mut unreadable = false;
    for url in &urls {
        match Anatomy::read(url, now, args.bucket_region.as_deref()) {
            Ok(anatomy) => read.push((shown_url(url, args.show_secrets), anatomy)),
            Err(error) => {
                unreadable = true;
                let url = abbreviated(&Foreign(presign::mask(url)).to_string());
                let error = anyhow::Error::new(error).context(format!("cannot read `{url}`"));
                output.error("irsa", &error)?;
            }
        }
    }
    let consistent = read.iter().all(|(_, anatomy)| anatomy.problems.is_empty());
    if args.format.is_text() {
        output.page(|to| {
            for (index, (url, anatomy)) in read.iter().enumerate() {
                if index > 0 {
                    writeln!(to)?;
                }
                describe(to, url, anatomy)?;
            }
            Ok(())
        })?;
    } else {
        let mut items: Vec<UrlReport> = read
            .iter()
            .map(|(url, anatomy)| UrlReport::new(url, anatomy, args.show_secrets))
            .collect();
        // One URL as an argument is one document; a stream is a list, even of one.
        if streamed || urls.len() > 1 {
            output.document(&List::new(items), &args.format)?;
        } else if let Some(only) = items.pop() {
            output.document(&only, &args.format)?;
        }
    }
    Ok(match (unreadable, consistent) {
        (true, _) => ExitCode::from(exit::FAILED),
        (false, false) => exit::no(),
        (false, true) => ExitCode::SUCCESS,
    })
}

fn shown_url(url: &str, show_secrets: bool) -> String {
    let url = url.trim();
    if show_secrets {
        url.to_owned()
    } else {
        presign::mask(url)
    }
}

/// The arguments, with `-` replaced by the lines of standard input.
fn read_urls(arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let mut urls = Vec::new();
    let mut stdin_read = false;
    for argument in arguments {
        if argument != "-" {
            urls.push(argument.clone());
        } else if !stdin_read {
            stdin_read = true;
            for line in io::stdin().lock().take(MAX_INPUT).lines() {
                let line = line.context("reading URLs from standard input")?;
                // Quotes and a log's indentation may have come along.
                let line = line.trim().trim_matches(['"', '\'']);
                if !line.is_empty() {
                    urls.push(line.to_owned());
                }
            }
        }
    }
    anyhow::ensure!(!urls.is_empty(), "standard input holds no URL");
    Ok(urls)
}

fn abbreviated(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

/// The text for people.
fn describe(to: &mut impl Write, url: &str, anatomy: &Anatomy) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(to, "{name:<12} {}", Foreign(value));
    line("URL", url)?;
    match &anatomy.target {
        Target::S3 {
            bucket,
            key,
            addressing,
        } => {
            let place = match addressing {
                S3Addressing::Virtual => "bucket in the host",
                S3Addressing::Path => "bucket in the path",
                S3Addressing::AccessPoint => "access point in the host",
                S3Addressing::MultiRegionAccessPoint => "multi-region access point in the host",
                S3Addressing::Express => "directory bucket in the host",
            };
            line("Service", "S3")?;
            line("Form", &format!("{}, {place}", anatomy.form()))?;
            line("Host", &anatomy.host)?;
            line("Bucket", bucket.as_deref().unwrap_or("<none>"))?;
            line("Key", if key.is_empty() { "<none>" } else { key })?;
        }
        Target::Sts { action } => {
            line("Service", "STS")?;
            line("Form", anatomy.form())?;
            line("Host", &anatomy.host)?;
            line("Action", action.as_deref().unwrap_or("<none>"))?;
        }
        Target::Other => {
            line("Service", "other")?;
            line("Form", anatomy.form())?;
            line("Host", &anatomy.host)?;
        }
    }
    describe_signature(to, anatomy)?;
    describe_verdict(to, anatomy)
}

fn describe_signature(to: &mut impl Write, anatomy: &Anatomy) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(to, "{name:<12} {}", Foreign(value));
    line("Signature", anatomy.version().as_str())?;
    if let Some(id) = anatomy.access_key_id().filter(|id| !id.is_empty()) {
        line("Key id", id)?;
    }
    if let Some(scope) = anatomy.scope() {
        let region = scope
            .region
            .as_deref()
            .map(|r| format!("{r}/"))
            .unwrap_or_default();
        line(
            "Scope",
            &format!("{}/{region}{}/{}", scope.date, scope.service, scope.terminator),
        )?;
    }
    if let Some(validity) = anatomy.validity {
        if let Some(at) = validity.signed_at {
            line("Signed", &presign::format_date(at))?;
        }
        let left = if validity.left >= 0 {
            format!("{} left", duration::short(validity.left))
        } else {
            format!("over since {}", duration::short(validity.left))
        };
        line(
            "Expires",
            &format!("{} ({left})", presign::format_date(validity.expires_at)),
        )?;
    }
    let token = anatomy
        .session_token
        .map(|length| format!("present, {length} characters"));
    line("Token", token.as_deref().unwrap_or("none"))
}

fn describe_verdict(to: &mut impl Write, anatomy: &Anatomy) -> io::Result<()> {
    writeln!(to)?;
    if anatomy.problems.is_empty() {
        writeln!(
            to,
            "{} host, scope, times and parameters fit together",
            "Consistent:".green().bold()
        )?;
    }
    for (i, problem) in anatomy.problems.iter().enumerate() {
        let who = match (&anatomy.target, i) {
            (Target::Sts { .. }, 0) => "STS would answer:",
            (_, 0) => "S3 would answer:",
            _ => "and then:",
        };
        writeln!(
            to,
            "{} {} {}: {}",
            who.red().bold(),
            problem.status,
            problem.code,
            Foreign(&problem.message)
        )?;
    }
    for note in &anatomy.notes {
        writeln!(to, "Note: {}", Foreign(&note.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_urls_are_cut_for_error_messages_between_characters() {
        assert_eq!(abbreviated("short"), "short");
        let long = "é".repeat(200);
        assert_eq!(abbreviated(&long).chars().count(), 121);
    }
}
