//! A connection to one cluster of a kubeconfig: raw requests, with errors that name the request and the cause.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use serde_json::Value;

use crate::credentials::Credentials;

/// Larger answers are refused; no page of a list comes near.
const MAX_BODY: usize = 512 << 20;

/// Which cluster, and how long to wait for it.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Path of a kubeconfig; else `$KUBECONFIG`, `~/.kube/config`, or the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// Name of a context; else the current one.
    pub context: Option<String>,
    /// How long one request may take, from connecting to the last byte of the answer; no limit if none or zero.
    pub timeout: Option<Duration>,
    /// Name of a cluster of the kubeconfig, instead of the context's.
    pub cluster: Option<String>,
    /// Name of a user of the kubeconfig, instead of the context's.
    pub user: Option<String>,
    /// URL of the API server, instead of the cluster's.
    pub server: Option<String>,
    /// The user to act as.
    pub impersonate: Option<String>,
    /// The groups to act as, together with `impersonate`.
    pub groups: Vec<String>,
}

/// A failed request, or one that the API server refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig is missing, unreadable, or does not contain the context.
    #[error("{message}")]
    Kubeconfig {
        /// What is wrong and what to do.
        message: String,
    },
    /// No answer at all.
    #[error("cannot reach the API server at {server} ({what}): {reason}")]
    Unreachable {
        /// URL of the server.
        server: String,
        /// Method and path of the request.
        what: String,
        /// The innermost cause.
        reason: String,
    },
    /// The request took longer than [`ConnectOptions::timeout`].
    #[error("the API server at {server} did not answer {what} within {} s; --request-timeout sets the limit", after.as_secs_f64())]
    TimedOut {
        /// URL of the server.
        server: String,
        /// Method and path of the request.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// The credentials of the kubeconfig are not accepted, or could not be obtained.
    #[error("the API server at {server} does not accept the credentials of {credentials}: {reason}")]
    Unauthorized {
        /// URL of the server.
        server: String,
        /// User and context of the kubeconfig.
        credentials: String,
        /// What is wrong with them, as far as they show it.
        reason: String,
    },
    /// A namespace or service account that was named does not exist.
    #[error("{resource} \"{name}\" not found")]
    NotFound {
        /// Plural name of the resource, as kubectl prints it.
        resource: &'static str,
        /// Name of the object.
        name: String,
    },
    /// A list over all namespaces was refused; one namespace may be allowed.
    #[error("{what}: {status}; to look at a single namespace, name it with -n")]
    ForbiddenEverywhere {
        /// Method and path of the request.
        what: String,
        /// What the API server answered.
        status: Box<ApiStatus>,
    },
    /// The server answered with an error.
    #[error("{what}: {status}")]
    Api {
        /// What was asked.
        what: String,
        /// What it answered.
        status: Box<ApiStatus>,
    },
    /// The answer is not the expected JSON.
    #[error("{what}: the API server's answer cannot be parsed: {source}")]
    Malformed {
        /// What was asked.
        what: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The answer is larger than any list page.
    #[error("{what}: the answer is larger than {} MiB", MAX_BODY >> 20)]
    TooLarge {
        /// What was asked.
        what: String,
    },
}

impl Error {
    /// The HTTP status, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } | Self::ForbiddenEverywhere { status, .. } => Some(status.code),
            Self::Unauthorized { .. } => Some(401),
            _ => None,
        }
    }

    /// Whether the server answered that there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the user is known but lacks the permission.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// Whether another manager owns a field, or the object has changed since.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

/// The `Status` object of an API server's error.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ApiStatus {
    /// HTTP status.
    #[serde(default)]
    pub code: u16,
    /// Machine-readable reason, for example `Forbidden`.
    #[serde(default)]
    pub reason: String,
    /// Description for people.
    #[serde(default)]
    pub message: String,
    /// Causes and a retry hint.
    #[serde(default)]
    pub details: Option<ApiStatusDetails>,
    /// Holds a continue token that can be used after a list has expired.
    #[serde(default)]
    pub metadata: ApiStatusMeta,
}

/// Details of an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiStatusDetails {
    /// The causes, for conflicts one for each field.
    pub causes: Vec<ApiStatusCause>,
    /// Seconds to wait before another attempt.
    pub retry_after_seconds: u64,
}

