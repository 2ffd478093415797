//! How other processes of the same user talk to a running lab: a file in its folder that says where everything is, and
//! a small HTTP endpoint on loopback behind a token that is in that file.
//!
//! One question, one answer, both JSON: [`Request`] is posted to `/v1`. It is not an interface for others; the
//! commands of `irsa lab` are.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use irsa_apiserver::logs::Logs;
use irsa_net::{Drain, Handler, Http, Limits, Listener};
use irsa_sts::events::{Entry, EventLog, Filter};
use irsa_sts::{Aws, ConfigError, FaultAnswer, RegionFault};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::run::Reach;

/// The file's name in the lab's folder.
pub const FILE: &str = "lab.json";
/// The largest question.
const MAX_BODY: usize = 4 << 20;
/// The longest that a question for events waits for some.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Where everything of a running lab is. Whoever can read it can do everything in the lab.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// `irsa/v1`.
    pub api_version: String,
    /// `LabAddresses`.
    pub kind: String,
    /// The control endpoint.
    pub control: SocketAddr,
    /// Its token.
    pub token: String,
    /// `http://127.0.0.1:PORT` of the CONNECT proxy.
    pub proxy: String,
    /// Where TLS is taken directly.
    pub direct: SocketAddr,
    /// The issuer of the cluster's tokens.
    pub issuer: String,
    /// The lab's first account.
    pub account: String,
    /// The region of the nodes.
    pub region: String,
    /// The process that is the lab.
    pub process: u32,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Addresses")
            .field("control", &self.control)
            .field("proxy", &self.proxy)
            .field("direct", &self.direct)
            .finish_non_exhaustive()
    }
}

/// A question to a running lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "do",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Request {
    /// Events after a number.
    Events {
        /// The number; 0 for all that are kept.
        after: u64,
        /// At most so many, the newest. The log itself is bounded.
        limit: usize,
        /// How long to wait when there are none, in seconds.
        wait: u64,
        /// Which ones.
        filter: Filter,
    },
    /// Activates or deactivates STS in a region.
    Activation {
        /// The region.
        region: String,
        /// Of one account, or of all.
        account: Option<String>,
        /// Whether it is to be active.
        active: bool,
    },
    /// Makes a region misbehave, or heals it.
    Fault {
        /// The region, or `aws-global`.
        region: String,
        /// How; nothing heals.
        fault: Option<Fault>,
    },
    /// Which session tokens the global endpoint gives out.
    GlobalTokens {
        /// Of one account, or of all.
        account: Option<String>,
        /// Whether they are valid in all regions (version 2).
        version_2: bool,
    },
    /// Whether the global name of S3 redirects for new buckets.
    RedirectNewBuckets {
        /// Whether.
        on: bool,
    },
    /// Adds what a command printed to a container's log.
    Log {
        /// The pod's uid.
        pod: String,
        /// The container.
        container: String,
        /// What was printed.
        text: String,
    },
}

/// How a region misbehaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Every answer comes so much later.
    pub delay_milliseconds: u64,
    /// What is answered instead of the truth.
    pub answer: Option<Answer>,
    /// Only every n-th call is hit.
    pub every: u32,
}

/// What a misbehaving region answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// 503 `ServiceUnavailable`.
    Unavailable,
    /// 500 `InternalFailure`.
    InternalFailure,
    /// 400 `Throttling`.
    Throttling,
    /// Nothing.
    Silence,
}

/// Events, and the number to ask on from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Events {
    /// The newest number, whether or not its event was wanted.
    pub newest: u64,
    /// Oldest first.
    pub entries: Vec<Entry>,
}

/// What the endpoint has its hands on.
#[derive(Clone, Debug)]
pub struct State {
    /// The AWS side.
    pub aws: Arc<Aws>,
    /// Its event log.
    pub events: Arc<EventLog>,
    /// What containers printed.
    pub logs: Option<Arc<Logs>>,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No lab there.
    #[error(
        "no lab is running in {}: start one with `irsa lab up`, or name its folder with --state-dir or IRSA_LAB_DIR",
        .0.display()
    )]
    NoLab(PathBuf),
    /// The file is not readable or not ours.
    #[error("cannot read {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The lab went away.
    #[error("the lab does not answer: {0}")]
    Connection(String),
    /// The lab says no.
    #[error("{0}")]
    Refused(String),
    /// Nothing can listen.
    #[error("the control endpoint cannot listen: {0}")]
    Listen(io::Error),
}

/// The running endpoint. Dropping it ends it.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    token: String,
    /// Dropped, it ends the connections.
    _drain: Drain,
}

