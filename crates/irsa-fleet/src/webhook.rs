//! The webhooks that inject identities in a cluster: which there are, whose they are, and the settings they run with.
//!
//! The webhook that EKS runs in its control plane tells nobody its flags; what AWS documents is assumed for it.
//! A webhook that runs in the cluster is read from the arguments of its own pods.

use std::fmt;

use irsa_core::{
    endpoint::{Choice, ChoiceSource, EndpointType, GlobalValue, KubernetesVersion, Platform},
    selector::LabelSelector,
    settings::{Compat, Settings},
};
use serde_json::Value;

use crate::cluster::{Cluster, Error};

/// Whose webhook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavor {
    /// The one that EKS runs in the control plane.
    Eks,
    /// The Go webhook aws/amazon-eks-pod-identity-webhook, run by the cluster's owner.
    Upstream,
    /// This project's.
    Irsa,
}

impl Flavor {
    /// A short stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eks => "eks",
            Self::Upstream => "upstream",
            Self::Irsa => "irsa",
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where the API server sends its reviews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A service in the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Port, 443 unless said otherwise.
        port: u16,
        /// Path.
        path: String,
    },
    /// A URL outside the cluster network.
    Url(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service {
                namespace,
                name,
                port,
                path,
            } => write!(f, "https://{name}.{namespace}.svc:{port}{path}"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// One entry of a `MutatingWebhookConfiguration` that injects identities.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Name of the configuration object.
    pub configuration: String,
    /// Name of the entry in it.
    pub name: String,
    /// Whose it is.
    pub flavor: Flavor,
    /// Where reviews go.
    pub target: Target,
    /// `Ignore` or `Fail`.
    pub failure_policy: String,
    /// `Never` or `IfNeeded`.
    pub reinvocation_policy: String,
    /// `None`, `NoneOnDryRun`, …
    pub side_effects: String,
    /// Seconds that the API server waits.
    pub timeout_seconds: u64,
    /// PEM of the authority that the API server trusts for it; empty means the system's.
    pub ca_bundle: Vec<u8>,
    /// Which namespaces it is asked for.
    pub namespace_selector: LabelSelector,
    /// Which pods it is asked for.
    pub object_selector: LabelSelector,
    /// Review versions it accepts.
    pub review_versions: Vec<String>,
}

/// Where the settings of a webhook were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsSource {
    /// The arguments of the pods behind its service.
    Arguments {
        /// Namespace and name of the pod that was read.
        pod: String,
    },
    /// Assumed: what AWS documents for EKS.
    Documented,
    /// Assumed: the defaults of our own webhook, because nothing could be read.
    Defaults,
    /// Seen in the record that this project's webhook leaves in pods; flags that show nowhere are taken as not given.
    Observed,
    /// Said by the caller.
    Given,
}

impl fmt::Display for SettingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments { pod } => write!(f, "the arguments of pod {pod}"),
            Self::Documented => f.write_str("assumed as AWS documents them for EKS"),
            Self::Defaults => f.write_str("assumed: the defaults of the irsa webhook"),
            Self::Observed => f.write_str("seen in the pods that the irsa webhook mutated"),
            Self::Given => f.write_str("given on the command line"),
        }
    }
}

/// What is known about the webhooks of a cluster.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// The entries that inject identities, in the order in which the API server calls them.
    pub installed: Vec<Installed>,
    /// Why the configurations could not be read, if they could not.
    pub unreadable: Option<String>,
    /// The settings that new pods are mutated with.
    pub settings: Settings,
    /// The settings of this project's webhook with its defaults: what a pod with its record is held against when the
    /// settings are only assumed.
    pub own: Settings,
    /// Where those come from.
    pub source: SettingsSource,
    /// Whether a pod has shown what service accounts without a choice are given.
    pub default_observed: bool,
    /// Ready pods behind the service of the first entry; unknown for a URL, or without the right to look.
    pub ready: Option<Ready>,
    /// The `pod-identity-webhook` ConfigMap is watched by it.
    pub watches_config_map: bool,
}

/// Pods behind a webhook's service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Ready ones.
    pub ready: usize,
    /// All.
    pub total: usize,
}

