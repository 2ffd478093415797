//! Deletion: preconditions, grace, finalizers and what becomes of dependents.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{AdmissionRequest, Api, Caller, Operation};
use crate::object::{Object, ObjectExt, Stored, metadata_mut};
use crate::resources::Resource;
use crate::status::{Result, Status, split_resource};
use crate::store::StoreError;

/// What becomes of objects that the deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    #[default]
    Background,
    /// They go first; the owner stays, marked, until they are gone.
    Foreground,
    /// They stay, without owner.
    Orphan,
}

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds until a pod is ended by force; `None` takes the pod's own.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Propagation,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The resource version that the object must have.
    pub resource_version: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Options with a grace period.
    #[must_use]
    pub fn grace(seconds: i64) -> Self {
        Self {
            grace_period_seconds: Some(seconds),
            ..Self::default()
        }
    }

    /// Reads a `DeleteOptions` object.
    ///
    /// # Errors
    /// 400 for values of the wrong type, 422 for an unknown propagation policy.
    pub fn parse(body: &Value) -> Result<Self> {
        let mut options = Self::default();
        match body.at(&["gracePeriodSeconds"]) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let seconds = value.as_i64().ok_or_else(|| {
                    Status::bad_request(format!(
                        "DeleteOptions: gracePeriodSeconds: {value} is not an integer"
                    ))
                })?;
                options.grace_period_seconds = Some(seconds);
            }
        }
        options.propagation = match (body.at(&["propagationPolicy"]), body.at(&["orphanDependents"])) {
            (None | Some(Value::Null), Some(Value::Bool(true))) => Propagation::Orphan,
            (None | Some(Value::Null), _) => Propagation::Background,
            (Some(policy), _) => match policy.as_str() {
                Some("Background") => Propagation::Background,
                Some("Foreground") => Propagation::Foreground,
                Some("Orphan") => Propagation::Orphan,
                _ => {
                    return Err(Status::invalid(
                        "DeleteOptions",
                        "meta.k8s.io",
                        "",
                        &[crate::status::Cause::not_supported(
                            "propagationPolicy",
                            policy,
                            &["Foreground", "Background", "Orphan", "nil"],
                        )],
                    ));
                }
            },
        };
        let text = |path: &[&str]| body.at(path).and_then(Value::as_str).map(str::to_owned);
        options.uid = text(&["preconditions", "uid"]);
        options.resource_version = text(&["preconditions", "resourceVersion"]);
        options.dry_run = !body.list_at(&["dryRun"]).is_empty();
        Ok(options)
    }

    fn to_json(&self) -> Value {
        let mut options = json!({
            "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1",
            "propagationPolicy": match self.propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            },
        });
        if let Some(seconds) = self.grace_period_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        options
    }
}

/// What a deletion came to.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Object),
    /// The object is marked and goes when its grace period or its finalizers are over.
    Marked(Object),
}

impl Deleted {
    /// The object's last or present state.
    #[must_use]
    pub fn object(&self) -> &Object {
        match self {
            Self::Gone(object) | Self::Marked(object) => object,
        }
    }

    /// What the API answers: `Status` for an object that is gone, else the object.
    #[must_use]
    pub fn response(&self, resource: &Resource) -> Value {
        match self {
            Self::Marked(object) => object.value().clone(),
            Self::Gone(object) => {
                let (plural, group) = split_resource(&resource.storage);
                let mut details = json!({ "name": object.name(), "kind": plural, "uid": object.uid() });
                if !group.is_empty() {
                    details["group"] = group.into();
                }
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
            }
        }
    }
}

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

