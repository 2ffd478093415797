//! `irsa rollout`: every kind of workload, disruption budgets, interruption, failures, and undo.

use crate::common::eventually;
use crate::fleet_stage::{Stage, deployment, transcript};

#[test]
fn rollout_recreates_what_is_stale_verifies_it_and_has_nothing_left_to_do() {
    let stage = Stage::new();
    stage.account("web", Some("false"));
    stage.deployment("web", "web", 3, "");
    assert_eq!(stage.values("app=web"), ["legacy"; 3]);
    let run = stage.run("set regional -n NAMESPACE web --yes --undo-file undo.json");
    assert_eq!(run.code, Some(0), "{}", run.text());

    transcript!(
        "rollout_refuses_without_a_terminal",
        stage.run("rollout -n NAMESPACE")
    );
    transcript!(
        "rollout_proof",
        stage.run("rollout -n NAMESPACE --dry-run=server")
    );
    assert_eq!(stage.values("app=web"), ["legacy"; 3]);

    let run = stage.run("rollout -n NAMESPACE --yes -o json");
    assert_eq!(run.code, Some(0), "{}", run.text());
    let json = run.json();
    assert_eq!(json["workloads"][0]["way"], "restart");
    assert_eq!(json["workloads"][0]["result"], "verified");
    assert_eq!(json["workloads"][0]["verifiedPods"], 3);
    assert_eq!(stage.values("app=web"), ["regional"; 3]);
    transcript!("rollout_of_nothing", stage.run("rollout -n NAMESPACE --yes"));

    let run = stage.run("rollout --undo undo.json --dry-run");
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(
        run.stderr.contains("irsa set --undo FILE --dry-run=server"),
        "{}",
        run.text()
    );
    let run = stage.run("rollout --undo undo.json --yes");
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert_eq!(stage.values("app=web"), ["legacy"; 3]);
}

#[test]
fn workloads_that_do_not_roll_are_evicted_and_pods_that_cannot_be_recreated_are_named() {
    let stage = Stage::new();
    stage.account("mine", Some("false"));
    // Evicted: a StatefulSet that does not roll by itself, and a Deployment that Argo CD keeps.
    stage.apply(
        &deployment("sets", "mine", 2, "")
            .replace("kind: Deployment", "kind: StatefulSet")
            .replace(
                "  replicas: 2",
                "  replicas: 2\n  serviceName: sets\n  updateStrategy: {type: OnDelete}",
            ),
    );
    stage.apply(&deployment("guarded", "mine", 1, "").replace(
        "  name: guarded\nspec",
        "  name: guarded\n  annotations: {argocd.argoproj.io/tracking-id: \"x\"}\nspec",
    ));
    // Left alone: a pod that nobody makes again, and a paused Deployment.
    stage.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: plain, labels: {app: plain}}
spec:
  serviceAccountName: mine
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: registry.k8s.io/pause:3.10}]
",
    );
    stage.deployment("left", "mine", 1, "");
    stage.k("rollout pause deployment/left");
    stage.k("rollout status deployment/guarded --timeout=60s");
    stage.k("wait --for=condition=Ready pod/plain pod/sets-0 pod/sets-1 --timeout=60s");
    stage.run("set regional -n NAMESPACE mine --yes --undo-file undo.json");

    transcript!(
        "rollout_plan_of_delicate_workloads",
        stage.run("rollout -n NAMESPACE --dry-run")
    );
    let run = stage.run("rollout -n NAMESPACE --yes");
    assert_eq!(run.code, Some(0), "{}", run.text());
    // The end says which stale pods remain.
    assert!(
        run.stderr.contains("2 stale pods not recreated: left-"),
        "{}",
        run.text()
    );
    assert_eq!(stage.values("app=sets"), ["regional"; 2]);
    assert_eq!(stage.values("app=guarded"), ["regional"]);
    assert_eq!(stage.values("app=left"), ["legacy"]);
    // Evicting changes no template: nothing for Argo CD to report.
    let template = stage.k("get deployment guarded -o jsonpath={.spec.template.metadata.annotations}");
    assert_eq!(template, "");

    let run = stage.run("rollout -n NAMESPACE --yes --fail-on-remaining -o json");
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert_eq!(run.json()["remaining"], 2);

    let run = stage.run("rollout -n NAMESPACE -l app=plain --recreate-bare-pods --yes");
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert_eq!(stage.values("app=plain"), ["regional"]);
}

#[test]
fn a_disruption_budget_holds_an_eviction_back_until_it_allows_it() {
    let stage = Stage::new();
    stage.account("mine", Some("false"));
    stage.apply(
        &deployment("guarded", "mine", 1, "")
            .replace("kind: Deployment", "kind: StatefulSet")
            .replace(
                "  replicas: 1",
                "  replicas: 1\n  serviceName: g\n  updateStrategy: {type: OnDelete}",
            ),
    );
    stage.apply(
        "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {minAvailable: 1, selector: {matchLabels: {app: guarded}}}
",
    );
    stage.k("wait --for=condition=Ready pod/guarded-0 --timeout=60s");
    eventually("the budget is counted", || {
        let healthy = stage.k("get pdb guarded -o jsonpath={.status.currentHealthy}");
        if healthy == "1" { Ok(()) } else { Err(healthy) }
    });
    stage.run("set regional -n NAMESPACE mine --yes --undo-file undo.json");
    let run = stage.run("rollout -n NAMESPACE --yes --timeout 2s");
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert!(
        run.stderr.contains("could not be evicted within 2 s"),
        "{}",
        run.text()
    );
    assert_eq!(stage.values("app=guarded"), ["legacy"]);

    stage.k("delete pdb guarded");
    let run = stage.run("rollout -n NAMESPACE --yes");
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert_eq!(stage.values("app=guarded"), ["regional"]);
}

