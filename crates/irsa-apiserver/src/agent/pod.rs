//! Runs one pod on its node: volumes, init containers, containers, restarts and termination.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::watch;

use super::status::{Container, Placement, State, instant, new_container_id, phase, write_pod};
use super::volumes::{Missing, missing};
use super::{Agent, pretence};
use crate::api::{BoxFuture, Caller, DeleteOptions};
use crate::controllers::recorder::Recorder;
use crate::logs::AFTERLIFE;
use crate::object::{Object, ObjectExt};
use crate::runtime::{ContainerRef, Running, RuntimeError, Start};
use crate::status::Status;

/// The longest pause between restarts, as a kubelet's.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// How long a container may take to end before it is started again.
const STOP: Duration = Duration::from_secs(10);
/// How long a pod of a StatefulSet stays at least after its containers have ended.
const SAME_NAME: Duration = Duration::from_millis(500);
/// How often something that is missing is looked for.
const RETRY: Duration = Duration::from_millis(500);

/// The exit code of a process that SIGTERM has ended.
const TERMINATED: i32 = 128 + 15;

fn reason_of(exit_code: i32) -> &'static str {
    if exit_code == 0 { "Completed" } else { "Error" }
}

/// Something that happened to the container of this index.
enum Happening {
    Started(usize, Result<Option<Arc<dyn Running>>, RuntimeError>),
    Ready(usize, u32, Result<(), String>),
    Exited(usize, u32, i32),
    BackOffOver(usize),
}

type Work = FuturesUnordered<BoxFuture<'static, Happening>>;

/// Runs one pod until it is deleted.
pub(super) struct Worker {
    agent: Arc<Agent>,
    pod: Object,
    latest: watch::Receiver<Option<Object>>,
    me: Caller,
    recorder: Arc<Recorder>,
    containers: Vec<Container>,
    launched: Vec<bool>,
    running: HashMap<usize, Arc<dyn Running>>,
    at: Placement,
}

impl Worker {
    pub(super) fn new(agent: Arc<Agent>, pod: Object, latest: watch::Receiver<Option<Object>>) -> Self {
        let node = pod.str_at(&["spec", "nodeName"]);
        let containers = Container::of_pod(pod.value());
        Self {
            me: Caller::node(node),
            recorder: agent.recorder(node),
            launched: vec![false; containers.len()],
            containers,
            running: HashMap::new(),
            at: Placement::default(),
            agent,
            pod,
            latest,
        }
    }

    /// Runs until the pod is deleted.
    pub(super) async fn run(mut self) {
        let ending = wait_for_end(self.latest.clone());
        let grace = tokio::select! {
            biased;
            grace = ending => grace,
            () = self.live() => None,
        };
        self.end(grace).await;
    }

    async fn live(&mut self) {
        tokio::time::sleep(self.agent.pace.start).await;
        self.place();
        self.publish().await;
        self.wait_for_needs().await;
        let mut work = Work::new();
        self.advance(&mut work);
        loop {
            tokio::select! {
                Some(happening) = work.next(), if !work.is_empty() => self.handle(happening, &mut work).await,
                changed = self.latest.changed() => {
                    if changed.is_err() {
                        // The agent ends.
                        std::future::pending::<()>().await;
                    }
                    self.follow(&mut work).await;
                }
            }
        }
    }

    /// Others write conditions that readiness gates name, and may change a container's image.
    async fn follow(&mut self, work: &mut Work) {
        let latest = self.latest.borrow_and_update().clone();
        let Some(latest) = latest else { return };
        self.pod = latest;
        for index in 0..self.containers.len() {
            let image = self.reference(index).image().to_owned();
            if image != self.containers[index].image {
                self.replace(index, image, work).await;
            }
        }
        if !self.pod.list_at(&["spec", "readinessGates"]).is_empty() {
            self.publish().await;
        }
    }

    /// Starts a container again with its new image.
    async fn replace(&mut self, index: usize, image: String, work: &mut Work) {
        self.containers[index].image = image;
        let State::Running(since) = self.containers[index].state.clone() else {
            // It is used when the container starts next.
            return;
        };
        let name = self.containers[index].name.clone();
        let message = format!("Container {name} definition changed, will be restarted");
        self.say(index, "Normal", "Killing", message).await;
        match self.running.get(&index).cloned() {
            Some(running) => running.stop(STOP).await,
            None => tokio::time::sleep(self.agent.pace.stop).await,
        }
        self.forget_running(index);
        let container = &mut self.containers[index];
        container.last = Some(State::Terminated(since, instant(), 0, "Completed"));
        container.state = State::Waiting("ContainerCreating", String::new());
        container.ready = false;
        // The exit of the old run is ignored from now on.
        container.restarts += 1;
        self.publish().await;
        self.launch(index, work);
    }

