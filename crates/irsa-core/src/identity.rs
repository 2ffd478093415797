//! What a service account gets: role, audience, validity of its token, endpoint type, and who said so.
//!
//! [`ServiceAccount`], [`ConfigMap`] and [`CredentialsFile`] are what is remembered, made small because there are a
//! hundred thousand of them; [`resolve`] puts them together for one pod and allocates nothing.

mod config_map;
mod credentials_file;

pub use config_map::{ConfigMap, DATA_KEY as CONFIG_MAP_KEY, Entry, NAME as CONFIG_MAP_NAME};
pub use credentials_file::CredentialsFile;

use crate::annotations::{self, MIN_TOKEN_EXPIRATION, Warning};
use crate::endpoint::{Choice, ChoiceSource, EndpointType, Sources};
use crate::settings::Settings;

/// A document (ConfigMap or credentials file) that is no JSON of the expected form, so that nothing of it is usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not usable: {problem}")]
pub struct DocumentError {
    /// Which document.
    pub what: &'static str,
    /// What is wrong, with line and column where known.
    pub problem: Box<str>,
}

/// What is remembered of a service account whose annotations concern us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceAccount {
    role_arn: Option<Box<str>>,
    audience: Option<Box<str>>,
    token_expiration: Option<std::num::NonZeroI64>,
    endpoint: Option<EndpointType>,
    warnings: Option<Box<[Warning]>>,
}

impl ServiceAccount {
    /// Reads the annotations of a service account. `None` when none of them concerns us: such a service account
    /// needs no more memory than its name.
    pub fn from_annotations<'a>(
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
        settings: &Settings,
    ) -> Option<Self> {
        let read = annotations::service_account(
            &settings.annotation_prefix,
            settings.compose.as_ref(),
            annotations,
        );
        let this = Self {
            role_arn: read.role_arn.map(Into::into),
            audience: read.audience.map(Into::into),
            token_expiration: read.token_expiration.and_then(std::num::NonZeroI64::new),
            endpoint: read.endpoint,
            warnings: (!read.warnings.is_empty()).then(|| read.warnings.into_boxed_slice()),
        };
        (this != Self::default()).then_some(this)
    }

    /// The ARN of the role, composed if that is set; `None` when the service account asks for none.
    #[must_use]
    pub fn role_arn(&self) -> Option<&str> {
        self.role_arn.as_deref().filter(|role| !role.is_empty())
    }

    /// The audience of the annotation.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// The seconds of the annotation, at least the minimum.
    #[must_use]
    pub fn token_expiration(&self) -> Option<i64> {
        self.token_expiration.map(Into::into)
    }

    /// The endpoint type of the annotation.
    #[must_use]
    pub fn endpoint(&self) -> Option<EndpointType> {
        self.endpoint
    }

    /// What is wrong with its annotations.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        self.warnings.as_deref().unwrap_or_default()
    }
}

/// What is known about the service account of a pod, whose annotations are `A` if any concern us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<A> {
    /// It has not been seen (yet).
    Unknown,
    /// It exists, and nothing on it concerns us.
    Plain,
    /// It exists and has annotations that concern us.
    Annotated(A),
}

impl<A: std::ops::Deref> Known<A> {
    /// The same, borrowed.
    pub fn as_deref(&self) -> Known<&A::Target> {
        match self {
            Self::Unknown => Known::Unknown,
            Self::Plain => Known::Plain,
            Self::Annotated(annotations) => Known::Annotated(annotations),
        }
    }
}

impl<'a> Known<&'a ServiceAccount> {
    /// What is remembered of it, if anything.
    #[must_use]
    pub fn annotations(self) -> Option<&'a ServiceAccount> {
        match self {
            Self::Annotated(annotations) => Some(annotations),
            Self::Unknown | Self::Plain => None,
        }
    }
}

