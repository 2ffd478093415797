//! What an agent reports: the status of a node and of a pod, as pure functions.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::conditions::{is_true, set_condition};
use crate::config::NodeConfig;
use crate::object::{ObjectExt, entry_object, now};
use crate::version::{Version, architecture};

/// A node as EKS's agent registers it.
pub(crate) fn node(config: &NodeConfig, index: usize, version: &Version) -> Value {
    let mut labels = Map::new();
    let arch = architecture();
    for (key, value) in [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/instance-type", "m5.large"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", config.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", "m5.large"),
    ] {
        labels.insert(key.into(), value.into());
    }
    for (key, value) in &config.labels {
        labels.insert(key.clone(), value.as_str().into());
    }
    let mut spec = Map::new();
    if let Some(provider) = &config.provider_id {
        spec.insert("providerID".into(), provider.as_str().into());
    }
    let amount = json!({
        "cpu": "2", "ephemeral-storage": "83873772Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0",
        "memory": "7934440Ki", "pods": "110",
    });
    let kubelet = version.git_version();
    let id = format!("{:032x}", u128::from(crc(&config.name)) << 64 | index as u128);
    json!({
        "metadata": {
            "name": config.name, "labels": labels,
            "annotations": { "node.alpha.kubernetes.io/ttl": "0" },
        },
        "spec": spec,
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": config.address },
                { "type": "InternalDNS", "address": config.name },
                { "type": "Hostname", "address": config.name },
            ],
            "allocatable": amount, "capacity": amount,
            "conditions": super::node_conditions(),
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "nodeInfo": {
                "architecture": arch, "bootID": Uuid::new_v4().to_string(),
                "containerRuntimeVersion": "containerd://1.7.27", "kernelVersion": "6.1.0-irsa-lab",
                "kubeProxyVersion": kubelet, "kubeletVersion": kubelet, "machineID": id,
                "operatingSystem": "linux", "osImage": "irsa lab", "systemUUID": Uuid::new_v4().to_string(),
            },
        },
    })
}

fn crc(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not started: reason and message.
    Waiting(&'static str, String),
    /// Started at.
    Running(String),
    /// Started at, ended at, exit code, reason.
    Terminated(String, String, i32, &'static str),
}

impl State {
    fn to_json(&self, id: &str) -> Value {
        match self {
            Self::Waiting(reason, message) => {
                let mut waiting = json!({ "reason": reason });
                if !message.is_empty() {
                    waiting["message"] = message.as_str().into();
                }
                json!({ "waiting": waiting })
            }
            Self::Running(since) => json!({ "running": { "startedAt": since } }),
            Self::Terminated(since, until, code, reason) => json!({ "terminated": {
                "containerID": id, "exitCode": code, "finishedAt": until, "reason": reason, "startedAt": since,
            } }),
        }
    }
}

/// One container of a pod, as its agent knows it.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    /// In `initContainers`.
    pub(crate) init: bool,
    /// An init container that runs on beside the others.
    pub(crate) sidecar: bool,
    pub(crate) state: State,
    pub(crate) last: Option<State>,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
    /// `containerd://…` of the present run; empty before the first.
    pub(crate) id: String,
}

impl Container {
    /// The containers of a pod before anything has happened.
    pub(crate) fn of_pod(pod: &Value) -> Vec<Self> {
        let has_init = !pod.list_at(&["spec", "initContainers"]).is_empty();
        let make = |spec: &Value, init: bool| Self {
            name: spec.str_at(&["name"]).to_owned(),
            image: spec.str_at(&["image"]).to_owned(),
            init,
            sidecar: init && spec.str_at(&["restartPolicy"]) == "Always",
            state: State::Waiting(
                if has_init {
                    "PodInitializing"
                } else {
                    "ContainerCreating"
                },
                String::new(),
            ),
            last: None,
            ready: false,
            restarts: 0,
            id: String::new(),
        };
        let init = pod.list_at(&["spec", "initContainers"]).iter();
        let main = pod.list_at(&["spec", "containers"]).iter();
        init.map(|spec| make(spec, true))
            .chain(main.map(|spec| make(spec, false)))
            .collect()
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self.state {
            State::Terminated(_, _, code, _) => Some(code),
            _ => None,
        }
    }

    fn initialized(&self) -> bool {
        if self.sidecar {
            self.is_running()
        } else {
            self.exit_code() == Some(0)
        }
    }

    fn to_json(&self) -> Value {
        let mut status = json!({
            "name": self.name,
            "state": self.state.to_json(&self.id),
            "lastState": match &self.last { Some(last) => last.to_json(&self.id), None => json!({}) },
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": if self.id.is_empty() { String::new() } else { image_id(&self.image) },
            "started": self.is_running(),
        });
        if !self.id.is_empty() {
            status["containerID"] = self.id.as_str().into();
        }
        status
    }
}

/// A digest that always is the same for an image's name: nothing was pulled.
fn image_id(image: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, image.as_bytes());
    let repository = image.split('@').next().unwrap_or(image);
    // The colon of a port is followed by a slash, that of a tag is not.
    let repository = match repository.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => repository,
    };
    let hex = |bytes: &[u8]| Uuid::from_slice(bytes).unwrap_or_default().simple();
    let (first, second) = digest.as_ref().split_at(16);
    format!("{repository}@sha256:{}{}", hex(first), hex(second))
}

