//! One AWS in one process: its state, how a request finds its service, and what can be changed while it runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use jiff::Timestamp;
use parking_lot::RwLock;

use crate::call::Service;
use crate::call::{Call, EventSink};
use crate::config::{Account, Clock, Config, ConfigError, OidcProvider, Role, TokenVersion, User};
use crate::connection::Connection;
use crate::directory::Directory;
use crate::fault::{Faults, RegionFault};
use crate::host::Endpoint;
use crate::token::TokenMaker;

/// STS and S3 with everything behind them. Cheap to clone; all clones are the same AWS.
#[derive(Clone)]
pub struct Aws {
    inner: Arc<Inner>,
}

/// The state that all clones share.
pub(crate) struct Inner {
    pub(crate) directory: RwLock<Directory>,
    pub(crate) faults: Faults,
    pub(crate) tokens: TokenMaker,
    clock: RwLock<Clock>,
    pub(crate) events: RwLock<Option<Arc<dyn EventSink>>>,
    pub(crate) global_accepts_local_region: bool,
    pub(crate) web_identity_leeway: Duration,
    pub(crate) s3: crate::s3::S3,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").finish_non_exhaustive()
    }
}

impl Aws {
    /// An AWS with the given content.
    ///
    /// # Errors
    /// When something in `config` cannot be: an account id that is not twelve digits, a trust policy with an
    /// operator that does not exist, …
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let tokens =
            TokenMaker::new(config.seed).map_err(|error| ConfigError::value("seed", error.to_string()))?;
        let mut directory = Directory::default();
        let mut buckets = Vec::new();
        for account in config.accounts {
            buckets.extend(
                account
                    .buckets
                    .iter()
                    .map(|bucket| (account.id.clone(), bucket.clone())),
            );
            directory.add_account(account)?;
        }
        let s3 = crate::s3::S3::new(&buckets).map_err(|message| ConfigError::value("buckets", message))?;
        Ok(Self {
            inner: Arc::new(Inner {
                directory: RwLock::new(directory),
                faults: Faults::default(),
                tokens,
                clock: RwLock::new(config.clock),
                events: RwLock::new(config.events),
                global_accepts_local_region: config.global_accepts_local_region,
                web_identity_leeway: config.web_identity_leeway.unwrap_or(Duration::from_secs(300)),
                s3,
            }),
        })
    }

    /// Answers one request. The URI must be as it was sent: path and query are part of what is signed.
    ///
    /// The endpoint is picked by `connection.host`; a host that is no AWS endpoint of ours gets 421.
    pub async fn handle(&self, request: Request<Bytes>, connection: &Connection) -> Response<Bytes> {
        let Some(endpoint) = Endpoint::of_host(&connection.host) else {
            return not_an_endpoint(&connection.host);
        };
        let mut response = match endpoint.service {
            Service::Sts => crate::sts::handle(&self.inner, request, connection, &endpoint).await,
            Service::S3 => crate::s3::handle(self, request, connection, &endpoint).await,
        };
        // Clients correct their clock by this header when a signature is refused for its time.
        let date = http_date(self.now());
        response.headers_mut().entry(header::DATE).or_insert(date);
        response
    }

    /// Whether `host` (without port) is an endpoint that [`Self::handle`] answers for.
    #[must_use]
    pub fn serves(host: &str) -> bool {
        Endpoint::of_host(host).is_some()
    }

    /// The time by the injected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.now()
    }

    /// The shared state, for the services of this crate.
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// What time it is from now on: what happens to tokens and sessions later can be seen without waiting.
    pub fn set_clock(&self, clock: Clock) {
        *self.inner.clock.write() = clock;
    }

    /// Who is told of every call from now on.
    pub fn set_events(&self, sink: Option<Arc<dyn EventSink>>) {
        *self.inner.events.write() = sink;
    }

    /// Hands one call to the event sink. For the services of this crate.
    pub(crate) fn record(&self, call: Call) {
        self.inner.record(call);
    }
}

/// What can be changed while it runs.
impl Aws {
    /// Adds an account with its content; replaces nothing.
    ///
    /// # Errors
    /// When the account exists or something in it cannot be.
    pub fn add_account(&self, account: Account) -> Result<(), ConfigError> {
        let buckets: Vec<_> = account
            .buckets
            .iter()
            .map(|bucket| (account.id.clone(), bucket.clone()))
            .collect();
        self.inner.directory.write().add_account(account)?;
        self.inner
            .s3
            .add_buckets(&buckets)
            .map_err(|message| ConfigError::value("buckets", message))
    }

