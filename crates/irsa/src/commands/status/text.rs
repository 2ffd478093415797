//! The report of `irsa status` as people read it: the cluster in two lines, a table, and what is wrong.

use std::collections::BTreeSet;
use std::io::{self, Write};

use irsa_core::text::Foreign;
use irsa_fleet::report::{
    AccountReport, ClusterReport, FindingReport, PodReport, StatusReport, SummaryReport,
};
use owo_colors::{OwoColorize as _, Style};

use super::settings::View;
use crate::args::Format;
use crate::jsonpath::CustomColumns;
use crate::output::{Cell, Finding, Output, Table, calls, counted, findings, hosts};

/// Rows that are shown on a terminal before those without findings are only counted.
const SCREEN: usize = 25;
/// Room that the numbers need to stand on one line.
const WIDTH_OF_TOTALS: usize = 120;
/// Different values of a variable that a cell names.
const VALUES: usize = 2;

/// Writes the whole report.
pub(super) fn write(
    to: &mut impl Write,
    report: &StatusReport,
    view: &View,
    columns: Option<usize>,
) -> io::Result<()> {
    let read: Vec<&ClusterReport> = report
        .clusters
        .iter()
        .filter(|cluster| cluster.error.is_none())
        .collect();
    for (index, cluster) in read.iter().enumerate() {
        if view.format == Format::Name {
            names(to, cluster, view)?;
            continue;
        }
        if !view.bare {
            if index > 0 {
                writeln!(to)?;
            }
            head(to, cluster, view, columns)?;
            writeln!(to)?;
        }
        if view.pods {
            pods(to, cluster, view, columns)?;
        } else {
            accounts(to, cluster, view, columns)?;
        }
        if !view.bare {
            findings(to, &of_cluster(cluster), view.format == Format::Wide, columns)?;
        }
    }
    Ok(())
}

/// A table of paths into service accounts, or into pods if those were asked for.
pub(super) fn custom(
    columns: &CustomColumns,
    report: &StatusReport,
    view: &View,
) -> serde_json::Result<Table> {
    let mut table = Table::new(&columns.headings()).without_headings(view.bare);
    for cluster in &report.clusters {
        let items = if view.pods {
            serde_json::to_value(&cluster.pods)
        } else {
            serde_json::to_value(&cluster.service_accounts)
        };
        for item in items?.as_array().into_iter().flatten() {
            table.row(columns.cells(item));
        }
    }
    Ok(table)
}

/// What could not be read, for standard error.
pub(super) fn notes(output: &Output, cluster: &ClusterReport) -> io::Result<()> {
    if let Some(error) = &cluster.error {
        output.note(format_args!(
            "context {}: {}",
            Foreign(&cluster.context),
            Foreign(error)
        ))?;
    }
    for missing in &cluster.missing {
        output.note(format_args!("serviceaccounts \"{}\" not found", Foreign(missing)))?;
    }
    for note in &cluster.notes {
        output.note(format_args!("note: {}", Foreign(note)))?;
    }
    Ok(())
}

/// With `-A` the form that `irsa set --file -` reads; else the form that kubectl prints.
fn names(to: &mut impl Write, cluster: &ClusterReport, view: &View) -> io::Result<()> {
    let mut line = |kind: &str, namespace: &str, name: &str| {
        let prefix = if view.with_namespace { namespace } else { kind };
        writeln!(to, "{}/{}", Foreign(prefix), Foreign(name))
    };
    if view.pods {
        for pod in &cluster.pods {
            line("pod", &pod.namespace, &pod.name)?;
        }
    } else {
        for account in &cluster.service_accounts {
            line("serviceaccount", &account.namespace, &account.name)?;
        }
    }
    Ok(())
}

fn head(to: &mut impl Write, cluster: &ClusterReport, view: &View, columns: Option<usize>) -> io::Result<()> {
    let webhook = match cluster.webhooks.first() {
        Some(first) => {
            let ready = match (first.ready, first.replicas) {
                (Some(ready), Some(replicas)) => format!(", {ready} of {replicas} ready"),
                _ => String::new(),
            };
            format!(
                "webhook {} ({}{ready})",
                Foreign(&first.configuration),
                first.flavor
            )
        }
        None if cluster.webhook_unreadable => "webhook unknown".to_owned(),
        None => format!("{}", "no webhook".red().bold()),
    };
    let server = if view.format == Format::Wide {
        format!(" ({})", Foreign(&cluster.server))
    } else {
        String::new()
    };
    writeln!(
        to,
        "{}{server} · Kubernetes {} · {webhook}",
        Foreign(&cluster.context).bold(),
        Foreign(cluster.kubernetes_version.as_deref().unwrap_or("unknown")),
    )?;
    match &cluster.summary {
        Some(summary) => totals(to, summary, columns),
        None => Ok(()),
    }
}

