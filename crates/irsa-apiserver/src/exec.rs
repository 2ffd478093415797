//! `kubectl exec`: a command in a container, its streams carried over WebSocket (`v5.channel.k8s.io` and
//! `v4.channel.k8s.io`). SPDY, `attach` and `port-forward` are refused with a sentence that says what to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::agent::Containers;
use crate::api::{Admission, AdmissionRequest, Api, BoxFuture, Caller, Operation};
use crate::hooks::{Addressed, Body, Routes};
use crate::logs::{Logs, choose_container, form_pairs};
use crate::object::ObjectExt;
use crate::oidc::status_response;
use crate::runtime::{ContainerRef, Exec, Runtime, RuntimeError};
use crate::status::{Result, Status};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Since v5: the client has nothing more to say on a channel.
const CLOSE: u8 = 255;

/// The protocols that are spoken, the preferred one first.
const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// The largest message of a client.
const MAX_MESSAGE: usize = 1024 * 1024;
/// What is buffered of each stream while the other side is slow.
const PIPE: usize = 64 * 1024;
/// How long output that a command's children still hold open is waited for after its end.
const DRAIN: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Serves `pods/NAME/exec`, and refuses `attach` and `portforward`.
pub(crate) struct ExecRoutes {
    pub(crate) runtime: Option<Arc<dyn Runtime>>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) containers: Arc<Containers>,
    /// Asked about every connection.
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) ending: watch::Receiver<bool>,
}

/// `PodExecOptions`.
#[derive(Debug, Default)]
struct Options {
    container: Option<String>,
    command: Vec<String>,
    stdin: bool,
    tty: bool,
}

impl Options {
    fn parse(query: &str) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in form_pairs(query) {
            let yes = value == "true" || value == "1";
            match key.as_str() {
                "container" => options.container = Some(value).filter(|name| !name.is_empty()),
                "command" => options.command.push(value),
                "stdin" => options.stdin = yes,
                "tty" => options.tty = yes,
                _ => {}
            }
        }
        if options.command.is_empty() {
            let cause = crate::status::Cause::required("command", "");
            return Err(Status::invalid("PodExecOptions", "", "", &[cause]));
        }
        Ok(options)
    }
}

fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    headers
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|one| one.trim().to_ascii_lowercase().starts_with(protocol))
        })
}

