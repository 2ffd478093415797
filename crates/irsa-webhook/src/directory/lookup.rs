//! Asking the API about a service account that the watch has not brought, or has not brought lately.
//!
//! An admission waits a bounded time, in which the watch and a read of the API go on side by side; whichever knows
//! first is believed. All who ask about one service account share a read, the rate of reads is bounded, and that a
//! service account does not exist is remembered briefly, so that a broken workload cannot turn each of its pods into a
//! read. An answer does not go into the index: only the watch writes there, in the API server's order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use irsa_core::identity::{Known, ServiceAccount};
use irsa_core::text::Foreign;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Directory;
use super::watch::{Slim, SlimServiceAccount};
use crate::metrics::{LookupResult, Metrics};
use crate::sample::Sampled;

/// Names being asked for, or remembered, at most.
const MAX_NAMES: usize = 4_096;
/// How long after an unsuccessful read the next one begins, within the wait of one admission.
const RETRY: Duration = Duration::from_millis(200);
/// How long an answer is used while the watch is down.
const FRESH: Duration = Duration::from_secs(1);
/// How many more reads there may be while the watch is down than at other times.
const REFRESHES: f64 = 10.0;

/// How long, how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--service-account-lookup-grace-period`: the longest that an admission waits; zero asks nobody.
    pub wait: Duration,
    /// Requests per second in the long run.
    pub per_second: f64,
    /// Requests at once after a quiet time.
    pub burst: f64,
    /// How long it is remembered that a service account does not exist.
    pub negative: Duration,
    /// How long an answer is used while the watch has not brought it.
    pub positive: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(2),
            per_second: 10.0,
            burst: 20.0,
            negative: Duration::from_secs(1),
            positive: Duration::from_secs(10),
        }
    }
}

/// What asking brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It exists.
    Found(Known<Arc<ServiceAccount>>),
    /// The API says that it does not exist.
    NotFound,
    /// No answer within the bounded wait.
    Timeout,
    /// The API could not be asked; the text says why.
    Failed(Arc<str>),
    /// Asking is switched off.
    Off,
}

type Key = (Box<str>, Box<str>);

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

/// An answer that is remembered.
#[derive(Debug)]
struct Remembered {
    at: Instant,
    until: Instant,
    answer: Asked,
}

#[derive(Debug)]
struct State {
    asked: HashMap<Key, watch::Receiver<Option<Asked>>>,
    remembered: HashMap<Key, Remembered>,
    bucket: Bucket,
    refreshes: Bucket,
    /// Until then what is known is not read afresh, because the last such read failed.
    unreachable: Option<Instant>,
}

/// Asks for service accounts; shared by all admissions.
#[derive(Clone)]
pub struct ApiLookup {
    directory: Arc<Directory>,
    client: Client,
    options: Options,
    metrics: Arc<Metrics>,
    state: Arc<Mutex<State>>,
    log: Arc<Sampled>,
}

