//! `irsa url`: presigned URLs taken apart, and the form in which each SDK makes them.

mod addressing;
mod inspect;
mod inspect_report;
mod predict;
mod predict_report;

use std::process::ExitCode;

use clap::Subcommand;

use crate::output::Output;

pub(crate) use predict::prediction_table;
pub(crate) use predict_report::PredictionReport;

/// Take presigned URLs apart, or predict their form
///
/// S3 answers on a global host (bucket.s3.amazonaws.com) and on one per region (bucket.s3.us-west-2.amazonaws.com).
/// Which of them a presigned URL has is chosen by SDK, addressing style and settings of S3, not by
/// AWS_STS_REGIONAL_ENDPOINTS.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Predict(predict::Args),
}

pub(crate) fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Inspect(args) => inspect::run(args, output),
        Command::Predict(args) => predict::run(args, output),
    }
}
