//! The labels of the metrics. Every set of values is closed, so that no client can make the page grow.

use std::fmt::Error as FmtError;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// What became of one admission. The set is closed, so that it can be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The pod was given its identity.
    Mutated,
    /// The pod has all that it would be given; the answer has no patch.
    Complete,
    /// The service account asks for no identity.
    NotAsked,
    /// The service account does not exist, according to the API server.
    NoServiceAccount,
    /// The service account is not known and the API did not answer within the bounded wait.
    LookupTimeout,
    /// The service account is not known and the API could not be asked.
    LookupFailed,
    /// The service account is not known and waiting is switched off.
    LookupOff,
    /// The service account asks for an identity in a way that cannot be followed.
    Unusable,
    /// Its annotations or its label exclude the pod, or every container of it.
    Skipped,
    /// The pod has too many containers, or its patch would be too large.
    TooLarge,
    /// The request is not the creation of a pod.
    NotPodCreation,
    /// The request could not be read.
    Malformed,
}

impl Reason {
    /// All of them, for the metric's first values.
    pub const ALL: [Self; 12] = [
        Self::Mutated,
        Self::Complete,
        Self::NotAsked,
        Self::NoServiceAccount,
        Self::LookupTimeout,
        Self::LookupFailed,
        Self::LookupOff,
        Self::Unusable,
        Self::Skipped,
        Self::TooLarge,
        Self::NotPodCreation,
        Self::Malformed,
    ];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutated => "mutated",
            Self::Complete => "complete",
            Self::NotAsked => "not_asked",
            Self::NoServiceAccount => "no_service_account",
            Self::LookupTimeout => "lookup_timeout",
            Self::LookupFailed => "lookup_failed",
            Self::LookupOff => "lookup_off",
            Self::Unusable => "unusable",
            Self::Skipped => "skipped",
            Self::TooLarge => "too_large",
            Self::NotPodCreation => "not_pod_creation",
            Self::Malformed => "malformed",
        }
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), FmtError> {
        self.as_str().encode(encoder)
    }
}

/// A watch on the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watch {
    /// Service accounts of all namespaces.
    ServiceAccounts,
    /// Namespaces, for their default.
    Namespaces,
    /// The `pod-identity-webhook` ConfigMap.
    ConfigMap,
    /// The MutatingWebhookConfiguration whose `caBundle` is ours.
    WebhookConfiguration,
}

impl Watch {
    /// The resource watched.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccounts => "serviceaccounts",
            Self::Namespaces => "namespaces",
            Self::ConfigMap => "configmaps",
            Self::WebhookConfiguration => "mutatingwebhookconfigurations",
        }
    }
}

/// How a question to the API about an unknown service account ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupResult {
    /// The API knew it.
    Found,
    /// The API said that it does not exist.
    NotFound,
    /// It was remembered from a moment ago that it does not exist.
    Remembered,
    /// Another admission had asked already; this one shared the answer.
    Shared,
    /// The watch brought it while waiting.
    Watched,
    /// The bounded wait ran out.
    Timeout,
    /// The API could not be asked.
    Failed,
}

impl LookupResult {
    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => "not_found",
            Self::Remembered => "remembered",
            Self::Shared => "shared",
            Self::Watched => "watched",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) verb: &'static str,
    pub(super) path: &'static str,
    pub(super) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Route {
    pub(super) verb: &'static str,
    pub(super) path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Method {
    pub(super) method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    pub(super) reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WarningLabel {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Endpoint {
    pub(super) endpoint: &'static str,
    pub(super) source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WatchLabel {
    pub(super) resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CertificateLabel {
    pub(super) certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabelOf {
    pub(super) reason: &'static str,
}
