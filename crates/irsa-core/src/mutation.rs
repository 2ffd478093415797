//! From a pod and its identity to the patch that writes the one into the other.
//!
//! The patch only adds. It is computed on the raw JSON of the request, so that fields which this build does not know
//! stay as they are, and a second run over the patched pod is empty. In compatibility mode the patched pod is that of
//! the Go webhook.

mod patch;
mod pod;
mod run;

use std::fmt;

pub use pod::{Pod, Variable};

use crate::annotations::{self, SKIP_LABEL};
use crate::endpoint::{ChoiceSource, EndpointType, ValueProblem};
use crate::identity::{Identity, NotMutated};
use crate::settings::Settings;
use pod::each_pair;

/// Why a pod cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the pod is not readable: {0}")]
pub struct Error(#[from] serde_json::Error);

/// What becomes of a pod.
#[derive(Debug, Default)]
pub struct Outcome<'a> {
    /// The JSON Patch, ready to be sent; empty when nothing is to be changed.
    pub patch: Vec<u8>,
    /// How many operations the patch has.
    pub operations: usize,
    /// Why nothing is changed.
    pub not_mutated: Option<NotMutated>,
    /// What was decided and done for each container, init containers first.
    pub containers: Vec<ContainerFacts<'a>>,
    /// What its author should know.
    pub warnings: Vec<Warning<'a>>,
}

/// What was decided and done for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is an init container (a native sidecar is one).
    pub init: bool,
    /// The endpoint type it ends up with; `None` if its own variable says nothing that can be told now.
    pub endpoint: Option<EndpointType>,
    /// Who decided that.
    pub source: ChoiceSource,
    /// What was written into `AWS_STS_REGIONAL_ENDPOINTS`.
    pub written: Option<&'static str>,
    /// How many variables were added.
    pub variables: u8,
    /// Whether the token's volume was mounted into it.
    pub mounted: bool,
    /// Why nothing was written into it.
    pub skipped: Option<Skipped>,
}

/// Why nothing was written into a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skipped {
    /// `skip-containers` names it.
    Listed,
    /// `include-containers` does not name it.
    NotIncluded,
    /// It has everything.
    Complete,
}

impl Skipped {
    /// A short stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "skip-containers",
            Self::NotIncluded => "include-containers",
            Self::Complete => "complete",
        }
    }
}

/// What the author of a pod should know. `Display` is one sentence with a cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning<'a> {
    /// About an annotation of the pod or its service account.
    Annotation(annotations::Warning),
    /// The container's value of `AWS_STS_REGIONAL_ENDPOINTS` stops SDKs.
    Value {
        /// The container.
        container: &'a str,
        /// The value.
        written: &'a str,
        /// What is wrong with it.
        problem: ValueProblem,
    },
    /// Only one of the two region variables is set, and no region is known to fill in the other.
    LoneRegion {
        /// The container.
        container: &'a str,
        /// The one that is set.
        set: Variable,
        /// The one that is not.
        missing: Variable,
    },
    /// Static credentials in the container, which SDKs prefer to its identity.
    StaticCredentials {
        /// The container.
        container: &'a str,
    },
    /// Variables of a container come from elsewhere as a whole; what is written here wins over them.
    EnvFrom {
        /// The container.
        container: &'a str,
    },
    /// Another volume is mounted where the token belongs; it is left alone.
    MountPathTaken {
        /// The container.
        container: &'a str,
        /// The path.
        path: Box<str>,
    },
    /// A volume of the token's name exists, and is no projected volume.
    VolumeNameTaken {
        /// The name.
        volume: Box<str>,
    },
    /// A list of containers names one that does not exist.
    NoSuchContainer {
        /// The annotation's name without its prefix.
        list: &'static str,
        /// The name in the list.
        container: Box<str>,
    },
}

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation(warning) => warning.fmt(f),
            Self::Value {
                container,
                written,
                problem,
            } => {
                write!(
                    f,
                    "container {container}: AWS_STS_REGIONAL_ENDPOINTS=`{written}` is kept, but {}",
                    problem.explain()
                )
            }
            Self::LoneRegion {
                container,
                set,
                missing,
            } => write!(
                f,
                "container {container} sets {set} without {missing}, and some SDKs read only {missing}; set both"
            ),
            Self::StaticCredentials { container } => write!(
                f,
                "container {container} sets AWS_ACCESS_KEY_ID, which SDKs use instead of its service account's identity; remove it"
            ),
            Self::EnvFrom { container } => write!(
                f,
                "container {container} takes variables from envFrom; AWS_ variables among them are overridden by those written for its service account, set them in env to keep them"
            ),
            Self::MountPathTaken { container, path } => write!(
                f,
                "container {container} mounts another volume at {path}, where its token belongs; it is left as it is, make sure that the token is in it"
            ),
            Self::VolumeNameTaken { volume } => write!(
                f,
                "volume {volume} is not a projected volume, so the token will not be in it; rename it"
            ),
            Self::NoSuchContainer { list, container } => {
                write!(
                    f,
                    "pod annotation {list} names `{container}`, which is no container of the pod; correct the name"
                )
            }
        }
    }
}

