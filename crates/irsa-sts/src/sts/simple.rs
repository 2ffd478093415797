//! The actions that only look something up.

use http::StatusCode;
use serde_json::json;

use super::answer::Answer;
use super::context::{Context, Trail};
use super::validate::{Characters, TextRule, Validator, is_word_char};
use crate::call::Identity;
use crate::error::StsError;
use crate::ids;
use crate::keys::Caller;

/// `GetCallerIdentity`: needs no permission and cannot be denied.
pub(super) fn caller_identity(_: &Context<'_>, caller: &Caller, _: &mut Trail) -> Result<Answer, StsError> {
    let (arn, user_id) = match &caller.identity {
        Identity::User {
            arn, principal_id, ..
        }
        | Identity::AssumedRole {
            arn, principal_id, ..
        } => (arn, principal_id),
        // A caller is one of these two.
        Identity::Anonymous | Identity::Unproven { .. } | Identity::WebIdentity { .. } => {
            return Err(StsError::missing_authentication_token());
        }
    };
    let mut xml = Answer::begin("GetCallerIdentity");
    xml.text("Arn", arn);
    xml.text("UserId", user_id);
    xml.text("Account", &caller.account);
    Ok(Answer::Result(xml))
}

/// `GetAccessKeyInfo`: the account of a key, whether or not the key is in use.
pub(super) fn access_key_info(
    context: &Context<'_>,
    _: &Caller,
    trail: &mut Trail,
) -> Result<Answer, StsError> {
    let rule = TextRule {
        min: 16,
        max: 128,
        pattern: Some(Characters {
            pattern: r"[\w]*",
            belongs: is_word_char,
        }),
        hidden: false,
    };
    let mut validator = Validator::new(&context.parameters);
    let key = validator.required("AccessKeyId", &rule);
    validator.finish()?;
    trail.request_parameters = json!({"accessKeyId": key});
    let known = context
        .state
        .directory
        .read()
        .user_by_key(key)
        .map(|user| user.account.clone());
    let Some(account) = known.or_else(|| ids::account_of_key(key)) else {
        trail.explanation =
            Some("no user has this key, and it does not carry an account as temporary keys do".to_owned());
        return Err(StsError::validation("Invalid access key ID."));
    };
    let mut xml = Answer::begin("GetAccessKeyInfo");
    xml.text("Account", &account);
    Ok(Answer::Result(xml))
}

/// `DecodeAuthorizationMessage`, for messages of this process.
pub(super) fn decode_authorization_message(
    context: &Context<'_>,
    _: &Caller,
    trail: &mut Trail,
) -> Result<Answer, StsError> {
    trail.logged = false;
    let rule = TextRule::length(1, 10_240);
    let mut validator = Validator::new(&context.parameters);
    let encoded = validator.required("EncodedMessage", &rule);
    validator.finish()?;
    let decoded = context.state.tokens.decode_message(encoded).ok_or_else(|| {
        StsError::sender(
            StatusCode::BAD_REQUEST,
            "InvalidAuthorizationMessageException",
            "Message is not valid",
        )
    })?;
    let mut xml = Answer::begin("DecodeAuthorizationMessage");
    xml.text("DecodedMessage", &decoded);
    Ok(Answer::Result(xml))
}
