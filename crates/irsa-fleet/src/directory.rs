//! What the pods of a cluster refer to, kept small: service accounts, namespaces, the regions of nodes, and the
//! webhook's ConfigMap.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use irsa_core::{
    annotations,
    endpoint::EndpointType,
    identity::{self, ConfigMap, Entry, Known, Lookup},
    node,
    settings::Settings,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    cluster::{Cluster, Error, parse},
    pages::{self, Query, collection, for_each},
    webhook::{self, Overrides, Version, Webhooks},
    wire,
};

/// One service account, as far as it is remembered.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// What its annotations say; nothing if none of them concerns us.
    pub annotations: Option<identity::ServiceAccount>,
    /// The endpoint annotation as written.
    pub written: Option<Box<str>>,
    /// When the endpoint annotation last may have changed.
    pub endpoint_changed: Option<Timestamp>,
    /// When the role annotation last may have changed.
    pub role_changed: Option<Timestamp>,
}

/// One namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespaceFacts {
    /// The endpoint type of its annotation.
    pub endpoint: Option<EndpointType>,
    /// What is wrong with its annotations.
    pub warnings: Vec<annotations::Warning>,
    /// Its labels, which webhooks select by.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// The region of a node and where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegion {
    /// The region.
    pub region: Arc<str>,
    /// Where it was read.
    pub source: node::RegionSource,
}

/// Everything that a pod refers to.
#[derive(Debug)]
pub struct Directory {
    /// Namespace → name → service account.
    pub accounts: HashMap<Box<str>, HashMap<Box<str>, Account>>,
    /// Whether `accounts` holds all accounts of the scope: without that none can be called missing.
    pub accounts_complete: bool,
    /// Namespaces.
    pub namespaces: HashMap<Box<str>, NamespaceFacts>,
    /// Nodes whose region is known.
    pub nodes: HashMap<Box<str>, NodeRegion>,
    /// The webhook's ConfigMap.
    pub config_map: ConfigMap,
    /// The webhooks and their settings.
    pub webhooks: Webhooks,
    /// The cluster's version.
    pub version: Version,
    /// What could not be read, and what is therefore not known.
    pub notes: Vec<String>,
}

/// Which part of a cluster is looked at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label selector for the main objects of the command.
    pub labels: Option<String>,
    /// Objects in a page.
    pub page: Option<usize>,
}

impl Scope {
    pub(crate) fn query(&self) -> Query {
        Query {
            limit: self.page,
            ..Query::default()
        }
    }
}

impl Directory {
    /// An empty directory with these settings, for manifests and tests.
    pub fn offline(webhooks: Webhooks, version: Version) -> Self {
        Self {
            accounts: HashMap::new(),
            accounts_complete: false,
            namespaces: HashMap::new(),
            nodes: HashMap::new(),
            config_map: ConfigMap::default(),
            webhooks,
            version,
            notes: Vec::new(),
        }
    }

    /// Reads a cluster. Rights that are missing for a part make that part unknown, which a note says.
    pub async fn gather(cluster: &Cluster, scope: &Scope, overrides: &Overrides) -> Result<Self, Error> {
        let version = Version::read(cluster).await?;
        let webhooks = webhook::discover(cluster, &version, overrides).await?;
        let mut directory = Self::offline(webhooks, version);
        if let Some(why) = &directory.webhooks.unreadable {
            directory.notes.push(format!(
                "the webhook configurations cannot be read ({why}): settings are assumed"
            ));
        }
        let namespace = scope.namespace.as_deref();
        let query = scope.query();
        let settings = directory.webhooks.settings.clone();
        let (nodes, namespaces, accounts, config_map) = tokio::join!(
            read_nodes(cluster, &query),
            read_namespaces(cluster, namespace, &query, &settings),
            read_accounts(cluster, namespace, &query, &settings),
            read_config_map(cluster, &directory.webhooks),
        );
        let notes = &mut directory.notes;
        let mut optional = |what: &str, unknown: &str, error: Error| -> Result<(), Error> {
            if error.is_forbidden() || error.is_not_found() {
                notes.push(format!("{what} cannot be read ({error}): {unknown}"));
                Ok(())
            } else {
                Err(error)
            }
        };
        match nodes {
            Ok(nodes) => directory.nodes = nodes,
            Err(error) => optional(
                "nodes",
                "the regions of pods are taken from their settings only",
                error,
            )?,
        }
        match namespaces {
            Ok(namespaces) => directory.namespaces = namespaces,
            Err(error) => optional("namespaces", "their annotations are not considered", error)?,
        }
        match config_map {
            Ok(Some(text)) => match ConfigMap::parse(&text, &settings) {
                Ok(config_map) => directory.config_map = config_map,
                Err(error) => notes.push(error.to_string()),
            },
            Ok(None) => {}
            Err(error) => optional(
                "the pod-identity-webhook ConfigMap",
                "its entries are not considered",
                error,
            )?,
        }
        directory.accounts = accounts?;
        directory.accounts_complete = true;
        Ok(directory)
    }