    /// Adds a role to an account, or replaces the one of that name.
    ///
    /// # Errors
    /// When the account does not exist or the role cannot be.
    pub fn put_role(&self, account: &str, role: Role) -> Result<(), ConfigError> {
        self.inner.directory.write().account_mut(account)?.put_role(role)
    }

    /// Removes a role; whether there was one.
    ///
    /// # Errors
    /// When the account does not exist.
    pub fn remove_role(&self, account: &str, name: &str) -> Result<bool, ConfigError> {
        Ok(self
            .inner
            .directory
            .write()
            .account_mut(account)?
            .remove_role(name))
    }

    /// Registers an OIDC provider in an account, or replaces the one with that URL.
    ///
    /// # Errors
    /// When the account does not exist or the provider cannot be.
    pub fn put_oidc_provider(&self, account: &str, provider: OidcProvider) -> Result<(), ConfigError> {
        self.inner
            .directory
            .write()
            .account_mut(account)?
            .put_provider(provider)
    }

    /// Removes an OIDC provider by its issuer URL; whether there was one.
    ///
    /// # Errors
    /// When the account does not exist.
    pub fn remove_oidc_provider(&self, account: &str, url: &str) -> Result<bool, ConfigError> {
        Ok(self
            .inner
            .directory
            .write()
            .account_mut(account)?
            .remove_provider(url))
    }

    /// Adds a user with its key, or replaces the one of that name.
    ///
    /// # Errors
    /// When the account does not exist or the key is taken by another account.
    pub fn put_user(&self, account: &str, user: User) -> Result<(), ConfigError> {
        self.inner.directory.write().put_user(account, user)
    }

    /// Deactivates STS in a region for an account. `us-east-1` cannot be deactivated.
    ///
    /// # Errors
    /// When the account does not exist or the region is `us-east-1`.
    pub fn deactivate_region(&self, account: &str, region: &str) -> Result<(), ConfigError> {
        self.inner
            .directory
            .write()
            .account_mut(account)?
            .deactivate(region)
    }

    /// Activates STS in a region for an account.
    ///
    /// # Errors
    /// When the account does not exist.
    pub fn activate_region(&self, account: &str, region: &str) -> Result<(), ConfigError> {
        self.inner
            .directory
            .write()
            .account_mut(account)?
            .activate(region);
        Ok(())
    }

    /// Sets which session tokens the global endpoint gives out for an account.
    ///
    /// # Errors
    /// When the account does not exist.
    pub fn set_global_token_version(&self, account: &str, version: TokenVersion) -> Result<(), ConfigError> {
        self.inner
            .directory
            .write()
            .account_mut(account)?
            .global_token_version = version;
        Ok(())
    }

    /// Makes a region misbehave, or heals it with `None`. `aws-global` is `sts.amazonaws.com` itself; a region's fault
    /// also hits calls of the global endpoint that it serves.
    pub fn set_fault(&self, region: &str, fault: Option<RegionFault>) {
        self.inner.faults.set(region, fault);
    }

    /// Encodes the details of a refusal as AWS does, for `DecodeAuthorizationMessage` to decode.
    ///
    /// `None` when the system gives no random numbers.
    #[must_use]
    pub fn encode_authorization_message(&self, message: &str) -> Option<String> {
        self.inner.tokens.encode_message(message).ok()
    }

    /// The ids of all accounts.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        self.inner.directory.read().account_ids()
    }
}

impl Inner {
    /// The time by the injected clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.read().now()
    }

    /// Hands one call to the event sink.
    pub(crate) fn record(&self, call: Call) {
        if let Some(sink) = self.events.read().as_ref() {
            sink.record(call);
        }
    }
}

/// An IMF-fixdate (RFC 9110 section 5.6.7).
pub(crate) fn http_date(now: Timestamp) -> HeaderValue {
    let text = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

fn not_an_endpoint(host: &str) -> Response<Bytes> {
    let shown: String = host.chars().take(255).filter(|c| c.is_ascii_graphic()).collect();
    let mut response = Response::new(Bytes::from(format!(
        "{shown} is not an endpoint of STS or S3 that exists on AWS, so none is played here.\n"
    )));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
