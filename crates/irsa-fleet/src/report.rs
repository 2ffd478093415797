//! The machine-readable outputs: versioned types of their own, apart from the types that the rules work with.
//!
//! Within `irsa/v1` fields are only ever added. `docs/schema/` holds the schema of each document.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    directory::Decided,
    effective::{Answers, Effective},
    finding::{CureFor, Finding},
    status::{AccountRow, Carried, PodRow, Status},
    webhook::{Target, Webhooks},
};

/// Version of all documents here.
pub const API_VERSION: &str = "irsa/v1";

/// `irsa status -o json`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// `irsa/v1`.
    pub api_version: &'static str,
    /// `Status`.
    pub kind: &'static str,
    /// One for each context.
    pub clusters: Vec<ClusterReport>,
}

/// One cluster.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// Why the cluster could not be read; then the rest is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `gitVersion` of the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// The webhooks that inject identities.
    pub webhooks: Vec<WebhookReport>,
    /// Whether the webhook configurations could not be read, so that `webhooks` says nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub webhook_unreadable: bool,
    /// The settings that new pods are held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsReport>,
    /// Everything in numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<SummaryReport>,
    /// What could not be read, and what is not known therefore.
    pub notes: Vec<String>,
    /// Findings about the cluster as a whole.
    pub findings: Vec<FindingReport>,
    /// The service accounts that have something to do with AWS.
    pub service_accounts: Vec<AccountReport>,
    /// Pods, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodReport>,
    /// Service accounts that were named and do not exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A webhook.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WebhookReport {
    /// Name of the `MutatingWebhookConfiguration`.
    pub configuration: String,
    /// `eks`, `upstream` or `irsa`.
    pub flavor: &'static str,
    /// Where reviews go.
    pub target: String,
    /// `Ignore` or `Fail`.
    pub failure_policy: String,
    /// Ready pods behind it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<usize>,
    /// Pods behind it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<usize>,
}

/// Settings of the webhook.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SettingsReport {
    /// Where they were read.
    pub source: String,
    /// Whether the Go webhook's behaviour is assumed.
    pub compat_upstream: bool,
    /// `--sts-regional-endpoint`: `regional`, `global`, or nothing if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<&'static str>,
    /// What is written for a chosen global endpoint: `legacy`, `omit` or `global`.
    pub global_endpoint_value: &'static str,
}

/// A cluster in numbers.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SummaryReport {
    /// Service accounts in the scope.
    pub service_accounts: usize,
    /// Those whose pods get a role.
    pub with_role: usize,
    /// Of these: regional.
    pub regional: usize,
    /// Of these: global.
    pub global: usize,
    /// Pods that have not ended.
    pub pods: usize,
    /// Pods that carry an identity or the variable.
    pub pods_with_identity: usize,
    /// Pods that recreating would change.
    pub stale: usize,
    /// Pods that got nothing and fall back to the role of their node.
    pub unmutated: usize,
    /// Containers by the value of `AWS_STS_REGIONAL_ENDPOINTS` that they carry; `-` for no variable.
    pub carries: BTreeMap<String, usize>,
    /// Findings by severity, counted once for each pod.
    pub findings: BTreeMap<&'static str, usize>,
    /// Findings by id.
    pub ids: BTreeMap<&'static str, usize>,
}

/// A finding.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FindingReport {
    /// Stable id.
    pub id: &'static str,
    /// `error`, `warning` or `info`.
    pub severity: &'static str,
    /// Container, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What is the case.
    pub message: String,
    /// What to do.
    pub cure: String,
    /// Pods that it is about.
    #[serde(skip_serializing_if = "is_zero")]
    pub pods: usize,
    /// Some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A service account.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccountReport {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The role that its pods are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The annotation as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
    /// What is chosen, and by whom; nothing without a role, or if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<ChoiceReport>,
    /// Why the choice is not known: `platform-version` or `webhook-default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice_unknown: Option<&'static str>,
    /// Pods that have not ended.
    pub pods: usize,
    /// Pods that carry an identity or the variable.
    pub pods_with_identity: usize,
    /// Pods that recreating would change.
    pub stale: usize,
    /// Pods that got nothing.
    pub unmutated: usize,
    /// Containers by the value that they carry; `-` for no variable.
    pub carries: BTreeMap<String, usize>,
    /// Regions of the pods.
    pub regions: Vec<String>,
    /// Where SDKs call.
    pub endpoints: Vec<EndpointReport>,
    /// Findings.
    pub findings: Vec<FindingReport>,
}

