//! What the webhook's arguments and variables mean for the rules.
//!
//! [`read`] is the one function for it: `irsa webhook` starts by it, and a running webhook's settings are read from the
//! arguments of its pods by it. The flags stand in one table, from which the command line, its help and the pages in
//! `docs/` are made. Flags that only the server looks at (ports, certificates, logs) are not here.

use crate::annotations::parse_bool;
use crate::arn::Compose;
use crate::endpoint::{EndpointType, GlobalValue, Platform};
use crate::settings::{ContainerCredentialsSettings, Settings};

/// What the value of a flag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false` as Go reads them; without a value `true`. The value needs the form `--flag=false`.
    Switch,
    /// Any text.
    Text,
    /// A whole number as Go reads it: also `0x15180`, `86_400`.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A flag of the webhook that the rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The name, without `--`.
    pub name: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The value when it is not given; none where "not given" means something else than any value.
    pub default: Option<&'static str>,
    /// How the help calls the value; empty for the flag's own name.
    pub value_name: &'static str,
    /// The heading of the help under which it stands.
    pub heading: &'static str,
    /// What it does, for the help.
    pub help: &'static str,
    /// A flag without which it means nothing.
    pub requires: Option<&'static str>,
}

impl Flag {
    /// Whether a value can be one of this flag.
    ///
    /// # Errors
    /// What would be accepted.
    pub fn check(&self, value: &str) -> Result<(), FlagError> {
        let wrong = |expected: &str| {
            Err(FlagError::Value {
                flag: self.name,
                value: value.into(),
                expected: expected.into(),
            })
        };
        match self.kind {
            Kind::Switch if parse_bool(value).is_none() => wrong("true or false"),
            Kind::Number if parse_number(value).is_none() => wrong("a whole number"),
            Kind::Word(words) if !words.contains(&value) => wrong(&words.join(", ")),
            _ => Ok(()),
        }
    }
}

/// Why arguments cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// A value of the wrong kind.
    #[error("invalid value `{value}` for --{flag}: expected {expected}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: Box<str>,
        /// What is accepted.
        expected: Box<str>,
    },
    /// The last argument is a flag that needs a value.
    #[error("--{0} needs a value")]
    NoValue(&'static str),
    /// A flag that means nothing without another one.
    #[error("--{flag} has no meaning without --{requires}")]
    Requires {
        /// The flag.
        flag: &'static str,
        /// The other one.
        requires: &'static str,
    },
    /// A flag that changes what the Go webhook does, while its behaviour is asked for.
    #[error(
        "--{0} cannot be honoured with --compat upstream, where a pod comes out as from the Go webhook; drop one of the two"
    )]
    NotUpstream(&'static str),
    /// `--platform` beside `--kubernetes none`.
    #[error("--platform has no meaning with --kubernetes none")]
    PlatformOfNone,
}

/// How the webhook learns the platform of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformFlag {
    /// It asks the Kubernetes API, which tells the version but not `eks.N`.
    Ask,
    /// It was told; none for a cluster that is not EKS.
    Known(Option<Platform>),
}

/// What the arguments say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// The settings of the rules, except `platform`, and `compose` if that is to be found out.
    pub settings: Settings,
    /// The platform.
    pub platform: PlatformFlag,
    /// Whether account and partition for `--compose-role-arn` come from the instance's metadata.
    pub compose_from_metadata: bool,
    /// Whether the `pod-identity-webhook` ConfigMap is read.
    pub watch_config_map: bool,
    /// The file that lists service accounts with container credentials.
    pub container_credentials_file: Option<Box<str>>,
}

const IDENTITY: &str = "Identity";
const ENDPOINT: &str = "STS endpoint";
const CREDENTIALS: &str = "Container credentials (EKS Pod Identity)";

/// A flag whose variable is `IRSA_WEBHOOK_` and the second word.
macro_rules! flag {
    ($name:literal, $variable:ident, $kind:expr, $default:expr, $heading:expr, $help:literal $(,)?) => {
        Flag {
            name: $name,
            variable: concat!("IRSA_WEBHOOK_", stringify!($variable)),
            kind: $kind,
            default: $default,
            value_name: "",
            heading: $heading,
            help: $help,
            requires: None,
        }
    };
}

impl Flag {
    const fn value_name(self, value_name: &'static str) -> Self {
        Self { value_name, ..self }
    }

