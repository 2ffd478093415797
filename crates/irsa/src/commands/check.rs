//! `irsa check`: manifests in, findings out, no cluster.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use irsa_core::endpoint::{EndpointType, GlobalValue, Platform};
use irsa_core::sdk::Sdk;
use irsa_core::settings::Settings;
use irsa_fleet::check::{self, Located, Options, Report};
use irsa_fleet::effective::Families;
use irsa_fleet::finding::{CureFor, FailOn, Severity};
use irsa_fleet::manifests::{self, Document};
use irsa_fleet::report::{CheckReport, sarif};
use irsa_fleet::webhook;
use owo_colors::OwoColorize as _;

use crate::args::{Format, FormatParser};
use crate::exit;
use crate::output::{Output, Table, counted};

/// Check manifests before they reach a cluster
///
/// Reads manifests (YAML or JSON, several documents in a file, Lists, what Helm and Kustomize print), makes the pods
/// of every workload as the webhook would make them, and says what is wrong with them. Service accounts, namespaces and
/// the pod-identity-webhook ConfigMap are found in the same input. No cluster is asked.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa check -f deploy/ --region us-west-2
  helm template ./chart | irsa check -f - --region us-west-2
  kustomize build overlays/prod | irsa check -f - --region us-west-2 -o yaml
                                                 the pods as they would be
  irsa check -f k8s/ -o github                   annotations on a pull request
  irsa check -f k8s/ -o sarif > irsa.sarif       for code scanning
  irsa check -f k8s/ --eks --fail-on warning     as EKS's own webhook would make them

