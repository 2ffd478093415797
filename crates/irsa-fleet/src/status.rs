//! Which endpoint everything in a cluster really uses: pods streamed past the rules, one row kept for each service
//! account.
//!
//! Memory grows with service accounts that have something to do with AWS, not with pods: of the pods only counts, a
//! few examples for each finding, and what differs between them are kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use irsa_core::endpoint::{Choice, EndpointType};

use crate::{
    assess::{self, Carries, PodView},
    cluster::{Cluster, Error, parse},
    directory::{Decided, Directory, Scope},
    effective::{Answers, Families},
    finding::{Fact, Finding, Id, Severity},
    pages::{self, Query, collection},
    probe,
    wire::{Page, Pod},
};

/// Pods named as examples of one finding.
const EXAMPLES: usize = 5;
/// Different sentences kept for one service account; the rest is only counted.
const DISTINCT: usize = 200;

/// A finding and the pods that it is about.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many pods.
    pub pods: usize,
    /// The first few by name.
    pub examples: Vec<Box<str>>,
}

/// What the pods of one service account amount to.
#[derive(Clone, Debug, Default)]
pub struct AccountRow {
    /// Running or pending pods.
    pub pods: usize,
    /// Pods that carry an identity or the variable.
    pub with_identity: usize,
    /// Pods that recreating would change.
    pub stale: usize,
    /// Pods that got nothing.
    pub unmutated: usize,
    /// Containers by the value that they carry: nothing, the value, or a reference.
    pub carries: BTreeMap<Carried, usize>,
    /// Where the SDKs of containers call, with how many containers; equal answers are the same `Arc`.
    pub answers: Vec<(Arc<Answers>, usize)>,
    /// Regions of the pods.
    pub regions: BTreeSet<Box<str>>,
    /// Findings.
    pub findings: BTreeMap<Finding, Tally>,
    /// Pods by what was found in them: a pod counts once for each id, however many containers it is about.
    pub found: BTreeMap<Id, usize>,
}

/// What a container carries, owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carried {
    /// No variable.
    Nothing,
    /// This value.
    Value(Box<str>),
    /// A value from elsewhere.
    Reference,
}

impl Carried {
    /// As `kubectl describe` would show it, `-` for no variable.
    pub fn shown(&self) -> &str {
        match self {
            Self::Nothing => "-",
            Self::Value(value) if value.is_empty() => "\"\"",
            Self::Value(value) => value,
            Self::Reference => "<reference>",
        }
    }
}

impl From<Carries<'_>> for Carried {
    fn from(carries: Carries<'_>) -> Self {
        match carries {
            Carries::Nothing => Self::Nothing,
            Carries::Value(value) => Self::Value(value.into()),
            Carries::Reference => Self::Reference,
        }
    }
}

/// One pod, when pods are asked for.
#[derive(Clone, Debug)]
pub struct PodRow {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Service account.
    pub service_account: Box<str>,
    /// What its containers carry, each value once.
    pub carries: BTreeSet<Carried>,
    /// Where the SDKs of each of its containers call.
    pub answers: Vec<Arc<Answers>>,
    /// Region.
    pub region: Option<Box<str>>,
    /// Whether recreating it would change it.
    pub stale: bool,
    /// Findings.
    pub findings: Vec<Finding>,
}

impl PodRow {
    /// Where its SDKs call, in one line.
    pub fn endpoint(&self) -> String {
        endpoint(&self.answers)
    }
}

fn endpoint<'a>(answers: impl IntoIterator<Item = &'a Arc<Answers>>) -> String {
    let (mut lines, mut unknown) = (BTreeSet::new(), false);
    for answers in answers {
        unknown |= answers.unknown;
        if !answers.effective.is_empty() {
            lines.insert(answers.summary());
        }
    }
    if unknown {
        lines.insert("unknown: set from elsewhere".to_owned());
    }
    lines.into_iter().collect::<Vec<_>>().join("; ")
}

