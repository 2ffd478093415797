//! Conditions: an operator, a key, and the values that it is compared with.

use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;

use super::pattern::Pattern;
use super::request::ConditionKeys;

/// Which of a key's values must satisfy the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// No prefix: the one value.
    One,
    /// `ForAllValues:`; true when there is no value.
    All,
    /// `ForAnyValue:`; false when there is no value.
    Any,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `ArnEquals`, `ArnLike`: the same.
    ArnLike,
    /// `Bool`
    Bool,
    /// `Date…`
    Date(Order),
    /// `IpAddress`
    IpAddress,
    /// `Null`
    Null,
    /// `Numeric…`
    Numeric(Order),
    /// `StringEquals`
    StringEquals,
    /// `StringEqualsIgnoreCase`
    StringEqualsIgnoreCase,
    /// `StringLike`
    StringLike,
}

/// How numbers and dates are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `…Equals`
    Equals,
    /// `…GreaterThan`
    GreaterThan,
    /// `…GreaterThanEquals`
    GreaterThanEquals,
    /// `…LessThan`
    LessThan,
    /// `…LessThanEquals`
    LessThanEquals,
}

/// Every operator by name. The boolean says that it is the negation.
const OPERATORS: [(&str, Operator, bool); 27] = [
    ("StringEquals", Operator::StringEquals, false),
    ("StringNotEquals", Operator::StringEquals, true),
    ("StringEqualsIgnoreCase", Operator::StringEqualsIgnoreCase, false),
    (
        "StringNotEqualsIgnoreCase",
        Operator::StringEqualsIgnoreCase,
        true,
    ),
    ("StringLike", Operator::StringLike, false),
    ("StringNotLike", Operator::StringLike, true),
    ("NumericEquals", Operator::Numeric(Order::Equals), false),
    ("NumericNotEquals", Operator::Numeric(Order::Equals), true),
    ("NumericLessThan", Operator::Numeric(Order::LessThan), false),
    (
        "NumericLessThanEquals",
        Operator::Numeric(Order::LessThanEquals),
        false,
    ),
    ("NumericGreaterThan", Operator::Numeric(Order::GreaterThan), false),
    (
        "NumericGreaterThanEquals",
        Operator::Numeric(Order::GreaterThanEquals),
        false,
    ),
    ("DateEquals", Operator::Date(Order::Equals), false),
    ("DateNotEquals", Operator::Date(Order::Equals), true),
    ("DateLessThan", Operator::Date(Order::LessThan), false),
    ("DateLessThanEquals", Operator::Date(Order::LessThanEquals), false),
    ("DateGreaterThan", Operator::Date(Order::GreaterThan), false),
    (
        "DateGreaterThanEquals",
        Operator::Date(Order::GreaterThanEquals),
        false,
    ),
    ("Bool", Operator::Bool, false),
    ("BinaryEquals", Operator::StringEquals, false),
    ("IpAddress", Operator::IpAddress, false),
    ("NotIpAddress", Operator::IpAddress, true),
    ("ArnEquals", Operator::ArnLike, false),
    ("ArnLike", Operator::ArnLike, false),
    ("ArnNotEquals", Operator::ArnLike, true),
    ("ArnNotLike", Operator::ArnLike, true),
    ("Null", Operator::Null, false),
];

/// One comparison of a policy, ready to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The operator's name as written.
    name: String,
    /// The key as written.
    key: String,
    lower_case_key: String,
    quantifier: Quantifier,
    operator: Operator,
    negated: bool,
    if_exists: bool,
    values: Vec<Value>,
    /// As written, for explanations.
    shown: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Arn(Pattern),
    Bool(bool),
    Date(Timestamp),
    Network(Network),
    Number(f64),
    Text(Pattern),
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// A sentence that says what is wrong, when the operator does not exist or a value is not one for it.
    pub fn parse(name: &str, key: &str, values: Vec<String>, variables: bool) -> Result<Self, String> {
        let (quantifier, base) = match name.split_once(':') {
            Some(("ForAllValues", base)) => (Quantifier::All, base),
            Some(("ForAnyValue", base)) => (Quantifier::Any, base),
            Some((other, _)) => {
                return Err(format!(
                    "condition operator {name:?}: {other:?} is neither ForAllValues nor ForAnyValue"
                ));
            }
            None => (Quantifier::One, name),
        };
        let (base, if_exists) = match base.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (base, false),
        };
        let Some((_, operator, negated)) = OPERATORS.iter().find(|(known, ..)| *known == base) else {
            return Err(unknown_operator(name, base));
        };
        if *operator == Operator::Null && (if_exists || quantifier != Quantifier::One) {
            return Err(format!(
                "condition operator {name:?}: Null takes neither IfExists nor a quantifier"
            ));
        }
        if !key.contains(':') {
            return Err(format!(
                "condition key {key:?} has no prefix; the subject of a token is ISSUER:sub, without https://"
            ));
        }
        if values.is_empty() {
            return Err(format!("condition {name} on {key} has no value"));
        }
        let parsed = values
            .iter()
            .map(|text| Value::parse(*operator, text, variables))
            .collect::<Result<_, _>>()
            .map_err(|problem| format!("condition {name} on {key}: {problem}"))?;
        Ok(Self {
            name: name.to_owned(),
            key: key.to_owned(),
            lower_case_key: key.to_ascii_lowercase(),
            quantifier,
            operator: *operator,
            negated: *negated,
            if_exists,
            values: parsed,
            shown: values,
        })
    }

    /// Whether it holds.
    pub(super) fn holds(&self, context: &ConditionKeys) -> bool {
        let present = context.values(&self.lower_case_key);
        if self.operator == Operator::Null {
            let missing = present.is_empty();
            return self.values.contains(&Value::Bool(missing));
        }
        let satisfies = |value: &String| {
            self.values
                .iter()
                .any(|wanted| wanted.fits(self.operator, value, context))
                != self.negated
        };
        match self.quantifier {
            Quantifier::All => present.iter().all(satisfies),
            Quantifier::Any if present.is_empty() => self.if_exists,
            Quantifier::Any => present.iter().any(satisfies),
            Quantifier::One if present.is_empty() => self.if_exists || self.negated,
            // A negation over several values means that none of them is the unwanted one.
            Quantifier::One if self.negated => present.iter().all(satisfies),
            Quantifier::One => present.iter().any(satisfies),
        }
    }

    /// Why it does not hold, for the person who wrote it.
    pub(super) fn explain(&self, context: &ConditionKeys) -> String {
        let present = context.values(&self.lower_case_key);
        let found = match present {
            [] => "is not in the request".to_owned(),
            [value] => format!("is {value:?}"),
            values => format!("is {values:?}"),
        };
        format!(
            "{} is not met: {} {found}, the policy has {:?}",
            self.name, self.key, self.shown
        )
    }
}

