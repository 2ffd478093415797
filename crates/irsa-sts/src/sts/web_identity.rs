//! `AssumeRoleWithWebIdentity`: a service account's token for a role's credentials. Not signed.

use http::StatusCode;
use irsa_core::arn::RoleArn;
use serde_json::json;

use super::answer::{Answer, credentials};
use super::session::{SessionPolicies, credentials_shown};
use super::validate::{ROLE_ARN, SESSION_NAME, TextRule, Validator};
use super::{Context, Trail};
use crate::call::{Identity, Resource};
use crate::directory::ProviderEntry;
use crate::error::StsError;
use crate::keys::assumed_role_arn;
use crate::oidc::{Claims, FetchError, KeyLookupError, Token};
use crate::token::{MAX_TOKEN, Principal};
use crate::trust::{self, Decision};

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

/// AWS says the same whatever stands in the way: the role is not there, or its trust policy does not hold.
const DENIED: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";

/// Two blanks after the comma, as on AWS.
const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  please reference \
                      AssumeRoleWithWebIdentity documentation for requirements";

const NOT_A_JWT: &str =
    "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";

const UNREACHABLE: &str = "The request could not be fulfilled because the identity provider (IDP) that was asked to \
                           verify the incoming identity token could not be reached.";

pub(super) async fn assume(context: &Context<'_>, trail: &mut Trail) -> Result<Answer, StsError> {
    let parameters = context.parameters;
    let mut validator = Validator::new(parameters);
    let role_arn = validator.required("RoleArn", &ROLE_ARN);
    let session_name = validator.required("RoleSessionName", &SESSION_NAME);
    let token_rule = TextRule {
        min: 4,
        max: 20_000,
        pattern: None,
        hidden: true,
    };
    let token_text = validator.required("WebIdentityToken", &token_rule);
    let duration = validator.number("DurationSeconds", 900, 43_200);
    validator.number("MinimumSessionTokenSize", 0, 4096);
    validator.optional(
        "ProviderId",
        &TextRule {
            min: 4,
            max: 2048,
            pattern: None,
            hidden: false,
        },
    );
    SessionPolicies::validate(&mut validator, parameters);
    validator.finish()?;
    let policies = SessionPolicies::of(parameters)?;
    trail.request_parameters = json!({"roleArn": role_arn, "roleSessionName": session_name});
    if let Some(object) = trail.request_parameters.as_object_mut() {
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

    let role_arn = context.role_arn(role_arn, trail)?;
    let account = role_arn.account;
    trail.account = Some(account.to_owned());
    trail.resources.push(Resource {
        account: Some(account.to_owned()),
        kind: "AWS::IAM::Role",
        arn: role_arn.to_string(),
    });
    context.check_active(account)?;

    if let Some(provider) = parameters.find("ProviderId") {
        trail.explanation = Some(
            "ProviderId is for OAuth access tokens of Facebook and Amazon; a JWT names its issuer itself"
                .to_owned(),
        );
        return Err(StsError::validation(format!("Invalid provider {provider}")));
    }
    let token = Token::parse(token_text).map_err(|error| {
        trail.explanation = Some(error.to_string());
        StsError::invalid_identity_token(NOT_A_JWT)
    })?;
    let provider = context.provider(account, &token.claims)?;
    provider
        .keys
        .verify(&token)
        .await
        .map_err(|error| unverified(&error, trail))?;
    let subject = check_claims(context, &token.claims)?.to_owned();
    let audience = check_audience(&provider, &token.claims, trail)?;
    trail.identity = Identity::WebIdentity {
        provider_arn: provider.arn.clone(),
        audience: audience.clone(),
        subject: subject.clone(),
    };

    let role = context
        .aws
        .directory
        .read()
        .account(account)
        .and_then(|account| account.role(role_arn.name));
    let Some(role) = role.filter(|role| role.arn == role_arn.to_string()) else {
        trail.explanation = Some(format!("there is no role {role_arn}"));
        return Err(StsError::access_denied(DENIED));
    };
    let keys = policy_context(
        context,
        &provider,
        &token.claims,
        &audience,
        &subject,
        session_name,
    );
    let principal = trust::Principal::Federated {
        provider_arn: &provider.arn,
    };
    if let Decision::Denied(reason) = role.trust.evaluate(ACTION, &principal, &keys) {
        trail.explanation = Some(format!("trust policy of {}: {reason}", role.name));
        return Err(StsError::access_denied(DENIED));
    }
    let seconds = duration.unwrap_or(3600);
    if seconds > role.max_session_duration {
        return Err(StsError::validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }

    let issued = context.issue(
        account,
        Principal::Role {
            arn: role.arn.clone(),
            name: role.name.clone(),
            id: role.id.clone(),
            session_name: session_name.to_owned(),
            federated_provider: Some(provider.arn.clone()),
            source_identity: None,
        },
        seconds,
    )?;
    let arn = assumed_role_arn(role_arn.partition, account, &role.name, session_name);
    let assumed_role_id = format!("{}:{session_name}", role.id);
    trail.response_elements = json!({
        "credentials": credentials_shown(&issued),
        "subjectFromWebIdentityToken": subject,
        "assumedRoleUser": {"assumedRoleId": assumed_role_id, "arn": arn},
        "provider": provider.arn,
        "audience": audience,
    });
    let mut xml = Answer::begin("AssumeRoleWithWebIdentity");
    xml.text("SubjectFromWebIdentityToken", &subject);
    xml.text("Audience", &audience);
    xml.open("AssumedRoleUser");
    xml.text("Arn", &arn);
    xml.text("AssumedRoleId", &assumed_role_id);
    xml.close();
    credentials(&mut xml, &issued);
    xml.text("Provider", &provider.arn);
    if let Some(size) = policies.packed_size {
        xml.text("PackedPolicySize", &size.to_string());
    }
    let size = issued.session_token.len();
    xml.text("SessionTokenUtilization", &(size * 100 / MAX_TOKEN).to_string());
    xml.text("SessionTokenSize", &size.to_string());
    Ok(Answer::Result(xml))
}

impl Context<'_> {
    /// The ARN of a role in the partition of this endpoint.
    pub(super) fn role_arn<'a>(&self, text: &'a str, trail: &mut Trail) -> Result<RoleArn<'a>, StsError> {
        let invalid = || StsError::validation("Request ARN is invalid");
        let arn = RoleArn::parse(text).map_err(|error| {
            trail.explanation = Some(format!("the role's ARN is not one: {error}"));
            invalid()
        })?;
        let partition = self.endpoint.name.partition.name();
        if arn.partition != partition {
            trail.explanation = Some(format!(
                "the role is in partition {}, this endpoint in {partition}",
                arn.partition
            ));
            return Err(invalid());
        }
        Ok(arn)
    }

    /// The provider of an account that a token's issuer is.
    fn provider(&self, account: &str, claims: &Claims) -> Result<std::sync::Arc<ProviderEntry>, StsError> {
        let issuer = claims.iss.as_deref().unwrap_or_default();
        let name = issuer
            .strip_prefix("https://")
            .map(|rest| rest.trim_end_matches('/'));
        let directory = self.aws.directory.read();
        name.and_then(|name| directory.account(account)?.provider(name))
            .filter(|provider| provider.url.trim_end_matches('/') == issuer.trim_end_matches('/'))
            .ok_or_else(|| {
                StsError::invalid_identity_token(format!(
                    "No OpenIDConnect provider found in your account for {issuer}"
                ))
            })
    }
}