/// One cause of an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiStatusCause {
    /// Machine-readable kind.
    pub reason: String,
    /// Description for people.
    pub message: String,
}

/// List metadata of an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiStatusMeta {
    /// Token of the next page.
    #[serde(rename = "continue")]
    pub next: String,
}

impl fmt::Display for ApiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "the API server answered {}", self.code)
        } else {
            f.write_str(self.message.trim_end())
        }
    }
}

impl ApiStatus {
    fn read(code: StatusCode, body: &[u8]) -> Self {
        let mut status: Self = serde_json::from_slice(body).unwrap_or_default();
        status.code = code.as_u16();
        if status.message.is_empty() {
            // Proxies in front of an API server answer in plain text or HTML; the first line is enough.
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
            let line = text.lines().next().unwrap_or_default().trim();
            status.message = if line.is_empty() || line.starts_with('<') {
                format!("the API server answered {code}")
            } else {
                format!("the API server answered {code}: {line}")
            };
        }
        status
    }
}

/// The kind of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// Server-side apply.
    Apply,
    /// JSON merge patch.
    Merge,
    /// Strategic merge patch.
    Strategic,
}

impl PatchKind {
    const fn content_type(self) -> &'static str {
        match self {
            // JSON is YAML; this is the media type that every server with server-side apply knows.
            Self::Apply => "application/apply-patch+yaml",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// A connection to one cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    credentials: Arc<Credentials>,
    server: String,
    namespace: String,
    timeout: Option<Duration>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("context", &self.credentials.context)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the kubeconfig and prepares a connection. Nothing is sent, unless a credential plugin does.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let (mut config, context, user) = match read_kubeconfig(options)? {
            Some(kubeconfig) => {
                let context = options
                    .context
                    .clone()
                    .or_else(|| kubeconfig.current_context.clone())
                    .filter(|name| !name.is_empty());
                check_context(&kubeconfig, context.as_deref())?;
                let user = options
                    .user
                    .clone()
                    .unwrap_or_else(|| user_of(&kubeconfig, context.as_deref()));
                let selection = KubeConfigOptions {
                    context: context.clone(),
                    cluster: options.cluster.clone(),
                    user: options.user.clone(),
                };
                let config = Config::from_custom_kubeconfig(kubeconfig, &selection)
                    .await
                    .map_err(|error| unusable(&error))?;
                (config, context.unwrap_or_default(), user)
            }
            None => {
                let config = Config::incluster().map_err(|_| Error::Kubeconfig {
                    message: "no cluster: there is no kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config) and this \
                              process does not run in a pod"
                        .to_owned(),
                })?;
                (
                    config,
                    "in-cluster".to_owned(),
                    "of the pod's service account".to_owned(),
                )
            }
        };
        // One limit holds for the whole request: see `send`.
        config.connect_timeout = None;
        config.read_timeout = None;
        config.write_timeout = None;
        // Evictions are answered with 429 by design; retrying is decided where the meaning of the request is known.
        config.default_retry = false;
        overrule(&mut config, options)?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = config.default_namespace.clone();
        let credentials = Arc::new(Credentials::new(context, user, &config.auth_info));
        let client = Client::try_from(config).map_err(|error| match error {
            kube::Error::Auth(error) => Error::Unauthorized {
                server: server.clone(),
                credentials: credentials.to_string(),
                reason: innermost(&error),
            },
            error => unusable(&error),
        })?;
        Ok(Self {
            client,
            credentials,
            server,
            namespace,
            timeout: options.timeout.filter(|timeout| !timeout.is_zero()),
        })
    }

    /// Name of the context.
    pub fn context(&self) -> &str {
        &self.credentials.context
    }

    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The namespace that the context names, else `default`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `GET`, as bytes.
    pub async fn get(&self, path: &str) -> Result<Bytes, Error> {
        self.send(json_request(&Method::GET, path), String::new()).await
    }

    /// `GET`, parsed.
    pub async fn get_value(&self, path: &str) -> Result<Value, Error> {
        parse(path, &self.get(path).await?)
    }

