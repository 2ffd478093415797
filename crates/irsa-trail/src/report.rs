//! `irsa audit -o json`: the documented outcome, which `irsa status --trail` reads again.

use std::collections::BTreeMap;

use irsa_core::partition::GLOBAL_STS_HOST;
use irsa_core::sdk::Release;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::{Agent, Caller, Endpoint, Operation, Period, Totals};
use crate::read::{Outcome, Problem};

/// Version of the document. Within it fields are only ever added.
pub const API_VERSION: &str = "irsa/v1";
/// Kind of the document.
pub const KIND: &str = "Audit";

/// Who called which STS endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// `irsa/v1`.
    pub api_version: String,
    /// `Audit`.
    pub kind: String,
    /// Begin of the period that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub since: Option<Timestamp>,
    /// End of the period that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub until: Option<Timestamp>,
    /// How much was read.
    pub summary: Summary,
    /// The callers, by cluster, service account and role.
    pub callers: Vec<CallerReport>,
    /// What was passed over, the first hundred of it.
    #[serde(default)]
    pub problems: Vec<ProblemReport>,
}

/// How much was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Files.
    pub files: usize,
    /// Sound records and rows, of any service.
    pub records: u64,
    /// Records and stretches that were passed over.
    pub damaged: u64,
    /// Calls of STS within the period.
    pub sts_calls: u64,
    /// Those that no web identity is behind, which are not listed.
    pub without_web_identity: u64,
    /// Those of callers beyond the limit of distinct callers, which are not listed.
    pub unlisted: u64,
    /// Calls of STS outside the period.
    pub outside_period: u64,
}

/// Calls of one caller to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CallerReport {
    /// The issuer of the cluster's tokens without `https://`, from the ARN of the OIDC provider. Empty if unknown.
    pub cluster: String,
    /// Namespace of the service account; nothing for calls of sessions, whose records do not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Subject of the token if it is not that of a service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// ARN of the role.
    pub role: String,
    /// `exchange` for `AssumeRoleWithWebIdentity`, `call` for any other call.
    pub operation: OperationReport,
    /// The endpoint type.
    pub endpoint: EndpointReport,
    /// Host name that the client used; empty if the records do not tell.
    pub host: String,
    /// Region whose trail has the records; `us-east-1` for the global endpoint.
    pub region: String,
    /// Region that served the calls; empty if the records do not tell.
    pub serving_region: String,
    /// The SDK.
    pub agent: AgentReport,
    /// Number of calls.
    pub calls: u64,
    /// Refused calls by error code.
    #[serde(default)]
    pub errors: BTreeMap<String, u64>,
    /// Time of the first call.
    #[cfg_attr(test, schemars(with = "String"))]
    pub first_seen: Timestamp,
    /// Time of the last call.
    #[cfg_attr(test, schemars(with = "String"))]
    pub last_seen: Timestamp,
}

/// `exchange` or `call`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OperationReport {
    /// `AssumeRoleWithWebIdentity`.
    Exchange,
    /// Any other call.
    Call,
}

/// `global`, `regional` or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum EndpointReport {
    /// `sts.amazonaws.com`.
    Global,
    /// An endpoint of a region.
    Regional,
    /// The records do not tell.
    Unknown,
}

impl EndpointReport {
    /// The word that people are shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Regional => "regional",
            Self::Unknown => "unknown",
        }
    }
}

/// What made the calls, as its user agent says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentReport {
    /// Family of the SDK, as `--sdk` takes it; nothing if the user agent names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// First product of a user agent that names no SDK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

/// Something that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProblemReport {
    /// The file, `-` for standard input.
    pub file: String,
    /// Offset in the decompressed file in bytes, or number of the record of a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// What is wrong.
    pub message: String,
}

impl Audit {
    /// The document of what was read.
    #[must_use]
    pub fn new(outcome: &Outcome, period: Period) -> Self {
        let tally = &outcome.tally;
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            since: period.since,
            until: period.until,
            summary: Summary {
                files: outcome.files,
                records: outcome.records,
                damaged: outcome.damaged,
                sts_calls: tally.sts_calls,
                without_web_identity: tally.without_web_identity,
                unlisted: tally.unlisted,
                outside_period: tally.outside_period,
            },
            callers: tally
                .callers()
                .iter()
                .map(|(caller, totals)| CallerReport::new(caller, totals))
                .collect(),
            problems: outcome.problems.iter().map(ProblemReport::new).collect(),
        }
    }
}

