//! `irsa status` and `irsa doctor`, driven as a person does.

use std::io::Read as _;
use std::process::Stdio;

use crate::common::{Lab, succeeded};
use crate::fleet_stage::{Stage, deployment, transcript};

#[test]
fn status_shows_what_was_chosen_what_pods_carry_and_what_is_wrong() {
    let stage = Stage::new();
    stage.account("web", Some("true"));
    stage.account("broken", None);
    stage.account("skipped", Some("true"));
    stage.deployment("web", "web", 2, "");
    stage.deployment(
        "sets",
        "broken",
        1,
        "        env: [{name: AWS_STS_REGIONAL_ENDPOINTS, value: global}]\n",
    );
    stage.apply(
        "apiVersion: v1
kind: Pod
metadata:
  name: plain
  labels: {eks.amazonaws.com/skip-pod-identity-webhook: \"true\"}
spec:
  serviceAccountName: skipped
  containers: [{name: main, image: registry.k8s.io/pause:3.10}]
",
    );
    stage.k("wait --for=condition=Ready pod/plain --timeout=60s");
    stage.k("annotate serviceaccount web eks.amazonaws.com/sts-regional-endpoint=true");

    transcript!("status_table", stage.run("status -n NAMESPACE --sdk boto3,js-v2"));
    transcript!(
        "status_wide",
        stage.run("status -n NAMESPACE -o wide --sdk boto3@1.39")
    );
    transcript!("status_pods", stage.run("status -n NAMESPACE --pods --sdk boto3"));
    transcript!("status_names", stage.run("status -n NAMESPACE -o name"));
    transcript!(
        "status_names_with_a_finding",
        stage.run("status -n NAMESPACE -o name --finding unmutated-pod")
    );
    transcript!(
        "status_by_label",
        stage.run("status -n NAMESPACE -l app=web --sdk boto3")
    );

    let json = stage.run("status -n NAMESPACE -o json").json();
    assert_eq!(json["apiVersion"], "irsa/v1");
    assert_eq!(json["kind"], "Status");
    let summary = &json["clusters"][0]["summary"];
    assert_eq!(summary["pods"], 4);
    assert_eq!(summary["unmutated"], 1);
    assert_eq!(summary["carries"]["global"], 1);
    assert_eq!(summary["carries"]["regional"], 2);

    let names = stage.run("status -n NAMESPACE -o jsonpath={.clusters[*].serviceAccounts[*].name}");
    assert_eq!(names.stdout, "broken skipped web\n");
    let columns = stage
        .run("status -n NAMESPACE --no-headers -o custom-columns=NAME:.name,PODS:.pods,SAYS:.annotation");
    assert_eq!(
        columns.stdout,
        "broken    1   <none>\nskipped   1   true\nweb       2   true\n"
    );
    let rows = stage.run("status -n NAMESPACE --no-headers");
    assert_eq!(rows.stdout.lines().count(), 3, "{}", rows.text());
    let run = stage.run("status -n NAMESPACE --finding stale-pods");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("unmutated-pod"), "{}", run.text());
    let run = stage.run("status -n NAMESPACE --as somebody --as-group readers");
    assert_eq!(run.code, Some(0), "{}", run.text());
    let run = stage.run("status -n NAMESPACE --server https://127.0.0.1:1");
    assert_eq!(run.code, Some(2), "{}", run.text());
    let run = stage.run("status -n NAMESPACE --user nobody");
    assert_eq!(run.code, Some(2), "{}", run.text());

    for (fail_on, code) in [("never", 0), ("error", 1), ("invalid-value", 1), ("stale-pod", 0)] {
        let run = stage.run(&format!("status -n NAMESPACE --fail-on {fail_on}"));
        assert_eq!(run.code, Some(code), "{}", run.text());
    }
}

