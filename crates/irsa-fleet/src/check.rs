//! Manifests before they reach a cluster: the pods as the webhook would make them, and what is wrong with them.

use std::collections::BTreeSet;

use irsa_core::{
    endpoint::Choice,
    identity::{self, ConfigMap, Identity, NoIdentity},
    mutation,
    partition::AWS_GLOBAL,
    pod::{Pod, is_skip_label},
    settings::Settings,
};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::{
    assess,
    directory::Directory,
    effective::{Answers, Families},
    finding::{Fact, Finding, Id},
    manifests::Document,
    webhook::{SettingsSource, Version, Webhooks},
    wire,
};

/// How manifests are to be held against the rules.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Settings of the webhook.
    pub settings: irsa_core::settings::Settings,
    /// Namespace of objects that name none.
    pub namespace: String,
    /// SDKs.
    pub families: Families,
}

/// One workload of the input.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Index of its document.
    pub document: usize,
    /// `kind/name`.
    pub title: String,
    /// Namespace.
    pub namespace: String,
    /// Service account of its pods.
    pub service_account: String,
    /// What is chosen; nothing without a role.
    pub choice: Option<Choice>,
    /// The pod as the webhook would make it.
    pub pod: Value,
    /// Why the webhook would leave it as it is, if it would.
    pub unchanged: Option<&'static str>,
    /// Where the SDKs of each container would call.
    pub answers: Vec<(String, std::sync::Arc<Answers>)>,
    /// What is wrong, with the line.
    pub findings: Vec<Located>,
}

/// A finding and the line that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Index of the document.
    pub document: usize,
    /// Line in its file.
    pub line: usize,
    /// What.
    pub finding: Finding,
}

/// Everything found in manifests.
#[derive(Debug)]
pub struct Report {
    /// Workloads that have something to do with AWS, and those that have not.
    pub workloads: Vec<Checked>,
    /// Findings about service accounts and namespaces.
    pub findings: Vec<Located>,
    /// Service accounts in the input.
    pub service_accounts: usize,
}

impl Report {
    /// All findings.
    pub fn all(&self) -> impl Iterator<Item = &Located> {
        self.findings
            .iter()
            .chain(self.workloads.iter().flat_map(|workload| &workload.findings))
    }
}

/// Checks manifests.
pub fn check(documents: &[Document], options: &Options) -> Report {
    let mut directory = Directory::offline(
        Webhooks::assumed(options.settings.clone(), SettingsSource::Given),
        Version::default(),
    );
    directory.webhooks.unreadable = Some("manifests are checked without a cluster".to_owned());
    directory.of_manifests = true;
    let mut report = Report {
        workloads: Vec::new(),
        findings: Vec::new(),
        service_accounts: 0,
    };
    // Indexing into a value that is no object panics; such objects are refused by every API server.
    let sound = |document: &&Document| document.object["metadata"].is_object();
    for document in documents.iter().filter(sound) {
        learn(document, options, &mut directory, &mut report);
    }
    for (index, document) in documents
        .iter()
        .enumerate()
        .filter(|(_, document)| sound(document))
    {
        match document.object["kind"].as_str() {
            Some("ServiceAccount") => of_account(index, document, options, &directory, &mut report),
            Some("Namespace") => of_namespace(index, document, &directory, &mut report),
            _ => {}
        }
        if let Some(checked) = workload(index, document, options, &directory) {
            report.workloads.push(checked);
        }
    }
    report
}