impl Control {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn start(state: State) -> Result<Self, Error> {
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .map_err(Error::Listen)?;
        let address = listener.address();
        // 244 random bits: nobody guesses them before the lab ends.
        let token = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let drain = Drain::default();
        let port = Http::plain(Port {
            state,
            token: token.as_str().into(),
        });
        tokio::spawn(listener.serve(port, Limits::default(), Arc::new(()), drain.phases()));
        Ok(Self {
            address,
            token,
            _drain: drain,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client must know.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

#[derive(Clone)]
struct Port {
    state: State,
    token: Arc<str>,
}

impl Handler for Port {
    type Body = Full<Bytes>;

    async fn handle(&self, request: http::Request<Incoming>, _peer: SocketAddr) -> Response<Full<Bytes>> {
        answer(&self.state, &self.token, request).await
    }
}

async fn answer(state: &State, token: &str, request: http::Request<Incoming>) -> Response<Full<Bytes>> {
    let sent = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if sent.is_none_or(|sent| verify_slices_are_equal(sent, token.as_bytes()).is_err()) {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "the token of the lab's folder is needed",
        );
    }
    if request.method() != Method::POST || request.uri().path() != "/v1" {
        return refuse(StatusCode::NOT_FOUND, "questions are posted to /v1");
    }
    let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("cannot read the question: {error}"),
            );
        }
    };
    let request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("this is no question: {error}")),
    };
    match state.run(request).await {
        Ok(found) => respond(StatusCode::OK, &found),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

impl State {
    async fn run(&self, request: Request) -> Result<Events, ConfigError> {
        match request {
            Request::Events {
                after,
                limit,
                wait,
                filter,
            } => {
                let wait = Duration::from_secs(wait).min(MAX_WAIT);
                let _ = tokio::time::timeout(wait, self.wait_for(after, &filter)).await;
                return Ok(Events {
                    newest: self.events.newest(),
                    entries: self.events.after(after, &filter, limit),
                });
            }
            Request::Activation {
                region,
                account,
                active,
            } => {
                for account in self.accounts(account) {
                    if active {
                        self.aws.activate_region(&account, &region)?;
                    } else {
                        self.aws.deactivate_region(&account, &region)?;
                    }
                }
            }
            Request::Fault { region, fault } => self.aws.set_fault(
                &region,
                fault.map(|fault| RegionFault {
                    delay: Duration::from_millis(fault.delay_milliseconds),
                    answer: fault.answer.map(|answer| match answer {
                        Answer::Unavailable => FaultAnswer::Unavailable,
                        Answer::InternalFailure => FaultAnswer::InternalFailure,
                        Answer::Throttling => FaultAnswer::Throttling,
                        Answer::Silence => FaultAnswer::Silence,
                    }),
                    every: fault.every,
                }),
            ),
            Request::GlobalTokens { account, version_2 } => {
                let version = if version_2 {
                    irsa_sts::config::TokenVersion::V2
                } else {
                    irsa_sts::config::TokenVersion::V1
                };
                for account in self.accounts(account) {
                    self.aws.set_global_token_version(&account, version)?;
                }
            }
            Request::RedirectNewBuckets { on } => self.aws.set_redirects_new_buckets(on),
            Request::Log { pod, container, text } => {
                if let Some(logs) = &self.logs {
                    logs.of(&pod, &container).writer().write(text.as_bytes());
                }
            }
        }
        Ok(Events::default())
    }

    fn accounts(&self, one: Option<String>) -> Vec<String> {
        one.map_or_else(|| self.aws.accounts(), |account| vec![account])
    }

    /// Until an event is there that is wanted.
    async fn wait_for(&self, after: u64, filter: &Filter) {
        let mut seen = after;
        loop {
            self.events.wait_after(seen).await;
            seen = self.events.newest();
            if !self.events.after(after, filter, 1).is_empty() {
                return;
            }
        }
    }
}

fn respond(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, &serde_json::json!({ "error": text }))
}

