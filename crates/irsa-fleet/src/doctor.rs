//! What has to hold for pods to get their identity and their endpoint, looked at in the order in which it matters.
//!
//! Each check says pass, warn, fail or skip, with what was seen and what to do. A check whose rights or subject are
//! missing is skipped and says so: nothing is guessed. The network outside the API server is only touched when allowed.

mod certificate;
mod issuer;

use std::collections::{BTreeMap, BTreeSet};

use irsa_core::{
    endpoint::Capability,
    partition::{self, Activation},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Error},
    directory::{Directory, Scope},
    effective::Families,
    finding::Severity,
    probe,
    status::{self, Status},
    webhook::{Flavor, Overrides, Target, Version},
};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Looked at and right.
    Pass,
    /// Not looked at, because something it needs is missing.
    Skip,
    /// It works, but not as it should.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    /// The word shown and written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable id.
    pub id: &'static str,
    /// What was looked at.
    pub title: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, one sentence each.
    pub evidence: Vec<String>,
    /// What to do.
    pub cure: Option<String>,
}

impl Check {
    fn new(id: &'static str, title: &'static str) -> Self {
        Self {
            id,
            title,
            verdict: Verdict::Pass,
            evidence: Vec::new(),
            cure: None,
        }
    }

    fn see(&mut self, text: impl Into<String>) -> &mut Self {
        self.evidence.push(text.into());
        self
    }

    /// Notes something wrong; the worst verdict stands, with the first cure of that weight.
    fn wrong(&mut self, verdict: Verdict, text: impl Into<String>, cure: impl Into<String>) -> &mut Self {
        self.evidence.push(text.into());
        if verdict > self.verdict {
            self.verdict = verdict;
            self.cure = Some(cure.into());
        }
        self
    }

    fn skip(mut self, text: impl Into<String>) -> Self {
        self.verdict = Verdict::Skip;
        self.evidence.push(text.into());
        self
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The part of the cluster whose pods are looked at.
    pub scope: Scope,
    /// What the caller knows better.
    pub overrides: Overrides,
    /// Whether hosts other than the API server may be resolved and connected to.
    pub probe: bool,
}

/// Looks at everything. The first check that fails so hard that nothing after it can be looked at ends the list.
pub async fn doctor(cluster: &Cluster, options: &Options) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut api = Check::new("api", "API server reachable");
    let version = match Version::read(cluster).await {
        Ok(version) => version,
        Err(error) => {
            api.wrong(
                Verdict::Fail,
                error.to_string(),
                "check the kubeconfig, the context and the network; `kubectl version` must answer",
            );
            return vec![api];
        }
    };
    api.see(format!(
        "{} answers, Kubernetes {}",
        cluster.server(),
        version.git_version
    ));
    checks.push(api);
    checks.push(rights(cluster, options.scope.namespace.as_deref()).await);
    checks.push(platform(&version, &options.overrides));
    let mut directory = match Directory::gather(cluster, &options.scope, &options.overrides).await {
        Ok(directory) => directory,
        Err(error) => {
            let mut check = Check::new("inventory", "Service accounts, namespaces and nodes");
            check.wrong(
                Verdict::Fail,
                error.to_string(),
                "grant list on serviceaccounts, or look at one namespace with -n",
            );
            checks.push(check);
            return checks;
        }
    };
    checks.push(configuration(&directory));
    checks.push(selectors(&directory));
    checks.push(backend(&directory));
    checks.push(certificate::check(cluster, &directory, options.probe).await);
    checks.push(dry_run(cluster, &mut directory, options.scope.namespace.as_deref()).await);
    let (discovery, known) = issuer::discovery(cluster, options.probe).await;
    checks.push(discovery);
    checks.push(issuer::token(cluster, &directory, options.scope.namespace.as_deref(), &known).await);
    checks.push(regions(&directory, options.probe).await);
    checks.push(pods(cluster, options, directory).await);
    checks
}