impl Api {
    /// Deletes an object, or marks it for deletion when something has to happen first.
    ///
    /// # Errors
    /// 404, 409 when a precondition does not hold, and what admission refuses.
    pub async fn delete(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted> {
        let description = self.resource(resource)?;
        let current = self.get(resource, namespace, name)?;
        check_preconditions(resource, &current, options)?;
        if resource == "namespaces" && matches!(name, "default" | "kube-system" | "kube-public") {
            return Err(Status::forbidden(
                resource,
                name,
                "this namespace may not be deleted",
            ));
        }
        if let Some(admission) = self.admission.get() {
            let request = || AdmissionRequest {
                operation: Operation::Delete,
                resource: &description,
                subresource: "",
                namespace,
                name,
                object: None,
                old: Some(current.value()),
                caller,
                dry_run: options.dry_run,
                options: options.to_json(),
            };
            admission.admit(self, request()).await?;
            admission.validate(self, &request()).await?;
        }
        loop {
            let current = self.get(resource, namespace, name)?;
            check_preconditions(resource, &current, options)?;
            match self.delete_once(resource, &current, options) {
                Err(StoreError::Conflict) => {}
                other => return other.map_err(|error| error.status(resource, name)),
            }
        }
    }

    fn delete_once(
        &self,
        resource: &str,
        current: &Object,
        options: &DeleteOptions,
    ) -> Result<Deleted, StoreError> {
        let mut next = current.value().clone();
        let mut finalizers: Vec<Value> = current.finalizers().to_vec();
        let wanted = match options.propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some(FOREGROUND),
            Propagation::Orphan => Some(ORPHAN),
        };
        // A second delete with another policy changes the policy.
        finalizers
            .retain(|one| one != FOREGROUND && one != ORPHAN || wanted.is_some_and(|wanted| one == wanted));
        if let Some(wanted) = wanted
            && !finalizers.iter().any(|one| one == wanted)
        {
            finalizers.push(wanted.into());
        }
        let grace = grace_period(resource, current, options);
        let holds_namespace =
            resource == "namespaces" && !current.list_at(&["spec", "finalizers"]).is_empty();
        if finalizers.is_empty() && grace == 0 && !holds_namespace {
            return self.remove(resource, current, options.dry_run).map(Deleted::Gone);
        }

        let metadata = metadata_mut(&mut next);
        if finalizers.is_empty() {
            metadata.shift_remove("finalizers");
        } else {
            metadata.insert("finalizers".into(), finalizers.into());
        }
        let marked_before = metadata.get("deletionTimestamp").is_some();
        let earlier = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
        if !marked_before || earlier.is_some_and(|earlier| grace < earlier) {
            let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace.clamp(0, 1 << 31));
            metadata.insert(
                "deletionTimestamp".into(),
                at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
            );
            metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
            if !marked_before && let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
                metadata.insert("generation".into(), (generation + 1).into());
            }
        }
        if holds_namespace {
            next["status"] = json!({ "phase": "Terminating" });
        }
        if next == *current.value() {
            return Ok(Deleted::Marked(Arc::clone(current)));
        }
        if options.dry_run {
            return Ok(Deleted::Marked(Arc::new(Stored::new(next, current.version()))));
        }
        self.store
            .update(resource, next, Some(current.version()))
            .map(Deleted::Marked)
    }

    /// Takes an object out of the store, with what hangs on it outside the store.
    pub(super) fn remove(
        &self,
        resource: &str,
        current: &Object,
        dry_run: bool,
    ) -> Result<Object, StoreError> {
        if dry_run {
            return Ok(Arc::clone(current));
        }
        let gone = self.store.delete(
            resource,
            current.namespace(),
            current.name(),
            Some(current.version()),
        )?;
        match resource {
            "services" => self.services.release(current.str_at(&["spec", "clusterIP"])),
            "customresourcedefinitions.apiextensions.k8s.io" => {
                let custom = current.name();
                for object in self.store.list(custom, None).items {
                    let _ = self.store.delete(custom, object.namespace(), object.name(), None);
                }
                self.registry.undefine(custom);
            }
            _ => {}
        }
        Ok(gone)
    }
}

fn check_preconditions(resource: &str, current: &Object, options: &DeleteOptions) -> Result<()> {
    let name = current.name();
    if let Some(uid) = &options.uid
        && uid != current.uid()
    {
        return Err(Status::conflict(
            resource,
            name,
            &format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                current.uid()
            ),
        ));
    }
    if let Some(version) = &options.resource_version
        && version != current.str_at(&["metadata", "resourceVersion"])
    {
        return Err(Status::conflict(
            resource,
            name,
            &format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                current.str_at(&["metadata", "resourceVersion"])
            ),
        ));
    }
    Ok(())
}

/// Only pods die slowly: those that a node has taken and that have not ended by themselves.
fn grace_period(resource: &str, current: &Object, options: &DeleteOptions) -> i64 {
    if resource != "pods" {
        return 0;
    }
    let ended = matches!(current.str_at(&["status", "phase"]), "Succeeded" | "Failed");
    if current.str_at(&["spec", "nodeName"]).is_empty() || ended {
        return 0;
    }
    // A negative period is taken as one second, as Kubernetes does.
    let asked = options
        .grace_period_seconds
        .or_else(|| current.int_at(&["spec", "terminationGracePeriodSeconds"]));
    match asked.unwrap_or(30) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}