    const fn requires(self, flag: &'static str) -> Self {
        Self {
            requires: Some(flag),
            ..self
        }
    }
}

/// Every flag, in the order of the help.
pub const FLAGS: [Flag; 23] = [
    flag!(
        "annotation-prefix",
        ANNOTATION_PREFIX,
        Kind::Text,
        Some("eks.amazonaws.com"),
        IDENTITY,
        "The prefix of the annotations",
    ),
    flag!(
        "token-audience",
        TOKEN_AUDIENCE,
        Kind::Text,
        Some("sts.amazonaws.com"),
        IDENTITY,
        "The audience of tokens, unless annotated",
    ),
    flag!(
        "token-mount-path",
        TOKEN_MOUNT_PATH,
        Kind::Text,
        Some("/var/run/secrets/eks.amazonaws.com/serviceaccount"),
        IDENTITY,
        "Where tokens are mounted",
    ),
    flag!(
        "token-expiration",
        TOKEN_EXPIRATION,
        Kind::Number,
        Some("86400"),
        IDENTITY,
        "Seconds that a token is valid, unless annotated; 600 at least",
    ),
    flag!(
        "watch-config-map",
        WATCH_CONFIG_MAP,
        Kind::Switch,
        Some("false"),
        IDENTITY,
        "Read the ConfigMap pod-identity-webhook, which names roles of service accounts without annotations",
    ),
    flag!(
        "compose-role-arn",
        COMPOSE_ROLE_ARN,
        Kind::Switch,
        Some("false"),
        IDENTITY,
        "Allow a role's name or path instead of its ARN; account and partition come from the instance's metadata, or from the two flags below",
    ),
    flag!(
        "compose-role-account",
        COMPOSE_ROLE_ACCOUNT,
        Kind::Text,
        None,
        IDENTITY,
        "The account for --compose-role-arn, where there is no instance metadata",
    )
    .value_name("ACCOUNT")
    .requires("compose-role-arn"),
    flag!(
        "compose-role-partition",
        COMPOSE_ROLE_PARTITION,
        Kind::Text,
        Some("aws"),
        IDENTITY,
        "The partition for --compose-role-arn",
    )
    .value_name("PARTITION")
    .requires("compose-role-account"),
    flag!(
        "role-session-name",
        ROLE_SESSION_NAME,
        Kind::Switch,
        Some("false"),
        IDENTITY,
        "Set AWS_ROLE_SESSION_NAME to the pod's name, so that CloudTrail tells pods apart",
    ),
    flag!(
        "record",
        RECORD,
        Kind::Switch,
        None,
        IDENTITY,
        "Record endpoint type and its source in an annotation of mutated pods; true unless --compat upstream",
    ),
    flag!(
        "compat",
        COMPAT,
        Kind::Word(&["none", "upstream"]),
        Some("none"),
        IDENTITY,
        "Whose behaviour the mutated pod has: none is ours, which fixes what users of the Go webhook suffer from; upstream is the Go webhook's, pod for pod after the patch",
    ),
    flag!(
        "aws-default-region",
        AWS_DEFAULT_REGION,
        Kind::Text,
        Some(""),
        ENDPOINT,
        "Fill in AWS_REGION and AWS_DEFAULT_REGION where a container has no region",
    )
    .value_name("REGION"),
    flag!(
        "sts-regional-endpoint",
        STS_REGIONAL_ENDPOINT,
        Kind::Switch,
        None,
        ENDPOINT,
        "The endpoint type of service accounts that say nothing: true is regional, false is global",
    ),
    flag!(
        "global-endpoint-value",
        GLOBAL_ENDPOINT_VALUE,
        Kind::Word(&["legacy", "omit", "global"]),
        None,
        ENDPOINT,
        "What is written for a chosen global endpoint: legacy, omit or global; legacy unless --compat upstream, which omits it",
    )
    .value_name("VALUE"),
    flag!(
        "kubernetes",
        KUBERNETES,
        Kind::Text,
        None,
        ENDPOINT,
        "The Kubernetes version of the EKS cluster, such as 1.29; asked of the API when left out, `none` for a cluster that is not EKS",
    )
    .value_name("VERSION"),
    flag!(
        "platform",
        PLATFORM,
        Kind::Text,
        None,
        ENDPOINT,
        "The EKS platform version, such as eks.1, which the API does not tell",
    )
    .value_name("VERSION")
    .requires("kubernetes"),
    flag!(
        "namespace-defaults",
        NAMESPACE_DEFAULTS,
        Kind::Switch,
        None,
        ENDPOINT,
        "Let a namespace's annotation say the endpoint type of its service accounts; true unless --compat upstream",
    ),
    flag!(
        "watch-container-credentials-config",
        WATCH_CONTAINER_CREDENTIALS_CONFIG,
        Kind::Text,
        Some(""),
        CREDENTIALS,
        "The file that lists service accounts with container credentials",
    )
    .value_name("FILE"),
    flag!(
        "container-credentials-audience",
        CONTAINER_CREDENTIALS_AUDIENCE,
        Kind::Text,
        Some("pods.eks.amazonaws.com"),
        CREDENTIALS,
        "The audience of their tokens",
    ),
    flag!(
        "container-credentials-token-mount-path",
        CONTAINER_CREDENTIALS_TOKEN_MOUNT_PATH,
        Kind::Text,
        Some("/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"),
        CREDENTIALS,
        "Where their tokens are mounted",
    ),
    flag!(
        "container-credentials-token-volume-name",
        CONTAINER_CREDENTIALS_TOKEN_VOLUME_NAME,
        Kind::Text,
        Some("eks-pod-identity-token"),
        CREDENTIALS,
        "The name of the volume",
    ),
    flag!(
        "container-credentials-token-path",
        CONTAINER_CREDENTIALS_TOKEN_PATH,
        Kind::Text,
        Some("eks-pod-identity-token"),
        CREDENTIALS,
        "The file within the volume",
    ),
    flag!(
        "container-credentials-full-uri",
        CONTAINER_CREDENTIALS_FULL_URI,
        Kind::Text,
        Some("http://169.254.170.23/v1/credentials"),
        CREDENTIALS,
        "Where credentials are fetched",
    ),
];