/// What this person may do: asked of the API server, not tried.
async fn rights(cluster: &Cluster, namespace: Option<&str>) -> Check {
    let mut check = Check::new("rights", "Rights of this user");
    let wanted = [
        (
            "list",
            "",
            "pods",
            true,
            Verdict::Fail,
            "nothing can be said about pods",
        ),
        (
            "list",
            "",
            "serviceaccounts",
            true,
            Verdict::Fail,
            "nothing can be said about service accounts",
        ),
        (
            "list",
            "",
            "nodes",
            false,
            Verdict::Warn,
            "regions come from the pods' own settings",
        ),
        (
            "list",
            "",
            "namespaces",
            false,
            Verdict::Warn,
            "annotations of namespaces are not considered",
        ),
        (
            "list",
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            false,
            Verdict::Warn,
            "the webhook's settings are assumed",
        ),
        (
            "create",
            "",
            "pods",
            true,
            Verdict::Warn,
            "the webhook cannot be tried by a dry-run pod",
        ),
        (
            "patch",
            "",
            "serviceaccounts",
            true,
            Verdict::Warn,
            "irsa set cannot change anything",
        ),
        (
            "patch",
            "apps",
            "deployments",
            true,
            Verdict::Warn,
            "irsa rollout cannot restart anything",
        ),
    ];
    let mut missing = Vec::new();
    for (verb, group, resource, namespaced, weight, without) in wanted {
        let mut attributes = json!({"verb": verb, "group": group, "resource": resource});
        if let (true, Some(namespace)) = (namespaced, namespace) {
            attributes["namespace"] = json!(namespace);
        }
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes}});
        match cluster
            .post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &body)
            .await
        {
            Ok(answer) if answer["status"]["allowed"] == true => {}
            Ok(_) => {
                missing.push((weight, format!("{verb} {resource} is not allowed: {without}")));
            }
            Err(error) => return check.skip(format!("the API server does not say what is allowed: {error}")),
        }
    }
    if missing.is_empty() {
        check.see("everything that irsa needs is allowed");
    }
    for (weight, text) in missing {
        check.wrong(
            weight,
            text,
            "ask for these rights; docs/doctor.md lists a ClusterRole",
        );
    }
    check
}

fn platform(version: &Version, overrides: &Overrides) -> Check {
    let mut check = Check::new("platform", "Cluster may choose its endpoint type");
    let Some(platform) = version.platform(overrides.platform_version) else {
        check.see("not EKS: the webhook's own flags decide, and every cluster may choose");
        return check;
    };
    let known = match platform.eks {
        Some(eks) => format!("eks.{eks}"),
        None => "an unknown platform version, taken as the current one (see --platform-version)".to_owned(),
    };
    match platform.capability() {
        Capability::MayChoose { default } => {
            check.see(format!(
                "Kubernetes {} with {known} may choose; it starts from {default}",
                platform.kubernetes
            ));
        }
        Capability::GlobalOnly => {
            check.wrong(
                Verdict::Fail,
                format!(
                    "Kubernetes {} with {known} is too old: it uses the global endpoint whatever annotations say",
                    platform.kubernetes
                ),
                "upgrade the cluster; every version that EKS supports may choose",
            );
        }
    }
    check
}

