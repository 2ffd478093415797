//! Signature Version 4, seen from the server: what was signed, by whom, when, for where, and whether it is right.
//!
//! Nothing here knows a service. A service asks, in its own order and with its own error texts:
//! [`Authentication::of`] (what the request claims) → [`Authentication::check_time`] → [`CredentialScope::problems`] →
//! its own look-up of the key → [`Authentication::verify`] with the payload hash it wants to see signed.
//!
//! Invariants: a [`Signature`] cannot be compared with `==`, only in constant time; the canonical request is made from
//! the request as it came over the wire, never from a decoded form of it; no secret is in an error or in `Debug`.

mod authorization;
mod canonical;
pub mod chunked;
mod date;
mod error;
mod presigned;
mod scope;
mod signature;
pub mod v2;

pub(crate) use canonical::decode_component;
pub use canonical::{ALGORITHM, PathMode, RequestView, sha256_hex};
pub use date::{AmzDate, TimeError};
pub use error::{AuthenticationError, IncompleteHeader};
pub use scope::{CredentialScope, ScopeProblem};
pub use signature::{Signature, SigningKey};

use jiff::{SignedDuration, Timestamp};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod examples;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod oracle;

/// The payload hash of requests whose body is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// How far a signature's time may be from the server's, in both directions.
pub const SKEW: SignedDuration = SignedDuration::from_mins(15);

/// Where the signature was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// The `Authorization` header.
    Header,
    /// The query: a presigned URL.
    Query,
}

/// What a signed request claims, parsed but not yet believed.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// Where it was found.
    pub location: Location,
    /// Access key id and scope.
    pub scope: CredentialScope,
    /// Lower-case names, sorted.
    pub signed_headers: Vec<String>,
    /// The signature sent; a text that is no signature can never match.
    pub signature: Option<Signature>,
    /// When it was signed.
    pub date: AmzDate,
    /// `X-Amz-Expires` of a presigned URL, as sent.
    pub expires: Option<String>,
    /// `X-Amz-Security-Token`, from the place that the signature is in.
    pub session_token: Option<String>,
}

/// A verified signature with the intermediate values, which streaming uploads go on from and error texts show.
#[derive(Debug)]
pub struct Verified {
    /// The key of the scope, for the signatures of chunks.
    pub signing_key: SigningKey,
    /// The canonical request.
    pub canonical_request: String,
    /// The string to sign.
    pub string_to_sign: String,
    /// The signature that the request should have.
    pub signature: Signature,
}

/// A signature that is not right.
#[derive(Debug)]
pub struct Mismatch {
    /// The canonical request as the server sees it.
    pub canonical_request: String,
    /// The string to sign as the server sees it.
    pub string_to_sign: String,
}

impl Authentication {
    /// What the request claims. `Ok(None)` when it carries no signature of this version at all.
    ///
    /// # Errors
    /// When a signature is there but incomplete, malformed, or there twice.
    pub fn of(request: &RequestView<'_>) -> Result<Option<Self>, AuthenticationError> {
        let header = authorization::find(request)?;
        let query = presigned::is_presigned(request);
        match (header, query) {
            (Some(_), true) => Err(AuthenticationError::Both),
            (Some(header), false) => authorization::parse(header, request).map(Some),
            (None, true) => presigned::parse(request).map(Some),
            (None, false) => Ok(None),
        }
    }

    /// Whether `now` is within [`SKEW`] of the time of the signature.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_time(&self, now: Timestamp) -> Result<(), TimeError> {
        self.date.check(now)
    }

    /// Whether `name` (lower case) is among the signed headers.
    #[must_use]
    pub fn signs(&self, name: &str) -> bool {
        self.signed_headers.iter().any(|signed| signed == name)
    }

    /// Verifies the signature over `request` with a payload hash (hexadecimal, or one of the literals that S3 knows).
    ///
    /// # Errors
    /// When the signature is not that of the secret.
    pub fn verify(
        &self,
        request: &RequestView<'_>,
        mode: PathMode,
        payload_hash: &str,
        secret_access_key: &str,
    ) -> Result<Verified, Box<Mismatch>> {
        let canonical_request =
            canonical::canonical_request(request, mode, self.location, &self.signed_headers, payload_hash);
        let string_to_sign = canonical::string_to_sign(self.date, &self.scope, &canonical_request);
        let signing_key = SigningKey::derive(secret_access_key, &self.scope);
        let signature = signing_key.sign(string_to_sign.as_bytes());
        // A signed header that is not in the request cannot have been signed with this value; the canonical form would
        // be ambiguous, so that it is refused whatever the signature says.
        let all_there = self.signed_headers.iter().all(|name| request.has_header(name));
        match &self.signature {
            Some(sent) if sent.matches(&signature) && all_there => Ok(Verified {
                signing_key,
                canonical_request,
                string_to_sign,
                signature,
            }),
            _ => Err(Box::new(Mismatch {
                canonical_request,
                string_to_sign,
            })),
        }
    }

    /// `x-amz-*` headers of the request that are not signed. S3 refuses requests that have any.
    #[must_use]
    pub fn unsigned_amz_headers(&self, request: &RequestView<'_>) -> Vec<String> {
        let mut names: Vec<String> = request
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-") && !self.signs(name))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }
}
