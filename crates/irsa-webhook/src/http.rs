//! The routes of both ports.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use irsa_core::text::Foreign;
use irsa_net::body::{self, Bounds, Received, Refused};
use irsa_net::{Budget, Handler, Readiness};

use crate::admit::{Admission, Mode};
use crate::config::Limits;
use crate::debug;
use crate::directory::Directory;
use crate::metrics::{Format, Metrics};
use crate::sample::Sampled;

type Answer = Response<Full<Bytes>>;

/// What the handlers of a server share.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) admission: Admission,
    pub(crate) directory: Arc<Directory>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) debug: bool,
    pub(crate) budget: Budget,
    pub(crate) log: Sampled,
}

/// The admission port.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionPort(pub(crate) Arc<Routes>);

/// The metrics port.
#[derive(Clone, Debug)]
pub(crate) struct MetricsPort(pub(crate) Arc<Routes>);

impl Handler for AdmissionPort {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Answer {
        let begun = Instant::now();
        let verb = verb(request.method());
        let (path, answer) = match request.uri().path() {
            "/mutate" => ("/mutate", self.mutate(request, Mode::Lenient).await),
            "/mutate/required" => ("/mutate/required", self.mutate(request, Mode::Required).await),
            "/healthz" => return get(request.method(), || healthy(&self.0)),
            "/readyz" => return get(request.method(), || ready(&self.0)),
            "/debug/alpha/deny" if self.0.debug => ("/debug/alpha/deny", json(debug::deny())),
            "/debug/alpha/500" if self.0.debug => (
                "/debug/alpha/500",
                text(StatusCode::INTERNAL_SERVER_ERROR, "test error"),
            ),
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    "not found; this port serves /mutate, /mutate/required, /healthz and /readyz",
                );
            }
        };
        self.0
            .metrics
            .request(verb, path, answer.status().as_u16(), begun.elapsed());
        answer
    }
}

impl AdmissionPort {
    async fn mutate(&self, request: Request<Incoming>, mode: Mode) -> Answer {
        let bounds = Bounds {
            bytes: self.0.limits.body_bytes,
            time: self.0.limits.body,
        };
        if request.method() != Method::POST {
            body::discard(request.into_body(), bounds).await;
            return not_allowed("an AdmissionReview is sent with POST", "POST");
        }
        if !is_json(request.headers()) {
            body::discard(request.into_body(), bounds).await;
            return text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Invalid Content-Type, expected `application/json`",
            );
        }
        let Received { bytes, share } = match body::read(request.into_body(), bounds, &self.0.budget).await {
            Ok(received) => received,
            Err(refused) => return self.refuse(&refused),
        };
        // A panic must cost one admission, not the connection with whatever else is on it.
        let answered = AssertUnwindSafe(self.0.admission.review(&bytes, mode))
            .catch_unwind()
            .await;
        match answered {
            Ok(Ok(answer)) => {
                drop(bytes);
                with_type(StatusCode::OK, share.answer(answer), "application/json")
            }
            Err(_panic) => {
                tracing::error!(
                    bytes = bytes.len(),
                    "internal error while answering a review; please report it"
                );
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal error of the pod identity webhook; see its log",
                )
            }
            Ok(Err(error)) => {
                self.0.log.warn(|more| {
                    tracing::warn!(error = %Foreign(error.to_string()), bytes = bytes.len(), more, "review refused");
                });
                // Only what cannot be read is the sender's fault.
                text(StatusCode::BAD_REQUEST, error.to_string())
            }
        }
    }

    fn refuse(&self, refused: &Refused) -> Answer {
        let mut answer = text(refused.status(), refused.to_string());
        // What is left of the body would have to be read before the connection could be used again.
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

impl Handler for MetricsPort {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Answer {
        let routes = &self.0;
        match request.uri().path() {
            "/metrics" => get(request.method(), || {
                let accept = request.headers().get(header::ACCEPT);
                let format = Format::negotiate(accept.and_then(|value| value.to_str().ok()));
                with_type(StatusCode::OK, routes.metrics.page(format), format.content_type())
            }),
            "/healthz" => get(request.method(), || healthy(routes)),
            "/readyz" => get(request.method(), || ready(routes)),
            "/debug/alpha/cache" if routes.debug => get(request.method(), || {
                with_type(
                    StatusCode::OK,
                    debug::cache(&routes.directory),
                    "application/json",
                )
            }),
            "/debug/alpha/cache/clear" if routes.debug => {
                routes.directory.clear();
                text(StatusCode::OK, "")
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "not found; this port serves /metrics, /healthz and /readyz",
            ),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

fn get(method: &Method, answer: impl FnOnce() -> Answer) -> Answer {
    if matches!(*method, Method::GET | Method::HEAD) {
        return answer();
    }
    not_allowed("only GET is served here", "GET, HEAD")
}

fn not_allowed(reason: &'static str, allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, reason);
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn healthy(routes: &Routes) -> Answer {
    if routes.readiness.is_alive() {
        text(StatusCode::OK, "ok")
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "internal error: a background task stopped unexpectedly; see /readyz",
        )
    }
}

fn ready(routes: &Routes) -> Answer {
    let (ready, page) = routes.readiness.page();
    text(
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        page,
    )
}

fn with_type(status: StatusCode, body: impl Into<Bytes>, media: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    answer
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, body, "text/plain; charset=utf-8")
}

fn json(body: Vec<u8>) -> Answer {
    with_type(StatusCode::OK, body, "application/json")
}
