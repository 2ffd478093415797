//! Findings below a table: each kind once, what it is about, and its fix.

use std::io::{self, Write};

use irsa_core::text::Foreign;
use irsa_fleet::report::FindingReport;
use owo_colors::{OwoColorize as _, Style};
use unicode_width::UnicodeWidthStr as _;

use super::words::{counted, wrapped};

/// Different messages of one kind that are shown without `-o wide`.
const DISTINCT: usize = 2;
/// Subjects that are named before the rest is counted.
const NAMED: usize = 3;
/// Below this width text stands under the id instead of beside it.
const BESIDE: usize = 80;

/// A finding and whom it is about.
pub(crate) struct Finding<'a> {
    pub(crate) report: &'a FindingReport,
    /// `the cluster`, `namespace/name`, `file:line`.
    pub(crate) subject: String,
    /// Pods of the subject that it is about.
    pub(crate) pods: usize,
}

/// What says and cures the same.
struct Group<'a> {
    report: &'a FindingReport,
    subjects: Vec<&'a str>,
    pods: usize,
}

/// Writes findings, the worst first; those that are only worth knowing with `wide`, else their number.
///
/// # Errors
/// What the stream says.
pub(crate) fn findings(
    to: &mut impl Write,
    all: &[Finding<'_>],
    wide: bool,
    columns: Option<usize>,
) -> io::Result<()> {
    let indent = all
        .iter()
        .filter(|finding| wide || finding.report.severity != "info")
        .map(|finding| finding.report.id.width() + 4)
        .max()
        .unwrap_or(0);
    for severity in ["error", "warning", "info"] {
        let mut kinds: Vec<(&str, Vec<Group<'_>>)> = Vec::new();
        for finding in all.iter().filter(|finding| finding.report.severity == severity) {
            let id = finding.report.id;
            let at = kinds
                .iter()
                .position(|(known, _)| *known == id)
                .unwrap_or_else(|| {
                    kinds.push((id, Vec::new()));
                    kinds.len() - 1
                });
            add(&mut kinds[at].1, finding);
        }
        if severity == "info" && !wide {
            let count: usize = kinds.iter().map(|(_, groups)| groups.len()).sum();
            if count > 0 {
                writeln!(
                    to,
                    "\n{} not shown (-o wide)",
                    counted(count, "informational finding")
                )?;
            }
            continue;
        }
        kinds.sort_by_key(|(id, _)| *id);
        for (id, groups) in &kinds {
            writeln!(to)?;
            kind(
                to,
                severity,
                id,
                groups,
                Layout {
                    wide,
                    indent,
                    columns,
                },
            )?;
        }
    }
    Ok(())
}

fn add<'a>(groups: &mut Vec<Group<'a>>, finding: &'a Finding<'_>) {
    let same = groups.iter_mut().find(|group| {
        let (known, report) = (group.report, finding.report);
        known.message == report.message && known.cure == report.cure && known.container == report.container
    });
    match same {
        Some(group) => {
            group.pods += finding.pods;
            if !group.subjects.contains(&finding.subject.as_str()) {
                group.subjects.push(&finding.subject);
            }
        }
        None => groups.push(Group {
            report: finding.report,
            subjects: vec![&finding.subject],
            pods: finding.pods,
        }),
    }
}

#[derive(Clone, Copy)]
struct Layout {
    wide: bool,
    indent: usize,
    columns: Option<usize>,
}

fn kind(
    to: &mut impl Write,
    severity: &str,
    id: &str,
    groups: &[Group<'_>],
    layout: Layout,
) -> io::Result<()> {
    let (mark, style) = match severity {
        "error" => ("✗", Style::new().red().bold()),
        "warning" => ("!", Style::new().yellow().bold()),
        _ => ("i", Style::new().cyan().bold()),
    };
    let beside = layout.columns.is_none_or(|columns| columns >= BESIDE);
    let indent = if beside { layout.indent + 1 } else { 4 };
    let width = layout.columns.map(|columns| columns.saturating_sub(indent));
    let mut lines = Vec::new();
    let shown = if layout.wide { groups.len() } else { DISTINCT };
    for group in groups.iter().take(shown) {
        let report = group.report;
        let container = match &report.container {
            Some(container) => format!("container {}: ", Foreign(container)),
            None => String::new(),
        };
        let text = format!("{}{container}{}", about(group), Foreign(&report.message));
        lines.extend(wrapped(&text, width));
        let fix = format!("fix: {}", Foreign(&report.cure));
        let mut fix = wrapped(&fix, width).into_iter();
        if let Some(first) = fix.next() {
            lines.push(first.replacen("fix:", &format!("{}", "fix:".cyan()), 1));
        }
        lines.extend(fix);
    }
    if groups.len() > shown {
        lines.push(format!("… and {} more (-o wide)", groups.len() - shown));
    }
    let head = format!("{mark} {id}");
    let mut lines = lines.iter();
    if beside {
        let first = lines.next().map_or("", String::as_str);
        let padding = indent.saturating_sub(head.width());
        writeln!(to, "{}{:padding$}{first}", head.style(style), "")?;
    } else {
        writeln!(to, "{}", head.style(style))?;
    }
    for line in lines {
        writeln!(to, "{:indent$}{line}", "")?;
    }
    Ok(())
}

/// `3 pods of shop/cart, shop/web and 4 others: `.
fn about(group: &Group<'_>) -> String {
    let named: Vec<String> = group
        .subjects
        .iter()
        .take(NAMED)
        .map(|subject| Foreign(subject).to_string())
        .collect();
    let subjects = match group.subjects.len().saturating_sub(named.len()) {
        0 => named.join(", "),
        1 => format!("{} and 1 other", named.join(", ")),
        others => format!("{} and {others} others", named.join(", ")),
    };
    match group.pods {
        _ if subjects.is_empty() => String::new(),
        0 => format!("{subjects}: "),
        pods => format!("{} of {subjects}: ", counted(pods, "pod")),
    }
}