/// Reads the arguments of `irsa webhook` and the variables of its process. Of a flag that is given twice the last
/// counts, and a flag wins over its variable. Arguments that are not in [`FLAGS`] are skipped.
///
/// # Errors
/// When a flag of the rules has a value that it cannot have.
pub fn read<A: AsRef<str>>(
    arguments: &[A],
    variable: impl FnMut(&str) -> Option<String>,
) -> Result<WebhookSettings, FlagError> {
    Given::read(arguments, variable)?.settings(false)
}

/// The same for the Go webhook, which has no variables and one behaviour.
///
/// # Errors
/// As [`read`].
pub fn read_upstream<A: AsRef<str>>(arguments: &[A]) -> Result<WebhookSettings, FlagError> {
    Given::read(arguments, |_| None)?.settings(true)
}

/// The values that were given, by the position of their flag in [`FLAGS`].
struct Given([Option<Box<str>>; FLAGS.len()]);

impl Given {
    fn read<A: AsRef<str>>(
        arguments: &[A],
        mut variable: impl FnMut(&str) -> Option<String>,
    ) -> Result<Self, FlagError> {
        let mut given = Self(std::array::from_fn(|at| {
            variable(FLAGS[at].variable).map(Into::into)
        }));
        let mut arguments = arguments.iter().map(AsRef::as_ref);
        while let Some(argument) = arguments.next() {
            let Some(text) = argument.strip_prefix("--") else {
                continue;
            };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            let Some(at) = FLAGS.iter().position(|flag| flag.name == name) else {
                continue;
            };
            let value = match (value, FLAGS[at].kind) {
                (Some(value), _) => value,
                (None, Kind::Switch) => "true",
                (None, _) => arguments.next().ok_or(FlagError::NoValue(FLAGS[at].name))?,
            };
            given.0[at] = Some(value.into());
        }
        for (flag, value) in FLAGS.iter().zip(&given.0) {
            if let Some(value) = value {
                flag.check(value)?;
                if let Some(requires) = flag.requires.filter(|requires| given.get(requires).is_none()) {
                    return Err(FlagError::Requires {
                        flag: flag.name,
                        requires,
                    });
                }
            }
        }
        Ok(given)
    }

