//! One pod against the rules: what its containers carry, what they should, and what is wrong with it.
//!
//! Nothing here decides what a service account's choice is, what would be written for it or where an SDK calls:
//! `irsa_core` does. Here its answers are put together for one pod.

use std::sync::Arc;

use irsa_core::{
    annotations,
    endpoint::{Choice, EndpointType},
    identity::{Identity, Method, NoIdentity},
    mutation::{Difference, Origin},
    pod::{Container, PodFacts, Value, is_skip_label},
    settings::Settings,
    variable::Variable,
};
use jiff::Timestamp;

use crate::{
    directory::{Account, Decided, Directory},
    effective::{self, Answers, Families},
    finding::{Fact, Finding, WhyStale, WhyUnmutated},
    wire::Pod,
};

/// What a container carries in `AWS_STS_REGIONAL_ENDPOINTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carries<'a> {
    /// No such variable: the SDK's default, not overridden.
    Nothing,
    /// This value, as written.
    Value(&'a str),
    /// A value from a ConfigMap, Secret or field, which the pod does not tell.
    Reference,
}

impl<'a> From<Option<Value<'a>>> for Carries<'a> {
    fn from(value: Option<Value<'a>>) -> Self {
        match value {
            None => Self::Nothing,
            Some(Value::Literal(text)) => Self::Value(text),
            Some(Value::Reference) => Self::Reference,
        }
    }
}

/// One container that has an identity, or should have.
#[derive(Clone, Debug)]
pub struct ContainerView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is an init container.
    pub init: bool,
    /// The variable.
    pub carries: Carries<'a>,
    /// Whether the container sets the variable itself, so that no choice reaches it.
    pub own: bool,
    /// Where the SDKs that it may contain call STS.
    pub answers: Arc<Answers>,
}

/// What is known about a pod.
#[derive(Clone, Debug)]
pub struct PodView<'a> {
    /// What its service account chose; nothing if it has no role, or if that is not known.
    pub choice: Option<Choice>,
    /// The role of its service account.
    pub role: Option<&'a str>,
    /// The region that the pod's SDKs use, or its node's.
    pub region: Option<&'a str>,
    /// Its containers that matter.
    pub containers: Vec<ContainerView<'a>>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Whether recreating the pod would give it something else.
    pub stale: bool,
}

/// Looks at one pod. `None` when neither it nor its service account has anything to do with AWS.
pub fn pod<'a>(pod: &'a Pod<'a>, directory: &'a Directory, families: &Families) -> Option<PodView<'a>> {
    let namespace = &*pod.metadata.namespace;
    let account_name = pod.service_account();
    let lookup = directory.lookup(namespace, account_name);
    let facts = PodFacts::new(
        &pod.spec,
        pod.metadata.annotations.iter(),
        &directory.webhooks.settings,
    );
    let worlds = directory.webhooks.possible(facts.annotations.record.is_some());
    let identities: Result<Vec<_>, NoIdentity> = worlds
        .iter()
        .map(|settings| Ok((irsa_core::identity::resolve(&lookup, settings)?, settings)))
        .collect();
    let has_any = pod.spec.all_containers().any(|(container, _)| {
        container.has_identity() || container.value(Variable::StsRegionalEndpoints).is_some()
    });
    if identities.is_err() && !has_any {
        return None;
    }
    let node_region = directory
        .nodes
        .get(pod.spec.node_name())
        .map(|node| &*node.region);
    let (identity, settings) = match &identities {
        Ok(known) => (known.first().map(|(identity, _)| *identity), worlds.first()),
        Err(_) => (None, worlds.first()),
    };
    let mut view = PodView {
        choice: match directory.decide_as(&lookup, worlds) {
            Decided::Known(choice) => Some(choice),
            Decided::Unknown(_) | Decided::NoIdentity(_) => None,
        },
        role: identity.as_ref().and_then(role),
        region: node_region,
        containers: Vec::new(),
        findings: Vec::new(),
        stale: false,
    };
    let mut subject = Subject {
        pod,
        facts: &facts,
        directory,
        account: directory.account(namespace, account_name),
        account_name,
        identity,
        no_role: identities.as_ref().err() == Some(&NoIdentity::NoRole),
        settings: settings.unwrap_or(&directory.webhooks.settings),
        node_region,
        view: &mut view,
    };
    let unmutated = subject.whole_pod();
    if let Ok(identities) = &identities {
        subject.compare(identities);
    }
    for (container, init) in pod.spec.all_containers() {
        subject.container(container, init, unmutated, families);
    }
    view.findings.sort();
    view.findings.dedup();
    Some(view)
}