/// An id such as a container runtime gives.
pub(crate) fn new_container_id() -> String {
    let [first, second] = [(); 2].map(|()| Uuid::new_v4());
    format!("containerd://{}{}", first.simple(), second.simple())
}

/// Addresses of a pod and the instant it was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    pub(crate) host_ip: String,
    pub(crate) pod_ip: String,
    pub(crate) started: String,
}

/// The phase that the containers make together.
pub(crate) fn phase(pod: &Value, containers: &[Container]) -> &'static str {
    // Nothing is started again in a pod that is being deleted.
    let going = pod.deletion_timestamp().is_some();
    let always = !going && matches!(pod.str_at(&["spec", "restartPolicy"]), "" | "Always");
    let never = going || pod.str_at(&["spec", "restartPolicy"]) == "Never";
    let init_failed = containers
        .iter()
        .any(|one| one.init && !one.sidecar && one.exit_code().is_some_and(|code| code != 0));
    if never && init_failed {
        return "Failed";
    }
    if containers
        .iter()
        .any(|one| one.init && !one.initialized() && !has_main_started(containers))
    {
        return "Pending";
    }
    let main = || containers.iter().filter(|one| !one.init);
    if !always && main().all(|one| one.exit_code().is_some()) {
        let failed = main().any(|one| one.exit_code() != Some(0));
        if !failed {
            return "Succeeded";
        }
        if never {
            return "Failed";
        }
    }
    if main().any(|one| one.is_running() || one.exit_code().is_some() || one.restarts > 0) {
        return "Running";
    }
    "Pending"
}

fn has_main_started(containers: &[Container]) -> bool {
    containers
        .iter()
        .any(|one| !one.init && (one.is_running() || one.exit_code().is_some() || one.restarts > 0))
}

/// Writes what the agent knows into a pod's status. Conditions of others stay.
pub(crate) fn write_pod(pod: &mut Value, containers: &[Container], at: &Placement) {
    let phase = phase(pod, containers);
    let quality = quality(pod);
    let status = entry_object(pod, "status");
    status.insert("phase".into(), phase.into());
    status.insert("qosClass".into(), quality.into());
    for (one, all, address) in [
        ("hostIP", "hostIPs", &at.host_ip),
        ("podIP", "podIPs", &at.pod_ip),
    ] {
        if !address.is_empty() {
            status.insert(one.into(), address.as_str().into());
            status.insert(all.into(), json!([{ "ip": address }]));
        }
    }
    status.insert("startTime".into(), at.started.as_str().into());
    let list = |init: bool| -> Value {
        let of_list = containers.iter().filter(|one| one.init == init);
        of_list.map(Container::to_json).collect()
    };
    if containers.iter().any(|one| one.init) {
        status.insert("initContainerStatuses".into(), list(true));
    }
    status.insert("containerStatuses".into(), list(false));
    write_conditions(pod, containers, phase);
}

