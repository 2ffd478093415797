//! The annotations that people write on service accounts, pods and namespaces, read with a warning for each thing
//! wrong. Nothing is dropped in silence: what cannot be used is told with its place, its value and a cure.

use std::borrow::Cow;

use crate::arn::{ArnError, Compose, RoleArn};
use crate::endpoint::{Choice, EndpointType};

/// The prefix of the annotations unless `--annotation-prefix` says otherwise.
pub const DEFAULT_PREFIX: &str = "eks.amazonaws.com";

/// Annotation of a service account: the role, `PREFIX/role-arn`.
pub const ROLE_ARN: &str = "role-arn";
/// Annotation of a service account: the audience of its tokens.
pub const AUDIENCE: &str = "audience";
/// Annotation of a service account or namespace: `true` for the regional endpoint, `false` for the global one.
pub const STS_REGIONAL_ENDPOINTS: &str = "sts-regional-endpoints";
/// Annotation of a service account or pod: seconds that a token is valid.
pub const TOKEN_EXPIRATION: &str = "token-expiration";
/// Annotation of a pod: containers that get nothing, separated by commas.
pub const SKIP_CONTAINERS: &str = "skip-containers";
/// Annotation of a pod: the only containers that get anything, separated by commas (not of the Go webhook).
pub const INCLUDE_CONTAINERS: &str = "include-containers";
/// Annotation written on mutated pods: endpoint type and who decided it.
pub const RECORD: &str = "sts-endpoint";
/// Label of a pod that wants no mutation at all; what the webhook's configuration selects by.
pub const SKIP_LABEL: &str = "skip-pod-identity-webhook";

/// Least seconds of validity that the API server accepts.
pub const MIN_TOKEN_EXPIRATION: i64 = 600;
/// Most seconds that EKS gives, whatever is asked for.
pub const MAX_TOKEN_EXPIRATION: i64 = 86_400;

/// Longest value repeated in a warning, in bytes.
const SHOWN: usize = 120;

/// The kind of object where something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An annotation of the service account.
    ServiceAccount,
    /// An annotation of the pod.
    Pod,
    /// An annotation of the namespace.
    Namespace,
    /// The `pod-identity-webhook` ConfigMap.
    ConfigMap,
    /// The file of `--watch-container-credentials-config`.
    CredentialsFile,
}

/// One thing that is wrong with what people wrote. Its words are in the catalogue of [`crate::finding`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// The key as written; in the ConfigMap the entry's `namespace/name`.
    pub key: Box<str>,
    /// The value as written, shortened if it is long.
    pub value: Box<str>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// A boolean that Go's `ParseBool` does not accept.
    NotABoolean,
    /// No whole number.
    NotANumber,
    /// Fewer than [`MIN_TOKEN_EXPIRATION`] seconds; the minimum is used.
    TooSmall,
    /// More than [`MAX_TOKEN_EXPIRATION`] seconds.
    TooLarge,
    /// The key is nearly one that has a meaning.
    Misspelt {
        /// The key that was probably meant, with its prefix.
        meant: Box<str>,
    },
    /// The key has a meaning, but not on this kind of object.
    WrongObject {
        /// The kind of object that it belongs on.
        belongs: Place,
    },
    /// The annotation of kiam and kube2iam, which are other tools.
    OtherTool {
        /// The key that says the same here.
        meant: Box<str>,
    },
    /// A role ARN that STS will refuse.
    RoleArn(ArnError),
    /// An empty audience: the default is used.
    EmptyAudience,
    /// A list of names that is no CSV; nobody is skipped or included by it.
    NotAList,
    /// An entry of the ConfigMap or file whose key is not `namespace/name`.
    EntryKey,
    /// An entry, or a field of one, of another JSON type than expected.
    EntryType {
        /// The field, or empty for the entry itself.
        field: &'static str,
        /// What was expected there.
        expected: &'static str,
    },
    /// An entry without a role.
    EntryWithoutRole,
}

impl Warning {
    pub(crate) fn new(place: Place, key: &str, value: &str, problem: Problem) -> Self {
        let mut end = value.len().min(SHOWN);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let shown = if end < value.len() {
            format!("{}…", &value[..end]).into()
        } else {
            value.into()
        };
        Self {
            place,
            key: key.into(),
            value: shown,
            problem,
        }
    }
}

