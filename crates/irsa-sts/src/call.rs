//! What one answered call was: the structured record that an event log is made from.
//!
//! A record never carries a secret: no secret access key, no web identity token, no signature. The session token of
//! an answer is not in it either, as CloudTrail's is shortened and nobody should find a usable one in a log.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use crate::host::{EndpointClass, Service};

/// Receives every call after it was answered. Must not block: it runs on the path of the request.
pub trait EventSink: Send + Sync {
    /// Takes note of one call.
    fn record(&self, call: Call);
}

/// One call to STS or S3, as it was understood and answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// When the request arrived.
    pub time: Timestamp,
    /// `x-amzn-RequestId` of the answer (for S3: `x-amz-request-id`).
    pub request_id: String,
    /// The service that was addressed.
    pub service: Service,
    /// `GetCallerIdentity`, `GetObject`, …; as sent when no such action exists.
    pub action: String,
    /// The host name the client used: the `Host` header without port.
    pub host: String,
    /// Which kind of endpoint that host is.
    pub endpoint: EndpointClass,
    /// The region whose trail gets the record (CloudTrail `awsRegion`): `us-east-1` for the global endpoint.
    pub region: String,
    /// The region that did the work (`awsServingRegion`).
    pub serving_region: String,
    /// Who called.
    pub identity: Identity,
    /// Account that owns the trail: the caller's, or the role's for a web identity.
    pub account: Option<String>,
    /// Parameters without secrets, in CloudTrail's spelling; `Null` where CloudTrail logs null.
    pub request_parameters: Value,
    /// Elements of the answer without secrets, in CloudTrail's spelling; `Null` where CloudTrail logs null.
    pub response_elements: Value,
    /// What S3 adds in CloudTrail's `additionalEventData` (signature version, authentication method); `Null` for STS,
    /// whose details are the endpoint and the serving region above.
    pub additional: Value,
    /// AWS resources that the call touched.
    pub resources: Vec<Resource>,
    /// Whether the call changes nothing.
    pub read_only: bool,
    /// What was refused, if it was.
    pub error: Option<CallError>,
    /// Why it was refused, for the person who runs this AWS: what the answer does not tell, such as the condition of
    /// a trust policy that did not hold. Not part of CloudTrail.
    pub explanation: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The client's address.
    pub source_ip: IpAddr,
    /// How the connection was protected; `None` on plain HTTP.
    pub tls: Option<Tls>,
}

/// Longest text of a client that goes into a record, in bytes; CloudTrail cuts at the same length.
const MAX_RECORDED: usize = 1024;

/// The text, cut to what a record holds.
pub(crate) fn bounded(text: &str) -> String {
    cut(text, MAX_RECORDED)
}

/// The text, cut to at most so many bytes.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
        .to_owned()
}

/// Who made a call, as far as the request proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody that could be established: unsigned, or refused before the key was known.
    Anonymous,
    /// An access key was named but not proven (bad signature, wrong scope, unknown key).
    Unproven {
        /// The access key id of the request.
        access_key_id: String,
    },
    /// A token of an OIDC provider whose signature was verified.
    WebIdentity {
        /// ARN of the provider.
        provider_arn: String,
        /// The audience that was matched.
        audience: String,
        /// The token's `sub`.
        subject: String,
    },
    /// An IAM user with a long-term key, or the account's root.
    User {
        /// ARN of the user, or `arn:…:root`.
        arn: String,
        /// `AIDA…`, or the account id for root.
        principal_id: String,
        /// Its account.
        account: String,
        /// Its name; `None` for root.
        user_name: Option<String>,
        /// The key that signed.
        access_key_id: String,
    },
    /// A role session.
    AssumedRole {
        /// `arn:…:sts::…:assumed-role/ROLE/SESSION`.
        arn: String,
        /// `AROA…:SESSION`.
        principal_id: String,
        /// Its account.
        account: String,
        /// The key that signed.
        access_key_id: String,
        /// ARN of the role.
        role_arn: String,
        /// The role's name without path.
        role_name: String,
        /// `AROA…`.
        role_id: String,
        /// When the session began.
        issued_at: Timestamp,
        /// ARN of the OIDC provider whose token began the session.
        federated_provider: Option<String>,
    },
}

impl Identity {
    /// The account of the caller, where known.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::User { account, .. } | Self::AssumedRole { account, .. } => Some(account),
            Self::Anonymous | Self::Unproven { .. } | Self::WebIdentity { .. } => None,
        }
    }

    /// The ARN of the caller, where there is one.
    #[must_use]
    pub fn arn(&self) -> Option<&str> {
        match self {
            Self::User { arn, .. } | Self::AssumedRole { arn, .. } => Some(arn),
            Self::Anonymous | Self::Unproven { .. } | Self::WebIdentity { .. } => None,
        }
    }
}

/// An AWS resource in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its account, where known.
    pub account: Option<String>,
    /// `AWS::IAM::Role`, `AWS::S3::Bucket`, …
    pub kind: &'static str,
    /// Its ARN.
    pub arn: String,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// The code on the wire.
    pub code: String,
    /// The message on the wire.
    pub message: String,
}

/// The protection of a connection, in the words of CloudTrail's `tlsDetails`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.3`, `TLSv1.2`.
    pub version: String,
    /// `TLS_AES_128_GCM_SHA256`, …
    pub cipher: String,
}