impl Value {
    fn parse(operator: Operator, text: &str, variables: bool) -> Result<Self, String> {
        Ok(match operator {
            Operator::ArnLike => Self::Arn(Pattern::parse(text, true, variables)),
            Operator::Bool | Operator::Null => match text.to_ascii_lowercase().as_str() {
                "true" => Self::Bool(true),
                "false" => Self::Bool(false),
                _ => return Err(format!("{text:?} is neither true nor false")),
            },
            Operator::Date(_) => Self::Date(
                parse_date(text)
                    .ok_or_else(|| format!("{text:?} is not a date like 2026-11-24T00:00:00Z"))?,
            ),
            Operator::IpAddress => Self::Network(
                text.parse()
                    .map_err(|()| format!("{text:?} is not an address or a network"))?,
            ),
            Operator::Numeric(_) => Self::Number(
                text.trim()
                    .parse()
                    .map_err(|_| format!("{text:?} is not a number"))?,
            ),
            Operator::StringEquals | Operator::StringEqualsIgnoreCase => {
                Self::Text(Pattern::parse(text, false, variables))
            }
            Operator::StringLike => Self::Text(Pattern::parse(text, true, variables)),
        })
    }

    fn fits(&self, operator: Operator, value: &str, context: &ConditionKeys) -> bool {
        match (self, operator) {
            (Self::Arn(pattern), _) => pattern.matches_arn(value, context),
            (Self::Bool(wanted), _) => {
                (value.eq_ignore_ascii_case("true") && *wanted)
                    || (value.eq_ignore_ascii_case("false") && !*wanted)
            }
            (Self::Date(wanted), Operator::Date(order)) => {
                parse_date(value).is_some_and(|value| order.holds(&value, wanted))
            }
            (Self::Network(network), _) => value.parse().is_ok_and(|address| network.contains(address)),
            (Self::Number(wanted), Operator::Numeric(order)) => value
                .parse::<f64>()
                .is_ok_and(|value| order.holds(&value, wanted)),
            (Self::Text(pattern), operator) => {
                pattern.matches(value, operator == Operator::StringEqualsIgnoreCase, context)
            }
            (Self::Date(_) | Self::Number(_), _) => false,
        }
    }
}

impl Order {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equals => left == right,
            Self::GreaterThan => left > right,
            Self::GreaterThanEquals => left >= right,
            Self::LessThan => left < right,
            Self::LessThanEquals => left <= right,
        }
    }
}

/// ISO 8601 with or without time, or seconds since 1970.
fn parse_date(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp());
    }
    text.parse::<i64>()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
}

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - self.prefix;
                network.to_bits().checked_shr(shift).unwrap_or(0)
                    == address.to_bits().checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - self.prefix;
                network.to_bits().checked_shr(shift).unwrap_or(0)
                    == address.to_bits().checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| ())?,
            None => longest,
        };
        (prefix <= longest).then_some(Self { address, prefix }).ok_or(())
    }
}

fn unknown_operator(name: &str, base: &str) -> String {
    let near = OPERATORS.iter().map(|(known, ..)| *known).find(|known| {
        known.eq_ignore_ascii_case(base)
            || (base.len() > 3
                && (known.to_ascii_lowercase().starts_with(&base.to_ascii_lowercase())
                    || base.to_ascii_lowercase().starts_with(&known.to_ascii_lowercase())))
    });
    match near {
        Some(near) => format!("condition operator {name:?} does not exist; {near} does"),
        None => format!("condition operator {name:?} does not exist"),
    }
}
