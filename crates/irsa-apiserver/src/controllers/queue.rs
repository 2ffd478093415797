//! The loop that all controllers share: follow resources, turn changes into keys, reconcile one key at a time, and
//! try again later when that fails.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::context::Context;
use super::owned::selector_of;
use crate::object::{Object, ObjectExt};
use crate::status::Result;
use crate::store::{Change, Event, Store};

/// Namespace and name of an object that a controller reconciles.
pub(crate) type Key = (String, String);

/// The first pause after a failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause after failures. It is 1000 seconds in Kubernetes, which is too long for a lab.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// A key whose reconciliation took longer than this rests for as long again before the next one. What happens
/// meanwhile is handled together, so that a workload with thousands of pods is not counted anew for each of them.
const QUICK: Duration = Duration::from_millis(10);
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// Reconciles the objects of one resource.
pub(crate) trait Controller: Send + Sync + 'static {
    /// Storage name of the resource.
    const RESOURCE: &'static str;
    /// Its kind, as owner references name it.
    const KIND: &'static str = "";
    /// Resources of the objects that it controls: their changes reconcile their owner, or whoever may adopt them.
    const OWNS: &'static [&'static str] = &[];
    /// Further resources whose changes [`Controller::concerned`] turns into keys.
    const FOLLOWS: &'static [&'static str] = &[];

    fn context(&self) -> &Context;

    /// Sees every change of every followed resource before it is queued.
    fn observe(&self, _resource: &str, _event: &Event) {}

    /// Whether a change of a reconciled object itself is a reason to look at it.
    fn matters(&self, _event: &Event) -> bool {
        true
    }

    /// Which keys a change of a resource in [`Controller::FOLLOWS`] concerns.
    fn concerned(&self, _resource: &str, _event: &Event) -> Vec<Key> {
        Vec::new()
    }

    /// Does what is due for an object that is not being deleted; `Some` asks to look again after that time.
    fn reconcile(&self, object: Object) -> impl Future<Output = Result<Option<Duration>>> + Send;

    /// Cleans up after an object that has gone.
    fn gone(&self, _namespace: &str, _name: &str) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    /// Keys to be looked at, in `ready` or waiting until they are no longer busy.
    queued: HashSet<Key>,
    /// Keys that are being reconciled or rest.
    busy: HashSet<Key>,
    later: BinaryHeap<Reverse<(Instant, Key, Due)>>,
    failures: HashMap<Key, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Look,
    Rested,
}

