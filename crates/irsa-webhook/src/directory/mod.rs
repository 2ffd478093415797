//! What is known of service accounts, namespaces and the two documents that name roles: the identity directory.
//!
//! Watches write it ([`watch`]), admissions read it, and neither waits for the other: every part is an immutable value
//! behind an atomic pointer. Service accounts are spread over 256 such values, so that one event copies a few
//! hundred entries and not a hundred thousand. A service account whose annotations do not concern us costs eight
//! bytes: the hash of its name.

pub mod credentials;
pub(crate) mod follow;
pub mod lookup;
pub mod watch;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use irsa_core::endpoint::EndpointType;
use irsa_core::identity::{ConfigMap, CredentialsFile, Known, ServiceAccount};
use irsa_core::settings::Settings;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Parts of the index of service accounts.
const SHARDS: usize = 256;

/// The watch is down.
const DOWN: u64 = u64::MAX;
/// How long a watch that is up again may take to bring what was missed, in milliseconds.
const CATCH_UP: u64 = 1_000;

/// A hash is its own hash.
#[derive(Clone, Debug, Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type ByHash<V> = HashMap<u64, V, BuildHasherDefault<Same>>;
type Hashes = HashSet<u64, BuildHasherDefault<Same>>;

/// An annotated service account under its name; the name is kept so that a collision of hashes cannot give one
/// service account the role of another.
#[derive(Clone, Debug)]
struct Named {
    namespace: Box<str>,
    name: Box<str>,
    account: Arc<ServiceAccount>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    annotated: ByHash<Named>,
    plain: Hashes,
}

/// A list in progress: the next content of the index, unseen by readers until it is complete.
#[derive(Debug)]
pub struct Relist {
    shards: Vec<Shard>,
}

/// Somebody waiting for one service account to appear.
#[derive(Debug)]
struct Waiter {
    hash: u64,
    notify: Arc<Notify>,
}

/// The directory of one server.
#[derive(Debug)]
pub struct Directory {
    settings: Arc<Settings>,
    hasher: RandomState,
    shards: Vec<ArcSwap<Shard>>,
    /// Only the tasks that write take this; readers never do.
    writing: Mutex<()>,
    annotated: AtomicUsize,
    plain: AtomicUsize,
    synced: AtomicBool,
    /// Since when the watch of service accounts has been up, in milliseconds after `created`; [`DOWN`] while it is not.
    live_from: AtomicU64,
    created: Instant,
    waiters: Mutex<Vec<Waiter>>,
    waiting: AtomicUsize,
    namespaces: ArcSwap<HashMap<Box<str>, EndpointType>>,
    config_map: ArcSwap<Option<ConfigMap>>,
    credentials: ArcSwap<CredentialsFile>,
}

