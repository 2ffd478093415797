//! `irsa version`.

use std::process::ExitCode;

use crate::output::Output;

/// Print the version
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    output.out(format_args!("irsa {}", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitCode::SUCCESS)
}
