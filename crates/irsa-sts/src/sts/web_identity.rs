//! `AssumeRoleWithWebIdentity`: a service account's token for a role's credentials. Not signed.

use std::sync::Arc;

use http::StatusCode;

use super::answer::Answer;
use super::context::{Context, Trail};
use super::role_session::{RoleRequest, RoleSession, is_trusted, packed_policy_size};
use super::session::SessionPolicies;
use super::validate::{TextRule, Validator};
use crate::call::Identity;
use crate::directory::ProviderEntry;
use crate::error::StsError;
use crate::oidc::{Claims, FetchError, KeyLookupError, Token};
use crate::token::{MAX_TOKEN, SessionOwner};
use crate::trust::{ConditionKeys, Principal};

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

const TOKEN: TextRule = TextRule::length(4, 20_000).hidden();
const PROVIDER_ID: TextRule = TextRule::length(4, 2048);

pub(super) async fn assume(context: &Context<'_>, trail: &mut Trail) -> Result<Answer, StsError> {
    let parameters = &context.parameters;
    let mut validator = Validator::new(parameters);
    let request = RoleRequest::read(context, &mut validator);
    let token = validator.required("WebIdentityToken", &TOKEN);
    validator.optional("ProviderId", &PROVIDER_ID);
    validator.finish()?;
    let policies = SessionPolicies::of(parameters)?;
    trail.request_parameters = request.shown(&policies, &[]);

    let role_arn = context.role_arn(request.role_arn, trail)?;
    trail.account = Some(role_arn.account.to_owned());
    context.check_active(role_arn.account)?;
    let identity = identify(context, role_arn.account, token, trail).await?;
    let role = context
        .role(&role_arn, trail)
        .ok_or_else(|| StsError::access_denied(DENIED))?;
    let keys = condition_keys(context, &identity, request.session_name);
    let provider = &identity.provider;
    let principal = Principal::Federated {
        provider_arn: &provider.arn,
    };
    if !is_trusted(&role, ACTION, &principal, &keys, trail) {
        return Err(StsError::access_denied(DENIED));
    }
    let seconds = request.seconds(&role)?;

    let owner = SessionOwner::of_role(&role, request.session_name, Some(&provider.arn), None);
    let session = RoleSession::issue(context, &role_arn, &role, owner, seconds)?;
    let (subject, audience) = (identity.subject.as_str(), identity.audience.as_str());
    trail.response_elements = session.shown(&[
        ("subjectFromWebIdentityToken", subject),
        ("provider", &provider.arn),
        ("audience", audience),
    ]);
    let mut xml = Answer::begin("AssumeRoleWithWebIdentity");
    xml.text("SubjectFromWebIdentityToken", subject);
    xml.text("Audience", audience);
    session.write(&mut xml);
    xml.text("Provider", &provider.arn);
    packed_policy_size(&mut xml, &policies);
    let size = session.issued.session_token.len();
    xml.text("SessionTokenUtilization", &(size * 100 / MAX_TOKEN).to_string());
    xml.text("SessionTokenSize", &size.to_string());
    Ok(Answer::Result(xml))
}

/// A token that was verified.
struct WebIdentity {
    provider: Arc<ProviderEntry>,
    claims: Claims,
    subject: String,
    audience: String,
}

/// Verifies a token against the providers of an account.
async fn identify(
    context: &Context<'_>,
    account: &str,
    token: &str,
    trail: &mut Trail,
) -> Result<WebIdentity, StsError> {
    if let Some(provider) = context.parameters.find("ProviderId") {
        trail.explanation = Some(
            "ProviderId is for OAuth access tokens of Facebook and Amazon; a JWT names its issuer itself"
                .to_owned(),
        );
        return Err(StsError::validation(format!("Invalid provider {provider}")));
    }
    let token = Token::parse(token).map_err(|error| {
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
    Ok(WebIdentity {
        provider,
        claims: token.claims,
        subject,
        audience,
    })
}

impl Context<'_> {
    /// The provider of an account for a token's issuer. The issuer must be the provider's URL, character for character.
    fn provider(&self, account: &str, claims: &Claims) -> Result<Arc<ProviderEntry>, StsError> {
        let issuer = claims.iss.as_deref().unwrap_or_default();
        let directory = self.state.directory.read();
        directory
            .account(account)
            .and_then(|account| account.provider(issuer))
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
    let leeway = i64::try_from(context.leeway().as_secs()).unwrap_or(0);
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

fn condition_keys(context: &Context<'_>, identity: &WebIdentity, session_name: &str) -> ConditionKeys {
    let mut keys = context.condition_keys();
    let (name, claims) = (&identity.provider.name, &identity.claims);
    keys.set(&format!("{name}:aud"), identity.audience.as_str());
    keys.set(&format!("{name}:sub"), identity.subject.as_str());
    keys.set_all(&format!("{name}:amr"), claims.amr.clone());
    if let Some(azp) = &claims.azp {
        keys.set(&format!("{name}:azp"), azp.as_str());
        keys.set_all(&format!("{name}:oaud"), claims.aud.clone());
    }
    keys.set("aws:FederatedProvider", identity.provider.arn.as_str());
    keys.set("sts:RoleSessionName", session_name);
    keys
}
