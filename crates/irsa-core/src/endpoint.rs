//! Which type of STS endpoint a pod is given, who decided it, and what is written for it.
//!
//! The precedence, the platform table and the literals are rules of the project; every other crate asks here.

use std::fmt;
use std::str::FromStr;

/// The environment variable which the AWS SDKs read.
pub const ENV: &str = "AWS_STS_REGIONAL_ENDPOINTS";

/// A type of STS endpoint, by the name that people are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointType {
    /// `sts.amazonaws.com`, one for the whole partition.
    Global,
    /// `sts.REGION.amazonaws.com`, one per region.
    Regional,
}

impl EndpointType {
    /// The word people are shown: `regional` or `global`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Regional => "regional",
        }
    }

    /// What the boolean of the annotation and of the flag means: `true` is regional.
    #[must_use]
    pub const fn from_regional(regional: bool) -> Self {
        if regional { Self::Regional } else { Self::Global }
    }

    /// Whether this is [`EndpointType::Regional`].
    #[must_use]
    pub const fn is_regional(self) -> bool {
        matches!(self, Self::Regional)
    }
}

impl fmt::Display for EndpointType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EndpointType {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "regional" => Ok(Self::Regional),
            "global" => Ok(Self::Global),
            _ => Err(ParseError::EndpointType(text.into())),
        }
    }
}

/// Text that is no endpoint type, no version, no value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Neither `regional` nor `global`.
    #[error("`{0}` is no endpoint type: use `regional` or `global`")]
    EndpointType(Box<str>),
    /// None of `legacy`, `omit`, `global`.
    #[error("`{0}` is no value for the global endpoint: use `legacy`, `omit` or `global`")]
    GlobalValue(Box<str>),
    /// Not the version of Kubernetes.
    #[error("`{0}` is no Kubernetes version: expected a version such as `1.29` or `v1.29.4-eks-036c24b`")]
    KubernetesVersion(Box<str>),
    /// Not an EKS platform version.
    #[error("`{0}` is no EKS platform version: expected one such as `eks.1`")]
    PlatformVersion(Box<str>),
}

/// What is written into [`ENV`] when somebody chose the global endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GlobalValue {
    /// `legacy`: the literal that every SDK which reads the variable accepts.
    #[default]
    Legacy,
    /// Nothing: the SDK's own default applies (regional in every SDK since 2025-07-31). What the Go webhook does.
    Omit,
    /// The word `global`: the AWS page shows it, and boto3, AWS CLI v1, JS v2, Go v1, Java v1, PHP, .NET v3 refuse it.
    Global,
}

impl GlobalValue {
    /// The text of the setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Omit => "omit",
            Self::Global => "global",
        }
    }

    /// The literal to write, if any.
    #[must_use]
    pub const fn literal(self) -> Option<&'static str> {
        match self {
            Self::Legacy => Some("legacy"),
            Self::Omit => None,
            Self::Global => Some("global"),
        }
    }
}

impl fmt::Display for GlobalValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for GlobalValue {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "legacy" => Ok(Self::Legacy),
            "omit" => Ok(Self::Omit),
            "global" => Ok(Self::Global),
            _ => Err(ParseError::GlobalValue(text.into())),
        }
    }
}

/// Who decided the endpoint type, highest precedence first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChoiceSource {
    /// The container had the variable already.
    Container,
    /// The cluster is too old to choose: global only.
    PlatformTooOld,
    /// The service account's annotation.
    ServiceAccount,
    /// The service account's entry in the `pod-identity-webhook` ConfigMap.
    ConfigMap,
    /// The namespace's annotation.
    Namespace,
    /// The webhook's `--sts-regional-endpoint`.
    Flag,
    /// The default of the EKS platform version.
    Platform,
    /// Nobody: nothing is written and the SDK's own default applies.
    Unset,
}

impl ChoiceSource {
    const ALL: [Self; 8] = [
        Self::Container,
        Self::PlatformTooOld,
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Namespace,
        Self::Flag,
        Self::Platform,
        Self::Unset,
    ];

