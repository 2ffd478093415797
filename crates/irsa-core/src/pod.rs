//! The one reader of a pod: borrowed from JSON, only the fields that a rule looks at.
//!
//! The webhook reads it out of the admission review, the fleet out of a list of the API server; the rules ask
//! [`PodFacts`] what a pod says.
//!
//! Lists and maps whose length the pod's author decides are either folded into a few facts while they are read, or
//! kept as raw bytes and walked again when needed, so that memory does not grow with the pod.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::annotations::{self, Names, PodAnnotations};
use crate::settings::Settings;
use crate::variable::Variable;

/// A string that borrows from the request unless it has escapes. (Within `Option` and lists serde would copy a plain
/// `Cow`.)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text<'a>(pub(crate) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A struct that is read only from a JSON object. serde would also read one from a list of its fields, for which a
/// patch would not fit.
#[derive(Debug, Clone, Default)]
pub struct Object<T>(pub T);

impl<T> std::ops::Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(AsMap(deserializer)).map(Object)
    }
}

/// Asks the deserializer for a map where a struct is asked for.
struct AsMap<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AsMap<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The pod of an admission request. Deserialise it as part of the review, from the bytes of the body (it borrows), or
/// with [`Pod::parse`].
#[derive(Debug)]
pub struct Pod<'a> {
    pub(crate) metadata: Option<Object<Metadata<'a>>>,
    pub(crate) spec: Option<Object<Spec<'a>>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Pod<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, default)]
            metadata: Option<Object<Metadata<'a>>>,
            #[serde(borrow, default)]
            spec: Option<Object<Spec<'a>>>,
        }

        let Object(Fields { metadata, spec }) = Object::deserialize(deserializer)?;
        Ok(Self { metadata, spec })
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) generate_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) annotations: Option<&'a RawValue>,
}

/// What is read of a pod's specification.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(borrow, default)]
    service_account_name: Option<Text<'a>>,
    #[serde(borrow, default, rename = "serviceAccount")]
    deprecated_service_account: Option<Text<'a>>,
    #[serde(borrow, default)]
    node_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    node_selector: Option<Object<NodeSelector<'a>>>,
    #[serde(borrow, default)]
    affinity: Option<&'a RawValue>,
    #[serde(borrow, default)]
    os: Option<Object<Os<'a>>>,
    #[serde(borrow, default)]
    pub(crate) volumes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) init_containers: Option<Vec<Object<Container<'a>>>>,
    #[serde(borrow, default)]
    pub(crate) containers: Option<Vec<Object<Container<'a>>>>,
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Os<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
}

#[derive(Debug, Clone, serde::Deserialize)]
struct NodeSelector<'a> {
    #[serde(borrow, default, rename = "kubernetes.io/os")]
    os: Option<Text<'a>>,
    #[serde(borrow, default, rename = "beta.kubernetes.io/os")]
    beta_os: Option<Text<'a>>,
}

/// What is read of a container.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) env: Option<Env<'a>>,
    #[serde(default)]
    env_from: Option<NotEmpty>,
    #[serde(borrow, default)]
    pub(crate) volume_mounts: Option<&'a RawValue>,
}

impl Container<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its image; empty if it names none.
    #[must_use]
    pub fn image(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }

    /// Whether variables also come from ConfigMaps or Secrets, which are not read.
    #[must_use]
    pub fn has_env_from(&self) -> bool {
        self.env_from.is_some_and(|list| list.0)
    }

    /// The value of a variable; none if the container does not set it.
    #[must_use]
    pub fn value(&self, variable: Variable) -> Option<Value<'_>> {
        let set = self.env.as_ref()?.find(variable)?;
        Some(match &set.value {
            Some(text) => Value::Literal(text),
            None => Value::Reference,
        })
    }

    /// The value of a variable, if it is a literal that says something.
    #[must_use]
    pub fn filled(&self, variable: Variable) -> Option<&str> {
        self.value(variable)?.filled()
    }

    /// Whether it carries an identity, or a part of one.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        [
            Variable::RoleArn,
            Variable::WebIdentityTokenFile,
            Variable::ContainerCredentialsFullUri,
        ]
        .into_iter()
        .any(|variable| self.value(variable).is_some())
    }

    /// Whether a variable stands where an identity webhook would have written it, as far as the list shows: webhooks
    /// append, in the order of [`Variable::WRITTEN`], and never only the first of what they write.
    #[must_use]
    pub fn is_appended(&self, variable: Variable) -> bool {
        let Some(env) = &self.env else { return false };
        let Some(set) = env.find(variable) else {
            return false;
        };
        let order = |variable| Variable::WRITTEN.iter().position(|known| *known == variable);
        let mut later = env.set.iter().filter(|other| other.at > set.at).peekable();
        let last = matches!(
            variable,
            Variable::WebIdentityTokenFile
                | Variable::RoleSessionName
                | Variable::ContainerAuthorizationTokenFile
        );
        set.at >= env.tail
            && self.has_identity()
            && (last || later.peek().is_some())
            && later.all(|other| order(other.variable) > order(variable))
    }
}

