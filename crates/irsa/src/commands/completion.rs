//! `irsa completion`: a completion script for the user's shell.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::output::Output;

/// Print a completion script for a shell
///
/// Load it once to try it, or store it where your shell looks for completions.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  source <(irsa completion bash)
  irsa completion zsh > \"${fpath[1]}/_irsa\"
  irsa completion fish > ~/.config/fish/completions/irsa.fish
  irsa completion powershell | Out-String | Invoke-Expression")]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), "irsa", &mut script);
    output.stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
