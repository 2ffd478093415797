//! Garbage collection: dependents of deleted owners, pods of deleted nodes, and old events.

mod fate;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::fate::{Fate, Owner, fate};
use crate::api::{Api, BoxFuture, Caller, DeleteOptions, Propagation};
use crate::object::{Object, ObjectExt, metadata_mut};
use crate::status::{Result, Status};
use crate::store::{Change, Event};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const CUSTOM: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// How long a refused deletion waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long events are kept after they were last written.
const EVENT_LIFE: Duration = Duration::from_secs(3600);

/// Where an object is: resource, namespace, name.
type Place = (Arc<str>, String, String);

#[derive(Default)]
struct State {
    /// By uid of the owner.
    dependents: HashMap<String, HashSet<Place>>,
    work: VecDeque<Work>,
}

#[derive(Clone, Debug)]
enum Work {
    /// An owner of this uid has gone.
    OwnerGone(String),
    /// Look whether this object's owners are there.
    Check(Place),
    /// This object waits for its dependents, or lets them go.
    Marked(Place),
}

struct Collector {
    api: Arc<Api>,
    me: Caller,
    state: Mutex<State>,
    wake: Notify,
}

/// Runs the garbage collector until dropped.
pub(crate) async fn run(api: Arc<Api>) {
    let collector = Collector {
        me: Caller::controller("generic-garbage-collector"),
        api,
        state: Mutex::default(),
        wake: Notify::new(),
    };
    tokio::join!(collector.follow_all(), collector.work());
}

fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object.finalizers().iter().any(|one| one == finalizer)
}

/// Whether an object is being deleted and waits for its dependents.
fn is_foreground(object: &Value) -> bool {
    object.deletion_timestamp().is_some() && has_finalizer(object, FOREGROUND)
}

fn ignore_gone<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(Status { code: 404 | 409, .. }) => Ok(()),
        other => other.map(|_| ()),
    }
}

impl Collector {
    async fn follow_all(&self) {
        let mut loops: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut followed: HashSet<String> = HashSet::new();
        let mut definitions = self.api.store().watch(CUSTOM, 0);
        loop {
            for resource in self.api.registry().all() {
                // Events have no owners.
                let owned = resource.stored && resource.plural != "events";
                if owned && followed.insert(resource.storage.clone()) {
                    let storage: Arc<str> = resource.storage.as_str().into();
                    loops.push(Box::pin(async move { self.follow(&storage).await }));
                }
            }
            tokio::select! {
                Some(()) = loops.next() => {}
                changed = definitions.next() => if changed.is_err() {
                    definitions = self.api.store().watch(CUSTOM, self.api.store().resource_version());
                },
            }
        }
    }

    async fn follow(&self, resource: &Arc<str>) {
        let store = self.api.store();
        loop {
            let listing = store.list(resource, None);
            let mut watch = store.watch(resource, listing.resource_version);
            for object in listing.items {
                let change = Change::Added;
                let previous = None;
                self.see(
                    resource,
                    &Event {
                        change,
                        object,
                        previous,
                    },
                );
            }
            while let Ok(event) = watch.next().await {
                self.see(resource, &event);
            }
        }
    }

    fn add(&self, work: Work) {
        self.state.lock().work.push_back(work);
        self.wake.notify_one();
    }

