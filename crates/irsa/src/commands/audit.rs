//! `irsa audit`: CloudTrail records in, who really called which STS endpoint out.

mod args;
mod settings;
mod text;

use std::process::ExitCode;
use std::thread;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use irsa_trail::read;
use irsa_trail::report::{Audit, CallerReport};

use crate::args::Format;
use crate::exit;
use crate::output::Output;

pub(crate) use args::Args;
use settings::{Question, Reading, Settings};

pub(crate) fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    match Settings::resolve(args)?.question {
        Question::Query(text) => {
            output.page(|to| std::io::Write::write_all(to, text.as_bytes()))?;
            Ok(ExitCode::SUCCESS)
        }
        Question::Records(reading) => audit(&reading, output),
    }
}

fn audit(reading: &Reading, output: &Output) -> anyhow::Result<ExitCode> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let bar = progress(output);
    let outcome = read::read(&reading.sources, reading.period, threads, |done| {
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let mut report = Audit::new(&outcome, reading.period);
    report.callers.retain(|caller| reading.filter.keeps(caller));
    match &reading.format {
        Format::Csv => output.page(|to| text::csv(to, &report))?,
        format if format.is_text() => {
            let wide = *format == Format::Wide;
            output.page(|to| text::write(to, &report, wide, output.columns()))?;
        }
        format => output.document(&report, format)?,
    }
    text::notes(output, &report)?;
    // Nothing seen is no evidence that the global endpoint is not used.
    let fails = report.callers.is_empty() || report.callers.iter().any(CallerReport::is_global);
    Ok(if report.summary.damaged > 0 {
        ExitCode::from(exit::FAILED)
    } else if reading.fail_on_global && fails {
        exit::no()
    } else {
        ExitCode::SUCCESS
    })
}

/// Files done, on a terminal, once reading takes long enough to be noticed.
fn progress(output: &Output) -> ProgressBar {
    let target = if output.is_error_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{pos} files read ({elapsed})") {
        bar.set_style(style);
    }
    bar
}
