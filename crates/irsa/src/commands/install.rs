//! `irsa install`: the manifests that run the webhook on a cluster, for `kubectl apply -f -`.

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod flags_page;
mod manifests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use irsa_core::annotations::DEFAULT_PREFIX;
use irsa_core::node;
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::node_regions;
use serde_json::Value;

use crate::args::ClusterArgs;
use crate::commands::webhook;
use crate::output::Output;

pub(crate) use manifests::{OWN_NAMESPACE, removal};

/// The port for admission requests. It is above 1023, so the process needs no privilege to open it.
const ADMISSION_PORT: u16 = 9443;
/// The port for metrics and probes.
const METRICS_PORT: u16 = 9999;

/// The kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Any cluster: pods are admitted without an identity if the webhook cannot be reached
    Default,
    /// kOps: audience amazonaws.com, the ConfigMap that kOps writes, in kube-system, failurePolicy Fail
    Kops,
}

/// What the API server does with a pod if the webhook cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailurePolicy {
    /// Admit it without changes
    Ignore,
    /// Reject it
    Fail,
}

impl FailurePolicy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// Where the serving certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Certificates {
    /// The webhook creates, stores and renews it
    #[value(name = "self")]
    Own,
    /// cert-manager, which must be installed
    CertManager,
    /// Your own TLS Secret, and the CA that signed it
    Files,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Documents, separated by `---`
    Yaml,
    /// One List
    Json,
}

/// Print the manifests that install the webhook, for kubectl apply -f -
///
/// This command does not change any cluster: review the output, then pipe it to kubectl. Without --region, it reads the
/// region from the nodes of the cluster. `irsa uninstall` with the same flags prints the objects to delete. See
/// docs/install-eks.md, docs/install-kops.md and docs/install-plain.md.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "installation")]
pub(crate) struct Args {
    /// The image, such as REGISTRY/irsa:TAG (required); build it with deploy/Dockerfile
    #[arg(long)]
    image: Option<String>,
    /// The region that the webhook sets in containers without one, or `none` [default: the region of the nodes]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The kind of cluster
    #[arg(long, value_enum, default_value = "default")]
    pub(crate) profile: Profile,
    /// The namespace of the webhook [default: irsa-system, or kube-system for kops]
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Create the namespace, with Pod Security level `restricted`; `irsa uninstall` then deletes it [default: true for irsa-system, else false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    create_namespace: Option<bool>,
    /// The name of every object
    #[arg(long, default_value = "irsa-webhook")]
    pub(crate) name: String,
    /// The number of replicas; with only one, none is available while it is replaced
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    replicas: u16,
    /// The endpoint type of service accounts without an annotation: true for regional, false for global [default: regional for kops, else that of the platform]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sts_regional_endpoint: Option<bool>,
    /// The prefix of annotations and labels
    #[arg(long, default_value = DEFAULT_PREFIX)]
    annotation_prefix: String,
    /// Read the ConfigMap pod-identity-webhook in the webhook's namespace [default: true for kops, else false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    watch_config_map: Option<bool>,
    /// Any other flag of `irsa webhook`, as NAME=VALUE; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// What happens to a pod if the webhook cannot be reached [default: fail for kops, else ignore]
    #[arg(long, value_enum)]
    failure_policy: Option<FailurePolicy>,
    /// Reject pods that have the label PREFIX/identity=required, or whose namespace has it, instead of admitting them without an identity
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    opt_in: bool,
    /// How many seconds the API server waits for a response
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=30))]
    timeout_seconds: u8,
    /// Where the serving certificate comes from
    #[arg(long, value_enum, default_value = "self")]
    certificates: Certificates,
    /// The Secret with the certificate; created by the webhook or cert-manager, or your own with --certificates=files
    #[arg(long, value_name = "NAME")]
    tls_secret: Option<String>,
    /// A PEM file with the CA that signed your certificate, for --certificates=files
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// The priority class of the pods
    #[arg(long, default_value = "system-cluster-critical", value_name = "NAME")]
    priority_class: String,
    /// Use the network of the node, if the API server cannot reach pods (as on EKS with an alternative CNI)
    #[arg(long)]
    host_network: bool,
    /// Create a NetworkPolicy
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    network_policy: bool,
    /// Accept admission requests from these addresses only, such as 10.0.0.0/16; may be repeated [default: any address]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = cidr)]
    api_server_cidr: Vec<String>,
    /// Let only pods in namespaces with this label read the metrics, such as kubernetes.io/metadata.name=monitoring [default: any address]
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    metrics_namespace: Option<(String, String)>,
    /// Create a ServiceMonitor for the Prometheus operator, which must be installed
    #[arg(long)]
    service_monitor: bool,
    /// The output format
    #[arg(short, long, value_enum, default_value = "yaml", value_name = "FORMAT")]
    pub(crate) output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The resolved settings that the manifests are made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    name: String,
    namespace: String,
    create_namespace: bool,
    image: String,
    replicas: u16,
    prefix: String,
    kops: bool,
    failure_policy: FailurePolicy,
    opt_in: bool,
    timeout_seconds: u8,
    certificates: Certificates,
    tls_secret: String,
    ca_bundle: Option<Vec<u8>>,
    config_map: bool,
    namespace_defaults: bool,
    instance_metadata: bool,
    priority_class: String,
    host_network: bool,
    network_policy: bool,
    api_server_cidrs: Vec<String>,
    metrics_namespace: Option<(String, String)>,
    service_monitor: bool,
    webhook_args: Vec<String>,
}