    /// `GET`, parsed; nothing when there is no such object.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.get_value(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST` of an object; returns the answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.write(Method::POST, path, "application/json", body).await
    }

    /// `PATCH`; returns the object as it is afterwards.
    pub async fn patch(&self, path: &str, kind: PatchKind, body: &Value) -> Result<Value, Error> {
        self.write(Method::PATCH, path, kind.content_type(), body).await
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let request = json_request(&method, path).header(header::CONTENT_TYPE, content_type);
        let answer = self.send(request, body.to_string()).await?;
        read(&method, path, &answer)
    }

    /// `DELETE` with options.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<(), Error> {
        let request = json_request(&Method::DELETE, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request, options.to_string()).await.map(drop)
    }

    /// The public keys of the service account issuer. API servers answer 406 unless the media type of a key set is
    /// accepted.
    pub async fn jwks(&self) -> Result<Value, Error> {
        let path = "/openid/v1/jwks";
        let request = Request::get(path).header(header::ACCEPT, "application/jwk-set+json, application/json");
        parse(path, &self.send(request, String::new()).await?)
    }

    /// Sends one request within the time limit. Any answer that is not a success is an error.
    async fn send(&self, request: http::request::Builder, body: String) -> Result<Bytes, Error> {
        let request = request
            .body(Body::from(body.into_bytes()))
            .map_err(|error| Error::Unreachable {
                server: self.server.clone(),
                what: "a request".to_owned(),
                reason: error.to_string(),
            })?;
        let what = format!("{} {}", request.method(), request.uri().path());
        let exchange = self.exchange(request, &what);
        match self.timeout {
            None => exchange.await,
            Some(after) => tokio::time::timeout(after, exchange).await.unwrap_or_else(|_| {
                Err(Error::TimedOut {
                    server: self.server.clone(),
                    what: what.clone(),
                    after,
                })
            }),
        }
    }

    async fn exchange(&self, request: Request<Body>, what: &str) -> Result<Bytes, Error> {
        let unreachable = |reason: String| Error::Unreachable {
            server: self.server.clone(),
            what: what.to_owned(),
            reason,
        };
        let unauthorized = |reason: String| Error::Unauthorized {
            server: self.server.clone(),
            credentials: self.credentials.to_string(),
            reason,
        };
        let response = self.client.send(request).await.map_err(|error| {
            if is_of_authentication(&error) {
                unauthorized(innermost(&error))
            } else {
                unreachable(innermost(&error))
            }
        })?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    Error::TooLarge {
                        what: what.to_owned(),
                    }
                } else {
                    unreachable(format!(
                        "the connection broke while the answer was read: {}",
                        innermost(&*error)
                    ))
                }
            })?
            .to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(unauthorized(self.credentials.what_is_wrong()));
        }
        Err(Error::Api {
            what: what.to_owned(),
            status: Box::new(ApiStatus::read(status, &body)),
        })
    }
}

fn json_request(method: &Method, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, "application/json")
}

fn read<'a, T: Deserialize<'a>>(method: &Method, path: &str, body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Malformed {
        what: format!("{method} {}", path.split('?').next().unwrap_or(path)),
        source,
    })
}

/// Parses the answer to a `GET` of `path`.
pub(crate) fn parse<'a, T: Deserialize<'a>>(path: &str, body: &'a [u8]) -> Result<T, Error> {
    read(&Method::GET, path, body)
}

