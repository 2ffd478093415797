//! What this AWS knows: accounts with their roles, providers, users and buckets, and the switches of its behaviour.
//!
//! Plain resolved values; the file that `irsa sts` reads is in `file`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::call::EventSink;

mod file;

/// Everything [`crate::Aws`] starts from. All of the content can be changed later through its methods.
#[derive(Clone, Default)]
pub struct Config {
    /// The accounts that exist.
    pub accounts: Vec<Account>,
    /// `sts.amazonaws.com` also takes a credential scope of the region that serves the call. AWS takes `us-east-1`
    /// only, so this is off.
    pub global_accepts_local_region: bool,
    /// How late a web identity token may be and still be taken; AWS gives about five minutes. `None` is 5 minutes.
    pub web_identity_leeway: Option<Duration>,
    /// Key from which session tokens and secrets are derived; `None` picks a random one, so that credentials die with
    /// the process.
    pub seed: Option<[u8; 32]>,
    /// What time it is.
    pub clock: Clock,
    /// Who is told of every call.
    pub events: Option<Arc<dyn EventSink>>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("accounts", &self.accounts)
            .field("global_accepts_local_region", &self.global_accepts_local_region)
            .field("web_identity_leeway", &self.web_identity_leeway)
            .finish_non_exhaustive()
    }
}

/// One AWS account.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// Regions in which STS is not active for this account.
    pub deactivated_regions: BTreeSet<String>,
    /// Which tokens `sts.amazonaws.com` gives out (`SetSecurityTokenServicePreferences`).
    pub global_token_version: TokenVersion,
    /// OIDC providers registered in IAM.
    pub oidc_providers: Vec<OidcProvider>,
    /// Roles.
    pub roles: Vec<Role>,
    /// Users with their access keys.
    pub users: Vec<User>,
    /// Buckets that exist from the start.
    pub buckets: Vec<Bucket>,
}

impl Account {
    /// An account of the commercial partition without anything in it.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            partition: "aws".to_owned(),
            deactivated_regions: BTreeSet::new(),
            global_token_version: TokenVersion::V1,
            oidc_providers: Vec::new(),
            roles: Vec::new(),
            users: Vec::new(),
            buckets: Vec::new(),
        }
    }
}

/// Where a session token of the global endpoint is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub enum TokenVersion {
    /// Only in regions that are enabled by default. AWS's default for the global endpoint.
    #[default]
    #[serde(rename = "v1Token")]
    V1,
    /// Everywhere. All regional endpoints give these.
    #[serde(rename = "v2Token")]
    V2,
}

/// An IAM role.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// Name without path.
    pub name: String,
    /// `/` or `/some/path/`.
    pub path: String,
    /// The trust policy document (AssumeRolePolicyDocument).
    pub trust_policy: Value,
    /// Longest session in seconds: 3600 to 43200.
    pub max_session_duration: u32,
}

impl Role {
    /// A role at path `/` whose sessions last at most one hour, as IAM makes them.
    #[must_use]
    pub fn new(name: impl Into<String>, trust_policy: Value) -> Self {
        Self {
            name: name.into(),
            path: "/".to_owned(),
            trust_policy,
            max_session_duration: 3600,
        }
    }
}

/// An OIDC provider registered in an account.
#[derive(Clone, PartialEq)]
pub struct OidcProvider {
    /// The issuer, `https://…`, exactly as in a token's `iss`.
    pub url: String,
    /// Audiences that the provider takes (ClientIDList).
    pub client_ids: Vec<String>,
    /// Where its keys come from.
    pub documents: IssuerDocuments,
}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProvider")
            .field("url", &self.url)
            .field("client_ids", &self.client_ids)
            .finish_non_exhaustive()
    }
}

/// Where an issuer's discovery document and keys are found. Nothing else is ever contacted.
#[derive(Clone, PartialEq)]
pub enum IssuerDocuments {
    /// At the issuer URL itself, or at another base that serves the same paths.
    Fetch {
        /// Stands for the issuer URL when fetching: `https://127.0.0.1:6443` serves
        /// `/.well-known/openid-configuration`. `None`: the issuer URL.
        base_url: Option<String>,
        /// Certificates to trust, PEM; `None`: those of the system.
        ca_pem: Option<String>,
        /// Sent as a bearer token, as a Kubernetes API server wants it unless anonymous discovery is allowed.
        bearer_token: Option<String>,
    },
    /// A JWK set given directly; nothing is fetched.
    Jwks(String),
}

/// An IAM user with one access key.
#[derive(Clone, PartialEq)]
pub struct User {
    /// Its name; `root` with `root: true` is the account itself.
    pub name: String,
    /// `/` or `/some/path/`.
    pub path: String,
    /// Whether this is the account's root.
    pub root: bool,
    /// `AKIA…`.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("root", &self.root)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A bucket that exists from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name, unique over all accounts.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// Tells the time. Injected, so that a test can stand at any moment.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{path} is not a configuration of irsa sts: {message}")]
    Parse {
        /// The file.
        path: String,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A value cannot be.
    #[error("{at}: {message}")]
    Value {
        /// The place: `account 111122223333, role "r"`.
        at: String,
        /// What is wrong and what is expected.
        message: String,
    },
}

impl ConfigError {
    pub(crate) fn value(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value {
            at: at.into(),
            message: message.into(),
        }
    }
}