/// All that is known about the service account of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// The service account itself.
    pub service_account: Known<&'a ServiceAccount>,
    /// Its entry in the ConfigMap, from [`ConfigMap::find`].
    pub config_map: Option<&'a Entry>,
    /// What its namespace's annotation says.
    pub namespace: Option<EndpointType>,
    /// Whether the container credentials file lists it, from [`CredentialsFile::contains`].
    pub container_credentials: bool,
}

impl Lookup<'_> {
    /// A lookup that found nothing.
    pub const NOTHING: Self = Self {
        service_account: Known::Unknown,
        config_map: None,
        namespace: None,
        container_credentials: false,
    };
}

/// How a pod obtains credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// `AssumeRoleWithWebIdentity` at STS: IAM Roles for Service Accounts.
    WebIdentity {
        /// The role to assume.
        role_arn: &'a str,
    },
    /// An HTTP endpoint on the node: EKS Pod Identity.
    ContainerCredentials,
}

impl Method<'_> {
    /// The label value of the Go webhook's metric `pod_identity_webhook_pod_count`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::WebIdentity { .. } => "sts_web_identity",
            Self::ContainerCredentials => "container_credentials",
        }
    }
}

/// What the pods of a service account get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// How they obtain credentials.
    pub method: Method<'a>,
    /// The audience of the token; empty means that of the API server (only in compatibility mode).
    pub audience: &'a str,
    /// Seconds that the token is valid, before the pod's own annotation.
    pub token_expiration: i64,
    /// The endpoint type and who decided it, before the container's own variable.
    pub choice: Choice,
    /// What is wrong with the service account's annotations.
    pub warnings: &'a [Warning],
}

/// Why the pods of a service account are given no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoIdentity {
    /// The service account is not known: it does not exist, or has not been seen within the bounded wait.
    ServiceAccountUnknown,
    /// Neither its annotations nor the ConfigMap name a role.
    NoRole,
}

impl NoIdentity {
    /// The reason in words, to follow "because".
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ServiceAccountUnknown => "its service account is not known to the webhook",
            Self::NoRole => "its service account has no role-arn annotation and no entry in the ConfigMap",
        }
    }
}

/// Puts together what the pods of a service account get, or says why they get nothing.
///
/// Outside compatibility mode each field is decided by itself: role, audience and validity by the service account,
/// else by the ConfigMap entry whose role is used, else by the settings; the endpoint type by [`Sources::choose`].
pub fn resolve<'a>(lookup: &Lookup<'a>, settings: &'a Settings) -> Result<Identity<'a>, NoIdentity> {
    if settings.compat.is_upstream() {
        resolve_upstream(lookup, settings)
    } else {
        resolve_own(lookup, settings)
    }
}

fn resolve_own<'a>(lookup: &Lookup<'a>, settings: &'a Settings) -> Result<Identity<'a>, NoIdentity> {
    let annotations = lookup.service_account.annotations();
    let warnings = annotations.map_or(&[] as &[Warning], ServiceAccount::warnings);
    let choice = Sources {
        platform: settings.platform,
        service_account: annotations.and_then(ServiceAccount::endpoint),
        config_map: lookup.config_map.and_then(Entry::endpoint),
        namespace: lookup.namespace.filter(|_| settings.namespace_defaults),
        flag: settings.flag,
    }
    .choose();
    let own_expiration = annotations.and_then(ServiceAccount::token_expiration);
    if lookup.container_credentials {
        let from_entry = lookup.config_map.and_then(Entry::token_expiration);
        return Ok(Identity {
            method: Method::ContainerCredentials,
            audience: &settings.container_credentials.audience,
            token_expiration: own_expiration
                .or(from_entry)
                .unwrap_or(settings.token_expiration)
                .max(MIN_TOKEN_EXPIRATION),
            choice,
            warnings,
        });
    }
    let own_role = annotations.and_then(ServiceAccount::role_arn);
    let entry = lookup.config_map.filter(|_| own_role.is_none());
    let Some(role_arn) = own_role.or(entry.and_then(Entry::role_arn)) else {
        return Err(match lookup.service_account {
            Known::Unknown => NoIdentity::ServiceAccountUnknown,
            Known::Plain | Known::Annotated(_) => NoIdentity::NoRole,
        });
    };
    let own_audience = annotations
        .and_then(ServiceAccount::audience)
        .filter(|audience| !audience.is_empty());
    Ok(Identity {
        method: Method::WebIdentity { role_arn },
        audience: own_audience
            .or(entry.and_then(Entry::audience))
            .unwrap_or(&settings.audience),
        token_expiration: own_expiration
            .or(entry.and_then(Entry::token_expiration))
            .unwrap_or(settings.token_expiration)
            .max(MIN_TOKEN_EXPIRATION),
        choice,
        warnings,
    })
}