/// What a service account's annotations say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceAccountAnnotations<'a> {
    /// The role: as written, or composed from a name. If it is wrong there is a warning.
    pub role_arn: Option<Cow<'a, str>>,
    /// The audience, as written.
    pub audience: Option<&'a str>,
    /// The endpoint type.
    pub endpoint: Option<EndpointType>,
    /// Seconds that a token is valid; at least [`MIN_TOKEN_EXPIRATION`].
    pub token_expiration: Option<i64>,
    /// What is wrong.
    pub warnings: Vec<Warning>,
}

/// What a pod's annotations say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodAnnotations {
    /// Seconds that a token is valid; at least [`MIN_TOKEN_EXPIRATION`].
    pub token_expiration: Option<i64>,
    /// Containers that get nothing.
    pub skip: Option<Names>,
    /// The only containers that get anything.
    pub include: Option<Names>,
    /// Whether the record of an earlier mutation is there, readable or not.
    pub recorded: bool,
    /// What it says.
    pub record: Option<Choice>,
    /// What is wrong.
    pub warnings: Vec<Warning>,
}

/// What a namespace's annotations say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespaceAnnotations {
    /// The endpoint type of service accounts that say nothing.
    pub endpoint: Option<EndpointType>,
    /// What is wrong.
    pub warnings: Vec<Warning>,
}

/// The most names of a list that are kept.
const MAX_NAMES: usize = 1_000;

/// A list of container names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names(Vec<Box<str>>);

impl Names {
    /// Reads the first record of a CSV, as Go's `encoding/csv` does; `None` if it is none.
    ///
    /// Names keep the white space round them only in compatibility mode (`trim` false).
    #[must_use]
    pub fn parse(text: &str, trim: bool) -> Option<Self> {
        let text = text.trim_start_matches(['\n', '\r']);
        let mut names = Vec::new();
        let mut rest = text;
        if rest.is_empty() {
            return None;
        }
        loop {
            let (name, after) = csv_field(rest)?;
            let name = if trim {
                name.trim().into()
            } else {
                name.into_boxed_str()
            };
            // No pod that is changed has more containers; a longer list would only take memory.
            if (!trim || !name.is_empty()) && names.len() < MAX_NAMES {
                names.push(name);
            }
            match after.as_bytes().first() {
                Some(b',') => rest = &after[1..],
                _ => return Some(Self(names)),
            }
        }
    }

    /// Whether `name` is in the list.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|listed| &**listed == name)
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

/// One field of a CSV record and what follows it: a comma, the end of the line, or nothing.
fn csv_field(text: &str) -> Option<(String, &str)> {
    let Some(mut quoted) = text.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        let field = &text[..end];
        // A quote within an unquoted field is an error in Go's reader.
        return (!field.contains('"')).then(|| (field.trim_end_matches('\r').to_owned(), &text[end..]));
    };
    let mut field = String::new();
    loop {
        let quote = quoted.find('"')?;
        field.push_str(&quoted[..quote]);
        quoted = &quoted[quote + 1..];
        match quoted.as_bytes().first() {
            Some(b'"') => {
                field.push('"');
                quoted = &quoted[1..];
            }
            None | Some(b',' | b'\n') => return Some((field, quoted)),
            Some(b'\r') if quoted.len() == 1 || quoted[1..].starts_with('\n') => {
                return Some((field, &quoted[1..]));
            }
            Some(_) => return None,
        }
    }
}

