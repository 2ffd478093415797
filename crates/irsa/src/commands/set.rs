//! `irsa set`: choose another endpoint type, safely.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use irsa_fleet::apply::{self, ApplyError, Options, Undo};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::Scope;
use irsa_fleet::effective::Families;
use irsa_fleet::plan::{self, Change, Plan, Selection, Wish};
use irsa_fleet::report::{API_VERSION, ChangeReport, SetReport};
use owo_colors::OwoColorize as _;

use crate::commands::fleet::{self, ConnectArgs, KnowledgeArgs, NamespaceArgs, counted};
use crate::commands::status::bare_name;
use crate::exit;
use crate::output::Output;

/// Choose the STS endpoint type of service accounts
///
/// Shows what would change: annotations before and after, pods that would have to be recreated, and where their SDKs
/// would call then. Asks, and writes the annotation by server-side apply with the field manager `irsa`, so that an
/// annotation that Helm, Argo CD or another tool manages is not overwritten by accident. Pods that run already keep
/// what they have until they are recreated: `irsa rollout` does that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa set regional -n kube-system aws-node      one service account
  irsa set regional -A                           every service account that has a role
  irsa set global -n shop -l team=payments       those with a label
  irsa set default -n shop checkout              no choice of its own any more
  irsa status -A --finding uses-global -o name | irsa set regional --file - --yes
  irsa set regional -A --dry-run=server          the server goes through it and keeps nothing
  irsa set --undo irsa-undo-20261124T093000Z.json

Exit codes: 0 done, or nothing to do; 1 some service accounts were not written; 2 could not do it.")]
pub(crate) struct Args {
    /// What to choose
    #[arg(value_enum, value_name = "TYPE", required_unless_present = "undo")]
    wish: Option<Choice>,

    /// Service accounts: NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    namespace: NamespaceArgs,

    /// Select service accounts by labels, as kubectl does
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
    selector: Option<String>,

    /// Every service account of the namespace that has a role
    #[arg(long, conflicts_with_all = ["names", "selector"])]
    all: bool,

    /// File with a service account a line (NAME or NAMESPACE/NAME); - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "selector", "all"])]
    file: Option<PathBuf>,

    /// Set back what an undo file says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wish", "names", "selector", "all", "file"])]
    undo: Option<PathBuf>,

    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,

    /// Show what would happen: only the plan, or let the server go through it
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        num_args = 0..=1,
        default_value_t,
        default_missing_value = "client",
        require_equals = true
    )]
    dry_run: DryRun,

    /// Take the annotation over from the tool that manages it
    #[arg(long)]
    force_conflicts: bool,

    /// Where to write the undo file; irsa-undo-TIME.json if not given
    #[arg(long, value_name = "FILE")]
    undo_file: Option<PathBuf>,

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// sts.REGION.amazonaws.com
    Regional,
    /// sts.amazonaws.com
    Global,
    /// What the namespace, the webhook or the platform says
    Default,
}

impl From<Choice> for Wish {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Regional => Self::Regional,
            Choice::Global => Self::Global,
            Choice::Default => Self::Default,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum DryRun {
    /// Do it
    #[default]
    None,
    /// Only the plan
    Client,
    /// Let the server go through it without keeping anything
    Server,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text
    #[default]
    Text,
    /// A JSON document (docs/schema/set.json)
    Json,
    /// The same as YAML
    Yaml,
}

pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let cluster = args.connect.connect().await?;
    let scope = Scope {
        namespace: args.namespace.resolve(&cluster),
        labels: args.selector.clone(),
        page: None,
    };
    let (selection, scope) = select(args, &cluster, scope)?;
    let plan = plan::plan(
        &cluster,
        &scope,
        &selection,
        &Families::new(args.knowledge.sdk.clone()),
        &args.knowledge.overrides(),
    )
    .await?;
    for note in &plan.directory.notes {
        output.note(format_args!("note: {note}"))?;
    }
    let mut results: BTreeMap<String, Result<(), ApplyError>> = BTreeMap::new();
    let mut undo_file = None;
    let changing = plan.to_apply().count();
    let text = args.format == Format::Text;
    if text {
        show(output, &plan)?;
    }
    for missing in &plan.missing {
        output.note(format_args!("service account {missing} does not exist"))?;
    }
    if plan.changes.is_empty() && plan.missing.is_empty() {
        bail!(
            "no service account was selected: name one, or use -l, --all or -A; -A and --all take those that have a role"
        );
    }
    if changing > 0 && args.dry_run != DryRun::Client {
        let blocked: Vec<&Change> = plan
            .to_apply()
            .filter(|change| !change.foreign_managers.is_empty())
            .collect();
        if !blocked.is_empty() && !args.force_conflicts {
            for change in &blocked {
                output.note(format_args!(
                    "{}: the annotation is managed by {}",
                    change.title(),
                    change.foreign_managers.join(", ")
                ))?;
            }
            bail!(
                "{} would be overwritten, or overwrite this again: change it where it is managed, or take it over with \
                 --force-conflicts; nothing was changed",
                counted(blocked.len(), "annotation")
            );
        }
        if args.dry_run == DryRun::None {
            if !confirmed(args, output, changing)? {
                output.note("nothing was changed")?;
                return Ok(exit::no());
            }
            undo_file = Some(write_undo(args, &plan)?);
        }
        results = write(args, &cluster, &plan).await;
    }
    report(args, output, &plan, &results, undo_file.as_deref())?;
    let failed = results.values().any(Result::is_err);
    Ok(if failed || !plan.missing.is_empty() {
        exit::no()
    } else {
        ExitCode::SUCCESS
    })
}

