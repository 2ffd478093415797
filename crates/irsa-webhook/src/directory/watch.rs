//! The watches that fill the directory. Service accounts and namespaces are watched as metadata only, and of the
//! metadata only name and annotations are read, so that a list of a hundred thousand costs neither time nor memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use irsa_core::annotations;
use irsa_core::identity::{CONFIG_MAP_KEY, CONFIG_MAP_NAME, ConfigMap};
use irsa_net::Condition;
use k8s_openapi::api::core::v1;
use kube::api::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};

use super::{Directory, Indexed};
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

/// Doubling waits between failures, with jitter so that replicas do not come back in step; from the start again after
/// half a minute without one. (The watcher calls its first step after each failure a success, hence not by `reset`.)
#[derive(Debug)]
pub(crate) struct Steps {
    failures: u32,
    last: Option<Instant>,
    random: RandomState,
}

impl Steps {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    pub(crate) fn new() -> Self {
        Self {
            failures: 0,
            last: None,
            random: RandomState::new(),
        }
    }
}

impl Iterator for Steps {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) > Duration::from_secs(30))
        {
            self.failures = 0;
        }
        self.last = Some(now);
        let base = Self::FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(Self::LONGEST);
        self.failures += 1;
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
        let jitter = self.random.hash_one(self.failures) as u32 % 512;
        Some(base + base * jitter / 1024)
    }
}

impl Backoff for Steps {
    fn reset(&mut self) {}
}

/// Runs one watch for ever, giving its events to `on_event` and its state to readiness and metrics.
async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    which: Watch,
    condition: Condition,
    metrics: Arc<Metrics>,
    mut on_event: impl FnMut(Event<K>),
) where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + Debug + Send + 'static,
{
    let mut events = std::pin::pin!(watcher(api, config).backoff(Steps::new()));
    let mut listed = 0_usize;
    let mut synced = false;
    let mut failing = false;
    metrics.watch_synced(which, false);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if !matches!(event, Event::Init) {
                    metrics.watch_event(which);
                    if std::mem::take(&mut failing) {
                        tracing::info!(watch = which.as_str(), "the watch works again");
                    }
                }
                match &event {
                    Event::Init => listed = 0,
                    Event::InitApply(_) => listed += 1,
                    _ => {}
                }
                let done = matches!(event, Event::InitDone);
                on_event(event);
                if done {
                    metrics.watch_synced(which, true);
                    condition.met();
                    if !std::mem::replace(&mut synced, true) {
                        tracing::info!(watch = which.as_str(), objects = listed, "first list complete");
                    }
                } else if !synced && listed % 5_000 == 1 {
                    condition.unmet(format!("the first list is running, {listed} so far"));
                }
            }
            Err(error) => {
                metrics.watch_error(which);
                if !synced {
                    condition.unmet(explain(&error, which));
                }
                // An expired resource version (410) is part of the protocol; the watcher lists again by itself.
                if matches!(&error, watcher::Error::WatchError(status) if status.code == 410) {
                    tracing::debug!(watch = which.as_str(), "resource version expired; listing again");
                } else if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(watch = which.as_str(), error = %explain(&error, which), "the watch failed; trying again, what is known stays in use");
                }
            }
        }
    }
}

