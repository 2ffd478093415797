//! `irsa rollout`: recreate pods that do not carry what was chosen, and prove that the new ones do.

mod args;
mod progress;
mod settings;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use irsa_core::text::Foreign;
use irsa_fleet::apply::{self, Undo};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::Scope;
use irsa_fleet::effective::Families;
use irsa_fleet::plan::{self, Wish};
use irsa_fleet::report::{API_VERSION, RolloutReport, TargetReport};
use irsa_fleet::rollout::{self, Outcome, Proof, Rollout, RunOptions, Target};
use irsa_fleet::workload::WorkloadRef;

use crate::args::DryRun;
use crate::exit;
use crate::output::{Output, counted};
use crate::undo;

pub(crate) use args::Args;
use progress::Progress;
use settings::{Selection, Settings};

type Outcomes = BTreeMap<WorkloadRef, Outcome>;

/// Stale pods that are named when they remain; more are counted.
const REMAINING_NAMED: usize = 5;

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let settings = Settings::resolve(args)?;
    let cluster = Cluster::connect(&settings.connect).await?;
    let Some(options) = options(&settings, output, &cluster).await? else {
        output.note("the undo file names no service account")?;
        return Ok(ExitCode::SUCCESS);
    };
    let rollout = rollout::plan(&cluster, &options, &settings.overrides).await?;
    for note in &rollout.directory.notes {
        output.note(format_args!("note: {}", Foreign(note)))?;
    }
    for missing in &rollout.missing {
        output.note(format_args!("serviceaccounts \"{}\" not found", Foreign(missing)))?;
    }
    let text = settings.format.is_text();
    let all_missing = !options.accounts.is_empty() && rollout.missing.len() == options.accounts.len();
    if text && !all_missing {
        let planned = report(&rollout, settings.dry_run, &Outcomes::new());
        output.page(|to| text::plan(to, &planned, rollout.pods, output.columns()))?;
    }
    let mut outcomes = Outcomes::new();
    if !rollout.targets.is_empty() {
        match settings.dry_run {
            DryRun::Client if text => output.note("nothing was recreated: this was a dry run")?,
            DryRun::Client => {}
            DryRun::Server => outcomes = prove(output, &cluster, &rollout).await?,
            DryRun::None => {
                if !confirmed(&settings, &rollout, output)? {
                    output.note("nothing was recreated")?;
                    return Ok(exit::no());
                }
                outcomes = carry_out(&settings, output, &cluster, &rollout).await?;
            }
        }
    }
    if text && settings.dry_run == DryRun::None {
        remaining(output, &rollout, &outcomes)?;
    }
    if !text {
        output.document(&report(&rollout, settings.dry_run, &outcomes), &settings.format)?;
    }
    let remaining = report(&rollout, settings.dry_run, &outcomes).remaining;
    let failed = outcomes
        .values()
        .any(|outcome| !matches!(outcome, Outcome::Verified { .. }));
    let no = failed || !rollout.missing.is_empty() || (settings.fail_on_remaining && remaining > 0);
    Ok(if no { exit::no() } else { ExitCode::SUCCESS })
}

/// What is rolled; for an undo file, after the annotations are set back. Nothing if the file names nobody.
async fn options(
    settings: &Settings,
    output: &Output,
    cluster: &Cluster,
) -> anyhow::Result<Option<rollout::Options>> {
    let (scope, accounts) = match &settings.selection {
        Selection::Pods {
            namespaces,
            labels,
            accounts,
        } => {
            let scope = Scope {
                namespace: namespaces.name(cluster),
                labels: labels.clone(),
                page: None,
            };
            (scope, accounts.clone())
        }
        Selection::Undo { path, undo } => {
            let accounts = set_back(settings, output, cluster, path, undo).await?;
            if accounts.is_empty() {
                return Ok(None);
            }
            (Scope::default(), accounts)
        }
    };
    Ok(Some(rollout::Options {
        scope,
        accounts,
        exclude_namespaces: settings.exclude_namespaces.clone(),
        exclude: settings.exclude.clone(),
        ways: settings.ways,
    }))
}

fn confirmed(settings: &Settings, rollout: &Rollout, output: &Output) -> anyhow::Result<bool> {
    // Whoever sets annotations back was asked about that already.
    if settings.yes || matches!(settings.selection, Selection::Undo { .. }) {
        return Ok(true);
    }
    let question = format!(
        "Recreate {} of {}?",
        counted(rollout.stale(), "pod"),
        counted(rollout.targets.len(), "workload")
    );
    output.ask(&question, "nothing was recreated")
}

async fn prove(output: &Output, cluster: &Cluster, rollout: &Rollout) -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    for target in &rollout.targets {
        let reference = &target.workload.reference;
        let title = Foreign(format!("{}/{reference}", reference.namespace));
        match rollout::prove(cluster, &rollout.directory, target).await? {
            Proof::Holds => output.note(format_args!("{title}: a dry-run pod has the setting"))?,
            Proof::Fails(why) => {
                output.note(format_args!("{title}: {}", Foreign(&why)))?;
                outcomes.insert(reference.clone(), Outcome::Failed(why));
            }
        }
    }
    Ok(outcomes)
}

