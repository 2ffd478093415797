//! What the pods of a cluster refer to, kept small: service accounts, namespaces, the regions of nodes, and the
//! webhook's ConfigMap.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use irsa_core::{
    annotations,
    endpoint::{Choice, ChoiceSource, EndpointType},
    finding::WhyUnknown,
    identity::{self, ConfigMap, Entry, Known, Lookup, NoIdentity},
    node,
    pod::Value as Carried,
    settings::Settings,
    variable::Variable,
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
    /// Whether it was filled from manifests: pods in it are templates, in which everything is their author's.
    pub of_manifests: bool,
}

/// What the pods of a service account are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// No identity, and why.
    NoIdentity(NoIdentity),
    /// This endpoint type.
    Known(Choice),
    /// It depends on something that the cluster does not tell.
    Unknown(WhyUnknown),
}

impl Decided {
    /// The choice, if it is known.
    pub fn choice(self) -> Option<Choice> {
        match self {
            Self::Known(choice) => Some(choice),
            Self::NoIdentity(_) | Self::Unknown(_) => None,
        }
    }
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
            of_manifests: false,
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

    /// What the pods of a service account are given: the one answer that every command shows.
    pub fn decide(&self, namespace: &str, name: &str) -> Decided {
        self.decide_as(&self.lookup(namespace, name), self.webhooks.possible(false))
    }

    /// The same for anything looked up, under each of these settings.
    pub fn decide_as(&self, lookup: &Lookup<'_>, possible: &[Settings]) -> Decided {
        let mut decided: Option<Decided> = None;
        for settings in possible {
            let here = match identity::resolve(lookup, settings) {
                Ok(identity) => Decided::Known(identity.choice),
                Err(why) => Decided::NoIdentity(why),
            };
            match decided {
                None => decided = Some(here),
                Some(known) if known == here => {}
                Some(_) => return Decided::Unknown(self.webhooks.why_unknown()),
            }
        }
        decided.unwrap_or(Decided::NoIdentity(NoIdentity::ServiceAccountUnknown))
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

    /// Learns what is not known of the webhook's settings from a page of pods: the newest that shows something counts,
    /// and a record before what a pod carries.
    pub fn learn(&mut self, pods: &[wire::Pod<'_>]) {
        if !self.webhooks.may_learn() {
            return;
        }
        let key = format!(
            "{}/{}",
            self.webhooks.settings.annotation_prefix,
            annotations::RECORD
        );
        let mut record: Option<(bool, &str, Choice)> = None;
        let mut carried: Option<(bool, &str, Option<EndpointType>, Option<&str>)> = None;
        for pod in pods {
            // RFC 3339 in the form that API servers write sorts as text.
            let made = pod.metadata.creation_timestamp.as_deref().unwrap_or_default();
            if let Some(here) = pod.metadata.annotations.get(&key).and_then(Choice::from_record) {
                let of_default = !here.source.is_choice() || here.source == ChoiceSource::Flag;
                if record.is_none_or(|(default, newest, _)| (of_default, made) >= (default, newest)) {
                    record = Some((of_default, made, here));
                }
            } else if let Some((chosen, value)) = self.shown_by(pod)
                && carried.is_none_or(|(default, newest, ..)| (chosen.is_none(), made) >= (default, newest))
            {
                carried = Some((chosen.is_none(), made, chosen, value));
            }
        }
        if let Some((.., record)) = record {
            self.webhooks.observe(record, &self.version);
        } else if let Some((.., chosen, value)) = carried {
            let value = value.map(str::to_owned);
            self.webhooks
                .observe_value(chosen, value.as_deref(), &self.version);
        }
    }

    /// What a webhook gave to a pod, and what its service account had chosen then; nothing if the pod does not show it.
    fn shown_by<'p>(&self, pod: &'p wire::Pod<'_>) -> Option<(Option<EndpointType>, Option<&'p str>)> {
        let account = self.account(&pod.metadata.namespace, pod.service_account())?;
        let created: Timestamp = pod.metadata.creation_timestamp.as_deref()?.parse().ok()?;
        if account.endpoint_changed.is_some_and(|changed| created <= changed) {
            return None;
        }
        let lookup = self.lookup(&pod.metadata.namespace, pod.service_account());
        let chosen = account
            .annotations
            .as_ref()
            .and_then(identity::ServiceAccount::endpoint);
        if chosen.is_none() && (lookup.config_map.is_some() || lookup.namespace.is_some()) {
            return None;
        }
        pod.spec.all_containers().find_map(|(container, _)| {
            if !container.is_appended(Variable::WebIdentityTokenFile)
                || !container.is_appended(Variable::RoleArn)
            {
                return None;
            }
            match container.value(Variable::StsRegionalEndpoints) {
                None => Some((chosen, None)),
                Some(Carried::Literal(value)) if container.is_appended(Variable::StsRegionalEndpoints) => {
                    Some((chosen, Some(value)))
                }
                Some(_) => None,
            }
        })
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
