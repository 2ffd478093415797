//! `docs/environment.md` is made from the constants and the flags that have a variable; a test compares the two.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use irsa_core::variables;

const HEAD: &str = "\
# Environment variables

This page is made from the code; a test compares the two. A flag always wins over its variable.

| variable | read by | meaning |
| --- | --- | --- |
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Flags with a variable, as (variable, command, flag).
fn of_flags(command: &clap::Command, path: &str, found: &mut Vec<(String, String, String)>) {
    for arg in command.get_arguments() {
        if let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) {
            found.push((
                variable.to_string_lossy().into_owned(),
                path.to_owned(),
                format!("--{long}"),
            ));
        }
    }
    for sub in command.get_subcommands() {
        of_flags(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

fn page() -> String {
    let mut text = HEAD.to_owned();
    for variable in variables::ALL {
        writeln!(
            text,
            "| `{}` | {} | {} |",
            variable.name, variable.read_by, variable.meaning
        )
        .unwrap();
    }
    let mut flags = Vec::new();
    of_flags(&crate::cli::command(), "irsa", &mut flags);
    flags.retain(|(variable, ..)| !variables::ALL.iter().any(|known| known.name == variable));
    flags.sort();
    text.push_str("\n## In place of flags\n\n| variable | flag |\n| --- | --- |\n");
    for (variable, command, flag) in flags {
        writeln!(text, "| `{variable}` | `{command} {flag}` |").unwrap();
    }
    text
}

#[test]
fn the_page_of_variables_is_what_the_code_reads() {
    let path = root().join("docs/environment.md");
    let page = page();
    if std::env::var_os("IRSA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/environment.md is outdated: IRSA_WRITE_DOCS=1 cargo test -p irsa environment_page"
    );
}

/// A variable that is read by a literal name would be missing from the page.
#[test]
fn no_crate_reads_a_variable_by_a_name_of_its_own() {
    let mut found = Vec::new();
    for crate_folder in std::fs::read_dir(root().join("crates")).unwrap() {
        sources(&crate_folder.unwrap().path().join("src"), &mut found);
    }
    assert!(
        found.is_empty(),
        "use a constant of irsa_core::variables in {found:?}"
    );
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests have switches of their own, and stand at the end of a file.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let by_literal = ["env::var(\"", "env::var_os(\""]
                .iter()
                .any(|call| code.contains(call));
            let is_test = path
                .file_stem()
                .is_some_and(|stem| stem == "tests" || stem == "environment_page" || stem == "flags_page");
            if by_literal && !is_test {
                found.push(path);
            }
        }
    }
}
