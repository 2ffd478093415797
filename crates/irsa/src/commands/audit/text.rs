//! The report of `irsa audit` as people and spreadsheets read it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use irsa_core::text::Foreign;
use irsa_trail::report::{AgentReport, Audit, CallerReport, OperationReport};
use owo_colors::Style;

use crate::output::{Cell, Output, Table, counted};

/// Writes the conclusion and a row for each service account, or with `wide` one for each distinct caller.
pub(super) fn write(
    to: &mut impl Write,
    audit: &Audit,
    wide: bool,
    columns: Option<usize>,
) -> io::Result<()> {
    conclusion(to, audit)?;
    if audit.callers.is_empty() {
        return Ok(());
    }
    writeln!(to)?;
    if wide {
        callers(to, audit, columns)
    } else {
        accounts(to, audit, columns)
    }
}

fn conclusion(to: &mut impl Write, audit: &Audit) -> io::Result<()> {
    let (mut global, mut calls) = (0, 0);
    let mut accounts = BTreeSet::new();
    let mut on_global = BTreeSet::new();
    for caller in &audit.callers {
        calls += caller.calls;
        accounts.insert(subject(caller));
        if caller.is_global() {
            global += caller.calls;
            on_global.insert(subject(caller));
        }
    }
    if calls == 0 {
        return writeln!(
            to,
            "No STS call by a web identity in {} of {}",
            counted_u64(audit.summary.records, "record"),
            counted(audit.summary.files, "file")
        );
    }
    writeln!(
        to,
        "{} of {} by {} of {} went to the global endpoint",
        global,
        counted_u64(calls, "call"),
        on_global.len(),
        counted(accounts.len(), "caller"),
    )
}

fn counted_u64(count: u64, what: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), what)
}

/// Who is behind calls: the service account, or the role of a session.
fn subject(caller: &CallerReport) -> (&str, String) {
    let name = match (&caller.namespace, &caller.service_account, &caller.subject) {
        (Some(namespace), Some(name), _) => format!("{namespace}/{name}"),
        (_, _, Some(subject)) => subject.clone(),
        _ => {
            let role = caller.role.rsplit('/').next().unwrap_or_default();
            format!("sessions of role {role}")
        }
    };
    (&caller.cluster, name)
}

/// What calls of one subject have in common.
#[derive(Default)]
struct Row {
    global: u64,
    regional: u64,
    unknown: u64,
    hosts: BTreeSet<String>,
    agents: BTreeSet<String>,
    errors: BTreeMap<String, u64>,
    last: Option<jiff::Timestamp>,
}

fn accounts(to: &mut impl Write, audit: &Audit, columns: Option<usize>) -> io::Result<()> {
    let mut rows: BTreeMap<(&str, String), Row> = BTreeMap::new();
    for caller in &audit.callers {
        let row = rows.entry(subject(caller)).or_default();
        match caller.endpoint {
            _ if caller.is_global() => row.global += caller.calls,
            irsa_trail::report::EndpointReport::Unknown => row.unknown += caller.calls,
            _ => row.regional += caller.calls,
        }
        if !caller.host.is_empty() {
            row.hosts.insert(caller.host.clone());
        }
        row.agents.insert(agent(&caller.agent));
        for (code, count) in &caller.errors {
            *row.errors.entry(code.clone()).or_default() += count;
        }
        row.last = row.last.max(Some(caller.last_seen));
    }
    let clusters: BTreeSet<&str> = rows.keys().map(|(cluster, _)| *cluster).collect();
    for cluster in clusters {
        let name = if cluster.is_empty() { "not known" } else { cluster };
        writeln!(to, "Cluster {}", Foreign(name))?;
        let mut table = Table::new(&[
            "CALLER",
            "GLOBAL",
            "REGIONAL",
            "HOSTS",
            "SDKS",
            "ERRORS",
            "LAST SEEN",
        ]);
        for ((_, subject), row) in rows.iter().filter(|((of, _), _)| *of == cluster) {
            let global = Cell::from(row.global.to_string());
            table.row([
                Cell::from(subject),
                if row.global > 0 {
                    global.styled(Style::new().yellow())
                } else {
                    global
                },
                Cell::from(match row.unknown {
                    0 => row.regional.to_string(),
                    unknown => format!("{} ({unknown} not known)", row.regional),
                }),
                Cell::from(list(&row.hosts)),
                Cell::from(list(&row.agents)),
                Cell::from(errors(&row.errors)),
                Cell::from(row.last.map_or_else(String::new, |at| format!("{at:.0}"))),
            ]);
        }
        table.write(to, columns)?;
    }
    Ok(())
}

