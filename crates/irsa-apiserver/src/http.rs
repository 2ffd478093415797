//! The API over HTTP: who asks, what for, and which route answers.

mod answer;
mod asked;
mod authorize;
mod body;
mod negotiate;
mod path;
mod routes;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, USER_AGENT};
use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::api::Caller;
use crate::status::{Result, Status};

pub(crate) use answer::Body;
use asked::Asked;
pub(crate) use asked::Context;
use path::Query;
use routes::{discovery, exec, health, logs, oidc, resources, reviews};

/// What Kubernetes says since 1.33.
const ENDPOINTS: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// Answers one request; every refusal is a `Status`.
pub(crate) async fn serve(context: &Context, request: Request<Incoming>) -> Response<Body> {
    match route(context, request).await {
        Ok(response) => response,
        Err(status) => answer::status(&status),
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Response<Body>> {
    let caller = authenticate(context, request.headers())?;
    let uri_path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let (method, headers) = (request.method().clone(), request.headers().clone());
    if let Some(answer) = oidc::serve(context, &method, &uri_path, &headers, caller.as_ref())
        .or_else(|| health::serve(context, &method, &uri_path, &query))
    {
        return answer;
    }
    let caller = caller.ok_or_else(Status::unauthorized)?;
    let at = path::parse(&uri_path)?;
    authorize::check(
        context,
        &caller,
        &authorize::action(&method, &at, &query, &uri_path),
    )?;
    if uri_path == "/metrics" {
        return Ok(health::metrics(context));
    }
    if at.plural.is_empty() {
        return discovery::serve(context, &method, &headers, &uri_path);
    }
    let resource = context
        .api
        .registry()
        .by_path(&at.group, &at.version, &at.plural)
        .ok_or_else(Status::no_such_path)?;
    // `/api/v1/pods/x` names no object: those of a namespaced resource are only named below their namespace.
    let misplaced = if resource.namespaced {
        !at.name.is_empty() && at.namespace.is_empty()
    } else {
        !at.namespace.is_empty()
    };
    if misplaced {
        return Err(Status::no_such_path());
    }
    let asked = Asked {
        caller: &caller,
        resource,
        at: &at,
        query: &query,
        headers: &headers,
    };
    let subresource = (asked.resource.storage.as_str(), at.subresource.as_str());
    match (subresource, method.as_str()) {
        (("pods", "log"), "GET") => return logs::open(context, &asked),
        (("pods", "exec" | "attach" | "portforward"), "GET" | "POST") => {
            return exec::serve(context, &asked, request).await;
        }
        _ => {}
    }
    let body = if matches!(method, Method::GET | Method::HEAD) {
        Bytes::new()
    } else {
        body::collect(request.into_body()).await?
    };
    match (subresource, method.as_str()) {
        (("serviceaccounts", "token"), "POST") => oidc::request(context, &asked, &body),
        _ if !asked.resource.stored => reviews::serve(context, &method, &asked, &body).await,
        _ => {
            let mut response = resources::serve(context, &method, &asked, &body).await?;
            if subresource.0 == "endpoints" && context.version.is_at_least(1, 33) {
                answer::warn(&mut response, &[ENDPOINTS.to_owned()]);
            }
            Ok(response)
        }
    }
}

/// Who asks; `None` for a request without credentials.
fn authenticate(context: &Context, headers: &HeaderMap) -> Result<Option<Caller>> {
    // An empty header counts as none, as in Kubernetes.
    let Some(header) = headers.get(AUTHORIZATION).filter(|header| !header.is_empty()) else {
        return Ok(None);
    };
    let header = header.to_str().map_err(|_| Status::unauthorized())?;
    let (scheme, token) = header.split_once(' ').ok_or_else(Status::unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Status::unauthorized());
    }
    let token = token.trim();
    let expected = context.admin_token.as_bytes();
    let mut caller = if aws_lc_rs::constant_time::verify_slices_are_equal(token.as_bytes(), expected).is_ok()
    {
        Caller::admin()
    } else {
        context
            .tokens
            .authenticate(token)
            .ok_or_else(Status::unauthorized)?
    };
    caller = authorize::impersonated(context, caller, headers)?;
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    let product = agent.unwrap_or("unknown").split('/').next().unwrap_or("unknown");
    caller.manager = product.chars().take(128).collect();
    Ok(Some(caller))
}
