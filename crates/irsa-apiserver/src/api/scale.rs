//! The `scale` subresource of workloads.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Api, Caller, PatchKind, WriteOptions, Written};
use crate::object::{Object, ObjectExt, entry_object};
use crate::patch::Patch;
use crate::resources::Resource;
use crate::status::{Cause, Result, Status};

impl Api {
    /// Reads `autoscaling/v1 Scale` of a workload.
    ///
    /// # Errors
    /// 404.
    pub fn scale(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        Ok(scale_of(&self.get(resource, namespace, name)?))
    }

    /// Replaces the scale of a workload.
    ///
    /// # Errors
    /// 400, 404, 409, 422.
    pub async fn put_scale(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        name: &str,
        scale: &Value,
        options: &WriteOptions,
    ) -> Result<Written> {
        self.change_scale(caller, resource, namespace, name, options, &|_| Ok(scale.clone()))
            .await
    }

    /// Patches the scale of a workload.
    ///
    /// # Errors
    /// 400, 404, 409, 422.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a request path, each of another meaning"
    )]
    pub async fn patch_scale(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        name: &str,
        kind: PatchKind,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written> {
        // A scale has no lists: applying and strategic merging are plain merging.
        let patch = match kind {
            PatchKind::Json => Patch::parse(PatchKind::Json, body)?,
            PatchKind::Apply => Patch::merge(crate::patch::parse_yaml(body)?),
            PatchKind::Merge | PatchKind::Strategic => Patch::parse(PatchKind::Merge, body)?,
        };
        let described = self.resource(resource)?;
        self.change_scale(caller, resource, namespace, name, options, &|current| {
            patch.apply(&described, &scale_of(current))
        })
        .await
    }

    async fn change_scale(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        name: &str,
        options: &WriteOptions,
        make: &(dyn Fn(&Object) -> Result<Value> + Send + Sync),
    ) -> Result<Written> {
        let described: Arc<Resource> = self.resource(resource)?;
        let options = WriteOptions {
            field_validation: super::FieldValidation::Ignore,
            ..options.clone()
        };
        loop {
            let current = self.get(resource, namespace, name)?;
            let scale = make(&current)?;
            let version = scale.str_at(&["metadata", "resourceVersion"]);
            if !version.is_empty() && version != current.str_at(&["metadata", "resourceVersion"]) {
                return Err(Status::modified(&described.qualified(), name));
            }
            let replicas = match scale.at(&["spec", "replicas"]) {
                None | Some(Value::Null) => 0,
                Some(value) => value
                    .as_i64()
                    .filter(|replicas| (0..=i64::from(i32::MAX)).contains(replicas))
                    .ok_or_else(|| {
                        let cause =
                            Cause::invalid("spec.replicas", value, "must be greater than or equal to 0");
                        Status::invalid("Scale", "autoscaling", name, &[cause])
                    })?,
            };
            let mut next = current.value().clone();
            entry_object(&mut next, "spec").insert("replicas".into(), replicas.into());
            match self
                .update(caller, resource, namespace, name, "", next, &options)
                .await
            {
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
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": object.name(), "namespace": object.namespace(), "uid": object.uid(),
            "resourceVersion": meta("resourceVersion"), "creationTimestamp": meta("creationTimestamp"),
        },
        "spec": { "replicas": object.int_at(&["spec", "replicas"]).unwrap_or_default() },
        "status": {
            "replicas": object.int_at(&["status", "replicas"]).unwrap_or_default(),
            "selector": selector,
        },
    })
}
