//! One mutation: container by container, then the volume, the label and the record.

use std::borrow::Cow;

use super::patch::{Patch, Segment, Value};
use super::pod::{Container, Mount, Pod, Set, Variable, Volume, each_entry, each_pair};
use super::{ContainerFacts, Error, Outcome, Skipped, Warning};
use crate::annotations::{self, MAX_TOKEN_EXPIRATION, Names, PodAnnotations, RECORD};
use crate::endpoint::{ChoiceSource, EndpointType, EnvValue};
use crate::identity::{Identity, Method, NotMutated};
use crate::settings::Settings;

/// The label of pods that use the container credentials method. It does not follow the prefix of the annotations.
const POD_IDENTITY_LABEL: &str = "eks.amazonaws.com/pod-identity";

/// Least validity of a token of the container credentials method that has the default one, in seconds: between this
/// and the default a random number spreads the refreshes of many pods.
const JITTER_FLOOR: i64 = 79_200;

/// STS accepts 2 to 64 characters as the name of a session.
const SESSION_NAME: std::ops::RangeInclusive<usize> = 2..=64;

/// One mutation under way.
pub(super) struct Mutation<'p, 's> {
    pod: &'p Pod<'p>,
    identity: &'s Identity<'s>,
    settings: &'s Settings,
    annotations: PodAnnotations,
    upstream: bool,
    windows: bool,
    mount_path: &'s str,
    volume_name: &'s str,
    token_path: &'s str,
    token_file: String,
    patch: Patch,
    outcome: Outcome<'p>,
    /// Whether a container has, or is given, a mount of the volume.
    volume_used: bool,
}

/// The value of a variable that is to be added.
enum Addition<'v> {
    Literal(Cow<'v, str>),
    /// The value of another variable of the container, expanded by the kubelet.
    Same(Variable),
    /// The pod's name, filled in by the kubelet.
    PodName,
}

/// What is to be added to one container's variables.
#[derive(Default)]
struct Additions<'v>([Option<(Variable, Addition<'v>)>; 6], u8);

impl<'v> Additions<'v> {
    fn push(&mut self, variable: Variable, value: impl Into<Cow<'v, str>>) {
        self.push_value(variable, Addition::Literal(value.into()));
    }

    fn push_value(&mut self, variable: Variable, value: Addition<'v>) {
        if let Some(slot) = self.0.get_mut(usize::from(self.1)) {
            *slot = Some((variable, value));
            self.1 += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = &(Variable, Addition<'v>)> {
        self.0.iter().flatten()
    }
}

/// What a container's mounts say about the token's volume.
#[derive(Default)]
struct Mounts<'p> {
    /// Whether there is a list to append to.
    listed: bool,
    /// Where the token's volume is mounted already.
    ours: Option<Cow<'p, str>>,
    /// Whether another volume is mounted where it belongs.
    taken: bool,
}

impl<'p, 's> Mutation<'p, 's> {
    pub(super) fn new(
        pod: &'p Pod<'p>,
        identity: &'s Identity<'s>,
        settings: &'s Settings,
    ) -> Result<Self, Error> {
        let upstream = settings.compat.is_upstream();
        let mut annotations = PodAnnotations::default();
        if let Some(raw) = pod.metadata.as_ref().and_then(|metadata| metadata.annotations) {
            each_pair(raw, |key, value| {
                annotations::read_pod_annotation(
                    &settings.annotation_prefix,
                    upstream,
                    key,
                    value,
                    &mut annotations,
                );
            })?;
        }
        let (mount_path, volume_name, token_path) = match identity.method {
            Method::WebIdentity { .. } => (&settings.mount_path, &settings.volume_name, &settings.token_path),
            Method::ContainerCredentials => {
                let container = &settings.container_credentials;
                (
                    &container.mount_path,
                    &container.volume_name,
                    &container.token_path,
                )
            }
        };
        let windows = pod.spec.as_ref().is_some_and(|spec| spec.is_windows(upstream));
        Ok(Self {
            pod,
            identity,
            settings,
            annotations,
            upstream,
            windows,
            mount_path,
            volume_name,
            token_path,
            token_file: token_file(mount_path, token_path, windows),
            patch: Patch::default(),
            outcome: Outcome::default(),
            volume_used: false,
        })
    }

