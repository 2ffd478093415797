//! One admission: from the bytes of a review to the bytes of its answer.
//!
//! Every pod has one reason for what became of it, in a metric; when it is not given an identity although its service
//! account asks for one, also in the log and in a warning to whoever created it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use irsa_core::annotations::{self, Problem};
use irsa_core::finding::{Fact, Finding, Severity};
use irsa_core::identity::{self, Known, NoIdentity, ServiceAccount};
use irsa_core::mutation::{self, Unchanged};
use irsa_core::pod::Pod;
use irsa_core::settings::Settings;
use irsa_core::text::Foreign;

use crate::directory::Directory;
use crate::directory::lookup::{self, ApiLookup};
use crate::metrics::{Metrics, Reason};
use crate::review::{self, Request, Response, Review};
use crate::sample::Sampled;

/// What happens to a pod that cannot be given the identity which it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is admitted as it is, with a warning: what the Go webhook does, without the warning.
    Lenient,
    /// It is refused, so that its controller tries again: for pods that opted in by a label, under `failurePolicy: Fail`.
    Required,
}

/// Answers reviews.
#[derive(Debug)]
pub struct Admission {
    directory: Arc<Directory>,
    settings: Arc<ArcSwap<Settings>>,
    lookup: ApiLookup,
    metrics: Arc<Metrics>,
    random: RandomState,
    count: AtomicU64,
    log: Sampled,
}

/// The largest patch, in bytes: an object of more than 1.5 MiB cannot be stored in etcd.
const MAX_PATCH: usize = 3 << 19;

/// What was decided about one pod.
#[derive(Debug)]
struct Decision {
    reason: Reason,
    patch: Vec<u8>,
    warnings: Vec<String>,
    audit: Vec<(&'static str, String)>,
}

impl Decision {
    fn untouched(reason: Reason) -> Self {
        Self {
            reason,
            patch: Vec::new(),
            warnings: Vec::new(),
            audit: Vec::new(),
        }
    }
}

impl Admission {
    /// Answers by what `directory` knows and `settings` say, asking through `lookup` when it does not.
    #[must_use]
    pub fn new(
        directory: Arc<Directory>,
        settings: Arc<ArcSwap<Settings>>,
        lookup: ApiLookup,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            directory,
            settings,
            lookup,
            metrics,
            random: RandomState::new(),
            count: AtomicU64::new(0),
            log: Sampled::default(),
        }
    }

    /// Answers the review in `body`.
    ///
    /// # Errors
    /// When the body is no review that can be answered.
    pub async fn review(&self, body: &[u8], mode: Mode) -> Result<Vec<u8>, review::Error> {
        let begun = Instant::now();
        let review = match Review::parse(body) {
            Ok(review) => review,
            Err(error) => {
                self.metrics.admission(Reason::Malformed, begun.elapsed());
                return Err(error);
            }
        };
        let request = &review.request;
        let decision = match &request.object {
            Some(pod) if request.creates_pod() => self.decide(request, pod).await?,
            None if request.oversized && request.creates_pod() => self.too_large(
                request,
                "",
                &format!("it has more than {} containers", review::MAX_CONTAINERS),
            ),
            _ => Decision::untouched(Reason::NotPodCreation),
        };
        self.metrics.admission(decision.reason, begun.elapsed());
        if mode == Mode::Required && decision.reason.is_without_identity() {
            let message = match decision.warnings.first() {
                Some(warning) => format!("the pod needs an identity and cannot be given one now: {warning}"),
                None => format!(
                    "the pod needs an identity, but its service account asks for none ({})",
                    decision.reason.as_str()
                ),
            };
            return Ok(review::denial(review.version, &request.uid, &message));
        }
        let Decision {
            patch,
            warnings,
            audit,
            ..
        } = decision;
        Ok(review::answer(
            review.version,
            &request.uid,
            &Response {
                patch: &patch,
                warnings,
                audit,
            },
        ))
    }

