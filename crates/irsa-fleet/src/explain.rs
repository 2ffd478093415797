//! What decides for one pod or one service account: only the objects that it refers to are read.
//!
//! The rules are the core's and the findings those of [`crate::assess`]; here is put together what they say about one.

use std::collections::BTreeSet;

use bytes::Bytes;
use irsa_core::{
    endpoint::{self, Capability, Choice, ChoiceSource, EndpointType},
    identity::{self, ConfigMap, Entry, Identity, Known, NoIdentity},
    node,
    pod::{Container, Value},
    sdk::Environment,
};

use crate::{
    cluster::{Cluster, Error, parse},
    directory::{Decided, Directory, NodeRegion, read_config_map, read_nodes},
    effective::Families,
    finding::{Fact, Finding, WhyUnknown},
    pages::Query,
    probe,
    webhook::{self, Overrides, Version},
    wire::{Namespace, Node, Pod, ServiceAccount},
};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A pod by name.
    Pod(String),
    /// A service account by name.
    ServiceAccount(String),
}

/// Everything that was read for one question.
#[derive(Debug)]
pub struct Gathered {
    /// The namespace.
    pub namespace: String,
    /// The service account's name.
    pub account: String,
    /// Whether the service account exists.
    pub account_exists: bool,
    /// What the pod refers to.
    pub directory: Directory,
    /// The pod as the API server sent it.
    body: Option<Bytes>,
}

/// One possible decider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Who.
    pub source: ChoiceSource,
    /// What it says, as written; nothing when it is silent.
    pub says: Option<String>,
    /// What that means; nothing when it is silent or means nothing.
    pub endpoint: Option<EndpointType>,
    /// Whether it decided.
    pub wins: bool,
}

/// A container and the variables that decide for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its name; empty for the container that a service account's next pod would have.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
    /// Its image.
    pub image: String,
    /// Whether it carries a role or container credentials, or would.
    pub has_identity: bool,
    /// The variables that decide.
    pub environment: Environment,
    /// Variables that decide but come from elsewhere, so that the pod does not tell their values.
    pub unknown: Vec<&'static str>,
    /// Whether it sets `AWS_STS_REGIONAL_ENDPOINTS` itself, so that nobody else's choice reaches it.
    pub sets_variable: bool,
}