/// The state of one cluster.
#[derive(Debug)]
pub struct Status {
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// What pods refer to.
    pub directory: Directory,
    /// Namespace and name → row; only accounts that have something to do with AWS.
    pub accounts: BTreeMap<(Box<str>, Box<str>), AccountRow>,
    /// All pods seen that have not ended.
    pub pods: usize,
    /// Pods one by one, if asked for.
    pub pod_rows: Vec<PodRow>,
    /// Findings about the cluster.
    pub findings: Vec<Finding>,
    /// Service accounts that were named and do not exist.
    pub missing: Vec<String>,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which part of the cluster; the labels select pods.
    pub scope: Scope,
    /// Which SDKs the containers may contain.
    pub families: Families,
    /// Whether each pod is to be remembered.
    pub pods: bool,
    /// Only these service accounts, as namespace (empty for any) and name; with none, all.
    pub accounts: Vec<(String, String)>,
}

impl Options {
    fn includes(&self, namespace: &str, account: &str) -> bool {
        self.accounts.is_empty()
            || self.accounts.iter().any(|(wanted_namespace, wanted)| {
                wanted == account && (wanted_namespace.is_empty() || wanted_namespace == namespace)
            })
    }
}

/// Reads a cluster.
pub async fn status(
    cluster: &Cluster,
    options: &Options,
    overrides: &crate::webhook::Overrides,
) -> Result<Status, Error> {
    let mut directory = Directory::gather(cluster, &options.scope, overrides).await?;
    probe::learn(cluster, &mut directory, options.scope.namespace.as_deref()).await?;
    let mut status = Status::new(cluster.context(), cluster.server(), directory);
    status.missing = status.directory.missing(&options.accounts);
    status.read_pods(cluster, options).await?;
    status.findings = cluster_findings(&status.directory, status.accounts.keys());
    Ok(status)
}

impl Status {
    /// An empty state.
    pub fn new(context: &str, server: &str, directory: Directory) -> Self {
        Self {
            context: context.to_owned(),
            server: server.to_owned(),
            directory,
            accounts: BTreeMap::new(),
            pods: 0,
            pod_rows: Vec::new(),
            findings: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Streams the pods of the scope past the rules, and adds up.
    pub async fn read_pods(&mut self, cluster: &Cluster, options: &Options) -> Result<(), Error> {
        let query = Query {
            labels: options.scope.labels.clone(),
            ..options.scope.query()
        };
        let path = collection("v1", options.scope.namespace.as_deref(), "pods");
        pages::pages(cluster, &path, &query, |body| {
            let page: Page<'_, Pod<'_>> = parse(&path, body)?;
            self.directory.learn(&page.items);
            for pod in &page.items {
                self.add_pod(pod, options);
            }
            Ok(())
        })
        .await?;
        self.finish(options);
        Ok(())
    }

    /// Counts one pod.
    pub fn add_pod(&mut self, pod: &Pod<'_>, options: &Options) {
        if pod.is_finished() {
            return;
        }
        let account = pod.service_account();
        if !options.includes(&pod.metadata.namespace, account) {
            return;
        }
        self.pods += 1;
        let Some(view) = assess::pod(pod, &self.directory, &options.families) else {
            // Of an account without a role its pods are counted all the same.
            if self.concerns(&pod.metadata.namespace, account) {
                let key = (Box::from(&*pod.metadata.namespace), Box::from(account));
                self.accounts.entry(key).or_default().pods += 1;
            }
            return;
        };
        if options.pods {
            self.pod_rows.push(pod_row(pod, &view));
        }
        let namespace = &*pod.metadata.namespace;
        let key = (Box::from(namespace), Box::from(account));
        self.accounts.entry(key).or_default().add(pod, view);
    }

    /// Whether a service account has something to do with AWS by itself.
    fn concerns(&self, namespace: &str, name: &str) -> bool {
        self.directory
            .account(namespace, name)
            .is_some_and(|account| account.annotations.is_some())
            || self.directory.entry(namespace, name).is_some()
    }

    /// Adds the accounts without pods, and what is wrong with accounts themselves.
    pub fn finish(&mut self, options: &Options) {
        let by_pods = options.scope.labels.is_some();
        for (namespace, accounts) in &self.directory.accounts {
            for (name, account) in accounts {
                if !options.includes(namespace, name) {
                    continue;
                }
                let concerns =
                    account.annotations.is_some() || self.directory.entry(namespace, name).is_some();
                if !concerns || by_pods {
                    continue;
                }
                self.accounts
                    .entry((namespace.clone(), name.clone()))
                    .or_default();
            }
        }
        for ((namespace, name), row) in &mut self.accounts {
            for finding in assess::account(&self.directory, namespace, name) {
                row.findings.entry(finding).or_default();
            }
        }
        self.pod_rows
            .sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    }

    /// The choice for the pods of an account; nothing if it has no role, or if that is not known.
    pub fn choice(&self, namespace: &str, name: &str) -> Option<Choice> {
        self.decided(namespace, name).choice()
    }

    /// What the pods of an account are given.
    pub fn decided(&self, namespace: &str, name: &str) -> Decided {
        self.directory.decide(namespace, name)
    }

    /// The role of an account.
    pub fn role(&self, namespace: &str, name: &str) -> Option<String> {
        let lookup = self.directory.lookup(namespace, name);
        match irsa_core::identity::resolve(&lookup, &self.directory.webhooks.settings)
            .ok()?
            .method
        {
            irsa_core::identity::Method::WebIdentity { role_arn } => Some(role_arn.to_owned()),
            irsa_core::identity::Method::ContainerCredentials => None,
        }
    }

    /// Everything in numbers.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            service_accounts: self.directory.accounts.values().map(HashMap::len).sum(),
            pods: self.pods,
            ..Summary::default()
        };
        for ((namespace, name), row) in &self.accounts {
            let decided = self.decided(namespace, name);
            summary.with_role += usize::from(!matches!(decided, Decided::NoIdentity(_)));
            match decided.choice().map(|choice| choice.endpoint) {
                Some(EndpointType::Regional) => summary.regional += 1,
                Some(EndpointType::Global) => summary.global += 1,
                None => {}
            }
            summary.pods_with_identity += row.with_identity;
            summary.stale += row.stale;
            summary.unmutated += row.unmutated;
            for (carried, count) in &row.carries {
                *summary.carries.entry(carried.clone()).or_default() += count;
            }
            for (id, pods) in &row.found {
                summary.count(id.severity(), *id, *pods);
            }
            for (finding, tally) in &row.findings {
                if tally.pods == 0 {
                    summary.count(finding.severity(), finding.id(), 1);
                }
            }
        }
        for finding in &self.findings {
            summary.count(finding.severity(), finding.id(), 1);
        }
        summary
    }

