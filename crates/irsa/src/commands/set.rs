//! `irsa set`: choose another endpoint type, safely.

mod args;
mod settings;
mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
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
        output.page(|to| text::plan(to, &planned, settings.format, output.columns()))?;
    }
    for missing in &plan.missing {
        output.note(format_args!(
            "service account {} does not exist",
            Foreign(missing)
        ))?;
    }
    if plan.changes.is_empty() && plan.missing.is_empty() {
        bail!(
            "no service account was selected: name one, or use -l, --all or -A; -A and --all take those that have a role"
        );
    }
    let mut results = Results::new();
    let mut undo_file = None;
    if plan.to_apply().next().is_some() && settings.dry_run != DryRun::Client {
        refuse_conflicts(&settings, &planned, output)?;
        if settings.dry_run == DryRun::None {
            if !settings.yes && !output.ask(&text::question(&planned), "nothing was changed")? {
                output.note("nothing was changed")?;
                return Ok(exit::no());
            }
            undo_file = Some(undo::write(settings.undo_file.as_deref(), &Undo::of(&plan))?);
        }
        results = write(&settings, &cluster, &plan).await;
    }
    let done = report(&plan, settings.dry_run, &results, undo_file.as_deref());
    if settings.format.is_text() {
        text::results(output, &done)?;
    } else {
        output.document(&done, settings.format)?;
    }
    let failed = results.values().any(Result::is_err);
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

/// Ends the command if another tool manages an annotation that would be written.
fn refuse_conflicts(settings: &Settings, planned: &SetReport, output: &Output) -> anyhow::Result<()> {
    let blocked = planned
        .changes
        .iter()
        .filter(|change| change.result != "unchanged" && !change.managed_by.is_empty())
        .count();
    if blocked == 0 || settings.force_conflicts {
        return Ok(());
    }
    text::conflicts(output, planned)?;
    bail!(
        "{} would be overwritten, or overwrite this again: change it where it is managed, or take it over with \
         --force-conflicts; nothing was changed",
        counted(blocked, "annotation")
    );
}

async fn write(settings: &Settings, cluster: &Cluster, plan: &Plan) -> Results {
    use futures::StreamExt as _;
    let options = Options {
        dry_run: settings.dry_run == DryRun::Server,
        force: settings.force_conflicts,
    };
    futures::stream::iter(plan.to_apply())
        .map(|change| async move { (change.title(), apply::apply(cluster, plan, change, options).await) })
        .buffer_unordered(8)
        .collect()
        .await
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
