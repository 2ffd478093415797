//! `create`, `update`, `patch`, `delete`, and the subresources that are objects.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::read::{Selection, find, get, one};
use crate::api::{DeleteOptions, FieldValidation, PatchKind, Place, WriteOptions, Written, scale_of};
use crate::conversion;
use crate::http::answer::{self, Body};
use crate::http::asked::{Asked, Context};
use crate::http::body::{media_type, parse as parse_body};
use crate::object::{Object, ObjectExt, entry_object};
use crate::resources::api_version;
use crate::status::{Cause, Result, Status};

const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
     application/strategic-merge-patch+json, application/apply-patch+yaml";

/// A parameter has a value that is not allowed.
fn refuse(cause: Cause) -> Status {
    Status::invalid("CreateOptions", "meta.k8s.io", "", &[cause])
}

fn dry_run(asked: &Asked<'_>) -> Result<bool> {
    let values = asked.query.all("dryRun");
    match values.iter().find(|value| !matches!(**value, "All" | "")) {
        Some(other) => Err(refuse(Cause::not_supported("dryRun", &json!([other]), &["All"]))),
        None => Ok(values.contains(&"All")),
    }
}

fn options(asked: &Asked<'_>) -> Result<WriteOptions> {
    let field_validation = match asked.query.get("fieldValidation") {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            let allowed = ["", "Ignore", "Strict", "Warn"];
            return Err(refuse(Cause::not_supported(
                "fieldValidation",
                &json!(other),
                &allowed,
            )));
        }
    };
    let field_manager = asked.query.get("fieldManager").map(str::to_owned);
    if let Some(manager) = &field_manager
        && (manager.len() > 128 || manager.chars().any(char::is_control))
    {
        let why = "must be at most 128 printable characters";
        return Err(refuse(Cause::invalid("fieldManager", &json!(manager), why)));
    }
    Ok(WriteOptions {
        dry_run: dry_run(asked)?,
        field_manager,
        field_validation,
        force: asked.query.flag("force"),
    })
}

fn place<'a>(asked: &'a Asked<'_>) -> Place<'a> {
    Place {
        resource: &asked.resource.storage,
        namespace: &asked.at.namespace,
        name: &asked.at.name,
        subresource: &asked.at.subresource,
    }
}

fn patch_kind(asked: &Asked<'_>) -> Result<PatchKind> {
    let kind = PatchKind::from_content_type(&media_type(asked.headers));
    kind.ok_or_else(|| Status::unsupported_media_type(PATCH_TYPES))
}

fn written(asked: &Asked<'_>, written: &Written) -> Result<Response<Body>> {
    let status = if written.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = one(asked, status, &written.object)?;
    answer::warn(&mut response, &written.warnings);
    Ok(response)
}

/// The object of a body, in the version that is stored.
fn object_of(asked: &Asked<'_>, body: &[u8]) -> Result<Value> {
    let object = parse_body(asked.headers, body)?;
    if object.kind().is_empty() {
        return Err(Status::bad_request(format!(
            "Object 'Kind' is missing in '{}'",
            String::from_utf8_lossy(&body[..body.len().min(200)])
        )));
    }
    let given = object.api_version();
    let expected = api_version(&asked.resource.group, &asked.at.version);
    if given != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    Ok(conversion::to_stored(&asked.resource, &asked.at.version, object))
}