#[test]
fn nothing_is_restarted_when_the_proof_fails() {
    let stage = Stage::new();
    stage.account("web", Some("false"));
    stage.deployment("web", "web", 1, "");
    stage.run("set regional -n NAMESPACE web --yes --undo-file undo.json");
    // From now on pods of this template are not sent to the webhook, and would lose their identity.
    stage.k("scale deployment/web --replicas=1");
    let before = stage.k("get pods -l app=web -o name");
    let patched = r#"[{"op":"add","path":"/spec/template/metadata/labels/eks.amazonaws.com~1skip-pod-identity-webhook","value":"true"}]"#;
    stage.k("rollout pause deployment/web");
    stage.kubectl(&[
        "-n",
        &stage.namespace,
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        patched,
    ]);
    let run = stage.run("rollout -n NAMESPACE --yes");
    // Paused: left alone. Nothing else is stale.
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert!(run.stdout.contains("paused"), "{}", run.text());

    // Not paused, but kept from rolling by its strategy, so that the old pod is still there to be found.
    stage.kubectl(&["-n", &stage.namespace, "patch", "deployment", "web", "--type=merge", "-p",
        r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}},"minReadySeconds":600,"progressDeadlineSeconds":601}}"#]);
    stage.k("rollout resume deployment/web");
    let run = stage.run("rollout -n NAMESPACE --yes");
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert!(
        run.stderr.contains("no webhook wrote an identity into it"),
        "{}",
        run.text()
    );
    let after = stage.k("get pods -l app=web -o name");
    assert!(after.contains(before.trim()), "{before} / {after}");
    let restarted = stage.k("get deployment web -o jsonpath={.spec.template.metadata.annotations}");
    assert!(!restarted.contains("restartedAt"), "{restarted}");
}

#[test]
fn an_interrupted_rollout_continues_where_it_stopped() {
    let stage = Stage::new();
    stage.account("slow", Some("false"));
    stage.deployment("slow", "slow", 2, "");
    stage.run("set regional -n NAMESPACE slow --yes --undo-file undo.json");
    stage.kubectl(&[
        "-n",
        &stage.namespace,
        "patch",
        "deployment",
        "slow",
        "--type=merge",
        "-p",
        r#"{"spec":{"minReadySeconds":3}}"#,
    ]);
    let child = stage
        .command(&["rollout", "-n", &stage.namespace, "--yes"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let restarted = || {
        stage.k("get deployment slow -o jsonpath={.spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt}")
    };
    eventually("it has started", || {
        let at = restarted();
        if at.is_empty() {
            Err("not restarted".to_owned())
        } else {
            Ok(())
        }
    });
    crate::common::signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("interrupted; the cluster continues the rolling update"),
        "{stderr}"
    );

    let first = restarted();
    let run = stage.run("rollout -n NAMESPACE --yes");
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert!(
        run.stderr.contains("is rolling already") || run.stdout.contains("nothing to recreate"),
        "{}",
        run.text()
    );
    assert_eq!(restarted(), first, "it was not restarted a second time");
    assert_eq!(stage.values("app=slow"), ["regional"; 2]);
}

#[test]
fn a_workload_that_fails_does_not_stop_the_others_unless_asked_to() {
    let stage = Stage::new();
    stage.account("mine", Some("false"));
    // In this order: a workload whose new pods would not be mutated, and one that is fine.
    stage.deployment("broken", "mine", 1, "");
    stage.deployment("web", "mine", 1, "");
    let skip = r#"{"spec":{"minReadySeconds":600,"progressDeadlineSeconds":601,"template":{"metadata":{"labels":{"eks.amazonaws.com/skip-pod-identity-webhook":"true"}}}}}"#;
    stage.kubectl(&[
        "-n",
        &stage.namespace,
        "patch",
        "deployment",
        "broken",
        "--type=merge",
        "-p",
        skip,
    ]);
    stage.run("set regional -n NAMESPACE mine --yes --undo-file undo.json");

    let run = stage.run("rollout -n NAMESPACE --yes --fail-fast -o json");
    assert_eq!(run.code, Some(1), "{}", run.text());
    let results = |run: &crate::fleet_stage::Transcript| -> Vec<String> {
        let json = run.json();
        let workloads = json["workloads"].as_array().unwrap().iter();
        workloads
            .map(|workload| {
                format!(
                    "{}: {}",
                    workload["workload"].as_str().unwrap(),
                    workload["result"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(
        results(&run),
        ["deployment/broken: failed", "deployment/web: not-started"]
    );
    assert_eq!(stage.values("app=web"), ["legacy"]);

    let run = stage.run("rollout -n NAMESPACE --yes -o json");
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert_eq!(
        results(&run),
        ["deployment/broken: failed", "deployment/web: verified"]
    );
    assert_eq!(stage.values("app=web"), ["regional"]);

    let run = stage.run("rollout -n NAMESPACE --yes --exclude deployment/broken");
    assert_eq!(run.code, Some(0), "{}", run.text());
}