impl Gathered {
    /// Reads the pod (if one is asked about), its service account, namespace and node, the webhook and its ConfigMap.
    ///
    /// # Errors
    ///
    /// When the subject does not exist or cannot be read. What else cannot be read becomes a note of the directory.
    pub async fn read(
        cluster: &Cluster,
        namespace: &str,
        subject: &Subject,
        overrides: &Overrides,
    ) -> Result<Self, Error> {
        let object = |resource: &str, name: &str| format!("/api/v1/namespaces/{namespace}/{resource}/{name}");
        let (body, account, node_name) = match subject {
            Subject::Pod(name) => {
                let path = object("pods", name);
                let body = cluster.get(&path).await?;
                let pod: Pod<'_> = parse(&path, &body)?;
                let account = pod.service_account().to_owned();
                let node = pod.spec.node_name().to_owned();
                (Some(body), account, Some(node).filter(|node| !node.is_empty()))
            }
            Subject::ServiceAccount(name) => (None, name.clone(), None),
        };
        let version = Version::read(cluster).await?;
        let webhooks = webhook::discover(cluster, &version, overrides).await?;
        let mut directory = Directory::offline(webhooks, version);
        if let Some(why) = &directory.webhooks.unreadable {
            directory.notes.push(format!(
                "the webhook configurations cannot be read ({why}): settings are assumed"
            ));
        }
        let account_path = object("serviceaccounts", &account);
        let account_exists = match (cluster.get(&account_path).await, subject) {
            (Ok(body), _) => {
                directory.add_account(&parse::<ServiceAccount<'_>>(&account_path, &body)?);
                true
            }
            (Err(error), Subject::Pod(_)) if error.is_not_found() => false,
            (Err(error), _) => return Err(error),
        };
        directory.accounts_complete = true;
        let path = format!("/api/v1/namespaces/{namespace}");
        match cluster.get(&path).await {
            Ok(body) => directory.add_namespace(&parse::<Namespace<'_>>(&path, &body)?),
            Err(error) => {
                optional(
                    &mut directory,
                    "the namespace",
                    "its annotations are not considered",
                    error,
                )?;
            }
        }
        // What the configuration does not tell, the next pod of the service account shows in a dry run; without the
        // right to try, this one's record does.
        probe::learn(cluster, &mut directory, Some(namespace)).await?;
        if let Some(body) = &body {
            let pod: Pod<'_> = parse("/api/v1/pods", body)?;
            directory.learn(std::slice::from_ref(&pod));
        }
        match read_config_map(cluster, &directory.webhooks).await {
            Ok(Some(text)) => match ConfigMap::parse(&text, &directory.webhooks.settings) {
                Ok(config_map) => directory.config_map = config_map,
                Err(error) => directory.notes.push(error.to_string()),
            },
            Ok(None) => {}
            Err(error) => optional(
                &mut directory,
                "the pod-identity-webhook ConfigMap",
                "its entries are not considered",
                error,
            )?,
        }
        match (&node_name, subject) {
            (Some(name), _) => {
                let path = format!("/api/v1/nodes/{name}");
                match cluster.get(&path).await {
                    Ok(body) => add_node(&mut directory, &parse::<Node<'_>>(&path, &body)?),
                    Err(error) => {
                        optional(
                            &mut directory,
                            "the node",
                            "its region is taken from its name",
                            error,
                        )?;
                        add_node_by_name(&mut directory, name);
                    }
                }
            }
            (None, Subject::ServiceAccount(_)) => match read_nodes(cluster, &Query::default()).await {
                Ok(nodes) => directory.nodes = nodes,
                Err(error) => optional(&mut directory, "nodes", "the region is not known", error)?,
            },
            (None, Subject::Pod(_)) => {}
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            account,
            account_exists,
            directory,
            body,
        })
    }

    /// A pod as it was read, and what it refers to.
    #[cfg(test)]
    pub(crate) fn for_tests(namespace: &str, account: &str, directory: Directory, body: Bytes) -> Self {
        Self {
            namespace: namespace.to_owned(),
            account: account.to_owned(),
            account_exists: true,
            directory,
            body: Some(body),
        }
    }

    /// The pod, if one was asked about.
    ///
    /// # Errors
    ///
    /// When the API server's answer is no pod; it was one when it was read.
    pub fn pod(&self) -> Result<Option<Pod<'_>>, Error> {
        self.body
            .as_ref()
            .map(|body| parse("/api/v1/pods", body))
            .transpose()
    }

    /// What pods of the service account get, or why they get nothing.
    ///
    /// # Errors
    ///
    /// Why they get nothing.
    pub fn identity(&self) -> Result<Identity<'_>, NoIdentity> {
        identity::resolve(
            &self.directory.lookup(&self.namespace, &self.account),
            &self.directory.webhooks.settings,
        )
    }

    /// What pods of the service account are given.
    pub fn decided(&self) -> Decided {
        self.directory.decide(&self.namespace, &self.account)
    }

    /// The regions of the nodes that were read.
    pub fn regions(&self) -> BTreeSet<&str> {
        self.directory.nodes.values().map(|node| &*node.region).collect()
    }

    /// What each possible decider says about a container, the strongest first.
    pub fn sources(&self, container: Option<&ContainerFacts>) -> Vec<Source> {
        let settings = &self.directory.webhooks.settings;
        let lookup = self.directory.lookup(&self.namespace, &self.account);
        let account = self.directory.account(&self.namespace, &self.account);
        let own = container.filter(|c| c.sets_variable);
        let winner = match own {
            Some(_) => Some(ChoiceSource::Container),
            None => self.decided().choice().map(|choice| choice.source),
        };
        let capability = settings
            .platform
            .map(|platform| (platform, platform.capability()));
        let row = |source, says: Option<String>, endpoint| Source {
            source,
            says,
            endpoint,
            wins: winner == Some(source),
        };
        let annotation = match lookup.service_account {
            Known::Annotated(annotations) => annotations.endpoint(),
            Known::Plain | Known::Unknown => None,
        };
        let entry = lookup.config_map.and_then(Entry::endpoint);
        let flag = settings.flag;
        let word = |endpoint: EndpointType| endpoint.as_str().to_owned();
        let mut rows = vec![
            row(
                ChoiceSource::Container,
                own.and_then(|c| c.environment.sts_regional_endpoints.clone()),
                own.and_then(|c| c.environment.sts_regional_endpoints.as_deref())
                    .and_then(|value| endpoint::EnvValue::read(value).endpoint),
            ),
            row(
                ChoiceSource::ServiceAccount,
                account.and_then(|a| a.written.as_deref()).map(str::to_owned),
                annotation,
            ),
            row(ChoiceSource::ConfigMap, entry.map(word), entry),
            row(
                ChoiceSource::Namespace,
                lookup.namespace.map(word),
                lookup.namespace,
            ),
            row(ChoiceSource::Flag, flag.map(word), flag),
            row(
                ChoiceSource::Platform,
                capability.map(|(platform, _)| platform.to_string()),
                capability.and_then(|(_, capability)| match capability {
                    Capability::MayChoose { default } => Some(default),
                    Capability::GlobalOnly => None,
                }),
            ),
        ];
        if let Some((platform, Capability::GlobalOnly)) = capability {
            // It overrules everybody but the container, so it stands second.
            rows.pop();
            rows.insert(
                1,
                row(
                    ChoiceSource::PlatformTooOld,
                    Some(platform.to_string()),
                    Some(EndpointType::Global),
                ),
            );
        }
        if winner == Some(ChoiceSource::Unset) {
            rows.push(row(ChoiceSource::Unset, None, None));
        }
        rows
    }