fn select(args: &Args, cluster: &Cluster, scope: Scope) -> anyhow::Result<(Selection, Scope)> {
    if let Some(path) = &args.undo {
        let text = read(path)?;
        let undo = Undo::parse(&text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
        anyhow::ensure!(
            undo.server == cluster.server(),
            "{} was written for the cluster {} (context {}), this is {}: choose it with --context",
            path.display(),
            undo.server,
            undo.context,
            cluster.server()
        );
        let named: BTreeMap<(String, String), Wish> = undo.wishes().collect();
        return Ok((Selection::Named(named), whole(scope)));
    }
    let wish: Wish = args
        .wish
        .context("say what to choose: regional, global or default")?
        .into();
    let names = match &args.file {
        Some(path) => read(path)?
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect(),
        None => args.names.clone(),
    };
    if names.is_empty() {
        if args.file.is_some() {
            bail!("the file names no service account");
        }
        if args.selector.is_none() && !args.all && !args.namespace.all_namespaces {
            bail!("name service accounts, or select them with -l, --all or -A");
        }
        return Ok((Selection::All(wish), scope));
    }
    let here = scope
        .namespace
        .clone()
        .unwrap_or_else(|| cluster.namespace().to_owned());
    let mut named = BTreeMap::new();
    for name in &names {
        let name = bare_name(name);
        let key = match name.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (here.clone(), name.to_owned()),
        };
        anyhow::ensure!(
            !key.0.is_empty() && !key.1.is_empty() && !key.1.contains('/'),
            "`{name}` names no service account: use NAME or NAMESPACE/NAME"
        );
        named.insert(key, wish.clone());
    }
    let elsewhere = named.keys().any(|(namespace, _)| *namespace != here);
    Ok((
        Selection::Named(named),
        if elsewhere {
            whole(scope)
        } else {
            Scope {
                namespace: Some(here),
                ..scope
            }
        },
    ))
}

fn whole(scope: Scope) -> Scope {
    Scope {
        namespace: None,
        ..scope
    }
}

pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        io::stdin()
            .lock()
            .take(16 << 20)
            .read_to_string(&mut text)
            .context("reading standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    }
    Ok(text)
}

fn shown(annotation: Option<&str>) -> String {
    annotation.map_or("none".to_owned(), |value| format!("\"{value}\""))
}

fn show(output: &Output, plan: &Plan) -> anyhow::Result<()> {
    let mut to = io::BufWriter::new(output.stdout());
    for change in plan.to_apply() {
        writeln!(to, "{}", change.title().bold())?;
        writeln!(
            to,
            "  {}: {} -> {}",
            plan.annotation,
            shown(change.before.as_deref()),
            shown(change.after.as_deref())
        )?;
        let choice = |choice: Option<irsa_core::endpoint::Choice>| {
            choice.map_or("no role".to_owned(), |choice| {
                format!("{} ({})", choice.endpoint, choice.source)
            })
        };
        let (before, after) = (choice(change.choice_before), choice(change.choice_after));
        if before == after {
            writeln!(to, "  type: {before}, as before")?;
        } else {
            writeln!(to, "  type: {before} -> {after}")?;
        }
        let stale: usize = change.recreate.values().sum();
        if change.recreate.is_empty() {
            writeln!(to, "  pods: {} to recreate of {}", stale, change.pods)?;
        } else {
            let workloads: Vec<String> = change
                .recreate
                .iter()
                .map(|(workload, pods)| format!("{workload} ({pods})"))
                .collect();
            writeln!(
                to,
                "  pods: {stale} to recreate of {}: {}",
                change.pods,
                workloads.join(", ")
            )?;
        }
        for moved in change.moves.keys() {
            writeln!(
                to,
                "  calls: {} -> {} for {}",
                moved.from,
                moved.to,
                some_of(&moved.sdks)
            )?;
        }
        for consequence in &change.consequences {
            writeln!(to, "  {} {consequence}", "note:".yellow())?;
        }
    }
    let unchanged = plan.changes.iter().filter(|change| change.is_noop()).count();
    if unchanged > 0 {
        writeln!(
            to,
            "{} as wished already",
            if unchanged == 1 {
                "1 service account is".to_owned()
            } else {
                format!("{unchanged} service accounts are")
            }
        )?;
    }
    to.flush()?;
    Ok(())
}