/// The answer that switches to WebSocket, and the protocol that is spoken on it.
fn switch(headers: &HeaderMap) -> Result<(Response<Body>, &'static str)> {
    let offered: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let protocol = PROTOCOLS
        .iter()
        .find(|protocol| offered.contains(protocol))
        .ok_or_else(|| {
            Status::bad_request(format!(
                "unable to upgrade: the client offers the protocols {offered:?}, this server speaks {PROTOCOLS:?}"
            ))
        })?;
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Status::bad_request("unable to upgrade: no Sec-WebSocket-Key"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Status::internal)?;
    let mut response = Response::new(Empty::<Bytes>::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok((response, protocol))
}

impl ExecRoutes {
    /// Webhooks with rules for `CONNECT` on `pods/exec` are asked; they may refuse, and change nothing.
    async fn admit(&self, api: &Arc<Api>, at: &Addressed, options: &Options, caller: &Caller) -> Result<()> {
        let resource = api.resource("pods")?;
        let request = || AdmissionRequest {
            operation: Operation::Connect,
            resource: &resource,
            subresource: "exec",
            namespace: &at.namespace,
            name: &at.name,
            object: Some(json!({
                "kind": "PodExecOptions", "apiVersion": "v1", "stdin": options.stdin, "stdout": true,
                "stderr": !options.tty, "tty": options.tty, "container": options.container,
                "command": options.command,
            })),
            old: None,
            caller,
            dry_run: false,
            options: Value::Null,
        };
        self.admission.admit(api, request()).await?;
        self.admission.validate(api, &request()).await?;
        Ok(())
    }

    async fn exec(
        &self,
        api: &Arc<Api>,
        request: Request<Incoming>,
        at: &Addressed,
        caller: &Caller,
    ) -> Result<Response<Body>> {
        let pod = api.get("pods", &at.namespace, &at.name)?;
        let options = Options::parse(request.uri().query().unwrap_or_default())?;
        let container = choose_container(&pod, options.container.as_deref())?;
        let phase = pod.str_at(&["status", "phase"]);
        if matches!(phase, "Succeeded" | "Failed") {
            return Err(Status::bad_request(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            )));
        }
        let running = ["containerStatuses", "initContainerStatuses"]
            .iter()
            .flat_map(|list| pod.list_at(&["status", list]))
            .any(|status| {
                status.str_at(&["name"]) == container && status.at(&["state", "running"]).is_some()
            });
        if !running {
            return Err(Status::internal(format!(
                "unable to upgrade connection: container not found ({container:?})"
            )));
        }
        let Some(runtime) = self.runtime.clone() else {
            return Err(Status::custom(
                501,
                "NotImplemented",
                "exec is not possible: the containers of this cluster only pretend to run (no runtime was configured)",
            ));
        };
        // Ahead of the protocol: kubectl shows what it is told when it tries again with SPDY.
        self.admit(api, at, &options, caller).await?;
        if asks_for(request.headers(), "spdy") {
            return Err(no_spdy("exec"));
        }
        if !asks_for(request.headers(), "websocket") {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let (response, protocol) = switch(request.headers())?;
        let log = self.logs.of(pod.uid(), &container);
        let reference = ContainerRef { pod, container };
        let mut ending = self.ending.clone();
        tokio::spawn(async move {
            let upgraded = match hyper::upgrade::on(request).await {
                Ok(upgraded) => upgraded,
                Err(error) => {
                    tracing::debug!(%error, "the connection for exec was not upgraded");
                    return;
                }
            };
            let limits = WebSocketConfig::default()
                .max_message_size(Some(MAX_MESSAGE))
                .max_frame_size(Some(MAX_MESSAGE));
            let socket =
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
            let session = Session {
                runtime,
                reference,
                options,
                log,
                half_close: protocol.starts_with("v5"),
            };
            tokio::select! {
                () = session.run(socket) => {}
                () = crate::server::ended(&mut ending) => {}
            }
        });
        Ok(response)
    }

    fn port_forward(&self, api: &Api, at: &Addressed) -> Result<Status> {
        let pod = api.get("pods", &at.namespace, &at.name)?;
        let local: Vec<String> = pod
            .list_at(&["spec", "containers"])
            .iter()
            .flat_map(|container| container.list_at(&["ports"]))
            .filter_map(|port| u16::try_from(port.int_at(&["containerPort"])?).ok())
            .filter_map(|port| {
                let address = self.containers.address(pod.uid(), port)?;
                Some(format!("port {port} is at {address}"))
            })
            .collect();
        let hint = if local.is_empty() {
            "nothing in this pod listens".to_owned()
        } else {
            format!("its containers run on this machine: {}", local.join(", "))
        };
        Ok(Status::custom(
            501,
            "NotImplemented",
            format!("this cluster does not forward ports; {hint}"),
        ))
    }
}

fn no_spdy(what: &str) -> Status {
    Status::bad_request(format!(
        "this cluster speaks WebSocket for {what}, not SPDY: use kubectl 1.31 or later, or set KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true"
    ))
}

impl Routes for ExecRoutes {
    fn wants(&self, method: &Method, _path: &str, at: &Addressed, caller: Option<&Caller>) -> bool {
        caller.is_some()
            && matches!(*method, Method::GET | Method::POST)
            && at.group.is_empty()
            && at.plural == "pods"
            && !at.name.is_empty()
            && matches!(at.subresource.as_str(), "exec" | "attach" | "portforward")
    }

    fn serve<'a>(
        &'a self,
        api: &'a Arc<Api>,
        request: Request<Incoming>,
        at: Addressed,
        caller: Option<Caller>,
    ) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let answer = match (at.subresource.as_str(), &caller) {
                (_, None) => Err(Status::unauthorized()),
                ("exec", Some(caller)) => self.exec(api, request, &at, caller).await,
                ("portforward", _) => self.port_forward(api, &at).and_then(Err),
                _ => Err(Status::custom(
                    501,
                    "NotImplemented",
                    "this cluster does not attach to containers: use kubectl logs -f, or kubectl exec",
                )),
            };
            answer.unwrap_or_else(|status| status_response(&status))
        })
    }
}

/// One command and its client.
struct Session {
    runtime: Arc<dyn Runtime>,
    reference: ContainerRef,
    options: Options,
    log: crate::logs::Log,
    half_close: bool,
}