impl Webhooks {
    /// No webhook was looked for: these settings are what pods are held against.
    pub fn assumed(settings: Settings, source: SettingsSource) -> Self {
        Self {
            installed: Vec::new(),
            unreadable: None,
            own: Settings::default(),
            default_observed: false,
            settings,
            source,
            ready: None,
            watches_config_map: false,
        }
    }

    /// The settings that a pod is held against. A pod that carries the record of this project's webhook was mutated by
    /// it, even where its configuration looks like another's.
    pub fn settings_for(&self, recorded: bool) -> &Settings {
        if recorded && self.source == SettingsSource::Documented {
            &self.own
        } else {
            &self.settings
        }
    }

    /// Takes it as seen that this project's webhook mutates pods here, and learns its default from the record that it
    /// left: one that names its flag or the platform tells what service accounts without a choice are given.
    pub fn observe(&mut self, record: Choice) {
        if !matches!(self.source, SettingsSource::Documented | SettingsSource::Observed) {
            return;
        }
        self.observe_own();
        match record.source {
            ChoiceSource::Flag => {
                self.settings.flag = Some(record.endpoint);
                self.default_observed = true;
            }
            ChoiceSource::Platform | ChoiceSource::Unset | ChoiceSource::PlatformTooOld => {
                self.settings.flag = None;
                self.default_observed = true;
            }
            _ => {}
        }
        self.own.flag = self.settings.flag;
    }

    /// Takes it as seen that this project's webhook mutates pods here; its default stays unknown.
    pub fn observe_own(&mut self) {
        if self.source == SettingsSource::Documented {
            let region = self.settings.region.take();
            self.settings = self.own.clone();
            self.settings.region = region;
            self.source = SettingsSource::Observed;
            self.watches_config_map = true;
            let known = self
                .installed
                .iter()
                .any(|webhook| webhook.flavor == Flavor::Irsa);
            if let Some(first) = self.installed.first_mut().filter(|_| !known) {
                first.flavor = Flavor::Irsa;
            }
        }
    }

    /// Learns from the records in a page of pods, as long as the default is not known: the newest record counts.
    pub fn learn(&mut self, pods: &[crate::wire::Pod<'_>]) {
        let assumed = matches!(self.source, SettingsSource::Documented | SettingsSource::Observed);
        if !assumed || self.default_observed {
            return;
        }
        let name = format!(
            "{}/{}",
            self.own.annotation_prefix,
            irsa_core::annotations::RECORD
        );
        let mut newest: Option<(&str, bool, Choice)> = None;
        for pod in pods {
            let Some(record) = pod.metadata.annotations.get(&name).and_then(Choice::from_record) else {
                continue;
            };
            let of_default = matches!(
                record.source,
                ChoiceSource::Flag
                    | ChoiceSource::Platform
                    | ChoiceSource::Unset
                    | ChoiceSource::PlatformTooOld
            );
            // RFC 3339 in the form that API servers write sorts as text.
            let made = pod.metadata.creation_timestamp.as_deref().unwrap_or_default();
            if newest.is_none_or(|(known, default, _)| (of_default, made) >= (default, known)) {
                newest = Some((made, of_default, record));
            }
        }
        if let Some((.., record)) = newest {
            self.observe(record);
        }
    }

    /// Whether the API server asks one of the webhooks about a pod with these labels in a namespace with those.
    ///
    /// Unknown configurations count as asking: their absence is reported once, not for every pod.
    pub fn asked<'a>(
        &self,
        namespace_labels: impl Fn(&str) -> Option<&'a str> + Copy,
        pod_labels: impl Fn(&str) -> Option<&'a str> + Copy,
    ) -> bool {
        self.installed.is_empty()
            || self.installed.iter().any(|webhook| {
                webhook.namespace_selector.selects(namespace_labels)
                    && webhook.object_selector.selects(pod_labels)
            })
    }
}

/// What the caller knows better than the cluster tells.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `eks.N`.
    pub platform_version: Option<u16>,
    /// Settings as a whole: nothing is discovered then.
    pub settings: Option<Settings>,
}

