//! Whose key signed: from an access key id and a session token to a caller and the secret to verify with.

use std::fmt;

use irsa_core::partition::{Activation, activation};
use jiff::Timestamp;

use crate::call::Identity;
use crate::config::TokenVersion;
use crate::state::State;
use crate::token::{Session, SessionOwner};

/// A caller who named a key that exists. The signature is still to be verified with [`Caller::secret`].
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) identity: Identity,
    pub(crate) account: String,
    pub(crate) secret: Secret,
    /// The session, when the key is a temporary one.
    pub(crate) session: Option<Session>,
}

/// A secret access key, which nothing prints.
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a key is not good here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// No such key, a temporary key without its token, a long-term key with one, or a key of another partition.
    #[error("the access key does not exist")]
    Unknown,
    /// A session token that is none of ours or belongs to another key.
    #[error("the session token cannot be read")]
    CorruptToken,
    /// The session is over.
    #[error("the session token has expired")]
    ExpiredToken,
    /// A version 1 token, in a region that is not enabled by default.
    #[error("the session token is not valid in this region")]
    TokenNotValidHere,
}

impl State {
    /// The caller behind an access key id, as seen in a region of a partition.
    pub(crate) fn caller(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
        partition: &str,
        region: &str,
        now: Timestamp,
    ) -> Result<Caller, KeyError> {
        if access_key_id.starts_with("ASIA") {
            let token = session_token.ok_or(KeyError::Unknown)?;
            return self.session_caller(access_key_id, token, partition, region, now);
        }
        let directory = self.directory.read();
        let user = directory.user_by_key(access_key_id).ok_or(KeyError::Unknown)?;
        let account = directory.account(&user.account).ok_or(KeyError::Unknown)?;
        if account.partition.name() != partition || session_token.is_some() {
            return Err(KeyError::Unknown);
        }
        Ok(Caller {
            identity: Identity::User {
                arn: user.arn.clone(),
                principal_id: user.id.clone(),
                account: user.account.clone(),
                user_name: (!user.root).then(|| user.name.clone()),
                access_key_id: access_key_id.to_owned(),
            },
            account: user.account.clone(),
            secret: Secret(user.secret_access_key.clone()),
            session: None,
        })
    }

    fn session_caller(
        &self,
        access_key_id: &str,
        token: &str,
        partition: &str,
        region: &str,
        now: Timestamp,
    ) -> Result<Caller, KeyError> {
        let (session, version) = self.tokens.open(token).ok_or(KeyError::CorruptToken)?;
        if session.access_key_id != access_key_id {
            return Err(KeyError::CorruptToken);
        }
        if session.partition != partition {
            return Err(KeyError::Unknown);
        }
        if now.as_second() >= session.expires_at {
            return Err(KeyError::ExpiredToken);
        }
        let everywhere = version == TokenVersion::V2
            || matches!(activation(region), Activation::Always | Activation::Default);
        if !everywhere {
            return Err(KeyError::TokenNotValidHere);
        }
        Ok(Caller {
            identity: session.identity(),
            account: session.account.clone(),
            secret: Secret(self.tokens.secret_of(access_key_id, token)),
            session: Some(session),
        })
    }
}

impl Session {
    /// The identity that calls of this session have.
    pub(crate) fn identity(&self) -> Identity {
        match &self.owner {
            SessionOwner::Role {
                arn,
                name,
                id,
                session_name,
                federated_provider,
                ..
            } => Identity::AssumedRole {
                arn: assumed_role_arn(&self.partition, &self.account, name, session_name),
                principal_id: format!("{id}:{session_name}"),
                account: self.account.clone(),
                access_key_id: self.access_key_id.clone(),
                role_arn: arn.clone(),
                role_name: name.clone(),
                role_id: id.clone(),
                issued_at: Timestamp::from_second(self.issued_at).unwrap_or(Timestamp::UNIX_EPOCH),
                federated_provider: federated_provider.clone(),
            },
            SessionOwner::User { arn, id, name, root } => Identity::User {
                arn: arn.clone(),
                principal_id: id.clone(),
                account: self.account.clone(),
                user_name: (!root).then(|| name.clone()),
                access_key_id: self.access_key_id.clone(),
            },
        }
    }
}

/// `arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION`; the role's path is not in it.
pub(crate) fn assumed_role_arn(partition: &str, account: &str, role: &str, session_name: &str) -> String {
    format!("arn:{partition}:sts::{account}:assumed-role/{role}/{session_name}")
}
