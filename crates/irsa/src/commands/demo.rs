//! `irsa demo`: the whole procedure on an embedded cluster, each step done, shown, explained and verified.

mod example;
mod hands;
mod proof;
mod tour;

use std::process::ExitCode;

use anyhow::Context;
use irsa_core::endpoint::Platform;
use irsa_lab::{Lab, LabConfig};

use crate::output::Output;

/// Watch the whole procedure on an embedded cluster: look, choose, recreate, prove
///
/// Starts a lab (cluster, webhook, STS) in this process, applies a DaemonSet `aws-node`, and goes through the steps
/// of the EKS user guide: region, endpoint in use, annotation, recreation, verification; to the global endpoint and
/// back. Each step is done for real and checked through the API. Nothing is left behind.
///
/// Exit code 0: every step was verified. 1: a step was not. 2: the demo could not run.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa demo                  the procedure, about ten seconds
  irsa demo --no-kubectl     done through the API only, without the kubectl of this machine
  irsa demo | less -R        plain text when piped")]
pub(crate) struct Args {
    /// Do every step through the cluster's API, even where kubectl is installed
    #[arg(long)]
    no_kubectl: bool,

    /// Kubernetes version that the cluster claims to be
    #[arg(long, value_name = "VERSION", default_value = irsa_lab::DEFAULT_KUBERNETES)]
    kubernetes: String,

    /// EKS platform version that the endpoint rules see
    #[arg(long, value_name = "eks.N", default_value = "eks.1")]
    platform: String,
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let platform = Platform::parse(&args.kubernetes, Some(&args.platform))?;
    let lab = Lab::start(LabConfig {
        kubernetes: args.kubernetes,
        platform: Some(args.platform),
        ..LabConfig::default()
    })
    .await
    .context("the lab did not start")?;
    let finished = tokio::select! {
        result = tour::run(&lab, platform, args.no_kubectl, output) => Some(result),
        _ = tokio::signal::ctrl_c() => None,
    };
    lab.shutdown().await;
    match finished {
        Some(Ok(true)) => Ok(ExitCode::SUCCESS),
        Some(Ok(false)) => Ok(crate::exit::no()),
        Some(Err(error)) => Err(error),
        None => anyhow::bail!("interrupted; the lab has been removed"),
    }
}
