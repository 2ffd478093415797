//! The `pod-identity-webhook` ConfigMap: roles of service accounts that carry no annotation, as kOps writes it.

use serde_json::{Map, Value};

use super::DocumentError;
use crate::annotations::{MAX_TOKEN_EXPIRATION, MIN_TOKEN_EXPIRATION, Place, Problem, Warning};
use crate::arn::RoleArn;
use crate::endpoint::EndpointType;
use crate::settings::Settings;

/// The name of the ConfigMap.
pub const NAME: &str = "pod-identity-webhook";
/// The key of its data that holds the entries.
pub const DATA_KEY: &str = "config";

/// What one entry says. Fields that it leaves out, or leaves empty or zero, are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    namespace: Box<str>,
    service_account: Box<str>,
    role_arn: Option<Box<str>>,
    audience: Option<Box<str>>,
    token_expiration: Option<std::num::NonZeroI64>,
    endpoint: Option<EndpointType>,
}

impl Entry {
    /// The namespace or pattern of namespaces, as written.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The role.
    #[must_use]
    pub fn role_arn(&self) -> Option<&str> {
        self.role_arn.as_deref()
    }

    /// The audience.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Seconds that a token is valid, as written.
    #[must_use]
    pub fn token_expiration(&self) -> Option<i64> {
        self.token_expiration.map(Into::into)
    }

    /// The endpoint type.
    #[must_use]
    pub fn endpoint(&self) -> Option<EndpointType> {
        self.endpoint
    }

    /// Whether it is for one namespace, not for a pattern.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !is_pattern(&self.namespace)
    }
}

/// The entries of the ConfigMap, made for looking up. `Default` is the empty ConfigMap, which is also what a deleted
/// one amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigMap {
    /// Sorted by namespace and service account.
    exact: Box<[Entry]>,
    /// Sorted by how specific the pattern is, most specific first.
    patterns: Box<[Entry]>,
    warnings: Box<[Warning]>,
}

impl ConfigMap {
    /// Reads the text under the key `config`. An entry that is wrong costs only itself and gives a warning; an error
    /// means that the text is no JSON object at all.
    pub fn parse(config: &str, settings: &Settings) -> Result<Self, DocumentError> {
        let document: Map<String, Value> = serde_json::from_str(config).map_err(|error| DocumentError {
            what: "`config` of the pod-identity-webhook ConfigMap",
            problem: error.to_string().into(),
        })?;
        let mut reader = Reader {
            settings,
            warnings: Vec::new(),
        };
        let (mut patterns, mut exact): (Vec<Entry>, Vec<Entry>) = document
            .into_iter()
            .filter_map(|(key, value)| reader.entry(&key, value))
            .partition(|entry| !entry.is_exact());
        if settings.compat.is_upstream() {
            // There, a pattern other than the whole `*` is a literal that no namespace can have.
            patterns.retain(|entry| &*entry.namespace == "*");
        }
        exact.sort_by(|a, b| (&a.namespace, &a.service_account).cmp(&(&b.namespace, &b.service_account)));
        patterns.sort_by_cached_key(|entry| {
            let letters = entry
                .namespace
                .chars()
                .filter(|c| !matches!(c, '*' | '?'))
                .count();
            (std::cmp::Reverse(letters), entry.namespace.clone())
        });
        Ok(Self {
            exact: exact.into(),
            patterns: patterns.into(),
            warnings: reader.warnings.into(),
        })
    }

    /// The entry for a service account: that of its namespace, else of the most specific pattern which its namespace
    /// matches (most letters that are not wildcards; `*` comes last).
    #[must_use]
    pub fn find(&self, namespace: &str, service_account: &str) -> Option<&Entry> {
        self.exact
            .binary_search_by(|entry| {
                (&*entry.namespace, &*entry.service_account).cmp(&(namespace, service_account))
            })
            .ok()
            .map(|at| &self.exact[at])
            .or_else(|| {
                self.patterns.iter().find(|entry| {
                    &*entry.service_account == service_account && matches(&entry.namespace, namespace)
                })
            })
    }

    /// What is wrong with entries.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.exact.iter().chain(&self.patterns)
    }
}