/// Reads a boolean as Go's `strconv.ParseBool` does: `1 t T TRUE true True` and `0 f F FALSE false False`.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a whole number as Go's `strconv.ParseInt(text, 10, 64)` does.
fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Reads the annotations of a service account. With `compose` a role may be given without its account.
pub fn service_account<'a>(
    prefix: &str,
    compose: Option<&Compose>,
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> ServiceAccountAnnotations<'a> {
    let mut found = ServiceAccountAnnotations::default();
    let mut warnings = Vec::new();
    for (key, value) in annotations {
        let mut warn = |problem| warnings.push(Warning::new(Place::ServiceAccount, key, value, problem));
        match own_name(prefix, key) {
            Some(ROLE_ARN) => {
                let role = match compose {
                    Some(compose) => compose.apply(value),
                    None => Cow::Borrowed(value),
                };
                if let Err(error) = RoleArn::parse(&role) {
                    warn(Problem::RoleArn(error));
                }
                found.role_arn = Some(role);
            }
            Some(AUDIENCE) => {
                found.audience = Some(value);
                if value.is_empty() {
                    warn(Problem::EmptyAudience);
                }
            }
            Some(STS_REGIONAL_ENDPOINTS) => match parse_bool(value) {
                Some(regional) => found.endpoint = Some(EndpointType::from_regional(regional)),
                None => warn(Problem::NotABoolean),
            },
            Some(TOKEN_EXPIRATION) => {
                let (seconds, problem) = expiration(value);
                found.token_expiration = seconds;
                if let Some(problem) = problem {
                    warn(problem);
                }
            }
            _ => {
                if let Some(problem) = suspicion(prefix, key, Place::ServiceAccount) {
                    warn(problem);
                }
            }
        }
    }
    found.warnings = warnings;
    found
}

/// Reads the annotations of a pod. `exact` is the compatibility mode: names keep their white space and
/// `include-containers` has no meaning.
pub fn pod<'a>(
    prefix: &str,
    exact: bool,
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> PodAnnotations {
    let mut found = PodAnnotations::default();
    for (key, value) in annotations {
        read_pod_annotation(prefix, exact, key, value, &mut found);
    }
    found
}

/// Reads one annotation of a pod into what was found so far.
pub(crate) fn read_pod_annotation(
    prefix: &str,
    exact: bool,
    key: &str,
    value: &str,
    found: &mut PodAnnotations,
) {
    let problem = match own_name(prefix, key) {
        Some(TOKEN_EXPIRATION) => {
            let (seconds, problem) = expiration(value);
            found.token_expiration = seconds;
            problem
        }
        Some(SKIP_CONTAINERS) => {
            found.skip = Names::parse(value, !exact);
            found.skip.is_none().then_some(Problem::NotAList)
        }
        Some(INCLUDE_CONTAINERS) if !exact => {
            found.include = Names::parse(value, true);
            found.include.is_none().then_some(Problem::NotAList)
        }
        Some(RECORD) => {
            found.recorded = true;
            found.record = Choice::from_record(value);
            None
        }
        _ => suspicion(prefix, key, Place::Pod),
    };
    if let Some(problem) = problem {
        found.warnings.push(Warning::new(Place::Pod, key, value, problem));
    }
}

/// Reads the annotations of a namespace.
pub fn namespace<'a>(
    prefix: &str,
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> NamespaceAnnotations {
    let mut found = NamespaceAnnotations::default();
    for (key, value) in annotations {
        let problem = match own_name(prefix, key) {
            Some(STS_REGIONAL_ENDPOINTS) => {
                found.endpoint = parse_bool(value).map(EndpointType::from_regional);
                found.endpoint.is_none().then_some(Problem::NotABoolean)
            }
            _ => suspicion(prefix, key, Place::Namespace),
        };
        if let Some(problem) = problem {
            found
                .warnings
                .push(Warning::new(Place::Namespace, key, value, problem));
        }
    }
    found
}

/// Whether an annotation could matter to any of the readers here, or deserve a warning. A watch that keeps only
/// what it needs asks this before copying.
#[must_use]
pub fn concerns(prefix: &str, key: &str) -> bool {
    matches!(
        own_name(prefix, key),
        Some(ROLE_ARN | AUDIENCE | STS_REGIONAL_ENDPOINTS | TOKEN_EXPIRATION)
    ) || suspicion(prefix, key, Place::ServiceAccount).is_some()
}

/// The name of a key after our prefix.
fn own_name<'k>(prefix: &str, key: &'k str) -> Option<&'k str> {
    key.strip_prefix(prefix)?.strip_prefix('/')
}

