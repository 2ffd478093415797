//! Endpoints and EndpointSlices of services with a selector.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use super::hash;
use super::pods::controller_reference;
use super::queue::{Controller, Key};
use crate::api::{BoxFuture, WriteOptions};
use crate::object::{Object, ObjectExt};
use crate::pod::{is_ready, target_port};
use crate::selectors::LabelSelector;
use crate::services::backends;
use crate::status::Result;
use crate::store::Event;

const SLICES: &str = "endpointslices.discovery.k8s.io";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

pub(crate) struct Endpoints(pub(crate) Context);

/// Addresses that serve the same ports.
#[derive(Default)]
struct Group {
    ready: Vec<Value>,
    unready: Vec<Value>,
    ports: Vec<Value>,
}

fn subsets(service: &Value, pods: &[Object]) -> Value {
    let even_unready = service.at(&["spec", "publishNotReadyAddresses"]) == Some(&Value::Bool(true));
    // Pods with the same numbers behind the service's ports make one subset.
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.deletion_timestamp().is_none()) {
        let ports: Vec<Value> = service
            .list_at(&["spec", "ports"])
            .iter()
            .filter_map(|port| {
                let mut one = json!({ "port": target_port(pod.value(), port)?, "protocol": protocol(port) });
                if !port.str_at(&["name"]).is_empty() {
                    one["name"] = port.str_at(&["name"]).into();
                }
                Some(one)
            })
            .collect();
        let address = json!({
            "ip": pod.str_at(&["status", "podIP"]), "nodeName": pod.str_at(&["spec", "nodeName"]),
            "targetRef": { "kind": "Pod", "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid() },
        });
        let group = groups
            .entry(Value::from(ports.clone()).to_string())
            .or_insert_with(|| Group {
                ports,
                ..Group::default()
            });
        if even_unready || is_ready(pod.value()) {
            group.ready.push(address);
        } else {
            group.unready.push(address);
        }
    }
    let subsets: Vec<Value> = groups
        .into_values()
        .map(
            |Group {
                 ready,
                 unready,
                 ports,
             }| {
                let mut subset = json!({});
                for (key, list) in [
                    ("addresses", ready),
                    ("notReadyAddresses", unready),
                    ("ports", ports),
                ] {
                    if !list.is_empty() {
                        subset[key] = list.into();
                    }
                }
                subset
            },
        )
        .collect();
    subsets.into()
}

fn protocol(port: &Value) -> &str {
    match port.str_at(&["protocol"]) {
        "" => "TCP",
        protocol => protocol,
    }
}

fn slice_endpoints(service: &Value, pods: &[Object]) -> Value {
    let even_unready = service.at(&["spec", "publishNotReadyAddresses"]) == Some(&Value::Bool(true));
    pods.iter()
        .map(|pod| {
            let going = pod.deletion_timestamp().is_some();
            let serving = is_ready(pod.value());
            json!({
                "addresses": [pod.str_at(&["status", "podIP"])],
                "conditions": {
                    "ready": even_unready || (serving && !going), "serving": serving, "terminating": going,
                },
                "nodeName": pod.str_at(&["spec", "nodeName"]),
                "targetRef": { "kind": "Pod", "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid() },
            })
        })
        .collect()
}

impl Endpoints {
    async fn write(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        object: Value,
        keys: &[&str],
    ) -> Result<()> {
        let context = &self.0;
        if context.api.store().get(resource, namespace, name).is_none() {
            let options = WriteOptions::default();
            let made = context
                .api
                .create(&context.me, resource, namespace, object, &options)
                .await;
            return match made {
                Ok(_) => Ok(()),
                Err(status) if matches!(status.code, 403 | 404) => Ok(()),
                Err(status) => Err(status),
            };
        }
        context
            .api
            .modify(&context.me, resource, namespace, name, "", |current| {
                for key in keys {
                    match object.get(*key) {
                        Some(value) => current[*key] = value.clone(),
                        None => {
                            if let Some(map) = current.as_object_mut() {
                                map.shift_remove(*key);
                            }
                        }
                    }
                }
                Ok(())
            })
            .await?;
        Ok(())
    }

    async fn clean_up(&self, namespace: &str, service: &str) -> Result<()> {
        let context = &self.0;
        let options = crate::api::DeleteOptions::default();
        let mut doomed = vec![("endpoints", service.to_owned())];
        let slices = context.api.store().find(SLICES, Some(namespace), |slice| {
            slice.label("kubernetes.io/service-name") == Some(service) && slice.label(MANAGED_BY).is_some()
        });
        doomed.extend(slices.iter().map(|slice| (SLICES, slice.name().to_owned())));
        for (resource, name) in doomed {
            let gone = context
                .api
                .delete(&context.me, resource, namespace, &name, &options)
                .await;
            if let Err(status) = gone
                && status.code != 404
            {
                return Err(status);
            }
        }
        Ok(())
    }
}

impl Controller for Endpoints {
    fn follows(&self) -> &'static [&'static str] {
        &["services", "pods"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        if resource == "services" {
            add((object.namespace().to_owned(), object.name().to_owned()));
            return;
        }
        let states = [Some(&event.object), event.previous.as_ref()];
        for service in self
            .0
            .api
            .store()
            .find("services", Some(object.namespace()), |service| {
                service
                    .at(&["spec", "selector"])
                    .and_then(|selector| {
                        LabelSelector::from_object(Some(&json!({ "matchLabels": selector }))).ok()
                    })
                    .is_some_and(|selector| states.iter().flatten().any(|pod| selector.matches(pod.labels())))
            })
        {
            add((service.namespace().to_owned(), service.name().to_owned()));
        }
    }

    fn sync<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let store = self.0.api.store();
            let Some(service) = store.get("services", namespace, name) else {
                self.clean_up(namespace, name).await?;
                return Ok(None);
            };
            let selected = service
                .map_at(&["spec", "selector"])
                .is_some_and(|map| !map.is_empty());
            if !selected || service.deletion_timestamp().is_some() {
                return Ok(None);
            }
            let pods = backends(store, service.value());
            let labels = service.labels().cloned().unwrap_or_default();
            let mut endpoints = json!({
                "metadata": { "name": name, "labels": labels },
                "subsets": subsets(service.value(), &pods),
            });
            if endpoints["subsets"].as_array().is_some_and(Vec::is_empty)
                && let Some(map) = endpoints.as_object_mut()
            {
                map.shift_remove("subsets");
            }
            self.write("endpoints", namespace, name, endpoints, &["subsets"])
                .await?;
            let ports: Vec<Value> = service
                .list_at(&["spec", "ports"])
                .iter()
                .map(|port| {
                    let number = pods.first().map_or_else(
                        || target_port(&json!({}), port),
                        |pod| target_port(pod.value(), port),
                    );
                    json!({ "name": port.str_at(&["name"]), "port": number, "protocol": protocol(port) })
                })
                .collect();
            let mut labels = labels;
            labels.insert(MANAGED_BY.into(), "endpointslice-controller.k8s.io".into());
            labels.insert("kubernetes.io/service-name".into(), name.into());
            let mut suffix = hash::short(&Value::from(service.uid()), 0);
            suffix.truncate(5);
            let slice_name = format!("{name}-{suffix}");
            let slice = json!({
                "metadata": {
                    "name": slice_name, "labels": labels,
                    "ownerReferences": [controller_reference(service.value())],
                },
                "addressType": "IPv4",
                "endpoints": slice_endpoints(service.value(), &pods),
                "ports": ports,
            });
            self.write(SLICES, namespace, &slice_name, slice, &["endpoints", "ports"])
                .await?;
            Ok(None)
        })
    }
}
