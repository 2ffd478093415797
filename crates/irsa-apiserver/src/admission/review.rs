//! `AdmissionReview`: the question as the API server puts it, and the checks of the answer, in Kubernetes' words.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::api::{AdmissionRequest, Operation};
use crate::object::ObjectExt;
use crate::status::Status;

/// A webhook's verdict.
#[derive(Debug)]
pub(super) struct Verdict {
    /// `None` when it allows.
    pub(super) refusal: Option<Status>,
    /// The operations of a JSON patch.
    pub(super) patch: Option<Vec<u8>>,
    /// `patchType`, when there is a patch.
    pub(super) patch_type: String,
    pub(super) warnings: Vec<String>,
}

fn with_version(object: &Value, api_version: &str) -> Value {
    let mut object = object.clone();
    if object.api_version() != api_version
        && let Some(map) = object.as_object_mut()
    {
        map.insert("apiVersion".into(), api_version.into());
    }
    object
}

/// The question. `version` is that of the resource which the webhook wants; `review` that of AdmissionReview.
pub(super) fn question(
    request: &AdmissionRequest<'_>,
    object: Option<&Value>,
    uid: &str,
    version: &str,
    review: &str,
) -> Value {
    let resource = request.resource;
    // The object of a connection is the options of its subresource.
    let options = (request.operation == Operation::Connect)
        .then(|| object.map(ObjectExt::kind))
        .flatten();
    let kind = |version: &str| {
        let kind = options.unwrap_or(&resource.kind);
        json!({ "group": resource.group, "version": version, "kind": kind })
    };
    let named =
        |version: &str| json!({ "group": resource.group, "version": version, "resource": resource.plural });
    let api_version = crate::resources::api_version(&resource.group, version);
    let in_version =
        |object: Option<&Value>| object.map_or(Value::Null, |object| with_version(object, &api_version));

    let mut asked = Map::new();
    asked.insert("uid".into(), uid.into());
    asked.insert("kind".into(), kind(version));
    asked.insert("resource".into(), named(version));
    if !request.subresource.is_empty() {
        asked.insert("subResource".into(), request.subresource.into());
    }
    asked.insert("requestKind".into(), kind(resource.version()));
    asked.insert("requestResource".into(), named(resource.version()));
    if !request.subresource.is_empty() {
        asked.insert("requestSubResource".into(), request.subresource.into());
    }
    let name = match request.name {
        "" => object.map_or("", ObjectExt::name),
        name => name,
    };
    if !name.is_empty() {
        asked.insert("name".into(), name.into());
    }
    let namespace = if resource.storage == "namespaces" {
        name
    } else {
        request.namespace
    };
    if !namespace.is_empty() {
        asked.insert("namespace".into(), namespace.into());
    }
    asked.insert("operation".into(), request.operation.as_str().into());
    asked.insert("userInfo".into(), request.caller.user_info());
    asked.insert("object".into(), in_version(object));
    asked.insert("oldObject".into(), in_version(request.old));
    asked.insert("dryRun".into(), request.dry_run.into());
    asked.insert("options".into(), request.options.clone());
    json!({
        "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{review}"), "request": asked,
    })
}

/// What a server sets on a new object after mutating admission: webhooks see it without.
pub(super) fn without_server_fields(operation: Operation, object: &mut Value) {
    if operation != Operation::Create {
        return;
    }
    let metadata = crate::object::metadata_mut(object);
    for key in ["uid", "resourceVersion", "generation", "managedFields"] {
        metadata.shift_remove(key);
    }
    metadata.shift_remove("creationTimestamp");
}

/// Reads an answer. The error is why the answer is not one; the call then counts as failed.
pub(super) fn answer(
    body: &[u8],
    hook: &str,
    uid: &str,
    review: &str,
    mutating: bool,
) -> Result<Verdict, String> {
    let invalid = |why: String| format!("received invalid webhook response: {why}");
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        format!("failed to call webhook: couldn't get version/kind; json parse error: {error}")
    })?;
    let Some(response) = value.get("response").filter(|response| response.is_object()) else {
        return Err(invalid("webhook response was absent".into()));
    };
    let own_uid = response.str_at(&["uid"]);
    if own_uid != uid && (review == "v1" || !own_uid.is_empty()) {
        return Err(invalid(format!("expected response.uid={uid:?}, got {own_uid:?}")));
    }
    let wanted = format!("admission.k8s.io/{review}, Kind=AdmissionReview");
    let got = format!("{}, Kind={}", group_version(value.api_version()), value.kind());
    if review == "v1" && wanted != got {
        return Err(invalid(format!(
            "expected webhook response of {wanted}, got {got}"
        )));
    }
    let patch = patch_of(response).map_err(invalid)?;
    let patch_type = response.get("patchType").and_then(Value::as_str);
    check_patch(review == "v1", mutating, patch.is_some(), patch_type).map_err(|why| invalid(why.into()))?;
    let warnings = response
        .list_at(&["warnings"])
        .iter()
        .filter_map(|warning| warning.as_str().map(str::to_owned))
        .collect();
    let allowed = response.get("allowed") == Some(&Value::Bool(true));
    Ok(Verdict {
        refusal: (!allowed).then(|| refusal(hook, response.get("status").unwrap_or(&Value::Null))),
        patch,
        patch_type: patch_type.unwrap_or("JSONPatch").to_owned(),
        warnings,
    })
}

