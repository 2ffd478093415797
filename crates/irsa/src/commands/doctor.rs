//! `irsa doctor`: what has to hold, looked at in order.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use irsa_core::errors;
use irsa_fleet::directory::Scope;
use irsa_fleet::doctor::{self, Check, Options, Verdict};
use irsa_fleet::report::{API_VERSION, CheckReportEntry, DoctorReport, ErrorReport, RecognisedReport};
use owo_colors::OwoColorize as _;

use crate::commands::fleet::{self, ConnectArgs, KnowledgeArgs};
use crate::commands::set::read;
use crate::exit;
use crate::output::Output;

/// Find out why pods do not get their identity or their endpoint
///
/// Looks in order at the API server and your rights, the cluster's version, the webhook's configuration, selectors, pods
/// and certificate, a dry-run pod, the OIDC issuer and its keys, a token, the regions, and what pods carry. Each check
/// says what was seen and what to do. With --error, recognises an error text and says which check decides it; no
/// cluster is needed for that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa doctor
  irsa doctor --probe                            also resolve and connect to STS and the issuer
  aws eks describe-cluster --name demo > c.json && irsa doctor --cluster-file c.json
  irsa doctor --error 'An error occurred (SignatureDoesNotMatch) when calling the GetCallerIdentity operation: Credential should be scoped to a valid region'
  kubectl logs deploy/app | irsa doctor --error -

Exit codes: 0 no check failed, or the error was recognised; 1 a check failed, or the error is not known; 2 could not look.")]
pub(crate) struct Args {
    /// An error text to recognise; - reads it from standard input
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,

    /// Namespace to look at; else all
    #[arg(short = 'n', long, value_name = "NAME")]
    namespace: Option<String>,

    /// Allow connections to hosts other than the API server
    #[arg(long)]
    probe: bool,

    /// What `aws eks describe-cluster` printed, for the platform version; - for standard input
    #[arg(long, value_name = "FILE")]
    cluster_file: Option<PathBuf>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    format: Format,

    #[command(flatten)]
    knowledge: KnowledgeArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text
    #[default]
    Text,
    /// A JSON document (docs/schema/doctor.json, docs/schema/errors.json)
    Json,
    /// The same as YAML
    Yaml,
}

pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    if let Some(text) = &args.error {
        return explain_error(args, output, text);
    }
    let mut overrides = args.knowledge.overrides();
    if let Some(path) = &args.cluster_file {
        let text = read(path)?;
        let found = doctor::platform_of_describe_cluster(&text)
            .map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
        overrides.platform_version.get_or_insert(found);
    }
    let cluster = args.connect.connect().await?;
    let options = Options {
        scope: Scope {
            namespace: args.namespace.clone(),
            ..Scope::default()
        },
        overrides,
        probe: args.probe,
    };
    let checks = doctor::doctor(&cluster, &options).await;
    if args.format == Format::Text {
        show(output, &checks)?;
    } else {
        let report = DoctorReport {
            api_version: API_VERSION,
            kind: "Doctor",
            context: cluster.context().to_owned(),
            server: cluster.server().to_owned(),
            checks: checks.iter().map(CheckReportEntry::of).collect(),
        };
        fleet::document(output, &report, args.format == Format::Yaml)?;
    }
    let unreachable = checks.len() == 1;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(match (failed, unreachable) {
        (true, true) => ExitCode::from(exit::FAILED),
        (true, false) => exit::no(),
        _ => ExitCode::SUCCESS,
    })
}

fn show(output: &Output, checks: &[Check]) -> anyhow::Result<()> {
    let mut to = io::BufWriter::new(output.stdout());
    for (index, check) in checks.iter().enumerate() {
        let word = match check.verdict {
            Verdict::Pass => format!("{}", "pass".green()),
            Verdict::Skip => format!("{}", "skip".dimmed()),
            Verdict::Warn => format!("{}", "warn".yellow().bold()),
            Verdict::Fail => format!("{}", "fail".red().bold()),
        };
        writeln!(to, "{:>2}. {word}  {}", index + 1, check.title)?;
        for evidence in &check.evidence {
            writeln!(to, "          {evidence}")?;
        }
        if let Some(cure) = &check.cure {
            writeln!(to, "          {} {cure}", "cure:".cyan())?;
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    writeln!(
        to,
        "\n{} passed, {} to look at, {} failed, {} not looked at",
        count(Verdict::Pass),
        count(Verdict::Warn),
        count(Verdict::Fail),
        count(Verdict::Skip)
    )?;
    to.flush()?;
    Ok(())
}

fn explain_error(args: &Args, output: &Output, text: &str) -> anyhow::Result<ExitCode> {
    let text = if text == "-" {
        read(std::path::Path::new("-"))?
    } else {
        text.to_owned()
    };
    let recognised = errors::recognise(&text);
    if args.format != Format::Text {
        let report = ErrorReport {
            api_version: API_VERSION,
            kind: "Errors",
            errors: recognised.iter().map(RecognisedReport::of).collect(),
        };
        fleet::document(output, &report, args.format == Format::Yaml)?;
    } else if recognised.is_empty() {
        output.note("this text is not known; irsa doctor without --error looks at the cluster itself")?;
    } else {
        let mut to = io::BufWriter::new(output.stdout());
        for (index, found) in recognised.iter().enumerate() {
            let entry = found.entry;
            if index > 0 {
                writeln!(to)?;
            }
            let code = entry.code.map_or(String::new(), |code| format!(" {code}"));
            writeln!(to, "{}{code} (from {})", entry.id.bold(), entry.origin.as_str())?;
            writeln!(to, "  {}", entry.meaning)?;
            if !found.captured.is_empty() {
                writeln!(to, "  in this text: {}", found.captured.join(", "))?;
            }
            for check in entry.checks {
                writeln!(to, "  {} {}", "decided by:".cyan(), check.what())?;
                writeln!(to, "      {}", check.command())?;
            }
            for cure in entry.cures {
                writeln!(to, "  {} {cure}", "cure:".cyan())?;
            }
        }
        to.flush()?;
    }
    Ok(if recognised.is_empty() {
        exit::no()
    } else {
        ExitCode::SUCCESS
    })
}
