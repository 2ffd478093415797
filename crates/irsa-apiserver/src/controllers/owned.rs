//! How controllers find, claim, create and delete the objects that they control.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::context::Context;
use crate::api::{DeleteOptions, WriteOptions};
use crate::object::{Object, ObjectExt, entry_object, metadata_mut};
use crate::pod::{Availability, availability, has_ended};
use crate::selectors::LabelSelector;
use crate::status::{Result, Status};

/// Reads an object as a type of the API.
pub(super) fn typed<T: DeserializeOwned>(object: &Value) -> Result<T> {
    T::deserialize(object).map_err(Status::internal)
}

/// The label selector of a workload; it selects nothing when there is none.
pub(super) fn selector_of(workload: &Value) -> Result<LabelSelector> {
    LabelSelector::from_object(workload.at(&["spec", "selector"]))
        .map_err(|error| Status::internal(format!("spec.selector: {error}")))
}

/// The owner reference of a controller.
pub(super) fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner.api_version(), "kind": owner.kind(), "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A pod as a controller's template describes it.
pub(super) fn from_template(owner: &Value, template: &Value) -> Value {
    let mut metadata = Map::new();
    metadata.insert("generateName".into(), format!("{}-", owner.name()).into());
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.at(&["metadata", key]) {
            metadata.insert(key.into(), value.clone());
        }
    }
    metadata.insert("ownerReferences".into(), json!([controller_reference(owner)]));
    json!({
        "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    })
}

/// An `IntOrString` of a rolling update, of `total`; `None` for text that is neither a number nor a percentage.
pub(super) fn scaled(value: &IntOrString, total: i64, round_up: bool) -> Option<i64> {
    match value {
        IntOrString::Int(number) => Some(i64::from(*number)),
        IntOrString::String(text) => match text.strip_suffix('%') {
            Some(percent) => {
                let product = percent.parse::<i64>().ok()? * total;
                Some((product + if round_up { 99 } else { 0 }).div_euclid(100))
            }
            None => text.parse().ok(),
        },
    }
}

/// How many objects a status counts.
pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A count that Go leaves out when it is zero.
pub(super) fn nonzero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

/// The time at which pods are checked, and for how long they must have been ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) min_ready: i64,
    pub(super) at: Timestamp,
}

impl Moment {
    pub(super) fn now(min_ready: Option<i32>) -> Self {
        Self {
            min_ready: min_ready.map_or(0, i64::from),
            at: Timestamp::now(),
        }
    }

    /// Whether a pod that is not being deleted has been ready for long enough.
    pub(super) fn is_available(self, pod: &Object) -> bool {
        pod.deletion_timestamp().is_none()
            && availability(pod.value(), self.min_ready, self.at) == Availability::Available
    }

    /// When the next of these pods will have been ready for long enough.
    pub(super) fn soon<'a>(self, pods: impl IntoIterator<Item = &'a Object>) -> Option<Duration> {
        pods.into_iter()
            .filter_map(|pod| match availability(pod.value(), self.min_ready, self.at) {
                Availability::In(time) => Some(time),
                _ => None,
            })
            .min()
    }
}

/// The wording of a controller's events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Words {
    /// Of ReplicaSets, DaemonSets and Jobs about their pods.
    Pod,
    /// Of StatefulSets about their pods.
    NumberedPod,
    /// Of CronJobs about their Jobs.
    Job,
}

impl Words {
    fn done(self, verb: &str, owner: &Object, name: &str) -> String {
        let mut capital = verb.to_owned();
        capital[..1].make_ascii_uppercase();
        match self {
            Self::Pod => format!("{capital}d pod: {name}"),
            Self::NumberedPod => format!("{verb} Pod {name} in StatefulSet {} successful", owner.name()),
            Self::Job => format!("{capital}d job {name}"),
        }
    }

