//! The event log: every call as a CloudTrail record, the newest kept in memory, followed by whoever wants to see them
//! arrive.
//!
//! A record is what an operator would find in CloudTrail for the same call; which field shows the endpoint that was
//! used is written at [`Record::additional_event_data`] and [`TlsDetails::client_provided_host_header`].

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::call::{Call, EventSink, Identity};
use crate::host::Service;

/// How many records an [`EventLog`] keeps unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 10_000;

/// The version of CloudTrail's record format that is written.
const EVENT_VERSION: &str = "1.11";

/// CloudTrail does not say why a web identity was denied; nor does the log.
const DENIED_WEB_IDENTITY: &str = "An unknown error occurred";

/// One CloudTrail record. Field names and order are CloudTrail's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The version of the format.
    pub event_version: String,
    /// Who called.
    pub user_identity: UserIdentity,
    /// When, to the second.
    pub event_time: String,
    /// `sts.amazonaws.com` or `s3.amazonaws.com`.
    pub event_source: String,
    /// The action.
    pub event_name: String,
    /// The region whose trail this is: `us-east-1` for every call to a global endpoint, wherever it was served.
    pub aws_region: String,
    /// The client's address.
    #[serde(rename = "sourceIPAddress")]
    pub source_ip_address: String,
    /// What the client says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The text of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Parameters, without secrets.
    pub request_parameters: Value,
    /// Elements of the answer, without secrets.
    pub response_elements: Value,
    /// For STS `RequestDetails.endpointType` (`global` or `regional`) and `RequestDetails.awsServingRegion`; for S3
    /// `SignatureVersion` and `AuthenticationMethod`.
    pub additional_event_data: Value,
    /// Request id of the answer.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// Unique to this record.
    #[serde(rename = "eventID")]
    pub event_id: String,
    /// Whether the call changes nothing.
    pub read_only: bool,
    /// What the call touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<RecordResource>,
    /// Always `AwsApiCall`.
    pub event_type: String,
    /// `false` for calls on objects, which CloudTrail calls data events.
    pub management_event: bool,
    /// The account whose trail this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_account_id: Option<String>,
    /// `Management` or `Data`.
    pub event_category: String,
    /// How the client reached the endpoint.
    pub tls_details: TlsDetails,
}

/// CloudTrail's `userIdentity`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserIdentity {
    /// `WebIdentityUser`, `AssumedRole`, `IAMUser`, `Root`, `AWSAccount` (anonymous) or `Unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `PROVIDER_ARN:AUDIENCE:SUBJECT`, `AROA…:SESSION`, `AIDA…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// The caller's ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// The caller's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The key that signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// For a web identity the token's subject: `system:serviceaccount:NAMESPACE:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The ARN of the OIDC provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_provider: Option<String>,
    /// Where a session comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_context: Option<SessionContext>,
}

/// CloudTrail's `sessionContext`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionContext {
    /// The role.
    pub session_issuer: SessionIssuer,
    /// The identity provider, when a web identity began the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_id_federation_data: Option<WebIdFederationData>,
    /// When it began, and that no second factor was used.
    pub attributes: SessionAttributes,
}

/// The role behind a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionIssuer {
    /// Always `Role`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `AROA…`.
    pub principal_id: String,
    /// The role's ARN.
    pub arn: String,
    /// The role's account.
    pub account_id: String,
    /// The role's name.
    pub user_name: String,
}

/// CloudTrail's `webIdFederationData`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebIdFederationData {
    /// The ARN of the OIDC provider.
    pub federated_provider: String,
    /// Always empty: CloudTrail fills it for a few public providers only.
    pub attributes: serde_json::Map<String, Value>,
}

/// CloudTrail's `sessionContext.attributes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionAttributes {
    /// When the session began.
    pub creation_date: String,
    /// `"false"`, as a string.
    pub mfa_authenticated: String,
}

/// One entry of CloudTrail's `resources`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordResource {
    /// Its account.
    #[serde(rename = "accountId", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// `AWS::IAM::Role`, `AWS::S3::Bucket`, `AWS::S3::Object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its ARN.
    #[serde(rename = "ARN")]
    pub arn: String,
}

/// CloudTrail's `tlsDetails`. Plain HTTP leaves version and cipher out, but the host stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsDetails {
    /// `TLSv1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// `TLS_AES_128_GCM_SHA256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suite: Option<String>,
    /// The host name that the client used, which is the endpoint that it chose.
    pub client_provided_host_header: String,
}

