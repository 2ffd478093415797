//! Deployments: a ReplicaSet per template, rolled over within surge and unavailability, with revisions and
//! conditions as `kubectl rollout` reads them.

mod plan;
mod progress;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus};
use serde_json::{Map, Value, json};

use self::plan::{Rolling, SetState, Sizes};
use self::progress::{Counts, Progress};
use super::context::Context;
use super::hash;
use super::owned::{controller_reference, typed};
use super::queue::{Controller, Key};
use crate::api::WriteOptions;
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::has_ended;
use crate::status::Result;
use crate::store::{Change, Event};

const RESOURCE: &str = "deployments.apps";
const SETS: &str = "replicasets.apps";
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not inherit.
const OWN_ANNOTATIONS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// How often another hash is tried when the name is taken.
const COLLISIONS: i64 = 8;

pub(crate) struct Deployments(pub(crate) Context);

fn replicas(set: &Object) -> i64 {
    set.int_at(&["spec", "replicas"]).unwrap_or(1)
}

fn counted(set: &Object, key: &str) -> i64 {
    set.int_at(&["status", key]).unwrap_or_default()
}

fn revision(object: &Value) -> i64 {
    let text = object.annotation(REVISION);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A template without the label that only ReplicaSets carry.
fn bare(template: Option<&Value>) -> Value {
    let mut template = template.cloned().unwrap_or_default();
    if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels") {
        labels.shift_remove(HASH);
    }
    template
}

fn annotations_mut(object: &mut Value) -> &mut Map<String, Value> {
    entry_object(object, "metadata");
    entry_object(&mut object["metadata"], "annotations")
}

/// A Deployment with its ReplicaSets.
struct View {
    object: Object,
    spec: DeploymentSpec,
    rolling: Rolling,
    sets: Sizes<Object>,
}

