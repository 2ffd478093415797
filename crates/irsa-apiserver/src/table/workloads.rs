//! Cells of pods and of what makes pods.

use serde_json::{Value, json};

use super::cells::{UNSET, age, age_of, duration, name, selector};
use crate::object::ObjectExt;

fn count(object: &Value, path: &[&str]) -> i64 {
    object.int_at(path).unwrap_or_default()
}

fn containers_and_images(template: &Value) -> [Value; 2] {
    let of = |key: &str| {
        let all = template
            .list_at(&["spec", "containers"])
            .iter()
            .map(|one| one.str_at(&[key]));
        Value::from(all.collect::<Vec<_>>().join(","))
    };
    [of("name"), of("image")]
}

fn template(object: &Value) -> &Value {
    object.at(&["spec", "template"]).unwrap_or(&Value::Null)
}

pub(super) fn deployment(object: &Value) -> Vec<Value> {
    let [containers, images] = containers_and_images(template(object));
    vec![
        name(object),
        format!(
            "{}/{}",
            count(object, &["status", "readyReplicas"]),
            count(object, &["spec", "replicas"])
        )
        .into(),
        count(object, &["status", "updatedReplicas"]).into(),
        count(object, &["status", "availableReplicas"]).into(),
        age(object),
        containers,
        images,
        selector(object.at(&["spec", "selector"])).into(),
    ]
}

pub(super) fn daemon_set(object: &Value) -> Vec<Value> {
    let [containers, images] = containers_and_images(template(object));
    let nodes = selector(
        template(object)
            .at(&["spec", "nodeSelector"])
            .or(Some(&json!({}))),
    );
    let status = |key: &str| Value::from(count(object, &["status", key]));
    vec![
        name(object),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        nodes.into(),
        age(object),
        containers,
        images,
        selector(object.at(&["spec", "selector"])).into(),
    ]
}

pub(super) fn replica_set(object: &Value) -> Vec<Value> {
    let [containers, images] = containers_and_images(template(object));
    vec![
        name(object),
        count(object, &["spec", "replicas"]).into(),
        count(object, &["status", "replicas"]).into(),
        count(object, &["status", "readyReplicas"]).into(),
        age(object),
        containers,
        images,
        selector(object.at(&["spec", "selector"])).into(),
    ]
}

pub(super) fn stateful_set(object: &Value) -> Vec<Value> {
    let [containers, images] = containers_and_images(template(object));
    vec![
        name(object),
        format!(
            "{}/{}",
            count(object, &["status", "readyReplicas"]),
            count(object, &["spec", "replicas"])
        )
        .into(),
        age(object),
        containers,
        images,
    ]
}