    /// All findings: of the cluster, then of its accounts.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .chain(self.accounts.values().flat_map(|row| row.findings.keys()))
    }
}

/// A cluster in numbers.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Service accounts in the scope.
    pub service_accounts: usize,
    /// Those whose pods get a role.
    pub with_role: usize,
    /// Of these: regional chosen.
    pub regional: usize,
    /// Of these: global chosen.
    pub global: usize,
    /// Pods that have not ended.
    pub pods: usize,
    /// Pods that carry an identity or the variable.
    pub pods_with_identity: usize,
    /// Pods that recreating would change.
    pub stale: usize,
    /// Pods that got nothing.
    pub unmutated: usize,
    /// Containers by the value that they carry.
    pub carries: BTreeMap<Carried, usize>,
    /// Findings by severity, each once for every pod that it is about.
    pub findings: BTreeMap<Severity, usize>,
    /// Findings by id.
    pub ids: BTreeMap<Id, usize>,
}

impl Summary {
    fn count(&mut self, severity: Severity, id: Id, pods: usize) {
        *self.findings.entry(severity).or_default() += pods;
        *self.ids.entry(id).or_default() += pods;
    }
}

impl AccountRow {
    fn add(&mut self, pod: &Pod<'_>, view: PodView<'_>) {
        self.pods += 1;
        self.with_identity += usize::from(!view.containers.is_empty());
        self.stale += usize::from(view.stale);
        if let Some(region) = view.region
            && !self.regions.contains(region)
        {
            self.regions.insert(region.into());
        }
        for container in view.containers {
            *self.carries.entry(container.carries.into()).or_default() += 1;
            match self
                .answers
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(known, &container.answers))
            {
                Some((_, count)) => *count += 1,
                None => self.answers.push((container.answers, 1)),
            }
        }
        let ids: BTreeSet<Id> = view.findings.iter().map(Finding::id).collect();
        self.unmutated += usize::from(ids.contains(&Id::UnmutatedPod));
        for id in ids {
            *self.found.entry(id).or_default() += 1;
        }
        for finding in view.findings {
            if self.findings.len() >= DISTINCT && !self.findings.contains_key(&finding) {
                continue;
            }
            let tally = self.findings.entry(finding).or_default();
            tally.pods += 1;
            if tally.examples.len() < EXAMPLES {
                tally.examples.push((&*pod.metadata.name).into());
            }
        }
    }

    /// The worst severity among its findings.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.keys().map(Finding::severity).max()
    }
}

