//! `irsa set`: a plan, a question, an undo file, and respect for tools that manage the annotation.

use crate::fleet_stage::{ROLE, Stage, transcript};

fn annotation(stage: &Stage, account: &str) -> String {
    stage.k(&format!(
        "get serviceaccount {account} -o jsonpath={{.metadata.annotations.eks\\.amazonaws\\.com/sts-regional-endpoints}}"
    ))
}

#[test]
fn set_shows_a_plan_asks_and_writes_what_can_be_undone() {
    let stage = Stage::new();
    stage.account("web", None);
    stage.deployment("web", "web", 2, "");

    transcript!(
        "set_refuses_without_a_terminal",
        stage.run("set global -n NAMESPACE web --sdk boto3,js-v3")
    );
    assert_eq!(annotation(&stage, "web"), "");
    transcript!(
        "set_dry_run_on_the_server",
        stage.run("set global -n NAMESPACE web --dry-run=server --sdk boto3")
    );
    assert_eq!(annotation(&stage, "web"), "");

    transcript!(
        "set_global",
        stage.run("set global -n NAMESPACE serviceaccount/web --yes --undo-file undo.json --sdk boto3")
    );
    assert_eq!(annotation(&stage, "web"), "false");
    transcript!(
        "set_again_changes_nothing",
        stage.run("set global -n NAMESPACE web --yes --undo-file other.json")
    );
    assert!(!stage.folder.path().join("other.json").exists());
    let run = stage.run("set regional -n NAMESPACE web --yes --undo-file undo.json");
    assert_eq!(
        run.code,
        Some(2),
        "an undo file is never overwritten: {}",
        run.text()
    );
    assert_eq!(annotation(&stage, "web"), "false");

    transcript!(
        "set_undo",
        stage.run("set --undo undo.json --yes --undo-file redo.json --sdk boto3")
    );
    assert_eq!(annotation(&stage, "web"), "");
}

#[test]
fn set_takes_over_from_hands_but_not_from_tools() {
    let stage = Stage::new();
    stage.account("by-hand", Some("false"));
    stage.apply(&format!(
        "apiVersion: v1
kind: ServiceAccount
metadata:
  name: by-tool
  annotations:
    eks.amazonaws.com/role-arn: {ROLE}
    eks.amazonaws.com/sts-regional-endpoints: \"false\"
"
    ));
    let run = stage.run("set regional -n NAMESPACE by-hand --yes");
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert_eq!(annotation(&stage, "by-hand"), "true");

    let run = stage.run("set regional -n NAMESPACE by-tool --yes");
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(
        run.stderr.contains("managed by kubectl-client-side-apply"),
        "{}",
        run.text()
    );
    assert_eq!(annotation(&stage, "by-tool"), "false");
    // If one is in conflict, none is written, and there is nothing to undo.
    let before = undo_files(&stage);
    let run = stage.run("set global -n NAMESPACE by-hand by-tool --yes");
    assert_eq!(run.code, Some(0), "by-tool is global already: {}", run.text());
    let run = stage.run("set regional -n NAMESPACE by-hand by-tool --yes");
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert_eq!(annotation(&stage, "by-hand"), "false");
    assert_eq!(
        undo_files(&stage),
        before + 1,
        "only the change that was made has an undo file"
    );
    // A dry run shows the conflict, too.
    for dry_run in ["client", "server"] {
        let run = stage.run(&format!(
            "set regional -n NAMESPACE by-hand by-tool --dry-run={dry_run} -o json"
        ));
        assert_eq!(run.code, Some(1), "{}", run.text());
        let changes = &run.json()["changes"];
        assert_eq!(changes[1]["result"], "conflict", "{}", run.text());
        assert_eq!(changes[1]["managedBy"][0], "kubectl-client-side-apply");
    }
    let run = stage.run("set regional -n NAMESPACE by-hand by-tool --yes --skip-conflicts");
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert_eq!(annotation(&stage, "by-hand"), "true");
    assert_eq!(annotation(&stage, "by-tool"), "false");
    let run = stage.run("set regional -n NAMESPACE by-tool --yes --force-conflicts --undo-file forced.json");
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert_eq!(annotation(&stage, "by-tool"), "true");
}

fn undo_files(stage: &Stage) -> usize {
    let entries = std::fs::read_dir(stage.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("irsa-undo-")).count()
}

#[test]
fn changes_within_one_second_have_an_undo_file_each() {
    let stage = Stage::new();
    stage.account("web", None);
    for (index, wish) in ["regional", "global", "default"].into_iter().enumerate() {
        let run = stage.run(&format!("set {wish} -n NAMESPACE web --yes"));
        assert_eq!(run.code, Some(0), "{}", run.text());
        assert_eq!(undo_files(&stage), index + 1);
    }
}

#[test]
fn set_selects_by_label_file_and_namespace_and_names_what_is_missing() {
    let stage = Stage::new();
    for name in ["a", "b", "c"] {
        stage.account(name, None);
    }
    stage.k("label serviceaccount a team=x");
    let run =
        stage.run("set regional -n NAMESPACE --account-selector team=x --yes -o json --undo-file 1.json");
    let json = run.json();
    assert_eq!(json["changes"].as_array().unwrap().len(), 1);
    assert_eq!(json["changes"][0]["name"], "a");
    assert_eq!(json["changes"][0]["result"], "changed");

    let list = format!(
        "# from irsa status -o name\n{}/b\nserviceaccount/c # here\n",
        stage.namespace
    );
    let run = stage.run_with(
        "set regional -n NAMESPACE --file - --yes --undo-file 2.json",
        &list,
    );
    assert_eq!(run.code, Some(0), "{}", run.text());
    assert_eq!(annotation(&stage, "b"), "true");
    assert_eq!(annotation(&stage, "c"), "true");

    let run = stage.run("set default -n NAMESPACE --all --yes --undo-file 3.json");
    assert_eq!(run.code, Some(0), "{}", run.text());
    for name in ["a", "b", "c"] {
        assert_eq!(annotation(&stage, name), "");
    }
    let run = stage.run("set regional -n NAMESPACE nobody --yes");
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert!(run.stderr.contains("does not exist"), "{}", run.text());
    let run = stage.run("set regional -n NAMESPACE");
    assert_eq!(run.code, Some(2), "{}", run.text());
}

#[test]
fn an_undo_does_not_overwrite_what_was_changed_since() {
    let stage = Stage::new();
    stage.account("web", None);
    stage.run("set regional -n NAMESPACE web --yes --undo-file undo.json");
    stage.k("annotate --overwrite serviceaccount web eks.amazonaws.com/sts-regional-endpoints=false");
    let run = stage.run("set --undo undo.json --yes --undo-file 2.json");
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert!(run.stderr.contains("has changed"), "{}", run.text());
    assert_eq!(annotation(&stage, "web"), "false");
}