/// All of a few names, or the first of many.
fn some_of(names: &[String]) -> String {
    match names {
        [a, b, c, d, rest @ ..] if rest.len() > 1 => {
            format!("{a}, {b}, {c}, {d} and {} more SDKs", rest.len())
        }
        few => few.join(", "),
    }
}

fn confirmed(args: &Args, output: &Output, changing: usize) -> anyhow::Result<bool> {
    if args.yes {
        return Ok(true);
    }
    ask(
        output,
        &format!("Change {}?", counted(changing, "service account")),
        "nothing was changed",
    )
}

/// Asks a question that is answered with y or n; only `y` and `yes` mean yes.
pub(crate) fn ask(output: &Output, question: &str, otherwise: &str) -> anyhow::Result<bool> {
    if !output.is_interactive() {
        bail!("there is no terminal to ask at: give --yes to go on without asking; {otherwise}");
    }
    {
        let mut to = output.stderr();
        write!(to, "{question} [y/N] ")?;
        to.flush()?;
    }
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn write_undo(args: &Args, plan: &Plan) -> anyhow::Result<PathBuf> {
    let path = args.undo_file.clone().unwrap_or_else(|| {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        PathBuf::from(format!("irsa-undo-{now}.json"))
    });
    let text = serde_json::to_string_pretty(&Undo::of(plan))? + "\n";
    // Never over another undo file: that one may be the only way back.
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("writing the undo file {} (nothing was changed)", path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing the undo file {} (nothing was changed)", path.display()))?;
    Ok(path)
}

async fn write(args: &Args, cluster: &Cluster, plan: &Plan) -> BTreeMap<String, Result<(), ApplyError>> {
    use futures::StreamExt as _;
    let options = Options {
        dry_run: args.dry_run == DryRun::Server,
        force: args.force_conflicts,
    };
    futures::stream::iter(plan.to_apply())
        .map(|change| async move { (change.title(), apply::apply(cluster, plan, change, options).await) })
        .buffer_unordered(8)
        .collect()
        .await
}

fn report(
    args: &Args,
    output: &Output,
    plan: &Plan,
    results: &BTreeMap<String, Result<(), ApplyError>>,
    undo_file: Option<&Path>,
) -> anyhow::Result<()> {
    if args.format != Format::Text {
        let changes = plan
            .changes
            .iter()
            .map(|change| {
                let mut report = ChangeReport::planned(change);
                match results.get(&change.title()) {
                    Some(Ok(())) => report.result = "changed",
                    Some(Err(error)) => {
                        report.result = match error {
                            ApplyError::Conflict { .. } | ApplyError::Changed => "conflict",
                            ApplyError::Request(_) => "failed",
                        };
                        report.error = Some(error.to_string());
                    }
                    None => {}
                }
                report
            })
            .collect();
        let report = SetReport {
            api_version: API_VERSION,
            kind: "Set",
            context: plan.context.clone(),
            server: plan.server.clone(),
            dry_run: match args.dry_run {
                DryRun::None => "none",
                DryRun::Client => "client",
                DryRun::Server => "server",
            },
            annotation: plan.annotation.clone(),
            undo_file: undo_file.map(|path| path.display().to_string()),
            changes,
            missing: plan.missing.clone(),
        };
        return fleet::document(output, &report, args.format == Format::Yaml);
    }
    let suffix = match args.dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let mut done = 0;
    for (title, result) in results {
        match result {
            Ok(()) => {
                done += 1;
                output.out(format_args!("serviceaccount {title} changed{suffix}"))?;
            }
            Err(error) => output.note(format_args!("{title}: {error}"))?,
        }
    }
    if args.dry_run == DryRun::Client && plan.to_apply().next().is_some() {
        output.note("nothing was changed: this was a dry run")?;
    }
    if let Some(path) = undo_file {
        output.note(format_args!(
            "to set everything back: irsa set --undo {}",
            path.display()
        ))?;
    }
    let stale = plan.to_apply().any(|change| !change.recreate.is_empty());
    if done > 0 && stale && args.dry_run == DryRun::None {
        let scope = if args.namespace.all_namespaces {
            "-A".to_owned()
        } else {
            let mut namespaces: Vec<&str> = plan.to_apply().map(|change| change.namespace.as_str()).collect();
            namespaces.dedup();
            match namespaces.as_slice() {
                [one] => format!("-n {one}"),
                _ => "-A".to_owned(),
            }
        };
        output.note(format_args!(
            "pods that run already keep what they have; to recreate them: irsa rollout {scope}"
        ))?;
    }
    Ok(())
}