#[derive(clap::Parser)]
#[command(name = "irsa webhook")]
struct WebhookLine {
    #[command(flatten)]
    _args: webhook::Args,
}

/// Flags of the webhook that follow from other flags of `irsa install`, with the flag to use instead.
const DECIDED_ELSEWHERE: [(&str, &str); 14] = [
    ("port", "the Service expects port 9443"),
    ("metrics-port", "the probes and the Service expect port 9999"),
    ("namespace", "use --namespace of irsa install"),
    ("service-name", "use --name of irsa install"),
    ("tls-secret", "use --tls-secret of irsa install"),
    ("webhook-configuration", "use --name of irsa install"),
    ("in-cluster", "use --certificates of irsa install"),
    (
        "tls-cert",
        "use --certificates=files and --tls-secret of irsa install",
    ),
    (
        "tls-key",
        "use --certificates=files and --tls-secret of irsa install",
    ),
    ("aws-default-region", "use --region of irsa install"),
    (
        "sts-regional-endpoint",
        "use --sts-regional-endpoint of irsa install",
    ),
    ("annotation-prefix", "use --annotation-prefix of irsa install"),
    ("watch-config-map", "use --watch-config-map of irsa install"),
    ("kubeconfig", "the pod uses its own service account"),
];

impl Args {
    /// The namespace, by default that of the profile.
    pub(crate) fn namespace(&self) -> &str {
        match (&self.namespace, self.profile) {
            (Some(namespace), _) => namespace,
            (None, Profile::Default) => OWN_NAMESPACE,
            (None, Profile::Kops) => "kube-system",
        }
    }

