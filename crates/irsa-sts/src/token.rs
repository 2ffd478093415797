//! Session tokens: sealed descriptions of a session, so that nothing has to be remembered per session given out.
//!
//! A token is a prefix, a nonce and the sealed session (AES-256-GCM). The secret access key of a session is an HMAC of
//! its token. Endless distinct sessions therefore cost no memory, and a token of another process (another seed) is
//! simply none of ours. The prefixes are those of real tokens: `IQoJb3JpZ2luX2Vj` for version 2, `FwoGZXIvYXdzE` for
//! version 1, which tools tell apart by eye.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::TokenVersion;
use crate::directory::RoleEntry;
use crate::ids;

/// Twelve bytes, so that their base64 stands for itself at the front of the token.
const PREFIX_V2: &[u8; 12] = b"!\n\torigin_ec";
const PREFIX_V1: &[u8; 12] = b"\x17\n\x06er/aws\x10\x01\x1a";

/// AWS's limit for a whole token since September 2026.
pub(crate) const MAX_TOKEN: usize = 4096;

/// Who a session is, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The access key id that the token belongs to.
    #[serde(rename = "k")]
    pub(crate) access_key_id: String,
    #[serde(rename = "a")]
    pub(crate) account: String,
    #[serde(rename = "p")]
    pub(crate) partition: String,
    /// Seconds since 1970.
    #[serde(rename = "i")]
    pub(crate) issued_at: i64,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    pub(crate) expires_at: i64,
    #[serde(rename = "w")]
    pub(crate) owner: SessionOwner,
    /// Blanks, for callers who ask for a longer token.
    #[serde(rename = "z", default, skip_serializing_if = "String::is_empty")]
    pub(crate) padding: String,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SessionOwner {
    #[serde(rename = "r")]
    Role {
        #[serde(rename = "a")]
        arn: String,
        #[serde(rename = "n")]
        name: String,
        #[serde(rename = "i")]
        id: String,
        #[serde(rename = "s")]
        session_name: String,
        /// ARN of the OIDC provider whose token began the session.
        #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
        federated_provider: Option<String>,
        #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
        source_identity: Option<String>,
    },
    #[serde(rename = "u")]
    User {
        #[serde(rename = "a")]
        arn: String,
        #[serde(rename = "i")]
        id: String,
        #[serde(rename = "n")]
        name: String,
        #[serde(rename = "t")]
        root: bool,
    },
}

impl SessionOwner {
    /// A session of a role.
    pub(crate) fn of_role(
        role: &RoleEntry,
        session_name: &str,
        federated_provider: Option<&str>,
        source_identity: Option<&str>,
    ) -> Self {
        Self::Role {
            arn: role.arn.clone(),
            name: role.name.clone(),
            id: role.id.clone(),
            session_name: session_name.to_owned(),
            federated_provider: federated_provider.map(str::to_owned),
            source_identity: source_identity.map(str::to_owned),
        }
    }
}

/// Credentials as they are given out.
pub(crate) struct Issued {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
    pub(crate) expires_at: Timestamp,
}

/// Makes tokens and reads them back.
pub(crate) struct TokenMaker {
    seal: LessSafeKey,
    secret: hmac::Key,
    messages: LessSafeKey,
}

/// What a new session is to be.
pub(crate) struct NewSession<'a> {
    pub(crate) account: &'a str,
    pub(crate) partition: &'a str,
    pub(crate) version: TokenVersion,
    pub(crate) owner: SessionOwner,
    pub(crate) issued_at: Timestamp,
    /// How long it is valid.
    pub(crate) seconds: u32,
    /// The least length of its token in characters, as far as a token can be that long.
    pub(crate) minimum_size: usize,
}

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the session cannot be encoded: {0}")]
    Encoding(#[from] serde_json::Error),
    #[error("the system provides no random numbers")]
    NoRandomness,
    #[error("the token cannot be encrypted")]
    Sealing,
}

