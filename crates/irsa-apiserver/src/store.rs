//! Every object of the cluster, in memory, with one resource version counter and a history for watches.
//!
//! A resource is named as kubectl names it: `pods`, `deployments.apps`; the namespace of a cluster-scoped object is
//! the empty string. All calls are synchronous and short. Controllers read here and write through
//! [`crate::api::Api`], so that defaulting, admission and validation run as for everybody else; a write done here
//! directly skips all of that.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::watch;

use crate::object::{Object, ObjectExt, Stored, metadata_mut};
use crate::status::Status;

/// How many changes of one resource are kept for watches that resume, and how many bytes of JSON they may have.
const HISTORY: Limit = Limit {
    count: 20_000,
    bytes: 16 * 1024 * 1024,
};
/// Of these, the latest are kept with their values, which those who follow read at once.
const HOT: Limit = Limit {
    count: 128,
    bytes: 1024 * 1024,
};
/// For how long the state behind a `continue` token is kept, as etcd's compaction does it.
const SNAPSHOT_LIFE: Duration = Duration::from_secs(300);
/// How many such states of one resource are kept.
const SNAPSHOTS: usize = 16;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It was replaced by a newer state.
    Modified,
    /// It is gone; the event carries its last state.
    Deleted,
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// The state after the change; for a deletion the last state, with the version of the deletion.
    pub object: Object,
    /// The state before the change.
    pub previous: Option<Object>,
}

/// Why the store refused a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// An object of that name is there already.
    #[error("already exists")]
    Exists,
    /// No such object.
    #[error("not found")]
    NotFound,
    /// The object's version or uid is not the one that was expected.
    #[error("changed meanwhile")]
    Conflict,
    /// The object has no `metadata.name`.
    #[error("the object has no name")]
    NoName,
}

impl StoreError {
    /// The `Status` that Kubernetes answers for it.
    #[must_use]
    pub fn status(self, resource: &str, name: &str) -> Status {
        match self {
            Self::Exists => Status::already_exists(resource, name),
            Self::NotFound => Status::not_found(resource, name),
            Self::Conflict => Status::modified(resource, name),
            Self::NoName => {
                Status::bad_request("metadata.name: Required value: name or generateName is required")
            }
        }
    }
}

/// Objects of one moment.
#[derive(Debug)]
pub struct Listing {
    /// In the order of namespace and name.
    pub items: Vec<Object>,
    /// The resource version of the moment: watch from here.
    pub resource_version: u64,
    /// The last key looked at when more objects follow.
    pub next: Option<Key>,
    /// How many objects of the resource there are in all namespaces.
    pub total: usize,
}

/// Namespace (empty for cluster-scoped) and name.
pub type Key = (Arc<str>, Arc<str>);

type Objects = BTreeMap<Key, Object>;

struct Snapshot {
    version: u64,
    taken: Instant,
    objects: Arc<Objects>,
}

#[derive(Clone, Copy, Default)]
struct Limit {
    count: usize,
    bytes: usize,
}

impl Limit {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, bytes: usize) {
        self.count -= 1;
        self.bytes -= bytes;
    }

    /// The latest change is kept whatever its size.
    fn is_over(self, limit: Self) -> bool {
        self.count > 1 && (self.count > limit.count || self.bytes > limit.bytes)
    }
}

struct Collection {
    // Copied on the first write after a snapshot was taken, shared otherwise.
    objects: Arc<Objects>,
    // Names by namespace and uid of the controller, which is empty for objects without one.
    controlled: HashMap<(String, String), BTreeSet<String>>,
    history: VecDeque<Arc<Event>>,
    // What is in `history`, and the part of it at the end that is not packed.
    kept: Limit,
    hot: Limit,
    // Changes up to this version are no longer in `history`.
    forgotten: u64,
    snapshots: VecDeque<Snapshot>,
    changed: watch::Sender<u64>,
}

impl Default for Collection {
    fn default() -> Self {
        Self {
            objects: Arc::default(),
            controlled: HashMap::new(),
            history: VecDeque::new(),
            kept: Limit::default(),
            hot: Limit::default(),
            forgotten: 0,
            snapshots: VecDeque::new(),
            changed: watch::channel(0).0,
        }
    }
}

