//! Field selectors: parsing as kubectl writes them, and matching. Label selectors are `irsa_core`'s.
//!
//! Pure and total: any text gives a selector or an error, never a panic.

pub use irsa_core::selector::LabelSelector;
use serde_json::Value;

use crate::object::ObjectExt;

/// The text of a field selector cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid selector: '{selector}'; can't understand '{term}'")]
pub struct FieldSelectorError {
    /// The whole text.
    selector: String,
    /// The part of it that is not a comparison.
    term: String,
}

/// All of some comparisons of fields with values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Reads `metadata.name=x,status.phase!=Running`. A backslash escapes `,`, `=` and itself in values.
    ///
    /// # Errors
    /// [`FieldSelectorError`] for a term that is not `field=value`, `field==value` or `field!=value`..
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let mut terms = vec![String::new()];
        let mut escaped = false;
        for letter in text.chars() {
            if letter == ',' && !escaped {
                terms.push(String::new());
                continue;
            }
            escaped = letter == '\\' && !escaped;
            if let Some(term) = terms.last_mut() {
                term.push(letter);
            }
        }
        let mut requirements = Vec::new();
        for term in terms.iter().filter(|term| !term.is_empty()) {
            let error = || FieldSelectorError {
                selector: text.to_owned(),
                term: term.clone(),
            };
            let position = term.find('=').ok_or_else(error)?;
            let (mut field, mut value) = (&term[..position], &term[position + 1..]);
            let mut equal = true;
            if let Some(stripped) = field.strip_suffix('!') {
                field = stripped;
                equal = false;
            } else if let Some(stripped) = value.strip_prefix('=') {
                value = stripped;
            }
            if field.is_empty() {
                return Err(error());
            }
            let mut plain = String::new();
            let mut letters = value.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    '\\' => match letters.next() {
                        Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                        _ => return Err(error()),
                    },
                    '=' => return Err(error()),
                    _ => plain.push(letter),
                }
            }
            requirements.push((field.to_owned(), equal, plain));
        }
        Ok(Self { requirements })
    }

    /// Whether every object is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that a field must have, when the selector says one.
    #[must_use]
    pub fn wanted(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|(name, equal, _)| name == field && *equal)
            .map(|(_, _, value)| value.as_str())
    }

    /// The first field that objects of a resource cannot be selected by.
    #[must_use]
    pub fn unsupported(&self, resource: &crate::resources::Resource) -> Option<&str> {
        let allowed = fields_of(&resource.storage);
        let custom = |name: &str| {
            resource.custom.as_ref().is_some_and(|definition| {
                definition.list_at(&["spec", "versions"]).iter().any(|version| {
                    version
                        .list_at(&["selectableFields"])
                        .iter()
                        .any(|field| field.str_at(&["jsonPath"]).trim_start_matches('.') == name)
                })
            })
        };
        self.requirements
            .iter()
            .map(|(name, _, _)| name.as_str())
            .find(|name| {
                !matches!(*name, "metadata.name" | "metadata.namespace")
                    && !allowed.contains(name)
                    && !custom(name)
            })
    }

    /// Whether an object is selected.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.requirements
            .iter()
            .all(|(field, equal, wanted)| (field_value(object, field) == *wanted) == *equal)
    }
}

fn fields_of(storage: &str) -> &'static [&'static str] {
    match storage {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingComponent",
            "reportingController",
            "source",
            "type",
        ],
        "secrets" => &["type"],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "services" => &["spec.clusterIP", "spec.type"],
        "replicasets.apps" | "replicationcontrollers" => &["status.replicas"],
        "jobs.batch" => &["status.successful"],
        _ => &[],
    }
}

fn field_value(object: &Value, field: &str) -> String {
    // The names of events.k8s.io for what is stored in the core form.
    let renamed;
    let field = match field.strip_prefix("regarding.") {
        Some(rest) if object.kind() == "Event" => {
            renamed = format!("involvedObject.{rest}");
            renamed.as_str()
        }
        _ => field,
    };
    let read = |path: &[&str]| match object.at(path) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let value = match (field, object.kind()) {
        ("source" | "reportingController", "Event") => read(&["source", "component"])
            .filter(|text| !text.is_empty())
            .or_else(|| read(&["reportingComponent"])),
        ("status.successful", "Job") => read(&["status", "succeeded"]).or_else(|| Some("0".into())),
        ("status.replicas", _) => read(&["status", "replicas"]).or_else(|| Some("0".into())),
        ("spec.unschedulable", "Node") | ("spec.hostNetwork", "Pod") => {
            read(&field.split('.').collect::<Vec<_>>()).or_else(|| Some("false".into()))
        }
        _ => read(&field.split('.').collect::<Vec<_>>()),
    };
    value.unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn malformed_field_selectors_are_refused() {
        for selector in ["metadata.name", "=x", "a=b=c", "a=b\\x"] {
            assert!(FieldSelector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn field_selectors_compare_and_unescape() {
        let pod = json!({ "kind": "Pod", "metadata": { "name": "a,b" }, "status": { "phase": "Running" } });
        let selects = |text: &str| FieldSelector::parse(text).unwrap().matches(&pod);
        assert!(selects("metadata.name=a\\,b,status.phase!=Failed"));
        assert!(selects("spec.nodeName="));
        assert!(!selects("status.phase==Failed"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_an_error(text in ".{0,60}") {
            let _ = FieldSelector::parse(&text);
        }
    }
}
