//! Label selectors: the text that kubectl and list requests use, and the form inside objects.
//!
//! Pure and total: any text gives a selector or an error, never a panic.

use std::{fmt, iter::Peekable, vec};

use serde_json::{Map, Value};

use crate::names;

/// Why a label selector cannot be parsed. The texts are those of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text form has a syntax error, or an invalid key or value.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// An expression in an object has an operator other than `In`, `NotIn`, `Exists` and `DoesNotExist`.
    #[error("\"{0}\" is not a valid label selector operator")]
    Operator(String),
}

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

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::NotExists => value.is_none(),
            Operator::Equals(wanted) => value == Some(wanted),
            Operator::NotEquals(unwanted) => value != Some(unwanted),
            Operator::In(wanted) => value.is_some_and(|value| wanted.iter().any(|one| one == value)),
            Operator::NotIn(unwanted) => value.is_none_or(|value| unwanted.iter().all(|one| one != value)),
            Operator::Greater(bound) => number().is_some_and(|value| value > *bound),
            Operator::Less(bound) => number().is_some_and(|value| value < *bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::Exists => f.write_str(key),
            Operator::NotExists => write!(f, "!{key}"),
            Operator::Equals(value) => write!(f, "{key}={value}"),
            Operator::NotEquals(value) => write!(f, "{key}!={value}"),
            Operator::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Greater(bound) => write!(f, "{key}>{bound}"),
            Operator::Less(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

/// A label selector. The default selects everything. Displays in the syntax of a list request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// A selector that an object lacks selects nothing; an empty one selects everything.
    nothing: bool,
}

impl LabelSelector {
    /// Parses the text form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    ///
    /// # Errors
    /// [`Error::Requirement`], with what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parser = Parser {
            tokens: tokens(text).into_iter().peekable(),
        };
        let mut requirements = Vec::new();
        if parser.tokens.peek().is_none() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.tokens.next() {
                None => break,
                Some(Token::Comma) if parser.tokens.peek().is_some() => {}
                other => return Err(expected(other, "',' or 'end of string'")),
            }
        }
        Ok(Self {
            requirements,
            nothing: false,
        })
    }

    /// Reads `matchLabels` and `matchExpressions`, or the plain map of Services and ReplicationControllers. `None` and
    /// `null` select nothing.
    ///
    /// # Errors
    /// [`Error::Operator`].
    pub fn from_object(selector: Option<&Value>) -> Result<Self, Error> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self {
                requirements: Vec::new(),
                nothing: true,
            });
        };
        let structured = ["matchLabels", "matchExpressions"]
            .iter()
            .any(|field| selector.get(field).is_some_and(|value| !value.is_string()));
        let labels = if structured {
            &selector["matchLabels"]
        } else {
            selector
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut requirements: Vec<Requirement> = labels
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals(text(value)),
            })
            .collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = || {
                let values = expression["values"].as_array().into_iter().flatten();
                values.map(text).collect()
            };
            requirements.push(Requirement {
                key: text(&expression["key"]),
                operator: match expression["operator"].as_str().unwrap_or_default() {
                    "In" => Operator::In(values()),
                    "NotIn" => Operator::NotIn(values()),
                    "Exists" => Operator::Exists,
                    "DoesNotExist" => Operator::NotExists,
                    other => return Err(Error::Operator(other.to_owned())),
                },
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

    /// Whether no object is selected, because the object that should hold the selector has none.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether an object is selected whose labels `label` looks up.
    #[must_use]
    pub fn selects<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.selects(|key| labels?.get(key)?.as_str())
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nothing {
            return f.write_str("<none>");
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
}

impl<'a> Token<'a> {
    fn text(&self) -> &'a str {
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

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = match rest.as_bytes() {
            [b',', ..] => (Token::Comma, 1),
            [b'(', ..] => (Token::Open, 1),
            [b')', ..] => (Token::Close, 1),
            [b'>', ..] => (Token::Greater, 1),
            [b'<', ..] => (Token::Less, 1),
            [b'!', b'=', ..] => (Token::NotEquals, 2),
            [b'!', ..] => (Token::Not, 1),
            [b'=', b'=', ..] => (Token::Equals, 2),
            [b'=', ..] => (Token::Equals, 1),
            _ => {
                let end = rest
                    .find(|letter: char| letter.is_whitespace() || ",()!=<>".contains(letter))
                    .unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn expected(found: Option<Token<'_>>, expected: &str) -> Error {
    let found = found.as_ref().map_or("", Token::text);
    Error::Requirement(format!("found '{found}', expected: {expected}"))
}

struct Parser<'a> {
    tokens: Peekable<vec::IntoIter<Token<'a>>>,
}

impl Parser<'_> {
    fn requirement(&mut self) -> Result<Requirement, Error> {
        let negated = self.tokens.next_if_eq(&Token::Not).is_some();
        let key = match self.tokens.next() {
            Some(Token::Word(word)) => word.to_owned(),
            other => return Err(expected(other, "identifier")),
        };
        names::qualified_name(&key)
            .map_err(|why| Error::Requirement(format!("key: Invalid value: \"{key}\": {why}")))?;
        let operator = match self.tokens.peek() {
            _ if negated => Operator::NotExists,
            None | Some(Token::Comma) => Operator::Exists,
            Some(_) => self.comparison()?,
        };
        Ok(Requirement { key, operator })
    }

    fn comparison(&mut self) -> Result<Operator, Error> {
        match self.tokens.next() {
            Some(Token::Equals) => Ok(Operator::Equals(self.value()?)),
            Some(Token::NotEquals) => Ok(Operator::NotEquals(self.value()?)),
            Some(Token::Greater) => Ok(Operator::Greater(self.number()?)),
            Some(Token::Less) => Ok(Operator::Less(self.number()?)),
            Some(Token::Word("in")) => Ok(Operator::In(self.values()?)),
            Some(Token::Word("notin")) => Ok(Operator::NotIn(self.values()?)),
            other => Err(expected(other, "in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn value(&mut self) -> Result<String, Error> {
        match self.tokens.peek() {
            // `key=` compares with the empty value.
            None | Some(Token::Comma) => Ok(String::new()),
            Some(_) => match self.tokens.next() {
                Some(Token::Word(word)) => checked(word),
                other => Err(expected(other, "identifier")),
            },
        }
    }

    fn number(&mut self) -> Result<i64, Error> {
        self.value()?.parse().map_err(|_| {
            Error::Requirement("for 'Gt', 'Lt' operators, the value must be an integer".to_owned())
        })
    }

    /// `(a,b)`. A missing value is the empty one.
    fn values(&mut self) -> Result<Vec<String>, Error> {
        match self.tokens.next() {
            Some(Token::Open) => {}
            other => return Err(expected(other, "'('")),
        }
        let mut values = Vec::new();
        loop {
            match self.tokens.next() {
                Some(Token::Word(word)) => {
                    values.push(checked(word)?);
                    match self.tokens.next() {
                        Some(Token::Comma) => {}
                        Some(Token::Close) => return Ok(values),
                        other => return Err(expected(other, "',' or ')'")),
                    }
                }
                Some(Token::Comma) => values.push(String::new()),
                Some(Token::Close) => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => return Err(expected(other, "',', ')' or identifier")),
            }
        }
    }
}

fn checked(value: &str) -> Result<String, Error> {
    names::label_value(value)
        .map_err(|why| Error::Requirement(format!("values[0]: Invalid value: \"{value}\": {why}")))?;
    Ok(value.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
            let parsed = LabelSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(labels.as_object()), expected, "{selector}");
        }
    }

    #[test]
    fn malformed_selectors_are_refused_with_what_was_expected() {
        for selector in [
            "=", "a b", "a in", "a in (b", "a,,b", "a=b=c", "a,", "(", "a in b", "-a=b", "a=b!", "a=b c",
        ] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
        assert_eq!(
            LabelSelector::parse("a in b").unwrap_err().to_string(),
            "unable to parse requirement: found 'b', expected: '('"
        );
    }

    #[test]
    fn all_requirements_of_an_object_must_hold() {
        let selector = LabelSelector::from_object(Some(&json!({
            "matchLabels": {"app": "a"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["db"]},
                {"key": "skip", "operator": "DoesNotExist"},
                {"key": "env", "operator": "In", "values": ["prod", "test"]},
            ],
        })))
        .unwrap();
        assert_eq!(
            selector.to_string(),
            "app=a,tier notin (db),!skip,env in (prod,test)"
        );
        assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector.clone()));
        for (labels, expected) in [
            (json!({"app": "a", "env": "prod"}), true),
            (json!({"app": "a", "env": "prod", "skip": ""}), false),
            (json!({"app": "a", "env": "prod", "tier": "db"}), false),
            (json!({"app": "b", "env": "prod"}), false),
        ] {
            assert_eq!(selector.matches(labels.as_object()), expected, "{labels}");
        }
    }

    #[test]
    fn an_absent_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!LabelSelector::from_object(None).unwrap().matches(None));
        assert!(
            LabelSelector::from_object(Some(&json!({})))
                .unwrap()
                .matches(None)
        );
        assert!(LabelSelector::default().is_everything());
    }

    #[test]
    fn the_plain_map_of_a_service_is_read_and_an_unknown_operator_refused() {
        let plain = LabelSelector::from_object(Some(&json!({"app": "a"}))).unwrap();
        assert_eq!(plain.to_string(), "app=a");
        let unknown = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
        assert_eq!(
            LabelSelector::from_object(Some(&unknown)),
            Err(Error::Operator("Near".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_an_error(text in ".{0,60}") {
            let _ = LabelSelector::parse(&text);
        }

        #[test]
        fn what_a_selector_prints_reads_back_as_the_same(text in "(!?[a-c]|[a-c](=|!=)[a-c]|[a-c] (in|notin) \\([a-c](,[a-c])?\\)){1}(,[a-c]=[x-z]){0,3}") {
            let parsed = LabelSelector::parse(&text).unwrap();
            prop_assert_eq!(LabelSelector::parse(&parsed.to_string()).unwrap(), parsed);
        }
    }
}
