//! `irsa rollout`: recreate pods that do not carry what was chosen, and prove that the new ones do.

mod args;
mod progress;
mod settings;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use irsa_core::text::Foreign;
use irsa_fleet::apply::{self, Undo};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::Scope;
use irsa_fleet::effective::Families;
use irsa_fleet::plan::{self, Wish};
use irsa_fleet::report::{API_VERSION, RolloutReport, TargetReport};
use irsa_fleet::rollout::{self, Outcome, Proof, Rollout};
use irsa_fleet::workload::WorkloadRef;

use crate::args::DryRun;
use crate::exit;
use crate::output::{Output, counted};
use crate::undo;

pub(crate) use args::Args;
use progress::Progress;
use settings::{Selection, Settings};

type Outcomes = BTreeMap<WorkloadRef, Outcome>;

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
    let text = settings.format.is_text();
    if text {
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
    if !text {
        output.document(&report(&rollout, settings.dry_run, &outcomes), settings.format)?;
    }
    let failed = outcomes
        .values()
        .any(|outcome| !matches!(outcome, Outcome::Verified { .. }));
    Ok(if failed { exit::no() } else { ExitCode::SUCCESS })
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
            Proof::Holds => output.note(format_args!("{title}: a dry-run pod carries what was chosen"))?,
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
    let outcomes: Outcomes = rollout::run(cluster, rollout, settings.run, &progress, interrupted)
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
    let rest = outcomes.len() - verified.len();
    if rest > 0 {
        output.note(format_args!(
            "{rest} not done: see the reason above, then run the same command again; it continues with what is left"
        ))?;
    }
    Ok(outcomes)
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
    }
}

/// Sets annotations back; the service accounts concerned.
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
    if settings.dry_run != DryRun::None {
        bail!(
            "a rollout that sets annotations back cannot be tried: use irsa set --undo FILE --dry-run=server"
        );
    }
    let question = format!(
        "Set {} back and recreate their pods?",
        counted(changing, "service account")
    );
    if !settings.yes && !output.ask(&question, "nothing was changed")? {
        bail!("nothing was changed");
    }
    for change in plan.to_apply() {
        apply::apply(cluster, &plan, change, apply::Options::default())
            .await
            .map_err(|error| anyhow::anyhow!("{}: {error}", change.title()))?;
        output.note(format_args!(
            "serviceaccount {} set back",
            Foreign(change.title())
        ))?;
    }
    Ok(accounts)
}
