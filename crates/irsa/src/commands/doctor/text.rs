//! The reports of `irsa doctor` as people read them.

use std::io::{self, Write};

use irsa_core::text::Foreign;
use irsa_fleet::report::{DoctorReport, ErrorReport};
use owo_colors::OwoColorize as _;

use crate::output::indented;

/// Where evidence stands.
const INDENT: usize = 10;

/// Writes each check with what was seen and what to do, and how many passed.
pub(super) fn checks(to: &mut impl Write, report: &DoctorReport, columns: Option<usize>) -> io::Result<()> {
    for (index, check) in report.checks.iter().enumerate() {
        let word = match check.verdict {
            "pass" => format!("{}", check.verdict.green()),
            "warn" => format!("{}", check.verdict.yellow().bold()),
            "fail" | "unknown" => format!("{}", check.verdict.red().bold()),
            other => format!("{}", other.dimmed()),
        };
        writeln!(to, "{:>2}. {word}  {}", index + 1, check.title)?;
        for evidence in &check.evidence {
            indented(to, INDENT, "", &Foreign(evidence).to_string(), columns)?;
        }
        if let Some(cure) = &check.cure {
            indented(to, INDENT, "fix:", &Foreign(cure).to_string(), columns)?;
        }
    }
    let count = |verdict| {
        report
            .checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    writeln!(
        to,
        "\n{} passed, {} with warnings, {} failed, {} unknown, {} skipped",
        count("pass"),
        count("warn"),
        count("fail"),
        count("unknown"),
        count("skip")
    )
}

/// Writes what each recognised error means and what decides it.
pub(super) fn errors(to: &mut impl Write, report: &ErrorReport, columns: Option<usize>) -> io::Result<()> {
    for (index, found) in report.errors.iter().enumerate() {
        if index > 0 {
            writeln!(to)?;
        }
        let code = found.code.map_or(String::new(), |code| format!(" {code}"));
        writeln!(to, "{}{code} (from {})", found.id.bold(), found.origin)?;
        indented(to, 2, "", found.meaning, columns)?;
        if !found.captured.is_empty() {
            let captured = Foreign(found.captured.join(", ")).to_string();
            indented(to, 2, "in this text:", &captured, columns)?;
        }
        for check in &found.checks {
            indented(to, 2, "decided by:", check.what, columns)?;
            writeln!(to, "      {}", check.command)?;
        }
        for cure in &found.cures {
            indented(to, 2, "fix:", cure, columns)?;
        }
    }
    Ok(())
}
