//! Constraints on parameters, with the sentences in which AWS tells that they are not kept.

use super::query::Parameters;
use crate::error::StsError;

/// Collects what is wrong with a request's parameters: AWS tells all of it at once.
pub(super) struct Validator<'a> {
    parameters: &'a Parameters,
    problems: Vec<String>,
}

/// Characters that a text consists of.
#[derive(Clone, Copy)]
pub(super) struct Characters {
    /// The pattern as AWS writes it.
    pub(super) pattern: &'static str,
    /// Whether a character belongs to it.
    pub(super) belongs: fn(char) -> bool,
}

/// `[\w+=,.@-]*`: role session names, source identities and the like.
pub(super) const NAME: Characters = Characters {
    pattern: r"[\w+=,.@-]*",
    belongs: is_name_char,
};

/// What a text must be like.
pub(super) struct TextRule {
    pub(super) min: usize,
    pub(super) max: usize,
    /// Of which characters it consists.
    pub(super) pattern: Option<Characters>,
    /// AWS leaves the value out of the sentence.
    pub(super) hidden: bool,
}

impl TextRule {
    /// Any text of so many characters.
    pub(super) const fn length(min: usize, max: usize) -> Self {
        Self {
            min,
            max,
            pattern: None,
            hidden: false,
        }
    }

    /// The same, with the value left out of messages.
    pub(super) const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

impl<'a> Validator<'a> {
    pub(super) fn new(parameters: &'a Parameters) -> Self {
        Self {
            parameters,
            problems: Vec::new(),
        }
    }

    /// A text that must be there. When it is not, or not as it must be, the answer is of no consequence: `finish`
    /// fails.
    pub(super) fn required(&mut self, name: &str, rule: &TextRule) -> &'a str {
        let found = self.optional(name, rule);
        if found.is_none() && self.parameters.find(name).is_none() {
            self.problems.push(format!(
                "Value at '{}' failed to satisfy constraint: Member must not be null",
                camel(name)
            ));
        }
        found.unwrap_or_default()
    }

    /// A text that may be there.
    pub(super) fn optional(&mut self, name: &str, rule: &TextRule) -> Option<&'a str> {
        let value = self.parameters.find(name)?;
        self.check(&camel(name), value, rule).then_some(value)
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let text = self.parameters.find(name)?;
        let at = camel(name);
        let Ok(value) = text.trim().parse::<i64>() else {
            self.problems.push(format!(
                "Value '{text}' at '{at}' failed to satisfy constraint: Member must be a number"
            ));
            return None;
        };
        if value < i64::from(min) {
            self.problems.push(format!(
                "Value '{value}' at '{at}' failed to satisfy constraint: Member must have value greater than or equal \
                 to {min}"
            ));
        } else if value > i64::from(max) {
            self.problems.push(format!(
                "Value '{value}' at '{at}' failed to satisfy constraint: Member must have value less than or equal to \
                 {max}"
            ));
        }
        u32::try_from(value).ok()
    }

    /// Checks a value that is not a plain parameter, a member of a list for instance. `at` is its place in AWS's
    /// spelling.
    pub(super) fn check(&mut self, at: &str, value: &str, rule: &TextRule) -> bool {
        let before = self.problems.len();
        let length = value.chars().count();
        let shown = if rule.hidden {
            "Value".to_owned()
        } else {
            format!("Value '{value}'")
        };
        if length < rule.min {
            self.problems.push(format!(
                "{shown} at '{at}' failed to satisfy constraint: Member must have length greater than or equal to {}",
                rule.min
            ));
        }
        if length > rule.max {
            self.problems.push(format!(
                "{shown} at '{at}' failed to satisfy constraint: Member must have length less than or equal to {}",
                rule.max
            ));
        }
        if let Some(Characters { pattern, belongs }) = rule.pattern
            && !value.chars().all(belongs)
        {
            self.problems.push(format!(
                "{shown} at '{at}' failed to satisfy constraint: Member must satisfy regular expression pattern: \
                 {pattern}"
            ));
        }
        self.problems.len() == before
    }

    /// A list that is too long.
    pub(super) fn check_count(&mut self, at: &str, count: usize, max: usize) {
        if count > max {
            self.problems.push(format!(
                "Value at '{at}' failed to satisfy constraint: Member must have length less than or equal to {max}"
            ));
        }
    }

    /// Everything that is wrong, in one error.
    pub(super) fn finish(self) -> Result<(), StsError> {
        match self.problems.as_slice() {
            [] => Ok(()),
            [one] => Err(StsError::validation(format!(
                "1 validation error detected: {one}"
            ))),
            many => Err(StsError::validation(format!(
                "{} validation errors detected: {}",
                many.len(),
                many.join("; ")
            ))),
        }
    }
}

/// `\w`, `+`, `=`, `,`, `.`, `@`, `-`.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// `\w`.
pub(super) fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The rule of role ARNs.
pub(super) const ROLE_ARN: TextRule = TextRule::length(20, 2048).hidden();

/// The rule of role session names and source identities.
pub(super) const SESSION_NAME: TextRule = TextRule {
    min: 2,
    max: 64,
    pattern: Some(NAME),
    hidden: false,
};

/// `RoleArn` → `roleArn`.
fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect()
}