    /// The containers of the pod that have to do with AWS, and what is wrong with the pod; for a service account the
    /// container that its next pod in `region` would have.
    ///
    /// # Errors
    ///
    /// As [`Gathered::pod`].
    pub fn containers(&self, region: Option<&str>) -> Result<(Vec<ContainerFacts>, Vec<Finding>), Error> {
        let Some(pod) = self.pod()? else {
            // Without an identity nothing calls STS for the service account, and what is not known is not predicted.
            let known = matches!(self.decided(), Decided::Known(_));
            let next = known.then(|| self.next_container(region));
            return Ok((next.into_iter().collect(), Vec::new()));
        };
        let findings = crate::assess::pod(&pod, &self.directory, &Families::default())
            .map(|view| view.findings)
            .unwrap_or_default();
        let own = |name: &str| {
            findings.iter().any(|finding| {
                matches!(finding.fact, Fact::SetInPod { .. }) && finding.container.as_deref() == Some(name)
            })
        };
        let identity = self.identity().is_ok();
        let containers = pod
            .spec
            .all_containers()
            .map(|(container, init)| {
                let mut facts = facts(container, init);
                // Without an identity nobody but the container itself can have set the variable.
                facts.sets_variable = own(container.name())
                    || (!identity
                        && !facts.has_identity
                        && facts.environment.sts_regional_endpoints.is_some());
                facts
            })
            .collect();
        Ok((containers, findings))
    }

    fn next_container(&self, region: Option<&str>) -> ContainerFacts {
        let settings = &self.directory.webhooks.settings;
        let identity = self.identity();
        let written = identity
            .as_ref()
            .ok()
            .and_then(|i| i.choice.written(settings.global_value));
        let regions = self.regions();
        let only = match regions.len() {
            1 => regions.first().copied(),
            _ => None,
        };
        let region = region
            .or(settings.region.as_deref())
            .or(only)
            .filter(|_| identity.is_ok());
        ContainerFacts {
            name: String::new(),
            init: false,
            image: String::new(),
            has_identity: identity.is_ok(),
            environment: Environment {
                sts_regional_endpoints: written.map(str::to_owned),
                region: region.map(str::to_owned),
                default_region: region.map(str::to_owned),
                ..Environment::default()
            },
            unknown: Vec::new(),
            sets_variable: false,
        }
    }

    /// The value that the webhook would write for `endpoint` if the service account were annotated so; nothing if it
    /// writes none.
    pub fn written_for(&self, endpoint: EndpointType) -> Option<&'static str> {
        let choice = Choice {
            endpoint,
            source: ChoiceSource::ServiceAccount,
        };
        choice.written(self.directory.webhooks.settings.global_value)
    }

    /// Whether the cluster is known to let its service accounts choose.
    pub fn may_choose(&self) -> bool {
        let platform = self.directory.webhooks.settings.platform;
        let too_old = platform.is_some_and(|platform| platform.capability() == Capability::GlobalOnly);
        !too_old
            && !matches!(
                self.decided(),
                Decided::Unknown(WhyUnknown::PlatformVersion { .. })
            )
    }
}

fn facts(container: &Container<'_>, init: bool) -> ContainerFacts {
    let mut unknown = Vec::new();
    let mut environment = Environment::default();
    for variable in Environment::VARIABLES {
        match container.value(variable) {
            Some(Value::Literal(value)) => environment.set(variable.as_str(), Some(value.to_owned())),
            Some(Value::Reference) => unknown.push(variable.as_str()),
            None => {}
        }
    }
    ContainerFacts {
        name: container.name().to_owned(),
        init,
        image: container.image().to_owned(),
        has_identity: container.has_identity(),
        environment,
        unknown,
        sets_variable: false,
    }
}

fn optional(directory: &mut Directory, what: &str, unknown: &str, error: Error) -> Result<(), Error> {
    if error.is_forbidden() || error.is_not_found() {
        directory
            .notes
            .push(format!("{what} cannot be read ({error}): {unknown}"));
        Ok(())
    } else {
        Err(error)
    }
}

