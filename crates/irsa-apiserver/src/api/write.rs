//! Creating, replacing and patching objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::prepare::{
    bump_generation, check_fields, check_identity, check_kind, check_patched, generate_name, may_go,
    prepare_create, prepare_update, same_state,
};
use super::{AdmissionRequest, Api, Caller, Operation, PatchKind};
use crate::managed::{self, Manager};
use crate::object::{Object, ObjectExt, Stored, metadata_mut};
use crate::patch;
use crate::resources::Resource;
use crate::status::{Cause, Result, Status};
use crate::store::StoreError;
use crate::{defaults, validation};

/// What to do with fields that a kind does not have (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

/// Options of a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Do everything except storing.
    pub dry_run: bool,
    /// Who manages the fields that are written; [`Caller::manager`] when `None`.
    pub field_manager: Option<String>,
    /// Unknown fields.
    pub field_validation: FieldValidation,
    /// Server-side apply only: take fields over from other managers.
    pub force: bool,
}

/// Result of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The state that is now stored (or would be, in a dry run).
    pub object: Object,
    /// The object is new.
    pub created: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// The object that a write is about, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Name of the resource in the store, such as `deployments.apps`.
    pub resource: &'a str,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// `status`, `finalize`, …; empty for the object itself.
    pub subresource: &'a str,
}

/// How often a write is tried again because somebody else wrote in between.
const ATTEMPTS: usize = 64;

const OTHER_NAMESPACE: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

/// One write.
struct Write<'a> {
    caller: &'a Caller,
    resource: &'a Resource,
    namespace: &'a str,
    name: &'a str,
    subresource: &'a str,
    options: &'a WriteOptions,
    /// Server-side apply, which computes the managed fields itself.
    applied: bool,
}

/// Makes the new state of an object from the present one; may add warnings.
type Make<'a> = dyn Fn(&Object, &mut Vec<String>) -> Result<Value> + Send + Sync + 'a;

impl Write<'_> {
    fn operation(&self, old: Option<&Object>) -> Operation {
        if old.is_some() {
            Operation::Update
        } else {
            Operation::Create
        }
    }

    fn admission<'s>(
        &'s self,
        object: Value,
        old: Option<&'s Object>,
        place: (&'s str, &'s str),
    ) -> AdmissionRequest<'s> {
        let operation = self.operation(old);
        let mut options = json!({
            "kind": if old.is_some() { "UpdateOptions" } else { "CreateOptions" }, "apiVersion": "meta.k8s.io/v1",
        });
        if self.options.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        if let Some(manager) = &self.options.field_manager {
            options["fieldManager"] = manager.as_str().into();
        }
        AdmissionRequest {
            operation,
            resource: self.resource,
            subresource: self.subresource,
            namespace: place.0,
            name: place.1,
            object: Some(object),
            old: old.map(|old| old.value()),
            caller: self.caller,
            dry_run: self.options.dry_run,
            options,
        }
    }

    fn manager(&self) -> Manager {
        let chosen = self.options.field_manager.as_ref();
        Manager {
            name: chosen.unwrap_or(&self.caller.manager).clone(),
            subresource: self.subresource.to_owned(),
        }
    }

    fn invalid(&self, name: &str, causes: &[Cause]) -> Status {
        Status::invalid(&self.resource.kind, &self.resource.group, name, causes)
    }
}