fn pod_row(pod: &Pod<'_>, view: &PodView<'_>) -> PodRow {
    PodRow {
        namespace: (&*pod.metadata.namespace).into(),
        name: (&*pod.metadata.name).into(),
        service_account: pod.service_account().into(),
        carries: view
            .containers
            .iter()
            .map(|container| container.carries.into())
            .collect(),
        answers: view
            .containers
            .iter()
            .map(|container| container.answers.clone())
            .collect(),
        region: view.region.map(Into::into),
        stale: view.stale,
        findings: view.findings.clone(),
    }
}

/// What is wrong with the cluster as a whole, and what is not known about these service accounts.
pub fn cluster_findings<'a>(
    directory: &Directory,
    accounts: impl IntoIterator<Item = &'a (Box<str>, Box<str>)>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let webhooks = &directory.webhooks;
    if webhooks.installed.is_empty() && webhooks.unreadable.is_none() {
        findings.push(Fact::WebhookAbsent.into());
    }
    if let (Some(first), Some(ready)) = (webhooks.installed.first(), webhooks.ready)
        && ready.ready == 0
    {
        let fact = Fact::WebhookUnhealthy {
            configuration: first.configuration.as_str().into(),
            target: first.target.to_string().into(),
            refuses: first.failure_policy != "Ignore",
        };
        findings.push(fact.into());
    }
    let unknown =
        accounts
            .into_iter()
            .find_map(|(namespace, name)| match directory.decide(namespace, name) {
                Decided::Unknown(why) => Some(why),
                Decided::Known(_) | Decided::NoIdentity(_) => None,
            });
    findings.extend(unknown.map(|why| Finding::from(Fact::ChoiceUnknown { why })));
    let of_namespaces = directory.namespaces.values().flat_map(|facts| &facts.warnings);
    let warnings = of_namespaces.chain(directory.config_map.warnings());
    findings.extend(warnings.cloned().map(Finding::from));
    findings.sort();
    findings.dedup();
    findings
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use irsa_core::settings::Settings;
    use serde_json::json;

    use super::*;
    use crate::webhook::{SettingsSource, Version, Webhooks};

    #[test]
    fn a_pod_counts_once_however_many_of_its_containers_are_concerned() {
        let webhooks = Webhooks::assumed(Settings::default(), SettingsSource::Given);
        let directory = Directory::offline(webhooks, Version::default());
        let mut status = Status::new("c", "s", directory);
        let env = json!([{"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "global"}]);
        for name in ["a", "b"] {
            let pod =
                json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {"serviceAccountName": "sa",
                "containers": [{"name": "one", "env": env}, {"name": "two", "env": env}]}})
                .to_string();
            status.add_pod(&serde_json::from_str(&pod).unwrap(), &Options::default());
        }
        let summary = status.summary();
        assert_eq!(summary.pods, 2);
        assert_eq!(summary.ids[&Id::InvalidValue], 2);
        // Containers are counted as containers.
        assert_eq!(summary.carries[&Carried::Value("global".into())], 4);
    }

    #[test]
    fn pods_of_a_service_account_without_a_role_are_counted() {
        let webhooks = Webhooks::assumed(Settings::default(), SettingsSource::Given);
        let mut directory = Directory::offline(webhooks, Version::default());
        let account = json!({"metadata": {"name": "sa", "namespace": "ns",
            "annotations": {"eks.amazonaws.com/sts-regional-endpoints": "true"}}})
        .to_string();
        directory.add_account(&serde_json::from_str(&account).unwrap());
        let mut status = Status::new("c", "s", directory);
        let pod = json!({"metadata": {"name": "p", "namespace": "ns"},
            "spec": {"serviceAccountName": "sa", "containers": [{"name": "c"}]}})
        .to_string();
        status.add_pod(&serde_json::from_str(&pod).unwrap(), &Options::default());
        status.finish(&Options::default());
        let row = &status.accounts[&("ns".into(), "sa".into())];
        assert_eq!((row.pods, row.with_identity), (1, 0));
    }
}
