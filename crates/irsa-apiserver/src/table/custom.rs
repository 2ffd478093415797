//! Tables of custom resources: the columns that their definition names.

use serde_json::Value;

use super::cells::{age, age_of, columns, name};
use super::{Cells, Column};
use crate::object::ObjectExt;

pub(super) fn table(definition: &Value, version: &str) -> (Vec<Column>, Cells) {
    let additional: Vec<Value> = definition
        .list_at(&["spec", "versions"])
        .iter()
        .find(|one| one.str_at(&["name"]) == version)
        .map(|one| one.list_at(&["additionalPrinterColumns"]).to_vec())
        .unwrap_or_default();
    if additional.is_empty() {
        return (
            columns("Name|Age"),
            Box::new(|object| vec![name(object), age(object)]),
        );
    }
    let mut all = columns("Name");
    for column in &additional {
        let kind = match column.str_at(&["type"]) {
            "integer" => "integer",
            "number" => "number",
            "boolean" => "boolean",
            "date" => "date",
            _ => "string",
        };
        all.push((
            column.str_at(&["name"]).to_owned(),
            kind,
            column.int_at(&["priority"]).unwrap_or_default() > 0,
        ));
    }
    let cells = move |object: &Value| {
        let mut cells = vec![name(object)];
        for column in &additional {
            let found = evaluate(object, column.str_at(&["jsonPath"]));
            cells.push(match (column.str_at(&["type"]), found) {
                (_, None) => Value::Null,
                ("date", Some(value)) => age_of(value.as_str().unwrap_or_default()).into(),
                ("string", Some(value)) if !value.is_string() => value.to_string().into(),
                (_, Some(value)) => value.clone(),
            });
        }
        cells
    };
    (all, Box::new(cells))
}

/// The simple paths that definitions use: `.spec.x`, `.status.conditions[?(@.type=="Ready")].status`, `.a[0]`, and
/// `\.` for a dot in a name. Anything else finds nothing.
fn evaluate<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    let mut current = object;
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']')?;
            let (inside, next) = (&after[..end], &after[end + 1..]);
            rest = next;
            let list = current.as_array();
            current = if let Some(filter) = inside
                .strip_prefix("?(@.")
                .and_then(|text| text.strip_suffix(')'))
            {
                let (field, wanted) = filter.split_once("==")?;
                let wanted = wanted.trim().trim_matches(['"', '\'']);
                list?.iter().find(|one| one.str_at(&[field.trim()]) == wanted)?
            } else if let Ok(index) = inside.parse::<usize>() {
                list?.get(index)?
            } else {
                current.get(inside.trim_matches(['"', '\'']))?
            };
        } else {
            let after = rest.strip_prefix('.')?;
            let mut field = String::new();
            let mut letters = after.char_indices();
            let mut end = after.len();
            while let Some((index, letter)) = letters.next() {
                match letter {
                    '\\' => field.extend(letters.next().map(|(_, letter)| letter)),
                    '.' | '[' => {
                        end = index;
                        break;
                    }
                    _ => field.push(letter),
                }
            }
            rest = &after[end..];
            current = current.get(&field)?;
        }
    }
    Some(current)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_paths_that_definitions_use_are_found() {
        let object = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
            "metadata": { "annotations": { "a.b/c": "x" } }, "list": [1, 2] });
        let found = |path: &str| evaluate(&object, path).cloned();
        assert_eq!(
            found(".status.conditions[?(@.type==\"Ready\")].status"),
            Some("True".into())
        );
        assert_eq!(found(".metadata.annotations.a\\.b/c"), Some("x".into()));
        assert_eq!(found(".list[1]"), Some(2.into()));
        for path in [".x", "[", ".status[?(@", "..", ".list[9]"] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