impl Addresses {
    /// Reads the file in the folder of a running lab.
    ///
    /// # Errors
    /// [`Error::NoLab`], [`Error::File`].
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let text = std::fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoLab(folder.to_owned()),
            _ => Error::File {
                path: path.clone(),
                source,
            },
        })?;
        serde_json::from_slice(&text).map_err(|error| Error::File {
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }

    /// What is written to the file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and addresses: there is nothing that could fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// How a process reaches the lab's AWS.
    #[must_use]
    pub fn reach(&self, ca_pem: String) -> Reach {
        Reach {
            proxy: self.proxy.clone(),
            direct: self.direct,
            ca_pem,
            hosts: issuer_host(&self.issuer).into_iter().collect(),
        }
    }

    /// Asks the lab. Only [`Request::Events`] has events in its answer.
    ///
    /// # Errors
    /// [`Error::Connection`] when the lab is gone, [`Error::Refused`] with its reason.
    pub async fn ask(&self, request: &Request) -> Result<Events, Error> {
        let broken = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
        let stream = TcpStream::connect(self.control)
            .await
            .map_err(|error| broken(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let body = serde_json::to_vec(request).map_err(|error| broken(&error))?;
        let request = http::Request::post("/v1")
            .header(header::HOST, "irsa-lab")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| broken(&error))?
            .to_bytes();
        connection.abort();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| broken(&error));
        }
        let error: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = error["error"]
            .as_str()
            .unwrap_or("the lab refused without a reason");
        Err(Error::Refused(text.to_owned()))
    }
}

/// The host in an issuer's URL.
pub(crate) fn issuer_host(issuer: &str) -> Option<String> {
    let uri: http::Uri = issuer.parse().ok()?;
    uri.host().map(str::to_ascii_lowercase)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use irsa_sts::config::{Account, Config};

    use super::*;

    async fn start() -> (Control, Addresses, Arc<Aws>) {
        let aws = Arc::new(
            Aws::new(Config {
                accounts: vec![Account::new("111122223333")],
                ..Config::default()
            })
            .unwrap(),
        );
        let events = Arc::new(EventLog::default());
        aws.set_events(Some(events.clone()));
        let control = Control::start(State {
            aws: Arc::clone(&aws),
            events,
            logs: None,
        })
        .await
        .unwrap();
        let addresses = Addresses {
            api_version: "irsa/v1".to_owned(),
            kind: "LabAddresses".to_owned(),
            control: control.address(),
            token: control.token().to_owned(),
            proxy: "http://127.0.0.1:1".to_owned(),
            direct: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            issuer: "https://oidc.eks.us-west-2.amazonaws.com/id/EX".to_owned(),
            account: "111122223333".to_owned(),
            region: "us-west-2".to_owned(),
            process: std::process::id(),
        };
        (control, addresses, aws)
    }

    fn events(wait: u64) -> Request {
        Request::Events {
            after: 0,
            limit: 10,
            wait,
            filter: Filter::default(),
        }
    }

    async fn call(aws: &Aws) {
        let request = http::Request::get("/?Action=GetCallerIdentity&Version=2011-06-15")
            .header("host", "sts.amazonaws.com")
            .body(Bytes::new())
            .unwrap();
        aws.handle(request, &irsa_sts::Connection::to("sts.amazonaws.com"))
            .await;
    }

    #[tokio::test]
    async fn events_are_told_and_waited_for() {
        let (_control, addresses, aws) = start().await;
        assert!(addresses.ask(&events(0)).await.unwrap().entries.is_empty());
        let waiting = tokio::spawn({
            let addresses = addresses.clone();
            async move { addresses.ask(&events(30)).await.unwrap() }
        });
        tokio::task::yield_now().await;
        call(&aws).await;
        let found = waiting.await.unwrap();
        assert_eq!(found.newest, 1);
        assert_eq!(found.entries[0].record.host(), "sts.amazonaws.com");
    }

    #[tokio::test]
    async fn without_the_token_nothing_is_told() {
        let (_control, mut addresses, _aws) = start().await;
        addresses.token = "guessed".to_owned();
        let error = addresses.ask(&events(0)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_brings_its_reason() {
        let (_control, addresses, _aws) = start().await;
        let activation = |region: &str, active| Request::Activation {
            region: region.to_owned(),
            account: None,
            active,
        };
        addresses.ask(&activation("eu-west-1", false)).await.unwrap();
        let error = addresses.ask(&activation("us-east-1", false)).await.unwrap_err();
        assert!(error.to_string().contains("us-east-1"), "{error}");
    }

    #[test]
    fn without_a_lab_the_text_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = Addresses::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("irsa lab up"), "{error}");
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let text = r#"{"apiVersion":"irsa/v1","kind":"LabAddresses","control":"127.0.0.1:1","token":"SECRET",
            "proxy":"p","direct":"127.0.0.1:2","issuer":"i","account":"a","region":"r","process":1}"#;
        let addresses: Addresses = serde_json::from_str(text).unwrap();
        assert!(!format!("{addresses:?}").contains("SECRET"));
    }
}
