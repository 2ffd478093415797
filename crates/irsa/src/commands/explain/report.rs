//! What `irsa explain` found out, and the document it becomes.

use std::collections::BTreeMap;

use irsa_core::endpoint::Choice;
use irsa_core::identity::Method;
use irsa_core::presign::{self, Prediction, PresignOptions};
use irsa_core::sdk::{
    self, Answer, Call, Code, Cure, Environment, Guess, Outcome, Sdk, SignedCalls, scope_cures,
};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::explain::{ContainerFacts, Gathered, Source, Subject};
use irsa_fleet::finding::Finding;
use irsa_fleet::report::{API_VERSION, ChoiceReport, FindingReport};
use serde::Serialize;

use crate::commands::url::PredictionReport;

/// Bucket and key in the URLs whose form is shown.
const BUCKET: &str = "bucket";
const KEY: &str = "path";

/// Everything that is shown.
pub(super) struct Explanation {
    /// Nothing without a cluster.
    pub(super) header: Option<Header>,
    pub(super) containers: Vec<ExplainedContainer>,
    /// Containers that have no part in this.
    pub(super) skipped: Vec<String>,
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

/// What is said once, above the containers.
pub(super) struct Header {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) account: String,
    pub(super) account_exists: bool,
    pub(super) context: String,
    pub(super) version: String,
    pub(super) settings_from: String,
    pub(super) node: Option<String>,
    pub(super) region: Option<(String, String)>,
    pub(super) role: Option<String>,
    pub(super) choice: Option<Choice>,
    pub(super) written: Option<&'static str>,
    /// Why pods of the service account get nothing.
    pub(super) unchanged: Option<&'static str>,
    pub(super) sources: Vec<Source>,
}

impl Header {
    pub(super) fn new(
        cluster: &Cluster,
        subject: &Subject,
        gathered: &Gathered,
        containers: &[ContainerFacts],
    ) -> anyhow::Result<Self> {
        let (kind, name) = match subject {
            Subject::Pod(name) => ("Pod", name),
            Subject::ServiceAccount(name) => ("ServiceAccount", name),
        };
        let identity = gathered.identity();
        let settings = &gathered.directory.webhooks.settings;
        let node = gathered
            .pod()?
            .map(|pod| pod.spec.node_name.to_string())
            .filter(|n| !n.is_empty());
        let region = node.as_deref().and_then(|node| {
            let known = gathered.directory.nodes.get(node)?;
            Some((known.region.to_string(), known.source.to_string()))
        });
        // One container that sets the variable itself shows in the sources of the whole pod.
        let own = containers.iter().find(|container| container.sets_variable);
        Ok(Self {
            kind,
            name: name.clone(),
            namespace: gathered.namespace.clone(),
            account: gathered.account.clone(),
            account_exists: gathered.account_exists,
            context: cluster.context().to_owned(),
            version: gathered.directory.version.git_version.clone(),
            settings_from: gathered.directory.webhooks.source.to_string(),
            node,
            region,
            role: identity.as_ref().ok().and_then(|identity| match identity.method {
                Method::WebIdentity { role_arn } => Some(role_arn.to_owned()),
                Method::ContainerCredentials => None,
            }),
            choice: identity.as_ref().ok().map(|identity| identity.choice),
            written: identity
                .as_ref()
                .ok()
                .and_then(|i| i.choice.written(settings.global_value)),
            unchanged: identity.err().map(irsa_core::identity::NotMutated::reason),
            sources: gathered.sources(own),
        })
    }
}

/// One container, answered for.
pub(super) struct ExplainedContainer {
    pub(super) facts: ContainerFacts,
    pub(super) guess: Option<Guess>,
    pub(super) answers: Vec<Answer>,
    /// The program's own STS calls, when they were asked about.
    pub(super) program: Vec<Answer>,
    pub(super) predictions: Vec<Prediction>,
    /// Per SDK the answers after switching to regional and to global, when a switch has any effect.
    pub(super) switching: Vec<Switch>,
    /// Cures for a refused scope, of the first SDK that has one.
    pub(super) cures: Option<(Sdk, Vec<Cure>)>,
}

