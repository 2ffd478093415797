//! What `irsa explain` found out.

use irsa_core::endpoint::{Choice, ChoiceSource};
use irsa_core::identity::Method;
use irsa_core::presign::{self, Prediction, PresignOptions};
use irsa_core::sdk::{self, Answer, Call, Code, Cure, Environment, Guess, Sdk, SignedCalls, scope_cures};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::directory::Decided;
use irsa_fleet::explain::{ContainerFacts, Gathered, Source, Subject};
use irsa_fleet::finding::{Finding, WhyUnknown};

/// Bucket and key in the URLs whose form is shown.
const BUCKET: &str = "bucket";
const KEY: &str = "path";

/// Everything that is shown.
pub(super) struct Explanation {
    /// Nothing without a cluster.
    pub(super) header: Option<Header>,
    pub(super) containers: Vec<ExplainedContainer>,
    /// Containers that have no part in this.
    pub(super) skipped: Vec<String>,
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

/// What is said once, above the containers.
pub(super) struct Header {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) account: String,
    pub(super) account_exists: bool,
    pub(super) context: String,
    pub(super) version: String,
    pub(super) settings_from: String,
    pub(super) node: Option<String>,
    pub(super) region: Option<(String, String)>,
    pub(super) role: Option<String>,
    pub(super) choice: Option<Choice>,
    pub(super) written: Option<&'static str>,
    /// Why pods of the service account get nothing.
    pub(super) unchanged: Option<&'static str>,
    /// Why it is not known what they get.
    pub(super) unknown: Option<WhyUnknown>,
    pub(super) sources: Vec<Source>,
}

impl Header {
    pub(super) fn new(
        cluster: &Cluster,
        subject: &Subject,
        gathered: &Gathered,
        containers: &[ContainerFacts],
    ) -> anyhow::Result<Self> {
        let (kind, name) = match subject {
            Subject::Pod(name) => ("Pod", name),
            Subject::ServiceAccount(name) => ("ServiceAccount", name),
        };
        let identity = gathered.identity();
        let settings = &gathered.directory.webhooks.settings;
        let node = gathered
            .pod()?
            .map(|pod| pod.spec.node_name().to_owned())
            .filter(|n| !n.is_empty());
        let region = node.as_deref().and_then(|node| {
            let known = gathered.directory.nodes.get(node)?;
            Some((known.region.to_string(), known.source.to_string()))
        });
        // One container that sets the variable itself shows in the sources of the whole pod.
        let own = containers.iter().find(|container| container.sets_variable);
        Ok(Self {
            kind,
            name: name.clone(),
            namespace: gathered.namespace.clone(),
            account: gathered.account.clone(),
            account_exists: gathered.account_exists,
            context: cluster.context().to_owned(),
            version: gathered.directory.version.git_version.clone(),
            settings_from: gathered.directory.webhooks.source.to_string(),
            node,
            region,
            role: identity.as_ref().ok().and_then(|identity| match identity.method {
                Method::WebIdentity { role_arn } => Some(role_arn.to_owned()),
                Method::ContainerCredentials => None,
            }),
            choice: gathered.decided().choice(),
            written: gathered
                .decided()
                .choice()
                .and_then(|choice| choice.written(settings.global_value)),
            unchanged: identity.err().map(irsa_core::identity::NoIdentity::reason),
            unknown: match gathered.decided() {
                Decided::Unknown(why) => Some(why),
                Decided::Known(_) | Decided::NoIdentity(_) => None,
            },
            sources: gathered.sources(own),
        })
    }
}

impl Header {
    /// Why nothing calls STS, if a service account's next pod would get no identity.
    pub(super) fn without_identity(&self) -> Option<&'static str> {
        self.unchanged.filter(|_| self.kind == "ServiceAccount")
    }
}

/// One container, answered for.
pub(super) struct ExplainedContainer {
    pub(super) facts: ContainerFacts,
    pub(super) guess: Option<Guess>,
    pub(super) answers: Vec<Answer>,
    /// The program's own STS calls, when they were asked about.
    pub(super) program: Vec<Answer>,
    pub(super) predictions: Vec<Prediction>,
    /// Per SDK the answers after switching to regional and to global, when a switch has any effect.
    pub(super) switching: Vec<Switch>,
    /// Cures for a refused scope, of the first SDK that has one.
    pub(super) cures: Option<(Sdk, Vec<Cure>)>,
}

/// What a switch does to one SDK.
pub(super) struct Switch {
    pub(super) sdk: Sdk,
    pub(super) now: String,
    pub(super) regional: String,
    pub(super) global: String,
}

impl ExplainedContainer {
    pub(super) fn ask(
        facts: ContainerFacts,
        guess: Option<Guess>,
        sdks: &[Sdk],
        code: Code<'_>,
        values: Option<[Option<&str>; 2]>,
    ) -> Self {
        let environment = &facts.environment;
        let ask = |environment: &Environment, sdk: Sdk| sdk::sts(sdk, environment, code, Call::Credentials);
        let answers: Vec<Answer> = sdks.iter().map(|sdk| ask(environment, *sdk)).collect();
        let program: Vec<Answer> = if code == Code::default() {
            Vec::new()
        } else {
            sdks.iter()
                .map(|sdk| sdk::sts(*sdk, environment, code, Call::Program))
                .collect()
        };
        let options = PresignOptions::default();
        let predictions = sdks
            .iter()
            .map(|sdk| presign::predict(*sdk, environment, &options, BUCKET, KEY))
            .collect();
        let switching = values.map(|values| {
            let with = |value: Option<&str>| Environment {
                sts_regional_endpoints: value.map(str::to_owned),
                ..environment.clone()
            };
            let [regional, global] = values.map(with);
            answers
                .iter()
                .map(|now| Switch {
                    sdk: now.sdk,
                    now: target(now).to_owned(),
                    regional: target(&ask(&regional, now.sdk)).to_owned(),
                    global: target(&ask(&global, now.sdk)).to_owned(),
                })
                .collect()
        });
        let refused = program
            .iter()
            .chain(&answers)
            .find(|answer| matches!(answer.signed_calls, SignedCalls::Refused { .. }));
        let cures = refused.map(|answer| (answer.sdk, scope_cures(answer.sdk, environment, code)));
        Self {
            guess,
            answers,
            program,
            predictions,
            switching: switching.unwrap_or_default(),
            cures,
            facts,
        }
    }
}

/// The host, or `error`.
pub(super) fn target(answer: &Answer) -> &str {
    answer.endpoint().map_or("error", |endpoint| &endpoint.host)
}

/// Who may choose, as people call it.
pub(super) fn source_name(source: ChoiceSource) -> &'static str {
    match source {
        ChoiceSource::Container => "the container's own variable",
        ChoiceSource::PlatformTooOld => "a cluster too old to choose",
        ChoiceSource::ServiceAccount => "the service account's annotation",
        ChoiceSource::ConfigMap => "the pod-identity-webhook ConfigMap",
        ChoiceSource::Namespace => "the namespace's annotation",
        ChoiceSource::Flag => "the webhook's --sts-regional-endpoint",
        ChoiceSource::Platform => "the platform's default",
        ChoiceSource::Unset => "nobody",
    }
}
