//! What the arguments of `irsa set` mean.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use irsa_fleet::apply::Undo;
use irsa_fleet::cluster::ConnectOptions;
use irsa_fleet::effective::Families;
use irsa_fleet::plan::Wish;
use irsa_fleet::webhook::Overrides;

use super::args::Args;
use crate::args::{AccountName, DryRun, Format, Namespaces, read_input};
use crate::undo;

/// Everything decided.
pub(super) struct Settings {
    pub(super) connect: ConnectOptions,
    pub(super) selection: Selection,
    pub(super) families: Families,
    pub(super) overrides: Overrides,
    pub(super) dry_run: DryRun,
    pub(super) yes: bool,
    /// Take annotations over from the tools that manage them.
    pub(super) force_conflicts: bool,
    /// Leave annotations that tools manage as they are.
    pub(super) skip_conflicts: bool,
    /// Where to write the undo file; a new file in the working directory if nothing is said.
    pub(super) undo_file: Option<PathBuf>,
    pub(super) format: Format,
}

/// Which service accounts are to be changed, and to what.
pub(super) enum Selection {
    /// Back to what an undo file says.
    Undo { path: PathBuf, undo: Undo },
    /// These.
    Named {
        wish: Wish,
        accounts: Vec<AccountName>,
        namespaces: Namespaces,
    },
    /// All that have a role, or those with these labels.
    All {
        wish: Wish,
        namespaces: Namespaces,
        labels: Option<String>,
    },
}

impl Settings {
    pub(super) fn resolve(args: Args) -> anyhow::Result<Self> {
        Ok(Self {
            families: args.knowledge.families(),
            overrides: args.knowledge.overrides(),
            dry_run: args.dry_run.dry_run,
            yes: args.yes,
            force_conflicts: args.force_conflicts,
            skip_conflicts: args.skip_conflicts,
            undo_file: args.undo_file.clone(),
            format: args.format.clone(),
            connect: args.cluster.clone().options(),
            selection: selection(args)?,
        })
    }
}

fn selection(args: Args) -> anyhow::Result<Selection> {
    if args.selector.is_some() {
        bail!(
            "-l selects pods in other commands: use --account-selector to select service accounts by their own labels"
        );
    }
    if let Some(path) = args.undo {
        let undo = undo::read(&path)?;
        return Ok(Selection::Undo { path, undo });
    }
    let wish: Wish = args
        .wish
        .context("say what to choose: regional, global or default")?
        .into();
    let namespaces = args.namespace.namespaces();
    let accounts = match &args.file {
        Some(path) => {
            let accounts = listed(&read_input(path)?).with_context(|| path.display().to_string())?;
            if accounts.is_empty() {
                bail!("the file names no service account");
            }
            accounts
        }
        None => args.names,
    };
    if !accounts.is_empty() {
        return Ok(Selection::Named {
            wish,
            accounts,
            namespaces,
        });
    }
    if args.account_selector.is_none() && !args.all && !namespaces.is_all() {
        bail!("name service accounts, or select them with --account-selector, --all or -A");
    }
    Ok(Selection::All {
        wish,
        namespaces,
        labels: args.account_selector,
    })
}

/// The names in a file: one a line, `#` begins a comment.
fn listed(text: &str) -> anyhow::Result<Vec<AccountName>> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            line.parse()
                .map_err(|why| anyhow::anyhow!("line {}: `{line}`: {why}", index + 1))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_name_a_line_and_comments() {
        let accounts = listed("# from irsa status -o name\nshop/b\n\nserviceaccount/c # here\n").unwrap();
        let names: Vec<&str> = accounts.iter().map(|account| account.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(accounts[0].namespace.as_deref(), Some("shop"));
        let error = listed("a\nb/c/d\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2: `b/c/d`"), "{error}");
    }
}