/// Everything in numbers: one line, or two where it is narrow.
fn totals(to: &mut impl Write, summary: &SummaryReport, columns: Option<usize>) -> io::Result<()> {
    let colored = |count: usize, what: &str, style: Style| {
        let style = if count > 0 { style } else { Style::new() };
        format!("{}", format!("{count} {what}").style(style))
    };
    let narrow = columns.is_some_and(|columns| columns < WIDTH_OF_TOTALS);
    let between = if narrow { "\n" } else { " · " };
    writeln!(
        to,
        "{}, {} with a role: {} regional, {}{between}{}, {} with an identity, {}, {}",
        counted(summary.service_accounts, "service account"),
        summary.with_role,
        summary.regional,
        colored(summary.global, "global", Style::new().yellow()),
        counted(summary.pods, "pod"),
        summary.pods_with_identity,
        colored(summary.stale, "stale", Style::new().yellow()),
        colored(summary.unmutated, "without their identity", Style::new().red()),
    )
}

/// Severities of findings, the worst of which a row shows.
fn worst(findings: &[FindingReport]) -> Option<&'static str> {
    ["error", "warning"]
        .into_iter()
        .find(|severity| findings.iter().any(|finding| finding.severity == *severity))
}

/// The cell that names what a row is about.
fn title(namespace: &str, name: &str, findings: &[FindingReport], view: &View) -> Cell {
    let (mark, style) = match worst(findings) {
        Some("error") => ("✗", Style::new().red()),
        Some(_) => ("!", Style::new().yellow()),
        None => ("✓", Style::new()),
    };
    let name = if view.with_namespace {
        format!("{mark} {namespace}/{name}")
    } else {
        format!("{mark} {name}")
    };
    Cell::from(name).styled(style)
}

fn accounts(
    to: &mut impl Write,
    cluster: &ClusterReport,
    view: &View,
    columns: Option<usize>,
) -> io::Result<()> {
    let wide = view.format == Format::Wide;
    let mut rows: Vec<&AccountReport> = cluster.service_accounts.iter().collect();
    if rows.is_empty() {
        return writeln!(to, "no service account here has a role, and no pod an identity");
    }
    // Stable: within a severity they stay in the order of their names.
    rows.sort_by_key(|row| match worst(&row.findings) {
        Some("error") => 0,
        Some(_) => 1,
        None => 2,
    });
    let mut hidden = 0;
    if view.fold && rows.len() > SCREEN {
        let all = rows.len();
        rows.retain(|row| worst(&row.findings).is_some());
        hidden = all - rows.len();
    }
    let name = if view.with_namespace {
        "NAMESPACE/ACCOUNT"
    } else {
        "SERVICEACCOUNT"
    };
    let mut headings = vec![name, "CHOSEN", "PODS", "CARRIES", "CALLS"];
    if wide {
        headings.extend(["HOSTS", "REGION", "ROLE"]);
    }
    headings.push("FINDINGS");
    let mut table = Table::new(&headings).without_headings(view.bare);
    for row in rows {
        let mut cells = vec![
            title(&row.namespace, &row.name, &row.findings, view),
            chosen(row),
            pods_cell(row),
            Cell::from(carries(
                row.carries.iter().map(|(value, count)| (value.as_str(), *count)),
                wide,
            )),
            calls(&row.endpoints, row.pods_with_identity > 0),
        ];
        if wide {
            cells.push(Cell::from(hosts(&row.endpoints)));
            cells.push(Cell::from(dash(row.regions.join(", "))));
            cells.push(Cell::from(row.role.as_deref().unwrap_or("-")));
        }
        cells.push(Cell::from(ids(&row.findings, wide)));
        table.row(cells);
    }
    table.write(to, columns)?;
    if hidden > 0 {
        writeln!(to, "… {hidden} more without findings (--all)")?;
    }
    Ok(())
}

