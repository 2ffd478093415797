//! Columns of the built-in resources, as Kubernetes 1.36 prints them.

use serde_json::Value;

use super::age;
use super::column::{AGE, Cell, Column, NAME, NONE, at, joined, list, number, or, text};
use super::pod;
use crate::conditions::is_true;
use crate::object::ObjectExt as _;
use Cell::{Each, Flag, Len, Number, Of, Or, Selector, Since, Text};

const CONTAINERS: Column = ("+Containers", Each("spec.template.spec.containers", "name"));
const IMAGES: Column = ("+Images", Each("spec.template.spec.containers", "image"));
const SELECTOR: Column = ("+Selector", Selector("spec.selector"));
const READY: Column = ("Ready", Of(ready_of));
const CREATED: Column = ("Created At", Text("metadata.creationTimestamp"));
const WEBHOOKS: &[Column] = &[NAME, ("Webhooks", Len("webhooks")), AGE];
const REPLICA_SET: &[Column] = &[
    NAME,
    ("Desired", Number("spec.replicas")),
    ("Current", Number("status.replicas")),
    ("Ready", Number("status.readyReplicas")),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const BINDING: &[Column] = &[
    NAME,
    (
        "Role",
        Of(|object| {
            format!(
                "{}/{}",
                text(object, "roleRef.kind"),
                text(object, "roleRef.name")
            )
            .into()
        }),
    ),
    AGE,
    ("+Users", Of(|object| subjects(object, "User"))),
    ("+Groups", Of(|object| subjects(object, "Group"))),
    (
        "+ServiceAccounts",
        Of(|object| subjects(object, "ServiceAccount")),
    ),
];

/// The columns of a resource by its storage name. Long because it is a table, with one arm for each resource.
pub(super) fn columns(storage: &str) -> &'static [Column] {
    match storage {
        "pods" => &[
            NAME,
            ("Ready", Of(pod::ready)),
            ("Status", Of(pod::status)),
            ("Restarts", Of(pod::restarts)),
            AGE,
            ("+IP", Or("status.podIP", NONE)),
            ("+Node", Or("spec.nodeName", NONE)),
            ("+Nominated Node", Or("status.nominatedNodeName", NONE)),
            ("+Readiness Gates", Of(pod::gates)),
        ],
        "deployments.apps" => &[
            NAME,
            READY,
            ("Up-to-date", Number("status.updatedReplicas")),
            ("Available", Number("status.availableReplicas")),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "daemonsets.apps" => &[
            NAME,
            ("Desired", Number("status.desiredNumberScheduled")),
            ("Current", Number("status.currentNumberScheduled")),
            ("Ready", Number("status.numberReady")),
            ("Up-to-date", Number("status.updatedNumberScheduled")),
            ("Available", Number("status.numberAvailable")),
            ("Node Selector", Selector("spec.template.spec.nodeSelector")),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "replicasets.apps" | "replicationcontrollers" => REPLICA_SET,
        "statefulsets.apps" => &[NAME, READY, AGE, CONTAINERS, IMAGES],
        "jobs.batch" => &[
            NAME,
            ("Status", Of(job_status)),
            ("Completions", Of(job_completions)),
            ("Duration", Of(job_duration)),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "cronjobs.batch" => &[
            NAME,
            ("Schedule", Text("spec.schedule")),
            ("Timezone", Or("spec.timeZone", NONE)),
            (
                "Suspend",
                Of(|object| {
                    if at(object, "spec.suspend") == Some(&true.into()) {
                        "True"
                    } else {
                        "False"
                    }
                    .into()
                }),
            ),
            ("Active", Len("status.active")),
            ("Last Schedule", Since("status.lastScheduleTime", NONE)),
            AGE,
            (
                "+Containers",
                Each("spec.jobTemplate.spec.template.spec.containers", "name"),
            ),
            (
                "+Images",
                Each("spec.jobTemplate.spec.template.spec.containers", "image"),
            ),
            ("+Selector", Selector("spec.jobTemplate.spec.selector")),
        ],
        "controllerrevisions.apps" => &[
            NAME,
            ("Controller", Of(controller)),
            ("Revision", Number("revision")),
            AGE,
        ],
        "horizontalpodautoscalers.autoscaling" => &[
            NAME,
            (
                "Reference",
                Of(|object| {
                    let part = |key| text(object, key);
                    format!(
                        "{}/{}",
                        part("spec.scaleTargetRef.kind"),
                        part("spec.scaleTargetRef.name")
                    )
                    .into()
                }),
            ),
            ("Targets", Of(autoscaler_targets)),
            (
                "MinPods",
                Of(|object| number(object, "spec.minReplicas").max(1).to_string().into()),
            ),
            ("MaxPods", Number("spec.maxReplicas")),
            ("Replicas", Number("status.currentReplicas")),
            AGE,
        ],
        "services" => &[
            NAME,
            ("Type", Text("spec.type")),
            ("Cluster-IP", Or("spec.clusterIP", NONE)),
            ("External-IP", Of(external_ips)),
            ("Port(s)", Of(service_ports)),
            AGE,
            ("+Selector", Selector("spec.selector")),
        ],
        "endpoints" => &[NAME, ("Endpoints", Of(endpoints)), AGE],
        "endpointslices.discovery.k8s.io" => &[
            NAME,
            ("AddressType", Text("addressType")),
            ("Ports", Of(slice_ports)),
            ("Endpoints", Of(slice_addresses)),
            AGE,
        ],
        "nodes" => &[
            NAME,
            ("Status", Of(node_status)),
            ("Roles", Of(node_roles)),
            AGE,
            ("Version", Text("status.nodeInfo.kubeletVersion")),
            ("+Internal-IP", Of(|object| node_address(object, "InternalIP"))),
            ("+External-IP", Of(|object| node_address(object, "ExternalIP"))),
            ("+OS-Image", Or("status.nodeInfo.osImage", "<unknown>")),
            (
                "+Kernel-Version",
                Or("status.nodeInfo.kernelVersion", "<unknown>"),
            ),
            (
                "+Container-Runtime",
                Or("status.nodeInfo.containerRuntimeVersion", "<unknown>"),
            ),
        ],
        "namespaces" => &[NAME, ("Status", Text("status.phase")), AGE],
        "configmaps" => &[
            NAME,
            (
                "Data",
                Of(|object| {
                    let count = |key: &str| object.map_at(&[key]).map_or(0, serde_json::Map::len);
                    (count("data") + count("binaryData")).into()
                }),
            ),
            AGE,
        ],
        "secrets" => &[NAME, ("Type", Text("type")), ("Data", Len("data")), AGE],
        "events" => &[
            (
                "Last Seen",
                Of(|event| {
                    seen(
                        event,
                        &[
                            "series.lastObservedTime",
                            "lastTimestamp",
                            "eventTime",
                            "firstTimestamp",
                        ],
                    )
                }),
            ),
            ("Type", Text("type")),
            ("Reason", Text("reason")),
            (
                "Object",
                Of(|event| {
                    let kind = text(event, "involvedObject.kind").to_lowercase();
                    format!("{kind}/{}", text(event, "involvedObject.name")).into()
                }),
            ),
            ("+Subobject", Text("involvedObject.fieldPath")),
            ("+Source", Of(event_source)),
            ("Message", Of(|event| text(event, "message").trim().into())),
            (
                "+First Seen",
                Of(|event| seen(event, &["firstTimestamp", "eventTime"])),
            ),
            (
                "+Count",
                Of(|event| {
                    let counts = [at(event, "series.count"), at(event, "count")];
                    counts
                        .into_iter()
                        .flatten()
                        .find_map(Value::as_i64)
                        .unwrap_or(1)
                        .into()
                }),
            ),
            ("+Name", Text("metadata.name")),
        ],
        "leases.coordination.k8s.io" => &[NAME, ("Holder", Text("spec.holderIdentity")), AGE],
        "poddisruptionbudgets.policy" => &[
            NAME,
            ("Min Available", Of(|object| bound(object, "spec.minAvailable"))),
            (
                "Max Unavailable",
                Of(|object| bound(object, "spec.maxUnavailable")),
            ),
            ("Allowed Disruptions", Number("status.disruptionsAllowed")),
            AGE,
        ],
        "priorityclasses.scheduling.k8s.io" => &[
            NAME,
            ("Value", Number("value")),
            ("Global-Default", Flag("globalDefault")),
            AGE,
            ("PreemptionPolicy", Text("preemptionPolicy")),
        ],
        "roles.rbac.authorization.k8s.io"
        | "clusterroles.rbac.authorization.k8s.io"
        | "customresourcedefinitions.apiextensions.k8s.io" => &[NAME, CREATED],
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => BINDING,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => WEBHOOKS,
        "networkpolicies.networking.k8s.io" => &[NAME, ("Pod-Selector", Selector("spec.podSelector")), AGE],
        "ingresses.networking.k8s.io" => &[
            NAME,
            (
                "Class",
                Of(|object| {
                    let annotation = object.annotation("kubernetes.io/ingress.class").unwrap_or(NONE);
                    or(text(object, "spec.ingressClassName"), annotation).into()
                }),
            ),
            (
                "Hosts",
                Of(|object| {
                    let hosts = list(object, "spec.rules").iter().map(|rule| text(rule, "host"));
                    joined(hosts.filter(|host| !host.is_empty()), ",", "*").into()
                }),
            ),
            ("Address", Of(|object| joined(balancer(object), ",", "").into())),
            (
                "Ports",
                Of(|object| {
                    if list(object, "spec.tls").is_empty() {
                        "80"
                    } else {
                        "80, 443"
                    }
                    .into()
                }),
            ),
            AGE,
        ],
        "ingressclasses.networking.k8s.io" => &[
            NAME,
            ("Controller", Text("spec.controller")),
            ("Parameters", Of(ingress_parameters)),
            AGE,
        ],
        "storageclasses.storage.k8s.io" => &[
            (
                "Name",
                Of(|object| {
                    let default =
                        object.annotation("storageclass.kubernetes.io/is-default-class") == Some("true");
                    format!("{}{}", object.name(), if default { " (default)" } else { "" }).into()
                }),
            ),
            ("Provisioner", Text("provisioner")),
            ("ReclaimPolicy", Or("reclaimPolicy", "Delete")),
            ("VolumeBindingMode", Or("volumeBindingMode", "Immediate")),
            ("AllowVolumeExpansion", Flag("allowVolumeExpansion")),
            AGE,
        ],
        "persistentvolumeclaims" => &[
            NAME,
            ("Status", Text("status.phase")),
            ("Volume", Text("spec.volumeName")),
            ("Capacity", Text("status.capacity.storage")),
            ("Access Modes", Of(access_modes)),
            ("StorageClass", Text("spec.storageClassName")),
            (
                "VolumeAttributesClass",
                Or("spec.volumeAttributesClassName", "<unset>"),
            ),
            AGE,
            ("+VolumeMode", Text("spec.volumeMode")),
        ],
        _ => &[NAME, AGE],
    }
}

fn ready_of(object: &Value) -> Value {
    let [ready, wanted] = ["status.readyReplicas", "spec.replicas"].map(|path| number(object, path));
    format!("{ready}/{wanted}").into()
}

fn job_status(object: &Value) -> Value {
    let told = |kinds: &[&'static str]| kinds.iter().copied().find(|kind| is_true(object, kind));
    let going = object.deletion_timestamp().map(|_| "Terminating");
    told(&["Complete", "Failed"])
        .or(going)
        .or_else(|| told(&["Suspended", "FailureTarget", "SuccessCriteriaMet"]))
        .unwrap_or("Running")
        .into()
}

fn job_completions(object: &Value) -> Value {
    let succeeded = number(object, "status.succeeded");
    let wanted = |path| at(object, path).and_then(Value::as_i64);
    match (wanted("spec.completions"), wanted("spec.parallelism")) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
    .into()
}

fn job_duration(object: &Value) -> Value {
    let time = |path| text(object, path).parse::<jiff::Timestamp>().ok();
    let Some(started) = time("status.startTime") else {
        return "".into();
    };
    let ended = time("status.completionTime").unwrap_or_else(jiff::Timestamp::now);
    age::duration(ended.as_second() - started.as_second()).into()
}

fn controller(object: &Value) -> Value {
    let Some(owner) = object.controller() else {
        return NONE.into();
    };
    let group = owner.api_version().split_once('/').map_or("", |(group, _)| group);
    let dot = if group.is_empty() { "" } else { "." };
    format!(
        "{}{dot}{group}/{}",
        owner.kind().to_lowercase(),
        text(owner, "name")
    )
    .into()
}

fn autoscaler_targets(object: &Value) -> Value {
    let metrics = list(object, "spec.metrics")
        .iter()
        .filter(|metric| text(metric, "type") == "Resource");
    let target = |metric: &Value| {
        let name = text(metric, "resource.name");
        match number(metric, "resource.target.averageUtilization") {
            0 => format!(
                "{name}: <unknown>/{}",
                text(metric, "resource.target.averageValue")
            ),
            percent => format!("{name}: <unknown>/{percent}%"),
        }
    };
    joined(metrics.map(target), ", ", NONE).into()
}

fn balancer(object: &Value) -> impl Iterator<Item = &str> {
    let ingress = list(object, "status.loadBalancer.ingress").iter();
    ingress.map(|one| or(text(one, "ip"), text(one, "hostname")))
}

fn external_ips(object: &Value) -> Value {
    let external = list(object, "spec.externalIPs").iter().filter_map(Value::as_str);
    match text(object, "spec.type") {
        "ExternalName" => text(object, "spec.externalName").into(),
        "LoadBalancer" => joined(balancer(object).chain(external), ",", "<pending>").into(),
        _ => joined(external, ",", NONE).into(),
    }
}

fn service_ports(object: &Value) -> Value {
    let port = |port: &Value| {
        let (own, protocol) = (number(port, "port"), or(text(port, "protocol"), "TCP"));
        match number(port, "nodePort") {
            0 => format!("{own}/{protocol}"),
            node => format!("{own}:{node}/{protocol}"),
        }
    };
    joined(list(object, "spec.ports").iter().map(port), ",", NONE).into()
}

/// The first three, and how many more there are.
fn first_three(all: &[String], empty: &str) -> Value {
    let shown = joined(all.iter().take(3), ",", empty);
    match all.len().saturating_sub(3) {
        0 => shown.into(),
        more => format!("{shown} + {more} more...").into(),
    }
}

fn endpoints(object: &Value) -> Value {
    let mut all = Vec::new();
    for subset in list(object, "subsets") {
        let ports = list(subset, "ports");
        for address in list(subset, "addresses") {
            let ip = text(address, "ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|port| format!("{ip}:{}", number(port, "port"))));
        }
    }
    first_three(&all, NONE)
}

fn slice_ports(object: &Value) -> Value {
    let port = |port: &Value| {
        at(port, "port")
            .and_then(Value::as_i64)
            .map_or("*".into(), |port| port.to_string())
    };
    let all: Vec<String> = list(object, "ports").iter().map(port).collect();
    first_three(&all, "<unset>")
}

fn slice_addresses(object: &Value) -> Value {
    let endpoints = list(object, "endpoints").iter();
    let addresses = endpoints.flat_map(|endpoint| list(endpoint, "addresses"));
    let all: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    first_three(&all, "<unset>")
}

fn node_status(object: &Value) -> Value {
    let ready = crate::conditions::condition(object, "Ready").map(|one| text(one, "status"));
    let status = match ready {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = at(object, "spec.unschedulable") == Some(&Value::Bool(true));
    format!("{status}{}", if cordoned { ",SchedulingDisabled" } else { "" }).into()
}

fn node_roles(object: &Value) -> Value {
    let roles = object.labels().into_iter().flatten().filter_map(|(key, value)| {
        match (key.strip_prefix("node-role.kubernetes.io/"), key.as_str()) {
            (Some(role), _) if !role.is_empty() => Some(role),
            (_, "kubernetes.io/role") => value.as_str(),
            _ => None,
        }
    });
    joined(roles, ",", NONE).into()
}

fn node_address(object: &Value, kind: &str) -> Value {
    let found = list(object, "status.addresses")
        .iter()
        .find(|one| text(one, "type") == kind);
    found.map_or(NONE, |one| text(one, "address")).into()
}

fn seen(event: &Value, paths: &[&str]) -> Value {
    let time = paths
        .iter()
        .map(|path| text(event, path))
        .find(|time| !time.is_empty());
    time.map_or("<unknown>".to_owned(), age::since).into()
}

fn event_source(event: &Value) -> Value {
    let component = or(text(event, "source.component"), text(event, "reportingComponent"));
    match text(event, "source.host") {
        "" => component.into(),
        host => format!("{component}, {host}").into(),
    }
}

/// An `IntOrString`.
fn bound(object: &Value, path: &str) -> Value {
    match at(object, path) {
        None | Some(Value::Null) => "N/A".into(),
        Some(Value::String(text)) => text.as_str().into(),
        Some(number) => number.to_string().into(),
    }
}

fn subjects(object: &Value, kind: &str) -> Value {
    let of_kind = list(object, "subjects").iter().filter(|one| one.kind() == kind);
    let name = |one: &Value| match text(one, "namespace") {
        "" => text(one, "name").to_owned(),
        namespace => format!("{namespace}/{}", text(one, "name")),
    };
    joined(of_kind.map(name), ", ", "").into()
}

fn ingress_parameters(object: &Value) -> Value {
    let Some(parameters) = at(object, "spec.parameters") else {
        return NONE.into();
    };
    let group = text(parameters, "apiGroup");
    let dot = if group.is_empty() { "" } else { "." };
    format!("{}{dot}{group}/{}", parameters.kind(), text(parameters, "name")).into()
}

fn access_modes(object: &Value) -> Value {
    let short = |mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    };
    let modes = list(object, "status.accessModes")
        .iter()
        .filter_map(Value::as_str);
    joined(modes.map(short), ",", "").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(storage: &str, object: &Value) -> Vec<Value> {
        columns(storage)
            .iter()
            .map(|(_, cell)| cell.read(object))
            .collect()
    }

    #[test]
    fn service_accounts_have_no_count_of_secrets() {
        let names: Vec<&str> = columns("serviceaccounts").iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Name", "Age"]);
    }

    #[test]
    fn a_job_tells_how_far_it_is() {
        let of = |kind: &str| json!([{ "type": kind, "status": "True" }]);
        let mut job = json!({ "metadata": { "name": "j" }, "spec": { "parallelism": 2 }, "status": {} });
        assert_eq!(row("jobs.batch", &job)[1..3], ["Running", "0/1 of 2"]);
        job["status"] = json!({ "succeeded": 1, "conditions": of("Suspended") });
        job["spec"]["completions"] = 3.into();
        assert_eq!(row("jobs.batch", &job)[1..3], ["Suspended", "1/3"]);
        job["metadata"]["deletionTimestamp"] = "2026-11-24T07:00:00Z".into();
        assert_eq!(row("jobs.batch", &job)[1], "Terminating");
        job["status"]["conditions"] = of("Complete");
        assert_eq!(row("jobs.batch", &job)[1], "Complete");
    }

    #[test]
    fn services_and_endpoints_show_their_addresses() {
        let service = json!({ "metadata": { "name": "s" }, "spec": { "type": "LoadBalancer", "clusterIP": "10.0.0.1",
            "ports": [{ "port": 80, "nodePort": 30080 }, { "port": 53, "protocol": "UDP" }], "selector": { "a": "b" } } });
        let cells = row("services", &service);
        assert_eq!(
            cells[1..5],
            ["LoadBalancer", "10.0.0.1", "<pending>", "80:30080/TCP,53/UDP"]
        );
        assert_eq!(cells[6], "a=b");
        let addresses: Vec<Value> = (1..=5).map(|n| json!({ "ip": format!("10.0.0.{n}") })).collect();
        let endpoints = json!({ "subsets": [{ "addresses": addresses, "ports": [{ "port": 80 }] }] });
        assert_eq!(
            row("endpoints", &endpoints)[1],
            "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
        );
        assert_eq!(row("endpoints", &json!({}))[1], NONE);
    }

    #[test]
    fn a_node_shows_roles_readiness_and_cordon() {
        let node = json!({ "metadata": { "name": "n", "labels": { "node-role.kubernetes.io/edge": "" } },
            "spec": { "unschedulable": true }, "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        assert_eq!(row("nodes", &node)[1..3], ["Ready,SchedulingDisabled", "edge"]);
    }
}