/// Whether a credential plugin or token file failed, rather than the connection.
fn is_of_authentication(error: &kube::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<kube::client::AuthError>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn unusable(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Kubeconfig {
        message: format!("the kubeconfig cannot be used: {}", innermost(error)),
    }
}

fn read_kubeconfig(options: &ConnectOptions) -> Result<Option<Kubeconfig>, Error> {
    let unreadable = |error: &kube::config::KubeconfigError| Error::Kubeconfig {
        message: format!("the kubeconfig cannot be read: {error}"),
    };
    if let Some(path) = &options.kubeconfig {
        return Kubeconfig::read_from(path)
            .map(Some)
            .map_err(|error| Error::Kubeconfig {
                message: format!("{}: {}", path.display(), innermost(&error)),
            });
    }
    match Kubeconfig::read() {
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(kube::config::KubeconfigError::FindPath) => Ok(None),
        Err(kube::config::KubeconfigError::ReadConfig(error, _))
            if error.kind() == std::io::ErrorKind::NotFound && options.context.is_none() =>
        {
            Ok(None)
        }
        Err(error) => Err(unreadable(&error)),
    }
}

/// The names of all contexts, in the file's order.
pub fn contexts(options: &ConnectOptions) -> Result<Vec<String>, Error> {
    Ok(read_kubeconfig(options)?
        .map(|kubeconfig| {
            kubeconfig
                .contexts
                .into_iter()
                .map(|context| context.name)
                .collect()
        })
        .unwrap_or_default())
}

/// What the caller says instead of the kubeconfig.
fn overrule(config: &mut Config, options: &ConnectOptions) -> Result<(), Error> {
    let wrong = |what: &str, value: &str| Error::Kubeconfig {
        message: format!("invalid {what} `{value}`"),
    };
    if let Some(server) = &options.server {
        let url: http::Uri = server.parse().map_err(|_| wrong("server URL", server))?;
        if url.host().is_none() || !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(wrong("server URL", server));
        }
        config.cluster_url = url;
    }
    let mut header = |name, value: &str| {
        let value = http::HeaderValue::from_str(value).map_err(|_| wrong("name to act as", value))?;
        config.headers.push((http::HeaderName::from_static(name), value));
        Ok(())
    };
    if let Some(user) = &options.impersonate {
        header("impersonate-user", user)?;
    }
    for group in &options.groups {
        header("impersonate-group", group)?;
    }
    Ok(())
}

fn check_context(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(), Error> {
    let names: Vec<&str> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.as_str())
        .collect();
    let known = if names.is_empty() {
        "there is none".to_owned()
    } else {
        format!("known contexts: {}", names.join(", "))
    };
    match context {
        Some(name) if names.contains(&name) => Ok(()),
        Some(name) => Err(Error::Kubeconfig {
            message: format!("the kubeconfig has no context `{name}`; {known}"),
        }),
        None => Err(Error::Kubeconfig {
            message: format!("the kubeconfig has no current context; choose one with --context ({known})"),
        }),
    }
}

fn user_of(kubeconfig: &Kubeconfig, context: Option<&str>) -> String {
    kubeconfig
        .contexts
        .iter()
        .find(|known| Some(known.name.as_str()) == context)
        .and_then(|known| known.context.as_ref()?.user.clone())
        .unwrap_or_default()
}

/// The innermost cause of an error: the layers above it add no information.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = source.to_string();
        next = source.source();
    }
    text
}

