//! Asking the API about a service account that the watch has not brought: in a bounded time, once for all who ask,
//! at a bounded rate. That it does not exist is remembered briefly, so that a broken workload cannot turn every one of
//! its pods into a request; and so is an answer, until the watch brings it.
//!
//! An answer does not go into the index: only the watch writes there, in the API server's order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::watch::{Slim, SlimServiceAccount};
use super::{Directory, Indexed};
use crate::metrics::{LookupResult, Metrics};

/// Names being asked for, or remembered, at most.
const MAX_NAMES: usize = 4_096;

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
pub enum Answer {
    /// It exists.
    Found(Indexed),
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
    tokens: f64,
    at: Instant,
}

#[derive(Debug)]
struct State {
    asked: HashMap<Key, watch::Receiver<Option<Answer>>>,
    remembered: HashMap<Key, (Instant, Answer)>,
    bucket: Bucket,
}

/// Asks for service accounts; shared by all admissions.
#[derive(Clone)]
pub struct Lookup {
    directory: Arc<Directory>,
    client: Client,
    options: Options,
    metrics: Arc<Metrics>,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Lookup {
    /// Asks through `client` about what `directory` does not have.
    #[must_use]
    pub fn new(directory: Arc<Directory>, client: Client, options: Options, metrics: Arc<Metrics>) -> Self {
        let bucket = Bucket {
            tokens: options.burst,
            at: Instant::now(),
        };
        let state = State {
            asked: HashMap::new(),
            remembered: HashMap::new(),
            bucket,
        };
        Self {
            directory,
            client,
            options,
            metrics,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Waits until the watch or the API tells of the service account, at most for [`Options::wait`].
    pub async fn ask(&self, namespace: &str, name: &str) -> Answer {
        if self.options.wait.is_zero() {
            return Answer::Off;
        }
        if !is_name(namespace) || !is_name(name) {
            // Such names cannot exist, and must not become part of a path.
            return Answer::NotFound;
        }
        let key: Key = (namespace.into(), name.into());
        let mut asked = match self.join(&key) {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let notify = self.directory.expect(namespace, name);
        let wait = tokio::time::sleep(self.options.wait);
        tokio::pin!(wait);
        let answer = loop {
            // After `expect`, and again after every wake-up, so that nothing is missed between.
            match self.directory.service_account(namespace, name) {
                Indexed::Unknown => {}
                known => {
                    self.metrics.lookup(LookupResult::Watched);
                    break Answer::Found(known);
                }
            }
            tokio::select! {
                answered = asked.wait_for(Option::is_some) => break match answered {
                    Ok(answer) => answer.clone().unwrap_or(Answer::Timeout),
                    Err(_gone) => Answer::Timeout,
                },
                () = notify.notified() => {}
                () = &mut wait => {
                    self.metrics.lookup(LookupResult::Timeout);
                    break Answer::Timeout;
                }
            }
        };
        self.directory.forget(&notify);
        answer
    }

    /// Joins the request under way for `key`, or begins one; or the answer at once.
    fn join(&self, key: &Key) -> Result<watch::Receiver<Option<Answer>>, Answer> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some((until, answer)) = state.remembered.get(key) {
            if *until > now {
                self.metrics.lookup(LookupResult::Remembered);
                return Err(answer.clone());
            }
            state.remembered.remove(key);
        }
        if let Some(asked) = state.asked.get(key) {
            self.metrics.lookup(LookupResult::Shared);
            return Ok(asked.clone());
        }
        if state.asked.len() >= MAX_NAMES {
            self.metrics.lookup(LookupResult::Failed);
            return Err(Answer::Failed(
                "too many service accounts are being asked for".into(),
            ));
        }
        let Some(delay) = state.bucket.reserve(now, &self.options) else {
            self.metrics.lookup(LookupResult::Failed);
            return Err(Answer::Failed(
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
            let answer = answer.unwrap_or_else(|_panic| Answer::Failed("internal error".into()));
            this.finish(key, &answer);
            let _ = sender.send(Some(answer));
        });
        Ok(receiver)
    }

    async fn read(&self, (namespace, name): &Key, delay: Duration) -> Answer {
        tokio::time::sleep(delay).await;
        let api: Api<SlimServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        match tokio::time::timeout(self.options.wait.saturating_sub(delay), api.get_opt(name)).await {
            Ok(Ok(Some(account))) => {
                self.metrics.lookup(LookupResult::Found);
                self.metrics.service_account_seen();
                Answer::Found(self.directory.read(Slim::annotations(&account)))
            }
            Ok(Ok(None)) => {
                self.metrics.lookup(LookupResult::NotFound);
                Answer::NotFound
            }
            Ok(Err(error)) => {
                self.metrics.lookup(LookupResult::Failed);
                tracing::warn!(%namespace, %name, %error, "cannot read a service account that the watch has not brought");
                Answer::Failed(error.to_string().into())
            }
            Err(_elapsed) => {
                self.metrics.lookup(LookupResult::Timeout);
                Answer::Timeout
            }
        }
    }

    fn finish(&self, key: Key, answer: &Answer) {
        let mut state = self.state.lock();
        state.asked.remove(&key);
        let keep = match answer {
            Answer::Found(_) => self.options.positive,
            Answer::NotFound => self.options.negative,
            Answer::Timeout | Answer::Failed(_) | Answer::Off => return,
        };
        let now = Instant::now();
        if state.remembered.len() >= MAX_NAMES {
            state.remembered.retain(|_, (until, _)| *until > now);
        }
        if state.remembered.len() < MAX_NAMES {
            state.remembered.insert(key, (now + keep, answer.clone()));
        }
    }
}

impl Bucket {
    /// Takes one request; how long to wait for it, or `None` when that is longer than anybody would wait.
    fn reserve(&mut self, now: Instant, options: &Options) -> Option<Duration> {
        let rate = options.per_second.max(0.001);
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.tokens = (self.tokens + earned).min(options.burst.max(1.0));
        self.at = now;
        let delay = Duration::from_secs_f64(((1.0 - self.tokens) / rate).max(0.0));
        if delay >= options.wait {
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
        let options = Options {
            burst: 2.0,
            per_second: 10.0,
            wait: Duration::from_millis(250),
            ..Options::default()
        };
        let now = Instant::now();
        let mut bucket = Bucket { tokens: 2.0, at: now };
        assert_eq!(bucket.reserve(now, &options), Some(Duration::ZERO));
        assert_eq!(bucket.reserve(now, &options), Some(Duration::ZERO));
        assert_eq!(bucket.reserve(now, &options), Some(Duration::from_millis(100)));
        assert_eq!(bucket.reserve(now, &options), Some(Duration::from_millis(200)));
        assert_eq!(bucket.reserve(now, &options), None);
        let later = now + Duration::from_secs(10);
        assert_eq!(bucket.reserve(later, &options), Some(Duration::ZERO));
    }

    #[test]
    fn only_names_that_can_exist_become_part_of_a_path() {
        assert!(is_name("kube-system") && is_name("a.b"));
        for bad in ["", "a/b", "../secrets", "A", "a b", "%2e", ".."] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