fn write_conditions(pod: &mut Value, containers: &[Container], phase: &str) {
    let names = |keep: &dyn Fn(&Container) -> bool| -> String {
        let names: Vec<&str> = containers
            .iter()
            .filter(|one| keep(one))
            .map(|one| one.name.as_str())
            .collect();
        names.join(" ")
    };
    let ended = matches!(phase, "Succeeded" | "Failed");
    let sandbox = if ended { "False" } else { "True" };
    set_condition(pod, "PodReadyToStartContainers", sandbox, "", "");

    let uninitialized = names(&|one| one.init && !one.initialized());
    if uninitialized.is_empty() || has_main_started(containers) {
        let reason = if phase == "Succeeded" { "PodCompleted" } else { "" };
        set_condition(pod, "Initialized", "True", reason, "");
    } else {
        let message = format!("containers with incomplete status: [{uninitialized}]");
        set_condition(pod, "Initialized", "False", "ContainersNotInitialized", &message);
    }

    let unready = names(&|one| (!one.init || one.sidecar) && !one.ready);
    let unready_message = format!("containers with unready status: [{unready}]");
    let (value, reason, message) = match phase {
        "Succeeded" => ("False", "PodCompleted", ""),
        "Failed" => ("False", "PodFailed", ""),
        _ if unready.is_empty() => ("True", "", ""),
        _ => ("False", "ContainersNotReady", unready_message.as_str()),
    };
    set_condition(pod, "ContainersReady", value, reason, message);
    let gates = pod.list_at(&["spec", "readinessGates"]).iter();
    let gated = gates
        .map(|gate| gate.str_at(&["conditionType"]))
        .any(|kind| !is_true(pod, kind));
    if value == "True" && gated {
        let message = "the status of pod readiness gate is not \"True\"";
        set_condition(pod, "Ready", "False", "ReadinessGatesNotReady", message);
    } else {
        set_condition(pod, "Ready", value, reason, message);
    }
    if let Some(Value::Array(conditions)) = pod.pointer_mut("/status/conditions") {
        let place = |one: &Value| CONDITIONS.iter().position(|kind| *kind == one.str_at(&["type"]));
        conditions.sort_by_key(place);
    }
}