impl Directory {
    /// An empty directory that reads annotations by `settings`.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            writing: Mutex::new(()),
            annotated: AtomicUsize::new(0),
            plain: AtomicUsize::new(0),
            synced: AtomicBool::new(false),
            live_from: AtomicU64::new(0),
            created: Instant::now(),
            waiters: Mutex::default(),
            waiting: AtomicUsize::new(0),
            namespaces: ArcSwap::default(),
            config_map: ArcSwap::default(),
            credentials: ArcSwap::default(),
        }
    }

    fn hash(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }

    fn shard_of(hash: u64) -> usize {
        // The low bits choose a place within the maps; the shard takes the high ones.
        usize::try_from(hash >> 56).unwrap_or_default() % SHARDS
    }

    /// What the index says; never waits.
    #[must_use]
    pub fn service_account(&self, namespace: &str, name: &str) -> Known<Arc<ServiceAccount>> {
        let hash = self.hash(namespace, name);
        let shard = self.shards[Self::shard_of(hash)].load();
        match shard.annotated.get(&hash) {
            Some(named) if *named.namespace == *namespace && *named.name == *name => {
                Known::Annotated(Arc::clone(&named.account))
            }
            _ if shard.plain.contains(&hash) => Known::Plain,
            _ => Known::Unknown,
        }
    }

    /// Reads the annotations of a service account as the settings say.
    pub fn read<'a>(
        &self,
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Known<Arc<ServiceAccount>> {
        match ServiceAccount::from_annotations(annotations, &self.settings) {
            Some(account) => Known::Annotated(Arc::new(account)),
            None => Known::Plain,
        }
    }

    /// A service account is there, or has changed.
    pub fn apply(&self, namespace: &str, name: &str, found: Known<Arc<ServiceAccount>>) {
        let hash = self.hash(namespace, name);
        {
            let _writing = self.writing.lock();
            let slot = &self.shards[Self::shard_of(hash)];
            let current = slot.load_full();
            let unchanged = match &found {
                Known::Plain => current.plain.contains(&hash) && !current.annotated.contains_key(&hash),
                Known::Annotated(new) => current
                    .annotated
                    .get(&hash)
                    .is_some_and(|named| named.account == *new),
                Known::Unknown => true,
            };
            if !unchanged {
                let mut shard = Shard::clone(&current);
                shard.put(hash, namespace, name, found);
                self.replace(slot, &current, shard);
            }
        }
        self.wake(Some(hash));
    }

    /// A service account is gone.
    pub fn remove(&self, namespace: &str, name: &str) {
        let hash = self.hash(namespace, name);
        let _writing = self.writing.lock();
        let slot = &self.shards[Self::shard_of(hash)];
        let current = slot.load_full();
        let mut shard = Shard::clone(&current);
        if shard.take(hash) {
            self.replace(slot, &current, shard);
        }
    }

    fn replace(&self, slot: &ArcSwap<Shard>, old: &Shard, new: Shard) {
        let change = |counter: &AtomicUsize, before: usize, after: usize| {
            if after >= before {
                counter.fetch_add(after - before, Ordering::Relaxed);
            } else {
                counter.fetch_sub(before - after, Ordering::Relaxed);
            }
        };
        change(&self.annotated, old.annotated.len(), new.annotated.len());
        change(&self.plain, old.plain.len(), new.plain.len());
        slot.store(Arc::new(new));
    }

    /// Begins a list; readers go on with what they have.
    #[must_use]
    pub fn relist(&self) -> Relist {
        Relist {
            shards: vec![Shard::default(); SHARDS],
        }
    }

    /// One service account of a list.
    pub fn list_item(
        &self,
        relist: &mut Relist,
        namespace: &str,
        name: &str,
        found: Known<Arc<ServiceAccount>>,
    ) {
        let hash = self.hash(namespace, name);
        // Whoever waits for it is served at once, although the list is not complete.
        if self.waiting.load(Ordering::Relaxed) > 0
            && self.waiters.lock().iter().any(|waiter| waiter.hash == hash)
        {
            self.apply(namespace, name, found.clone());
        }
        relist.shards[Self::shard_of(hash)].put(hash, namespace, name, found);
    }

    /// The list is complete: what it does not have is gone.
    pub fn list_done(&self, relist: Relist) {
        {
            let _writing = self.writing.lock();
            for (slot, mut shard) in self.shards.iter().zip(relist.shards) {
                shard.annotated.shrink_to_fit();
                shard.plain.shrink_to_fit();
                let current = slot.load_full();
                self.replace(slot, &current, shard);
            }
            self.synced.store(true, Ordering::Release);
        }
        self.wake(None);
    }

    /// Whether the first list is in.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether what is known of service accounts is current: their watch is up, and has had time to catch up.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.now() >= self.live_from.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(DOWN - 1)
    }

    /// The watch of service accounts is up, or down.
    pub fn set_live(&self, live: bool) {
        if !live {
            self.live_from.store(DOWN, Ordering::Release);
        } else if self.live_from.load(Ordering::Acquire) == DOWN {
            self.live_from.store(self.now() + CATCH_UP, Ordering::Release);
        }
    }

    /// Annotated and other service accounts known.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (
            self.annotated.load(Ordering::Relaxed),
            self.plain.load(Ordering::Relaxed),
        )
    }

    /// Waits for the next time that this service account is written. Ask the index again after this was made, or an
    /// event between the two would be missed.
    pub(crate) fn expect(&self, namespace: &str, name: &str) -> Expected<'_> {
        let waiter = Waiter {
            hash: self.hash(namespace, name),
            notify: Arc::default(),
        };
        let notify = Arc::clone(&waiter.notify);
        let mut waiters = self.waiters.lock();
        waiters.push(waiter);
        self.waiting.store(waiters.len(), Ordering::Relaxed);
        Expected {
            directory: self,
            notify,
        }
    }

    fn wake(&self, hash: Option<u64>) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        for waiter in self
            .waiters
            .lock()
            .iter()
            .filter(|waiter| hash.is_none_or(|hash| hash == waiter.hash))
        {
            waiter.notify.notify_one();
        }
    }

    /// The settings by which annotations are read.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What the namespace's annotation says.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Option<EndpointType> {
        self.namespaces.load().get(namespace).copied()
    }

    /// Sets or clears what a namespace's annotation says. Few namespaces have one, so the map is copied.
    pub fn set_namespace(&self, namespace: &str, endpoint: Option<EndpointType>) {
        let _writing = self.writing.lock();
        let current = self.namespaces.load_full();
        if current.get(namespace).copied() == endpoint {
            return;
        }
        let mut map = HashMap::clone(&current);
        match endpoint {
            Some(endpoint) => map.insert(namespace.into(), endpoint),
            None => map.remove(namespace),
        };
        self.namespaces.store(Arc::new(map));
    }

    /// Replaces all that is known of namespaces.
    pub fn set_namespaces(&self, map: HashMap<Box<str>, EndpointType>) {
        let _writing = self.writing.lock();
        self.namespaces.store(Arc::new(map));
    }

    /// Namespaces that have a default.
    #[must_use]
    pub fn namespaces(&self) -> usize {
        self.namespaces.load().len()
    }

    /// The ConfigMap, if there is one.
    #[must_use]
    pub fn config_map(&self) -> arc_swap::Guard<Arc<Option<ConfigMap>>> {
        self.config_map.load()
    }

    /// Sets or clears the ConfigMap.
    pub fn set_config_map(&self, config_map: Option<ConfigMap>) {
        self.config_map.store(Arc::new(config_map));
    }

    /// The container credentials file.
    #[must_use]
    pub fn credentials(&self) -> arc_swap::Guard<Arc<CredentialsFile>> {
        self.credentials.load()
    }

    /// Replaces the container credentials file.
    pub fn set_credentials(&self, file: CredentialsFile) {
        self.credentials.store(Arc::new(file));
    }

    /// Forgets everything but the credentials file, as the Go webhook's debug handler does. The watch does not bring
    /// it back before its next list; reads on a miss do.
    pub fn clear(&self) {
        let _writing = self.writing.lock();
        for slot in &self.shards {
            let current = slot.load_full();
            self.replace(slot, &current, Shard::default());
        }
        self.config_map.store(Arc::new(None));
    }

    /// The annotated service accounts as `(namespace, name, account)`, in no order; for the debug handler.
    #[must_use]
    pub fn annotated(&self) -> Vec<(Box<str>, Box<str>, Arc<ServiceAccount>)> {
        self.shards
            .iter()
            .flat_map(|slot| {
                let shard = slot.load_full();
                shard
                    .annotated
                    .values()
                    .map(|named| {
                        (
                            named.namespace.clone(),
                            named.name.clone(),
                            Arc::clone(&named.account),
                        )
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Somebody who waits for a service account; dropped, they no longer do.
pub(crate) struct Expected<'a> {
    directory: &'a Directory,
    notify: Arc<Notify>,
}

impl Expected<'_> {
    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let mut waiters = self.directory.waiters.lock();
        waiters.retain(|waiter| !Arc::ptr_eq(&waiter.notify, &self.notify));
        self.directory.waiting.store(waiters.len(), Ordering::Relaxed);
    }
}

impl Shard {
    fn put(&mut self, hash: u64, namespace: &str, name: &str, found: Known<Arc<ServiceAccount>>) {
        match found {
            Known::Plain => {
                self.annotated.remove(&hash);
                self.plain.insert(hash);
            }
            Known::Annotated(account) => {
                self.plain.remove(&hash);
                self.annotated.insert(
                    hash,
                    Named {
                        namespace: namespace.into(),
                        name: name.into(),
                        account,
                    },
                );
            }
            Known::Unknown => {}
        }
    }

    fn take(&mut self, hash: u64) -> bool {
        let plain = self.plain.remove(&hash);
        self.annotated.remove(&hash).is_some() || plain
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const ROLE: &str = "eks.amazonaws.com/role-arn";
    const ARN: &str = "arn:aws:iam::111122223333:role/app";

    fn directory() -> Directory {
        Directory::new(Arc::new(Settings::default()))
    }

    #[test]
    fn what_the_watch_brings_is_found_and_what_it_takes_is_not() {
        let directory = directory();
        assert_eq!(directory.service_account("a", "x"), Known::Unknown);
        directory.apply("a", "x", directory.read([]));
        directory.apply("a", "y", directory.read([(ROLE, ARN)]));
        assert_eq!(directory.service_account("a", "x"), Known::Plain);
        let Known::Annotated(account) = directory.service_account("a", "y") else {
            panic!("not annotated")
        };
        assert_eq!(account.role_arn(), Some(ARN));
        assert_eq!(directory.counts(), (1, 1));
        directory.apply("a", "y", directory.read([]));
        assert_eq!(directory.service_account("a", "y"), Known::Plain);
        directory.remove("a", "y");
        assert_eq!(directory.service_account("a", "y"), Known::Unknown);
        assert_eq!(directory.counts(), (0, 1));
    }

    #[test]
    fn a_list_replaces_everything_only_when_it_is_complete() {
        let directory = directory();
        directory.apply("a", "old", directory.read([(ROLE, ARN)]));
        let mut relist = directory.relist();
        for index in 0..1000 {
            let found = directory.read((index % 10 == 0).then_some((ROLE, ARN)));
            directory.list_item(&mut relist, "b", &format!("sa-{index}"), found);
        }
        assert!(!directory.is_synced());
        assert_eq!(directory.service_account("b", "sa-1"), Known::Unknown);
        assert!(matches!(
            directory.service_account("a", "old"),
            Known::Annotated(_)
        ));
        directory.list_done(relist);
        assert!(directory.is_synced());
        assert_eq!(directory.counts(), (100, 900));
        assert_eq!(directory.service_account("b", "sa-1"), Known::Plain);
        assert_eq!(directory.service_account("a", "old"), Known::Unknown);
        assert_eq!(directory.annotated().len(), 100);
    }

    #[test]
    fn a_waiter_is_woken_by_its_own_service_account_only() {
        use futures::FutureExt as _;
        let directory = directory();
        let expected = directory.expect("a", "x");
        directory.apply("a", "other", Known::Plain);
        assert!(expected.notified().now_or_never().is_none());
        directory.apply("a", "x", Known::Plain);
        assert!(expected.notified().now_or_never().is_some());
        drop(expected);
        assert_eq!(directory.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn after_an_outage_of_the_watch_what_is_known_is_not_current_at_once() {
        let directory = directory();
        assert!(directory.is_current());
        directory.set_live(true);
        assert!(directory.is_current());
        directory.set_live(false);
        assert!(!directory.is_current());
        directory.set_live(true);
        assert!(!directory.is_current());
        let from = directory.live_from.load(Ordering::Relaxed);
        assert!(from <= directory.now() + CATCH_UP);
    }

    #[test]
    fn namespace_defaults_come_and_go() {
        let directory = directory();
        directory.set_namespace("a", Some(EndpointType::Global));
        assert_eq!(directory.namespace("a"), Some(EndpointType::Global));
        directory.set_namespace("a", None);
        assert_eq!(directory.namespace("a"), None);
    }
}
