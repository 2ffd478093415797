//! The few XML documents that S3 receives, read into their leaves.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::error::{S3Error, S3Result};

/// Documents that come in are small; `DeleteObjects` with its 1000 keys is the largest.
const MAX_INPUT: usize = 4 << 20;

/// One element of a document that came in: its path without the root, and its text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Names from the root's child inward, joined by `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// How many children of the root ended before: tells repeated elements apart.
    pub(crate) nth: usize,
}

/// Reads a document into its leaves. The root must be `root`; namespaces are ignored, as S3 does.
pub(crate) fn leaves(body: &[u8], root: &str) -> S3Result<Vec<Leaf>> {
    if body.len() > MAX_INPUT {
        return Err(S3Error::bad(
            "MaxMessageLengthExceeded",
            "Your request was too big.",
        ));
    }
    let body = std::str::from_utf8(body).map_err(|_| S3Error::malformed_xml())?;
    let mut reader = Reader::from_str(body);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut is_leaf = false;
    let mut found = Vec::new();
    let mut nth = 0;
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|_| S3Error::malformed_xml())? {
            Event::Start(start) => {
                // Nesting beyond any document of S3.
                if path.len() > 8 {
                    return Err(S3Error::malformed_xml());
                }
                let name = start.local_name().as_ref().to_owned();
                if path.is_empty() && (seen_root || name != root) {
                    return Err(S3Error::malformed_xml());
                }
                seen_root = true;
                path.push(name);
                text.clear();
                is_leaf = true;
            }
            Event::End(_) => {
                if is_leaf && path.len() > 1 {
                    found.push(Leaf {
                        path: path[1..].join("/"),
                        text: std::mem::take(&mut text),
                        nth,
                    });
                }
                is_leaf = false;
                path.pop();
                if path.len() == 1 {
                    nth += 1;
                }
            }
            Event::Empty(empty) => {
                let name = empty.local_name().as_ref().to_owned();
                if path.is_empty() {
                    if seen_root || name != root {
                        return Err(S3Error::malformed_xml());
                    }
                    seen_root = true;
                } else {
                    if path.len() == 1 {
                        nth += 1;
                    }
                    is_leaf = false;
                }
            }
            Event::Text(part) => {
                text.push_str(&part.xml10_content());
            }
            Event::CData(part) => {
                text.push_str(&part.xml10_content());
            }
            Event::GeneralRef(reference) => text.push(resolve(&reference)?),
            // A document type could define entities; none of S3's documents has one.
            Event::DocType(_) => return Err(S3Error::malformed_xml()),
            Event::Eof if path.is_empty() && seen_root => return Ok(found),
            Event::Eof => return Err(S3Error::malformed_xml()),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
        }
    }
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> S3Result<char> {
    if let Some(c) = reference
        .resolve_char_ref()
        .map_err(|_| S3Error::malformed_xml())?
    {
        return Ok(c);
    }
    match reference.as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(S3Error::malformed_xml()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_their_path_their_text_and_their_place() {
        let text = "<?xml version=\"1.0\"?><Delete xmlns=\"x\"><Object><Key>a&amp;b&#33;</Key>\
                    <VersionId/></Object><Quiet>true</Quiet></Delete>";
        let found: Vec<_> = leaves(text.as_bytes(), "Delete")
            .unwrap()
            .into_iter()
            .map(|leaf| (leaf.path, leaf.text, leaf.nth))
            .collect();
        assert_eq!(
            found,
            [
                ("Object/Key".to_owned(), "a&b!".to_owned(), 0),
                ("Quiet".to_owned(), "true".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn documents_that_are_none_or_another_are_refused() {
        let deep = "<a>".repeat(100);
        for text in [
            "",
            "<Delete>",
            "<Other/>",
            "<Delete/><Delete/>",
            "<Delete>&bomb;</Delete>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><Delete/>",
            &format!("<Delete>{deep}"),
        ] {
            assert!(leaves(text.as_bytes(), "Delete").is_err(), "{text}");
        }
    }
}
