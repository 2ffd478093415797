//! One pod against the rules: what its containers carry, what they should, and what is wrong with it.
//!
//! Nothing here decides what a service account's choice is or where an SDK calls: `irsa_core` does. Here the answers
//! are compared with what stands in the pod.

use std::sync::Arc;

use irsa_core::{
    annotations::{self, Names, Problem},
    endpoint::{self, Capability, Choice, ChoiceSource, EnvValue as StsValue},
    identity::{self, Identity, Method, NotMutated},
    partition::Partition,
    settings::Settings,
};
use jiff::Timestamp;

use crate::{
    directory::{Account, Directory},
    effective::{self, Answers, Families},
    finding::{Finding, Id, Severity},
    webhook::Flavor,
    wire::{Container, EnvValue, Pod},
};

/// Variables of an identity, in the order in which webhooks write them.
pub mod env {
    /// The role to assume.
    pub const ROLE_ARN: &str = "AWS_ROLE_ARN";
    /// The file with the token.
    pub const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
    /// The region, for most SDKs.
    pub const REGION: &str = "AWS_REGION";
    /// The region, for boto3 and AWS CLI v1.
    pub const DEFAULT_REGION: &str = "AWS_DEFAULT_REGION";
    /// Half of a static credential.
    pub const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
    /// The session's name, which `irsa` can write.
    pub const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";
    /// Where container credentials are asked for (EKS Pod Identity).
    pub const CREDENTIALS_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    /// The token for that.
    pub const AUTHORIZATION_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
}

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
    /// What its service account chose; nothing if it has no role.
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
    let meta = &pod.metadata;
    let namespace = &*meta.namespace;
    let account_name = pod.service_account();
    let lookup = directory.lookup(namespace, account_name);
    let lists = Lists::read(pod, directory);
    let settings = directory.webhooks.settings_for(lists.record.is_some());
    let identity = identity::resolve(&lookup, settings);
    let has_any = pod
        .spec
        .containers
        .iter()
        .chain(&pod.spec.init_containers)
        .any(|container| has_identity(container) || container.env(endpoint::ENV).is_some());
    if identity.is_err() && !has_any {
        return None;
    }
    let node_region = directory
        .nodes
        .get(&*pod.spec.node_name)
        .map(|node| &*node.region);
    let mut view = PodView {
        choice: identity.as_ref().ok().map(|identity| identity.choice),
        role: identity.as_ref().ok().and_then(role),
        region: node_region,
        containers: Vec::new(),
        findings: Vec::new(),
        stale: false,
    };
    let mut subject = Subject {
        pod,
        directory,
        account: directory.account(namespace, account_name),
        account_name,
        identity,
        lists,
        settings,
        node_region,
        view: &mut view,
    };
    subject.whole_pod();
    for (container, init) in pod
        .spec
        .init_containers
        .iter()
        .map(|container| (container, true))
        .chain(pod.spec.containers.iter().map(|container| (container, false)))
    {
        subject.container(container, init, families);
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

fn has_identity(container: &Container<'_>) -> bool {
    container.env(env::ROLE_ARN).is_some()
        || container.env(env::TOKEN_FILE).is_some()
        || container.env(env::CREDENTIALS_URI).is_some()
}

/// The lists of containers in a pod's annotations.
struct Lists {
    skip: Option<Names>,
    include: Option<Names>,
    record: Option<Choice>,
}

impl Lists {
    fn read(pod: &Pod<'_>, directory: &Directory) -> Self {
        let settings = &directory.webhooks.settings;
        if pod.metadata.annotations.is_empty() {
            return Self {
                skip: None,
                include: None,
                record: None,
            };
        }
        let read = annotations::pod(
            &settings.annotation_prefix,
            settings.compat.is_upstream(),
            pod.metadata.annotations.iter(),
        );
        let record = format!("{}/{}", settings.annotation_prefix, annotations::RECORD);
        Self {
            skip: read.skip,
            include: read.include,
            record: pod
                .metadata
                .annotations
                .get(&record)
                .and_then(Choice::from_record),
        }
    }

    fn excludes(&self, container: &str) -> bool {
        self.skip.as_ref().is_some_and(|names| names.contains(container))
            || self
                .include
                .as_ref()
                .is_some_and(|names| !names.contains(container))
    }
}

struct Subject<'s, 'a> {
    pod: &'a Pod<'a>,
    directory: &'a Directory,
    account: Option<&'a Account>,
    account_name: &'a str,
    identity: Result<Identity<'a>, NotMutated>,
    lists: Lists,
    /// The settings that the pod is held against.
    settings: &'a Settings,
    node_region: Option<&'a str>,
    view: &'s mut PodView<'a>,
}

impl<'a> Subject<'_, 'a> {
    fn add(&mut self, finding: Finding) {
        self.view.findings.push(finding);
    }

    fn created(&self) -> Option<Timestamp> {
        self.pod.metadata.creation_timestamp.as_deref()?.parse().ok()
    }

    /// Whether the pod was made before `changed`; nothing if either is unknown.
    fn older_than(&self, changed: Option<Timestamp>) -> Option<bool> {
        Some(self.created()? < changed?)
    }

    fn whole_pod(&mut self) {
        let pod = self.pod;
        if self.account.is_none() && self.directory.accounts_complete {
            self.add(Finding::new(
                Id::ServiceAccountMissing,
                format!(
                    "service account {} does not exist any more: the pod's token cannot be renewed",
                    self.account_name
                ),
                "create the service account again, or give the workload another one and recreate its pods",
            ));
        }
        for warning in annotations::pod(
            &self.settings.annotation_prefix,
            self.settings.compat.is_upstream(),
            pod.metadata.annotations.iter(),
        )
        .warnings
        {
            self.add(of_annotation(&warning));
        }
        let Ok(identity) = &self.identity else { return };
        let candidates = pod.spec.containers.iter().chain(&pod.spec.init_containers);
        let (mut wanted, mut without) = (0, 0);
        for container in candidates.filter(|container| !self.lists.excludes(&container.name)) {
            wanted += 1;
            without += usize::from(!has_identity(container));
        }
        if wanted > 0 && without == wanted {
            let what = match identity.method {
                Method::WebIdentity { role_arn } => format!("its service account's role {role_arn}"),
                Method::ContainerCredentials => "its Pod Identity credentials".to_owned(),
            };
            let (reason, cure) = self.why_unmutated();
            // Where the webhook is not asked, the next pod would get nothing either.
            self.view.stale = !self.pod.is_mirror()
                && self
                    .directory
                    .webhook_asked(&self.pod.metadata.namespace, &self.pod.metadata);
            self.add(Finding::new(
                Id::UnmutatedPod,
                format!("the pod got nothing of {what} and falls back to the role of its node: {reason}"),
                cure,
            ));
        }
    }

    fn why_unmutated(&self) -> (String, String) {
        let recreate = || "recreate the pod: irsa rollout does it with its workload".to_owned();
        if self.pod.is_mirror() {
            return (
                "it is a static pod, which the API server does not let webhooks change".to_owned(),
                "run it as a DaemonSet or Deployment, or write the variables into its manifest on the node"
                    .to_owned(),
            );
        }
        let webhooks = &self.directory.webhooks;
        if webhooks.installed.is_empty() && webhooks.unreadable.is_none() && !self.directory.version.is_eks()
        {
            return (
                "no webhook that injects identities is configured".to_owned(),
                "install the webhook, then recreate the pod".to_owned(),
            );
        }
        if !self
            .directory
            .webhook_asked(&self.pod.metadata.namespace, &self.pod.metadata)
        {
            return (
                "the selectors of the webhook configuration exclude it".to_owned(),
                format!(
                    "remove the label {}/{} from the pod's template, or change the selectors, then recreate the pod",
                    self.settings.annotation_prefix,
                    annotations::SKIP_LABEL
                ),
            );
        }
        match self.older_than(self.account.and_then(|account| account.role_changed)) {
            Some(true) => (
                "it was made before the service account got its role".to_owned(),
                recreate(),
            ),
            _ => (
                "the webhook was not asked, did not answer, or did not know the service account yet"
                    .to_owned(),
                "check the webhook with `irsa doctor`, then recreate the pod with `irsa rollout`".to_owned(),
            ),
        }
    }

    fn container(&mut self, container: &'a Container<'a>, init: bool, families: &Families) {
        let has = has_identity(container);
        let carries = match container.env(endpoint::ENV) {
            None => Carries::Nothing,
            Some(EnvValue::Literal(value)) => Carries::Value(value),
            Some(EnvValue::Reference) => Carries::Reference,
        };
        if !has && carries == Carries::Nothing {
            self.without_identity(container);
            return;
        }
        let name = &*container.name;
        let mut own = Vec::new();
        self.value(container, carries, &mut own);
        self.staleness(container, carries, &mut own);
        self.identity_variables(container, &mut own);
        if has && container.env(env::ACCESS_KEY_ID).is_some() {
            own.push(Finding::new(
                Id::StaticCredentials,
                "AWS_ACCESS_KEY_ID is set, which SDKs use instead of the service account's identity",
                "remove the static credentials from the pod's template",
            ));
        }
        self.regions(container, &mut own);
        let web_identity = container.env(env::ROLE_ARN).is_some() || container.env(env::TOKEN_FILE).is_some();
        let answers = if web_identity || carries != Carries::Nothing {
            effective::of_container(container, families)
        } else {
            Arc::default()
        };
        own.extend(answers.findings.iter().cloned());
        self.view
            .findings
            .extend(own.into_iter().map(|finding| finding.of_container(name)));
        if let Some(region) = container
            .literal(env::REGION)
            .or_else(|| container.literal(env::DEFAULT_REGION))
            .filter(|region| !region.is_empty())
        {
            self.view.region = Some(region);
        }
        let own = self.sets_it_itself(container, carries);
        self.view.containers.push(ContainerView {
            name,
            init,
            carries,
            own,
            answers,
        });
    }

    fn without_identity(&mut self, container: &Container<'_>) {
        let unmutated = self
            .view
            .findings
            .iter()
            .any(|finding| finding.id == Id::UnmutatedPod);
        if unmutated || self.identity.is_err() || self.lists.excludes(&container.name) {
            return;
        }
        self.add(
            Finding::new(
                Id::UnmutatedContainer,
                "the container got no identity though its pod has one: it was probably added by a webhook that runs \
                 after the identity webhook",
                "set reinvocationPolicy: IfNeeded on the identity webhook's configuration, then recreate the pod; or \
                 name the container in the pod annotation skip-containers if it needs none",
            )
            .of_container(&container.name),
        );
    }

    fn value(&mut self, container: &Container<'_>, carries: Carries<'_>, findings: &mut Vec<Finding>) {
        let Carries::Value(written) = carries else { return };
        let read = StsValue::read(written);
        if let Some(problem) = read.problem {
            findings.push(Finding::new(
                Id::InvalidValue,
                format!("{}={written:?}: {}", endpoint::ENV, problem.explain()),
                if self.is_injected(container) {
                    "set --global-endpoint-value=legacy on the webhook, then recreate the pod"
                } else {
                    "write `regional` or `legacy` in the pod's template, or remove the variable there"
                },
            ));
        }
    }

    /// Whether the variable was put there by a webhook, as far as a pod shows it: webhooks append what they write,
    /// so that no variable of the container itself follows.
    fn is_injected(&self, container: &Container<'_>) -> bool {
        if let Some(record) = self.lists.record {
            let written = record.written(self.settings.global_value);
            return written.is_some() && container.literal(endpoint::ENV) == written;
        }
        let injected = |name: &str| {
            [
                endpoint::ENV,
                env::ROLE_ARN,
                env::TOKEN_FILE,
                env::REGION,
                env::DEFAULT_REGION,
                env::SESSION_NAME,
                env::CREDENTIALS_URI,
                env::AUTHORIZATION_TOKEN_FILE,
            ]
            .contains(&name)
        };
        let position = container.env.iter().rposition(|var| var.name == endpoint::ENV);
        has_identity(container)
            && position.is_some_and(|at| {
                let mut after = container.env[at + 1..].iter().peekable();
                after.peek().is_some() && after.all(|var| injected(&var.name))
            })
    }

    /// Whether the value in the container is its own, as far as a pod shows it.
    fn sets_it_itself(&self, container: &Container<'_>, carries: Carries<'_>) -> bool {
        match carries {
            Carries::Nothing => false,
            Carries::Reference => true,
            Carries::Value(_) => {
                let older = self.older_than(self.account.and_then(|account| account.endpoint_changed));
                !self.is_injected(container) && (self.lists.record.is_some() || older != Some(true))
            }
        }
    }

    fn staleness(&mut self, container: &Container<'_>, carries: Carries<'_>, findings: &mut Vec<Finding>) {
        let settings = self.settings;
        let (Ok(identity), Carries::Nothing | Carries::Value(_)) = (&self.identity, carries) else {
            if carries != Carries::Nothing && self.identity.is_err() && has_identity(container) {
                self.role_gone(findings);
            }
            return;
        };
        if !has_identity(container) {
            return;
        }
        let choice = identity.choice;
        let expected = choice.written(settings.global_value);
        let carried = match carries {
            Carries::Value(value) => Some(value),
            _ => None,
        };
        if carried == expected || self.lists.excludes(&container.name) {
            return;
        }
        let changed = self.account.and_then(|account| account.endpoint_changed);
        let older = self.older_than(changed);
        let recorded_differently = self
            .lists
            .record
            .is_some_and(|record| record.source != ChoiceSource::Container && record != choice);
        let shows = |value: Option<&str>| value.map_or("no value".to_owned(), |value| format!("`{value}`"));
        if carried.is_some() && self.sets_it_itself(container, carries) {
            findings.push(Finding::new(
                Id::SetInPod,
                format!(
                    "the container sets {}={} itself, which wins over the choice {}",
                    endpoint::ENV,
                    carried.unwrap_or_default(),
                    choice.endpoint
                ),
                "remove the variable from the pod's template if the service account is to decide",
            ));
            return;
        }
        // Without the webhook's own settings only a person's choice can be contradicted: a default is a guess.
        if !choice.source.is_choice() && self.directory.webhooks.installed.is_empty() {
            return;
        }
        self.view.stale = true;
        let when = match (older, recorded_differently) {
            (Some(true), _) => "it was made before the choice last changed",
            (Some(false), false) => {
                "though it was made after the choice last changed: the webhook did not follow it then"
            }
            (_, true) => "it was made under another choice",
            (None, false) => "it was made under another choice, or the webhook did not follow it",
        };
        findings.push(Finding::new(
            Id::StalePod,
            format!(
                "the pod carries {} where the choice {} ({}) writes {}: {when}",
                shows(carried),
                choice.endpoint,
                choice.source,
                shows(expected)
            ),
            "recreate the pod: irsa rollout does it with its workload",
        ));
    }

    fn role_gone(&mut self, findings: &mut Vec<Finding>) {
        if self.account.is_some() && self.identity == Err(NotMutated::NoRole) {
            findings.push(Finding::new(
                Id::StaleRole,
                format!(
                    "the pod carries an identity, but service account {} names no role any more",
                    self.account_name
                ),
                "recreate the pod, or annotate the service account with its role again",
            ));
        }
    }

    fn identity_variables(&mut self, container: &Container<'_>, findings: &mut Vec<Finding>) {
        let role = container.env(env::ROLE_ARN);
        let token = container.env(env::TOKEN_FILE);
        match (role, token) {
            (Some(_), None) | (None, Some(_)) => {
                let (set, missing) = if role.is_some() {
                    (env::ROLE_ARN, env::TOKEN_FILE)
                } else {
                    (env::TOKEN_FILE, env::ROLE_ARN)
                };
                findings.push(Finding::new(
                    Id::HalfIdentity,
                    format!("{set} is set without {missing}, so SDKs look for credentials elsewhere"),
                    format!("remove {set} from the pod's template so that the webhook writes both, then recreate the pod"),
                ));
            }
            _ => {}
        }
        if let Some(EnvValue::Literal(role)) = role {
            self.role_value(role, container, findings);
        }
        if let Some(EnvValue::Literal(file)) = token {
            self.token_file(file, container, findings);
        }
    }

    fn role_value(&mut self, carried: &str, container: &Container<'_>, findings: &mut Vec<Finding>) {
        match irsa_core::arn::RoleArn::parse(carried) {
            Err(error) => findings.push(Finding::new(
                Id::BadRoleArn,
                format!(
                    "{}=`{carried}` cannot be the ARN of a role: {error}",
                    env::ROLE_ARN
                ),
                "correct the annotation role-arn of the service account, then recreate the pod",
            )),
            Ok(arn) => {
                let region = container
                    .literal(env::REGION)
                    .or_else(|| container.literal(env::DEFAULT_REGION))
                    .filter(|region| !region.is_empty())
                    .or(self.node_region);
                if let Some(region) = region {
                    let partition = Partition::of_region(region).name();
                    if partition != arn.partition {
                        findings.push(Finding::new(
                            Id::RolePartition,
                            format!(
                                "the role is of partition {} but region {region} is of {partition}: STS there refuses it",
                                arn.partition
                            ),
                            format!("use a role of an account in partition {partition}"),
                        ));
                    }
                }
            }
        }
        if let Some(wanted) = self.view.role
            && wanted != carried
            && !self.lists.excludes(&container.name)
        {
            self.view.stale = true;
            findings.push(Finding::new(
                Id::StaleRole,
                format!("the pod carries role {carried}, its service account names {wanted}"),
                "recreate the pod: irsa rollout does it with its workload",
            ));
        }
    }

    fn token_file(&mut self, file: &str, container: &Container<'_>, findings: &mut Vec<Finding>) {
        // The deepest mount that is a directory above the file provides it.
        let mount = container
            .volume_mounts
            .iter()
            .filter_map(|mount| {
                let path = mount.mount_path.trim_end_matches('/');
                let rest = file.strip_prefix(path)?;
                rest.starts_with('/').then(|| (path.len(), mount, &rest[1..]))
            })
            .max_by_key(|(length, ..)| *length);
        let Some((_, mount, below)) = mount else {
            findings.push(Finding::new(
                Id::TokenFileMissing,
                format!("{}={file}, but no volume is mounted above that path", env::TOKEN_FILE),
                "remove the variable from the pod's template so that the webhook writes it with its volume, then \
                 recreate the pod",
            ));
            return;
        };
        let volume = self
            .pod
            .spec
            .volumes
            .iter()
            .find(|volume| *volume.name == *mount.name);
        let Some(projected) = volume.and_then(|volume| volume.projected.as_ref()) else {
            // A volume of another kind may hold a token that something else refreshes; nothing can be told about it.
            if volume.is_none() {
                findings.push(Finding::new(
                    Id::TokenFileMissing,
                    format!(
                        "{}={file}, but volume {} does not exist in the pod",
                        env::TOKEN_FILE,
                        mount.name
                    ),
                    "recreate the pod so that the webhook adds the volume",
                ));
            }
            return;
        };
        let token = projected
            .sources
            .iter()
            .filter_map(|source| source.service_account_token.as_ref())
            .find(|token| *token.path == *below);
        let Some(token) = token else {
            findings.push(Finding::new(
                Id::TokenFileMissing,
                format!(
                    "{}={file}, but volume {} holds no token at `{below}`",
                    env::TOKEN_FILE,
                    mount.name
                ),
                "recreate the pod so that variable and volume agree; check the webhook's --token-mount-path",
            ));
            return;
        };
        if let Ok(identity) = &self.identity
            && !identity.audience.is_empty()
            && token.audience.as_deref() != Some(identity.audience)
        {
            let carried = token.audience.as_deref().unwrap_or("the API server's own");
            findings.push(Finding::new(
                Id::TokenAudience,
                format!(
                    "the token is for audience {carried}, the service account wants {}: STS answers \"Incorrect token audience\" \
                     unless the identity provider lists both",
                    identity.audience
                ),
                "recreate the pod, or correct the audience annotation or the webhook's --token-audience",
            ));
        }
    }

    fn regions(&mut self, container: &Container<'_>, findings: &mut Vec<Finding>) {
        if container.env_from {
            // Either variable may come from there.
            return;
        }
        let region = container.env(env::REGION);
        let default_region = container.env(env::DEFAULT_REGION);
        match (region, default_region) {
            (Some(_), None) => findings.push(Finding::new(
                Id::LoneAwsRegion,
                "AWS_REGION is set without AWS_DEFAULT_REGION, the only one that boto3 and AWS CLI v1 read: they call \
                 the global endpoint even where regional was chosen",
                "set both in the pod's template, or none so that the webhook writes both",
            )),
            (None, Some(_)) => findings.push(Finding::new(
                Id::LoneAwsDefaultRegion,
                "AWS_DEFAULT_REGION is set without AWS_REGION, the only one that the JavaScript and Go v1 SDKs read: \
                 they fail, or call the global endpoint",
                "set both in the pod's template, or none so that the webhook writes both",
            )),
            (None, None) => findings.push(Finding::new(
                Id::NoRegion,
                "no region is set: boto3 and Go v1 call the global endpoint even where regional was chosen, and the \
                 JavaScript, Rust and Go v2 SDKs fail",
                "set --aws-default-region on the webhook, or AWS_REGION and AWS_DEFAULT_REGION in the pod's template",
            )),
            (Some(EnvValue::Literal(a)), Some(EnvValue::Literal(b))) if a != b => findings.push(Finding::new(
                Id::RegionsDiffer,
                format!(
                    "AWS_REGION={a} and AWS_DEFAULT_REGION={b}: boto3 and AWS CLI v1 follow the second, all other SDKs the first"
                ),
                "set both to the same region in the pod's template",
            )),
            (Some(EnvValue::Literal(set)), Some(EnvValue::Literal(_))) => {
                if let Some(node) = self.node_region.filter(|node| *node != set && !set.is_empty()) {
                    findings.push(Finding::new(
                        Id::OtherRegion,
                        format!("the region {set} is set, but the pod's node is in {node}"),
                        format!("set {node}, unless the pod is meant to work on another region"),
                    ));
                }
            }
            _ => {}
        }
    }
}