/// Remembers service accounts, namespaces and the webhook's ConfigMap.
fn learn(document: &Document, options: &Options, directory: &mut Directory, report: &mut Report) {
    let object = &document.object;
    match object["kind"].as_str() {
        Some("ServiceAccount") => {
            report.service_accounts += 1;
            let mut object = object.clone();
            if object["metadata"]["namespace"]
                .as_str()
                .unwrap_or_default()
                .is_empty()
            {
                object["metadata"]["namespace"] = json!(options.namespace);
            }
            // Managed fields have no place in manifests, and their raw form cannot be read from a value.
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
            if let Ok(account) = wire::ServiceAccount::deserialize(&object) {
                directory.add_account(&account);
            }
        }
        Some("Namespace") => {
            if let Ok(namespace) = wire::Namespace::deserialize(object) {
                directory.add_namespace(&namespace);
            }
        }
        Some("ConfigMap") if object["metadata"]["name"] == identity::CONFIG_MAP_NAME => {
            if let Some(text) = object["data"][identity::CONFIG_MAP_KEY].as_str()
                && let Ok(config_map) = ConfigMap::parse(text, &options.settings)
            {
                directory.config_map = config_map;
            }
        }
        _ => {}
    }
}

fn of_account(
    index: usize,
    document: &Document,
    options: &Options,
    directory: &Directory,
    report: &mut Report,
) {
    let metadata = &document.object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let namespace = metadata["namespace"]
        .as_str()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(&options.namespace);
    let findings = assess::account(directory, namespace, name);
    report.findings.extend(located(index, document, findings));
    report
        .findings
        .extend(located(index, document, unquoted(document)));
}

fn of_namespace(index: usize, document: &Document, directory: &Directory, report: &mut Report) {
    let name = document.object["metadata"]["name"].as_str().unwrap_or_default();
    if let Some(facts) = directory.namespaces.get(name) {
        let findings = facts.warnings.iter().cloned().map(Finding::from);
        report.findings.extend(located(index, document, findings));
    }
    report
        .findings
        .extend(located(index, document, unquoted(document)));
}

/// Annotations that YAML does not read as text: the API server refuses the whole object.
fn unquoted(document: &Document) -> Vec<Finding> {
    let annotations = document.object["metadata"]["annotations"].as_object();
    annotations
        .into_iter()
        .flatten()
        .filter(|(_, value)| matches!(value, Value::Bool(_) | Value::Number(_)))
        .map(|(key, value)| {
            Finding::from(Fact::UnquotedAnnotation {
                key: key.as_str().into(),
                value: value.to_string().into(),
            })
        })
        .collect()
}

fn located(
    index: usize,
    document: &Document,
    findings: impl IntoIterator<Item = Finding>,
) -> impl Iterator<Item = Located> {
    findings.into_iter().map(move |finding| Located {
        document: index,
        line: line_of(document, &finding),
        finding,
    })
}

/// The line that a finding is about: that of its annotation, of its variable in its container, or of its container.
fn line_of(document: &Document, finding: &Finding) -> usize {
    if let Some(key) = finding.fact.annotation() {
        return document.line_of(&[key]);
    }
    let Some(container) = finding.container.as_deref() else {
        return document.line;
    };
    finding
        .fact
        .variable()
        .and_then(|variable| document.line_of_variable(container, variable.as_str()))
        .unwrap_or_else(|| document.line_of(&["name:", container]))
}

/// The pod that a workload would make: of a Pod itself, of the template of anything else that has one.
pub fn pod_of(object: &Value) -> Option<Value> {
    let kind = object["kind"].as_str()?;
    let template = match kind {
        "Pod" => object,
        "PodTemplate" => &object["template"],
        _ => [
            &object["spec"]["template"],
            &object["spec"]["jobTemplate"]["spec"]["template"],
        ]
        .into_iter()
        .find(|template| template["spec"]["containers"].is_array())?,
    };
    let name = object["metadata"]["name"].as_str().unwrap_or("pod");
    let mut metadata: Map<String, Value> = template["metadata"].as_object().cloned().unwrap_or_default();
    if kind != "Pod" {
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), json!(format!("{name}-")));
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template["spec"],
    }))
}