/// A choice.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChoiceReport {
    /// `regional` or `global`.
    pub endpoint: &'static str,
    /// Who chose: `service-account`, `config-map`, `namespace`, `flag`, `platform`, …
    pub source: &'static str,
}

/// Where one SDK calls from some containers.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Name of the SDK.
    pub sdk: String,
    /// `regional`, `global`, `fips`, `dualstack`, `custom` or `error`.
    pub class: &'static str,
    /// The host, or the text of the SDK's error.
    pub host: String,
    /// Region in the credential scope of signed calls.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signing_region: String,
    /// What decided, as a stable name.
    pub reason: &'static str,
    /// `tested`, `read`, `documented` or `memory`.
    pub certainty: &'static str,
    /// Containers concerned.
    pub containers: usize,
}

/// A pod.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Service account.
    pub service_account: String,
    /// What its containers carry, each value once; `-` for no variable.
    pub carries: Vec<String>,
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where its SDKs call, in one line.
    pub endpoint: String,
    /// Where its SDKs call.
    pub endpoints: Vec<EndpointReport>,
    /// Whether recreating it would change it.
    pub stale: bool,
    /// Findings.
    pub findings: Vec<FindingReport>,
}

impl FindingReport {
    /// A finding without pods.
    pub fn new(finding: &Finding, reader: CureFor) -> Self {
        Self {
            id: finding.id().as_str(),
            severity: finding.severity().as_str(),
            container: finding.container.as_deref().map(str::to_owned),
            message: finding.message(),
            cure: finding.cure(reader),
            pods: 0,
            examples: Vec::new(),
        }
    }
}

fn of_cluster(findings: &[Finding]) -> Vec<FindingReport> {
    findings
        .iter()
        .map(|finding| FindingReport::new(finding, CureFor::Cluster))
        .collect()
}

/// Adds up the endpoints of answers: the same answer of an SDK is one entry.
pub fn endpoints<'a>(answers: impl IntoIterator<Item = (&'a Answers, usize)>) -> Vec<EndpointReport> {
    let mut merged: BTreeMap<&Effective, usize> = BTreeMap::new();
    for (answers, containers) in answers {
        for effective in &answers.effective {
            *merged.entry(effective).or_default() += containers;
        }
    }
    merged
        .into_iter()
        .map(|(effective, containers)| EndpointReport {
            sdk: effective.sdk.to_string(),
            class: effective.class,
            host: effective.host.to_string(),
            signing_region: effective.signing_region.to_string(),
            reason: effective.reason,
            certainty: effective.certainty,
            containers,
        })
        .collect()
}

fn carries(carries: &BTreeMap<Carried, usize>) -> BTreeMap<String, usize> {
    carries
        .iter()
        .map(|(carried, count)| (carried.shown().to_owned(), *count))
        .collect()
}

fn account(status: &Status, namespace: &str, name: &str, row: &AccountRow) -> AccountReport {
    AccountReport {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        role: status.role(namespace, name),
        annotation: status
            .directory
            .account(namespace, name)
            .and_then(|account| account.written.as_deref().map(str::to_owned)),
        choice: status.choice(namespace, name).map(|choice| ChoiceReport {
            endpoint: choice.endpoint.as_str(),
            source: choice.source.as_str(),
        }),
        choice_unknown: match status.decided(namespace, name) {
            Decided::Unknown(why) => Some(why.as_str()),
            Decided::Known(_) | Decided::NoIdentity(_) => None,
        },
        pods: row.pods,
        pods_with_identity: row.with_identity,
        stale: row.stale,
        unmutated: row.unmutated,
        carries: carries(&row.carries),
        regions: row.regions.iter().map(|region| region.to_string()).collect(),
        endpoints: endpoints(row.answers.iter().map(|(answers, count)| (&**answers, *count))),
        findings: row
            .findings
            .iter()
            .rev()
            .map(|(finding, tally)| FindingReport {
                pods: tally.pods,
                examples: tally.examples.iter().map(|pod| pod.to_string()).collect(),
                ..FindingReport::new(finding, CureFor::Cluster)
            })
            .collect(),
    }
}

