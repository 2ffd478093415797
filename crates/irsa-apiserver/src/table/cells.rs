//! Columns and cells of the built-in kinds that are no workloads.

use serde_json::{Value, json};

use super::{Cells, Column, workloads};
use crate::object::ObjectExt;

pub(super) const UNSET: &str = "<none>";

/// Columns as `Name|Ready|Status|+IP`, where `+` marks those of `-o wide`; `#` numbers.
pub(super) fn columns(text: &str) -> Vec<Column> {
    text.split('|')
        .map(|name| {
            let (wide, name) = name.strip_prefix('+').map_or((false, name), |name| (true, name));
            let (kind, name) = name
                .strip_prefix('#')
                .map_or(("string", name), |name| ("integer", name));
            (name.to_owned(), kind, wide)
        })
        .collect()
}

/// Columns and cells of a built-in resource.
pub(super) fn table(storage: &str) -> (Vec<Column>, Cells) {
    let (text, cells): (&str, fn(&Value) -> Vec<Value>) = match storage {
        "pods" => (
            "Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates",
            workloads::pod,
        ),
        "deployments.apps" => (
            "Name|Ready|#Up-to-date|#Available|Age|+Containers|+Images|+Selector",
            workloads::deployment,
        ),
        "daemonsets.apps" => (
            "Name|#Desired|#Current|#Ready|#Up-to-date|#Available|Node Selector|Age|+Containers|+Images|+Selector",
            workloads::daemon_set,
        ),
        "replicasets.apps" | "replicationcontrollers" => (
            "Name|#Desired|#Current|#Ready|Age|+Containers|+Images|+Selector",
            workloads::replica_set,
        ),
        "statefulsets.apps" => ("Name|Ready|Age|+Containers|+Images", workloads::stateful_set),
        "jobs.batch" => (
            "Name|Status|Completions|Duration|Age|+Containers|+Images|+Selector",
            workloads::job,
        ),
        "cronjobs.batch" => (
            "Name|Schedule|Timezone|Suspend|#Active|Last Schedule|Age|+Containers|+Images|+Selector",
            workloads::cron_job,
        ),
        "controllerrevisions.apps" => ("Name|Controller|#Revision|Age", |object| {
            let owner = object.controller().map_or(UNSET.into(), |owner| {
                let group = owner
                    .api_version()
                    .split_once('/')
                    .map_or(String::new(), |(group, _)| format!(".{group}"));
                format!(
                    "{}{group}/{}",
                    owner.kind().to_lowercase(),
                    owner.str_at(&["name"])
                )
            });
            vec![
                name(object),
                owner.into(),
                object.int_at(&["revision"]).unwrap_or_default().into(),
                age(object),
            ]
        }),
        "horizontalpodautoscalers.autoscaling" => (
            "Name|Reference|Targets|MinPods|MaxPods|#Replicas|Age",
            workloads::autoscaler,
        ),
        "services" => ("Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector", service),
        "endpoints" => ("Name|Endpoints|Age", endpoints),
        "endpointslices.discovery.k8s.io" => ("Name|AddressType|Ports|Endpoints|Age", endpoint_slice),
        "nodes" => (
            "Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime",
            node,
        ),
        "namespaces" => ("Name|Status|Age", |object| {
            vec![
                name(object),
                object.str_at(&["status", "phase"]).into(),
                age(object),
            ]
        }),
        "serviceaccounts" => ("Name|#Secrets|Age", |object| {
            vec![
                name(object),
                object.list_at(&["secrets"]).len().into(),
                age(object),
            ]
        }),
        "configmaps" => ("Name|#Data|Age", |object| {
            let count = |key: &str| object.map_at(&[key]).map_or(0, serde_json::Map::len);
            vec![
                name(object),
                (count("data") + count("binaryData")).into(),
                age(object),
            ]
        }),
        "secrets" => ("Name|Type|#Data|Age", |object| {
            let count = object.map_at(&["data"]).map_or(0, serde_json::Map::len);
            vec![
                name(object),
                object.str_at(&["type"]).into(),
                count.into(),
                age(object),
            ]
        }),
        "events" => (
            "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+#Count|+Name",
            event,
        ),
        "leases.coordination.k8s.io" => ("Name|Holder|Age", |object| {
            vec![
                name(object),
                object.str_at(&["spec", "holderIdentity"]).into(),
                age(object),
            ]
        }),
        "poddisruptionbudgets.policy" => (
            "Name|Min Available|Max Unavailable|#Allowed Disruptions|Age",
            |object| {
                let bound = |key: &str| match object.at(&["spec", key]) {
                    None | Some(Value::Null) => Value::from("N/A"),
                    Some(Value::String(text)) => text.as_str().into(),
                    Some(number) => number.to_string().into(),
                };
                let allowed = object
                    .int_at(&["status", "disruptionsAllowed"])
                    .unwrap_or_default();
                vec![
                    name(object),
                    bound("minAvailable"),
                    bound("maxUnavailable"),
                    allowed.into(),
                    age(object),
                ]
            },
        ),
        "priorityclasses.scheduling.k8s.io" => {
            ("Name|#Value|Global-Default|Age|PreemptionPolicy", |object| {
                vec![
                    name(object),
                    object.int_at(&["value"]).unwrap_or_default().into(),
                    (object.get("globalDefault") == Some(&Value::Bool(true))).into(),
                    age(object),
                    object.str_at(&["preemptionPolicy"]).into(),
                ]
            })
        }
        "roles.rbac.authorization.k8s.io"
        | "clusterroles.rbac.authorization.k8s.io"
        | "customresourcedefinitions.apiextensions.k8s.io" => ("Name|Created At", |object| {
            vec![
                name(object),
                object.str_at(&["metadata", "creationTimestamp"]).into(),
            ]
        }),
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            ("Name|Role|Age|+Users|+Groups|+ServiceAccounts", role_binding)
        }
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => {
            ("Name|#Webhooks|Age", |object| {
                vec![
                    name(object),
                    object.list_at(&["webhooks"]).len().into(),
                    age(object),
                ]
            })
        }
        "networkpolicies.networking.k8s.io" => ("Name|Pod-Selector|Age", |object| {
            vec![
                name(object),
                selector(object.at(&["spec", "podSelector"])).into(),
                age(object),
            ]
        }),
        "ingresses.networking.k8s.io" => ("Name|Class|Hosts|Address|Ports|Age", ingress),
        "ingressclasses.networking.k8s.io" => ("Name|Controller|Parameters|Age", |object| {
            let parameters = object.at(&["spec", "parameters"]).map_or(UNSET.into(), |one| {
                let group = one.str_at(&["apiGroup"]);
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", one.kind(), one.str_at(&["name"]))
            });
            vec![
                name(object),
                object.str_at(&["spec", "controller"]).into(),
                parameters.into(),
                age(object),
            ]
        }),
        "storageclasses.storage.k8s.io" => (
            "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
            |object| {
                let default =
                    object.annotation("storageclass.kubernetes.io/is-default-class") == Some("true");
                let shown = if default {
                    format!("{} (default)", object.name())
                } else {
                    object.name().to_owned()
                };
                let text = |key: &str, otherwise: &str| match object.str_at(&[key]) {
                    "" => Value::from(otherwise),
                    text => text.into(),
                };
                vec![
                    shown.into(),
                    object.str_at(&["provisioner"]).into(),
                    text("reclaimPolicy", "Delete"),
                    text("volumeBindingMode", "Immediate"),
                    (object.get("allowVolumeExpansion") == Some(&Value::Bool(true))).into(),
                    age(object),
                ]
            },
        ),
        "persistentvolumeclaims" => (
            "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|+VolumeMode",
            |object| {
                vec![
                    name(object),
                    object.str_at(&["status", "phase"]).into(),
                    object.str_at(&["spec", "volumeName"]).into(),
                    object.str_at(&["status", "capacity", "storage"]).into(),
                    access_modes(object.list_at(&["status", "accessModes"])).into(),
                    object.str_at(&["spec", "storageClassName"]).into(),
                    "<unset>".into(),
                    age(object),
                    object.str_at(&["spec", "volumeMode"]).into(),
                ]
            },
        ),
        _ => ("Name|Age", |object| vec![name(object), age(object)]),
    };
    (columns(text), Box::new(cells))
}

