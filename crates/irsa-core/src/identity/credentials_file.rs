//! The file of `--watch-container-credentials-config`: service accounts that use EKS Pod Identity.

use serde_json::{Map, Value};

use super::DocumentError;
use crate::annotations::{Place, Problem, Warning};

/// The service accounts in the file, made for looking up. `Default` is the empty file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CredentialsFile {
    /// Namespace and name, sorted.
    identities: Box<[(Box<str>, Box<str>)]>,
    warnings: Box<[Warning]>,
}

impl CredentialsFile {
    /// Reads `{"identities":[{"namespace":"…","serviceAccount":"…"}]}`. An empty file is an empty list; an entry that
    /// is wrong costs only itself.
    pub fn parse(content: &[u8]) -> Result<Self, DocumentError> {
        let error = |problem: String| DocumentError {
            what: "the container credentials file",
            problem: problem.into(),
        };
        if content.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let document: Map<String, Value> =
            serde_json::from_slice(content).map_err(|cause| error(cause.to_string()))?;
        let entries = match document
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("identities"))
        {
            None | Some((_, Value::Null)) => return Ok(Self::default()),
            Some((_, Value::Array(entries))) => entries,
            Some((_, other)) => return Err(error(format!("`identities` is {}, not a list", kind(&other)))),
        };
        let mut warnings = Vec::new();
        let mut identities: Vec<_> = entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let read = read(entry);
                if read.is_none() {
                    let problem = Problem::EntryType {
                        field: "",
                        expected: "an object with the strings `namespace` and `serviceAccount`",
                    };
                    let at = format!("identities[{index}]");
                    warnings.push(Warning::new(
                        Place::CredentialsFile,
                        &at,
                        &entry.to_string(),
                        problem,
                    ));
                }
                read
            })
            .collect();
        identities.sort();
        identities.dedup();
        Ok(Self {
            identities: identities.into(),
            warnings: warnings.into(),
        })
    }

    /// Whether the file lists this service account.
    #[must_use]
    pub fn contains(&self, namespace: &str, service_account: &str) -> bool {
        self.identities
            .binary_search_by(|(own_namespace, own_name)| {
                (&**own_namespace, &**own_name).cmp(&(namespace, service_account))
            })
            .is_ok()
    }

    /// How many service accounts it lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Whether it lists none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// What is wrong with entries.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

fn read(entry: &Value) -> Option<(Box<str>, Box<str>)> {
    let fields = entry.as_object()?;
    let text = |name: &str| {
        let (_, value) = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_str().filter(|text| !text.is_empty()).map(Into::into)
    };
    Some((text("namespace")?, text("serviceAccount")?))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
