//! `irsa explain`: without a cluster, and for pods and service accounts of the lab.

use std::process::{Output, Stdio};

use crate::common::{Lab, eventually, irsa, root};
use crate::url::transcript;

fn run(args: &[&str]) -> Output {
    irsa().args(args).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn an_environment_is_explained_without_a_cluster() {
    insta::assert_snapshot!(transcript(&run(&[
        "explain",
        "--env",
        "AWS_STS_REGIONAL_ENDPOINTS=legacy",
        "--region",
        "us-west-2",
    ])));
}

#[test]
fn the_word_global_stops_the_sdks_that_read_it() {
    let output = run(&[
        "explain",
        "-e",
        "AWS_STS_REGIONAL_ENDPOINTS=global",
        "-r",
        "us-west-2",
        "--sdk",
        "boto3,go-v1,js-v3",
    ]);
    insta::assert_snapshot!(transcript(&output));
}

#[test]
fn the_application_that_asks_for_the_global_endpoint_itself_gets_its_error_and_cures_that_work() {
    let output = run(&[
        "explain",
        "-r",
        "us-west-2",
        "--sdk",
        "boto3",
        "--endpoint-url",
        "https://sts.amazonaws.com",
    ]);
    insta::assert_snapshot!(transcript(&output));
}

#[test]
fn a_lone_region_variable_is_named() {
    let output = run(&[
        "explain",
        "-e",
        "AWS_REGION=us-west-2",
        "-e",
        "AWS_STS_REGIONAL_ENDPOINTS=regional",
        "--sdk",
        "boto3,js-v3",
    ]);
    let text = transcript(&output);
    assert!(
        text.contains("this SDK does not read AWS_REGION (boto3 / botocore 1.40.0 and later)"),
        "{text}"
    );
    assert!(text.contains("sts.amazonaws.com"), "{text}");
}

#[test]
fn an_explanation_is_also_a_document() {
    let output = run(&["explain", "-r", "us-west-2", "--sdk", "js-v2", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["apiVersion"], "irsa/v1");
    assert_eq!(document["kind"], "Explanation");
    assert!(document.get("subject").is_none(), "no cluster was asked");
    let container = &document["containers"][0];
    assert_eq!(container["environment"]["AWS_REGION"], "us-west-2");
    let endpoint = &container["endpoints"][0];
    assert_eq!(endpoint["sdk"], "js-v2");
    assert_eq!(endpoint["class"], "global");
    assert_eq!(endpoint["host"], "sts.amazonaws.com");
    assert_eq!(endpoint["signedCalls"]["verdict"], "accepted");
    assert_eq!(
        container["switching"][0]["regional"],
        "sts.us-west-2.amazonaws.com"
    );
}

#[test]
fn wrong_usage_says_what_to_write() {
    let mut text = String::new();
    for args in [
        &["explain"][..],
        &["explain", "aws-node"],
        &["explain", "deploy/aws-node"],
        &["explain", "pod/a", "-e", "AWS_REGION=us-west-2"],
        &["explain", "pod/a", "-r", "us-west-2"],
    ] {
        text.push_str(&transcript(&run(args)));
    }
    insta::assert_snapshot!(text);
}

/// Names and times that differ from run to run.
fn with_filters(check: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"aws-node-[a-z0-9]{5}", "aws-node-XXXXX");
    settings.add_filter(r"(arguments of pod )[\w./-]+", "$1POD");
    settings.bind(check);
}

#[test]
fn pods_and_service_accounts_of_a_cluster_are_explained() {
    let lab = Lab::start::<&str>(&[]);
    lab.kubectl(&[
        "apply",
        "-f",
        root().join("examples/aws-node.yaml").to_str().unwrap(),
    ]);
    lab.k("rollout status -n kube-system ds/aws-node --timeout=60s");
    lab.k("annotate --overwrite serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=true");
    lab.k("delete Pods -n kube-system -l k8s-app=aws-node");
    lab.k("rollout status -n kube-system ds/aws-node --timeout=60s");
    let pod = || {
        let names = lab.k("get Pods -n kube-system -l k8s-app=aws-node --field-selector spec.nodeName=ip-192-168-79-166.us-west-2.compute.internal -o name");
        names.lines().next().unwrap_or_default().to_owned()
    };

    eventually("the pod carries the value", || {
        let text = transcript(&lab.irsa(&["explain", &pod(), "-n", "kube-system"]));
        if text.contains("AWS_STS_REGIONAL_ENDPOINTS=regional") {
            Ok(())
        } else {
            Err(text)
        }
    });
    with_filters(|| {
        insta::assert_snapshot!(
            "pod_regional",
            transcript(&lab.irsa(&["explain", &pod(), "-n", "kube-system"]))
        );
        insta::assert_snapshot!(
            "service_account_regional",
            transcript(&lab.irsa(&[
                "explain",
                "sa/aws-node",
                "-n",
                "kube-system",
                "--sdk",
                "boto3,js-v2,js-v3",
                "-r",
                "us-west-2"
            ]))
        );
    });

    // Switched, not yet recreated: the pod still shows the old choice, and a finding says so.
    lab.k("annotate --overwrite serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=false");
    let output = lab.irsa(&["explain", &pod(), "-n", "kube-system", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["serviceAccount"]["choice"]["endpoint"], "global");
    assert_eq!(document["serviceAccount"]["choice"]["source"], "service-account");
    assert_eq!(document["serviceAccount"]["written"], "legacy");
    assert_eq!(document["node"]["region"], "us-west-2");
    let containers = document["containers"].as_array().unwrap();
    assert!(
        containers
            .iter()
            .all(|c| c["environment"]["AWS_STS_REGIONAL_ENDPOINTS"] == "regional"),
        "{document}"
    );
    let findings = document["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f["id"] == "stale-pod"), "{findings:?}");

    for (args, code) in [
        (&["explain", "pod/no-such-pod", "-n", "kube-system"][..], 1),
        (&["explain", "sa/no-such-account", "-n", "kube-system"], 1),
        (
            &["explain", &pod(), "-n", "kube-system", "-c", "no-such-container"],
            1,
        ),
        (
            &[
                "explain",
                &pod(),
                "-n",
                "kube-system",
                "--context",
                "no-such-context",
            ],
            2,
        ),
    ] {
        let output = lab.irsa(args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            transcript(&output)
        );
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}
