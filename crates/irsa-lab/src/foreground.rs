//! Runs one command in a sandbox in place of this process: same terminal, same signals, same exit code.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::{Addresses, Request};
use crate::netns::{self, Namespace};
use crate::run::{Reach, Sandbox, Way, exit_code};

/// How many pieces of output may wait on their way to the log before pieces are left out of it.
const LOG_BACKLOG: usize = 256;
/// How long the end of the output may take to the log once the command has ended.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// What a shell answers for a command that does not exist, and for one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Why a command did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot run {}: {source}", .program.display())]
    Start {
        /// The program.
        program: OsString,
        /// Why not.
        source: io::Error,
    },
    /// No namespace.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// Signals cannot be passed on.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// It cannot be waited for.
    #[error("cannot wait for the command: {0}")]
    Wait(io::Error),
}

impl Error {
    /// The exit code that a shell would give.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(NOT_FOUND),
            Self::Start { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(NOT_EXECUTABLE)
            }
            _ => None,
        }
    }
}

/// Where the container's log is, to which a copy of the output goes.
#[derive(Clone, Debug)]
pub struct LogTarget {
    /// The lab.
    pub lab: Addresses,
    /// Uid of the pod.
    pub pod: String,
    /// The container.
    pub container: String,
}

/// Runs `program` and returns its exit code. What goes to a terminal goes there directly; what goes to a file or a
/// pipe is copied to `log` on its way.
///
/// # Errors
/// [`Error`].
pub async fn run(
    sandbox: &Sandbox,
    program: OsString,
    arguments: Vec<OsString>,
    way: Way,
    reach: &Reach,
    log: Option<LogTarget>,
) -> Result<i32, Error> {
    // Before the command starts: a signal in between must not end only us.
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let namespace = match way {
        Way::Proxy => None,
        Way::Namespace => Some(Namespace::prepare(sandbox.path(), reach)?),
    };
    let (started, arguments) = match &namespace {
        None => (program.clone(), arguments),
        Some(namespace) => namespace.wrap(sandbox.find(&program).as_os_str(), &arguments),
    };
    let mut command = Command::from(sandbox.command(&started, &arguments));
    let copied = |is_terminal: bool| log.is_some() && !is_terminal;
    let (copies_out, copies_err) = (
        copied(io::stdout().is_terminal()),
        copied(io::stderr().is_terminal()),
    );
    let stdio = |copies: bool| if copies { Stdio::piped() } else { Stdio::inherit() };
    let mut child = command
        .stdin(Stdio::inherit())
        .stdout(stdio(copies_out))
        .stderr(stdio(copies_err))
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start { program, source })?;
    let _doors = match (&namespace, child.id()) {
        (Some(namespace), Some(process)) => Some(namespace.open(process).await?),
        _ => None,
    };

    let (to_log, pieces) = mpsc::channel(LOG_BACKLOG);
    let logging = log.map(|target| tokio::spawn(write_log(target, pieces)));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let copying = async {
        tokio::join!(
            copy(stdout, tokio::io::stdout(), to_log.clone()),
            copy(stderr, tokio::io::stderr(), to_log)
        );
    };
    let waiting = async {
        loop {
            tokio::select! {
                status = child.wait() => break status,
                signal = signals.next() => pass_on(&child, signal),
            }
        }
    };
    let (status, ()) = tokio::join!(waiting, copying);
    if let Some(logging) = logging {
        let _ = tokio::time::timeout(LOG_PATIENCE, logging).await;
    }
    Ok(exit_code(status.map_err(Error::Wait)?))
}

fn pass_on(child: &Child, signal: Signal) {
    // What a person types at the terminal reaches the whole group, the command included.
    let typed = matches!(signal, Signal::INT | Signal::QUIT) && io::stdin().is_terminal();
    let process = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let (Some(process), false) = (process, typed) {
        let _ = kill_process(process, signal);
    }
}

struct Signals(Vec<(tokio::signal::unix::Signal, Signal)>);

impl Signals {
    fn listen() -> io::Result<Self> {
        [
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::quit(), Signal::QUIT),
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
        ]
        .into_iter()
        .map(|(kind, passed)| Ok((signal(kind)?, passed)))
        .collect::<io::Result<_>>()
        .map(Self)
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, passed) in &mut self.0 {
                if let std::task::Poll::Ready(Some(())) = signal.poll_recv(context) {
                    return std::task::Poll::Ready(*passed);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

async fn copy(
    from: Option<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    log: mpsc::Sender<Vec<u8>>,
) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let piece = &buffer[..length];
        // A log that does not keep up loses pieces; the command's own output never waits for it.
        let _ = log.try_send(piece.to_vec());
        if to.write_all(piece).await.is_err() || to.flush().await.is_err() {
            // Our reader has gone; the command finds out by its own pipe being closed.
            return;
        }
    }
}

async fn write_log(target: LogTarget, mut pieces: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut piece) = pieces.recv().await {
        while let Ok(more) = pieces.try_recv() {
            piece.extend_from_slice(&more);
        }
        let request = Request::Log {
            pod: target.pod.clone(),
            container: target.container.clone(),
            text: String::from_utf8_lossy(&piece).into_owned(),
        };
        if let Err(error) = target.lab.ask(&request).await {
            tracing::debug!(%error, "output did not reach the container's log");
        }
    }
}