    fn place(&mut self) {
        let node = self
            .agent
            .api
            .store()
            .get("nodes", "", self.pod.str_at(&["spec", "nodeName"]));
        let host_ip = node
            .iter()
            .flat_map(|node| node.list_at(&["status", "addresses"]))
            .find(|address| address.str_at(&["type"]) == "InternalIP")
            .map(|address| address.str_at(&["address"]).to_owned())
            .unwrap_or_default();
        let on_host = self.pod.at(&["spec", "hostNetwork"]) == Some(&Value::Bool(true));
        let pod_ip = if on_host {
            host_ip.clone()
        } else {
            self.agent.network.take().unwrap_or_default()
        };
        self.at = Placement {
            host_ip,
            pod_ip,
            started: instant(),
        };
    }

    async fn publish(&self) {
        let uid = self.pod.uid();
        let written = self
            .agent
            .api
            .modify(
                &self.me,
                "pods",
                self.pod.namespace(),
                self.pod.name(),
                "status",
                |pod| {
                    if pod.uid() != uid {
                        return Err(Status::not_found("pods", pod.name()));
                    }
                    write_pod(pod, &self.containers, &self.at);
                    Ok(())
                },
            )
            .await;
        if let Err(status) = written
            && status.code != 404
        {
            tracing::warn!(pod = self.pod.name(), %status, "the status of a pod was not written");
        }
    }