impl Event {
    fn bytes(&self) -> usize {
        self.object.json().len()
    }

    /// The same change, its states as JSON only.
    fn packed(&self) -> Self {
        Self {
            change: self.change,
            object: Arc::new(self.object.packed()),
            previous: self.previous.as_ref().map(|previous| Arc::new(previous.packed())),
        }
    }
}

impl Collection {
    /// Puts an object in place and notes the change.
    fn put(&mut self, key: Key, object: Value, version: u64) -> Object {
        let object = stamp(object, version);
        let previous = Arc::make_mut(&mut self.objects).insert(key, Arc::clone(&object));
        let change = if previous.is_some() {
            Change::Modified
        } else {
            Change::Added
        };
        self.record(change, Arc::clone(&object), previous);
        object
    }

    fn record(&mut self, change: Change, object: Object, previous: Option<Object>) {
        let version = object.version();
        let event = Event {
            change,
            object,
            previous,
        };
        self.index(&event);
        let bytes = event.bytes();
        self.history.push_back(Arc::new(event));
        self.kept.add(bytes);
        self.hot.add(bytes);
        while self.hot.is_over(HOT) {
            self.cool();
        }
        while self.kept.is_over(HISTORY)
            && let Some(oldest) = self.history.pop_front()
        {
            self.kept.take(oldest.bytes());
            self.forgotten = oldest.object.version();
        }
        self.changed.send_replace(version);
    }

    /// Keeps `controlled` in step with a change.
    fn index(&mut self, event: &Event) {
        let object = event.object.value();
        let before = event.previous.as_ref().map(|object| controller_uid(object));
        let after = (event.change != Change::Deleted).then(|| controller_uid(object));
        if before == after {
            return;
        }
        if let Some(uid) = before {
            let key = (object.namespace().to_owned(), uid.to_owned());
            if let Some(names) = self.controlled.get_mut(&key) {
                names.remove(object.name());
                if names.is_empty() {
                    self.controlled.remove(&key);
                }
            }
        }
        if let Some(uid) = after {
            let key = (object.namespace().to_owned(), uid.to_owned());
            self.controlled
                .entry(key)
                .or_default()
                .insert(object.name().to_owned());
        }
    }

    /// The present state of an object, which must have the expected version.
    fn expect(&self, key: &Key, expected: Option<u64>) -> Result<Object, StoreError> {
        let present = self.objects.get(key).cloned().ok_or(StoreError::NotFound)?;
        match expected {
            Some(expected) if expected != present.version() => Err(StoreError::Conflict),
            _ => Ok(present),
        }
    }

    /// Packs the oldest change that is not, and its object when that is still the present state.
    fn cool(&mut self) {
        let index = self.history.len() - self.hot.count;
        let event = &mut self.history[index];
        self.hot.take(event.bytes());
        let packed = event.packed();
        let key = key(event.object.namespace(), event.object.name());
        if self
            .objects
            .get(&key)
            .is_some_and(|present| Arc::ptr_eq(present, &event.object))
        {
            Arc::make_mut(&mut self.objects).insert(key, Arc::new(packed.object.packed()));
        }
        *event = Arc::new(packed);
    }
}

fn controller_uid(object: &Value) -> &str {
    object
        .controller()
        .map_or("", |controller| controller.str_at(&["uid"]))
}

#[derive(Default)]
struct Inner {
    version: u64,
    collections: HashMap<Arc<str>, Collection>,
}

impl Inner {
    fn collection(&mut self, resource: &str) -> &mut Collection {
        if !self.collections.contains_key(resource) {
            self.collections.insert(resource.into(), Collection::default());
        }
        match self.collections.get_mut(resource) {
            Some(collection) => collection,
            None => unreachable!("inserted above"),
        }
    }
}

/// The objects of the cluster.
pub struct Store {
    inner: RwLock<Inner>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("resource_version", &self.resource_version())
            .finish_non_exhaustive()
    }
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

fn key_of(object: &Value) -> Result<Key, StoreError> {
    if object.name().is_empty() {
        return Err(StoreError::NoName);
    }
    Ok(key(object.namespace(), object.name()))
}