Exit codes: 0 nothing found at or above --fail-on; 1 something found; 2 the input cannot be read.")]
pub(crate) struct Args {
    /// File, directory, or - for standard input; may be given more than once
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    files: Vec<PathBuf>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::with(&[Format::Sarif, Format::Github])
    )]
    format: Format,

    /// When to answer with exit code 1: error, warning, info, never, or ids of findings
    #[arg(long, value_name = "SEVERITY|ID,…", default_value = "error")]
    fail_on: FailOn,

    /// Namespace of objects that name none
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// SDKs that the containers use, such as boto3, boto3@1.39 or js-v2; else the one that an image is known for, or
    /// each that behaves in its own way
    #[arg(long, value_name = "SDK", value_delimiter = ',')]
    sdk: Vec<Sdk>,

    /// Region that the webhook writes; without it endpoints are not predicted
    #[arg(
        long,
        visible_alias = "aws-default-region",
        value_name = "REGION",
        help_heading = "Webhook"
    )]
    region: Option<String>,

    /// Check against the webhook that EKS runs
    #[arg(long, help_heading = "Webhook", conflicts_with = "compat")]
    eks: bool,

    /// Whose behaviour the webhook has
    #[arg(long, value_enum, value_name = "WHOSE", help_heading = "Webhook")]
    compat: Option<Compat>,

    /// The webhook's --sts-regional-endpoint
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        help_heading = "Webhook"
    )]
    sts_regional_endpoint: Option<bool>,

    /// The webhook's --global-endpoint-value: legacy, omit or global
    #[arg(long, value_name = "VALUE", help_heading = "Webhook")]
    global_endpoint_value: Option<GlobalValue>,

    /// The webhook's --annotation-prefix
    #[arg(long, value_name = "PREFIX", help_heading = "Webhook")]
    annotation_prefix: Option<String>,

    /// Kubernetes version of the EKS cluster, such as 1.29; `none` for a cluster that is not EKS; else a current one is
    /// assumed
    #[arg(long, value_name = "VERSION", help_heading = "Webhook")]
    kubernetes_version: Option<String>,

    /// Platform version of the EKS cluster, such as eks.1
    #[arg(
        long,
        value_name = "eks.N",
        requires = "kubernetes_version",
        help_heading = "Webhook"
    )]
    platform_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// The Go webhook aws/amazon-eks-pod-identity-webhook
    Upstream,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let mut documents = Vec::new();
    for file in &args.files {
        if file.as_os_str() == "-" {
            if io::stdin().is_terminal() {
                output.note("reading manifests from standard input; end with Ctrl-D")?;
            }
            let mut text = String::new();
            io::stdin()
                .lock()
                .take(64 << 20)
                .read_to_string(&mut text)
                .context("reading manifests from standard input")?;
            documents.extend(manifests::parse("-", &text)?);
        } else {
            documents.extend(manifests::read_path(file)?);
        }
    }
    anyhow::ensure!(!documents.is_empty(), "the input holds no Kubernetes object");
    let settings = settings(args)?;
    if args.kubernetes_version.is_none() && args.compat.is_none() {
        let whose = if args.eks {
            "webhook of EKS"
        } else {
            "irsa webhook on EKS"
        };
        output.note(format_args!(
            "assuming the {whose}, Kubernetes {} or later (see --kubernetes-version)",
            Platform::LATEST
        ))?;
    }
    let options = Options {
        settings,
        namespace: args.namespace.clone(),
        families: Families::new(args.sdk.clone()),
    };
    let report = check::check(&documents, &options);
    if report.service_accounts == 0 && report.workloads.is_empty() {
        output.note(format_args!(
            "nothing to check: none of {} is a workload or a service account",
            counted(documents.len(), "object")
        ))?;
    }
    match args.format {
        Format::Yaml => yaml(output, &report)?,
        Format::Json => output.document(&CheckReport::of(&report, &documents), Format::Json)?,
        Format::Sarif => output.document(&sarif(&report, &documents), Format::Json)?,
        Format::Github => github(output, &report, &documents)?,
        _ => table(output, &report, &documents, args.region.is_some())?,
    }
    let caught = report.all().any(|located| {
        args.fail_on
            .catches(located.finding.id(), located.finding.severity())
    });
    Ok(if caught { exit::no() } else { ExitCode::SUCCESS })
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let platform = match args.kubernetes_version.as_deref() {
        None => Some(Platform::LATEST),
        Some("none") => {
            anyhow::ensure!(
                args.platform_version.is_none(),
                "--platform-version has no meaning with --kubernetes-version none"
            );
            None
        }
        Some(version) => Some(Platform::parse(version, args.platform_version.as_deref())?),
    };
    if let Some(platform) = platform.filter(|platform| platform.is_undecided()) {
        anyhow::bail!(
            "whether Kubernetes {platform} may choose its endpoint type depends on the EKS platform version: pass \
             --platform-version, which `aws eks describe-cluster` prints"
        );
    }
    let mut settings = if args.eks {
        webhook::documented_for_eks(platform)
    } else {
        Settings {
            platform,
            ..Settings::default()
        }
    };
    if args.compat == Some(Compat::Upstream) {
        settings = settings.upstream();
    }
    if let Some(regional) = args.sts_regional_endpoint {
        settings.flag = Some(EndpointType::from_regional(regional));
    }
    if let Some(value) = args.global_endpoint_value {
        settings.global_value = value;
    }
    if let Some(prefix) = &args.annotation_prefix {
        settings.annotation_prefix = prefix.as_str().into();
    }
    settings.region = args.region.as_deref().map(Into::into);
    Ok(settings)
}

