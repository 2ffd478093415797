//! Who signed a request to S3, with S3's texts for everything that can be wrong, and what the signature says of the
//! body.

use bytes::Bytes;
use irsa_core::partition::Partition;
use jiff::{SignedDuration, Timestamp};

use super::error::{S3Error, S3Result};
use super::region;
use super::request::{Addressing, Request};
use crate::host::Service;
use crate::keys::{Caller, KeyError};
use crate::sigv4::chunked::{self, PayloadMode, Seed};
use crate::sigv4::v2::QueryAuthentication;
use crate::sigv4::{
    Authentication, AuthenticationError, Location, PathMode, RequestView, ScopeProblem, UNSIGNED_PAYLOAD,
    Verified, sha256_hex,
};
use crate::state::State;

/// The longest that a presigned URL can be valid, in seconds.
const MAX_EXPIRES: i64 = 604_800;

/// What a request claims about its sender, parsed but not yet believed.
#[derive(Debug)]
pub(super) enum Claim {
    Anonymous,
    Version4(Box<Authentication>),
    /// A URL presigned with version 2.
    Version2(QueryAuthentication),
}

/// A request whose sender is established.
#[derive(Debug)]
pub(super) struct Authenticated {
    pub(super) caller: Caller,
    /// The body without the frames that it travelled in.
    pub(super) body: Bytes,
    /// Trailers of the body: lower-case names and values.
    pub(super) trailers: Vec<(String, String)>,
}

/// Where and when a request is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) partition: &'static Partition,
    /// The region that serves the request and whose scope it must have.
    pub(super) region: &'a str,
    pub(super) now: Timestamp,
}

impl Claim {
    /// Reads the claim.
    pub(super) fn of(view: &RequestView<'_>) -> S3Result<Self> {
        if let Some(authentication) = Authentication::of(view).map_err(|e| unreadable(&e, view))? {
            return Ok(Self::Version4(Box::new(authentication)));
        }
        if view
            .header("authorization")
            .is_some_and(|value| value.starts_with("AWS "))
        {
            return Err(version_2_refused());
        }
        match QueryAuthentication::of(view) {
            Ok(Some(authentication)) => Ok(Self::Version2(authentication)),
            Ok(None) => Ok(Self::Anonymous),
            Err(_) => Err(S3Error::forbidden(
                "AccessDenied",
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            )),
        }
    }