fn delete_options(asked: &Asked<'_>, body: &[u8]) -> Result<DeleteOptions> {
    let mut value = if body.is_empty() {
        json!({})
    } else {
        parse_body(asked.headers, body)?
    };
    if let Some(seconds) = asked.query.int("gracePeriodSeconds")? {
        value["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(policy) = asked.query.get("propagationPolicy") {
        value["propagationPolicy"] = policy.into();
    }
    let mut options = DeleteOptions::parse(&value)?;
    options.dry_run |= dry_run(asked)?;
    Ok(options)
}

pub(crate) async fn create(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    if asked.resource.namespaced && asked.at.namespace.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let object = object_of(asked, body)?;
    let (storage, namespace) = (&asked.resource.storage, &asked.at.namespace);
    let options = options(asked)?;
    let created = context
        .api
        .create(asked.caller, storage, namespace, object, &options);
    written(asked, &created.await?)
}

pub(crate) async fn update(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    let object = object_of(asked, body)?;
    let options = options(asked)?;
    let updated = context.api.update(asked.caller, place(asked), object, &options);
    written(asked, &updated.await?)
}

pub(crate) async fn patch(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    let kind = patch_kind(asked)?;
    let version = &asked.at.version;
    let converted;
    let mut body = body;
    if kind == PatchKind::Apply && asked.resource.version() != version {
        let object = crate::patch::parse_yaml(body)?;
        if !object.is_object() {
            return Err(Status::bad_request("the applied configuration is not an object"));
        }
        converted = conversion::to_stored(&asked.resource, version, object).to_string();
        body = converted.as_bytes();
    }
    let options = options(asked)?;
    let patched = context
        .api
        .patch(asked.caller, place(asked), kind, body, &options);
    written(asked, &patched.await?)
}

pub(crate) async fn delete(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    let options = delete_options(asked, body)?;
    let Place {
        resource,
        namespace,
        name,
        ..
    } = place(asked);
    let deleted = context
        .api
        .delete(asked.caller, resource, namespace, name, &options);
    Ok(answer::json(
        StatusCode::OK,
        &deleted.await?.response(&asked.resource),
    ))
}

pub(crate) async fn delete_collection(
    context: &Context,
    asked: &Asked<'_>,
    body: &[u8],
) -> Result<Response<Body>> {
    if asked.resource.namespaced && asked.at.namespace.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let options = delete_options(asked, body)?;
    let selection = Selection::of(asked)?;
    let (api, storage) = (&context.api, &asked.resource.storage);
    let selected = |object: &Object| selection.matches(object);
    let found = api
        .store()
        .page(storage, asked.scope(), None, usize::MAX, selected);
    let mut items = Vec::with_capacity(found.items.len());
    for object in &found.items {
        let (namespace, name) = (object.namespace(), object.name());
        match api.delete(asked.caller, storage, namespace, name, &options).await {
            Ok(gone) => items.push(gone.object().value().clone()),
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": asked.resource.list_kind,
        "apiVersion": asked.resource.api_version(),
        "metadata": { "resourceVersion": api.store().resource_version().to_string() },
        "items": items,
    });
    Ok(answer::json(StatusCode::OK, &list))
}

pub(crate) async fn subresource(
    context: &Context,
    method: &Method,
    asked: &Asked<'_>,
    body: &[u8],
) -> Result<Response<Body>> {
    let at = asked.at;
    if !asked.resource.has(&at.subresource) {
        return Err(Status::no_such_path());
    }
    match (at.subresource.as_str(), method.as_str()) {
        ("ephemeralcontainers", "PUT" | "PATCH") => Err(Status::custom(
            501,
            "NotImplemented",
            "this cluster does not run ephemeral containers, which kubectl debug needs: use kubectl exec",
        )),
        ("status" | "ephemeralcontainers", "GET") => get(context, asked),
        ("status" | "finalize", "PUT") => update(context, asked, body).await,
        ("status", "PATCH") => patch(context, asked, body).await,
        ("scale", "GET") => Ok(answer::json(StatusCode::OK, &scale_of(&find(context, asked)?))),
        ("scale", "PUT" | "PATCH") => {
            let (kind, body) = if method == Method::PATCH {
                (Some(patch_kind(asked)?), body.to_vec())
            } else {
                (None, parse_body(asked.headers, body)?.to_string().into_bytes())
            };
            let options = options(asked)?;
            let scaled = context
                .api
                .put_scale(asked.caller, place(asked), kind, &body, &options);
            Ok(answer::json(StatusCode::OK, &scale_of(&scaled.await?.object)))
        }
        ("eviction", "POST") => {
            let eviction = parse_body(asked.headers, body)?;
            let dry = dry_run(asked)?;
            let evicted = context
                .api
                .evict(asked.caller, &at.namespace, &at.name, &eviction, dry);
            evicted.await?;
            Ok(success())
        }
        ("binding", "POST") => {
            let binding = parse_body(asked.headers, body)?;
            bind(context, asked, &at.name, &binding).await
        }
        _ => Err(Status::method_not_allowed()),
    }
}

/// Assigns a pod to a node, as a scheduler does.
pub(crate) async fn bind(
    context: &Context,
    asked: &Asked<'_>,
    name: &str,
    binding: &Value,
) -> Result<Response<Body>> {
    let node = binding.str_at(&["target", "name"]).to_owned();
    if node.is_empty() {
        let cause = Cause::required("target.name", "");
        return Err(Status::invalid("Binding", "", name, &[cause]));
    }
    let assign = |pod: &mut Value| {
        let bound = pod.str_at(&["spec", "nodeName"]);
        if !bound.is_empty() && bound != node {
            let why = format!("pod {name} is already assigned to node {bound:?}");
            return Err(Status::conflict("pods/binding", name, &why));
        }
        entry_object(pod, "spec").insert("nodeName".into(), node.as_str().into());
        Ok(())
    };
    let namespace = &asked.at.namespace;
    let bound = context
        .api
        .modify(asked.caller, "pods", namespace, name, "binding", assign);
    bound.await?;
    Ok(success())
}

fn success() -> Response<Body> {
    let status =
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    answer::json(StatusCode::CREATED, &status)
}
