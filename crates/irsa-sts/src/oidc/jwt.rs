//! A web identity token: three parts, a header that names a key, and claims.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Number;

/// Signature algorithms that STS takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with SHA-256.
    Rs256,
    /// RSA with SHA-384.
    Rs384,
    /// RSA with SHA-512.
    Rs512,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// ECDSA on P-521.
    Es512,
}

impl Algorithm {
    /// By the name in a header or a key.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            _ => return None,
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        })
    }
}

/// A token that was read but not verified: see [`super::KeySet::verify`].
#[derive(Debug, Clone)]
pub struct Token<'a> {
    /// The header's `alg`.
    pub algorithm: Algorithm,
    /// The header's `kid`.
    pub key_id: Option<String>,
    /// The claims that STS looks at.
    pub claims: Claims,
    /// What is signed: the first two parts.
    pub(super) signing_input: &'a str,
    /// The third part, decoded.
    pub(super) signature: Vec<u8>,
}

/// The claims that STS looks at; all others are of no effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The issuer.
    pub iss: Option<String>,
    /// The subject.
    pub sub: Option<String>,
    /// The audiences; empty when there is no `aud`.
    pub aud: Vec<String>,
    /// The authorized party.
    pub azp: Option<String>,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// Expiration, seconds since 1970.
    pub exp: Option<i64>,
    /// Issued at.
    pub iat: Option<i64>,
    /// Not before.
    pub nbf: Option<i64>,
}

/// Why a text is no token that STS would take. To the caller all of them are "not a valid JWT".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three parts separated by dots.
    #[error("a JWT has three parts separated by dots")]
    Parts,
    /// A part is not base64url without padding.
    #[error("the {0} is not base64url without padding")]
    Base64(&'static str),
    /// A part is not the JSON that it should be.
    #[error("the {part} is not the JSON of a JWT: {message}")]
    Json {
        /// Header or claims.
        part: &'static str,
        /// What the parser says.
        message: String,
    },
    /// `none`, `HS256` and others that STS does not take.
    #[error("algorithm {0:?} is none of RS256, RS384, RS512, ES256, ES384, ES512")]
    Algorithm(String),
    /// The header demands an extension.
    #[error("the header has critical extensions, which nobody here understands")]
    Critical,
    /// A time is not a whole number.
    #[error("claim {0} is not an integer")]
    NotAnInteger(&'static str),
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawClaims {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    aud: Option<OneOrMany>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    amr: Option<OneOrMany>,
    #[serde(default)]
    exp: Option<Number>,
    #[serde(default)]
    iat: Option<Number>,
    #[serde(default)]
    nbf: Option<Number>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// When it is not a JWT with an algorithm that STS takes.
    pub fn parse(text: &'a str) -> Result<Self, JwtError> {
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwtError::Parts)?;
        let (header, claims) = signing_input.split_once('.').ok_or(JwtError::Parts)?;
        if header.is_empty() || claims.is_empty() || claims.contains('.') {
            return Err(JwtError::Parts);
        }
        let header: RawHeader = decode("header", header)?;
        if header.crit.is_some() {
            return Err(JwtError::Critical);
        }
        let algorithm = Algorithm::parse(&header.alg).ok_or(JwtError::Algorithm(header.alg))?;
        let claims: RawClaims = decode("claims", claims)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| JwtError::Base64("signature"))?;
        Ok(Self {
            algorithm,
            key_id: header.kid,
            claims: Claims {
                iss: claims.iss,
                sub: claims.sub,
                aud: claims.aud.map(OneOrMany::into_vec).unwrap_or_default(),
                azp: claims.azp,
                amr: claims.amr.map(OneOrMany::into_vec).unwrap_or_default(),
                exp: integer("exp", claims.exp.as_ref())?,
                iat: integer("iat", claims.iat.as_ref())?,
                nbf: integer("nbf", claims.nbf.as_ref())?,
            },
            signing_input,
            signature,
        })
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &'static str, text: &str) -> Result<T, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| JwtError::Base64(part))?;
    // serde would take an array for a structure.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(JwtError::Json {
            part,
            message: "not an object".to_owned(),
        });
    }
    serde_json::from_slice(&bytes).map_err(|error| JwtError::Json {
        part,
        message: error.to_string(),
    })
}

fn integer(name: &'static str, number: Option<&Number>) -> Result<Option<i64>, JwtError> {
    number
        .map(|number| number.as_i64().ok_or(JwtError::NotAnInteger(name)))
        .transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(header: &serde_json::Value, claims: &serde_json::Value) -> String {
        format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string()),
            URL_SAFE_NO_PAD.encode("signature")
        )
    }

    #[test]
    fn a_projected_token_is_read() {
        let text = text(
            &json!({"alg": "RS256", "kid": "k"}),
            &json!({
                "aud": ["sts.amazonaws.com"],
                "exp": 1_770_000_000, "iat": 1_769_990_000, "nbf": 1_769_990_000,
                "iss": "https://oidc.example/id/EX",
                "kubernetes.io": {"namespace": "kube-system"},
                "sub": "system:serviceaccount:kube-system:aws-node"
            }),
        );
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.algorithm, Algorithm::Rs256);
        assert_eq!(token.key_id.as_deref(), Some("k"));
        assert_eq!(token.claims.aud, ["sts.amazonaws.com"]);
        assert_eq!(token.claims.exp, Some(1_770_000_000));
        assert_eq!(
            token.claims.sub.as_deref(),
            Some("system:serviceaccount:kube-system:aws-node")
        );
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let of = |header: serde_json::Value, claims: serde_json::Value| {
            Token::parse(&text(&header, &claims)).unwrap_err()
        };
        assert_eq!(Token::parse("").unwrap_err(), JwtError::Parts);
        assert_eq!(Token::parse("a.b").unwrap_err(), JwtError::Parts);
        assert_eq!(Token::parse("a.b.c.d").unwrap_err(), JwtError::Parts);
        assert_eq!(Token::parse("*.b.c").unwrap_err(), JwtError::Base64("header"));
        assert_eq!(
            of(json!({"alg": "none"}), json!({})),
            JwtError::Algorithm("none".to_owned())
        );
        assert_eq!(
            of(json!({"alg": "HS256"}), json!({})),
            JwtError::Algorithm("HS256".to_owned())
        );
        assert_eq!(
            of(json!({"alg": "RS256", "crit": ["b64"]}), json!({})),
            JwtError::Critical
        );
        assert_eq!(
            of(json!({"alg": "RS256"}), json!({"exp": 1.5})),
            JwtError::NotAnInteger("exp")
        );
        assert!(matches!(
            of(json!({"alg": "RS256"}), json!([])),
            JwtError::Json { part: "claims", .. }
        ));
        assert!(matches!(
            of(json!({"alg": "RS256"}), json!({"sub": 7})),
            JwtError::Json { .. }
        ));
    }

    #[test]
    fn a_claim_that_is_there_twice_is_refused() {
        let claims = r#"{"sub":"a","sub":"b"}"#;
        let text = format!(
            "{}.{}.AA",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
            URL_SAFE_NO_PAD.encode(claims)
        );
        assert!(matches!(Token::parse(&text).unwrap_err(), JwtError::Json { .. }));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[A-Za-z0-9_.=-]{0,80}") {
            let _ = Token::parse(&text);
        }
    }
}