fn stamp(mut object: Value, version: u64) -> Object {
    metadata_mut(&mut object).insert("resourceVersion".into(), version.to_string().into());
    Arc::new(Stored::new(object, version))
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: RwLock::new(Inner {
                version: 1,
                ..Inner::default()
            }),
        }
    }

    /// The version of the latest write of any resource.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.inner.read().version
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        self.inner
            .read()
            .collections
            .get(resource)?
            .objects
            .get(&key(namespace, name))
            .cloned()
    }

    /// All objects of a resource, of one namespace or of all (`None`).
    #[must_use]
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Listing {
        self.page(resource, namespace, None, usize::MAX, |_| true)
    }

    /// The objects of a resource that `keep` wants, without their version.
    pub fn find(
        &self,
        resource: &str,
        namespace: Option<&str>,
        keep: impl Fn(&Value) -> bool,
    ) -> Vec<Object> {
        self.page(resource, namespace, None, usize::MAX, |object| {
            keep(object.value())
        })
        .items
    }

    /// The objects of a namespace whose controller has this uid; with an empty uid those without a controller. Costs
    /// what it returns, however many objects the namespace has.
    #[must_use]
    pub fn controlled_by(&self, resource: &str, namespace: &str, uid: &str) -> Vec<Object> {
        let inner = self.inner.read();
        let Some(collection) = inner.collections.get(resource) else {
            return Vec::new();
        };
        collection
            .controlled
            .get(&(namespace.to_owned(), uid.to_owned()))
            .into_iter()
            .flatten()
            .filter_map(|name| collection.objects.get(&key(namespace, name)).cloned())
            .collect()
    }

    /// How many objects of a resource there are.
    #[must_use]
    pub fn count(&self, resource: &str) -> usize {
        self.inner
            .read()
            .collections
            .get(resource)
            .map_or(0, |collection| collection.objects.len())
    }

    /// At most `limit` objects of the present moment after `after` that `keep` wants.
    pub fn page(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: Option<&Key>,
        limit: usize,
        keep: impl Fn(&Object) -> bool,
    ) -> Listing {
        let (objects, version) = {
            let inner = self.inner.read();
            let objects = inner
                .collections
                .get(resource)
                .map(|collection| Arc::clone(&collection.objects))
                .unwrap_or_default();
            (objects, inner.version)
        };
        page_of(&objects, version, namespace, after, limit, keep)
    }

    /// Like [`Store::page`], and keeps the moment so that [`Store::page_at`] can go on from there.
    pub fn first_page(
        &self,
        resource: &str,
        namespace: Option<&str>,
        limit: usize,
        keep: impl Fn(&Object) -> bool,
    ) -> Listing {
        let (objects, version) = {
            let mut inner = self.inner.write();
            let version = inner.version;
            let collection = inner.collection(resource);
            (Arc::clone(&collection.objects), version)
        };
        let listing = page_of(&objects, version, namespace, None, limit, keep);
        if listing.next.is_some() {
            let mut inner = self.inner.write();
            let collection = inner.collection(resource);
            collection
                .snapshots
                .retain(|snapshot| snapshot.taken.elapsed() < SNAPSHOT_LIFE);
            if collection
                .snapshots
                .iter()
                .all(|snapshot| snapshot.version != version)
            {
                if collection.snapshots.len() == SNAPSHOTS {
                    collection.snapshots.pop_front();
                }
                collection.snapshots.push_back(Snapshot {
                    version,
                    taken: Instant::now(),
                    objects,
                });
            }
        }
        listing
    }

    /// A further page of the moment `version`; `None` when that moment is no longer kept.
    pub fn page_at(
        &self,
        resource: &str,
        version: u64,
        namespace: Option<&str>,
        after: &Key,
        limit: usize,
        keep: impl Fn(&Object) -> bool,
    ) -> Option<Listing> {
        let objects = {
            let inner = self.inner.read();
            let collection = inner.collections.get(resource)?;
            let snapshot = collection
                .snapshots
                .iter()
                .find(|snapshot| snapshot.version == version)?;
            Arc::clone(&snapshot.objects)
        };
        Some(page_of(&objects, version, namespace, Some(after), limit, keep))
    }

    /// Stores a new object under its `metadata.namespace` and `metadata.name`.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::NoName`].
    pub fn create(&self, resource: &str, object: Value) -> Result<Object, StoreError> {
        let key = key_of(&object)?;
        self.write(resource, |collection, version| {
            if collection.objects.contains_key(&key) {
                return Err(StoreError::Exists);
            }
            Ok(collection.put(key, object, version))
        })
    }

    /// Replaces an object. `expected` is the version that it must have now; `None` replaces whatever is there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::NoName`].
    pub fn update(&self, resource: &str, object: Value, expected: Option<u64>) -> Result<Object, StoreError> {
        let key = key_of(&object)?;
        self.write(resource, |collection, version| {
            collection.expect(&key, expected)?;
            Ok(collection.put(key, object, version))
        })
    }

    /// Removes an object at once, finalizers or not. `expected` as in [`Store::update`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`].
    pub fn delete(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        expected: Option<u64>,
    ) -> Result<Object, StoreError> {
        let key = key(namespace, name);
        self.write(resource, |collection, version| {
            let previous = collection.expect(&key, expected)?;
            let object = stamp(previous.value().clone(), version);
            Arc::make_mut(&mut collection.objects).remove(&key);
            collection.record(Change::Deleted, Arc::clone(&object), Some(previous));
            Ok(object)
        })
    }

    /// Counts the version up when the write succeeds.
    fn write(
        &self,
        resource: &str,
        write: impl FnOnce(&mut Collection, u64) -> Result<Object, StoreError>,
    ) -> Result<Object, StoreError> {
        let mut inner = self.inner.write();
        let version = inner.version + 1;
        let object = write(inner.collection(resource), version)?;
        inner.version = version;
        Ok(object)
    }

    /// Removes the objects of a resource that were last written longer ago than this, as etcd's leases do for events.
    pub(crate) fn expire(&self, resource: &str, life: Duration) {
        let over = |object: &Object| object.written().elapsed() > life;
        for object in self.page(resource, None, None, usize::MAX, over).items {
            let _ = self.delete(
                resource,
                object.namespace(),
                object.name(),
                Some(object.version()),
            );
        }
    }

    /// Follows the changes of a resource after version `after` (usually [`Listing::resource_version`]).
    pub fn watch(self: &Arc<Self>, resource: &str, after: u64) -> Watch {
        let changed = {
            let mut inner = self.inner.write();
            inner.collection(resource).changed.subscribe()
        };
        Watch {
            store: Arc::clone(self),
            resource: resource.into(),
            cursor: after,
            changed,
            ready: VecDeque::new(),
        }
    }

    /// The changes of a resource after a version, in order.
    ///
    /// # Errors
    /// [`Expired`] when some of them are no longer kept.
    pub fn changes_after(&self, resource: &str, after: u64) -> Result<Vec<Arc<Event>>, Expired> {
        let inner = self.inner.read();
        let Some(collection) = inner.collections.get(resource) else {
            return Ok(Vec::new());
        };
        if after < collection.forgotten {
            return Err(Expired {
                asked: after,
                oldest: collection.forgotten,
            });
        }
        let history = &collection.history;
        let start = history.partition_point(|event| event.object.version() <= after);
        let packed = history.len() - collection.hot.count;
        // Packed ones are copied, so that values which the reader makes go with the reader.
        let changes = history.range(start..).enumerate().map(|(index, event)| {
            if start + index < packed {
                Arc::new(event.packed())
            } else {
                Arc::clone(event)
            }
        });
        Ok(changes.collect())
    }
}