impl Warning<'_> {
    /// Whether it is a remark for a check, not a warning: true of many sound pods, so that whoever creates one should
    /// not be told each time.
    #[must_use]
    pub const fn is_remark(&self) -> bool {
        matches!(self, Self::EnvFrom { .. })
    }
}

impl<'a> Pod<'a> {
    /// Reads a pod from JSON.
    pub fn parse(json: &'a [u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The name, or the prefix that the API server will make a name of, or nothing.
    #[must_use]
    pub fn name(&self) -> &str {
        let metadata = self.metadata.as_ref();
        let name = metadata
            .and_then(|m| m.name.as_deref())
            .filter(|name| !name.is_empty());
        name.or(metadata.and_then(|m| m.generate_name.as_deref()))
            .unwrap_or_default()
    }

    /// The service account, which the API server has filled in by the time that webhooks are asked. Empty for the
    /// mirror pods of static pods.
    #[must_use]
    pub fn service_account(&self) -> &str {
        self.spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or_default()
    }

    /// Whether the pod carries the label `PREFIX/skip-pod-identity-webhook`.
    pub fn has_skip_label(&self, settings: &Settings) -> Result<bool, Error> {
        let Some(labels) = self.metadata.as_ref().and_then(|m| m.labels) else {
            return Ok(false);
        };
        if !labels.get().contains(SKIP_LABEL) {
            return Ok(false);
        }
        let mut found = false;
        each_pair(labels, |key, _| {
            let name = key
                .strip_prefix(&*settings.annotation_prefix)
                .and_then(|rest| rest.strip_prefix('/'));
            found |= name == Some(SKIP_LABEL);
        })?;
        Ok(found)
    }

    /// Computes the patch. `random` is any random number: it spreads the validity of container credentials tokens.
    pub fn patch(
        &self,
        identity: &Identity<'_>,
        settings: &Settings,
        random: u32,
    ) -> Result<Outcome<'_>, Error> {
        if !settings.compat.is_upstream() && self.has_skip_label(settings)? {
            return Ok(Outcome {
                not_mutated: Some(NotMutated::SkipLabel),
                ..Outcome::default()
            });
        }
        run::Mutation::new(self, identity, settings)?.run(random)
    }
}

/// Reads a pod and computes its patch; see [`Pod::patch`]. Without an identity there is nothing to do, and the caller
/// knows why from [`crate::identity::resolve`].
pub fn patch(
    pod: &[u8],
    identity: Option<&Identity<'_>>,
    settings: &Settings,
    random: u32,
) -> Result<Vec<u8>, Error> {
    let pod = Pod::parse(pod)?;
    match identity {
        Some(identity) => Ok(pod.patch(identity, settings, random)?.patch),
        None => Ok(Vec::new()),
    }
}
