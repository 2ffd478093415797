//! StatefulSets: numbered pods, made, updated and given up in order.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::pods::{claim, from_template};
use super::queue::{Controller, Key, adopters, owners};
use super::revisions::{self, History, POD_LABEL};
use super::scheduler::selector_of;
use crate::api::{BoxFuture, DeleteOptions, WriteOptions};
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::{Availability, availability, has_ended, is_ready};
use crate::status::Result;
use crate::store::Event;

const RESOURCE: &str = "statefulsets.apps";
const CLAIMS: &str = "persistentvolumeclaims";
const REVISION_LABEL: &str = "controller.kubernetes.io/hash";

pub(crate) struct StatefulSets(pub(crate) Context);

/// The number at the end of a pod's name, when it is one of this set.
fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let number = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    number.parse().ok().filter(|ordinal| *ordinal >= 0)
}

/// The pod of this number, from a template.
fn pod_for(set: &Value, template: &Value, revision: &str, number: i64) -> Value {
    let mut pod = from_template(set, template);
    let name = format!("{}-{number}", set.name());
    let metadata = entry_object(&mut pod, "metadata");
    metadata.shift_remove("generateName");
    metadata.insert("name".into(), name.as_str().into());
    let labels = entry_object(&mut pod["metadata"], "labels");
    labels.insert("apps.kubernetes.io/pod-index".into(), number.to_string().into());
    labels.insert(POD_LABEL.into(), revision.into());
    labels.insert("statefulset.kubernetes.io/pod-name".into(), name.as_str().into());
    let spec = entry_object(&mut pod, "spec");
    spec.insert("hostname".into(), name.as_str().into());
    let service = set.str_at(&["spec", "serviceName"]);
    if !service.is_empty() {
        spec.insert("subdomain".into(), service.into());
    }
    let claims = set.list_at(&["spec", "volumeClaimTemplates"]);
    if !claims.is_empty() {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            for claim in claims {
                volumes.retain(|volume| volume.str_at(&["name"]) != claim.name());
                volumes.push(json!({
                    "name": claim.name(),
                    "persistentVolumeClaim": { "claimName": format!("{}-{name}", claim.name()) },
                }));
            }
        }
    }
    pod
}

/// The template that a revision keeps.
fn template_of(revision: &Value) -> Value {
    let mut template = revision
        .at(&["data", "spec", "template"])
        .cloned()
        .unwrap_or_default();
    if let Some(map) = template.as_object_mut() {
        map.shift_remove("$patch");
    }
    template
}

struct View {
    set: Object,
    history: History,
    /// Name of the revision that pods below the partition keep.
    current: String,
    pods: BTreeMap<i64, Object>,
    start: i64,
    end: i64,
    ordered: bool,
    min_ready: i64,
    at: Timestamp,
}

impl View {
    fn update(&self) -> &str {
        self.history.present.name()
    }

    fn healthy(&self, pod: &Object) -> bool {
        pod.deletion_timestamp().is_none()
            && availability(pod.value(), self.min_ready, self.at) == Availability::Available
    }

    fn partition(&self) -> i64 {
        self.set
            .int_at(&["spec", "updateStrategy", "rollingUpdate", "partition"])
            .unwrap_or_default()
    }

    fn on_delete(&self) -> bool {
        self.set.str_at(&["spec", "updateStrategy", "type"]) == "OnDelete"
    }

    /// Name and template of the revision for a pod that is made now.
    fn revision_for(&self, number: i64) -> (String, Value) {
        let keeps = !self.on_delete() && number < self.start + self.partition();
        let kept = keeps
            .then(|| self.history.all.iter().find(|one| one.name() == self.current))
            .flatten();
        let revision = kept.unwrap_or(&self.history.present);
        (revision.name().to_owned(), template_of(revision.value()))
    }
}

