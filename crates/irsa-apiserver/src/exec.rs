//! A command in a container, its streams carried over WebSocket (`v5.channel.k8s.io` and `v4.channel.k8s.io`).

use std::sync::Arc;
use std::time::Duration;

use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::logs::Log;
use crate::object::ObjectExt;
use crate::runtime::{ContainerRef, Exec, Runtime, RuntimeError};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Since v5: the client has nothing more to say on a channel.
const CLOSE: u8 = 255;

/// The protocols that are spoken, the preferred one first.
pub(crate) const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// The largest message of a client.
const MAX_MESSAGE: usize = 1024 * 1024;
/// What is buffered of each stream while the other side is slow.
const PIPE: usize = 64 * 1024;
/// How long output that a command's children still hold open is waited for after its end.
const DRAIN: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// `PodExecOptions`.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) container: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

/// One command and its client.
pub(crate) struct Session {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) reference: ContainerRef,
    pub(crate) options: Options,
    pub(crate) log: Log,
    /// The protocol spoken, one of [`PROTOCOLS`].
    pub(crate) protocol: &'static str,
}

impl Session {
    /// Carries the command's streams over an upgraded connection until the command ends or the client leaves.
    pub(crate) async fn run(self, upgraded: Upgraded) {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
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
        let listening = listen(incoming, stdin_far, size, self.protocol.starts_with("v5"));
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
}