impl std::fmt::Debug for ApiLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiLookup")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ApiLookup {
    /// Asks through `client` about what `directory` does not have.
    #[must_use]
    pub fn new(directory: Arc<Directory>, client: Client, options: Options, metrics: Arc<Metrics>) -> Self {
        let state = State {
            asked: HashMap::new(),
            remembered: HashMap::new(),
            bucket: Bucket::full(options.per_second, options.burst),
            refreshes: Bucket::full(options.per_second * REFRESHES, options.burst * REFRESHES),
            unreachable: None,
        };
        Self {
            directory,
            client,
            options,
            metrics,
            state: Arc::new(Mutex::new(state)),
            log: Arc::default(),
        }
    }

    /// Waits until the watch or the API tells of the service account, at most for [`Options::wait`]. An answer other
    /// than [`Asked::Found`] comes at the end of that time: a service account that is created together with its pod may
    /// still appear.
    pub async fn ask(&self, namespace: &str, name: &str) -> Asked {
        if self.options.wait.is_zero() {
            return Asked::Off;
        }
        if !is_name(namespace) || !is_name(name) {
            // Such names cannot exist, and must not become part of a path.
            return Asked::NotFound;
        }
        let key: Key = (namespace.into(), name.into());
        let waiter = self.directory.expect(namespace, name);
        let last = Mutex::new(Asked::Timeout);
        let asking = async {
            loop {
                let answer = match self.join(&key, Purpose::Unknown) {
                    Ok(asked) => answered(asked).await,
                    Err(answer) => answer,
                };
                if matches!(answer, Asked::Found(_)) {
                    return answer;
                }
                *last.lock() = answer;
                tokio::time::sleep(RETRY).await;
            }
        };
        let watching = async {
            loop {
                // After `expect`, and again after every wake-up, so that nothing is missed between.
                match self.directory.service_account(namespace, name) {
                    Known::Unknown => waiter.notified().await,
                    known => {
                        self.metrics.lookup(LookupResult::Watched);
                        return Asked::Found(known);
                    }
                }
            }
        };
        let answer = tokio::select! {
            answer = watching => answer,
            answer = asking => answer,
            () = tokio::time::sleep(self.options.wait) => last.lock().clone(),
        };
        if answer == Asked::Timeout {
            self.metrics.lookup(LookupResult::Timeout);
        }
        answer
    }

    /// Reads a known service account afresh while its watch is down; `None` when that is not possible at once, so that
    /// what is known has to do.
    pub async fn refresh(&self, namespace: &str, name: &str) -> Option<Known<Arc<ServiceAccount>>> {
        if self.options.wait.is_zero() || !is_name(namespace) || !is_name(name) {
            return None;
        }
        let unreachable = self.state.lock().unreachable;
        if unreachable.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let key: Key = (namespace.into(), name.into());
        let asked = match self.join(&key, Purpose::Refresh) {
            Ok(asked) => asked,
            Err(Asked::Found(found)) => return Some(found),
            Err(_) => return None,
        };
        match tokio::time::timeout(self.options.wait, answered(asked)).await {
            Ok(Asked::Found(found)) => Some(found),
            Ok(Asked::NotFound) => None,
            Ok(Asked::Timeout | Asked::Failed(_) | Asked::Off) | Err(_) => {
                self.state.lock().unreachable = Some(Instant::now() + FRESH);
                None
            }
        }
    }

    /// Joins the read under way for `key`, or begins one; or the answer at once.
    fn join(&self, key: &Key, purpose: Purpose) -> Result<watch::Receiver<Option<Asked>>, Asked> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(remembered) = state.remembered.get(key) {
            let fresh = purpose == Purpose::Unknown || now.duration_since(remembered.at) < FRESH;
            if remembered.until > now && fresh {
                self.metrics.lookup(LookupResult::Remembered);
                return Err(remembered.answer.clone());
            }
            state.remembered.remove(key);
        }
        if let Some(asked) = state.asked.get(key) {
            self.metrics.lookup(LookupResult::Shared);
            return Ok(asked.clone());
        }
        if state.asked.len() >= MAX_NAMES {
            self.metrics.lookup(LookupResult::Failed);
            return Err(Asked::Failed(
                "too many service accounts are being asked for".into(),
            ));
        }
        let bucket = match purpose {
            Purpose::Unknown => &mut state.bucket,
            Purpose::Refresh => &mut state.refreshes,
        };
        let Some(delay) = bucket.reserve(now, self.options.wait) else {
            self.metrics.lookup(LookupResult::Failed);
            return Err(Asked::Failed(
                "too many requests for unknown service accounts; the rate is limited".into(),
            ));
        };
        let (sender, receiver) = watch::channel(None);
        state.asked.insert(key.clone(), receiver.clone());
        let (this, key) = (self.clone(), key.clone());
        tokio::spawn(async move {
            let answer = std::panic::AssertUnwindSafe(this.read(&key, delay))
                .catch_unwind()
                .await;
            let answer = answer.unwrap_or_else(|_panic| Asked::Failed("internal error".into()));
            this.finish(key, &answer);
            let _ = sender.send(Some(answer));
        });
        Ok(receiver)
    }

    async fn read(&self, (namespace, name): &Key, delay: Duration) -> Asked {
        tokio::time::sleep(delay).await;
        let api: Api<SlimServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        match tokio::time::timeout(self.options.wait.saturating_sub(delay), api.get_opt(name)).await {
            Ok(Ok(Some(account))) => {
                self.metrics.lookup(LookupResult::Found);
                self.metrics.service_account_seen();
                Asked::Found(self.directory.read(Slim::annotations(&account)))
            }
            Ok(Ok(None)) => {
                self.metrics.lookup(LookupResult::NotFound);
                Asked::NotFound
            }
            Ok(Err(error)) => {
                self.metrics.lookup(LookupResult::Failed);
                let reason = crate::cluster::reason(&error);
                self.log.warn(|more| {
                    tracing::warn!(namespace = %Foreign(namespace), name = %Foreign(name), error = %reason, more, "cannot read a service account");
                });
                Asked::Failed(reason.into())
            }
            Err(_elapsed) => Asked::Timeout,
        }
    }

    fn finish(&self, key: Key, answer: &Asked) {
        let mut state = self.state.lock();
        state.asked.remove(&key);
        let keep = match answer {
            Asked::Found(_) => self.options.positive,
            Asked::NotFound => self.options.negative,
            Asked::Timeout | Asked::Failed(_) | Asked::Off => return,
        };
        let now = Instant::now();
        if state.remembered.len() >= MAX_NAMES {
            state.remembered.retain(|_, remembered| remembered.until > now);
        }
        if state.remembered.len() < MAX_NAMES {
            let remembered = Remembered {
                at: now,
                until: now + keep,
                answer: answer.clone(),
            };
            state.remembered.insert(key, remembered);
        }
    }
}

