//! The report of `irsa check`: for people, as manifests, and for GitHub.

use std::io::{self, Write};

use irsa_core::text::Foreign;
use irsa_fleet::report::{CheckReport, CheckedReport, LocatedReport};

use crate::output::{Cell, Finding, Table, calls, counted, findings};

/// All findings with their places: of workloads, then of what stands beside them.
fn located(report: &CheckReport) -> impl Iterator<Item = &LocatedReport> {
    let of_workloads = report.workloads.iter().flat_map(|workload| &workload.findings);
    of_workloads.chain(&report.findings)
}

/// Writes workloads and findings. `region`: endpoints are predicted.
pub(super) fn write(
    to: &mut impl Write,
    report: &CheckReport,
    region: bool,
    columns: Option<usize>,
) -> io::Result<()> {
    let mut table = Table::new(&["NAMESPACE", "WORKLOAD", "SERVICEACCOUNT", "CHOSEN", "CALLS"]);
    let concerned = |workload: &&CheckedReport| workload.choice.is_some() || !workload.findings.is_empty();
    for workload in report.workloads.iter().filter(concerned) {
        let choice = workload.choice.as_ref();
        table.row([
            Cell::from(&workload.namespace),
            Cell::from(&workload.workload),
            Cell::from(&workload.service_account),
            Cell::from(choice.map_or("-".to_owned(), |choice| {
                format!("{} ({})", choice.endpoint, choice.source)
            })),
            if region {
                calls(&workload.endpoints, false)
            } else {
                Cell::from("-")
            },
        ]);
    }
    if !table.is_empty() {
        table.write(to, columns)?;
    }
    let found: Vec<Finding<'_>> = located(report)
        .map(|located| Finding {
            report: &located.finding,
            subject: format!("{}:{} {}", located.file, located.line, located.object),
            pods: 0,
        })
        .collect();
    findings(to, &found, true, columns)?;
    let count = |severity| {
        located(report)
            .filter(|located| located.finding.severity == severity)
            .count()
    };
    let plain = report
        .workloads
        .iter()
        .filter(|workload| !concerned(workload))
        .count();
    writeln!(
        to,
        "\n{}, {}: {}, {}, {} for information{}",
        counted(report.service_accounts, "service account"),
        counted(report.workloads.len(), "workload"),
        counted(count("error"), "error"),
        counted(count("warning"), "warning"),
        count("info"),
        if plain > 0 {
            format!("; {} without any AWS identity", counted(plain, "workload"))
        } else {
            String::new()
        }
    )
}

/// Writes the pods as the webhook would make them.
pub(super) fn manifests(to: &mut impl Write, report: &CheckReport) -> anyhow::Result<()> {
    for workload in &report.workloads {
        writeln!(
            to,
            "---\n# {}/{}",
            Foreign(&workload.namespace),
            Foreign(&workload.workload)
        )?;
        if let Some(why) = workload.unchanged {
            writeln!(to, "# unchanged: {why}")?;
        }
        crate::output::yaml(&workload.pod, to)?;
    }
    Ok(())
}

/// Escapes what has a meaning in GitHub's workflow commands.
fn escaped(text: &str, property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if property {
        text.replace(':', "%3A").replace(',', "%2C")
    } else {
        text
    }
}

/// Writes the findings as workflow commands of GitHub Actions.
pub(super) fn github(to: &mut impl Write, report: &CheckReport) -> io::Result<()> {
    for located in located(report) {
        let finding = &located.finding;
        let command = match finding.severity {
            "info" => "notice",
            severity => severity,
        };
        let container = match &finding.container {
            Some(container) => format!("container {container}: "),
            None => String::new(),
        };
        let message = format!(
            "{}: {container}{}. Cure: {}.",
            located.object, finding.message, finding.cure
        );
        writeln!(
            to,
            "::{command} file={},line={},title={}::{}",
            Foreign(escaped(&located.file, true)),
            located.line,
            escaped(&format!("irsa {}", finding.id), true),
            Foreign(escaped(&message, false))
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_commands_are_escaped() {
        assert_eq!(escaped("50%: a,b\nc", true), "50%25%3A a%2Cb%0Ac");
        assert_eq!(escaped("a: b, c", false), "a: b, c");
    }
}