fn configuration(directory: &Directory) -> Check {
    let mut check = Check::new("webhook-configuration", "Webhook configuration");
    let webhooks = &directory.webhooks;
    if let Some(why) = &webhooks.unreadable {
        return check.skip(why.clone());
    }
    if webhooks.installed.is_empty() {
        check.wrong(
            Verdict::Fail,
            "no MutatingWebhookConfiguration injects identities into pods",
            "irsa install; on EKS, ask AWS support to restore the configuration pod-identity-webhook",
        );
        return check;
    }
    for webhook in &webhooks.installed {
        check.see(format!(
            "{} ({}): {}, failurePolicy {}, reinvocationPolicy {}, sideEffects {}, timeout {} s",
            webhook.configuration,
            webhook.flavor,
            webhook.target,
            webhook.failure_policy,
            webhook.reinvocation_policy,
            webhook.side_effects,
            webhook.timeout_seconds
        ));
        if webhook.reinvocation_policy != "IfNeeded" {
            check.wrong(
                Verdict::Warn,
                "containers that a later webhook adds (Vault, Istio, Linkerd) get no identity",
                "set reinvocationPolicy: IfNeeded",
            );
        }
        if !matches!(webhook.side_effects.as_str(), "None" | "NoneOnDryRun") {
            check.wrong(
                Verdict::Warn,
                "sideEffects keeps the webhook from being tried by dry runs",
                "set sideEffects: None",
            );
        }
        if !webhook.review_versions.iter().any(|version| version == "v1") {
            check.wrong(
                Verdict::Warn,
                format!(
                    "it takes only reviews of version {}",
                    webhook.review_versions.join(", ")
                ),
                "list v1 first in admissionReviewVersions; newer API servers send nothing else",
            );
        }
        if webhook.failure_policy == "Fail"
            && webhook.object_selector.is_everything()
            && webhook.namespace_selector.is_everything()
        {
            check.wrong(
                Verdict::Warn,
                "failurePolicy Fail without selectors: if the webhook is down no pod can start, its own included",
                "exclude the webhook's own namespace and kube-system, or use Ignore",
            );
        }
    }
    if webhooks.installed.len() > 1 {
        check.wrong(
            Verdict::Warn,
            format!(
                "{} webhooks inject identities: the first one called wins, the others find everything in place",
                webhooks.installed.len()
            ),
            "keep one; on EKS its own stays and others should use another annotation prefix",
        );
    }
    check
}

fn selectors(directory: &Directory) -> Check {
    let mut check = Check::new("webhook-selectors", "Webhook selectors");
    let webhooks = &directory.webhooks;
    if webhooks.installed.is_empty() {
        return check.skip("no webhook configuration is known");
    }
    let mut excluded: BTreeMap<&str, usize> = BTreeMap::new();
    for (namespace, accounts) in &directory.accounts {
        let meta = crate::wire::Meta::default();
        if directory.webhook_asked(namespace, &meta) {
            continue;
        }
        let with_role = accounts
            .values()
            .filter(|account| {
                account
                    .annotations
                    .as_ref()
                    .is_some_and(|annotations| annotations.role_arn().is_some())
            })
            .count();
        if with_role > 0 {
            excluded.insert(namespace, with_role);
        }
    }
    if excluded.is_empty() {
        check.see("every namespace with a service account that has a role is sent to the webhook");
    }
    for (namespace, accounts) in excluded {
        check.wrong(
            Verdict::Fail,
            format!("pods in {namespace} are not sent to the webhook, though {accounts} of its service accounts have a role"),
            "change the namespaceSelector or objectSelector of the webhook configuration, or the labels of the namespace",
        );
    }
    check
}

fn backend(directory: &Directory) -> Check {
    let mut check = Check::new("webhook-backend", "Webhook pods");
    let Some(first) = directory.webhooks.installed.first() else {
        return check.skip("no webhook configuration is known");
    };
    let Target::Service { namespace, name, .. } = &first.target else {
        return check.skip(format!(
            "it runs outside the cluster, at {}: only a dry run shows whether it answers",
            first.target
        ));
    };
    let Some(ready) = directory.webhooks.ready else {
        return check.skip(format!(
            "the pods behind service {namespace}/{name} may not be read"
        ));
    };
    check.see(format!(
        "{} of {} pods behind service {namespace}/{name} are ready; settings from {}",
        ready.ready, ready.total, directory.webhooks.source
    ));
    if ready.ready == 0 {
        check.wrong(
            Verdict::Fail,
            if first.failure_policy == "Ignore" {
                "nothing answers: new pods start without their identity, and nobody is told"
            } else {
                "nothing answers: no new pod can start"
            },
            format!("kubectl -n {namespace} get pods, describe and logs of the webhook"),
        );
    } else if ready.ready == 1 {
        check.wrong(
            Verdict::Warn,
            "one pod only: while its node is drained new pods start without their identity",
            "run two replicas with a PodDisruptionBudget",
        );
    }
    if directory.webhooks.settings.region.is_none() && first.flavor != Flavor::Eks {
        check.wrong(
            Verdict::Warn,
            "it writes no region: pods whose template has none call the global endpoint or fail",
            "set --aws-default-region on the webhook",
        );
    }
    check
}

