//! Listing and watching one kind of object: what kube's `watcher` does, and three things that it does not.
//!
//! It asks for the list as a stream (`sendInitialEvents`), which a server with 100,000 objects sends at once instead of
//! in hundreds of pages, and falls back to pages where the server does not know that. It tells when the watch is down
//! and when it is up again, also while nothing changes. And in the first minute of an outage it tries again at least
//! once a second, because an API server that restarts is back within seconds.

use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use irsa_net::Condition;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::metrics::{Metrics, Watch};

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// How long a streamed list may be silent before the server is taken for one that does not know of streamed lists.
const SILENCE: Duration = Duration::from_secs(5);
/// A watch that ends sooner than this after it began counts as failed.
const SHORT: Duration = Duration::from_secs(1);
/// Marks the end of the list in a streamed one.
const END_OF_LIST: &str = "k8s.io/initial-events-end";

/// What happens to the objects.
#[derive(Debug)]
pub(crate) enum Event<K> {
    /// A list begins; what is known stays in use until [`Event::Complete`].
    Begin,
    /// An object of the list.
    Listed(K),
    /// The list is complete: what it did not have is gone.
    Complete,
    /// An object is new or has changed.
    Applied(K),
    /// An object is gone.
    Deleted(K),
    /// The watch is up.
    Up,
    /// The list or watch failed; with the reason, unless that is part of the protocol.
    Down(Option<String>),
}

/// Waits between failures: 0.2 s, then doubling up to 1 s for a minute, then up to 10 s; each with up to half as much
/// again, so that replicas do not come back in step.
#[derive(Debug)]
pub(crate) struct BackOff {
    failures: u32,
    since: Option<Instant>,
    random: RandomState,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST_AT_FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(10);
    const AT_FIRST: Duration = Duration::from_secs(60);

    pub(crate) fn new() -> Self {
        Self {
            failures: 0,
            since: None,
            random: RandomState::new(),
        }
    }

    /// It works again.
    pub(crate) fn reset(&mut self) {
        (self.failures, self.since) = (0, None);
    }

    /// How long to wait after a failure at the time `now`.
    pub(crate) fn next(&mut self, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        let longest = if now.duration_since(since) < Self::AT_FIRST {
            Self::LONGEST_AT_FIRST
        } else {
            Self::LONGEST
        };
        let base = Self::FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(longest);
        self.failures += 1;
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
        let jitter = self.random.hash_one(self.failures) as u32 % 512;
        base + base * jitter / 1024
    }
}

/// Why a list or a watch failed.
#[derive(Debug)]
enum Failure {
    /// The resource version is too old: list again. Part of the protocol.
    Expired,
    /// The server does not know of streamed lists.
    NotStreamed,
    /// Anything else.
    Other(kube::Error),
    /// The watch ended without an error, but too soon.
    TooShort,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            _ => Self::Other(error),
        }
    }
}

/// Follows the objects of an [`Api`] for ever.
pub(crate) struct Follow<K> {
    pub(crate) api: Api<K>,
    /// A field selector, empty for all objects.
    pub(crate) fields: String,
    pub(crate) which: Watch,
    /// Met once the first list is complete.
    pub(crate) condition: Option<Condition>,
    pub(crate) metrics: Arc<Metrics>,
}