fn role<'a>(identity: &Identity<'a>) -> Option<&'a str> {
    match identity.method {
        Method::WebIdentity { role_arn } => Some(role_arn),
        Method::ContainerCredentials => None,
    }
}

struct Subject<'s, 'a> {
    pod: &'a Pod<'a>,
    facts: &'s PodFacts<'a>,
    directory: &'a Directory,
    account: Option<&'a Account>,
    account_name: &'a str,
    /// What its service account is given under the likeliest settings; nothing if it has no role.
    identity: Option<Identity<'a>>,
    /// Whether the service account is known to have no role.
    no_role: bool,
    /// The likeliest settings.
    settings: &'a Settings,
    node_region: Option<&'a str>,
    view: &'s mut PodView<'a>,
}

impl<'a> Subject<'_, 'a> {
    fn add(&mut self, fact: Fact) {
        self.view.findings.push(fact.into());
    }

    fn created(&self) -> Option<Timestamp> {
        self.pod.metadata.creation_timestamp.as_deref()?.parse().ok()
    }

    /// Whether the pod was made before `changed`; nothing if either is unknown.
    fn older_than(&self, changed: Option<Timestamp>) -> Option<bool> {
        Some(self.created()? < changed?)
    }

    /// What is wrong with the pod as a whole, and whether it got no identity at all.
    fn whole_pod(&mut self) -> bool {
        if self.account.is_none() && self.directory.accounts_complete {
            self.add(Fact::ServiceAccountMissing {
                name: self.account_name.into(),
            });
        }
        for warning in &self.facts.annotations.warnings {
            self.view.findings.push(warning.clone().into());
        }
        let Some(identity) = &self.identity else {
            return false;
        };
        let (mut wanted, mut without) = (0, 0);
        for (container, _) in self.pod.spec.all_containers() {
            if self.facts.excluded(container.name()).is_none() {
                wanted += 1;
                without += usize::from(!container.has_identity());
            }
        }
        if wanted == 0 || without < wanted {
            return false;
        }
        let role = role(identity).map(Into::into);
        let why = self.why_unmutated();
        // Where the webhook is not asked, the next pod would get nothing either.
        self.view.stale = !matches!(
            why,
            WhyUnmutated::Mirror | WhyUnmutated::SkipLabel { .. } | WhyUnmutated::Selectors
        );
        self.add(Fact::UnmutatedPod { role, why });
        true
    }

    fn why_unmutated(&self) -> WhyUnmutated {
        if self.pod.is_mirror() {
            return WhyUnmutated::Mirror;
        }
        let webhooks = &self.directory.webhooks;
        if webhooks.installed.is_empty() && webhooks.unreadable.is_none() && !self.directory.version.is_eks()
        {
            return WhyUnmutated::NoWebhook;
        }
        let meta = &self.pod.metadata;
        let asked = self.directory.webhook_asked(&meta.namespace, meta);
        let label = meta
            .labels
            .iter()
            .find(|(key, _)| is_skip_label(key, self.settings));
        match label {
            Some((label, _)) if !asked || self.directory.of_manifests => {
                WhyUnmutated::SkipLabel { label: label.into() }
            }
            _ if !asked => WhyUnmutated::Selectors,
            _ => match self.older_than(self.account.and_then(|account| account.role_changed)) {
                Some(true) => WhyUnmutated::OlderThanRole,
                _ => WhyUnmutated::Unknown,
            },
        }
    }

    /// Tells what is not what would be written now. Where the settings are not known for sure, only what differs
    /// under all that are possible.
    fn compare(&mut self, identities: &[(Identity<'a>, &'a Settings)]) {
        let mut worlds = identities
            .iter()
            .map(|(identity, settings)| (identity.choice, self.facts.differences(identity, settings)));
        let Some((choice, first)) = worlds.next() else {
            return;
        };
        let others: Vec<_> = worlds.map(|(_, differences)| differences).collect();
        let everywhere = |found: &Difference<'_, '_>| {
            others.iter().all(|world| {
                world.iter().any(|other| {
                    std::ptr::eq(other.container, found.container) && other.variable == found.variable
                })
            })
        };
        for difference in first.iter().filter(|difference| everywhere(difference)) {
            let fact = if difference.variable == Variable::RoleArn {
                self.other_role(difference)
            } else {
                self.other_endpoint(difference, choice)
            };
            self.view
                .findings
                .push(Finding::of_container(fact, difference.container.name()));
        }
    }

    /// Whether a variable of a container is its author's own, as far as that can be told. `changed` is when what
    /// would be written last changed: a webhook wrote what was chosen when the pod was created.
    fn is_own(&self, origin: Origin, changed: Option<Timestamp>) -> bool {
        match origin {
            Origin::Absent => false,
            Origin::Author => true,
            _ if self.directory.of_manifests => true,
            Origin::Webhook => false,
            Origin::Unclear => self.older_than(changed) != Some(true),
        }
    }

    fn other_endpoint(&mut self, difference: &Difference<'_, '_>, choice: Choice) -> Fact {
        let changed = self.account.and_then(|account| account.endpoint_changed);
        let carried = match difference.carried {
            Some(Value::Literal(text)) => Some(text.into()),
            _ => None,
        };
        if self.is_own(difference.origin, changed) {
            return Fact::SetInPod {
                written: carried,
                endpoint: choice.endpoint,
            };
        }
        self.view.stale = true;
        let record = self.facts.annotations.record;
        let why = match (self.older_than(changed), record) {
            (Some(true), _) => WhyStale::OlderThanChoice,
            (_, Some(record)) if record != choice => WhyStale::OtherRecord,
            (Some(false), _) => WhyStale::NewerThanChoice,
            (None, _) => WhyStale::Unknown,
        };
        Fact::StalePod {
            carried,
            wanted: difference.wanted.map(Into::into),
            choice,
            why,
        }
    }

    fn other_role(&mut self, difference: &Difference<'_, '_>) -> Fact {
        let changed = self.account.and_then(|account| account.role_changed);
        let written = match difference.carried {
            Some(Value::Literal(text)) => Some(Box::from(text)),
            _ => None,
        };
        let wanted = Box::from(difference.wanted.unwrap_or_default());
        // A webhook would have written the role of that time: another one in a newer pod is the author's.
        let own = self.is_own(difference.origin, changed)
            || (difference.origin == Origin::Webhook && self.older_than(changed) == Some(false));
        match written {
            Some(carried) if !own => {
                self.view.stale = true;
                Fact::RoleChanged { carried, wanted }
            }
            written => Fact::RoleSetInPod { written, wanted },
        }
    }

    fn container(&mut self, container: &'a Container<'a>, init: bool, unmutated: bool, families: &Families) {
        let has = container.has_identity();
        let value = container.value(Variable::StsRegionalEndpoints);
        let name = container.name();
        let excluded = self.facts.excluded(name).is_some();
        if !has && value.is_none() {
            if !unmutated && self.identity.is_some() && !excluded {
                self.view
                    .findings
                    .push(Finding::of_container(Fact::UnmutatedContainer, name));
            }
            return;
        }
        let audience = self.identity.map(|identity| identity.audience);
        let mut facts = self
            .facts
            .problems(container, self.settings, audience, self.node_region);
        let appended = container.is_appended(Variable::RoleArn);
        if appended && value.is_some() && self.no_role && self.account.is_some() {
            facts.push(Fact::RoleGone {
                account: self.account_name.into(),
            });
        }
        let changed = self.account.and_then(|account| account.endpoint_changed);
        let origin = self
            .facts
            .origin(container, Variable::StsRegionalEndpoints, self.settings);
        let own = if self.directory.of_manifests {
            self.is_author_of(container)
        } else {
            self.is_own(origin, changed)
        };
        let web_identity = container.value(Variable::RoleArn).is_some()
            || container.value(Variable::WebIdentityTokenFile).is_some();
        let answers = if web_identity || value.is_some() {
            effective::of_container(container, families)
        } else {
            Arc::default()
        };
        if self.directory.of_manifests {
            // In a template only what is chosen is written by the webhook.
            let chosen = self
                .identity
                .and_then(|identity| identity.choice.written(self.settings.global_value));
            for fact in &mut facts {
                if let Fact::InvalidValue {
                    written, injected, ..
                } = fact
                {
                    *injected = chosen == Some(&**written);
                }
            }
        }
        facts.extend(answers.facts.iter().cloned().map(|fact| match fact {
            Fact::UsesGlobal { sdks, variable, .. } => Fact::UsesGlobal {
                sdks,
                variable,
                own_value: own,
            },
            fact => fact,
        }));
        self.view
            .findings
            .extend(facts.into_iter().map(|fact| Finding::of_container(fact, name)));
        if let Some(region) = container.region() {
            self.view.region = Some(region);
        }
        self.view.containers.push(ContainerView {
            name,
            init,
            carries: value.into(),
            own,
            answers,
        });
    }

    /// Whether a template sets the variable itself: then it differs from what is chosen, or nothing would be written.
    fn is_author_of(&self, container: &Container<'_>) -> bool {
        self.view.findings.iter().any(|finding| {
            matches!(finding.fact, Fact::SetInPod { .. })
                && finding.container.as_deref() == Some(container.name())
        })
    }
}