/// Whether a list has entries.
#[derive(Debug, Clone, Copy)]
struct NotEmpty(bool);

impl<'de> Deserialize<'de> for NotEmpty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NotEmptyVisitor;

        impl<'de> Visitor<'de> for NotEmptyVisitor {
            type Value = NotEmpty;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NotEmpty, A::Error> {
                let mut any = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(NotEmpty(any))
            }
        }

        deserializer.deserialize_seq(NotEmptyVisitor)
    }
}

/// The value of a variable, as far as the pod tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value<'a> {
    /// Written in the pod; empty for a variable without a value.
    Literal(&'a str),
    /// Read from a ConfigMap, Secret or field when the container starts.
    Reference,
}

impl<'a> Value<'a> {
    /// The literal, if it says something.
    #[must_use]
    pub fn filled(self) -> Option<&'a str> {
        match self {
            Self::Literal(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

/// One variable that a rule looks at.
#[derive(Debug, Clone)]
struct Set<'a> {
    variable: Variable,
    /// The literal; none for a reference.
    value: Option<Text<'a>>,
    /// Its position in the container's list.
    at: usize,
}

/// What a container's list of variables says about those that a rule looks at. If one is there twice the last
/// counts, as it does for the kubelet.
#[derive(Debug, Clone, Default)]
pub struct Env<'a> {
    /// One for each variable at most, so that memory does not grow with the list.
    set: Vec<Set<'a>>,
    /// Behind the last variable that webhooks do not write.
    tail: usize,
    length: usize,
}

impl<'a> Env<'a> {
    fn find(&self, variable: Variable) -> Option<&Set<'a>> {
        self.set.iter().find(|set| set.variable == variable)
    }

    fn push(&mut self, name: &str, value: Option<Text<'a>>, reference: bool) {
        let at = self.length;
        self.length += 1;
        let Some(variable) = Variable::from_name(name) else {
            self.tail = self.length;
            return;
        };
        if !variable.is_written() {
            self.tail = self.length;
        }
        let value = match value {
            None if reference => None,
            value => Some(value.unwrap_or_default()),
        };
        let set = Set { variable, value, at };
        match self.set.iter_mut().find(|known| known.variable == variable) {
            Some(known) => *known = set,
            None => self.set.push(set),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Env<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvVisitor;

        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct EnvVar<'a> {
            #[serde(borrow, default)]
            name: Text<'a>,
            #[serde(borrow, default)]
            value: Option<Text<'a>>,
            #[serde(default)]
            value_from: Option<IgnoredAny>,
        }

        impl<'de> Visitor<'de> for EnvVisitor {
            type Value = Env<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of variables")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Env<'de>, A::Error> {
                let mut env = Env::default();
                while let Some(Object(var)) = seq.next_element::<Object<EnvVar<'de>>>()? {
                    env.push(&var.name, var.value, var.value_from.is_some());
                }
                Ok(env)
            }
        }

        deserializer.deserialize_seq(EnvVisitor)
    }
}

/// Calls `each` for every pair of a map of strings. `null` values count as empty.
pub(crate) fn each_pair(raw: &RawValue, mut each: impl FnMut(&str, &str)) -> Result<(), serde_json::Error> {
    struct Pairs<F>(F);

    impl<'de, F: FnMut(&str, &str)> Visitor<'de> for Pairs<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of strings")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((key, value)) = map.next_entry::<Text<'de>, Option<Text<'de>>>()? {
                (self.0)(&key, value.as_deref().unwrap_or_default());
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Pairs(&mut each))
}

/// Calls `each` for every entry of a list.
pub(crate) fn each_entry<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    mut each: impl FnMut(T),
) -> Result<(), serde_json::Error> {
    struct Entries<T, F>(F, std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Entries<T, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(entry) = seq.next_element::<T>()? {
                (self.0)(entry);
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(raw.get())
        .deserialize_seq(Entries(&mut each, std::marker::PhantomData))
}

/// An entry of `volumeMounts`.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) mount_path: Text<'a>,
    #[serde(borrow, default)]
    sub_path: Option<Text<'a>>,
    #[serde(borrow, default)]
    sub_path_expr: Option<Text<'a>>,
}

impl Mount<'_> {
    /// Whether only a part of the volume is mounted: the kubelet never updates it.
    pub(crate) fn is_partial(&self) -> bool {
        [&self.sub_path, &self.sub_path_expr]
            .into_iter()
            .flatten()
            .any(|path| !path.is_empty())
    }
}

