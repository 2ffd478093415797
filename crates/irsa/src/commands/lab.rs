//! `irsa lab …`: an embedded cluster and an embedded AWS for one's own kubectl and SDKs.

pub(crate) mod events;
mod region;
mod run;
mod switch;
mod up;

use std::process::ExitCode;

use clap::Subcommand;

use crate::output::Output;

/// An embedded cluster with the webhook and an embedded AWS, for your own kubectl and SDKs
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Run(run::Args),
    Events(events::Args),
    Region(region::Args),
    Switch(switch::Args),
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Up(args) => up::run(args, output).await,
        Command::Run(args) => run::run(args, output).await,
        Command::Events(args) => events::run(args, output).await,
        Command::Region(args) => region::run(args, output).await,
        Command::Switch(args) => switch::run(args, output).await,
    }
}
