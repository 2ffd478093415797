//! Text of strangers: names, annotations, variables, URLs and user agents that try to take over the terminal.

use std::process::Stdio;

use crate::common::irsa;
use crate::fleet_stage::{ROLE, Stage, Transcript};

/// Clears the screen, sets the title, is a C1 control sequence, turns the direction of reading, and forges a line.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\nforged: line";

/// The same in YAML, which takes control characters only as escapes.
fn quoted() -> String {
    let escaped: String = HOSTILE
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c.to_string()
            } else {
                format!("\\u{:04x}", u32::from(c))
            }
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Whether a text holds only what a terminal may be sent: printable characters, newlines and the colours of irsa.
fn assert_harmless(what: &str, text: &str) {
    let mut rest = text;
    while let Some(at) =
        rest.find(|c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)))
    {
        let tail = &rest[at..];
        let end = tail.find('m').unwrap_or(0);
        let colour = tail.strip_prefix("\u{1b}[").is_some_and(|body| {
            body[..end.saturating_sub(2)]
                .chars()
                .all(|c| c.is_ascii_digit() || c == ';')
        });
        assert!(colour, "{what}: {:?} in {text}", &tail[..tail.len().min(20)]);
        rest = &tail[end + 1..];
    }
    assert!(!text.contains("\nforged: line"), "{what}: {text}");
}

fn assert_run(run: &Transcript) {
    assert_harmless("stdout", &run.stdout);
    assert_harmless("stderr", &run.stderr);
}

#[test]
fn hostile_annotations_and_variables_do_not_reach_the_terminal() {
    let stage = Stage::new();
    let quoted = quoted();
    stage.apply(&format!(
        "apiVersion: v1
kind: ServiceAccount
metadata:
  name: web
  annotations:
    eks.amazonaws.com/role-arn: {ROLE}
    eks.amazonaws.com/sts-regional-endpoints: {quoted}
"
    ));
    stage.deployment(
        "web",
        "web",
        1,
        &format!(
            "        env:\n        - {{name: AWS_STS_REGIONAL_ENDPOINTS, value: {quoted}}}\n        - {{name: AWS_ENDPOINT_URL_STS, value: {quoted}}}\n"
        ),
    );
    let pod = stage.k("get pods -l app=web -o name");
    for line in [
        "status -n NAMESPACE",
        "status -n NAMESPACE -o wide --color always",
        "status -n NAMESPACE --pods",
        "status -n NAMESPACE -o json",
        "status -n NAMESPACE -o yaml",
        "status -n NAMESPACE -o jsonpath={..annotation}{..carries}",
        "status -n NAMESPACE -o custom-columns=A:.annotation",
        "explain sa/web -n NAMESPACE",
        "explain sa/web -n NAMESPACE -o wide",
        "explain sa/web -n NAMESPACE -o json",
        &format!("explain {} -n NAMESPACE", pod.trim()),
        &format!("explain {} -n NAMESPACE -o wide", pod.trim()),
        &format!("explain {} -n NAMESPACE -o yaml", pod.trim()),
        "set regional -n NAMESPACE web --dry-run",
        "set regional -n NAMESPACE web --dry-run --force-conflicts -o json",
        "set regional -n NAMESPACE web --yes",
        "rollout -n NAMESPACE --dry-run",
        "doctor -n NAMESPACE",
    ] {
        let run = stage.run(line);
        assert_run(&run);
        assert!(!run.stdout.is_empty() || !run.stderr.is_empty(), "{line}");
    }
    // To a program it is the same text.
    let json = stage.run("status -n NAMESPACE -o json").json();
    assert_eq!(json["clusters"][0]["serviceAccounts"][0]["annotation"], HOSTILE);
}

#[test]
fn hostile_manifests_urls_and_arguments_do_not_reach_the_terminal() {
    let quoted = quoted();
    let manifest = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {quoted}\n  annotations: {{eks.amazonaws.com/sts-regional-endpoint: {quoted}, eks.amazonaws.com/role-arn: {quoted}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {quoted}}}\nspec: {{serviceAccountName: {quoted}, containers: [{{name: {quoted}, image: {quoted}, env: [{{name: AWS_STS_REGIONAL_ENDPOINTS, value: {quoted}}}]}}]}}\n"
    );
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("hostile.yaml");
    std::fs::write(&file, manifest).unwrap();
    let file = file.to_str().unwrap();
    let url = format!("https://bucket.s3.amazonaws.com/{HOSTILE}?X-Amz-Algorithm={HOSTILE}");
    let percent = "https://bucket.s3.amazonaws.com/%1B%5B2J%C2%9B31m%E2%80%AE%0D%0Aforged:%20line?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%1B%5B2J%2F20261124%2Fus-west-2%2Fs3%2Faws4_request&X-Amz-Date=20261124T001800Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=00";
    for args in [
        &["check", "-f", file, "--region", "us-west-2"][..],
        &["check", "-f", file, "-o", "json"],
        &["check", "-f", file, "-o", "yaml"],
        &["check", "-f", file, "-o", "sarif"],
        &["check", "-f", file, "-o", "github"],
        &["check", "-f", HOSTILE],
        &["url", "inspect", &url],
        &["url", "inspect", percent],
        &["url", "inspect", "-o", "yaml", percent],
        &["url", "predict", "-r", HOSTILE, "--bucket", HOSTILE],
        &[
            "explain",
            "-r",
            HOSTILE,
            "-e",
            &format!("AWS_STS_REGIONAL_ENDPOINTS={HOSTILE}"),
        ],
        &["explain", "-r", HOSTILE, "-o", "wide"],
        &["doctor", "--error", HOSTILE],
        &["status", "--kubeconfig", HOSTILE],
        &["set", "regional", HOSTILE, "--kubeconfig", "/nonexistent"],
    ] {
        let output = irsa().args(args).stdin(Stdio::null()).output().unwrap();
        assert_harmless(&format!("{args:?}"), &String::from_utf8(output.stdout).unwrap());
        assert_harmless(&format!("{args:?}"), &String::from_utf8(output.stderr).unwrap());
    }
}