    /// Resolves the settings, and checks that the webhook would start with its flags.
    ///
    /// # Errors
    /// Flags that contradict each other, and flags that the webhook does not have.
    pub(crate) fn plan(&self, region: Option<String>) -> anyhow::Result<Plan> {
        let kops = self.profile == Profile::Kops;
        for (flag, name) in [("--name", &*self.name), ("--namespace", self.namespace())] {
            check_name(flag, name)?;
        }
        let create_namespace = self.create_namespace.unwrap_or(self.namespace() == OWN_NAMESPACE);
        if create_namespace && ["kube-system", "default"].contains(&self.namespace()) {
            bail!(
                "--create-namespace: every cluster already has the namespace {}",
                self.namespace()
            );
        }
        let own_secret = match self.certificates {
            Certificates::Own => self.name.clone(),
            Certificates::CertManager => format!("{}-tls", self.name),
            Certificates::Files => String::new(),
        };
        let ca_bundle = match (self.certificates, &self.ca_bundle, &self.tls_secret) {
            (Certificates::Files, Some(file), Some(_)) => {
                let pem =
                    std::fs::read(file).with_context(|| format!("reading --ca-bundle {}", file.display()))?;
                if !pem.windows(27).any(|text| text == b"-----BEGIN CERTIFICATE-----") {
                    bail!(
                        "--ca-bundle {} does not contain a PEM certificate",
                        file.display()
                    );
                }
                Some(pem)
            }
            (Certificates::Files, ..) => bail!(
                "--certificates=files requires --tls-secret (the Secret with the certificate) and --ca-bundle (a file with the CA that signed it)"
            ),
            (_, Some(_), _) => {
                bail!("--ca-bundle can only be used with --certificates=files")
            }
            (_, None, _) => None,
        };
        let config_map = self.watch_config_map.unwrap_or(kops);
        let mut plan = Plan {
            name: self.name.clone(),
            namespace: self.namespace().to_owned(),
            create_namespace,
            image: self.image.clone().unwrap_or_default(),
            replicas: self.replicas,
            prefix: self.annotation_prefix.clone(),
            kops,
            failure_policy: self.failure_policy.unwrap_or(if kops {
                FailurePolicy::Fail
            } else {
                FailurePolicy::Ignore
            }),
            opt_in: self.opt_in,
            timeout_seconds: self.timeout_seconds,
            certificates: self.certificates,
            tls_secret: self.tls_secret.clone().unwrap_or(own_secret),
            ca_bundle,
            config_map,
            namespace_defaults: true,
            instance_metadata: false,
            priority_class: self.priority_class.clone(),
            host_network: self.host_network,
            network_policy: self.network_policy,
            api_server_cidrs: self.api_server_cidr.clone(),
            metrics_namespace: self.metrics_namespace.clone(),
            service_monitor: self.service_monitor,
            webhook_args: Vec::new(),
        };
        let set = self.settings()?;
        let given = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        plan.namespace_defaults =
            given("compat") != Some("upstream") && given("namespace-defaults") != Some("false");
        plan.instance_metadata = given("compose-role-arn").is_some_and(|value| value != "false")
            && given("compose-role-account").is_none();
        plan.webhook_args = self.webhook_args(&plan, region, &set);
        let line = std::iter::once("irsa webhook").chain(plan.webhook_args.iter().map(String::as_str));
        if let Err(error) = WebhookLine::try_parse_from(line) {
            let text = error.to_string();
            bail!(
                "the webhook would not start with these flags: {}",
                text.strip_prefix("error: ").unwrap_or(&text).trim()
            );
        }
        Ok(plan)
    }

    /// The pairs of `--set`.
    fn settings(&self) -> anyhow::Result<Vec<(&str, &str)>> {
        let mut pairs = Vec::new();
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                bail!("invalid value `{pair}` for --set: expected NAME=VALUE");
            };
            let name = name.trim_start_matches('-');
            if let Some((_, instead)) = DECIDED_ELSEWHERE.iter().find(|(decided, _)| *decided == name) {
                bail!("--set {name} cannot be used: {instead}");
            }
            pairs.push((name, value));
        }
        Ok(pairs)
    }

    fn webhook_args(&self, plan: &Plan, region: Option<String>, set: &[(&str, &str)]) -> Vec<String> {
        let mut args = vec![
            format!("--port={ADMISSION_PORT}"),
            format!("--metrics-port={METRICS_PORT}"),
            format!("--namespace={}", plan.namespace),
            format!("--annotation-prefix={}", plan.prefix),
        ];
        match plan.certificates {
            Certificates::Own => args.extend([
                "--in-cluster=true".to_owned(),
                format!("--service-name={}", plan.name),
                format!("--tls-secret={}", plan.tls_secret),
                format!("--webhook-configuration={}", plan.name),
            ]),
            Certificates::CertManager | Certificates::Files => args.push("--in-cluster=false".to_owned()),
        }
        if let Some(region) = region {
            args.push(format!("--aws-default-region={region}"));
        }
        if let Some(regional) = self.sts_regional_endpoint.or(plan.kops.then_some(true)) {
            args.push(format!("--sts-regional-endpoint={regional}"));
        }
        if plan.config_map {
            args.push("--watch-config-map=true".to_owned());
        }
        let given = |name: &str| set.iter().any(|(key, _)| *key == name);
        if plan.kops && !given("token-audience") {
            args.push("--token-audience=amazonaws.com".to_owned());
        }
        // The table of EKS platform versions does not apply to kOps clusters.
        if plan.kops && !given("kubernetes") && !given("compat") {
            args.push("--kubernetes=none".to_owned());
        }
        args.extend(set.iter().map(|(name, value)| format!("--{name}={value}")));
        args
    }
}

