//! What the containers of a pod really do.
//!
//! Without a [`Runtime`] the node agent only pretends: pods become Running and Ready, and nothing runs. A runtime
//! names the images that it can really start (the lab's webhook, for one), runs commands for `kubectl exec`, and
//! writes what they print to the container's [`Log`], from where `kubectl logs` reads it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::api::{Api, BoxFuture};
use crate::logs::{Log, Logs};
use crate::object::ObjectExt;
use crate::tokens::Tokens;

pub use crate::pod::ContainerRef;

/// What a runtime may use of the cluster; handed to [`Runtime::attach`] before the first pod.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The API, as the cluster's own controllers use it.
    pub api: Arc<Api>,
    /// Makes the tokens of projected volumes.
    pub tokens: Arc<Tokens>,
    /// What containers printed.
    pub logs: Arc<Logs>,
    /// `https://127.0.0.1:PORT` of the API.
    pub url: String,
    /// The CA of the API's certificate, PEM.
    pub ca_pem: String,
}

/// Why a container did not start or a command did not run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The container cannot be started; the text becomes the waiting message of its status.
    #[error("{0}")]
    Start(String),
    /// The command does not exist in the container.
    #[error(
        "failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process: exec: \"{0}\": executable file not found in $PATH: unknown"
    )]
    CommandNotFound(String),
    /// The command could not run for another reason.
    #[error("failed to exec in container: {0}")]
    Exec(String),
}

/// A container to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which one.
    pub at: ContainerRef,
    /// How often it was started before in this pod.
    pub restart_count: u32,
    /// Where its output goes.
    pub log: Log,
}

/// A command to run in a container, for `kubectl exec`.
pub struct Exec {
    /// Where.
    pub at: ContainerRef,
    /// The command and its arguments, never empty.
    pub command: Vec<String>,
    /// Whether the client asked for a terminal. Standard error then goes to `stdout`.
    pub tty: bool,
    /// What the client types; ends when the client closes it. `None` when the client sends nothing.
    pub stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Standard output. Waits when the client is slow; an error means that the client has gone.
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    /// Standard error.
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    /// Columns and rows of the client's terminal.
    pub size: watch::Receiver<Option<(u16, u16)>>,
    /// The container's log, should the command's output also be shown by `kubectl logs`.
    pub log: Log,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the arguments, which may carry secrets.
        f.debug_struct("Exec")
            .field("pod", &self.at.pod.name())
            .field("container", &self.at.container)
            .field("program", &self.command.first())
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}

/// A container that really runs.
pub trait Running: Send + Sync {
    /// Container port and the local address that serves it. Services of the cluster resolve to these.
    fn ports(&self) -> Vec<(u16, SocketAddr)> {
        Vec::new()
    }

    /// Resolves when the container is ready to serve. An error keeps it unready with that message.
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Resolves with the exit code when the container has ended by itself or was stopped.
    fn exited(&self) -> BoxFuture<'_, i32> {
        Box::pin(std::future::pending())
    }

    /// Ends the container: a request first, force once `grace` is over. Resolves when it has ended.
    fn stop(&self, grace: Duration) -> BoxFuture<'_, ()>;
}

/// Lets a pod's containers do things. Every method has a default, which is to pretend.
pub trait Runtime: Send + Sync {
    /// Called once, before the first pod.
    fn attach(&self, cluster: Cluster) {
        let _ = cluster;
    }

    /// Whether [`Runtime::start`] should be asked for a container; asked with `at.image()`, usually.
    fn knows(&self, at: &ContainerRef) -> bool {
        let _ = at;
        false
    }

    /// Starts a container that the runtime knows. Dropping the future ends what was begun, dropping what it returns
    /// ends the container: that is how a server ends.
    fn start(&self, start: Start) -> BoxFuture<'_, Result<Arc<dyn Running>, RuntimeError>> {
        let name = start.at.container;
        Box::pin(async move {
            Err(RuntimeError::Start(format!(
                "this runtime cannot start container {name:?}"
            )))
        })
    }

    /// Called when a pod has gone: nothing more is asked of its containers.
    fn forget(&self, pod_uid: &str) {
        let _ = pod_uid;
    }

    /// Runs a command in a running container and returns its exit code. Dropping the future ends the command.
    fn exec(&self, exec: Exec) -> BoxFuture<'_, Result<i32, RuntimeError>> {
        let _ = exec;
        Box::pin(async { Err(RuntimeError::Exec("this runtime runs no commands".into())) })
    }
}

/// Which local addresses serve the ports of which containers, and what really runs.
#[derive(Default)]
pub(crate) struct Containers {
    // By uid of the pod and name of the container.
    running: Mutex<HashMap<(String, String), Arc<dyn Running>>>,
}

impl Containers {
    /// The local address that serves a container port of a pod.
    pub(crate) fn address(&self, pod_uid: &str, port: u16) -> Option<SocketAddr> {
        let running = self.running.lock();
        running
            .iter()
            .filter(|((uid, _), _)| uid == pod_uid)
            .flat_map(|(_, container)| container.ports())
            .find(|(container_port, _)| *container_port == port)
            .map(|(_, address)| address)
    }

    pub(crate) fn insert(&self, pod_uid: &str, container: &str, running: Arc<dyn Running>) {
        self.running
            .lock()
            .insert((pod_uid.to_owned(), container.to_owned()), running);
    }

    pub(crate) fn remove(&self, pod_uid: &str, container: &str) {
        self.running
            .lock()
            .remove(&(pod_uid.to_owned(), container.to_owned()));
    }
}
