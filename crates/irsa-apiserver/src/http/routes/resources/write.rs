//! `create`, `update`, `patch`, `delete`, and the subresources that are objects.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::read::{Selection, find, get, one};
use crate::api::{DeleteOptions, Deleted, FieldValidation, PatchKind, WriteOptions, Written, scale_of};
use crate::conversion;
use crate::http::answer::{self, Body};
use crate::http::asked::{Asked, Context};
use crate::http::body::{media_type, parse as parse_body};
use crate::object::ObjectExt;
use crate::resources::api_version;
use crate::status::{Cause, Result, Status};

const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
     application/strategic-merge-patch+json, application/apply-patch+yaml";

fn dry_run(asked: &Asked<'_>) -> Result<bool> {
    let values = asked.query.all("dryRun");
    match values.iter().find(|value| !matches!(**value, "All" | "")) {
        Some(other) => {
            let cause = Cause::not_supported("dryRun", &json!([other]), &["All"]);
            Err(Status::invalid("CreateOptions", "meta.k8s.io", "", &[cause]))
        }
        None => Ok(values.contains(&"All")),
    }
}

fn options(asked: &Asked<'_>) -> Result<WriteOptions> {
    let field_validation = match asked.query.get("fieldValidation") {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            let cause = Cause::not_supported(
                "fieldValidation",
                &json!(other),
                &["", "Ignore", "Strict", "Warn"],
            );
            return Err(Status::invalid("CreateOptions", "meta.k8s.io", "", &[cause]));
        }
    };
    let field_manager = asked.query.get("fieldManager").map(str::to_owned);
    if let Some(manager) = &field_manager
        && (manager.len() > 128 || manager.chars().any(char::is_control))
    {
        let cause = Cause::invalid(
            "fieldManager",
            &json!(manager),
            "must be at most 128 printable characters",
        );
        return Err(Status::invalid("CreateOptions", "meta.k8s.io", "", &[cause]));
    }
    Ok(WriteOptions {
        dry_run: dry_run(asked)?,
        field_manager,
        field_validation,
        force: asked.query.flag("force"),
    })
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

fn deleted(asked: &Asked<'_>, deleted: &Deleted) -> Response<Body> {
    answer::json(StatusCode::OK, &deleted.response(&asked.resource))
}

pub(crate) async fn create(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    if asked.resource.namespaced && asked.at.namespace.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let object = object_of(asked, body)?;
    let result = context
        .api
        .create(
            asked.caller,
            &asked.resource.storage,
            &asked.at.namespace,
            object,
            &options(asked)?,
        )
        .await?;
    written(asked, &result)
}

pub(crate) async fn update(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    let object = object_of(asked, body)?;
    let at = asked.at;
    let result = context
        .api
        .update(
            asked.caller,
            &asked.resource.storage,
            &at.namespace,
            &at.name,
            &at.subresource,
            object,
            &options(asked)?,
        )
        .await?;
    written(asked, &result)
}

pub(crate) async fn patch(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    let kind = PatchKind::from_content_type(&media_type(asked.headers))
        .ok_or_else(|| Status::unsupported_media_type(PATCH_TYPES))?;
    let at = asked.at;
    let converted;
    let mut body = body;
    if kind == PatchKind::Apply && asked.resource.version() != at.version {
        let object = crate::patch::parse_yaml(body)?;
        if !object.is_object() {
            return Err(Status::bad_request("the applied configuration is no object"));
        }
        converted = conversion::to_stored(&asked.resource, &at.version, object).to_string();
        body = converted.as_bytes();
    }
    let result = context
        .api
        .patch(
            asked.caller,
            &asked.resource.storage,
            &at.namespace,
            &at.name,
            &at.subresource,
            kind,
            body,
            &options(asked)?,
        )
        .await?;
    written(asked, &result)
}