/// An entry of `volumes`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Volume<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
    #[serde(default)]
    pub(crate) projected: Option<IgnoredAny>,
}

impl<'a> Spec<'a> {
    /// The containers, init containers first, each with whether it is one.
    pub fn all_containers(&self) -> impl Iterator<Item = (&Container<'a>, bool)> {
        let init = self
            .init_containers
            .iter()
            .flatten()
            .map(|container| (&container.0, true));
        init.chain(
            self.containers
                .iter()
                .flatten()
                .map(|container| (&container.0, false)),
        )
    }

    /// The service account as written; empty if none is.
    #[must_use]
    pub fn service_account(&self) -> &str {
        [&self.service_account_name, &self.deprecated_service_account]
            .into_iter()
            .filter_map(|name| name.as_deref())
            .find(|name| !name.is_empty())
            .unwrap_or_default()
    }

    /// The node that runs it; empty if it is not scheduled.
    #[must_use]
    pub fn node_name(&self) -> &str {
        self.node_name.as_deref().unwrap_or_default()
    }

    /// Whether the pod can only run on Windows nodes. In compatibility mode only the node selector is looked at.
    #[must_use]
    pub fn is_windows(&self, upstream: bool) -> bool {
        let windows = |os: Option<&Text<'_>>| os.is_some_and(|os| &**os == "windows");
        let selector = self.node_selector.as_ref();
        if windows(selector.and_then(|s| s.os.as_ref())) || windows(selector.and_then(|s| s.beta_os.as_ref()))
        {
            return true;
        }
        if upstream {
            return false;
        }
        windows(self.os.as_ref().and_then(|os| os.name.as_ref()))
            || self
                .affinity
                .is_some_and(|affinity| affinity.get().contains("windows") && requires_windows(affinity))
    }
}

/// Whether every alternative of the required node affinity asks for Windows. An affinity that is not understood
/// requires nothing.
fn requires_windows(affinity: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Affinity<'a> {
        #[serde(borrow, default)]
        node_affinity: Option<NodeAffinity<'a>>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct NodeAffinity<'a> {
        #[serde(borrow, default)]
        required_during_scheduling_ignored_during_execution: Option<Required<'a>>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Required<'a> {
        #[serde(borrow, default)]
        node_selector_terms: Vec<Term<'a>>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Term<'a> {
        #[serde(borrow, default)]
        match_expressions: Option<Vec<Expression<'a>>>,
    }
    #[derive(serde::Deserialize)]
    struct Expression<'a> {
        #[serde(borrow, default)]
        key: Text<'a>,
        #[serde(borrow, default)]
        operator: Text<'a>,
        #[serde(borrow, default)]
        values: Option<Vec<Text<'a>>>,
    }

    let terms = serde_json::from_str::<Affinity<'_>>(affinity.get())
        .ok()
        .and_then(|affinity| {
            affinity
                .node_affinity?
                .required_during_scheduling_ignored_during_execution
        })
        .map(|required| required.node_selector_terms)
        .unwrap_or_default();
    let asks = |expression: &Expression<'_>| {
        matches!(&*expression.key, "kubernetes.io/os" | "beta.kubernetes.io/os")
            && &*expression.operator == "In"
            && matches!(expression.values.as_deref(), Some([only]) if &**only == "windows")
    };
    !terms.is_empty()
        && terms
            .iter()
            .all(|term| term.match_expressions.iter().flatten().any(asks))
}

/// Why the webhook leaves a container as it is.
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

/// What a pod says, as the rules ask it: its specification, and its annotations as they are meant.
#[derive(Debug)]
pub struct PodFacts<'p> {
    /// The specification.
    pub spec: &'p Spec<'p>,
    /// The annotations: lists of containers, the record of an earlier mutation, and what is wrong with them.
    pub annotations: PodAnnotations,
    /// Whether it can only run on Windows nodes.
    pub windows: bool,
}

