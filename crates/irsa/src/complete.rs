//! Completion of the command line: words from the definitions of the commands, names from the kubeconfig and the cluster.
//!
//! Shells ask through the script that `irsa completion` prints; kubectl runs us as `kubectl_complete-irsa`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;
use irsa_core::text::is_safe;
use irsa_fleet::cluster::{self, Cluster, ConnectOptions};

/// How long a person waits for a completion; without an answer by then there is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// Names that are offered at most.
const MOST: usize = 500;
/// What kubectl is told: the words are the answer, do not offer files as well.
const NO_FILES: &str = ":4";

/// Whether kubectl runs us to complete `kubectl irsa …`.
pub(crate) fn is_asked_by_kubectl(argv0: Option<&OsStr>) -> bool {
    argv0
        .and_then(|path| Path::new(path).file_stem())
        .is_some_and(|stem| stem == "kubectl_complete-irsa")
}

/// The answer for kubectl: a candidate a line, its meaning behind a tab, and a directive.
///
/// # Errors
/// What the completion engine says.
pub(crate) fn for_kubectl(
    mut command: clap::Command,
    words: impl Iterator<Item = OsString>,
) -> std::io::Result<String> {
    let words: Vec<OsString> = std::iter::once("irsa".into()).chain(words).collect();
    let index = words.len().saturating_sub(1).max(1);
    let candidates = clap_complete::engine::complete(&mut command, words, index, None)?;
    let mut answer = String::new();
    for candidate in candidates.iter().filter(|candidate| !candidate.is_hide_set()) {
        answer.push_str(&candidate.get_value().to_string_lossy());
        if let Some(help) = candidate.get_help() {
            let help = help.to_string();
            answer.push('\t');
            answer.push_str(help.lines().next().unwrap_or_default());
        }
        answer.push('\n');
    }
    answer.push_str(NO_FILES);
    Ok(answer)
}

/// Offers the contexts of the kubeconfig.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let names = cluster::contexts(&Asked::read().options).unwrap_or_default();
        candidates(current, names)
    })
}

/// Offers the namespaces of the cluster.
pub(crate) fn namespaces() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| candidates(current, names(|_| "/api/v1/namespaces".to_owned())))
}

/// Offers the service accounts of the namespace.
pub(crate) fn accounts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        candidates(
            current,
            names(|namespace| format!("/api/v1/namespaces/{namespace}/serviceaccounts")),
        )
    })
}

/// Offers pods and service accounts of the namespace as `pod/NAME` and `sa/NAME`.
pub(crate) fn subjects() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let mut found = Vec::new();
        for (kind, resource) in [("pod", "pods"), ("sa", "serviceaccounts")] {
            // One kind is enough once it has been written.
            let typed = current.to_string_lossy();
            if !typed.contains('/') && !kind.starts_with(&*typed) {
                continue;
            }
            if typed.contains('/') && !typed.starts_with(kind) {
                continue;
            }
            let names = names(|namespace| format!("/api/v1/namespaces/{namespace}/{resource}"));
            found.extend(names.into_iter().map(|name| format!("{kind}/{name}")));
        }
        candidates(current, found)
    })
}

fn candidates(current: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    names
        .into_iter()
        .filter(|name| name.starts_with(&*current) && is_safe(name))
        .map(CompletionCandidate::new)
        .collect()
}

/// Names of the objects at a path; none when the cluster does not answer.
fn names(path: impl Fn(&str) -> String) -> Vec<String> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let asked = Asked::read();
    let list = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            let cluster = Cluster::connect(&asked.options).await.ok()?;
            let namespace = asked.namespace.as_deref().unwrap_or(cluster.namespace());
            let path = format!("{}?limit={MOST}", path(namespace));
            cluster.get_value(&path).await.ok()
        })
        .await
        .ok()?
    });
    let Some(items) = list.as_ref().and_then(|list| list["items"].as_array()) else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// What the words so far say about the cluster.
struct Asked {
    options: ConnectOptions,
    namespace: Option<String>,
}

impl Asked {
    fn read() -> Self {
        Self::of(std::env::args())
    }

    fn of(words: impl Iterator<Item = String>) -> Self {
        let mut asked = Self {
            options: ConnectOptions {
                timeout: Some(PATIENCE),
                ..ConnectOptions::default()
            },
            namespace: None,
        };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, words.peek().cloned()),
            };
            match flag.as_str() {
                "--context" => asked.options.context = value,
                "--kubeconfig" => asked.options.kubeconfig = value.map(Into::into),
                "-n" | "--namespace" => asked.namespace = value.filter(|value| !value.is_empty()),
                _ => {}
            }
        }
        asked
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(words: &[&str]) -> String {
        let words = words.iter().map(|word| OsString::from(*word));
        for_kubectl(crate::cli::command(), words).unwrap()
    }

    #[test]
    fn kubectl_is_answered_as_its_plugins_answer() {
        assert!(is_asked_by_kubectl(Some(OsStr::new(
            "/usr/bin/kubectl_complete-irsa"
        ))));
        assert!(!is_asked_by_kubectl(Some(OsStr::new("kubectl-irsa"))));
        let commands = answer(&["sta"]);
        assert!(
            commands.starts_with("status\tShow which STS endpoint"),
            "{commands}"
        );
        assert!(commands.ends_with("\n:4"), "{commands}");
        let ids = answer(&["status", "--finding", "stale"]);
        assert!(
            ids.contains("stale-pod\t") && ids.contains("stale-role\t"),
            "{ids}"
        );
    }

    #[test]
    fn the_cluster_is_taken_from_the_words_so_far() {
        let words = [
            "irsa",
            "status",
            "--context=a",
            "-n",
            "shop",
            "--kubeconfig",
            "/k",
            "",
        ];
        let asked = Asked::of(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(asked.options.context.as_deref(), Some("a"));
        assert_eq!(asked.options.kubeconfig.as_deref(), Some(Path::new("/k")));
        assert_eq!(asked.namespace.as_deref(), Some("shop"));
    }
}