pub(crate) async fn delete(context: &Context, asked: &Asked<'_>, body: &[u8]) -> Result<Response<Body>> {
    let options = delete_options(asked, body)?;
    let at = asked.at;
    let result = context
        .api
        .delete(
            asked.caller,
            &asked.resource.storage,
            &at.namespace,
            &at.name,
            &options,
        )
        .await?;
    Ok(deleted(asked, &result))
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
    let storage = &asked.resource.storage;
    let found = context
        .api
        .store()
        .page(storage, asked.scope(), None, usize::MAX, |object| {
            selection.matches(object)
        });
    let mut items = Vec::with_capacity(found.items.len());
    for object in &found.items {
        match context
            .api
            .delete(asked.caller, storage, object.namespace(), object.name(), &options)
            .await
        {
            Ok(gone) => items.push(gone.object().value().clone()),
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": asked.resource.list_kind,
        "apiVersion": asked.resource.api_version(),
        "metadata": { "resourceVersion": context.api.store().resource_version().to_string() },
        "items": items,
    });
    Ok(answer::json(StatusCode::OK, &list))
}

pub(crate) async fn subresource(
    context: &Context,
    method: &Method,
    asked: &Asked<'_>,
    body: &Bytes,
) -> Result<Response<Body>> {
    let at = asked.at;
    let subresource = at.subresource.as_str();
    if !asked.resource.has(subresource) {
        return Err(Status::no_such_path());
    }
    match (subresource, method.as_str()) {
        ("status" | "ephemeralcontainers", "GET") => get(context, asked),
        ("status" | "finalize" | "ephemeralcontainers", "PUT") => update(context, asked, body).await,
        ("status" | "ephemeralcontainers", "PATCH") => patch(context, asked, body).await,
        ("scale", "GET") => {
            let object = find(context, asked)?;
            Ok(answer::json(StatusCode::OK, &scale_of(&object)))
        }
        ("scale", "PUT") => {
            let scale = parse_body(asked.headers, body)?;
            let storage = &asked.resource.storage;
            let result = context
                .api
                .put_scale(
                    asked.caller,
                    storage,
                    &at.namespace,
                    &at.name,
                    &scale,
                    &options(asked)?,
                )
                .await?;
            Ok(answer::json(StatusCode::OK, &scale_of(&result.object)))
        }
        ("scale", "PATCH") => {
            let kind = PatchKind::from_content_type(&media_type(asked.headers))
                .ok_or_else(|| Status::unsupported_media_type(PATCH_TYPES))?;
            let storage = &asked.resource.storage;
            let result = context
                .api
                .patch_scale(
                    asked.caller,
                    storage,
                    &at.namespace,
                    &at.name,
                    kind,
                    body,
                    &options(asked)?,
                )
                .await?;
            Ok(answer::json(StatusCode::OK, &scale_of(&result.object)))
        }
        ("eviction", "POST") => {
            let eviction = parse_body(asked.headers, body)?;
            let dry = dry_run(asked)?;
            context
                .api
                .evict(asked.caller, &at.namespace, &at.name, &eviction, dry)
                .await?;
            Ok(success(StatusCode::CREATED))
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
    let namespace = &asked.at.namespace;
    context
        .api
        .modify(asked.caller, "pods", namespace, name, "binding", |pod| {
            let bound = pod.str_at(&["spec", "nodeName"]);
            if !bound.is_empty() && bound != node {
                return Err(Status::conflict(
                    "pods/binding",
                    name,
                    &format!("pod {name} is already assigned to node {bound:?}"),
                ));
            }
            crate::object::entry_object(pod, "spec").insert("nodeName".into(), node.as_str().into());
            Ok(())
        })
        .await?;
    Ok(success(StatusCode::CREATED))
}
pub(super) fn success(code: StatusCode) -> Response<Body> {
    let mut value = Map::new();
    value.insert("kind".into(), "Status".into());
    value.insert("apiVersion".into(), "v1".into());
    value.insert("metadata".into(), json!({}));
    value.insert("status".into(), "Success".into());
    value.insert("code".into(), code.as_u16().into());
    answer::json(code, &Value::Object(value))
}