    /// The value of a flag that was given.
    fn get(&self, name: &str) -> Option<&str> {
        let at = FLAGS.iter().position(|flag| flag.name == name)?;
        self.0[at].as_deref()
    }

    /// The value of a flag, its default included.
    fn text(&self, name: &str) -> &str {
        let default = FLAGS
            .iter()
            .find(|flag| flag.name == name)
            .and_then(|flag| flag.default);
        self.get(name).or(default).unwrap_or_default()
    }

    fn filled(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(parse_bool)
    }

    fn is_on(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    fn settings(&self, upstream: bool) -> Result<WebhookSettings, FlagError> {
        let upstream = upstream || self.text("compat") == "upstream";
        // `check` has seen that it is one of them.
        let global_value: Option<GlobalValue> = self
            .get("global-endpoint-value")
            .and_then(|value| value.parse().ok());
        let mut settings = Settings {
            annotation_prefix: self.text("annotation-prefix").into(),
            audience: self.text("token-audience").into(),
            mount_path: self.text("token-mount-path").into(),
            region: self.filled("aws-default-region").map(Into::into),
            flag: self
                .switch("sts-regional-endpoint")
                .map(EndpointType::from_regional),
            compose: self.compose()?,
            session_name: self.is_on("role-session-name"),
            record: self.switch("record").unwrap_or(true),
            namespace_defaults: self.switch("namespace-defaults").unwrap_or(true),
            global_value: global_value.unwrap_or_default(),
            container_credentials: ContainerCredentialsSettings {
                audience: self.text("container-credentials-audience").into(),
                mount_path: self.text("container-credentials-token-mount-path").into(),
                volume_name: self.text("container-credentials-token-volume-name").into(),
                token_path: self.text("container-credentials-token-path").into(),
                full_uri: self.text("container-credentials-full-uri").into(),
            },
            ..Settings::default()
        };
        if let Some(seconds) = parse_number(self.text("token-expiration")) {
            settings.set_token_expiration(seconds);
        }
        if upstream {
            let contradictions = [
                ("record", self.switch("record") == Some(true)),
                ("role-session-name", settings.session_name),
                (
                    "namespace-defaults",
                    self.switch("namespace-defaults") == Some(true),
                ),
                (
                    "global-endpoint-value",
                    global_value.is_some_and(|value| value != GlobalValue::Omit),
                ),
                ("kubernetes", self.get("kubernetes").is_some()),
            ];
            if let Some((flag, _)) = contradictions.into_iter().find(|(_, given)| *given) {
                return Err(FlagError::NotUpstream(flag));
            }
            settings = settings.upstream();
        }
        Ok(WebhookSettings {
            compose_from_metadata: self.is_on("compose-role-arn") && settings.compose.is_none(),
            settings,
            platform: self.platform(upstream)?,
            watch_config_map: self.is_on("watch-config-map"),
            container_credentials_file: self.filled("watch-container-credentials-config").map(Into::into),
        })
    }

    fn compose(&self) -> Result<Option<Compose>, FlagError> {
        let Some(account) = self
            .get("compose-role-account")
            .filter(|_| self.is_on("compose-role-arn"))
        else {
            return Ok(None);
        };
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FlagError::Value {
                flag: "compose-role-account",
                value: account.into(),
                expected: "an account, which has twelve digits".into(),
            });
        }
        Ok(Some(Compose {
            account: account.into(),
            partition: self.text("compose-role-partition").into(),
        }))
    }

    fn platform(&self, upstream: bool) -> Result<PlatformFlag, FlagError> {
        if upstream {
            return Ok(PlatformFlag::Known(None));
        }
        let platform = self.get("platform");
        match self.get("kubernetes") {
            None => Ok(PlatformFlag::Ask),
            Some("none") if platform.is_some() => Err(FlagError::PlatformOfNone),
            Some("none") => Ok(PlatformFlag::Known(None)),
            Some(version) => match Platform::parse(version, platform) {
                Ok(platform) => Ok(PlatformFlag::Known(Some(platform))),
                Err(error) => Err(FlagError::Value {
                    flag: "kubernetes",
                    value: version.into(),
                    expected: error.to_string().into(),
                }),
            },
        }
    }
}