    pub(super) fn access_key_id(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Version4(authentication) => Some(&authentication.scope.access_key_id),
            Self::Version2(authentication) => Some(&authentication.access_key_id),
        }
    }

    /// CloudTrail's `SignatureVersion`.
    pub(super) fn signature_version(&self) -> Option<&'static str> {
        match self {
            Self::Anonymous => None,
            Self::Version4(_) => Some("SigV4"),
            Self::Version2(_) => Some("SigV2"),
        }
    }

    /// CloudTrail's `AuthenticationMethod`.
    pub(super) fn method(&self) -> Option<&'static str> {
        match self {
            Self::Anonymous => None,
            Self::Version4(authentication) if authentication.location == Location::Header => {
                Some("AuthHeader")
            }
            Self::Version4(_) | Self::Version2(_) => Some("QueryString"),
        }
    }

    /// Whether the scope is that of the place. Version 2 has no scope, but not every region takes it.
    pub(super) fn check_scope(&self, place: Place<'_>) -> S3Result<()> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Version2(_) if region::takes_version_2(place.region) => Ok(()),
            Self::Version2(_) => Err(version_2_refused()),
            Self::Version4(authentication) => check_scope(authentication, place),
        }
    }

    /// Whether the request is of now.
    pub(super) fn check_time(&self, now: Timestamp) -> S3Result<()> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Version2(authentication) => {
                let text = authentication.expires.as_str();
                let expires = text
                    .parse()
                    .ok()
                    .and_then(|seconds| Timestamp::from_second(seconds).ok())
                    .ok_or_else(|| {
                        S3Error::forbidden(
                            "AccessDenied",
                            format!("Invalid date (should be seconds since epoch): {text}"),
                        )
                    })?;
                if now > expires {
                    return Err(expired(expires, now));
                }
                Ok(())
            }
            Self::Version4(authentication) if authentication.location == Location::Header => {
                authentication.check_time(now).map_err(|_| {
                    S3Error::forbidden(
                        "RequestTimeTooSkewed",
                        "The difference between the request time and the current time is too large.",
                    )
                    .with("RequestTime", authentication.date.to_string())
                    .with("ServerTime", seconds(now))
                    .with("MaxAllowedSkewMilliseconds", "900000")
                })
            }
            Self::Version4(authentication) => check_presigned_time(authentication, now),
        }
    }

    /// Establishes the caller and the body.
    pub(super) fn verify(
        &self,
        state: &State,
        view: &RequestView<'_>,
        request: &Request,
        place: Place<'_>,
    ) -> S3Result<Authenticated> {
        let look_up = |access_key_id: &str, token: Option<&str>| {
            state
                .caller(
                    access_key_id,
                    token,
                    place.partition.name(),
                    place.region,
                    place.now,
                )
                .map_err(|error| key_error(error, access_key_id))
        };
        match self {
            Self::Anonymous => Err(S3Error::access_denied()),
            Self::Version2(authentication) => {
                let caller = look_up(
                    &authentication.access_key_id,
                    authentication.session_token.as_deref(),
                )?;
                let prefix = match (&request.bucket, request.addressing) {
                    (Some(bucket), Addressing::Virtual) => format!("/{bucket}"),
                    _ => String::new(),
                };
                authentication
                    .verify(view, &prefix, caller.secret.expose())
                    .map_err(|string_to_sign| {
                        mismatch(&authentication.access_key_id)
                            .with("StringToSign", string_to_sign.as_str())
                            .with("StringToSignBytes", spaced_hex(&string_to_sign))
                    })?;
                Ok(Authenticated {
                    caller,
                    body: request.body.clone(),
                    trailers: Vec::new(),
                })
            }
            Self::Version4(authentication) => {
                let (payload_hash, mode) = payload(authentication, view, request)?;
                let scope = &authentication.scope;
                let caller = look_up(&scope.access_key_id, authentication.session_token.as_deref())?;
                let verified = authentication
                    .verify(view, PathMode::AsSent, &payload_hash, caller.secret.expose())
                    .map_err(|mismatched| {
                        let sent = authentication.signature.as_ref();
                        mismatch(&scope.access_key_id)
                            .with("StringToSign", mismatched.string_to_sign.as_str())
                            .with(
                                "SignatureProvided",
                                sent.map(|sent| sent.to_hex()).unwrap_or_default(),
                            )
                            .with("StringToSignBytes", spaced_hex(&mismatched.string_to_sign))
                            .with("CanonicalRequest", mismatched.canonical_request.as_str())
                            .with("CanonicalRequestBytes", spaced_hex(&mismatched.canonical_request))
                    })?;
                let unsigned = authentication.unsigned_amz_headers(view);
                if !unsigned.is_empty() {
                    return Err(S3Error::forbidden(
                        "AccessDenied",
                        "There were headers present in the request which were not signed",
                    )
                    .with("HeadersNotSigned", unsigned.join(", ")));
                }
                let (body, trailers) = content(&mode, authentication, &verified, request)?;
                Ok(Authenticated {
                    caller,
                    body,
                    trailers,
                })
            }
        }
    }
}

/// The payload hash that is signed, and what it means.
fn payload(
    authentication: &Authentication,
    view: &RequestView<'_>,
    request: &Request,
) -> S3Result<(String, PayloadMode)> {
    let sent = match (view.header("x-amz-content-sha256"), authentication.location) {
        (Some(header), _) => header,
        (None, Location::Query) => request
            .parameter("X-Amz-Content-Sha256")
            .unwrap_or(UNSIGNED_PAYLOAD),
        (None, Location::Header) => {
            return Err(S3Error::bad(
                "InvalidRequest",
                "Missing required header for this request: x-amz-content-sha256",
            ));
        }
    };
    let mode = PayloadMode::parse(sent).ok_or_else(|| {
        S3Error::invalid_argument(
            "x-amz-content-sha256",
            sent,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
             STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        )
    })?;
    Ok((sent.to_owned(), mode))
}

