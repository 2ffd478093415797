//! Questions that are asked by creating an object: who am I, may I, whose token is this.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::resources::write::bind;
use crate::api::Caller;
use crate::config::Authorization;
use crate::http::answer::{self, Body};
use crate::http::asked::{Asked, Context};
use crate::http::{authorize, body};
use crate::object::{ObjectExt, as_object_mut};
use crate::rbac::{self, Action};
use crate::status::{Cause, Result, Status};

pub(crate) async fn serve(
    context: &Context,
    method: &Method,
    asked: &Asked<'_>,
    bytes: &[u8],
) -> Result<Response<Body>> {
    if *method != Method::POST || !asked.at.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let mut review = body::parse(asked.headers, bytes)?;
    let status = match asked.resource.plural.as_str() {
        "bindings" => return bind(context, asked, review.name(), &review).await,
        "tokenreviews" => {
            let answer = context.tokens.review(&review);
            return Ok(answer::json(StatusCode::CREATED, &answer));
        }
        "selfsubjectreviews" => json!({ "userInfo": asked.caller.user_info() }),
        "selfsubjectaccessreviews" => access(context, asked.caller, &Action::of_review(&review["spec"])),
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            let caller = subject(&review["spec"])?;
            access(context, &caller, &Action::of_review(&review["spec"]))
        }
        "selfsubjectrulesreviews" => match context.authorization {
            Authorization::Rbac => {
                let namespace = review.str_at(&["spec", "namespace"]);
                rbac::rules(context.api.store(), asked.caller, namespace)
            }
            Authorization::AlwaysAllow => json!({
                "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
                "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
                "incomplete": false,
            }),
        },
        _ => return Err(Status::no_such_path()),
    };
    let map = as_object_mut(&mut review);
    map.insert("kind".into(), asked.resource.kind.as_str().into());
    map.insert("apiVersion".into(), asked.resource.api_version().into());
    map.entry("metadata").or_insert_with(|| json!({}));
    map.insert("status".into(), status);
    Ok(answer::json(StatusCode::CREATED, &review))
}

/// The status of an access review.
fn access(context: &Context, caller: &Caller, action: &Action) -> Value {
    match authorize::allows(context, caller, action) {
        Some(reason) if reason.is_empty() => json!({ "allowed": true }),
        Some(reason) => json!({ "allowed": true, "reason": reason }),
        None => json!({ "allowed": false }),
    }
}

/// Whom a `SubjectAccessReview` asks about.
fn subject(spec: &Value) -> Result<Caller> {
    let groups = spec.list_at(&["groups"]).iter().filter_map(Value::as_str);
    let caller = Caller {
        username: spec.str_at(&["user"]).to_owned(),
        uid: spec.str_at(&["uid"]).to_owned(),
        groups: groups.map(str::to_owned).collect(),
        extra: Vec::new(),
        manager: String::new(),
    };
    if caller.username.is_empty() && caller.groups.is_empty() {
        let cause = Cause::invalid(
            "spec.user",
            &json!(""),
            "at least one of user or group must be specified",
        );
        return Err(Status::invalid(
            "SubjectAccessReview",
            "authorization.k8s.io",
            "",
            &[cause],
        ));
    }
    Ok(caller)
}