    /// What is known about a service account.
    pub fn lookup<'a>(&'a self, namespace: &str, name: &str) -> Lookup<'a> {
        let service_account = match self.account(namespace, name) {
            Some(Account {
                annotations: Some(annotations),
                ..
            }) => Known::Annotated(annotations),
            Some(_) => Known::Plain,
            None => Known::Unknown,
        };
        Lookup {
            service_account,
            config_map: self.entry(namespace, name),
            namespace: self.namespaces.get(namespace).and_then(|facts| facts.endpoint),
            container_credentials: false,
        }
    }

    /// One service account.
    pub fn account(&self, namespace: &str, name: &str) -> Option<&Account> {
        self.accounts.get(namespace)?.get(name)
    }

    /// Which of these service accounts, as namespace (empty for any) and name, do not exist in what was read.
    pub fn missing<'n>(&self, wanted: impl IntoIterator<Item = &'n (String, String)>) -> Vec<String> {
        let exists = |namespace: &str, name: &str| {
            if namespace.is_empty() {
                self.accounts.values().any(|accounts| accounts.contains_key(name))
            } else {
                self.account(namespace, name).is_some()
            }
        };
        wanted
            .into_iter()
            .filter(|(namespace, name)| !exists(namespace, name))
            .map(|(namespace, name)| match namespace.as_str() {
                "" => name.clone(),
                namespace => format!("{namespace}/{name}"),
            })
            .collect()
    }

    /// Its entry in the ConfigMap.
    pub fn entry(&self, namespace: &str, name: &str) -> Option<&Entry> {
        self.config_map.find(namespace, name)
    }

    /// Whether the API server asks a webhook about such a pod.
    pub fn webhook_asked(&self, namespace: &str, pod: &wire::Meta<'_>) -> bool {
        let labels = self
            .namespaces
            .get(namespace)
            .map(|facts| facts.labels.as_slice())
            .unwrap_or_default();
        self.webhooks.asked(
            |key| {
                if key == "kubernetes.io/metadata.name" {
                    return Some(namespace);
                }
                labels
                    .iter()
                    .find(|(known, _)| **known == *key)
                    .map(|(_, value)| &**value)
            },
            |key| pod.labels.get(key),
        )
    }

    /// Remembers a service account.
    pub fn add_account(&mut self, account: &wire::ServiceAccount<'_>) {
        let (namespace, name, facts) = account_facts(account, &self.webhooks.settings);
        self.accounts.entry(namespace).or_default().insert(name, facts);
    }

    /// Remembers a namespace.
    pub fn add_namespace(&mut self, namespace: &wire::Namespace<'_>) {
        let (name, facts) = namespace_facts(namespace, &self.webhooks.settings);
        self.namespaces.insert(name, facts);
    }
}

fn account_facts(account: &wire::ServiceAccount<'_>, settings: &Settings) -> (Box<str>, Box<str>, Account) {
    let meta = &account.metadata;
    let annotations = identity::ServiceAccount::from_annotations(meta.annotations.iter(), settings);
    let mut facts = Account {
        annotations,
        ..Account::default()
    };
    if facts.annotations.is_some() {
        let key = |name: &str| format!("{}/{name}", settings.annotation_prefix);
        let endpoint = key(annotations::STS_REGIONAL_ENDPOINTS);
        facts.written = meta.annotations.get(&endpoint).map(Into::into);
        facts.endpoint_changed = meta.annotation_changed(&endpoint);
        facts.role_changed = meta.annotation_changed(&key(annotations::ROLE_ARN));
    }
    ((&*meta.namespace).into(), (&*meta.name).into(), facts)
}

