//! Records events for `kubectl describe`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::api::{Api, Caller, WriteOptions};
use crate::object::{ObjectExt, now};

/// How many recent events are remembered, so that repetitions increase a count instead of creating new events.
const REMEMBERED: usize = 4096;

type Remembered = HashMap<(String, String, String), (String, String)>;

/// Records events of one component.
#[derive(Debug)]
pub(crate) struct Recorder {
    api: Arc<Api>,
    caller: Caller,
    component: &'static str,
    host: Option<String>,
    // uid, reason and message → namespace and name of the event
    recent: Mutex<Remembered>,
    // nanoseconds since 1970
    last: Mutex<i64>,
}

impl Recorder {
    pub(crate) fn new(api: Arc<Api>, component: &'static str) -> Self {
        Self {
            api,
            caller: Caller::controller(component),
            component,
            host: None,
            recent: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// The recorder of a node's agent.
    pub(crate) fn of_node(api: Arc<Api>, node: &str) -> Self {
        Self {
            api,
            caller: Caller::node(node),
            component: "kubelet",
            host: Some(node.to_owned()),
            recent: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Records an event of type `Normal`.
    pub(crate) async fn normal(&self, about: &Value, reason: &str, message: impl Into<String>) {
        self.record(about, "Normal", reason, message.into(), None).await;
    }

    /// Records an event of type `Warning`.
    pub(crate) async fn warning(&self, about: &Value, reason: &str, message: impl Into<String>) {
        self.record(about, "Warning", reason, message.into(), None).await;
    }

    /// Records something about a container of a pod.
    pub(crate) async fn container(
        &self,
        pod: &Value,
        field: &str,
        kind: &str,
        reason: &str,
        message: String,
    ) {
        self.record(pod, kind, reason, message, Some(field)).await;
    }

    fn stamp(&self) -> i64 {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let mut last = self.last.lock();
        *last = now.max(*last + 1);
        *last
    }

    async fn record(&self, about: &Value, kind: &str, reason: &str, message: String, field: Option<&str>) {
        let key = (
            format!("{}{}", about.uid(), field.unwrap_or_default()),
            reason.to_owned(),
            message.clone(),
        );
        let known = self.recent.lock().get(&key).cloned();
        if let Some((namespace, name)) = known {
            let counted = self
                .api
                .modify(&self.caller, "events", &namespace, &name, "", |event| {
                    let count = event.int_at(&["count"]).unwrap_or(1);
                    event["count"] = (count + 1).into();
                    event["lastTimestamp"] = now().into();
                    Ok(())
                })
                .await;
            if counted.is_ok() {
                return;
            }
        }
        let namespace = match about.namespace() {
            "" => "default",
            namespace => namespace,
        };
        let mut involved = json!({
            "kind": about.kind(), "name": about.name(), "uid": about.uid(), "apiVersion": about.api_version(),
            "resourceVersion": about.str_at(&["metadata", "resourceVersion"]),
        });
        if !about.namespace().is_empty() {
            involved["namespace"] = about.namespace().into();
        }
        if let Some(field) = field {
            involved["fieldPath"] = field.into();
        }
        let mut source = json!({ "component": self.component });
        if let Some(host) = &self.host {
            source["host"] = host.as_str().into();
        }
        // Increasing, so that events of the same second are listed in order.
        let name = format!("{}.{:x}", about.name(), self.stamp());
        let at = now();
        let event = json!({
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": involved, "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": at, "lastTimestamp": at, "eventTime": null,
            "source": source, "reportingComponent": self.component,
            "reportingInstance": self.host.as_deref().unwrap_or_default(),
        });
        let options = WriteOptions::default();
        match self
            .api
            .create(&self.caller, "events", namespace, event, &options)
            .await
        {
            Ok(_) => {
                let mut recent = self.recent.lock();
                if recent.len() >= REMEMBERED {
                    recent.clear();
                }
                recent.insert(key, (namespace.to_owned(), name));
            }
            // Events are best effort; a terminating namespace rejects them.
            Err(status) => tracing::debug!(%status, reason, "event not recorded"),
        }
    }
}