/// The watcher is further behind than the history reaches: list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Expired {
    /// The version asked for.
    pub asked: u64,
    /// The oldest version that can be asked for.
    pub oldest: u64,
}

/// A place in the changes of one resource. Dropping it ends the watch; a slow reader costs nothing.
#[derive(Debug)]
pub struct Watch {
    store: Arc<Store>,
    resource: Arc<str>,
    cursor: u64,
    changed: watch::Receiver<u64>,
    ready: VecDeque<Arc<Event>>,
}

impl Watch {
    /// The next change, waiting for it. Cancel-safe.
    ///
    /// # Errors
    /// [`Expired`] when the reader fell behind the history.
    pub async fn next(&mut self) -> Result<Arc<Event>, Expired> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // The sender lives as long as the store, which this watch holds.
            let _ = self.changed.changed().await;
        }
    }

    /// The next change if there is one now.
    ///
    /// # Errors
    /// [`Expired`] when the reader fell behind the history.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, Expired> {
        if self.ready.is_empty() {
            // Marked before reading, so that a change after the read wakes the next wait.
            self.changed.borrow_and_update();
            self.ready
                .extend(self.store.changes_after(&self.resource, self.cursor)?);
        }
        let event = self.ready.pop_front();
        if let Some(event) = &event {
            self.cursor = event.object.version();
        }
        Ok(event)
    }

    /// The version up to which changes were handed out.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.cursor
    }
}