    /// A short stable name, fit for a metric label and for the record in a pod's annotation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::PlatformTooOld => "platform-too-old",
            Self::ServiceAccount => "service-account",
            Self::ConfigMap => "config-map",
            Self::Namespace => "namespace",
            Self::Flag => "flag",
            Self::Platform => "platform",
            Self::Unset => "unset",
        }
    }

    /// The reason in words, to follow "because".
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Container => "the container sets AWS_STS_REGIONAL_ENDPOINTS itself",
            Self::PlatformTooOld => "the cluster's version is too old to choose: global only",
            Self::ServiceAccount => "the service account is annotated so",
            Self::ConfigMap => "the pod-identity-webhook ConfigMap says so for the service account",
            Self::Namespace => "the namespace is annotated so",
            Self::Flag => "the webhook's --sts-regional-endpoint says so",
            Self::Platform => "it is the default of the cluster's platform version",
            Self::Unset => "nobody chose: the SDK's own default applies",
        }
    }

    /// Whether a person chose, as against a default of the platform or of nobody.
    #[must_use]
    pub const fn is_choice(self) -> bool {
        matches!(
            self,
            Self::Container | Self::ServiceAccount | Self::ConfigMap | Self::Namespace | Self::Flag
        )
    }
}

impl fmt::Display for ChoiceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An endpoint type and who decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice {
    /// The type that was decided.
    pub endpoint: EndpointType,
    /// Who decided it.
    pub source: ChoiceSource,
}

impl Choice {
    /// What is written into [`ENV`] of a container which does not have it, if anything.
    ///
    /// `global` is written only when somebody chose it: a default needs no literal, because it is what the
    /// cluster's pods do already.
    #[must_use]
    pub const fn written(self, global: GlobalValue) -> Option<&'static str> {
        match (self.endpoint, self.source) {
            (_, ChoiceSource::Container) => None,
            (EndpointType::Regional, _) => Some("regional"),
            (EndpointType::Global, source) if source.is_choice() => global.literal(),
            (EndpointType::Global, _) => None,
        }
    }

    /// The text which records this choice in a mutated pod's annotation: `regional,service-account`.
    #[must_use]
    pub fn record(self) -> String {
        format!("{},{}", self.endpoint, self.source)
    }

    /// Reads what [`Choice::record`] wrote.
    #[must_use]
    pub fn from_record(text: &str) -> Option<Self> {
        let (endpoint, source) = text.split_once(',')?;
        Some(Self {
            endpoint: endpoint.parse().ok()?,
            source: ChoiceSource::ALL
                .into_iter()
                .find(|candidate| candidate.as_str() == source)?,
        })
    }
}

/// What each possible decider says, if it says anything. The container itself is not among them: its own
/// variable is looked at when it is mutated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sources {
    /// The cluster's EKS platform; `None` where the cluster is not EKS or not known.
    pub platform: Option<Platform>,
    /// The service account's annotation.
    pub service_account: Option<EndpointType>,
    /// The service account's entry in the ConfigMap.
    pub config_map: Option<EndpointType>,
    /// The namespace's annotation.
    pub namespace: Option<EndpointType>,
    /// The webhook's flag; `None` when it was not given.
    pub flag: Option<EndpointType>,
}

impl Sources {
    /// Decides: the first of service account, ConfigMap, namespace, flag, platform that says something; a
    /// platform that is too old for the choice overrules them all.
    #[must_use]
    pub fn choose(&self) -> Choice {
        let capability = self.platform.map(Platform::capability);
        if let Some(Capability::GlobalOnly) = capability {
            return Choice {
                endpoint: EndpointType::Global,
                source: ChoiceSource::PlatformTooOld,
            };
        }
        let platform_default = match capability {
            Some(Capability::MayChoose { default }) => Some(default),
            Some(Capability::GlobalOnly) | None => None,
        };
        [
            (self.service_account, ChoiceSource::ServiceAccount),
            (self.config_map, ChoiceSource::ConfigMap),
            (self.namespace, ChoiceSource::Namespace),
            (self.flag, ChoiceSource::Flag),
            (platform_default, ChoiceSource::Platform),
        ]
        .into_iter()
        .find_map(|(said, source)| said.map(|endpoint| Choice { endpoint, source }))
        .unwrap_or(Choice {
            endpoint: EndpointType::Global,
            source: ChoiceSource::Unset,
        })
    }
}

