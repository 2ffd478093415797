//! `irsa set`: choose another endpoint type, safely.

mod args;
mod settings;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use irsa_core::text::Foreign;
use irsa_fleet::apply::{self, ApplyError, Options, Undo};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::Scope;
use irsa_fleet::plan::{self, Change, Plan, Wish};
use irsa_fleet::report::{API_VERSION, ChangeReport, SetReport};

use crate::args::{DryRun, Namespaces};
use crate::exit;
use crate::output::{Output, counted};
use crate::undo;

pub(crate) use args::Args;
use settings::{Selection, Settings};

/// How writing ended, by title of the service account.
type Results = BTreeMap<String, Result<(), ApplyError>>;

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let settings = Settings::resolve(args)?;
    let cluster = Cluster::connect(&settings.connect).await?;
    let (selection, scope) = select(&settings.selection, &cluster)?;
    let plan = plan::plan(
        &cluster,
        &scope,
        &selection,
        &settings.families,
        &settings.overrides,
    )
    .await?;
    for note in &plan.directory.notes {
        output.note(format_args!("note: {}", Foreign(note)))?;
    }
    let planned = report(&plan, settings.dry_run, &Results::new(), None);
    if settings.format.is_text() {
        output.page(|to| text::plan(to, &planned, &settings.format, output.columns()))?;
    }
    for missing in &plan.missing {
        output.note(format_args!(
            "service account {} does not exist",
            Foreign(missing)
        ))?;
    }
    if plan.changes.is_empty() && plan.missing.is_empty() {
        bail!(
            "no service account was selected: name one, or use --account-selector, --all or -A; -A and --all take those that have a role"
        );
    }
    let (results, undo_file) = match settings.dry_run {
        DryRun::Client => (Results::new(), None),
        DryRun::Server => (
            apply(&settings, &cluster, &plan, plan.to_apply(), true).await,
            None,
        ),
        DryRun::None => match write(&settings, &cluster, &plan, output).await? {
            Some(written) => written,
            None => {
                output.note("nothing was changed")?;
                return Ok(exit::no());
            }
        },
    };
    let mut done = report(&plan, settings.dry_run, &results, undo_file.as_deref());
    if settings.dry_run == DryRun::Client && !settings.force_conflicts {
        mark_conflicts(&mut done);
    }
    if settings.format.is_text() {
        text::results(output, &done)?;
    } else {
        output.document(&done, &settings.format)?;
    }
    let failed = done.changes.iter().any(|change| change.error.is_some());
    Ok(if failed || !plan.missing.is_empty() {
        exit::no()
    } else {
        ExitCode::SUCCESS
    })
}

/// What is asked of the cluster, and which part of it has to be read for that.
fn select(selection: &Selection, cluster: &Cluster) -> anyhow::Result<(plan::Selection, Scope)> {
    let scope = |namespace| Scope {
        namespace,
        ..Scope::default()
    };
    match selection {
        Selection::Undo { path, undo } => {
            undo::check(path, undo, cluster)?;
            let named: BTreeMap<(String, String), Wish> = undo.wishes().collect();
            Ok((plan::Selection::Named(named), scope(None)))
        }
        Selection::All {
            wish,
            namespaces,
            labels,
        } => Ok((
            plan::Selection::All(wish.clone()),
            Scope {
                labels: labels.clone(),
                ..scope(namespaces.name(cluster))
            },
        )),
        Selection::Named {
            wish,
            accounts,
            namespaces,
        } => {
            let here = match namespaces {
                Namespaces::One(name) => name.clone(),
                Namespaces::OfContext | Namespaces::All => cluster.namespace().to_owned(),
            };
            let named: BTreeMap<(String, String), Wish> = accounts
                .iter()
                .map(|account| {
                    let namespace = account.namespace.clone().unwrap_or_else(|| here.clone());
                    ((namespace, account.name.clone()), wish.clone())
                })
                .collect();
            let elsewhere = named.keys().any(|(namespace, _)| *namespace != here);
            Ok((plan::Selection::Named(named), scope((!elsewhere).then_some(here))))
        }
    }
}

