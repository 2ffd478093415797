//! Checks of everything that pods need to get their identity and their endpoint, in the order in which it matters.
//!
//! A check that could not be made is [`Verdict::Unknown`], never a pass. Only the API server is contacted unless probing
//! is allowed.

mod certificate;
mod issuer;
mod regions;
mod rights;
mod token;
mod webhook;

use irsa_core::endpoint::Capability;
use serde_json::Value;

use crate::{
    cluster::{Cluster, Error},
    directory::{Directory, Scope},
    effective::Families,
    finding::{CureFor, Fact, Severity, WhyUnknown},
    status::{self, Status},
    webhook::{Overrides, Version},
};

/// The result of a check. The order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Not applicable, or not asked for.
    Skip,
    /// It works, but not as it should.
    Warn,
    /// It could not be checked.
    Unknown,
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
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }

    /// Whether a command that ran the check succeeds.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Pass | Self::Skip | Self::Warn)
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable id.
    pub id: &'static str,
    /// What was checked.
    pub title: &'static str,
    /// The result.
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

    /// Notes a problem. The worst verdict of a check counts, with the first cure of that severity.
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

    /// Ends a check that a failed request made impossible; `what` says what could not be done.
    fn unknown(mut self, what: &str, error: &Error) -> Self {
        self.wrong(Verdict::Unknown, format!("{what}: {error}"), cure(error));
        self
    }
}

/// What to do about a failed request.
fn cure(error: &Error) -> &'static str {
    match error {
        Error::Unauthorized { .. } => {
            "log in again, or renew the credentials of this user in the kubeconfig; `kubectl auth whoami` must answer"
        }
        Error::Unreachable { .. } | Error::TimedOut { .. } => {
            "check the server address in the kubeconfig, the network and the API server; `kubectl version` must answer"
        }
        _ if error.is_forbidden() => "ask for the permission; docs/doctor.md lists a ClusterRole",
        _ => "see the log of the API server",
    }
}

/// What is to be checked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The part of the cluster whose pods are checked.
    pub scope: Scope,
    /// Facts that the cluster does not tell.
    pub overrides: Overrides,
    /// Whether hosts other than the API server may be resolved and connected to.
    pub probe: bool,
}

/// Makes all checks. Where one fails so that the later ones cannot be made, it is the last.
///
/// # Errors
/// [`Error::NotFound`] if the namespace of the scope does not exist.
pub async fn doctor(cluster: &Cluster, options: &Options) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    let mut api = Check::new("api", "API server reachable");
    let version = match Version::read(cluster).await {
        Ok(version) => version,
        Err(error) => {
            api.wrong(Verdict::Fail, error.to_string(), cure(&error));
            return Ok(vec![api]);
        }
    };
    api.see(format!(
        "{} answers, Kubernetes {}",
        cluster.server(),
        version.git_version
    ));
    checks.push(api);
    let namespace = options.scope.namespace.as_deref();
    checks.push(rights::check(cluster, namespace).await);
    checks.push(platform(&version, &options.overrides));
    let mut directory = match Directory::gather(cluster, &options.scope, &options.overrides).await {
        Ok(directory) => directory,
        Err(error @ Error::NotFound { .. }) => return Err(error),
        Err(error) => {
            let mut check = Check::new("inventory", "Service accounts, namespaces and nodes");
            check.wrong(Verdict::Fail, error.to_string(), cure(&error));
            checks.push(check);
            return Ok(checks);
        }
    };
    // The dry-run pod shows whose webhook answers: tried first, so that all checks speak of the same one.
    let answers = webhook::answers(cluster, &mut directory, namespace).await;
    checks.push(webhook::configuration(&directory));
    checks.push(webhook::selectors(&directory));
    checks.push(webhook::backend(&directory));
    checks.push(certificate::check(cluster, &directory, options.probe).await);
    checks.push(answers);
    let (discovery, known) = issuer::check(cluster, options.probe).await;
    checks.push(discovery);
    checks.push(token::check(cluster, &directory, namespace, &known).await);
    checks.push(regions::check(&directory, options.probe).await);
    checks.push(pods(cluster, options, directory).await);
    Ok(checks)
}

fn platform(version: &Version, overrides: &Overrides) -> Check {
    let mut check = Check::new("platform", "Cluster may choose its endpoint type");
    let Some(platform) = version.platform(overrides.platform_version) else {
        check.see("not EKS: every cluster may choose, and the flags of the webhook decide");
        return check;
    };
    if let (true, Some((least, _))) = (platform.is_undecided(), platform.row()) {
        let fact = Fact::ChoiceUnknown {
            why: WhyUnknown::PlatformVersion { least },
        };
        check.wrong(Verdict::Unknown, fact.message(), fact.cure(CureFor::Cluster));
        return check;
    }
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

async fn pods(cluster: &Cluster, options: &Options, directory: Directory) -> Check {
    let mut check = Check::new("pods", "What pods carry");
    let status_options = status::Options {
        scope: options.scope.clone(),
        families: Families::default(),
        ..status::Options::default()
    };
    let mut status = Status::new(cluster.context(), cluster.server(), directory);
    if let Err(error) = status.read_pods(cluster, &status_options).await {
        return check.unknown("pods cannot be read", &error);
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
            format!("{count} × {id}: {}", id.describe()),
            "irsa status -A shows where, with a cure for each",
        );
    }
    check
}

/// The platform version in what `aws eks describe-cluster` prints.
pub fn platform_of_describe_cluster(text: &str) -> Result<u16, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON ({error}); use --output json"))?;
    let found = value["cluster"]["platformVersion"]
        .as_str()
        .or_else(|| value["platformVersion"].as_str())
        .ok_or("no cluster.platformVersion: expected what `aws eks describe-cluster --name NAME` prints")?;
    found
        .strip_prefix("eks.")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("`{found}` is not an EKS platform version"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_counts_with_its_cure() {
        let mut check = Check::new("a", "A");
        check.wrong(Verdict::Warn, "w", "cure w");
        check.wrong(Verdict::Fail, "f", "cure f");
        check.wrong(Verdict::Warn, "w2", "cure w2");
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(check.cure.as_deref(), Some("cure f"));
        assert_eq!(check.evidence, ["w", "f", "w2"]);
    }

    #[test]
    fn a_check_that_could_not_be_made_is_neither_a_pass_nor_a_success() {
        let error = Error::TimedOut {
            server: "https://cluster".to_owned(),
            what: "GET /api/v1/pods".to_owned(),
            after: std::time::Duration::from_secs(2),
        };
        let check = Check::new("a", "A").unknown("pods cannot be read", &error);
        assert_eq!(check.verdict, Verdict::Unknown);
        assert!(!check.verdict.is_success());
        assert!(check.cure.unwrap().contains("network"));
        let expired = Error::Unauthorized {
            server: "https://cluster".to_owned(),
            credentials: "user \"a\" (context \"b\")".to_owned(),
            reason: "its token expired".to_owned(),
        };
        assert!(cure(&expired).contains("log in again"));
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
        let check = platform(&version("v1.24.17-eks-1"), &Overrides::default());
        assert_eq!(check.verdict, Verdict::Unknown);
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
