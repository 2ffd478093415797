//! The one image that the lab really runs: `irsa` itself, so that what `irsa install` prints works on the lab.
//!
//! A container of it is a process of this very binary with the container's arguments, environment and service
//! account. It has a loopback address of its own, as a pod has an address: two replicas both listen on port 9443.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use irsa_apiserver::logs::Log;
use irsa_apiserver::object::ObjectExt;
use irsa_apiserver::runtime::{ContainerRef, Running, RuntimeError, Start};
use kube::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;

use crate::container::Container;
use crate::run::{Reach, Sandbox, Way, exit_code};

/// Where the kubelet puts a pod's own credentials.
const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";
const PROBE_PAUSE: Duration = Duration::from_millis(50);
const PROBE_TIME: Duration = Duration::from_secs(3);

/// Whether the lab can run this image.
pub(crate) fn is_ours(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next() == Some("irsa")
}

/// Addresses for pods that really run, on the loopback network.
#[derive(Debug, Default)]
pub(crate) struct Addresses(AtomicU16);

impl Addresses {
    fn next(&self) -> Ipv4Addr {
        // 127.77.0.1 and on; 127.0.0.0/16 is left to everybody else.
        let [high, low] = self
            .0
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
            .to_be_bytes();
        Ipv4Addr::new(127, 77, high, low)
    }
}

/// Starts a container of our image.
pub(crate) async fn start(
    start: Start,
    client: Client,
    reach: &Reach,
    api: &str,
    addresses: &Addresses,
) -> Result<Arc<dyn Running>, RuntimeError> {
    let failed = |error: &dyn std::fmt::Display| RuntimeError::Start(error.to_string());
    let spec = start.at.spec().cloned().unwrap_or_default();
    let container = Container::of(start.at.pod.as_json().clone(), Some(&start.at.container))
        .map_err(|error| failed(&error))?;
    let mut sandbox = Sandbox::prepare(client, container, reach, Way::Proxy)
        .await
        .map_err(|error| failed(&error))?;
    let address = addresses.next();
    sandbox.set("IRSA_WEBHOOK_BIND_ADDRESS", &address.to_string());
    if let Some(kubeconfig) = kubeconfig(&sandbox, &start.at, api).map_err(|error| failed(&error))? {
        sandbox.set("IRSA_WEBHOOK_KUBECONFIG", &kubeconfig.display().to_string());
    }
    let program = std::env::current_exe()
        .map_err(|error| failed(&error))?
        .into_os_string();
    // The image's entry point is the binary, so `args` follow it; `command` would replace it and has it as first word.
    let words = |list: &str| {
        spec.list_at(&[list])
            .iter()
            .filter_map(Value::as_str)
            .map(Into::into)
            .collect::<Vec<_>>()
    };
    let mut arguments = words("command");
    if !arguments.is_empty() {
        arguments.remove(0);
    }
    arguments.extend(words("args"));
    let mut command = Command::from(sandbox.command(&program, &arguments));
    command
        .current_dir(sandbox.path())
        // The proxy leads to AWS only, and this process talks to the cluster.
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C on the lab's terminal is for the lab, which then stops its pods.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let process = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let output = (child.stdout.take(), child.stderr.take());
    let log = start.log;
    let (exit, exited) = watch::channel(None);
    tokio::spawn(async move {
        let (stdout, stderr) = output;
        let lines = futures::future::join(copy_lines(stdout, &log), copy_lines(stderr, &log));
        let (status, _) = futures::future::join(child.wait(), lines).await;
        // The files go with the process that reads them.
        drop(sandbox);
        exit.send_replace(Some(status.map_or(1, exit_code)));
    });
    Ok(Arc::new(Process {
        ports: ports(&spec)
            .into_iter()
            .map(|port| (port, SocketAddr::from((address, port))))
            .collect(),
        probe: probe(&spec).map(|(port, path)| (SocketAddr::from((address, port)), path)),
        process,
        exited,
    }))
}

async fn copy_lines(from: Option<impl AsyncRead + Unpin>, log: &Log) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.line(&line);
    }
}