impl Session {
    async fn run(self, socket: Socket) {
        let (mut sink, incoming) = socket.split();
        let (out, mut queue) = mpsc::channel::<Message>(16);
        let (stdin_far, stdin) = tokio::io::duplex(PIPE);
        let (stdout, stdout_far) = tokio::io::duplex(PIPE);
        let (stderr, stderr_far) = tokio::io::duplex(PIPE);
        let (size, size_far) = watch::channel(None);
        // An empty message tells the client that the command is about to run.
        let _ = out.send(framed(STDOUT, &[])).await;
        let stderr: Box<dyn tokio::io::AsyncWrite + Send + Unpin> = Box::new(stderr);
        let exec = Exec {
            at: self.reference.clone(),
            command: self.options.command.clone(),
            tty: self.options.tty,
            stdin: self.options.stdin.then(|| Box::new(stdin) as Box<_>),
            stdout: Box::new(stdout),
            stderr,
            size: size_far,
            log: self.log.clone(),
        };
        let to_client = async {
            while let Some(message) = queue.recv().await {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        };
        let command = async {
            let (for_stdout, for_stderr) = (out.clone(), out.clone());
            let copied = async move {
                tokio::join!(
                    carry(stdout_far, STDOUT, for_stdout),
                    carry(stderr_far, STDERR, for_stderr)
                );
            };
            tokio::pin!(copied);
            let running = self.runtime.exec(exec);
            tokio::pin!(running);
            let mut copied_all = false;
            let result = loop {
                tokio::select! {
                    result = &mut running => break result,
                    () = &mut copied, if !copied_all => copied_all = true,
                }
            };
            if !copied_all {
                let _ = tokio::time::timeout(DRAIN, &mut copied).await;
            }
            let status = outcome(&self.options.command, result);
            let _ = out.send(framed(ERROR, status.to_string().as_bytes())).await;
            let close = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            let _ = out.send(Message::Close(Some(close))).await;
            drop(out);
        };
        let listening = listen(incoming, stdin_far, size, self.half_close);
        tokio::pin!(listening);
        let working = async { tokio::join!(to_client, command) };
        tokio::pin!(working);
        // The end of either side is the end: a client that has gone takes its command with it.
        tokio::select! {
            _ = &mut working => {
                // The client's own close, so that it does not see a connection reset.
                let _ = tokio::time::timeout(DRAIN, &mut listening).await;
            }
            () = &mut listening => {}
        }
    }
}

fn framed(channel: u8, data: &[u8]) -> Message {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    Message::Binary(message.into())
}

/// From a stream of the command to its channel.
async fn carry(mut from: DuplexStream, channel: u8, out: mpsc::Sender<Message>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if out.send(framed(channel, &buffer[..read])).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What the client sends: input, its end, sizes of its terminal. Returns when the client has gone.
async fn listen(
    mut incoming: SplitStream<Socket>,
    stdin: DuplexStream,
    size: watch::Sender<Option<(u16, u16)>>,
    half_close: bool,
) {
    let mut stdin = Some(stdin);
    while let Some(Ok(message)) = incoming.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Close(_) => return,
            // Pings are answered by the library.
            _ => continue,
        };
        let Some((channel, data)) = data.split_first() else {
            continue;
        };
        match *channel {
            STDIN => {
                if let Some(open) = &mut stdin
                    && open.write_all(data).await.is_err()
                {
                    // The command reads no more.
                    stdin = None;
                }
            }
            RESIZE => {
                let asked: Value = serde_json::from_slice(data).unwrap_or_default();
                let part = |key: &str| asked.int_at(&[key]).and_then(|part| u16::try_from(part).ok());
                if let (Some(width), Some(height)) = (part("Width"), part("Height")) {
                    size.send_replace(Some((width, height)));
                }
            }
            CLOSE if half_close && data.first() == Some(&STDIN) => stdin = None,
            _ => {}
        }
    }
}

/// The `Status` on the error channel, from which kubectl takes its exit code.
fn outcome(command: &[String], result: std::result::Result<i32, RuntimeError>) -> Value {
    match result {
        Ok(0) => json!({ "metadata": {}, "status": "Success" }),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure",
            "message": format!("command terminated with non-zero exit code: error executing command [{}], exit code {code}", command.join(" ")),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(error @ RuntimeError::CommandNotFound(_)) => json!({
            "metadata": {}, "status": "Failure",
            "message": format!("Internal error occurred: Internal error occurred: error executing command in container: {error}"),
            "reason": "InternalError", "code": 500,
            "details": { "causes": [{ "message": error.to_string() }] },
        }),
        Err(error) => json!({
            "metadata": {}, "status": "Failure",
            "message": format!("Internal error occurred: error executing command in container: {error}"),
            "reason": "InternalError", "code": 500,
            "details": { "causes": [{ "message": error.to_string() }] },
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_travels_as_a_cause() {
        let status = outcome(&["sh".into()], Ok(3));
        assert_eq!(
            status["details"]["causes"][0],
            json!({ "reason": "ExitCode", "message": "3" })
        );
        assert_eq!(outcome(&[], Ok(0))["status"], "Success");
    }

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        let mut headers = HeaderMap::new();
        headers.insert(
            SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("v4.channel.k8s.io, v5.channel.k8s.io"),
        );
        let (response, protocol) = switch(&headers).unwrap();
        assert_eq!(protocol, "v5.channel.k8s.io");
        // The example of RFC 6455.
        assert_eq!(
            response.headers()[SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("channel.k8s.io"));
        assert_eq!(switch(&headers).unwrap_err().code, 400);
    }

    #[test]
    fn a_command_is_required() {
        assert_eq!(Options::parse("container=a&stdout=true").unwrap_err().code, 422);
        let options = Options::parse("command=echo&command=a%20b&stdin=true&tty=1").unwrap();
        assert_eq!(options.command, ["echo", "a b"]);
        assert!(options.stdin && options.tty);
    }
}
