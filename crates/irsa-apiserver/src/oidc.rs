//! The paths of tokens: OIDC discovery and keys (as kube-apiserver and as EKS serve them), `TokenRequest` and
//! `TokenReview`.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::api::{Api, BoxFuture, Caller};
use crate::hooks::{Addressed, Body, Routes};
use crate::http::MAX_BODY;
use crate::status::{Result, Status};
use crate::tokens::Tokens;

/// The documents that a verifier of tokens reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Document {
    Discovery,
    DiscoveryBelowIssuer,
    Keys,
}

/// Serves what [`Tokens`] knows.
pub(crate) struct TokenRoutes {
    tokens: Arc<Tokens>,
    url: String,
    // `/id/EXAMPLE` of `https://oidc.eks.…/id/EXAMPLE`; empty when the issuer has no path.
    issuer_path: String,
    anonymous: bool,
}

impl TokenRoutes {
    /// `url` is the API's; without `anonymous` the documents need credentials, as a plain kube-apiserver asks for.
    pub(crate) fn new(tokens: Arc<Tokens>, url: String, anonymous: bool) -> Self {
        let issuer_path = tokens
            .issuer()
            .split_once("://")
            .and_then(|(_, rest)| {
                rest.find('/')
                    .map(|at| rest[at..].trim_end_matches('/').to_owned())
            })
            .unwrap_or_default();
        Self {
            tokens,
            url,
            issuer_path,
            anonymous,
        }
    }

    fn document(&self, path: &str) -> Option<Document> {
        const DISCOVERY: &str = "/.well-known/openid-configuration";
        if path == DISCOVERY {
            return Some(Document::Discovery);
        }
        if path == "/openid/v1/jwks" {
            return Some(Document::Keys);
        }
        let below = path.strip_prefix(self.issuer_path.as_str())?;
        match below {
            DISCOVERY if !self.issuer_path.is_empty() => Some(Document::DiscoveryBelowIssuer),
            "/keys" => Some(Document::Keys),
            _ => None,
        }
    }

    fn answer(&self, document: Document) -> Result<Response<Body>> {
        let discovery = |keys: String| {
            json!({
                "issuer": self.tokens.issuer(), "jwks_uri": keys,
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            })
        };
        let (content_type, value) = match document {
            Document::Discovery => (
                "application/json",
                discovery(format!("{}/openid/v1/jwks", self.url)),
            ),
            Document::DiscoveryBelowIssuer => (
                "application/json",
                discovery(format!("{}/keys", self.tokens.issuer().trim_end_matches('/'))),
            ),
            Document::Keys => ("application/jwk-set+json", self.tokens.jwks()?),
        };
        let mut response = json_response(StatusCode::OK, &value);
        let headers = response.headers_mut();
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static(content_type),
        );
        headers.insert(
            http::header::CACHE_CONTROL,
            http::HeaderValue::from_static("public, max-age=3600"),
        );
        Ok(response)
    }
}

impl Routes for TokenRoutes {
    fn wants(&self, method: &Method, path: &str, at: &Addressed, caller: Option<&Caller>) -> bool {
        if self.document(path).is_some() {
            return method == Method::GET && (self.anonymous || caller.is_some());
        }
        let post = method == Method::POST && caller.is_some();
        post && (is_token_request(at) || is_token_review(at))
    }

    fn serve<'a>(
        &'a self,
        _api: &'a Arc<Api>,
        request: Request<Incoming>,
        at: Addressed,
        _caller: Option<Caller>,
    ) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let answer = match self.document(request.uri().path()) {
                Some(document) => self.answer(document),
                None => self.post(request, &at).await,
            };
            answer.unwrap_or_else(|status| status_response(&status))
        })
    }
}

impl TokenRoutes {
    async fn post(&self, request: Request<Incoming>, at: &Addressed) -> Result<Response<Body>> {
        let body = read_json(request).await?;
        let answer = if is_token_request(at) {
            self.tokens.request(&at.namespace, &at.name, &body)?
        } else {
            self.tokens.review(&body)
        };
        Ok(json_response(StatusCode::CREATED, &answer))
    }
}

fn is_token_request(at: &Addressed) -> bool {
    at.group.is_empty() && at.plural == "serviceaccounts" && at.subresource == "token" && !at.name.is_empty()
}

fn is_token_review(at: &Addressed) -> bool {
    at.group == "authentication.k8s.io" && at.plural == "tokenreviews" && at.name.is_empty()
}

/// Reads a body of JSON, or of YAML when the request says so; an empty one is an empty object.
pub(crate) async fn read_json(request: Request<Incoming>) -> Result<Value> {
    let yaml = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/yaml"));
    let body = Limited::new(request.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                Status::too_large(MAX_BODY)
            } else {
                Status::bad_request(format!("the body of the request could not be read: {error}"))
            }
        })?
        .to_bytes();
    if body.is_empty() {
        return Ok(json!({}));
    }
    if body.starts_with(b"k8s\0") {
        return crate::protobuf::decode(&body)
            .map_err(|error| Status::bad_request(format!("cannot read the protobuf body: {error}")));
    }
    if yaml {
        return crate::patch::parse_yaml(&body);
    }
    serde_json::from_slice(&body)
        .map_err(|error| Status::bad_request(format!("the body of the request is not JSON: {error}")))
}

/// An answer with a JSON body.
pub(crate) fn json_response(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = code;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

/// The answer that carries a refusal.
pub(crate) fn status_response(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_response(code, &status.to_json())
}