/// A kubeconfig that is the pod's service account. In a cluster the client would find the same by itself.
fn kubeconfig(sandbox: &Sandbox, at: &ContainerRef, api: &str) -> std::io::Result<Option<PathBuf>> {
    let account = sandbox.path().join("root").join(ACCOUNT);
    if !account.join("token").is_file() {
        return Ok(None);
    }
    let text = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pod",
        "contexts": [{"name": "pod", "context": {"cluster": "lab", "user": "pod", "namespace": at.pod.namespace()}}],
        "clusters": [{"name": "lab", "cluster": {
            "server": api, "certificate-authority": account.join("ca.crt"),
        }}],
        "users": [{"name": "pod", "user": {"tokenFile": account.join("token")}}],
    });
    let path = sandbox.path().join("kubeconfig");
    std::fs::write(&path, text.to_string())?;
    Ok(Some(path))
}

fn ports(spec: &Value) -> Vec<u16> {
    let ports = spec.list_at(&["ports"]).iter();
    ports
        .filter_map(|port| port["containerPort"].as_u64())
        .filter_map(|port| u16::try_from(port).ok())
        .collect()
}

/// Port and path of the readiness probe; no path where a connection is all that can be asked for.
fn probe(spec: &Value) -> Option<(u16, Option<String>)> {
    let probe = &spec["readinessProbe"];
    let get = &probe["httpGet"];
    let port = if get.is_object() {
        &get["port"]
    } else {
        &probe["tcpSocket"]["port"]
    };
    let number = match port {
        Value::String(name) => spec
            .list_at(&["ports"])
            .iter()
            .find(|port| port["name"] == **name)?["containerPort"]
            .as_u64()?,
        number => number.as_u64()?,
    };
    let plain = get.is_object() && get["scheme"].as_str().is_none_or(|scheme| scheme == "HTTP");
    let path = plain.then(|| get["path"].as_str().unwrap_or("/").to_owned());
    Some((u16::try_from(number).ok()?, path))
}

struct Process {
    ports: Vec<(u16, SocketAddr)>,
    probe: Option<(SocketAddr, Option<String>)>,
    process: Option<Pid>,
    exited: watch::Receiver<Option<i32>>,
}

impl Process {
    async fn end(&self) -> i32 {
        let mut exited = self.exited.clone();
        // The task that sends outlives the process; if it is gone, so is the process.
        exited
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|code| *code)
            .unwrap_or(1)
    }
}

impl Running for Process {
    fn ports(&self) -> Vec<(u16, SocketAddr)> {
        self.ports.clone()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let Some((address, path)) = &self.probe else {
                return Ok(());
            };
            loop {
                let asked = tokio::time::timeout(PROBE_TIME, ask(*address, path.as_deref()));
                tokio::select! {
                    answer = asked => if matches!(answer, Ok(Ok(true))) { return Ok(()) },
                    code = self.end() => return Err(format!("the process ended with exit code {code}")),
                }
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        }
        .boxed()
    }

    fn exited(&self) -> BoxFuture<'_, i32> {
        self.end().boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, ()> {
        async move {
            let signal = |signal| {
                if let Some(process) = self.process
                    && self.exited.borrow().is_none()
                {
                    let _ = kill_process(process, signal);
                }
            };
            signal(Signal::TERM);
            if tokio::time::timeout(grace, self.end()).await.is_err() {
                signal(Signal::KILL);
                self.end().await;
            }
        }
        .boxed()
    }
}

async fn ask(
    address: SocketAddr,
    path: Option<&str>,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let Some(path) = path else { return Ok(true) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(http::header::HOST, "probe")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    connection.abort();
    Ok(answer.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_image_is_known_whatever_its_registry_and_tag() {
        for image in [
            "irsa",
            "irsa:dev",
            "registry.example.com/team/irsa:0.1.0",
            "localhost:5000/irsa@sha256:00",
        ] {
            assert!(is_ours(image), "{image}");
        }
        for image in ["irsa-webhook:1", "example.com/irsa/app", "python:3.13"] {
            assert!(!is_ours(image), "{image}");
        }
    }

    #[test]
    fn a_probe_may_name_its_port() {
        let spec = serde_json::json!({
            "ports": [{"name": "metrics", "containerPort": 9999}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "metrics"}},
        });
        assert_eq!(probe(&spec), Some((9999, Some("/readyz".to_owned()))));
    }
}
