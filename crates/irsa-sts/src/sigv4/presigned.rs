//! Presigned URLs: the signature is in the query.

use super::authorization::signed_header_names;
use super::canonical::{ALGORITHM, RequestView, decode_component};
use super::date::AmzDate;
use super::error::AuthenticationError;
use super::scope::CredentialScope;
use super::signature::Signature;
use super::{Authentication, Location};

/// Whether the query says that it carries a signature.
pub(super) fn is_presigned(request: &RequestView<'_>) -> bool {
    request.query_pairs().any(|(name, _)| name == "X-Amz-Algorithm")
}

pub(super) fn parse(request: &RequestView<'_>) -> Result<Authentication, AuthenticationError> {
    let parameter = |wanted: &str| -> Result<Option<String>, AuthenticationError> {
        request
            .query_pairs()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| {
                decode_component(value).ok_or_else(|| AuthenticationError::Query(value.to_owned()))
            })
            .transpose()
    };
    let algorithm = parameter("X-Amz-Algorithm")?.unwrap_or_default();
    if algorithm != ALGORITHM {
        return Err(AuthenticationError::Algorithm(algorithm));
    }
    let credential = parameter("X-Amz-Credential")?.filter(|value| !value.is_empty());
    let signature = parameter("X-Amz-Signature")?.filter(|value| !value.is_empty());
    let signed_headers = parameter("X-Amz-SignedHeaders")?.filter(|value| !value.is_empty());
    let date = parameter("X-Amz-Date")?.filter(|value| !value.is_empty());
    let missing: Vec<&'static str> = [
        ("X-Amz-Credential", credential.is_none()),
        ("X-Amz-Signature", signature.is_none()),
        ("X-Amz-SignedHeaders", signed_headers.is_none()),
        ("X-Amz-Date", date.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect();
    let (Some(credential), Some(signature), Some(signed_headers), Some(date)) =
        (credential, signature, signed_headers, date)
    else {
        return Err(AuthenticationError::MissingParameters(missing));
    };
    let signed_headers = signed_header_names(&signed_headers)?;
    let date = AmzDate::parse(&date).ok_or(AuthenticationError::Date(date))?;
    let scope =
        CredentialScope::parse(&credential).ok_or(AuthenticationError::Credential { credential, date })?;
    Ok(Authentication {
        location: Location::Query,
        scope,
        signed_headers,
        signature: Signature::parse(&signature),
        date,
        expires: parameter("X-Amz-Expires")?,
        // A token may be sent as a header with a presigned URL too; the query goes first.
        session_token: parameter("X-Amz-Security-Token")?
            .or_else(|| request.header("x-amz-security-token").map(str::to_owned)),
    })
}
