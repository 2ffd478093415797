//! `irsa check`: manifests in files, folders and pipes, no cluster.

use crate::fleet_stage::{ROLE, Stage, deployment, transcript};

fn manifests() -> String {
    format!(
        "apiVersion: v1
kind: ServiceAccount
metadata:
  name: web
  annotations:
    eks.amazonaws.com/role-arn: {ROLE}
    eks.amazonaws.com/sts-regional-endpoints: \"true\"
---
{}---
{}",
        deployment("web", "web", 1, ""),
        deployment(
            "broken",
            "web",
            1,
            "        env:\n        - name: AWS_STS_REGIONAL_ENDPOINTS\n          value: global\n        - name: AWS_ENDPOINT_URL_STS\n          value: https://sts.amazonaws.com\n"
        )
    )
}

/// The cluster is not asked: no stage is needed but for its folder.
fn stage() -> Stage {
    let stage = Stage::new();
    std::fs::create_dir(stage.folder.path().join("k8s")).unwrap();
    std::fs::write(stage.folder.path().join("k8s/app.yaml"), manifests()).unwrap();
    stage
}

#[test]
fn check_reads_files_folders_and_pipes_and_answers_in_every_format() {
    let stage = stage();
    let run = stage.run("check -f k8s/app.yaml --region us-west-2 --sdk boto3");
    assert_eq!(run.code, Some(1));
    transcript!("check_file", run);
    transcript!(
        "check_github",
        stage.run("check -f k8s --region us-west-2 --sdk boto3 -o github")
    );
    let yaml = stage.run_with(
        "check -f - --region us-west-2 --fail-on never -o yaml",
        &manifests(),
    );
    assert_eq!(yaml.code, Some(0));
    for part in [
        "# NAMESPACE/deployment/web",
        "name: AWS_STS_REGIONAL_ENDPOINTS",
        "value: regional",
        "mountPath: /var/run/secrets/eks.amazonaws.com/serviceaccount",
    ] {
        let part = part.replace("NAMESPACE", "default");
        assert!(yaml.stdout.contains(&part), "{part}: {}", yaml.text());
    }
    let sarif = stage.run("check -f k8s -o sarif").json();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(
        sarif["runs"][0]["results"]
            .as_array()
            .unwrap()
            .iter()
            .any(|result| result["ruleId"] == "invalid-value")
    );
    let json = stage.run("check -f k8s -o json").json();
    assert_eq!(json["kind"], "Check");
    assert_eq!(json["workloads"].as_array().unwrap().len(), 2);
}

#[test]
fn check_makes_pods_as_the_webhook_of_eks_makes_them() {
    let stage = stage();
    let manifests = manifests().replace("\"true\"", "\"false\"");
    let ours = stage.run_with(
        "check -f - -o yaml --region us-west-2 --fail-on never",
        &manifests,
    );
    assert!(ours.stdout.contains("value: legacy"), "{}", ours.text());
    let eks = stage.run_with(
        "check -f - -o yaml --eks --region us-west-2 --fail-on never",
        &manifests,
    );
    assert!(!eks.stdout.contains("value: legacy"), "{}", eks.text());
}

#[test]
fn check_assumes_eks_unless_told_and_says_so() {
    let stage = stage();
    let unset = manifests().replace("    eks.amazonaws.com/sts-regional-endpoints: \"true\"\n", "");
    assert_ne!(unset, manifests());
    let choice = |flags: &str| {
        let run = stage.run_with(
            &format!("check -f - -o json --region us-west-2 --fail-on never {flags}"),
            &unset,
        );
        assert_eq!(
            run.stderr.contains("assuming"),
            flags.is_empty(),
            "{}",
            run.text()
        );
        run.json()["workloads"][0]["choice"].clone()
    };
    // As the same manifests come out in a lab or on EKS.
    assert_eq!(
        choice(""),
        serde_json::json!({"endpoint": "regional", "source": "platform"})
    );
    assert_eq!(
        choice("--kubernetes-version none"),
        serde_json::json!({"endpoint": "global", "source": "unset"})
    );
    assert_eq!(
        choice("--kubernetes-version 1.24 --platform-version eks.1")["source"],
        "platform-too-old"
    );
    let run = stage.run_with("check -f - --kubernetes-version 1.24", &unset);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--platform-version"), "{}", run.text());
}

#[test]
fn check_says_where_the_input_is_wrong() {
    let stage = stage();
    let run = stage.run_with("check -f -", "kind: Pod\nmetadata: [\n");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("-:"), "{}", run.text());
    let run = stage.run("check -f nowhere.yaml");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("nowhere.yaml"), "{}", run.text());
    // The other documents and files are checked nevertheless.
    std::fs::write(
        stage.folder.path().join("k8s/bad.yaml"),
        "kind: Pod\nmetadata: [\n",
    )
    .unwrap();
    let run = stage.run("check -f k8s --region us-west-2");
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(run.stderr.contains("k8s/bad.yaml:"), "{}", run.text());
    assert!(run.stdout.contains("invalid-value"), "{}", run.text());
    let run = stage.run_with("check -f -", "\n# nothing\n");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("no Kubernetes object"), "{}", run.text());
}

#[test]
fn check_says_when_there_is_nothing_to_check() {
    let stage = stage();
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let run = stage.run_with("check -f - --region us-west-2", manifest);
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert!(
        run.stderr.contains("nothing to check: none of 1 object"),
        "{}",
        run.text()
    );
    let run = stage.run("check -f k8s/app.yaml --region us-west-2");
    assert!(!run.stderr.contains("nothing to check"), "{}", run.text());
}

#[test]
fn check_builds_a_kustomization() {
    let stage = stage();
    std::fs::write(
        stage.folder.path().join("k8s/kustomization.yaml"),
        "resources: [app.yaml]\nnamespace: prod\n",
    )
    .unwrap();
    let run = stage.run("check -k k8s --region us-west-2 -o json --fail-on never");
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert_eq!(run.json()["workloads"][0]["namespace"], "prod");
    let run = stage.run("check -k nowhere");
    assert_eq!(run.code, Some(2), "{}", run.text());
}
