//! One cluster as a kubeconfig names it: connecting, and raw requests whose failures say what was asked and why not.

use std::{fmt, path::PathBuf, time::Duration};

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

/// Answers larger than this are refused: no single page of any list is near it.
const MAX_BODY: usize = 512 << 20;

/// Where the clusters are described and which is meant.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Path of a kubeconfig; else `$KUBECONFIG`, `~/.kube/config`, or the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// Name of a context; else the current one.
    pub context: Option<String>,
    /// How long an answer may take; 30 s if none.
    pub timeout: Option<Duration>,
}

/// Why a cluster could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig is missing, unreadable, or does not hold the context.
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
        /// What was asked.
        what: String,
        /// The innermost cause.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{what}: {status}")]
    Api {
        /// What was asked.
        what: String,
        /// What it answered.
        status: Box<ApiStatus>,
    },
    /// The answer is not what Kubernetes sends.
    #[error("{what}: the answer of the API server cannot be read: {source}")]
    Malformed {
        /// What was asked.
        what: String,
        /// Where it stops making sense.
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
            Self::Api { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// Whether the server said that there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the rights do not suffice.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }

    /// Whether another manager owns a field, or the object has changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

/// The `Status` object that an API server answers with when it refuses.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ApiStatus {
    /// HTTP status.
    #[serde(default)]
    pub code: u16,
    /// Machine-readable reason, for example `Forbidden`.
    #[serde(default)]
    pub reason: String,
    /// Sentence for people.
    #[serde(default)]
    pub message: String,
    /// Causes and a retry hint.
    #[serde(default)]
    pub details: Option<ApiStatusDetails>,
    /// A continue token that may still be used after a list has expired.
    #[serde(default)]
    pub metadata: ApiStatusMeta,
}

/// Details of a refusal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiStatusDetails {
    /// Single causes, one for each field in conflict.
    pub causes: Vec<ApiStatusCause>,
    /// Seconds after which it is worth trying again.
    pub retry_after_seconds: u64,
}

/// One cause of a refusal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiStatusCause {
    /// Machine-readable kind.
    pub reason: String,
    /// Sentence.
    pub message: String,
    /// Field concerned.
    pub field: String,
}

/// List metadata of a refusal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiStatusMeta {
    /// Token to go on with.
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
            // Proxies in front of an API server answer in plain text or HTML; the first line says enough.
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

/// How a patch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// Server-side apply: the fields of the body become ours.
    Apply,
    /// JSON merge patch.
    Merge,
    /// Strategic merge patch.
    Strategic,
    /// JSON patch with tests.
    Json,
}

impl PatchKind {
    const fn content_type(self) -> &'static str {
        match self {
            // JSON is YAML; this is the media type that every server with server-side apply knows.
            Self::Apply => "application/apply-patch+yaml",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Json => "application/json-patch+json",
        }
    }
}

/// A connection to one cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    context: String,
    server: String,
    namespace: String,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("context", &self.context)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the kubeconfig and prepares a connection; nothing is sent yet.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let (mut config, context) = match read_kubeconfig(options)? {
            Some(kubeconfig) => {
                let context = options
                    .context
                    .clone()
                    .or_else(|| kubeconfig.current_context.clone())
                    .filter(|name| !name.is_empty());
                check_context(&kubeconfig, context.as_deref())?;
                let selection = KubeConfigOptions {
                    context: context.clone(),
                    ..Default::default()
                };
                let config = Config::from_custom_kubeconfig(kubeconfig, &selection)
                    .await
                    .map_err(|error| Error::Kubeconfig {
                        message: format!("the kubeconfig cannot be used: {}", innermost(&error)),
                    })?;
                (config, context.unwrap_or_default())
            }
            None => {
                let config = Config::incluster().map_err(|_| Error::Kubeconfig {
                    message: "no cluster: there is no kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config) and this \
                              process does not run in a pod"
                        .to_owned(),
                })?;
                (config, "in-cluster".to_owned())
            }
        };
        config.read_timeout = Some(options.timeout.unwrap_or(Duration::from_secs(30)));
        config.reset_reader_on_write = true;
        // Evictions are answered with 429 by design; retrying is decided where the meaning of the request is known.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| Error::Kubeconfig {
            message: format!("the kubeconfig cannot be used: {}", innermost(&error)),
        })?;
        Ok(Self {
            client,
            context,
            server: server.trim_end_matches('/').to_owned(),
            namespace,
        })
    }

    /// Name of the context.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The namespace that the context names, else `default`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The client below, for what this type does not offer.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `GET`, as bytes.
    pub async fn get(&self, path: &str) -> Result<Bytes, Error> {
        self.send(Method::GET, path, None, Bytes::new()).await
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

    /// `POST` of an object, with the answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let answer = self
            .send(
                Method::POST,
                path,
                Some("application/json"),
                body.to_string().into(),
            )
            .await?;
        parse(path, &answer)
    }

    /// `PATCH`, with the object as it is afterwards.
    pub async fn patch(&self, path: &str, kind: PatchKind, body: &Value) -> Result<Value, Error> {
        let answer = self
            .send(
                Method::PATCH,
                path,
                Some(kind.content_type()),
                body.to_string().into(),
            )
            .await?;
        parse(path, &answer)
    }

    /// `DELETE` with options.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<(), Error> {
        self.send(
            Method::DELETE,
            path,
            Some("application/json"),
            options.to_string().into(),
        )
        .await
        .map(drop)
    }

    /// One request; any answer that is not a success is an error.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let what = || {
            let path = path.split('?').next().unwrap_or(path);
            format!("{method} {path}")
        };
        let unreachable = |reason: String| Error::Unreachable {
            server: self.server.clone(),
            what: what(),
            reason,
        };
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| unreachable(error.to_string()))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| unreachable(innermost(&error)))?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    Error::TooLarge { what: what() }
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
        Err(Error::Api {
            what: what(),
            status: Box::new(ApiStatus::read(status, &body)),
        })
    }
}

/// Parses an answer, naming the request in the error.
pub(crate) fn parse<'a, T: Deserialize<'a>>(what: &str, body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Malformed {
        what: format!("GET {}", what.split('?').next().unwrap_or(what)),
        source,
    })
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

fn check_context(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(), Error> {
    let names: Vec<&str> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.as_str())
        .collect();
    let known = if names.is_empty() {
        "it holds none".to_owned()
    } else {
        format!("it holds {}", names.join(", "))
    };
    match context {
        Some(name) if names.contains(&name) => Ok(()),
        Some(name) => Err(Error::Kubeconfig {
            message: format!("the kubeconfig has no context `{name}`; {known}"),
        }),
        None => Err(Error::Kubeconfig {
            message: format!("the kubeconfig names no current context; choose one with --context ({known})"),
        }),
    }
}

/// The innermost cause of an error: the layers above it only repeat where they stand.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = source.to_string();
        next = source.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_status_keeps_the_servers_sentence_and_plain_text_keeps_its_first_line() {
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
    fn an_unknown_context_lists_the_known_ones() {
        let kubeconfig = Kubeconfig::from_yaml(
            "contexts:\n- name: blue\n  context: {cluster: c, user: u}\n- name: green\n  context: {cluster: c, user: u}\n",
        )
        .unwrap();
        let error = check_context(&kubeconfig, Some("red")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kubeconfig has no context `red`; it holds blue, green"
        );
        assert!(check_context(&kubeconfig, Some("blue")).is_ok());
        assert!(check_context(&kubeconfig, None).is_err());
    }
}
