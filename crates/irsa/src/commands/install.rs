//! `irsa install`: the manifests that run the webhook on a cluster, for `kubectl apply -f -`.

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod flags_page;
mod manifests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use irsa_core::annotations::DEFAULT_PREFIX;
use serde_json::Value;

use crate::commands::webhook;
use crate::output::Output;

pub(crate) use manifests::{OWN_NAMESPACE, removal};

/// The port that admissions are served on: one that needs no privilege.
const ADMISSION_PORT: u16 = 9443;
/// The port that metrics and probes are served on.
const METRICS_PORT: u16 = 9999;

/// For what kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Any cluster: pods are admitted without an identity when the webhook cannot be reached
    Default,
    /// kOps: audience amazonaws.com, the ConfigMap that kOps writes, in kube-system, failurePolicy Fail
    Kops,
}

/// What the API server does with a pod when the webhook cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailurePolicy {
    /// Admit it as it is
    Ignore,
    /// Refuse it
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
    /// The webhook makes, keeps and renews it by itself
    #[value(name = "self")]
    Own,
    /// cert-manager, which has to be installed
    CertManager,
    /// A TLS Secret of yours and the CA that signed it
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
/// Nothing is changed on any cluster: look at the output, then pipe it. `irsa uninstall` with the same flags prints what
/// takes it away again. docs/install-eks.md, docs/install-kops.md and docs/install-plain.md go through it.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "installation")]
pub(crate) struct Args {
    /// For what kind of cluster
    #[arg(long, value_enum, default_value = "default")]
    pub(crate) profile: Profile,
    /// The namespace that the webhook runs in; irsa-system, or kube-system with the profile kops
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// The name of every object
    #[arg(long, default_value = "irsa-webhook")]
    pub(crate) name: String,
    /// The image; deploy/Dockerfile builds it
    #[arg(long, default_value = concat!("ghcr.io/irsa-dev/irsa:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// How many replicas; fewer than two leave a gap whenever one is replaced
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    replicas: u16,
    /// The region of the cluster, filled in where a container names none
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The endpoint type of service accounts that say nothing: true is regional, false is global [default: regional for kops, else the platform's]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sts_regional_endpoint: Option<bool>,
    /// The prefix of annotations and labels
    #[arg(long, default_value = DEFAULT_PREFIX)]
    annotation_prefix: String,
    /// Read the ConfigMap pod-identity-webhook of the webhook's namespace [default: true for kops, else false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    watch_config_map: Option<bool>,
    /// Any other flag of `irsa webhook`, as NAME=VALUE; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// What becomes of a pod when the webhook cannot be reached [default: fail for kops, else ignore]
    #[arg(long, value_enum)]
    failure_policy: Option<FailurePolicy>,
    /// Refuse pods and namespaces that are labelled PREFIX/identity=required rather than admit them without an identity
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    opt_in: bool,
    /// Seconds that the API server waits for an answer
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=30))]
    timeout_seconds: u8,
    /// Where the serving certificate comes from
    #[arg(long, value_enum, default_value = "self")]
    certificates: Certificates,
    /// The Secret with the certificate; made by the webhook or cert-manager, or yours with --certificates=files
    #[arg(long, value_name = "NAME")]
    tls_secret: Option<String>,
    /// The file with the CA that signed your certificate, in PEM; for --certificates=files
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// The priority class of the pods
    #[arg(long, default_value = "system-cluster-critical", value_name = "NAME")]
    priority_class: String,
    /// Run in the network of the node: where the API server cannot reach pods, as on EKS with a CNI of your own
    #[arg(long)]
    host_network: bool,
    /// Restrict the network of the pods with a NetworkPolicy
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    network_policy: bool,
    /// Add a ServiceMonitor for the Prometheus operator, which has to be installed
    #[arg(long)]
    service_monitor: bool,
    /// The form of the output
    #[arg(short, long, value_enum, default_value = "yaml", value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Everything decided: what the manifests are made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    name: String,
    namespace: String,
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
    service_monitor: bool,
    webhook_args: Vec<String>,
}

