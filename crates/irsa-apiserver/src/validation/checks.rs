//! The checks that validation consists of: each looks at one field below a value and notes what is wrong with it.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::object::ObjectExt;
use crate::status::Cause;

/// A value being checked. Fields are named relative to it, with dots: `spec.replicas`.
pub(super) struct Checks<'v, 'c> {
    pub(super) value: &'v Value,
    /// The path of the value; empty for the object itself.
    path: String,
    pub(super) causes: &'c mut Vec<Cause>,
}

impl<'v, 'c> Checks<'v, 'c> {
    pub(super) fn new(object: &'v Value, causes: &'c mut Vec<Cause>) -> Self {
        Self {
            value: object,
            path: String::new(),
            causes,
        }
    }

    /// The full path of a field.
    fn at(&self, field: &str) -> String {
        match (self.path.as_str(), field) {
            (path, "") => path.to_owned(),
            ("", field) => field.to_owned(),
            (path, field) => format!("{path}.{field}"),
        }
    }

    fn get(&self, field: &str) -> Option<&'v Value> {
        field.split('.').try_fold(self.value, |value, key| value.get(key))
    }

    pub(super) fn is_true(&self, field: &str) -> bool {
        self.get(field) == Some(&Value::Bool(true))
    }

    /// The checks of a field's own fields.
    pub(super) fn child(&mut self, field: &str) -> Checks<'v, '_> {
        Checks {
            value: self.get(field).unwrap_or(&Value::Null),
            path: self.at(field),
            causes: self.causes,
        }
    }

    /// Checks each element of a list.
    pub(super) fn each(&mut self, list: &str, mut check: impl FnMut(&mut Checks<'v, '_>)) {
        let elements = self.get(list).and_then(Value::as_array);
        for (index, value) in elements.into_iter().flatten().enumerate() {
            check(&mut Checks {
                value,
                path: format!("{}[{index}]", self.at(list)),
                causes: self.causes,
            });
        }
    }

    pub(super) fn require(&mut self, field: &str, detail: &str) {
        let field = self.at(field);
        self.causes.push(Cause::required(field, detail));
    }

    pub(super) fn invalid(&mut self, field: &str, value: &Value, why: &str) {
        let field = self.at(field);
        self.causes.push(Cause::invalid(field, value, why));
    }

    pub(super) fn forbidden(&mut self, field: &str, why: &str) {
        let field = self.at(field);
        self.causes.push(Cause::forbidden(field, why));
    }

    /// The field names something that does not exist.
    pub(super) fn not_found(&mut self, field: &str, name: &str) {
        let field = self.at(field);
        self.causes.push(Cause::not_found(field, &Value::from(name)));
    }

    /// The text of a field that must have one.
    pub(super) fn required(&mut self, field: &str) -> &'v str {
        let text = self.get(field).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            self.require(field, "");
        }
        text
    }

    /// Notes why a text does not follow its syntax.
    pub(super) fn text(&mut self, field: &str, text: &str, valid: Result<(), String>) {
        if let Err(why) = valid {
            self.invalid(field, &Value::from(text), &why);
        }
    }

    /// A name that must be there and follow its syntax.
    pub(super) fn name(&mut self, field: &str, syntax: fn(&str) -> Result<(), String>) -> &'v str {
        let name = self.required(field);
        if !name.is_empty() {
            self.text(field, name, syntax(name));
        }
        name
    }

    /// A field that has one of several values, when it is set.
    pub(super) fn one_of(&mut self, field: &str, allowed: &[&str]) {
        if let Some(value) = self.get(field)
            && !value.as_str().is_some_and(|text| allowed.contains(&text))
        {
            let field = self.at(field);
            self.causes.push(Cause::not_supported(field, value, allowed));
        }
    }

    /// A number in a range, when it is set.
    pub(super) fn range(&mut self, field: &str, allowed: RangeInclusive<i64>, why: &str) {
        if let Some(value) = self.get(field)
            && !value.as_i64().is_some_and(|number| allowed.contains(&number))
        {
            self.invalid(field, value, why);
        }
    }

    pub(super) fn not_negative(&mut self, field: &str) {
        self.range(field, 0..=i64::MAX, "must be greater than or equal to 0");
    }

    /// A port between 1 and 65535 that must be there.
    pub(super) fn port_number(&mut self, field: &str) {
        if self.get(field).is_none() {
            self.require(field, "");
        }
        self.range(field, 1..=65_535, "must be between 1 and 65535, inclusive");
    }

    /// A text that no element of the list has had yet; empty ones may repeat.
    pub(super) fn unique(&mut self, field: &str, text: &'v str, seen: &mut HashSet<&'v str>) {
        if !text.is_empty() && !seen.insert(text) {
            let field = self.at(field);
            self.causes.push(Cause::duplicate(field, &Value::from(text)));
        }
    }

    /// A field of the object that may not change.
    pub(super) fn unchanged(&mut self, old: &Value, path: &[&str], why: &str) {
        let new = self.value.at(path);
        if old.at(path) != new {
            self.invalid(&path.join("."), new.unwrap_or(&Value::Null), why);
        }
    }
}