/// The body as it is meant, checked against what was signed.
fn content(
    mode: &PayloadMode,
    authentication: &Authentication,
    verified: &Verified,
    request: &Request,
) -> S3Result<(Bytes, Vec<(String, String)>)> {
    let (seed, trailer) = match mode {
        PayloadMode::Unsigned => return Ok((request.body.clone(), Vec::new())),
        PayloadMode::Hash(sent) => {
            let computed = sha256_hex(&request.body);
            if !sent.eq_ignore_ascii_case(&computed) {
                return Err(S3Error::bad(
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                )
                .with("ClientComputedContentSHA256", sent.as_str())
                .with("S3ComputedContentSHA256", computed));
            }
            return Ok((request.body.clone(), Vec::new()));
        }
        PayloadMode::UnsignedChunks => (None, true),
        PayloadMode::SignedChunks { trailer } => (
            Some(Seed {
                key: &verified.signing_key,
                signature: verified.signature.clone(),
                date: authentication.date,
                scope: &authentication.scope,
            }),
            *trailer,
        ),
    };
    let decoded = chunked::decode(&request.body, seed.as_ref(), trailer).map_err(|error| match error {
        chunked::ChunkError::Frame(_) => S3Error::bad(
            "IncompleteBody",
            format!("The request body terminated unexpectedly: {error}"),
        ),
        chunked::ChunkError::Signature(_) => mismatch(&authentication.scope.access_key_id),
    })?;
    let announced = request.header("x-amz-decoded-content-length").ok_or_else(|| {
        S3Error::new(
            http::StatusCode::LENGTH_REQUIRED,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        )
    })?;
    if announced.parse() != Ok(decoded.content.len()) {
        return Err(S3Error::bad(
            "IncompleteBody",
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        ));
    }
    Ok((decoded.content, decoded.trailers))
}

fn check_scope(authentication: &Authentication, place: Place<'_>) -> S3Result<()> {
    let problems =
        authentication
            .scope
            .problems(&[place.region], Service::S3.signing_name(), authentication.date);
    // S3 tells one problem; the region comes after what makes the scope no scope of S3 at all.
    let Some(problem) = problems
        .iter()
        .find(|problem| !matches!(problem, ScopeProblem::Region { .. }))
        .or(problems.first())
    else {
        return Ok(());
    };
    let text = match problem {
        ScopeProblem::Region { sent } => {
            format!("the region '{sent}' is wrong; expecting '{}'", place.region)
        }
        ScopeProblem::Service { sent, expected } => {
            format!("incorrect service \"{sent}\". This endpoint belongs to \"{expected}\".")
        }
        ScopeProblem::Terminator { sent } => {
            format!("incorrect terminal \"{sent}\". This endpoint uses \"aws4_request\".")
        }
        ScopeProblem::Date { sent, date } => format!(
            "Invalid credential date \"{sent}\". This date is not the same as X-Amz-Date: \"{date}\"."
        ),
    };
    let error = match authentication.location {
        Location::Query => query_error(format!("Error parsing the X-Amz-Credential parameter; {text}")),
        Location::Header => header_malformed(&text),
    };
    Err(match problem {
        ScopeProblem::Region { .. } => error.with("Region", place.region).in_region(place.region),
        _ => error,
    })
}

fn check_presigned_time(authentication: &Authentication, now: Timestamp) -> S3Result<()> {
    let text = authentication.expires.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Err(missing_parameters());
    }
    let expires: i64 = text
        .parse()
        .map_err(|_| query_error("X-Amz-Expires should be a number".to_owned()))?;
    if expires < 0 {
        return Err(query_error("X-Amz-Expires must be non-negative".to_owned()));
    }
    if expires > MAX_EXPIRES {
        return Err(query_error(format!(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             {MAX_EXPIRES} seconds"
        )));
    }
    let signed = authentication.date.timestamp();
    if signed > now + crate::sigv4::SKEW {
        return Err(S3Error::forbidden("AccessDenied", "Request is not yet valid")
            .with("X-Amz-Expires", text)
            .with("Expires", seconds(signed))
            .with("ServerTime", seconds(now)));
    }
    let end = signed + SignedDuration::from_secs(expires);
    if now > end {
        let mut error = expired(end, now);
        error.details.insert(0, ("X-Amz-Expires", text.to_owned()));
        return Err(error);
    }
    Ok(())
}

