//! `/healthz`, `/livez`, `/readyz` and `/version`, which need no credentials.

use http::{Method, Response, StatusCode};

use crate::http::answer::{self, Body};
use crate::http::asked::Context;
use crate::status::{Result, Status};

/// Answers one of these paths; `None` for any other.
pub(crate) fn serve(context: &Context, method: &Method, path: &str) -> Option<Result<Response<Body>>> {
    let version = match path.split('/').nth(1)? {
        "healthz" | "livez" | "readyz" => false,
        "version" => true,
        _ => return None,
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Some(Err(Status::method_not_allowed()));
    }
    Some(Ok(if version {
        answer::json(StatusCode::OK, &context.version.to_json())
    } else {
        answer::text("ok")
    }))
}
