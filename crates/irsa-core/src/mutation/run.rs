//! One mutation: container by container, then the volume, the label and the record.

use super::additions::{Addition, Additions, Given, Mounts, Rules};
use super::patch::{Patch, Segment, Value};
use super::{ContainerFacts, Error, Outcome, Unchanged};
use crate::annotations::{self, MAX_TOKEN_EXPIRATION, Names, PodAnnotations, RECORD};
use crate::endpoint::{ChoiceSource, EndpointType, EnvValue};
use crate::finding::{Fact, Finding, rules};
use crate::identity::{Identity, Method};
use crate::pod::{self, Container, Mount, Pod, PodFacts, Skipped, Spec, Volume, each_entry, each_pair};
use crate::settings::Settings;
use crate::variable::Variable;

/// The label of pods that use the container credentials method. It does not follow the prefix of the annotations.
const POD_IDENTITY_LABEL: &str = "eks.amazonaws.com/pod-identity";

/// Least validity of a token of the container credentials method that has the default one, in seconds: between this
/// and the default a random number spreads the refreshes of many pods.
const JITTER_FLOOR: i64 = 79_200;

/// One mutation under way.
pub(super) struct Mutation<'p, 's> {
    pod: &'p Pod<'p>,
    facts: PodFacts<'p>,
    rules: Rules<'s>,
    patch: Patch,
    outcome: Outcome<'p>,
    /// Whether a container has, or is given, a mount of the volume.
    volume_used: bool,
}

impl<'p, 's> Mutation<'p, 's> {
    /// Nothing for a pod without a specification.
    pub(super) fn new(
        pod: &'p Pod<'p>,
        identity: &'s Identity<'s>,
        settings: &'s Settings,
    ) -> Result<Option<Self>, Error> {
        let Some(spec) = &pod.spec else { return Ok(None) };
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
        let facts = PodFacts::of(spec, annotations, upstream);
        Ok(Some(Self {
            pod,
            rules: Rules::new(identity, settings, facts.windows),
            facts,
            patch: Patch::default(),
            outcome: Outcome::default(),
            volume_used: false,
        }))
    }