#[derive(clap::Parser)]
#[command(name = "irsa webhook")]
struct WebhookLine {
    #[command(flatten)]
    _args: webhook::Args,
}

/// Flags of the webhook that manifests decide elsewhere: setting them here would contradict those.
const DECIDED_ELSEWHERE: [(&str, &str); 14] = [
    ("port", "the Service leads to port 9443"),
    ("metrics-port", "probes and the Service lead to port 9999"),
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
    /// The profile's answer to what was left out.
    pub(crate) fn namespace(&self) -> &str {
        match (&self.namespace, self.profile) {
            (Some(namespace), _) => namespace,
            (None, Profile::Default) => OWN_NAMESPACE,
            (None, Profile::Kops) => "kube-system",
        }
    }

    /// Decides everything, and checks that the webhook would start with the flags it is given.
    ///
    /// # Errors
    /// Flags that contradict each other or that the webhook does not have, in a sentence.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        let kops = self.profile == Profile::Kops;
        for (flag, name) in [("--name", &*self.name), ("--namespace", self.namespace())] {
            check_name(flag, name)?;
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
                    bail!("--ca-bundle {} holds no certificate in PEM", file.display());
                }
                Some(pem)
            }
            (Certificates::Files, ..) => bail!(
                "--certificates=files needs --tls-secret, the Secret with the certificate, and --ca-bundle, the file with the CA that signed it"
            ),
            (_, Some(_), _) => {
                bail!("--ca-bundle is for --certificates=files; the others fill in the CA by themselves")
            }
            (_, None, _) => None,
        };
        let config_map = self.watch_config_map.unwrap_or(kops);
        let mut plan = Plan {
            name: self.name.clone(),
            namespace: self.namespace().to_owned(),
            image: self.image.clone(),
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
            service_monitor: self.service_monitor,
            webhook_args: Vec::new(),
        };
        let set = self.settings()?;
        let given = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        plan.namespace_defaults =
            given("compat") != Some("upstream") && given("namespace-defaults") != Some("false");
        plan.instance_metadata = given("compose-role-arn").is_some_and(|value| value != "false")
            && given("compose-role-account").is_none();
        plan.webhook_args = self.webhook_args(&plan, &set);
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
                bail!("--set {pair} is not of the form NAME=VALUE");
            };
            let name = name.trim_start_matches('-');
            if let Some((_, instead)) = DECIDED_ELSEWHERE.iter().find(|(decided, _)| *decided == name) {
                bail!("--set {name} cannot be honoured: {instead}");
            }
            pairs.push((name, value));
        }
        Ok(pairs)
    }

    fn webhook_args(&self, plan: &Plan, set: &[(&str, &str)]) -> Vec<String> {
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
        if let Some(region) = &self.region {
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
        // A cluster of kOps is no EKS: the table of EKS platforms does not hold there.
        if plan.kops && !given("kubernetes") && !given("compat") {
            args.push("--kubernetes=none".to_owned());
        }
        args.extend(set.iter().map(|(name, value)| format!("--{name}={value}")));
        args
    }
}

/// Names of objects and namespaces: lower-case letters, digits and hyphens, 63 at most.
fn check_name(flag: &str, name: &str) -> anyhow::Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    // Objects are named after it with an ending such as `-tls`.
    let fits = !name.is_empty() && name.len() <= 50 && name.bytes().all(inner);
    if !fits || name.starts_with('-') || name.ends_with('-') {
        bail!(
            "{flag} `{name}` is no name in Kubernetes: use up to 50 lower-case letters, digits and hyphens"
        );
    }
    Ok(())
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let plan = args.plan()?;
    print(&plan.objects(), args.output, output)?;
    if output.is_terminal() {
        output.note("\nNothing has been changed. To install: irsa install … | kubectl apply -f -")?;
    }
    Ok(ExitCode::SUCCESS)
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