/// The finding for a warning of the core about an annotation.
pub fn of_annotation(warning: &annotations::Warning) -> Finding {
    let text = warning.to_string();
    let (id, cure) = match &warning.problem {
        Problem::Misspelt { meant } => (
            Id::MisspeltAnnotation,
            format!("rename the annotation to {meant}"),
        ),
        Problem::OtherTool { meant } => (Id::MisspeltAnnotation, format!("use the annotation {meant}")),
        Problem::WrongObject { belongs } => (
            Id::MisspeltAnnotation,
            format!("remove it here and write it as {belongs}"),
        ),
        Problem::RoleArn(_) => (
            Id::BadRoleArn,
            "correct the ARN, then recreate the pods".to_owned(),
        ),
        Problem::NotABoolean => (
            Id::InvalidAnnotation,
            "write `true` for the regional endpoint or `false` for the global one; `irsa set` does it"
                .to_owned(),
        ),
        _ => (Id::InvalidAnnotation, "correct or remove it".to_owned()),
    };
    // The sentence ends with its own hint after a semicolon or a question; the cure is shown apart.
    let message = text
        .split("; ")
        .next()
        .unwrap_or(&text)
        .trim_end_matches('?')
        .to_owned();
    let message = message
        .split_once(": did you mean")
        .map_or(message.clone(), |(before, _)| before.to_owned());
    Finding::new(id, message, cure)
}