impl CallerReport {
    fn new(caller: &Caller, totals: &Totals) -> Self {
        let account = caller
            .subject
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'));
        let provider = &*caller.provider;
        Self {
            cluster: provider
                .split_once(":oidc-provider/")
                .map_or(provider, |(_, issuer)| issuer)
                .to_owned(),
            namespace: account.map(|(namespace, _)| namespace.to_owned()),
            service_account: account.map(|(_, name)| name.to_owned()),
            subject: (account.is_none() && !caller.subject.is_empty()).then(|| caller.subject.to_string()),
            role: caller.role.to_string(),
            operation: match caller.operation {
                Operation::Exchange => OperationReport::Exchange,
                Operation::Call => OperationReport::Call,
            },
            endpoint: match caller.endpoint {
                Endpoint::Global => EndpointReport::Global,
                Endpoint::Regional => EndpointReport::Regional,
                Endpoint::Unknown => EndpointReport::Unknown,
            },
            host: caller.host.to_string(),
            region: caller.region.to_string(),
            serving_region: caller.serving_region.to_string(),
            agent: AgentReport::new(&caller.agent),
            calls: totals.calls,
            errors: totals
                .errors
                .iter()
                .map(|(code, count)| (code.to_string(), *count))
                .collect(),
            first_seen: totals.first,
            last_seen: totals.last,
        }
    }

    /// Whether the calls went to the global endpoint, by type or by host name.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.endpoint == EndpointReport::Global || self.host == GLOBAL_STS_HOST
    }
}

impl AgentReport {
    fn new(agent: &Agent) -> Self {
        match agent {
            Agent::Sdk(sdk) => Self {
                sdk: Some(sdk.family.id().to_owned()),
                version: match sdk.release {
                    Release::Version(version) => Some(version.to_string()),
                    _ => None,
                },
                product: None,
            },
            Agent::Other(product) => Self {
                sdk: None,
                version: None,
                product: Some(product.to_string()),
            },
            Agent::Unknown => Self {
                sdk: None,
                version: None,
                product: None,
            },
        }
    }
}

impl ProblemReport {
    fn new(problem: &Problem) -> Self {
        Self {
            file: problem.file.clone(),
            at: problem.at,
            message: problem.kind.to_string(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::read::stream;

    #[test]
    fn a_document_is_read_back_as_it_was_written() {
        let record = r#"{"eventTime":"2026-11-24T00:18:30Z","eventSource":"sts.amazonaws.com",
            "eventName":"AssumeRoleWithWebIdentity","awsRegion":"us-east-1","errorCode":"AccessDenied",
            "userAgent":"Boto3/1.39.17 ua/2.0","userIdentity":{"userName":"system:serviceaccount:team:app",
            "identityProvider":"arn:aws:iam::111122223333:oidc-provider/oidc.example/id/A"},
            "tlsDetails":{"clientProvidedHostHeader":"sts.amazonaws.com"}} nonsense"#;
        let mut outcome = Outcome::default();
        stream("f", record.as_bytes(), &mut outcome);
        let audit = Audit::new(&outcome, Period::default());
        let caller = &audit.callers[0];
        assert_eq!(caller.cluster, "oidc.example/id/A");
        assert_eq!(caller.namespace.as_deref(), Some("team"));
        assert_eq!(caller.service_account.as_deref(), Some("app"));
        assert_eq!(caller.agent.sdk.as_deref(), Some("boto3"));
        assert!(caller.is_global());
        assert_eq!(audit.problems.len(), 1);
        let text = serde_json::to_string(&audit).unwrap();
        assert_eq!(serde_json::from_str::<Audit>(&text).unwrap(), audit);
    }

    /// `IRSA_WRITE_SCHEMA=1 cargo test -p irsa-trail schema` renews the file.
    #[test]
    fn the_schema_in_the_docs_is_that_of_the_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/audit.json");
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Audit)).unwrap() + "\n";
        if std::env::var_os("IRSA_WRITE_SCHEMA").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), schema);
    }
}
