//! The last guard before a terminal.
//!
//! Text from outside reaches people through [`irsa_core::text::Foreign`]. Should a place forget it, this writer lets
//! pass newlines and the colours that this program sets, and shows every other control character as an escape.

use std::io::{self, Write};

use irsa_core::text::{Foreign, is_safe, is_unsafe};

/// A writer of UTF-8 text that escapes what could mislead a terminal.
pub(crate) struct Safe<W: Write> {
    to: W,
    /// The beginning of a character or of a colour, whose rest has not been written yet.
    pending: Vec<u8>,
}

/// What stands in front of a text.
enum Front {
    /// So many bytes that may pass.
    Pass(usize),
    /// One character that must be shown.
    Escape(char),
    /// Not enough to tell.
    Incomplete,
}

impl<W: Write> Safe<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            pending: Vec::new(),
        }
    }

    fn write_text(&mut self, mut text: &str) -> io::Result<()> {
        while !text.is_empty() {
            let clean = text.find(|c| c != '\n' && is_unsafe(c)).unwrap_or(text.len());
            self.to.write_all(&text.as_bytes()[..clean])?;
            text = &text[clean..];
            match front(text) {
                Front::Pass(length) => {
                    self.to.write_all(&text.as_bytes()[..length])?;
                    text = &text[length..];
                }
                Front::Escape(c) => {
                    write!(self.to, "{}", Foreign(c.encode_utf8(&mut [0; 4])))?;
                    text = &text[c.len_utf8()..];
                }
                Front::Incomplete => {
                    self.pending.extend_from_slice(text.as_bytes());
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A colour is ESC, `[`, digits and semicolons, `m`.
fn front(text: &str) -> Front {
    let Some(first) = text.chars().next() else {
        return Front::Pass(0);
    };
    if first != '\u{1b}' {
        return Front::Escape(first);
    }
    let body = match text[1..].strip_prefix('[') {
        Some(body) => body,
        None if text.len() == 1 => return Front::Incomplete,
        None => return Front::Escape(first),
    };
    match body.find(|c: char| !(c.is_ascii_digit() || c == ';')) {
        Some(end) if body.as_bytes()[end] == b'm' => Front::Pass(2 + end + 1),
        None if body.len() < 32 => Front::Incomplete,
        _ => Front::Escape(first),
    }
}

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.pending.is_empty()
            && let Ok(text) = std::str::from_utf8(buffer)
        {
            if is_safe(text) {
                self.to.write_all(buffer)?;
            } else {
                self.write_text(text)?;
            }
            return Ok(buffer.len());
        }
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(buffer);
        let mut rest = bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.write_text(text)?;
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.write_text(&String::from_utf8_lossy(valid))?;
                    match error.error_len() {
                        Some(length) => {
                            self.to.write_all("\u{fffd}".as_bytes())?;
                            rest = &after[length..];
                        }
                        None => {
                            self.pending.extend_from_slice(after);
                            break;
                        }
                    }
                }
            }
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn through(parts: &[&[u8]]) -> String {
        let mut safe = Safe::new(Vec::new());
        for part in parts {
            safe.write_all(part).unwrap();
        }
        String::from_utf8(safe.to).unwrap()
    }

    #[test]
    fn colours_and_newlines_pass_and_other_control_characters_are_shown() {
        assert_eq!(
            through(&[b"\x1b[1;31mred\x1b[0m\n"]),
            "\u{1b}[1;31mred\u{1b}[0m\n"
        );
        assert_eq!(through(&[b"a\x1b[2Jb\rc\x07"]), r"a\u{1b}[2Jb\rc\u{7}");
        assert_eq!(through(&["\u{202e}é".as_bytes()]), r"\u{202e}é");
    }

    #[test]
    fn colours_and_characters_may_be_written_in_pieces() {
        assert_eq!(through(&[b"\x1b", b"[3", b"1m", b"x"]), "\u{1b}[31mx");
        let accent = "é".as_bytes();
        assert_eq!(through(&[&accent[..1], &accent[1..]]), "é");
        assert_eq!(through(&[b"\xff", b"x"]), "\u{fffd}x");
        assert_eq!(through(&[b"\x1b", b"]0;t\x07"]), r"\u{1b}]0;t\u{7}");
    }
}