impl<'p> PodFacts<'p> {
    /// Reads what `annotations` mean, under the prefix of `settings`.
    pub fn new<'k>(
        spec: &'p Spec<'p>,
        annotations: impl IntoIterator<Item = (&'k str, &'k str)>,
        settings: &Settings,
    ) -> Self {
        let upstream = settings.compat.is_upstream();
        Self::of(
            spec,
            annotations::pod(&settings.annotation_prefix, upstream, annotations),
            upstream,
        )
    }

    pub(crate) fn of(spec: &'p Spec<'p>, annotations: PodAnnotations, upstream: bool) -> Self {
        Self {
            spec,
            annotations,
            windows: spec.is_windows(upstream),
        }
    }

    /// Whether the pod's annotations exclude a container, and how.
    #[must_use]
    pub fn excluded(&self, name: &str) -> Option<Skipped> {
        let listed = |list: &Option<Names>| list.as_ref().is_some_and(|list| list.contains(name));
        if listed(&self.annotations.skip) {
            Some(Skipped::Listed)
        } else if self.annotations.include.is_some() && !listed(&self.annotations.include) {
            Some(Skipped::NotIncluded)
        } else {
            None
        }
    }
}

/// Whether the label `PREFIX/skip-pod-identity-webhook` is among these keys.
pub fn is_skip_label(key: &str, settings: &Settings) -> bool {
    let name = key
        .strip_prefix(&*settings.annotation_prefix)
        .and_then(|rest| rest.strip_prefix('/'));
    name == Some(annotations::SKIP_LABEL)
}

/// Where the file of `AWS_WEB_IDENTITY_TOKEN_FILE` comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource<'a> {
    /// No volume is mounted above its path.
    NoMount,
    /// The volume that is mounted there does not exist in the pod.
    NoVolume {
        /// Its name.
        volume: Text<'a>,
    },
    /// The volume that is mounted there has no token of that name.
    NoToken {
        /// Its name.
        volume: Text<'a>,
        /// The file below the mount.
        below: Box<str>,
    },
    /// A volume of another kind, about which nothing can be said.
    Elsewhere,
    /// A projected token.
    Token {
        /// Its audience; none for that of the API server.
        audience: Option<Text<'a>>,
        /// The mount's path, if only a part of the volume is mounted, so that it is never renewed.
        partial: Option<Text<'a>>,
    },
}

impl<'a> Spec<'a> {
    /// Finds what provides `file` in a container: the deepest mount above it.
    ///
    /// # Errors
    /// When mounts or volumes are not of the form that Kubernetes has.
    pub fn token_source(
        &self,
        container: &Container<'a>,
        file: &str,
    ) -> Result<TokenSource<'a>, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct Volume<'a> {
            #[serde(borrow, default)]
            name: Text<'a>,
            #[serde(borrow, default)]
            projected: Option<Projected<'a>>,
        }
        #[derive(serde::Deserialize)]
        struct Projected<'a> {
            #[serde(borrow, default)]
            sources: Option<Vec<Source<'a>>>,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Source<'a> {
            #[serde(borrow, default)]
            service_account_token: Option<Token<'a>>,
        }
        #[derive(serde::Deserialize)]
        struct Token<'a> {
            #[serde(borrow, default)]
            audience: Option<Text<'a>>,
            #[serde(borrow, default)]
            path: Text<'a>,
        }

        let mut deepest: Option<(usize, Mount<'a>)> = None;
        if let Some(raw) = container.volume_mounts {
            each_entry(raw, |mount: Mount<'a>| {
                let path = mount.mount_path.trim_end_matches('/');
                let above = file
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && mount.is_partial()));
                if above && deepest.as_ref().is_none_or(|(length, _)| path.len() >= *length) {
                    deepest = Some((path.len(), mount));
                }
            })?;
        }
        let Some((length, mount)) = deepest else {
            return Ok(TokenSource::NoMount);
        };
        let mut below = file[length..].trim_start_matches('/').to_owned();
        if let Some(sub_path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            below = format!("{sub_path}/{below}").trim_end_matches('/').to_owned();
        }
        let mut found = None;
        if let Some(raw) = self.volumes {
            each_entry(raw, |volume: Volume<'a>| {
                if *volume.name == *mount.name {
                    found = Some(volume);
                }
            })?;
        }
        let Some(volume) = found else {
            return Ok(TokenSource::NoVolume { volume: mount.name });
        };
        let Some(projected) = volume.projected else {
            return Ok(TokenSource::Elsewhere);
        };
        let partial = mount.is_partial();
        let token = projected
            .sources
            .into_iter()
            .flatten()
            .filter_map(|source| source.service_account_token)
            .find(|token| *token.path == *below);
        Ok(match token {
            Some(token) => TokenSource::Token {
                audience: token.audience,
                partial: partial.then_some(mount.mount_path),
            },
            None if mount.sub_path_expr.is_some() => TokenSource::Elsewhere,
            None => TokenSource::NoToken {
                volume: mount.name,
                below: below.into(),
            },
        })
    }
}
