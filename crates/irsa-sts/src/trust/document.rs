//! The document: statements with their effect, principals, actions and conditions.

use serde_json::{Map, Value};

use super::condition::Condition;
use super::pattern::Pattern;
use super::request::{ConditionKeys, Principal};

/// Longest trust policy, in characters of JSON (IAM's quota goes up to 4096 or 8192 on request).
const MAX_DOCUMENT: usize = 8192;

/// A trust policy that was read and found good.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustPolicy {
    pub(super) statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statement {
    sid: Option<String>,
    pub(super) deny: bool,
    principals: Vec<Name>,
    /// `NotPrincipal`: all but these.
    except_principals: bool,
    actions: Vec<Pattern>,
    /// `NotAction`: all but these.
    except_actions: bool,
    pub(super) conditions: Vec<Condition>,
}

/// A principal as a policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// `"*"`, alone or under `AWS`.
    Everybody { aws_only: bool },
    /// Under `AWS`.
    Aws(String),
    /// Under `Federated`.
    Federated(String),
    /// Under `Service` or `CanonicalUser`: nobody who calls here.
    Elsewhere,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .statement.map(|number| format!("statement {number}: ")).unwrap_or_default())]
pub struct PolicyError {
    /// The statement, counted from 1.
    pub statement: Option<usize>,
    /// What is wrong and what is expected.
    pub message: String,
}

impl PolicyError {
    fn document(message: impl Into<String>) -> Self {
        Self {
            statement: None,
            message: message.into(),
        }
    }
}

