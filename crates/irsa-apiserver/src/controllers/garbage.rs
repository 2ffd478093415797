//! What goes because something else went: dependents of deleted owners, pods of deleted nodes, old events.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::api::{Api, BoxFuture, Caller, DeleteOptions, Propagation};
use crate::object::{Object, ObjectExt, metadata_mut};
use crate::status::{Result, Status};
use crate::store::{Change, Event};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const CUSTOM: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// How long a refused deletion waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long events are kept, in seconds.
const EVENT_LIFE: i64 = 3600;

/// Where an object is: resource, namespace, name.
type Place = (Arc<str>, String, String);

#[derive(Default)]
struct State {
    // By uid of the owner.
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

/// Collects until dropped.
pub(crate) async fn run(api: Arc<Api>) {
    let collector = Collector {
        me: Caller::controller("generic-garbage-collector"),
        api,
        state: Mutex::default(),
        wake: Notify::new(),
    };
    tokio::join!(collector.follow_all(), collector.work());
}

impl Collector {
    async fn follow_all(&self) {
        let mut loops: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut followed: HashSet<String> = HashSet::new();
        let mut definitions = self.api.store().watch(CUSTOM, 0);
        loop {
            for resource in self.api.registry().all() {
                // Nobody owns events.
                if resource.stored && resource.plural != "events" && followed.insert(resource.storage.clone())
                {
                    let storage = resource.storage.clone();
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

    async fn follow(&self, resource: &str) {
        let resource: Arc<str> = resource.into();
        let store = self.api.store();
        loop {
            let listing = store.list(&resource, None);
            let mut watch = store.watch(&resource, listing.resource_version);
            for object in listing.items {
                self.see(
                    &resource,
                    &Event {
                        change: Change::Added,
                        object,
                        previous: None,
                    },
                );
            }
            while let Ok(event) = watch.next().await {
                self.see(&resource, &event);
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
            object
                .owner_references()
                .iter()
                .map(|owner| owner.str_at(&["uid"]).to_owned())
                .collect()
        };
        let before = event
            .previous
            .as_ref()
            .map(|previous| owners(previous.value()))
            .unwrap_or_default();
        let after = if event.change == Change::Deleted {
            HashSet::new()
        } else {
            owners(object)
        };
        let mut waiting_owners = Vec::new();
        {
            let mut state = self.state.lock();
            for lost in before.difference(&after) {
                if let Some(places) = state.dependents.get_mut(lost) {
                    places.remove(&place);
                    if places.is_empty() {
                        state.dependents.remove(lost);
                    }
                }
            }
            for owner in &after {
                state
                    .dependents
                    .entry(owner.clone())
                    .or_default()
                    .insert(place.clone());
            }
        }
        if before != after {
            // An owner may wait for exactly this one.
            let references = event
                .previous
                .iter()
                .flat_map(|previous| previous.owner_references());
            for owner in references {
                if let Some(place) = self.place_of(object.namespace(), owner)
                    && let Some(found) = self.api.store().get(&place.0, &place.1, &place.2)
                    && found.deletion_timestamp().is_some()
                {
                    waiting_owners.push(place);
                }
            }
        }
        for place in waiting_owners {
            self.add(Work::Marked(place));
        }
        match event.change {
            Change::Deleted => self.add(Work::OwnerGone(object.uid().to_owned())),
            _ => {
                if before != after && !after.is_empty() {
                    self.add(Work::Check(place.clone()));
                }
                let marked = object.deletion_timestamp().is_some()
                    && object
                        .finalizers()
                        .iter()
                        .any(|one| one == FOREGROUND || one == ORPHAN);
                if marked {
                    self.add(Work::Marked(place));
                }
            }
        }
    }

    fn place_of(&self, namespace: &str, owner: &Value) -> Option<Place> {
        let resource = self
            .api
            .registry()
            .by_kind(owner.str_at(&["apiVersion"]), owner.kind())?;
        let namespace = if resource.namespaced { namespace } else { "" };
        Some((
            resource.storage.as_str().into(),
            namespace.to_owned(),
            owner.str_at(&["name"]).to_owned(),
        ))
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
                    let places: Vec<Place> = self
                        .state
                        .lock()
                        .dependents
                        .get(uid)
                        .into_iter()
                        .flatten()
                        .cloned()
                        .collect();
                    for place in places {
                        self.add(Work::Check(place));
                    }
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

    fn get(&self, place: &Place) -> Option<Object> {
        self.api.store().get(&place.0, &place.1, &place.2)
    }

    /// Deletes an object whose owners have all gone; of several, those that have gone are no longer named.
    async fn check(&self, place: &Place) -> Result<()> {
        let Some(object) = self.get(place) else {
            return Ok(());
        };
        let mut there = Vec::new();
        let mut waiting = false;
        for owner in object.owner_references() {
            let Some(at) = self.place_of(&place.1, owner) else {
                // A kind that is not served: nobody can say that it has gone.
                return Ok(());
            };
            let found = self
                .get(&at)
                .filter(|found| found.uid() == owner.str_at(&["uid"]));
            if let Some(found) = found {
                waiting |= is_foreground(found.value());
                there.push(owner.clone());
            }
        }
        if object.owner_references().is_empty()
            || (there.len() == object.owner_references().len() && !waiting)
        {
            return Ok(());
        }
        let living = there.iter().any(|owner| {
            self.place_of(&place.1, owner)
                .and_then(|at| self.get(&at))
                .is_some_and(|owner| !is_foreground(owner.value()))
        });
        if living {
            if there.len() < object.owner_references().len() {
                self.write(place, |next| {
                    metadata_mut(next).insert("ownerReferences".into(), there.clone().into());
                })
                .await?;
            }
            return Ok(());
        }
        if object.deletion_timestamp().is_some() {
            return Ok(());
        }
        let has_dependents = self.state.lock().dependents.contains_key(object.uid());
        let options = DeleteOptions {
            uid: Some(object.uid().to_owned()),
            propagation: if waiting && has_dependents {
                Propagation::Foreground
            } else {
                Propagation::Background
            },
            ..DeleteOptions::default()
        };
        ignore_gone(
            self.api
                .delete(&self.me, &place.0, &place.1, &place.2, &options)
                .await
                .map(|_| ()),
        )
    }

    /// Lets an object go once its dependents are gone, or without them.
    async fn finish(&self, place: &Place) -> Result<()> {
        let Some(object) = self.get(place) else {
            return Ok(());
        };
        if object.deletion_timestamp().is_none() {
            return Ok(());
        }
        let has = |finalizer: &str| object.finalizers().iter().any(|one| one == finalizer);
        let places: Vec<Place> = self
            .state
            .lock()
            .dependents
            .get(object.uid())
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if has(ORPHAN) {
            for dependent in &places {
                let uid = object.uid().to_owned();
                let written = self
                    .write(dependent, |next| {
                        let mut owners = next.owner_references().to_vec();
                        owners.retain(|owner| owner.str_at(&["uid"]) != uid);
                        metadata_mut(next).insert("ownerReferences".into(), owners.into());
                    })
                    .await;
                written?;
            }
            return self.drop_finalizer(place, ORPHAN).await;
        }
        if !has(FOREGROUND) {
            return Ok(());
        }
        let mut blocking = false;
        for dependent in &places {
            let Some(found) = self.get(dependent) else {
                continue;
            };
            blocking |= found.owner_references().iter().any(|owner| {
                owner.str_at(&["uid"]) == object.uid()
                    && owner.get("blockOwnerDeletion") == Some(&Value::Bool(true))
            });
            if found.deletion_timestamp().is_none() {
                self.add(Work::Check(dependent.clone()));
            }
        }
        if blocking {
            Ok(())
        } else {
            self.drop_finalizer(place, FOREGROUND).await
        }
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
        let written = self
            .api
            .modify(&self.me, &place.0, &place.1, &place.2, "", |next| {
                change(next);
                Ok(())
            })
            .await;
        ignore_gone(written.map(|_| ()))
    }
}

fn is_foreground(object: &Value) -> bool {
    object.deletion_timestamp().is_some() && object.finalizers().iter().any(|one| one == FOREGROUND)
}

fn ignore_gone(result: Result<()>) -> Result<()> {
    match result {
        Err(Status { code: 404 | 409, .. }) => Ok(()),
        other => other,
    }
}

/// Removes events after an hour, until dropped.
pub(crate) async fn expire_events(api: Arc<Api>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let now = Timestamp::now().as_second();
        for event in api.store().list("events", None).items {
            let at = ["lastTimestamp", "eventTime", "firstTimestamp"]
                .iter()
                .map(|key| event.str_at(&[key]))
                .chain([event.str_at(&["metadata", "creationTimestamp"])])
                .find_map(|text| text.parse::<Timestamp>().ok());
            if at.is_some_and(|at| now - at.as_second() > EVENT_LIFE) {
                // As etcd's leases do it: without asking anybody.
                let _ = api
                    .store()
                    .delete("events", event.namespace(), event.name(), None);
            }
        }
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
        if event.change != Change::Deleted {
            continue;
        }
        let node = event.object.name();
        if api.store().get("nodes", "", node).is_some() {
            continue;
        }
        let lost = api
            .store()
            .find("pods", None, |pod| pod.str_at(&["spec", "nodeName"]) == node);
        for pod in lost {
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
