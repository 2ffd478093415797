//! Writes a JSON Patch (RFC 6902) of nothing but `add` operations, straight into bytes.

/// A patch while it is written.
#[derive(Debug, Default)]
pub(super) struct Patch {
    bytes: Vec<u8>,
    operations: usize,
}

/// Room for what one ordinary pod needs, so that the buffer is allocated once.
const ORDINARY: usize = 3 * 1024;

impl Patch {
    /// Adds one operation; `path` and `value` write theirs, the path without its quotes.
    pub(super) fn add(&mut self, path: std::fmt::Arguments<'_>, value: impl FnOnce(&mut Value<'_>)) {
        if self.bytes.is_empty() {
            self.bytes.reserve(ORDINARY);
        }
        self.bytes
            .extend_from_slice(if self.operations == 0 { b"[" } else { b"," });
        self.bytes.extend_from_slice(br#"{"op":"add","path":""#);
        write(&mut self.bytes, path);
        self.bytes.extend_from_slice(br#"","value":"#);
        value(&mut Value(&mut self.bytes));
        self.bytes.push(b'}');
        self.operations += 1;
    }

    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    /// The finished patch; empty when there is no operation.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.operations > 0 {
            self.bytes.push(b']');
        }
        self.bytes
    }
}

/// Writes a JSON value.
pub(super) struct Value<'b>(&'b mut Vec<u8>);

impl Value<'_> {
    /// Text that is JSON already.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A number.
    pub(super) fn number(&mut self, number: i64) -> &mut Self {
        write(self.0, format_args!("{number}"));
        self
    }

    /// A string, with its quotes and escapes.
    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
        self.0.push(b'"');
        if text.bytes().all(plain) {
            self.0.extend_from_slice(text.as_bytes());
        } else {
            for c in text.chars() {
                match c {
                    '"' => self.0.extend_from_slice(br#"\""#),
                    '\\' => self.0.extend_from_slice(br"\\"),
                    c if u32::from(c) < 0x20 => write(self.0, format_args!("\\u{:04x}", u32::from(c))),
                    c => self.0.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        self.0.push(b'"');
        self
    }
}

/// Formats into bytes, which cannot fail.
fn write(bytes: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let written = bytes.write_fmt(text);
    debug_assert!(written.is_ok(), "writing into a Vec does not fail");
}

/// A key as a segment of a JSON Pointer (RFC 6901), within a JSON string.
pub(super) struct Segment<'a>(pub(super) &'a str);

impl std::fmt::Display for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '~' => f.write_str("~0")?,
                '/' => f.write_str("~1")?,
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
                c => std::fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}