    fn failed(self, verb: &str, owner: &Object, name: &str, why: &Status) -> String {
        let doing = verb.trim_end_matches('e');
        match self {
            Self::Pod => format!("Error {doing}ing: {why}"),
            Self::NumberedPod => {
                format!(
                    "{verb} Pod {name} in StatefulSet {} failed error: {why}",
                    owner.name()
                )
            }
            Self::Job => format!("Error {doing}ing job: {why}"),
        }
    }
}

impl Context {
    /// Changes an object; with `subresource` `"status"` only its status.
    pub(super) async fn modify(
        &self,
        resource: &str,
        object: &Object,
        subresource: &str,
        change: impl Fn(&mut Value) -> Result<()> + Send + Sync,
    ) -> Result<Object> {
        let (namespace, name) = (object.namespace(), object.name());
        let api = &self.api;
        let written = api
            .modify(&self.me, resource, namespace, name, subresource, change)
            .await?;
        Ok(written.object)
    }

    /// Changes the status of an object. Fields that the type does not have are kept.
    pub(super) async fn report<S: Serialize + DeserializeOwned + Default>(
        &self,
        resource: &str,
        object: &Object,
        change: impl Fn(&mut S) + Send + Sync,
    ) -> Result<Object> {
        self.modify(resource, object, "status", |object| {
            let mut status: S = match object.get("status") {
                Some(status) => typed(status)?,
                None => S::default(),
            };
            let before = serde_json::to_value(&status).map_err(Status::internal)?;
            change(&mut status);
            let after = serde_json::to_value(&status).map_err(Status::internal)?;
            let written = entry_object(object, "status");
            for key in before.as_object().into_iter().flatten().map(|(key, _)| key) {
                if after.get(key).is_none() {
                    written.shift_remove(key);
                }
            }
            for (key, value) in after.as_object().into_iter().flatten() {
                if before.get(key) != Some(value) || !written.contains_key(key) {
                    written.insert(key.clone(), value.clone());
                }
            }
            Ok(())
        })
        .await
    }

    /// The objects that `owner` controls and that match its selector, and matching ones without a controller, which it
    /// adopts. Those that no longer match are released.
    pub(super) async fn claim(&self, resource: &str, owner: &Object) -> Result<Vec<Object>> {
        let selector = selector_of(owner.value())?;
        let by = |uid| self.store().controlled_by(resource, owner.namespace(), uid);
        let (mut claimed, lost): (Vec<Object>, Vec<Object>) = by(owner.uid())
            .into_iter()
            .partition(|object| selector.matches(object.labels()));
        for object in lost {
            if object.deletion_timestamp().is_none() {
                self.set_owner(resource, &object, owner, false).await?;
            }
        }
        for orphan in by("") {
            let adoptable = selector.matches(orphan.labels())
                && orphan.deletion_timestamp().is_none()
                && !has_ended(orphan.value());
            if adoptable && let Some(object) = self.set_owner(resource, &orphan, owner, true).await? {
                claimed.push(object);
            }
        }
        Ok(claimed)
    }

