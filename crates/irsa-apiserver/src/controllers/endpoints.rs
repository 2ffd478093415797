//! Endpoints and EndpointSlices of services with a selector.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::context::Context;
use super::hash;
use super::owned::controller_reference;
use super::queue::{Controller, Key, key_of};
use crate::api::WriteOptions;
use crate::object::{Object, ObjectExt};
use crate::pod::{is_ready, target_port};
use crate::selectors::LabelSelector;
use crate::services::backends;
use crate::status::Result;
use crate::store::Event;

const RESOURCE: &str = "services";
const SLICES: &str = "endpointslices.discovery.k8s.io";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(crate) struct Endpoints(pub(crate) Context);

fn even_unready(service: &Value) -> bool {
    service.at(&["spec", "publishNotReadyAddresses"]) == Some(&Value::Bool(true))
}

fn protocol(port: &Value) -> &str {
    match port.str_at(&["protocol"]) {
        "" => "TCP",
        protocol => protocol,
    }
}

fn reference(pod: &Object) -> Value {
    json!({ "kind": "Pod", "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid() })
}

/// The ports of a service as this pod serves them.
fn ports_of(service: &Value, pod: &Value) -> Vec<Value> {
    let port = |port: &Value| {
        let mut one = json!({ "port": target_port(pod, port)?, "protocol": protocol(port) });
        if !port.str_at(&["name"]).is_empty() {
            one["name"] = port.str_at(&["name"]).into();
        }
        Some(one)
    };
    service
        .list_at(&["spec", "ports"])
        .iter()
        .filter_map(port)
        .collect()
}

/// `subsets` of Endpoints: pods with the same numbers behind the service's ports make one.
fn subsets(service: &Value, pods: &[Object]) -> Vec<Value> {
    let mut groups: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.deletion_timestamp().is_none()) {
        let ports = Value::from(ports_of(service, pod.value()));
        let address = json!({
            "ip": pod.str_at(&["status", "podIP"]), "nodeName": pod.str_at(&["spec", "nodeName"]),
            "targetRef": reference(pod),
        });
        let serves = even_unready(service) || is_ready(pod.value());
        let list = if serves { "addresses" } else { "notReadyAddresses" };
        let group = groups.entry(ports.to_string()).or_default();
        if let Some(list) = group.entry(list).or_insert_with(|| json!([])).as_array_mut() {
            list.push(address);
        }
        if ports.as_array().is_some_and(|ports| !ports.is_empty()) {
            group.insert("ports".into(), ports);
        }
    }
    groups.into_values().map(Value::Object).collect()
}

fn endpoints(service: &Value, pods: &[Object]) -> Value {
    let labels = service.labels().cloned().unwrap_or_default();
    let mut endpoints = json!({ "metadata": { "name": service.name(), "labels": labels } });
    let subsets = subsets(service, pods);
    if !subsets.is_empty() {
        endpoints["subsets"] = subsets.into();
    }
    endpoints
}

fn slice(service: &Value, pods: &[Object]) -> Value {
    let nobody = json!({});
    let first = pods.first().map_or(&nobody, |pod| pod.value());
    let port = |port: &Value| json!({ "name": port.str_at(&["name"]), "port": target_port(first, port), "protocol": protocol(port) });
    let endpoint = |pod: &Object| {
        let going = pod.deletion_timestamp().is_some();
        let serving = is_ready(pod.value());
        let ready = even_unready(service) || (serving && !going);
        json!({
            "addresses": [pod.str_at(&["status", "podIP"])],
            "conditions": { "ready": ready, "serving": serving, "terminating": going },
            "nodeName": pod.str_at(&["spec", "nodeName"]), "targetRef": reference(pod),
        })
    };
    let mut labels = service.labels().cloned().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), "endpointslice-controller.k8s.io".into());
    labels.insert(SERVICE_NAME.into(), service.name().into());
    let mut suffix = hash::short(&Value::from(service.uid()), 0);
    suffix.truncate(5);
    json!({
        "metadata": {
            "name": format!("{}-{suffix}", service.name()), "labels": labels,
            "ownerReferences": [controller_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": service.list_at(&["spec", "ports"]).iter().map(port).collect::<Vec<_>>(),
    })
}

impl Endpoints {
    /// Creates an object, or brings these fields of the present one up to date.
    async fn write(&self, resource: &str, namespace: &str, object: Value, keys: &[&str]) -> Result<()> {
        let Context { api, me, .. } = &self.0;
        let Some(present) = api.store().get(resource, namespace, object.name()) else {
            let options = WriteOptions::default();
            return match api.create(me, resource, namespace, object, &options).await {
                // The namespace is going.
                Err(status) if matches!(status.code, 403 | 404) => Ok(()),
                made => made.map(|_| ()),
            };
        };
        let change = |current: &mut Value| {
            for key in keys {
                match (object.get(*key), current.as_object_mut()) {
                    (Some(value), _) => current[*key] = value.clone(),
                    (None, Some(current)) => {
                        current.shift_remove(*key);
                    }
                    (None, None) => {}
                }
            }
            Ok(())
        };
        self.0.modify(resource, &present, "", change).await?;
        Ok(())
    }
}

impl Controller for Endpoints {
    const RESOURCE: &'static str = RESOURCE;
    const FOLLOWS: &'static [&'static str] = &["pods"];

    fn context(&self) -> &Context {
        &self.0
    }

    fn concerned(&self, _: &str, event: &Event) -> Vec<Key> {
        let pod = &event.object;
        let states = [Some(pod), event.previous.as_ref()];
        let selects = |service: &Value| {
            let labels = service.at(&["spec", "selector"]);
            labels.is_some_and(|labels| {
                LabelSelector::from_object(Some(&json!({ "matchLabels": labels })))
                    .is_ok_and(|selector| states.iter().flatten().any(|pod| selector.matches(pod.labels())))
            })
        };
        let services = self.0.store().find(RESOURCE, Some(pod.namespace()), selects);
        services.iter().map(key_of).collect()
    }

    async fn reconcile(&self, service: Object) -> Result<Option<Duration>> {
        let selects = service
            .map_at(&["spec", "selector"])
            .is_some_and(|map| !map.is_empty());
        if !selects {
            return Ok(None);
        }
        let pods = backends(self.0.store(), service.value());
        let namespace = service.namespace();
        let endpoints = endpoints(service.value(), &pods);
        self.write("endpoints", namespace, endpoints, &["subsets"])
            .await?;
        let slice = slice(service.value(), &pods);
        self.write(SLICES, namespace, slice, &["endpoints", "ports"])
            .await?;
        Ok(None)
    }

    async fn gone(&self, namespace: &str, name: &str) -> Result<()> {
        let store = self.0.store();
        if let Some(endpoints) = store.get("endpoints", namespace, name) {
            self.0.remove("endpoints", &endpoints).await?;
        }
        let of_service =
            |slice: &Value| slice.label(SERVICE_NAME) == Some(name) && slice.label(MANAGED_BY).is_some();
        for slice in store.find(SLICES, Some(namespace), of_service) {
            self.0.remove(SLICES, &slice).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing::object;
    use super::*;

    fn service(more: Value) -> Value {
        let mut service = json!({ "metadata": { "name": "web", "namespace": "n", "uid": "u" },
            "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": "web" }] } });
        for (key, value) in more.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        service
    }

    fn pod(ip: &str, ready: bool, port: u16) -> Object {
        let ready = if ready { "True" } else { "False" };
        object(json!({
            "metadata": { "name": ip, "namespace": "n", "uid": ip },
            "spec": { "nodeName": "node", "containers": [{ "ports": [{ "name": "web", "containerPort": port }] }] },
            "status": { "podIP": ip, "conditions": [{ "type": "Ready", "status": ready }] },
        }))
    }

    fn ips(subset: &Value, list: &str) -> Vec<String> {
        let all = subset.list_at(&[list]).iter();
        all.map(|address| address.str_at(&["ip"]).to_owned()).collect()
    }

    #[test]
    fn pods_with_the_same_ports_share_a_subset_and_unready_ones_are_apart() {
        let pods = [
            pod("10.0.0.1", true, 80),
            pod("10.0.0.2", false, 80),
            pod("10.0.0.3", true, 81),
        ];
        let subsets = subsets(&service(json!({})), &pods);
        assert_eq!(subsets.len(), 2);
        assert_eq!(ips(&subsets[0], "addresses"), ["10.0.0.1"]);
        assert_eq!(ips(&subsets[0], "notReadyAddresses"), ["10.0.0.2"]);
        assert_eq!(
            subsets[1]["ports"],
            json!([{ "port": 81, "protocol": "TCP", "name": "http" }])
        );
    }

    #[test]
    fn a_service_may_publish_pods_that_are_not_ready() {
        let service = service(json!({ "publishNotReadyAddresses": true }));
        let pods = [pod("10.0.0.1", false, 80)];
        assert_eq!(ips(&subsets(&service, &pods)[0], "addresses"), ["10.0.0.1"]);
        let slice = slice(&service, &pods);
        assert_eq!(
            slice["endpoints"][0]["conditions"],
            json!({ "ready": true, "serving": false, "terminating": false })
        );
    }

    #[test]
    fn a_service_without_pods_has_endpoints_without_subsets() {
        let service = service(json!({}));
        assert_eq!(endpoints(&service, &[]).get("subsets"), None);
        let slice = slice(&service, &[]);
        assert_eq!(
            (slice.label(SERVICE_NAME), &slice["ports"][0]["port"]),
            (Some("web"), &Value::Null)
        );
    }
}
