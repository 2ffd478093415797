//! The watches that fill the directory. Service accounts and namespaces are watched as metadata only, and of the
//! metadata only name and annotations are read, so that a list of a hundred thousand costs neither time nor memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use irsa_core::annotations;
use irsa_core::identity::{CONFIG_MAP_KEY, CONFIG_MAP_NAME, ConfigMap, Known};
use irsa_net::Condition;
use k8s_openapi::api::core::v1;
use kube::api::ObjectMeta;
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};

use super::Directory;
use super::follow::{Event, Follow};
use crate::metrics::{Metrics, Watch};

/// An object of which only name, namespace, resource version and annotations are read, and only they are asked for.
#[derive(Clone, Debug)]
pub struct Slim<K> {
    metadata: ObjectMeta,
    kind: PhantomData<K>,
}

/// A service account as [`Slim`].
pub type SlimServiceAccount = Slim<v1::ServiceAccount>;

impl<K> Slim<K> {
    /// The annotations, as pairs.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata
            .annotations
            .iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Namespace (empty for an object without one) and name.
    fn key(&self) -> (&str, &str) {
        (
            self.metadata.namespace.as_deref().unwrap_or_default(),
            self.metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

impl<'de, K> Deserialize<'de> for Slim<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            metadata: Metadata,
        }

        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            name: Option<String>,
            namespace: Option<String>,
            resource_version: Option<String>,
            annotations: Option<BTreeMap<String, String>>,
        }