fn workload(index: usize, document: &Document, options: &Options, directory: &Directory) -> Option<Checked> {
    let mut pod = pod_of(&document.object)?;
    let namespace = document.object["metadata"]["namespace"]
        .as_str()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(&options.namespace)
        .to_owned();
    let spec = &pod["spec"];
    let account = [&spec["serviceAccountName"], &spec["serviceAccount"]]
        .into_iter()
        .filter_map(Value::as_str)
        .find(|name| !name.is_empty())
        .unwrap_or("default")
        .to_owned();
    let named = account != "default";
    pod["metadata"]["namespace"] = json!(namespace);
    if pod["spec"].is_object() {
        pod["spec"]["serviceAccountName"] = json!(account);
    }
    let lookup = directory.lookup(&namespace, &account);
    let resolved = identity::resolve(&lookup, &options.settings);
    let mut findings = BTreeSet::new();
    let mut unchanged = None;
    match &resolved {
        Ok(identity) => match mutate(&pod.to_string(), identity, &options.settings) {
            Ok(mutated) => {
                unchanged = mutated.unchanged;
                findings.extend(mutated.warnings);
                pod = mutated.pod;
            }
            Err(error) => {
                findings.insert(Fact::UnreadablePod { error: error.into() }.into());
            }
        },
        Err(why) => {
            unchanged = Some(why.reason());
            if named && *why == NoIdentity::ServiceAccountUnknown {
                let fact = Fact::ServiceAccountNotInInput {
                    namespace: namespace.as_str().into(),
                    name: account.as_str().into(),
                };
                findings.insert(fact.into());
            }
        }
    }
    let mut answers = Vec::new();
    // Values of the wrong type make a pod unreadable here as they do in the API server.
    let text = pod.to_string();
    match serde_json::from_str::<wire::Pod<'_>>(&text) {
        Ok(read) => {
            if let Some(view) = assess::pod(&read, directory, &options.families) {
                answers.extend(
                    view.containers
                        .iter()
                        .map(|container| (container.name.to_owned(), container.answers.clone())),
                );
                findings.extend(view.findings);
            }
        }
        Err(error) => {
            let error = error.to_string().into();
            findings.insert(Fact::UnreadablePod { error }.into());
        }
    }
    if options.settings.region.is_none() {
        // Without a region nothing can be said about endpoints: the webhook of EKS fills in its own.
        findings = findings.into_iter().filter_map(without_region).collect();
    }
    Some(Checked {
        document: index,
        title: document.title(),
        namespace,
        service_account: account,
        choice: resolved.as_ref().ok().map(|identity| identity.choice),
        unchanged,
        answers,
        findings: located(index, document, findings).collect(),
        pod,
    })
}

/// What holds of a finding whatever region the webhook fills in.
fn without_region(mut finding: Finding) -> Option<Finding> {
    if matches!(finding.id(), Id::NoRegion | Id::UsesGlobal | Id::SdkError) {
        return None;
    }
    if let Fact::ExplicitGlobalEndpoint { signed_for, .. } = &mut finding.fact {
        // A region that the template sets is known all the same.
        signed_for.take_if(|region| **region == *AWS_GLOBAL);
    }
    Some(finding)
}

/// A pod as the webhook would make it.
struct Mutated {
    pod: Value,
    unchanged: Option<&'static str>,
    warnings: Vec<Finding>,
}