fn unverified(error: &KeyLookupError, trail: &mut Trail) -> StsError {
    trail.explanation = Some(error.to_string());
    match error {
        KeyLookupError::Fetch(FetchError::Unreachable { .. }) => {
            StsError::sender(StatusCode::BAD_REQUEST, "IDPCommunicationError", UNREACHABLE)
        }
        KeyLookupError::Fetch(FetchError::Unusable { .. }) | KeyLookupError::NoKey => {
            StsError::invalid_identity_token(NO_KEY)
        }
        KeyLookupError::BadSignature => {
            StsError::invalid_identity_token("The web identity token provided could not be validated")
        }
    }
}

/// Times and required claims; the subject.
fn check_claims<'c>(context: &Context<'_>, claims: &'c Claims) -> Result<&'c str, StsError> {
    let missing = |name: &str| StsError::invalid_identity_token(format!("Missing a required claim: {name}"));
    let now = context.now.as_second();
    let leeway = i64::try_from(context.aws.web_identity_leeway.as_secs()).unwrap_or(0);
    let exp = claims.exp.ok_or_else(|| missing("exp"))?;
    let iat = claims.iat.ok_or_else(|| missing("iat"))?;
    if now >= exp.saturating_add(leeway) {
        return Err(StsError::sender(
            StatusCode::BAD_REQUEST,
            "ExpiredTokenException",
            format!("Token expired: current date/time {now} must be before the expiration date/time {exp}"),
        ));
    }
    // What AWS says of a token from the future is not known; the sentence is made after the one above.
    for begin in [claims.nbf, Some(iat)].into_iter().flatten() {
        if now.saturating_add(leeway) < begin {
            return Err(StsError::invalid_identity_token(format!(
                "Token not yet valid: current date/time {now} must be after the date/time {begin}"
            )));
        }
    }
    claims
        .sub
        .as_deref()
        .filter(|sub| !sub.is_empty())
        .ok_or_else(|| missing("sub"))
}

/// The audience that counts: `azp` where there is one, else the only `aud`. It must be a client id of the provider.
fn check_audience(provider: &ProviderEntry, claims: &Claims, trail: &mut Trail) -> Result<String, StsError> {
    let audience = match (&claims.azp, claims.aud.as_slice()) {
        (Some(azp), _) => azp,
        (None, [audience]) => audience,
        (None, []) => return Err(StsError::invalid_identity_token("Missing a required claim: aud")),
        (None, several) => {
            trail.explanation = Some(format!(
                "the token is for {} audiences and has no azp",
                several.len()
            ));
            return Err(StsError::invalid_identity_token("Incorrect token audience"));
        }
    };
    if !provider.client_ids.contains(audience) {
        trail.explanation = Some(format!(
            "audience {audience:?} is none of the provider's client ids {:?}",
            provider.client_ids
        ));
        return Err(StsError::invalid_identity_token("Incorrect token audience"));
    }
    Ok(audience.clone())
}

fn policy_context(
    context: &Context<'_>,
    provider: &ProviderEntry,
    claims: &Claims,
    audience: &str,
    subject: &str,
    session_name: &str,
) -> trust::Context {
    let mut keys = context.policy_context();
    let name = &provider.name;
    keys.set(&format!("{name}:aud"), audience);
    keys.set(&format!("{name}:sub"), subject);
    keys.set_all(&format!("{name}:amr"), claims.amr.clone());
    if let Some(azp) = &claims.azp {
        keys.set(&format!("{name}:azp"), azp.as_str());
        keys.set_all(&format!("{name}:oaud"), claims.aud.clone());
    }
    keys.set("aws:FederatedProvider", provider.arn.as_str());
    keys.set("sts:RoleSessionName", session_name);
    keys
}
