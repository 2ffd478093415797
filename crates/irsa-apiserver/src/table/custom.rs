//! Tables of custom resources: the columns that their definition names.

use serde_json::Value;

use super::age;
use crate::object::ObjectExt;

/// A column of a definition.
#[derive(Clone, Debug)]
pub(super) struct CustomColumn {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) wide: bool,
    path: String,
}

/// The additional columns of a version, in order.
pub(super) fn columns(definition: &Value, version: &str) -> Vec<CustomColumn> {
    let column = |column: &Value| CustomColumn {
        name: column.str_at(&["name"]).to_owned(),
        kind: match column.str_at(&["type"]) {
            "integer" => "integer",
            "number" => "number",
            "boolean" => "boolean",
            "date" => "date",
            _ => "string",
        },
        wide: column.int_at(&["priority"]).unwrap_or_default() > 0,
        path: column.str_at(&["jsonPath"]).to_owned(),
    };
    let mut versions = definition.list_at(&["spec", "versions"]).iter();
    let version = versions.find(|one| one.str_at(&["name"]) == version);
    let columns = version.map_or(&[][..], |version| version.list_at(&["additionalPrinterColumns"]));
    columns.iter().map(column).collect()
}

impl CustomColumn {
    pub(super) fn read(&self, object: &Value) -> Value {
        match (self.kind, evaluate(object, &self.path)) {
            (_, None) => Value::Null,
            ("date", Some(value)) => age::since(value.as_str().unwrap_or_default()).into(),
            ("string", Some(value)) if !value.is_string() => value.to_string().into(),
            (_, Some(value)) => value.clone(),
        }
    }
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
    fn cells_have_the_type_of_their_column() {
        let additional = json!([
            { "name": "Size", "type": "integer", "jsonPath": ".spec.size" },
            { "name": "Parts", "type": "string", "jsonPath": ".spec.parts", "priority": 1 },
            { "name": "Gone", "type": "date", "jsonPath": ".status.gone" },
        ]);
        let versions = json!([{ "name": "v1", "additionalPrinterColumns": additional }]);
        let columns = columns(&json!({ "spec": { "versions": versions } }), "v1");
        let object = json!({ "spec": { "size": 3, "parts": [1] } });
        let cells: Vec<Value> = columns.iter().map(|column| column.read(&object)).collect();
        assert_eq!(cells, [json!(3), json!("[1]"), Value::Null]);
        assert!(columns[1].wide && !columns[0].wide);
    }

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
