//! The routes of both ports, and the reading of bodies: bounded in size, in time and in sum.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use tokio::sync::Semaphore;

use crate::admit::{Admission, Mode};
use crate::debug;
use crate::directory::Directory;
use crate::listener::{Handler, Limits};
use crate::metrics::{self, Metrics};
use crate::readiness::Readiness;

/// The unit in which memory for bodies is counted.
const BLOCK: usize = 1024;

/// Bodies up to this size do not wait for room: the limit of connections bounds their sum, and nearly all are smaller.
const SMALL: usize = 64 * 1024;

/// For how long the rest of a refused body is read.
const DISCARD: Duration = Duration::from_secs(2);

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
    pub(crate) inflight: Semaphore,
}

impl Routes {
    /// Memory for bodies, in blocks.
    pub(crate) fn inflight(limits: &Limits) -> Semaphore {
        Semaphore::new(
            limits
                .inflight_bytes
                .max(limits.body_bytes)
                .div_ceil(BLOCK)
                .min(Semaphore::MAX_PERMITS),
        )
    }
}

/// The admission port.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionPort(pub(crate) Arc<Routes>);

/// The metrics port.
#[derive(Clone, Debug)]
pub(crate) struct MetricsPort(pub(crate) Arc<Routes>);

impl Handler for AdmissionPort {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
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
        if request.method() != Method::POST {
            discard(request.into_body(), &self.0.limits).await;
            let mut answer = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "an AdmissionReview is sent with POST",
            );
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("POST"));
            return answer;
        }
        if !is_json(request.headers()) {
            discard(request.into_body(), &self.0.limits).await;
            return text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Invalid Content-Type, expected `application/json`",
            );
        }
        let (body, _held) = match read_body(request, &self.0.limits, &self.0.inflight).await {
            Ok(body) => body,
            Err(refused) => return refused.answer(&self.0.limits),
        };
        // A defect must cost one admission, not the connection with whatever else is on it.
        let answered = AssertUnwindSafe(self.0.admission.review(&body, mode))
            .catch_unwind()
            .await;
        match answered {
            Ok(Ok(answer)) => json(answer),
            Err(_panic) => {
                tracing::error!(
                    bytes = body.len(),
                    "internal error while answering a review; please report it"
                );
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal error of the pod identity webhook; see its log",
                )
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, bytes = body.len(), "review refused");
                // Only what cannot be read is the sender's fault.
                text(StatusCode::BAD_REQUEST, error.to_string())
            }
        }
    }
}

impl Handler for MetricsPort {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let routes = &self.0;
        match request.uri().path() {
            "/metrics" => get(request.method(), || match routes.metrics.encode() {
                Ok(page) => with_type(StatusCode::OK, page, metrics::CONTENT_TYPE),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
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

/// Why a body was not read to its end.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    TooLarge,
    TooSlow,
    NoMemory,
    Broken(String),
}

impl Refused {
    fn answer(&self, limits: &Limits) -> Answer {
        let mut answer = match self {
            Self::TooLarge => text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is larger than {} bytes, which no AdmissionReview of a pod is",
                    limits.body_bytes
                ),
            ),
            Self::TooSlow => text(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} s", limits.body.as_secs_f32()),
            ),
            Self::NoMemory => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many large requests at once; try again",
            ),
            Self::Broken(error) => text(StatusCode::BAD_REQUEST, format!("the body broke off: {error}")),
        };
        // What is left of the body would have to be read before the connection could be used again.
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

/// Memory for one large body, given back when its answer is made.
struct Held<'a> {
    semaphore: &'a Semaphore,
    blocks: usize,
}

impl Held<'_> {
    /// Waits for room for a whole body at once: bodies that held room in part would wait for each other for ever.
    async fn reserve(&mut self, bytes: usize) {
        let Ok(blocks) = u32::try_from(bytes.div_ceil(BLOCK)) else {
            return;
        };
        if self.blocks == 0
            && let Ok(permit) = self.semaphore.acquire_many(blocks).await
        {
            permit.forget();
            self.blocks = bytes.div_ceil(BLOCK);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.blocks);
    }
}

async fn read_body<'a>(
    request: Request<Incoming>,
    limits: &Limits,
    inflight: &'a Semaphore,
) -> Result<(Bytes, Held<'a>), Refused> {
    let mut body = request.into_body();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limits.body_bytes {
        discard(body, limits).await;
        return Err(Refused::TooLarge);
    }
    // A body that does not tell its size may be as large as any.
    let whole = usize::try_from(body.size_hint().exact().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let whole = whole.min(limits.body_bytes);
    let mut held = Held {
        semaphore: inflight,
        blocks: 0,
    };
    let deadline = tokio::time::sleep(limits.body);
    tokio::pin!(deadline);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = &mut deadline => return Err(Refused::TooSlow),
        };
        let data = match frame {
            None => break,
            Some(Err(error)) => return Err(Refused::Broken(error.to_string())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        let length = first.len() + rest.len() + data.len();
        if length > limits.body_bytes {
            discard(body, limits).await;
            return Err(Refused::TooLarge);
        }
        if length > SMALL {
            tokio::select! {
                () = held.reserve(whole) => {}
                () = &mut deadline => return Err(Refused::NoMemory),
            }
        }
        // Most bodies come in one or two pieces; only then is the second one copied behind the first.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(announced.max(length));
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, held))
}

/// Reads what a client still sends and throws it away, up to a bound: a connection that is closed under its hands may
/// take the answer with it.
async fn discard(mut body: Incoming, limits: &Limits) {
    let mut left = limits.body_bytes;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(limits.body.min(DISCARD), reading).await;
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
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here");
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

fn healthy(routes: &Routes) -> Answer {
    if routes.readiness.is_alive() {
        text(StatusCode::OK, "ok")
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "a task has ended by a defect; see /readyz",
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
