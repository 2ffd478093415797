//! Label and field selectors: parsing as kubectl writes them, matching, and the selectors inside objects.
//!
//! Pure and total: any text gives a selector or an error, never a panic.

use serde_json::{Map, Value};

use crate::object::ObjectExt;

/// Why a selector cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text of a label selector is not one.
    #[error("unable to parse requirement: {0}")]
    Label(String),
    /// The text of a field selector is not one.
    #[error("invalid selector: '{0}'; can't understand '{1}'")]
    Field(String, String),
    /// `labelSelector` of an object uses an unknown operator, or values where there may be none.
    #[error("\"{0}\" is not a valid label selector operator")]
    Operator(String),
}

/// How a label is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    NotExists,
    In(Vec<String>),
    NotIn(Vec<String>),
    Equals(String),
    NotEquals(String),
    Greater(i64),
    Less(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

/// All of some requirements on labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// A selector that is missing in an object selects nothing; an empty one everything.
    nothing: bool,
}

impl LabelSelector {
    /// Reads the text form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// [`SelectorError::Label`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser {
            tokens: tokens(text),
            at: 0,
        };
        let mut requirements = Vec::new();
        if parser.peek().is_none() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.take() {
                None => break,
                Some(Token::Comma) if parser.peek().is_some() => {}
                Some(other) => {
                    return Err(SelectorError::Label(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    )));
                }
            }
        }
        Ok(Self {
            requirements,
            nothing: false,
        })
    }

    /// Reads `metav1.LabelSelector` (`matchLabels`, `matchExpressions`), or the plain map of older kinds.
    /// `None` selects nothing.
    ///
    /// # Errors
    /// [`SelectorError::Operator`].
    pub fn from_object(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self {
                requirements: Vec::new(),
                nothing: true,
            });
        };
        let structured = selector.get("matchLabels").is_some_and(Value::is_object)
            || selector.get("matchExpressions").is_some_and(Value::is_array);
        let plain = if structured {
            selector.get("matchLabels")
        } else {
            Some(selector)
        };
        let mut requirements: Vec<Requirement> = plain
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals(value.as_str().unwrap_or_default().to_owned()),
            })
            .collect();
        for expression in selector.list_at(&["matchExpressions"]) {
            let values: Vec<String> = expression
                .list_at(&["values"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            let operator = match expression.str_at(&["operator"]) {
                "In" => Operator::In(values),
                "NotIn" => Operator::NotIn(values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::NotExists,
                other => return Err(SelectorError::Operator(other.to_owned())),
            };
            requirements.push(Requirement {
                key: expression.str_at(&["key"]).to_owned(),
                operator,
            });
        }
        Ok(Self {
            requirements,
            nothing: false,
        })
    }

    /// Whether every object is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        if self.nothing {
            return false;
        }
        self.requirements.iter().all(|requirement| {
            let value = labels
                .and_then(|labels| labels.get(&requirement.key))
                .and_then(Value::as_str);
            match &requirement.operator {
                Operator::Exists => value.is_some(),
                Operator::NotExists => value.is_none(),
                Operator::Equals(wanted) => value == Some(wanted),
                Operator::NotEquals(unwanted) => value != Some(unwanted),
                Operator::In(wanted) => value.is_some_and(|value| wanted.iter().any(|one| one == value)),
                Operator::NotIn(unwanted) => {
                    value.is_none_or(|value| unwanted.iter().all(|one| one != value))
                }
                Operator::Greater(bound) => value
                    .and_then(|value| value.parse::<i64>().ok())
                    .is_some_and(|value| value > *bound),
                Operator::Less(bound) => value
                    .and_then(|value| value.parse::<i64>().ok())
                    .is_some_and(|value| value < *bound),
            }
        })
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nothing {
            return f.write_str("<none>");
        }
        for (index, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match operator {
                Operator::Exists => write!(f, "{key}")?,
                Operator::NotExists => write!(f, "!{key}")?,
                Operator::Equals(value) => write!(f, "{key}={value}")?,
                Operator::NotEquals(value) => write!(f, "{key}!={value}")?,
                Operator::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Operator::Greater(bound) => write!(f, "{key}>{bound}")?,
                Operator::Less(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Equals => "=",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&next) = chars.peek() {
        let single = match next {
            ',' => Some(Token::Comma),
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '>' => Some(Token::Greater),
            '<' => Some(Token::Less),
            _ => None,
        };
        if let Some(token) = single {
            chars.next();
            tokens.push(token);
        } else if next == '!' || next == '=' {
            chars.next();
            let follows = chars.next_if_eq(&'=').is_some();
            tokens.push(match (next, follows) {
                ('!', true) => Token::NotEquals,
                ('!', false) => Token::Not,
                _ => Token::Equals,
            });
        } else if next.is_whitespace() {
            chars.next();
        } else {
            let mut word = String::new();
            while let Some(letter) = chars.next_if(|one| !one.is_whitespace() && !",()!=<>".contains(*one)) {
                word.push(letter);
            }
            tokens.push(Token::Word(word));
        }
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let error = |found: Option<&Token>, expected: &str| {
            SelectorError::Label(format!(
                "found '{}', expected: {expected}",
                found.map_or("", Token::text)
            ))
        };
        let negated = self.peek() == Some(&Token::Not);
        if negated {
            self.at += 1;
        }
        let key = match self.take() {
            Some(Token::Word(word)) => word,
            other => return Err(error(other.as_ref(), "identifier")),
        };
        check_key(&key)?;
        if negated {
            return Ok(Requirement {
                key,
                operator: Operator::NotExists,
            });
        }
        let operator = match self.peek().cloned() {
            None | Some(Token::Comma) => Operator::Exists,
            Some(Token::Equals) => Operator::Equals(self.value_after_operator()?),
            Some(Token::NotEquals) => Operator::NotEquals(self.value_after_operator()?),
            Some(operator @ (Token::Greater | Token::Less)) => {
                let value = self.value_after_operator()?;
                let bound = value.parse().map_err(|_| {
                    SelectorError::Label("for 'Gt', 'Lt' operators, the value must be an integer".into())
                })?;
                if operator == Token::Greater {
                    Operator::Greater(bound)
                } else {
                    Operator::Less(bound)
                }
            }
            Some(Token::Word(word)) if word == "in" || word == "notin" => {
                self.at += 1;
                let values = self.values()?;
                if word == "in" {
                    Operator::In(values)
                } else {
                    Operator::NotIn(values)
                }
            }
            other => return Err(error(other.as_ref(), "in, notin, =, ==, !=, gt, lt")),
        };
        Ok(Requirement { key, operator })
    }

    fn value_after_operator(&mut self) -> Result<String, SelectorError> {
        self.at += 1;
        let value = match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                word
            }
            // `key=` compares with the empty value.
            None | Some(Token::Comma) => String::new(),
            Some(other) => {
                return Err(SelectorError::Label(format!(
                    "found '{}', expected: identifier",
                    other.text()
                )));
            }
        };
        check_value(&value)?;
        Ok(value)
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        if self.take() != Some(Token::Open) {
            return Err(SelectorError::Label("found '', expected: '('".into()));
        }
        let mut values = Vec::new();
        loop {
            match self.take() {
                Some(Token::Word(word)) => {
                    check_value(&word)?;
                    values.push(word);
                    match self.take() {
                        Some(Token::Comma) => {}
                        Some(Token::Close) => return Ok(values),
                        other => {
                            let found = other.as_ref().map_or("", Token::text).to_owned();
                            return Err(SelectorError::Label(format!(
                                "found '{found}', expected: ',' or ')'"
                            )));
                        }
                    }
                }
                Some(Token::Comma) => values.push(String::new()),
                Some(Token::Close) => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => {
                    let found = other.as_ref().map_or("", Token::text).to_owned();
                    return Err(SelectorError::Label(format!(
                        "found '{found}', expected: ',', ')' or identifier"
                    )));
                }
            }
        }
    }
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    match crate::names::qualified_name(key) {
        Ok(()) => Ok(()),
        Err(why) => Err(SelectorError::Label(format!(
            "key: Invalid value: \"{key}\": {why}"
        ))),
    }
}