impl Record {
    /// The record of a call.
    #[must_use]
    pub fn of(call: Call) -> Self {
        let data_event = call.service == Service::S3 && is_data_event(&call.action);
        let additional_event_data = match call.service {
            Service::Sts => json!({
                "ExtendedRequestId": extended_request_id(&call.request_id),
                "RequestDetails": {
                    "endpointType": call.endpoint.endpoint_type(),
                    "awsServingRegion": call.serving_region,
                },
            }),
            Service::S3 => call.additional,
        };
        let (error_code, error_message) = match call.error {
            Some(error) if error.code == "AccessDenied" && call.action == "AssumeRoleWithWebIdentity" => {
                (Some(error.code), Some(DENIED_WEB_IDENTITY.to_owned()))
            }
            Some(error) => (Some(error.code), Some(error.message)),
            None => (None, None),
        };
        Self {
            event_version: EVENT_VERSION.to_owned(),
            user_identity: UserIdentity::of(call.identity, call.service),
            event_time: seconds(call.time),
            event_source: call.service.event_source().to_owned(),
            event_name: call.action,
            aws_region: call.region,
            source_ip_address: call.source_ip.to_string(),
            user_agent: call.user_agent,
            error_code,
            error_message,
            request_parameters: call.request_parameters,
            response_elements: call.response_elements,
            additional_event_data,
            request_id: call.request_id,
            event_id: Uuid::new_v4().to_string(),
            read_only: call.read_only,
            resources: call
                .resources
                .into_iter()
                .map(|resource| RecordResource {
                    account_id: resource.account,
                    kind: resource.kind.to_owned(),
                    arn: resource.arn,
                })
                .collect(),
            event_type: "AwsApiCall".to_owned(),
            management_event: !data_event,
            recipient_account_id: call.account,
            event_category: if data_event { "Data" } else { "Management" }.to_owned(),
            tls_details: TlsDetails {
                tls_version: call.tls.as_ref().map(|tls| tls.version.clone()),
                cipher_suite: call.tls.map(|tls| tls.cipher),
                client_provided_host_header: call.host,
            },
        }
    }

    /// `global` or `regional`, where the record says so.
    #[must_use]
    pub fn endpoint_type(&self) -> Option<&str> {
        self.additional_event_data
            .pointer("/RequestDetails/endpointType")?
            .as_str()
    }

    /// The region that served the call, where the record says so.
    #[must_use]
    pub fn serving_region(&self) -> Option<&str> {
        self.additional_event_data
            .pointer("/RequestDetails/awsServingRegion")?
            .as_str()
    }

    /// The host name that the client used.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.tls_details.client_provided_host_header
    }

    /// The caller in the shortest form that tells callers apart: service account, role session or user.
    #[must_use]
    pub fn caller(&self) -> &str {
        let identity = &self.user_identity;
        match identity.kind.as_str() {
            "AssumedRole" => identity
                .arn
                .as_deref()
                .and_then(|arn| arn.rsplit_once(":assumed-role/"))
                .map_or("-", |(_, session)| session),
            _ => identity
                .user_name
                .as_deref()
                .or(identity.arn.as_deref())
                .or(identity.access_key_id.as_deref())
                .unwrap_or("-"),
        }
    }
}

impl UserIdentity {
    fn of(identity: Identity, service: Service) -> Self {
        match identity {
            Identity::Anonymous if service == Service::S3 => Self {
                kind: "AWSAccount".to_owned(),
                principal_id: Some(String::new()),
                account_id: Some("anonymous".to_owned()),
                ..Self::default()
            },
            Identity::Anonymous => Self {
                kind: "Unknown".to_owned(),
                ..Self::default()
            },
            Identity::Unproven { access_key_id } => Self {
                kind: "Unknown".to_owned(),
                access_key_id: Some(access_key_id),
                ..Self::default()
            },
            Identity::WebIdentity {
                provider_arn,
                audience,
                subject,
            } => Self {
                kind: "WebIdentityUser".to_owned(),
                principal_id: Some(format!("{provider_arn}:{audience}:{subject}")),
                user_name: Some(subject),
                identity_provider: Some(provider_arn),
                ..Self::default()
            },
            Identity::User {
                arn,
                principal_id,
                account,
                user_name,
                access_key_id,
            } => Self {
                kind: if user_name.is_some() { "IAMUser" } else { "Root" }.to_owned(),
                principal_id: Some(principal_id),
                arn: Some(arn),
                account_id: Some(account),
                access_key_id: Some(access_key_id),
                user_name,
                ..Self::default()
            },
            Identity::AssumedRole {
                arn,
                principal_id,
                account,
                access_key_id,
                role_arn,
                role_name,
                role_id,
                issued_at,
                federated_provider,
            } => Self {
                kind: "AssumedRole".to_owned(),
                principal_id: Some(principal_id),
                arn: Some(arn),
                account_id: Some(account.clone()),
                access_key_id: Some(access_key_id),
                session_context: Some(SessionContext::new(
                    SessionIssuer {
                        kind: "Role".to_owned(),
                        principal_id: role_id,
                        arn: role_arn,
                        account_id: account,
                        user_name: role_name,
                    },
                    federated_provider,
                    issued_at,
                )),
                ..Self::default()
            },
        }
    }
}