    async fn set_owner(
        &self,
        resource: &str,
        object: &Object,
        owner: &Object,
        mine: bool,
    ) -> Result<Option<Object>> {
        let change = |next: &mut Value| {
            let mut owners = next.owner_references().to_vec();
            owners.retain(|one| one.str_at(&["uid"]) != owner.uid());
            if mine {
                owners.push(controller_reference(owner.value()));
            }
            metadata_mut(next).insert("ownerReferences".into(), owners.into());
            Ok(())
        };
        match self.modify(resource, object, "", change).await {
            Ok(written) => Ok(Some(written)),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Creates an object for its owner and records an event about it, also when it is rejected.
    pub(super) async fn create(
        &self,
        resource: &str,
        owner: &Object,
        object: Value,
        words: Words,
    ) -> Result<Object> {
        let name = object.name().to_owned();
        let options = WriteOptions::default();
        let made = self
            .api
            .create(&self.me, resource, owner.namespace(), object, &options)
            .await;
        // Nothing above waits without webhooks: thousands of pods in a row would hold up requests.
        tokio::task::yield_now().await;
        match made {
            Ok(written) => {
                let message = words.done("create", owner, written.object.name());
                self.recorder.normal(owner, "SuccessfulCreate", message).await;
                Ok(written.object)
            }
            Err(status) => {
                // A terminating namespace is not worth an event.
                if !status.has_cause("NamespaceTerminating") {
                    let message = words.failed("create", owner, &name, &status);
                    self.recorder.warning(owner, "FailedCreate", message).await;
                }
                Err(status)
            }
        }
    }

    /// Deletes an object of an owner and records an event about it. Succeeds if the object does not exist.
    pub(super) async fn delete(
        &self,
        resource: &str,
        owner: &Object,
        object: &Object,
        words: Words,
    ) -> Result<()> {
        match self.remove(resource, object).await {
            Ok(true) => {
                let message = words.done("delete", owner, object.name());
                self.recorder.normal(owner, "SuccessfulDelete", message).await;
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(status) => {
                let message = words.failed("delete", owner, object.name(), &status);
                self.recorder.warning(owner, "FailedDelete", message).await;
                Err(status)
            }
        }
    }

    /// Deletes an object. Returns `false` if it does not exist.
    pub(super) async fn remove(&self, resource: &str, object: &Object) -> Result<bool> {
        let options = DeleteOptions {
            uid: Some(object.uid().to_owned()),
            ..DeleteOptions::default()
        };
        let (namespace, name) = (object.namespace(), object.name());
        tokio::task::yield_now().await;
        match self
            .api
            .delete(&self.me, resource, namespace, name, &options)
            .await
        {
            Ok(_) => Ok(true),
            Err(status) if status.code == 404 => Ok(false),
            Err(status) => Err(status),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSetStatus;

    use super::*;
    use crate::api::{Api, Caller};

    #[test]
    fn percentages_round_up_or_down_as_asked() {
        let percent = IntOrString::String("25%".into());
        assert_eq!(scaled(&percent, 10, true), Some(3));
        assert_eq!(scaled(&percent, 10, false), Some(2));
        assert_eq!(scaled(&IntOrString::Int(4), 10, false), Some(4));
        assert_eq!(scaled(&IntOrString::String("a few".into()), 10, false), None);
    }

    #[test]
    fn each_controller_has_its_own_words() {
        let owner = super::super::testing::object(json!({ "metadata": { "name": "web" } }));
        let status = Status::bad_request("no");
        assert_eq!(Words::Pod.done("create", &owner, "p"), "Created pod: p");
        assert_eq!(
            Words::Pod.failed("delete", &owner, "p", &status),
            "Error deleting: no"
        );
        assert_eq!(
            Words::NumberedPod.done("delete", &owner, "web-0"),
            "delete Pod web-0 in StatefulSet web successful"
        );
        assert_eq!(
            Words::Job.failed("create", &owner, "j", &status),
            "Error creating job: no"
        );
    }

    #[tokio::test]
    async fn a_status_keeps_fields_that_its_type_does_not_know() {
        let api = Api::new("10.100.0.0/16").unwrap();
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": "r", "namespace": "n" },
            "spec": {}, "status": { "replicas": 3, "readyReplicas": 1, "ofTomorrow": true },
        });
        let set = api.store().create("replicasets.apps", set).unwrap();
        let context = Context::new(&api, "test");
        let written = context
            .report("replicasets.apps", &set, |status: &mut ReplicaSetStatus| {
                status.replicas = 2;
                status.ready_replicas = None;
            })
            .await
            .unwrap();
        assert_eq!(
            written.value()["status"],
            json!({ "replicas": 2, "ofTomorrow": true })
        );
        assert_eq!(context.me, Caller::controller("test"));
    }
}
