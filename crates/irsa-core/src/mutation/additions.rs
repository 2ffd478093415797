//! What a container is to be given beside what its author wrote: its variables, and whether it needs the token's
//! volume. The patch is written from it, and what a running pod carries is held against it.

use std::borrow::Cow;

use crate::finding::Fact;
use crate::identity::{Identity, Method};
use crate::pod::{Container, Value};
use crate::settings::Settings;
use crate::variable::Variable;

/// STS accepts 2 to 64 characters as the name of a session.
const SESSION_NAME: std::ops::RangeInclusive<usize> = 2..=64;

/// The value of a variable that is to be added.
pub(super) enum Addition<'v> {
    Literal(Cow<'v, str>),
    /// The value of another variable of the container, expanded by the kubelet.
    Same(Variable),
    /// The pod's name, filled in by the kubelet.
    PodName,
}

/// What is to be added to one container's variables, in the order in which it is written.
#[derive(Default)]
pub(super) struct Additions<'v>([Option<(Variable, Addition<'v>)>; 6], u8);

impl<'v> Additions<'v> {
    pub(super) fn push(&mut self, variable: Variable, value: impl Into<Cow<'v, str>>) {
        self.push_value(variable, Addition::Literal(value.into()));
    }

    fn push_value(&mut self, variable: Variable, value: Addition<'v>) {
        if let Some(slot) = self.0.get_mut(usize::from(self.1)) {
            *slot = Some((variable, value));
            self.1 += 1;
        }
    }

    pub(super) fn count(&self) -> u8 {
        self.1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Variable, Addition<'v>)> {
        self.0.iter().flatten()
    }

    /// What a variable will be, if it is among them.
    fn value(&self, wanted: Variable) -> Option<Value<'_>> {
        let (_, value) = self.iter().find(|(variable, _)| *variable == wanted)?;
        Some(match value {
            Addition::Literal(text) => Value::Literal(text),
            Addition::Same(_) | Addition::PodName => Value::Reference,
        })
    }

    /// The text of identity or settings that is to be added for a variable.
    fn text(&self, wanted: Variable) -> Option<&'v str> {
        self.iter().find_map(|(variable, value)| match value {
            Addition::Literal(Cow::Borrowed(text)) if *variable == wanted => Some(*text),
            _ => None,
        })
    }
}

/// A container as its author wrote it.
#[derive(Clone, Copy)]
pub(super) struct Given<'p> {
    container: &'p Container<'p>,
    /// If not none, this variable and all that a webhook appended are taken for not there.
    without: Option<Variable>,
}

impl<'p> Given<'p> {
    /// The container of a new pod: what is in it stays.
    pub(super) fn whole(container: &'p Container<'p>) -> Self {
        Self {
            container,
            without: None,
        }
    }

    fn value(self, variable: Variable) -> Option<Value<'p>> {
        let hidden = self
            .without
            .is_some_and(|without| variable == without || self.container.is_appended(variable));
        if hidden {
            None
        } else {
            self.container.value(variable)
        }
    }

    /// The value that the container will have.
    pub(super) fn with<'a>(self, additions: &'a Additions<'_>, variable: Variable) -> Option<Value<'a>>
    where
        'p: 'a,
    {
        self.value(variable).or_else(|| additions.value(variable))
    }

    pub(super) fn has(self, variable: Variable) -> bool {
        self.value(variable).is_some()
    }
}

/// What a container's mounts say about the token's volume.
#[derive(Default)]
pub(super) struct Mounts<'p> {
    /// Whether there is a list to append to.
    pub(super) listed: bool,
    /// Where the token's volume is mounted already, as a whole.
    pub(super) ours: Option<Cow<'p, str>>,
    /// Whether another volume is mounted where it belongs.
    pub(super) taken: bool,
    /// Where only a part of the token's volume is mounted.
    pub(super) partial: Option<Cow<'p, str>>,
}

/// An identity and the settings under which it is written into a pod.
pub(super) struct Rules<'s> {
    pub(super) identity: &'s Identity<'s>,
    pub(super) settings: &'s Settings,
    pub(super) upstream: bool,
    pub(super) windows: bool,
    pub(super) mount_path: &'s str,
    pub(super) volume_name: &'s str,
    pub(super) token_path: &'s str,
    token_file: String,
}

impl<'s> Rules<'s> {
    pub(super) fn new(identity: &'s Identity<'s>, settings: &'s Settings, windows: bool) -> Self {
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
        Self {
            identity,
            settings,
            upstream: settings.compat.is_upstream(),
            windows,
            mount_path,
            volume_name,
            token_path,
            token_file: token_file(mount_path, token_path, windows),
        }
    }

