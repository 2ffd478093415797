//! Deployments: a ReplicaSet per template, rolled over within surge and unavailability, with revisions and
//! conditions as `kubectl rollout` reads them.

mod plan;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::pods::{claim, controller_reference, set_count};
use super::queue::{Controller, Key, adopters, owners};
use super::scheduler::selector_of;
use super::{Context, hash};
use crate::api::{BoxFuture, DeleteOptions, WriteOptions};
use crate::conditions::{condition, remove_condition, set_condition_at};
use crate::object::{Object, ObjectExt, entry_object};
use crate::status::Result;
use crate::store::Event;

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
const COLLISIONS: i64 = 8;

pub(crate) struct Deployments(pub(crate) Context);

/// `spec.replicas` and the parts of `status` that planning needs.
pub(crate) fn replicas(object: &Value) -> i64 {
    object.int_at(&["spec", "replicas"]).unwrap_or(1)
}

fn available(set: &Value) -> i64 {
    set.int_at(&["status", "availableReplicas"]).unwrap_or_default()
}

fn revision(object: &Value) -> i64 {
    object
        .annotation(REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// A template without the label that only ReplicaSets carry.
fn bare(template: Option<&Value>) -> Value {
    let mut template = template.cloned().unwrap_or_default();
    if let Some(Value::Object(labels)) = template
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("labels"))
    {
        labels.shift_remove(HASH);
    }
    template
}

/// The ReplicaSets of a Deployment: that of its template, and the others, oldest first.
struct Sets {
    new: Option<Object>,
    old: Vec<Object>,
}

impl Sets {
    fn all(&self) -> impl Iterator<Item = &Object> {
        self.new.iter().chain(&self.old)
    }

    fn sum(&self, count: impl Fn(&Value) -> i64) -> i64 {
        self.all().map(|set| count(set.value())).sum()
    }
}

impl Deployments {
    async fn sets(&self, deployment: &Object) -> Result<Sets> {
        let selector = selector_of(deployment.value())?;
        let mut all = claim(&self.0.api, &self.0.me, SETS, deployment, &selector).await?;
        let created = |set: &Object| {
            (
                set.str_at(&["metadata", "creationTimestamp"]).to_owned(),
                revision(set.value()),
            )
        };
        all.sort_by_key(created);
        let template = bare(deployment.at(&["spec", "template"]));
        let found = all
            .iter()
            .position(|set| bare(set.at(&["spec", "template"])) == template);
        let new = found.map(|at| all.remove(at));
        Ok(Sets { new, old: all })
    }

    /// Annotations that a ReplicaSet has from its Deployment.
    fn inherited(deployment: &Object) -> Map<String, Value> {
        deployment
            .map_at(&["metadata", "annotations"])
            .into_iter()
            .flatten()
            .filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Makes the ReplicaSet of the present template, or brings its annotations up to date.
    async fn ensure_new(&self, deployment: &Object, sets: &mut Sets) -> Result<()> {
        let context = &self.0;
        let next_revision = sets
            .old
            .iter()
            .map(|set| revision(set.value()))
            .max()
            .unwrap_or_default()
            + 1;
        let rolling = plan::Rolling::of(deployment.value());
        match sets.new.clone() {
            Some(new) => {
                let revision_now = revision(new.value()).max(next_revision);
                let written = context
                    .api
                    .modify(&context.me, SETS, new.namespace(), new.name(), "", |set| {
                        let before = revision(set);
                        let annotations = entry_object(&mut set["metadata"], "annotations");
                        annotations.extend(Self::inherited(deployment));
                        if before != revision_now && before > 0 {
                            let mut history = annotations
                                .get(HISTORY)
                                .and_then(Value::as_str)
                                .map(|history| format!("{history},"))
                                .unwrap_or_default();
                            history.push_str(&before.to_string());
                            annotations.insert(HISTORY.into(), history.into());
                        }
                        annotations.insert(REVISION.into(), revision_now.to_string().into());
                        annotations.insert(DESIRED.into(), rolling.replicas.to_string().into());
                        annotations.insert(
                            MAX.into(),
                            (rolling.replicas + rolling.max_surge).to_string().into(),
                        );
                        let min_ready = deployment.at(&["spec", "minReadySeconds"]);
                        if let Some(min_ready) = min_ready {
                            set["spec"]["minReadySeconds"] = min_ready.clone();
                        }
                        Ok(())
                    })
                    .await?;
                sets.new = Some(written.object);
                if condition(deployment.value(), "Progressing").is_none() {
                    self.progress(
                        deployment,
                        "True",
                        "FoundNewReplicaSet",
                        &format!("Found new replica set {:?}", new.name()),
                    )
                    .await?;
                }
                self.set_revision(deployment, revision_now).await
            }
            None => {
                let new = self.make_new(deployment, sets, next_revision, rolling).await?;
                let message = format!("Created new replica set {:?}", new.name());
                sets.new = Some(new);
                self.progress(deployment, "True", "NewReplicaSetCreated", &message)
                    .await?;
                self.set_revision(deployment, next_revision).await
            }
        }
    }

    async fn make_new(
        &self,
        deployment: &Object,
        sets: &Sets,
        revision: i64,
        rolling: plan::Rolling,
    ) -> Result<Object> {
        let context = &self.0;
        let template = bare(deployment.at(&["spec", "template"]));
        let count = plan::new_set_size(rolling, sets.sum(replicas), 0);
        let mut collisions = 0;
        loop {
            let hash = hash::short(&template, collisions);
            let mut template = template.clone();
            entry_object(entry_object_value(&mut template, "metadata"), "labels")
                .insert(HASH.into(), hash.as_str().into());
            let mut selector = deployment.at(&["spec", "selector"]).cloned().unwrap_or_default();
            entry_object(&mut selector, "matchLabels").insert(HASH.into(), hash.as_str().into());
            let mut annotations = Self::inherited(deployment);
            annotations.insert(REVISION.into(), revision.to_string().into());
            annotations.insert(DESIRED.into(), rolling.replicas.to_string().into());
            annotations.insert(
                MAX.into(),
                (rolling.replicas + rolling.max_surge).to_string().into(),
            );
            let mut spec = json!({ "replicas": count, "selector": selector, "template": template });
            if let Some(min_ready) = deployment.at(&["spec", "minReadySeconds"]) {
                spec["minReadySeconds"] = min_ready.clone();
            }
            let set = json!({
                "metadata": {
                    "name": format!("{}-{hash}", deployment.name()),
                    "labels": template["metadata"]["labels"], "annotations": annotations,
                    "ownerReferences": [controller_reference(deployment.value())],
                },
                "spec": spec,
            });
            let options = WriteOptions::default();
            match context
                .api
                .create(&context.me, SETS, deployment.namespace(), set, &options)
                .await
            {
                Ok(written) => {
                    if count > 0 {
                        let message = format!(
                            "Scaled up replica set {} from 0 to {count}",
                            written.object.name()
                        );
                        context
                            .recorder
                            .normal(deployment, "ScalingReplicaSet", message)
                            .await;
                    }
                    return Ok(written.object);
                }
                Err(status) if status.reason == "AlreadyExists" && collisions < COLLISIONS => collisions += 1,
                Err(status) => {
                    let message = format!("Failed to create new replica set: {}", status.message);
                    context
                        .recorder
                        .warning(deployment, "FailedCreate", message.as_str())
                        .await;
                    self.progress(deployment, "False", "ReplicaSetCreateError", &message)
                        .await?;
                    return Err(status);
                }
            }
        }
    }

    async fn set_revision(&self, deployment: &Object, revision: i64) -> Result<()> {
        let text = revision.to_string();
        if deployment.annotation(REVISION) == Some(&text) {
            return Ok(());
        }
        let context = &self.0;
        context
            .api
            .modify(
                &context.me,
                RESOURCE,
                deployment.namespace(),
                deployment.name(),
                "",
                |deployment| {
                    entry_object(entry_object_value(deployment, "metadata"), "annotations")
                        .insert(REVISION.into(), text.as_str().into());
                    Ok(())
                },
            )
            .await?;
        Ok(())
    }

    async fn progress(&self, deployment: &Object, value: &str, reason: &str, message: &str) -> Result<()> {
        let context = &self.0;
        context
            .api
            .modify(
                &context.me,
                RESOURCE,
                deployment.namespace(),
                deployment.name(),
                "status",
                |deployment| {
                    set_condition_at(
                        deployment,
                        "Progressing",
                        value,
                        reason,
                        message,
                        &["lastUpdateTime"],
                    );
                    Ok(())
                },
            )
            .await?;
        Ok(())
    }

    /// Sets the size of a ReplicaSet and says so.
    async fn scale(&self, deployment: &Object, set: &mut Object, size: i64) -> Result<()> {
        let context = &self.0;
        let before = replicas(set.value());
        let rolling = plan::Rolling::of(deployment.value());
        let written = context
            .api
            .modify(&context.me, SETS, set.namespace(), set.name(), "", |set| {
                entry_object(set, "spec").insert("replicas".into(), size.into());
                let annotations = entry_object(entry_object_value(set, "metadata"), "annotations");
                annotations.insert(DESIRED.into(), rolling.replicas.to_string().into());
                annotations.insert(
                    MAX.into(),
                    (rolling.replicas + rolling.max_surge).to_string().into(),
                );
                Ok(())
            })
            .await?;
        *set = written.object;
        if before != size {
            let direction = if size > before { "up" } else { "down" };
            let message = format!(
                "Scaled {direction} replica set {} from {before} to {size}",
                set.name()
            );
            context
                .recorder
                .normal(deployment, "ScalingReplicaSet", message)
                .await;
        }
        Ok(())
    }

    async fn roll(&self, deployment: &Object, sets: &mut Sets) -> Result<()> {
        let rolling = plan::Rolling::of(deployment.value());
        if let Some(mut new) = sets.new.take() {
            let size = plan::new_set_size(
                rolling,
                sets.sum(replicas) + replicas(new.value()),
                replicas(new.value()),
            );
            let result = if size == replicas(new.value()) {
                Ok(())
            } else {
                self.scale(deployment, &mut new, size).await
            };
            sets.new = Some(new);
            result?;
        }
        let states = |sets: &[Object]| -> Vec<plan::SetState> {
            sets.iter()
                .map(|set| plan::SetState {
                    replicas: replicas(set.value()),
                    available: available(set.value()),
                })
                .collect()
        };
        let new = sets
            .new
            .as_ref()
            .map_or_else(plan::SetState::default, |new| plan::SetState {
                replicas: replicas(new.value()),
                available: available(new.value()),
            });
        let sizes = plan::old_set_sizes(rolling, new, &states(&sets.old));
        for (set, size) in sets.old.iter_mut().zip(sizes) {
            if replicas(set.value()) != size {
                self.scale(deployment, set, size).await?;
            }
        }
        Ok(())
    }

    async fn recreate(&self, deployment: &Object, sets: &mut Sets) -> Result<()> {
        let mut scaled = false;
        for set in &mut sets.old {
            if replicas(set.value()) > 0 {
                self.scale(deployment, set, 0).await?;
                scaled = true;
            }
        }
        // The old ones have to be gone, not only told to go.
        let gone = self
            .0
            .api
            .store()
            .find("pods", Some(deployment.namespace()), |pod| {
                pod.controller()
                    .is_some_and(|owner| sets.old.iter().any(|set| set.uid() == owner.str_at(&["uid"])))
                    && !crate::pod::has_ended(pod)
            })
            .is_empty();
        if scaled || !gone {
            return Ok(());
        }
        if sets.new.is_none() {
            self.ensure_new(deployment, sets).await?;
        }
        if let Some(mut new) = sets.new.take() {
            let size = replicas(deployment.value());
            if replicas(new.value()) != size {
                self.scale(deployment, &mut new, size).await?;
            }
            sets.new = Some(new);
        }
        Ok(())
    }

    /// A change of `spec.replicas` in the middle of a rollout, or while paused: every set gets its share.
    async fn scale_all(&self, deployment: &Object, sets: &mut Sets) -> Result<()> {
        let rolling = plan::Rolling::of(deployment.value());
        let is_rolling = deployment.str_at(&["spec", "strategy", "type"]) != "Recreate";
        let surge = if is_rolling { rolling.max_surge } else { 0 };
        let mut active: Vec<&mut Object> = sets
            .old
            .iter_mut()
            .chain(sets.new.iter_mut())
            .filter(|set| replicas(set.value()) > 0)
            .collect();
        if active.len() <= 1 {
            let only = active.pop().map(|only| only.uid().to_owned());
            let target = sets
                .old
                .iter_mut()
                .chain(sets.new.iter_mut())
                .find(|set| only.as_deref().is_none_or(|uid| uid == set.uid()));
            if let Some(set) = target
                && replicas(set.value()) != rolling.replicas
            {
                self.scale(deployment, set, rolling.replicas).await?;
            }
            return Ok(());
        }
        let sizes: Vec<i64> = active.iter().map(|set| replicas(set.value())).collect();
        let allowed = if rolling.replicas > 0 {
            rolling.replicas + surge
        } else {
            0
        };
        let sizes = plan::proportional(&sizes, allowed);
        for (set, size) in active.into_iter().zip(sizes) {
            self.scale(deployment, set, size).await?;
        }
        Ok(())
    }

    async fn clean_up(&self, deployment: &Object, sets: &Sets) -> Result<()> {
        let limit = deployment
            .int_at(&["spec", "revisionHistoryLimit"])
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(10);
        let mut idle: Vec<&Object> = sets
            .old
            .iter()
            .filter(|set| {
                set.deletion_timestamp().is_none()
                    && replicas(set.value()) == 0
                    && set.int_at(&["status", "replicas"]).unwrap_or_default() == 0
            })
            .collect();
        idle.sort_by_key(|set| revision(set.value()));
        for set in idle.iter().take(idle.len().saturating_sub(limit)) {
            let options = DeleteOptions::default();
            let gone = self
                .0
                .api
                .delete(&self.0.me, SETS, set.namespace(), set.name(), &options)
                .await;
            if let Err(status) = gone
                && status.code != 404
            {
                return Err(status);
            }
        }
        Ok(())
    }

    async fn report(&self, deployment: &Object, sets: &Sets) -> Result<Option<Duration>> {
        let rolling = plan::Rolling::of(deployment.value());
        let status = |key: &'static str| move |set: &Value| set.int_at(&["status", key]).unwrap_or_default();
        let total = sets.sum(status("replicas"));
        let ready = sets.sum(status("readyReplicas"));
        let available = sets.sum(status("availableReplicas"));
        let new = sets.new.as_ref();
        let updated = new.map_or(0, |new| status("replicas")(new.value()));
        // Pods that are wanted and not available, as in `spec`, so that those not yet made count.
        let unavailable = (sets.sum(replicas) - available).max(0);
        let failure = sets
            .all()
            .find_map(|set| condition(set.value(), "ReplicaFailure").cloned());
        let generation = deployment.generation();
        let complete = updated == rolling.replicas
            && total == rolling.replicas
            && available == rolling.replicas
            && new.is_some();
        let paused = is_paused(deployment.value());
        let name = new.map_or(deployment.name(), |new| new.name()).to_owned();
        let deadline = deployment
            .int_at(&["spec", "progressDeadlineSeconds"])
            .filter(|seconds| *seconds < i64::from(i32::MAX));
        let mut look_again = None;
        let written = self
            .0
            .api
            .modify(
                &self.0.me,
                RESOURCE,
                deployment.namespace(),
                deployment.name(),
                "status",
                |deployment| {
                    let before = |key: &str| deployment.int_at(&["status", key]).unwrap_or_default();
                    let progressed = updated > before("updatedReplicas")
                        || ready > before("readyReplicas")
                        || available > before("availableReplicas")
                        || total - updated < before("replicas") - before("updatedReplicas");
                    let fields = entry_object(deployment, "status");
                    fields.insert("observedGeneration".into(), generation.into());
                    set_count(fields, "replicas", total);
                    set_count(fields, "updatedReplicas", updated);
                    set_count(fields, "readyReplicas", ready);
                    set_count(fields, "availableReplicas", available);
                    set_count(fields, "unavailableReplicas", unavailable);
                    let (value, reason, message) = if available >= rolling.replicas - rolling.max_unavailable
                    {
                        (
                            "True",
                            "MinimumReplicasAvailable",
                            "Deployment has minimum availability.",
                        )
                    } else {
                        (
                            "False",
                            "MinimumReplicasUnavailable",
                            "Deployment does not have minimum availability.",
                        )
                    };
                    let times = &["lastUpdateTime"];
                    set_condition_at(deployment, "Available", value, reason, message, times);
                    match &failure {
                        Some(failure) => set_condition_at(
                            deployment,
                            "ReplicaFailure",
                            failure.str_at(&["status"]),
                            failure.str_at(&["reason"]),
                            failure.str_at(&["message"]),
                            times,
                        ),
                        None => remove_condition(deployment, "ReplicaFailure"),
                    }
                    if paused || deadline.is_none() {
                        return Ok(());
                    }
                    let already = condition(deployment, "Progressing")
                        .is_some_and(|one| one.str_at(&["reason"]) == "NewReplicaSetAvailable");
                    if complete {
                        let message = format!("ReplicaSet {name:?} has successfully progressed.");
                        let reason = "NewReplicaSetAvailable";
                        set_condition_at(deployment, "Progressing", "True", reason, &message, times);
                    } else if progressed && !already {
                        let message = format!("ReplicaSet {name:?} is progressing.");
                        let reason = "ReplicaSetUpdated";
                        remove_condition_unless(deployment, "Progressing", "True");
                        touch_progress(deployment, reason, &message);
                    } else if let Some(deadline) = deadline
                        && timed_out(deployment, deadline)
                    {
                        let message = format!("ReplicaSet {name:?} has timed out progressing.");
                        let reason = "ProgressDeadlineExceeded";
                        set_condition_at(deployment, "Progressing", "False", reason, &message, times);
                    }
                    Ok(())
                },
            )
            .await?;
        if !complete
            && !paused
            && let Some(deadline) = deadline
            && condition(written.object.value(), "Progressing").is_some_and(|one| {
                !matches!(
                    one.str_at(&["reason"]),
                    "NewReplicaSetAvailable" | "ProgressDeadlineExceeded"
                )
            })
        {
            look_again = u64::try_from(deadline)
                .ok()
                .map(|deadline| Duration::from_secs(deadline + 1));
        }
        Ok(look_again)
    }

    /// `kubectl rollout pause|resume` leave their mark in the conditions.
    async fn note_pause(&self, deployment: &Object) -> Result<()> {
        let Some(progressing) = condition(deployment.value(), "Progressing") else {
            return Ok(());
        };
        let reason = progressing.str_at(&["reason"]);
        if reason == "ProgressDeadlineExceeded" {
            return Ok(());
        }
        match (is_paused(deployment.value()), reason == "DeploymentPaused") {
            (true, false) => {
                self.progress(deployment, "Unknown", "DeploymentPaused", "Deployment is paused")
                    .await
            }
            (false, true) => {
                self.progress(
                    deployment,
                    "Unknown",
                    "DeploymentResumed",
                    "Deployment is resumed",
                )
                .await
            }
            _ => Ok(()),
        }
    }
}

fn is_paused(deployment: &Value) -> bool {
    deployment.at(&["spec", "paused"]) == Some(&Value::Bool(true))
}

fn entry_object_value<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    entry_object(value, key);
    &mut value[key]
}

fn remove_condition_unless(deployment: &mut Value, kind: &str, value: &str) {
    if condition(deployment, kind).is_some_and(|one| one.str_at(&["status"]) != value) {
        remove_condition(deployment, kind);
    }
}

/// Progress restarts the deadline even when the words stay the same.
fn touch_progress(deployment: &mut Value, reason: &str, message: &str) {
    set_condition_at(
        deployment,
        "Progressing",
        "True",
        reason,
        message,
        &["lastUpdateTime"],
    );
    if let Some(Value::Array(conditions)) = deployment
        .get_mut("status")
        .and_then(|status| status.get_mut("conditions"))
    {
        for condition in conditions {
            if condition.str_at(&["type"]) == "Progressing" {
                condition["lastUpdateTime"] = crate::object::now().into();
            }
        }
    }
}

fn timed_out(deployment: &Value, deadline: i64) -> bool {
    let Some(progressing) = condition(deployment, "Progressing") else {
        return false;
    };
    if matches!(
        progressing.str_at(&["reason"]),
        "NewReplicaSetAvailable" | "DeploymentPaused"
    ) {
        return false;
    }
    progressing
        .str_at(&["lastUpdateTime"])
        .parse::<Timestamp>()
        .is_ok_and(|since| Timestamp::now().as_second() > since.as_second() + deadline)
}

impl Controller for Deployments {
    fn follows(&self) -> &'static [&'static str] {
        &[RESOURCE, SETS, "pods"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        match resource {
            RESOURCE => add((object.namespace().to_owned(), object.name().to_owned())),
            SETS => {
                owners(event, "Deployment", add);
                adopters(self.0.api.store(), RESOURCE, event, add);
            }
            // Recreation waits for the last old pod to go.
            _ if event.change == crate::store::Change::Deleted => {
                let owner = object
                    .controller()
                    .filter(|owner| owner.kind() == "ReplicaSet")
                    .and_then(|owner| {
                        self.0
                            .api
                            .store()
                            .get(SETS, object.namespace(), owner.str_at(&["name"]))
                    });
                if let Some(set) = owner
                    && let Some(owner) = set.controller().filter(|owner| owner.kind() == "Deployment")
                {
                    add((object.namespace().to_owned(), owner.str_at(&["name"]).to_owned()));
                }
            }
            _ => {}
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let Some(deployment) = self.0.api.store().get(RESOURCE, namespace, name) else {
                return Ok(None);
            };
            let mut sets = self.sets(&deployment).await?;
            if deployment.deletion_timestamp().is_some() {
                self.report(&deployment, &sets).await?;
                return Ok(None);
            }
            self.note_pause(&deployment).await?;
            let desired_changed = sets.all().any(|set| {
                replicas(set.value()) > 0
                    && set
                        .annotation(DESIRED)
                        .and_then(|text| text.parse::<i64>().ok())
                        .is_some_and(|desired| desired != replicas(deployment.value()))
            });
            let recreate = deployment.str_at(&["spec", "strategy", "type"]) == "Recreate";
            if is_paused(deployment.value()) || desired_changed {
                self.scale_all(&deployment, &mut sets).await?;
            } else {
                if !recreate || sets.new.is_some() || sets.old.is_empty() {
                    self.ensure_new(&deployment, &mut sets).await?;
                }
                if recreate {
                    self.recreate(&deployment, &mut sets).await?;
                } else {
                    self.roll(&deployment, &mut sets).await?;
                }
                self.clean_up(&deployment, &sets).await?;
            }
            match self.report(&deployment, &sets).await {
                Err(status) if status.code == 404 => Ok(None),
                other => other,
            }
        })
    }
}
