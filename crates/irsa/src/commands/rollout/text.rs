//! The plan of `irsa rollout` as people read it.

use std::io::{self, Write};

use irsa_core::text::Foreign;
use irsa_fleet::report::{RolloutReport, TargetReport};
use owo_colors::OwoColorize as _;

use crate::output::{Cell, Table, counted, indented};

/// Writes which workloads are rolled and how, and which are not and why. `pods` were looked at.
pub(super) fn plan(
    to: &mut impl Write,
    report: &RolloutReport,
    pods: usize,
    columns: Option<usize>,
) -> io::Result<()> {
    if report.workloads.is_empty() && report.left.is_empty() {
        return writeln!(
            to,
            "nothing to recreate: none of {} is stale",
            counted(pods, "pod")
        );
    }
    if !report.workloads.is_empty() {
        let mut table = Table::new(&["NAMESPACE", "WORKLOAD", "STALE PODS", "HOW", "WHY SO"]);
        for target in &report.workloads {
            table.row([
                Cell::from(&target.namespace),
                Cell::from(&target.workload),
                Cell::from(target.stale.len().to_string()),
                Cell::from(target.way),
                Cell::from(target.reason.as_deref().unwrap_or("-")),
            ]);
        }
        table.write(to, columns)?;
    }
    for target in &report.left {
        left(to, target, columns)?;
    }
    Ok(())
}

fn left(to: &mut impl Write, target: &TargetReport, columns: Option<usize>) -> io::Result<()> {
    writeln!(to)?;
    let label = format!("{}", "not recreated:".yellow());
    writeln!(
        to,
        "{label} {} in {} ({})",
        Foreign(&target.workload),
        Foreign(&target.namespace),
        counted(target.stale.len(), "stale pod")
    )?;
    if let Some(reason) = &target.reason {
        indented(to, 2, "", &Foreign(reason).to_string(), columns)?;
    }
    if let Some(cure) = &target.cure {
        indented(to, 2, "fix:", &Foreign(cure).to_string(), columns)?;
    }
    Ok(())
}
