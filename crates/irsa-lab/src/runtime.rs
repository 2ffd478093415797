//! `kubectl exec` on the lab's pods: the command runs on this machine with the container's environment, and what it
//! prints is also in `kubectl logs`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};

use irsa_apiserver::logs::{LogWriter, Logs};
use irsa_apiserver::object::ObjectExt;
use irsa_apiserver::runtime::{Cluster, ContainerRef, Exec, Running, Runtime, RuntimeError, Start};
use kube::Client;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::container::Container;
use crate::image::{self, Addresses};
use crate::run::{Reach, Sandbox, Way, exit_code};
use crate::view::find_in;

type BoxFuture<'a, T> = futures::future::BoxFuture<'a, T>;

/// Runs commands for pods of the lab. It is handed to the cluster before there is an AWS to reach, and told later
/// where that is.
#[derive(Default)]
pub struct LabRuntime {
    ready: OnceLock<(Client, Reach)>,
    logs: OnceLock<Arc<Logs>>,
    api: OnceLock<String>,
    addresses: Addresses,
    /// By uid of the pod and name of the container: what one command writes into a volume, the next one finds there.
    sandboxes: Mutex<HashMap<(String, String), Arc<Sandbox>>>,
}

impl std::fmt::Debug for LabRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabRuntime")
            .field("ready", &self.ready.get().is_some())
            .finish()
    }
}

impl LabRuntime {
    /// From now on commands can run.
    pub fn connect(&self, client: Client, reach: Reach) {
        // A second call changes nothing: a lab has one AWS.
        let _ = self.ready.set((client, reach));
    }

    /// What containers printed; `None` until the cluster has taken this runtime.
    pub fn logs(&self) -> Option<Arc<Logs>> {
        self.logs.get().cloned()
    }

    /// The files and variables of a container, made when its first command runs.
    async fn sandbox(&self, at: &ContainerRef) -> Result<Arc<Sandbox>, RuntimeError> {
        let key = (at.pod.uid().to_owned(), at.container.clone());
        if let Some(sandbox) = self.sandboxes.lock().get(&key) {
            return Ok(Arc::clone(sandbox));
        }
        let (client, reach) = self.ready()?;
        let failed = |error: &dyn std::fmt::Display| RuntimeError::Exec(error.to_string());
        let container =
            Container::of(at.pod.as_json().clone(), Some(&at.container)).map_err(|error| failed(&error))?;
        let sandbox = Sandbox::prepare(client.clone(), container, reach, Way::Proxy)
            .await
            .map_err(|error| failed(&error))?;
        let mut sandboxes = self.sandboxes.lock();
        Ok(Arc::clone(
            sandboxes.entry(key).or_insert_with(|| Arc::new(sandbox)),
        ))
    }

    fn ready(&self) -> Result<&(Client, Reach), RuntimeError> {
        self.ready
            .get()
            .ok_or_else(|| RuntimeError::Exec("the lab is still starting; try again in a moment".to_owned()))
    }
}

impl Runtime for LabRuntime {
    fn attach(&self, cluster: Cluster) {
        let _ = self.logs.set(cluster.logs);
        let _ = self.api.set(cluster.url);
    }

    fn knows(&self, at: &ContainerRef) -> bool {
        image::is_ours(at.image())
    }

    fn start(&self, start: Start) -> BoxFuture<'_, Result<Arc<dyn Running>, RuntimeError>> {
        Box::pin(async move {
            let (client, reach) = self
                .ready()
                .map_err(|error| RuntimeError::Start(error.to_string()))?;
            let api = self.api.get().map(String::as_str).unwrap_or_default();
            image::start(start, client.clone(), reach, api, &self.addresses).await
        })
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'_, Result<i32, RuntimeError>> {
        Box::pin(async move {
            let sandbox = self.sandbox(&exec.at).await?;
            let program = exec.command.first().cloned().unwrap_or_default();
            if !sandbox.has(program.as_ref()) {
                return Err(RuntimeError::CommandNotFound(program));
            }
            if exec.tty {
                on_terminal(exec, &sandbox).await
            } else {
                on_pipes(exec, &sandbox).await
            }
        })
    }

    fn forget(&self, pod_uid: &str) {
        self.sandboxes.lock().retain(|(uid, _), _| uid != pod_uid);
    }
}

/// A started process whose whole group ends when this is dropped.
struct Group(Child);

impl Group {
    fn start(mut command: Command, program: &str) -> Result<Self, RuntimeError> {
        command
            .kill_on_drop(true)
            .spawn()
            .map(Self)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => RuntimeError::CommandNotFound(program.to_owned()),
                _ => RuntimeError::Exec(format!("cannot start {program}: {error}")),
            })
    }

    async fn wait(&mut self) -> Result<i32, RuntimeError> {
        let status = self.0.wait().await;
        status
            .map(exit_code)
            .map_err(|error| RuntimeError::Exec(format!("cannot wait for the command: {error}")))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let process = self
            .0
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(process) = process {
            let _ = kill_process_group(process, Signal::KILL);
        }
    }
}

