//! Any text as a web identity token, any bytes as a JWK set: read or refused, never a panic; and nothing that was not
//! signed verifies.
#![no_main]

use std::sync::OnceLock;

use irsa_sts::oidc::{KeySet, Token, Verification};
use libfuzzer_sys::fuzz_target;

/// A public key whose private half is nowhere: the generator point of P-256.
const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256",
    "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}"#;

fuzz_target!(|data: &[u8]| {
    static SET: OnceLock<KeySet> = OnceLock::new();
    let keys = SET.get_or_init(|| KeySet::parse(KEYS.as_bytes()).unwrap());
    let _ = KeySet::parse(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(token) = Token::parse(text)
    {
        assert_ne!(keys.verify(&token), Verification::Good);
    }
});