/// The Go webhook takes all fields from one place: the service account if that names a role, else the entry. For
/// container credentials the place is the service account if it exists, else the entry, else constants.
fn resolve_upstream<'a>(lookup: &Lookup<'a>, settings: &'a Settings) -> Result<Identity<'a>, NoIdentity> {
    // The webhook of EKS knows its platform; whoever else runs the Go webhook has none.
    let choice = |said: Option<EndpointType>, source| {
        let said_by = |here: ChoiceSource| said.filter(|_| source == here);
        Sources {
            platform: settings.platform,
            service_account: said_by(ChoiceSource::ServiceAccount),
            config_map: said_by(ChoiceSource::ConfigMap),
            namespace: None,
            flag: settings.flag.filter(|_| source != ChoiceSource::Unset),
        }
        .choose()
    };
    let annotations = lookup.service_account.annotations();
    let warnings = annotations.map_or(&[] as &[Warning], ServiceAccount::warnings);
    let own_choice = || {
        choice(
            annotations.and_then(ServiceAccount::endpoint),
            ChoiceSource::ServiceAccount,
        )
    };
    let own_expiration = annotations
        .and_then(ServiceAccount::token_expiration)
        .unwrap_or(settings.token_expiration);
    // An entry without UseRegionalSTS means global whatever the flag says: Go's zero value.
    let entry_choice = |entry: &Entry| {
        choice(
            Some(entry.endpoint().unwrap_or(EndpointType::Global)),
            ChoiceSource::ConfigMap,
        )
    };
    let entry_expiration = |entry: &Entry| entry.token_expiration().unwrap_or(settings.token_expiration);

    if lookup.container_credentials {
        // The Go webhook looks for the exact entry only here, not for that of the namespace `*`.
        let entry = lookup.config_map.filter(|entry| entry.is_exact());
        let (choice, token_expiration) = match (lookup.service_account, entry) {
            (Known::Plain | Known::Annotated(_), _) => (own_choice(), own_expiration),
            (Known::Unknown, Some(entry)) => (entry_choice(entry), entry_expiration(entry)),
            (Known::Unknown, None) => (
                choice(Some(EndpointType::Global), ChoiceSource::Unset),
                annotations::MAX_TOKEN_EXPIRATION,
            ),
        };
        return Ok(Identity {
            method: Method::ContainerCredentials,
            audience: &settings.container_credentials.audience,
            token_expiration,
            choice,
            warnings,
        });
    }
    if let Some(role_arn) = annotations.and_then(ServiceAccount::role_arn) {
        return Ok(Identity {
            method: Method::WebIdentity { role_arn },
            audience: annotations
                .and_then(ServiceAccount::audience)
                .unwrap_or(&settings.audience),
            token_expiration: own_expiration,
            choice: own_choice(),
            warnings,
        });
    }
    match lookup.config_map {
        Some(entry) => Ok(Identity {
            method: Method::WebIdentity {
                role_arn: entry.role_arn().ok_or(NoIdentity::NoRole)?,
            },
            audience: entry.audience().unwrap_or(""),
            token_expiration: entry_expiration(entry),
            choice: entry_choice(entry),
            warnings,
        }),
        None if lookup.service_account == Known::Unknown => Err(NoIdentity::ServiceAccountUnknown),
        None => Err(NoIdentity::NoRole),
    }
}