impl TokenMaker {
    /// Keys from a seed, or from a random one.
    pub(crate) fn new(seed: Option<[u8; 32]>) -> Result<Self, TokenError> {
        let seed = match seed {
            Some(seed) => seed,
            None => {
                let mut seed = [0; 32];
                rand::fill(&mut seed).map_err(|_| TokenError::NoRandomness)?;
                seed
            }
        };
        let root = hmac::Key::new(HMAC_SHA256, &seed);
        let sealing = |purpose: &[u8]| {
            UnboundKey::new(&AES_256_GCM, hmac::sign(&root, purpose).as_ref())
                .map(LessSafeKey::new)
                .map_err(|_| TokenError::Sealing)
        };
        Ok(Self {
            seal: sealing(b"session token")?,
            messages: sealing(b"authorization message")?,
            secret: hmac::Key::new(HMAC_SHA256, hmac::sign(&root, b"secret access key").as_ref()),
        })
    }

    /// Credentials for a session that begins now.
    pub(crate) fn issue(&self, new: NewSession<'_>) -> Result<Issued, TokenError> {
        let mut salt = [0_u8; 5];
        rand::fill(&mut salt).map_err(|_| TokenError::NoRandomness)?;
        let expires = new.issued_at.as_second() + i64::from(new.seconds);
        let mut session = Session {
            access_key_id: ids::temporary_key(new.account, salt),
            account: new.account.to_owned(),
            partition: new.partition.to_owned(),
            issued_at: new.issued_at.as_second(),
            expires_at: expires,
            owner: new.owner,
            padding: String::new(),
        };
        let prefix = match new.version {
            TokenVersion::V1 => PREFIX_V1,
            TokenVersion::V2 => PREFIX_V2,
        };
        let mut plain = serde_json::to_vec(&session)?;
        let wanted = new.minimum_size.min(MAX_TOKEN - 4) * 3 / 4;
        let size = 12 + NONCE_LEN + plain.len() + AES_256_GCM.tag_len();
        // The name of the field costs a few bytes itself.
        if let Some(missing) = wanted.checked_sub(size + r#","z":"""#.len()) {
            session.padding = " ".repeat(missing);
            plain = serde_json::to_vec(&session)?;
        }
        let session_token = seal(&self.seal, prefix, plain)?;
        Ok(Issued {
            secret_access_key: self.secret_of(&session.access_key_id, &session_token),
            access_key_id: session.access_key_id,
            session_token,
            expires_at: Timestamp::from_second(expires).unwrap_or(Timestamp::MAX),
        })
    }

    /// The session of a token and where it is valid, or `None` when we never made it. Expiry is not looked at.
    pub(crate) fn open(&self, token: &str) -> Option<(Session, TokenVersion)> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (prefix, plain) = open(&self.seal, token)?;
        let version = match &prefix {
            PREFIX_V1 => TokenVersion::V1,
            PREFIX_V2 => TokenVersion::V2,
            _ => return None,
        };
        serde_json::from_slice(&plain)
            .ok()
            .map(|session| (session, version))
    }

    /// The secret of a session.
    pub(crate) fn secret_of(&self, access_key_id: &str, session_token: &str) -> String {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(access_key_id.as_bytes());
        context.update(&[0]);
        context.update(session_token.as_bytes());
        // Thirty bytes are the forty characters that AWS's secrets have.
        let tag = context.sign();
        STANDARD.encode(tag.as_ref().get(..30).unwrap_or_default())
    }

    /// Encodes the details of a refusal for `DecodeAuthorizationMessage`.
    pub(crate) fn encode_message(&self, message: &str) -> Result<String, TokenError> {
        seal(&self.messages, b"irsa-message", message.as_bytes().to_vec())
    }

    /// The details of a refusal that [`Self::encode_message`] encoded.
    pub(crate) fn decode_message(&self, encoded: &str) -> Option<String> {
        let (_, plain) = open(&self.messages, encoded)?;
        String::from_utf8(plain).ok()
    }
}

fn seal(key: &LessSafeKey, prefix: &[u8; 12], mut plain: Vec<u8>) -> Result<String, TokenError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| TokenError::NoRandomness)?;
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(prefix), &mut plain)
        .map_err(|_| TokenError::Sealing)?;
    let mut out = Vec::with_capacity(prefix.len() + nonce.len() + plain.len());
    out.extend_from_slice(prefix);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&plain);
    Ok(STANDARD.encode(out))
}