fn pod(row: &PodRow) -> PodReport {
    PodReport {
        namespace: row.namespace.to_string(),
        name: row.name.to_string(),
        service_account: row.service_account.to_string(),
        carries: row
            .carries
            .iter()
            .map(|carried| carried.shown().to_owned())
            .collect(),
        region: row.region.as_deref().map(str::to_owned),
        endpoint: row.endpoint(),
        endpoints: endpoints(row.answers.iter().map(|answers| (&**answers, 1))),
        stale: row.stale,
        findings: of_cluster(&row.findings),
    }
}

/// The webhooks of a cluster.
pub fn webhooks(webhooks: &Webhooks) -> Vec<WebhookReport> {
    webhooks
        .installed
        .iter()
        .enumerate()
        .map(|(index, webhook)| {
            let ready = webhooks
                .ready
                .filter(|_| index == 0 && matches!(webhook.target, Target::Service { .. }));
            WebhookReport {
                configuration: webhook.configuration.clone(),
                flavor: webhook.flavor.as_str(),
                target: webhook.target.to_string(),
                failure_policy: webhook.failure_policy.clone(),
                ready: ready.map(|ready| ready.ready),
                replicas: ready.map(|ready| ready.total),
            }
        })
        .collect()
}

impl ClusterReport {
    /// The report of a cluster that was read.
    pub fn of(status: &Status) -> Self {
        let summary = status.summary();
        let settings = &status.directory.webhooks.settings;
        Self {
            context: status.context.clone(),
            server: status.server.clone(),
            error: None,
            kubernetes_version: Some(status.directory.version.git_version.clone()),
            webhooks: webhooks(&status.directory.webhooks),
            webhook_unreadable: status.directory.webhooks.unreadable.is_some(),
            settings: Some(SettingsReport {
                source: status.directory.webhooks.source.to_string(),
                compat_upstream: settings.compat.is_upstream(),
                flag: settings.flag.map(|flag| flag.as_str()),
                global_endpoint_value: settings.global_value.as_str(),
            }),
            summary: Some(SummaryReport {
                service_accounts: summary.service_accounts,
                with_role: summary.with_role,
                regional: summary.regional,
                global: summary.global,
                pods: summary.pods,
                pods_with_identity: summary.pods_with_identity,
                stale: summary.stale,
                unmutated: summary.unmutated,
                carries: carries(&summary.carries),
                findings: summary
                    .findings
                    .iter()
                    .map(|(severity, count)| (severity.as_str(), *count))
                    .collect(),
                ids: summary
                    .ids
                    .iter()
                    .map(|(id, count)| (id.as_str(), *count))
                    .collect(),
            }),
            notes: status.directory.notes.clone(),
            findings: of_cluster(&status.findings),
            service_accounts: status
                .accounts
                .iter()
                .map(|((namespace, name), row)| account(status, namespace, name, row))
                .collect(),
            pods: status.pod_rows.iter().map(pod).collect(),
            missing: status.missing.clone(),
        }
    }

    /// The report of a cluster that could not be read.
    pub fn failed(context: &str, server: &str, error: String) -> Self {
        Self {
            context: context.to_owned(),
            server: server.to_owned(),
            error: Some(error),
            kubernetes_version: None,
            webhooks: Vec::new(),
            webhook_unreadable: false,
            settings: None,
            summary: None,
            notes: Vec::new(),
            findings: Vec::new(),
            service_accounts: Vec::new(),
            pods: Vec::new(),
            missing: Vec::new(),
        }
    }
}

/// `irsa check -o json`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// `irsa/v1`.
    pub api_version: &'static str,
    /// `Check`.
    pub kind: &'static str,
    /// Service accounts in the input.
    pub service_accounts: usize,
    /// Workloads in the input.
    pub workloads: Vec<CheckedReport>,
    /// Findings about service accounts and namespaces.
    pub findings: Vec<LocatedReport>,
}

/// A workload of the input.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CheckedReport {
    /// File, `-` for standard input.
    pub file: String,
    /// Line of the document.
    pub line: usize,
    /// `kind/name`.
    pub workload: String,
    /// Namespace.
    pub namespace: String,
    /// Service account of its pods.
    pub service_account: String,
    /// What is chosen; nothing without a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<ChoiceReport>,
    /// Why the webhook leaves its pods as they are, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<&'static str>,
    /// Where SDKs would call.
    pub endpoints: Vec<EndpointReport>,
    /// Findings.
    pub findings: Vec<LocatedReport>,
    /// The pod as the webhook would make it.
    pub pod: serde_json::Value,
}