async fn dry_run(cluster: &Cluster, directory: &mut Directory, namespace: Option<&str>) -> Check {
    let mut check = Check::new("webhook-answers", "A dry-run pod gets its identity");
    let Some(account) = probe::candidate(directory, namespace).or_else(|| probe::candidate(directory, None))
    else {
        return check.skip("no service account has a role, so there is nothing to try");
    };
    match probe::probe(cluster, directory, account).await {
        Ok(probe) => {
            let (namespace, name) = &probe.account;
            let title = format!("{namespace}/{name}");
            if !probe.mutated {
                check.wrong(
                    Verdict::Fail,
                    format!("a dry-run pod of service account {title} came back without an identity"),
                    "the checks above say why: configuration, selectors, pods, certificate; else look at the API server's log \
                     for `failed calling webhook`",
                );
                return check;
            }
            let value = probe.value.as_deref().unwrap_or("not set");
            check.see(format!(
                "a dry-run pod of service account {title} got its role; AWS_STS_REGIONAL_ENDPOINTS is {value}, the region is {}",
                probe.region.as_deref().unwrap_or("not set")
            ));
            if let Some(record) = probe.record {
                check.see(format!(
                    "the irsa webhook recorded: {} by {}",
                    record.endpoint, record.source
                ));
                directory.webhooks.observe(record);
            }
            if let Some(value) = &probe.value
                && let Some(problem) = irsa_core::endpoint::EnvValue::read(value).problem
            {
                check.wrong(
                    Verdict::Fail,
                    format!("the webhook writes {value:?}: {}", problem.explain()),
                    "set --global-endpoint-value=legacy on the webhook",
                );
            }
            if probe.region.is_none() {
                check.wrong(
                    Verdict::Warn,
                    "the webhook writes no region",
                    "set --aws-default-region on the webhook, or AWS_REGION and AWS_DEFAULT_REGION in the pods",
                );
            }
            check
        }
        Err(error) if error.is_forbidden() => {
            check.skip(format!("a dry-run pod may not be created: {error}"))
        }
        Err(error) => {
            check.wrong(
                Verdict::Fail,
                error.to_string(),
                "the API server says which webhook or policy refuses the pod",
            );
            check
        }
    }
}

async fn regions(directory: &Directory, probe: bool) -> Check {
    let mut check = Check::new("regions", "STS in the regions in use");
    let regions: BTreeSet<&str> = directory
        .nodes
        .values()
        .map(|node| &*node.region)
        .chain(directory.webhooks.settings.region.as_deref())
        .collect();
    if regions.is_empty() {
        return check.skip("no region is known: nodes tell none and the webhook writes none");
    }
    for region in regions {
        let host = partition::sts_host(region, false, false);
        match partition::activation(region) {
            Activation::Always | Activation::Default => check.see(format!("{region}: {host}, active by default")),
            Activation::OptIn => check.see(format!(
                "{region}: {host}, only for accounts that have enabled the region; tokens of the global endpoint are not \
                 valid in it unless they are of version 2"
            )),
            Activation::Unknown => check.wrong(
                Verdict::Warn,
                format!("{region}: not known to this build; SDKs call {host}"),
                "check the spelling of the region",
            ),
        };
        if !probe {
            continue;
        }
        match reach(&host).await {
            Ok(address) => check.see(format!("{host} resolves and answers at {address}")),
            Err(why) => check.wrong(
                Verdict::Fail,
                format!("{host}: {why}"),
                "from the pods' network: check DNS, routes, security groups, or the VPC endpoint's private DNS",
            ),
        };
    }
    if !probe {
        check.see("hosts were not resolved: --probe does it, from this machine");
    }
    check
}