    async fn decide(&self, request: &Request<'_>, pod: &Pod<'_>) -> Result<Decision, review::Error> {
        let settings = self.settings.load_full();
        let settings = &*settings;
        let (namespace, name) = (&*request.namespace, pod.service_account());
        if name.is_empty() {
            return Ok(Decision::untouched(Reason::NoServiceAccount));
        }
        let mut indexed = self.directory.service_account(namespace, name);
        let mut asked = None;
        if indexed == Known::Unknown && self.needs_asking(namespace, name, pod, settings)? {
            match self.lookup.ask(namespace, name).await {
                lookup::Asked::Found(found) => indexed = found,
                answer => asked = Some(answer),
            }
        } else if indexed != Known::Unknown && !self.directory.is_current() && !settings.compat.is_upstream()
        {
            // It may have changed since the watch went down.
            if let Some(fresh) = self.lookup.refresh(namespace, name).await {
                indexed = fresh;
            }
        }
        // The guards keep what they point to alive; nothing below waits.
        let config_map = self.directory.config_map();
        let known = indexed.as_deref();
        let facts = identity::Lookup {
            service_account: known,
            config_map: config_map
                .as_ref()
                .as_ref()
                .and_then(|map| map.find(namespace, name)),
            namespace: settings
                .namespace_defaults
                .then(|| self.directory.namespace(namespace))
                .flatten(),
            container_credentials: self.directory.credentials().contains(namespace, name),
        };
        match identity::resolve(&facts, settings) {
            Ok(identity) => self.mutate(request, pod, &identity, settings),
            Err(NoIdentity::ServiceAccountUnknown) => Ok(self.unknown(namespace, name, pod, asked.as_ref())),
            Err(NoIdentity::NoRole) => Ok(self.not_asked(namespace, name, pod, known)),
        }
    }

    /// Whether the answer could depend on a service account that is not known.
    fn needs_asking(
        &self,
        namespace: &str,
        name: &str,
        pod: &Pod<'_>,
        settings: &Settings,
    ) -> Result<bool, review::Error> {
        if settings.compat.is_upstream() {
            // There, an entry in either document ends the search before the service account is waited for.
            let listed = self.directory.credentials().contains(namespace, name)
                || self
                    .directory
                    .config_map()
                    .as_ref()
                    .as_ref()
                    .is_some_and(|map| map.find(namespace, name).is_some());
            return Ok(!listed);
        }
        Ok(!pod.has_skip_label(settings).map_err(unreadable)?)
    }

    fn mutate(
        &self,
        request: &Request<'_>,
        pod: &Pod<'_>,
        identity: &identity::Identity<'_>,
        settings: &Settings,
    ) -> Result<Decision, review::Error> {
        let outcome = pod.patch(identity, settings, self.random()).map_err(unreadable)?;
        if outcome.patch.len() > MAX_PATCH {
            let why = format!(
                "its patch would have {} bytes, more than a cluster can store",
                outcome.patch.len()
            );
            return Ok(self.too_large(request, pod.name(), &why));
        }
        self.metrics.pod(identity.method.as_str());
        let reason = match outcome.unchanged {
            None => Reason::Mutated,
            Some(Unchanged::AlreadyComplete) => Reason::Complete,
            Some(Unchanged::AllContainersSkipped | Unchanged::SkipLabel) => Reason::Skipped,
        };
        let endpoint = (identity.choice.endpoint.as_str(), identity.choice.source.as_str());
        self.metrics.patch(
            outcome.patch.len(),
            (reason == Reason::Mutated).then_some(endpoint),
        );
        let warnings = outcome
            .warnings
            .iter()
            .filter(|warning| warning.severity() > Severity::Info)
            .map(|warning| self.warning(warning))
            .collect::<Vec<_>>();
        let mut audit = Vec::new();
        if reason == Reason::Mutated && settings.record {
            audit.push(("sts-endpoint", identity.choice.record()));
        }
        tracing::debug!(
            namespace = &*request.namespace,
            pod = pod.name(),
            service_account = pod.service_account(),
            reason = reason.as_str(),
            endpoint = endpoint.0,
            source = endpoint.1,
            operations = outcome.operations,
            warnings = warnings.len(),
            "admission"
        );
        Ok(Decision {
            reason,
            patch: outcome.patch,
            warnings,
            audit,
        })
    }

    /// The pod is not changed, because that would take too much memory and the API server could not store the result.
    fn too_large(&self, request: &Request<'_>, pod: &str, why: &str) -> Decision {
        let reason = Reason::TooLarge;
        let namespace = &*request.namespace;
        self.log.warn(|more| {
            tracing::warn!(
                namespace,
                pod,
                reason = reason.as_str(),
                more,
                "pod not mutated: {why}"
            );
        });
        self.metrics.warning("too_large");
        Decision {
            warnings: vec![format!("the pod is not given an identity: {why}")],
            ..Decision::untouched(reason)
        }
    }