/// Writes the plan, after the API server has checked every change of it: if one of them is refused, nothing is written.
/// `None` if the person who was asked says no.
async fn write(
    settings: &Settings,
    cluster: &Cluster,
    plan: &Plan,
    output: &Output,
) -> anyhow::Result<Option<(Results, Option<PathBuf>)>> {
    let mut results = apply(settings, cluster, plan, plan.to_apply(), true).await;
    refuse(settings, plan, &results, output)?;
    let accepted: Vec<&Change> = plan
        .to_apply()
        .filter(|change| results.get(&change.title()).is_some_and(Result::is_ok))
        .collect();
    if accepted.is_empty() {
        return Ok(Some((results, None)));
    }
    if !settings.yes && !output.ask(&text::question(accepted.len()), "nothing was changed")? {
        return Ok(None);
    }
    let undo = Undo::of(plan, accepted.iter().copied());
    let undo_file = undo::write(settings.undo_file.as_deref(), &undo)?;
    let written = apply(settings, cluster, plan, accepted, false).await;
    let none_written = written.values().all(Result::is_err);
    results.extend(written);
    if none_written {
        // There is nothing to undo.
        std::fs::remove_file(&undo_file).with_context(|| undo_file.display().to_string())?;
        return Ok(Some((results, None)));
    }
    Ok(Some((results, Some(undo_file))))
}

async fn apply<'c>(
    settings: &Settings,
    cluster: &Cluster,
    plan: &Plan,
    changes: impl IntoIterator<Item = &'c Change>,
    dry_run: bool,
) -> Results {
    let options = Options {
        dry_run,
        force: settings.force_conflicts,
    };
    apply::apply_all(cluster, plan, changes, options)
        .await
        .into_iter()
        .map(|(change, result)| (change.title(), result))
        .collect()
}

/// Ends the command if the API server refuses a change that may not be skipped.
fn refuse(settings: &Settings, plan: &Plan, results: &Results, output: &Output) -> anyhow::Result<()> {
    // A service account that was changed since is left out and listed, as the undo of a change needs it.
    let count = |is: fn(&ApplyError) -> bool| {
        let errors = results.values().filter_map(|result| result.as_ref().err());
        errors.filter(|error| is(error)).count()
    };
    let conflicts = count(|error| matches!(error, ApplyError::Conflict { .. }));
    let failures = count(|error| matches!(error, ApplyError::Request(_)));
    if failures == 0 && (conflicts == 0 || settings.skip_conflicts) {
        return Ok(());
    }
    text::refused(output, &report(plan, settings.dry_run, results, None))?;
    if failures > 0 {
        bail!(
            "the API server refuses {}; nothing was changed",
            counted(failures, "change")
        );
    }
    bail!(
        "{} in conflict: change the annotation where it is managed, take it over with --force-conflicts, or leave it out \
         with --skip-conflicts; nothing was changed",
        counted(conflicts, "service account")
    );
}

/// Marks changes in conflict with a tool, as far as the plan shows them.
fn mark_conflicts(report: &mut SetReport) {
    for change in &mut report.changes {
        if change.result == "planned" && !change.managed_by.is_empty() {
            let managers = change.managed_by.clone();
            change.result = "conflict";
            change.error = Some(ApplyError::Conflict { managers }.to_string());
        }
    }
}

fn report(plan: &Plan, dry_run: DryRun, results: &Results, undo_file: Option<&Path>) -> SetReport {
    SetReport {
        api_version: API_VERSION,
        kind: "Set",
        context: plan.context.clone(),
        server: plan.server.clone(),
        dry_run: dry_run.as_str(),
        annotation: plan.annotation.clone(),
        undo_file: undo_file.map(|path| path.display().to_string()),
        changes: plan
            .changes
            .iter()
            .map(|change| changed(change, results.get(&change.title())))
            .collect(),
        missing: plan.missing.clone(),
    }
}

fn changed(change: &Change, result: Option<&Result<(), ApplyError>>) -> ChangeReport {
    let mut report = ChangeReport::planned(change);
    match result {
        Some(Ok(())) => report.result = "changed",
        Some(Err(error)) => {
            if let ApplyError::Conflict { managers } = error {
                report.managed_by = managers.clone();
            }
            report.result = match error {
                ApplyError::Conflict { .. } | ApplyError::Changed => "conflict",
                ApplyError::Request(_) => "failed",
            };
            report.error = Some(error.to_string());
        }
        None => {}
    }
    report
}
