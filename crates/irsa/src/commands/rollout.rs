//! `irsa rollout`: make pods anew that do not carry what was chosen, and prove that the new ones do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use irsa_fleet::apply::{self, Undo};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::Scope;
use irsa_fleet::effective::Families;
use irsa_fleet::plan::{self, Selection, Wish};
use irsa_fleet::report::{API_VERSION, RolloutReport, TargetReport};
use irsa_fleet::rollout::{self, Event, Observer, Outcome, Proof, Rollout, RunOptions};
use irsa_fleet::workload::{Way, Ways, WorkloadRef};
use owo_colors::OwoColorize as _;

use crate::commands::fleet::{self, ConnectArgs, KnowledgeArgs, NamespaceArgs, counted};
use crate::commands::set::{ask, read};
use crate::commands::status::bare_name;
use crate::exit;
use crate::output::Output;
use crate::table::Table;

/// Recreate pods that do not carry what their service account chose, and verify the new ones
///
/// Finds the pods that recreating would change and the workloads that make them. Deployments, DaemonSets and
/// StatefulSets are restarted as kubectl does it; pods of workloads that an operator or a GitOps tool keeps, or that do
/// not roll by themselves, are evicted one by one, so that disruption budgets are respected; what cannot be made anew
/// is named with the reason. Before anything is touched, a server-side dry run of each workload's own pod shows that the
/// webhook would write what was chosen. Each workload is awaited and its new pods are looked into; the first failure
/// stops everything after it. Interrupted and run again, it goes on with what is left.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa rollout -n kube-system -l k8s-app=aws-node
  irsa rollout -n shop checkout payments         pods of these service accounts
  irsa rollout -A --max-parallel 4 --yes
  irsa rollout -A --dry-run=server               prove with dry-run pods, restart nothing
  irsa rollout --undo irsa-undo-20261124T093000Z.json
                                                 set the annotations back, and roll their pods

Exit codes: 0 every new pod verified, or nothing to do; 1 something failed or was not verified; 2 could not do it.")]
pub(crate) struct Args {
    /// Service accounts; else all
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    namespace: NamespaceArgs,

    /// Select pods by labels, as kubectl does
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,

    /// Show what would happen: only the plan, or also the proof by dry-run pods
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

    /// Workloads of one namespace that roll at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    max_parallel: u16,

    /// How long one workload may take, such as 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = irsa_core::duration::parse)]
    timeout: Duration,

    /// Delete pods that no controller makes, and create them again from their own manifest
    #[arg(long)]
    recreate_bare_pods: bool,

    /// Restart also the templates of workloads that an operator or a GitOps tool keeps
    #[arg(long)]
    restart_managed: bool,

    /// Set the annotations back as an undo file of `irsa set` says, then roll the pods concerned
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "selector"])]
    undo: Option<PathBuf>,

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
enum DryRun {
    /// Do it
    #[default]
    None,
    /// Only the plan
    Client,
    /// Prove with dry-run pods, restart nothing
    Server,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text
    #[default]
    Text,
    /// A JSON document (docs/schema/rollout.json)
    Json,
    /// The same as YAML
    Yaml,
}

type Outcomes = BTreeMap<WorkloadRef, Outcome>;

pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let cluster = args.connect.connect().await?;
    let mut options = rollout::Options {
        scope: Scope {
            namespace: args.namespace.resolve(&cluster),
            labels: args.selector.clone(),
            page: None,
        },
        accounts: args
            .names
            .iter()
            .map(|name| match bare_name(name).split_once('/') {
                Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
                None => (String::new(), bare_name(name).to_owned()),
            })
            .collect(),
        ways: Ways {
            recreate_bare_pods: args.recreate_bare_pods,
            restart_managed: args.restart_managed,
        },
    };
    if let Some(path) = &args.undo {
        options.scope.namespace = None;
        options.accounts = set_back(args, output, &cluster, path).await?;
        if options.accounts.is_empty() {
            output.note("the undo file names no service account")?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let rollout = rollout::plan(&cluster, &options, &args.knowledge.overrides()).await?;
    for note in &rollout.directory.notes {
        output.note(format_args!("note: {note}"))?;
    }
    let text = args.format == Format::Text;
    if text {
        show(output, &rollout)?;
    }
    let mut outcomes = Outcomes::new();
    if !rollout.targets.is_empty() {
        match args.dry_run {
            DryRun::Client => {
                if text {
                    output.note("nothing was recreated: this was a dry run")?;
                }
            }
            DryRun::Server => outcomes = prove(output, &cluster, &rollout).await?,
            DryRun::None => {
                let question = format!(
                    "Recreate {} of {}?",
                    counted(rollout.stale(), "pod"),
                    counted(rollout.targets.len(), "workload")
                );
                if !args.yes && args.undo.is_none() && !ask(output, &question, "nothing was recreated")? {
                    output.note("nothing was recreated")?;
                    return Ok(exit::no());
                }
                outcomes = carry_out(args, output, &cluster, &rollout).await?;
            }
        }
    }
    if !text {
        document(args, output, &rollout, &outcomes)?;
    }
    let failed = outcomes
        .values()
        .any(|outcome| !matches!(outcome, Outcome::Verified { .. }));
    Ok(if failed { exit::no() } else { ExitCode::SUCCESS })
}

fn show(output: &Output, rollout: &Rollout) -> anyhow::Result<()> {
    let mut to = io::BufWriter::new(output.stdout());
    if rollout.targets.is_empty() && rollout.left.is_empty() {
        writeln!(
            to,
            "every pod carries what was chosen ({} looked at): nothing to recreate",
            counted(rollout.pods, "pod")
        )?;
    }
    if !rollout.targets.is_empty() {
        let mut table = Table::new(&["NAMESPACE", "WORKLOAD", "STALE PODS", "HOW", "WHY SO"]);
        for target in &rollout.targets {
            let reference = &target.workload.reference;
            let why = match &target.workload.way {
                Way::Evict(why) => *why,
                _ => "-",
            };
            table.row([
                reference.namespace.to_string(),
                reference.to_string(),
                target.stale.len().to_string(),
                target.workload.way.as_str().to_owned(),
                why.to_owned(),
            ]);
        }
        table.write(&mut to)?;
    }
    for target in &rollout.left {
        if let Way::Leave { reason, cure } = &target.workload.way {
            writeln!(
                to,
                "\n{} {} in {} ({}): {reason}\n  {} {cure}",
                "left alone:".yellow(),
                target.workload.reference,
                target.workload.reference.namespace,
                counted(target.stale.len(), "stale pod"),
                "cure:".cyan()
            )?;
        }
    }
    to.flush()?;
    Ok(())
}

async fn prove(output: &Output, cluster: &Cluster, rollout: &Rollout) -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    for target in &rollout.targets {
        let reference = &target.workload.reference;
        match rollout::prove(cluster, &rollout.directory, target).await? {
            Proof::Holds => output.note(format_args!(
                "{}/{reference}: a dry-run pod carries what was chosen",
                reference.namespace
            ))?,
            Proof::Fails(why) => {
                output.note(format_args!("{}/{reference}: {why}", reference.namespace))?;
                outcomes.insert(reference.clone(), Outcome::Failed(why));
            }
        }
    }
    Ok(outcomes)
}

async fn carry_out(
    args: &Args,
    output: &Output,
    cluster: &Cluster,
    rollout: &Rollout,
) -> anyhow::Result<Outcomes> {
    let options = RunOptions {
        max_parallel: usize::from(args.max_parallel),
        timeout: args.timeout,
        poll: poll_interval(),
    };
    let watcher = Watcher::new(output.clone(), rollout);
    let (interrupt, interrupted) = tokio::sync::watch::channel(false);
    let signals = tokio::spawn(async move {
        // The first one ends the waiting and reports; the second, as usual, the process.
        if tokio::signal::ctrl_c().await.is_ok() {
            let _ = interrupt.send(true);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        }
    });
    let started = Instant::now();
    let outcomes: Outcomes = rollout::run(cluster, rollout, options, &watcher, interrupted)
        .await
        .into_iter()
        .collect();
    signals.abort();
    watcher.finish();
    let count = |is: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| is(outcome)).count();
    let verified = count(|outcome| matches!(outcome, Outcome::Verified { .. }));
    let pods: usize = outcomes
        .values()
        .map(|outcome| match outcome {
            Outcome::Verified { pods } => *pods,
            _ => 0,
        })
        .sum();
    let rest = outcomes.len() - verified;
    output.note(format_args!(
        "{verified} of {} verified, {} in {:.0?}",
        counted(outcomes.len(), "workload"),
        counted(pods, "pod"),
        started.elapsed()
    ))?;
    if rest > 0 {
        output.note(format_args!(
            "{rest} not done: look at the reason, then run the same command again; it goes on with what is left"
        ))?;
    }
    Ok(outcomes)
}

/// How often a workload is looked at; shorter in tests, where a workload takes milliseconds.
fn poll_interval() -> Duration {
    std::env::var("IRSA_POLL_INTERVAL_MS")
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or(Duration::from_secs(1), |ms: u64| {
            Duration::from_millis(ms.max(10))
        })
}

/// Shows what happens: bars on a terminal, else a line for each step.
struct Watcher {
    output: Output,
    bars: Option<(MultiProgress, ProgressBar)>,
    started: Mutex<BTreeMap<WorkloadRef, Option<ProgressBar>>>,
}

