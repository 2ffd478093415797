//! A JWK set: the public keys of an issuer.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::jwt::{Algorithm, Token};

/// Most keys that are looked at; issuers have a handful.
const MAX_KEYS: usize = 100;

/// Sizes of RSA keys that are taken: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys of an issuer that STS can verify with.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    public: ParsedPublicKey,
}

/// Why a document is no JWK set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not the JSON of one.
    #[error("not a JWK set: {0}")]
    Json(String),
    /// None of its keys can be used.
    #[error("the JWK set has no RSA key of 2048 bits or more and no EC key on P-256, P-384 or P-521")]
    NoKey,
}

/// Whether a token's signature is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// It is.
    Good,
    /// A key of that name is there, and the signature is not its.
    Bad,
    /// No key of that name and algorithm.
    NoKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. Keys of other kinds are passed over, as their issuer may have them for others.
    ///
    /// # Errors
    /// When it is none, or no key of it can be used.
    pub fn parse(json: &[u8]) -> Result<Self, JwksError> {
        let document: Document =
            serde_json::from_slice(json).map_err(|error| JwksError::Json(error.to_string()))?;
        let keys: Vec<Key> = document
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .flat_map(|jwk| jwk.keys())
            .collect();
        if keys.is_empty() {
            Err(JwksError::NoKey)
        } else {
            Ok(Self { keys })
        }
    }

    /// Verifies a token's signature with the key that its header names. A token that names none is tried with every
    /// key of its algorithm.
    #[must_use]
    pub fn verify(&self, token: &Token<'_>) -> Verification {
        let mut seen = false;
        for key in &self.keys {
            let named = token.key_id.is_none() || token.key_id == key.id;
            if !named || key.algorithm != token.algorithm {
                continue;
            }
            seen = true;
            if key
                .public
                .verify_sig(token.signing_input.as_bytes(), &token.signature)
                .is_ok()
            {
                return Verification::Good;
            }
        }
        if seen {
            Verification::Bad
        } else {
            Verification::NoKey
        }
    }
}

impl Jwk {
    /// The key, once for each algorithm that it may be used with.
    fn keys(self) -> Vec<Key> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Vec::new();
        }
        let only = self.alg.as_deref();
        let candidates: Vec<(Algorithm, &'static dyn VerificationAlgorithm, Vec<u8>)> =
            match self.kty.as_str() {
                "RSA" => {
                    let Some(der) = self.rsa() else { return Vec::new() };
                    vec![
                        (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256, der.clone()),
                        (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384, der.clone()),
                        (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512, der),
                    ]
                }
                "EC" => {
                    let (algorithm, verification, size): (_, &'static dyn VerificationAlgorithm, _) =
                        match self.crv.as_deref() {
                            Some("P-256") => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32),
                            Some("P-384") => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48),
                            Some("P-521") => (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED, 66),
                            _ => return Vec::new(),
                        };
                    let Some(point) = self.point(size) else {
                        return Vec::new();
                    };
                    vec![(algorithm, verification, point)]
                }
                _ => return Vec::new(),
            };
        candidates
            .into_iter()
            .filter(|(algorithm, ..)| only.is_none_or(|only| Algorithm::parse(only) == Some(*algorithm)))
            .filter_map(|(algorithm, verification, bytes)| {
                let public = ParsedPublicKey::new(verification, bytes).ok()?;
                Some(Key {
                    id: self.kid.clone(),
                    algorithm,
                    public,
                })
            })
            .collect()
    }

    fn rsa(&self) -> Option<Vec<u8>> {
        let number = |text: Option<&String>| -> Option<Vec<u8>> {
            let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
            let start = bytes.iter().position(|byte| *byte != 0)?;
            bytes.get(start..).map(<[u8]>::to_vec)
        };
        let (n, e) = (number(self.n.as_ref())?, number(self.e.as_ref())?);
        if !RSA_BYTES.contains(&n.len()) || e.len() > 4 {
            return None;
        }
        let components = RsaPublicKeyComponents { n, e };
        components.as_der().ok().map(|der| der.as_ref().to_vec())
    }

    fn point(&self, size: usize) -> Option<Vec<u8>> {
        let mut point = vec![4];
        for coordinate in [&self.x, &self.y] {
            let bytes = URL_SAFE_NO_PAD.decode(coordinate.as_ref()?).ok()?;
            if bytes.len() != size {
                return None;
            }
            point.extend(bytes);
        }
        Some(point)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oidc::testing::Signer;

    #[test]
    fn tokens_of_every_algorithm_verify_with_their_key_only() {
        let signers: Vec<Signer> = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
            .into_iter()
            .map(|algorithm| Signer::new(algorithm, algorithm))
            .collect();
        let set = json!({"keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>()}).to_string();
        let set = KeySet::parse(set.as_bytes()).unwrap();
        for signer in &signers {
            let text = signer.sign(&json!({"sub": "x"}));
            let token = Token::parse(&text).unwrap();
            assert_eq!(set.verify(&token), Verification::Good, "{}", token.algorithm);
            let foreign = Signer::new(&token.algorithm.to_string(), &token.algorithm.to_string());
            let text = foreign.sign(&json!({"sub": "x"}));
            assert_eq!(set.verify(&Token::parse(&text).unwrap()), Verification::Bad);
            let text = Signer::new(&token.algorithm.to_string(), "other").sign(&json!({}));
            assert_eq!(set.verify(&Token::parse(&text).unwrap()), Verification::NoKey);
        }
    }

    #[test]
    fn a_changed_claim_is_found() {
        let signer = Signer::new("ES256", "k");
        let set = KeySet::parse(json!({"keys": [signer.jwk()]}).to_string().as_bytes()).unwrap();
        let text = signer.sign(&json!({"sub": "x"}));
        let other = signer.sign(&json!({"sub": "y"}));
        let mixed = format!(
            "{}.{}",
            text.rsplit_once('.').unwrap().0,
            other.rsplit_once('.').unwrap().1
        );
        assert_eq!(set.verify(&Token::parse(&mixed).unwrap()), Verification::Bad);
    }

    #[test]
    fn a_key_is_not_used_with_another_algorithm_than_its_own() {
        let signer = Signer::new("RS256", "k");
        let mut jwk = signer.jwk();
        jwk["alg"] = json!("RS512");
        let set = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        let text = signer.sign(&json!({}));
        assert_eq!(set.verify(&Token::parse(&text).unwrap()), Verification::NoKey);
    }

    #[test]
    fn a_set_without_usable_key_is_an_error() {
        for set in [
            json!({"keys": []}),
            json!({"keys": [{"kty": "oct", "k": "AA"}]}),
            json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}),
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}),
            json!({"keys": [7, null, "x"]}),
        ] {
            assert_eq!(
                KeySet::parse(set.to_string().as_bytes()).unwrap_err(),
                JwksError::NoKey,
                "{set}"
            );
        }
        assert!(matches!(KeySet::parse(b"{}").unwrap_err(), JwksError::Json(_)));
    }
}
