//! The `irsa` command: arguments in, text out. No rule lives here.

mod args;
mod cli;
mod commands;
mod complete;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod environment_page;
mod jsonpath;
mod output;
mod undo;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use irsa_core::variables;

use crate::output::{Color, Output};

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
    let argv0 = std::env::args_os().next();
    let (name, command) = cli::command_as_invoked(argv0.clone());
    let columns = std::env::var(variables::COLUMNS)
        .ok()
        .and_then(|text| text.parse().ok());
    // Every TLS connection of this process uses this provider; nobody else installs one before `main`.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        let error = anyhow::anyhow!("a TLS provider is already installed");
        return fail(&Output::new(Color::Auto, columns), name, &error);
    }
    if complete::is_asked_by_kubectl(argv0.as_deref()) {
        return complete_for_kubectl(name, command);
    }
    clap_complete::CompleteEnv::with_factory(cli::command)
        .var(variables::IRSA_COMPLETE)
        .complete();
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // `--help` and `--version` arrive here too, as text for stdout with exit code 0.
            let code = if error.use_stderr() { exit::FAILED } else { 0 };
            return match Output::new(Color::Auto, columns).usage(&error) {
                Err(write) if write.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(exit::FAILED),
                _ => ExitCode::from(code),
            };
        }
    };
    let cli = match cli::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut cli::Cli::command()).exit(),
    };
    let output = Output::new(cli.color, columns);
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

fn complete_for_kubectl(name: &str, command: clap::Command) -> ExitCode {
    let output = Output::new(Color::Never, None);
    let answer = complete::for_kubectl(command, std::env::args_os().skip(1));
    match answer.and_then(|answer| output.raw(&answer)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&output, name, &error.into()),
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