    pub(super) fn run(mut self, random: u32) -> Result<Outcome<'p>, Error> {
        for warning in self
            .identity
            .warnings
            .iter()
            .chain(&std::mem::take(&mut self.annotations.warnings))
        {
            self.outcome.warnings.push(Warning::Annotation(warning.clone()));
        }
        let Some(spec) = &self.pod.spec else {
            return Ok(Outcome {
                not_mutated: Some(NotMutated::AllContainersSkipped),
                ..self.outcome
            });
        };
        let lists = [
            ("initContainers", &spec.init_containers),
            ("containers", &spec.containers),
        ];
        self.outcome.containers.reserve_exact(
            lists
                .iter()
                .filter_map(|(_, list)| list.as_ref())
                .map(Vec::len)
                .sum(),
        );
        for (path, list) in lists {
            for (index, container) in list.iter().flatten().enumerate() {
                self.container(path, index, container)?;
            }
        }
        self.check_names();
        self.volume(spec.volumes, random)?;
        self.metadata()?;

        self.outcome.operations = self.patch.operations();
        self.outcome.patch = self.patch.finish();
        if self.outcome.operations == 0 {
            let excluded = |facts: &ContainerFacts<'_>| {
                matches!(facts.skipped, Some(Skipped::Listed | Skipped::NotIncluded))
            };
            self.outcome.not_mutated = Some(if self.outcome.containers.iter().all(excluded) {
                NotMutated::AllContainersSkipped
            } else {
                NotMutated::AlreadyComplete
            });
        }
        Ok(self.outcome)
    }

    /// Why a container is excluded by the pod's annotations.
    fn excluded(&self, name: &str) -> Option<Skipped> {
        let listed = |list: &Option<Names>| list.as_ref().is_some_and(|list| list.contains(name));
        if listed(&self.annotations.skip) {
            Some(Skipped::Listed)
        } else if self.annotations.include.is_some() && !listed(&self.annotations.include) {
            Some(Skipped::NotIncluded)
        } else {
            None
        }
    }

    fn container(
        &mut self,
        list: &'static str,
        index: usize,
        container: &'p Container<'p>,
    ) -> Result<(), Error> {
        let name: &'p str = &container.name;
        let own = get(container, Variable::StsRegionalEndpoints);
        let (endpoint, source) = match own {
            Some(set) => (self.read_own(name, set), ChoiceSource::Container),
            None => (Some(self.identity.choice.endpoint), self.identity.choice.source),
        };
        let mut facts = ContainerFacts {
            name,
            init: list == "initContainers",
            endpoint,
            source,
            written: None,
            variables: 0,
            mounted: false,
            skipped: self.excluded(name),
        };
        if facts.skipped.is_some() {
            facts.endpoint = own.and(endpoint);
            facts.source = if own.is_some() {
                ChoiceSource::Container
            } else {
                ChoiceSource::Unset
            };
            self.outcome.containers.push(facts);
            return Ok(());
        }

        let mounts = self.mounts(container)?;
        let mut additions = Additions::default();
        if own.is_none() {
            facts.written = self.identity.choice.written(self.settings.global_value);
            if let Some(value) = facts.written {
                additions.push(Variable::StsRegionalEndpoints, value);
            }
        }
        self.regions(name, container, &mut additions);
        let wants_mount = self.credentials(container, &mounts, &mut additions);
        if !self.upstream {
            self.warn_about(name, container, &additions);
        }

        facts.variables = additions.1;
        let base = format_args!("/spec/{list}/{index}");
        if container.env.is_some() {
            for (variable, value) in additions.iter() {
                self.patch.add(format_args!("{base}/env/-"), |json| {
                    write_variable(json, *variable, value)
                });
            }
        } else if additions.1 > 0 {
            self.patch.add(format_args!("{base}/env"), |json| {
                for (at, (variable, value)) in additions.iter().enumerate() {
                    json.raw(if at == 0 { "[" } else { "," });
                    write_variable(json, *variable, value);
                }
                json.raw("]");
            });
        }
        if mounts.ours.is_some() {
            self.volume_used = true;
        } else if wants_mount && mounts.taken {
            self.outcome.warnings.push(Warning::MountPathTaken {
                container: name,
                path: self.mount_path.to_owned().into(),
            });
        } else if wants_mount {
            self.volume_used = true;
            facts.mounted = true;
            let (open, close) = if mounts.listed { ("", "") } else { ("[", "]") };
            let append = if mounts.listed { "/-" } else { "" };
            self.patch
                .add(format_args!("{base}/volumeMounts{append}"), |json| {
                    json.raw(open).raw(r#"{"name":"#).string(self.volume_name);
                    json.raw(r#","readOnly":true,"mountPath":"#)
                        .string(self.mount_path)
                        .raw("}")
                        .raw(close);
                });
        }
        if facts.variables == 0 && !facts.mounted {
            facts.skipped = Some(Skipped::Complete);
        }
        self.outcome.containers.push(facts);
        Ok(())
    }

    /// The endpoint type that a container's own variable means, warning of a value that stops SDKs.
    fn read_own(&mut self, container: &'p str, set: &'p Set<'p>) -> Option<EndpointType> {
        if set.from || set.value.contains("$(") {
            return None;
        }
        let value = EnvValue::read(&set.value);
        if let Some(problem) = value.problem {
            self.outcome.warnings.push(Warning::Value {
                container,
                written: value.written,
                problem,
            });
        }
        value.endpoint
    }

    /// Fills in the region variables: each on its own, the missing one as the present one. The Go webhook fills in
    /// both or none.
    fn regions<'v>(&mut self, name: &'p str, container: &'p Container<'p>, additions: &mut Additions<'v>)
    where
        's: 'v,
        'p: 'v,
    {
        use Variable::{DefaultRegion, Region};
        let present = |variable| get(container, variable);
        let region = self.settings.region.as_deref();
        for (missing, other) in [(DefaultRegion, Region), (Region, DefaultRegion)] {
            match (present(missing), present(other), region) {
                (Some(_), ..) | (None, None, None) => {}
                (None, None, Some(region)) => additions.push(missing, region),
                (None, Some(_), _) if self.upstream => {}
                (None, Some(_), None) => {
                    self.outcome.warnings.push(Warning::LoneRegion {
                        container: name,
                        set: other,
                        missing,
                    });
                }
                (None, Some(set), Some(region)) => match set.literal() {
                    Some(literal) => additions.push(missing, literal),
                    None if set.from => additions.push_value(missing, Addition::Same(other)),
                    // Present but empty: SDKs take that for unset.
                    None => additions.push(missing, region),
                },
            }
        }
    }

    /// Adds the variables that lead to the token, and tells whether the token's volume is needed in the container.
    fn credentials<'v>(
        &self,
        container: &'p Container<'p>,
        mounts: &Mounts<'p>,
        additions: &mut Additions<'v>,
    ) -> bool
    where
        's: 'v,
    {
        let (first, file) = match self.identity.method {
            Method::WebIdentity { .. } => (Variable::RoleArn, Variable::WebIdentityTokenFile),
            Method::ContainerCredentials => (
                Variable::ContainerCredentialsFullUri,
                Variable::ContainerAuthorizationTokenFile,
            ),
        };
        let first_value = match self.identity.method {
            Method::WebIdentity { role_arn } => role_arn,
            Method::ContainerCredentials => &self.settings.container_credentials.full_uri,
        };
        let (own_first, own_file) = (get(container, first), get(container, file));
        if self.upstream {
            if own_first.is_none() && own_file.is_none() {
                additions.push(first, first_value);
                additions.push(file, self.token_file.clone());
                return true;
            }
            // There, a container that has a variable of each group is not looked at any further.
            let region = [Variable::Region, Variable::DefaultRegion]
                .iter()
                .any(|v| get(container, *v).is_some());
            return !(region && get(container, Variable::StsRegionalEndpoints).is_some());
        }
        if own_first.is_none() {
            additions.push(first, first_value);
        }
        let token_file = match &mounts.ours {
            Some(elsewhere) => token_file(elsewhere, self.token_path, self.windows),
            None => self.token_file.clone(),
        };
        let ours = match own_file {
            Some(set) => set
                .literal()
                .is_none_or(|literal| literal == token_file || literal == self.token_file),
            None => true,
        };
        if own_file.is_none() {
            additions.push(file, token_file);
        }
        if self.settings.session_name
            && matches!(self.identity.method, Method::WebIdentity { .. })
            && get(container, Variable::RoleSessionName).is_none()
        {
            additions.push_value(Variable::RoleSessionName, self.session_name());
        }
        ours
    }

    /// The pod's name, by which CloudTrail then tells its sessions apart. Generated names are at most 63 characters;
    /// a name that STS would refuse is cut, or padded, which only works for names that are known already.
    fn session_name<'v>(&self) -> Addition<'v> {
        let name = self
            .pod
            .metadata
            .as_ref()
            .and_then(|m| m.name.as_deref())
            .unwrap_or_default();
        if name.is_empty() || SESSION_NAME.contains(&name.len()) {
            return Addition::PodName;
        }
        let fitting: String = if name.len() < *SESSION_NAME.start() {
            format!("pod-{name}")
        } else {
            name.chars()
                .filter(char::is_ascii)
                .take(*SESSION_NAME.end())
                .collect()
        };
        Addition::Literal(fitting.into())
    }

    fn warn_about(&mut self, name: &'p str, container: &'p Container<'p>, additions: &Additions<'_>) {
        if get(container, Variable::AccessKeyId).is_some() {
            self.outcome
                .warnings
                .push(Warning::StaticCredentials { container: name });
        }
        if additions.1 > 0 && container.env_from.is_some_and(|from| from.0) {
            self.outcome.warnings.push(Warning::EnvFrom { container: name });
        }
    }

    fn mounts(&self, container: &'p Container<'p>) -> Result<Mounts<'p>, Error> {
        let Some(raw) = container.volume_mounts else {
            return Ok(Mounts::default());
        };
        let mut mounts = Mounts {
            listed: true,
            ..Mounts::default()
        };
        let same_path = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        each_entry(raw, |mount: Mount<'p>| {
            if *mount.name == *self.volume_name {
                mounts.ours = Some(mount.mount_path.0);
            } else if !self.upstream && same_path(&mount.mount_path, self.mount_path) {
                mounts.taken = true;
            }
        })?;
        Ok(mounts)
    }

    /// Warns of names in the lists of containers which no container has.
    fn check_names(&mut self) {
        if self.upstream {
            return;
        }
        let lists = [
            (annotations::SKIP_CONTAINERS, self.annotations.skip.take()),
            (annotations::INCLUDE_CONTAINERS, self.annotations.include.take()),
        ];
        for (list, names) in &lists {
            for listed in names.iter().flat_map(Names::iter) {
                if !self.outcome.containers.iter().any(|facts| facts.name == listed) {
                    self.outcome.warnings.push(Warning::NoSuchContainer {
                        list,
                        container: listed.into(),
                    });
                }
            }
        }
    }

    fn volume(&mut self, volumes: Option<&'p serde_json::value::RawValue>, random: u32) -> Result<(), Error> {
        if !self.upstream && !self.volume_used {
            return Ok(());
        }
        let (mut exists, mut projected) = (false, false);
        if let Some(raw) = volumes {
            each_entry(raw, |volume: Volume<'p>| {
                if *volume.name == *self.volume_name {
                    exists = true;
                    projected |= volume.projected.is_some();
                }
            })?;
        }
        if exists {
            if !self.upstream && !projected {
                let warning = Warning::VolumeNameTaken {
                    volume: self.volume_name.to_owned().into(),
                };
                self.outcome.warnings.push(warning);
            }
            return Ok(());
        }
        let (path, open, close) = match volumes {
            None => ("/spec/volumes", "[", "]"),
            Some(_) if self.upstream => ("/spec/volumes/0", "", ""),
            Some(_) => ("/spec/volumes/-", "", ""),
        };
        let seconds = self.token_expiration(random);
        self.patch.add(format_args!("{path}"), |json| {
            json.raw(open).raw(r#"{"name":"#).string(self.volume_name);
            json.raw(r#","projected":{"sources":[{"serviceAccountToken":{"#);
            if !self.identity.audience.is_empty() {
                json.raw(r#""audience":"#).string(self.identity.audience).raw(",");
            }
            json.raw(r#""expirationSeconds":"#).number(seconds);
            json.raw(r#","path":"#)
                .string(self.token_path)
                .raw("}}]}}")
                .raw(close);
        });
        Ok(())
    }

    fn token_expiration(&self, random: u32) -> i64 {
        let seconds = self
            .annotations
            .token_expiration
            .unwrap_or(self.identity.token_expiration);
        if self.identity.method == Method::ContainerCredentials && seconds == MAX_TOKEN_EXPIRATION {
            return JITTER_FLOOR + i64::from(random) % (MAX_TOKEN_EXPIRATION - JITTER_FLOOR + 1);
        }
        // The API server refuses the whole pod above 2^32.
        if self.upstream {
            seconds
        } else {
            seconds.min(1 << 32)
        }
    }

    /// The label of the container credentials method, and the record of what was decided.
    fn metadata(&mut self) -> Result<(), Error> {
        let metadata = self.pod.metadata.as_ref();
        let labelled = self.identity.method == Method::ContainerCredentials && {
            let mut present = false;
            if let Some(labels) = metadata.and_then(|m| m.labels) {
                // The Go webhook overwrites another value of its author.
                each_pair(labels, |key, value| {
                    present |= key == POD_IDENTITY_LABEL && (!self.upstream || value == "enabled");
                })?;
            }
            !present && (self.upstream || self.volume_used)
        };
        let recorded = self.settings.record && !self.annotations.recorded && self.patch.operations() > 0;
        if metadata.is_none() && (labelled || recorded) {
            self.patch.add(format_args!("/metadata"), |json| {
                json.raw("{}");
            });
        }
        if labelled {
            let map = metadata.is_some_and(|m| m.labels.is_some());
            self.entry("labels", map, POD_IDENTITY_LABEL, "enabled");
        }
        if recorded {
            let map = metadata.is_some_and(|m| m.annotations.is_some());
            let key = format!("{}/{RECORD}", self.settings.annotation_prefix);
            self.entry("annotations", map, &key, &self.identity.choice.record());
        }
        Ok(())
    }

    /// Adds one entry to a map of the metadata, which is created if it is not there.
    fn entry(&mut self, map: &str, exists: bool, key: &str, value: &str) {
        if exists {
            self.patch
                .add(format_args!("/metadata/{map}/{}", Segment(key)), |json| {
                    json.string(value);
                });
        } else {
            self.patch.add(format_args!("/metadata/{map}"), |json| {
                json.raw("{").string(key).raw(":").string(value).raw("}");
            });
        }
    }
}

fn get<'c>(container: &'c Container<'c>, variable: Variable) -> Option<&'c Set<'c>> {
    container.env.as_ref().and_then(|env| env.get(variable))
}

fn write_variable(json: &mut Value<'_>, variable: Variable, value: &Addition<'_>) {
    json.raw(r#"{"name":"#).string(variable.as_str());
    match value {
        Addition::Literal(text) => json.raw(r#","value":"#).string(text).raw("}"),
        Addition::Same(other) => json.raw(r#","value":"$("#).raw(other.as_str()).raw(r#")"}"#),
        Addition::PodName => json.raw(r#","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}"#),
    };
}

/// The path of the token within the container. Windows containers see it below `C:` with backslashes.
fn token_file(mount_path: &str, token_path: &str, windows: bool) -> String {
    let path = clean(mount_path, token_path);
    if windows {
        format!("C:{}", path.replace('/', "\\"))
    } else {
        path
    }
}

/// Joins two paths as Go's `filepath.Join` does: `//`, `.` and `..` are resolved.
fn clean(first: &str, second: &str) -> String {
    let rooted = first.starts_with('/') || (first.is_empty() && second.starts_with('/'));
    let mut kept: Vec<&str> = Vec::new();
    for part in first.split('/').chain(second.split('/')) {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            part => kept.push(part),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) if first.is_empty() && second.is_empty() => joined,
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