/// A finding with its place.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LocatedReport {
    /// File.
    pub file: String,
    /// Line.
    pub line: usize,
    /// The object, `kind/name`.
    pub object: String,
    /// What.
    #[serde(flatten)]
    pub finding: FindingReport,
}

impl CheckReport {
    /// The report of what was found in `documents`.
    pub fn of(report: &crate::check::Report, documents: &[crate::manifests::Document]) -> Self {
        let located = |located: &crate::check::Located| {
            let document = &documents[located.document];
            LocatedReport {
                file: document.file.clone(),
                line: located.line,
                object: document.title(),
                finding: FindingReport::new(&located.finding, CureFor::Manifests),
            }
        };
        Self {
            api_version: API_VERSION,
            kind: "Check",
            service_accounts: report.service_accounts,
            findings: report.findings.iter().map(located).collect(),
            workloads: report
                .workloads
                .iter()
                .map(|workload| CheckedReport {
                    file: documents[workload.document].file.clone(),
                    line: documents[workload.document].line,
                    workload: workload.title.clone(),
                    namespace: workload.namespace.clone(),
                    service_account: workload.service_account.clone(),
                    choice: workload.choice.map(|choice| ChoiceReport {
                        endpoint: choice.endpoint.as_str(),
                        source: choice.source.as_str(),
                    }),
                    unchanged: workload.unchanged,
                    endpoints: endpoints(workload.answers.iter().map(|(_, answers)| (&**answers, 1))),
                    findings: workload.findings.iter().map(located).collect(),
                    pod: workload.pod.clone(),
                })
                .collect(),
        }
    }
}

