//! The `irsa` command: arguments in, text out. No rule lives here.

mod args;
mod cli;
mod commands;
mod output;
mod undo;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::output::Output;

/// What the exit codes mean, for every command.
pub(crate) mod exit {
    use std::process::ExitCode;

    /// The answer is "no": findings at or above `--fail-on`, a step that was not verified.
    pub(crate) const NO: u8 = 1;
    /// The command could not do what it was asked to: wrong usage, no access, a lost connection.
    pub(crate) const FAILED: u8 = 2;

    /// The exit code of an error: an object that was named and does not exist is an answer, not a failure.
    pub(crate) fn of(error: &anyhow::Error) -> u8 {
        match error.downcast_ref() {
            Some(irsa_fleet::cluster::Error::NotFound { .. }) => NO,
            _ => FAILED,
        }
    }

    /// `NO` as an [`ExitCode`].
    pub(crate) fn no() -> ExitCode {
        ExitCode::from(NO)
    }
}

fn main() -> ExitCode {
    let (name, command) = cli::command_as_invoked(std::env::args_os().next());
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // `--help` and `--version` arrive here too, as text for stdout with exit code 0.
            let code = if error.use_stderr() { exit::FAILED } else { 0 };
            return match error.print() {
                Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(exit::FAILED),
                _ => ExitCode::from(code),
            };
        }
    };
    let cli = match cli::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut cli::Cli::command()).exit(),
    };
    let columns = std::env::var(irsa_core::variables::COLUMNS)
        .ok()
        .and_then(|text| text.parse().ok());
    let output = Output::new(cli.color, columns);
    // Every TLS connection of this process uses this provider; nobody else installs one before `main`.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return fail(
            &output,
            name,
            &anyhow::anyhow!("a TLS provider is already installed"),
        );
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(
                &output,
                name,
                &anyhow::Error::new(error).context("starting the async runtime"),
            );
        }
    };
    let result = runtime.block_on(cli::dispatch(cli.command, &output));
    // A task that still reads from a terminal must not keep the process alive.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&output, name, &error),
    }
}

fn fail(output: &Output, name: &str, error: &anyhow::Error) -> ExitCode {
    let _ = output.error(name, error);
    ExitCode::from(exit::of(error))
}

/// `irsa … | head` closes our standard output when it has seen enough: that is success, not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
