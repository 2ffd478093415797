//! One AWS in one process: routes each request to its service by host name, and changes the state while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::call::EventSink;
use crate::config::{Account, Clock, Config, ConfigError, OidcProvider, Role, TokenVersion, User};
use crate::connection::Connection;
use crate::fault::RegionFault;
use crate::host::{Endpoint, Service};
use crate::state::State;

/// The largest body of S3, in bytes.
const MAX_S3_BODY: usize = 64 << 20;

/// STS and S3 with everything behind them. Cheap to clone; all clones are the same AWS.
#[derive(Clone)]
pub struct Aws {
    state: Arc<State>,
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
        Ok(Self {
            state: Arc::new(State::new(config)?),
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
            Service::Sts => crate::sts::handle(&self.state, request, connection, &endpoint).await,
            Service::S3 => crate::s3::handle(&self.state, request, connection, &endpoint),
        };
        // Clients correct their clock by this header when a signature is refused for its time.
        if let Some(date) = http_date(self.now()) {
            response.headers_mut().entry(header::DATE).or_insert(date);
        }
        response
    }

    /// Whether `host` (without port) is an endpoint that [`Self::handle`] answers for.
    #[must_use]
    pub fn serves(host: &str) -> bool {
        Endpoint::of_host(host).is_some()
    }

    /// The largest body in bytes that an endpoint looks at: whoever reads requests need not read more, signed or not.
    #[must_use]
    pub fn max_body(host: &str) -> usize {
        match Endpoint::of_host(host).map(|endpoint| endpoint.service) {
            Some(Service::S3) => MAX_S3_BODY,
            Some(Service::Sts) | None => crate::sts::MAX_BODY,
        }
    }

    /// The time by the injected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state.now()
    }

    /// What time it is from now on: what happens to tokens and sessions later can be seen without waiting.
    pub fn set_clock(&self, clock: Clock) {
        *self.state.clock.write() = clock;
    }

    /// Who is told of every call from now on.
    pub fn set_events(&self, sink: Option<Arc<dyn EventSink>>) {
        *self.state.events.write() = sink;
    }
}

/// What can be changed while it runs.
impl Aws {
    /// Adds an account with its content; replaces nothing.
    ///
    /// # Errors
    /// When the account exists or something in it cannot be.
    pub fn add_account(&self, account: Account) -> Result<(), ConfigError> {
        self.state.add_account(account)
    }

    /// Adds a role to an account, or replaces the one of that name.
    ///
    /// # Errors
    /// When the account does not exist or the role cannot be.
    pub fn put_role(&self, account: &str, role: Role) -> Result<(), ConfigError> {
        self.state.directory.write().account_mut(account)?.put_role(role)
    }

    /// Registers an OIDC provider in an account, or replaces the one with that URL.
    ///
    /// # Errors
    /// When the account does not exist or the provider cannot be.
    pub fn put_oidc_provider(&self, account: &str, provider: OidcProvider) -> Result<(), ConfigError> {
        self.state
            .directory
            .write()
            .account_mut(account)?
            .put_provider(provider)
    }

    /// Adds a user with its key, or replaces the one of that name.
    ///
    /// # Errors
    /// When the account does not exist or the key is taken by another account.
    pub fn put_user(&self, account: &str, user: User) -> Result<(), ConfigError> {
        self.state.directory.write().put_user(account, user)
    }

    /// Deactivates STS in a region for an account. `us-east-1` cannot be deactivated.
    ///
    /// # Errors
    /// When the account does not exist or the region is `us-east-1`.
    pub fn deactivate_region(&self, account: &str, region: &str) -> Result<(), ConfigError> {
        self.state
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
        self.state
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
        self.state
            .directory
            .write()
            .account_mut(account)?
            .global_token_version = version;
        Ok(())
    }

    /// Makes a region misbehave, or heals it with `None`. `aws-global` is `sts.amazonaws.com` itself; a region's fault
    /// also hits calls of the global endpoint that it serves.
    pub fn set_fault(&self, region: &str, fault: Option<RegionFault>) {
        self.state.faults.set(region, fault);
    }

    /// Encodes the details of a refusal as AWS does, for `DecodeAuthorizationMessage` to decode.
    ///
    /// `None` when the system gives no random numbers.
    #[must_use]
    pub fn encode_authorization_message(&self, message: &str) -> Option<String> {
        self.state.tokens.encode_message(message).ok()
    }

    /// The ids of all accounts.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        self.state.directory.read().account_ids()
    }

    /// Whether `BUCKET.s3.amazonaws.com` answers 307 for buckets outside `us-east-1`, as AWS does for up to a day after
    /// a bucket was created, until its DNS knows better. Off at first.
    pub fn set_redirects_new_buckets(&self, on: bool) {
        self.state.redirects_new_buckets.store(on, Ordering::Relaxed);
    }
}

/// An IMF-fixdate (RFC 9110 section 5.6.7). `None` for years that it cannot write.
fn http_date(now: Timestamp) -> Option<HeaderValue> {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()?;
    HeaderValue::try_from(text).ok()
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
