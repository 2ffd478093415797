//! `docs/flags.md` is generated from the command line, and a test checks that it is up to date.

use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
# Flags of the webhook and its installation

This page is generated from the command line, and a test keeps it up to date. For other commands, see
`irsa COMMAND --help` or `irsa man`. Booleans have the same values as in Go (`1 t T TRUE true True 0 f F FALSE false
False`), and so do durations (`90s`, `1h30m`). Each flag of `irsa webhook` can also be set with the environment variable
next to it; the flag takes precedence.
";

/// One cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn page() -> String {
    let root = crate::cli::command();
    let mut text = HEAD.to_owned();
    for name in ["webhook", "install", "uninstall", "oidc"] {
        let command = root.find_subcommand(name).unwrap();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(text, "\n## irsa {name}\n\n{about}.").unwrap();
        if name == "uninstall" {
            text.push_str(
                "\nThe flags are those of `irsa install`. `--image` and `--region` are not needed.\n",
            );
            continue;
        }
        let mut heading = None;
        let mut first = true;
        for arg in command.get_arguments() {
            let shown = !arg.is_hide_set()
                && !arg.is_global_set()
                && !["help", "version"].contains(&arg.get_id().as_str());
            let Some(long) = arg.get_long().filter(|_| shown) else {
                continue;
            };
            if std::mem::replace(&mut first, false) || heading != arg.get_help_heading() {
                heading = arg.get_help_heading();
                if let Some(heading) = heading {
                    write!(text, "\n### {heading}\n").unwrap();
                }
                text.push_str("\n| flag | default | meaning |\n| --- | --- | --- |\n");
            }
            let default = arg
                .get_default_values()
                .iter()
                .map(|value| value.to_string_lossy())
                .collect::<Vec<_>>()
                .join(",");
            let default = if default.is_empty() || arg.is_hide_default_value_set() {
                String::new()
            } else {
                format!("`{default}`")
            };
            let short = arg
                .get_short()
                .map(|short| format!("`-{short}`, "))
                .unwrap_or_default();
            let variable = arg
                .get_env()
                .map(|name| format!(" (`{}`)", name.to_string_lossy()))
                .unwrap_or_default();
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let values: Vec<_> = arg.get_possible_values();
            let takes_words = arg.get_action().takes_values()
                && !values.is_empty()
                && !values
                    .iter()
                    .all(|value| ["true", "false"].contains(&value.get_name()));
            if takes_words {
                let listed =
                    values
                        .iter()
                        .filter(|value| !value.is_hide_set())
                        .map(|value| match value.get_help() {
                            Some(help) => format!("`{}`: {help}", value.get_name()),
                            None => format!("`{}`", value.get_name()),
                        });
                write!(help, " ({})", listed.collect::<Vec<_>>().join("; ")).unwrap();
            }
            writeln!(
                text,
                "| {short}`--{long}`{variable} | {} | {} |",
                cell(&default),
                cell(&help)
            )
            .unwrap();
        }
    }
    let hidden = |command: &clap::Command| {
        let arguments = command
            .get_arguments()
            .filter(|arg| arg.is_hide_set())
            .filter_map(|arg| arg.get_long());
        arguments
            .map(|long| format!("`--{long}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let webhook = root.find_subcommand("webhook").unwrap();
    write!(
        text,
        "\n## Further flags of the Go webhook\n\nThese are accepted for compatibility: {}. \
         Those that request log files or stack traces are rejected at startup with an explanation.\n",
        hidden(webhook)
    )
    .unwrap();
    text
}

#[test]
fn the_page_of_flags_matches_the_command_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/flags.md");
    let page = page();
    if std::env::var_os("IRSA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/flags.md is out of date: run IRSA_WRITE_DOCS=1 cargo test -p irsa flags_page"
    );
}
