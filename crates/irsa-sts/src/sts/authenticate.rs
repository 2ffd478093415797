//! Who signed a request to STS, or the error that AWS gives, in the order in which it looks.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jiff::Timestamp;

use super::context::{Context, Trail};
use crate::call::Identity;
use crate::error::StsError;
use crate::host::EndpointClass;
use crate::keys::{Caller, KeyError};
use crate::sigv4::{
    AmzDate, Authentication, AuthenticationError, IncompleteHeader, PathMode, SKEW, ScopeProblem, TimeError,
    sha256_hex,
};

/// AWS's text for a signature that is not right.
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

/// The caller of a signed request. `trail` gets the key that was named, as far as it is known, and an explanation.
pub(super) fn authenticate(context: &Context<'_>, trail: &mut Trail) -> Result<Caller, StsError> {
    let (endpoint, now) = (context.endpoint, context.now);
    let claim = Authentication::of(&context.request)
        .map_err(|error| unreadable(error, now))?
        .ok_or_else(StsError::missing_authentication_token)?;
    trail.identity = Identity::Unproven {
        access_key_id: claim.scope.access_key_id.clone(),
    };
    // A presigned URL of STS is good for the same fifteen minutes, whatever its X-Amz-Expires says.
    claim.check_time(now).map_err(out_of_time)?;
    let mut regions = vec![endpoint.region.as_str()];
    if endpoint.class == EndpointClass::Global && context.state.global_accepts_local_region {
        regions.push(context.serving_region);
    }
    let problems = claim.scope.problems(&regions, "sts", claim.date);
    if !problems.is_empty() {
        if problems
            .iter()
            .any(|problem| matches!(problem, ScopeProblem::Region { .. }))
        {
            trail.explanation = Some(format!(
                "the request is signed for region {}, but {} accepts {} only; the client was given this endpoint \
                 explicitly while its region is another",
                claim.scope.region,
                endpoint.host_shown(),
                endpoint.region
            ));
        }
        return Err(wrong_scope(&problems));
    }
    let caller = context
        .state
        .caller(
            &claim.scope.access_key_id,
            claim.session_token.as_deref(),
            endpoint.name.partition.name(),
            &endpoint.region,
            now,
        )
        .map_err(|error| {
            trail.explanation = Some(error.to_string());
            bad_key(error)
        })?;
    let hash = sha256_hex(context.body);
    claim
        .verify(
            &context.request,
            PathMode::Normalized,
            &hash,
            caller.secret.expose(),
        )
        .map_err(|_| StsError::signature_does_not_match(MISMATCH))?;
    trail.identity = caller.identity.clone();
    Ok(caller)
}

fn unreadable(error: AuthenticationError, now: Timestamp) -> StsError {
    match error {
        // AWS gives no message here.
        AuthenticationError::Both => StsError::signature_does_not_match(""),
        AuthenticationError::Duplicate => {
            StsError::incomplete_signature("Request contains more than one 'Authorization' header.")
        }
        AuthenticationError::Algorithm(name) => {
            StsError::incomplete_signature(format!("Unsupported AWS 'algorithm': '{name}'."))
        }
        AuthenticationError::NotAPair { part, header } => StsError::incomplete_signature(format!(
            "'{part}' not a valid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and \
             encoded with Base64): '{}'.",
            hashed(&header)
        )),
        AuthenticationError::IncompleteHeader(lacks) => StsError::incomplete_signature(incomplete(&lacks)),
        AuthenticationError::MissingParameters(names) => {
            let mut text = String::new();
            for name in names {
                text.push_str(&format!("AWS query-string parameters must include '{name}'. "));
            }
            text.push_str("Re-examine the query-string parameters.");
            StsError::incomplete_signature(text)
        }
        AuthenticationError::Date(date) => StsError::incomplete_signature(format!(
            "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )),
        AuthenticationError::HostNotSigned => StsError::signature_does_not_match(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        // The time is looked at before the parts of the credential.
        AuthenticationError::Credential { credential, date } => match date.check(now) {
            Err(error) => out_of_time(error),
            Ok(()) => StsError::incomplete_signature(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                 '{credential}'"
            )),
        },
        AuthenticationError::Query(_) => super::query::malformed(),
    }
}

fn incomplete(lacks: &IncompleteHeader) -> String {
    let mut text = String::new();
    for (name, missing) in [
        ("Credential", lacks.credential),
        ("Signature", lacks.signature),
        ("SignedHeaders", lacks.signed_headers),
    ] {
        if missing {
            text.push_str(&format!("Authorization header requires '{name}' parameter. "));
        }
    }
    if lacks.date {
        text.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    text.push_str(&format!(
        "(Hashed with SHA-256 and encoded with Base64) Authorization={}",
        hashed(&lacks.header)
    ));
    text
}

fn hashed(header: &str) -> String {
    STANDARD.encode(digest(&SHA256, header.as_bytes()))
}

fn out_of_time(error: TimeError) -> StsError {
    let text = match error {
        TimeError::Expired { signed, now } => {
            let bound = AmzDate::from(now.timestamp() - SKEW);
            format!("Signature expired: {signed} is now earlier than {bound} ({now} - 15 min.)")
        }
        TimeError::NotYetCurrent { signed, now } => {
            let bound = AmzDate::from(now.timestamp() + SKEW);
            format!("Signature not yet current: {signed} is still later than {bound} ({now} + 15 min.)")
        }
    };
    StsError::signature_does_not_match(text)
}

/// Every sentence ends with a blank, the last one too, as on AWS.
fn wrong_scope(problems: &[ScopeProblem]) -> StsError {
    let mut text = String::new();
    for problem in problems {
        match problem {
            ScopeProblem::Region { .. } => text.push_str("Credential should be scoped to a valid region. "),
            ScopeProblem::Service { expected, .. } => {
                text.push_str(&format!("Credential should be scoped to correct service: '{expected}'. "));
            }
            ScopeProblem::Terminator { sent } => text.push_str(&format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{sent}'. "
            )),
            ScopeProblem::Date { sent, date } => text.push_str(&format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{sent}' \
                 != '{}', from '{date}'. ",
                date.day()
            )),
        }
    }
    StsError::signature_does_not_match(text)
}

fn bad_key(error: KeyError) -> StsError {
    match error {
        KeyError::Unknown | KeyError::TokenNotValidHere => StsError::invalid_client_token_id(),
        KeyError::CorruptToken => StsError::corrupt_session_token(),
        KeyError::ExpiredToken => StsError::sender(
            StatusCode::FORBIDDEN,
            "ExpiredToken",
            "The security token included in the request is expired",
        ),
    }
}