fn namespace_facts(namespace: &wire::Namespace<'_>, settings: &Settings) -> (Box<str>, NamespaceFacts) {
    let meta = &namespace.metadata;
    let read = annotations::namespace(&settings.annotation_prefix, meta.annotations.iter());
    (
        (&*meta.name).into(),
        NamespaceFacts {
            // Whether it counts is decided by the rules, with the settings.
            endpoint: read.endpoint,
            warnings: read.warnings,
            labels: meta
                .labels
                .iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        },
    )
}

/// The regions of all nodes whose region can be told, sorted.
///
/// # Errors
/// The nodes cannot be listed.
pub async fn node_regions(cluster: &Cluster) -> Result<BTreeSet<String>, Error> {
    let nodes = read_nodes(cluster, &Query::default()).await?;
    Ok(nodes.values().map(|node| node.region.to_string()).collect())
}

pub(crate) async fn read_nodes(
    cluster: &Cluster,
    query: &Query,
) -> Result<HashMap<Box<str>, NodeRegion>, Error> {
    let mut nodes = HashMap::new();
    let mut regions: Vec<Arc<str>> = Vec::new();
    for_each::<pages::Nodes>(cluster, &collection("v1", None, "nodes"), query, |node| {
        let meta = &node.metadata;
        let Some(found) = node::region(&meta.name, meta.labels.iter(), node.spec.provider_id.as_deref())
        else {
            return;
        };
        let region = match regions.iter().find(|known| ***known == *found.region) {
            Some(known) => known.clone(),
            None => {
                let region: Arc<str> = found.region.into();
                regions.push(region.clone());
                region
            }
        };
        nodes.insert(
            (&*meta.name).into(),
            NodeRegion {
                region,
                source: found.source,
            },
        );
    })
    .await?;
    Ok(nodes)
}

async fn read_namespaces(
    cluster: &Cluster,
    namespace: Option<&str>,
    query: &Query,
    settings: &Settings,
) -> Result<HashMap<Box<str>, NamespaceFacts>, Error> {
    let mut namespaces = HashMap::new();
    if let Some(name) = namespace {
        let path = format!("/api/v1/namespaces/{name}");
        let body = cluster.get(&path).await.map_err(|error| {
            if error.is_not_found() {
                Error::NotFound {
                    resource: "namespaces",
                    name: name.to_owned(),
                }
            } else {
                error
            }
        })?;
        let (name, facts) = namespace_facts(&parse(&path, &body)?, settings);
        namespaces.insert(name, facts);
        return Ok(namespaces);
    }
    for_each::<pages::Namespaces>(
        cluster,
        &collection("v1", None, "namespaces"),
        query,
        |namespace| {
            let (name, facts) = namespace_facts(&namespace, settings);
            namespaces.insert(name, facts);
        },
    )
    .await?;
    Ok(namespaces)
}

async fn read_accounts(
    cluster: &Cluster,
    namespace: Option<&str>,
    query: &Query,
    settings: &Settings,
) -> Result<HashMap<Box<str>, HashMap<Box<str>, Account>>, Error> {
    let mut accounts: HashMap<Box<str>, HashMap<Box<str>, Account>> = HashMap::new();
    for_each::<pages::ServiceAccounts>(
        cluster,
        &collection("v1", namespace, "serviceaccounts"),
        query,
        |account| {
            let (namespace, name, facts) = account_facts(&account, settings);
            accounts.entry(namespace).or_default().insert(name, facts);
        },
    )
    .await?;
    Ok(accounts)
}

/// The text of the webhook's ConfigMap: in the namespace of its service.
pub(crate) async fn read_config_map(cluster: &Cluster, webhooks: &Webhooks) -> Result<Option<String>, Error> {
    if !webhooks.watches_config_map {
        return Ok(None);
    }
    let Some(webhook::Target::Service { namespace, .. }) =
        webhooks.installed.first().map(|webhook| &webhook.target)
    else {
        return Ok(None);
    };
    let path = format!(
        "/api/v1/namespaces/{namespace}/configmaps/{}",
        identity::CONFIG_MAP_NAME
    );
    let found: Option<Value> = cluster.find(&path).await?;
    Ok(found.and_then(|object| {
        object["data"][identity::CONFIG_MAP_KEY]
            .as_str()
            .map(str::to_owned)
    }))
}