        let Metadata {
            name,
            namespace,
            resource_version,
            annotations,
        } = Object::deserialize(deserializer)?.metadata;
        let metadata = ObjectMeta {
            name,
            namespace,
            resource_version,
            annotations,
            ..ObjectMeta::default()
        };
        Ok(Self {
            metadata,
            kind: PhantomData,
        })
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Slim<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Watches the service accounts of all namespaces.
pub async fn service_accounts(
    client: Client,
    directory: Arc<Directory>,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    let api: Api<SlimServiceAccount> = Api::all(client);
    let mut relist = None;
    let counted = {
        let (directory, metrics) = (Arc::clone(&directory), Arc::clone(&metrics));
        move || {
            let (annotated, plain) = directory.counts();
            metrics.cache_entries("service_accounts_annotated", annotated);
            metrics.cache_entries("service_accounts_plain", plain);
        }
    };
    let seen = Arc::clone(&metrics);
    let follow = Follow {
        api,
        fields: String::new(),
        which: Watch::ServiceAccounts,
        condition: Some(condition),
        metrics,
    };
    follow
        .run(|event| match event {
            Event::Begin => relist = Some(directory.relist()),
            Event::Listed(account) => {
                let (namespace, name) = account.key();
                let found = directory.read(account.annotations());
                directory.list_item(
                    relist.get_or_insert_with(|| directory.relist()),
                    namespace,
                    name,
                    found,
                );
            }
            Event::Complete => {
                if let Some(relist) = relist.take() {
                    directory.list_done(relist);
                }
                let (annotated, plain) = directory.counts();
                if annotated + plain > 0 {
                    seen.service_account_seen();
                }
                counted();
            }
            Event::Applied(account) => {
                let (namespace, name) = account.key();
                let found = directory.read(account.annotations());
                if let Known::Annotated(read) = &found {
                    for warning in read.warnings() {
                        tracing::warn!(namespace, service_account = name, "{warning}");
                    }
                }
                directory.apply(namespace, name, found);
                seen.service_account_seen();
                counted();
            }
            Event::Deleted(account) => {
                let (namespace, name) = account.key();
                directory.remove(namespace, name);
                counted();
            }
            Event::Up => directory.set_live(true),
            Event::Down(_) => directory.set_live(false),
        })
        .await;
}

/// Watches namespaces for their default.
pub async fn namespaces(
    client: Client,
    directory: Arc<Directory>,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    let api: Api<Slim<v1::Namespace>> = Api::all(client);
    let prefix = directory.settings().annotation_prefix.clone();
    let read = move |namespace: &Slim<v1::Namespace>| {
        let read = annotations::namespace(&prefix, namespace.annotations());
        for warning in &read.warnings {
            tracing::warn!(namespace = namespace.key().1, "{warning}");
        }
        read.endpoint
    };
    let mut relist = HashMap::new();
    let counts = Arc::clone(&metrics);
    let follow = Follow {
        api,
        fields: String::new(),
        which: Watch::Namespaces,
        condition: Some(condition),
        metrics,
    };
    follow
        .run(|event| {
            match event {
                Event::Begin => relist.clear(),
                Event::Listed(namespace) => {
                    if let Some(endpoint) = read(&namespace) {
                        relist.insert(namespace.key().1.into(), endpoint);
                    }
                }
                Event::Complete => directory.set_namespaces(std::mem::take(&mut relist)),
                Event::Applied(namespace) => directory.set_namespace(namespace.key().1, read(&namespace)),
                Event::Deleted(namespace) => directory.set_namespace(namespace.key().1, None),
                Event::Up | Event::Down(_) => return,
            }
            counts.cache_entries("namespace_defaults", directory.namespaces());
        })
        .await;
}

/// Watches the `pod-identity-webhook` ConfigMap in `namespace`. Content that is not a JSON object leaves the last good
/// content in use. A ConfigMap that is deleted, or whose key is missing or empty, has no entries, except in
/// compatibility mode: there, as in the Go webhook, only a text under the key changes anything.
pub async fn config_map(
    client: Client,
    namespace: String,
    directory: Arc<Directory>,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    let counts = Arc::clone(&metrics);
    let follow = Follow {
        api: Api::<v1::ConfigMap>::namespaced(client, &namespace),
        fields: format!("metadata.name={CONFIG_MAP_NAME}"),
        which: Watch::ConfigMap,
        condition: Some(condition),
        metrics,
    };
    let mut listed = None;
    follow
        .run(|event| {
            match event {
                Event::Begin => listed = None,
                Event::Listed(object) if is_ours(&object) => listed = Some(object),
                Event::Complete => set_config_map(&directory, listed.take(), &counts),
                Event::Applied(object) if is_ours(&object) => {
                    set_config_map(&directory, Some(object), &counts);
                }
                Event::Deleted(object) if is_ours(&object) => set_config_map(&directory, None, &counts),
                Event::Listed(_) | Event::Applied(_) | Event::Deleted(_) | Event::Up | Event::Down(_) => {
                    return;
                }
            }
            let entries = directory
                .config_map()
                .as_ref()
                .as_ref()
                .map_or(0, |config_map| config_map.entries().count());
            counts.cache_entries("config_map", entries);
        })
        .await;
}

/// Takes over what the ConfigMap says now; `None` when it does not exist.
fn set_config_map(directory: &Directory, object: Option<v1::ConfigMap>, metrics: &Metrics) {
    let text = object
        .and_then(|object| object.data)
        .and_then(|mut data| data.remove(CONFIG_MAP_KEY))
        .unwrap_or_default();
    if text.trim().is_empty() {
        if !directory.settings().compat.is_upstream() {
            directory.set_config_map(None);
        }
        return;
    }
    match ConfigMap::parse(&text, directory.settings()) {
        Ok(config_map) => {
            for warning in config_map.warnings() {
                tracing::warn!("{warning}");
            }
            directory.set_config_map(Some(config_map));
        }
        Err(error) => {
            metrics.watch_error(Watch::ConfigMap);
            tracing::warn!(%error, "the ConfigMap cannot be read; its last good content stays in use");
        }
    }
}

/// A server that ignores the field selector must not make us read somebody else's ConfigMap.
fn is_ours(object: &v1::ConfigMap) -> bool {
    object.metadata.name.as_deref() == Some(CONFIG_MAP_NAME)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use irsa_core::settings::Settings;

    use super::*;

    #[test]
    fn of_an_object_only_name_and_annotations_are_read() {
        let account: SlimServiceAccount = serde_json::from_str(
            r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x","namespace":"a",
            "resourceVersion":"7","annotations":{"k":"v"},"managedFields":[{"manager":"kubectl"}],"labels":{"l":"m"}}}"#,
        )
        .unwrap();
        assert_eq!(account.key(), ("a", "x"));
        assert_eq!(account.annotations().collect::<Vec<_>>(), [("k", "v")]);
        assert!(account.metadata.managed_fields.is_none() && account.metadata.labels.is_none());
        assert_eq!(account.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn a_config_map_without_its_key_clears_except_in_compatibility_mode() {
        let entry = |data: &str| -> v1::ConfigMap {
            serde_json::from_str(&format!(
                r#"{{"metadata": {{"name": "pod-identity-webhook"}}, "data": {data}}}"#
            ))
            .unwrap()
        };
        let full = entry(r#"{"config": "{\"a/x\": {\"RoleARN\": \"arn:aws:iam::111122223333:role/app\"}}"}"#);
        for (settings, kept) in [
            (Settings::default(), false),
            (Settings::default().upstream(), true),
        ] {
            let directory = Directory::new(Arc::new(settings));
            let metrics = Metrics::new();
            for empty in [
                Some(entry("{}")),
                Some(entry(r#"{"config": ""}"#)),
                Some(entry("null")),
                None,
            ] {
                set_config_map(&directory, Some(full.clone()), &metrics);
                assert!(directory.config_map().is_some());
                set_config_map(&directory, empty, &metrics);
                assert_eq!(directory.config_map().is_some(), kept);
            }
            set_config_map(&directory, Some(full.clone()), &metrics);
            set_config_map(&directory, Some(entry(r#"{"config": "{"}"#)), &metrics);
            assert!(directory.config_map().is_some(), "the last good content stays");
        }
    }
}