impl State {
    fn add(&mut self, key: Key) {
        if self.queued.insert(key.clone()) && !self.busy.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn release(&mut self, key: Key) {
        self.busy.remove(&key);
        if self.queued.contains(&key) {
            self.ready.push_back(key);
        }
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

impl Queue {
    fn add(&self, key: Key) {
        self.state.lock().add(key);
        self.wake.notify_one();
    }

    fn add_after(&self, key: Key, pause: Duration) {
        let due = (Instant::now() + pause, key, Due::Look);
        self.state.lock().later.push(Reverse(due));
        self.wake.notify_one();
    }

    async fn next(&self) -> Key {
        loop {
            let until = {
                let mut state = self.state.lock();
                let now = Instant::now();
                while state.later.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
                    match state.later.pop() {
                        Some(Reverse((_, key, Due::Look))) => state.add(key),
                        Some(Reverse((_, key, Due::Rested))) => state.release(key),
                        None => {}
                    }
                }
                if let Some(key) = state.ready.pop_front() {
                    state.queued.remove(&key);
                    state.busy.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.later.peek().map(|Reverse((at, ..))| *at)
            };
            match until {
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, self.wake.notified()).await;
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// Ends the work on a key that took so long; returns how often it has failed in a row.
    fn done(&self, key: Key, failed: bool, took: Duration) -> u32 {
        let mut state = self.state.lock();
        let failures = if failed {
            let count = state.failures.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
            *count
        } else {
            state.failures.remove(&key);
            0
        };
        if took < QUICK {
            state.release(key);
        } else {
            let until = Instant::now() + took.min(LONGEST_REST);
            state.later.push(Reverse((until, key, Due::Rested)));
        }
        drop(state);
        self.wake.notify_one();
        failures
    }
}

/// Runs a controller until dropped, with `workers` keys at a time.
pub(crate) async fn run<C: Controller>(controller: C, workers: usize) {
    let queue = Queue::default();
    let mut resources = vec![C::RESOURCE];
    for resource in C::OWNS.iter().chain(C::FOLLOWS) {
        if !resources.contains(resource) {
            resources.push(resource);
        }
    }
    let following = resources
        .into_iter()
        .map(|resource| follow(resource, &controller, &queue));
    let working = (0..workers).map(|_| work(&controller, &queue));
    tokio::join!(
        futures::future::join_all(following),
        futures::future::join_all(working)
    );
}

async fn follow<C: Controller>(resource: &str, controller: &C, queue: &Queue) {
    let store = controller.context().store();
    let see = |event: &Event| {
        controller.observe(resource, event);
        keys(controller, resource, event)
            .into_iter()
            .for_each(|key| queue.add(key));
    };
    loop {
        let listing = store.list(resource, None);
        let mut watch = store.watch(resource, listing.resource_version);
        for object in listing.items {
            see(&Event {
                change: Change::Added,
                object,
                previous: None,
            });
        }
        // If the watch has expired, list again.
        while let Ok(event) = watch.next().await {
            see(&event);
        }
    }
}

/// The key of an object.
pub(super) fn key_of(object: &Object) -> Key {
    (object.namespace().to_owned(), object.name().to_owned())
}

fn keys<C: Controller>(controller: &C, resource: &str, event: &Event) -> Vec<Key> {
    let mut keys = Vec::new();
    if resource == C::RESOURCE && controller.matters(event) {
        keys.push(key_of(&event.object));
    }
    if C::OWNS.contains(&resource) {
        keys.extend(owners(event, C::KIND));
        keys.extend(adopters(controller.context().store(), C::RESOURCE, event));
    }
    if C::FOLLOWS.contains(&resource) {
        keys.extend(controller.concerned(resource, event));
    }
    keys
}

/// The controllers of a kind that the object has, and had before the change.
fn owners(event: &Event, kind: &str) -> Vec<Key> {
    [Some(&event.object), event.previous.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|object| {
            let owner = object.controller().filter(|owner| owner.kind() == kind)?;
            Some((object.namespace().to_owned(), owner.str_at(&["name"]).to_owned()))
        })
        .collect()
}

/// The workloads that may adopt an object without a controller.
fn adopters(store: &Store, resource: &str, event: &Event) -> Vec<Key> {
    let object = &event.object;
    if object.controller().is_some() || object.labels().is_none() || event.change == Change::Deleted {
        return Vec::new();
    }
    let found = store.find(resource, Some(object.namespace()), |workload| {
        selector_of(workload).is_ok_and(|selector| selector.matches(object.labels()))
    });
    found.iter().map(key_of).collect()
}

async fn work<C: Controller>(controller: &C, queue: &Queue) {
    loop {
        let key = queue.next().await;
        let began = Instant::now();
        let result = look_at(controller, &key).await;
        let failures = queue.done(key.clone(), result.is_err(), began.elapsed());
        match result {
            Ok(None) => {}
            Ok(Some(pause)) => queue.add_after(key, pause),
            Err(status) => {
                tracing::debug!(namespace = key.0, name = key.1, %status, "will try again");
                let pause = FIRST_PAUSE * 2_u32.saturating_pow(failures.min(16) - 1);
                queue.add_after(key, pause.min(LAST_PAUSE));
            }
        }
    }
}

async fn look_at<C: Controller>(controller: &C, (namespace, name): &Key) -> Result<Option<Duration>> {
    let store = controller.context().store();
    let Some(object) = store.get(C::RESOURCE, namespace, name) else {
        controller.gone(namespace, name).await?;
        return Ok(None);
    };
    if object.deletion_timestamp().is_some() {
        return Ok(None);
    }
    match controller.reconcile(object).await {
        // It was deleted in the meantime.
        Err(status) if status.code == 404 && store.get(C::RESOURCE, namespace, name).is_none() => Ok(None),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("n".into(), name.into())
    }

    #[tokio::test]
    async fn a_key_that_changes_while_it_is_worked_on_is_looked_at_once_more() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(queue.next().await, key("b"));
        queue.done(key("a"), false, Duration::ZERO);
        assert_eq!(queue.next().await, key("a"));
        assert!(queue.state.lock().ready.is_empty());
    }

    #[tokio::test]
    async fn a_key_that_took_long_rests_for_as_long() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.next().await;
        queue.add(key("a"));
        let began = Instant::now();
        queue.done(key("a"), false, Duration::from_millis(50));
        assert_eq!(queue.next().await, key("a"));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn failures_are_counted_until_one_success() {
        let queue = Queue::default();
        let failures = [true, true, false, true].map(|failed| queue.done(key("a"), failed, Duration::ZERO));
        assert_eq!(failures, [1, 2, 0, 1]);
    }
}