/// What a switch does to one SDK.
pub(super) struct Switch {
    pub(super) sdk: Sdk,
    pub(super) now: String,
    pub(super) regional: String,
    pub(super) global: String,
}

impl ExplainedContainer {
    pub(super) fn ask(
        facts: ContainerFacts,
        guess: Option<Guess>,
        sdks: &[Sdk],
        code: Code<'_>,
        values: Option<[Option<&str>; 2]>,
    ) -> Self {
        let environment = &facts.environment;
        let ask = |environment: &Environment, sdk: Sdk| {
            sdk::sts(sdk, environment, Code::default(), Call::Credentials)
        };
        let answers: Vec<Answer> = sdks.iter().map(|sdk| ask(environment, *sdk)).collect();
        let program: Vec<Answer> = if code == Code::default() {
            Vec::new()
        } else {
            sdks.iter()
                .map(|sdk| sdk::sts(*sdk, environment, code, Call::Program))
                .collect()
        };
        let options = PresignOptions::default();
        let predictions = sdks
            .iter()
            .map(|sdk| presign::predict(*sdk, environment, &options, BUCKET, KEY))
            .collect();
        let switching = values.map(|values| {
            let with = |value: Option<&str>| Environment {
                sts_regional_endpoints: value.map(str::to_owned),
                ..environment.clone()
            };
            let [regional, global] = values.map(with);
            answers
                .iter()
                .map(|now| Switch {
                    sdk: now.sdk,
                    now: target(now).to_owned(),
                    regional: target(&ask(&regional, now.sdk)).to_owned(),
                    global: target(&ask(&global, now.sdk)).to_owned(),
                })
                .collect()
        });
        let refused = program
            .iter()
            .chain(&answers)
            .find(|answer| matches!(answer.signed_calls, SignedCalls::Refused { .. }));
        let cures = refused.map(|answer| (answer.sdk, scope_cures(answer.sdk, environment, code)));
        Self {
            guess,
            answers,
            program,
            predictions,
            switching: switching.unwrap_or_default(),
            cures,
            facts,
        }
    }
}

/// The host, or `error`.
pub(super) fn target(answer: &Answer) -> &str {
    answer.endpoint().map_or("error", |endpoint| &endpoint.host)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    api_version: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<AccountReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceReport>,
    containers: Vec<ContainerReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers_without_identity: Vec<String>,
    findings: Vec<FindingReport>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SubjectReport {
    kind: &'static str,
    namespace: String,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterReport {
    context: String,
    kubernetes_version: String,
    webhook_settings: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountReport {
    name: String,
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<ChoiceReport>,
    /// What the webhook writes into its pods; absent if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeReport {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region_from: Option<String>,
}

#[derive(Debug, Serialize)]
struct SourceReport {
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'static str>,
    wins: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerReport {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    image: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    init: bool,
    environment: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_variables: Vec<&'static str>,
    sets_variable_itself: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdk_guess: Option<GuessReport>,
    endpoints: Vec<AnswerReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    program_calls: Vec<AnswerReport>,
    presigned_urls: Vec<PredictionReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    switching: Vec<SwitchReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cures: Vec<CureReport>,
}

#[derive(Debug, Serialize)]
struct GuessReport {
    sdk: String,
    evidence: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerReport {
    sdk: String,
    sdk_name: String,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blast_radius: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region_from: Option<String>,
    reason: &'static str,
    message: &'static str,
    signed_calls: SignedCallsReport,
    concerns: Vec<ConcernReport>,
    certainty: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedCallsReport {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ConcernReport {
    id: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct SwitchReport {
    sdk: String,
    now: String,
    regional: String,
    global: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CureReport {
    sdk: String,
    id: &'static str,
    message: String,
    works: bool,
}

impl AnswerReport {
    fn new(answer: &Answer) -> Self {
        let endpoint = answer.endpoint();
        let (error, blast_radius) = match &answer.outcome {
            Outcome::Failure(failure) => (Some(failure.text.clone()), Some(failure.blast_radius.id())),
            Outcome::Endpoint(_) => (None, None),
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
                        id: cure.id,
                        message: cure.what.clone(),
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
        findings: explanation.findings.iter().map(FindingReport::new).collect(),
        notes: explanation.notes.clone(),
    }
}
