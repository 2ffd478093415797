//! `irsa status`: which endpoint everything really uses.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::Scope;
use irsa_fleet::effective::Families;
use irsa_fleet::finding::{FailOn, Finding, Id, Severity};
use irsa_fleet::report::{API_VERSION, ClusterReport, StatusReport};
use irsa_fleet::status::{self, AccountRow, Options, Status, Summary};
use owo_colors::OwoColorize as _;

use crate::commands::fleet::{self, ConnectArgs, KnowledgeArgs, NamespaceArgs, counted};
use crate::exit;
use crate::output::Output;
use crate::table::Table;

/// Show which STS endpoint service accounts chose and their pods really use
///
/// One row for each service account that has something to do with AWS: what it chose and who decided that, what its
/// pods carry in AWS_STS_REGIONAL_ENDPOINTS, and which host the SDKs in them therefore call. Below it what is wrong,
/// with a cure. Pods are read page by page: memory does not grow with the size of the cluster.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa status -A                                 everything in the cluster
  irsa status -n kube-system aws-node            one service account
  irsa status -n kube-system -l k8s-app=aws-node --pods
                                                 the pods with a label, one by one
  irsa status -A --sdk boto3@1.39,js-v2          what these SDKs do
  irsa status -A --finding uses-global -o name   whatever still calls the global endpoint
  irsa status --all-contexts --fail-on error     for CI: exit code 1 if something is broken
  irsa status -A -o json | jq '.clusters[].summary'

Exit codes: 0 nothing found at or above --fail-on; 1 something found; 2 could not look.")]
pub(crate) struct Args {
    /// Service accounts; else all
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    namespace: NamespaceArgs,

    /// Select pods by labels, as kubectl does
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// Show pods one by one
    #[arg(long)]
    pods: bool,

    /// Show only what has one of these findings
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    finding: Vec<Id>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    format: Format,

    /// When to answer with exit code 1: error, warning, info, never, or ids of findings
    #[arg(long, value_name = "SEVERITY|ID,…", default_value = "never")]
    fail_on: FailOn,

    /// Look again every few seconds until interrupted
    #[arg(
        short = 'w',
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        default_missing_value = "5s",
        require_equals = true,
        value_parser = irsa_core::duration::parse
    )]
    watch: Option<Duration>,

    /// Objects asked for at a time
    #[arg(long, value_name = "N", default_value_t = irsa_fleet::pages::PAGE, hide = true)]
    chunk_size: usize,

    #[command(flatten)]
    knowledge: KnowledgeArgs,

    /// Path of the kubeconfig
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<std::path::PathBuf>,

    /// Kubeconfig contexts, separated by commas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Cluster")]
    context: Vec<String>,

    /// All contexts of the kubeconfig
    #[arg(long, conflicts_with = "context", help_heading = "Cluster")]
    all_contexts: bool,

    /// How long to wait for an answer of the API server, such as 30s or 1m
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = irsa_core::duration::parse,
        help_heading = "Cluster"
    )]
    request_timeout: Duration,
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns
    #[default]
    Table,
    /// More columns, and every finding
    Wide,
    /// A JSON document (docs/schema/status.json)
    Json,
    /// The same as YAML
    Yaml,
    /// Only names
    Name,
}

pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let connect = ConnectArgs {
        kubeconfig: args.kubeconfig.clone(),
        context: None,
        request_timeout: args.request_timeout,
    };
    let contexts = fleet::contexts(&connect, &args.context, args.all_contexts)?;
    let several = contexts.len() > 1;
    loop {
        let read = contexts.iter().map(|context| {
            let connect = ConnectArgs {
                context: context.clone(),
                ..connect.clone()
            };
            async move {
                let title = context.clone().unwrap_or_default();
                read(&connect, args).await.map_err(|error| (title, error))
            }
        });
        let mut clusters = futures::future::join_all(read).await;
        if !several {
            // One cluster that cannot be read is the command's own failure.
            match clusters.pop() {
                Some(Err((_, error))) => return Err(error),
                Some(Ok(status)) => clusters.push(Ok(status)),
                None => {}
            }
        }
        if args.watch.is_some() && output.is_terminal() && args.format != Format::Json {
            // Clears the screen and goes to its first line.
            write!(output.stdout(), "\x1b[2J\x1b[H")?;
        }
        let code = show(args, output, &clusters)?;
        let Some(pause) = args.watch else { return Ok(code) };
        tokio::time::sleep(pause.max(Duration::from_secs(1))).await;
    }
}