/// Findings about a service account itself, whether or not it has pods.
pub fn account(directory: &Directory, namespace: &str, name: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let Some(account) = directory.account(namespace, name) else {
        return findings;
    };
    let Some(read) = &account.annotations else {
        return findings;
    };
    findings.extend(read.warnings().iter().cloned().map(Finding::from));
    let webhooks = &directory.webhooks;
    let key = || -> Box<str> {
        format!(
            "{}/{}",
            webhooks.settings.annotation_prefix,
            annotations::STS_REGIONAL_ENDPOINTS
        )
        .into()
    };
    if let Some(chosen) = read.endpoint() {
        match directory.decide(namespace, name) {
            Decided::NoIdentity(NoIdentity::NoRole) => {
                findings.push(Fact::ChoiceWithoutRole { key: key() }.into());
            }
            Decided::Known(Choice {
                source: irsa_core::endpoint::ChoiceSource::PlatformTooOld,
                ..
            }) => {
                if let Some(platform) = webhooks.settings.platform {
                    findings.push(Fact::ClusterTooOld { key: key(), platform }.into());
                }
            }
            _ => {}
        }
        // Where the webhook is not known, nothing is said of what it leaves out.
        let mutates = directory.version.is_eks() || !webhooks.installed.is_empty() || directory.of_manifests;
        if chosen == EndpointType::Global && webhooks.settings.compat.is_upstream() && mutates {
            findings.push(Fact::GlobalOmitted { key: key() }.into());
        }
    }
    findings.sort();
    findings
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