pub(super) fn job(object: &Value) -> Vec<Value> {
    let [containers, images] = containers_and_images(template(object));
    let condition = |kind: &str| {
        object
            .list_at(&["status", "conditions"])
            .iter()
            .any(|one| one.str_at(&["type"]) == kind && one.str_at(&["status"]) == "True")
    };
    let status = if condition("Complete") {
        "Complete"
    } else if condition("Failed") {
        "Failed"
    } else if object.deletion_timestamp().is_some() {
        "Terminating"
    } else if condition("Suspended") {
        "Suspended"
    } else if condition("FailureTarget") {
        "FailureTarget"
    } else if condition("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let succeeded = count(object, &["status", "succeeded"]);
    let completions = match (
        object.int_at(&["spec", "completions"]),
        object.int_at(&["spec", "parallelism"]),
    ) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let started = object
        .str_at(&["status", "startTime"])
        .parse::<jiff::Timestamp>()
        .ok();
    let ended = object
        .str_at(&["status", "completionTime"])
        .parse::<jiff::Timestamp>()
        .ok();
    let took = started.map_or(String::new(), |started| {
        let ended = ended.unwrap_or_else(jiff::Timestamp::now);
        duration(ended.as_second() - started.as_second())
    });
    vec![
        name(object),
        status.into(),
        completions.into(),
        took.into(),
        age(object),
        containers,
        images,
        selector(object.at(&["spec", "selector"])).into(),
    ]
}

pub(super) fn cron_job(object: &Value) -> Vec<Value> {
    let template = object
        .at(&["spec", "jobTemplate", "spec", "template"])
        .unwrap_or(&Value::Null);
    let [containers, images] = containers_and_images(template);
    let suspended = object.at(&["spec", "suspend"]) == Some(&Value::Bool(true));
    let last = match object.str_at(&["status", "lastScheduleTime"]) {
        "" => UNSET.to_owned(),
        time => age_of(time),
    };
    let zone = match object.str_at(&["spec", "timeZone"]) {
        "" => UNSET,
        zone => zone,
    };
    vec![
        name(object),
        object.str_at(&["spec", "schedule"]).into(),
        zone.into(),
        if suspended { "True" } else { "False" }.into(),
        object.list_at(&["status", "active"]).len().into(),
        last.into(),
        age(object),
        containers,
        images,
        selector(object.at(&["spec", "jobTemplate", "spec", "selector"])).into(),
    ]
}

pub(super) fn autoscaler(object: &Value) -> Vec<Value> {
    let reference = format!(
        "{}/{}",
        object.str_at(&["spec", "scaleTargetRef", "kind"]),
        object.str_at(&["spec", "scaleTargetRef", "name"])
    );
    let targets: Vec<String> = object
        .list_at(&["spec", "metrics"])
        .iter()
        .filter(|metric| metric.str_at(&["type"]) == "Resource")
        .map(|metric| {
            let name = metric.str_at(&["resource", "name"]);
            match metric.int_at(&["resource", "target", "averageUtilization"]) {
                Some(percent) => format!("{name}: <unknown>/{percent}%"),
                None => format!(
                    "{name}: <unknown>/{}",
                    metric.str_at(&["resource", "target", "averageValue"])
                ),
            }
        })
        .collect();
    vec![
        name(object),
        reference.into(),
        if targets.is_empty() {
            UNSET.to_owned()
        } else {
            targets.join(", ")
        }
        .into(),
        count(object, &["spec", "minReplicas"]).max(1).to_string().into(),
        count(object, &["spec", "maxReplicas"]).into(),
        count(object, &["status", "currentReplicas"]).into(),
        age(object),
    ]
}

/// The status column of a pod is a story of its own: phase, then reasons of init containers, then of containers.
pub(super) fn pod(object: &Value) -> Vec<Value> {
    let containers = object.list_at(&["spec", "containers"]);
    let init_specs = object.list_at(&["spec", "initContainers"]);
    let is_sidecar = |name: &str| {
        init_specs
            .iter()
            .any(|one| one.str_at(&["name"]) == name && one.str_at(&["restartPolicy"]) == "Always")
    };
    let sidecars = init_specs
        .iter()
        .filter(|one| one.str_at(&["restartPolicy"]) == "Always")
        .count();
    let total = containers.len() + sidecars;
    let mut ready = 0;
    let mut restarts = 0;
    let mut sidecar_restarts = 0;
    let mut last_restart = String::new();
    let mut reason = object.str_at(&["status", "phase"]).to_owned();
    if !object.str_at(&["status", "reason"]).is_empty() {
        object.str_at(&["status", "reason"]).clone_into(&mut reason);
    }
    if object.list_at(&["status", "conditions"]).iter().any(|condition| {
        condition.str_at(&["type"]) == "PodScheduled" && condition.str_at(&["reason"]) == "SchedulingGated"
    }) {
        reason = "SchedulingGated".into();
    }
    let mut note_restart = |status: &Value| {
        let finished = status.str_at(&["lastState", "terminated", "finishedAt"]);
        if finished > last_restart.as_str() {
            finished.clone_into(&mut last_restart);
        }
    };
    let terminated = |state: &Value, prefix: &str| {
        let said = state.str_at(&["terminated", "reason"]);
        if !said.is_empty() {
            return format!("{prefix}{said}");
        }
        match count(state, &["terminated", "signal"]) {
            0 => format!("{prefix}ExitCode:{}", count(state, &["terminated", "exitCode"])),
            signal => format!("{prefix}Signal:{signal}"),
        }
    };
    let mut initializing = false;
    for (index, status) in object
        .list_at(&["status", "initContainerStatuses"])
        .iter()
        .enumerate()
    {
        restarts += count(status, &["restartCount"]);
        note_restart(status);
        let sidecar = is_sidecar(status.str_at(&["name"]));
        if sidecar {
            sidecar_restarts += count(status, &["restartCount"]);
        }
        let state = status.get("state").unwrap_or(&Value::Null);
        let done = state
            .get("terminated")
            .is_some_and(|state| count(state, &["exitCode"]) == 0);
        let started = status.get("started") == Some(&Value::Bool(true));
        if done {
            continue;
        }
        if sidecar && started {
            if status.get("ready") == Some(&Value::Bool(true)) {
                ready += 1;
            }
            continue;
        }
        let waiting = state.str_at(&["waiting", "reason"]);
        reason = if state.get("terminated").is_some() {
            terminated(state, "Init:")
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", init_specs.len())
        };
        initializing = true;
        break;
    }
    let initialized = object
        .list_at(&["status", "conditions"])
        .iter()
        .any(|one| one.str_at(&["type"]) == "Initialized" && one.str_at(&["status"]) == "True");
    if !initializing || initialized {
        restarts = sidecar_restarts;
        let mut running = false;
        for status in object.list_at(&["status", "containerStatuses"]).iter().rev() {
            restarts += count(status, &["restartCount"]);
            note_restart(status);
            let state = status.get("state").unwrap_or(&Value::Null);
            let waiting = state.str_at(&["waiting", "reason"]);
            if !waiting.is_empty() {
                waiting.clone_into(&mut reason);
            } else if state.get("terminated").is_some() {
                reason = terminated(state, "");
            } else if status.get("ready") == Some(&Value::Bool(true)) && state.get("running").is_some() {
                running = true;
                ready += 1;
            }
        }
        // Some containers are done, others still run.
        if reason == "Completed" && running {
            let pod_ready = object
                .list_at(&["status", "conditions"])
                .iter()
                .any(|one| one.str_at(&["type"]) == "Ready" && one.str_at(&["status"]) == "True");
            reason = if pod_ready { "Running" } else { "NotReady" }.into();
        }
    }
    if object.deletion_timestamp().is_some() {
        let ended = matches!(object.str_at(&["status", "phase"]), "Succeeded" | "Failed");
        if object.str_at(&["status", "reason"]) == "NodeLost" {
            reason = "Unknown".into();
        } else if !ended {
            reason = "Terminating".into();
        }
    }
    let restarts = if restarts > 0 && !last_restart.is_empty() {
        format!("{restarts} ({} ago)", age_of(&last_restart))
    } else {
        restarts.to_string()
    };
    let or_none = |text: &str| Value::from(if text.is_empty() { UNSET } else { text });
    let address = match object
        .list_at(&["status", "podIPs"])
        .first()
        .map(|one| one.str_at(&["ip"]))
    {
        Some(address) if !address.is_empty() => address,
        _ => object.str_at(&["status", "podIP"]),
    };
    let gates = object.list_at(&["spec", "readinessGates"]);
    let gates = if gates.is_empty() {
        UNSET.to_owned()
    } else {
        let open = gates.iter().filter(|gate| {
            object.list_at(&["status", "conditions"]).iter().any(|one| {
                one.str_at(&["type"]) == gate.str_at(&["conditionType"]) && one.str_at(&["status"]) == "True"
            })
        });
        format!("{}/{}", open.count(), gates.len())
    };
    vec![
        name(object),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        age(object),
        or_none(address),
        or_none(object.str_at(&["spec", "nodeName"])),
        or_none(object.str_at(&["status", "nominatedNodeName"])),
        gates.into(),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn status(pod_status: &Value) -> (String, String) {
        let object = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a" }],
            "initContainers": [{ "name": "i" }] }, "status": pod_status });
        let cells = pod(&object);
        (
            cells[1].as_str().unwrap().into(),
            cells[2].as_str().unwrap().into(),
        )
    }

    #[test]
    fn a_pods_status_is_told_as_kubectl_tells_it() {
        let done = json!([{ "name": "i", "state": { "terminated": { "exitCode": 0 } } }]);
        for (pod_status, ready, reason) in [
            (json!({ "phase": "Pending" }), "0/1", "Pending"),
            (
                json!({ "phase": "Pending", "initContainerStatuses": [{ "name": "i", "state": { "running": {} } }] }),
                "0/1",
                "Init:0/1",
            ),
            (
                json!({ "phase": "Pending", "initContainerStatuses": done,
                    "containerStatuses": [{ "name": "a", "state": { "waiting": { "reason": "ImagePullBackOff" } } }] }),
                "0/1",
                "ImagePullBackOff",
            ),
            (
                json!({ "phase": "Running", "initContainerStatuses": done,
                    "containerStatuses": [{ "name": "a", "ready": true, "state": { "running": {} } }] }),
                "1/1",
                "Running",
            ),
            (
                json!({ "phase": "Succeeded",
                    "containerStatuses": [{ "name": "a", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } }] }),
                "0/1",
                "Completed",
            ),
        ] {
            assert_eq!(status(&pod_status), (ready.into(), reason.into()), "{pod_status}");
        }
    }
}