impl StatefulSets {
    async fn view(&self, set: Object) -> Result<View> {
        let selector = selector_of(set.value())?;
        let history = revisions::sync(&self.0, &set, &selector, REVISION_LABEL).await?;
        let claimed = claim(&self.0.api, &self.0.me, "pods", &set, &selector).await?;
        let pods = claimed
            .into_iter()
            .filter_map(|pod| Some((ordinal(set.value(), pod.value())?, pod)))
            .collect();
        let current = match set.str_at(&["status", "currentRevision"]) {
            "" => history.present.name(),
            current => current,
        };
        let start = set.int_at(&["spec", "ordinals", "start"]).unwrap_or_default();
        let replicas = set.int_at(&["spec", "replicas"]).unwrap_or(1);
        Ok(View {
            current: current.to_owned(),
            pods,
            start,
            end: start + replicas,
            ordered: set.str_at(&["spec", "podManagementPolicy"]) != "Parallel",
            min_ready: set.int_at(&["spec", "minReadySeconds"]).unwrap_or_default(),
            at: Timestamp::now(),
            history,
            set,
        })
    }

    async fn make(&self, view: &View, number: i64) -> Result<()> {
        let context = &self.0;
        let set = &view.set;
        let (revision, template) = view.revision_for(number);
        let pod = pod_for(set.value(), &template, &revision, number);
        let name = pod.name().to_owned();
        let options = WriteOptions::default();
        // Clusters without the resource run the pods all the same: nothing is mounted.
        if context.api.registry().by_storage(CLAIMS).is_some() {
            for template in set.list_at(&["spec", "volumeClaimTemplates"]) {
                let claim = format!("{}-{name}", template.name());
                if context.api.store().get(CLAIMS, set.namespace(), &claim).is_none() {
                    let mut object = template.clone();
                    entry_object(&mut object, "metadata").insert("name".into(), claim.into());
                    if let Some(map) = object.as_object_mut() {
                        map.shift_remove("status");
                    }
                    context
                        .api
                        .create(&context.me, CLAIMS, set.namespace(), object, &options)
                        .await?;
                }
            }
        }
        match context
            .api
            .create(&context.me, "pods", set.namespace(), pod, &options)
            .await
        {
            Ok(_) => {
                let message = format!("create Pod {name} in StatefulSet {} successful", set.name());
                context.recorder.normal(set, "SuccessfulCreate", message).await;
                Ok(())
            }
            Err(status) => {
                let message = format!(
                    "create Pod {name} in StatefulSet {} failed error: {}",
                    set.name(),
                    status.message
                );
                context.recorder.warning(set, "FailedCreate", message).await;
                Err(status)
            }
        }
    }

    async fn delete(&self, set: &Object, pod: &Object) -> Result<()> {
        let context = &self.0;
        let options = DeleteOptions {
            uid: Some(pod.uid().to_owned()),
            ..DeleteOptions::default()
        };
        let gone = context
            .api
            .delete(&context.me, "pods", pod.namespace(), pod.name(), &options)
            .await;
        match gone {
            Ok(_) => {
                let message = format!(
                    "delete Pod {} in StatefulSet {} successful",
                    pod.name(),
                    set.name()
                );
                context.recorder.normal(set, "SuccessfulDelete", message).await;
                Ok(())
            }
            Err(status) if status.code == 404 => Ok(()),
            Err(status) => {
                let message = format!(
                    "delete Pod {} in StatefulSet {} failed error: {}",
                    pod.name(),
                    set.name(),
                    status.message
                );
                context.recorder.warning(set, "FailedDelete", message).await;
                Err(status)
            }
        }
    }

