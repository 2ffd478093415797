//! `irsa audit`: from the records of the lab's AWS, and from files as people have them.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::common::{Lab, irsa, succeeded};

fn audit(args: &[&str], input: &[u8]) -> Output {
    let mut child = irsa()
        .arg("audit")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments has closed its input by now.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn record(account: &str, host: &str) -> String {
    format!(
        r#"{{"eventTime":"2026-11-24T00:18:30Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRoleWithWebIdentity","awsRegion":"us-east-1","userAgent":"Boto3/1.39.17","userIdentity":{{"type":"WebIdentityUser","userName":"system:serviceaccount:team:{account}","identityProvider":"arn:aws:iam::111122223333:oidc-provider/oidc.example/id/A"}},"requestParameters":{{"roleArn":"arn:aws:iam::111122223333:role/r"}},"tlsDetails":{{"clientProvidedHostHeader":"{host}"}}}}"#
    )
}

#[test]
fn the_calls_of_a_pod_are_found_in_the_records_of_the_lab() {
    let lab = Lab::start(&["--nodes", "1"]);
    lab.apply(
        "\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: app
  annotations: {eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/app, eks.amazonaws.com/sts-regional-endpoints: 'false'}
---
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  serviceAccountName: app
  containers: [{name: app, image: app}]
",
    );
    lab.k("wait pod/app --for=condition=Ready --timeout=60s");
    // An exchange as any program makes it, without an SDK: the host is the one that a `legacy` SDK would call.
    let script = r#"curl -sS "https://sts.amazonaws.com/?Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=s1&RoleArn=$AWS_ROLE_ARN&WebIdentityToken=$(cat "$AWS_WEB_IDENTITY_TOKEN_FILE")" -A aws-cli/1.41.17"#;
    let answer = succeeded(
        "the exchange",
        lab.irsa(&["lab", "run", "app", "--", "sh", "-c", script]),
    );
    assert!(answer.contains("<AccessKeyId>"), "{answer}");

    let events = succeeded("lab events", lab.irsa(&["lab", "events", "-o", "json"]));
    let found = audit(&["-o", "json", "--fail-on", "global", "-"], events.as_bytes());
    assert_eq!(found.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let caller = &report["callers"][0];
    assert_eq!(caller["namespace"], "default");
    assert_eq!(caller["serviceAccount"], "app");
    assert_eq!(caller["endpoint"], "global");
    assert_eq!(caller["host"], "sts.amazonaws.com");
    assert_eq!(caller["agent"]["sdk"], "aws-cli-v1");
    assert_eq!(caller["agent"]["version"], "1.41.17");
    assert_eq!(caller["calls"], 1);
}

#[test]
fn a_person_reads_the_conclusion_first_and_damage_ends_with_exit_code_2() {
    let text = format!(
        "{}\n{}\n",
        record("old", "sts.amazonaws.com"),
        record("new", "sts.us-west-2.amazonaws.com")
    );
    let found = audit(&["-"], text.as_bytes());
    assert_eq!(found.status.code(), Some(0));
    let shown = String::from_utf8(found.stdout).unwrap();
    assert!(
        shown.starts_with("1 of 2 calls by 1 of 2 callers went to the global endpoint\n"),
        "{shown}"
    );
    assert!(
        shown
            .lines()
            .any(|line| line.contains("team/old") && line.contains("botocore@1.39.17")),
        "{shown}"
    );

    let found = audit(&["-"], format!("{text}{{\"Records\":[").as_bytes());
    assert_eq!(found.status.code(), Some(2));
    let noted = String::from_utf8(found.stderr).unwrap();
    assert!(
        noted.contains("-: the file ends") || noted.contains("the file ends in the middle"),
        "{noted}"
    );
}

#[test]
fn a_guard_never_passes_without_evidence() {
    let regional = record("new", "sts.us-west-2.amazonaws.com");
    let code = |args: &[&str], input: &str| audit(args, input.as_bytes()).status.code();
    assert_eq!(code(&["--fail-on", "global", "-"], &regional), Some(0));
    assert_eq!(code(&["--fail-on", "global", "-"], ""), Some(1));
    assert_eq!(
        code(
            &["--fail-on", "global", "--since", "2026-11-25T00:00:00Z", "-"],
            &regional
        ),
        Some(1)
    );
    assert_eq!(
        code(&["--fail-on", "global", "/nowhere/at/all.json"], ""),
        Some(2)
    );
    assert_eq!(code(&[], ""), Some(2));
}

#[test]
fn queries_are_printed_for_each_service() {
    let query = |args: &[&str]| audit(&[&["query"], args].concat(), b"");
    let shown = succeeded("--athena", query(&["--athena", "logs.trail"]));
    assert!(shown.contains(r#"FROM "logs"."trail""#), "{shown}");
    let shown = succeeded("--cli", query(&["--cli", "--regions", "us-west-2"]));
    assert!(shown.contains("--region us-east-1") && shown.contains("--region us-west-2"));
    assert_eq!(query(&[]).status.code(), Some(2));
    assert_eq!(query(&["--athena", "a;b"]).status.code(), Some(2));
}
