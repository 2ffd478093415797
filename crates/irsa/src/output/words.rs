//! Words and lines for people.

use std::io::{self, Write};

use owo_colors::OwoColorize as _;
use unicode_width::UnicodeWidthStr as _;

/// `1 pod`, `2 pods`, `3 policies`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        return format!("1 {what}");
    }
    match what.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {what}s"),
    }
}

/// `text` in lines of at most `width` columns, broken at blanks and after commas, never within a word; a longer word
/// has a line of its own. Every line has the indent of the first. Without a width it is one line.
pub(crate) fn wrapped(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let text = text.trim_end_matches(' ');
    let body = text.trim_start_matches(' ');
    let indent = &text[..text.len() - body.len()];
    let mut lines = Vec::new();
    let mut line = indent.to_owned();
    let mut columns = indent.len();
    for word in pieces(body) {
        let bare = word.trim_end_matches(' ');
        if columns > indent.len() && columns + bare.width() > width {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
            columns = indent.len();
        }
        line.push_str(word);
        columns += word.width();
    }
    lines.push(line);
    for line in &mut lines {
        line.truncate(line.trim_end_matches(' ').len());
    }
    lines
}

/// Writes `label text` below one another at `indent`, in lines of at most `columns`; the label is coloured.
///
/// # Errors
/// What the stream says.
pub(crate) fn indented(
    to: &mut impl Write,
    indent: usize,
    label: &str,
    text: &str,
    columns: Option<usize>,
) -> io::Result<()> {
    let label_width = if label.is_empty() { 0 } else { label.width() + 1 };
    let hanging = indent + label_width;
    let width = columns.map(|columns| columns.saturating_sub(hanging));
    for (line, text) in wrapped(text, width).iter().enumerate() {
        if line == 0 && !label.is_empty() {
            writeln!(to, "{:indent$}{} {text}", "", label.cyan())?;
        } else {
            writeln!(to, "{:hanging$}{text}", "")?;
        }
    }
    Ok(())
}

/// Words, each with the blanks behind it. A comma ends a word only if what follows is no number.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let mut end = rest.len();
        let mut blank = false;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b' ' {
                blank = true;
            } else if blank || (at > 0 && bytes[at - 1] == b',' && !byte.is_ascii_digit()) {
                end = at;
                break;
            }
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_right() {
        assert_eq!(counted(1, "service account"), "1 service account");
        assert_eq!(counted(0, "pod"), "0 pods");
        assert_eq!(counted(2, "registry"), "2 registries");
        assert_eq!(counted(2, "key"), "2 keys");
    }

    #[test]
    fn lines_are_broken_between_words_only() {
        let broken = |text, width| wrapped(text, Some(width));
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(
            broken("legacy,regional,global", 12),
            ["legacy,", "regional,", "global"]
        );
        assert_eq!(
            broken("sts.us-west-2.amazonaws.com x", 5),
            ["sts.us-west-2.amazonaws.com", "x"]
        );
        assert_eq!(broken("10,000 pods", 6), ["10,000", "pods"]);
        assert_eq!(broken("  one two", 6), ["  one", "  two"]);
        assert_eq!(broken("", 5), [""]);
        assert_eq!(wrapped("a b c", None), ["a b c"]);
    }
}
