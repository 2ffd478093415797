//! `AssumeRole`: from one identity to another.

use std::sync::Arc;

use irsa_core::arn::RoleArn;

use super::answer::Answer;
use super::context::{Context, Trail};
use super::query::Parameters;
use super::role_session::{RoleRequest, RoleSession, is_trusted, packed_policy_size};
use super::session::{SessionPolicies, refuse_mfa};
use super::validate::{Characters, SESSION_NAME, TextRule, Validator, is_name_char};
use crate::call::Identity;
use crate::directory::RoleEntry;
use crate::error::StsError;
use crate::keys::Caller;
use crate::token::SessionOwner;
use crate::trust::{ConditionKeys, Principal};

const EXTERNAL_ID: TextRule = TextRule {
    min: 2,
    max: 1224,
    pattern: Some(Characters {
        pattern: r"[\w+=,.@:\/-]*",
        belongs: is_external_id_char,
    }),
    hidden: false,
};

/// What a request may have besides the role and the name of the session.
struct Optional<'a> {
    external_id: Option<&'a str>,
    source_identity: Option<&'a str>,
    /// Keys and values.
    tags: Vec<(&'a str, &'a str)>,
}

pub(super) fn assume(context: &Context<'_>, caller: &Caller, trail: &mut Trail) -> Result<Answer, StsError> {
    let parameters = &context.parameters;
    let mut validator = Validator::new(parameters);
    let request = RoleRequest::read(context, &mut validator);
    let optional = Optional {
        external_id: validator.optional("ExternalId", &EXTERNAL_ID),
        source_identity: validator.optional("SourceIdentity", &SESSION_NAME),
        tags: tags(parameters, &mut validator),
    };
    validator.finish()?;
    let policies = SessionPolicies::of(parameters)?;
    trail.request_parameters = request.shown(
        &policies,
        &[
            ("externalId", optional.external_id),
            ("sourceIdentity", optional.source_identity),
        ],
    );

    let role_arn = context.role_arn(request.role_arn, trail)?;
    refuse_mfa(parameters)?;
    let role = authorize(context, caller, &request, &role_arn, &optional, trail)?;
    let seconds = request.seconds(&role)?;
    let chained = matches!(caller.identity, Identity::AssumedRole { .. });
    if chained && seconds > 3600 {
        return Err(StsError::validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ));
    }

    let owner = SessionOwner::of_role(&role, request.session_name, None, optional.source_identity);
    let session = RoleSession::issue(context, &role_arn, &role, owner, seconds)?;
    trail.response_elements = session.shown(&[]);
    let mut xml = Answer::begin("AssumeRole");
    session.write(&mut xml);
    if let Some(source_identity) = optional.source_identity {
        xml.text("SourceIdentity", source_identity);
    }
    packed_policy_size(&mut xml, &policies);
    Ok(Answer::Result(xml))
}

/// The role, if the caller may assume it with all that the request asks for.
fn authorize(
    context: &Context<'_>,
    caller: &Caller,
    request: &RoleRequest<'_>,
    role_arn: &RoleArn<'_>,
    optional: &Optional<'_>,
    trail: &mut Trail,
) -> Result<Arc<RoleEntry>, StsError> {
    if let Identity::User { user_name: None, .. } = &caller.identity {
        return Err(StsError::access_denied(
            "Roles may not be assumed by root accounts.",
        ));
    }
    let caller_arn = caller.identity.arn().unwrap_or_default();
    let denied = |action: &str| {
        StsError::access_denied(format!(
            "User: {caller_arn} is not authorized to perform: {action} on resource: {role_arn}"
        ))
    };
    let role = context
        .role(role_arn, trail)
        .ok_or_else(|| denied("sts:AssumeRole"))?;
    // Tags and a source identity are permissions of their own.
    let actions = [
        Some("sts:AssumeRole"),
        (!optional.tags.is_empty()).then_some("sts:TagSession"),
        optional.source_identity.map(|_| "sts:SetSourceIdentity"),
    ];
    let keys = condition_keys(context, caller, request.session_name, optional);
    let principal = Principal::Aws {
        arn: caller_arn,
        account: &caller.account,
        role_arn: match &caller.identity {
            Identity::AssumedRole { role_arn, .. } => Some(role_arn),
            _ => None,
        },
    };
    for action in actions.into_iter().flatten() {
        if !is_trusted(&role, action, &principal, &keys, trail) {
            return Err(denied(action));
        }
    }
    Ok(role)
}

fn tags<'a>(parameters: &'a Parameters, validator: &mut Validator<'_>) -> Vec<(&'a str, &'a str)> {
    const KEY: TextRule = TextRule::length(1, 128);
    const VALUE: TextRule = TextRule::length(0, 256);
    let keys = parameters.members("Tags", Some("Key"));
    let values = parameters.members("Tags", Some("Value"));
    validator.check_count("tags", keys.len(), 50);
    let mut pairs = Vec::new();
    for (number, key) in keys {
        let value = values
            .iter()
            .find(|(other, _)| *other == number)
            .map_or("", |(_, value)| *value);
        validator.check(&format!("tags.{number}.member.key"), key, &KEY);
        validator.check(&format!("tags.{number}.member.value"), value, &VALUE);
        pairs.push((key, value));
    }
    pairs
}

fn condition_keys(
    context: &Context<'_>,
    caller: &Caller,
    session_name: &str,
    optional: &Optional<'_>,
) -> ConditionKeys {
    let mut keys = context.condition_keys();
    keys.set("sts:RoleSessionName", session_name);
    if let Some(external_id) = optional.external_id {
        keys.set("sts:ExternalId", external_id);
    }
    if let Some(source_identity) = optional.source_identity {
        keys.set("sts:SourceIdentity", source_identity);
    }
    for (key, value) in &optional.tags {
        keys.set(&format!("aws:RequestTag/{key}"), *value);
    }
    keys.set_all(
        "aws:TagKeys",
        optional.tags.iter().map(|(key, _)| (*key).to_owned()).collect(),
    );
    let transitive = context.parameters.members("TransitiveTagKeys", None);
    keys.set_all(
        "sts:TransitiveTagKeys",
        transitive.into_iter().map(|(_, key)| key.to_owned()).collect(),
    );
    keys.set("aws:PrincipalAccount", caller.account.as_str());
    match &caller.identity {
        Identity::User {
            arn,
            principal_id,
            user_name,
            ..
        } => {
            keys.set("aws:PrincipalArn", arn.as_str());
            keys.set("aws:userid", principal_id.as_str());
            keys.set("aws:PrincipalType", "User");
            if let Some(name) = user_name {
                keys.set("aws:username", name.as_str());
            }
        }
        Identity::AssumedRole {
            principal_id,
            role_arn,
            federated_provider,
            ..
        } => {
            keys.set("aws:PrincipalArn", role_arn.as_str());
            keys.set("aws:userid", principal_id.as_str());
            keys.set("aws:PrincipalType", "AssumedRole");
            if let Some(provider) = federated_provider {
                keys.set("aws:FederatedProvider", provider.as_str());
            }
        }
        Identity::Anonymous | Identity::Unproven { .. } | Identity::WebIdentity { .. } => {}
    }
    keys
}

fn is_external_id_char(c: char) -> bool {
    is_name_char(c) || c == ':' || c == '/'
}
