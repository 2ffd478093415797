//! An issuer for tests: keys, JWK sets and tokens.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key that signs tokens.
pub(crate) struct Signer {
    algorithm: String,
    key_id: String,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    pub(crate) fn new(algorithm: &str, key_id: &str) -> Self {
        let key = match algorithm {
            "ES256" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "ES384" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            "ES512" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap()),
            _ => Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        Self {
            algorithm: algorithm.to_owned(),
            key_id: key_id.to_owned(),
            key,
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        match &self.key {
            Key::Rsa(key) => {
                // An RSAPublicKey of 2048 bits: nine bytes of framing, n, two of framing, e.
                let der = key.public_key().as_ref();
                json!({
                    "kty": "RSA", "use": "sig", "alg": self.algorithm, "kid": self.key_id,
                    "n": URL_SAFE_NO_PAD.encode(&der[9..265]),
                    "e": URL_SAFE_NO_PAD.encode(&der[267..]),
                })
            }
            Key::Ec(key) => {
                let point = key.public_key().as_ref();
                let size = (point.len() - 1) / 2;
                let curve = match size {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({
                    "kty": "EC", "use": "sig", "crv": curve, "kid": self.key_id,
                    "x": URL_SAFE_NO_PAD.encode(&point[1..=size]),
                    "y": URL_SAFE_NO_PAD.encode(&point[1 + size..]),
                })
            }
        }
    }

    pub(crate) fn jwks(&self) -> String {
        json!({"keys": [self.jwk()]}).to_string()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm, "kid": self.key_id});
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Rsa(key) => {
                let encoding = match self.algorithm.as_str() {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, input.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Key::Ec(key) => key.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
