//! `irsa lab up`: starts a lab and keeps it until it is told to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::Context;
use irsa_core::endpoint::{EndpointType, GlobalValue};
use irsa_core::settings::Settings;
use irsa_lab::{Authorization, Lab, LabConfig, state, view};
use owo_colors::OwoColorize;
use tokio::signal::unix::{SignalKind, signal};

use crate::output::Output;

/// Start a lab and keep it up until Ctrl-C, or for as long as COMMAND runs
///
/// The cluster is a Kubernetes API on loopback that real kubectl uses, with controllers, nodes and the webhook; the
/// AWS is an STS and an S3 that verify every token and signature. All state is in memory; nothing is left behind.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa lab up                                 then, elsewhere: export KUBECONFIG=… as it prints
  irsa lab up -- kubectl get pods -A          a lab for one command, whose exit code is passed on
  irsa lab up --kubernetes 1.22               a cluster that is too old to choose
  irsa lab up --sts-regional-endpoint=false   what pods get whose service account says nothing")]
pub(crate) struct Args {
    /// Kubernetes version that the cluster says it has, and that the endpoint rules see
    #[arg(long, value_name = "VERSION", default_value = irsa_lab::DEFAULT_KUBERNETES)]
    kubernetes: String,

    /// EKS platform version, or `none` for a cluster that is not EKS
    #[arg(long, value_name = "eks.N", default_value = "eks.1")]
    platform: String,

    /// Region in which the nodes stand
    #[arg(long, default_value = irsa_lab::DEFAULT_REGION)]
    region: String,

    /// How many nodes the cluster has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=100))]
    nodes: u8,

    /// Who may do what in the cluster: everybody everything, or what roles grant
    #[arg(long, value_name = "MODE", value_enum, default_value_t = AuthorizationMode::AlwaysAllow)]
    authorization: AuthorizationMode,

    /// Where the Kubernetes API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Folder for kubeconfig, CA and addresses; other `irsa lab` commands find the lab by it
    #[arg(long, value_name = "DIR", env = state::VARIABLE)]
    state_dir: Option<PathBuf>,

    /// The webhook's default for service accounts that say nothing; without it the platform's default holds
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sts_regional_endpoint: Option<bool>,

    /// What the webhook writes for a chosen global endpoint: legacy, omit or global
    #[arg(long, value_name = "WORD", default_value = "legacy")]
    global_endpoint_value: GlobalValue,

    /// Let the webhook behave as the Go webhook does
    #[arg(long, value_name = "WHOM", value_parser = ["upstream"])]
    compat: Option<String>,

    /// Start without a webhook, to install one: irsa install --image irsa | kubectl apply -f -
    #[arg(long, conflicts_with_all = ["sts_regional_endpoint", "global_endpoint_value", "compat"])]
    no_webhook: bool,

    /// A command to run with KUBECONFIG set; the lab ends with it
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,
}

/// How the lab's API server decides who may do what.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum AuthorizationMode {
    AlwaysAllow,
    Rbac,
}

impl Args {
    fn config(&self) -> LabConfig {
        let settings = Settings {
            region: Some(self.region.as_str().into()),
            flag: self.sts_regional_endpoint.map(EndpointType::from_regional),
            global_value: self.global_endpoint_value,
            ..Settings::default()
        };
        LabConfig {
            kubernetes: self.kubernetes.clone(),
            platform: (self.platform != "none").then(|| self.platform.clone()),
            region: self.region.clone(),
            nodes: self.nodes,
            authorization: match self.authorization {
                AuthorizationMode::AlwaysAllow => Authorization::AlwaysAllow,
                AuthorizationMode::Rbac => Authorization::Rbac,
            },
            listen: self.listen,
            // A lab for one command leaves the user's other lab alone.
            state_dir: Some(
                self.state_dir
                    .clone()
                    .unwrap_or_else(|| match self.command.is_empty() {
                        true => state::default_path(),
                        false => state::path_for_one_command(),
                    }),
            ),
            with_webhook: !self.no_webhook,
            webhook: if self.compat.is_some() {
                settings.upstream()
            } else {
                settings
            },
            ..LabConfig::default()
        }
    }
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    // Before the lab starts: a signal in between must not leave anything behind.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let lab = tokio::select! {
        lab = Lab::start(args.config()) => lab.context("the lab did not start")?,
        _ = terminate.recv() => anyhow::bail!("ended before the lab was up"),
        _ = interrupt.recv() => anyhow::bail!("ended before the lab was up"),
        _ = hangup.recv() => anyhow::bail!("ended before the lab was up"),
    };
    let result = async {
        if args.command.is_empty() {
            introduce(&lab, output)?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
            return Ok(ExitCode::SUCCESS);
        }
        let (program, arguments) = args.command.split_first().context("no command")?;
        let command = view::command_that_dies_with_us(program, arguments);
        let mut child = tokio::process::Command::from(command)
            .env("KUBECONFIG", lab.kubeconfig_path())
            .env(state::VARIABLE, lab.state_dir())
            .stdin(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        // Ctrl-C reaches the command by itself, as it shares the terminal; we wait for what it makes of it.
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = terminate.recv() => child.start_kill()?,
                _ = hangup.recv() => child.start_kill()?,
                _ = interrupt.recv() => {}
            }
        };
        if args.state_dir.is_none() {
            // What the command has left running knows the lab by this folder, which nobody else has.
            view::end_all(lab.state_dir());
        }
        Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from))
    }
    .await;
    lab.shutdown().await;
    result
}

fn introduce(lab: &Lab, output: &Output) -> anyhow::Result<()> {
    let kubeconfig = lab.kubeconfig_path();
    output.out(format_args!(
        "{} Kubernetes {} at {}",
        "The lab is ready.".bold(),
        lab.api().version().git_version(),
        lab.url()
    ))?;
    output.out("\nUse it from another terminal:\n")?;
    for line in [
        format!("export KUBECONFIG={}", kubeconfig.display()),
        "kubectl apply -f examples/aws-node.yaml".to_owned(),
        "kubectl annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=true".to_owned(),
        "kubectl delete pods -n kube-system -l k8s-app=aws-node".to_owned(),
        "kubectl describe pods -n kube-system -l k8s-app=aws-node | grep AWS_STS_REGIONAL_ENDPOINTS".to_owned(),
    ] {
        output.out(format_args!("  {}", line.cyan()))?;
    }
    output.out(format_args!(
        "\nAWS is at the proxy {}, its CA in {}.",
        lab.proxy().url(),
        state::ca(lab.state_dir()).display()
    ))?;
    output.out(
        "kubectl exec and irsa lab run start processes of this machine, as you: only their volumes are the container's.",
    )?;
    output.out("Ctrl-C ends the lab; nothing is left behind.")?;
    Ok(())
}