async fn read(connect: &ConnectArgs, args: &Args) -> anyhow::Result<Status> {
    let cluster: Cluster = connect.connect().await?;
    let options = Options {
        scope: Scope {
            namespace: args.namespace.resolve(&cluster),
            labels: args.selector.clone(),
            page: Some(args.chunk_size.max(1)),
        },
        families: Families::new(args.knowledge.sdk.clone()),
        pods: args.pods,
        accounts: args.names.iter().map(|name| bare_name(name).to_owned()).collect(),
    };
    let mut status = status::status(&cluster, &options, &args.knowledge.overrides()).await?;
    if !args.finding.is_empty() {
        status.accounts.retain(|_, row| {
            row.findings
                .keys()
                .any(|finding| args.finding.contains(&finding.id))
        });
        status.pod_rows.retain(|row| {
            row.findings
                .iter()
                .any(|finding| args.finding.contains(&finding.id))
        });
    }
    Ok(status)
}

/// `serviceaccount/aws-node`, as kubectl prints names, means `aws-node`.
pub(crate) fn bare_name(name: &str) -> &str {
    ["serviceaccount/", "serviceaccounts/", "sa/"]
        .into_iter()
        .find_map(|kind| name.strip_prefix(kind))
        .unwrap_or(name)
}

type Read = Result<Status, (String, anyhow::Error)>;

fn show(args: &Args, output: &Output, clusters: &[Read]) -> anyhow::Result<ExitCode> {
    match args.format {
        Format::Json | Format::Yaml => {
            let report = StatusReport {
                api_version: API_VERSION,
                kind: "Status",
                clusters: clusters
                    .iter()
                    .map(|read| match read {
                        Ok(status) => ClusterReport::of(status),
                        Err((context, error)) => ClusterReport::failed(context, "", format!("{error:#}")),
                    })
                    .collect(),
            };
            fleet::document(output, &report, args.format == Format::Yaml)?;
        }
        Format::Name => {
            let mut to = io::BufWriter::new(output.stdout());
            for status in clusters.iter().flatten() {
                if args.pods {
                    for row in &status.pod_rows {
                        write_name(&mut to, args, "pod", &row.namespace, &row.name)?;
                    }
                } else {
                    for (namespace, name) in status.accounts.keys() {
                        write_name(&mut to, args, "serviceaccount", namespace, name)?;
                    }
                }
            }
            to.flush()?;
        }
        Format::Table | Format::Wide => {
            for (index, read) in clusters.iter().enumerate() {
                if index > 0 {
                    output.out("")?;
                }
                if let Ok(status) = read {
                    table(args, output, status)?;
                }
            }
        }
    }
    let mut unreadable = false;
    for read in clusters {
        match read {
            Err((context, error)) => {
                unreadable = true;
                output.note(format_args!("context {context}: {error:#}"))?;
            }
            Ok(status) => {
                for note in &status.directory.notes {
                    output.note(format_args!("note: {note}"))?;
                }
            }
        }
    }
    if unreadable {
        return Ok(ExitCode::from(exit::FAILED));
    }
    let caught = clusters
        .iter()
        .flatten()
        .flat_map(Status::all_findings)
        .any(|finding| args.fail_on.catches(finding.id, finding.severity));
    Ok(if caught { exit::no() } else { ExitCode::SUCCESS })
}

/// With `-A` the form that `irsa set --file -` reads; else the form that kubectl prints.
fn write_name(to: &mut impl Write, args: &Args, kind: &str, namespace: &str, name: &str) -> io::Result<()> {
    if args.namespace.all_namespaces {
        writeln!(to, "{namespace}/{name}")
    } else {
        writeln!(to, "{kind}/{name}")
    }
}