struct Reader<'s> {
    settings: &'s Settings,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn warn(&mut self, key: &str, value: &str, problem: Problem) {
        self.warnings
            .push(Warning::new(Place::ConfigMap, key, value, problem));
    }

    fn entry(&mut self, key: &str, value: Value) -> Option<Entry> {
        let upstream = self.settings.compat.is_upstream();
        let names = key
            .split_once('/')
            // The Go webhook takes the first two parts of a key that has more.
            .map(|(namespace, rest)| match rest.split_once('/') {
                Some((name, _)) if upstream => (namespace, name),
                _ => (namespace, rest),
            })
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
        let Some((namespace, service_account)) = names else {
            self.warn(key, "", Problem::EntryKey);
            return None;
        };
        let Value::Object(fields) = value else {
            let expected = Problem::EntryType {
                field: "",
                expected: "an object with a RoleARN",
            };
            self.warn(key, &value.to_string(), expected);
            return None;
        };
        let mut entry = Entry {
            namespace: namespace.into(),
            service_account: service_account.into(),
            role_arn: None,
            audience: None,
            token_expiration: None,
            endpoint: None,
        };
        for (field, value) in fields {
            self.field(key, &field, value, &mut entry);
        }
        if entry.role_arn.is_none() {
            self.warn(key, "", Problem::EntryWithoutRole);
        }
        Some(entry)
    }

    /// Reads one field. Go matches the names of fields without regard to case, and takes `null` for absent.
    fn field(&mut self, key: &str, field: &str, value: Value, entry: &mut Entry) {
        let is = |name: &str| field.eq_ignore_ascii_case(name);
        let mut wrong = |field, expected| {
            let shown = value.to_string();
            self.warnings.push(Warning::new(
                Place::ConfigMap,
                key,
                &shown,
                Problem::EntryType { field, expected },
            ));
        };
        match &value {
            Value::Null => {}
            Value::String(role) if is("RoleARN") => {
                if role.is_empty() {
                    return;
                }
                let role = match &self.settings.compose {
                    Some(compose) if !self.settings.compat.is_upstream() => compose.apply(role),
                    _ => role.into(),
                };
                if let Err(error) = RoleArn::parse(&role) {
                    self.warn(key, &role, Problem::RoleArn(error));
                }
                entry.role_arn = Some(role.into());
            }
            _ if is("RoleARN") => wrong("RoleARN", "a string"),
            Value::String(audience) if is("Audience") => {
                entry.audience = (!audience.is_empty()).then(|| audience.as_str().into());
            }
            _ if is("Audience") => wrong("Audience", "a string"),
            Value::Bool(regional) if is("UseRegionalSTS") => {
                entry.endpoint = Some(EndpointType::from_regional(*regional));
            }
            _ if is("UseRegionalSTS") => wrong("UseRegionalSTS", "`true` or `false` without quotes"),
            _ if is("TokenExpiration") => match value.as_i64() {
                Some(seconds) => {
                    entry.token_expiration = std::num::NonZeroI64::new(seconds);
                    let problem = match seconds {
                        0 => return,
                        ..MIN_TOKEN_EXPIRATION => Problem::TooSmall,
                        MIN_TOKEN_EXPIRATION..=MAX_TOKEN_EXPIRATION => return,
                        _ => Problem::TooLarge,
                    };
                    self.warn(key, &value.to_string(), problem);
                }
                None => wrong("TokenExpiration", "a whole number without quotes"),
            },
            _ => {}
        }
    }
}

fn is_pattern(namespace: &str) -> bool {
    namespace.contains(['*', '?'])
}

/// Whether `text` matches `pattern`, where `*` stands for any text and `?` for any one character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `*` when what follows it does not fit: one byte further in the text.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t + 1));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after_star, next)) = retry else {
                    return false;
                };
                p = after_star;
                t = next;
                retry = Some((after_star, next + 1));
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn of_a_key_with_two_slashes_the_go_webhook_takes_the_first_two_parts() {
        let text = r#"{"a/x/y": {"RoleARN": "arn:aws:iam::111122223333:role/app"}}"#;
        let own = ConfigMap::parse(text, &Settings::default()).unwrap();
        assert_eq!((own.find("a", "x"), own.warnings().len()), (None, 1));
        let upstream = ConfigMap::parse(text, &Settings::default().upstream()).unwrap();
        assert!(upstream.find("a", "x").is_some());
    }
}