fn page_of(
    objects: &Objects,
    version: u64,
    namespace: Option<&str>,
    after: Option<&Key>,
    limit: usize,
    keep: impl Fn(&Object) -> bool,
) -> Listing {
    let lower = match (after, namespace) {
        (Some(after), _) => Bound::Excluded(after.clone()),
        (None, Some(namespace)) => Bound::Included(key(namespace, "")),
        (None, None) => Bound::Unbounded,
    };
    let mut items = Vec::new();
    let mut range = objects.range((lower, Bound::Unbounded));
    let mut next = None;
    while let Some((at, object)) = range.next() {
        if namespace.is_some_and(|namespace| &*at.0 != namespace) {
            break;
        }
        if !keep(object) {
            continue;
        }
        items.push(Arc::clone(object));
        if items.len() == limit {
            // The token is only given when something follows.
            let in_scope = |key: &Key| namespace.is_none_or(|namespace| &*key.0 == namespace);
            if range.clone().next().is_some_and(|(key, _)| in_scope(key)) {
                next = Some(at.clone());
            }
            break;
        }
    }
    Listing {
        items,
        resource_version: version,
        next,
        total: objects.len(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(name: &str, value: u8) -> Value {
        json!({ "metadata": { "name": name, "namespace": "n" }, "value": value })
    }

    #[test]
    fn a_write_over_an_older_state_is_refused() {
        let store = Store::new();
        let first = store.create("pods", object("a", 1)).unwrap();
        assert_eq!(
            store.create("pods", object("a", 1)).unwrap_err(),
            StoreError::Exists
        );
        let second = store
            .update("pods", object("a", 2), Some(first.version()))
            .unwrap();
        assert_eq!(
            store
                .update("pods", object("a", 3), Some(first.version()))
                .unwrap_err(),
            StoreError::Conflict
        );
        assert_eq!(
            store.delete("pods", "n", "a", Some(first.version())).unwrap_err(),
            StoreError::Conflict
        );
        assert_eq!(
            second.str_at(&["metadata", "resourceVersion"]),
            second.version().to_string()
        );
        store.delete("pods", "n", "a", None).unwrap();
        assert_eq!(
            store.update("pods", object("a", 4), None).unwrap_err(),
            StoreError::NotFound
        );
    }

    #[test]
    fn objects_are_found_by_their_controller_until_it_changes() {
        let store = Store::new();
        let owned = |name: &str, uid: &str| {
            json!({ "metadata": { "name": name, "namespace": "n",
                "ownerReferences": [{ "uid": uid, "controller": true }] } })
        };
        let names = |uid: &str| -> Vec<String> {
            let found = store.controlled_by("pods", "n", uid);
            found.iter().map(|object| object.name().to_owned()).collect()
        };
        store.create("pods", owned("b", "u")).unwrap();
        store.create("pods", owned("a", "u")).unwrap();
        store.create("pods", object("c", 0)).unwrap();
        assert_eq!(
            (names("u"), names("")),
            (vec!["a".into(), "b".into()], vec!["c".into()])
        );
        store.update("pods", object("a", 0), None).unwrap();
        store.update("pods", owned("c", "v"), None).unwrap();
        store.delete("pods", "n", "b", None).unwrap();
        assert_eq!(
            (names("u"), names("v"), names("")),
            (vec![], vec!["c".into()], vec!["a".into()])
        );
    }

    #[test]
    fn pages_go_on_from_the_moment_of_the_first() {
        let store = Store::new();
        for name in ["a", "b", "c", "d"] {
            store.create("pods", object(name, 0)).unwrap();
        }
        let first = store.first_page("pods", Some("n"), 2, |_| true);
        store.delete("pods", "n", "c", None).unwrap();
        store.create("pods", object("b1", 0)).unwrap();
        let key = first.next.unwrap();
        let second = store
            .page_at("pods", first.resource_version, Some("n"), &key, 2, |_| true)
            .unwrap();
        let names: Vec<&str> = second.items.iter().map(|object| object.name()).collect();
        assert_eq!(names, ["c", "d"]);
        assert!(second.next.is_none());
        assert!(store.page_at("pods", 1, Some("n"), &key, 2, |_| true).is_none());
    }

    #[tokio::test]
    async fn a_watch_waits_for_changes_and_sees_them_in_order() {
        let store = Arc::new(Store::new());
        let mut watch = store.watch("pods", store.resource_version());
        assert!(watch.try_next().unwrap().is_none());
        let writer = Arc::clone(&store);
        let task = tokio::spawn(async move {
            tokio::task::yield_now().await;
            writer.create("pods", object("a", 1)).unwrap();
            writer.create("nodes", object("other", 1)).unwrap();
            writer.update("pods", object("a", 2), None).unwrap();
        });
        let added = watch.next().await.unwrap();
        let modified = watch.next().await.unwrap();
        task.await.unwrap();
        assert_eq!((added.change, modified.change), (Change::Added, Change::Modified));
        assert_eq!(
            modified.previous.as_ref().unwrap().version(),
            added.object.version()
        );
    }

    #[test]
    fn a_watch_that_fell_behind_is_told_so() {
        let store = Arc::new(Store::new());
        let mut watch = store.watch("pods", store.resource_version());
        store.create("pods", object("a", 0)).unwrap();
        for _ in 0..HISTORY.count {
            store.update("pods", object("a", 0), None).unwrap();
        }
        assert!(watch.try_next().is_err());
    }

    #[test]
    fn history_is_bounded_in_bytes_and_only_its_end_keeps_values() {
        let store = Arc::new(Store::new());
        let mut watch = store.watch("configmaps", store.resource_version());
        let padding = "x".repeat(64 * 1024);
        let large =
            |name: &str| json!({ "metadata": { "name": name, "namespace": "n" }, "data": { "x": padding } });
        for index in 0..300 {
            store.create("configmaps", large(&format!("c{index}"))).unwrap();
        }
        assert!(watch.try_next().is_err(), "16 MiB hold about 256 of these");
        let inner = store.inner.read();
        let collection = &inner.collections["configmaps"];
        assert!(collection.kept.bytes <= HISTORY.bytes);
        let bytes: usize = collection.history.iter().map(|event| event.bytes()).sum();
        assert_eq!(bytes, collection.kept.bytes);
        let has_value = |object: &&Object| object.has_value();
        assert_eq!(
            collection.objects.values().filter(has_value).count(),
            collection.hot.count
        );
        assert!(collection.hot.bytes <= HOT.bytes);
    }

    proptest! {
        #[test]
        fn replaying_the_changes_gives_the_present_state(
            writes in prop::collection::vec((0_u8..3, "[a-d]", any::<u8>()), 0..60),
        ) {
            let store = Arc::new(Store::new());
            let mut watch = store.watch("pods", store.resource_version());
            for (kind, name, value) in writes {
                let _ = match kind {
                    0 => store.create("pods", object(&name, value)),
                    1 => store.update("pods", object(&name, value), None),
                    _ => store.delete("pods", "n", &name, None),
                };
            }
            let mut replayed = BTreeMap::new();
            let mut last = 0;
            while let Some(event) = watch.try_next().unwrap() {
                prop_assert!(event.object.version() > last);
                last = event.object.version();
                match event.change {
                    Change::Deleted => replayed.remove(event.object.name()),
                    _ => replayed.insert(event.object.name().to_owned(), event.object.version()),
                };
            }
            let present: BTreeMap<String, u64> = store
                .list("pods", None)
                .items
                .iter()
                .map(|object| (object.name().to_owned(), object.version()))
                .collect();
            prop_assert_eq!(replayed, present);
        }
    }
}