    fn see(&self, resource: &Arc<str>, event: &Event) {
        let object = event.object.value();
        let place: Place = (
            Arc::clone(resource),
            object.namespace().to_owned(),
            object.name().to_owned(),
        );
        let owners = |object: &Value| -> HashSet<String> {
            let references = object.owner_references().iter();
            references
                .map(|owner| owner.str_at(&["uid"]).to_owned())
                .collect()
        };
        let gone = event.change == Change::Deleted;
        let before = event
            .previous
            .as_ref()
            .map(|previous| owners(previous.value()))
            .unwrap_or_default();
        let after = if gone { HashSet::new() } else { owners(object) };
        self.relate(&place, &before, &after);
        if before != after {
            // An owner that is being deleted may be waiting for this object.
            let references = event
                .previous
                .iter()
                .flat_map(|previous| previous.owner_references());
            let places = references.filter_map(|owner| self.place_of(object.namespace(), owner));
            for owner in places {
                if self
                    .get(&owner)
                    .is_some_and(|found| found.deletion_timestamp().is_some())
                {
                    self.add(Work::Marked(owner));
                }
            }
        }
        if gone {
            self.add(Work::OwnerGone(object.uid().to_owned()));
            return;
        }
        if before != after && !after.is_empty() {
            self.add(Work::Check(place.clone()));
        }
        let marked = has_finalizer(object, FOREGROUND) || has_finalizer(object, ORPHAN);
        if marked && object.deletion_timestamp().is_some() {
            self.add(Work::Marked(place));
        }
    }

    /// Keeps `dependents` in step with the owners of an object.
    fn relate(&self, place: &Place, before: &HashSet<String>, after: &HashSet<String>) {
        let mut state = self.state.lock();
        for lost in before.difference(after) {
            if let Some(places) = state.dependents.get_mut(lost) {
                places.remove(place);
                if places.is_empty() {
                    state.dependents.remove(lost);
                }
            }
        }
        for owner in after.difference(before) {
            let places = state.dependents.entry(owner.clone()).or_default();
            places.insert(place.clone());
        }
    }