/// A Kubernetes version, as far as the rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// `1` of `1.29`.
    pub major: u16,
    /// `29` of `1.29`.
    pub minor: u16,
}

impl FromStr for KubernetesVersion {
    type Err = ParseError;

    /// Reads `1.29`, `v1.29.4`, `1.29+`, `v1.29.4-eks-036c24b`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::KubernetesVersion(text.into());
        let (major, rest) = text
            .trim()
            .trim_start_matches('v')
            .split_once('.')
            .ok_or_else(error)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (minor, after) = rest.split_at(digits);
        if !(after.is_empty() || after.starts_with(['.', '+', '-'])) {
            return Err(error());
        }
        Ok(Self {
            major: major.parse().map_err(|_| error())?,
            minor: minor.parse().map_err(|_| error())?,
        })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The version of an EKS cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The Kubernetes version.
    pub kubernetes: KubernetesVersion,
    /// `N` of the platform version `eks.N`. The Kubernetes API does not tell it (only `DescribeCluster` does);
    /// when unknown, the current one of that Kubernetes version is assumed, as EKS upgrades it by itself.
    pub eks: Option<u16>,
}

/// Whether a cluster may choose its endpoint type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Too old: the global endpoint, whatever the annotations say.
    GlobalOnly,
    /// It may choose, and starts from this.
    MayChoose {
        /// The endpoint type of a service account that says nothing.
        default: EndpointType,
    },
}

/// Minor version of Kubernetes 1.x, least platform version `eks.N`, default endpoint type. Source: the EKS user
/// guide, "Configure the AWS Security Token Service endpoint for a service account". Its later editions dropped the
/// table and made the choice unconditional, so versions after the last row behave like the last row.
pub const PLATFORMS: [(u16, u16, EndpointType); 7] = [
    (23, 1, EndpointType::Regional),
    (24, 2, EndpointType::Regional),
    (25, 1, EndpointType::Regional),
    (26, 1, EndpointType::Regional),
    (27, 1, EndpointType::Regional),
    (28, 1, EndpointType::Regional),
    (29, 1, EndpointType::Regional),
];

impl Platform {
    /// A platform of today: the last row of the table, which every later version is like.
    pub const LATEST: Self = Self {
        kubernetes: KubernetesVersion {
            major: 1,
            minor: PLATFORMS[PLATFORMS.len() - 1].0,
        },
        eks: None,
    };

    /// Whether it depends on the platform version, which is not known, if the cluster may choose: only where the
    /// table's row does not begin with the first one.
    #[must_use]
    pub fn is_undecided(self) -> bool {
        self.eks.is_none() && self.row().is_some_and(|(least, _)| least > 1)
    }

    /// Reads a Kubernetes version and, if known, a platform version such as `eks.1`.
    pub fn parse(kubernetes: &str, platform: Option<&str>) -> Result<Self, ParseError> {
        let eks = platform
            .map(|text| {
                let number = text
                    .trim()
                    .strip_prefix("eks.")
                    .and_then(|number| number.parse().ok());
                number.ok_or_else(|| ParseError::PlatformVersion(text.into()))
            })
            .transpose()?;
        Ok(Self {
            kubernetes: kubernetes.parse()?,
            eks,
        })
    }

    /// The row of [`PLATFORMS`] that is meant for this version: the least platform version and the default.
    /// `None` for a version earlier than the table.
    #[must_use]
    pub fn row(self) -> Option<(u16, EndpointType)> {
        let (last_minor, ..) = PLATFORMS[PLATFORMS.len() - 1];
        let minor = match self.kubernetes.major {
            0 => return None,
            1 => self.kubernetes.minor.min(last_minor),
            _ => last_minor,
        };
        PLATFORMS
            .iter()
            .find(|row| row.0 == minor)
            .map(|&(_, eks, default)| (eks, default))
    }