pub(super) fn name(object: &Value) -> Value {
    object.name().into()
}

pub(super) fn age(object: &Value) -> Value {
    age_of(object.str_at(&["metadata", "creationTimestamp"])).into()
}

/// How long ago an instant was, as kubectl says it.
pub(crate) fn age_of(timestamp: &str) -> String {
    match timestamp.parse::<jiff::Timestamp>() {
        Ok(then) => duration((jiff::Timestamp::now() - then).get_seconds_total()),
        Err(_) if timestamp.is_empty() => "<unknown>".into(),
        Err(_) => "<invalid>".into(),
    }
}

trait SecondsTotal {
    fn get_seconds_total(&self) -> i64;
}

impl SecondsTotal for jiff::Span {
    fn get_seconds_total(&self) -> i64 {
        // A difference of timestamps has no unit above seconds.
        self.get_seconds()
    }
}

/// Seconds as `5s`, `2m10s`, `3h`, `4d`: two units at most, fewer the longer it is.
pub(super) fn duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 365 * 8 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

/// A selector as kubectl shows it.
pub(super) fn selector(selector: Option<&Value>) -> String {
    match crate::selectors::LabelSelector::from_object(selector) {
        Ok(parsed) => match parsed.to_string() {
            text if text.is_empty() => UNSET.into(),
            text => text,
        },
        Err(_) => "<error>".into(),
    }
}