fn table(args: &Args, output: &Output, status: &Status) -> anyhow::Result<()> {
    let wide = args.format == Format::Wide;
    let summary = status.summary();
    let mut to = io::BufWriter::new(output.stdout());
    head(&mut to, status, &summary)?;
    writeln!(to)?;
    let all = args.namespace.all_namespaces;
    let mut headings = Vec::new();
    if all {
        headings.push("NAMESPACE");
    }
    if args.pods {
        headings.extend(["POD", "SERVICEACCOUNT", "CARRIES", "ENDPOINT", "STALE"]);
        if wide {
            headings.push("REGION");
        }
        headings.push("FINDINGS");
        let mut table = Table::new(&headings);
        for row in &status.pod_rows {
            let mut cells = Vec::new();
            if all {
                cells.push(row.namespace.to_string());
            }
            let carries: Vec<&str> = row.carries.iter().map(|carried| carried.shown()).collect();
            cells.extend([
                row.name.to_string(),
                row.service_account.to_string(),
                if carries.is_empty() {
                    "-".to_owned()
                } else {
                    carries.join(",")
                },
                short_endpoint(&row.endpoint(), wide),
                if row.stale { "yes" } else { "no" }.to_owned(),
            ]);
            if wide {
                cells.push(row.region.as_deref().unwrap_or_default().to_owned());
            }
            cells.push(ids(row.findings.iter(), wide));
            table.row(cells);
        }
        write_or_say(&mut to, &table, "no pod has an identity here")?;
    } else {
        headings.extend([
            "SERVICEACCOUNT",
            "TYPE",
            "CHOSEN BY",
            "PODS",
            "STALE",
            "CARRIES",
            "ENDPOINT",
        ]);
        if wide {
            headings.extend(["REGION", "ROLE"]);
        }
        headings.push("FINDINGS");
        let mut table = Table::new(&headings);
        for ((namespace, name), row) in &status.accounts {
            let choice = status.choice(namespace, name);
            let mut cells = Vec::new();
            if all {
                cells.push(namespace.to_string());
            }
            cells.extend([
                name.to_string(),
                choice.map_or("-".to_owned(), |choice| choice.endpoint.to_string()),
                choice.map_or("-".to_owned(), |choice| choice.source.to_string()),
                row.pods.to_string(),
                (row.stale).to_string(),
                carries(row),
                short_endpoint(&row.endpoint(), wide),
            ]);
            if wide {
                cells.push(
                    row.regions
                        .iter()
                        .map(|region| region.to_string())
                        .collect::<Vec<_>>()
                        .join(","),
                );
                cells.push(status.role(namespace, name).unwrap_or_default());
            }
            cells.push(ids(row.findings.keys(), wide));
            table.row(cells);
        }
        write_or_say(
            &mut to,
            &table,
            "no service account here has a role, and no pod an identity",
        )?;
    }
    details(&mut to, status, wide)?;
    to.flush()?;
    Ok(())
}

fn write_or_say(to: &mut impl Write, table: &Table, nothing: &str) -> io::Result<()> {
    if table.is_empty() {
        writeln!(to, "{nothing}")
    } else {
        table.write(to)
    }
}

fn head(to: &mut impl Write, status: &Status, summary: &Summary) -> io::Result<()> {
    let webhooks = &status.directory.webhooks;
    let webhook = match webhooks.installed.first() {
        Some(first) => {
            let ready = webhooks.ready.map_or(String::new(), |ready| {
                format!(", {} of {} ready", ready.ready, ready.total)
            });
            format!("webhook {} ({}{ready})", first.configuration, first.flavor)
        }
        None if webhooks.unreadable.is_some() => "webhook unknown".to_owned(),
        None => "no webhook".to_owned(),
    };
    writeln!(
        to,
        "{} {} ({}), Kubernetes {}, {webhook}",
        "Cluster".bold(),
        status.context,
        status.server,
        status.directory.version.git_version,
    )?;
    writeln!(
        to,
        "{}, {} with a role: {} regional, {} global",
        counted(summary.service_accounts, "service account"),
        summary.with_role,
        summary.regional,
        summary.global
    )?;
    let carried: Vec<String> = summary
        .carries
        .iter()
        .map(|(carried, count)| match carried {
            status::Carried::Nothing => format!("{count} without the variable"),
            status::Carried::Reference => format!("{count} from elsewhere"),
            status::Carried::Value(_) => format!("{count} {}", carried.shown()),
        })
        .collect();
    writeln!(
        to,
        "{}, {} with an identity{}{}; {} stale, {} without the identity that they should have",
        counted(summary.pods, "pod"),
        summary.pods_with_identity,
        if carried.is_empty() { "" } else { "; containers: " },
        carried.join(", "),
        summary.stale,
        summary.unmutated
    )
}

