//! One call to STS: what the actions share of it, and what they find out about it for its record.

use std::time::Duration;

use irsa_core::arn::RoleArn;
use jiff::Timestamp;
use serde_json::Value;

use super::query::Parameters;
use crate::call::{Identity, Resource};
use crate::config::TokenVersion;
use crate::connection::Connection;
use crate::error::StsError;
use crate::host::{Endpoint, EndpointClass};
use crate::sigv4::RequestView;
use crate::state::State;
use crate::token::{Issued, NewSession, SessionOwner};
use crate::trust::ConditionKeys;

/// What is known of a call before its action runs.
pub(super) struct Context<'a> {
    pub(super) state: &'a State,
    pub(super) endpoint: &'a Endpoint,
    pub(super) connection: &'a Connection,
    /// The region that does the work.
    pub(super) serving_region: &'a str,
    pub(super) request: RequestView<'a>,
    pub(super) body: &'a [u8],
    pub(super) parameters: Parameters,
    pub(super) now: Timestamp,
}

/// What is found out about a call while it is answered.
pub(super) struct Trail {
    /// Empty when the request names none.
    pub(super) action: String,
    pub(super) identity: Identity,
    pub(super) account: Option<String>,
    pub(super) request_parameters: Value,
    pub(super) response_elements: Value,
    pub(super) resources: Vec<Resource>,
    pub(super) explanation: Option<String>,
    /// `DecodeAuthorizationMessage` is not logged.
    pub(super) logged: bool,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            action: String::new(),
            identity: Identity::Anonymous,
            account: None,
            request_parameters: Value::Null,
            response_elements: Value::Null,
            resources: Vec::new(),
            explanation: None,
            logged: true,
        }
    }
}

impl Context<'_> {
    pub(super) fn user_agent(&self) -> Option<&str> {
        self.request.header("user-agent")
    }

    /// Tolerance for the times of a web identity token.
    pub(super) fn leeway(&self) -> Duration {
        self.state.web_identity_leeway
    }

    /// Whether STS is active in the endpoint's region for an account. The global endpoint always is.
    pub(super) fn check_active(&self, account: &str) -> Result<(), StsError> {
        let global = self.endpoint.class == EndpointClass::Global;
        let directory = self.state.directory.read();
        match directory.account(account) {
            Some(entry) if !global && !entry.is_active(&self.endpoint.region) => {
                Err(StsError::region_disabled(account))
            }
            _ => Ok(()),
        }
    }

    /// The ARN of a role in the partition of this endpoint; it becomes a resource of the call.
    pub(super) fn role_arn<'t>(&self, text: &'t str, trail: &mut Trail) -> Result<RoleArn<'t>, StsError> {
        let invalid = || StsError::validation("Request ARN is invalid");
        let arn = RoleArn::parse(text).map_err(|error| {
            trail.explanation = Some(format!("invalid role ARN: {error}"));
            invalid()
        })?;
        let partition = self.endpoint.name.partition.name();
        if arn.partition != partition {
            trail.explanation = Some(format!(
                "the role is in partition {}, but this endpoint is in {partition}",
                arn.partition
            ));
            return Err(invalid());
        }
        trail.resources.push(Resource {
            account: Some(arn.account.to_owned()),
            kind: "AWS::IAM::Role",
            arn: arn.to_string(),
        });
        Ok(arn)
    }

    /// Credentials of the token version that this endpoint gives out for an account.
    pub(super) fn issue(&self, account: &str, owner: SessionOwner, seconds: u32) -> Result<Issued, StsError> {
        let version = if self.endpoint.class == EndpointClass::Global {
            self.state
                .directory
                .read()
                .account(account)
                .map_or(TokenVersion::V1, |entry| entry.global_token_version)
        } else {
            TokenVersion::V2
        };
        let minimum_size = self
            .parameters
            .find("MinimumSessionTokenSize")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let new = NewSession {
            account,
            partition: self.endpoint.name.partition.name(),
            version,
            owner,
            issued_at: self.now,
            seconds,
            minimum_size,
        };
        self.state.tokens.issue(new).map_err(|error| {
            tracing::error!(%error, "cannot issue a session token");
            StsError::internal_failure()
        })
    }

    /// The condition keys that every request has.
    pub(super) fn condition_keys(&self) -> ConditionKeys {
        let mut keys = ConditionKeys::new();
        keys.set("aws:SourceIp", self.connection.source_ip.to_string());
        keys.set("aws:SecureTransport", self.connection.tls.is_some().to_string());
        keys.set("aws:CurrentTime", format!("{:.0}", self.now));
        keys.set("aws:EpochTime", self.now.as_second().to_string());
        keys.set("aws:RequestedRegion", self.endpoint.region.as_str());
        if let Some(agent) = self.user_agent() {
            keys.set("aws:UserAgent", agent);
        }
        keys
    }
}