/// S3's texts for claims that cannot be read.
fn unreadable(error: &AuthenticationError, view: &RequestView<'_>) -> S3Error {
    let in_query = view.query_pairs().any(|(name, _)| name == "X-Amz-Algorithm");
    let malformed = |header: &str, query: &str| {
        if in_query {
            query_error(query.to_owned())
        } else {
            header_malformed(header)
        }
    };
    match error {
        AuthenticationError::Both | AuthenticationError::Duplicate => S3Error::bad(
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        ),
        AuthenticationError::Algorithm(algorithm) => {
            if in_query {
                query_error(
                    "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\""
                        .to_owned(),
                )
            } else {
                S3Error::bad(
                    "InvalidRequest",
                    format!(
                        "The authorization mechanism {algorithm} is not supported by the S3 of this lab; \
                             it takes AWS4-HMAC-SHA256"
                    ),
                )
            }
        }
        AuthenticationError::MissingParameters(_) => missing_parameters(),
        AuthenticationError::Date(_) if in_query => {
            query_error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"".to_owned())
        }
        AuthenticationError::Date(_) => S3Error::forbidden(
            "AccessDenied",
            "AWS authentication requires a valid Date or x-amz-date header",
        ),
        AuthenticationError::IncompleteHeader(incomplete) if incomplete.date => S3Error::forbidden(
            "AccessDenied",
            "AWS authentication requires a valid Date or x-amz-date header",
        ),
        AuthenticationError::IncompleteHeader(incomplete) => {
            let missing = if incomplete.credential {
                "Credential"
            } else if incomplete.signed_headers {
                "SignedHeaders"
            } else {
                "Signature"
            };
            header_malformed(&format!(
                "The authorization header requires three components: Credential, \
                                       SignedHeaders, and Signature; {missing} is missing"
            ))
        }
        AuthenticationError::NotAPair { part, .. } => {
            header_malformed(&format!("\"{part}\" is not a key=value pair"))
        }
        AuthenticationError::HostNotSigned => malformed(
            "the Host header must be signed",
            "X-Amz-SignedHeaders must contain host",
        ),
        AuthenticationError::Credential { credential, .. } => malformed(
            &format!(
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\", got \
                 \"{credential}\""
            ),
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        ),
        AuthenticationError::Query(_) => S3Error::bad("InvalidURI", "Couldn't parse the specified URI."),
    }
}

fn key_error(error: KeyError, access_key_id: &str) -> S3Error {
    match error {
        KeyError::Unknown => S3Error::forbidden(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        )
        .with("AWSAccessKeyId", access_key_id),
        KeyError::CorruptToken | KeyError::TokenNotValidHere => S3Error::bad(
            "InvalidToken",
            "The provided token is malformed or otherwise invalid.",
        ),
        KeyError::ExpiredToken => S3Error::bad("ExpiredToken", "The provided token has expired."),
    }
}

fn mismatch(access_key_id: &str) -> S3Error {
    S3Error::forbidden(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing \
         method.",
    )
    .with("AWSAccessKeyId", access_key_id)
}

fn version_2_refused() -> S3Error {
    S3Error::bad(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

fn missing_parameters() -> S3Error {
    query_error(
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
         X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
            .to_owned(),
    )
}

fn query_error(message: String) -> S3Error {
    S3Error::bad("AuthorizationQueryParametersError", message)
}

fn header_malformed(text: &str) -> S3Error {
    S3Error::bad(
        "AuthorizationHeaderMalformed",
        format!("The authorization header is malformed; {text}"),
    )
}

fn expired(expires: Timestamp, now: Timestamp) -> S3Error {
    S3Error::forbidden("AccessDenied", "Request has expired")
        .with("Expires", seconds(expires))
        .with("ServerTime", seconds(now))
}

fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Bytes as S3 shows them: `47 45 54`.
fn spaced_hex(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| hex::encode([byte])).collect();
    bytes.join(" ")
}
