//! Tokens of OIDC issuers: read, find the key, verify.
//!
//! Only issuers that are registered as providers are ever contacted, only at their configured place, with bounded
//! time and size. Parsing and verification are pure; `keys` decides when to fetch, `fetch` does it.

mod fetch;
mod jwks;
mod jwt;
mod keys;

pub use jwks::{JwksError, KeySet, Verification};
pub use jwt::{Algorithm, Claims, JwtError, Token};

pub(crate) use fetch::FetchError;
pub(crate) use keys::{KeyLookupError, Keys};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod testing;
