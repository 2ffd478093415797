//! The report of `irsa set` as people read it: the plan before the question, the results after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use irsa_core::text::Foreign;
use irsa_fleet::report::{ChangeReport, SetReport};
use owo_colors::OwoColorize as _;

use crate::args::Format;
use crate::output::{Cell, Output, Table, counted, indented};

/// Changes that are shown one by one; more are added up by namespace unless every detail is asked for.
const IN_FULL: usize = 5;
/// Names that a line has before the rest is counted.
const NAMED: usize = 4;

fn is_change(change: &&ChangeReport) -> bool {
    change.result != "unchanged"
}

fn changes(report: &SetReport) -> impl Iterator<Item = &ChangeReport> {
    report.changes.iter().filter(is_change)
}

fn stale(change: &ChangeReport) -> usize {
    change.recreate.iter().map(|workload| workload.pods).sum()
}

fn title(change: &ChangeReport) -> String {
    format!("{}/{}", Foreign(&change.namespace), Foreign(&change.name))
}

/// Writes what would change.
pub(super) fn plan(
    to: &mut impl Write,
    report: &SetReport,
    format: &Format,
    columns: Option<usize>,
) -> io::Result<()> {
    if changes(report).count() > IN_FULL && *format != Format::Wide {
        totals(to, report, columns)?;
    } else {
        for change in changes(report) {
            one(to, report, change, columns)?;
        }
    }
    match report.changes.iter().filter(|change| !is_change(change)).count() {
        0 => Ok(()),
        1 => writeln!(to, "1 service account is set as requested already"),
        unchanged => writeln!(to, "{unchanged} service accounts are set as requested already"),
    }
}

/// The plan by namespace, for many changes.
fn totals(to: &mut impl Write, report: &SetReport, columns: Option<usize>) -> io::Result<()> {
    let mut namespaces: BTreeMap<&str, Vec<&ChangeReport>> = BTreeMap::new();
    for change in changes(report) {
        namespaces.entry(&change.namespace).or_default().push(change);
    }
    let mut table = Table::new(&[
        "NAMESPACE",
        "SERVICE ACCOUNTS",
        "PODS",
        "TO RECREATE",
        "WORKLOADS",
    ]);
    let row = |name: &str, changes: &[&ChangeReport]| {
        let workloads: BTreeSet<(&str, &str)> = changes
            .iter()
            .flat_map(|change| {
                change
                    .recreate
                    .iter()
                    .map(|to| (&*change.namespace, &*to.workload))
            })
            .collect();
        [
            Cell::from(name),
            Cell::from(changes.len().to_string()),
            Cell::from(
                changes
                    .iter()
                    .map(|change| change.pods)
                    .sum::<usize>()
                    .to_string(),
            ),
            Cell::from(
                changes
                    .iter()
                    .map(|change| stale(change))
                    .sum::<usize>()
                    .to_string(),
            ),
            Cell::from(workloads.len().to_string()),
        ]
    };
    for (namespace, changes) in &namespaces {
        table.row(row(namespace, changes));
    }
    if namespaces.len() > 1 {
        table.row(row("total", &changes(report).collect::<Vec<_>>()));
    }
    table.write(to, columns)?;
    writeln!(to)?;
    let mut transitions: BTreeMap<(String, String), usize> = BTreeMap::new();
    for change in changes(report) {
        *transitions.entry(choices(change)).or_default() += 1;
    }
    for ((before, after), count) in transitions {
        let count = counted(count, "service account");
        if before == after {
            writeln!(to, "{count}: {before}, as before")?;
        } else {
            writeln!(to, "{count}: {before} -> {after}")?;
        }
    }
    let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
    for consequence in changes(report).flat_map(|change| &change.consequences) {
        *notes.entry(consequence).or_default() += 1;
    }
    for (note, count) in notes {
        let text = format!("{} ({})", Foreign(note), counted(count, "service account"));
        indented(to, 0, "note:", &text, columns)?;
    }
    writeln!(to, "(-o wide shows each service account)")
}

/// What is chosen before and after. A role neither comes nor goes by it: what is chosen nowhere is not known.
fn choices(change: &ChangeReport) -> (String, String) {
    let sides = [&change.choice_before, &change.choice_after];
    let has_role = change.choice_unknown.is_some() || sides.iter().any(|side| side.is_some());
    let [before, after] = sides.map(|side| match side {
        Some(choice) => format!("{} ({})", choice.endpoint, choice.source),
        None if has_role => "unknown".to_owned(),
        None => "no role".to_owned(),
    });
    (before, after)
}