    async fn wait_for_needs(&mut self) {
        let mut said = None;
        loop {
            let needed = missing(&self.agent.api, self.pod.value());
            if needed != said {
                match &needed {
                    None => {}
                    Some(Missing::Volume(message)) => {
                        self.recorder
                            .warning(&self.pod, "FailedMount", message.as_str())
                            .await;
                    }
                    Some(Missing::Variable(name, message)) => {
                        for container in &mut self.containers {
                            if container.name == *name {
                                container.state =
                                    State::Waiting("CreateContainerConfigError", message.clone());
                            }
                        }
                        self.publish().await;
                        let field = self.field(name);
                        self.recorder
                            .container(
                                &self.pod,
                                &field,
                                "Warning",
                                "Failed",
                                format!("Error: {message}"),
                            )
                            .await;
                    }
                }
                said = needed;
            }
            if said.is_none() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn field(&self, name: &str) -> String {
        let init = self.containers.iter().any(|one| one.init && one.name == name);
        let list = if init { "initContainers" } else { "containers" };
        format!("spec.{list}{{{name}}}")
    }

    /// Starts what may start now: the next init container, or all others once those are done.
    fn advance(&mut self, work: &mut Work) {
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            if !container.init {
                break;
            }
            let done = if container.sidecar {
                container.is_running()
            } else {
                container.exit_code() == Some(0)
            };
            if done {
                continue;
            }
            if !self.launched[index] {
                self.launch(index, work);
            }
            return;
        }
        for index in 0..self.containers.len() {
            if !self.containers[index].init && !self.launched[index] {
                self.launch(index, work);
            }
        }
    }

    fn reference(&self, index: usize) -> ContainerRef {
        ContainerRef {
            pod: Arc::clone(&self.pod),
            container: self.containers[index].name.clone(),
        }
    }

    fn launch(&mut self, index: usize, work: &mut Work) {
        self.launched[index] = true;
        let restarts = self.containers[index].restarts;
        let at = self.reference(index);
        let log = self.agent.logs.begin(self.pod.uid(), &at.container, restarts);
        let runtime = self.agent.runtime.clone().filter(|runtime| runtime.knows(&at));
        work.push(Box::pin(async move {
            let started = match runtime {
                Some(runtime) => {
                    let start = Start {
                        at,
                        restart_count: restarts,
                        log,
                    };
                    runtime.start(start).await.map(Some)
                }
                None => Ok(None),
            };
            Happening::Started(index, started)
        }));
    }

    async fn handle(&mut self, happening: Happening, work: &mut Work) {
        match happening {
            Happening::Started(index, Ok(running)) => self.started(index, running, work).await,
            Happening::Started(index, Err(error)) => {
                let message = error.to_string();
                self.containers[index].state = State::Waiting("CreateContainerError", message.clone());
                self.publish().await;
                self.say(index, "Warning", "Failed", format!("Error: {message}"))
                    .await;
                self.back_off(index, work);
            }
            // Of an earlier run: nothing to do with the present one.
            Happening::Ready(index, run, _) | Happening::Exited(index, run, _)
                if self.containers[index].restarts != run => {}
            Happening::Ready(index, _, Ok(())) => {
                if self.containers[index].is_running() && !self.containers[index].ready {
                    self.containers[index].ready = true;
                    self.publish().await;
                }
            }
            Happening::Ready(index, _, Err(message)) => {
                let message = format!("Readiness probe failed: {message}");
                self.say(index, "Warning", "Unhealthy", message).await;
            }
            Happening::Exited(index, _, code) => self.exited(index, code, work).await,
            Happening::BackOffOver(index) => {
                self.containers[index].restarts += 1;
                self.launch(index, work);
            }
        }
    }

    async fn say(&self, index: usize, kind: &str, reason: &str, message: String) {
        let field = self.field(&self.containers[index].name);
        self.recorder
            .container(&self.pod, &field, kind, reason, message)
            .await;
    }

    async fn started(&mut self, index: usize, running: Option<Arc<dyn Running>>, work: &mut Work) {
        let reference = self.reference(index);
        let container = &mut self.containers[index];
        container.id = new_container_id();
        container.state = State::Running(instant());
        let (name, image, run) = (
            container.name.clone(),
            container.image.clone(),
            container.restarts,
        );
        match running {
            Some(running) => {
                self.agent
                    .containers
                    .insert(self.pod.uid(), &name, Arc::clone(&running));
                self.running.insert(index, Arc::clone(&running));
                let ready = Arc::clone(&running);
                work.push(Box::pin(async move {
                    let result = ready.ready().await;
                    Happening::Ready(index, run, result)
                }));
                work.push(Box::pin(async move {
                    let code = running.exited().await;
                    Happening::Exited(index, run, code)
                }));
            }
            None => {
                let ends = (container.init && !container.sidecar)
                    || (!container.init
                        && matches!(self.pod.str_at(&["spec", "restartPolicy"]), "Never" | "OnFailure"));
                let work_for = if container.init {
                    self.agent.pace.work.min(Duration::from_millis(10))
                } else {
                    self.agent.pace.work
                };
                let spec = reference.spec().cloned().unwrap_or_default();
                let pretence = pretence::of(&spec, ends, work_for);
                let ready = self.agent.pace.ready;
                work.push(Box::pin(async move {
                    tokio::time::sleep(ready).await;
                    Happening::Ready(index, run, Ok(()))
                }));
                if let Some(lasts) = pretence.lasts.filter(|_| ends) {
                    work.push(Box::pin(async move {
                        tokio::time::sleep(lasts).await;
                        Happening::Exited(index, run, pretence.exit_code)
                    }));
                }
            }
        }
        self.publish().await;
        self.say(
            index,
            "Normal",
            "Pulled",
            format!("Container image {image:?} already present on machine"),
        )
        .await;
        self.say(index, "Normal", "Created", format!("Created container: {name}"))
            .await;
        self.say(index, "Normal", "Started", format!("Started container {name}"))
            .await;
        self.advance(work);
    }

    async fn exited(&mut self, index: usize, code: i32, work: &mut Work) {
        self.forget_running(index);
        let container = &mut self.containers[index];
        let State::Running(since) = &container.state else {
            return;
        };
        let terminated = State::Terminated(since.clone(), instant(), code, reason_of(code));
        container.state = terminated.clone();
        container.ready = false;
        let policy = self.pod.str_at(&["spec", "restartPolicy"]);
        let again = if container.init {
            container.sidecar || (code != 0 && policy != "Never")
        } else {
            match policy {
                "Never" => false,
                "OnFailure" => code != 0,
                _ => true,
            }
        };
        if again {
            let container = &mut self.containers[index];
            container.last = Some(terminated);
            let pause = self.pause(index);
            if !pause.is_zero() {
                let message = format!(
                    "back-off {}s restarting failed container={} pod={}_{}({})",
                    pause.as_secs(),
                    self.containers[index].name,
                    self.pod.name(),
                    self.pod.namespace(),
                    self.pod.uid()
                );
                self.containers[index].state = State::Waiting("CrashLoopBackOff", message);
                let message = format!(
                    "Back-off restarting failed container {} in pod {}_{}({})",
                    self.containers[index].name,
                    self.pod.name(),
                    self.pod.namespace(),
                    self.pod.uid()
                );
                self.publish().await;
                self.say(index, "Warning", "BackOff", message).await;
            }
            self.back_off(index, work);
            return;
        }
        if matches!(phase(self.pod.value(), &self.containers), "Succeeded" | "Failed") {
            self.stop_all(Duration::from_secs(1), 0).await;
        }
        self.publish().await;
        self.advance(work);
    }

    /// The first restart is immediate; then the pause doubles.
    fn pause(&self, index: usize) -> Duration {
        match self.containers[index].restarts {
            0 => Duration::ZERO,
            restarts => (self.agent.pace.back_off * 2_u32.saturating_pow((restarts - 1).min(16)))
                .min(LONGEST_BACK_OFF),
        }
    }

    fn back_off(&self, index: usize, work: &Work) {
        // Also after a failed start, which would be retried in a busy loop otherwise.
        let pause = self.pause(index).max(if self.containers[index].id.is_empty() {
            self.agent.pace.back_off
        } else {
            Duration::ZERO
        });
        work.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            Happening::BackOffOver(index)
        }));
    }

    fn forget_running(&mut self, index: usize) {
        self.running.remove(&index);
        self.agent
            .containers
            .remove(self.pod.uid(), &self.containers[index].name);
        let log = self.agent.logs.of(self.pod.uid(), &self.containers[index].name);
        log.end();
    }

    /// Ends all containers that still run, with this exit code.
    async fn stop_all(&mut self, grace: Duration, code: i32) {
        let real: Vec<_> = self.running.values().cloned().collect();
        let pretended = self
            .containers
            .iter()
            .enumerate()
            .any(|(index, one)| one.is_running() && !self.running.contains_key(&index));
        let pause = if pretended {
            self.agent.pace.stop.min(grace)
        } else {
            Duration::ZERO
        };
        tokio::join!(
            futures::future::join_all(real.iter().map(|running| running.stop(grace))),
            tokio::time::sleep(pause)
        );
        for index in 0..self.containers.len() {
            self.forget_running(index);
            let container = &mut self.containers[index];
            if let State::Running(since) = &container.state {
                container.state = State::Terminated(since.clone(), instant(), code, reason_of(code));
                container.ready = false;
            }
        }
    }

    async fn end(&mut self, grace: Option<Duration>) {
        if let Some(latest) = self.latest.borrow().clone() {
            self.pod = latest;
        }
        if grace.is_some() {
            for index in 0..self.containers.len() {
                if self.containers[index].is_running() {
                    let message = format!("Stopping container {}", self.containers[index].name);
                    self.say(index, "Normal", "Killing", message).await;
                }
            }
        }
        // Servers exit with 0 on SIGTERM. Work that is interrupted does not succeed.
        let to_end = matches!(self.pod.str_at(&["spec", "restartPolicy"]), "Never" | "OnFailure");
        let code = if to_end { TERMINATED } else { 0 };
        self.stop_all(grace.unwrap_or_default(), code).await;
        if grace.is_some() {
            if !self.at.started.is_empty() {
                self.publish().await;
            }
            // The successor has the same name. kubectl reads the uid once and then watches the name: if the successor
            // is created in between, `kubectl delete` takes it for the old pod and waits forever.
            let same_name = self
                .pod
                .controller()
                .is_some_and(|owner| owner.kind() == "StatefulSet");
            if same_name {
                tokio::time::sleep(SAME_NAME.min(grace.unwrap_or_default())).await;
            }
            self.delete().await;
        }
        if let Some(runtime) = &self.agent.runtime {
            runtime.forget(self.pod.uid());
        }
        if self.at.pod_ip != self.at.host_ip {
            self.agent.network.release(&self.at.pod_ip);
        }
        tokio::time::sleep(AFTERLIFE).await;
        self.agent.logs.forget(self.pod.uid());
    }

    /// Removes the pod from the API.
    async fn delete(&self) {
        let options = DeleteOptions {
            uid: Some(self.pod.uid().to_owned()),
            ..DeleteOptions::grace(0)
        };
        let gone = self
            .agent
            .api
            .delete(&self.me, "pods", self.pod.namespace(), self.pod.name(), &options)
            .await;
        if let Err(status) = gone
            && !matches!(status.code, 404 | 409)
        {
            tracing::warn!(pod = self.pod.name(), %status, "a pod that has ended was not removed");
        }
    }
}

/// Resolves when the pod is to end: with its grace period, or `None` when it has been removed already.
async fn wait_for_end(mut latest: watch::Receiver<Option<Object>>) -> Option<Duration> {
    loop {
        {
            let pod = latest.borrow_and_update();
            let pod = pod.as_ref()?;
            if pod.deletion_timestamp().is_some() {
                let seconds = pod
                    .int_at(&["metadata", "deletionGracePeriodSeconds"])
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .unwrap_or_default();
                return Some(Duration::from_secs(seconds));
            }
        }
        if latest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