fn mutate(text: &str, identity: &Identity<'_>, settings: &Settings) -> Result<Mutated, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // The selectors of every webhook's configuration exclude such pods.
    let labels = value["metadata"]["labels"].as_object();
    if labels.is_some_and(|labels| labels.keys().any(|key| is_skip_label(key, settings))) {
        return Ok(Mutated {
            pod: value,
            unchanged: Some(mutation::Unchanged::SkipLabel.reason()),
            warnings: Vec::new(),
        });
    }
    let pod = Pod::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    // The spread of validity times that the number decides is of no interest here.
    let outcome = pod
        .patch(identity, settings, 0)
        .map_err(|error| error.to_string())?;
    if !outcome.patch.is_empty() {
        let patch: json_patch::Patch =
            serde_json::from_slice(&outcome.patch).map_err(|error| error.to_string())?;
        json_patch::patch(&mut value, &patch).map_err(|error| error.to_string())?;
    }
    Ok(Mutated {
        pod: value,
        unchanged: outcome.unchanged.map(mutation::Unchanged::reason),
        // Those of the service account are told of the service account.
        warnings: outcome
            .warnings
            .into_iter()
            .filter(|finding| !matches!(finding.fact, Fact::Annotation(_)))
            .collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::manifests;

    const MANIFESTS: &str = r#"apiVersion: v1
kind: ServiceAccount
metadata:
  name: reports
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/reports
    eks.amazonaws.com/sts-regional-endpoints: "true"
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: reports
spec:
  template:
    metadata:
      labels: {app: reports}
    spec:
      serviceAccountName: reports
      containers:
        - name: main
          image: example/reports
          env:
            - name: AWS_STS_REGIONAL_ENDPOINTS
              value: global
        - name: clean
          image: example/other
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: batch}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          serviceAccountName: elsewhere
          containers: [{name: c, image: x}]
"#;

    fn checked(text: &str) -> (Report, Vec<Document>) {
        checked_in(Some("us-west-2"), text)
    }

    fn checked_in(region: Option<&str>, text: &str) -> (Report, Vec<Document>) {
        let mut input = manifests::Input::default();
        input.add_text("app.yaml", text);
        assert!(input.errors.is_empty(), "{:?}", input.errors);
        let documents = input.documents;
        let options = Options {
            settings: irsa_core::settings::Settings {
                region: region.map(Into::into),
                ..Default::default()
            },
            namespace: "default".to_owned(),
            families: Families::new(vec!["boto3".parse().unwrap()]),
        };
        (check(&documents, &options), documents)
    }

    fn ids(report: &Report) -> Vec<(&str, usize, &str)> {
        report
            .all()
            .map(|located| {
                (
                    located.finding.id().as_str(),
                    located.line,
                    located.finding.container.as_deref().unwrap_or("-"),
                )
            })
            .collect()
    }

    #[test]
    fn pods_are_made_as_the_webhook_makes_them_and_findings_name_their_line() {
        let (report, _) = checked(MANIFESTS);
        assert_eq!(report.service_accounts, 1);
        assert_eq!(
            ids(&report),
            [
                ("invalid-value", 23, "main"),
                ("set-in-pod", 23, "main"),
                ("service-account-missing", 28, "-")
            ]
        );
        let pod = &report.workloads[0].pod;
        let env = pod["spec"]["containers"][1]["env"].as_array().unwrap();
        assert!(env.contains(&json!({"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"})));
        assert_eq!(pod["metadata"]["generateName"], "reports-");
        assert_eq!(
            report.workloads[0].answers[1].1.summary(),
            "sts.us-west-2.amazonaws.com"
        );
        assert_eq!(report.workloads[1].namespace, "batch");
        assert!(report.workloads[1].unchanged.is_some());
    }

    #[test]
    fn without_a_region_an_explicit_global_endpoint_is_found_and_no_region_is_invented() {
        let text = MANIFESTS.replace(
            "AWS_STS_REGIONAL_ENDPOINTS\n              value: global",
            "AWS_ENDPOINT_URL_STS\n              value: https://sts.amazonaws.com",
        );
        let signed_for = |text: &str| {
            let (report, _) = checked_in(None, text);
            let found = report.all().find_map(|located| match &located.finding.fact {
                Fact::ExplicitGlobalEndpoint { signed_for, .. } => Some(signed_for.clone()),
                _ => None,
            });
            found.unwrap()
        };
        assert_eq!(signed_for(&text), None);
        let with_region = text.replace(
            "            - name: AWS_ENDPOINT_URL_STS",
            "            - {name: AWS_DEFAULT_REGION, value: eu-west-1}\n            - name: AWS_ENDPOINT_URL_STS",
        );
        assert_eq!(signed_for(&with_region).as_deref(), Some("eu-west-1"));
    }

    /// The findings of a pod of the account `reports` whose container has these variables, with their cures.
    fn found_in(env: &str, labels: &str) -> Vec<(Id, usize, String)> {
        let (account, _) = MANIFESTS.split_once("---\n").unwrap();
        let pod = format!(
            "kind: Pod\nmetadata: {{name: p, labels: {{{labels}}}}}\nspec:\n  serviceAccountName: reports\n  containers:\n  \
             - env:\n{env}    name: first\n    image: x\n  - name: second\n    image: x\n    env:\n{env}"
        );
        let (report, _) = checked(&format!("{account}---\n{pod}"));
        report
            .all()
            .map(|located| {
                (
                    located.finding.id(),
                    located.line,
                    located.finding.cure(crate::finding::CureFor::Manifests),
                )
            })
            .collect()
    }

    #[test]
    fn a_template_that_sets_its_own_role_is_found_on_its_line_with_a_cure_in_the_template() {
        let env = "    - name: AWS_ROLE_ARN\n      value: arn:aws:iam::111122223333:role/own\n";
        let found = found_in(env, "");
        let lines: Vec<_> = found.iter().map(|(id, line, _)| (*id, *line)).collect();
        // Each container on its own line, though both lines say the same.
        assert_eq!(lines, [(Id::RoleSetInPod, 15), (Id::RoleSetInPod, 22)]);
        assert!(found[0].2.contains("template"), "{}", found[0].2);
    }

    #[test]
    fn the_label_that_excludes_a_pod_is_a_reason_of_its_own() {
        let found = found_in(
            "    - {name: APP, value: x}\n",
            "eks.amazonaws.com/skip-pod-identity-webhook: \"true\"",
        );
        let (id, _, cure) = &found[0];
        assert_eq!(*id, Id::UnmutatedPod);
        assert!(cure.contains("skip-pod-identity-webhook"), "{cure}");
    }

    #[test]
    fn no_cure_in_manifests_is_a_command_for_a_cluster() {
        for env in [
            "    - {name: AWS_STS_REGIONAL_ENDPOINTS, value: legacy}\n",
            "    - {name: AWS_ENDPOINT_URL_STS, value: 'https://sts.amazonaws.com'}\n",
            "    - {name: AWS_REGION, value: eu-west-1}\n",
        ] {
            for (id, _, cure) in found_in(env, "") {
                assert!(!cure.contains("`irsa "), "{id}: {cure}");
            }
        }
    }

    #[test]
    fn an_unquoted_annotation_is_an_error_with_the_line_to_write() {
        let (report, _) = checked(&MANIFESTS.replace("endpoints: \"true\"", "endpoints: true"));
        let (id, line, _) = ids(&report)[0];
        assert_eq!((id, line), ("unquoted-annotation", 7));
    }

    #[test]
    fn a_sarif_log_holds_every_finding_with_its_rule() {
        let (report, documents) = checked(MANIFESTS);
        let log = crate::report::sarif(&report, &documents);
        let results = log["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        assert_eq!(
            results[0]["locations"][0]["physicalLocation"]["region"]["startLine"],
            23
        );
        let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
        for result in results {
            assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
        }
    }

    #[test]
    fn nonsense_is_reported_and_never_panics() {
        for text in [
            "kind: Deployment\nspec: {template: {spec: {containers: [1]}}}",
            "kind: Pod\nspec: 3",
            "kind: Pod",
            "[]",
            "kind: ServiceAccount\nmetadata: []",
            "kind: Deployment\nspec: {template: {metadata: 7, spec: {containers: [{env: {}}]}}}",
        ] {
            let (report, documents) = checked(text);
            let _ = crate::report::CheckReport::of(&report, &documents);
        }
    }
}
