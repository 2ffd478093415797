//! A pod as the mutation sees it: borrowed from the request, only the fields that a rule looks at.
//!
//! Lists and maps whose length the pod's author decides are either folded into a few facts while they are read, or
//! kept as raw bytes and walked again when needed, so that memory does not grow with the pod.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A string that borrows from the request unless it has escapes. (Within `Option` and lists serde would copy a plain
/// `Cow`.)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

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

/// A struct that is only read from a JSON object. serde would also read one from a list of its fields, for which a
/// patch would not fit.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

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

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec<'a> {
    #[serde(borrow, default)]
    pub(crate) service_account_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) node_selector: Option<Object<NodeSelector<'a>>>,
    #[serde(borrow, default)]
    pub(crate) affinity: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) os: Option<Object<Os<'a>>>,
    #[serde(borrow, default)]
    pub(crate) volumes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) init_containers: Option<Vec<Object<Container<'a>>>>,
    #[serde(borrow, default)]
    pub(crate) containers: Option<Vec<Object<Container<'a>>>>,
}

#[derive(Debug, serde::Deserialize)]
pub(crate) struct Os<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
}

#[derive(Debug, serde::Deserialize)]
pub(crate) struct NodeSelector<'a> {
    #[serde(borrow, default, rename = "kubernetes.io/os")]
    pub(crate) os: Option<Text<'a>>,
    #[serde(borrow, default, rename = "beta.kubernetes.io/os")]
    pub(crate) beta_os: Option<Text<'a>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) env: Option<Env<'a>>,
    #[serde(default)]
    pub(crate) env_from: Option<NotEmpty>,
    #[serde(borrow, default)]
    pub(crate) volume_mounts: Option<&'a RawValue>,
}

/// Whether a list has entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotEmpty(pub(crate) bool);

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

/// The environment variables that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `AWS_STS_REGIONAL_ENDPOINTS`.
    StsRegionalEndpoints,
    /// `AWS_DEFAULT_REGION`.
    DefaultRegion,
    /// `AWS_REGION`.
    Region,
    /// `AWS_ROLE_ARN`.
    RoleArn,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    WebIdentityTokenFile,
    /// `AWS_ROLE_SESSION_NAME`.
    RoleSessionName,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    ContainerCredentialsFullUri,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    ContainerAuthorizationTokenFile,
    /// `AWS_ACCESS_KEY_ID`: static credentials, which SDKs prefer to everything written here.
    AccessKeyId,
}

impl Variable {
    const ALL: [Self; 9] = [
        Self::StsRegionalEndpoints,
        Self::DefaultRegion,
        Self::Region,
        Self::RoleArn,
        Self::WebIdentityTokenFile,
        Self::RoleSessionName,
        Self::ContainerCredentialsFullUri,
        Self::ContainerAuthorizationTokenFile,
        Self::AccessKeyId,
    ];

    /// The name of the variable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StsRegionalEndpoints => crate::endpoint::ENV,
            Self::DefaultRegion => "AWS_DEFAULT_REGION",
            Self::Region => "AWS_REGION",
            Self::RoleArn => "AWS_ROLE_ARN",
            Self::WebIdentityTokenFile => "AWS_WEB_IDENTITY_TOKEN_FILE",
            Self::RoleSessionName => "AWS_ROLE_SESSION_NAME",
            Self::ContainerCredentialsFullUri => "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            Self::ContainerAuthorizationTokenFile => "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            Self::AccessKeyId => "AWS_ACCESS_KEY_ID",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        // Most variables of most containers are not AWS's: one comparison for them.
        if !name.starts_with("AWS_") {
            return None;
        }
        Self::ALL.into_iter().find(|variable| variable.as_str() == name)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A variable as the container sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set<'a> {
    /// The literal value; empty if it comes from elsewhere.
    pub(crate) value: Text<'a>,
    /// Whether it is a `valueFrom`, so that nobody knows its value yet.
    pub(crate) from: bool,
}

impl Set<'_> {
    /// The literal value, if there is one that says something.
    pub(crate) fn literal(&self) -> Option<&str> {
        Some(&*self.value).filter(|value| !self.from && !value.is_empty())
    }
}

/// What a container's list of variables says about those that a rule looks at. If one is there twice the last
/// counts, as it does for the kubelet.
#[derive(Debug, Default)]
pub(crate) struct Env<'a>([Option<Set<'a>>; Variable::ALL.len()]);

impl<'a> Env<'a> {
    pub(crate) fn get(&self, variable: Variable) -> Option<&Set<'a>> {
        self.0[variable as usize].as_ref()
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
                    if let Some(variable) = Variable::from_name(&var.name) {
                        env.0[variable as usize] = Some(Set {
                            value: var.value.unwrap_or_default(),
                            from: var.value_from.is_some(),
                        });
                    }
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
}

/// An entry of `volumes`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Volume<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
    #[serde(default)]
    pub(crate) projected: Option<IgnoredAny>,
}

impl Spec<'_> {
    /// Whether the pod can only run on Windows nodes. In compatibility mode only the node selector is looked at.
    pub(crate) fn is_windows(&self, upstream: bool) -> bool {
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
