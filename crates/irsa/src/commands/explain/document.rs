//! The document of `irsa explain -o json`.

use std::collections::BTreeMap;

use irsa_core::sdk::{Answer, Outcome, SignedCalls};
use irsa_fleet::finding::{CureFor, WhyUnknown};
use irsa_fleet::report::API_VERSION;
use serde::Serialize;

use super::report::{ExplainedContainer, Explanation};
use crate::commands::url::PredictionReport;

/// `irsa explain -o json`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    /// `irsa/v1`.
    api_version: &'static str,
    /// `Explanation`.
    kind: &'static str,
    /// What was asked about; absent for an environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectReport>,
    /// Where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterReport>,
    /// The service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<AccountReport>,
    /// The node of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeReport>,
    /// Who may decide the endpoint type, the strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceReport>,
    /// The containers that have a part in this; the next pod of a service account, or the environment, is one without name.
    containers: Vec<ContainerReport>,
    /// Names of the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers_without_identity: Vec<String>,
    /// What is wrong.
    findings: Vec<FindingReport>,
    /// What could not be read.
    notes: Vec<String>,
}

/// What was asked about.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SubjectReport {
    /// `Pod` or `ServiceAccount`.
    kind: &'static str,
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
}

/// A cluster.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ClusterReport {
    /// The kubeconfig context.
    context: String,
    /// The API server's version.
    kubernetes_version: String,
    /// Where the webhook's settings are known from.
    webhook_settings: String,
}

/// A service account.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct AccountReport {
    /// Its name.
    name: String,
    /// Whether it exists.
    exists: bool,
    /// The role that its pods get.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// Endpoint type and who decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<ChoiceReport>,
    /// What the webhook writes into its pods; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'static str>,
    /// Why its pods get nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged: Option<&'static str>,
    /// Why the choice is not known: `platform-version` or `webhook-default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice_unknown: Option<&'static str>,
}

/// An endpoint type and who decided it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChoiceReport {
    /// `regional` or `global`.
    endpoint: &'static str,
    /// Who decided.
    source: &'static str,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FindingReport {
    /// The stable name; `irsa status --help` lists them.
    id: &'static str,
    /// `error`, `warning` or `info`.
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    message: String,
    cure: String,
}

/// A node.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NodeReport {
    /// Its name.
    name: String,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// Where the region was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    region_from: Option<String>,
}

/// Someone who may decide.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SourceReport {
    /// Who.
    source: &'static str,
    /// What it says, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
    /// What that means; absent when it means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'static str>,
    /// Whether it decided.
    wins: bool,
}

/// One container.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ContainerReport {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    /// Its image.
    #[serde(skip_serializing_if = "String::is_empty")]
    image: String,
    /// Whether it is an init container.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    init: bool,
    /// The variables that decide, as written.
    environment: BTreeMap<&'static str, String>,
    /// Variables that decide but whose value is not in the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_variables: Vec<&'static str>,
    /// Whether the container's own manifest sets `AWS_STS_REGIONAL_ENDPOINTS`.
    sets_variable_itself: bool,
    /// The SDK that the image is known for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sdk_guess: Option<GuessReport>,
    /// Where each SDK gets its credentials.
    endpoints: Vec<AnswerReport>,
    /// What the program's own STS client does, when that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    program_calls: Vec<AnswerReport>,
    /// The form of presigned S3 URLs.
    presigned_urls: Vec<PredictionReport>,
    /// The hosts now and after switching; absent when switching changes nothing here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    switching: Vec<SwitchReport>,
    /// Cures for a refused scope, each tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cures: Vec<CureReport>,
}

/// A guess of the SDK.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct GuessReport {
    /// The SDK.
    sdk: String,
    /// What it is guessed from.
    evidence: String,
}

/// One SDK's endpoint.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct AnswerReport {
    /// The SDK, as `--sdk` takes it.
    sdk: String,
    /// The SDK, as people know it.
    sdk_name: String,
    /// `regional`, `global`, `fips`, `dualstack`, `custom` or `error`.
    class: &'static str,
    /// The host that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The URL that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The region that signed calls are scoped to.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_region: Option<String>,
    /// The SDK's own error, when nothing is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What stops working then.
    #[serde(skip_serializing_if = "Option::is_none")]
    blast_radius: Option<&'static str>,
    /// The SDK's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// Where the region is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    region_from: Option<String>,
    /// What decided, as a stable name.
    reason: &'static str,
    /// What decided, in words.
    message: &'static str,
    /// What AWS makes of signed calls; AssumeRoleWithWebIdentity is not signed.
    signed_calls: SignedCallsReport,
    /// What else is worth knowing.
    concerns: Vec<ConcernReport>,
    /// `tested`, `read`, `documented`, `reported` or `memory`.
    certainty: &'static str,
}

/// What AWS makes of signed calls.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SignedCallsReport {
    /// `accepted`, `refused` or `unknown`.
    verdict: &'static str,
    /// The region that the host takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_region: Option<String>,
    /// What an SDK prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A concern.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ConcernReport {
    /// The stable name.
    id: &'static str,
    /// The concern in words.
    message: String,
}

/// What switching changes for one SDK.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SwitchReport {
    /// The SDK.
    sdk: String,
    /// The host now, or `error`.
    now: String,
    /// The host after switching to regional.
    regional: String,
    /// The host after switching to global.
    global: String,
}

