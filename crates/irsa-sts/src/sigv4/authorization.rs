//! The `Authorization` header: `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.

use http::header::{AUTHORIZATION, DATE};

use super::canonical::{ALGORITHM, RequestView};
use super::date::AmzDate;
use super::error::{AuthenticationError, IncompleteHeader};
use super::scope::CredentialScope;
use super::signature::Signature;
use super::{Authentication, Location};

/// The header of a signed request. Headers of other schemes (`Bearer`, `AWS` of version 2) are none of ours.
pub(super) fn find<'a>(request: &RequestView<'a>) -> Result<Option<&'a str>, AuthenticationError> {
    let mut found = None;
    for value in request.headers.get_all(AUTHORIZATION) {
        let Ok(text) = value.to_str() else { continue };
        let text = text.trim();
        let scheme = text.split([' ', ',']).next().unwrap_or_default();
        if !scheme.starts_with("AWS4-") {
            continue;
        }
        if scheme != ALGORITHM {
            return Err(AuthenticationError::Algorithm(scheme.to_owned()));
        }
        if found.replace(text).is_some() {
            return Err(AuthenticationError::Duplicate);
        }
    }
    Ok(found)
}

pub(super) fn parse(header: &str, request: &RequestView<'_>) -> Result<Authentication, AuthenticationError> {
    let mut credential = None;
    let mut signed_headers = None;
    let mut signature = None;
    let parameters = header.strip_prefix(ALGORITHM).unwrap_or(header);
    for part in parameters
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let Some((name, value)) = part.split_once('=') else {
            return Err(AuthenticationError::NotAPair {
                part: part.to_owned(),
                header: header.to_owned(),
            });
        };
        match name.trim() {
            "Credential" => credential = Some(value.trim()),
            "SignedHeaders" => signed_headers = Some(value.trim()),
            "Signature" => signature = Some(value.trim()),
            // AWS takes no notice of others.
            _ => {}
        }
    }
    let amz_date = request.header("x-amz-date");
    let date_header = request.headers.get(DATE).and_then(|value| value.to_str().ok());
    let missing = |value: Option<&str>| value.is_none_or(str::is_empty);
    let incomplete = IncompleteHeader {
        credential: missing(credential),
        signature: missing(signature),
        signed_headers: missing(signed_headers),
        date: amz_date.is_none() && date_header.is_none(),
        header: header.to_owned(),
    };
    let (Some(credential), Some(signed_headers), Some(signature)) = (credential, signed_headers, signature)
    else {
        return Err(AuthenticationError::IncompleteHeader(incomplete));
    };
    if incomplete.credential || incomplete.signature || incomplete.signed_headers || incomplete.date {
        return Err(AuthenticationError::IncompleteHeader(incomplete));
    }
    let signed_headers = signed_header_names(signed_headers)?;
    let date = match amz_date {
        Some(text) => AmzDate::parse(text),
        None => date_header.and_then(AmzDate::parse_date_header),
    };
    let Some(date) = date else {
        let shown = amz_date.or(date_header).unwrap_or_default();
        return Err(AuthenticationError::Date(shown.to_owned()));
    };
    let scope = CredentialScope::parse(credential).ok_or_else(|| AuthenticationError::Credential {
        credential: credential.to_owned(),
        date,
    })?;
    Ok(Authentication {
        location: Location::Header,
        scope,
        signed_headers,
        signature: Signature::parse(signature),
        date,
        expires: None,
        session_token: request.header("x-amz-security-token").map(str::to_owned),
    })
}

/// The names, sorted as the canonical form wants them. `host` must be one of them.
pub(super) fn signed_header_names(list: &str) -> Result<Vec<String>, AuthenticationError> {
    let mut names: Vec<String> = list
        .split(';')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    if !names.iter().any(|name| name == "host" || name == ":authority") {
        return Err(AuthenticationError::HostNotSigned);
    }
    Ok(names)
}
