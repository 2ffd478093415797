//! `irsa lab run`: a command on this machine that believes to be a container of a pod.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use irsa_lab::container::Container;
use irsa_lab::control::Addresses;
use irsa_lab::foreground::{self, LogTarget};
use irsa_lab::run::{Sandbox, Way};
use irsa_lab::state;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::exit;
use crate::output::Output;

/// Run a command with exactly the environment and the token of a pod's container
///
/// The command runs on this machine. It has the container's variables, its projected token in a private file that is
/// refreshed before it expires, the lab's CA for every SDK, and the way to the lab's AWS; its exit code is passed on.
/// What it prints to a pipe or file is also in `kubectl logs`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa lab run aws-node-x7k2p -n kube-system -- env
  irsa lab run app-0 -- aws sts get-caller-identity        an AWS CLI of this machine, as that pod
  irsa lab run app-0 --netns -- node app.js                for clients that ignore proxies (Linux, root)

Exit code: that of COMMAND; 127 if it does not exist; 2 if it could not be run.")]
pub(crate) struct Args {
    /// The pod, as `NAME` or `pod/NAME`
    pod: String,

    /// The container; without it the pod's default one
    #[arg(short, long)]
    container: Option<String>,

    /// The pod's namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,

    /// Give the command a network namespace in which AWS names lead to the lab, instead of HTTPS_PROXY
    #[arg(long)]
    netns: bool,

    /// Set a further variable, or replace one
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,

    /// Folder of the lab
    #[arg(long, value_name = "DIR", env = state::VARIABLE)]
    state_dir: Option<PathBuf>,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let folder = args.state_dir.unwrap_or_else(state::default_path);
    let lab = Addresses::read(&folder)?;
    let ca = state::ca(&folder);
    let ca = std::fs::read_to_string(&ca).with_context(|| format!("cannot read {}", ca.display()))?;
    let reach = lab.reach(ca);

    let kubeconfig = Kubeconfig::read_from(state::kubeconfig(&folder))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = kube::Client::try_from(config)?;
    let pod = args
        .pod
        .strip_prefix("pod/")
        .or_else(|| args.pod.strip_prefix("pods/"))
        .unwrap_or(&args.pod);
    let container = Container::read(&client, &args.namespace, pod, args.container.as_deref()).await?;
    let log = LogTarget {
        lab,
        pod: container.pod_uid().to_owned(),
        container: container.name().to_owned(),
    };
    let way = if args.netns { Way::Namespace } else { Way::Proxy };
    let mut sandbox = Sandbox::prepare(client, container, &reach, way).await?;
    for note in sandbox.notes() {
        output.note(format_args!("note: {note}"))?;
    }
    for (name, value) in &args.environment {
        sandbox.set(name, value);
    }
    let mut command = args.command.into_iter();
    let program = command.next().context("no command")?;
    match foreground::run(&sandbox, program, command.collect(), way, &reach, Some(log)).await {
        Ok(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(exit::FAILED))),
        Err(error) => match error.exit_code() {
            Some(code) => {
                output.error("irsa lab run", &error.into())?;
                Ok(ExitCode::from(u8::try_from(code).unwrap_or(exit::FAILED)))
            }
            None => Err(error.into()),
        },
    }
}