fn table(output: &Output, report: &Report, documents: &[Document], region: bool) -> anyhow::Result<()> {
    let mut to = io::BufWriter::new(output.stdout());
    let mut table = Table::new(&[
        "NAMESPACE",
        "WORKLOAD",
        "SERVICEACCOUNT",
        "TYPE",
        "CHOSEN BY",
        "ENDPOINT",
    ]);
    let mut plain = 0;
    for workload in &report.workloads {
        if workload.choice.is_none() && workload.findings.is_empty() {
            plain += 1;
            continue;
        }
        let mut hosts: Vec<String> = workload
            .answers
            .iter()
            .map(|(_, answers)| answers.summary())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        table.row([
            workload.namespace.clone(),
            workload.title.clone(),
            workload.service_account.clone(),
            workload
                .choice
                .map_or("-".to_owned(), |choice| choice.endpoint.to_string()),
            workload
                .choice
                .map_or("-".to_owned(), |choice| choice.source.to_string()),
            if region && !hosts.is_empty() {
                hosts.join("; ")
            } else {
                "-".to_owned()
            },
        ]);
    }
    if !table.is_empty() {
        table.write(&mut to, output.columns())?;
    }
    let mut located: Vec<&Located> = report.all().collect();
    located.sort_by_key(|located| {
        (
            std::cmp::Reverse(located.finding.severity()),
            located.document,
            located.line,
        )
    });
    for located in &located {
        let document = &documents[located.document];
        let finding = &located.finding;
        let word = match finding.severity() {
            Severity::Error => format!("{}", "error".red().bold()),
            Severity::Warning => format!("{}", "warning".yellow().bold()),
            Severity::Info => format!("{}", "info".cyan().bold()),
        };
        writeln!(
            to,
            "\n{word} {}: {}:{}: {}",
            finding.id(),
            document.file,
            located.line,
            document.title()
        )?;
        let container = match &finding.container {
            Some(container) => format!("container {container}: "),
            None => String::new(),
        };
        writeln!(to, "  {container}{}", finding.message())?;
        writeln!(to, "  {} {}", "cure:".cyan(), finding.cure(CureFor::Manifests))?;
    }
    let count = |severity| {
        located
            .iter()
            .filter(|located| located.finding.severity() == severity)
            .count()
    };
    writeln!(
        to,
        "\n{}, {}: {}, {}, {} for information{}",
        counted(report.service_accounts, "service account"),
        counted(report.workloads.len(), "workload"),
        counted(count(Severity::Error), "error"),
        counted(count(Severity::Warning), "warning"),
        count(Severity::Info),
        if plain > 0 {
            format!("; {} without anything of AWS", counted(plain, "workload"))
        } else {
            String::new()
        }
    )?;
    to.flush()?;
    if !region {
        output.note("note: no --region is given, so where SDKs would call is not predicted")?;
    }
    Ok(())
}

fn yaml(output: &Output, report: &Report) -> anyhow::Result<()> {
    let mut to = io::BufWriter::new(output.stdout());
    for workload in &report.workloads {
        writeln!(to, "---\n# {}/{}", workload.namespace, workload.title)?;
        if let Some(why) = workload.unchanged {
            writeln!(to, "# unchanged: {why}")?;
        }
        to.write_all(
            serde_saphyr::to_string(&workload.pod)
                .context("writing YAML")?
                .as_bytes(),
        )?;
    }
    to.flush()?;
    Ok(())
}

/// Escapes what has a meaning in GitHub's workflow commands.
fn escaped(text: &str, property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if property {
        text.replace(':', "%3A").replace(',', "%2C")
    } else {
        text
    }
}

fn github(output: &Output, report: &Report, documents: &[Document]) -> anyhow::Result<()> {
    let mut to = io::BufWriter::new(output.stdout());
    for located in report.all() {
        let document = &documents[located.document];
        let finding = &located.finding;
        let command = match finding.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let container = match &finding.container {
            Some(container) => format!("container {container}: "),
            None => String::new(),
        };
        writeln!(
            to,
            "::{command} file={},line={},title={}::{}",
            escaped(&document.file, true),
            located.line,
            escaped(&format!("irsa {}", finding.id()), true),
            escaped(
                &format!(
                    "{}: {container}{}. Cure: {}.",
                    document.title(),
                    finding.message(),
                    finding.cure(CureFor::Manifests)
                ),
                false
            )
        )?;
    }
    to.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_commands_are_escaped() {
        assert_eq!(escaped("50%: a,b\nc", true), "50%25%3A a%2Cb%0Ac");
        assert_eq!(escaped("a: b, c", false), "a: b, c");
    }
}