/// Findings about a service account itself, whether or not it has pods.
pub fn account(directory: &Directory, namespace: &str, name: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(account) = directory.account(namespace, name) else {
        return findings;
    };
    let Some(read) = &account.annotations else {
        return findings;
    };
    findings.extend(read.warnings().iter().map(of_annotation));
    if let (Some(platform), true) = (
        directory.version.platform(platform_of(directory)),
        read.endpoint().is_some(),
    ) && platform.capability() == Capability::GlobalOnly
    {
        findings.push(Finding::new(
            Id::ClusterTooOld,
            format!("the annotation has no effect: {platform} is too old to choose and uses the global endpoint only"),
            "upgrade the cluster; every version that EKS still supports may choose",
        ));
    }
    if let (Some(irsa_core::endpoint::EndpointType::Global), Some(Flavor::Eks | Flavor::Upstream) | None) = (
        read.endpoint(),
        directory.webhooks.installed.first().map(|webhook| webhook.flavor),
    ) && directory.webhooks.settings.compat.is_upstream()
        && (directory.version.is_eks() || !directory.webhooks.installed.is_empty())
    {
        findings.push(
            Finding::new(
                Id::InvalidAnnotation,
                "`false` only leaves the variable out with this webhook: SDKs released since 2025-07-31 call the regional \
                 endpoint all the same",
                "write AWS_STS_REGIONAL_ENDPOINTS=legacy in the pod's template where the global endpoint is really needed",
            )
            .weighing(Severity::Info),
        );
    }
    if read.endpoint().is_some()
        && identity::resolve(&directory.lookup(namespace, name), &directory.webhooks.settings)
            == Err(NotMutated::NoRole)
    {
        findings.push(
            Finding::new(
                Id::InvalidAnnotation,
                "the endpoint is chosen, but the service account names no role: webhooks write neither",
                "annotate it with role-arn, or remove the annotation",
            )
            .weighing(Severity::Info),
        );
    }
    findings.sort();
    findings
}

fn platform_of(directory: &Directory) -> Option<u16> {
    directory
        .webhooks
        .settings
        .platform
        .and_then(|platform| platform.eks)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