fn pods(to: &mut impl Write, cluster: &ClusterReport, view: &View, columns: Option<usize>) -> io::Result<()> {
    let wide = view.format == Format::Wide;
    if cluster.pods.is_empty() {
        return writeln!(to, "no pod has an identity here");
    }
    let name = if view.with_namespace {
        "NAMESPACE/POD"
    } else {
        "POD"
    };
    let mut headings = vec![name, "SERVICEACCOUNT", "CARRIES", "CALLS", "STALE"];
    if wide {
        headings.extend(["HOSTS", "REGION"]);
    }
    headings.push("FINDINGS");
    let mut table = Table::new(&headings).without_headings(view.bare);
    for row in &cluster.pods {
        table.row(pod(row, view, wide));
    }
    table.write(to, columns)
}

fn pod(row: &PodReport, view: &View, wide: bool) -> Vec<Cell> {
    let stale = if row.stale {
        Cell::from("yes").styled(Style::new().yellow())
    } else {
        Cell::from("no")
    };
    let mut cells = vec![
        title(&row.namespace, &row.name, &row.findings, view),
        Cell::from(&row.service_account),
        Cell::from(carries(
            row.carries.iter().map(|value| (value.as_str(), 1)),
            false,
        )),
        calls(&row.endpoints, !row.carries.is_empty()),
        stale,
    ];
    if wide {
        cells.push(Cell::from(hosts(&row.endpoints)));
        cells.push(Cell::from(row.region.as_deref().unwrap_or("-")));
    }
    cells.push(Cell::from(ids(&row.findings, wide)));
    cells
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn chosen(row: &AccountReport) -> Cell {
    let Some(choice) = &row.choice else {
        return Cell::from(if row.choice_unknown.is_some() {
            "unknown"
        } else {
            "-"
        });
    };
    // The id of the source is short; the annotation is what people look for.
    let source = match choice.source {
        "service-account" => "annotation",
        source => source,
    };
    let style = if choice.endpoint == "global" {
        Style::new().yellow()
    } else {
        Style::new()
    };
    Cell::from(format!("{} ({source})", choice.endpoint)).styled(style)
}

fn pods_cell(row: &AccountReport) -> Cell {
    if row.stale > 0 {
        Cell::from(format!("{}, {} stale", row.pods, row.stale)).styled(Style::new().yellow())
    } else {
        Cell::from(row.pods.to_string())
    }
}

/// The values that containers carry; with every one and how often if asked for.
fn carries<'a>(values: impl Iterator<Item = (&'a str, usize)>, wide: bool) -> String {
    let values: Vec<(&str, usize)> = values.collect();
    let shown = if wide { values.len() } else { VALUES };
    let mut parts: Vec<String> = values
        .iter()
        .take(shown)
        .map(|(value, count)| {
            if wide && values.len() > 1 {
                format!("{value}: {count}")
            } else {
                (*value).to_owned()
            }
        })
        .collect();
    if values.len() > shown {
        parts.push("…".to_owned());
    }
    dash(parts.join(", "))
}

/// The worst id and how many others there are; with `wide` all of them.
fn ids(findings: &[FindingReport], wide: bool) -> String {
    let mut ids: Vec<&str> = Vec::new();
    for severity in ["error", "warning", "info"] {
        if severity == "info" && !wide {
            continue;
        }
        let of: BTreeSet<&str> = findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .map(|finding| finding.id)
            .collect();
        ids.extend(of.into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
    }
    match ids.as_slice() {
        [] => "-".to_owned(),
        [first, rest @ ..] if !wide && !rest.is_empty() => format!("{first} +{}", rest.len()),
        ids => ids.join(", "),
    }
}

fn of_cluster(cluster: &ClusterReport) -> Vec<Finding<'_>> {
    let of_cluster = cluster.findings.iter().map(|finding| Finding {
        report: finding,
        subject: "the cluster".to_owned(),
        pods: 0,
    });
    let of_accounts = cluster.service_accounts.iter().flat_map(|account| {
        account.findings.iter().map(move |finding| Finding {
            report: finding,
            subject: format!("{}/{}", account.namespace, account.name),
            pods: finding.pods,
        })
    });
    of_cluster.chain(of_accounts).collect()
}
