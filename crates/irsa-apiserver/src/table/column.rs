//! Columns of tables: a name, and how a cell is read from an object.

use serde_json::Value;

use super::age;
use crate::object::ObjectExt as _;
use crate::selectors::LabelSelector;

/// What kubectl shows where there is nothing.
pub(super) const NONE: &str = "<none>";

/// A column of a built-in resource. A name that begins with `+` is shown with `-o wide` only.
pub(super) type Column = (&'static str, Cell);

/// How a cell is read. Paths are keys with dots between them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    /// A text; empty when it is missing.
    Text(&'static str),
    /// A text, or the second one when it is missing or empty.
    Or(&'static str, &'static str),
    /// A number; zero when it is missing.
    Number(&'static str),
    /// How many entries a list or map has.
    Len(&'static str),
    /// Whether something is set.
    Flag(&'static str),
    /// How long ago a time was; the second text when it is missing.
    Since(&'static str, &'static str),
    /// The label selector there; everything when it is missing.
    Selector(&'static str),
    /// The texts of a key in each object of a list.
    Each(&'static str, &'static str),
    /// Computed by a function.
    Of(fn(&Value) -> Value),
}

pub(super) const NAME: Column = ("Name", Cell::Text("metadata.name"));
pub(super) const AGE: Column = ("Age", Cell::Since("metadata.creationTimestamp", "<unknown>"));

pub(super) fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, key| value.get(key))
}

pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(object: &Value, path: &str) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// Texts with a separator between them, or something else when there are none.
pub(super) fn joined<T: AsRef<str>>(
    texts: impl IntoIterator<Item = T>,
    separator: &str,
    empty: &str,
) -> String {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() {
            all.push_str(separator);
        }
        all.push_str(text.as_ref());
    }
    if all.is_empty() { empty.to_owned() } else { all }
}

fn selector(selector: Option<&Value>) -> String {
    let everything = Value::Object(serde_json::Map::new());
    match LabelSelector::from_object(selector.or(Some(&everything))) {
        Ok(parsed) => or(&parsed.to_string(), NONE).to_owned(),
        Err(_) => "<error>".into(),
    }
}

impl Cell {
    /// `type` of the column definition.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Number(_) | Self::Len(_) => "integer",
            _ => "string",
        }
    }

    pub(super) fn read(self, object: &Value) -> Value {
        match self {
            Self::Text(path) => text(object, path).into(),
            Self::Or(path, otherwise) => or(text(object, path), otherwise).into(),
            Self::Number(path) => number(object, path).into(),
            Self::Len(path) => match at(object, path) {
                Some(Value::Array(list)) => list.len().into(),
                Some(Value::Object(map)) => map.len().into(),
                _ => 0.into(),
            },
            Self::Flag(path) => (at(object, path) == Some(&Value::Bool(true))).into(),
            Self::Since(path, missing) => match text(object, path) {
                "" => missing.into(),
                time => age::since(time).into(),
            },
            Self::Selector(path) => selector(at(object, path)).into(),
            Self::Each(path, key) => {
                let texts = list(object, path).iter().map(|one| one.str_at(&[key]));
                joined(texts, ",", "").into()
            }
            Self::Of(read) => read(object),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_reads_its_path_and_something_in_place_of_what_is_missing() {
        let object =
            json!({ "a": { "text": "x", "n": 2, "list": [{ "k": "v" }, { "k": "w" }], "yes": true } });
        for (cell, there, missing) in [
            (Cell::Text("a.text"), json!("x"), json!("")),
            (Cell::Or("a.text", NONE), json!("x"), json!(NONE)),
            (Cell::Number("a.n"), json!(2), json!(0)),
            (Cell::Len("a.list"), json!(2), json!(0)),
            (Cell::Flag("a.yes"), json!(true), json!(false)),
            (Cell::Each("a.list", "k"), json!("v,w"), json!("")),
            (Cell::Selector("a.list"), json!(NONE), json!(NONE)),
            (Cell::Since("a.time", "never"), json!("never"), json!("never")),
        ] {
            assert_eq!(
                (cell.read(&object), cell.read(&json!({}))),
                (there, missing),
                "{cell:?}"
            );
        }
    }
}
