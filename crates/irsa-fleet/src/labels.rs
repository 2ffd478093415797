//! Label selectors as they stand in objects (`matchLabels`, `matchExpressions`).

use serde_json::Value;

/// A label selector. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads `{matchLabels, matchExpressions}`. An operator that Kubernetes does not know matches nothing there
    /// either; it cannot be stored by an API server, so it is left out.
    pub fn from_object(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = object["matchLabels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![text(value)],
            });
        let expressions = object["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|expression| {
                Some(Requirement {
                    key: text(&expression["key"]),
                    operator: match expression["operator"].as_str()? {
                        "In" => Operator::In,
                        "NotIn" => Operator::NotIn,
                        "Exists" => Operator::Exists,
                        "DoesNotExist" => Operator::DoesNotExist,
                        _ => return None,
                    },
                    values: expression["values"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(text)
                        .collect(),
                })
            });
        Self {
            requirements: labels.chain(expressions).collect(),
        }
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = label(&requirement.key);
            let listed = value.is_some_and(|value| requirement.values.iter().any(|known| known == value));
            match requirement.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }

    /// The selector in the syntax of a list request.
    pub fn to_query(&self) -> String {
        let terms: Vec<String> = self
            .requirements
            .iter()
            .map(|requirement| {
                let (key, values) = (&requirement.key, requirement.values.join(","));
                match requirement.operator {
                    Operator::In if requirement.values.len() == 1 => format!("{key}={values}"),
                    Operator::In => format!("{key} in ({values})"),
                    Operator::NotIn => format!("{key} notin ({values})"),
                    Operator::Exists => key.clone(),
                    Operator::DoesNotExist => format!("!{key}"),
                }
            })
            .collect();
        terms.join(",")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_requirements_must_hold_and_none_selects_all() {
        let selector = Selector::from_object(&json!({
            "matchLabels": {"app": "a"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["db"]},
                {"key": "skip", "operator": "DoesNotExist"},
                {"key": "env", "operator": "In", "values": ["prod", "test"]},
            ],
        }));
        let with = |pairs: &'static [(&'static str, &'static str)]| {
            move |key: &str| {
                pairs
                    .iter()
                    .find(|(known, _)| *known == key)
                    .map(|(_, value)| *value)
            }
        };
        assert!(selector.matches(with(&[("app", "a"), ("env", "prod")])));
        assert!(!selector.matches(with(&[("app", "a"), ("env", "prod"), ("skip", "")])));
        assert!(!selector.matches(with(&[("app", "a"), ("env", "prod"), ("tier", "db")])));
        assert!(!selector.matches(with(&[("app", "b"), ("env", "prod")])));
        assert!(Selector::default().matches(|_| None));
        assert_eq!(
            selector.to_query(),
            "app=a,tier notin (db),!skip,env in (prod,test)"
        );
    }
}
