//! OIDC discovery and keys, as kube-apiserver and as EKS serve them, and `TokenRequest`.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;

use crate::api::Caller;
use crate::http::answer::{self, Body};
use crate::http::asked::{Asked, Context};
use crate::http::{authorize, body, negotiate};
use crate::rbac::Action;
use crate::status::{Result, Status};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const JWKS: &str = "application/jwk-set+json";
const KEYS: &str = "/openid/v1/jwks";

/// Answers the documents that a verifier of tokens reads; `None` for other paths, and for callers without credentials
/// where these are asked for.
pub(crate) fn serve(
    context: &Context,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    caller: Option<&Caller>,
) -> Option<Result<Response<Body>>> {
    if method != Method::GET || !(context.anonymous_discovery || caller.is_some()) {
        return None;
    }
    let allowed = || match caller {
        Some(caller) if !context.anonymous_discovery => {
            let action = Action {
                verb: "get".to_owned(),
                path: path.to_owned(),
                ..Action::default()
            };
            authorize::check(context, caller, &action)
        }
        _ => Ok(()),
    };
    let issuer = context.tokens.issuer();
    let below_issuer = path.strip_prefix(path_of(issuer));
    let keys_at = match (path, below_issuer) {
        (DISCOVERY, _) => format!("{}{KEYS}", context.url),
        (_, Some(DISCOVERY)) => format!("{}/keys", issuer.trim_end_matches('/')),
        (KEYS, _) | (_, Some("/keys")) => {
            let keys = allowed()
                .and_then(|()| negotiate::accepts(headers, JWKS))
                .and_then(|()| context.tokens.jwks());
            return Some(keys.map(|keys| document(JWKS, &keys)));
        }
        _ => return None,
    };
    let discovery = json!({
        "issuer": issuer, "jwks_uri": keys_at,
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    Some(allowed().map(|()| document("application/json", &discovery)))
}

/// `/id/EXAMPLE` of `https://oidc.eks.…/id/EXAMPLE`; empty when the issuer has no path.
fn path_of(issuer: &str) -> &str {
    let host = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    host.find('/').map_or("", |at| host[at..].trim_end_matches('/'))
}

fn document(content_type: &'static str, value: &serde_json::Value) -> Response<Body> {
    let mut response = answer::json(StatusCode::OK, value);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// Answers a `TokenRequest` for a service account. An empty body asks for the defaults.
pub(crate) fn request(context: &Context, asked: &Asked<'_>, bytes: &[u8]) -> Result<Response<Body>> {
    let request = if bytes.is_empty() {
        json!({})
    } else {
        body::parse(asked.headers, bytes)?
    };
    let (namespace, account) = (&asked.at.namespace, &asked.at.name);
    if account.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let answer = context.tokens.request(namespace, account, &request)?;
    Ok(answer::json(StatusCode::CREATED, &answer))
}
