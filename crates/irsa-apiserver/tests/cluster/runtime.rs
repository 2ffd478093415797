//! A runtime for tests: images named `webhook` are served by a webhook of the test, commands are local processes.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use irsa_apiserver::api::BoxFuture;
use irsa_apiserver::runtime::{ContainerRef, Exec, Running, Runtime, RuntimeError, Start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

pub(crate) struct Local {
    /// Who serves port 8443 of containers with the image `webhook`.
    pub(crate) webhook: SocketAddr,
    pub(crate) stopped: Arc<AtomicBool>,
}

struct Served {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Running for Served {
    fn ports(&self) -> Vec<(u16, SocketAddr)> {
        vec![(8443, self.address)]
    }

    fn stop(&self, _: Duration) -> BoxFuture<'_, ()> {
        self.stopped.store(true, Ordering::SeqCst);
        Box::pin(async {})
    }
}

impl Runtime for Local {
    fn knows(&self, at: &ContainerRef) -> bool {
        matches!(at.image(), "webhook" | "broken")
    }

    fn start(&self, start: Start) -> BoxFuture<'_, Result<Arc<dyn Running>, RuntimeError>> {
        let image = start.at.image().to_owned();
        start
            .log
            .line(&format!("started {} times before", start.restart_count));
        let served: Arc<dyn Running> = Arc::new(Served {
            address: self.webhook,
            stopped: Arc::clone(&self.stopped),
        });
        Box::pin(async move {
            if image == "broken" {
                return Err(RuntimeError::Start("it is broken".into()));
            }
            Ok(served)
        })
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'_, Result<i32, RuntimeError>> {
        Box::pin(async move {
            let program = exec.command[0].clone();
            let mut child = Command::new(&program)
                .args(&exec.command[1..])
                .stdin(if exec.stdin.is_some() {
                    Stdio::piped()
                } else {
                    Stdio::null()
                })
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => RuntimeError::CommandNotFound(program.clone()),
                    _ => RuntimeError::Exec(error.to_string()),
                })?;
            let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            let (mut stdout, mut stderr) = (exec.stdout, exec.stderr);
            let input = exec.stdin.map(|mut from| {
                let mut to = child.stdin.take().unwrap();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                })
            });
            let mut log = exec.log.writer();
            let output = async {
                let mut buffer = [0; 8192];
                while let Ok(read) = out.read(&mut buffer).await {
                    if read == 0 || stdout.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                    log.write(&buffer[..read]);
                }
            };
            let (status, (), _) = tokio::join!(child.wait(), output, tokio::io::copy(&mut err, &mut stderr));
            if let Some(input) = input {
                input.abort();
            }
            Ok(status
                .map_err(|error| RuntimeError::Exec(error.to_string()))?
                .code()
                .unwrap_or(137))
        })
    }
}