/// Reads the webhook configurations, and the settings behind them.
pub async fn discover(
    cluster: &Cluster,
    version: &Version,
    overrides: &Overrides,
) -> Result<Webhooks, Error> {
    let mut found = Webhooks::assumed(Settings::default(), SettingsSource::Defaults);
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations?limit=500";
    match cluster.get_value(path).await {
        Ok(list) => found.installed = installed(&list),
        Err(error) if error.is_forbidden() || error.is_not_found() => {
            found.unreadable = Some(error.to_string());
        }
        Err(error) => return Err(error),
    }
    let platform = version.platform(overrides.platform_version);
    if let Some(first) = found.installed.first() {
        let flavor = first.flavor;
        if let Target::Service { namespace, name, .. } = &first.target
            && let Some(behind) = pods_behind(cluster, namespace, name).await?
        {
            found.ready = Some(behind.ready);
            if let Some((pod, arguments)) = behind.arguments {
                let read = from_arguments(flavor, &arguments);
                found.settings = read.settings;
                found.watches_config_map = read.watches_config_map;
                found.source = SettingsSource::Arguments { pod };
            }
        }
        if found.source == SettingsSource::Defaults {
            match flavor {
                Flavor::Eks => {
                    found.settings = documented_for_eks(platform);
                    found.source = SettingsSource::Documented;
                }
                Flavor::Upstream => found.settings = Settings::default().upstream(),
                Flavor::Irsa => found.watches_config_map = true,
            }
        }
    } else if version.is_eks() {
        found.settings = documented_for_eks(platform);
        found.source = SettingsSource::Documented;
    }
    found.own.platform = platform;
    if found.settings.platform.is_none() && !found.settings.compat.is_upstream() {
        found.settings.platform = platform;
    }
    if let Some(settings) = &overrides.settings {
        found.settings = settings.clone();
        found.source = SettingsSource::Given;
    }
    Ok(found)
}

/// The settings of the webhook that EKS runs: that of the Go webhook, with the default of the platform's table.
pub fn documented_for_eks(platform: Option<Platform>) -> Settings {
    use irsa_core::endpoint::Capability;
    let mut settings = Settings::default().upstream();
    settings.flag = Some(match platform.map(Platform::capability) {
        Some(Capability::GlobalOnly) => EndpointType::Global,
        Some(Capability::MayChoose { default }) => default,
        None => EndpointType::Regional,
    });
    settings
}

/// The entries of a list of `MutatingWebhookConfiguration` that inject identities.
pub fn installed(list: &Value) -> Vec<Installed> {
    let mut found = Vec::new();
    for configuration in list["items"].as_array().into_iter().flatten() {
        let configuration_name = text(&configuration["metadata"]["name"]);
        for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
            if let Some(webhook) = read(configuration, &configuration_name, webhook) {
                found.push(webhook);
            }
        }
    }
    // The API server calls configurations in the order of their names.
    found.sort_by(|a, b| a.configuration.cmp(&b.configuration));
    found
}

