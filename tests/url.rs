//! `irsa url`, as a person calls it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::common::irsa;

/// Both forms of the AWS page, signed as boto3 and AWS CLI v2 sign them.
pub const REGIONAL: &str = "https://bucket.s3.us-west-2.amazonaws.com/path?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAEXAMPLE%2F20261124%2Fus-west-2%2Fs3%2Faws4_request&X-Amz-Date=20261124T001800Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLETOKEN&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
const AT: &str = "2026-11-24T00:18:30Z";

/// What a command printed, with its exit code, in one text.
pub fn transcript(output: &Output) -> String {
    let mut text = format!("exit code: {}\n", output.status.code().unwrap_or(-1));
    for (name, stream) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let _ = writeln!(
            text,
            "----- {name} -----\n{}",
            String::from_utf8_lossy(stream).trim_end()
        );
    }
    text
}

fn run(args: &[&str]) -> Output {
    irsa().args(args).stdin(Stdio::null()).output().unwrap()
}

fn run_with_stdin(args: &[&str], stdin: &str) -> Output {
    let mut child = irsa()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_regional_form_of_the_aws_page_is_taken_apart() {
    insta::assert_snapshot!(transcript(&run(&["url", "inspect", "--at", AT, REGIONAL])));
}

#[test]
fn the_global_form_of_the_aws_page_is_consistent_too_and_says_what_it_needs() {
    let url = REGIONAL.replace("s3.us-west-2.", "s3.");
    insta::assert_snapshot!(transcript(&run(&["url", "inspect", "--at", AT, &url])));
}

#[test]
fn a_bucket_elsewhere_gets_the_words_of_s3_and_exit_code_1() {
    let url = REGIONAL.replace("s3.us-west-2.", "s3.");
    let output = run(&[
        "url",
        "inspect",
        "--at",
        AT,
        "--bucket-region",
        "eu-central-1",
        &url,
    ]);
    insta::assert_snapshot!(transcript(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_presigned_call_of_sts_for_another_region_gets_the_error_of_the_procedure() {
    let url = "https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAEXAMPLE%2F20261124%2Fus-west-2%2Fsts%2Faws4_request&X-Amz-Date=20261124T001800Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=IQo&X-Amz-Signature=00";
    insta::assert_snapshot!(transcript(&run(&["url", "inspect", "--at", AT, url])));
}

#[test]
fn secrets_are_shown_only_when_asked_for() {
    let secrets = [
        "IQoJb3JpZ2luX2VjEXAMPLETOKEN",
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    ];
    for format in ["table", "json", "yaml"] {
        let masked = transcript(&run(&["url", "inspect", "--at", AT, "-o", format, REGIONAL]));
        let shown = transcript(&run(&[
            "url",
            "inspect",
            "--at",
            AT,
            "-o",
            format,
            "--show-secrets",
            REGIONAL,
        ]));
        for secret in secrets {
            assert!(!masked.contains(secret), "{format}: {masked}");
            assert!(shown.contains(secret), "{format}: {shown}");
        }
    }
    // Not even when the rest is broken.
    let broken = transcript(&run(&["url", "inspect", &REGIONAL.replace("https://", "")]));
    for secret in secrets {
        assert!(!broken.contains(secret), "{broken}");
    }
}

#[test]
fn one_url_is_one_document_and_a_stream_is_a_list() {
    let one = run(&["url", "inspect", "--at", AT, "-o", "json", REGIONAL]);
    let document: serde_json::Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(document["kind"], "PresignedUrl");
    assert_eq!(document["form"], "regional");
    assert_eq!(document["signature"]["scope"]["region"], "us-west-2");
    assert_eq!(document["validity"]["secondsLeft"], 3570);
    let secrets = document["parameters"].as_array().unwrap().iter();
    let secrets: Vec<_> = secrets.filter(|parameter| parameter["secret"] == true).collect();
    assert_eq!(secrets.len(), 2);
    assert!(secrets.iter().all(|secret| secret.get("value").is_none()));

    let lines = format!("{REGIONAL}\n\n\"{}\"\n", REGIONAL.replace("=3600", "=10"));
    let several = run_with_stdin(&["url", "inspect", "--at", AT, "-o", "json", "-"], &lines);
    assert_eq!(several.status.code(), Some(1), "the second is over");
    let list: serde_json::Value = serde_json::from_slice(&several.stdout).unwrap();
    assert_eq!(list["kind"], "PresignedUrlList");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["items"][0]["consistent"], true);
    assert_eq!(list["items"][1]["problems"][0]["message"], "Request has expired");
}

#[test]
fn a_bad_url_in_a_stream_is_reported_and_the_others_are_read() {
    let lines = format!("hello\n{REGIONAL}\n");
    let output = run_with_stdin(&["url", "inspect", "--at", AT, "-o", "json", "-"], &lines);
    assert_eq!(output.status.code(), Some(2));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read `hello`"));
}

#[test]
fn text_that_is_no_presigned_url_is_an_error_with_a_hint() {
    let mut text = String::new();
    for url in [
        "hello",
        "https://bucket.s3.amazonaws.com/path?X-Amz-Algorithm",
        "https://bucket.s3.amazonaws.com/path",
    ] {
        text.push_str(&transcript(&run(&["url", "inspect", url])));
    }
    text.push_str(&transcript(&run_with_stdin(&["url", "inspect", "-"], "\n \n")));
    insta::assert_snapshot!(text);
}

#[test]
fn control_characters_in_a_url_do_not_reach_the_terminal() {
    let url = REGIONAL.replace("/path?", "/%1B%5B2Jpath%0A?");
    let output = run(&["url", "inspect", "--at", AT, &url]);
    assert!(!output.stdout.contains(&0x1b));
    assert!(String::from_utf8_lossy(&output.stdout).contains(r"\u{1b}[2Jpath\n"));
}

#[test]
fn the_form_is_predicted_for_every_sdk() {
    insta::assert_snapshot!(transcript(&run(&[
        "url",
        "predict",
        "--region",
        "us-west-2",
        "--signature-version",
        "v4"
    ])));
    insta::assert_snapshot!(
        "us_east_1_regional",
        transcript(&run(&[
            "url",
            "predict",
            "-r",
            "us-east-1",
            "-e",
            "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT=regional",
            "--sdk",
            "boto3,js-v2,go-v1,java-v2,rust",
        ]))
    );
}

#[test]
fn the_sts_setting_changes_no_form_and_the_command_says_so() {
    let form = |value: &str| {
        let variable = format!("AWS_STS_REGIONAL_ENDPOINTS={value}");
        run(&["url", "predict", "-r", "us-west-2", "-e", &variable])
    };
    let (regional, legacy) = (form("regional"), form("legacy"));
    assert_eq!(regional.stdout, legacy.stdout);
    assert_eq!(
        regional.stdout,
        run(&["url", "predict", "-r", "us-west-2"]).stdout
    );
    assert!(String::from_utf8_lossy(&legacy.stderr).contains("changes none of these forms"));
}

#[test]
fn a_prediction_is_also_a_document() {
    let output = run(&[
        "url",
        "predict",
        "-r",
        "us-west-2",
        "--sdk",
        "boto3@1.29.165",
        "--addressing",
        "path",
        "-o",
        "yaml",
    ]);
    insta::assert_snapshot!(transcript(&output));
}

#[test]
fn unknown_sdks_and_variables_are_refused_with_what_is_known() {
    let mut text = transcript(&run(&["url", "predict", "--sdk", "cobol"]));
    text.push_str(&transcript(&run(&[
        "url",
        "predict",
        "-e",
        "AWS_REGOIN=us-west-2",
    ])));
    insta::assert_snapshot!(text);
}