async fn on_pipes(exec: Exec, sandbox: &Sandbox) -> Result<i32, RuntimeError> {
    let program = exec.command.first().cloned().unwrap_or_default();
    let mut command = Command::from(sandbox.command(&program, exec.command.get(1..).unwrap_or_default()));
    command
        .current_dir(sandbox.path())
        .process_group(0)
        .stdin(if exec.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = Group::start(command, &program)?;
    let (stdin, stdout, stderr) = (group.0.stdin.take(), group.0.stdout.take(), group.0.stderr.take());
    let log = Mutex::new(exec.log.writer());
    let input = async {
        if let (Some(mut from), Some(mut to)) = (exec.stdin, stdin) {
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
    };
    let output = async {
        tokio::join!(tee(stdout, exec.stdout, &log), tee(stderr, exec.stderr, &log));
        group.wait().await
    };
    // A command that does not read its input ends in its own time.
    tokio::pin!(input, output);
    tokio::select! {
        code = &mut output => code,
        () = &mut input => output.await,
    }
}

/// With a terminal of its own, so that shells prompt and full-screen programs work.
async fn on_terminal(exec: Exec, sandbox: &Sandbox) -> Result<i32, RuntimeError> {
    let failed = |error: std::io::Error| RuntimeError::Exec(format!("cannot open a terminal: {error}"));
    let (master, slave) = terminal().map_err(failed)?;
    let program = exec.command.first().cloned().unwrap_or_default();
    let path = std::env::var_os(irsa_core::variables::PATH).unwrap_or_default();
    // `setsid` makes the terminal the controlling one, which takes code between fork and exec that is not ours.
    let Some(setsid) = find_in("setsid".as_ref(), &path) else {
        return Err(RuntimeError::Exec(
            "a terminal needs `setsid` of util-linux".to_owned(),
        ));
    };
    let mut arguments: Vec<OsString> = vec!["--ctty".into(), "--".into()];
    arguments.extend(exec.command.iter().map(OsString::from));
    let stdio = || slave.try_clone().map(Stdio::from).map_err(failed);
    let mut command = Command::from(sandbox.command(&setsid.into_os_string(), &arguments));
    command
        .current_dir(sandbox.path())
        .stdin(stdio()?)
        .stdout(stdio()?)
        .stderr(stdio()?);
    if !sandbox.variables().iter().any(|(name, _)| name == "TERM") {
        command.env("TERM", "xterm");
    }
    let mut group = Group::start(command, &program)?;
    // The command holds its own copies; ours and the builder's would keep the terminal open after its end.
    drop(slave);

    let master = File::from(master);
    let (reader, writer) = (
        master.try_clone().map_err(failed)?,
        master.try_clone().map_err(failed)?,
    );
    let log = Mutex::new(exec.log.writer());
    let mut size = exec.size;
    let resize = async {
        loop {
            if let Some((columns, rows)) = *size.borrow_and_update() {
                let _ = tcsetwinsize(
                    &master,
                    Winsize {
                        ws_row: rows,
                        ws_col: columns,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    },
                );
            }
            if size.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let input = async {
        if let Some(mut from) = exec.stdin {
            let mut to = tokio::fs::File::from_std(writer);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
        std::future::pending::<()>().await;
    };
    let output = async {
        tee(Some(tokio::fs::File::from_std(reader)), exec.stdout, &log).await;
        group.wait().await
    };
    tokio::select! {
        code = output => code,
        () = resize => unreachable!("resizing goes on for ever"),
        () = input => unreachable!("input goes on for ever"),
    }
}

/// Both ends of a new terminal.
fn terminal() -> std::io::Result<(OwnedFd, File)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let name = name.to_str().map_err(std::io::Error::other)?;
    let slave = File::options().read(true).write(true).open(name)?;
    Ok((master, slave))
}

/// Copies to the client and to the log. When the client has gone the log still gets the rest.
async fn tee(from: Option<impl AsyncRead + Unpin>, mut to: impl AsyncWrite + Unpin, log: &Mutex<LogWriter>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 8192];
    let mut client_is_there = true;
    // A terminal whose other end is closed answers with an error, which is its end.
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let piece = &buffer[..length];
        log.lock().write(piece);
        if client_is_there {
            client_is_there = to.write_all(piece).await.is_ok() && to.flush().await.is_ok();
        }
    }
    let _ = to.shutdown().await;
}
