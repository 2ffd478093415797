//! `kubectl exec` and `kubectl logs` through a runtime.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use irsa_apiserver::Config;

use serde_json::json;

use crate::runtime::Local;
use crate::support::{Cluster, eventually};
use crate::webhook::{Answer, Webhook};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: a, image: i}, {name: b, image: webhook}]}
"#;

async fn cluster() -> Cluster {
    let cluster = Cluster::with(Config {
        runtime: Some(Arc::new(Local {
            webhook: ([127, 0, 0, 1], 1).into(),
            stopped: Arc::new(AtomicBool::new(false)),
        })),
        ..Config::default()
    })
    .await;
    cluster.apply(POD).await;
    cluster.ok("wait --for=condition=Ready pod/p --timeout=30s").await;
    cluster
}

#[tokio::test]
async fn a_command_prints_to_both_streams_and_its_exit_code_is_kubectls() {
    let cluster = cluster().await;
    let said = cluster
        .run(
            &[
                "exec",
                "p",
                "-c",
                "a",
                "--",
                "sh",
                "-c",
                "echo out; echo err >&2; exit 7",
            ],
            None,
        )
        .await;
    assert_eq!((said.stdout.as_str(), said.code), ("out\n", 7), "{said:?}");
    assert!(said.stderr.starts_with("err\n"), "{said:?}");
    assert!(
        said.stderr.contains("command terminated with exit code 7"),
        "{said:?}"
    );
}

#[tokio::test]
async fn input_reaches_the_command_and_its_end_too() {
    let cluster = cluster().await;
    let lines: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
    let said = cluster
        .run(&["exec", "-i", "p", "-c", "a", "--", "cat"], Some(&lines))
        .await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(said.stdout, lines);
}

#[tokio::test]
async fn a_webhook_may_refuse_a_connection() {
    let cluster = cluster().await;
    let webhook = Webhook::start(&["127.0.0.1"], |review| {
        let request = &review["request"];
        assert_eq!(request["kind"]["kind"], "PodExecOptions");
        assert_eq!(request["subResource"], "exec");
        let harmless = request["object"]["command"][0] == "true";
        Answer::Response(json!({ "allowed": harmless, "status": { "message": "harmless commands only" } }))
    })
    .await;
    let rules = json!({ "rules": [{
        "operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"],
    }] });
    cluster
        .apply(&webhook.configuration("ValidatingWebhookConfiguration", "w", rules))
        .await;
    cluster.ok("exec p -c a -- true").await;
    let said = cluster.fails("exec p -c a -- rm").await;
    assert!(
        said.contains("denied the request: harmless commands only"),
        "{said}"
    );
}

#[tokio::test]
async fn a_command_that_does_not_exist_says_so() {
    let cluster = cluster().await;
    let said = cluster.fails("exec p -c a -- no-such-command-here").await;
    assert!(
        said.contains("\"no-such-command-here\": executable file not found in $PATH"),
        "{said}"
    );
}

#[tokio::test]
async fn a_container_must_be_one_of_the_pods() {
    let cluster = cluster().await;
    let said = cluster.fails("exec p -c other -- true").await;
    assert!(
        said.contains("container other is not valid for pod p") || said.contains("container not found"),
        "{said}"
    );
}

#[tokio::test]
async fn logs_show_what_was_printed_by_container_and_by_command() {
    let cluster = cluster().await;
    assert_eq!(cluster.ok("logs p -c b").await, "started 0 times before\n");
    cluster
        .ok_with(
            &[
                "exec",
                "p",
                "-c",
                "a",
                "--",
                "sh",
                "-c",
                "echo one; echo two; printf three",
            ],
            None,
        )
        .await;
    assert_eq!(cluster.ok("logs p -c a").await, "one\ntwo\nthree");
    assert_eq!(cluster.ok("logs p -c a --tail=2").await, "two\nthree");
    assert_eq!(cluster.ok("logs p -c a --limit-bytes=5").await, "one\nt");
    let stamped = cluster.ok("logs p -c a --timestamps").await;
    assert!(
        stamped
            .lines()
            .all(|line| line.starts_with("20") && line.contains("Z ")),
        "{stamped}"
    );
    let all = cluster.ok("logs p --all-containers --prefix").await;
    assert!(all.contains("[pod/p/b] started 0 times before"), "{all}");
    let said = cluster.fails("logs p -c a --previous").await;
    assert!(
        said.contains("previous terminated container \"a\" in pod \"p\" not found"),
        "{said}"
    );
}

#[tokio::test]
async fn followed_logs_end_with_the_pod() {
    let cluster = cluster().await;
    let mut follow = cluster.command(&["logs", "-f", "p", "-c", "a"]);
    follow.stdout(std::process::Stdio::piped());
    let follow = follow.spawn().unwrap();
    cluster
        .ok_with(&["exec", "p", "-c", "a", "--", "echo", "late"], None)
        .await;
    // The follower may connect after the line was written; it is sent all the same.
    cluster.ok("delete pod p").await;
    let output = tokio::time::timeout(std::time::Duration::from_secs(20), follow.wait_with_output())
        .await
        .expect("logs -f ends")
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "late\n");
}

#[tokio::test]
async fn without_a_runtime_exec_says_why_not() {
    let cluster = Cluster::start().await;
    cluster.ok("run p --image=i").await;
    cluster.ok("wait --for=condition=Ready pod/p --timeout=30s").await;
    let said = cluster.fails("exec p -- true").await;
    assert!(said.contains("only pretend to run"), "{said}");
    let said = cluster.fails("port-forward p 8080:80").await;
    assert!(said.contains("does not forward ports"), "{said}");
    let said = cluster.fails("attach p").await;
    assert!(said.contains("does not attach"), "{said}");
    let said = cluster.fails("top pods").await;
    assert!(said.contains("Metrics API not available"), "{said}");
}

#[tokio::test]
async fn what_would_need_an_attachment_is_refused_before_it_waits_for_one() {
    let cluster = Cluster::start().await;
    for line in [
        "run p -i --rm --image=i -- date",
        "run p -it --image=i --restart=Never -- sh",
    ] {
        let said = cluster.fails(line).await;
        assert!(
            said.contains("leave out -i, and use kubectl exec -i"),
            "{line}: {said}"
        );
    }
    assert_eq!(cluster.ok("get pods -o name").await, "");
    cluster.ok("run p --image=i").await;
    cluster.ok("wait --for=condition=Ready pod/p --timeout=30s").await;
    let said = cluster.fails("debug p --image=busybox").await;
    assert!(said.contains("does not run ephemeral containers"), "{said}");
}

#[tokio::test]
async fn a_container_that_cannot_start_tells_why_and_is_tried_again() {
    let cluster = cluster().await;
    cluster.ok("run broken --image=broken").await;
    eventually("the reason is in the status", async || {
        cluster
            .ok("get pod broken -o jsonpath={.status.containerStatuses[0].state.waiting}")
            .await
            .contains("it is broken")
    })
    .await;
    assert!(
        cluster
            .ok("get pod broken")
            .await
            .contains("CreateContainerError")
    );
}