impl Watcher {
    fn new(output: Output, rollout: &Rollout) -> Self {
        let bars = io::stderr().is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let total = all.add(ProgressBar::new(rollout.targets.len() as u64));
            total.set_style(style(
                "{bar:24} {pos}/{len} workloads, {elapsed} gone, {eta} left",
            ));
            total.tick();
            (all, total)
        });
        Self {
            output,
            bars,
            started: Mutex::default(),
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some((all, _)) => {
                let _ = all.println(text);
            }
            // Whoever reads this is gone if it fails; the rollout itself goes on.
            None => {
                let _ = self.output.note(text);
            }
        }
    }

    fn finish(&self) {
        if let Some((all, total)) = &self.bars {
            total.finish_and_clear();
            let _ = all.clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one falls back to the plain bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Observer for Watcher {
    fn event(&self, workload: &WorkloadRef, event: Event) {
        let title = format!("{}/{workload}", workload.namespace);
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Proving => {
                if let Some((_, total)) = &self.bars {
                    total.set_message(title);
                }
            }
            Event::Started { pods, resumed } => {
                let bar = self.bars.as_ref().map(|(all, total)| {
                    let bar = all.insert_before(total, ProgressBar::new(pods));
                    bar.set_style(style("{bar:24} {pos}/{len} pods {msg}"));
                    bar.set_message(title.clone());
                    bar
                });
                if bar.is_none() {
                    let how = if resumed { "is rolling already" } else { "started" };
                    self.line(&format!("{title}: {how}, {pods} to be new and ready"));
                }
                started.insert(workload.clone(), bar);
            }
            Event::Progress { done, of } => match started.get(workload) {
                Some(Some(bar)) => {
                    bar.set_length(of);
                    bar.set_position(done);
                }
                _ => self.line(&format!("{title}: {done} of {of} new and ready")),
            },
            Event::Waiting { reason } => match started.get(workload) {
                Some(Some(bar)) => bar.set_message(format!("{title}: waits for {reason}")),
                _ => self.line(&format!("{title}: waits for {reason}")),
            },
            Event::Ended(outcome) => {
                if let Some(Some(bar)) = started.get(workload) {
                    bar.finish_and_clear();
                }
                let text = match &outcome {
                    Outcome::Verified { pods } => {
                        format!("{title}: {}, {} verified", "done".green(), counted(*pods, "pod"))
                    }
                    Outcome::Failed(why) => format!("{title}: {}: {why}", "failed".red()),
                    Outcome::Interrupted => {
                        format!("{title}: interrupted; it goes on rolling in the cluster")
                    }
                    Outcome::NotStarted => format!("{title}: not started"),
                };
                self.line(&text);
                if let Some((_, total)) = &self.bars {
                    total.inc(1);
                }
            }
        }
    }
}

fn document(args: &Args, output: &Output, rollout: &Rollout, outcomes: &Outcomes) -> anyhow::Result<()> {
    let proven = args.dry_run == DryRun::Server;
    let report = RolloutReport {
        api_version: API_VERSION,
        kind: "Rollout",
        context: rollout.context.clone(),
        server: rollout.server.clone(),
        dry_run: match args.dry_run {
            DryRun::None => "none",
            DryRun::Client => "client",
            DryRun::Server => "server",
        },
        workloads: rollout
            .targets
            .iter()
            .map(|target| {
                let mut report = TargetReport::of(target, outcomes.get(&target.workload.reference));
                if proven && report.result == "planned" {
                    report.result = "proven";
                }
                report
            })
            .collect(),
        left: rollout
            .left
            .iter()
            .map(|target| TargetReport::of(target, None))
            .collect(),
    };
    fleet::document(output, &report, args.format == Format::Yaml)
}

/// Sets annotations back; the service accounts concerned.
async fn set_back(
    args: &Args,
    output: &Output,
    cluster: &Cluster,
    path: &std::path::Path,
) -> anyhow::Result<BTreeSet<(String, String)>> {
    let undo = Undo::parse(&read(path)?).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
    anyhow::ensure!(
        undo.server == cluster.server(),
        "{} was written for the cluster {} (context {}), this is {}: choose it with --context",
        path.display(),
        undo.server,
        undo.context,
        cluster.server()
    );
    let named: BTreeMap<(String, String), Wish> = undo.wishes().collect();
    let accounts = named.keys().cloned().collect();
    let plan = plan::plan(
        cluster,
        &Scope::default(),
        &Selection::Named(named),
        &Families::default(),
        &args.knowledge.overrides(),
    )
    .await?;
    let changing = plan.to_apply().count();
    if changing == 0 {
        return Ok(accounts);
    }
    for change in plan.to_apply() {
        output.note(format_args!(
            "{}: {}: {} -> {}",
            change.title(),
            plan.annotation,
            change.before.as_deref().unwrap_or("none"),
            change.after.as_deref().unwrap_or("none")
        ))?;
    }
    if args.dry_run != DryRun::None {
        bail!(
            "a rollout that sets annotations back cannot be tried: use irsa set --undo FILE --dry-run=server"
        );
    }
    let question = format!(
        "Set {} back and recreate their pods?",
        counted(changing, "service account")
    );
    if !args.yes && !ask(output, &question, "nothing was changed")? {
        bail!("nothing was changed");
    }
    for change in plan.to_apply() {
        apply::apply(cluster, &plan, change, apply::Options::default())
            .await
            .map_err(|error| anyhow::anyhow!("{}: {error}", change.title()))?;
        output.note(format_args!("serviceaccount {} set back", change.title()))?;
    }
    Ok(accounts)
}