/// Resolves a host and opens a connection to its port 443.
async fn reach(host: &str) -> Result<std::net::SocketAddr, String> {
    let patience = std::time::Duration::from_secs(5);
    let addresses = tokio::time::timeout(patience, tokio::net::lookup_host((host, 443)))
        .await
        .map_err(|_| "the name is not resolved within 5 s".to_owned())?
        .map_err(|error| format!("the name does not resolve ({error})"))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address),
            Ok(Err(error)) => last = format!("{address} does not answer ({error})"),
            Err(_) => last = format!("{address} does not answer within 5 s"),
        }
    }
    Err(last)
}

async fn pods(cluster: &Cluster, options: &Options, directory: Directory) -> Check {
    let mut check = Check::new("pods", "What pods carry");
    let status_options = status::Options {
        scope: options.scope.clone(),
        families: Families::default(),
        ..status::Options::default()
    };
    let mut status = Status::new(cluster.context(), cluster.server(), directory);
    if let Err(error) = status.read_pods(cluster, &status_options).await {
        return check.skip(format!("pods may not be read: {error}"));
    }
    let summary = status.summary();
    check.see(format!(
        "{} pods, {} with an identity, {} stale, {} without the identity that they should have",
        summary.pods, summary.pods_with_identity, summary.stale, summary.unmutated
    ));
    for (id, count) in &summary.ids {
        let verdict = match id.severity() {
            Severity::Error => Verdict::Fail,
            Severity::Warning => Verdict::Warn,
            Severity::Info => continue,
        };
        check.wrong(
            verdict,
            format!("{count} times {id}: {}", id.describe()),
            "irsa status -A shows where, with a cure for each",
        );
    }
    check
}

/// The platform version in what `aws eks describe-cluster` prints.
pub fn platform_of_describe_cluster(text: &str) -> Result<u16, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON ({error}); use --output json"))?;
    let found = value["cluster"]["platformVersion"]
        .as_str()
        .or_else(|| value["platformVersion"].as_str())
        .ok_or(
            "it has no cluster.platformVersion: expected what `aws eks describe-cluster --name NAME` prints",
        )?;
    found
        .strip_prefix("eks.")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("`{found}` is no EKS platform version"))
}

/// Whether a request failed for want of rights or because the server does not know it.
fn unavailable(error: &Error) -> bool {
    error.is_forbidden() || error.is_not_found()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_stands_with_its_cure() {
        let mut check = Check::new("a", "A");
        check.wrong(Verdict::Warn, "w", "cure w");
        check.wrong(Verdict::Fail, "f", "cure f");
        check.wrong(Verdict::Warn, "w2", "cure w2");
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(check.cure.as_deref(), Some("cure f"));
        assert_eq!(check.evidence, ["w", "f", "w2"]);
    }

    #[test]
    fn the_platform_version_is_found_in_the_output_of_the_aws_command() {
        let text = r#"{"cluster": {"name": "demo", "version": "1.29", "platformVersion": "eks.7"}}"#;
        assert_eq!(platform_of_describe_cluster(text), Ok(7));
        assert!(
            platform_of_describe_cluster("{}")
                .unwrap_err()
                .contains("describe-cluster")
        );
        assert!(platform_of_describe_cluster("cluster: x").is_err());
    }

    #[test]
    fn an_old_platform_fails_and_others_start_from_their_default() {
        let version = |text: &str| Version {
            git_version: text.to_owned(),
        };
        let check = platform(&version("v1.22.17-eks-1"), &Overrides::default());
        assert_eq!(check.verdict, Verdict::Fail);
        let check = platform(&version("v1.29.1-eks-1"), &Overrides::default());
        assert_eq!(check.verdict, Verdict::Pass);
        assert!(check.evidence[0].contains("regional"));
        assert_eq!(
            platform(&version("v1.29.1"), &Overrides::default()).verdict,
            Verdict::Pass
        );
    }
}
