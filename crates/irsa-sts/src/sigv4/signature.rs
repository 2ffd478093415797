//! Keys and signatures.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};

use super::scope::CredentialScope;

/// An HMAC-SHA-256 signature. It has no `==`: see [`Signature::matches`].
#[derive(Clone)]
pub struct Signature([u8; 32]);

impl Signature {
    /// Reads 64 hexadecimal digits, lower case as all signers write them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut signature = [0; 32];
        let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        (lower_case && hex::decode_to_slice(text, &mut signature).is_ok()).then_some(Self(signature))
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// In hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

/// The key that signs for one day, region and service.
#[derive(Clone)]
pub struct SigningKey(Key);

impl SigningKey {
    /// Derives the key of a scope from a secret.
    #[must_use]
    pub fn derive(secret_access_key: &str, scope: &CredentialScope) -> Self {
        let mut key = hmac_sha256(
            format!("AWS4{secret_access_key}").as_bytes(),
            scope.date.as_bytes(),
        );
        for part in [&scope.region, &scope.service, &scope.terminator] {
            key = hmac_sha256(key.as_ref(), part.as_bytes());
        }
        Self(Key::new(HMAC_SHA256, key.as_ref()))
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let tag = hmac::sign(&self.0, message);
        let mut signature = [0; 32];
        signature.copy_from_slice(tag.as_ref());
        Signature(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&Key::new(HMAC_SHA256, key), message)
}
