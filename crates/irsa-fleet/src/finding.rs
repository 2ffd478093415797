//! Findings: something about a cluster that deserves a look, with a stable id, a severity, a sentence and a cure.

use std::{fmt, str::FromStr};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Info,
    /// It works now, but not as somebody wanted it, or not in every SDK.
    Warning,
    /// It fails, or uses credentials that nobody meant.
    Error,
}

impl Severity {
    /// The word shown and written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $severity:ident;)*) => {
        /// Every kind of finding. The text of an id never changes; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Id {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Id {
            /// All ids, worst first.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The usual severity; a finding may weigh less where it does less harm.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// What it means, in one line.
            pub fn describe(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii_start(),)* }
            }
        }
    };
}

ids! {
    /// No webhook that injects identities is configured in the cluster
    WebhookAbsent = "webhook-absent", Error;
    /// A webhook is configured, but nothing answers behind it
    WebhookUnhealthy = "webhook-unhealthy", Error;
    /// The pod's service account has a role, but the pod got nothing and falls back to the node's role
    UnmutatedPod = "unmutated-pod", Error;
    /// The value of AWS_STS_REGIONAL_ENDPOINTS makes SDKs refuse to start
    InvalidValue = "invalid-value", Error;
    /// An endpoint URL names the global endpoint while requests are signed for a region: SignatureDoesNotMatch
    ExplicitGlobalEndpoint = "explicit-global-endpoint", Error;
    /// The role ARN cannot be one
    BadRoleArn = "bad-role-arn", Error;
    /// The role belongs to another partition than the region
    RolePartition = "role-partition", Error;
    /// AWS_WEB_IDENTITY_TOKEN_FILE names a file that no volume provides
    TokenFileMissing = "token-file-missing", Error;
    /// Only one of AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE is set
    HalfIdentity = "half-identity", Error;
    /// An annotation is written without quotes, so that YAML reads no text and the API server refuses the object
    UnquotedAnnotation = "unquoted-annotation", Error;
    /// Another volume stands where the token belongs
    TokenPlaceTaken = "token-place-taken", Error;
    /// The SDK settings contradict each other, so that no request is ever sent
    SdkError = "sdk-error", Error;
    /// The pod was made before the choice changed and still carries the old one
    StalePod = "stale-pod", Warning;
    /// The pod carries another role than its service account names now
    StaleRole = "stale-role", Warning;
    /// A container of a pod that has an identity got none
    UnmutatedContainer = "unmutated-container", Warning;
    /// Static credentials in the container, which SDKs prefer to its identity
    StaticCredentials = "static-credentials", Warning;
    /// A list of containers names one that does not exist
    NoSuchContainer = "no-such-container", Warning;
    /// Only AWS_REGION is set, which boto3 and AWS CLI v1 do not read
    LoneAwsRegion = "lone-aws-region", Warning;
    /// Only AWS_DEFAULT_REGION is set, which the JavaScript and Go v1 SDKs do not read
    LoneAwsDefaultRegion = "lone-aws-default-region", Warning;
    /// No region is set
    NoRegion = "no-region", Warning;
    /// AWS_REGION and AWS_DEFAULT_REGION differ
    RegionsDiffer = "regions-differ", Warning;
    /// `legacy` in a region that has to be enabled
    OptInLegacy = "opt-in-legacy", Warning;
    /// The cluster is too old to choose, so the annotation has no effect
    ClusterTooOld = "cluster-too-old", Warning;
    /// An annotation has no meaning as it is spelt
    MisspeltAnnotation = "misspelt-annotation", Warning;
    /// The value of an annotation is ignored or altered
    InvalidAnnotation = "invalid-annotation", Warning;
    /// The projected token is for another audience than STS expects
    TokenAudience = "token-audience", Warning;
    /// A FIPS endpoint is asked for that does not exist in the region
    FipsHostMissing = "fips-host-missing", Warning;
    /// The service account does not exist
    ServiceAccountMissing = "service-account-missing", Warning;
    /// The container sets the variable itself, so the service account's choice does not reach it
    SetInPod = "set-in-pod", Info;
    /// AWS_USE_FIPS_ENDPOINT overrides the endpoint type
    FipsOverride = "fips-override", Info;
    /// AWS_USE_DUALSTACK_ENDPOINT overrides the endpoint type
    DualStackOverride = "dual-stack-override", Info;
    /// A custom endpoint URL overrides the endpoint type
    CustomEndpoint = "custom-endpoint", Info;
    /// Variables come from envFrom, which the variables of the identity override
    EnvFrom = "env-from", Info;
    /// At least one SDK family goes to the global endpoint
    UsesGlobal = "uses-global", Info;
    /// The region of the pod's settings is not that of its node
    OtherRegion = "other-region", Info;
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|id| id.as_str() == text)
            .ok_or_else(|| {
                format!("`{text}` is neither a severity (error, warning, info) nor the id of a finding")
            })
    }
}

/// One finding about one pod, container, service account or cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// What kind.
    pub id: Id,
    /// How bad, here.
    pub severity: Severity,
    /// The container concerned, if it is about one.
    pub container: Option<Box<str>>,
    /// What is the case, in one sentence without a full stop.
    pub message: String,
    /// What to do, in one sentence without a full stop.
    pub cure: String,
}

impl Finding {
    /// A finding with the usual severity of its id.
    pub fn new(id: Id, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            id,
            severity: id.severity(),
            container: None,
            message: message.into(),
            cure: cure.into(),
        }
    }

    /// The same about one container.
    #[must_use]
    pub fn of_container(self, name: &str) -> Self {
        Self {
            container: Some(name.into()),
            ..self
        }
    }

    /// The same with another severity.
    #[must_use]
    pub fn weighing(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }
}

/// Which findings make a command answer "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// None.
    Never,
    /// Those at least this bad.
    AtLeast(Severity),
    /// Those of these kinds.
    Ids(Vec<Id>),
}

impl FailOn {
    /// Whether a finding counts.
    pub fn catches(&self, id: Id, severity: Severity) -> bool {
        match self {
            Self::Never => false,
            Self::AtLeast(least) => severity >= *least,
            Self::Ids(ids) => ids.contains(&id),
        }
    }
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "never" | "none" => Self::Never,
            "error" => Self::AtLeast(Severity::Error),
            "warning" => Self::AtLeast(Severity::Warning),
            "info" => Self::AtLeast(Severity::Info),
            ids => Self::Ids(
                ids.split(',')
                    .map(|id| id.trim().parse())
                    .collect::<Result<_, _>>()?,
            ),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_unique_and_told_worst_first() {
        let mut texts: Vec<_> = Id::ALL.iter().map(|id| id.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Id::ALL.len());
        assert!(Id::ALL.is_sorted_by(|a, b| a.severity() >= b.severity()));
        for id in Id::ALL {
            assert_eq!(id.as_str().parse::<Id>().unwrap(), *id);
            assert!(!id.describe().is_empty());
        }
    }

    #[test]
    fn fail_on_takes_a_severity_or_ids() {
        let on: FailOn = "warning".parse().unwrap();
        assert!(on.catches(Id::StalePod, Severity::Warning));
        assert!(!on.catches(Id::UsesGlobal, Severity::Info));
        let on: FailOn = "uses-global, stale-pod".parse().unwrap();
        assert!(on.catches(Id::UsesGlobal, Severity::Info));
        assert!(!on.catches(Id::BadRoleArn, Severity::Error));
        assert!("loud".parse::<FailOn>().is_err());
        assert!(
            !"never"
                .parse::<FailOn>()
                .unwrap()
                .catches(Id::BadRoleArn, Severity::Error)
        );
    }
}