    /// Whether this cluster may choose.
    #[must_use]
    pub fn capability(self) -> Capability {
        match self.row() {
            Some((least, default)) if self.eks.is_none_or(|eks| eks >= least) => {
                Capability::MayChoose { default }
            }
            _ => Capability::GlobalOnly,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.eks {
            Some(eks) => write!(f, "{} eks.{eks}", self.kubernetes),
            None => write!(f, "{}", self.kubernetes),
        }
    }
}

/// A value of [`ENV`] found in a container, reported as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvValue<'a> {
    /// The text as it stands in the pod.
    pub written: &'a str,
    /// What its author meant; `None` when that cannot be told.
    pub endpoint: Option<EndpointType>,
    /// What is wrong with it.
    pub problem: Option<ValueProblem>,
}

/// What is wrong with a value of [`ENV`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueProblem {
    /// Empty: the same as unset in most SDKs, an error in JS v2, Java v1 and for some botocore settings.
    Empty,
    /// The word `global`, which the SDKs refuse; `legacy` is their word for it.
    GlobalWord,
    /// `Regional`, `LEGACY`: botocore and Ruby compare with case.
    Case,
    /// None of the words.
    Unknown,
}

impl ValueProblem {
    /// What happens and what to do, as a sentence without a full stop.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Empty => {
                "an empty value is an error in the JavaScript v2 and Java v1 SDKs: remove the variable, or use `regional` or `legacy`"
            }
            Self::GlobalWord => {
                "`global` makes boto3, AWS CLI v1, JavaScript v2, Go v1, Java v1, PHP and .NET v3 refuse to start: the SDKs' word for it is `legacy`"
            }
            Self::Case => "boto3, AWS CLI v1 and Ruby accept only lower case: use `regional` or `legacy`",
            Self::Unknown => {
                "SDKs accept only `regional` and `legacy`: boto3, AWS CLI v1, JavaScript v2, Go v1, Java v1, PHP and .NET v3 refuse to start with anything else"
            }
        }
    }
}