fn callers(to: &mut impl Write, audit: &Audit, columns: Option<usize>) -> io::Result<()> {
    let mut table = Table::new(&[
        "CLUSTER",
        "CALLER",
        "ROLE",
        "OPERATION",
        "ENDPOINT",
        "HOST",
        "TRAIL",
        "SERVED BY",
        "SDK",
        "CALLS",
        "ERRORS",
        "FIRST SEEN",
        "LAST SEEN",
    ]);
    for caller in &audit.callers {
        table.row(cells(caller));
    }
    table.write(to, columns)
}

fn cells(caller: &CallerReport) -> [String; 13] {
    [
        caller.cluster.clone(),
        subject(caller).1,
        caller.role.clone(),
        operation(caller.operation).to_owned(),
        caller.endpoint.as_str().to_owned(),
        caller.host.clone(),
        caller.region.clone(),
        caller.serving_region.clone(),
        agent(&caller.agent),
        caller.calls.to_string(),
        errors(&caller.errors),
        format!("{:.0}", caller.first_seen),
        format!("{:.0}", caller.last_seen),
    ]
}

const fn operation(operation: OperationReport) -> &'static str {
    match operation {
        OperationReport::Exchange => "exchange",
        OperationReport::Call => "call",
    }
}

fn agent(agent: &AgentReport) -> String {
    match (&agent.sdk, &agent.version, &agent.product) {
        // Versions of boto3 are those of its botocore.
        (Some(sdk), Some(version), _) if sdk == "boto3" => format!("botocore@{version}"),
        (Some(sdk), Some(version), _) => format!("{sdk}@{version}"),
        (Some(sdk), None, _) => sdk.clone(),
        (None, _, Some(product)) => product.clone(),
        (None, _, None) => "not known".to_owned(),
    }
}

fn errors(errors: &BTreeMap<String, u64>) -> String {
    let texts: BTreeSet<String> = errors
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    list(&texts)
}

/// At most three; the rest is counted.
fn list(texts: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let mut text = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if texts.len() > SHOWN {
        text.push_str(&format!(" and {} more", texts.len() - SHOWN));
    }
    text
}

/// Writes a row for each distinct caller.
pub(super) fn csv(to: &mut impl Write, audit: &Audit) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record([
        "cluster",
        "namespace",
        "service_account",
        "subject",
        "role",
        "event_name",
        "endpoint_type",
        "host",
        "region",
        "serving_region",
        "sdk",
        "sdk_version",
        "product",
        "calls",
        "errors",
        "first_seen",
        "last_seen",
    ])?;
    for caller in &audit.callers {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        writer.write_record([
            caller.cluster.clone(),
            text(&caller.namespace),
            text(&caller.service_account),
            text(&caller.subject),
            caller.role.clone(),
            operation(caller.operation).to_owned(),
            caller.endpoint.as_str().to_owned(),
            caller.host.clone(),
            caller.region.clone(),
            caller.serving_region.clone(),
            text(&caller.agent.sdk),
            text(&caller.agent.version),
            text(&caller.agent.product),
            caller.calls.to_string(),
            caller
                .errors
                .iter()
                .map(|(code, count)| format!("{code}={count}"))
                .collect::<Vec<_>>()
                .join(" "),
            format!("{:.0}", caller.first_seen),
            format!("{:.0}", caller.last_seen),
        ])?;
    }
    writer.flush()
}

/// How much was read, and what was passed over, for standard error.
pub(super) fn notes(output: &Output, audit: &Audit) -> io::Result<()> {
    let summary = &audit.summary;
    for problem in &audit.problems {
        let at = problem.at.map_or_else(String::new, |at| format!(" at {at}"));
        output.note(format_args!(
            "{}{at}: {}",
            Foreign(&problem.file),
            Foreign(&problem.message)
        ))?;
    }
    let told = audit.problems.len() as u64;
    if summary.damaged > told {
        output.note(format_args!("and {} more", summary.damaged - told))?;
    }
    let mut text = format!(
        "read {} of {}: {} by web identities or their sessions",
        counted_u64(summary.records, "record"),
        counted(summary.files, "file"),
        counted_u64(summary.sts_calls - summary.without_web_identity, "STS call"),
    );
    for (count, what) in [
        (summary.without_web_identity, "by other principals"),
        (summary.outside_period, "outside the period"),
        (
            summary.unlisted,
            "not listed, since there are too many distinct callers",
        ),
        (summary.damaged, "damaged and passed over"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    output.note(text)
}
