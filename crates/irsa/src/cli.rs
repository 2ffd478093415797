//! Which commands there are, and which of them an invocation asks for.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::output::{Color, Output};

/// Which AWS STS endpoint every Kubernetes service account uses: shown, changed, proven
///
/// A pod gets AWS credentials by exchanging its service-account token at AWS STS, on the global endpoint or on
/// one of its regions. `irsa` is the admission webhook that gives each pod its choice, the command that shows and
/// changes what a fleet really uses, and a lab in which all of it runs on a laptop.
#[derive(Debug, Parser)]
#[command(name = "irsa", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub(crate) color: Color,

    #[command(subcommand)]
    pub(crate) command: Command,
}

// Each variant is one file in `commands/`. Keep the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(commands::status::Args),
    Explain(Box<commands::explain::Args>),
    Url(commands::url::Args),
    Check(Box<commands::check::Args>),
    Audit(Box<commands::audit::Args>),
    Set(commands::set::Args),
    Rollout(commands::rollout::Args),
    Doctor(commands::doctor::Args),
    Demo(commands::demo::Args),
    Lab(commands::lab::Args),
    Sts(commands::sts::Args),
    Webhook(Box<commands::webhook::Args>),
    Install(Box<commands::install::Args>),
    Uninstall(Box<commands::uninstall::Args>),
    Oidc(commands::oidc::Args),
    Completion(commands::completion::Args),
    Man(commands::man::Args),
    Version(commands::version::Args),
}

/// Runs the command that was asked for.
pub(crate) async fn dispatch(command: Command, output: &Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(args) => commands::status::run(args, output).await,
        Command::Explain(args) => commands::explain::run(&args, output).await,
        Command::Url(args) => commands::url::run(args, output),
        Command::Check(args) => commands::check::run(*args, output),
        Command::Rollout(args) => commands::rollout::run(args, output).await,
        Command::Doctor(args) => commands::doctor::run(args, output).await,
        Command::Set(args) => commands::set::run(args, output).await,
        Command::Demo(args) => commands::demo::run(args, output).await,
        Command::Lab(args) => commands::lab::run(args, output).await,
        Command::Sts(args) => commands::sts::run(args, output).await,
        Command::Webhook(args) => commands::webhook::run(*args, output).await,
        Command::Audit(args) => commands::audit::run(*args, output),
        Command::Install(args) => commands::install::run(&args, output).await,
        Command::Uninstall(args) => commands::uninstall::run(&args, output),
        Command::Oidc(args) => commands::oidc::run(&args, output),
        Command::Completion(args) => commands::completion::run(&args, output),
        Command::Man(args) => commands::man::run(&args, output),
        Command::Version(args) => commands::version::run(&args, output),
    }
}

/// The whole command line, for parsing, completion scripts and man pages.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// The command line as the user calls it: `irsa`, or `kubectl irsa` when kubectl found us as its plugin
/// `kubectl-irsa`.
pub(crate) fn command_as_invoked(argv0: Option<OsString>) -> (&'static str, clap::Command) {
    let is_plugin = argv0
        .as_deref()
        .and_then(|path| Path::new(path).file_stem())
        .is_some_and(|stem| stem == "kubectl-irsa");
    if is_plugin {
        ("kubectl irsa", command().bin_name("kubectl irsa"))
    } else {
        ("irsa", command())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_speaks_of_kubectl_irsa_when_called_as_its_plugin() {
        let (name, command) = command_as_invoked(Some(OsString::from("/usr/local/bin/kubectl-irsa")));
        assert_eq!(name, "kubectl irsa");
        assert_eq!(command.get_bin_name(), Some("kubectl irsa"));
        assert_eq!(command_as_invoked(Some(OsString::from("irsa"))).0, "irsa");
        assert_eq!(command_as_invoked(None).0, "irsa");
    }
}