fn one(
    to: &mut impl Write,
    report: &SetReport,
    change: &ChangeReport,
    columns: Option<usize>,
) -> io::Result<()> {
    let annotation = |value: &Option<String>| match value {
        Some(value) => format!("{:?}", Foreign(value)),
        None => "none".to_owned(),
    };
    writeln!(to, "{}", title(change).bold())?;
    let text = format!(
        "{}: {} -> {}",
        Foreign(&report.annotation),
        annotation(&change.before),
        annotation(&change.after)
    );
    indented(to, 2, "", &text, columns)?;
    let (before, after) = choices(change);
    if before == after {
        writeln!(to, "  type: {before}, as before")?;
    } else {
        writeln!(to, "  type: {before} -> {after}")?;
    }
    let workloads: Vec<String> = change
        .recreate
        .iter()
        .map(|workload| format!("{} ({})", Foreign(&workload.workload), workload.pods))
        .collect();
    let list = if workloads.is_empty() {
        String::new()
    } else {
        format!(": {}", workloads.join(", "))
    };
    let text = format!("pods: {} to recreate of {}{list}", stale(change), change.pods);
    indented(to, 2, "", &text, columns)?;
    // Per container the same move may be listed more than once.
    let moves: BTreeSet<String> = change
        .moves
        .iter()
        .map(|moved| {
            format!(
                "calls: {} -> {} for {}",
                Foreign(&moved.from),
                Foreign(&moved.to),
                some_of(&moved.sdks, "SDK")
            )
        })
        .collect();
    for moved in &moves {
        indented(to, 2, "", moved, columns)?;
    }
    for consequence in &change.consequences {
        indented(to, 2, "note:", &Foreign(consequence).to_string(), columns)?;
    }
    Ok(())
}

/// All of a few names, or the first of many.
fn some_of(names: &[String], what: &str) -> String {
    let shown = if names.len() > NAMED + 1 {
        NAMED
    } else {
        names.len()
    };
    let listed: Vec<String> = names[..shown]
        .iter()
        .map(|name| Foreign(name).to_string())
        .collect();
    match names.len() - shown {
        0 => listed.join(", "),
        more => format!("{} and {more} more {what}s", listed.join(", ")),
    }
}

/// What is asked before anything is written.
pub(super) fn question(changes: usize) -> String {
    format!("Change {}?", counted(changes, "service account"))
}

/// Names the changes that the API server or a tool refuses: conflicts grouped by the tool, other errors one by one.
pub(super) fn refused(output: &Output, report: &SetReport) -> io::Result<()> {
    let mut managers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for change in changes(report) {
        let Some(error) = &change.error else { continue };
        if change.managed_by.is_empty() {
            output.note(format_args!("{}: {}", title(change), Foreign(error)))?;
        } else {
            managers
                .entry(change.managed_by.join(", "))
                .or_default()
                .push(format!("{}/{}", change.namespace, change.name));
        }
    }
    for (manager, accounts) in managers {
        output.note(format_args!(
            "conflict: the annotation is managed by {}: {}",
            Foreign(manager),
            some_of(&accounts, "service account")
        ))?;
    }
    Ok(())
}

/// Says what was written, and what to do next.
pub(super) fn results(output: &Output, report: &SetReport) -> io::Result<()> {
    let suffix = match report.dry_run {
        "client" => " (dry run)",
        "server" => " (server dry run)",
        _ => "",
    };
    for change in &report.changes {
        if change.result == "changed" {
            output.out(format_args!("serviceaccount {} changed{suffix}", title(change)))?;
        }
    }
    refused(output, report)?;
    if report.dry_run == "client" && changes(report).next().is_some() {
        output.note("nothing was changed: this was a dry run")?;
    }
    if let Some(path) = &report.undo_file {
        output.note(format_args!("to undo this: irsa set --undo {}", Foreign(path)))?;
    }
    let written: Vec<&ChangeReport> = report
        .changes
        .iter()
        .filter(|change| change.result == "changed" && stale(change) > 0)
        .collect();
    if report.dry_run == "none" && !written.is_empty() {
        let namespaces: BTreeSet<&str> = written.iter().map(|change| change.namespace.as_str()).collect();
        let scope = match namespaces.into_iter().collect::<Vec<_>>().as_slice() {
            [one] => format!("-n {}", Foreign(one)),
            _ => "-A".to_owned(),
        };
        output.note(format_args!(
            "running pods keep their endpoint until they are recreated: irsa rollout {scope}"
        ))?;
    }
    Ok(())
}
