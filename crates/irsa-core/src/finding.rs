//! Findings: something about a pod, a service account, a manifest or a cluster that deserves a look.
//!
//! A finding is data: a [`Fact`] with its parameters, and the container that it is about. Its [`Id`], its severity and
//! its subject follow from the fact. The words are in one place, the catalogue, and only people read them: no code
//! looks into [`Finding::message`] or [`Finding::cure`].

mod catalogue;
pub mod rules;

use std::fmt;
use std::str::FromStr;

use crate::annotations;
use crate::arn::ArnError;
use crate::endpoint::{Choice, EndpointType, Platform, ValueProblem};
use crate::sdk::{Remedy, Sdk};
use crate::variable::Variable;

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
    /// The stable word in outputs and on the command line.
    #[must_use]
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

/// Text that is not the id of a finding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a finding")]
pub struct UnknownId(pub Box<str>);

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
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The usual severity; [`Fact::severity`] may say less where a fact does less harm.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// What it means, in one line.
            #[must_use]
            pub fn describe(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii_start(),)* }
            }
        }
    };
}

ids! {
    /// the cluster has no webhook that injects identities
    WebhookAbsent = "webhook-absent", Error;
    /// a webhook is configured, but no pod serves it
    WebhookUnhealthy = "webhook-unhealthy", Error;
    /// the pod's service account has a role, but the pod has no identity and uses the node's role
    UnmutatedPod = "unmutated-pod", Error;
    /// SDKs reject the value of `AWS_STS_REGIONAL_ENDPOINTS`: `global`, `true`, wrong case, empty
    InvalidValue = "invalid-value", Error;
    /// an endpoint URL names the global endpoint while requests are signed for a region, which results in `SignatureDoesNotMatch`. The annotation does not fix it
    ExplicitGlobalEndpoint = "explicit-global-endpoint", Error;
    /// the role ARN is not valid
    BadRoleArn = "bad-role-arn", Error;
    /// the role and the region belong to different partitions
    RolePartition = "role-partition", Error;
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` names a file that no volume provides
    TokenFileMissing = "token-file-missing", Error;
    /// only one of `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE` is set
    HalfIdentity = "half-identity", Error;
    /// the value of an annotation is not quoted, so the API server rejects the object (`irsa check`)
    UnquotedAnnotation = "unquoted-annotation", Error;
    /// another volume is mounted at the token's path (`irsa check`)
    TokenPlaceTaken = "token-place-taken", Error;
    /// settings contradict each other, so the SDK sends no request
    SdkError = "sdk-error", Error;
    /// the manifest cannot be read as a pod
    UnreadableManifest = "unreadable-manifest", Error;
    /// a FIPS endpoint is configured that does not exist in the region
    FipsHostMissing = "fips-host-missing", Error;
    /// the pod was created before the setting changed and still has the old value
    StalePod = "stale-pod", Warning;
    /// the pod has a different role than its service account has now
    StaleRole = "stale-role", Warning;
    /// the container sets AWS_ROLE_ARN itself, so the service account's role does not reach it
    RoleSetInPod = "role-set-in-pod", Warning;
    /// a container has no identity, although its pod has one
    UnmutatedContainer = "unmutated-container", Warning;
    /// the container has static credentials, which SDKs prefer to its identity
    StaticCredentials = "static-credentials", Warning;
    /// the container sets container credentials variables itself, so none of them is written
    ContainerCredentialsSetInPod = "container-credentials-set-in-pod", Warning;
    /// the token's volume is mounted with subPath, so that renewed tokens never reach the container
    TokenSubPath = "token-sub-path", Warning;
    /// an annotation names a container that does not exist (`irsa check`)
    NoSuchContainer = "no-such-container", Warning;
    /// only `AWS_REGION` is set, which boto3 and AWS CLI v1 do not read
    LoneAwsRegion = "lone-aws-region", Warning;
    /// only `AWS_DEFAULT_REGION` is set, which the JavaScript and Go v1 SDKs do not read
    LoneAwsDefaultRegion = "lone-aws-default-region", Warning;
    /// a region variable is set to the empty text, which keeps the webhook from writing a region into it
    EmptyRegion = "empty-region", Warning;
    /// no region is set
    NoRegion = "no-region", Warning;
    /// `AWS_REGION` and `AWS_DEFAULT_REGION` differ
    RegionsDiffer = "regions-differ", Warning;
    /// `legacy` in a region that has to be enabled
    OptInLegacy = "opt-in-legacy", Warning;
    /// the cluster does not support the choice, so the annotation has no effect
    ClusterTooOld = "cluster-too-old", Warning;
    /// the name of an annotation is misspelt, so it has no effect
    MisspeltAnnotation = "misspelt-annotation", Warning;
    /// the value of an annotation is ignored or changed
    InvalidAnnotation = "invalid-annotation", Warning;
    /// the projected token is for another audience than STS expects
    TokenAudience = "token-audience", Warning;
    /// what new pods are given depends on something that the cluster does not tell
    ChoiceUnknown = "choice-unknown", Warning;
    /// the service account does not exist
    ServiceAccountMissing = "service-account-missing", Warning;
    /// the container sets the variable itself, so the service account's setting has no effect
    SetInPod = "set-in-pod", Info;
    /// `AWS_USE_FIPS_ENDPOINT` overrides the endpoint type
    FipsOverride = "fips-override", Info;
    /// `AWS_USE_DUALSTACK_ENDPOINT` overrides the endpoint type
    DualStackOverride = "dual-stack-override", Info;
    /// a custom endpoint URL overrides the endpoint type
    CustomEndpoint = "custom-endpoint", Info;
    /// the container uses `envFrom`; the injected variables take precedence (`irsa check`)
    EnvFrom = "env-from", Info;
    /// at least one SDK family calls the global endpoint
    UsesGlobal = "uses-global", Info;
    /// the pod is configured for a different region than that of its node
    OtherRegion = "other-region", Info;
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Id {
    type Err = UnknownId;

    fn from_str(text: &str) -> Result<Self, UnknownId> {
        Self::ALL
            .iter()
            .copied()
            .find(|id| id.as_str() == text)
            .ok_or_else(|| UnknownId(text.into()))
    }
}

/// Why a pod whose service account has a role got nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyUnmutated {
    /// A static pod: the API server does not let webhooks change its mirror.
    Mirror,
    /// No webhook is configured.
    NoWebhook,
    /// It carries the label that excludes it.
    SkipLabel {
        /// The label with its prefix.
        label: Box<str>,
    },
    /// The selectors of the webhook configuration exclude it.
    Selectors,
    /// It was made before the service account got its role.
    OlderThanRole,
    /// The webhook was not asked, did not answer, or did not know the service account.
    Unknown,
}

/// When a stale pod was made, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyStale {
    /// Before the choice last changed.
    OlderThanChoice,
    /// After the choice last changed.
    NewerThanChoice,
    /// Under another choice, according to its record.
    OtherRecord,
    /// Not known.
    Unknown,
}

/// Why the file of `AWS_WEB_IDENTITY_TOKEN_FILE` is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyNoToken {
    /// No volume is mounted above its path.
    NoMount,
    /// The volume that is mounted there does not exist in the pod.
    NoVolume {
        /// Its name.
        volume: Box<str>,
    },
    /// The volume that is mounted there has no token of that name.
    NoToken {
        /// Its name.
        volume: Box<str>,
        /// The file below the mount.
        below: Box<str>,
    },
}

/// What new pods are given is not known, because of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyUnknown {
    /// The Kubernetes API does not tell the EKS platform version.
    PlatformVersion {
        /// The least platform version that may choose.
        least: u16,
    },
    /// The webhook's `--sts-regional-endpoint` cannot be read, and no pod shows it.
    WebhookDefault,
}

impl WhyUnknown {
    /// The stable word in machine-readable outputs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlatformVersion { .. } => "platform-version",
            Self::WebhookDefault => "webhook-default",
        }
    }
}

/// Some of the SDKs that were asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sdks {
    /// Those concerned.
    pub these: Box<[Sdk]>,
    /// How many were asked.
    pub asked: usize,
}

/// What is the case. Each kind has one [`Id`]; several kinds may share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    missing_docs,
    reason = "the parameters are named after what they hold; the catalogue shows them in use"
)]
pub enum Fact {
    // Of a cluster.
    WebhookAbsent,
    /// `refuses`: whether pods are refused while nothing answers.
    WebhookUnhealthy {
        configuration: Box<str>,
        target: Box<str>,
        refuses: bool,
    },
    /// `accounts` choose nothing themselves, or choose what an old platform would ignore.
    ChoiceUnknown {
        why: WhyUnknown,
    },

    // Of annotations, by their key.
    Annotation(annotations::Warning),
    UnquotedAnnotation {
        key: Box<str>,
        value: Box<str>,
    },
    ClusterTooOld {
        key: Box<str>,
        platform: Platform,
    },
    /// `false` with a webhook that only leaves the variable out.
    GlobalOmitted {
        key: Box<str>,
    },
    ChoiceWithoutRole {
        key: Box<str>,
    },

    // Of a service account.
    ServiceAccountMissing {
        name: Box<str>,
    },
    /// `check` looks at manifests, where a service account may be absent for good reasons.
    ServiceAccountNotInInput {
        namespace: Box<str>,
        name: Box<str>,
    },

    // Of a pod and its containers.
    UnreadablePod {
        error: Box<str>,
    },
    /// `role`: none for container credentials.
    UnmutatedPod {
        role: Option<Box<str>>,
        why: WhyUnmutated,
    },
    UnmutatedContainer,
    /// `injected`: a webhook wrote it, as far as the pod shows.
    InvalidValue {
        written: Box<str>,
        problem: ValueProblem,
        injected: bool,
    },
    StalePod {
        carried: Option<Box<str>>,
        wanted: Option<Box<str>>,
        choice: Choice,
        why: WhyStale,
    },
    RoleGone {
        account: Box<str>,
    },
    RoleChanged {
        carried: Box<str>,
        wanted: Box<str>,
    },
    /// `written`: none when it comes from elsewhere.
    RoleSetInPod {
        written: Option<Box<str>>,
        wanted: Box<str>,
    },
    SetInPod {
        written: Option<Box<str>>,
        endpoint: EndpointType,
    },
    HalfIdentity {
        set: Variable,
        missing: Variable,
    },
    BadRoleArn {
        written: Box<str>,
        error: ArnError,
        injected: bool,
    },
    RolePartition {
        of_role: Box<str>,
        region: Box<str>,
        of_region: &'static str,
    },
    TokenFileMissing {
        file: Box<str>,
        why: WhyNoToken,
    },
    /// `carried`: none for the API server's own.
    TokenAudience {
        carried: Option<Box<str>>,
        wanted: Box<str>,
    },
    TokenSubPath {
        path: Box<str>,
    },
    StaticCredentials,
    ContainerCredentialsSetInPod {
        set: Variable,
    },
    EnvFrom,
    MountPathTaken {
        path: Box<str>,
    },
    VolumeNameTaken {
        volume: Box<str>,
    },
    /// `list`: the annotation, without its prefix.
    NoSuchContainer {
        list: &'static str,
        name: Box<str>,
    },
    LoneRegion {
        set: Variable,
        missing: Variable,
    },
    EmptyRegion {
        variable: Variable,
    },
    NoRegion,
    RegionsDiffer {
        region: Box<str>,
        default_region: Box<str>,
    },
    OtherRegion {
        set: Box<str>,
        node: Box<str>,
    },

    // Of what SDKs do.
    /// `variable`: the endpoint URL that leads there, if one does.
    UsesGlobal {
        sdks: Sdks,
        variable: Option<Variable>,
        own_value: bool,
    },
    ExplicitGlobalEndpoint {
        variable: Variable,
        host: Box<str>,
        /// Nothing if the region of the pod is not known.
        signed_for: Option<Box<str>>,
        remedy: Option<Remedy>,
    },
    CustomEndpoint {
        variable: Variable,
        host: Box<str>,
    },
    FipsOverride {
        host: Box<str>,
    },
    DualStackOverride {
        host: Box<str>,
    },
    FipsHostMissing {
        region: Box<str>,
    },
    SdkError {
        sdks: Sdks,
        text: Box<str>,
    },
    /// `tokens`: whether SDKs get tokens there that are not valid in the region.
    OptInLegacy {
        region: Box<str>,
        tokens: bool,
    },
}

impl Fact {
    /// The id, which never changes with the wording.
    #[must_use]
    pub const fn id(&self) -> Id {
        match self {
            Self::WebhookAbsent => Id::WebhookAbsent,
            Self::WebhookUnhealthy { .. } => Id::WebhookUnhealthy,
            Self::ChoiceUnknown { .. } => Id::ChoiceUnknown,
            Self::Annotation(warning) => warning.problem.id(),
            Self::UnquotedAnnotation { .. } => Id::UnquotedAnnotation,
            Self::ClusterTooOld { .. } => Id::ClusterTooOld,
            Self::GlobalOmitted { .. } | Self::ChoiceWithoutRole { .. } => Id::InvalidAnnotation,
            Self::ServiceAccountMissing { .. } | Self::ServiceAccountNotInInput { .. } => {
                Id::ServiceAccountMissing
            }
            Self::UnreadablePod { .. } => Id::UnreadableManifest,
            Self::UnmutatedPod { .. } => Id::UnmutatedPod,
            Self::UnmutatedContainer => Id::UnmutatedContainer,
            Self::InvalidValue { .. } => Id::InvalidValue,
            Self::StalePod { .. } => Id::StalePod,
            Self::RoleGone { .. } | Self::RoleChanged { .. } => Id::StaleRole,
            Self::RoleSetInPod { .. } => Id::RoleSetInPod,
            Self::SetInPod { .. } => Id::SetInPod,
            Self::HalfIdentity { .. } => Id::HalfIdentity,
            Self::BadRoleArn { .. } => Id::BadRoleArn,
            Self::RolePartition { .. } => Id::RolePartition,
            Self::TokenFileMissing { .. } => Id::TokenFileMissing,
            Self::TokenAudience { .. } => Id::TokenAudience,
            Self::TokenSubPath { .. } => Id::TokenSubPath,
            Self::StaticCredentials => Id::StaticCredentials,
            Self::ContainerCredentialsSetInPod { .. } => Id::ContainerCredentialsSetInPod,
            Self::EnvFrom => Id::EnvFrom,
            Self::MountPathTaken { .. } | Self::VolumeNameTaken { .. } => Id::TokenPlaceTaken,
            Self::NoSuchContainer { .. } => Id::NoSuchContainer,
            Self::LoneRegion {
                set: Variable::Region,
                ..
            } => Id::LoneAwsRegion,
            Self::LoneRegion { .. } => Id::LoneAwsDefaultRegion,
            Self::EmptyRegion { .. } => Id::EmptyRegion,
            Self::NoRegion => Id::NoRegion,
            Self::RegionsDiffer { .. } => Id::RegionsDiffer,
            Self::OtherRegion { .. } => Id::OtherRegion,
            Self::UsesGlobal { .. } => Id::UsesGlobal,
            Self::ExplicitGlobalEndpoint { .. } => Id::ExplicitGlobalEndpoint,
            Self::CustomEndpoint { .. } => Id::CustomEndpoint,
            Self::FipsOverride { .. } => Id::FipsOverride,
            Self::DualStackOverride { .. } => Id::DualStackOverride,
            Self::FipsHostMissing { .. } => Id::FipsHostMissing,
            Self::SdkError { .. } => Id::SdkError,
            Self::OptInLegacy { .. } => Id::OptInLegacy,
        }
    }

    /// How bad it is here: that of its id, except where it does less harm.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::GlobalOmitted { .. }
            | Self::ChoiceWithoutRole { .. }
            | Self::ServiceAccountNotInInput { .. } => Severity::Info,
            _ => self.id().severity(),
        }
    }

    /// The annotation that it is about, with its prefix.
    #[must_use]
    pub fn annotation(&self) -> Option<&str> {
        match self {
            Self::Annotation(warning) => Some(&warning.key),
            Self::UnquotedAnnotation { key, .. }
            | Self::ClusterTooOld { key, .. }
            | Self::GlobalOmitted { key }
            | Self::ChoiceWithoutRole { key } => Some(key),
            Self::NoSuchContainer { list, .. } => Some(list),
            _ => None,
        }
    }

    /// The variable that it is about: where a person has to look.
    #[must_use]
    pub const fn variable(&self) -> Option<Variable> {
        match self {
            Self::InvalidValue { .. }
            | Self::StalePod { .. }
            | Self::SetInPod { .. }
            | Self::OptInLegacy { .. } => Some(Variable::StsRegionalEndpoints),
            Self::RoleChanged { .. }
            | Self::RoleSetInPod { .. }
            | Self::BadRoleArn { .. }
            | Self::RolePartition { .. } => Some(Variable::RoleArn),
            Self::HalfIdentity { set, .. } | Self::LoneRegion { set, .. } => Some(*set),
            Self::ContainerCredentialsSetInPod { set } => Some(*set),
            Self::EmptyRegion { variable } => Some(*variable),
            Self::TokenFileMissing { .. } => Some(Variable::WebIdentityTokenFile),
            Self::StaticCredentials => Some(Variable::AccessKeyId),
            Self::RegionsDiffer { .. } | Self::OtherRegion { .. } => Some(Variable::Region),
            Self::ExplicitGlobalEndpoint { variable, .. } | Self::CustomEndpoint { variable, .. } => {
                Some(*variable)
            }
            Self::UsesGlobal {
                variable, own_value, ..
            } => match (variable, own_value) {
                (Some(variable), _) => Some(*variable),
                (None, true) => Some(Variable::StsRegionalEndpoints),
                (None, false) => None,
            },
            Self::FipsOverride { .. } | Self::FipsHostMissing { .. } => Some(Variable::UseFips),
            Self::DualStackOverride { .. } => Some(Variable::UseDualStack),
            _ => None,
        }
    }
}

/// Who is told a cure: what helps on a running cluster may mean nothing to somebody who holds manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CureFor {
    /// Somebody who can run `irsa` against the cluster.
    Cluster,
    /// Somebody who can edit manifests: the author of a pod, or a reader of `irsa check`.
    Manifests,
}

/// One finding.
///
/// Findings are ordered worst first, then by id, container and parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// What is the case.
    pub fact: Fact,
    /// The container concerned, if it is about one.
    pub container: Option<Box<str>>,
}

impl From<Fact> for Finding {
    fn from(fact: Fact) -> Self {
        Self {
            fact,
            container: None,
        }
    }
}

impl From<annotations::Warning> for Finding {
    fn from(warning: annotations::Warning) -> Self {
        Fact::Annotation(warning).into()
    }
}

impl Finding {
    /// A fact about one container.
    #[must_use]
    pub fn of_container(fact: Fact, name: &str) -> Self {
        Self {
            fact,
            container: Some(name.into()),
        }
    }

    /// What kind.
    #[must_use]
    pub const fn id(&self) -> Id {
        self.fact.id()
    }

    /// How bad, here.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.fact.severity()
    }
}

impl Ord for Finding {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |finding: &Self| (finding.id(), finding.severity());
        key(self)
            .cmp(&key(other))
            .then_with(|| self.container.cmp(&other.container))
            .then_with(|| self.fact.cmp(&other.fact))
    }
}

impl PartialOrd for Finding {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl annotations::Problem {
    /// The id under which it is told.
    #[must_use]
    pub const fn id(&self) -> Id {
        match self {
            Self::Misspelt { .. } | Self::OtherTool { .. } | Self::WrongObject { .. } => {
                Id::MisspeltAnnotation
            }
            Self::RoleArn(_) => Id::BadRoleArn,
            _ => Id::InvalidAnnotation,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_listed_worst_first() {
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
}