/// The error with what to do about it, where that is known.
fn explain(error: &watcher::Error, which: Watch) -> String {
    let forbidden = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => matches!(status.code, 401 | 403),
        _ => false,
    };
    let hint = match (forbidden, which) {
        (true, Watch::Namespaces) => {
            "; allow list and watch of namespaces, or pass --namespace-defaults=false"
        }
        (true, Watch::ConfigMap) => {
            "; allow get, list and watch of the ConfigMap, or drop --watch-config-map"
        }
        (true, _) => "; allow get, list and watch",
        (false, _) => "",
    };
    format!("{error}{hint}")
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
    // The default semantics, not "any": from its cache the API server ignores the page size and sends all at once.
    let config = watcher::Config::default();
    follow(
        api,
        config,
        Watch::ServiceAccounts,
        condition,
        metrics,
        |event| match event {
            Event::Init => relist = Some(directory.relist()),
            Event::InitApply(account) => {
                let (namespace, name) = account.key();
                let found = directory.read(account.annotations());
                directory.list_item(
                    relist.get_or_insert_with(|| directory.relist()),
                    namespace,
                    name,
                    found,
                );
            }
            Event::InitDone => {
                if let Some(relist) = relist.take() {
                    directory.list_done(relist);
                }
                let (annotated, plain) = directory.counts();
                if annotated + plain > 0 {
                    seen.service_account_seen();
                }
                counted();
            }
            Event::Apply(account) => {
                let (namespace, name) = account.key();
                let found = directory.read(account.annotations());
                if let Indexed::Annotated(read) = &found {
                    for warning in read.warnings() {
                        tracing::warn!(namespace, service_account = name, "{warning}");
                    }
                }
                directory.apply(namespace, name, found);
                seen.service_account_seen();
                counted();
            }
            Event::Delete(account) => {
                let (namespace, name) = account.key();
                directory.remove(namespace, name);
                counted();
            }
        },
    )
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
    follow(
        api,
        watcher::Config::default(),
        Watch::Namespaces,
        condition,
        metrics,
        |event| {
            match event {
                Event::Init => relist.clear(),
                Event::InitApply(namespace) => {
                    if let Some(endpoint) = read(&namespace) {
                        relist.insert(namespace.key().1.into(), endpoint);
                    }
                }
                Event::InitDone => directory.set_namespaces(std::mem::take(&mut relist)),
                Event::Apply(namespace) => directory.set_namespace(namespace.key().1, read(&namespace)),
                Event::Delete(namespace) => directory.set_namespace(namespace.key().1, None),
            }
            counts.cache_entries("namespace_defaults", directory.namespaces());
        },
    )
    .await;
}

/// Watches the `pod-identity-webhook` ConfigMap in `namespace`. Its deletion empties it; content that is no JSON
/// object leaves the last good content in use.
pub async fn config_map(
    client: Client,
    namespace: String,
    directory: Arc<Directory>,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    let api: Api<v1::ConfigMap> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", CONFIG_MAP_NAME));
    let mut listed = None;
    let counts = Arc::clone(&metrics);
    let read = |object: v1::ConfigMap, directory: &Directory| {
        let text = object
            .data
            .unwrap_or_default()
            .remove(CONFIG_MAP_KEY)
            .unwrap_or_default();
        if text.trim().is_empty() {
            return Some(None);
        }
        match ConfigMap::parse(&text, directory.settings()) {
            Ok(config_map) => {
                for warning in config_map.warnings() {
                    tracing::warn!("{warning}");
                }
                Some(Some(config_map))
            }
            Err(error) => {
                counts.watch_error(Watch::ConfigMap);
                tracing::warn!(%error, "the ConfigMap cannot be read; its last good content stays in use");
                None
            }
        }
    };
    follow(
        api,
        config,
        Watch::ConfigMap,
        condition,
        Arc::clone(&metrics),
        |event| {
            match event {
                Event::Init => listed = None,
                Event::InitApply(object) if is_ours(&object) => listed = Some(read(object, &directory)),
                Event::InitDone => match listed.take() {
                    None => directory.set_config_map(None),
                    Some(Some(content)) => directory.set_config_map(content),
                    Some(None) => {}
                },
                Event::Apply(object) if is_ours(&object) => {
                    if let Some(content) = read(object, &directory) {
                        directory.set_config_map(content);
                    }
                }
                Event::Delete(object) if is_ours(&object) => directory.set_config_map(None),
                Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
            }
            let entries = directory
                .config_map()
                .as_ref()
                .as_ref()
                .map_or(0, |config_map| config_map.entries().count());
            metrics.cache_entries("config_map", entries);
        },
    )
    .await;
}

/// A server that ignores the field selector must not make us read somebody else's ConfigMap.
fn is_ours(object: &v1::ConfigMap) -> bool {
    object.metadata.name.as_deref() == Some(CONFIG_MAP_NAME)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
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
    fn waits_between_failures_double_up_to_a_limit() {
        let waits: Vec<Duration> = Steps::new().take(10).collect();
        assert!(waits[0] >= Steps::FIRST && waits[0] <= Steps::FIRST * 2);
        assert!(waits[3] > waits[0] * 4);
        assert!(waits.iter().all(|wait| *wait <= Steps::LONGEST * 3 / 2));
    }
}