/// Why a service account is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It is not known.
    Unknown,
    /// It is known, but may have changed.
    Refresh,
}

/// Waits for the answer of a read.
async fn answered(mut asked: watch::Receiver<Option<Asked>>) -> Asked {
    match asked.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Asked::Timeout),
        Err(_gone) => Asked::Timeout,
    }
}

impl Bucket {
    fn full(per_second: f64, burst: f64) -> Self {
        let burst = burst.max(1.0);
        Self {
            per_second: per_second.max(0.001),
            burst,
            tokens: burst,
            at: Instant::now(),
        }
    }

    /// Takes one request; how long to wait for it, or `None` when that is longer than anybody would wait.
    fn reserve(&mut self, now: Instant, wait: Duration) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.burst);
        self.at = now;
        let delay = Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second).max(0.0));
        if delay >= wait {
            return None;
        }
        self.tokens -= 1.0;
        Some(delay)
    }
}

/// Whether `text` can be the name of a service account or namespace.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && !text.starts_with('.')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_limited_and_a_wait_longer_than_the_bound_is_refused() {
        let wait = Duration::from_millis(250);
        let mut bucket = Bucket::full(10.0, 2.0);
        let now = bucket.at;
        assert_eq!(bucket.reserve(now, wait), Some(Duration::ZERO));
        assert_eq!(bucket.reserve(now, wait), Some(Duration::ZERO));
        assert_eq!(bucket.reserve(now, wait), Some(Duration::from_millis(100)));
        assert_eq!(bucket.reserve(now, wait), Some(Duration::from_millis(200)));
        assert_eq!(bucket.reserve(now, wait), None);
        let later = now + Duration::from_secs(10);
        assert_eq!(bucket.reserve(later, wait), Some(Duration::ZERO));
    }

    #[test]
    fn only_names_that_can_exist_become_part_of_a_path() {
        assert!(is_name("kube-system") && is_name("a.b"));
        for bad in ["", "a/b", "../secrets", "A", "a b", "%2e", ".."] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