impl TrustPolicy {
    /// Reads a document from JSON text.
    ///
    /// # Errors
    /// When it is not JSON, or as [`Self::from_value`].
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        let value = serde_json::from_str(text)
            .map_err(|error| PolicyError::document(format!("not JSON: {error}")))?;
        Self::from_value(&value)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When a part is missing, unknown or cannot be; the sentence says which statement and what is expected.
    pub fn from_value(value: &Value) -> Result<Self, PolicyError> {
        let Value::Object(document) = value else {
            return Err(PolicyError::document(
                "a trust policy is an object with Version and Statement",
            ));
        };
        if value.to_string().len() > MAX_DOCUMENT {
            return Err(PolicyError::document(format!(
                "a trust policy has at most {MAX_DOCUMENT} characters"
            )));
        }
        for field in document.keys() {
            if !matches!(field.as_str(), "Version" | "Id" | "Statement") {
                return Err(PolicyError::document(format!(
                    "unknown field {field:?}; known are Version, Id, Statement"
                )));
            }
        }
        // `${…}` is a variable only in version 2012-10-17.
        let variables = match document.get("Version").map(Value::as_str) {
            None | Some(Some("2008-10-17")) => false,
            Some(Some("2012-10-17")) => true,
            Some(_) => {
                return Err(PolicyError::document(
                    "Version is not \"2012-10-17\" (or the older \"2008-10-17\")",
                ));
            }
        };
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) if !statements.is_empty() => statements.iter().collect(),
            Some(statement @ Value::Object(_)) => vec![statement],
            _ => {
                return Err(PolicyError::document(
                    "Statement is missing: it is an object or a list of them",
                ));
            }
        };
        let statements = (1..)
            .zip(statements)
            .map(|(number, statement)| {
                Statement::parse(statement, variables).map_err(|message| PolicyError {
                    statement: Some(number),
                    message,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }
}

impl Statement {
    /// How explanations call it.
    pub(super) fn name(&self, number: usize) -> String {
        match &self.sid {
            Some(sid) => format!("statement {sid:?}"),
            None => format!("statement {number}"),
        }
    }

    pub(super) fn covers_action(&self, action: &str) -> bool {
        // Actions do not depend on case.
        let listed = self
            .actions
            .iter()
            .any(|pattern| pattern.matches(action, true, &ConditionKeys::new()));
        listed != self.except_actions
    }

    pub(super) fn covers_principal(&self, principal: &Principal<'_>) -> bool {
        self.principals.iter().any(|name| name.is(principal)) != self.except_principals
    }

    fn parse(value: &Value, variables: bool) -> Result<Self, String> {
        let Value::Object(fields) = value else {
            return Err("is not an object".to_owned());
        };
        for field in fields.keys() {
            match field.as_str() {
                "Sid" | "Effect" | "Principal" | "NotPrincipal" | "Action" | "NotAction" | "Condition" => {}
                "Resource" | "NotResource" => {
                    return Err(format!(
                        "has {field}, which a trust policy cannot have: the role itself is the resource"
                    ));
                }
                other => {
                    return Err(format!(
                        "unknown field {other:?}; known are Sid, Effect, Principal, NotPrincipal, Action, NotAction, \
                         Condition"
                    ));
                }
            }
        }
        let deny = match fields.get("Effect").and_then(Value::as_str) {
            Some("Allow") => false,
            Some("Deny") => true,
            _ => return Err("Effect is \"Allow\" or \"Deny\"".to_owned()),
        };
        let (principals, except_principals) = one_of(fields, "Principal", "NotPrincipal")?;
        if except_principals && !deny {
            return Err("NotPrincipal goes with Deny only".to_owned());
        }
        let (actions, except_actions) = one_of(fields, "Action", "NotAction")?;
        let actions = strings(actions).ok_or("Action is a text or a list of texts")?;
        for action in &actions {
            let known = action == "*"
                || action
                    .split_once(':')
                    .is_some_and(|(service, name)| service.eq_ignore_ascii_case("sts") && !name.is_empty());
            if !known {
                return Err(format!(
                    "action {action:?} is not one of sts, as sts:AssumeRoleWithWebIdentity is"
                ));
            }
        }
        Ok(Self {
            sid: fields.get("Sid").and_then(Value::as_str).map(str::to_owned),
            deny,
            principals: parse_principals(principals)?,
            except_principals,
            actions: actions
                .iter()
                .map(|action| Pattern::parse(action, true, false))
                .collect(),
            except_actions,
            conditions: match fields.get("Condition") {
                None => Vec::new(),
                Some(conditions) => parse_conditions(conditions, variables)?,
            },
        })
    }
}

impl Name {
    fn is(&self, principal: &Principal<'_>) -> bool {
        match (self, principal) {
            (Self::Everybody { aws_only }, Principal::Federated { .. }) => !aws_only,
            (Self::Everybody { .. }, Principal::Aws { .. }) => true,
            (Self::Federated(name), Principal::Federated { provider_arn }) => name == provider_arn,
            (
                Self::Aws(name),
                Principal::Aws {
                    arn,
                    account,
                    role_arn,
                },
            ) => {
                name == arn
                    || name == account
                    || role_arn.is_some_and(|role| name == role)
                    || (name.ends_with(":root") && name.split(':').nth(4) == Some(account))
            }
            _ => false,
        }
    }
}

/// Exactly one of a field and its negation.
fn one_of<'a>(
    fields: &'a Map<String, Value>,
    plain: &str,
    negated: &str,
) -> Result<(&'a Value, bool), String> {
    match (fields.get(plain), fields.get(negated)) {
        (Some(value), None) => Ok((value, false)),
        (None, Some(value)) => Ok((value, true)),
        (Some(_), Some(_)) => Err(format!("has both {plain} and {negated}")),
        (None, None) => Err(format!("has no {plain}")),
    }
}

fn parse_principals(value: &Value) -> Result<Vec<Name>, String> {
    const EXPECTED: &str = "Principal is \"*\" or an object such as {\"Federated\": \"arn:aws:iam::ACCOUNT:oidc-provider/ISSUER\"}";
    let kinds = match value {
        Value::String(text) if text == "*" => return Ok(vec![Name::Everybody { aws_only: false }]),
        Value::Object(kinds) if !kinds.is_empty() => kinds,
        _ => return Err(EXPECTED.to_owned()),
    };
    let mut names = Vec::new();
    for (kind, value) in kinds {
        let values = strings(value).ok_or(EXPECTED)?;
        for value in values {
            names.push(match kind.as_str() {
                "AWS" if value == "*" => Name::Everybody { aws_only: true },
                "AWS" => {
                    let account = value.len() == 12 && value.bytes().all(|b| b.is_ascii_digit());
                    let arn = value.starts_with("arn:") && value.split(':').count() >= 6;
                    if !account && !arn {
                        return Err(format!("principal {value:?} is neither an account nor the ARN of a user or role"));
                    }
                    if value.contains('*') {
                        return Err(format!(
                            "principal {value:?} has a wildcard; use a condition on aws:PrincipalArn for that"
                        ));
                    }
                    Name::Aws(value)
                }
                "Federated" => {
                    if value.starts_with("https://") {
                        return Err(format!(
                            "principal {value:?} is a URL; Federated wants the provider's ARN, \
                             arn:aws:iam::ACCOUNT:oidc-provider/ISSUER without https://"
                        ));
                    }
                    Name::Federated(value)
                }
                "Service" | "CanonicalUser" => Name::Elsewhere,
                other => {
                    return Err(format!(
                        "unknown kind of principal {other:?}; known are AWS, Federated, Service, CanonicalUser"
                    ));
                }
            });
        }
    }
    Ok(names)
}

fn parse_conditions(value: &Value, variables: bool) -> Result<Vec<Condition>, String> {
    let Value::Object(operators) = value else {
        return Err("Condition is an object of operators, each an object of keys".to_owned());
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else {
            return Err(format!("condition {operator}: is an object of keys and values"));
        };
        for (key, value) in keys {
            let values = strings(value).ok_or_else(|| {
                format!("condition {operator} on {key}: the value is a text or a list of texts")
            })?;
            conditions.push(Condition::parse(operator, key, values, variables)?);
        }
    }
    Ok(conditions)
}

/// A text or a list of texts; numbers and truth values are texts too, as IAM takes them.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Bool(truth) => Some(vec![truth.to_string()]),
        Value::Number(number) => Some(vec![number.to_string()]),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                if item.is_array() {
                    None
                } else {
                    strings(item)?.pop()
                }
            })
            .collect(),
        Value::Null | Value::Object(_) => None,
    }
}
