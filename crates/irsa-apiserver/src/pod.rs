//! Facts about a pod that can be read from its JSON alone.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::conditions::condition;
use crate::object::{Object, ObjectExt};
use crate::status::{Result, Status};

/// A container of a pod that a node has taken.
#[derive(Clone, Debug)]
pub struct ContainerRef {
    /// The pod as it was when the call was made.
    pub pod: Object,
    /// Name of the container, init container or ephemeral container.
    pub container: String,
}

impl ContainerRef {
    /// The container's part of the pod's spec.
    #[must_use]
    pub fn spec(&self) -> Option<&Value> {
        containers(self.pod.value()).find(|container| container.str_at(&["name"]) == self.container)
    }

    /// Its image; empty when the container does not exist.
    #[must_use]
    pub fn image(&self) -> &str {
        self.spec().map_or("", |spec| spec.str_at(&["image"]))
    }
}

/// Init containers, containers and ephemeral containers, in that order.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| pod.list_at(&["spec", list]))
}

/// The status of a container or init container.
pub(crate) fn container_status<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    ["containerStatuses", "initContainerStatuses"]
        .into_iter()
        .flat_map(|list| pod.list_at(&["status", list]))
        .find(|status| status.str_at(&["name"]) == container)
}

/// Whether the `Ready` condition is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.str_at(&["status"]) == "True")
}

/// Whether a pod has neither ended nor been told to.
pub(crate) fn is_active(pod: &Value) -> bool {
    !has_ended(pod) && pod.deletion_timestamp().is_none()
}

/// Whether all containers of a pod have ended for good.
pub(crate) fn has_ended(pod: &Value) -> bool {
    matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed")
}

/// How far a pod is from being available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Ready for long enough.
    Available,
    /// Ready, and available after this time.
    In(Duration),
    /// Not ready.
    No,
}

/// Whether a pod has been ready for `min_ready` seconds.
pub(crate) fn availability(pod: &Value, min_ready: i64, at: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::No;
    }
    if min_ready <= 0 {
        return Availability::Available;
    }
    let since = condition(pod, "Ready")
        .and_then(|ready| ready.str_at(&["lastTransitionTime"]).parse::<Timestamp>().ok())
        .unwrap_or(at);
    let left = since.as_second() + min_ready - at.as_second();
    match u64::try_from(left) {
        Ok(left) if left > 0 => Availability::In(Duration::from_secs(left)),
        _ => Availability::Available,
    }
}

/// The container that a request for logs or a command means: the one named, the one annotated as default, or the
/// only one.
///
/// # Errors
/// 400 when there is no such container, or several and none was named.
pub(crate) fn choose_container(pod: &Value, asked: Option<&str>) -> Result<String> {
    let exists = |name: &str| containers(pod).any(|container| container.str_at(&["name"]) == name);
    if let Some(asked) = asked {
        return if exists(asked) {
            Ok(asked.to_owned())
        } else {
            Err(Status::bad_request(format!(
                "container {asked} is not valid for pod {}",
                pod.name()
            )))
        };
    }
    if let Some(default) = pod.annotation("kubectl.kubernetes.io/default-container")
        && exists(default)
    {
        return Ok(default.to_owned());
    }
    let names = |list: &str| -> Vec<&str> {
        let list = pod.list_at(&["spec", list]).iter();
        list.map(|container| container.str_at(&["name"])).collect()
    };
    let (init, all) = (names("initContainers"), names("containers"));
    match all.as_slice() {
        [only] if init.is_empty() => Ok((*only).to_owned()),
        _ => {
            let or = if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            };
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]{or}",
                pod.name(),
                all.join(" ")
            )))
        }
    }
}

/// Why a container has not started yet, as `kubectl logs` prints it; `None` once it has.
pub(crate) fn waiting_reason<'a>(pod: &'a Value, container: &str) -> Option<&'a str> {
    match container_status(pod, container) {
        Some(status) if status.int_at(&["restartCount"]).unwrap_or_default() == 0 => status
            .at(&["state", "waiting"])
            .map(|waiting| waiting.str_at(&["reason"])),
        Some(_) => None,
        None => Some("ContainerCreating"),
    }
}

/// The number of a service port's target in a pod: a number, or the name of a container port.
pub(crate) fn target_port(pod: &Value, port: &Value) -> Option<u16> {
    let number = |port: &Value, key: &str| u16::try_from(port.int_at(&[key])?).ok();
    match port.get("targetPort") {
        Some(Value::String(name)) => name.parse().ok().or_else(|| {
            let ports = containers(pod).flat_map(|container| container.list_at(&["ports"]));
            ports
                .into_iter()
                .find(|port| port.str_at(&["name"]) == name)
                .and_then(|port| number(port, "containerPort"))
        }),
        Some(Value::Number(target)) if target.as_u64() != Some(0) => number(port, "targetPort"),
        _ => number(port, "port"),
    }
}