fn open(key: &LessSafeKey, sealed: &str) -> Option<([u8; 12], Vec<u8>)> {
    let bytes = STANDARD.decode(sealed).ok()?;
    let (prefix, rest) = bytes.split_first_chunk::<12>()?;
    let (nonce, cipher) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut cipher = cipher.to_vec();
    let plain = key
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(prefix),
            &mut cipher,
        )
        .ok()?;
    Some((*prefix, plain.to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn issue(maker: &TokenMaker, version: TokenVersion) -> Issued {
        let owner = SessionOwner::Role {
            arn: "arn:aws:iam::111122223333:role/r".to_owned(),
            name: "r".to_owned(),
            id: "AROAEXAMPLE".to_owned(),
            session_name: "s".to_owned(),
            federated_provider: None,
            source_identity: None,
        };
        maker
            .issue(NewSession {
                account: "111122223333",
                partition: "aws",
                version,
                owner,
                issued_at: Timestamp::UNIX_EPOCH,
                seconds: 3600,
                minimum_size: 0,
            })
            .unwrap()
    }

    #[test]
    fn a_token_tells_its_session_to_the_one_who_made_it_only() {
        let maker = TokenMaker::new(Some([1; 32])).unwrap();
        let issued = issue(&maker, TokenVersion::V2);
        let (session, version) = maker.open(&issued.session_token).unwrap();
        assert_eq!(version, TokenVersion::V2);
        assert_eq!(session.access_key_id, issued.access_key_id);
        assert_eq!(session.expires_at, 3600);
        let restarted = TokenMaker::new(Some([1; 32])).unwrap();
        assert_eq!(restarted.open(&issued.session_token), Some((session, version)));
        assert_eq!(TokenMaker::new(None).unwrap().open(&issued.session_token), None);
    }

    #[test]
    fn tokens_and_secrets_have_the_shapes_of_real_ones() {
        let maker = TokenMaker::new(None).unwrap();
        let v2 = issue(&maker, TokenVersion::V2);
        assert!(v2.session_token.starts_with("IQoJb3JpZ2luX2Vj"));
        assert!(
            issue(&maker, TokenVersion::V1)
                .session_token
                .starts_with("FwoGZXIvYXdzE")
        );
        assert_eq!(v2.secret_access_key.len(), 40);
        assert!(v2.session_token.len() < 1024);
    }

    #[test]
    fn the_secret_depends_on_token_and_key() {
        let maker = TokenMaker::new(None).unwrap();
        let (a, b) = (issue(&maker, TokenVersion::V2), issue(&maker, TokenVersion::V2));
        assert_ne!(a.secret_access_key, b.secret_access_key);
        assert_eq!(
            maker.secret_of(&a.access_key_id, &a.session_token),
            a.secret_access_key
        );
        assert_ne!(
            maker.secret_of(&b.access_key_id, &a.session_token),
            a.secret_access_key
        );
    }

    #[test]
    fn a_changed_version_or_byte_makes_a_token_worthless() {
        let maker = TokenMaker::new(None).unwrap();
        let issued = issue(&maker, TokenVersion::V1);
        let mut bytes = STANDARD.decode(&issued.session_token).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(maker.open(&STANDARD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
        bytes[..12].copy_from_slice(PREFIX_V2);
        assert_eq!(maker.open(&STANDARD.encode(&bytes)), None);
        for text in ["", "x", "IQoJb3JpZ2luX2Vj", &"A".repeat(5000)] {
            assert_eq!(maker.open(text), None);
        }
    }

    #[test]
    fn a_message_is_no_token() {
        let maker = TokenMaker::new(None).unwrap();
        let encoded = maker.encode_message("{}").unwrap();
        assert_eq!(maker.decode_message(&encoded).as_deref(), Some("{}"));
        assert_eq!(maker.open(&encoded), None);
        assert_eq!(
            maker.decode_message(&issue(&maker, TokenVersion::V2).session_token),
            None
        );
    }
}