fn check_value(value: &str) -> Result<(), SelectorError> {
    match crate::names::label_value(value) {
        Ok(()) => Ok(()),
        Err(why) => Err(SelectorError::Label(format!(
            "values[0]: Invalid value: \"{value}\": {why}"
        ))),
    }
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
    /// [`SelectorError::Field`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
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
            let error = || SelectorError::Field(text.to_owned(), term.clone());
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

    fn selects(selector: &str, labels: &Value) -> bool {
        LabelSelector::parse(selector)
            .unwrap()
            .matches(labels.as_object())
    }

    #[test]
    fn label_selectors_of_kubectl_select_what_kubernetes_selects() {
        let labels = json!({ "k8s-app": "aws-node", "tier": "", "n": "5" });
        for (selector, expected) in [
            ("", true),
            ("k8s-app=aws-node", true),
            ("k8s-app==aws-node", true),
            ("k8s-app = aws-node , n", true),
            ("k8s-app!=aws-node", false),
            ("missing!=x", true),
            ("k8s-app in (a,aws-node)", true),
            ("k8s-app notin (a, b)", true),
            ("missing notin (a)", true),
            ("missing in (a)", false),
            ("tier=", true),
            ("!missing", true),
            ("!tier", false),
            ("n>4", true),
            ("n<4", false),
        ] {
            assert_eq!(selects(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn malformed_selectors_are_refused_with_what_was_expected() {
        for selector in [
            "=", "a b", "a in", "a in (b", "a,,b", "a=b=c", "a,", "(", "a in b", "-a=b", "a=b!",
        ] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
        for selector in ["metadata.name", "=x", "a=b=c", "a=b\\x"] {
            assert!(FieldSelector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn a_missing_selector_of_an_object_selects_nothing_and_an_empty_one_everything() {
        assert!(!LabelSelector::from_object(None).unwrap().matches(None));
        assert!(
            LabelSelector::from_object(Some(&json!({})))
                .unwrap()
                .matches(None)
        );
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
            let _ = LabelSelector::parse(&text);
            let _ = FieldSelector::parse(&text);
        }

        #[test]
        fn what_a_selector_prints_reads_back_as_the_same(text in "(!?[a-c]|[a-c](=|!=)[a-c]|[a-c] (in|notin) \\([a-c](,[a-c])?\\)){1}(,[a-c]=[x-z]){0,3}") {
            let parsed = LabelSelector::parse(&text).unwrap();
            prop_assert_eq!(LabelSelector::parse(&parsed.to_string()).unwrap(), parsed);
        }
    }
}