    pub(super) fn run(mut self, random: u32) -> Result<Outcome<'p>, Error> {
        let of_pod = std::mem::take(&mut self.facts.annotations.warnings);
        let of_account = self.rules.identity.warnings.iter().cloned();
        self.outcome
            .warnings
            .extend(of_account.chain(of_pod).map(Finding::from));
        let spec: &'p Spec<'p> = self.facts.spec;
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
            self.outcome.unchanged = Some(if self.outcome.containers.iter().all(excluded) {
                Unchanged::AllContainersSkipped
            } else {
                Unchanged::AlreadyComplete
            });
        }
        Ok(self.outcome)
    }

    fn container(
        &mut self,
        list: &'static str,
        index: usize,
        container: &'p Container<'p>,
    ) -> Result<(), Error> {
        let name: &'p str = container.name();
        let own = container.value(Variable::StsRegionalEndpoints);
        let choice = self.rules.identity.choice;
        let (endpoint, source) = match own {
            Some(value) => (self.read_own(name, value), ChoiceSource::Container),
            None => (Some(choice.endpoint), choice.source),
        };
        let mut facts = ContainerFacts {
            name,
            init: list == "initContainers",
            endpoint,
            source,
            written: None,
            variables: 0,
            mounted: false,
            skipped: self.facts.excluded(name),
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
        let given = Given::whole(container);
        let pod_name = self.pod.metadata.as_ref().and_then(|m| m.name.as_deref());
        let warnings = &mut self.outcome.warnings;
        let mut warn = |fact| warnings.push(Finding::of_container(fact, name));
        let mut additions = Additions::default();
        facts.written = self.rules.endpoint(given, &mut additions);
        self.rules.regions(given, &mut additions);
        let wants_mount = self.rules.credentials(
            given,
            &mounts,
            pod_name.unwrap_or_default(),
            &mut additions,
            &mut warn,
        );
        if !self.rules.upstream {
            if let Some(path) = mounts.partial {
                warn(Fact::TokenSubPath { path: path.into() });
            }
            let region = given.with(&additions, Variable::Region);
            let wrong = rules::regions(region, given.with(&additions, Variable::DefaultRegion));
            // That both are missing or differ is true of many sound pods.
            wrong
                .filter(|fact| matches!(fact, Fact::LoneRegion { .. } | Fact::EmptyRegion { .. }))
                .into_iter()
                .for_each(&mut warn);
            rules::static_credentials(container)
                .into_iter()
                .for_each(&mut warn);
            if additions.count() > 0 && container.has_env_from() {
                warn(Fact::EnvFrom);
            }
        }

        facts.variables = additions.count();
        let base = format_args!("/spec/{list}/{index}");
        if container.env.is_some() {
            for (variable, value) in additions.iter() {
                self.patch.add(format_args!("{base}/env/-"), |json| {
                    write_variable(json, *variable, value)
                });
            }
        } else if additions.count() > 0 {
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
            let path = self.rules.mount_path.into();
            self.outcome
                .warnings
                .push(Finding::of_container(Fact::MountPathTaken { path }, name));
        } else if wants_mount {
            self.volume_used = true;
            facts.mounted = true;
            let (open, close) = if mounts.listed { ("", "") } else { ("[", "]") };
            let append = if mounts.listed { "/-" } else { "" };
            self.patch
                .add(format_args!("{base}/volumeMounts{append}"), |json| {
                    json.raw(open).raw(r#"{"name":"#).string(self.rules.volume_name);
                    json.raw(r#","readOnly":true,"mountPath":"#)
                        .string(self.rules.mount_path)
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
    fn read_own(&mut self, container: &str, value: pod::Value<'_>) -> Option<EndpointType> {
        let pod::Value::Literal(written) = value else {
            return None;
        };
        if written.contains("$(") {
            return None;
        }
        if let Some(fact) = rules::value(written, false) {
            self.outcome.warnings.push(Finding::of_container(fact, container));
        }
        EnvValue::read(written).endpoint
    }

    fn mounts(&self, container: &'p Container<'p>) -> Result<Mounts<'p>, Error> {
        let Some(raw) = container.volume_mounts else {
            return Ok(Mounts::default());
        };
        let mut mounts = Mounts {
            listed: true,
            ..Mounts::default()
        };
        let rules = &self.rules;
        let same_path = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        each_entry(raw, |mount: Mount<'p>| {
            // The Go webhook takes a mount of a part of the volume for the whole.
            let partial = !rules.upstream && mount.is_partial();
            let here = !rules.upstream && same_path(&mount.mount_path, rules.mount_path);
            if *mount.name == *rules.volume_name && !partial {
                mounts.ours = Some(mount.mount_path.0);
                return;
            }
            mounts.taken |= here;
            if *mount.name == *rules.volume_name {
                mounts.partial = Some(mount.mount_path.0);
            }
        })?;
        Ok(mounts)
    }

    /// Warns of names in the lists of containers which no container has.
    fn check_names(&mut self) {
        if self.rules.upstream {
            return;
        }
        let lists = [
            (annotations::SKIP_CONTAINERS, &self.facts.annotations.skip),
            (annotations::INCLUDE_CONTAINERS, &self.facts.annotations.include),
        ];
        for (list, names) in lists {
            for listed in names.iter().flat_map(Names::iter) {
                if !self.outcome.containers.iter().any(|facts| facts.name == listed) {
                    let fact = Fact::NoSuchContainer {
                        list,
                        name: listed.into(),
                    };
                    self.outcome.warnings.push(fact.into());
                }
            }
        }
    }

    fn volume(&mut self, volumes: Option<&'p serde_json::value::RawValue>, random: u32) -> Result<(), Error> {
        if !self.rules.upstream && !self.volume_used {
            return Ok(());
        }
        let (mut exists, mut projected) = (false, false);
        if let Some(raw) = volumes {
            each_entry(raw, |volume: Volume<'p>| {
                if *volume.name == *self.rules.volume_name {
                    exists = true;
                    projected |= volume.projected.is_some();
                }
            })?;
        }
        if exists {
            if !self.rules.upstream && !projected {
                let fact = Fact::VolumeNameTaken {
                    volume: self.rules.volume_name.into(),
                };
                self.outcome.warnings.push(fact.into());
            }
            return Ok(());
        }
        let (path, open, close) = match volumes {
            None => ("/spec/volumes", "[", "]"),
            Some(_) if self.rules.upstream => ("/spec/volumes/0", "", ""),
            Some(_) => ("/spec/volumes/-", "", ""),
        };
        let seconds = self.token_expiration(random);
        self.patch.add(format_args!("{path}"), |json| {
            json.raw(open).raw(r#"{"name":"#).string(self.rules.volume_name);
            json.raw(r#","projected":{"sources":[{"serviceAccountToken":{"#);
            if !self.rules.identity.audience.is_empty() {
                json.raw(r#""audience":"#)
                    .string(self.rules.identity.audience)
                    .raw(",");
            }
            json.raw(r#""expirationSeconds":"#).number(seconds);
            json.raw(r#","path":"#)
                .string(self.rules.token_path)
                .raw("}}]}}")
                .raw(close);
        });
        Ok(())
    }

    fn token_expiration(&self, random: u32) -> i64 {
        let seconds = self
            .facts
            .annotations
            .token_expiration
            .unwrap_or(self.rules.identity.token_expiration);
        if self.rules.identity.method == Method::ContainerCredentials && seconds == MAX_TOKEN_EXPIRATION {
            return JITTER_FLOOR + i64::from(random) % (MAX_TOKEN_EXPIRATION - JITTER_FLOOR + 1);
        }
        // The API server refuses the whole pod above 2^32.
        if self.rules.upstream {
            seconds
        } else {
            seconds.min(1 << 32)
        }
    }

    /// The label of the container credentials method, and the record of what was decided.
    fn metadata(&mut self) -> Result<(), Error> {
        let metadata = self.pod.metadata.as_ref();
        let labelled = self.rules.identity.method == Method::ContainerCredentials && {
            let mut present = false;
            if let Some(labels) = metadata.and_then(|m| m.labels) {
                // The Go webhook overwrites another value of its author.
                each_pair(labels, |key, value| {
                    present |= key == POD_IDENTITY_LABEL && (!self.rules.upstream || value == "enabled");
                })?;
            }
            !present && (self.rules.upstream || self.volume_used)
        };
        let recorded =
            self.rules.settings.record && !self.facts.annotations.recorded && self.patch.operations() > 0;
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
            let key = format!("{}/{RECORD}", self.rules.settings.annotation_prefix);
            self.entry("annotations", map, &key, &self.rules.identity.choice.record());
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

fn write_variable(json: &mut Value<'_>, variable: Variable, value: &Addition<'_>) {
    json.raw(r#"{"name":"#).string(variable.as_str());
    match value {
        Addition::Literal(text) => json.raw(r#","value":"#).string(text).raw("}"),
        Addition::Same(other) => json.raw(r#","value":"$("#).raw(other.as_str()).raw(r#")"}"#),
        Addition::PodName => json.raw(r#","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}"#),
    };
}
