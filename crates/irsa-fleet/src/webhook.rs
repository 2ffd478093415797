//! The webhooks that inject identities in a cluster: which there are, whose they are, and the settings they run with.
//!
//! The webhook that EKS runs in its control plane tells nobody its flags; what AWS documents is assumed for it.
//! A webhook that runs in the cluster is read from the arguments of its own pods.

use std::fmt;

use irsa_core::{
    endpoint::{Choice, ChoiceSource, EndpointType, KubernetesVersion, Platform},
    finding::WhyUnknown,
    flags,
    selector::LabelSelector,
    settings::Settings,
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
    /// Assumed, because they cannot be read.
    Defaults,
    /// Seen in the record that this project's webhook leaves in pods; flags that show nowhere are taken as not given.
    Observed,
    /// Said by the caller.
    Given,
}

impl SettingsSource {
    /// Whether they may be others than those assumed.
    const fn is_assumed(&self) -> bool {
        matches!(self, Self::Documented | Self::Defaults | Self::Observed)
    }
}

impl fmt::Display for SettingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments { pod } => write!(f, "the arguments of pod {pod}"),
            Self::Documented => f.write_str("assumed as AWS documents them for EKS"),
            Self::Defaults => f.write_str("assumed, because they cannot be read"),
            Self::Observed => f.write_str("seen in the pods that the irsa webhook mutated"),
            Self::Given => f.write_str("given on the command line"),
        }
    }
}

/// What of the settings is not known. Each may come out as one of several values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gaps {
    /// `eks.N`, where the table of versions needs it.
    platform: bool,
    /// What service accounts without a choice are given.
    default: bool,
    /// Whose webhook it is.
    flavor: bool,
}