    /// The service account is not known, so nobody can say whether it asks for an identity.
    fn unknown(&self, namespace: &str, name: &str, pod: &Pod<'_>, asked: Option<&lookup::Asked>) -> Decision {
        let (reason, why) = match asked {
            Some(lookup::Asked::NotFound) => (Reason::NoServiceAccount, "it does not exist".to_owned()),
            Some(lookup::Asked::Failed(error)) => (
                Reason::LookupFailed,
                format!("the Kubernetes API could not be asked: {error}"),
            ),
            Some(lookup::Asked::Timeout) => (
                Reason::LookupTimeout,
                "the Kubernetes API did not answer in time".to_owned(),
            ),
            Some(lookup::Asked::Off | lookup::Asked::Found(_)) => (
                Reason::LookupOff,
                "it is not in the cache and asking is switched off".to_owned(),
            ),
            // Only a pod with the label that excludes it is not asked about.
            None => return Decision::untouched(Reason::Skipped),
        };
        self.log.warn(|more| {
            tracing::warn!(
                namespace,
                pod = pod.name(),
                service_account = name,
                reason = reason.as_str(),
                more,
                "pod not mutated: its service account is not known: {}",
                Foreign(&why)
            );
        });
        self.metrics.warning("unknown_service_account");
        let warning = format!(
            "service account {namespace}/{name} is not known to the pod identity webhook: {why}; if it has a role, recreate the pod"
        );
        Decision {
            warnings: vec![warning],
            ..Decision::untouched(reason)
        }
    }

    /// No role: an ordinary pod, unless its service account is annotated in a way that cannot be followed.
    fn not_asked(
        &self,
        namespace: &str,
        name: &str,
        pod: &Pod<'_>,
        known: Known<&ServiceAccount>,
    ) -> Decision {
        let problems = known
            .annotations()
            .map_or(&[] as &[annotations::Warning], |account| account.warnings());
        if problems.is_empty() {
            return Decision::untouched(Reason::NotAsked);
        }
        let warnings: Vec<String> = problems
            .iter()
            .map(|problem| {
                self.metrics.warning(kind(&problem.problem));
                problem.to_string()
            })
            .collect();
        self.log.warn(|more| {
            tracing::warn!(
                namespace,
                pod = pod.name(),
                service_account = name,
                reason = Reason::Unusable.as_str(),
                more,
                "pod not mutated: {}",
                Foreign(warnings.join("; "))
            );
        });
        Decision {
            warnings,
            ..Decision::untouched(Reason::Unusable)
        }
    }

    fn warning(&self, warning: &Finding) -> String {
        self.metrics.warning(match &warning.fact {
            Fact::Annotation(warning) => kind(&warning.problem),
            Fact::InvalidValue { .. } => "value",
            Fact::LoneRegion { .. } => "lone_region",
            Fact::EmptyRegion { .. } => "empty_region",
            Fact::StaticCredentials => "static_credentials",
            Fact::ContainerCredentialsSetInPod { .. } => "container_credentials_set_in_pod",
            Fact::TokenSubPath { .. } => "token_sub_path",
            Fact::MountPathTaken { .. } => "mount_path_taken",
            Fact::VolumeNameTaken { .. } => "volume_name_taken",
            Fact::NoSuchContainer { .. } => "no_such_container",
            _ => "other",
        });
        warning.to_string()
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
    fn random(&self) -> u32 {
        self.random.hash_one(self.count.fetch_add(1, Ordering::Relaxed)) as u32
    }
}

impl Reason {
    /// Whether the pod is without the identity that a required one would need.
    fn is_without_identity(self) -> bool {
        !matches!(
            self,
            Self::Mutated | Self::Complete | Self::Skipped | Self::NotPodCreation
        )
    }
}

fn unreadable(error: mutation::Error) -> review::Error {
    review::Error::Pod(error.to_string())
}

/// The bounded label of a problem.
fn kind(problem: &Problem) -> &'static str {
    match problem {
        Problem::NotABoolean => "not_a_boolean",
        Problem::NotANumber => "not_a_number",
        Problem::TooSmall | Problem::TooLarge => "out_of_range",
        Problem::Misspelt { .. } => "misspelt",
        Problem::WrongObject { .. } => "wrong_object",
        Problem::OtherTool { .. } => "other_tool",
        Problem::RoleArn(_) => "role_arn",
        Problem::EmptyAudience => "empty_audience",
        Problem::NotAList => "not_a_list",
        _ => "entry",
    }
}
