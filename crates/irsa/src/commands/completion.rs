//! `irsa completion`: a completion script for the user's shell.

use std::process::ExitCode;

use anyhow::Context as _;
use clap_complete::Shell;
use clap_complete::env::Shells;
use irsa_core::variables;

use crate::output::Output;

/// Print a completion script for a shell
///
/// Load it once to try it, or store it where your shell looks for completions. Namespaces, service accounts, pods and
/// contexts are asked of the cluster and the kubeconfig while you type. For `kubectl irsa`, whose completion kubectl
/// asks of a program named kubectl_complete-irsa, link this program under that name, too.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  source <(irsa completion bash)
  irsa completion zsh > \"${fpath[1]}/_irsa\"
  irsa completion fish > ~/.config/fish/completions/irsa.fish
  irsa completion powershell | Out-String | Invoke-Expression
  ln -s \"$(command -v irsa)\" ~/.local/bin/kubectl_complete-irsa
                                                 completion of kubectl irsa")]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let shell = args.shell.to_string();
    let shells = Shells::builtins();
    let completer = shells
        .completer(&shell)
        .with_context(|| format!("no completion for {shell}"))?;
    let mut script = Vec::new();
    completer.write_registration(variables::IRSA_COMPLETE, "irsa", "irsa", "irsa", &mut script)?;
    output.raw(String::from_utf8(script)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