/// The same as a SARIF 2.1.0 log, which code hosts show beside the lines.
pub fn sarif(report: &crate::check::Report, documents: &[crate::manifests::Document]) -> serde_json::Value {
    use serde_json::json;

    use crate::finding::{Id, Severity};
    let level = |severity: Severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let rules: Vec<serde_json::Value> = Id::ALL
        .iter()
        .map(|id| {
            json!({
                "id": id.as_str(),
                "shortDescription": {"text": id.describe()},
                "defaultConfiguration": {"level": level(id.severity())},
            })
        })
        .collect();
    let results: Vec<serde_json::Value> = report
        .all()
        .map(|located| {
            let document = &documents[located.document];
            let container = match &located.finding.container {
                Some(container) => format!("container {container}: "),
                None => String::new(),
            };
            json!({
                "ruleId": located.finding.id().as_str(),
                "level": level(located.finding.severity()),
                "message": {"text": format!("{}: {container}{}. Cure: {}.", document.title(), located.finding.message(), located.finding.cure(CureFor::Manifests))},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": document.file.replace('\\', "/")},
                    "region": {"startLine": located.line},
                }}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "irsa",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

/// `irsa set -o json`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SetReport {
    /// `irsa/v1`.
    pub api_version: &'static str,
    /// `Set`.
    pub kind: &'static str,
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// `none`, `client` or `server`.
    pub dry_run: &'static str,
    /// Full name of the annotation.
    pub annotation: String,
    /// The undo file, if one was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_file: Option<String>,
    /// The service accounts.
    pub changes: Vec<ChangeReport>,
    /// Accounts that were named and do not exist.
    pub missing: Vec<String>,
}

/// One service account of a plan.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChangeReport {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The annotation before.
    pub before: Option<String>,
    /// The annotation afterwards.
    pub after: Option<String>,
    /// The choice before; nothing without a role.
    pub choice_before: Option<ChoiceReport>,
    /// The choice afterwards.
    pub choice_after: Option<ChoiceReport>,
    /// Why the choice afterwards is not known: `platform-version` or `webhook-default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice_unknown: Option<&'static str>,
    /// Pods of the account.
    pub pods: usize,
    /// Workloads with pods that would have to be recreated.
    pub recreate: Vec<RecreateReport>,
    /// SDKs that would call elsewhere.
    pub moves: Vec<MoveReport>,
    /// What else follows.
    pub consequences: Vec<String>,
    /// Field managers other than people's own that set the annotation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub managed_by: Vec<String>,
    /// `planned`, `unchanged`, `changed`, `conflict`, `failed`.
    pub result: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A workload in a plan.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RecreateReport {
    /// `kind/name`.
    pub workload: String,
    /// Its pods that do not carry what would be written.
    pub pods: usize,
}

/// SDKs that would call elsewhere.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MoveReport {
    /// Which.
    pub sdks: Vec<String>,
    /// Host now.
    pub from: String,
    /// Host then.
    pub to: String,
    /// Containers concerned.
    pub containers: usize,
}

impl ChangeReport {
    /// The report of a change before it is written.
    pub fn planned(change: &crate::plan::Change) -> Self {
        let choice = |choice: Option<irsa_core::endpoint::Choice>| {
            choice.map(|choice| ChoiceReport {
                endpoint: choice.endpoint.as_str(),
                source: choice.source.as_str(),
            })
        };
        Self {
            namespace: change.namespace.clone(),
            name: change.name.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            choice_before: choice(change.choice_before),
            choice_after: choice(change.choice_after),
            choice_unknown: change.unknown_after.map(crate::finding::WhyUnknown::as_str),
            pods: change.pods,
            recreate: change
                .recreate
                .iter()
                .map(|(workload, pods)| RecreateReport {
                    workload: workload.to_string(),
                    pods: *pods,
                })
                .collect(),
            moves: change
                .moves
                .iter()
                .map(|(moved, containers)| MoveReport {
                    sdks: moved.sdks.clone(),
                    from: moved.from.clone(),
                    to: moved.to.clone(),
                    containers: *containers,
                })
                .collect(),
            consequences: change.consequences.iter().cloned().collect(),
            managed_by: change.foreign_managers.clone(),
            result: if change.is_noop() { "unchanged" } else { "planned" },
            error: None,
        }
    }
}

/// `irsa rollout -o json`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RolloutReport {
    /// `irsa/v1`.
    pub api_version: &'static str,
    /// `Rollout`.
    pub kind: &'static str,
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// `none`, `client` or `server`.
    pub dry_run: &'static str,
    /// Workloads that are rolled.
    pub workloads: Vec<TargetReport>,
    /// Workloads whose pods cannot be recreated.
    pub left: Vec<TargetReport>,
    /// Stale pods that remain after this run: of workloads that cannot be recreated, failed, were interrupted or were not
    /// started. A dry run leaves all of them.
    pub remaining: usize,
    /// Service accounts that were named and do not exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A workload of a rollout.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetReport {
    /// Namespace.
    pub namespace: String,
    /// `kind/name`.
    pub workload: String,
    /// `restart`, `restart-at`, `evict`, `recreate` or `leave`.
    pub way: &'static str,
    /// Why that way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its owner can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// Service accounts of its stale pods.
    pub service_accounts: Vec<String>,
    /// Its stale pods.
    pub stale: Vec<String>,
    /// `planned`, `proven`, `verified`, `failed`, `interrupted`, `not-started` or `left`.
    pub result: &'static str,
    /// Pods that were verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_pods: Option<usize>,
    /// Why it failed, or was not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of an interrupted workload: whether its controller continues the rolling update, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolling: Option<bool>,
}

impl TargetReport {
    /// The report of a workload, with how it ended if it did.
    pub fn of(target: &crate::rollout::Target, outcome: Option<&crate::rollout::Outcome>) -> Self {
        use crate::{
            rollout::{Interruption, Outcome},
            workload::Way,
        };
        let (reason, cure) = match &target.workload.way {
            Way::Evict(why) => (Some(why.to_string()), None),
            Way::Leave { reason, cure } => (Some(reason.clone()), Some(cure.clone())),
            _ => (None, None),
        };
        Self {
            namespace: target.workload.reference.namespace.to_string(),
            workload: target.workload.reference.to_string(),
            way: target.workload.way.as_str(),
            result: match (&target.workload.way, outcome) {
                (Way::Leave { .. }, _) => "left",
                (_, None) => "planned",
                (_, Some(Outcome::Verified { .. })) => "verified",
                (_, Some(Outcome::Failed(_))) => "failed",
                (_, Some(Outcome::Interrupted(_))) => "interrupted",
                (_, Some(Outcome::NotStarted(_))) => "not-started",
            },
            verified_pods: match outcome {
                Some(Outcome::Verified { pods }) => Some(*pods),
                _ => None,
            },
            error: match outcome {
                Some(Outcome::Failed(why)) => Some(why.clone()),
                Some(Outcome::NotStarted(why)) => Some(why.message().to_owned()),
                _ => None,
            },
            rolling: match outcome {
                Some(Outcome::Interrupted(Interruption::Unknown)) => None,
                Some(Outcome::Interrupted(state)) => Some(*state == Interruption::Rolling),
                _ => None,
            },
            reason,
            cure,
            service_accounts: target
                .accounts
                .iter()
                .map(|account| account.to_string())
                .collect(),
            stale: target.stale.iter().map(|pod| pod.name.to_string()).collect(),
        }
    }
}

