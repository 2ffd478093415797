//! Predictions against what real releases did. `measured/` holds the measurements, one setting a line: variables,
//! config file, options in code, and the result of each release. Every cell that differs must be in `ACCEPTED`, with
//! its reason.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeMap;

use irsa_core::presign::{self, Addressing, Predicted, PresignOptions, SignatureVersion};
use irsa_core::sdk::{AwsConfig, Call, Code, Environment, Outcome, Sdk, sts};
use serde_json::Value;

/// Cells that are predicted otherwise than measured: release, a part of the setting as it is printed, the reason.
const ACCEPTED: [(&str, &str, &str); 0] = [];

fn settings(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// `botocore@1.44.8`, `aws-cli-v1@1.46.3`, `js-v3@3.1174.0`.
fn sdk(release: &str) -> Sdk {
    release.parse().unwrap()
}

fn environment(setting: &Value) -> Environment {
    let variables = setting["environment"].as_object().unwrap();
    let mut environment = Environment::from_pairs(
        variables
            .iter()
            .map(|(name, value)| (name, value.as_str().unwrap())),
    );
    // Where there is no text there was no file, either.
    environment.config = Some(AwsConfig::parse(setting["config"].as_str().unwrap_or_default()).unwrap());
    environment
}

fn shown(setting: &Value) -> String {
    format!(
        "{} {} {}",
        setting["environment"], setting["client"], setting["config"]
    )
}

/// Whether a measured error, cut to its beginning, is the predicted one. The command line's exit code stands before
/// its text.
fn is_error(measured: &str, predicted: &str) -> bool {
    let measured = measured.strip_prefix("rc=255 ").unwrap_or(measured);
    predicted.starts_with(measured)
}

/// Compares all cells; the differences that nobody accepted fail the test.
fn report(cells: usize, differences: BTreeMap<(String, String), String>) {
    let unexpected: Vec<String> = differences
        .iter()
        .filter(|((release, setting), _)| {
            !ACCEPTED
                .iter()
                .any(|(accepted, part, _)| release == accepted && setting.contains(part))
        })
        .map(|((release, setting), difference)| format!("{release} {setting}\n    {difference}"))
        .collect();
    println!(
        "{} of {cells} cells differ, {} of them without a reason",
        differences.len(),
        unexpected.len()
    );
    assert!(
        unexpected.is_empty(),
        "{} of {cells} cells differ:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
}

#[test]
fn every_measured_sts_call_is_predicted() {
    let (mut cells, mut differences) = (0, BTreeMap::new());
    let files = [
        include_str!("measured/sts.jsonl"),
        include_str!("measured/more-sts.jsonl"),
    ];
    for setting in files.into_iter().flat_map(settings) {
        let environment = environment(&setting);
        let code = Code {
            endpoint: setting["client"]["endpoint_url"].as_str(),
            region: setting["client"]["region"].as_str(),
        };
        for (release, measured) in setting["measured"].as_object().unwrap() {
            cells += 1;
            let ask = |call| sts(sdk(release), &environment, code, call).outcome;
            let (exchange, call) = (ask(Call::Credentials), ask(Call::Program));
            let url = |url: &str| {
                let (scheme, rest) = url.split_once("://").unwrap();
                let authority = rest.split('/').next().unwrap();
                format!("{scheme}://{authority}")
            };
            let exchanged = match &exchange {
                Outcome::Endpoint(endpoint) => measured["exchange"] == url(&endpoint.url),
                Outcome::Failure(failure) => {
                    measured["exchange"].is_null()
                        && is_error(measured["error"].as_str().unwrap_or("?"), &failure.text)
                }
                Outcome::DecidedByFile => false,
            };
            let called = match &call {
                Outcome::Endpoint(endpoint) => {
                    measured["call"][0] == url(&endpoint.url)
                        && (measured["call"][1] == endpoint.signing_region
                            || (measured["call"][1] == "unsigned" && endpoint.signing_region.is_empty()))
                }
                Outcome::Failure(failure) => {
                    measured["call"].is_null()
                        && is_error(measured["error"].as_str().unwrap_or("?"), &failure.text)
                }
                Outcome::DecidedByFile => false,
            };
            if !exchanged || !called {
                let difference = format!("measured {measured}\n    predicted {exchange:?} {call:?}");
                differences.insert((release.clone(), shown(&setting)), difference);
            }
        }
    }
    report(cells, differences);
}

#[test]
fn every_measured_presigned_url_is_predicted() {
    let (mut cells, mut differences) = (0, BTreeMap::new());
    let files = [
        include_str!("measured/presign.jsonl"),
        include_str!("measured/more-presign.jsonl"),
    ];
    for setting in files.into_iter().flat_map(settings) {
        let environment = environment(&setting);
        let client = &setting["client"];
        let bucket = client["bucket"].as_str().unwrap_or("bucket");
        // No session could be created when these were measured.
        if bucket.ends_with("--x-s3") {
            continue;
        }
        let options = PresignOptions {
            region: client["region"].as_str(),
            addressing: match client["addr"].as_str() {
                Some("path") => Addressing::Path,
                Some("virtual") => Addressing::Virtual,
                _ => Addressing::Auto,
            },
            signature: match client["sig"].as_str() {
                Some("v2") => Some(SignatureVersion::V2),
                Some("v4") => Some(SignatureVersion::V4),
                _ => None,
            },
            dual_stack: client["dual"] == true,
            accelerate: client["accel"] == true,
            endpoint: client["endpoint_url"].as_str(),
        };
        let key = client["key"].as_str().unwrap_or("path");
        for (release, measured) in setting["measured"].as_object().unwrap() {
            cells += 1;
            let predicted = presign::predict(sdk(release), &environment, &options, bucket, key).predicted;
            let right = match &predicted {
                Predicted::Form(form) => {
                    let signature = match form.signature {
                        SignatureVersion::V2 => "v2",
                        SignatureVersion::V4 => "v4",
                        SignatureVersion::V4a => "v4a",
                    };
                    measured["url"] == form.url()
                        && measured["signature"] == signature
                        && measured["scope"].as_str() == form.scope_region.as_deref()
                }
                Predicted::Error(text) => {
                    measured["url"].is_null() && is_error(measured["error"].as_str().unwrap_or("?"), text)
                }
                Predicted::DecidedByFile | Predicted::Never => false,
            };
            if !right {
                let difference = format!("measured {measured}\n    predicted {predicted:?}");
                differences.insert((release.clone(), shown(&setting)), difference);
            }
        }
    }
    report(cells, differences);
}
