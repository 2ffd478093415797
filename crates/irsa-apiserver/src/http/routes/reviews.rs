//! Questions that are asked by creating an object: who am I, may I, whose token is this.

use http::{Method, Response, StatusCode};
use serde_json::json;

use super::resources::write::bind;
use crate::http::answer::{self, Body};
use crate::http::asked::{Asked, Context};
use crate::http::body;
use crate::object::{ObjectExt, as_object_mut};
use crate::status::{Result, Status};

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
        "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" => {
            json!({ "allowed": true, "reason": "the lab allows everything" })
        }
        "selfsubjectrulesreviews" => json!({
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            "incomplete": false,
        }),
        _ => return Err(Status::no_such_path()),
    };
    let map = as_object_mut(&mut review);
    map.insert("kind".into(), asked.resource.kind.as_str().into());
    map.insert("apiVersion".into(), asked.resource.api_version().into());
    map.entry("metadata").or_insert_with(|| json!({}));
    map.insert("status".into(), status);
    Ok(answer::json(StatusCode::CREATED, &review))
}
