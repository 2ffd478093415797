//! XML answers of STS and S3, written with `quick-xml`; every text is escaped.

use std::borrow::Cow;

use quick_xml::Writer;
use quick_xml::escape::partial_escape;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

/// Namespace of STS answers.
pub(crate) const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Namespace of errors from the front end that all AWS query services share.
pub(crate) const FAULT_NAMESPACE: &str = "http://webservices.amazon.com/AWSFault/2005-15-09";

/// Namespace of S3 answers other than errors.
pub(crate) const S3_NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document that is being written. Element names come from this crate, texts may come from anybody.
pub(crate) struct XmlWriter {
    writer: Writer<Vec<u8>>,
    /// Names of the elements that are still open.
    open: Vec<Cow<'static, str>>,
}

impl XmlWriter {
    /// An indented document without an XML declaration, as STS answers.
    pub(crate) fn sts(root: impl Into<Cow<'static, str>>, namespace: &str) -> Self {
        Self {
            writer: Writer::new_with_indent(Vec::with_capacity(2048), b' ', 2),
            open: Vec::with_capacity(4),
        }
        .with_root(root.into(), Some(namespace))
    }

    /// A document with an XML declaration and no indentation, as S3 answers. S3's errors have no namespace.
    pub(crate) fn s3(root: &'static str, namespace: Option<&str>) -> Self {
        let mut document = Self {
            writer: Writer::new(Vec::with_capacity(512)),
            open: Vec::with_capacity(4),
        };
        document.write(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        document.write(Event::Text(BytesText::from_escaped("\n")));
        document.with_root(root.into(), namespace)
    }

    fn with_root(mut self, name: Cow<'static, str>, namespace: Option<&str>) -> Self {
        let mut start = BytesStart::new(name.clone());
        if let Some(namespace) = namespace {
            start.push_attribute(("xmlns", namespace));
        }
        self.write(Event::Start(start));
        self.open.push(name);
        self
    }

    /// Opens an element.
    pub(crate) fn open(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        self.write(Event::Start(BytesStart::new(name.clone())));
        self.open.push(name);
    }

    /// Closes the innermost element.
    pub(crate) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.write(Event::End(BytesEnd::new(name)));
        }
    }

    /// An element with text.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        self.open(name);
        self.content(value);
        self.close();
    }

    /// Text of the innermost element.
    pub(crate) fn content(&mut self, value: &str) {
        self.write(Event::Text(BytesText::from_escaped(escape(value))));
    }

    /// Closes everything that is open and returns the document.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.writer.into_inner()
    }

    fn write(&mut self, event: Event<'_>) {
        // Writing to a `Vec` cannot fail.
        let _ = self.writer.write_event(event);
    }
}

/// Escapes markup and quotes, and replaces what XML 1.0 cannot carry. Apostrophes stay: they are special in attributes
/// only, and AWS's messages are full of them.
fn escape(text: &str) -> Cow<'_, str> {
    let impossible =
        |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    let escaped = partial_escape(text);
    if !escaped.contains(|c| c == '"' || impossible(c)) {
        return escaped;
    }
    Cow::Owned(escaped.replace('"', "&quot;").replace(impossible, "\u{fffd}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn sts_answers_are_indented_and_escaped() {
        let mut xml = XmlWriter::sts("ErrorResponse", STS_NAMESPACE);
        xml.open("Error");
        xml.text("Message", "<a> & 'b' \u{0} \r");
        assert_eq!(
            String::from_utf8(xml.finish()).unwrap(),
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Message>&lt;a&gt; \
             &amp; 'b' \u{fffd} &#13;</Message>\n  </Error>\n</ErrorResponse>"
        );
    }

    #[test]
    fn s3_answers_have_a_declaration_and_no_indentation() {
        let mut xml = XmlWriter::s3("Error", None);
        xml.text("Key", "<&>");
        assert_eq!(
            String::from_utf8(xml.finish()).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Key>&lt;&amp;&gt;</Key></Error>"
        );
    }
}