fn add_node(directory: &mut Directory, node: &Node<'_>) {
    let meta = &node.metadata;
    if let Some(found) = node::region(&meta.name, meta.labels.iter(), node.spec.provider_id.as_deref()) {
        directory.nodes.insert(
            (&*meta.name).into(),
            NodeRegion {
                region: found.region.into(),
                source: found.source,
            },
        );
    }
}

fn add_node_by_name(directory: &mut Directory, name: &str) {
    if let Some(found) = node::region(name, [], None) {
        directory.nodes.insert(
            name.into(),
            NodeRegion {
                region: found.region.into(),
                source: found.source,
            },
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use irsa_core::settings::Settings;
    use serde_json::json;

    use super::*;
    use crate::webhook::{SettingsSource, Webhooks};

    fn gathered(annotations: &serde_json::Value, pod: Option<serde_json::Value>) -> Gathered {
        let settings = Settings {
            flag: Some(EndpointType::Global),
            ..Settings::default()
        };
        let webhooks = Webhooks::assumed(settings, SettingsSource::Given);
        let version = Version {
            git_version: "v1.32.0".to_owned(),
        };
        let mut directory = Directory::offline(webhooks, version);
        let account =
            json!({"metadata": {"name": "sa", "namespace": "ns", "annotations": annotations}}).to_string();
        directory.add_account(&serde_json::from_str(&account).unwrap());
        add_node_by_name(&mut directory, "ip-10-0-0-1.us-west-2.compute.internal");
        Gathered {
            namespace: "ns".to_owned(),
            account: "sa".to_owned(),
            account_exists: true,
            directory,
            body: pod.map(|pod| pod.to_string().into()),
        }
    }

    fn shown(sources: &[Source]) -> Vec<String> {
        sources
            .iter()
            .map(|s| {
                let star = if s.wins { "* " } else { "" };
                format!("{star}{} {}", s.source, s.says.as_deref().unwrap_or("-"))
            })
            .collect()
    }

    #[test]
    fn sources_stand_in_the_order_of_their_strength_and_the_winner_is_marked() {
        let annotations = json!({
            "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r",
            "eks.amazonaws.com/sts-regional-endpoints": "true"
        });
        let gathered = gathered(&annotations, None);
        assert_eq!(
            shown(&gathered.sources(None)),
            [
                "container -",
                "* service-account true",
                "config-map -",
                "namespace -",
                "flag global",
                "platform -"
            ]
        );
        let (containers, _) = gathered.containers(None).unwrap();
        assert_eq!(
            containers[0].environment.sts_regional_endpoints.as_deref(),
            Some("regional")
        );
        assert_eq!(
            containers[0].environment.default_region.as_deref(),
            Some("us-west-2")
        );
    }

    #[test]
    fn an_annotation_without_meaning_is_shown_but_does_not_win() {
        let annotations = json!({
            "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r",
            "eks.amazonaws.com/sts-regional-endpoints": "regional"
        });
        let sources = gathered(&annotations, None).sources(None);
        assert_eq!(sources[1].says.as_deref(), Some("regional"));
        assert_eq!((sources[1].endpoint, sources[1].wins), (None, false));
        assert!(sources.iter().any(|s| s.source == ChoiceSource::Flag && s.wins));
    }

    #[test]
    fn a_container_that_sets_the_variable_itself_wins_and_references_are_unknown() {
        let annotations = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r"});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "creationTimestamp": "2026-11-24T00:00:00Z"},
            "spec": {"serviceAccountName": "sa", "nodeName": "ip-10-0-0-1.us-west-2.compute.internal", "containers": [
                {"name": "own", "image": "amazon/aws-cli", "env": [
                    {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"},
                    {"name": "AWS_REGION", "valueFrom": {"fieldRef": {"fieldPath": "x"}}},
                    {"name": "OTHER", "value": "x"},
                    {"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::111122223333:role/r"},
                    {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"}
                ]}
            ]}
        });
        let gathered = gathered(&annotations, Some(pod));
        let (containers, findings) = gathered.containers(None).unwrap();
        assert!(
            findings.iter().any(|f| matches!(f.fact, Fact::SetInPod { .. })),
            "{findings:?}"
        );
        assert!(containers[0].sets_variable && containers[0].has_identity);
        assert_eq!(containers[0].unknown, ["AWS_REGION"]);
        let sources = gathered.sources(Some(&containers[0]));
        assert_eq!(sources[0].says.as_deref(), Some("regional"));
        assert!(sources[0].wins);
    }
}
