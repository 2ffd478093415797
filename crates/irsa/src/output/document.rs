//! Documents for programs: JSON and YAML that a terminal can be shown, too.

use std::io::{self, Write};

use anyhow::Context as _;
use irsa_core::text::{is_safe, is_unsafe};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Writes pretty JSON in which every character that could mislead a terminal is written as `\uXXXX`. To a parser it is
/// the same document.
pub(super) fn json(value: &impl Serialize, to: &mut impl Write) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *to, Escaping(PrettyFormatter::new()));
    value.serialize(&mut serializer)?;
    writeln!(to)
}

/// Writes YAML. A document with a character that could mislead a terminal is written as JSON, which is YAML, too.
pub(crate) fn yaml(value: &impl Serialize, to: &mut impl Write) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(value).context("writing YAML")?;
    if text.lines().all(is_safe) {
        to.write_all(text.as_bytes())?;
    } else {
        json(value, to)?;
    }
    Ok(())
}

/// Writes one line of JSON, with the same escapes.
pub(super) fn json_line(value: &impl Serialize, to: &mut impl Write) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *to, Escaping(CompactFormatter));
    value.serialize(&mut serializer)?;
    writeln!(to)
}

struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        if is_safe(fragment) {
            return to.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            let mut units = [0; 2];
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut units) {
                    write!(to, "\\u{unit:04x}")?;
                }
            } else {
                write!(to, "{c}")?;
            }
        }
        Ok(())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_array(to)
    }

    fn end_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_array(to)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(to, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_array_value(to)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object(to)
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object(to)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object_value(to)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object_value(to)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hostile_text_stays_the_same_for_a_parser_and_is_harmless_for_a_terminal() {
        let value = json!({"a\u{9b}2J": ["\u{1b}]0;x\u{7}", "\u{202e}", "\u{e0041}", "é\u{7f}"], "b": {}});
        for text in [
            written(|to| super::json(&value, to).unwrap()),
            written(|to| yaml(&value, to).unwrap()),
        ] {
            assert!(text.lines().all(is_safe), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn ordinary_documents_are_written_as_usual() {
        let value = json!({"name": "web", "list": [1, {"x": null}], "empty": []});
        assert_eq!(
            written(|to| super::json(&value, to).unwrap()),
            serde_json::to_string_pretty(&value).unwrap() + "\n"
        );
        assert!(written(|to| yaml(&value, to).unwrap()).starts_with("name: web\n"));
    }
}
