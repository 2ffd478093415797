//! The `scale` subresource of workloads.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Api, Caller, FieldValidation, PatchKind, Place, WriteOptions, Written};
use crate::object::{Object, ObjectExt, entry_object};
use crate::patch::{self, Patch};
use crate::status::{Cause, Result, Status};

impl Api {
    /// Replaces the scale of a workload (`patch` is `None`), or patches it.
    ///
    /// # Errors
    /// 400, 404, 409, 422.
    pub async fn put_scale(
        self: &Arc<Self>,
        caller: &Caller,
        place: Place<'_>,
        patch: Option<PatchKind>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written> {
        let resource = self.resource(place.resource)?;
        // A scale has no lists: applying and strategic merging are plain merging.
        let patch = match patch {
            None => Err(patch::parse_yaml(body)?),
            Some(PatchKind::Json) => Ok(Patch::parse(PatchKind::Json, body)?),
            Some(PatchKind::Apply) => Ok(Patch::merge(patch::parse_yaml(body)?)),
            Some(PatchKind::Merge | PatchKind::Strategic) => Ok(Patch::parse(PatchKind::Merge, body)?),
        };
        let options = WriteOptions {
            field_validation: FieldValidation::Ignore,
            ..options.clone()
        };
        let name = place.name;
        loop {
            let current = self.get(place.resource, place.namespace, name)?;
            let scale = match &patch {
                Ok(patch) => patch.apply(&resource, &scale_of(&current))?,
                Err(scale) => scale.clone(),
            };
            let version = scale.str_at(&["metadata", "resourceVersion"]);
            if !version.is_empty() && version != current.str_at(&["metadata", "resourceVersion"]) {
                return Err(Status::modified(&resource.qualified(), name));
            }
            let replicas = match scale.at(&["spec", "replicas"]) {
                None | Some(Value::Null) => 0,
                Some(value) => value
                    .as_i64()
                    .filter(|replicas| (0..=i64::from(i32::MAX)).contains(replicas))
                    .ok_or_else(|| {
                        let why = "must be greater than or equal to 0";
                        let cause = Cause::invalid("spec.replicas", value, why);
                        Status::invalid("Scale", "autoscaling", name, &[cause])
                    })?,
            };
            let mut next = current.value().clone();
            entry_object(&mut next, "spec").insert("replicas".into(), replicas.into());
            let place = Place {
                subresource: "",
                ..place
            };
            match self.update(caller, place, next, &options).await {
                Err(status) if status.reason == "Conflict" && version.is_empty() => {}
                other => return other,
            }
        }
    }
}

/// The scale that a workload shows.
#[must_use]
pub fn scale_of(object: &Object) -> Value {
    let selector = crate::selectors::LabelSelector::from_object(object.at(&["spec", "selector"]))
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    let meta = |key: &str| object.at(&["metadata", key]).cloned().unwrap_or(Value::Null);
    let count = |path: &[&str]| object.int_at(path).unwrap_or_default();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": object.name(), "namespace": object.namespace(), "uid": object.uid(),
            "resourceVersion": meta("resourceVersion"), "creationTimestamp": meta("creationTimestamp"),
        },
        "spec": { "replicas": count(&["spec", "replicas"]) },
        "status": { "replicas": count(&["status", "replicas"]), "selector": selector },
    })
}