impl<K> Follow<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Gives everything that happens to `on_event`, and its own state to readiness, metrics and log.
    pub(crate) async fn run(self, mut on_event: impl FnMut(Event<K>)) {
        let which = self.which.as_str();
        let mut back_off = BackOff::new();
        let mut streamed = true;
        let mut listed_once = false;
        let mut failing = false;
        let mut version: Option<String> = None;
        self.metrics.watch_synced(self.which, false);
        loop {
            let failure = match &mut version {
                None => {
                    let list = if streamed {
                        self.stream_list(listed_once, &mut on_event).await
                    } else {
                        self.page_list(listed_once, &mut on_event).await
                    };
                    match list {
                        Ok((listed, at)) => {
                            on_event(Event::Complete);
                            self.metrics.watch_event(self.which);
                            self.metrics.watch_synced(self.which, true);
                            self.condition.iter().for_each(Condition::met);
                            if !std::mem::replace(&mut listed_once, true) {
                                tracing::info!(watch = which, objects = listed, "first list complete");
                            }
                            version = Some(at);
                            continue;
                        }
                        Err(Failure::NotStreamed) => {
                            tracing::debug!(watch = which, "no streamed lists here; listing in pages");
                            streamed = false;
                            continue;
                        }
                        Err(failure) => failure,
                    }
                }
                Some(at) => {
                    let up = |on_event: &mut dyn FnMut(Event<K>)| {
                        back_off.reset();
                        on_event(Event::Up);
                        if std::mem::take(&mut failing) {
                            tracing::info!(watch = which, "the watch works again");
                        }
                    };
                    match self.watch(at, up, &mut on_event).await {
                        // The server ends each watch after some minutes.
                        Ok(()) => continue,
                        Err(failure) => failure,
                    }
                }
            };
            if matches!(failure, Failure::Expired) {
                tracing::debug!(watch = which, "resource version expired; listing again");
                version = None;
            }
            on_event(Event::Down(self.failed(&failure, listed_once, &mut failing)));
            tokio::time::sleep(back_off.next(Instant::now())).await;
        }
    }

    /// Counts and logs a failure; the reason, if there is one to tell.
    fn failed(&self, failure: &Failure, listed_once: bool, failing: &mut bool) -> Option<String> {
        self.metrics.watch_error(self.which);
        let Failure::Other(error) = failure else {
            return None;
        };
        let reason = explain(error, self.which);
        if !listed_once {
            self.unmet(&reason);
        }
        if !std::mem::replace(failing, true) {
            tracing::warn!(watch = self.which.as_str(), error = %reason, "the watch failed; trying again, what is known stays in use");
        }
        Some(reason)
    }

    fn unmet(&self, reason: &str) {
        if let Some(condition) = &self.condition {
            condition.unmet(reason);
        }
    }

    fn listed(&self, listed_once: bool, count: usize) {
        if !listed_once && count % 5_000 == 1 {
            self.unmet(&format!("the first list is running, {count} so far"));
        }
    }

    /// Lists in pages; how many objects, and the resource version. From its cache (`resourceVersion=0`) an API server
    /// would ignore the page size and send all at once.
    async fn page_list(
        &self,
        listed_once: bool,
        on_event: &mut impl FnMut(Event<K>),
    ) -> Result<(usize, String), Failure> {
        let mut params = ListParams::default().limit(PAGE).fields(&self.fields);
        let mut count = 0;
        on_event(Event::Begin);
        loop {
            let page = self.api.list(&params).await?;
            for object in page.items {
                count += 1;
                self.listed(listed_once, count);
                on_event(Event::Listed(object));
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((count, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    /// Lists by a watch that sends the list first, which is then ended: the next watch goes on from its version.
    async fn stream_list(
        &self,
        listed_once: bool,
        on_event: &mut impl FnMut(Event<K>),
    ) -> Result<(usize, String), Failure> {
        let mut params = WatchParams::default().fields(&self.fields).initial_events();
        params.bookmarks = true;
        let mut events = match self.api.watch(&params, "").await {
            Ok(events) => std::pin::pin!(events),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                return Err(Failure::NotStreamed);
            }
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        on_event(Event::Begin);
        loop {
            let Ok(next) = tokio::time::timeout(SILENCE, events.next()).await else {
                return Err(Failure::NotStreamed);
            };
            match next.transpose()? {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    count += 1;
                    self.listed(listed_once, count);
                    on_event(Event::Listed(object));
                }
                Some(WatchEvent::Bookmark(bookmark))
                    if bookmark.metadata.annotations.contains_key(END_OF_LIST) =>
                {
                    return Ok((count, bookmark.metadata.resource_version));
                }
                Some(WatchEvent::Bookmark(_) | WatchEvent::Deleted(_)) => {}
                Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status).into()),
                None => return Err(Failure::TooShort),
            }
        }
    }

    /// Watches from `version` on, which is kept up to date, until the server ends the watch.
    async fn watch(
        &self,
        version: &mut String,
        up: impl FnOnce(&mut dyn FnMut(Event<K>)),
        on_event: &mut impl FnMut(Event<K>),
    ) -> Result<(), Failure> {
        let params = WatchParams::default().fields(&self.fields);
        let begun = Instant::now();
        let mut events = std::pin::pin!(self.api.watch(&params, version).await?);
        up(on_event);
        while let Some(event) = events.try_next().await? {
            self.metrics.watch_event(self.which);
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    on_event(Event::Applied(object));
                }
                WatchEvent::Deleted(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    on_event(Event::Deleted(object));
                }
                WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            }
        }
        if begun.elapsed() < SHORT {
            return Err(Failure::TooShort);
        }
        Ok(())
    }
}

/// The error with what to do about it, where that is known.
fn explain(error: &kube::Error, which: Watch) -> String {
    let forbidden = matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403));
    let hint = match (forbidden, which) {
        (false, _) => "",
        (true, Watch::Namespaces) => {
            "; allow list and watch of namespaces, or pass --namespace-defaults=false"
        }
        (true, Watch::ConfigMap) => {
            "; allow get, list and watch of the ConfigMap, or drop --watch-config-map"
        }
        (true, _) => "; allow get, list and watch",
    };
    format!("{}{hint}", crate::cluster::reason(error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn in_the_first_minute_of_an_outage_no_wait_is_longer_than_a_second_and_a_half() {
        let mut back_off = BackOff::new();
        let begun = Instant::now();
        let mut now = begun;
        let mut tries = 0;
        while now - begun < Duration::from_secs(59) {
            let wait = back_off.next(now);
            assert!(
                wait >= BackOff::FIRST && wait <= BackOff::LONGEST_AT_FIRST * 3 / 2,
                "{wait:?}"
            );
            now += wait;
            tries += 1;
        }
        assert!(tries >= 40, "{tries}");
        for _ in 0..10 {
            now += Duration::from_secs(10);
            assert!(back_off.next(now) <= BackOff::LONGEST * 3 / 2);
        }
        assert!(back_off.next(now) >= BackOff::LONGEST);
        back_off.reset();
        assert!(back_off.next(now) < BackOff::LONGEST_AT_FIRST);
    }
}
