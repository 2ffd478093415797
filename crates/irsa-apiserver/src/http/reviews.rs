//! Questions that are asked by creating an object: who am I, may I. Everybody may everything.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Asked, Server, answer, parse_body};
use crate::hooks::Body;
use crate::object::{ObjectExt, as_object_mut};
use crate::status::{Result, Status};

impl Server {
    pub(super) async fn review(
        &self,
        method: &Method,
        asked: &Asked<'_>,
        body: &[u8],
    ) -> Result<Response<Body>> {
        if *method != Method::POST || !asked.at.name.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let mut review = parse_body(asked.headers, body)?;
        let status = match asked.resource.plural.as_str() {
            "bindings" => {
                let name = review.name().to_owned();
                return self.bind(asked, &name, &review).await;
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
            "tokenreviews" => self.token_review(&review),
            _ => return Err(Status::no_such_path()),
        };
        let map = as_object_mut(&mut review);
        map.insert("kind".into(), asked.resource.kind.as_str().into());
        map.insert("apiVersion".into(), asked.resource.api_version().into());
        map.entry("metadata")
            .or_insert_with(|| json!({ "creationTimestamp": null }));
        map.insert("status".into(), status);
        Ok(answer::json(StatusCode::CREATED, &review))
    }

    /// For the API's own audience; the module for tokens answers reviews that name others.
    fn token_review(&self, review: &Value) -> Value {
        let token = review.str_at(&["spec", "token"]);
        let caller = self
            .authenticator
            .as_ref()
            .and_then(|authenticator| authenticator.authenticate(token));
        match caller {
            Some(caller) => json!({
                "authenticated": true, "user": caller.user_info(), "audiences": ["https://kubernetes.default.svc"],
            }),
            None => json!({ "user": {}, "error": "invalid bearer token" }),
        }
    }
}