/// What is known about the webhooks of a cluster.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// The entries that inject identities, in the order in which the API server calls them.
    pub installed: Vec<Installed>,
    /// Why the configurations could not be read, if they could not.
    pub unreadable: Option<String>,
    /// The settings that new pods are mutated with; the likeliest where they are not known.
    pub settings: Settings,
    /// Where those come from.
    pub source: SettingsSource,
    /// Ready pods behind the service of the first entry; unknown for a URL, or without the right to look.
    pub ready: Option<Ready>,
    /// The `pod-identity-webhook` ConfigMap is watched by it.
    pub watches_config_map: bool,
    gaps: Gaps,
    /// All settings that are possible, the likeliest first.
    possible: Vec<Settings>,
    /// Those of this project's webhook: what a pod with its record is held against.
    possible_own: Vec<Settings>,
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
        let mut this = Self {
            installed: Vec::new(),
            unreadable: None,
            settings,
            source,
            ready: None,
            watches_config_map: false,
            gaps: Gaps::default(),
            possible: Vec::new(),
            possible_own: Vec::new(),
        };
        this.conclude();
        this
    }

    /// A webhook on such a cluster, of which only its configuration can be read.
    #[cfg(test)]
    pub(crate) fn unread_for_tests(git_version: &str, flavor: Flavor) -> Self {
        let version = Version {
            git_version: git_version.to_owned(),
        };
        let name = match flavor {
            Flavor::Eks => "iam-for-pods.amazonaws.com",
            Flavor::Upstream => "pod-identity-webhook.amazonaws.com",
            Flavor::Irsa => "irsa",
        };
        let configuration = serde_json::json!({"items": [{"metadata": {"name": "w"}, "webhooks": [{
            "name": name, "clientConfig": {"url": "https://192.0.2.1/mutate"},
            "rules": [{"operations": ["CREATE"], "resources": ["pods"]}]}]}]});
        known(
            &version,
            version.platform(None),
            installed(&configuration),
            None,
            None,
        )
    }

    /// The settings that are possible, the likeliest first. A pod that carries the record of this project's webhook
    /// was mutated by it, even where its configuration looks like another's.
    pub fn possible(&self, recorded: bool) -> &[Settings] {
        if recorded {
            &self.possible_own
        } else {
            &self.possible
        }
    }

    /// Why a choice is not known, where the settings that are possible disagree.
    pub fn why_unknown(&self) -> WhyUnknown {
        match self.settings.platform.and_then(Platform::row) {
            Some((least, _)) if self.gaps.platform => WhyUnknown::PlatformVersion { least },
            _ => WhyUnknown::WebhookDefault,
        }
    }

    /// Whether something is still to be learned about the settings.
    pub fn has_gaps(&self) -> bool {
        self.gaps.platform || self.gaps.default
    }

    /// Whether a pod may still show something: what fills a gap, or that the webhook is another than its name says.
    pub fn may_learn(&self) -> bool {
        self.has_gaps() || matches!(self.source, SettingsSource::Documented | SettingsSource::Defaults)
    }

    /// Lists the settings that are possible after something was learned.
    fn conclude(&mut self) {
        let own = Settings {
            compat: irsa_core::settings::Compat::None,
            global_value: Settings::default().global_value,
            namespace_defaults: true,
            record: true,
            ..self.settings.clone()
        };
        self.possible_own = if self.settings.compat.is_upstream() {
            self.gaps.fill(&own)
        } else {
            self.gaps.fill(&self.settings)
        };
        self.possible = self.gaps.fill(&self.settings);
        if self.gaps.flavor {
            self.possible.extend(self.possible_own.iter().cloned());
        }
    }

    /// Takes it as seen that this project's webhook mutates pods here, and learns from the record that it left: one
    /// that names its flag or the platform tells what service accounts without a choice are given.
    pub fn observe(&mut self, record: Choice, version: &Version) {
        if !self.source.is_assumed() {
            return;
        }
        self.observe_own();
        match record.source {
            ChoiceSource::Container => {}
            ChoiceSource::PlatformTooOld => {
                self.too_old(version);
                self.gaps.default = false;
            }
            ChoiceSource::Flag => {
                self.may_choose();
                self.settings.flag = Some(record.endpoint);
                self.gaps.default = false;
            }
            ChoiceSource::Platform | ChoiceSource::Unset => {
                self.may_choose();
                self.settings.flag = None;
                if record.source == ChoiceSource::Unset {
                    self.settings.platform = None;
                }
                self.gaps.default = false;
            }
            ChoiceSource::ServiceAccount | ChoiceSource::ConfigMap | ChoiceSource::Namespace => {
                self.may_choose();
            }
        }
        self.conclude();
    }

    /// This project's webhook answers under the name of another one: what was assumed of that one no longer counts.
    fn observe_own(&mut self) {
        if self.source == SettingsSource::Observed {
            return;
        }
        self.settings = Settings {
            region: self.settings.region.take(),
            platform: self.settings.platform,
            annotation_prefix: self.settings.annotation_prefix.clone(),
            ..Settings::default()
        };
        self.source = SettingsSource::Observed;
        self.gaps.default = true;
        self.gaps.flavor = false;
        self.watches_config_map = true;
        let known = self
            .installed
            .iter()
            .any(|webhook| webhook.flavor == Flavor::Irsa);
        if let Some(first) = self.installed.first_mut().filter(|_| !known) {
            first.flavor = Flavor::Irsa;
        }
    }

    fn may_choose(&mut self) {
        if let (true, Some(platform)) = (self.gaps.platform, &mut self.settings.platform) {
            platform.eks = platform.row().map(|(least, _)| least);
            self.gaps.platform = false;
        }
    }

    fn too_old(&mut self, version: &Version) {
        if let Some(kubernetes) = version.kubernetes() {
            let unknown = Platform {
                kubernetes,
                eks: None,
            };
            self.settings.platform = Some(Platform {
                eks: unknown.row().map(|(least, _)| least.saturating_sub(1)),
                ..unknown
            });
        }
        self.gaps.platform = false;
    }

    /// Learns from the value in a pod without a record. `chosen` is what its service account or namespace chose.
    pub fn observe_value(&mut self, chosen: Option<EndpointType>, value: Option<&str>, version: &Version) {
        if !self.source.is_assumed() || !self.has_gaps() {
            return;
        }
        match (chosen, value) {
            (Some(EndpointType::Regional) | None, Some("regional")) => self.may_choose(),
            (Some(EndpointType::Regional), None) if self.gaps.platform => self.too_old(version),
            // The default of a platform that may choose is regional.
            (None, None) if self.gaps.platform && !self.gaps.default => self.too_old(version),
            _ => {}
        }
        if chosen.is_none() && self.gaps.default {
            self.settings.flag = match value {
                Some("regional") => Some(EndpointType::Regional),
                Some(_) => Some(EndpointType::Global),
                None => None,
            };
            if value.is_none() {
                self.settings.platform = None;
            }
            self.gaps.default = false;
        }
        self.conclude();
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

impl Gaps {
    /// The settings with every value that is possible in the gaps.
    fn fill(self, settings: &Settings) -> Vec<Settings> {
        let mut possible = vec![settings.clone()];
        if let (true, Some(platform)) = (self.platform, settings.platform)
            && let Some((least, _)) = platform.row()
        {
            possible = [least, least.saturating_sub(1)]
                .map(|eks| Settings {
                    platform: Some(Platform {
                        eks: Some(eks),
                        ..platform
                    }),
                    ..settings.clone()
                })
                .into();
        }
        if self.default {
            let flags = [None, Some(EndpointType::Regional), Some(EndpointType::Global)];
            possible = possible
                .iter()
                .flat_map(|settings| {
                    flags.map(|flag| Settings {
                        flag,
                        ..settings.clone()
                    })
                })
                .collect();
        }
        possible
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
    if let Some(settings) = &overrides.settings {
        return Ok(Webhooks::assumed(settings.clone(), SettingsSource::Given));
    }
    let (installed, unreadable) = configurations(cluster).await?;
    let mut behind = None;
    if let Some(Target::Service { namespace, name, .. }) = installed.first().map(|first| &first.target) {
        behind = pods_behind(cluster, namespace, name).await?;
    }
    let platform = version.platform(overrides.platform_version);
    Ok(known(version, platform, installed, unreadable, behind))
}

async fn configurations(cluster: &Cluster) -> Result<(Vec<Installed>, Option<String>), Error> {
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations?limit=500";
    match cluster.get_value(path).await {
        Ok(list) => Ok((installed(&list), None)),
        Err(error) if error.is_forbidden() || error.is_not_found() => {
            Ok((Vec::new(), Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Puts together what is known, and what is not.
fn known(
    version: &Version,
    platform: Option<Platform>,
    installed: Vec<Installed>,
    unreadable: Option<String>,
    behind: Option<Behind>,
) -> Webhooks {
    let mut found = Webhooks::assumed(Settings::default(), SettingsSource::Defaults);
    found.ready = behind.as_ref().map(|behind| behind.ready);
    let flavor = installed.first().map(|first| first.flavor);
    let arguments = behind.and_then(|behind| behind.arguments);
    let read = flavor.and_then(|flavor| {
        let (pod, container) = arguments?;
        Some((pod, from_container(flavor, &container, platform)?))
    });
    if let Some((pod, read)) = read {
        found.settings = read.settings;
        found.watches_config_map = read.watches_config_map;
        found.source = SettingsSource::Arguments { pod };
    } else {
        let documented = version.is_eks() && unreadable.is_none() && flavor.is_none_or(|f| f == Flavor::Eks);
        (found.settings, found.source) = match flavor {
            _ if documented => (documented_for_eks(platform), SettingsSource::Documented),
            Some(Flavor::Irsa) => (Settings::default(), SettingsSource::Defaults),
            _ => (Settings::default().upstream(), SettingsSource::Defaults),
        };
        found.settings.platform = platform;
        found.watches_config_map = flavor == Some(Flavor::Irsa);
        found.gaps = Gaps {
            platform: platform.is_some_and(Platform::is_undecided),
            default: !documented,
            flavor: !documented && flavor != Some(Flavor::Irsa),
        };
    }
    found.installed = installed;
    found.unreadable = unreadable;
    found.conclude();
    found
}

/// The settings of the webhook that EKS runs: that of the Go webhook, with the default of the platform's table. A
/// platform that is not known is taken for a current one.
pub fn documented_for_eks(platform: Option<Platform>) -> Settings {
    Settings {
        platform: Some(platform.unwrap_or(Platform::LATEST)),
        ..Settings::default().upstream()
    }
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

/// Pods behind a service, and one that was read.
struct Behind {
    ready: Ready,
    /// Namespace and name of a pod, and its first container, which looks most like the webhook.
    arguments: Option<(String, Value)>,
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
                    behind.arguments = pod["spec"]["containers"].get(0).map(|container| {
                        let pod = format!("{namespace}/{}", text(&pod["metadata"]["name"]));
                        (pod, container.clone())
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

/// What the arguments of a webhook say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadArguments {
    /// The settings.
    pub settings: Settings,
    /// Whether the ConfigMap is watched.
    pub watches_config_map: bool,
}

/// Reads the settings of a running webhook from the arguments and variables of its container, by the function that
/// `irsa webhook` starts by. Nothing if they cannot be read: a flag has a value that means nothing, or one that stands
/// elsewhere.
pub fn from_container(
    flavor: Flavor,
    container: &Value,
    platform: Option<Platform>,
) -> Option<ReadArguments> {
    let list = |field: &str| container[field].as_array().into_iter().flatten();
    let literal = |name: &str| {
        let found = list("env").rev().find(|variable| variable["name"] == name)?;
        if !found["valueFrom"].is_null() {
            return Some(None);
        }
        Some(Some(found["value"].as_str().unwrap_or_default().to_owned()))
    };
    let mut arguments = Vec::new();
    for argument in list("command").chain(list("args")) {
        arguments.push(expanded(argument.as_str()?, |name| literal(name).flatten()));
    }
    let mut elsewhere = false;
    let variable = |name: &str| match literal(name) {
        Some(None) => {
            elsewhere = true;
            None
        }
        value => value.flatten(),
    };
    let read = match flavor {
        Flavor::Irsa => flags::read(&arguments, variable),
        Flavor::Eks | Flavor::Upstream => flags::read_upstream(&arguments),
    }
    .ok()?;
    let mut settings = read.settings;
    settings.platform = match read.platform {
        flags::PlatformFlag::Known(platform) => platform,
        // It asks the API, which does not tell `eks.N` either.
        flags::PlatformFlag::Ask => platform.map(|platform| Platform {
            eks: None,
            ..platform
        }),
    };
    let unresolved = |text: &str| text.contains("$(");
    settings.region = settings.region.filter(|region| !unresolved(region));
    let elsewhere = elsewhere
        || [&settings.annotation_prefix, &settings.audience]
            .into_iter()
            .any(|text| unresolved(text));
    (!elsewhere).then_some(ReadArguments {
        watches_config_map: read.watch_config_map,
        settings,
    })
}

/// Replaces `$(NAME)` as the kubelet does; a name that is not known here stays.
fn expanded(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(literal) = after.strip_prefix('$') {
            out.push('$');
            rest = literal;
        } else if let Some((name, behind)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..rest.len() - behind.len()]),
            }
            rest = behind;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
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
    fn a_running_webhook_is_read_by_its_arguments_and_variables() {
        let read = |flavor, container: &Value| from_container(flavor, container, None);
        let upstream = read(
            Flavor::Upstream,
            &json!({"command": ["/webhook"], "args": ["--sts-regional-endpoint", "--aws-default-region=$(REGION)",
                "--token-audience", "amazonaws.com", "--watch-config-map=true", "--namespace=$(POD_NAMESPACE)"],
                "env": [{"name": "REGION", "value": "us-west-2"}, {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {}}}]}),
        )
        .unwrap();
        assert!(upstream.settings.compat.is_upstream() && upstream.watches_config_map);
        assert_eq!(upstream.settings.flag, Some(EndpointType::Regional));
        assert_eq!(upstream.settings.region.as_deref(), Some("us-west-2"));
        assert_eq!(&*upstream.settings.audience, "amazonaws.com");

        let ours = read(
            Flavor::Irsa,
            &json!({"args": ["webhook", "--sts-regional-endpoint=false", "--kubernetes=1.24", "--platform=eks.1"],
                "env": [{"name": "IRSA_WEBHOOK_GLOBAL_ENDPOINT_VALUE", "value": "omit"}]}),
        )
        .unwrap();
        assert_eq!(ours.settings.flag, Some(EndpointType::Global));
        assert_eq!(ours.settings.global_value, irsa_core::endpoint::GlobalValue::Omit);
        assert_eq!(ours.settings.platform.unwrap().to_string(), "1.24 eks.1");

        // A setting that stands elsewhere, or means nothing, makes all of them unknown.
        for container in [
            json!({"env": [{"name": "IRSA_WEBHOOK_COMPAT", "valueFrom": {"configMapKeyRef": {}}}]}),
            json!({"args": ["--compat=perhaps"]}),
            json!({"args": ["--annotation-prefix=$(PREFIX)"]}),
        ] {
            assert_eq!(read(Flavor::Irsa, &container), None, "{container}");
        }
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
    }

    fn version(text: &str) -> Version {
        Version {
            git_version: text.to_owned(),
        }
    }

    /// The endpoint type of a service account that chose this, if it is known.
    fn decided(webhooks: &Webhooks, chosen: Option<bool>) -> Result<String, WhyUnknown> {
        let annotations = [
            Some(("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/r")),
            chosen.map(|chosen| {
                (
                    "eks.amazonaws.com/sts-regional-endpoints",
                    if chosen { "true" } else { "false" },
                )
            }),
        ];
        let account = irsa_core::identity::ServiceAccount::from_annotations(
            annotations.into_iter().flatten(),
            &webhooks.settings,
        )
        .unwrap();
        let lookup = irsa_core::identity::Lookup {
            service_account: irsa_core::identity::Known::Annotated(&account),
            ..irsa_core::identity::Lookup::NOTHING
        };
        let mut choices: Vec<Choice> = webhooks
            .possible(false)
            .iter()
            .map(|settings| irsa_core::identity::resolve(&lookup, settings).unwrap().choice)
            .collect();
        choices.dedup();
        match choices[..] {
            [choice] => Ok(choice.record()),
            _ => Err(webhooks.why_unknown()),
        }
    }

    #[test]
    fn where_a_platform_version_decides_nothing_is_known_until_something_shows_it() {
        let unknown = Err(WhyUnknown::PlatformVersion { least: 2 });
        let version = version("v1.24.17-eks-0a21954");
        let fresh = || Webhooks::unread_for_tests(&version.git_version, Flavor::Eks);
        for chosen in [None, Some(true), Some(false)] {
            assert_eq!(decided(&fresh(), chosen), unknown);
        }
        // A pod of an account that chose regional and got nothing; one that got it.
        let mut old = fresh();
        old.observe_value(Some(EndpointType::Regional), None, &version);
        assert_eq!(
            decided(&old, Some(true)).as_deref(),
            Ok("global,platform-too-old")
        );
        let mut current = fresh();
        current.observe_value(None, Some("regional"), &version);
        assert_eq!(decided(&current, None).as_deref(), Ok("regional,platform"));
        assert_eq!(
            decided(&current, Some(false)).as_deref(),
            Ok("global,service-account")
        );
        // A record says it without a doubt.
        let mut recorded = fresh();
        let record = Choice::from_record("global,platform-too-old").unwrap();
        recorded.observe(record, &version);
        for chosen in [None, Some(true), Some(false)] {
            assert_eq!(
                decided(&recorded, chosen).as_deref(),
                Ok("global,platform-too-old")
            );
        }
        // The other rows begin with the first platform version: nothing has to be known.
        let current = Webhooks::unread_for_tests("v1.29.1-eks-0a21954", Flavor::Eks);
        assert_eq!(decided(&current, None).as_deref(), Ok("regional,platform"));
        let old = Webhooks::unread_for_tests("v1.22.17-eks-0a21954", Flavor::Eks);
        assert_eq!(
            decided(&old, Some(true)).as_deref(),
            Ok("global,platform-too-old")
        );
    }

    #[test]
    fn the_default_of_a_webhook_that_cannot_be_read_is_unknown_until_a_pod_shows_it() {
        for flavor in [Flavor::Upstream, Flavor::Irsa] {
            let version = version("v1.36.2");
            let mut webhooks = Webhooks::unread_for_tests(&version.git_version, flavor);
            assert_eq!(decided(&webhooks, None), Err(WhyUnknown::WebhookDefault));
            assert_eq!(
                decided(&webhooks, Some(true)).as_deref(),
                Ok("regional,service-account")
            );
            webhooks.observe_value(None, Some("regional"), &version);
            assert_eq!(decided(&webhooks, None).as_deref(), Ok("regional,flag"));
        }
    }
}
