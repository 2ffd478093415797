//! Cells of pods: readiness, status and restarts are read from the states of all containers, as in `printPod`.

use serde_json::Value;

use super::age;
use super::column::{NONE, at, list, number, text};
use crate::conditions::{condition, is_true};
use crate::object::ObjectExt as _;

/// What the containers of a pod are together.
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    /// When a container last ended and was started again; empty when none was.
    last_restart: String,
}

pub(super) fn ready(pod: &Value) -> Value {
    let summary = Summary::of(pod);
    format!("{}/{}", summary.ready, summary.total).into()
}

pub(super) fn status(pod: &Value) -> Value {
    Summary::of(pod).reason.into()
}

pub(super) fn restarts(pod: &Value) -> Value {
    let Summary {
        restarts,
        last_restart,
        ..
    } = Summary::of(pod);
    if restarts > 0 && !last_restart.is_empty() {
        return format!("{restarts} ({} ago)", age::since(&last_restart)).into();
    }
    restarts.to_string().into()
}

pub(super) fn gates(pod: &Value) -> Value {
    let gates = list(pod, "spec.readinessGates");
    let open = gates
        .iter()
        .filter(|gate| is_true(pod, text(gate, "conditionType")));
    match gates.len() {
        0 => NONE.into(),
        all => format!("{}/{all}", open.count()).into(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

fn is_ready(status: &Value) -> bool {
    status.get("ready") == Some(&Value::Bool(true))
}

/// Why a container has ended.
fn terminated(status: &Value, prefix: &str) -> Option<String> {
    let state = at(status, "state.terminated")?;
    Some(match (text(state, "reason"), number(state, "signal")) {
        ("", 0) => format!("{prefix}ExitCode:{}", number(state, "exitCode")),
        ("", signal) => format!("{prefix}Signal:{signal}"),
        (reason, _) => format!("{prefix}{reason}"),
    })
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let init = list(pod, "spec.initContainers");
        let sidecars = init.iter().filter(|one| is_sidecar(one)).count();
        let mut summary = Self {
            ready: 0,
            total: list(pod, "spec.containers").len() + sidecars,
            reason: text(pod, "status.phase").to_owned(),
            restarts: 0,
            last_restart: String::new(),
        };
        for reason in [text(pod, "status.reason"), gated(pod)] {
            if !reason.is_empty() {
                reason.clone_into(&mut summary.reason);
            }
        }
        let (initializing, sidecar_restarts) = summary.see_init_containers(pod, init);
        if !initializing || is_true(pod, "Initialized") {
            summary.restarts = sidecar_restarts;
            summary.see_containers(pod);
        }
        if pod.deletion_timestamp().is_some() {
            let ended = matches!(text(pod, "status.phase"), "Succeeded" | "Failed");
            if text(pod, "status.reason") == "NodeLost" {
                summary.reason = "Unknown".into();
            } else if !ended {
                summary.reason = "Terminating".into();
            }
        }
        summary
    }

    fn count_restarts(&mut self, status: &Value) -> i64 {
        let ended = text(status, "lastState.terminated.finishedAt");
        // RFC 3339 in UTC sorts as text.
        if ended > self.last_restart.as_str() {
            ended.clone_into(&mut self.last_restart);
        }
        let restarts = number(status, "restartCount");
        self.restarts += restarts;
        restarts
    }

    /// Whether init containers are still under way, and the restarts of sidecars.
    fn see_init_containers(&mut self, pod: &Value, init: &[Value]) -> (bool, i64) {
        let mut sidecar_restarts = 0;
        for (index, status) in list(pod, "status.initContainerStatuses").iter().enumerate() {
            let restarts = self.count_restarts(status);
            let spec = init.iter().find(|one| text(one, "name") == text(status, "name"));
            let sidecar = spec.is_some_and(is_sidecar);
            if sidecar {
                sidecar_restarts += restarts;
            }
            let done = at(status, "state.terminated").is_some_and(|state| number(state, "exitCode") == 0);
            if done {
                continue;
            }
            if sidecar && status.get("started") == Some(&Value::Bool(true)) {
                self.ready += usize::from(is_ready(status));
                continue;
            }
            self.reason = match text(status, "state.waiting.reason") {
                "" | "PodInitializing" => {
                    terminated(status, "Init:").unwrap_or_else(|| format!("Init:{index}/{}", init.len()))
                }
                reason => format!("Init:{reason}"),
            };
            return (true, sidecar_restarts);
        }
        (false, sidecar_restarts)
    }

    fn see_containers(&mut self, pod: &Value) {
        let mut running = false;
        for status in list(pod, "status.containerStatuses").iter().rev() {
            self.count_restarts(status);
            let waiting = text(status, "state.waiting.reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(reason) = terminated(status, "") {
                self.reason = reason;
            } else if is_ready(status) && at(status, "state.running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        // Some containers are done, others still run.
        if self.reason == "Completed" && running {
            self.reason = if is_true(pod, "Ready") {
                "Running"
            } else {
                "NotReady"
            }
            .into();
        }
    }
}

fn gated(pod: &Value) -> &'static str {
    let scheduled = condition(pod, "PodScheduled").map(|one| text(one, "reason"));
    if scheduled == Some("SchedulingGated") {
        "SchedulingGated"
    } else {
        ""
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pods_status_is_told_as_kubectl_tells_it() {
        let done = json!([{ "name": "i", "state": { "terminated": { "exitCode": 0 } } }]);
        let container = |state: Value, ready: bool| json!([{ "name": "a", "ready": ready, "state": state }]);
        for (status, expected) in [
            (json!({ "phase": "Pending" }), "0/1 Pending"),
            (
                json!({ "initContainerStatuses": [{ "name": "i", "state": { "running": {} } }] }),
                "0/1 Init:0/1",
            ),
            (
                json!({ "initContainerStatuses": [{ "name": "i", "state": { "terminated": { "exitCode": 3 } } }] }),
                "0/1 Init:ExitCode:3",
            ),
            (
                json!({ "initContainerStatuses": done,
                    "containerStatuses": container(json!({ "waiting": { "reason": "ImagePullBackOff" } }), false) }),
                "0/1 ImagePullBackOff",
            ),
            (
                json!({ "phase": "Running", "initContainerStatuses": done,
                    "containerStatuses": container(json!({ "running": {} }), true) }),
                "1/1 Running",
            ),
            (
                json!({ "phase": "Succeeded", "containerStatuses":
                    container(json!({ "terminated": { "exitCode": 0, "reason": "Completed" } }), false) }),
                "0/1 Completed",
            ),
        ] {
            let pod = json!({ "spec": { "containers": [{ "name": "a" }], "initContainers": [{ "name": "i" }] },
                "status": status });
            let summary = Summary::of(&pod);
            let told = format!("{}/{} {}", summary.ready, summary.total, summary.reason);
            assert_eq!(told, expected, "{status}");
        }
    }

    #[test]
    fn a_sidecar_counts_as_a_container_once_it_has_started() {
        let sidecar = json!({ "name": "i", "ready": true, "started": true, "restartCount": 2,
            "state": { "running": {} } });
        let pod = json!({ "spec": { "containers": [{ "name": "a" }],
                "initContainers": [{ "name": "i", "restartPolicy": "Always" }] },
            "status": { "phase": "Pending", "initContainerStatuses": [sidecar] } });
        assert_eq!(
            (ready(&pod), status(&pod), restarts(&pod)),
            ("1/2".into(), "Pending".into(), "2".into())
        );
    }
}
