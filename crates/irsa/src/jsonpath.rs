//! kubectl's JSONPath: templates for `-o jsonpath=` and paths for `-o custom-columns=`.
//!
//! `{.a.b}`, `['a']`, `[0]`, `[-1]`, `[1:3]`, `[*]`, `..name`, `[?(@.a=="b")]`, `{range …}…{end}` and `{"\n"}`, as in
//! <https://kubernetes.io/docs/reference/kubectl/jsonpath/>. What a path does not find is empty.

use std::io::{self, Write};

use irsa_core::text::Foreign;
use serde_json::Value;

/// A template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// Written as it is.
    Text(String),
    /// The values of a path, separated by blanks.
    Path(Path),
    /// The body for each value of a path.
    Range(Path, Vec<Part>),
}

/// A path into a document.
#[derive(Clone, Debug, PartialEq)]
struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Every,
    /// A field of that name at any depth.
    Anywhere(String),
    Filter(Path, Option<(Operator, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Headings with paths.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CustomColumns(Vec<(String, Path)>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let parts = parts(&mut rest, false)?;
        Ok(Self(parts))
    }

    /// Writes what the template makes of a document, and a newline.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn write(&self, document: &Value, to: &mut impl Write) -> io::Result<()> {
        write_parts(&self.0, document, to)?;
        writeln!(to)
    }
}

fn write_parts(parts: &[Part], value: &Value, to: &mut impl Write) -> io::Result<()> {
    for part in parts {
        match part {
            Part::Text(text) => to.write_all(text.as_bytes())?,
            Part::Path(path) => {
                let found: Vec<String> = path.find(value).into_iter().map(shown).collect();
                to.write_all(found.join(" ").as_bytes())?;
            }
            Part::Range(path, body) => {
                for item in path.find(value) {
                    write_parts(body, item, to)?;
                }
            }
        }
    }
    Ok(())
}

/// A value as kubectl prints it: texts without quotes, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Foreign(text).to_string(),
        other => Foreign(other.to_string()).to_string(),
    }
}

/// Reads parts up to the end, or within a range up to `{end}`.
fn parts(rest: &mut &str, within_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some(open) = rest.find('{') else {
            if within_range {
                return Err("{range} without {end}".to_owned());
            }
            push_text(&mut parts, rest);
            *rest = "";
            return Ok(parts);
        };
        push_text(&mut parts, &rest[..open]);
        let after = &rest[open + 1..];
        let close = closing(after).ok_or_else(|| format!("`{{{after}` is not closed"))?;
        let body = after[..close].trim();
        *rest = &after[close + 1..];
        if body == "end" {
            if !within_range {
                return Err("{end} without {range}".to_owned());
            }
            return Ok(parts);
        }
        if let Some(path) = body.strip_prefix("range ") {
            let path = Path::parse(path.trim())?;
            parts.push(Part::Range(path, self::parts(rest, true)?));
        } else if body.starts_with(['"', '\'']) {
            push_text(&mut parts, &unquoted(body)?);
        } else {
            parts.push(Part::Path(Path::parse(body)?));
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// Where the brace that ends an expression is; braces in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// The text in quotes, with `\n`, `\t`, `\r` and `\x` read.
fn unquoted(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not a quoted text");
    let quote = text.chars().next().ok_or_else(wrong)?;
    let inner = text[1..].strip_suffix(quote).ok_or_else(wrong)?;
    let mut read = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        read.push(match c {
            '\\' => match chars.next().ok_or_else(wrong)? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            },
            c => c,
        });
    }
    Ok(read)
}

impl Path {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a path");
        let mut rest = text.strip_prefix(['$', '@']).unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                let (name, after) = field(after);
                if name.is_empty() {
                    return Err(wrong());
                }
                steps.push(Step::Anywhere(name));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let close = bracket(after).ok_or_else(wrong)?;
                steps.push(subscript(after[..close].trim()).ok_or_else(wrong)?);
                rest = &after[close + 1..];
            } else if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() && steps.is_empty() {
                    break;
                }
                // `.[0]` is `[0]`.
                if after.starts_with('[') {
                    rest = after;
                    continue;
                }
                let (name, after) = field(after);
                match name.as_str() {
                    "" => return Err(wrong()),
                    "*" => steps.push(Step::Every),
                    _ => steps.push(Step::Field(name)),
                }
                rest = after;
            } else {
                return Err(wrong());
            }
        }
        Ok(Self(steps))
    }

    fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

/// A name up to the next step; `\.` is a dot in it.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket that ends a subscript is; brackets within it and in quotes do not count.
fn bracket(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn subscript(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Every);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        return condition(filter.trim());
    }
    if text.starts_with(['"', '\'']) {
        return unquoted(text).ok().map(Step::Field);
    }
    if let Some((from, to)) = text.split_once(':') {
        let number = |text: &str| match text.trim() {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        return Some(Step::Slice(number(from)?, number(to)?));
    }
    text.parse().ok().map(Step::Index)
}

