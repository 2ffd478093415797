//! `GetSessionToken`, and what all actions that give out credentials share.

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, credentials};
use super::context::{Context, Trail};
use super::query::Parameters;
use super::validate::{TextRule, Validator};
use crate::call::Identity;
use crate::error::StsError;
use crate::keys::Caller;
use crate::token::{Issued, SessionOwner};

/// Session policies: at most 2,048 characters of JSON, and ten ARNs.
const MAX_POLICY: usize = 2048;
const MAX_POLICY_ARNS: usize = 10;

/// `GetSessionToken`: only for long-term keys.
pub(super) fn session_token(
    context: &Context<'_>,
    caller: &Caller,
    trail: &mut Trail,
) -> Result<Answer, StsError> {
    let mut validator = Validator::new(&context.parameters);
    let asked = validator.number("DurationSeconds", 900, 129_600);
    validator.finish()?;
    trail.request_parameters = match asked {
        Some(seconds) => json!({"durationSeconds": seconds}),
        None => Value::Null,
    };
    if caller.session.is_some() {
        return Err(StsError::access_denied(
            "Cannot call GetSessionToken with session credentials",
        ));
    }
    refuse_mfa(&context.parameters)?;
    let Identity::User {
        arn,
        principal_id,
        user_name,
        ..
    } = &caller.identity
    else {
        return Err(StsError::access_denied(
            "Cannot call GetSessionToken with session credentials",
        ));
    };
    let root = user_name.is_none();
    let seconds = match asked {
        // Root's sessions last an hour at most, whatever is asked for.
        Some(seconds) if root => seconds.min(3600),
        Some(seconds) => seconds,
        None if root => 3600,
        None => 43_200,
    };
    let owner = SessionOwner::User {
        arn: arn.clone(),
        id: principal_id.clone(),
        name: user_name.clone().unwrap_or_default(),
        root,
    };
    let issued = context.issue(&caller.account, owner, seconds)?;
    trail.response_elements = json!({"credentials": credentials_shown(&issued)});
    let mut xml = Answer::begin("GetSessionToken");
    credentials(&mut xml, &issued);
    Ok(Answer::Result(xml))
}

/// What a record shows of credentials: never the secret, nor a token that somebody could use.
pub(super) fn credentials_shown(issued: &Issued) -> Value {
    json!({
        "accessKeyId": issued.access_key_id,
        "expiration": issued.expires_at.strftime("%b %-d, %Y, %-I:%M:%S %p").to_string(),
    })
}

/// There are no MFA devices here, so that no code can be right.
pub(super) fn refuse_mfa(parameters: &Parameters) -> Result<(), StsError> {
    if parameters.find("TokenCode").is_some() || parameters.find("SerialNumber").is_some() {
        return Err(StsError::access_denied(
            "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is \
             valid and associated with this user.",
        ));
    }
    Ok(())
}

/// Session policies of a request, checked.
pub(super) struct SessionPolicies {
    /// `PackedPolicySize`, in per cent; `None` without policies.
    pub(super) packed_size: Option<usize>,
    /// For the record.
    pub(super) shown: Vec<(&'static str, Value)>,
}

impl SessionPolicies {
    /// Validates `Policy` and `PolicyArns`.
    pub(super) fn validate(validator: &mut Validator<'_>, parameters: &Parameters) {
        validator.optional("Policy", &TextRule::length(1, MAX_POLICY).hidden());
        let arns = parameters.members("PolicyArns", Some("arn"));
        validator.check_count("policyArns", arns.len(), MAX_POLICY_ARNS);
        let rule = TextRule::length(20, 2048);
        for (number, arn) in arns {
            validator.check(&format!("policyArns.{number}.member.arn"), arn, &rule);
        }
    }

    /// Reads them.
    pub(super) fn of(parameters: &Parameters) -> Result<Self, StsError> {
        let policy = parameters.find("Policy");
        let arns = parameters.members("PolicyArns", Some("arn"));
        if let Some(policy) = policy {
            let document: Result<Value, _> = serde_json::from_str(policy);
            let good = document.is_ok_and(|document| document.get("Statement").is_some());
            if !good {
                return Err(StsError::sender(
                    StatusCode::BAD_REQUEST,
                    "MalformedPolicyDocument",
                    "This policy contains invalid Json",
                ));
            }
        }
        let bytes = policy.map_or(0, str::len) + arns.iter().map(|(_, arn)| arn.len()).sum::<usize>();
        let packed_size = (policy.is_some() || !arns.is_empty()).then(|| (bytes * 100).div_ceil(MAX_POLICY));
        if let Some(size) = packed_size
            && size > 100
        {
            return Err(StsError::sender(
                StatusCode::BAD_REQUEST,
                "PackedPolicyTooLarge",
                format!("Packed policy consumes {size}% of allotted space, please use smaller policy."),
            ));
        }
        let mut shown = Vec::new();
        if let Some(policy) = policy {
            shown.push(("policy", json!(policy)));
        }
        if !arns.is_empty() {
            let arns: Vec<Value> = arns.iter().map(|(_, arn)| json!({"arn": arn})).collect();
            shown.push(("policyArns", json!(arns)));
        }
        Ok(Self { packed_size, shown })
    }
}