#[test]
fn status_says_what_keeps_it_from_looking() {
    let stage = Stage::new();
    let run = stage.run("status --context nowhere");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("no context `nowhere`"), "{}", run.text());
    assert!(run.stdout.is_empty());

    let run = stage.run("status --kubeconfig /nonexistent/config");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("/nonexistent/config"), "{}", run.text());

    // A server that is gone: a port on which nothing listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let kubeconfig = stage.folder.path().join("gone");
    std::fs::write(
        &kubeconfig,
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: a, cluster: {{server: 'https://{free}'}}}}]\n\
             users: [{{name: a, user: {{token: x}}}}]\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n"
        ),
    )
    .unwrap();
    let run = stage.run(&format!("status -A --kubeconfig {}", kubeconfig.display()));
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("cannot reach the API server"),
        "{}",
        run.text()
    );

    // Several contexts: the one that answers is shown, the other is named.
    let run = stage.run(&format!(
        "status --all-contexts -o json --kubeconfig {}",
        kubeconfig.display()
    ));
    assert_eq!(run.code, Some(2));

    let run = stage.run("status -n NAMESPACE --fail-on loud");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("neither a severity"), "{}", run.text());
}

#[test]
fn a_reader_that_has_seen_enough_ends_status_in_silence() {
    let stage = Stage::new();
    stage.account("web", Some("true"));
    let mut child = stage
        .command(&["status", "-A", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn colour_is_for_terminals_only() {
    let stage = Stage::new();
    let plain = stage.run("status -n NAMESPACE");
    assert!(!plain.stdout.contains('\u{1b}'));
    let forced = stage.run("status -n NAMESPACE --color always");
    assert!(forced.stdout.contains('\u{1b}'));
}

#[test]
fn the_doctor_looks_at_everything_in_order() {
    let stage = Stage::new();
    stage.account("web", Some("true"));
    let run = stage.run("doctor -n NAMESPACE -o json");
    let json = run.json();
    let verdict = |id: &str| {
        json["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["id"] == id)
            .unwrap_or_else(|| panic!("no check {id}: {json:#}"))["verdict"]
            .clone()
    };
    let order: Vec<&str> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        order,
        [
            "api",
            "rights",
            "platform",
            "webhook-configuration",
            "webhook-selectors",
            "webhook-backend",
            "webhook-certificate",
            "webhook-answers",
            "issuer",
            "token",
            "regions",
            "pods"
        ]
    );
    for id in [
        "api",
        "platform",
        "webhook-configuration",
        "webhook-selectors",
        "webhook-answers",
        "pods",
    ] {
        assert_eq!(verdict(id), "pass", "{id}: {json:#}");
    }
    // Both checks speak of the webhook that really answers, whatever its configuration looks like.
    let evidence = |id: &str| {
        let checks = json["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap()["evidence"].to_string()
    };
    assert!(evidence("webhook-configuration").contains("(irsa)"), "{json:#}");
    assert!(
        evidence("webhook-answers").contains("the irsa webhook recorded"),
        "{json:#}"
    );
    // The lab's webhook has a URL: without --probe its certificate is not looked at, which is no pass.
    if evidence("webhook-configuration").contains("https://127.0.0.1") {
        assert_eq!(verdict("webhook-certificate"), "skip", "{json:#}");
    }
    assert_eq!(verdict("token"), "pass", "{json:#}");
    assert_ne!(verdict("issuer"), "fail", "{json:#}");
    let text = stage.run("doctor -n NAMESPACE");
    assert!(
        text.stdout.contains("A dry-run pod gets its identity"),
        "{}",
        text.text()
    );
    // The token that was asked for is shown to nobody.
    assert!(!text.stdout.contains("eyJ"));
}

#[test]
fn the_doctor_recognises_errors_without_a_cluster() {
    let stage = Stage::new();
    let text = "An error occurred (SignatureDoesNotMatch) when calling the GetCallerIdentity operation: Credential should \
                be scoped to a valid region";
    let run = stage.run_with("doctor --error - --kubeconfig /nonexistent", text);
    assert_eq!(run.code, Some(0), "{}", run.text());
    transcript!("doctor_error", run);
    let run = stage.run_with("doctor --error -", "all is well");
    assert_eq!(run.code, Some(1));
}

#[test]
fn names_and_namespaces_that_do_not_exist_are_errors() {
    let stage = Stage::new();
    stage.account("web", Some("true"));
    for line in [
        "status -n NAMESPACE nobody",
        "status -n NAMESPACE web nobody",
        "status -A nobody",
        "status NAMESPACE/nobody -A",
        "rollout -n NAMESPACE nobody",
        "rollout -n NAMESPACE web nobody --yes",
        "set regional -n NAMESPACE nobody --yes",
    ] {
        let run = stage.run(line);
        assert_eq!(run.code, Some(1), "{}", run.text());
        assert!(run.stderr.contains("nobody"), "{}", run.text());
        assert!(
            !run.stdout.contains("nothing to recreate") || line.contains("web"),
            "{}",
            run.text()
        );
    }
    for command in ["status", "doctor", "rollout", "set regional --all"] {
        let run = stage.run(&format!("{command} -n nowhere"));
        assert_eq!(run.code, Some(1), "{}", run.text());
        assert!(
            run.stderr.contains("namespaces \"nowhere\" not found"),
            "{}",
            run.text()
        );
    }
    let run = stage.run("status NAMESPACE/web -A");
    assert_eq!(run.code, Some(0), "{}", run.text());
    let run = stage.run("status -n NAMESPACE -w 2s");
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(run.stderr.contains("-w=2s"), "{}", run.text());
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let stage = Stage::new();
    stage.account("web", Some("true"));
    for line in [
        "status -A",
        "status -A -o json",
        "status -A -o name",
        "doctor -o yaml",
        "completion bash",
        "version",
        "--help",
    ] {
        let args: Vec<&str> = line.split_whitespace().collect();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = stage
            .command(&args)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn an_expired_token_is_named_with_its_user_and_context() {
    use base64::Engine as _;
    let stage = Stage::new();
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = format!("{}.{}.c2ln", part("{}"), part(r#"{"exp":1700000000}"#));
    let kubeconfig = stage.folder.path().join("expired");
    stage.write_kubeconfig_with_token(&kubeconfig, "alice", "late", &token);
    for line in [
        "status -A",
        "rollout -A",
        "set regional -A",
        "doctor",
        "explain sa/web",
    ] {
        let run = stage.run(&format!("{line} --kubeconfig {}", kubeconfig.display()));
        assert_eq!(run.code, Some(2), "{}", run.text());
        let text = run.text();
        for part in [
            "user \"alice\" (context \"late\")",
            "token expired at 2023-11-14T22:13:20Z",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("check the network"), "{text}");
    }
}

/// One below the table of versions: the API does not tell the platform version, the record in a pod does.
#[test]
fn a_platform_that_is_too_old_is_told_by_all_commands_and_leaves_nothing_to_recreate() {
    let lab = Lab::start(&["--kubernetes", "1.24", "--platform", "eks.1"]);
    for (name, choice) in [
        ("says-none", None),
        ("says-true", Some("true")),
        ("says-false", Some("false")),
        ("says-nonsense", Some("regional")),
    ] {
        lab.k(&format!("create serviceaccount {name}"));
        lab.k(&format!(
            "annotate serviceaccount {name} eks.amazonaws.com/role-arn=arn:aws:iam::111122223333:role/app"
        ));
        if let Some(choice) = choice {
            lab.k(&format!(
                "annotate serviceaccount {name} eks.amazonaws.com/sts-regional-endpoints={choice}"
            ));
        }
        lab.apply(&deployment(name, name, 1, ""));
        lab.k(&format!("rollout status deployment/{name} --timeout=60s"));
    }
    let status = succeeded("status", lab.irsa(&["status", "-n", "default", "-o", "json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let cluster = &status["clusters"][0];
    assert_eq!(cluster["summary"]["stale"], 0, "{}", cluster["summary"]);
    for account in cluster["serviceAccounts"].as_array().unwrap() {
        assert_eq!(account["choice"]["source"], "platform-too-old", "{account}");
    }
    let explained = succeeded("explain", lab.irsa(&["explain", "sa/says-true", "-o", "json"]));
    let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(
        explained["serviceAccount"]["choice"]["source"], "platform-too-old",
        "{explained}"
    );
    let rollout = succeeded("rollout", lab.irsa(&["rollout", "-n", "default", "--dry-run"]));
    assert!(rollout.contains("nothing to recreate"), "{rollout}");
}
