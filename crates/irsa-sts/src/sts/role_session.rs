//! What `AssumeRole` and `AssumeRoleWithWebIdentity` share: parameters, the role's trust policy, and the session.

use std::sync::Arc;

use irsa_core::arn::RoleArn;
use serde_json::{Map, Value, json};

use super::answer::credentials;
use super::context::{Context, Trail};
use super::session::{SessionPolicies, credentials_shown};
use super::validate::{ROLE_ARN, SESSION_NAME, Validator};
use crate::directory::RoleEntry;
use crate::error::StsError;
use crate::keys::assumed_role_arn;
use crate::token::{Issued, SessionOwner};
use crate::trust::{ConditionKeys, Decision, Principal};
use crate::xml::XmlWriter;

/// How long a session lasts unless the caller asks for something else.
const DEFAULT_SECONDS: u32 = 3600;

/// The parameters that both actions have.
pub(super) struct RoleRequest<'a> {
    pub(super) role_arn: &'a str,
    pub(super) session_name: &'a str,
    duration: Option<u32>,
}

/// A session that was given out.
pub(super) struct RoleSession {
    pub(super) issued: Issued,
    arn: String,
    assumed_role_id: String,
}

impl<'a> RoleRequest<'a> {
    /// Reads the parameters; what is wrong with them is left in `validator`.
    pub(super) fn read(context: &'a Context<'_>, validator: &mut Validator<'a>) -> Self {
        let request = Self {
            role_arn: validator.required("RoleArn", &ROLE_ARN),
            session_name: validator.required("RoleSessionName", &SESSION_NAME),
            duration: validator.number("DurationSeconds", 900, 43_200),
        };
        validator.number("MinimumSessionTokenSize", 0, 4096);
        SessionPolicies::validate(validator, &context.parameters);
        request
    }

    /// CloudTrail's `requestParameters`, with those of one action only in `more`.
    pub(super) fn shown(&self, policies: &SessionPolicies, more: &[(&str, Option<&str>)]) -> Value {
        let mut shown = Map::new();
        shown.insert("roleArn".to_owned(), json!(self.role_arn));
        shown.insert("roleSessionName".to_owned(), json!(self.session_name));
        for (name, value) in more {
            if let Some(value) = value {
                shown.insert((*name).to_owned(), json!(value));
            }
        }
        if let Some(seconds) = self.duration {
            shown.insert("durationSeconds".to_owned(), json!(seconds));
        }
        for (name, value) in &policies.shown {
            shown.insert((*name).to_owned(), value.clone());
        }
        Value::Object(shown)
    }

    /// How long the session lasts, in seconds.
    pub(super) fn seconds(&self, role: &RoleEntry) -> Result<u32, StsError> {
        let seconds = self.duration.unwrap_or(DEFAULT_SECONDS);
        if seconds > role.max_session_duration {
            return Err(StsError::validation(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        Ok(seconds)
    }
}

impl Context<'_> {
    /// The role with exactly this ARN. `None`, with an explanation, when there is none.
    pub(super) fn role(&self, arn: &RoleArn<'_>, trail: &mut Trail) -> Option<Arc<RoleEntry>> {
        let role = self
            .state
            .directory
            .read()
            .account(arn.account)
            .and_then(|account| account.role(arn.name))
            .filter(|role| role.arn == arn.to_string());
        if role.is_none() {
            trail.explanation = Some(format!("there is no role {arn}"));
        }
        role
    }
}

/// Whether the role's trust policy allows `action`; if it does not, the reason goes into `trail`.
pub(super) fn is_trusted(
    role: &RoleEntry,
    action: &str,
    principal: &Principal<'_>,
    keys: &ConditionKeys,
    trail: &mut Trail,
) -> bool {
    match role.trust.evaluate(action, principal, keys) {
        Decision::Allowed => true,
        Decision::Denied(reason) => {
            trail.explanation = Some(format!("trust policy of {}: {reason}", role.name));
            false
        }
    }
}

impl RoleSession {
    /// Issues the session.
    pub(super) fn issue(
        context: &Context<'_>,
        role_arn: &RoleArn<'_>,
        role: &RoleEntry,
        owner: SessionOwner,
        seconds: u32,
    ) -> Result<Self, StsError> {
        let SessionOwner::Role { session_name, .. } = &owner else {
            return Err(StsError::internal_failure());
        };
        let arn = assumed_role_arn(role_arn.partition, role_arn.account, &role.name, session_name);
        let assumed_role_id = format!("{}:{session_name}", role.id);
        Ok(Self {
            issued: context.issue(role_arn.account, owner, seconds)?,
            arn,
            assumed_role_id,
        })
    }

    /// CloudTrail's `responseElements`, with those of one action only in `more`.
    pub(super) fn shown(&self, more: &[(&str, &str)]) -> Value {
        let mut shown = Map::new();
        shown.insert("credentials".to_owned(), credentials_shown(&self.issued));
        shown.insert(
            "assumedRoleUser".to_owned(),
            json!({"assumedRoleId": self.assumed_role_id, "arn": self.arn}),
        );
        for (name, value) in more {
            shown.insert((*name).to_owned(), json!(value));
        }
        Value::Object(shown)
    }

    /// Writes `<AssumedRoleUser>` and `<Credentials>`.
    pub(super) fn write(&self, xml: &mut XmlWriter) {
        xml.open("AssumedRoleUser");
        xml.text("Arn", &self.arn);
        xml.text("AssumedRoleId", &self.assumed_role_id);
        xml.close();
        credentials(xml, &self.issued);
    }
}

/// Writes `<PackedPolicySize>` where there are session policies.
pub(super) fn packed_policy_size(xml: &mut XmlWriter, policies: &SessionPolicies) {
    if let Some(size) = policies.packed_size {
        xml.text("PackedPolicySize", &size.to_string());
    }
}
