//! The table of versions, seen from every side: what the webhook writes on a platform is what `status`, `explain`,
//! `rollout` and `check` say of it, whatever the service account is annotated with.
//!
//! The API tells the Kubernetes version but never `eks.N`, so that all but `check` have to learn it from pods.

use irsa_core::{
    endpoint::{KubernetesVersion, PLATFORMS, Platform},
    identity::{Known, Lookup, ServiceAccount, resolve},
    pod,
    settings::Settings,
};
use serde_json::{Value, json};

use crate::{
    check,
    directory::{Decided, Directory},
    effective::Families,
    explain::Gathered,
    finding::Id,
    manifests,
    status::{Options, Status},
    webhook::{Flavor, Version, Webhooks},
    wire,
};

const ANNOTATIONS: [Option<&str>; 4] = [None, Some("true"), Some("false"), Some("regional")];

fn account(annotation: Option<&str>) -> Value {
    let mut annotations = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r"});
    if let Some(value) = annotation {
        annotations["eks.amazonaws.com/sts-regional-endpoints"] = json!(value);
    }
    json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "sa", "namespace": "ns", "annotations": annotations,
            "managedFields": [{"manager": "kubectl-annotate", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:metadata":
                {"f:annotations": {"f:eks.amazonaws.com/role-arn": {}, "f:eks.amazonaws.com/sts-regional-endpoints": {}}}}}]}})
}

fn template() -> Value {
    json!({"metadata": {"generateName": "p-", "namespace": "ns"},
        "spec": {"serviceAccountName": "sa", "containers": [{"name": "main", "image": "app"}]}})
}

/// What the webhook makes of a pod, and what it wrote into the variable.
fn mutated(settings: &Settings, annotation: Option<&str>) -> (Value, Option<&'static str>) {
    let account = account(annotation);
    let annotations = account["metadata"]["annotations"].as_object().unwrap();
    let account = ServiceAccount::from_annotations(
        annotations
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap())),
        settings,
    )
    .unwrap();
    let lookup = Lookup {
        service_account: Known::Annotated(&account),
        ..Lookup::NOTHING
    };
    let identity = resolve(&lookup, settings).unwrap();
    let mut value = template();
    let text = value.to_string();
    let pod = pod::Pod::parse(text.as_bytes()).unwrap();
    let outcome = pod.patch(&identity, settings, 0).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&outcome.patch).unwrap();
    json_patch::patch(&mut value, &patch).unwrap();
    value["metadata"]["name"] = json!("p");
    value["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    (value, outcome.containers[0].written)
}

/// A cluster on which such a webhook runs, as a person without its arguments sees it.
fn directory(version: &Version, flavor: Flavor, annotation: Option<&str>) -> Directory {
    let webhooks = Webhooks::unread_for_tests(&version.git_version, flavor);
    let mut directory = Directory::offline(webhooks, version.clone());
    directory.accounts_complete = true;
    let text = account(annotation).to_string();
    directory.add_account(&serde_json::from_str::<wire::ServiceAccount<'_>>(&text).unwrap());
    directory
}

/// Compares all answers about one pod.
fn compare(title: &str, directory: Directory, pod: &Value, written: Option<&str>, known: bool) {
    let text = pod.to_string();
    let mut status = Status::new("c", "s", directory);
    let read: wire::Pod<'_> = serde_json::from_str(&text).unwrap();
    status.directory.learn(std::slice::from_ref(&read));
    let options = Options {
        families: Families::new(vec!["js-v3".parse().unwrap()]),
        ..Options::default()
    };
    status.add_pod(&read, &options);
    status.finish(&options);
    // The pod carries what the webhook wrote: `rollout` has nothing to do.
    assert_eq!(status.summary().stale, 0, "{title}: stale");
    let row = &status.accounts[&("ns".into(), "sa".into())];
    assert!(
        !row.findings.keys().any(|finding| finding.id() == Id::SetInPod),
        "{title}: {:?}",
        row.findings
    );
    let decided = status.decided("ns", "sa");
    let gathered = Gathered::for_tests("ns", "sa", status.directory, text.into());
    assert_eq!(gathered.decided(), decided, "{title}: explain");
    match decided {
        Decided::Known(choice) => {
            let settings = &gathered.directory.webhooks.settings;
            assert_eq!(
                choice.written(settings.global_value),
                written,
                "{title}: {choice:?}"
            );
            let winner = gathered.sources(None).into_iter().find(|source| source.wins);
            assert_eq!(winner.map(|source| source.source), Some(choice.source), "{title}");
        }
        Decided::Unknown(_) => assert!(!known, "{title}: not known"),
        Decided::NoIdentity(why) => panic!("{title}: {why:?}"),
    }
}

/// `check`, which is told the platform.
fn check_says(settings: &Settings, annotation: Option<&str>) -> Option<String> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"},
        "spec": template()["spec"]});
    let mut account = account(annotation);
    account["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [account, pod]});
    let mut input = manifests::Input::default();
    input.add_text("f", &list.to_string());
    assert!(input.errors.is_empty(), "{:?}", input.errors);
    let documents = input.documents;
    let options = check::Options {
        settings: settings.clone(),
        namespace: "ns".to_owned(),
        families: Families::default(),
    };
    let report = check::check(&documents, &options);
    let env = report.workloads[0].pod["spec"]["containers"][0]["env"].clone();
    let value = env
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "AWS_STS_REGIONAL_ENDPOINTS")?;
    Some(value["value"].as_str().unwrap().to_owned())
}

#[test]
fn every_row_of_the_table_is_told_alike_by_all_commands() {
    // Below the table there is one row more, which may never choose.
    let below = (PLATFORMS[0].0 - 1, 1);
    for (minor, least) in PLATFORMS
        .into_iter()
        .map(|(minor, least, _)| (minor, least))
        .chain([below])
    {
        for eks in [least - 1, least, least + 1] {
            let platform = Platform {
                kubernetes: KubernetesVersion { major: 1, minor },
                eks: Some(eks),
            };
            let version = Version {
                git_version: format!("v1.{minor}.4-eks-036c24b"),
            };
            for annotation in ANNOTATIONS {
                let title = format!("{platform}, annotated {annotation:?}");
                let ours = Settings {
                    platform: Some(platform),
                    ..Settings::default()
                };
                let (pod, written) = mutated(&ours, annotation);
                assert_eq!(
                    check_says(&ours, annotation).as_deref(),
                    written,
                    "{title}: check"
                );
                // Its record tells, under whatever name it is called.
                for flavor in [Flavor::Eks, Flavor::Irsa] {
                    // A record of a choice does not tell the default, which nobody needs then.
                    compare(
                        &title,
                        directory(&version, flavor, annotation),
                        &pod,
                        written,
                        true,
                    );
                }
                // The webhook of EKS leaves no record: one pod is taken for what it shows. It has no `eks.0`.
                if eks == 0 {
                    continue;
                }
                let eks = crate::webhook::documented_for_eks(Some(platform));
                let (pod, written) = mutated(&eks, annotation);
                let telling = annotation != Some("false");
                compare(
                    &format!("{title}, webhook of EKS"),
                    directory(&version, Flavor::Eks, annotation),
                    &pod,
                    written,
                    telling,
                );
            }
        }
    }
}
