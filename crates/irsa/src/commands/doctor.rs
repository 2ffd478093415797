//! `irsa doctor`: what has to hold, looked at in order.

mod args;
mod settings;
mod text;

use std::process::ExitCode;

use irsa_core::errors;
use irsa_fleet::cluster::{Cluster, ConnectOptions};
use irsa_fleet::doctor::{self, Options};
use irsa_fleet::report::{API_VERSION, CheckReportEntry, DoctorReport, ErrorReport, RecognisedReport};

use crate::args::Format;
use crate::exit;
use crate::output::Output;

pub(crate) use args::Args;
use settings::{Question, Settings};

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let Settings { question, format } = Settings::resolve(args)?;
    match question {
        Question::Error(text) => explain_error(&text, &format, output),
        Question::Cluster { connect, options } => examine(&connect, &options, &format, output).await,
    }
}

async fn examine(
    connect: &ConnectOptions,
    options: &Options,
    format: &Format,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(connect).await?;
    let checks = doctor::doctor(&cluster, options).await?;
    let report = DoctorReport {
        api_version: API_VERSION,
        kind: "Doctor",
        context: cluster.context().to_owned(),
        server: cluster.server().to_owned(),
        checks: checks.iter().map(CheckReportEntry::of).collect(),
    };
    if format.is_text() {
        output.page(|to| text::checks(to, &report, output.columns()))?;
    } else {
        output.document(&report, format)?;
    }
    let unreachable = checks.len() == 1;
    let failed = checks.iter().any(|check| !check.verdict.is_success());
    Ok(match (failed, unreachable) {
        (true, true) => ExitCode::from(exit::FAILED),
        (true, false) => exit::no(),
        _ => ExitCode::SUCCESS,
    })
}

fn explain_error(text: &str, format: &Format, output: &Output) -> anyhow::Result<ExitCode> {
    let report = ErrorReport {
        api_version: API_VERSION,
        kind: "Errors",
        errors: errors::recognise(text).iter().map(RecognisedReport::of).collect(),
    };
    let recognised = !report.errors.is_empty();
    if !format.is_text() {
        output.document(&report, format)?;
    } else if recognised {
        output.page(|to| text::errors(to, &report, output.columns()))?;
    } else {
        output.note("error text not recognised; irsa doctor without --error examines the cluster itself")?;
    }
    Ok(if recognised { ExitCode::SUCCESS } else { exit::no() })
}
