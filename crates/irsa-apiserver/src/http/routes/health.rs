//! `/healthz`, `/livez`, `/readyz` and `/version`, which need no credentials, and `/metrics`.

use std::fmt::Write as _;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::http::answer::{self, Body};
use crate::http::asked::Context;
use crate::http::path::Query;
use crate::status::{Result, Status};

/// Answers one of the public paths; `None` for any other.
pub(crate) fn serve(
    context: &Context,
    method: &Method,
    path: &str,
    query: &Query,
) -> Option<Result<Response<Body>>> {
    let mut segments = path.split('/').skip(1);
    let (endpoint, check) = (segments.next()?, segments.next().unwrap_or_default());
    if !matches!(endpoint, "healthz" | "livez" | "readyz" | "version") {
        return None;
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Some(Err(Status::method_not_allowed()));
    }
    if endpoint == "version" {
        return Some(Ok(answer::json(StatusCode::OK, &context.version.to_json())));
    }
    Some(health(context, endpoint, check, query.flag("verbose")))
}

/// The checks of one endpoint, or one of them by its name.
fn health(context: &Context, endpoint: &str, only: &str, verbose: bool) -> Result<Response<Body>> {
    let checks = [
        ("ping", true),
        (
            "store",
            context.api.store().get("namespaces", "", "default").is_some(),
        ),
        ("shutdown", endpoint != "readyz" || !*context.ending.borrow()),
    ];
    let mut chosen = checks
        .iter()
        .filter(|(name, _)| only.is_empty() || *name == only)
        .peekable();
    if chosen.peek().is_none() {
        return Err(Status::no_such_path());
    }
    let (mut report, mut healthy) = (String::new(), true);
    for (name, passed) in chosen {
        healthy &= passed;
        report += &match passed {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: reason withheld\n"),
        };
    }
    let verdict = if healthy { "passed" } else { "failed" };
    let text = match (healthy, verbose && only.is_empty()) {
        (true, false) => "ok".to_owned(),
        _ => format!("{report}{endpoint} check {verdict}\n"),
    };
    let mut response = answer::text(text);
    if !healthy {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}

/// How many objects there are, and which version this is, in Prometheus' text format.
pub(crate) fn metrics(context: &Context) -> Response<Body> {
    let mut text = String::from(
        "# HELP apiserver_storage_objects Number of stored objects of each resource.\n\
         # TYPE apiserver_storage_objects gauge\n",
    );
    for resource in context
        .api
        .registry()
        .all()
        .iter()
        .filter(|resource| resource.stored)
    {
        // Events are served by two groups and stored once.
        if resource.group != "events.k8s.io" {
            let count = context.api.store().count(&resource.storage);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "apiserver_storage_objects{{resource=\"{}\"}} {count}",
                resource.qualified()
            );
        }
    }
    let version = &context.version;
    let _ = writeln!(
        text,
        "# HELP kubernetes_build_info The version that this cluster claims to have.\n\
         # TYPE kubernetes_build_info gauge\n\
         kubernetes_build_info{{git_version=\"{}\",major=\"{}\",minor=\"{}\"}} 1",
        version.git_version(),
        version.major,
        version.minor
    );
    let mut response = answer::text(text);
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
