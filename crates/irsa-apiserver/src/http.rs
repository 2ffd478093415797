//! The API over HTTP: who asks, what for, and in which form the answer goes back.

mod answer;
mod changes;
mod negotiate;
mod path;
mod read;
mod reviews;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, Response, StatusCode, header::HeaderMap};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::watch;

use crate::api::{Api, Caller};
use crate::config::Version;
use crate::hooks::{Addressed, Authenticator, Body, Routes};
use crate::resources::Resource;
use crate::status::{Result, Status};
use crate::{discovery, openapi};

pub(crate) use negotiate::Form;
pub(crate) use path::Query;
pub(crate) use read::write_metadata;

/// The largest body of a request, as in Kubernetes.
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// How much of a body that is too large is read on, so that a client which first sends and then reads gets its answer.
const MAX_REFUSED: usize = 4 * MAX_BODY;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Answers requests.
pub(crate) struct Server {
    api: Arc<Api>,
    version: Version,
    token: String,
    authenticator: Option<Arc<dyn Authenticator>>,
    routes: Vec<Arc<dyn Routes>>,
    ending: watch::Receiver<bool>,
}

/// A request for objects, read as far as every verb needs it.
pub(crate) struct Asked<'a> {
    caller: &'a Caller,
    resource: Arc<Resource>,
    at: &'a Addressed,
    query: &'a Query,
    headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// The namespace to list; `None` for all and for cluster-scoped resources.
    fn scope(&self) -> Option<&str> {
        if self.resource.namespaced && !self.at.namespace.is_empty() {
            Some(&self.at.namespace)
        } else {
            None
        }
    }
}

impl Server {
    pub(crate) fn new(
        api: Arc<Api>,
        version: Version,
        token: String,
        authenticator: Option<Arc<dyn Authenticator>>,
        routes: Vec<Arc<dyn Routes>>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            api,
            version,
            token,
            authenticator,
            routes,
            ending,
        }
    }

    /// Answers one request; every refusal is a `Status`.
    pub(crate) async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        match self.route(request).await {
            Ok(response) => response,
            Err(status) => answer::status(&status),
        }
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let caller = self.authenticate(request.headers())?;
        let uri_path = request.uri().path().to_owned();
        let at = path::parse(&uri_path)?;
        if let Some(routes) = self
            .routes
            .iter()
            .find(|routes| routes.wants(request.method(), &uri_path, &at, caller.as_ref()))
        {
            return Ok(routes.serve(&self.api, request, at, caller).await);
        }
        let public = matches!(
            uri_path.split('/').nth(1),
            Some("healthz" | "livez" | "readyz" | "version")
        );
        if public {
            return self.public(&request, &uri_path);
        }
        let Some(caller) = caller else {
            return Err(Status::unauthorized());
        };
        let query = Query::parse(request.uri().query().unwrap_or_default());
        if at.plural.is_empty() {
            return self.documents(&request, &uri_path);
        }
        let resource = self
            .api
            .registry()
            .by_path(&at.group, &at.version, &at.plural)
            .ok_or_else(Status::no_such_path)?;
        // `/api/v1/pods/x` names no object: those of a namespaced resource are only named below their namespace.
        if resource.namespaced && !at.name.is_empty() && at.namespace.is_empty() {
            return Err(Status::no_such_path());
        }
        if !resource.namespaced && !at.namespace.is_empty() {
            return Err(Status::no_such_path());
        }
        let (parts, body) = request.into_parts();
        let asked = Asked {
            caller: &caller,
            resource,
            at: &at,
            query: &query,
            headers: &parts.headers,
        };
        let body = if matches!(parts.method, Method::GET | Method::HEAD) {
            Bytes::new()
        } else {
            collect(body).await?
        };
        self.objects(&parts.method, &asked, body).await
    }

    async fn objects(&self, method: &Method, asked: &Asked<'_>, body: Bytes) -> Result<Response<Body>> {
        let at = asked.at;
        if !asked.resource.stored {
            return self.review(method, asked, &body).await;
        }
        if !at.subresource.is_empty() {
            return self.subresource(method, asked, &body).await;
        }
        match (method.as_str(), at.name.is_empty()) {
            ("GET", false) if !asked.query.flag("watch") => self.get(asked),
            // An old form of watching one object.
            ("GET", false) => self.watch(asked),
            ("GET", true) if asked.query.flag("watch") => self.watch(asked),
            ("GET", true) => self.list(asked),
            ("POST", true) => self.create(asked, &body).await,
            ("PUT", false) => self.update(asked, &body).await,
            ("PATCH", false) => self.patch(asked, &body).await,
            ("DELETE", false) => self.delete(asked, &body).await,
            ("DELETE", true) => self.delete_collection(asked, &body).await,
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn public(&self, request: &Request<Incoming>, path: &str) -> Result<Response<Body>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        if path == "/version" || path == "/version/" {
            return Ok(answer::json(StatusCode::OK, &self.version.to_json()));
        }
        Ok(answer::text("ok"))
    }

    /// What is not objects: discovery, OpenAPI, the list of paths.
    fn documents(&self, request: &Request<Incoming>, path: &str) -> Result<Response<Body>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        let registry = self.api.registry();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let aggregated = negotiate::wants_aggregated(request.headers());
        let document = match segments.as_slice() {
            [] => discovery::paths(registry),
            ["api"] if aggregated => return Ok(answer::aggregated(&discovery::aggregated(registry, true))),
            ["apis"] if aggregated => return Ok(answer::aggregated(&discovery::aggregated(registry, false))),
            ["api"] => discovery::core(),
            ["apis"] => discovery::groups(registry),
            ["apis", group] => discovery::group(registry, group).ok_or_else(Status::no_such_path)?,
            ["api", version] => {
                discovery::resources(registry, "", version).ok_or_else(Status::no_such_path)?
            }
            ["apis", group, version] => {
                discovery::resources(registry, group, version).ok_or_else(Status::no_such_path)?
            }
            ["openapi", "v2"] => {
                negotiate::json_document(request.headers())?;
                openapi::v2(registry, &self.version)
            }
            ["openapi", "v3"] => openapi::v3_index(registry),
            ["openapi", "v3", "api", version] => {
                openapi::v3(registry, &self.version, "", version).ok_or_else(Status::no_such_path)?
            }
            ["openapi", "v3", "apis", group, version] => {
                openapi::v3(registry, &self.version, group, version).ok_or_else(Status::no_such_path)?
            }
            _ => return Err(Status::no_such_path()),
        };
        Ok(answer::json(StatusCode::OK, &document))
    }

    /// `None` for a request without credentials.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Caller>> {
        // An empty one is none, as in Kubernetes.
        let Some(header) = headers.get(AUTHORIZATION).filter(|header| !header.is_empty()) else {
            return Ok(None);
        };
        let header = header.to_str().map_err(|_| Status::unauthorized())?;
        let (scheme, token) = header.split_once(' ').ok_or_else(Status::unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Status::unauthorized());
        }
        let token = token.trim();
        let admin =
            aws_lc_rs::constant_time::verify_slices_are_equal(token.as_bytes(), self.token.as_bytes())
                .is_ok();
        let mut caller = if admin {
            Caller::admin()
        } else {
            self.authenticator
                .as_ref()
                .and_then(|authenticator| authenticator.authenticate(token))
                .ok_or_else(Status::unauthorized)?
        };
        // `--as` and `--as-group`; everybody may, as everybody may everything else.
        if let Some(user) = headers
            .get("impersonate-user")
            .and_then(|value| value.to_str().ok())
        {
            let groups: Vec<String> = headers
                .get_all("impersonate-group")
                .iter()
                .filter_map(|value| value.to_str().ok())
                .map(str::to_owned)
                .chain(["system:authenticated".to_owned()])
                .collect();
            caller = Caller {
                username: user.to_owned(),
                uid: String::new(),
                groups,
                extra: Vec::new(),
                ..caller
            };
        }
        let agent = headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("unknown");
        caller.manager = agent
            .split('/')
            .next()
            .unwrap_or("unknown")
            .chars()
            .take(128)
            .collect();
        Ok(Some(caller))
    }
}