fn condition(text: &str) -> Option<Step> {
    // Those of two characters first, so that `<=` is not taken for `<`.
    let operators = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let split = operators.iter().find_map(|(word, operator)| {
        let (path, literal) = text.split_once(word)?;
        Some((path, *operator, literal))
    });
    let Some((path, operator, literal)) = split else {
        return Path::parse(text).ok().map(|path| Step::Filter(path, None));
    };
    let literal = literal.trim();
    let literal = if literal.starts_with(['"', '\'']) {
        Value::String(unquoted(literal).ok()?)
    } else {
        serde_json::from_str(literal).ok()?
    };
    let path = Path::parse(path.trim()).ok()?;
    Some(Step::Filter(path, Some((operator, literal))))
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Every => children(value),
            Self::Anywhere(name) => {
                let mut found: Vec<&Value> = value.get(name).into_iter().collect();
                for child in children(value) {
                    found.extend(self.apply(child));
                }
                found
            }
            Self::Index(index) => {
                let list = value.as_array().map_or(&[][..], Vec::as_slice);
                position(*index, list.len())
                    .and_then(|at| list.get(at))
                    .into_iter()
                    .collect()
            }
            Self::Slice(from, to) => {
                let list = value.as_array().map_or(&[][..], Vec::as_slice);
                let bound = |index: Option<i64>, otherwise| match index {
                    None => otherwise,
                    Some(index) => position(index, list.len()).unwrap_or(0).min(list.len()),
                };
                let (from, to) = (bound(*from, 0), bound(*to, list.len()));
                list.get(from..to).unwrap_or_default().iter().collect()
            }
            Self::Filter(path, condition) => children(value)
                .into_iter()
                .filter(|child| {
                    let found = path.find(child);
                    match condition {
                        None => !found.is_empty(),
                        Some((operator, literal)) => {
                            found.first().is_some_and(|found| operator.holds(found, literal))
                        }
                    }
                })
                .collect(),
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// A place in a list of `length`; negative ones count from its end.
fn position(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 {
        i64::try_from(length).ok()?.checked_add(index)?
    } else {
        index
    };
    usize::try_from(index).ok()
}

impl Operator {
    fn holds(self, found: &Value, literal: &Value) -> bool {
        let order = match (found, literal) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) if a == b => Some(std::cmp::Ordering::Equal),
            _ => None,
        };
        match self {
            Self::Equal => order.is_some_and(|order| order.is_eq()),
            Self::NotEqual => !order.is_some_and(|order| order.is_eq()),
            Self::Less => order.is_some_and(|order| order.is_lt()),
            Self::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Self::Greater => order.is_some_and(|order| order.is_gt()),
            Self::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

impl CustomColumns {
    /// Reads `HEADING:PATH,…`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let columns = text.split(',').map(|column| {
            let (heading, path) = column
                .split_once(':')
                .ok_or_else(|| format!("`{column}` is not a custom column: use HEADING:.path"))?;
            // As in kubectl, braces and the first dot may be left out.
            let path = path.trim().trim_start_matches('{').trim_end_matches('}');
            let path = if path.starts_with(['.', '[', '$', '@']) {
                Path::parse(path)?
            } else {
                Path::parse(&format!(".{path}"))?
            };
            Ok((heading.to_owned(), path))
        });
        columns.collect::<Result<_, String>>().map(Self)
    }

    /// The headings.
    pub(crate) fn headings(&self) -> Vec<&str> {
        self.0.iter().map(|(heading, _)| heading.as_str()).collect()
    }

    /// The cells for one item.
    pub(crate) fn cells(&self, item: &Value) -> Vec<String> {
        let cells = self.0.iter().map(|(_, path)| {
            let found: Vec<String> = path.find(item).into_iter().map(shown).collect();
            found.join(",")
        });
        cells.collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn made(template: &str) -> String {
        let document = json!({
            "kind": "Status",
            "items": [
                {"name": "a", "pods": 3, "labels": {"k8s.io/app": "x"}, "list": [1, 2, 3]},
                {"name": "b", "pods": 1, "evil": "\u{1b}[2J"},
            ],
        });
        let mut text = Vec::new();
        Template::parse(template)
            .unwrap()
            .write(&document, &mut text)
            .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn templates_are_read_as_kubectl_reads_them() {
        for (template, expected) in [
            ("{.kind}", "Status\n"),
            ("kind is {$.kind}!", "kind is Status!\n"),
            ("{.items[*].name}", "a b\n"),
            ("{.items[0].name}{.items[-1].name}", "ab\n"),
            ("{.items[0].list[1:]}", "2 3\n"),
            ("{.items[0].list}", "[1,2,3]\n"),
            (r"{.items[0].labels.k8s\.io/app}", "x\n"),
            ("{.items[0].labels['k8s.io/app']}", "x\n"),
            ("{..name}", "a b\n"),
            (
                r#"{range .items[*]}{.name}{"\t"}{.pods}{"\n"}{end}"#,
                "a\t3\nb\t1\n\n",
            ),
            (r#"{.items[?(@.name=="b")].pods}"#, "1\n"),
            ("{.items[?(@.pods>=2)].name}", "a\n"),
            ("{.items[?(@.evil)].name}", "b\n"),
            ("{.nowhere.at.all}", "\n"),
            ("{.items[1].evil}", "\\u{1b}[2J\n"),
            (r#"{"}"}"#, "}\n"),
        ] {
            assert_eq!(made(template), expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for wrong in ["{.a", "{range .a}x", "{end}", "{a}", "{.a[}", "{.a[x]}", "{\"x}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        assert!(CustomColumns::parse("NAME").is_err());
    }

    #[test]
    fn columns_take_paths_with_and_without_braces_and_dots() {
        let columns = CustomColumns::parse("NAME:.name,PODS:{.pods},X:labels.x").unwrap();
        assert_eq!(columns.headings(), ["NAME", "PODS", "X"]);
        assert_eq!(columns.cells(&json!({"name": "a", "pods": 3})), ["a", "3", ""]);
    }

    proptest! {
        #[test]
        fn no_template_makes_it_panic(text in "[{}a.\\[\\]*:'\"?()@=<>0-9-]{0,30}|.{0,20}") {
            if let Ok(template) = Template::parse(&text) {
                template.write(&json!({"a": [1, {"a": 2}]}), &mut Vec::new()).unwrap();
            }
        }
    }
}
