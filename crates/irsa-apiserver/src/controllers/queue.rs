//! What every controller shares: follow some resources, turn changes into keys, work on one key at a time, try again
//! later when that fails.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::BoxFuture;
use crate::object::ObjectExt;
use crate::selectors::LabelSelector;
use crate::status::Result;
use crate::store::{Change, Event, Store};

/// Namespace and name of what a controller looks after.
pub(crate) type Key = (String, String);

/// The first pause after a failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause. Kubernetes waits up to a thousand seconds; somebody watches a lab.
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Brings the world to what objects of one kind ask for.
pub(crate) trait Controller: Send + Sync {
    /// The resources whose changes matter, by storage name.
    fn follows(&self) -> &'static [&'static str];

    /// Which keys a change concerns.
    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key));

    /// Looks at one key and does what is due; `Some` asks to look again after that time.
    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>>;
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    queued: HashSet<Key>,
    busy: HashSet<Key>,
    later: BinaryHeap<Reverse<(Instant, Key)>>,
    failures: HashMap<Key, u32>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

impl Queue {
    fn add(&self, key: Key) {
        let mut state = self.state.lock();
        if state.queued.insert(key.clone()) && !state.busy.contains(&key) {
            state.ready.push_back(key);
            drop(state);
            self.wake.notify_one();
        }
    }

    fn add_after(&self, key: Key, pause: Duration) {
        self.state
            .lock()
            .later
            .push(Reverse((Instant::now() + pause, key)));
        self.wake.notify_one();
    }

    async fn next(&self) -> Key {
        loop {
            let until = {
                let mut state = self.state.lock();
                let now = Instant::now();
                while state.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
                    if let Some(Reverse((_, key))) = state.later.pop()
                        && state.queued.insert(key.clone())
                        && !state.busy.contains(&key)
                    {
                        state.ready.push_back(key);
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
                state.later.peek().map(|Reverse((at, _))| *at)
            };
            match until {
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, self.wake.notified()).await;
                }
                None => self.wake.notified().await,
            }
        }
    }

    fn done(&self, key: Key, failed: bool) -> u32 {
        let mut state = self.state.lock();
        state.busy.remove(&key);
        let failures = if failed {
            let count = state.failures.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
            *count
        } else {
            state.failures.remove(&key);
            0
        };
        // It changed while it was worked on.
        if state.queued.contains(&key) {
            state.ready.push_back(key);
            drop(state);
            self.wake.notify_one();
        }
        failures
    }
}

/// Adds the controllers of a kind that the object has, and had before the change.
pub(crate) fn owners(event: &Event, kind: &str, add: &mut dyn FnMut(Key)) {
    let states = [Some(&event.object), event.previous.as_ref()];
    for object in states.into_iter().flatten() {
        if let Some(owner) = object.controller().filter(|owner| owner.kind() == kind) {
            add((object.namespace().to_owned(), owner.str_at(&["name"]).to_owned()));
        }
    }
}

/// Adds the workloads that may adopt an object without a controller.
pub(crate) fn adopters(store: &Store, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
    let object = &event.object;
    if object.controller().is_some() || object.labels().is_none() || event.change == Change::Deleted {
        return;
    }
    let selects = |workload: &Value| {
        LabelSelector::from_object(workload.at(&["spec", "selector"]))
            .is_ok_and(|selector| selector.matches(object.labels()))
    };
    for workload in store.find(resource, Some(object.namespace()), selects) {
        add((workload.namespace().to_owned(), workload.name().to_owned()));
    }
}

/// Runs a controller until dropped, with `workers` keys at a time.
pub(crate) async fn run(store: Arc<Store>, controller: Arc<dyn Controller>, workers: usize) {
    let queue = Queue::default();
    let following = controller
        .follows()
        .iter()
        .map(|resource| follow(&store, resource, controller.as_ref(), &queue));
    let working = (0..workers.max(1)).map(|_| work(controller.as_ref(), &queue));
    tokio::join!(
        futures::future::join_all(following),
        futures::future::join_all(working)
    );
}

async fn follow(store: &Arc<Store>, resource: &str, controller: &dyn Controller, queue: &Queue) {
    loop {
        let listing = store.list(resource, None);
        let mut watch = store.watch(resource, listing.resource_version);
        for object in listing.items {
            let event = Event {
                change: Change::Added,
                object,
                previous: None,
            };
            controller.concerns(resource, &event, &mut |key| queue.add(key));
        }
        // An expired watch starts again from a list.
        while let Ok(event) = watch.next().await {
            controller.concerns(resource, &event, &mut |key| queue.add(key));
        }
    }
}

async fn work(controller: &dyn Controller, queue: &Queue) {
    loop {
        let key = queue.next().await;
        let result = controller.sync(&key.0, &key.1).await;
        let failures = queue.done(key.clone(), result.is_err());
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