fn access_modes(modes: &[Value]) -> String {
    let short = modes.iter().filter_map(Value::as_str).map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    short.collect::<Vec<_>>().join(",")
}

fn joined(values: impl Iterator<Item = String>, empty: &str) -> String {
    let all: Vec<String> = values.collect();
    if all.is_empty() {
        empty.to_owned()
    } else {
        all.join(",")
    }
}

fn service(object: &Value) -> Vec<Value> {
    let kind = object.str_at(&["spec", "type"]);
    let ports = object.list_at(&["spec", "ports"]).iter().map(|port| {
        let number = port.int_at(&["port"]).unwrap_or_default();
        let protocol = match port.str_at(&["protocol"]) {
            "" => "TCP",
            protocol => protocol,
        };
        match port.int_at(&["nodePort"]) {
            Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    });
    let external: Vec<String> = object
        .list_at(&["spec", "externalIPs"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let external = match kind {
        "ExternalName" => object.str_at(&["spec", "externalName"]).to_owned(),
        "LoadBalancer" => {
            let ingress = object
                .list_at(&["status", "loadBalancer", "ingress"])
                .iter()
                .map(|one| match one.str_at(&["ip"]) {
                    "" => one.str_at(&["hostname"]).to_owned(),
                    ip => ip.to_owned(),
                });
            joined(ingress.chain(external), "<pending>")
        }
        _ => joined(external.into_iter(), UNSET),
    };
    let address = match object.str_at(&["spec", "clusterIP"]) {
        "" => UNSET,
        address => address,
    };
    vec![
        name(object),
        kind.into(),
        address.into(),
        external.into(),
        joined(ports, UNSET).into(),
        age(object),
        selector(object.at(&["spec", "selector"]).or(Some(&json!({})))).into(),
    ]
}

fn endpoints(object: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in object.list_at(&["subsets"]) {
        let ports = subset.list_at(&["ports"]);
        for address in subset.list_at(&["addresses"]) {
            let ip = address.str_at(&["ip"]);
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(
                ports
                    .iter()
                    .map(|port| format!("{ip}:{}", port.int_at(&["port"]).unwrap_or_default())),
            );
        }
    }
    vec![name(object), first_of(&all, 3, UNSET).into(), age(object)]
}

/// The first few, and how many more there are.
fn first_of(all: &[String], shown: usize, empty: &str) -> String {
    if all.is_empty() {
        return empty.to_owned();
    }
    let more = all.len().saturating_sub(shown);
    let text = all.iter().take(shown).cloned().collect::<Vec<_>>().join(",");
    if more > 0 {
        format!("{text} + {more} more...")
    } else {
        text
    }
}

fn endpoint_slice(object: &Value) -> Vec<Value> {
    let ports: Vec<String> = object
        .list_at(&["ports"])
        .iter()
        .map(|port| {
            port.int_at(&["port"])
                .map_or("*".to_owned(), |port| port.to_string())
        })
        .collect();
    let addresses: Vec<String> = object
        .list_at(&["endpoints"])
        .iter()
        .flat_map(|endpoint| endpoint.list_at(&["addresses"]))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    vec![
        name(object),
        object.str_at(&["addressType"]).into(),
        first_of(&ports, 3, "<unset>").into(),
        first_of(&addresses, 3, "<unset>").into(),
        age(object),
    ]
}

fn node(object: &Value) -> Vec<Value> {
    let ready = object
        .list_at(&["status", "conditions"])
        .iter()
        .find(|one| one.str_at(&["type"]) == "Ready");
    let mut status = match ready.map(|one| one.str_at(&["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".into(),
        None => "Unknown".into(),
    };
    if object.at(&["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let roles = object.labels().into_iter().flatten().filter_map(|(key, value)| {
        match (key.strip_prefix("node-role.kubernetes.io/"), key.as_str()) {
            (Some(role), _) if !role.is_empty() => Some(role.to_owned()),
            (_, "kubernetes.io/role") => value.as_str().map(str::to_owned),
            _ => None,
        }
    });
    let address = |kind: &str| {
        object
            .list_at(&["status", "addresses"])
            .iter()
            .find(|one| one.str_at(&["type"]) == kind)
            .map_or(UNSET, |one| one.str_at(&["address"]))
            .to_owned()
    };
    let info = |key: &str| match object.str_at(&["status", "nodeInfo", key]) {
        "" => Value::from("<unknown>"),
        text => text.into(),
    };
    vec![
        name(object),
        status.into(),
        joined(roles, UNSET).into(),
        age(object),
        object.str_at(&["status", "nodeInfo", "kubeletVersion"]).into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn event(object: &Value) -> Vec<Value> {
    let first = |paths: &[&[&str]]| {
        paths
            .iter()
            .map(|path| object.str_at(path))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let seen = age_of(first(&[
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["eventTime"],
        &["firstTimestamp"],
    ]));
    let first_seen = age_of(first(&[&["firstTimestamp"], &["eventTime"]]));
    let involved = format!(
        "{}/{}",
        object.str_at(&["involvedObject", "kind"]).to_lowercase(),
        object.str_at(&["involvedObject", "name"])
    );
    let component = first(&[&["source", "component"], &["reportingComponent"]]);
    let source = match object.str_at(&["source", "host"]) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    vec![
        seen.into(),
        object.str_at(&["type"]).into(),
        object.str_at(&["reason"]).into(),
        involved.into(),
        object.str_at(&["involvedObject", "fieldPath"]).into(),
        source.into(),
        object.str_at(&["message"]).trim().into(),
        first_seen.into(),
        object
            .int_at(&["series", "count"])
            .or_else(|| object.int_at(&["count"]))
            .unwrap_or(1)
            .into(),
        name(object),
    ]
}

fn role_binding(object: &Value) -> Vec<Value> {
    let subjects = |kind: &str| {
        let found = object
            .list_at(&["subjects"])
            .iter()
            .filter(|one| one.kind() == kind)
            .map(|one| {
                let name = one.str_at(&["name"]);
                match one.str_at(&["namespace"]) {
                    "" => name.to_owned(),
                    namespace => format!("{namespace}/{name}"),
                }
            });
        Value::from(found.collect::<Vec<_>>().join(", "))
    };
    let role = format!(
        "{}/{}",
        object.str_at(&["roleRef", "kind"]),
        object.str_at(&["roleRef", "name"])
    );
    vec![
        name(object),
        role.into(),
        age(object),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn ingress(object: &Value) -> Vec<Value> {
    let hosts = object
        .list_at(&["spec", "rules"])
        .iter()
        .map(|rule| rule.str_at(&["host"]).to_owned())
        .filter(|host| !host.is_empty());
    let class = match object.str_at(&["spec", "ingressClassName"]) {
        "" => object.annotation("kubernetes.io/ingress.class").unwrap_or(UNSET),
        class => class,
    };
    let ports = if object.list_at(&["spec", "tls"]).is_empty() {
        "80"
    } else {
        "80, 443"
    };
    let addresses = object
        .list_at(&["status", "loadBalancer", "ingress"])
        .iter()
        .map(|one| match one.str_at(&["ip"]) {
            "" => one.str_at(&["hostname"]).to_owned(),
            ip => ip.to_owned(),
        });
    vec![
        name(object),
        class.into(),
        joined(hosts, "*").into(),
        joined(addresses, "").into(),
        ports.into(),
        age(object),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_kubectl_says_them() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (600, "10m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (864_000, "10d"),
            (86_400 * 800, "2y70d"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }
}
