//! `irsa lab switch`: choices that AWS has made one way, or that an account can make, changed in a running lab.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use irsa_lab::control::{Addresses, Request};
use irsa_lab::state;

use crate::output::Output;

/// Change how the lab's AWS behaves where an account, or time, decides
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa lab switch global-tokens v2     session tokens of sts.amazonaws.com are valid in every region
  irsa lab switch s3-redirects on      BUCKET.s3.amazonaws.com answers 307, as for a new bucket")]
pub(crate) struct Args {
    #[command(subcommand)]
    switch: Switch,

    /// Folder of the lab
    #[arg(long, global = true, value_name = "DIR", env = state::VARIABLE)]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Switch {
    /// Which session tokens sts.amazonaws.com gives out: v1 (not valid in opt-in regions; AWS's default) or v2
    GlobalTokens {
        /// The version
        #[arg(value_name = "VERSION")]
        tokens: Version,

        /// Only for this account
        #[arg(long, value_name = "ID")]
        account: Option<String>,
    },
    /// Whether BUCKET.s3.amazonaws.com redirects (307) for buckets outside us-east-1, as AWS does for up to a day after
    /// their creation
    #[command(name = "s3-redirects")]
    Redirects {
        /// Whether
        state: OnOff,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Version {
    V1,
    V2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OnOff {
    On,
    Off,
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let lab = Addresses::read(&args.state_dir.unwrap_or_else(state::default_path))?;
    let (request, said) = match args.switch {
        Switch::GlobalTokens { tokens, account } => {
            let version_2 = tokens == Version::V2;
            let said = if version_2 {
                "tokens of sts.amazonaws.com are valid in every region from now on"
            } else {
                "tokens of sts.amazonaws.com are not valid in opt-in regions from now on"
            };
            (Request::GlobalTokens { account, version_2 }, said)
        }
        Switch::Redirects { state } => {
            let on = state == OnOff::On;
            let said = if on {
                "BUCKET.s3.amazonaws.com redirects to the bucket's region"
            } else {
                "BUCKET.s3.amazonaws.com leads to the bucket's region"
            };
            (Request::RedirectNewBuckets { on }, said)
        }
    };
    lab.ask(&request).await?;
    output.note(said)?;
    Ok(ExitCode::SUCCESS)
}
