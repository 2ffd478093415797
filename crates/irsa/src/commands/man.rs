//! `irsa man`: manual pages of every command, made from the same definitions as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::output::Output;

/// Write a manual page for every command
///
/// Without a folder the page of `irsa` itself goes to standard output.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa man ~/.local/share/man/man1 && man irsa-status
  irsa man | man -l -")]
pub(crate) struct Args {
    /// Folder to write irsa.1, irsa-status.1, … into; made if it is missing
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let command = crate::cli::command().disable_help_subcommand(true);
    match &args.folder {
        None => clap_mangen::Man::new(command).render(&mut output.stdout())?,
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            clap_mangen::generate_to(command, folder)
                .with_context(|| format!("cannot write the pages to {}", folder.display()))?;
            output.note(format_args!("pages written to {}", folder.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