impl SessionContext {
    fn new(session_issuer: SessionIssuer, federated_provider: Option<String>, issued_at: Timestamp) -> Self {
        Self {
            session_issuer,
            web_id_federation_data: federated_provider.map(|federated_provider| WebIdFederationData {
                federated_provider,
                attributes: serde_json::Map::new(),
            }),
            attributes: SessionAttributes {
                creation_date: seconds(issued_at),
                mfa_authenticated: "false".to_owned(),
            },
        }
    }
}

/// Which records are wanted. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Filter {
    /// The action, in any case.
    pub event_name: Option<String>,
    /// `sts` or `s3`, or the event source in full.
    pub service: Option<String>,
    /// `global` or `regional`.
    pub endpoint_type: Option<String>,
    /// The region of the trail or the region that served the call.
    pub region: Option<String>,
    /// The host name that the client used.
    pub host: Option<String>,
    /// Part of the caller's service account, role session or user.
    pub caller: Option<String>,
    /// Only refused calls (`true`) or only granted ones (`false`).
    pub refused: Option<bool>,
}

impl Filter {
    /// Whether `record` is wanted.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, actual: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(actual))
        };
        let source = &record.event_source;
        let service = source.split('.').next().unwrap_or(source);
        is(&self.event_name, &record.event_name)
            && (is(&self.service, service) || is(&self.service, source))
            && is(&self.endpoint_type, record.endpoint_type().unwrap_or_default())
            && (is(&self.region, &record.aws_region)
                || is(&self.region, record.serving_region().unwrap_or_default()))
            && is(&self.host, record.host())
            && self.caller.as_deref().is_none_or(|wanted| {
                let session = record.user_identity.session_context.as_ref();
                record.caller().contains(wanted)
                    || session.is_some_and(|context| context.session_issuer.arn.contains(wanted))
            })
            && self
                .refused
                .is_none_or(|refused| refused == record.error_code.is_some())
    }
}

/// A record with its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 and never skips.
    pub sequence: u64,
    /// The record.
    pub record: Arc<Record>,
    /// Why the call was refused, in more detail than AWS tells anybody. Not part of CloudTrail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Arc<str>>,
}

/// The newest records of one AWS.
#[derive(Debug)]
pub struct EventLog {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    records: VecDeque<(Arc<Record>, Option<Arc<str>>)>,
    capacity: usize,
    /// The sequence number of the last record; 0 before the first.
    last: u64,
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl EventSink for EventLog {
    fn record(&self, mut call: Call) {
        let explanation = call.explanation.take().map(Arc::from);
        self.append(Record::of(call), explanation);
    }
}

impl EventLog {
    /// An empty log that keeps at most `capacity` records, and at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            ring: Mutex::new(Ring {
                records: VecDeque::new(),
                capacity: capacity.max(1),
                last: 0,
            }),
            newest: watch::Sender::new(0),
        }
    }

    /// Adds a record; the oldest gives way when the log is full.
    pub fn append(&self, record: Record, explanation: Option<Arc<str>>) {
        let mut ring = self.ring.lock();
        if ring.records.len() == ring.capacity {
            ring.records.pop_front();
        }
        ring.records.push_back((Arc::new(record), explanation));
        ring.last += 1;
        // Inside the lock, so that followers never see the number go back.
        self.newest.send_replace(ring.last);
    }

    /// What is kept of the records after number `after` (0 for all), oldest first, at most `limit` of the newest.
    #[must_use]
    pub fn after(&self, after: u64, filter: &Filter, limit: usize) -> Vec<Entry> {
        let ring = self.ring.lock();
        let mut found: Vec<_> = ring
            .records
            .iter()
            .rev()
            .zip((1..=ring.last).rev())
            .take_while(|(_, sequence)| *sequence > after)
            .filter(|((record, _), _)| filter.matches(record))
            .take(limit)
            .map(|((record, explanation), sequence)| Entry {
                sequence,
                record: Arc::clone(record),
                explanation: explanation.clone(),
            })
            .collect();
        found.reverse();
        found
    }

    /// All that is kept, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Record>> {
        let ring = self.ring.lock();
        ring.records
            .iter()
            .map(|(record, _)| Arc::clone(record))
            .collect()
    }

    /// The number of the newest record; 0 when nothing was called yet.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.ring.lock().last
    }

    /// Ends as soon as a record with a number above `after` exists.
    pub async fn wait_after(&self, after: u64) {
        let mut newest = self.newest.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = newest.wait_for(|newest| *newest > after).await;
    }
}

/// RFC 3339 without a fraction, as CloudTrail writes times.
fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// An opaque value in CloudTrail; here it follows from the request id so that equal calls give equal records.
fn extended_request_id(request_id: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(request_id)
}

/// Calls on objects; calls on buckets are management events.
fn is_data_event(action: &str) -> bool {
    matches!(
        action,
        "GetObject"
            | "HeadObject"
            | "PutObject"
            | "CopyObject"
            | "DeleteObject"
            | "DeleteObjects"
            | "ListObjects"
            | "CreateMultipartUpload"
            | "UploadPart"
            | "CompleteMultipartUpload"
            | "AbortMultipartUpload"
            | "ListParts"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
