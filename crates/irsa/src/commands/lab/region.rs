//! `irsa lab region`: regions of the lab's AWS that are switched off, or fail.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use irsa_core::partition;
use irsa_lab::control::{Addresses, Answer, Fault, Request};
use irsa_lab::state;

use crate::output::Output;

/// Switch regions of the lab's AWS off and on, or let them fail
///
/// What a client meets when STS is not active in its region, or when the region has an outage.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa lab region deactivate us-west-2          RegionDisabledException from its STS endpoint
  irsa lab region fail us-west-2                503 from its STS endpoint
  irsa lab region fail aws-global --answer silence   sts.amazonaws.com does not answer
  irsa lab region fail us-west-2 --delay 2s --every 3
  irsa lab region heal us-west-2")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// Folder of the lab
    #[arg(long, global = true, value_name = "DIR", env = state::VARIABLE)]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Activate STS in a region
    Activate(Activation),
    /// Deactivate STS in a region
    Deactivate(Activation),
    /// Let a region's STS endpoint fail
    Fail(Fail),
    /// End `fail`
    Heal {
        /// The region, or aws-global for sts.amazonaws.com
        #[arg(value_parser = region_or_global)]
        region: String,
    },
}

#[derive(clap::Args, Debug)]
struct Activation {
    /// The region
    #[arg(value_parser = region)]
    region: String,

    /// Only for this account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
}

#[derive(clap::Args, Debug)]
struct Fail {
    /// The region, or aws-global for sts.amazonaws.com
    #[arg(value_parser = region_or_global)]
    region: String,

    /// What is answered; without it `unavailable`, or the truth when there is a delay
    #[arg(long, value_enum)]
    answer: Option<Word>,

    /// How much later every answer comes: 500ms, 2s
    #[arg(long, value_name = "TIME", value_parser = irsa_core::duration::parse)]
    delay: Option<Duration>,

    /// Hit only every n-th call
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Word {
    /// 503 ServiceUnavailable
    Unavailable,
    /// 500 InternalFailure
    InternalFailure,
    /// 400 Throttling
    Throttling,
    /// Nothing, until the client gives up
    Silence,
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let lab = Addresses::read(&args.state_dir.unwrap_or_else(state::default_path))?;
    let activation = |activation: Activation, active| Request::Activation {
        region: activation.region,
        account: activation.account,
        active,
    };
    let (request, said) = match args.command {
        Command::Activate(one) => {
            let said = format!("STS is active in {}", one.region);
            (activation(one, true), said)
        }
        Command::Deactivate(one) => {
            let said = format!("STS is not active in {}", one.region);
            (activation(one, false), said)
        }
        Command::Fail(fail) => {
            let said = format!("{} fails until `irsa lab region heal {0}`", fail.region);
            let answer = match fail.answer {
                Some(Word::Unavailable) => Some(Answer::Unavailable),
                Some(Word::InternalFailure) => Some(Answer::InternalFailure),
                Some(Word::Throttling) => Some(Answer::Throttling),
                Some(Word::Silence) => Some(Answer::Silence),
                None => fail.delay.is_none().then_some(Answer::Unavailable),
            };
            let delay = fail.delay.unwrap_or_default().as_millis();
            let fault = Fault {
                delay_milliseconds: u64::try_from(delay).unwrap_or(u64::MAX),
                answer,
                every: fail.every,
            };
            (
                Request::Fault {
                    region: fail.region,
                    fault: Some(fault),
                },
                said,
            )
        }
        Command::Heal { region } => {
            let said = format!("{region} answers again");
            (Request::Fault { region, fault: None }, said)
        }
    };
    lab.ask(&request).await?;
    output.note(said)?;
    Ok(ExitCode::SUCCESS)
}

fn region(text: &str) -> Result<String, String> {
    if partition::all_regions().any(|known| known == text) {
        Ok(text.to_owned())
    } else {
        Err("there is no such region".to_owned())
    }
}

fn region_or_global(text: &str) -> Result<String, String> {
    if text == partition::AWS_GLOBAL {
        return Ok(text.to_owned());
    }
    region(text).map_err(|error| format!("{error}; sts.amazonaws.com itself is {}", partition::AWS_GLOBAL))
}