impl View {
    fn new(object: Object, spec: DeploymentSpec, mut sets: Vec<Object>) -> Self {
        sets.sort_by_cached_key(|set| {
            let created = set.str_at(&["metadata", "creationTimestamp"]).to_owned();
            (created, revision(set.value()))
        });
        let template = bare(object.at(&["spec", "template"]));
        let found = sets
            .iter()
            .position(|set| bare(set.at(&["spec", "template"])) == template);
        let new = found.map(|at| sets.remove(at));
        Self {
            rolling: Rolling::of(&spec),
            sets: Sizes { new, old: sets },
            object,
            spec,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Object> {
        self.sets.old.iter().chain(&self.sets.new)
    }

    fn states(&self) -> Sizes<SetState> {
        let state = |set: &Object| SetState {
            replicas: replicas(set),
            available: counted(set, "availableReplicas"),
        };
        Sizes {
            new: self.sets.new.as_ref().map(state),
            old: self.sets.old.iter().map(state).collect(),
        }
    }

    fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    /// Whether `spec.replicas` has changed since sets were last sized.
    fn was_scaled(&self) -> bool {
        let desired = |set: &Object| set.annotation(DESIRED)?.parse::<i64>().ok();
        self.all().any(|set| {
            replicas(set) > 0 && desired(set).is_some_and(|desired| desired != self.rolling.replicas)
        })
    }

    /// Annotations that a ReplicaSet has from its Deployment.
    fn inherited(&self) -> Map<String, Value> {
        let own = self.object.map_at(&["metadata", "annotations"]);
        own.into_iter()
            .flatten()
            .filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn note_sizes(&self, annotations: &mut Map<String, Value>) {
        let most = self.rolling.replicas + self.rolling.max_surge;
        annotations.insert(DESIRED.into(), self.rolling.replicas.to_string().into());
        annotations.insert(MAX.into(), most.to_string().into());
    }

    /// The ReplicaSet of the present template.
    fn new_set(&self, template: &Value, hash: &str, revision: i64, size: i64) -> Value {
        let mut template = template.clone();
        entry_object(&mut template, "metadata");
        entry_object(&mut template["metadata"], "labels").insert(HASH.into(), hash.into());
        let mut selector = self.object.at(&["spec", "selector"]).cloned().unwrap_or_default();
        entry_object(&mut selector, "matchLabels").insert(HASH.into(), hash.into());
        let mut annotations = self.inherited();
        annotations.insert(REVISION.into(), revision.to_string().into());
        self.note_sizes(&mut annotations);
        let mut set = json!({
            "metadata": {
                "name": format!("{}-{hash}", self.object.name()), "labels": template["metadata"]["labels"],
                "annotations": annotations, "ownerReferences": [controller_reference(self.object.value())],
            },
            "spec": { "replicas": size, "selector": selector, "template": template },
        });
        if let Some(seconds) = self.spec.min_ready_seconds {
            set["spec"]["minReadySeconds"] = seconds.into();
        }
        set
    }

    /// The oldest idle sets beyond the limit of the history.
    fn surplus(&self) -> Vec<&Object> {
        let limit = self.spec.revision_history_limit;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
        let is_idle = |set: &&Object| {
            set.deletion_timestamp().is_none() && replicas(set) == 0 && counted(set, "replicas") == 0
        };
        let mut idle: Vec<&Object> = self.sets.old.iter().filter(is_idle).collect();
        idle.sort_by_key(|set| revision(set.value()));
        idle.truncate(idle.len().saturating_sub(limit));
        idle
    }

    fn counts(&self) -> Counts {
        let sum = |key| self.all().map(|set| counted(set, key)).sum::<i64>();
        let new = self.sets.new.as_ref();
        Counts {
            total: sum("replicas"),
            ready: sum("readyReplicas"),
            available: sum("availableReplicas"),
            updated: new.map_or(0, |new| counted(new, "replicas")),
            // From the desired sizes, so that pods that do not exist yet count.
            wanted: self.all().map(replicas).sum(),
            new_set: new.map(|new| new.name().to_owned()),
            failure: self
                .all()
                .find_map(|set| crate::conditions::condition(set.value(), "ReplicaFailure").cloned()),
        }
    }
}

impl Deployments {
    /// Makes the ReplicaSet of the present template, or brings its annotations up to date.
    async fn ensure_new(&self, view: &mut View) -> Result<()> {
        let old = view.sets.old.iter().map(|set| revision(set.value())).max();
        let next = old.unwrap_or_default() + 1;
        let number = match view.sets.new.clone() {
            Some(new) => {
                let number = revision(new.value()).max(next);
                view.sets.new = Some(self.update_new(view, &new, number).await?);
                if crate::conditions::condition(view.object.value(), "Progressing").is_none() {
                    self.progress(view, Progress::Found(new.name())).await?;
                }
                number
            }
            None => {
                let new = self.make_new(view, next).await?;
                self.progress(view, Progress::Created(new.name())).await?;
                view.sets.new = Some(new);
                next
            }
        };
        let text = number.to_string();
        if view.object.annotation(REVISION) != Some(&text) {
            let note = |deployment: &mut Value| {
                annotations_mut(deployment).insert(REVISION.into(), text.as_str().into());
                Ok(())
            };
            self.0.modify(RESOURCE, &view.object, "", note).await?;
        }
        Ok(())
    }

    async fn update_new(&self, view: &View, new: &Object, number: i64) -> Result<Object> {
        let change = |set: &mut Value| {
            let before = revision(set);
            let annotations = annotations_mut(set);
            annotations.extend(view.inherited());
            if before != number && before > 0 {
                let history = annotations.get(HISTORY).and_then(Value::as_str);
                let history = history.map_or(before.to_string(), |history| format!("{history},{before}"));
                annotations.insert(HISTORY.into(), history.into());
            }
            annotations.insert(REVISION.into(), number.to_string().into());
            view.note_sizes(annotations);
            if let Some(seconds) = view.spec.min_ready_seconds {
                set["spec"]["minReadySeconds"] = seconds.into();
            }
            Ok(())
        };
        self.0.modify(SETS, new, "", change).await
    }

    async fn make_new(&self, view: &View, number: i64) -> Result<Object> {
        let context = &self.0;
        let template = bare(view.object.at(&["spec", "template"]));
        let size = plan::new_set_size(view.rolling, view.all().map(replicas).sum(), 0);
        let mut collisions = 0;
        loop {
            let set = view.new_set(&template, &hash::short(&template, collisions), number, size);
            let options = WriteOptions::default();
            let made = context
                .api
                .create(&context.me, SETS, view.object.namespace(), set, &options)
                .await;
            match made {
                Ok(written) => {
                    self.say_scaled(view, written.object.name(), 0, size).await;
                    return Ok(written.object);
                }
                Err(status) if status.reason == "AlreadyExists" && collisions < COLLISIONS => collisions += 1,
                Err(status) => {
                    let message = format!("Failed to create new replica set: {status}");
                    context
                        .recorder
                        .warning(&view.object, "FailedCreate", message.as_str())
                        .await;
                    self.progress(view, Progress::CreateFailed(&message)).await?;
                    return Err(status);
                }
            }
        }
    }

    async fn progress(&self, view: &View, progress: Progress<'_>) -> Result<()> {
        let note = |status: &mut DeploymentStatus| progress.note(status, Timestamp::now());
        self.0.report(RESOURCE, &view.object, note).await?;
        Ok(())
    }

    /// Records `kubectl rollout pause|resume` in the conditions.
    async fn note_pause(&self, view: &View) -> Result<()> {
        let Some(progressing) = crate::conditions::condition(view.object.value(), "Progressing") else {
            return Ok(());
        };
        match (view.is_paused(), progressing.str_at(&["reason"])) {
            (_, "ProgressDeadlineExceeded") | (true, "DeploymentPaused") => Ok(()),
            (true, _) => self.progress(view, Progress::Paused).await,
            (false, "DeploymentPaused") => self.progress(view, Progress::Resumed).await,
            (false, _) => Ok(()),
        }
    }

    async fn say_scaled(&self, view: &View, set: &str, before: i64, size: i64) {
        if before == size {
            return;
        }
        let direction = if size > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {before} to {size}");
        self.0
            .recorder
            .normal(&view.object, "ScalingReplicaSet", message)
            .await;
    }

    /// Gives every set the size that was planned for it.
    async fn resize(&self, view: &mut View, sizes: Sizes<i64>) -> Result<()> {
        if let (Some(set), Some(size)) = (view.sets.new.clone(), sizes.new) {
            view.sets.new = Some(self.scale(view, set, size).await?);
        }
        for (index, size) in sizes.old.into_iter().enumerate() {
            view.sets.old[index] = self.scale(view, view.sets.old[index].clone(), size).await?;
        }
        Ok(())
    }

    async fn scale(&self, view: &View, set: Object, size: i64) -> Result<Object> {
        let before = replicas(&set);
        if before == size && !view.was_scaled() {
            return Ok(set);
        }
        let change = |set: &mut Value| {
            entry_object(set, "spec").insert("replicas".into(), size.into());
            view.note_sizes(annotations_mut(set));
            Ok(())
        };
        let written = self.0.modify(SETS, &set, "", change).await?;
        self.say_scaled(view, set.name(), before, size).await;
        Ok(written)
    }

    /// Whether pods of old sets are left, even such as are ending.
    fn has_old_pods(&self, view: &View) -> bool {
        let pods = |set: &Object| self.0.store().controlled_by("pods", set.namespace(), set.uid());
        view.sets
            .old
            .iter()
            .any(|set| pods(set).iter().any(|pod| !has_ended(pod.value())))
    }

    async fn roll(&self, view: &mut View) -> Result<()> {
        if view.is_paused() || view.was_scaled() {
            let sizes = plan::share(view.rolling, &view.states());
            return self.resize(view, sizes).await;
        }
        let old_pods = view.rolling.recreate && self.has_old_pods(view);
        let waits = old_pods || view.sets.old.iter().any(|set| replicas(set) > 0);
        if !view.rolling.recreate || view.sets.new.is_some() || !waits {
            self.ensure_new(view).await?;
        }
        let sizes = plan::next(view.rolling, &view.states(), old_pods);
        self.resize(view, sizes).await?;
        for set in view.surplus() {
            self.0.remove(SETS, set).await?;
        }
        Ok(())
    }
}

impl Controller for Deployments {
    const RESOURCE: &'static str = RESOURCE;
    const KIND: &'static str = "Deployment";
    const OWNS: &'static [&'static str] = &[SETS];
    const FOLLOWS: &'static [&'static str] = &["pods"];

    fn context(&self) -> &Context {
        &self.0
    }

    /// With `Recreate`, the deletion of the last old pod is what starts the new ones.
    fn concerned(&self, _: &str, event: &Event) -> Vec<Key> {
        let pod = &event.object;
        let deployment = || {
            let set = pod.controller().filter(|owner| owner.kind() == "ReplicaSet")?;
            let set = self.0.store().get(SETS, pod.namespace(), set.str_at(&["name"]))?;
            let owner = set.controller().filter(|owner| owner.kind() == "Deployment")?;
            Some((pod.namespace().to_owned(), owner.str_at(&["name"]).to_owned()))
        };
        match event.change {
            Change::Deleted => deployment().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    async fn reconcile(&self, object: Object) -> Result<Option<Duration>> {
        let deployment: Deployment = typed(object.value())?;
        let sets = self.0.claim(SETS, &object).await?;
        let mut view = View::new(object, deployment.spec, sets);
        self.note_pause(&view).await?;
        self.roll(&mut view).await?;
        let counts = view.counts();
        let generation = deployment.metadata.generation;
        let written = self
            .0
            .report(RESOURCE, &view.object, |status| {
                counts.observe(status, &view.spec, generation, Timestamp::now());
            })
            .await?;
        Ok(counts.look_again(&view.spec, written.value()))
    }
}