fn carries(row: &AccountRow) -> String {
    match row.carries.len() {
        0 => "-".to_owned(),
        1 => row
            .carries
            .keys()
            .map(|carried| carried.shown().to_owned())
            .collect(),
        _ => row
            .carries
            .iter()
            .map(|(carried, count)| format!("{}:{count}", carried.shown()))
            .collect::<Vec<_>>()
            .join(","),
    }
}

/// The widest cell: several hosts are shown in full only with `-o wide`.
fn short_endpoint(endpoint: &str, wide: bool) -> String {
    if endpoint.is_empty() {
        return "-".to_owned();
    }
    if wide || !endpoint.contains(" SDKs)") {
        return endpoint.to_owned();
    }
    let mut hosts: Vec<&str> = endpoint
        .split([',', ';'])
        .filter_map(|part| part.split_whitespace().next())
        .collect();
    hosts.dedup();
    format!("by SDK: {}", hosts.join(" | "))
}

fn ids<'a>(findings: impl Iterator<Item = &'a Finding>, wide: bool) -> String {
    let mut ids: Vec<&str> = findings
        .filter(|finding| wide || finding.severity > Severity::Info)
        .map(|finding| finding.id.as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        "-".to_owned()
    } else {
        ids.join(",")
    }
}

/// What one sentence is about.
#[derive(Default)]
struct About {
    accounts: Vec<String>,
    pods: usize,
    first: Option<Finding>,
    others: usize,
}

/// The findings below the table: one paragraph for each id, or with `-o wide` for each sentence.
fn details(to: &mut impl Write, status: &Status, wide: bool) -> io::Result<()> {
    let mut grouped: BTreeMap<(std::cmp::Reverse<Severity>, Id, Option<String>), About> = BTreeMap::new();
    let mut infos = 0;
    let of_cluster = status.findings.iter().map(|finding| (String::new(), finding, 0));
    let of_accounts = status.accounts.iter().flat_map(|((namespace, name), row)| {
        row.findings
            .iter()
            .map(move |(finding, tally)| (format!("{namespace}/{name}"), finding, tally.pods))
    });
    for (account, finding, pods) in of_cluster.chain(of_accounts) {
        if finding.severity == Severity::Info && !wide {
            infos += 1;
            continue;
        }
        let sentence = wide.then(|| finding.message.clone());
        let about = grouped
            .entry((std::cmp::Reverse(finding.severity), finding.id, sentence))
            .or_default();
        about.pods += pods;
        if !account.is_empty() && !about.accounts.contains(&account) {
            about.accounts.push(account);
        }
        match &about.first {
            None => about.first = Some(finding.clone()),
            Some(first) if first.message != finding.message => about.others += 1,
            Some(_) => {}
        }
    }
    for ((severity, id, _), about) in &grouped {
        let Some(first) = &about.first else { continue };
        let word = match severity.0 {
            Severity::Error => format!("{}", "error".red().bold()),
            Severity::Warning => format!("{}", "warning".yellow().bold()),
            Severity::Info => format!("{}", "info".cyan().bold()),
        };
        let mut about_whom = Vec::new();
        if about.pods > 0 {
            about_whom.push(counted(about.pods, "pod"));
        }
        match about.accounts.as_slice() {
            [] => about_whom.push("the cluster".to_owned()),
            few @ ([_] | [_, _] | [_, _, _]) => about_whom.push(few.join(", ")),
            [a, b, rest @ ..] => {
                about_whom.push(format!("{a}, {b} and {} more service accounts", rest.len()))
            }
        }
        writeln!(to, "\n{word} {id}: {}", about_whom.join(" of "))?;
        let container = match &first.container {
            Some(container) => format!("container {container}: "),
            None => String::new(),
        };
        writeln!(to, "  {container}{}", first.message)?;
        if about.others > 0 {
            writeln!(to, "  (and {} like it; -o wide shows them)", about.others)?;
        }
        writeln!(to, "  {} {}", "cure:".cyan(), first.cure)?;
    }
    if infos > 0 {
        writeln!(
            to,
            "\n{} worth knowing: -o wide shows them",
            counted(infos, "thing")
        )?;
    }
    Ok(())
}
