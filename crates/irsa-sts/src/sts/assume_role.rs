//! `AssumeRole`: from one identity to another.

use serde_json::json;

use super::answer::{Answer, credentials};
use super::session::{SessionPolicies, credentials_shown, refuse_mfa};
use super::validate::{Characters, ROLE_ARN, SESSION_NAME, TextRule, Validator, is_name_char};
use super::{Context, Trail};
use crate::call::{Identity, Resource};
use crate::error::StsError;
use crate::keys::{Caller, assumed_role_arn};
use crate::token::Principal;
use crate::trust::{self, Decision};

const EXTERNAL_ID: TextRule = TextRule {
    min: 2,
    max: 1224,
    pattern: Some(Characters {
        pattern: r"[\w+=,.@:\/-]*",
        belongs: is_external_id_char,
    }),
    hidden: false,
};

/// Tags of a request: numbered keys and values.
struct Tags<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

pub(super) fn assume(context: &Context<'_>, caller: &Caller, trail: &mut Trail) -> Result<Answer, StsError> {
    let parameters = context.parameters;
    let mut validator = Validator::new(parameters);
    let arn_text = validator.required("RoleArn", &ROLE_ARN);
    let session_name = validator.required("RoleSessionName", &SESSION_NAME);
    let duration = validator.number("DurationSeconds", 900, 43_200);
    validator.number("MinimumSessionTokenSize", 0, 4096);
    let external_id = validator.optional("ExternalId", &EXTERNAL_ID);
    let source_identity = validator.optional("SourceIdentity", &SESSION_NAME);
    SessionPolicies::validate(&mut validator, parameters);
    let tags = Tags::of(context, &mut validator);
    validator.finish()?;
    let policies = SessionPolicies::of(parameters)?;
    trail.request_parameters = json!({"roleArn": arn_text, "roleSessionName": session_name});
    if let Some(object) = trail.request_parameters.as_object_mut() {
        for (name, value) in [("externalId", external_id), ("sourceIdentity", source_identity)] {
            if let Some(value) = value {
                object.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(seconds) = duration {
            object.insert("durationSeconds".to_owned(), json!(seconds));
        }
        object.extend(
            policies
                .shown
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
    }

    let role_arn = context.role_arn(arn_text, trail)?;
    trail.resources.push(Resource {
        account: Some(role_arn.account.to_owned()),
        kind: "AWS::IAM::Role",
        arn: role_arn.to_string(),
    });
    refuse_mfa(parameters)?;
    let caller_arn = caller.identity.arn().unwrap_or_default();
    if let Identity::User { user_name: None, .. } = &caller.identity {
        return Err(StsError::access_denied(
            "Roles may not be assumed by root accounts.",
        ));
    }
    let denied = |action: &str| {
        StsError::access_denied(format!(
            "User: {caller_arn} is not authorized to perform: {action} on resource: {role_arn}"
        ))
    };
    let role = context
        .aws
        .directory
        .read()
        .account(role_arn.account)
        .and_then(|account| account.role(role_arn.name));
    let Some(role) = role.filter(|role| role.arn == role_arn.to_string()) else {
        trail.explanation = Some(format!("there is no role {role_arn}"));
        return Err(denied("sts:AssumeRole"));
    };
    // Tags and a source identity are permissions of their own.
    let actions = [
        Some("sts:AssumeRole"),
        (!tags.pairs.is_empty()).then_some("sts:TagSession"),
        source_identity.map(|_| "sts:SetSourceIdentity"),
    ];
    let keys = policy_context(context, caller, session_name, external_id, source_identity, &tags);
    let principal = trust::Principal::Aws {
        arn: caller_arn,
        account: &caller.account,
        role_arn: match &caller.identity {
            Identity::AssumedRole { role_arn, .. } => Some(role_arn),
            _ => None,
        },
    };
    for action in actions.into_iter().flatten() {
        if let Decision::Denied(reason) = role.trust.evaluate(action, &principal, &keys) {
            trail.explanation = Some(format!("trust policy of {}: {reason}", role.name));
            return Err(denied(action));
        }
    }
    let seconds = duration.unwrap_or(3600);
    if seconds > role.max_session_duration {
        return Err(StsError::validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let chained = matches!(caller.identity, Identity::AssumedRole { .. });
    if chained && seconds > 3600 {
        return Err(StsError::validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ));
    }

    let issued = context.issue(
        role_arn.account,
        Principal::Role {
            arn: role.arn.clone(),
            name: role.name.clone(),
            id: role.id.clone(),
            session_name: session_name.to_owned(),
            federated_provider: None,
            source_identity: source_identity.map(str::to_owned),
        },
        seconds,
    )?;
    let arn = assumed_role_arn(role_arn.partition, role_arn.account, &role.name, session_name);
    let assumed_role_id = format!("{}:{session_name}", role.id);
    trail.response_elements = json!({
        "credentials": credentials_shown(&issued),
        "assumedRoleUser": {"assumedRoleId": assumed_role_id, "arn": arn},
    });
    let mut xml = Answer::begin("AssumeRole");
    credentials(&mut xml, &issued);
    xml.open("AssumedRoleUser");
    xml.text("Arn", &arn);
    xml.text("AssumedRoleId", &assumed_role_id);
    xml.close();
    if let Some(source_identity) = source_identity {
        xml.text("SourceIdentity", source_identity);
    }
    if let Some(size) = policies.packed_size {
        xml.text("PackedPolicySize", &size.to_string());
    }
    Ok(Answer::Result(xml))
}

impl<'a> Tags<'a> {
    fn of(context: &Context<'a>, validator: &mut Validator<'_>) -> Self {
        let keys = context.parameters.members("Tags", Some("Key"));
        let values = context.parameters.members("Tags", Some("Value"));
        validator.check_count("tags", keys.len(), 50);
        let key_rule = TextRule {
            min: 1,
            max: 128,
            pattern: None,
            hidden: false,
        };
        let value_rule = TextRule {
            min: 0,
            max: 256,
            pattern: None,
            hidden: false,
        };
        let mut pairs = Vec::new();
        for (number, key) in keys {
            let value = values
                .iter()
                .find(|(other, _)| *other == number)
                .map_or("", |(_, value)| *value);
            validator.check(&format!("tags.{number}.member.key"), key, &key_rule);
            validator.check(&format!("tags.{number}.member.value"), value, &value_rule);
            pairs.push((key, value));
        }
        Self { pairs }
    }
}

fn policy_context(
    context: &Context<'_>,
    caller: &Caller,
    session_name: &str,
    external_id: Option<&str>,
    source_identity: Option<&str>,
    tags: &Tags<'_>,
) -> trust::Context {
    let mut keys = context.policy_context();
    keys.set("sts:RoleSessionName", session_name);
    if let Some(external_id) = external_id {
        keys.set("sts:ExternalId", external_id);
    }
    if let Some(source_identity) = source_identity {
        keys.set("sts:SourceIdentity", source_identity);
    }
    for (key, value) in &tags.pairs {
        keys.set(&format!("aws:RequestTag/{key}"), *value);
    }
    keys.set_all(
        "aws:TagKeys",
        tags.pairs.iter().map(|(key, _)| (*key).to_owned()).collect(),
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