impl<'a> EnvValue<'a> {
    /// Reads a value; never fails, because whatever stands there is a fact about the pod.
    #[must_use]
    pub fn read(written: &'a str) -> Self {
        let (endpoint, problem) = match written {
            "regional" => (Some(EndpointType::Regional), None),
            "legacy" => (Some(EndpointType::Global), None),
            "global" => (Some(EndpointType::Global), Some(ValueProblem::GlobalWord)),
            "" => (None, Some(ValueProblem::Empty)),
            _ if written.eq_ignore_ascii_case("regional") => {
                (Some(EndpointType::Regional), Some(ValueProblem::Case))
            }
            _ if written.eq_ignore_ascii_case("legacy") => {
                (Some(EndpointType::Global), Some(ValueProblem::Case))
            }
            _ if written.eq_ignore_ascii_case("global") => {
                (Some(EndpointType::Global), Some(ValueProblem::GlobalWord))
            }
            _ => (None, Some(ValueProblem::Unknown)),
        };
        Self {
            written,
            endpoint,
            problem,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn capability(kubernetes: &str, platform: Option<&str>) -> Capability {
        Platform::parse(kubernetes, platform).unwrap().capability()
    }

    #[test]
    fn every_row_of_the_table_may_choose_from_its_platform_version_on_and_starts_regional() {
        for (minor, least, default) in PLATFORMS {
            let version = format!("1.{minor}");
            let at = |eks: u16| capability(&version, Some(&format!("eks.{eks}")));
            assert_eq!(at(least), Capability::MayChoose { default });
            assert_eq!(at(least + 20), Capability::MayChoose { default });
            assert_eq!(at(least - 1), Capability::GlobalOnly);
            assert_eq!(default, EndpointType::Regional);
        }
    }

    #[test]
    fn earlier_versions_are_global_only_and_later_ones_are_like_the_last_row() {
        for old in ["1.22", "1.19", "1.0", "0.9", "v1.22.17-eks-0a21954"] {
            assert_eq!(capability(old, Some("eks.99")), Capability::GlobalOnly, "{old}");
        }
        for new in ["1.30", "1.36+", "2.0", "v1.31.4-eks-036c24b"] {
            assert_eq!(
                capability(new, Some("eks.1")),
                Capability::MayChoose {
                    default: EndpointType::Regional
                },
                "{new}"
            );
            assert_eq!(capability(new, Some("eks.0")), Capability::GlobalOnly, "{new}");
        }
        assert_eq!(
            capability("1.24", None),
            Capability::MayChoose {
                default: EndpointType::Regional
            }
        );
    }

    #[test]
    fn versions_that_are_none_are_refused_with_what_is_expected() {
        for text in ["", "1", "one.29", "1.x", "1.29x", "1.99999999"] {
            let error = Platform::parse(text, None).unwrap_err().to_string();
            assert!(error.contains("is no Kubernetes version: expected"), "{error}");
        }
        for text in ["", "1", "eks.", "eks.x", "gke.1"] {
            let error = Platform::parse("1.29", Some(text)).unwrap_err().to_string();
            assert!(error.contains("is no EKS platform version: expected"), "{error}");
        }
        assert_eq!(
            Platform::parse("v1.29.4-eks-036c24b", Some("eks.7"))
                .unwrap()
                .to_string(),
            "1.29 eks.7"
        );
    }

    #[test]
    fn the_literal_depends_on_type_and_on_whether_somebody_chose() {
        use ChoiceSource::{
            ConfigMap, Container, Flag, Namespace, Platform, PlatformTooOld, ServiceAccount, Unset,
        };
        for source in [ServiceAccount, ConfigMap, Namespace, Flag] {
            let choice = |endpoint| Choice { endpoint, source };
            for (value, literal) in [
                (GlobalValue::Legacy, Some("legacy")),
                (GlobalValue::Omit, None),
                (GlobalValue::Global, Some("global")),
            ] {
                assert_eq!(choice(EndpointType::Global).written(value), literal);
                assert_eq!(choice(EndpointType::Regional).written(value), Some("regional"));
            }
        }
        for source in [Platform, PlatformTooOld, Unset, Container] {
            assert_eq!(
                Choice {
                    endpoint: EndpointType::Global,
                    source
                }
                .written(GlobalValue::Legacy),
                None
            );
        }
        assert_eq!(
            Choice {
                endpoint: EndpointType::Regional,
                source: Platform
            }
            .written(GlobalValue::Legacy),
            Some("regional")
        );
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written_and_nothing_else_is() {
        for source in ChoiceSource::ALL {
            for endpoint in [EndpointType::Global, EndpointType::Regional] {
                let choice = Choice { endpoint, source };
                assert_eq!(Choice::from_record(&choice.record()), Some(choice));
            }
        }
        for text in ["", "regional", "regional,", "legacy,flag", "regional, flag"] {
            assert_eq!(Choice::from_record(text), None, "{text}");
        }
    }

    #[test]
    fn values_found_in_pods_are_reported_as_written_with_what_was_meant() {
        use EndpointType::{Global, Regional};
        for (written, endpoint, problem) in [
            ("regional", Some(Regional), None),
            ("legacy", Some(Global), None),
            ("global", Some(Global), Some(ValueProblem::GlobalWord)),
            ("", None, Some(ValueProblem::Empty)),
            ("REGIONAL", Some(Regional), Some(ValueProblem::Case)),
            ("Legacy", Some(Global), Some(ValueProblem::Case)),
            ("true", None, Some(ValueProblem::Unknown)),
        ] {
            assert_eq!(
                EnvValue::read(written),
                EnvValue {
                    written,
                    endpoint,
                    problem
                }
            );
        }
    }
}
