//! From a pod and its identity to the patch that writes the one into the other.
//!
//! The patch only adds. It is computed on the raw JSON of the request, so that fields which this build does not know
//! stay as they are, and a second run over the patched pod is empty. In compatibility mode the patched pod is that of
//! the Go webhook.

mod additions;
mod carried;
mod patch;
mod run;

pub use carried::{Difference, Origin};

use crate::annotations::SKIP_LABEL;
use crate::endpoint::{ChoiceSource, EndpointType};
use crate::finding::Finding;
use crate::identity::Identity;
use crate::pod::{Pod, Skipped, each_pair, is_skip_label};
use crate::settings::Settings;

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
    pub unchanged: Option<Unchanged>,
    /// What was decided and done for each container, init containers first.
    pub containers: Vec<ContainerFacts<'a>>,
    /// What its author should know. Those of [`Severity::Info`](crate::finding::Severity) are true of many sound pods,
    /// so that whoever creates one should not be told each time.
    pub warnings: Vec<Finding>,
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

/// Why nothing is written into a pod that has an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unchanged {
    /// All that would be written is there already.
    AlreadyComplete,
    /// Every container is excluded by `skip-containers` or `include-containers`.
    AllContainersSkipped,
    /// The pod carries the label that excludes it from mutation.
    SkipLabel,
}

impl Unchanged {
    /// The reason in words, to follow "because".
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::AlreadyComplete => "everything it needs is there already",
            Self::AllContainersSkipped => "its annotations exclude every container",
            Self::SkipLabel => "it carries the label that excludes it",
        }
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
            .map(|spec| spec.service_account())
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
            found |= is_skip_label(key, settings);
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
                unchanged: Some(Unchanged::SkipLabel),
                ..Outcome::default()
            });
        }
        match run::Mutation::new(self, identity, settings)? {
            Some(mutation) => mutation.run(random),
            None => Ok(Outcome {
                unchanged: Some(Unchanged::AllContainersSkipped),
                ..Outcome::default()
            }),
        }
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