/// The bytes of the patch, when there is one.
fn patch_of(response: &Value) -> Result<Option<Vec<u8>>, String> {
    let patch = match response.get("patch") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| format!("response.patch is not base64: {error}"))?,
        // Go's decoder takes bytes as an array of numbers, too; kube-rs writes them so.
        Some(Value::Array(bytes)) => bytes
            .iter()
            .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
            .collect::<Option<_>>()
            .ok_or("response.patch is not a list of bytes")?,
        Some(_) => return Err("response.patch is neither base64 nor a list of bytes".into()),
    };
    Ok(Some(patch).filter(|patch| !patch.is_empty()))
}

/// Whether a patch and its type go together. Version v1beta1 is less strict than v1.
fn check_patch(v1: bool, mutating: bool, patch: bool, patch_type: Option<&str>) -> Result<(), &'static str> {
    match (mutating, patch, patch_type) {
        (true, true, None) if v1 => Err("webhook returned response.patch but not response.patchType"),
        (true, true, Some("")) => Err("webhook returned invalid response.patchType of \"\""),
        (true, false, Some(_)) if v1 => Err("webhook returned response.patchType but not response.patch"),
        (false, true, _) if v1 => Err("validating webhook may not return response.patch"),
        (false, false, Some(_)) if v1 => Err("validating webhook may not return response.patchType"),
        _ => Ok(()),
    }
}

/// `apps/v1` as Go prints a group and version; the core group is empty before the slash.
fn group_version(text: &str) -> String {
    if text.contains('/') {
        text.to_owned()
    } else {
        format!("/{text}")
    }
}

fn refusal(hook: &str, status: &Value) -> Status {
    let denied = format!("admission webhook {hook:?} denied the request");
    let (message, reason) = (status.str_at(&["message"]), status.str_at(&["reason"]));
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status
        .int_at(&["code"])
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code))
        .unwrap_or(400);
    let mut refused = Status::custom(code, reason, message);
    if let Some(details) = status.get("details").filter(|details| details.is_object()) {
        set_details(&mut refused, details);
    }
    refused
}

fn set_details(status: &mut Status, details: &Value) {
    status.details = Some(Box::new(details.clone()));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(body: &Value, mutating: bool) -> Result<Verdict, String> {
        answer(body.to_string().as_bytes(), "w.example.com", "u", "v1", mutating)
    }

    fn review(response: Value) -> Value {
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
    }

    #[test]
    fn an_answer_without_a_response_is_none() {
        let error = read(
            &json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview" }),
            true,
        )
        .unwrap_err();
        assert_eq!(
            error,
            "received invalid webhook response: webhook response was absent"
        );
    }

    #[test]
    fn the_uid_and_the_kind_must_be_those_of_the_question() {
        let error = read(&review(json!({ "uid": "other", "allowed": true })), true).unwrap_err();
        assert_eq!(
            error,
            "received invalid webhook response: expected response.uid=\"u\", got \"other\""
        );
        let mut wrong = review(json!({ "uid": "u", "allowed": true }));
        wrong["apiVersion"] = "v1".into();
        assert_eq!(
            read(&wrong, true).unwrap_err(),
            "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=AdmissionReview"
        );
    }

    #[test]
    fn a_patch_needs_its_type_and_a_validating_webhook_may_not_patch() {
        let patched = review(json!({ "uid": "u", "allowed": true, "patch": "W10=" }));
        assert!(
            read(&patched, true)
                .unwrap_err()
                .ends_with("webhook returned response.patch but not response.patchType")
        );
        assert!(
            read(&patched, false)
                .unwrap_err()
                .ends_with("validating webhook may not return response.patch")
        );
        let typed = review(json!({ "uid": "u", "allowed": true, "patchType": "JSONPatch" }));
        assert!(
            read(&typed, true)
                .unwrap_err()
                .ends_with("webhook returned response.patchType but not response.patch")
        );
        let bytes =
            review(json!({ "uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": [91, 93] }));
        assert_eq!(read(&bytes, true).unwrap().patch.unwrap(), b"[]");
    }

    #[test]
    fn a_refusal_names_the_webhook_and_keeps_its_words() {
        let said = |status: Value| {
            read(
                &review(json!({ "uid": "u", "allowed": false, "status": status })),
                true,
            )
            .unwrap()
            .refusal
            .unwrap()
        };
        let plain = said(json!({ "message": "no", "code": 403 }));
        assert_eq!(
            plain.message,
            "admission webhook \"w.example.com\" denied the request: no"
        );
        assert_eq!(plain.code, 403);
        assert_eq!(
            said(json!({})).message,
            "admission webhook \"w.example.com\" denied the request without explanation"
        );
        assert_eq!(said(json!({ "code": 200 })).code, 400);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
            patch in "[A-Za-z0-9+/=]{0,16}", kind in "[A-Za-z]{0,8}", mutating in proptest::prelude::any::<bool>(),
        ) {
            let _ = answer(&bytes, "w", "u", "v1", mutating);
            let shaped = review(json!({ "uid": "u", "allowed": true, "patch": patch, "patchType": kind }));
            let _ = read(&shaped, mutating);
        }
    }

    #[test]
    fn what_is_no_json_says_so() {
        let error = answer(b"<html>", "w", "u", "v1", true).unwrap_err();
        assert!(
            error.contains("couldn't get version/kind; json parse error"),
            "{error}"
        );
    }
}