    /// Adds the endpoint type, unless the container has one, and tells what was added.
    pub(super) fn endpoint<'v>(
        &self,
        given: Given<'_>,
        additions: &mut Additions<'v>,
    ) -> Option<&'static str> {
        let written = self.identity.choice.written(self.settings.global_value);
        let value = written.filter(|_| !given.has(Variable::StsRegionalEndpoints))?;
        additions.push(Variable::StsRegionalEndpoints, value);
        Some(value)
    }

    /// What would be written for `variable` into a container that has only what its author wrote beside it.
    pub(super) fn wanted(&self, container: &Container<'_>, variable: Variable) -> Option<&'s str> {
        let given = Given {
            container,
            without: Some(variable),
        };
        let mut additions = Additions::default();
        self.endpoint(given, &mut additions);
        self.credentials(given, &Mounts::default(), "", &mut additions, |_| {});
        additions.text(variable)
    }

    /// Fills in the region variables: each on its own, the missing one as the present one. The Go webhook fills in
    /// both or none.
    pub(super) fn regions<'v, 'p: 'v>(&self, given: Given<'p>, additions: &mut Additions<'v>)
    where
        's: 'v,
    {
        use Variable::{DefaultRegion, Region};
        let region = self.settings.region.as_deref();
        for (missing, other) in [(DefaultRegion, Region), (Region, DefaultRegion)] {
            match (given.value(missing), given.value(other), region) {
                (Some(_), ..) | (None, _, None) => {}
                (None, None, Some(region)) => additions.push(missing, region),
                (None, Some(_), _) if self.upstream => {}
                (None, Some(Value::Reference), Some(_)) => {
                    additions.push_value(missing, Addition::Same(other));
                }
                (None, Some(value), Some(region)) => {
                    // Present but empty: SDKs take that for unset.
                    additions.push(missing, value.filled().unwrap_or(region));
                }
            }
        }
    }

    /// Adds the variables that lead to the token, and tells whether the token's volume is needed in the container.
    pub(super) fn credentials<'v>(
        &self,
        given: Given<'_>,
        mounts: &Mounts<'_>,
        pod_name: &str,
        additions: &mut Additions<'v>,
        warn: impl FnOnce(Fact),
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
        if self.upstream {
            if !given.has(first) && !given.has(file) {
                additions.push(first, first_value);
                additions.push(file, self.token_file.clone());
                return true;
            }
            // There, a container that has a variable of each group is not looked at any further.
            let region = given.has(Variable::Region) || given.has(Variable::DefaultRegion);
            return !(region && given.has(Variable::StsRegionalEndpoints));
        }
        let token_file = match &mounts.ours {
            Some(elsewhere) => token_file(elsewhere, self.token_path, self.windows),
            None => self.token_file.clone(),
        };
        let is_ours = |value: Option<Value<'_>>| {
            value.is_none_or(|value| {
                value
                    .filled()
                    .is_none_or(|literal| literal == token_file || literal == self.token_file)
            })
        };
        if self.identity.method == Method::ContainerCredentials {
            return self.container_credentials(given, first_value, token_file, additions, warn);
        }
        if !given.has(first) {
            additions.push(first, first_value);
        }
        let ours = is_ours(given.value(file));
        if !given.has(file) {
            additions.push(file, token_file);
        }
        if self.settings.session_name && !given.has(Variable::RoleSessionName) {
            additions.push_value(Variable::RoleSessionName, session_name(pod_name));
        }
        ours
    }

    /// Both variables or none: an endpoint of the author's own must never be sent the pod's token, nor ours a token of
    /// the author's own.
    fn container_credentials<'v>(
        &self,
        given: Given<'_>,
        full_uri: &'s str,
        token_file: String,
        additions: &mut Additions<'v>,
        warn: impl FnOnce(Fact),
    ) -> bool
    where
        's: 'v,
    {
        let set = Variable::CONTAINER_CREDENTIALS
            .into_iter()
            .find(|variable| given.has(*variable));
        let Some(set) = set else {
            additions.push(Variable::ContainerCredentialsFullUri, full_uri);
            additions.push(Variable::ContainerAuthorizationTokenFile, token_file);
            return true;
        };
        let complete = given.value(Variable::ContainerCredentialsFullUri) == Some(Value::Literal(full_uri))
            && given
                .value(Variable::ContainerAuthorizationTokenFile)
                .and_then(Value::filled)
                .is_some_and(|file| file == token_file || file == self.token_file)
            && !given.has(Variable::ContainerCredentialsRelativeUri)
            && !given.has(Variable::ContainerAuthorizationToken);
        if !complete {
            warn(Fact::ContainerCredentialsSetInPod { set });
        }
        complete
    }
}

/// The pod's name, by which CloudTrail then tells its sessions apart. Generated names are at most 63 characters;
/// a name that STS would refuse is cut, or padded, which only works for names that are known already.
fn session_name<'v>(name: &str) -> Addition<'v> {
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
