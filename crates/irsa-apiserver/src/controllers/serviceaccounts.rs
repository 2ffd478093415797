//! Every namespace has a service account `default` and the ConfigMap `kube-root-ca.crt`.

use std::time::Duration;

use serde_json::{Value, json};

use super::context::Context;
use super::queue::{Controller, Key};
use crate::api::WriteOptions;
use crate::object::{Object, ObjectExt};
use crate::status::Result;
use crate::store::Event;

const ACCOUNTS: &str = "serviceaccounts";
const MAPS: &str = "configmaps";
/// Name of the ConfigMap that carries the API's CA.
const ROOT_CA: &str = "kube-root-ca.crt";
/// As a real cluster describes it.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

pub(crate) struct ServiceAccounts {
    context: Context,
    ca_pem: String,
}

/// What a namespace lacks.
#[derive(Debug)]
enum Step {
    Create(&'static str, Value),
    /// The data of the ConfigMap was changed: set it again.
    Restore(Value),
}

fn plan(account: Option<&Value>, map: Option<&Value>, ca_pem: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if account.is_none() {
        steps.push(Step::Create(
            ACCOUNTS,
            json!({ "metadata": { "name": "default" } }),
        ));
    }
    let data = json!({ "ca.crt": ca_pem });
    match map {
        None => {
            let annotations = json!({ "kubernetes.io/description": DESCRIPTION });
            let metadata = json!({ "name": ROOT_CA, "annotations": annotations });
            steps.push(Step::Create(MAPS, json!({ "metadata": metadata, "data": data })));
        }
        Some(map) if map.get("data") != Some(&data) => steps.push(Step::Restore(data)),
        Some(_) => {}
    }
    steps
}

impl ServiceAccounts {
    pub(crate) fn new(context: Context, ca_pem: &str) -> Self {
        Self {
            context,
            ca_pem: ca_pem.to_owned(),
        }
    }

    /// Makes what a namespace lacks.
    pub(crate) async fn ensure(&self, namespace: &str) -> Result<()> {
        let Context { api, me, .. } = &self.context;
        let account = api.store().get(ACCOUNTS, namespace, "default");
        let map = api.store().get(MAPS, namespace, ROOT_CA);
        let value = |object: &Option<Object>| object.as_ref().map(|object| object.value().clone());
        for step in plan(value(&account).as_ref(), value(&map).as_ref(), &self.ca_pem) {
            let result = match (step, &map) {
                (Step::Create(resource, object), _) => {
                    let options = WriteOptions::default();
                    let made = api.create(me, resource, namespace, object, &options).await;
                    made.map(|_| ())
                }
                (Step::Restore(data), Some(map)) => {
                    let restore = |map: &mut Value| {
                        map["data"] = data.clone();
                        Ok(())
                    };
                    self.context.modify(MAPS, map, "", restore).await.map(|_| ())
                }
                (Step::Restore(_), None) => Ok(()),
            };
            match result {
                // Somebody was faster, or the namespace began to go.
                Err(status) if matches!(status.code, 403 | 404 | 409) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

impl Controller for ServiceAccounts {
    const RESOURCE: &'static str = "namespaces";
    const FOLLOWS: &'static [&'static str] = &[ACCOUNTS, MAPS];

    fn context(&self) -> &Context {
        &self.context
    }

    fn concerned(&self, resource: &str, event: &Event) -> Vec<Key> {
        let object = &event.object;
        let name = if resource == MAPS { ROOT_CA } else { "default" };
        if object.name() == name {
            vec![(String::new(), object.namespace().to_owned())]
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, namespace: Object) -> Result<Option<Duration>> {
        self.ensure(namespace.name()).await.map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_gets_what_it_lacks_and_a_changed_authority_is_restored() {
        let kinds = |account: Option<&Value>, map: Option<&Value>| -> Vec<String> {
            let name = |step| match step {
                Step::Create(resource, object) => format!("create {resource}/{}", object.name()),
                Step::Restore(data) => format!("restore {}", data.str_at(&["ca.crt"])),
            };
            plan(account, map, "CA").into_iter().map(name).collect()
        };
        let (account, map) = (json!({}), json!({ "data": { "ca.crt": "CA" } }));
        assert_eq!(
            kinds(None, None),
            [
                "create serviceaccounts/default",
                "create configmaps/kube-root-ca.crt"
            ]
        );
        assert_eq!(kinds(Some(&account), Some(&map)), [""; 0]);
        let changed = json!({ "data": { "ca.crt": "other" } });
        assert_eq!(kinds(Some(&account), Some(&changed)), ["restore CA"]);
    }
}