/// A cure.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct CureReport {
    /// The SDK that it was tried with.
    sdk: String,
    /// The stable name.
    id: &'static str,
    /// What to do.
    message: String,
    /// Whether signed calls are accepted after it.
    works: bool,
}

impl AnswerReport {
    fn new(answer: &Answer) -> Self {
        let endpoint = answer.endpoint();
        let (error, blast_radius) = match &answer.outcome {
            Outcome::Failure(failure) => (Some(failure.text.clone()), Some(failure.blast_radius.id())),
            Outcome::Endpoint(_) | Outcome::DecidedByFile => (None, None),
        };
        let (expected_region, refusal) = match &answer.signed_calls {
            SignedCalls::Refused { expected } => (
                Some(expected.clone()),
                Some(SignedCalls::refusal_text("GetCallerIdentity")),
            ),
            SignedCalls::Accepted | SignedCalls::Unknown => (None, None),
        };
        Self {
            sdk: answer.sdk.id(),
            sdk_name: answer.sdk.to_string(),
            class: answer.class(),
            host: endpoint.map(|e| e.host.clone()),
            url: endpoint.map(|e| e.url.clone()),
            signing_region: endpoint.map(|e| e.signing_region.clone()),
            error,
            blast_radius,
            region: answer.region.as_ref().map(|(region, _)| region.clone()),
            region_from: answer.region.as_ref().map(|(_, source)| source.to_string()),
            reason: answer.reason.id(),
            message: answer.reason.sentence(),
            signed_calls: SignedCallsReport {
                verdict: answer.signed_calls.id(),
                expected_region,
                error: refusal,
            },
            concerns: answer
                .concerns
                .iter()
                .map(|concern| ConcernReport {
                    id: concern.id(),
                    message: concern.to_string(),
                })
                .collect(),
            certainty: answer.certainty.as_str(),
        }
    }
}

impl ContainerReport {
    fn new(container: &ExplainedContainer) -> Self {
        let facts = &container.facts;
        Self {
            name: facts.name.clone(),
            image: facts.image.clone(),
            init: facts.init,
            environment: facts
                .environment
                .iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            unknown_variables: facts.unknown.clone(),
            sets_variable_itself: facts.sets_variable,
            sdk_guess: container.guess.as_ref().map(|guess| GuessReport {
                sdk: guess.sdk.id(),
                evidence: guess.evidence.clone(),
            }),
            endpoints: container.answers.iter().map(AnswerReport::new).collect(),
            program_calls: container.program.iter().map(AnswerReport::new).collect(),
            presigned_urls: container.predictions.iter().map(PredictionReport::new).collect(),
            switching: container
                .switching
                .iter()
                .map(|switch| SwitchReport {
                    sdk: switch.sdk.id(),
                    now: switch.now.clone(),
                    regional: switch.regional.clone(),
                    global: switch.global.clone(),
                })
                .collect(),
            cures: container
                .cures
                .iter()
                .flat_map(|(sdk, cures)| {
                    cures.iter().map(|cure| CureReport {
                        sdk: sdk.id(),
                        id: cure.remedy.id(),
                        message: cure.remedy.what(),
                        works: cure.works,
                    })
                })
                .collect(),
        }
    }
}

/// The document of `-o json` and `-o yaml`.
pub(super) fn document(explanation: &Explanation) -> Document {
    let header = explanation.header.as_ref();
    Document {
        api_version: API_VERSION,
        kind: "Explanation",
        subject: header.map(|h| SubjectReport {
            kind: h.kind,
            namespace: h.namespace.clone(),
            name: h.name.clone(),
        }),
        cluster: header.map(|h| ClusterReport {
            context: h.context.clone(),
            kubernetes_version: h.version.clone(),
            webhook_settings: h.settings_from.clone(),
        }),
        service_account: header.map(|h| AccountReport {
            name: h.account.clone(),
            exists: h.account_exists,
            role: h.role.clone(),
            choice: h.choice.map(|choice| ChoiceReport {
                endpoint: choice.endpoint.as_str(),
                source: choice.source.as_str(),
            }),
            written: h.written,
            unchanged: h.unchanged,
            choice_unknown: h.unknown.map(WhyUnknown::as_str),
        }),
        node: header.and_then(|h| {
            Some(NodeReport {
                name: h.node.clone()?,
                region: h.region.as_ref().map(|(region, _)| region.clone()),
                region_from: h.region.as_ref().map(|(_, source)| source.clone()),
            })
        }),
        sources: header
            .map(|h| {
                h.sources
                    .iter()
                    .map(|source| SourceReport {
                        source: source.source.as_str(),
                        says: source.says.clone(),
                        endpoint: source.endpoint.map(|endpoint| endpoint.as_str()),
                        wins: source.wins,
                    })
                    .collect()
            })
            .unwrap_or_default(),
        containers: explanation.containers.iter().map(ContainerReport::new).collect(),
        containers_without_identity: explanation.skipped.clone(),
        findings: explanation
            .findings
            .iter()
            .map(|finding| FindingReport {
                id: finding.id().as_str(),
                severity: finding.severity().as_str(),
                container: finding.container.as_deref().map(str::to_owned),
                message: finding.message(),
                cure: finding.cure(CureFor::Cluster),
            })
            .collect(),
        notes: explanation.notes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::offline::schema_is_current;

    #[test]
    fn the_schema_of_explain_is_current() {
        schema_is_current::<Document>("explanation.json");
    }
}