/// A number of seconds, at least the minimum, and what is wrong with it.
fn expiration(value: &str) -> (Option<i64>, Option<Problem>) {
    match parse_int(value) {
        None => (None, Some(Problem::NotANumber)),
        Some(seconds) if seconds < MIN_TOKEN_EXPIRATION => {
            (Some(MIN_TOKEN_EXPIRATION), Some(Problem::TooSmall))
        }
        Some(seconds) if seconds > MAX_TOKEN_EXPIRATION => (Some(seconds), Some(Problem::TooLarge)),
        Some(seconds) => (Some(seconds), None),
    }
}

/// The names that have a meaning, where they belong first.
const KNOWN: [(&str, &[Place]); 6] = [
    (ROLE_ARN, &[Place::ServiceAccount]),
    (AUDIENCE, &[Place::ServiceAccount]),
    (STS_REGIONAL_ENDPOINTS, &[Place::ServiceAccount, Place::Namespace]),
    (TOKEN_EXPIRATION, &[Place::ServiceAccount, Place::Pod]),
    (SKIP_CONTAINERS, &[Place::Pod]),
    (INCLUDE_CONTAINERS, &[Place::Pod]),
];

/// What is suspicious about a key that has no meaning on this kind of object, if anything.
fn suspicion(prefix: &str, key: &str, place: Place) -> Option<Problem> {
    let here = |places: &[Place]| places.contains(&place);
    let meant = |name: &str| Problem::Misspelt {
        meant: format!("{prefix}/{name}").into(),
    };
    let Some((written_prefix, name)) = key.split_once('/') else {
        // No prefix at all: only names that nobody else would use.
        return KNOWN
            .iter()
            .find(|(known, places)| here(places) && *known == key && *known != AUDIENCE)
            .map(|(known, _)| meant(known));
    };
    if written_prefix == prefix {
        if let Some((_, places)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return (!here(places)).then_some(Problem::WrongObject { belongs: places[0] });
        }
        return KNOWN
            .iter()
            .filter(|(_, places)| here(places))
            .find(|(known, _)| similar(known, name))
            .map(|(known, _)| meant(known));
    }
    if place == Place::ServiceAccount && key == "iam.amazonaws.com/role" {
        return Some(Problem::OtherTool {
            meant: format!("{prefix}/{ROLE_ARN}").into(),
        });
    }
    // The well-known prefix beside a prefix of one's own belongs to another webhook, such as the one of EKS.
    if written_prefix == DEFAULT_PREFIX || !similar_prefix(prefix, written_prefix) {
        return None;
    }
    KNOWN
        .iter()
        .filter(|(_, places)| here(places))
        .find(|(known, _)| *known == name || similar(known, name))
        .map(|(known, _)| meant(known))
}

/// Whether `written` is `known` but for case, separators, or two letters (one, in a short word).
fn similar(known: &str, written: &str) -> bool {
    distance(known, written) <= if known.len() > 9 { 2 } else { 1 }
}

/// Whether `written` is a way people write `prefix` wrongly.
fn similar_prefix(prefix: &str, written: &str) -> bool {
    const CONFUSED: [&str; 6] = [
        "amazonaws.com",
        "aws.amazon.com",
        "eks.aws.amazon.com",
        "eks.aws.com",
        "iam.amazonaws.com",
        "sts.amazonaws.com",
    ];
    distance(prefix, written) <= 3
        || (prefix == DEFAULT_PREFIX
            && CONFUSED
                .iter()
                .any(|confused| written.eq_ignore_ascii_case(confused)))
}

/// Levenshtein distance, without regard to case and with `_` and `.` taken for `-`. Texts of very different lengths,
/// or longer than a key can be, are infinitely far.
fn distance(known: &str, written: &str) -> usize {
    const LONGEST: usize = 63;
    if written.len() > LONGEST || known.len().abs_diff(written.len()) > 3 {
        return usize::MAX;
    }
    let plain = |b: u8| {
        if matches!(b, b'_' | b'.') {
            b'-'
        } else {
            b.to_ascii_lowercase()
        }
    };
    let mut row: [usize; LONGEST + 1] = std::array::from_fn(|at| at);
    for (i, x) in known.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in written.bytes().enumerate() {
            let substituted = diagonal + usize::from(plain(x) != plain(y));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[written.len()]
}
