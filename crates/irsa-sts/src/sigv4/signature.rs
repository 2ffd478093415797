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
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return None;
        }
        let mut signature = [0; 32];
        for (out, pair) in signature.iter_mut().zip(bytes.chunks_exact(2)) {
            *out = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Some(Self(signature))
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// In hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
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

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
