//! The procedure of the EKS user guide, word for word, with the real kubectl on the embedded cluster.

use crate::common::{Lab, eventually, root};

const VARIABLE: &str = "AWS_STS_REGIONAL_ENDPOINTS";

/// The lab with the guide's DaemonSet, all of its pods running.
fn lab_with_aws_node(args: &[&str]) -> Lab {
    let lab = Lab::start(args);
    lab.kubectl(&[
        "apply",
        "-f",
        root().join("examples/aws-node.yaml").to_str().unwrap(),
    ]);
    wait_for_pods(&lab);
    lab
}

fn wait_for_pods(lab: &Lab) {
    lab.k("rollout status -n kube-system ds/aws-node --timeout=60s");
}

fn pod_names(lab: &Lab) -> Vec<String> {
    let names = lab.k("get Pods -n kube-system -l k8s-app=aws-node -o name");
    names
        .lines()
        .map(|line| line.trim_start_matches("pod/").to_owned())
        .collect()
}

/// Step 6 of the guide: `kubectl describe pod … | grep AWS_STS_REGIONAL_ENDPOINTS`, for one pod.
fn endpoint_lines(lab: &Lab, namespace: &str, pod: &str) -> Vec<String> {
    lab.kubectl(&["describe", "pod", pod, "-n", namespace])
        .lines()
        .filter(|line| line.contains(VARIABLE))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// Steps 4 and 5: delete the pods by label and wait for those that replace them.
fn recreate(lab: &Lab) {
    let before = pod_names(lab);
    lab.k("delete Pods -n kube-system -l k8s-app=aws-node");
    wait_for_pods(lab);
    let after = pod_names(lab);
    assert_eq!(after.len(), before.len());
    assert!(
        after.iter().all(|name| !before.contains(name)),
        "{before:?} -> {after:?}"
    );
}

fn assert_every_pod_shows(lab: &Lab, expected: Option<&str>) {
    for pod in pod_names(lab) {
        let lines = endpoint_lines(lab, "kube-system", &pod);
        match expected {
            // One line for the init container, one for the container.
            Some(value) => assert_eq!(lines, vec![format!("{VARIABLE}: {value}"); 2], "{pod}"),
            None => assert!(lines.is_empty(), "{pod}: {lines:?}"),
        }
    }
}

#[test]
fn step_1_the_region_of_a_pod_is_read_from_its_node() {
    let lab = lab_with_aws_node(&[]);
    let pods = pod_names(&lab);
    let nodes: Vec<String> = pods
        .iter()
        .map(|pod| {
            let text = lab.kubectl(&["describe", "pod", pod, "-n", "kube-system"]);
            text.lines()
                .find(|line| line.starts_with("Node:"))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(
        nodes.iter().any(|line| {
            line.trim_start_matches("Node:").trim()
                == "ip-192-168-79-166.us-west-2.compute.internal/192.168.79.166"
        }),
        "{nodes:?}"
    );
}

#[test]
fn the_annotation_true_makes_recreated_pods_regional_and_false_makes_them_legacy() {
    let lab = lab_with_aws_node(&[]);
    let said = lab
        .k("annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=true");
    assert_eq!(said.trim(), "serviceaccount/aws-node annotated");
    recreate(&lab);
    assert_every_pod_shows(&lab, Some("regional"));

    lab.k(
        "annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=false --overwrite",
    );
    // The webhook never touches running pods.
    assert_every_pod_shows(&lab, Some("regional"));
    recreate(&lab);
    assert_every_pod_shows(&lab, Some("legacy"));

    lab.k("annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints-");
    recreate(&lab);
    assert_every_pod_shows(&lab, Some("regional"));
}

#[test]
fn a_service_account_without_the_annotation_follows_the_webhooks_flag_and_then_the_platform() {
    let lab = lab_with_aws_node(&[]);
    assert_every_pod_shows(&lab, Some("regional"));
    // Who gives the flag has chosen, so that the word is written.
    let lab = lab_with_aws_node(&["--sts-regional-endpoint=false"]);
    assert_every_pod_shows(&lab, Some("legacy"));
    // Neither flag nor platform: nothing is written, and the SDK's own default applies.
    let lab = lab_with_aws_node(&["--platform", "none"]);
    assert_every_pod_shows(&lab, None);
}

#[test]
fn global_endpoint_value_decides_what_global_writes() {
    let lab = lab_with_aws_node(&["--global-endpoint-value", "omit"]);
    lab.k("annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=false");
    recreate(&lab);
    assert_every_pod_shows(&lab, None);

    let lab = lab_with_aws_node(&["--global-endpoint-value", "global"]);
    lab.k("annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=false");
    recreate(&lab);
    assert_every_pod_shows(&lab, Some("global"));
}

#[test]
fn a_cluster_older_than_the_table_stays_global_whatever_its_annotation_says() {
    let lab = lab_with_aws_node(&["--kubernetes", "1.22", "--platform", "eks.1"]);
    let version = lab.k("version");
    assert!(version.contains("v1.22"), "{version}");
    lab.k("annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=true");
    recreate(&lab);
    for pod in pod_names(&lab) {
        let lines = endpoint_lines(&lab, "kube-system", &pod);
        assert!(lines.iter().all(|line| !line.ends_with("regional")), "{lines:?}");
        // Identity and region are still given.
        let text = lab.kubectl(&["describe", "pod", &pod, "-n", "kube-system"]);
        assert!(text.contains("AWS_ROLE_ARN"), "{text}");
    }
}

#[test]
fn a_variable_that_the_container_already_has_is_never_overwritten() {
    let lab = lab_with_aws_node(&[]);
    lab.k("annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=true");
    lab.apply(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: own-choice
  namespace: kube-system
spec:
  serviceAccountName: aws-node
  containers:
    - name: app
      image: example.com/app:1
      env:
        - name: AWS_STS_REGIONAL_ENDPOINTS
          value: legacy
"#,
    );
    assert_eq!(
        endpoint_lines(&lab, "kube-system", "own-choice"),
        [format!("{VARIABLE}: legacy")]
    );
    let arn = lab.kubectl(&[
        "get",
        "pod",
        "-n",
        "kube-system",
        "own-choice",
        "-o",
        "jsonpath={.spec.containers[0].env[?(@.name==\"AWS_ROLE_ARN\")].value}",
    ]);
    assert_eq!(arn, "arn:aws:iam::111122223333:role/aws-node");
}

#[test]
fn a_rolling_restart_does_what_deleting_the_pods_does() {
    let lab = lab_with_aws_node(&[]);
    lab.k("annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints=false");
    let before = pod_names(&lab);
    lab.k("rollout restart -n kube-system ds/aws-node");
    wait_for_pods(&lab);
    eventually("old pods are gone", || {
        let now = pod_names(&lab);
        if now.iter().any(|name| before.contains(name)) {
            Err(format!("{now:?}"))
        } else {
            Ok(())
        }
    });
    assert_every_pod_shows(&lab, Some("legacy"));
}

#[test]
fn interrupted_the_lab_ends_by_itself_and_leaves_nothing_behind() {
    let lab = lab_with_aws_node(&[]);
    let state = lab.state().to_owned();
    let (status, time) = lab.interrupt();
    assert!(status.success(), "{status}");
    // It takes a fraction of a second; the bound only tells an end from a hang on a busy machine.
    assert!(time.as_secs() < 10, "it took {time:?}");
    let left: Vec<_> = std::fs::read_dir(&state)
        .map(|files| files.flatten().map(|f| f.path()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}
