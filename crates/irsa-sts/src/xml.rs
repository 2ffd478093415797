//! XML out: enough for the answers of the AWS query protocol, with everything from outside escaped.

use std::fmt::Write as _;

/// Namespace of STS answers.
pub(crate) const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Namespace of errors that the common front gives.
pub(crate) const FAULT_NAMESPACE: &str = "http://webservices.amazon.com/AWSFault/2005-15-09";

/// Writes indented XML, as STS does.
#[derive(Debug, Default)]
pub(crate) struct XmlWriter {
    out: String,
    open: Vec<&'static str>,
}

impl XmlWriter {
    /// An empty document.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            out: String::with_capacity(2048),
            open: Vec::with_capacity(4),
        }
    }

    /// Opens the root element with its namespace.
    pub(crate) fn root(&mut self, name: &str, namespace: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "<{name} xmlns=\"{namespace}\">");
    }

    /// Opens an element.
    pub(crate) fn open(&mut self, name: &'static str) {
        self.indent();
        let _ = writeln!(self.out, "<{name}>");
        self.open.push(name);
    }

    /// Closes the innermost element that [`Self::open`] opened.
    pub(crate) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent();
            let _ = writeln!(self.out, "</{name}>");
        }
    }

    /// An element with text.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.indent();
        let _ = write!(self.out, "<{name}>");
        escape_into(&mut self.out, value);
        let _ = writeln!(self.out, "</{name}>");
    }

    /// Closes the root and hands the document over.
    #[must_use]
    pub(crate) fn finish(mut self, root: &str) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        let _ = writeln!(self.out, "</{root}>");
        self.out
    }

    fn indent(&mut self) {
        for _ in 0..=self.open.len() {
            self.out.push_str("  ");
        }
    }
}

/// Appends `text` with the five special characters escaped and characters that XML 1.0 has no place for replaced.
pub(crate) fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            c if (c as u32) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}