    /// One step. Ordered sets take one at a time and wait for it.
    async fn step(&self, view: &View) -> Result<()> {
        for number in view.start..view.end {
            match view.pods.get(&number) {
                None => {
                    self.make(view, number).await?;
                    if view.ordered {
                        return Ok(());
                    }
                }
                Some(pod) if has_ended(pod.value()) && pod.deletion_timestamp().is_none() => {
                    self.delete(&view.set, pod).await?;
                    if view.ordered {
                        return Ok(());
                    }
                }
                Some(pod) if view.ordered && !view.healthy(pod) => return Ok(()),
                Some(_) => {}
            }
        }
        let condemned = view
            .pods
            .iter()
            .rev()
            .filter(|(number, _)| **number < view.start || **number >= view.end);
        let mut any = false;
        for (_, pod) in condemned {
            any = true;
            if pod.deletion_timestamp().is_none() {
                self.delete(&view.set, pod).await?;
            }
            if view.ordered {
                return Ok(());
            }
        }
        if any || view.on_delete() {
            return Ok(());
        }
        // The highest first, each healthy before the next.
        let first = view.start + view.partition();
        for (_, pod) in view.pods.range(first.min(view.end)..view.end).rev() {
            if pod.deletion_timestamp().is_some() {
                return Ok(());
            }
            if pod.label(POD_LABEL) != Some(view.update()) {
                return self.delete(&view.set, pod).await;
            }
            if !view.healthy(pod) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn report(&self, view: &View) -> Result<()> {
        let living: Vec<&Object> = view
            .pods
            .values()
            .filter(|pod| pod.deletion_timestamp().is_none())
            .collect();
        let count = |keep: &dyn Fn(&Object) -> bool| {
            i64::try_from(living.iter().filter(|pod| keep(pod)).count()).unwrap_or(i64::MAX)
        };
        let total = i64::try_from(view.pods.len()).unwrap_or(i64::MAX);
        let ready = count(&|pod| is_ready(pod.value()));
        let available = count(&|pod| view.healthy(pod));
        let updated = count(&|pod| pod.label(POD_LABEL) == Some(view.update()));
        let wanted = view.end - view.start;
        let rolled = !view.on_delete() && updated == wanted && ready == wanted && total == wanted;
        let current_revision = if rolled { view.update() } else { &view.current };
        let current = count(&|pod| pod.label(POD_LABEL) == Some(current_revision));
        let generation = view.set.generation();
        self.0
            .api
            .modify(
                &self.0.me,
                RESOURCE,
                view.set.namespace(),
                view.set.name(),
                "status",
                |set| {
                    let status = entry_object(set, "status");
                    status.insert("observedGeneration".into(), generation.into());
                    status.insert("replicas".into(), total.into());
                    status.insert("availableReplicas".into(), available.into());
                    super::pods::set_count(status, "readyReplicas", ready);
                    super::pods::set_count(status, "currentReplicas", current);
                    super::pods::set_count(status, "updatedReplicas", updated);
                    status.insert("currentRevision".into(), current_revision.into());
                    status.insert("updateRevision".into(), view.update().into());
                    status.insert("collisionCount".into(), 0.into());
                    Ok(())
                },
            )
            .await?;
        Ok(())
    }
}

impl Controller for StatefulSets {
    fn follows(&self) -> &'static [&'static str] {
        &[RESOURCE, "pods", "controllerrevisions.apps"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        if resource == RESOURCE {
            add((object.namespace().to_owned(), object.name().to_owned()));
        } else {
            owners(event, "StatefulSet", add);
            adopters(self.0.api.store(), RESOURCE, event, add);
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let Some(set) = self.0.api.store().get(RESOURCE, namespace, name) else {
                return Ok(None);
            };
            if set.deletion_timestamp().is_some() {
                return Ok(None);
            }
            let view = self.view(set).await?;
            let stepped = self.step(&view).await;
            let view = self.view(view.set).await?;
            self.report(&view).await?;
            stepped?;
            let used: Vec<&str> = view
                .pods
                .values()
                .filter_map(|pod| pod.label(POD_LABEL))
                .collect();
            revisions::clean_up(&self.0, &view.set, &view.history, |revision| {
                used.contains(&revision.name()) || revision.name() == view.current
            })
            .await?;
            let soon = view
                .pods
                .values()
                .filter_map(|pod| match availability(pod.value(), view.min_ready, view.at) {
                    Availability::In(time) => Some(time),
                    _ => None,
                })
                .min();
            Ok(soon)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_has_its_number_in_name_labels_and_claims() {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "name": "web", "namespace": "n", "uid": "u" },
            "spec": { "serviceName": "web", "volumeClaimTemplates": [{ "metadata": { "name": "data" } }] },
        });
        let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } });
        let pod = pod_for(&set, &template, "web-abc", 2);
        assert_eq!(pod["metadata"]["name"], "web-2");
        assert_eq!(
            pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"],
            "web-2"
        );
        assert_eq!(pod["metadata"]["labels"][POD_LABEL], "web-abc");
        assert_eq!(pod["spec"]["hostname"], "web-2");
        assert_eq!(pod["spec"]["subdomain"], "web");
        assert_eq!(
            pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"],
            "data-web-2"
        );
        assert_eq!(ordinal(&set, &pod), Some(2));
        assert_eq!(ordinal(&set, &json!({ "metadata": { "name": "web-a" } })), None);
    }
}
