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
use crate::status::{Result, Status};
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
    /// Who manages the fields that are written; the caller's own name for it when `None`.
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

/// How often a write is tried again because somebody else wrote in between.
const ATTEMPTS: usize = 64;

type Make<'a> = dyn Fn(&Object) -> Result<Value> + Send + Sync + 'a;

struct Target<'a> {
    caller: &'a Caller,
    resource: &'a Resource,
    namespace: &'a str,
    name: &'a str,
    subresource: &'a str,
    options: &'a WriteOptions,
    /// `Some` for server-side apply, whose managed fields `make` computes itself.
    applied: bool,
}

impl Api {
    /// Creates an object. Its namespace is `namespace`; name or generateName, `apiVersion` and `kind` may be left to
    /// this call where the resource tells them.
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
        self.create_in(caller, &resource, namespace, object, options, false)
            .await
    }

    async fn create_in(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &Arc<Resource>,
        namespace: &str,
        mut object: Value,
        options: &WriteOptions,
        applied: bool,
    ) -> Result<Written> {
        let mut warnings = Vec::new();
        check_kind(resource, &mut object)?;
        check_fields(resource, &mut object, options.field_validation, &mut warnings)?;
        if !object.str_at(&["metadata", "resourceVersion"]).is_empty() {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        self.prepare_namespace(resource, namespace, &mut object)?;
        let generated = object.name().is_empty() && !object.str_at(&["metadata", "generateName"]).is_empty();
        if object.name().is_empty() && !generated {
            return Err(Status::invalid(
                &resource.kind,
                &resource.group,
                "",
                &[crate::status::Cause::required(
                    "metadata.name",
                    "name or generateName is required",
                )],
            ));
        }
        // Ahead of admission, so that webhooks are not asked about an object that cannot be.
        if !generated
            && self
                .store
                .get(&resource.storage, object.namespace(), object.name())
                .is_some()
        {
            return Err(Status::already_exists(&resource.qualified(), object.name()));
        }
        prepare_create(resource, &mut object);
        defaults::apply(resource, &mut object);

        let object = self
            .admit(
                caller,
                resource,
                "",
                Operation::Create,
                object,
                None,
                options,
                &mut warnings,
            )
            .await?;
        let mut object = object;
        // After mutating admission, as in Kubernetes: webhooks see only `generateName`.
        if generated && object.name().is_empty() {
            generate_name(&mut object);
        }
        defaults::apply(resource, &mut object);
        let causes = validation::create(resource, &object);
        if !causes.is_empty() {
            return Err(Status::invalid(
                &resource.kind,
                &resource.group,
                object.name(),
                &causes,
            ));
        }
        self.validate_admission(
            caller,
            resource,
            "",
            Operation::Create,
            &object,
            None,
            options,
            &mut warnings,
        )
        .await?;
        // The namespace may have begun to go while admission was asked.
        self.check_namespace(resource, object.namespace())?;
        self.assign_addresses(resource, None, &mut object)?;
        if !applied {
            let manager = manager(caller, options, "");
            managed::record_update(resource, None, &mut object, &manager);
        }
        if options.dry_run {
            return Ok(Written {
                object: Arc::new(Stored::new(object, 0)),
                created: true,
                warnings,
            });
        }
        let mut attempts = 0;
        let stored = loop {
            match self.store.create(&resource.storage, object.clone()) {
                Ok(stored) => break stored,
                Err(StoreError::Exists) if generated && attempts < 8 => {
                    attempts += 1;
                    generate_name(&mut object);
                }
                Err(error) => return Err(error.status(&resource.qualified(), object.name())),
            }
        };
        if resource.plural == "customresourcedefinitions" {
            self.registry.define(stored.value());
        }
        Ok(Written {
            object: stored,
            created: true,
            warnings,
        })
    }

    /// Replaces an object (`PUT`), or with `subresource` a part of it (`status`, `finalize`). The resource version in
    /// the object, when there is one, must be the present one.
    ///
    /// # Errors
    /// 404, 409, 422 and what admission refuses.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a request path, each of another meaning"
    )]
    pub async fn update(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written> {
        let resource = self.resource(resource)?;
        let mut warnings = Vec::new();
        check_kind(&resource, &mut object)?;
        check_fields(&resource, &mut object, options.field_validation, &mut warnings)?;
        if !object.name().is_empty() && object.name() != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                object.name()
            )));
        }
        if resource.namespaced && !object.namespace().is_empty() && object.namespace() != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata_mut(&mut object).insert("name".into(), name.into());
        if resource.plural == "leases" && self.store.get(&resource.storage, namespace, name).is_none() {
            return self
                .create_in(caller, &resource, namespace, object, options, false)
                .await;
        }
        let target = Target {
            caller,
            resource: &resource,
            namespace,
            name,
            subresource,
            options,
            applied: false,
        };
        let mut written = self.rewrite(&target, &|_| Ok(object.clone())).await?;
        written.warnings.splice(0..0, warnings);
        Ok(written)
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
        let resource = self.resource(resource)?;
        let options = WriteOptions {
            field_validation: FieldValidation::Ignore,
            ..WriteOptions::default()
        };
        let target = Target {
            caller,
            resource: &resource,
            namespace,
            name,
            subresource,
            options: &options,
            applied: false,
        };
        self.rewrite(&target, &|current| {
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
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a request path, each of another meaning"
    )]
    pub async fn patch(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchKind,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written> {
        let resource = self.resource(resource)?;
        if kind == PatchKind::Apply {
            return self
                .apply(caller, &resource, namespace, name, subresource, body, options)
                .await;
        }
        let parsed = patch::Patch::parse(kind, body)?;
        if kind == PatchKind::Strategic && resource.custom.is_some() {
            return Err(Status::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        let target = Target {
            caller,
            resource: &resource,
            namespace,
            name,
            subresource,
            options,
            applied: false,
        };
        let warnings = parking_lot::Mutex::new(Vec::new());
        let mut written = self
            .rewrite(&target, &|current| {
                let mut next = parsed.apply(&resource, current.value())?;
                let mut found = Vec::new();
                check_patched(
                    &resource,
                    &mut next,
                    options.field_validation,
                    &parsed,
                    &mut found,
                )?;
                *warnings.lock() = found;
                Ok(next)
            })
            .await?;
        written.warnings.splice(0..0, warnings.into_inner());
        Ok(written)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a request path, each of another meaning"
    )]
    async fn apply(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &Arc<Resource>,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written> {
        let mut warnings = Vec::new();
        let Some(field_manager) = options
            .field_manager
            .clone()
            .filter(|manager| !manager.is_empty())
        else {
            return Err(Status::invalid(
                "PatchOptions",
                "meta.k8s.io",
                "",
                &[crate::status::Cause::required(
                    "fieldManager",
                    "is required for apply patch",
                )],
            ));
        };
        let mut applied = patch::parse_yaml(body)?;
        check_kind(resource, &mut applied)?;
        check_fields(resource, &mut applied, options.field_validation, &mut warnings)?;
        if !applied.list_at(&["metadata", "managedFields"]).is_empty() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if !applied.name().is_empty() && applied.name() != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                applied.name()
            )));
        }
        metadata_mut(&mut applied).insert("name".into(), name.into());
        // What this request cannot change is not managed by it either.
        if let Some(map) = applied.as_object_mut() {
            if subresource == "status" {
                map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            } else if resource.has("status") {
                map.shift_remove("status");
            }
        }
        if resource.namespaced {
            if !applied.namespace().is_empty() && applied.namespace() != namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            metadata_mut(&mut applied).insert("namespace".into(), namespace.into());
        }
        let manager = Manager {
            name: field_manager,
            subresource: subresource.to_owned(),
        };

        for _ in 0..ATTEMPTS {
            if self.store.get(&resource.storage, namespace, name).is_none() {
                if !subresource.is_empty() || !applied.str_at(&["metadata", "resourceVersion"]).is_empty() {
                    return Err(Status::not_found(&resource.qualified(), name));
                }
                let mut object = applied.clone();
                managed::record_first_apply(resource, &mut object, &manager);
                match self
                    .create_in(caller, resource, namespace, object, options, true)
                    .await
                {
                    // Somebody was faster: apply to theirs.
                    Err(status) if status.reason == "AlreadyExists" => continue,
                    other => {
                        return other.map(|mut written| {
                            written.warnings.splice(0..0, warnings);
                            written
                        });
                    }
                }
            }
            let target = Target {
                caller,
                resource,
                namespace,
                name,
                subresource,
                options,
                applied: true,
            };
            let result = self
                .rewrite(&target, &|current| {
                    let wanted = applied.str_at(&["metadata", "resourceVersion"]);
                    if !wanted.is_empty() && wanted != current.str_at(&["metadata", "resourceVersion"]) {
                        return Err(Status::modified(&resource.qualified(), name));
                    }
                    managed::apply(resource, current.value(), &applied, &manager, options.force)
                })
                .await;
            return result.map(|mut written| {
                written.warnings.splice(0..0, warnings);
                written
            });
        }
        Err(Status::modified(&resource.qualified(), name))
    }

    async fn rewrite(self: &Arc<Self>, target: &Target<'_>, make: &Make<'_>) -> Result<Written> {
        let &Target {
            caller,
            resource,
            namespace,
            name,
            subresource,
            options,
            applied,
        } = target;
        let storage = &resource.storage;
        let qualified = resource.qualified();
        for _ in 0..ATTEMPTS {
            let Some(current) = self.store.get(storage, namespace, name) else {
                return Err(Status::not_found(&qualified, name));
            };
            let mut warnings = Vec::new();
            let mut next = make(&current)?;
            check_identity(&qualified, &current, &next)?;
            prepare_update(resource, subresource, &current, &mut next);
            defaults::apply(resource, &mut next);
            let mut next = self
                .admit(
                    caller,
                    resource,
                    subresource,
                    Operation::Update,
                    next,
                    Some(&current),
                    options,
                    &mut warnings,
                )
                .await?;
            // Admission may not touch what belongs to the server.
            prepare_update(resource, subresource, &current, &mut next);
            defaults::apply(resource, &mut next);
            let causes = validation::update(resource, subresource, current.value(), &next);
            if !causes.is_empty() {
                return Err(Status::invalid(&resource.kind, &resource.group, name, &causes));
            }
            self.validate_admission(
                caller,
                resource,
                subresource,
                Operation::Update,
                &next,
                Some(&current),
                options,
                &mut warnings,
            )
            .await?;
            self.assign_addresses(resource, Some(current.value()), &mut next)?;
            if !applied {
                let manager = manager(caller, options, subresource);
                managed::record_update(resource, Some(current.value()), &mut next, &manager);
            }
            bump_generation(resource, &current, &mut next);
            if same_state(current.value(), &next) {
                return Ok(Written {
                    object: current,
                    created: false,
                    warnings,
                });
            }
            if options.dry_run {
                let object = Arc::new(Stored::new(next, current.version()));
                return Ok(Written {
                    object,
                    created: false,
                    warnings,
                });
            }
            let result = if may_go(storage, &next) {
                // The last finalizer went: so does the object.
                self.remove(storage, &current, false)
            } else {
                self.store.update(storage, next, Some(current.version()))
            };
            match result {
                Ok(object) => {
                    if resource.plural == "customresourcedefinitions" && object.deletion_timestamp().is_none()
                    {
                        self.registry.define(object.value());
                    }
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

    #[expect(
        clippy::too_many_arguments,
        reason = "what admission has to know of a request"
    )]
    async fn admit(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &Resource,
        subresource: &str,
        operation: Operation,
        object: Value,
        old: Option<&Object>,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Value> {
        let Some(admission) = self.admission.get() else {
            return Ok(object);
        };
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        let request = AdmissionRequest {
            operation,
            resource,
            subresource,
            namespace: &namespace,
            name: &name,
            object: Some(object),
            old: old.map(|old| old.value()),
            caller,
            dry_run: options.dry_run,
            options: options_json(operation, options),
        };
        let admitted = admission.admit(self, request).await?;
        warnings.extend(admitted.warnings);
        admitted
            .object
            .ok_or_else(|| Status::internal("admission returned no object"))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what admission has to know of a request"
    )]
    async fn validate_admission(
        self: &Arc<Self>,
        caller: &Caller,
        resource: &Resource,
        subresource: &str,
        operation: Operation,
        object: &Value,
        old: Option<&Object>,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let Some(admission) = self.admission.get() else {
            return Ok(());
        };
        let request = AdmissionRequest {
            operation,
            resource,
            subresource,
            namespace: object.namespace(),
            name: object.name(),
            object: Some(object.clone()),
            old: old.map(|old| old.value()),
            caller,
            dry_run: options.dry_run,
            options: options_json(operation, options),
        };
        warnings.extend(admission.validate(self, &request).await?);
        Ok(())
    }

    fn prepare_namespace(&self, resource: &Resource, namespace: &str, object: &mut Value) -> Result<()> {
        let given = object.namespace().to_owned();
        if !resource.namespaced {
            metadata_mut(object).shift_remove("namespace");
            return Ok(());
        }
        if !given.is_empty() && given != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata_mut(object).insert("namespace".into(), namespace.into());
        self.check_namespace(resource, namespace)
    }

    fn check_namespace(&self, resource: &Resource, namespace: &str) -> Result<()> {
        if !resource.namespaced {
            return Ok(());
        }
        let Some(found) = self.store.get("namespaces", "", namespace) else {
            return Err(Status::not_found("namespaces", namespace));
        };
        if found.deletion_timestamp().is_some() {
            let mut status = Status::forbidden(
                &resource.qualified(),
                "",
                &format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                ),
            );
            if let Some(details) = &mut status.details {
                details["causes"] = json!([{
                    "reason": "NamespaceTerminating",
                    "message": format!("namespace {namespace} is being terminated"),
                    "field": "metadata.namespace",
                }]);
            }
            return Err(status);
        }
        Ok(())
    }

    fn assign_addresses(&self, resource: &Resource, old: Option<&Value>, object: &mut Value) -> Result<()> {
        if resource.storage != "services" || object.str_at(&["spec", "type"]) == "ExternalName" {
            return Ok(());
        }
        let wanted = object.str_at(&["spec", "clusterIP"]).to_owned();
        if let Some(old) = old
            .map(|old| old.str_at(&["spec", "clusterIP"]))
            .filter(|old| !old.is_empty())
            && (wanted.is_empty() || wanted == old)
        {
            let address = old.to_owned();
            set_address(object, address);
            return Ok(());
        }
        let address = match wanted.as_str() {
            "None" => wanted,
            "" => self
                .services
                .take()
                .ok_or_else(|| Status::internal("the service network has no free address"))?,
            _ if self.services.take_this(&wanted) => wanted,
            _ => {
                let cause = crate::status::Cause::invalid(
                    "spec.clusterIPs",
                    &json!([wanted]),
                    "failed to allocate IP: the provided IP is not in the valid range or already allocated",
                );
                return Err(Status::invalid("Service", "", object.name(), &[cause]));
            }
        };
        set_address(object, address);
        Ok(())
    }
}

fn set_address(service: &mut Value, address: String) {
    let spec = crate::object::entry_object(service, "spec");
    spec.insert("clusterIPs".into(), json!([address]));
    spec.insert("clusterIP".into(), address.into());
}

fn options_json(operation: Operation, options: &WriteOptions) -> Value {
    let kind = if operation == Operation::Create {
        "CreateOptions"
    } else {
        "UpdateOptions"
    };
    let mut value = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
    if options.dry_run {
        value["dryRun"] = json!(["All"]);
    }
    if let Some(manager) = &options.field_manager {
        value["fieldManager"] = manager.as_str().into();
    }
    value
}

fn manager(caller: &Caller, options: &WriteOptions, subresource: &str) -> Manager {
    Manager {
        name: options
            .field_manager
            .clone()
            .unwrap_or_else(|| caller.manager.clone()),
        subresource: subresource.to_owned(),
    }
}