    fn dependents(&self, uid: &str) -> Vec<Place> {
        let state = self.state.lock();
        state.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    fn place_of(&self, namespace: &str, owner: &Value) -> Option<Place> {
        let registry = self.api.registry();
        let resource = registry.by_kind(owner.str_at(&["apiVersion"]), owner.kind())?;
        let namespace = if resource.namespaced { namespace } else { "" };
        let name = owner.str_at(&["name"]).to_owned();
        Some((resource.storage.as_str().into(), namespace.to_owned(), name))
    }

    fn get(&self, place: &Place) -> Option<Object> {
        self.api.store().get(&place.0, &place.1, &place.2)
    }

    async fn work(&self) {
        loop {
            let next = self.state.lock().work.pop_front();
            let Some(work) = next else {
                self.wake.notified().await;
                continue;
            };
            let result = match &work {
                Work::OwnerGone(uid) => {
                    let places = self.dependents(uid);
                    places.into_iter().for_each(|place| self.add(Work::Check(place)));
                    Ok(())
                }
                Work::Check(place) => self.check(place).await,
                Work::Marked(place) => self.finish(place).await,
            };
            if let Err(status) = result {
                tracing::debug!(%status, ?work, "will try again");
                tokio::time::sleep(RETRY).await;
                self.add(work);
            }
        }
    }

    /// What is known of an owner that a reference names.
    fn owner(&self, namespace: &str, reference: &Value) -> Owner {
        let Some(place) = self.place_of(namespace, reference) else {
            return Owner::Unknown;
        };
        let uid = reference.str_at(&["uid"]);
        match self.get(&place).filter(|found| found.uid() == uid) {
            None => Owner::Gone,
            Some(found) if is_foreground(found.value()) => Owner::Waiting,
            Some(_) => Owner::There,
        }
    }

    /// Deletes an object whose owners have all gone; of several, those that have gone are no longer named.
    async fn check(&self, place: &Place) -> Result<()> {
        let Some(object) = self.get(place) else {
            return Ok(());
        };
        let references = object.owner_references();
        let owners: Vec<Owner> = references.iter().map(|one| self.owner(&place.1, one)).collect();
        match fate(&owners) {
            Fate::Keep => Ok(()),
            Fate::Forget => {
                let there: Vec<Value> = references
                    .iter()
                    .zip(&owners)
                    .filter(|(_, owner)| **owner != Owner::Gone)
                    .map(|(reference, _)| reference.clone())
                    .collect();
                self.write(place, |next| {
                    metadata_mut(next).insert("ownerReferences".into(), there.clone().into());
                })
                .await
            }
            Fate::Delete { .. } if object.deletion_timestamp().is_some() => Ok(()),
            Fate::Delete { waited_for } => {
                let has_dependents = self.state.lock().dependents.contains_key(object.uid());
                let propagation = match waited_for && has_dependents {
                    true => Propagation::Foreground,
                    false => Propagation::Background,
                };
                let options = DeleteOptions {
                    uid: Some(object.uid().to_owned()),
                    propagation,
                    ..DeleteOptions::default()
                };
                let (resource, namespace, name) = place;
                ignore_gone(
                    self.api
                        .delete(&self.me, resource, namespace, name, &options)
                        .await,
                )
            }
        }
    }

    /// Removes the finalizer of an object whose dependents are gone or orphaned.
    async fn finish(&self, place: &Place) -> Result<()> {
        let Some(object) = self
            .get(place)
            .filter(|object| object.deletion_timestamp().is_some())
        else {
            return Ok(());
        };
        let uid = object.uid();
        if has_finalizer(object.value(), ORPHAN) {
            for dependent in self.dependents(uid) {
                self.write(&dependent, |next| {
                    let mut owners = next.owner_references().to_vec();
                    owners.retain(|owner| owner.str_at(&["uid"]) != uid);
                    metadata_mut(next).insert("ownerReferences".into(), owners.into());
                })
                .await?;
            }
            return self.drop_finalizer(place, ORPHAN).await;
        }
        if !has_finalizer(object.value(), FOREGROUND) {
            return Ok(());
        }
        let mut blocked = false;
        for dependent in self.dependents(uid) {
            let Some(found) = self.get(&dependent) else {
                continue;
            };
            blocked |= found.owner_references().iter().any(|owner| {
                owner.str_at(&["uid"]) == uid && owner.get("blockOwnerDeletion") == Some(&Value::Bool(true))
            });
            if found.deletion_timestamp().is_none() {
                self.add(Work::Check(dependent));
            }
        }
        if blocked {
            return Ok(());
        }
        self.drop_finalizer(place, FOREGROUND).await
    }

    async fn drop_finalizer(&self, place: &Place, finalizer: &str) -> Result<()> {
        self.write(place, |next| {
            let mut finalizers = next.finalizers().to_vec();
            finalizers.retain(|one| one != finalizer);
            metadata_mut(next).insert("finalizers".into(), json!(finalizers));
        })
        .await
    }

    async fn write(&self, place: &Place, change: impl Fn(&mut Value) + Send + Sync) -> Result<()> {
        let (resource, namespace, name) = place;
        let change = |next: &mut Value| {
            change(next);
            Ok(())
        };
        ignore_gone(
            self.api
                .modify(&self.me, resource, namespace, name, "", change)
                .await,
        )
    }
}

/// Removes events after an hour, until dropped.
pub(crate) async fn expire_events(api: Arc<Api>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        api.store().expire("events", EVENT_LIFE);
    }
}

/// Removes the pods of nodes that have been deleted, until dropped.
pub(crate) async fn pods_without_node(api: Arc<Api>) {
    let me = Caller::controller("pod-garbage-collector");
    let mut watch = api.store().watch("nodes", api.store().resource_version());
    loop {
        let Ok(event) = watch.next().await else {
            watch = api.store().watch("nodes", api.store().resource_version());
            continue;
        };
        let node = event.object.name();
        if event.change != Change::Deleted || api.store().get("nodes", "", node).is_some() {
            continue;
        }
        let is_lost = |pod: &Value| pod.str_at(&["spec", "nodeName"]) == node;
        for pod in api.store().find("pods", None, is_lost) {
            let options = DeleteOptions {
                uid: Some(pod.uid().to_owned()),
                ..DeleteOptions::grace(0)
            };
            let gone = api
                .delete(&me, "pods", pod.namespace(), pod.name(), &options)
                .await;
            if let Err(status) = gone
                && status.code != 404
            {
                tracing::warn!(pod = pod.name(), %status, "a pod of a deleted node was not removed");
            }
        }
    }
}
