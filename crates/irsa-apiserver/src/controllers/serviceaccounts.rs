//! Every namespace has a service account `default` and the ConfigMap `kube-root-ca.crt`.

use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use super::queue::{Controller, Key};
use crate::api::{BoxFuture, WriteOptions};
use crate::object::ObjectExt;
use crate::status::Result;
use crate::store::Event;

/// Name of the ConfigMap that carries the API's CA.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";

pub(crate) struct ServiceAccounts {
    context: Context,
    ca_pem: String,
}

impl ServiceAccounts {
    pub(crate) fn new(context: Context, ca_pem: &str) -> Self {
        Self {
            context,
            ca_pem: ca_pem.to_owned(),
        }
    }

    async fn ensure(&self, resource: &str, namespace: &str, object: Value) -> Result<()> {
        let api = &self.context.api;
        let options = WriteOptions::default();
        match api
            .create(&self.context.me, resource, namespace, object, &options)
            .await
        {
            Ok(_) => Ok(()),
            // Somebody was faster, or the namespace began to go.
            Err(status) if matches!(status.code, 403 | 404 | 409) => Ok(()),
            Err(status) => Err(status),
        }
    }
}

impl Controller for ServiceAccounts {
    fn follows(&self) -> &'static [&'static str] {
        &["namespaces", "serviceaccounts", "configmaps"]
    }

    fn concerns(&self, resource: &str, event: &Event, add: &mut dyn FnMut(Key)) {
        let object = event.object.value();
        match resource {
            "namespaces" => add((String::new(), object.name().to_owned())),
            "serviceaccounts" if object.name() == "default" => {
                add((String::new(), object.namespace().to_owned()));
            }
            "configmaps" if object.name() == ROOT_CA => add((String::new(), object.namespace().to_owned())),
            _ => {}
        }
    }

    fn sync<'a>(&'a self, _: &'a str, namespace: &'a str) -> BoxFuture<'a, Result<Option<Duration>>> {
        Box::pin(async move {
            let store = self.context.api.store();
            let Some(found) = store.get("namespaces", "", namespace) else {
                return Ok(None);
            };
            if found.deletion_timestamp().is_some() {
                return Ok(None);
            }
            if store.get("serviceaccounts", namespace, "default").is_none() {
                let account = json!({ "metadata": { "name": "default" } });
                self.ensure("serviceaccounts", namespace, account).await?;
            }
            let data = json!({ "ca.crt": self.ca_pem });
            match store.get("configmaps", namespace, ROOT_CA) {
                None => {
                    let map = json!({
                        "metadata": { "name": ROOT_CA, "annotations": {
                            "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
                        } },
                        "data": data,
                    });
                    self.ensure("configmaps", namespace, map).await?;
                }
                Some(map) if map.at(&["data"]) != Some(&data) => {
                    let me = &self.context.me;
                    self.context
                        .api
                        .modify(me, "configmaps", namespace, ROOT_CA, "", |map| {
                            map["data"] = data.clone();
                            Ok(())
                        })
                        .await?;
                }
                Some(_) => {}
            }
            Ok(None)
        })
    }
}