impl Api {
    /// Creates an object. Its namespace is `namespace`; `apiVersion` and `kind` may be left out.
    ///
    /// # Errors
    /// A [`Status`] as Kubernetes answers: exists already, invalid, refused by admission, no such namespace.
    pub async fn create(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written> {
        let resource = self.resource(resource)?;
        let write = Write {
            caller,
            resource: &resource,
            namespace,
            name: "",
            subresource: "",
            options,
            applied: false,
        };
        self.insert(&write, object).await
    }

    async fn insert(self: &Arc<Self>, write: &Write<'_>, mut object: Value) -> Result<Written> {
        let &Write {
            resource, options, ..
        } = write;
        let mut warnings = Vec::new();
        check_kind(resource, &mut object)?;
        check_fields(resource, &mut object, options.field_validation, &mut warnings)?;
        if !object.str_at(&["metadata", "resourceVersion"]).is_empty() {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        set_namespace(write, &mut object)?;
        self.check_namespace(resource, write.namespace)?;
        let generated = object.name().is_empty() && !object.str_at(&["metadata", "generateName"]).is_empty();
        if object.name().is_empty() && !generated {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(write.invalid("", &[cause]));
        }
        // Before admission, so that webhooks are not asked about an object that cannot be.
        let storage = &resource.storage;
        if !generated
            && self
                .store
                .get(storage, object.namespace(), object.name())
                .is_some()
        {
            return Err(Status::already_exists(&resource.qualified(), object.name()));
        }
        prepare_create(resource, &mut object);
        defaults::apply(resource, &mut object);
        let mut object = self.admit(write, object, None, &mut warnings).await?;
        // After mutating admission, as in Kubernetes: webhooks see only `generateName`.
        if generated && object.name().is_empty() {
            generate_name(&mut object);
        }
        defaults::apply(resource, &mut object);
        let causes = validation::create(resource, &object);
        if !causes.is_empty() {
            return Err(write.invalid(object.name(), &causes));
        }
        self.validate(write, &object, None, &mut warnings).await?;
        // The namespace may have begun to go while admission was asked.
        self.check_namespace(resource, object.namespace())?;
        self.assign_address(resource, None, &mut object)?;
        if !write.applied {
            managed::record_update(resource, None, &mut object, &write.manager());
        }
        let created = |object| Written {
            object,
            created: true,
            warnings,
        };
        if options.dry_run {
            return Ok(created(Arc::new(Stored::new(object, 0))));
        }
        let mut attempts = 0;
        let stored = loop {
            match self.store.create(storage, object.clone()) {
                Ok(stored) => break stored,
                Err(StoreError::Exists) if generated && attempts < 8 => {
                    attempts += 1;
                    generate_name(&mut object);
                }
                Err(error) => return Err(error.status(&resource.qualified(), object.name())),
            }
        };
        self.serve_definition(resource, &stored);
        Ok(created(stored))
    }

    /// Replaces an object (`PUT`) or a part of it. The resource version in the object, when there is one, must be the
    /// present one.
    ///
    /// # Errors
    /// 404, 409, 422 and what admission refuses.
    pub async fn update(
        self: &Arc<Self>,
        caller: &Caller,
        place: Place<'_>,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written> {
        let resource = self.resource(place.resource)?;
        let write = at(caller, &resource, place, options);
        let mut warnings = Vec::new();
        check_kind(&resource, &mut object)?;
        check_fields(&resource, &mut object, options.field_validation, &mut warnings)?;
        set_name(&write, &mut object)?;
        if resource.namespaced && !object.namespace().is_empty() && object.namespace() != place.namespace {
            return Err(Status::bad_request(OTHER_NAMESPACE));
        }
        let written = if resource.plural == "leases"
            && self
                .store
                .get(place.resource, place.namespace, place.name)
                .is_none()
        {
            self.insert(&write, object).await
        } else {
            self.rewrite(&write, &|_, _| Ok(object.clone())).await
        };
        prepend(written, warnings)
    }

    /// Changes an object with a closure, again and again until nobody else wrote in between. With `subresource`
    /// `"status"` only the status (of pods and nodes also labels and annotations) is taken over.
    ///
    /// # Errors
    /// What `change` returns, 404, 422 and what admission refuses.
    pub async fn modify(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
        change: impl Fn(&mut Value) -> Result<()> + Send + Sync,
    ) -> Result<Written> {
        let place = Place {
            resource,
            namespace,
            name,
            subresource,
        };
        let resource = self.resource(resource)?;
        let options = WriteOptions {
            field_validation: FieldValidation::Ignore,
            ..WriteOptions::default()
        };
        self.rewrite(&at(caller, &resource, place, &options), &|current, _| {
            let mut next = current.value().clone();
            change(&mut next)?;
            Ok(next)
        })
        .await
    }

    /// Patches an object or a part of it. `Apply` creates the object when it is not there.
    ///
    /// # Errors
    /// 400 for a patch that cannot be read or applied, 404, 409, 422 and what admission refuses.
    pub async fn patch(
        self: &Arc<Self>,
        caller: &Caller,
        place: Place<'_>,
        kind: PatchKind,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written> {
        let resource = self.resource(place.resource)?;
        let mut write = at(caller, &resource, place, options);
        if kind == PatchKind::Apply {
            write.applied = true;
            return self.apply(&write, body).await;
        }
        let parsed = patch::Patch::parse(kind, body)?;
        if kind == PatchKind::Strategic && resource.custom.is_some() {
            return Err(Status::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        self.rewrite(&write, &|current, warnings| {
            let mut next = parsed.apply(&resource, current.value())?;
            let validation = options.field_validation;
            check_patched(&resource, &mut next, validation, &parsed, warnings)?;
            Ok(next)
        })
        .await
    }

    async fn apply(self: &Arc<Self>, write: &Write<'_>, body: &[u8]) -> Result<Written> {
        let &Write {
            resource, options, ..
        } = write;
        if options.field_manager.as_ref().is_none_or(String::is_empty) {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid("PatchOptions", "meta.k8s.io", "", &[cause]));
        }
        let mut warnings = Vec::new();
        let mut applied = patch::parse_yaml(body)?;
        check_kind(resource, &mut applied)?;
        check_fields(resource, &mut applied, options.field_validation, &mut warnings)?;
        if !applied.list_at(&["metadata", "managedFields"]).is_empty() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        set_name(write, &mut applied)?;
        // What this request cannot change is not managed by it either.
        if let Some(map) = applied.as_object_mut() {
            if write.subresource == "status" {
                map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            } else if resource.has("status") {
                map.shift_remove("status");
            }
        }
        set_namespace(write, &mut applied)?;
        let manager = write.manager();
        let version = applied.str_at(&["metadata", "resourceVersion"]);
        let qualified = resource.qualified();
        for _ in 0..ATTEMPTS {
            let exists = self
                .store
                .get(&resource.storage, write.namespace, write.name)
                .is_some();
            if !exists && (!write.subresource.is_empty() || !version.is_empty()) {
                return Err(Status::not_found(&qualified, write.name));
            }
            let written = if exists {
                self.rewrite(write, &|current, _| {
                    if !version.is_empty() && version != current.str_at(&["metadata", "resourceVersion"]) {
                        return Err(Status::modified(&qualified, write.name));
                    }
                    managed::apply(resource, current.value(), &applied, &manager, options.force)
                })
                .await
            } else {
                let mut object = applied.clone();
                managed::record_first_apply(resource, &mut object, &manager);
                self.insert(write, object).await
            };
            match written {
                // Somebody was faster: apply to theirs.
                Err(status) if !exists && status.reason == "AlreadyExists" => {}
                written => return prepend(written, warnings),
            }
        }
        Err(Status::modified(&qualified, write.name))
    }

    async fn rewrite(self: &Arc<Self>, write: &Write<'_>, make: &Make<'_>) -> Result<Written> {
        let &Write {
            resource,
            name,
            subresource,
            ..
        } = write;
        let storage = &resource.storage;
        let qualified = resource.qualified();
        for _ in 0..ATTEMPTS {
            let Some(current) = self.store.get(storage, write.namespace, name) else {
                return Err(Status::not_found(&qualified, name));
            };
            let mut warnings = Vec::new();
            let mut next = make(&current, &mut warnings)?;
            check_identity(&qualified, &current, &next)?;
            prepare_update(resource, subresource, &current, &mut next);
            defaults::apply(resource, &mut next);
            let mut next = self.admit(write, next, Some(&current), &mut warnings).await?;
            // Admission may not touch what belongs to the server.
            prepare_update(resource, subresource, &current, &mut next);
            defaults::apply(resource, &mut next);
            let causes = validation::update(resource, subresource, current.value(), &next);
            if !causes.is_empty() {
                return Err(write.invalid(name, &causes));
            }
            self.validate(write, &next, Some(&current), &mut warnings).await?;
            self.assign_address(resource, Some(current.value()), &mut next)?;
            if !write.applied {
                managed::record_update(resource, Some(current.value()), &mut next, &write.manager());
            }
            bump_generation(resource, &current, &mut next);
            let stored = if same_state(current.value(), &next) {
                Ok(current)
            } else if write.options.dry_run {
                Ok(Arc::new(Stored::new(next, current.version())))
            } else if may_go(storage, &next) {
                // The last finalizer went: so does the object.
                self.remove(storage, &current, false)
            } else {
                self.store.update(storage, next, Some(current.version()))
            };
            match stored {
                Ok(object) => {
                    self.serve_definition(resource, &object);
                    return Ok(Written {
                        object,
                        created: false,
                        warnings,
                    });
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.status(&qualified, name)),
            }
        }
        Err(Status::modified(&qualified, name))
    }

    /// Mutating admission.
    async fn admit(
        self: &Arc<Self>,
        write: &Write<'_>,
        object: Value,
        old: Option<&Object>,
        warnings: &mut Vec<String>,
    ) -> Result<Value> {
        let Some(admission) = self.admission.get() else {
            return Ok(object);
        };
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        let request = write.admission(object, old, (&namespace, &name));
        let admitted = admission.admit(self, request).await?;
        warnings.extend(admitted.warnings);
        let object = admitted.object;
        object.ok_or_else(|| Status::internal("admission returned no object"))
    }

    /// Validating admission.
    async fn validate(
        self: &Arc<Self>,
        write: &Write<'_>,
        object: &Value,
        old: Option<&Object>,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        if let Some(admission) = self.admission.get() {
            let place = (object.namespace(), object.name());
            let request = write.admission(object.clone(), old, place);
            warnings.extend(admission.validate(self, &request).await?);
        }
        Ok(())
    }

    /// A new or changed CustomResourceDefinition is served at once.
    fn serve_definition(&self, resource: &Resource, object: &Object) {
        if resource.plural == "customresourcedefinitions" && object.deletion_timestamp().is_none() {
            self.registry.define(object.value());
        }
    }

    fn check_namespace(&self, resource: &Resource, namespace: &str) -> Result<()> {
        if !resource.namespaced {
            return Ok(());
        }
        let Some(found) = self.store.get("namespaces", "", namespace) else {
            return Err(Status::not_found("namespaces", namespace));
        };
        if found.deletion_timestamp().is_none() {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(&resource.qualified(), "", &why);
        if let Some(details) = &mut status.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        Err(status)
    }

    /// Gives a service its cluster IP.
    fn assign_address(&self, resource: &Resource, old: Option<&Value>, object: &mut Value) -> Result<()> {
        if resource.storage != "services" || object.str_at(&["spec", "type"]) == "ExternalName" {
            return Ok(());
        }
        let wanted = object.str_at(&["spec", "clusterIP"]).to_owned();
        let had = old.map_or("", |old| old.str_at(&["spec", "clusterIP"]));
        let address = if !had.is_empty() && (wanted.is_empty() || wanted == had) {
            had.to_owned()
        } else if wanted == "None" || (!wanted.is_empty() && self.services.take_this(&wanted)) {
            wanted
        } else if wanted.is_empty() {
            let taken = self.services.take();
            taken.ok_or_else(|| Status::internal("the service network has no free address"))?
        } else {
            let why = "failed to allocate IP: the provided IP is not in the valid range or already allocated";
            let cause = Cause::invalid("spec.clusterIPs", &json!([wanted]), why);
            return Err(Status::invalid("Service", "", object.name(), &[cause]));
        };
        let spec = crate::object::entry_object(object, "spec");
        spec.insert("clusterIPs".into(), json!([address]));
        spec.insert("clusterIP".into(), address.into());
        Ok(())
    }
}

fn at<'a>(
    caller: &'a Caller,
    resource: &'a Resource,
    place: Place<'a>,
    options: &'a WriteOptions,
) -> Write<'a> {
    Write {
        caller,
        resource,
        namespace: place.namespace,
        name: place.name,
        subresource: place.subresource,
        options,
        applied: false,
    }
}

/// The warnings of reading come before those of writing.
fn prepend(written: Result<Written>, warnings: Vec<String>) -> Result<Written> {
    let mut written = written?;
    written.warnings.splice(0..0, warnings);
    Ok(written)
}

/// The name of the path is the object's name.
fn set_name(write: &Write<'_>, object: &mut Value) -> Result<()> {
    if !object.name().is_empty() && object.name() != write.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            write.name
        )));
    }
    metadata_mut(object).insert("name".into(), write.name.into());
    Ok(())
}

/// The namespace of the path is the object's namespace.
fn set_namespace(write: &Write<'_>, object: &mut Value) -> Result<()> {
    if !write.resource.namespaced {
        metadata_mut(object).shift_remove("namespace");
    } else if !object.namespace().is_empty() && object.namespace() != write.namespace {
        return Err(Status::bad_request(OTHER_NAMESPACE));
    } else {
        metadata_mut(object).insert("namespace".into(), write.namespace.into());
    }
    Ok(())
}