async fn carry_out(
    settings: &Settings,
    output: &Output,
    cluster: &Cluster,
    rollout: &Rollout,
) -> anyhow::Result<Outcomes> {
    let progress = Progress::new(output.clone(), rollout.targets.len());
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
    let options = RunOptions {
        max_failures: settings.max_failures.map(|limit| limit.of(rollout.targets.len())),
        ..settings.run
    };
    let outcomes: Outcomes = rollout::run(cluster, rollout, options, &progress, interrupted)
        .await
        .into_iter()
        .collect();
    signals.abort();
    progress.finish();
    let verified: Vec<usize> = outcomes
        .values()
        .filter_map(|outcome| match outcome {
            Outcome::Verified { pods } => Some(*pods),
            _ => None,
        })
        .collect();
    output.note(format_args!(
        "{} of {} verified, {} in {:.0?}",
        verified.len(),
        counted(outcomes.len(), "workload"),
        counted(verified.iter().sum(), "pod"),
        started.elapsed()
    ))?;
    for (reference, outcome) in &outcomes {
        // Of many workloads, the lines above are out of sight by now.
        if outcomes.len() > 1 && !matches!(outcome, Outcome::Verified { .. }) {
            let title = Foreign(format!("{}/{reference}", reference.namespace));
            output.note(format_args!("{title}: {}", progress::ended(outcome)))?;
        }
    }
    if outcomes.len() > verified.len() {
        output.note("the same command again continues with the rest")?;
    }
    Ok(outcomes)
}

/// Names the stale pods that remain.
fn remaining(output: &Output, rollout: &Rollout, outcomes: &Outcomes) -> anyhow::Result<()> {
    let targets: Vec<&Target> = rollout
        .remaining(|reference| is_verified(outcomes, reference))
        .collect();
    let pods: usize = targets.iter().map(|target| target.stale.len()).sum();
    if pods == 0 {
        return Ok(());
    }
    let named: Vec<String> = targets
        .iter()
        .flat_map(|target| &target.stale)
        .take(REMAINING_NAMED)
        .map(|pod| Foreign(&pod.name).to_string())
        .collect();
    let more = match pods - named.len() {
        0 => String::new(),
        more => format!(" and {more} more (-o json lists them)"),
    };
    output.note(format_args!(
        "{} not recreated: {}{more}",
        counted(pods, "stale pod"),
        named.join(", ")
    ))?;
    Ok(())
}

fn is_verified(outcomes: &Outcomes, reference: &WorkloadRef) -> bool {
    matches!(outcomes.get(reference), Some(Outcome::Verified { .. }))
}

fn report(rollout: &Rollout, dry_run: DryRun, outcomes: &Outcomes) -> RolloutReport {
    RolloutReport {
        api_version: API_VERSION,
        kind: "Rollout",
        context: rollout.context.clone(),
        server: rollout.server.clone(),
        dry_run: dry_run.as_str(),
        workloads: rollout
            .targets
            .iter()
            .map(|target| {
                let mut report = TargetReport::of(target, outcomes.get(&target.workload.reference));
                if dry_run == DryRun::Server && report.result == "planned" {
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
        remaining: rollout
            .remaining(|reference| is_verified(outcomes, reference))
            .map(|target| target.stale.len())
            .sum(),
        missing: rollout.missing.clone(),
    }
}

/// Restores the annotations of an undo file; the service accounts concerned.
async fn set_back(
    settings: &Settings,
    output: &Output,
    cluster: &Cluster,
    path: &Path,
    undo: &Undo,
) -> anyhow::Result<BTreeSet<(String, String)>> {
    undo::check(path, undo, cluster)?;
    let named: BTreeMap<(String, String), Wish> = undo.wishes().collect();
    let accounts = named.keys().cloned().collect();
    let plan = plan::plan(
        cluster,
        &Scope::default(),
        &plan::Selection::Named(named),
        &Families::default(),
        &settings.overrides,
    )
    .await?;
    let changing = plan.to_apply().count();
    if changing == 0 {
        return Ok(accounts);
    }
    for change in plan.to_apply() {
        output.note(format_args!(
            "{}: {}: {} -> {}",
            Foreign(change.title()),
            Foreign(&plan.annotation),
            Foreign(change.before.as_deref().unwrap_or("none")),
            Foreign(change.after.as_deref().unwrap_or("none"))
        ))?;
    }
    let question = format!(
        "Restore {} and recreate their pods?",
        counted(changing, "service account")
    );
    if !settings.yes && !output.ask(&question, "nothing was changed")? {
        bail!("nothing was changed");
    }
    // Checked first, so that nothing is written if one of them is refused.
    for dry_run in [true, false] {
        let options = apply::Options {
            dry_run,
            force: false,
        };
        for (change, result) in apply::apply_all(cluster, &plan, plan.to_apply(), options).await {
            result.with_context(|| change.title())?;
            if !dry_run {
                output.note(format_args!(
                    "serviceaccount {} restored",
                    Foreign(change.title())
                ))?;
            }
        }
    }
    Ok(accounts)
}