/// Reads a body of at most [`MAX_BODY`] bytes.
///
/// # Errors
/// 413 for a longer one, 504 for one that takes longer than a minute, 400 when the connection breaks.
pub async fn collect(body: Incoming) -> Result<Bytes> {
    tokio::time::timeout(BODY_TIME, read(body))
        .await
        .map_err(|_| Status::timeout("the body of the request did not arrive within a minute"))?
}

async fn read(mut body: Incoming) -> Result<Bytes> {
    let mut collected = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("cannot read the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= MAX_BODY {
            collected.extend_from_slice(&data);
        } else if length > MAX_REFUSED {
            break;
        }
    }
    if length > MAX_BODY {
        Err(Status::too_large(MAX_BODY))
    } else {
        Ok(collected.freeze())
    }
}

/// Reads a body that is an object in JSON, YAML or protobuf (which `kubectl create` sends), as its content type says.
///
/// # Errors
/// 400 for a body that cannot be read, 415 for other content types.
pub fn parse_body(headers: &HeaderMap, body: &[u8]) -> Result<Value> {
    let content_type = media_type(headers);
    let value = match content_type.as_str() {
        "" | "application/json" => serde_json::from_slice(body).map_err(|error| {
            if body.is_empty() {
                Status::bad_request("the body of the request is empty: it must be a JSON object")
            } else {
                Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
            }
        })?,
        "application/yaml" | "application/x-yaml" | "text/yaml" => crate::patch::parse_yaml(body)?,
        crate::protobuf::MEDIA_TYPE => crate::protobuf::decode(body)
            .map_err(|error| Status::bad_request(format!("cannot read the protobuf body: {error}")))?,
        _ => {
            return Err(Status::unsupported_media_type(
                "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ));
        }
    };
    if value.is_object() {
        Ok(value)
    } else {
        Err(Status::bad_request(
            "couldn't get version/kind; the body of the request is no JSON object",
        ))
    }
}

/// The content type without its parameters, lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}