/// Checks the name of objects or of a namespace.
fn check_name(flag: &str, name: &str) -> anyhow::Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    // Kubernetes allows 63 characters; some objects have a suffix such as `-tls`.
    let fits = !name.is_empty() && name.len() <= 50 && name.bytes().all(inner);
    if !fits || name.starts_with('-') || name.ends_with('-') {
        bail!(
            "invalid name `{name}` for {flag}: use at most 50 lower-case letters, digits and hyphens, without a hyphen at the start or end"
        );
    }
    Ok(())
}

/// An address range such as `10.0.0.0/16` or `fd00::/8`.
fn cidr(text: &str) -> Result<String, String> {
    let valid = text.split_once('/').is_some_and(|(address, length)| {
        let bits = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= bits)
    });
    if valid {
        Ok(text.to_owned())
    } else {
        Err("expected an address range such as 10.0.0.0/16".to_owned())
    }
}

/// A label as `KEY=VALUE`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    if args.image.is_none() {
        bail!(
            "--image is required: build an image with deploy/Dockerfile, push it to your registry, and pass its name, such as REGISTRY/irsa:TAG"
        );
    }
    let region = match args.region.as_deref() {
        Some("none") => None,
        // What is a region and nothing else is also its own zone prefix.
        Some(region) if node::region_of_zone(region) == Some(region) => Some(region.to_owned()),
        Some(region) => {
            bail!("invalid region `{region}` for --region: expected a region such as us-west-2, or `none`")
        }
        None => Some(region_of_nodes(args.cluster.clone(), output).await?),
    };
    let plan = args.plan(region)?;
    print(&plan.objects(), args.output, output)?;
    if output.is_terminal() {
        output.note("\nNothing has been changed. To install: irsa install … | kubectl apply -f -")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The region of all nodes of the cluster. Says which one it is, because nobody typed it.
async fn region_of_nodes(cluster: ClusterArgs, output: &Output) -> anyhow::Result<String> {
    const PASS: &str = "pass --region REGION, or --region none if all containers set a region themselves";
    let failed = || format!("cannot read the region from the nodes of the cluster; {PASS}");
    let cluster = Cluster::connect(&cluster.options()).await.with_context(failed)?;
    let regions = node_regions(&cluster).await.with_context(failed)?;
    let mut found = regions.iter();
    match (found.next(), found.next()) {
        (Some(region), None) => {
            output.note(format!(
                "Region {region}, read from the nodes of {}. Use --region to set another one.",
                cluster.context()
            ))?;
            Ok(region.clone())
        }
        (None, _) => bail!(
            "the nodes of {} do not show their region; {PASS}",
            cluster.context()
        ),
        (Some(_), Some(_)) => bail!(
            "the nodes of {} are in several regions ({}); {PASS}",
            cluster.context(),
            regions.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Prints objects as kubectl reads them.
pub(crate) fn print(objects: &[Value], format: Format, output: &Output) -> anyhow::Result<()> {
    use std::io::Write as _;

    let mut stdout = output.stdout();
    match format {
        Format::Yaml => {
            for object in objects {
                write!(stdout, "---\n{}", serde_saphyr::to_string(object)?)?;
            }
        }
        Format::Json => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
            writeln!(stdout, "{}", serde_json::to_string_pretty(&list)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
