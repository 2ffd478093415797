//! What one AWS is made of, shared by its services: accounts, tokens, faults, buckets, the clock and the event log.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;

use crate::call::{Call, EventSink};
use crate::config::{Account, Clock, Config, ConfigError};
use crate::directory::Directory;
use crate::fault::Faults;
use crate::s3::store::Store;
use crate::token::TokenMaker;

/// Tolerance for the times of a web identity token, as observed on AWS.
const WEB_IDENTITY_LEEWAY: Duration = Duration::from_secs(300);

/// The state of one AWS.
pub(crate) struct State {
    pub(crate) directory: RwLock<Directory>,
    pub(crate) faults: Faults,
    pub(crate) tokens: TokenMaker,
    pub(crate) clock: RwLock<Clock>,
    pub(crate) events: RwLock<Option<Arc<dyn EventSink>>>,
    pub(crate) global_accepts_local_region: bool,
    pub(crate) web_identity_leeway: Duration,
    /// Buckets and objects.
    pub(crate) store: RwLock<Store>,
    /// Whether `BUCKET.s3.amazonaws.com` answers 307 for buckets outside `us-east-1`.
    pub(crate) redirects_new_buckets: AtomicBool,
}

impl State {
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        let state = Self {
            directory: RwLock::default(),
            faults: Faults::default(),
            tokens: TokenMaker::new(config.seed)
                .map_err(|error| ConfigError::value("seed", error.to_string()))?,
            clock: RwLock::new(config.clock),
            events: RwLock::new(config.events),
            global_accepts_local_region: config.global_accepts_local_region,
            web_identity_leeway: config.web_identity_leeway.unwrap_or(WEB_IDENTITY_LEEWAY),
            store: RwLock::default(),
            redirects_new_buckets: AtomicBool::new(false),
        };
        for account in config.accounts {
            state.add_account(account)?;
        }
        Ok(state)
    }

    /// Adds an account with its buckets.
    pub(crate) fn add_account(&self, account: Account) -> Result<(), ConfigError> {
        let (id, buckets) = (account.id.clone(), account.buckets.clone());
        self.directory.write().add_account(account)?;
        self.store
            .write()
            .add_configured(&id, &buckets, self.now())
            .map_err(|message| ConfigError::value("buckets", message))
    }

    /// The time according to the injected clock.
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
