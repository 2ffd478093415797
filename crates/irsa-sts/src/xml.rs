//! XML out: enough for the answers of the AWS query protocol, with everything from outside escaped.

/// Namespace of STS answers.
pub(crate) const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Namespace of errors that the common front gives.
pub(crate) const FAULT_NAMESPACE: &str = "http://webservices.amazon.com/AWSFault/2005-15-09";

/// Writes indented XML, as STS does. Element names are ours, texts may be anybody's.
#[derive(Debug, Default)]
pub(crate) struct XmlWriter {
    out: String,
    /// Names of open elements, each in two parts.
    open: Vec<(&'static str, &'static str)>,
}

impl XmlWriter {
    /// An empty document.
    pub(crate) fn new() -> Self {
        Self {
            out: String::with_capacity(2048),
            open: Vec::with_capacity(4),
        }
    }

    /// Opens the root element (its name in two parts) with its namespace.
    pub(crate) fn root(&mut self, name: &'static str, suffix: &'static str, namespace: &str) {
        self.line(&["<", name, suffix, " xmlns=\"", namespace, "\">"]);
        self.open.push((name, suffix));
    }

    /// Opens an element.
    pub(crate) fn open(&mut self, name: &'static str) {
        self.open_joined(name, "");
    }

    /// Opens an element whose name is given in two parts.
    pub(crate) fn open_joined(&mut self, name: &'static str, suffix: &'static str) {
        self.line(&["<", name, suffix, ">"]);
        self.open.push((name, suffix));
    }

    /// Closes the innermost element.
    pub(crate) fn close(&mut self) {
        if let Some((name, suffix)) = self.open.pop() {
            self.line(&["</", name, suffix, ">"]);
        }
    }

    /// An element with text.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        self.indent();
        self.out.extend(["<", name, ">"]);
        escape_into(&mut self.out, value);
        self.out.extend(["</", name, ">\n"]);
    }

    /// Closes everything and hands the document over.
    pub(crate) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn line(&mut self, parts: &[&str]) {
        self.indent();
        self.out.extend(parts.iter().copied());
        self.out.push('\n');
    }

    fn indent(&mut self) {
        for _ in &self.open {
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
            // An apostrophe is special in attributes only, and AWS's texts are full of them.
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            c if (c as u32) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_nested_and_escaped() {
        let mut xml = XmlWriter::new();
        xml.root("Error", "Response", STS_NAMESPACE);
        xml.open("Error");
        xml.text("Message", "<a> & 'b' \u{0} \r");
        assert_eq!(
            xml.finish(),
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Message>&lt;a&gt; \
             &amp; 'b' \u{fffd} &#xD;</Message>\n  </Error>\n</ErrorResponse>\n"
        );
    }
}