/// Reads a whole number as Go's `strconv.ParseInt(text, 0, 64)` does: with a sign, `0x`, `0o`, `0b` or a leading `0`
/// for octal, and `_` between digits.
#[must_use]
pub fn parse_number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body, prefixed) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest, true)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest, true)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest, true)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..], true)
    } else {
        (10, &*lower, false)
    };
    // `_` only between digits; after a prefix it may come first.
    let first = if prefixed {
        body.strip_prefix('_').unwrap_or(body)
    } else {
        body
    };
    if first.is_empty() || first.starts_with('_') || first.ends_with('_') || first.contains("__") {
        return None;
    }
    let plain: String = first.chars().filter(|c| *c != '_').collect();
    if plain.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(&plain, radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> WebhookSettings {
        read(arguments, |_| None).unwrap()
    }

    #[test]
    fn every_flag_has_the_variable_of_its_name() {
        for flag in FLAGS {
            let name = flag.name.replace('-', "_").to_uppercase();
            assert_eq!(flag.variable, format!("IRSA_WEBHOOK_{name}"));
        }
    }

    #[test]
    fn without_arguments_the_settings_are_the_defaults() {
        let read = settings(&[]);
        assert_eq!(read.settings, Settings::default());
        assert_eq!(read.platform, PlatformFlag::Ask);
        assert!(!read.watch_config_map && !read.compose_from_metadata);
        assert_eq!(read.container_credentials_file, None);
        assert_eq!(
            read_upstream::<&str>(&[]).unwrap().settings,
            Settings::default().upstream()
        );
    }

    #[test]
    fn both_forms_are_read_the_last_counts_and_other_flags_are_skipped() {
        let read = settings(&[
            "irsa",
            "webhook",
            "--port",
            "443",
            "-v",
            "3",
            "--sts-regional-endpoint=false",
            "--sts-regional-endpoint",
            "--token-audience",
            "a",
            "--token-audience=b",
            "--kubernetes=1.24",
            "--platform",
            "eks.1",
            "--token-expiration=0xe10",
        ]);
        assert_eq!(read.settings.flag, Some(EndpointType::Regional));
        assert_eq!(&*read.settings.audience, "b");
        assert_eq!(read.settings.token_expiration, 3600);
        assert_eq!(
            read.platform,
            PlatformFlag::Known(Some(Platform::parse("1.24", Some("eks.1")).unwrap()))
        );
    }

    #[test]
    fn a_variable_counts_unless_the_flag_is_given() {
        let variable = |name: &str| match name {
            "IRSA_WEBHOOK_AWS_DEFAULT_REGION" => Some("eu-west-1".to_owned()),
            "IRSA_WEBHOOK_COMPAT" => Some("upstream".to_owned()),
            _ => None,
        };
        let given = read(&["--aws-default-region=us-west-2", "--compat=none"], variable).unwrap();
        assert_eq!(given.settings.region.as_deref(), Some("us-west-2"));
        assert!(!given.settings.compat.is_upstream());
        let given = read::<&str>(&[], variable).unwrap();
        assert_eq!(given.settings.region.as_deref(), Some("eu-west-1"));
        assert!(given.settings.compat.is_upstream());
    }

    #[test]
    fn what_cannot_be_honoured_is_an_error_that_names_the_flag() {
        for (arguments, part) in [
            (
                &["--compat=upstream", "--role-session-name"] as &[_],
                "--role-session-name cannot",
            ),
            (&["--compat=new"], "--compat"),
            (&["--record=perhaps"], "`perhaps` for --record"),
            (&["--token-expiration", "1h"], "`1h` for --token-expiration"),
            (&["--token-audience"], "--token-audience needs a value"),
            (&["--platform=eks.1"], "without --kubernetes"),
            (&["--kubernetes=none", "--platform=eks.1"], "--kubernetes none"),
            (&["--kubernetes=new"], "`new` for --kubernetes"),
            (
                &["--compose-role-arn", "--compose-role-account=12"],
                "twelve digits",
            ),
        ] {
            let error = read(arguments, |_| None).unwrap_err().to_string();
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("86400", Some(86_400)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0x15180", Some(86_400)),
            ("0b11", Some(3)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("86_400", Some(86_400)),
            ("0x_ff", Some(255)),
            ("0", Some(0)),
            ("", None),
            ("_1", None),
            ("1__0", None),
            ("1_", None),
            ("08", None),
            ("1.5", None),
            ("--1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_number(text), expected, "{text}");
        }
    }
}