/// `irsa doctor -o json`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// `irsa/v1`.
    pub api_version: &'static str,
    /// `Doctor`.
    pub kind: &'static str,
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// The checks, in their order.
    pub checks: Vec<CheckReportEntry>,
}

/// One check of the doctor.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CheckReportEntry {
    /// Stable id.
    pub id: &'static str,
    /// What was looked at.
    pub title: &'static str,
    /// `pass`, `skip`, `warn`, `unknown` or `fail`.
    pub verdict: &'static str,
    /// What was seen.
    pub evidence: Vec<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl CheckReportEntry {
    /// The report of a check.
    pub fn of(check: &crate::doctor::Check) -> Self {
        Self {
            id: check.id,
            title: check.title,
            verdict: check.verdict.as_str(),
            evidence: check.evidence.clone(),
            cure: check.cure.clone(),
        }
    }
}

/// `irsa doctor --error TEXT -o json`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// `irsa/v1`.
    pub api_version: &'static str,
    /// `Errors`.
    pub kind: &'static str,
    /// What was recognised, the most telling first.
    pub errors: Vec<RecognisedReport>,
}

/// One error of the catalogue.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RecognisedReport {
    /// Stable id.
    pub id: &'static str,
    /// Who says it.
    pub origin: &'static str,
    /// The error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What stood in the places of the text that differ.
    pub captured: Vec<String>,
    /// What it means.
    pub meaning: &'static str,
    /// The checks that decide, the likeliest first.
    pub checks: Vec<DecidingReport>,
    /// What cures it, the likeliest first.
    pub cures: Vec<&'static str>,
}

/// A check that decides about an error.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DecidingReport {
    /// Stable id.
    pub id: &'static str,
    /// What is looked at.
    pub what: &'static str,
    /// The command that does it.
    pub command: &'static str,
}

impl RecognisedReport {
    /// The report of an entry that was recognised.
    pub fn of(recognised: &irsa_core::errors::Recognised) -> Self {
        let entry = recognised.entry;
        Self {
            id: entry.id,
            origin: entry.origin.as_str(),
            code: entry.code,
            captured: recognised.captured.clone(),
            meaning: entry.meaning,
            checks: entry
                .checks
                .iter()
                .map(|check| DecidingReport {
                    id: check.id(),
                    what: check.what(),
                    command: check.command(),
                })
                .collect(),
            cures: entry.cures.to_vec(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    /// `docs/schema/` is written from these types: `IRSA_WRITE_SCHEMA=1 cargo test -p irsa-fleet schema` renews it.
    #[track_caller]
    pub(crate) fn schema_is_current<T: schemars::JsonSchema>(name: &str) {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(T)).unwrap() + "\n";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/schema")
            .join(name);
        if std::env::var_os("IRSA_WRITE_SCHEMA").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &schema).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == schema,
            "{} is not what the types say: run IRSA_WRITE_SCHEMA=1 cargo test -p irsa-fleet schema",
            path.display()
        );
    }

    #[test]
    fn the_schema_of_status_is_current() {
        schema_is_current::<super::StatusReport>("status.json");
    }

    #[test]
    fn the_schema_of_set_and_its_undo_file_are_current() {
        schema_is_current::<super::SetReport>("set.json");
        schema_is_current::<crate::apply::Undo>("undo.json");
    }

    #[test]
    fn the_schema_of_rollout_is_current() {
        schema_is_current::<super::RolloutReport>("rollout.json");
    }

    #[test]
    fn the_schemas_of_doctor_are_current() {
        schema_is_current::<super::DoctorReport>("doctor.json");
        schema_is_current::<super::ErrorReport>("errors.json");
    }

    #[test]
    fn the_schema_of_check_is_current() {
        schema_is_current::<super::CheckReport>("check.json");
    }
}
