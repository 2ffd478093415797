//! Text that is not ours, shown safely.
//!
//! Names, annotations, variables, user agents and error messages come from strangers. A terminal obeys what it is
//! sent: an escape sequence can clear the screen or set the clipboard, a right-to-left override reorders a name, a
//! newline forges a line of a log. [`Foreign`] is the only way such text reaches a person: its `Display` and `Debug`
//! write each of these characters as an escape such as `\n` or `\u{1b}`.

use std::fmt::{self, Write as _};

/// Text from outside. It has no other way to be displayed than the safe one; decisions use [`Foreign::raw`].
///
/// ```
/// use irsa_core::text::Foreign;
/// assert_eq!(Foreign("aws-node").to_string(), "aws-node");
/// assert_eq!(Foreign("a\u{1b}[2Jb\n").to_string(), r"a\u{1b}[2Jb\n");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Foreign<S>(pub S);

impl<S: AsRef<str>> Foreign<S> {
    /// The text as it came, for comparing and parsing, never for showing.
    pub fn raw(&self) -> &str {
        self.0.as_ref()
    }
}

impl<S: AsRef<str>> fmt::Display for Foreign<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.raw();
        if is_safe(text) {
            return f.pad(text);
        }
        if f.width().is_some() || f.precision().is_some() {
            let mut escaped = String::with_capacity(text.len() + 16);
            write_escaped(text, &mut escaped)?;
            return f.pad(&escaped);
        }
        write_escaped(text, f)
    }
}

/// In double quotes, with the same escapes as `Display`.
impl<S: AsRef<str>> fmt::Debug for Foreign<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for (index, part) in self.raw().split(['"', '\\']).enumerate() {
            if index > 0 {
                let at = part.as_ptr() as usize - self.raw().as_ptr() as usize;
                f.write_char('\\')?;
                f.write_str(&self.raw()[at - 1..at])?;
            }
            write_escaped(part, f)?;
        }
        f.write_char('"')
    }
}

/// Whether nothing in `text` needs an escape.
pub fn is_safe(text: &str) -> bool {
    // Nearly all text is ASCII: decide that without decoding.
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.contains(is_unsafe)
}

/// Whether a terminal, or the eye of its reader, could be misled by this character: control characters (C0, DEL, C1),
/// line and paragraph separators, and format characters that reorder text or cannot be seen.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'                      // soft hyphen
            | '\u{61c}'                   // Arabic letter mark
            | '\u{180e}'                  // Mongolian vowel separator
            | '\u{200b}'..='\u{200f}'     // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'     // separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}'     // word joiner, invisible operators, isolates
            | '\u{feff}'                  // byte order mark
            | '\u{fff9}'..='\u{fffb}'     // interlinear annotation
            | '\u{e0000}'..='\u{e007f}') // tags
}

fn write_escaped(text: &str, to: &mut impl fmt::Write) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(is_unsafe) {
        let (clean, tail) = rest.split_at(at);
        to.write_str(clean)?;
        let mut chars = tail.chars();
        if let Some(c) = chars.next() {
            write!(to, "{}", c.escape_default())?;
        }
        rest = chars.as_str();
    }
    to.write_str(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_way_to_mislead_a_terminal_is_made_visible() {
        for (raw, shown) in [
            ("", ""),
            ("shop/cart é 中", "shop/cart é 中"),
            ("line\nline\r\t", r"line\nline\r\t"),
            ("\u{1b}]52;c;AAAA\u{7}", r"\u{1b}]52;c;AAAA\u{7}"),
            ("\u{9b}2J", r"\u{9b}2J"),
            ("nimda\u{202e}", r"nimda\u{202e}"),
            ("a\u{200b}b\u{feff}", r"a\u{200b}b\u{feff}"),
            ("a\u{7f}\u{0}", r"a\u{7f}\u{0}"),
        ] {
            assert_eq!(Foreign(raw).to_string(), shown);
            assert_eq!(is_safe(raw), raw == shown);
        }
    }

    #[test]
    fn width_and_precision_count_what_is_shown() {
        assert_eq!(format!("{:<6}|", Foreign("a\nb")), r"a\nb  |");
        assert_eq!(format!("{:.3}", Foreign("a\nb")), r"a\n");
        assert_eq!(format!("{:>4}", Foreign("ab")), "  ab");
    }

    #[test]
    fn debug_quotes_and_escapes() {
        assert_eq!(format!("{:?}", Foreign("a\"\\\u{1b}é")), r#""a\"\\\u{1b}é""#);
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_ever_shown(text in any::<String>()) {
            let foreign = Foreign(&text);
            prop_assert!(is_safe(&foreign.to_string()));
            let forms = [format!("{foreign:?}"), format!("{foreign:12.7}")];
            prop_assert!(forms.iter().all(|form| is_safe(form)));
            prop_assert_eq!(foreign.raw(), &text);
        }

        #[test]
        fn control_sequences_between_words_are_never_shown(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("\u{1b}[31m"), Just("\u{1b}]0;x\u{7}"), Just("\u{85}"), Just("\u{202e}"), Just("\r\n"),
                    Just("\u{2066}"), Just("word")
                ],
                0..8,
            )
        ) {
            prop_assert!(is_safe(&Foreign(parts.concat()).to_string()));
        }

        #[test]
        fn safe_text_is_shown_as_it_is(text in "[ -~]{0,40}|\\PC{0,20}") {
            prop_assume!(is_safe(&text));
            prop_assert_eq!(Foreign(&text).to_string(), text);
        }
    }
}