fn read(configuration: &Value, configuration_name: &str, webhook: &Value) -> Option<Installed> {
    let creates_pods = webhook["rules"].as_array().into_iter().flatten().any(|rule| {
        let lists = |field: &str, wanted: &str| {
            rule[field]
                .as_array()
                .into_iter()
                .flatten()
                .any(|value| value == wanted || value == "*")
        };
        lists("operations", "CREATE") && (lists("resources", "pods") || lists("resources", "*/*"))
    });
    if !creates_pods {
        return None;
    }
    let name = text(&webhook["name"]);
    let client = &webhook["clientConfig"];
    let target = match (&client["url"], &client["service"]) {
        (Value::String(url), _) => Target::Url(url.clone()),
        (_, service @ Value::Object(_)) => Target::Service {
            namespace: text(&service["namespace"]),
            name: text(&service["name"]),
            port: service["port"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(443),
            path: service["path"].as_str().unwrap_or("/").to_owned(),
        },
        _ => return None,
    };
    let labels = &configuration["metadata"]["labels"];
    let label = |key: &str| labels[key].as_str().unwrap_or_default();
    let is_ours = label("app.kubernetes.io/name") == "irsa"
        || label("app.kubernetes.io/part-of") == "irsa"
        || configuration_name.starts_with("irsa")
        || name.contains("irsa");
    let is_identity = is_ours
        || name.contains("pod-identity")
        || name == "iam-for-pods.amazonaws.com"
        || configuration_name.contains("pod-identity")
        || matches!(&target, Target::Service { name, .. } if name.contains("pod-identity"));
    if !is_identity {
        return None;
    }
    let flavor = if is_ours {
        Flavor::Irsa
    } else if name == "iam-for-pods.amazonaws.com"
        || matches!(&target, Target::Url(url) if url.contains("127.0.0.1:23443"))
    {
        Flavor::Eks
    } else {
        Flavor::Upstream
    };
    Some(Installed {
        configuration: configuration_name.to_owned(),
        name,
        flavor,
        target,
        failure_policy: webhook["failurePolicy"].as_str().unwrap_or("Fail").to_owned(),
        reinvocation_policy: webhook["reinvocationPolicy"]
            .as_str()
            .unwrap_or("Never")
            .to_owned(),
        side_effects: text(&webhook["sideEffects"]),
        timeout_seconds: webhook["timeoutSeconds"].as_u64().unwrap_or(10),
        ca_bundle: client["caBundle"]
            .as_str()
            .and_then(|bundle| {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.decode(bundle).ok()
            })
            .unwrap_or_default(),
        namespace_selector: selector(&webhook["namespaceSelector"]),
        object_selector: selector(&webhook["objectSelector"]),
        review_versions: webhook["admissionReviewVersions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect(),
    })
}

/// A selector of a webhook; one that is absent selects everything, as the API server defaults it.
fn selector(value: &Value) -> LabelSelector {
    // An API server stores no selector that cannot be parsed.
    Some(value)
        .filter(|value| !value.is_null())
        .and_then(|value| LabelSelector::from_object(Some(value)).ok())
        .unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

struct Behind {
    ready: Ready,
    arguments: Option<(String, Vec<String>)>,
}

/// The pods that a service selects; nothing when the service or its pods may not be read.
async fn pods_behind(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Behind>, Error> {
    let unreadable = |error: &Error| error.is_forbidden();
    let service = match cluster
        .find(&format!("/api/v1/namespaces/{namespace}/services/{name}"))
        .await
    {
        Ok(Some(service)) => service,
        Ok(None) => {
            return Ok(Some(Behind {
                ready: Ready { ready: 0, total: 0 },
                arguments: None,
            }));
        }
        Err(error) if unreadable(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(selector) = service["spec"]["selector"]
        .as_object()
        .filter(|map| !map.is_empty())
    else {
        return Ok(None);
    };
    let labels: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let query = crate::pages::Query {
        labels: Some(labels.join(",")),
        ..Default::default()
    };
    let mut behind = Behind {
        ready: Ready { ready: 0, total: 0 },
        arguments: None,
    };
    let outcome = crate::pages::pages(
        cluster,
        &crate::pages::collection("v1", Some(namespace), "pods"),
        &query,
        |body| {
            let page: Value = crate::cluster::parse("/api/v1/pods", body)?;
            for pod in page["items"].as_array().into_iter().flatten() {
                if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
                    || !pod["metadata"]["deletionTimestamp"].is_null()
                {
                    continue;
                }
                behind.ready.total += 1;
                let ready = pod["status"]["conditions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
                behind.ready.ready += usize::from(ready);
                if behind.arguments.is_none() || ready {
                    behind.arguments = arguments(pod).map(|arguments| {
                        let pod = format!("{namespace}/{}", text(&pod["metadata"]["name"]));
                        (pod, arguments)
                    });
                }
            }
            Ok(())
        },
    )
    .await;
    match outcome {
        Ok(_) => Ok(Some(behind)),
        Err(error) if unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Command and arguments of the container that looks most like the webhook: the first.
fn arguments(pod: &Value) -> Option<Vec<String>> {
    let container = pod["spec"]["containers"].get(0)?;
    let mut arguments = Vec::new();
    for field in ["command", "args"] {
        for value in container[field].as_array().into_iter().flatten() {
            arguments.push(text(value));
        }
    }
    Some(arguments)
}

/// What the arguments of a webhook say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadArguments {
    /// The settings.
    pub settings: Settings,
    /// Whether the ConfigMap is watched.
    pub watches_config_map: bool,
}

/// Reads the flags that decide what a pod is given. Flags that this build does not know are other flags.
pub fn from_arguments(flavor: Flavor, arguments: &[String]) -> ReadArguments {
    let flag = |name: &str| -> Option<&str> {
        arguments.iter().enumerate().rev().find_map(|(index, argument)| {
            let flag = argument
                .strip_prefix("--")
                .or_else(|| argument.strip_prefix('-'))?;
            match flag.split_once('=') {
                Some((key, value)) => (key == name).then_some(value),
                None => (flag == name).then(|| {
                    arguments
                        .get(index + 1)
                        .map(String::as_str)
                        .filter(|next| !next.starts_with('-'))
                        .unwrap_or("true")
                }),
            }
        })
    };
    let boolean =
        |name: &str| flag(name).map(|value| irsa_core::annotations::parse_bool(value).unwrap_or(true));
    let upstream = flavor != Flavor::Irsa || flag("compat") == Some("upstream");
    let mut settings = Settings::default();
    if upstream {
        settings = settings.upstream();
    }
    for (name, field) in [
        ("annotation-prefix", &mut settings.annotation_prefix),
        ("token-audience", &mut settings.audience),
        ("token-mount-path", &mut settings.mount_path),
    ] {
        if let Some(value) = flag(name).filter(|value| !value.is_empty()) {
            *field = value.into();
        }
    }
    if let Some(seconds) = flag("token-expiration").and_then(|value| value.parse().ok()) {
        settings.set_token_expiration(seconds);
    }
    settings.region = flag("aws-default-region")
        .filter(|value| !value.is_empty())
        .map(Into::into);
    settings.flag = flag("sts-regional-endpoint").and_then(|value| match value {
        "regional" => Some(EndpointType::Regional),
        "global" => Some(EndpointType::Global),
        value => irsa_core::annotations::parse_bool(value).map(EndpointType::from_regional),
    });
    if !upstream {
        settings.compat = Compat::None;
        if let Some(value) = flag("global-endpoint-value").and_then(|value| value.parse::<GlobalValue>().ok())
        {
            settings.global_value = value;
        }
        if let Some(value) = boolean("namespace-defaults") {
            settings.namespace_defaults = value;
        }
        settings.platform = flag("kubernetes-version")
            .and_then(|version| Platform::parse(version, flag("platform-version")).ok());
    }
    ReadArguments {
        watches_config_map: boolean("watch-config-map").unwrap_or(false),
        settings,
    }
}

/// What `/version` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// For example `v1.29.4-eks-036c24b`.
    pub git_version: String,
}

impl Version {
    /// Asks the API server.
    pub async fn read(cluster: &Cluster) -> Result<Self, Error> {
        let value = cluster.get_value("/version").await?;
        Ok(Self {
            git_version: text(&value["gitVersion"]),
        })
    }

    /// Whether it is EKS's build of Kubernetes.
    pub fn is_eks(&self) -> bool {
        self.git_version.contains("-eks-")
    }

    /// The version of Kubernetes, as far as the rules look at it.
    pub fn kubernetes(&self) -> Option<KubernetesVersion> {
        self.git_version.parse().ok()
    }

    /// The EKS platform; nothing for other clusters, which choose freely.
    pub fn platform(&self, eks: Option<u16>) -> Option<Platform> {
        (self.is_eks() || eks.is_some())
            .then(|| self.kubernetes())
            .flatten()
            .map(|kubernetes| Platform { kubernetes, eks })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn strings(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|argument| (*argument).to_owned()).collect()
    }

    #[test]
    fn the_webhooks_of_eks_upstream_and_irsa_are_told_apart_and_others_left_out() {
        let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
        let list = json!({"items": [
            {"metadata": {"name": "vault"}, "webhooks": [{"name": "vault.hashicorp.com", "rules": rules,
                "clientConfig": {"service": {"name": "vault", "namespace": "vault"}}}]},
            {"metadata": {"name": "pod-identity-webhook"}, "webhooks": [
                {"name": "iam-for-pods.amazonaws.com", "rules": rules, "failurePolicy": "Ignore",
                 "clientConfig": {"url": "https://127.0.0.1:23443/mutate"}}]},
            {"metadata": {"name": "other"}, "webhooks": [{"name": "pod-identity-webhook.amazonaws.com", "rules": rules,
                "clientConfig": {"service": {"name": "pod-identity-webhook", "namespace": "default", "path": "/mutate"}}}]},
            {"metadata": {"name": "irsa-webhook"}, "webhooks": [{"name": "w", "rules": rules,
                "objectSelector": {"matchExpressions": [{"key": "eks.amazonaws.com/skip-pod-identity-webhook", "operator": "DoesNotExist"}]},
                "clientConfig": {"service": {"name": "irsa", "namespace": "irsa-system"}}}]},
        ]});
        let found = installed(&list);
        assert_eq!(
            found
                .iter()
                .map(|w| (w.configuration.as_str(), w.flavor))
                .collect::<Vec<_>>(),
            [
                ("irsa-webhook", Flavor::Irsa),
                ("other", Flavor::Upstream),
                ("pod-identity-webhook", Flavor::Eks)
            ]
        );
        assert_eq!(
            found[1].target.to_string(),
            "https://pod-identity-webhook.default.svc:443/mutate"
        );
        assert!(
            !found[0]
                .object_selector
                .selects(|key| (key == "eks.amazonaws.com/skip-pod-identity-webhook").then_some("true"))
        );
        assert!(found[0].object_selector.selects(|_| None));
    }

    #[test]
    fn flags_are_read_as_both_webhooks_read_them() {
        let read = from_arguments(
            Flavor::Upstream,
            &strings(&[
                "/webhook",
                "--sts-regional-endpoint",
                "--aws-default-region=us-west-2",
                "--token-audience",
                "amazonaws.com",
                "--watch-config-map=true",
            ]),
        );
        assert!(read.settings.compat.is_upstream());
        assert!(read.watches_config_map);
        assert_eq!(read.settings.flag, Some(EndpointType::Regional));
        assert_eq!(read.settings.region.as_deref(), Some("us-west-2"));
        assert_eq!(&*read.settings.audience, "amazonaws.com");

        let read = from_arguments(
            Flavor::Irsa,
            &strings(&[
                "irsa",
                "webhook",
                "--sts-regional-endpoint=false",
                "--global-endpoint-value=omit",
            ]),
        );
        assert!(!read.settings.compat.is_upstream());
        assert_eq!(read.settings.flag, Some(EndpointType::Global));
        assert_eq!(read.settings.global_value, GlobalValue::Omit);
    }

    #[test]
    fn only_eks_has_a_platform_unless_the_caller_says_so() {
        let eks = Version {
            git_version: "v1.22.17-eks-0a21954".to_owned(),
        };
        assert_eq!(eks.platform(None).unwrap().kubernetes.minor, 22);
        let kind = Version {
            git_version: "v1.30.0".to_owned(),
        };
        assert_eq!(kind.platform(None), None);
        assert_eq!(kind.platform(Some(4)).unwrap().eks, Some(4));
        assert_eq!(
            documented_for_eks(eks.platform(None)).flag,
            Some(EndpointType::Global)
        );
        assert_eq!(documented_for_eks(None).flag, Some(EndpointType::Regional));
    }

    #[test]
    fn the_record_in_pods_tells_the_default_that_no_configuration_tells() {
        let pods = |records: &[(&str, &str)]| {
            let items: Vec<_> = records
                .iter()
                .map(|(made, record)| {
                    json!({"metadata": {"creationTimestamp": made, "annotations": {"eks.amazonaws.com/sts-endpoint": record}}})
                })
                .collect();
            json!({"items": items}).to_string()
        };
        let learned = |records: &[(&str, &str)]| {
            let mut webhooks = Webhooks::assumed(documented_for_eks(None), SettingsSource::Documented);
            let text = pods(records);
            let page: crate::wire::Page<'_, crate::wire::Pod<'_>> = serde_json::from_str(&text).unwrap();
            webhooks.learn(&page.items);
            (webhooks.source, webhooks.settings.flag, webhooks.default_observed)
        };
        // The newest record of a default counts, however new one of a choice is.
        assert_eq!(
            learned(&[
                ("2026-01-01T00:00:00Z", "regional,flag"),
                ("2026-01-02T00:00:00Z", "global,flag"),
                ("2026-01-03T00:00:00Z", "regional,service-account"),
            ]),
            (SettingsSource::Observed, Some(EndpointType::Global), true)
        );
        assert_eq!(
            learned(&[("2026-01-01T00:00:00Z", "regional,platform")]),
            (SettingsSource::Observed, None, true)
        );
        assert_eq!(
            learned(&[("2026-01-01T00:00:00Z", "regional,service-account")]),
            (SettingsSource::Observed, None, false)
        );
        assert_eq!(
            learned(&[("2026-01-01T00:00:00Z", "whatever")]),
            (SettingsSource::Documented, Some(EndpointType::Regional), false)
        );
    }
}