/// The conditions that a kubelet writes, in its order; those of others come first.
const CONDITIONS: &[&str] = &[
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// The quality-of-service class.
pub(crate) fn quality(pod: &Value) -> &'static str {
    let containers = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod.list_at(&["spec", list]));
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let amount = |list: &str, key: &str| container.at(&["resources", list, key]);
        for key in ["cpu", "memory"] {
            let (request, limit) = (amount("requests", key), amount("limits", key));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The present instant for container states.
pub(crate) fn instant() -> String {
    now()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn pod(policy: &str) -> Value {
        json!({ "metadata": { "name": "p" }, "spec": {
            "restartPolicy": policy,
            "initContainers": [{ "name": "i", "image": "i" }, { "name": "s", "image": "s", "restartPolicy": "Always" }],
            "containers": [{ "name": "a", "image": "registry:5000/a:1" }, { "name": "b", "image": "b" }],
        } })
    }

    fn running() -> State {
        State::Running("2026-11-24T07:07:00Z".into())
    }

    fn ended(code: i32) -> State {
        let at = "2026-11-24T07:07:00Z".to_owned();
        State::Terminated(at.clone(), at, code, "Completed")
    }

    fn with(policy: &str, states: [State; 4]) -> (Value, Vec<Container>) {
        let pod = pod(policy);
        let mut containers = Container::of_pod(&pod);
        for (container, state) in containers.iter_mut().zip(states) {
            container.ready = matches!(state, State::Running(_));
            container.state = state;
        }
        (pod, containers)
    }

    #[test]
    fn the_phase_follows_the_containers() {
        let waiting = || State::Waiting("PodInitializing", String::new());
        for (policy, states, expected) in [
            ("Always", [waiting(), waiting(), waiting(), waiting()], "Pending"),
            ("Always", [ended(0), running(), waiting(), waiting()], "Pending"),
            ("Always", [ended(0), running(), running(), running()], "Running"),
            ("Always", [ended(0), running(), ended(1), running()], "Running"),
            ("Never", [ended(1), waiting(), waiting(), waiting()], "Failed"),
            ("Never", [ended(0), running(), ended(0), ended(0)], "Succeeded"),
            ("Never", [ended(0), running(), ended(0), ended(3)], "Failed"),
            ("Never", [ended(0), running(), ended(0), running()], "Running"),
            ("OnFailure", [ended(0), running(), ended(0), ended(3)], "Running"),
        ] {
            let (pod, containers) = with(policy, states);
            assert_eq!(phase(&pod, &containers), expected, "{policy} {containers:?}");
        }
    }

    #[test]
    fn a_running_pod_is_ready_and_writing_it_again_changes_nothing() {
        let (mut pod, containers) = with("Always", [ended(0), running(), running(), running()]);
        let at = Placement {
            host_ip: "192.168.79.166".into(),
            pod_ip: "192.168.0.10".into(),
            started: "2026-11-24T07:07:00Z".into(),
        };
        write_pod(&mut pod, &containers, &at);
        assert!(crate::pod::is_ready(&pod));
        assert_eq!(pod["status"]["podIPs"][0]["ip"], "192.168.0.10");
        let first = pod.clone();
        write_pod(&mut pod, &containers, &at);
        assert_eq!(pod, first);
    }

    #[test]
    fn conditions_stand_in_the_order_of_a_kubelet() {
        let (mut pod, containers) = with("Always", [ended(0), running(), running(), running()]);
        set_condition(&mut pod, "PodScheduled", "True", "", "");
        set_condition(&mut pod, "example.com/traffic", "True", "", "");
        write_pod(&mut pod, &containers, &Placement::default());
        let kinds: Vec<&str> = pod
            .list_at(&["status", "conditions"])
            .iter()
            .map(|one| one.str_at(&["type"]))
            .collect();
        assert_eq!(kinds[0], "example.com/traffic");
        assert_eq!(kinds[1..], *CONDITIONS);
    }

    #[test]
    fn a_pod_that_is_deleted_ends_as_its_containers_do() {
        for (code, expected) in [(0, "Succeeded"), (143, "Failed")] {
            let (mut pod, containers) = with("Always", [ended(0), ended(0), ended(code), ended(0)]);
            assert_eq!(phase(&pod, &containers), "Running");
            pod["metadata"]["deletionTimestamp"] = "2026-11-24T07:07:00Z".into();
            assert_eq!(phase(&pod, &containers), expected);
        }
    }

    #[test]
    fn a_readiness_gate_holds_the_pod_back() {
        let (mut pod, containers) = with("Always", [ended(0), running(), running(), running()]);
        pod["spec"]["readinessGates"] = json!([{ "conditionType": "example.com/traffic" }]);
        write_pod(&mut pod, &containers, &Placement::default());
        assert!(!crate::pod::is_ready(&pod));
        set_condition(&mut pod, "example.com/traffic", "True", "", "");
        write_pod(&mut pod, &containers, &Placement::default());
        assert!(crate::pod::is_ready(&pod));
    }

    #[test]
    fn unready_containers_are_named() {
        let (mut pod, mut containers) = with("Always", [ended(0), running(), running(), running()]);
        containers[3].ready = false;
        write_pod(&mut pod, &containers, &Placement::default());
        let ready = crate::conditions::condition(&pod, "Ready").unwrap();
        assert_eq!(ready["message"], "containers with unready status: [b]");
    }

    #[test]
    fn the_port_of_a_registry_is_no_tag() {
        assert!(image_id("registry:5000/a:1").starts_with("registry:5000/a@sha256:"));
        assert!(image_id("registry:5000/a").starts_with("registry:5000/a@sha256:"));
    }

    #[test]
    fn resources_decide_the_quality_of_service() {
        let with = |resources: Value| json!({ "spec": { "containers": [{ "resources": resources }] } });
        let both = json!({ "cpu": "1", "memory": "1Gi" });
        assert_eq!(quality(&with(json!({}))), "BestEffort");
        assert_eq!(quality(&with(json!({ "requests": { "cpu": "1" } }))), "Burstable");
        assert_eq!(quality(&with(json!({ "limits": both }))), "Guaranteed");
        assert_eq!(
            quality(&with(json!({ "limits": both, "requests": { "cpu": "500m" } }))),
            "Burstable"
        );
    }
}