/// API servers for tests, as small as a test needs.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing {
    use super::*;

    /// Serves connections with `serve` on a free port of loopback, and connects to it as user alice of context prod.
    pub(crate) async fn served_by<S, F>(scheme: &str, timeout: Option<Duration>, serve: S) -> Cluster
    where
        S: Fn(tokio::net::TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        let folder = tempfile::TempDir::new().unwrap();
        let kubeconfig = folder.path().join("config");
        let text = format!(
            "current-context: prod\nclusters: [{{name: c, cluster: {{server: '{scheme}://{address}'}}}}]\n\
             users: [{{name: alice, user: {{token: secret}}}}]\ncontexts: [{{name: prod, context: {{cluster: c, user: alice}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let options = ConnectOptions {
            kubeconfig: Some(kubeconfig),
            timeout,
            ..ConnectOptions::default()
        };
        Cluster::connect(&options).await.unwrap()
    }

    /// Answers each request of a connection with what `answer` makes of its head.
    pub(crate) async fn respond(mut stream: tokio::net::TcpStream, answer: impl Fn(&str) -> String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut head = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            head.push(byte);
            if head.ends_with(b"\r\n\r\n") {
                let answer = answer(&String::from_utf8_lossy(&head).to_ascii_lowercase());
                let _ = stream.write_all(answer.as_bytes()).await;
                head.clear();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{
        testing::{respond, served_by},
        *,
    };

    #[test]
    fn the_message_of_a_status_or_the_first_line_of_plain_text_is_kept() {
        let status = ApiStatus::read(
            StatusCode::FORBIDDEN,
            br#"{"kind":"Status","code":403,"reason":"Forbidden","message":"pods is forbidden"}"#,
        );
        assert_eq!(status.to_string(), "pods is forbidden");
        assert_eq!(status.reason, "Forbidden");
        let status = ApiStatus::read(StatusCode::BAD_GATEWAY, b"upstream gone\nmore");
        assert_eq!(
            status.to_string(),
            "the API server answered 502 Bad Gateway: upstream gone"
        );
        let status = ApiStatus::read(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(status.to_string(), "the API server answered 502 Bad Gateway");
    }

    #[test]
    fn the_error_of_an_unknown_context_lists_the_known_ones() {
        let kubeconfig = Kubeconfig::from_yaml(
            "contexts:\n- name: blue\n  context: {cluster: c, user: u}\n- name: green\n  context: {cluster: c, user: u}\n",
        )
        .unwrap();
        let error = check_context(&kubeconfig, Some("red")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kubeconfig has no context `red`; known contexts: blue, green"
        );
        assert!(check_context(&kubeconfig, Some("blue")).is_ok());
        assert!(check_context(&kubeconfig, None).is_err());
    }

    #[tokio::test]
    async fn the_time_limit_holds_for_tls_headers_and_body() {
        let limit = Some(Duration::from_millis(200));
        let silent = |stream: tokio::net::TcpStream| async move {
            let _stream = stream;
            std::future::pending::<()>().await;
        };
        let stalled = |stream| {
            respond(stream, |_| {
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned()
            })
        };
        for cluster in [
            served_by("https", limit, silent).await,
            served_by("http", limit, silent).await,
            served_by("http", limit, stalled).await,
        ] {
            let error = cluster.get("/version").await.unwrap_err();
            assert!(matches!(error, Error::TimedOut { .. }), "{error}");
            assert!(error.to_string().contains("within 0.2 s"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_limit_of_zero_is_none() {
        let cluster = served_by("http", Some(Duration::ZERO), |stream| {
            respond(stream, |_| {
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned()
            })
        })
        .await;
        assert_eq!(cluster.timeout, None);
        assert_eq!(cluster.get("/version").await.unwrap(), "{}");
    }

    #[tokio::test]
    async fn rejected_credentials_are_named_by_user_and_context() {
        let cluster = served_by("http", None, |stream| {
            respond(stream, |_| {
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned()
            })
        })
        .await;
        let error = cluster.get("/version").await.unwrap_err();
        assert_eq!(error.code(), Some(401));
        assert!(!error.is_forbidden());
        let text = error.to_string();
        assert!(
            text.contains("the credentials of user \"alice\" (context \"prod\"): its token is not valid"),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }

    #[tokio::test]
    async fn the_keys_are_asked_for_with_the_media_type_of_a_key_set() {
        let cluster = served_by("http", None, |stream| {
            respond(stream, |head| {
                // As a real API server, which answers 406 to application/json alone.
                if head.contains("application/jwk-set+json") {
                    "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}".to_owned()
                } else {
                    "HTTP/1.1 406 Not Acceptable\r\ncontent-length: 0\r\n\r\n".to_owned()
                }
            })
        })
        .await;
        assert!(cluster.jwks().await.unwrap()["keys"].is_array());
        assert_eq!(
            cluster.get("/openid/v1/jwks").await.unwrap_err().code(),
            Some(406)
        );
    }

    #[tokio::test]
    async fn a_refused_list_of_all_namespaces_hints_at_one() {
        let cluster = served_by("http", None, |stream| {
            respond(stream, |_| {
                "HTTP/1.1 403 Forbidden\r\ncontent-length: 31\r\n\r\n{\"message\":\"pods is forbidden\"}"
                    .to_owned()
            })
        })
        .await;
        let list = |namespace| {
            let cluster = cluster.clone();
            async move {
                let path = crate::pages::collection("v1", namespace, "pods");
                let query = crate::pages::Query::default();
                crate::pages::pages(&cluster, &path, &query, |_| Ok(()))
                    .await
                    .unwrap_err()
            }
        };
        let everywhere = list(None).await;
        assert!(
            everywhere.is_forbidden() && everywhere.to_string().contains("with -n"),
            "{everywhere}"
        );
        let one = list(Some("shop")).await;
        assert!(
            one.is_forbidden() && !one.to_string().contains("with -n"),
            "{one}"
        );
    }
}
