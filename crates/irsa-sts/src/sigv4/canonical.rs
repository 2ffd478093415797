//! The canonical request and the string to sign, made from the request as it came over the wire.

use std::borrow::Cow;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Location;
use super::date::AmzDate;
use super::scope::CredentialScope;

/// The only algorithm that is accepted.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Everything but the unreserved characters of RFC 3986.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The parts of a request that can be signed, as sent.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, still encoded.
    pub path: &'a str,
    /// The query without `?`, still encoded; empty when there is none.
    pub query: &'a str,
    /// The headers with duplicates in their order.
    pub headers: &'a HeaderMap,
    /// The authority of the request target, which stands for `Host` on HTTP/2.
    pub authority: Option<&'a str>,
}

impl<'a> RequestView<'a> {
    /// The view of a request's head.
    #[must_use]
    pub fn of(parts: &'a Parts) -> Self {
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
        }
    }

    /// The first header of that name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The parameters of the query, still encoded. Empty ones (`a&&b`) are none.
    pub fn query_pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers.contains_key(name)
            || (matches!(name, "host" | ":authority")
                && (self.authority.is_some() || self.headers.contains_key("host")))
    }
}

/// How a service makes the canonical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMode {
    /// S3: the path as it is on the wire, encoded once by the client.
    AsSent,
    /// All other services: dot segments and doubled slashes removed, then encoded once more.
    Normalized,
}

/// The canonical request.
pub(super) fn canonical_request(
    request: &RequestView<'_>,
    mode: PathMode,
    location: Location,
    signed_headers: &[String],
    payload_hash: &str,
) -> String {
    let mut out = String::with_capacity(1024);
    out.push_str(request.method);
    out.push('\n');
    match mode {
        PathMode::AsSent if request.path.is_empty() => out.push('/'),
        PathMode::AsSent => out.push_str(request.path),
        PathMode::Normalized => normalize_path(request.path, &mut out),
    }
    out.push('\n');
    canonical_query(request, location, &mut out);
    out.push('\n');
    for name in signed_headers {
        out.push_str(name);
        out.push(':');
        header_values(request, name, &mut out);
        out.push('\n');
    }
    out.push('\n');
    for (i, name) in signed_headers.iter().enumerate() {
        if i > 0 {
            out.push(';');
        }
        out.push_str(name);
    }
    out.push('\n');
    out.push_str(payload_hash);
    out
}

/// The string to sign.
pub(super) fn string_to_sign(date: AmzDate, scope: &CredentialScope, canonical_request: &str) -> String {
    format!(
        "{ALGORITHM}\n{date}\n{scope}\n{}",
        sha256_hex(canonical_request.as_bytes())
    )
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// Percent-decodes a name or value of a query, `+` being a blank. `None` when an escape is broken or the result is not
/// UTF-8.
pub(crate) fn decode_component(component: &str) -> Option<String> {
    let mut rest = component.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let [high, low, ..] = rest.get(at + 1..)? else {
            return None;
        };
        if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
            return None;
        }
        rest = rest.get(at + 3..)?;
    }
    let blanks: Cow<'_, str> = if component.contains('+') {
        Cow::Owned(component.replace('+', " "))
    } else {
        Cow::Borrowed(component)
    };
    percent_decode_str(&blanks)
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// Encodes as RFC 3986 wants it for a component.
fn encode_component(component: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(component, NOT_UNRESERVED)
}

fn canonical_query(request: &RequestView<'_>, location: Location, out: &mut String) {
    if request.query.is_empty() {
        return;
    }
    // A component that cannot be decoded stays as it is: the signature then decides.
    let recode = |component: &str| match decode_component(component) {
        Some(decoded) => encode_component(&decoded).to_string(),
        None => component.to_owned(),
    };
    let mut pairs: Vec<(String, String)> = request
        .query_pairs()
        .filter(|(name, _)| location == Location::Header || *name != "X-Amz-Signature")
        .map(|(name, value)| (recode(name), recode(value)))
        .collect();
    pairs.sort();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push('&');
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{name}={value}");
    }
}

/// All values of a header, joined by commas, each without blanks at its ends and with single blanks inside.
fn header_values(request: &RequestView<'_>, name: &str, out: &mut String) {
    let mut first = true;
    for value in request.headers.get_all(name) {
        if !first {
            out.push(',');
        }
        first = false;
        let text = String::from_utf8_lossy(value.as_bytes());
        for (i, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
            if i > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    if first && matches!(name, "host" | ":authority") {
        let host = request.authority.or_else(|| request.header("host"));
        out.push_str(host.unwrap_or_default());
    }
}

fn normalize_path(path: &str, out: &mut String) {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    for segment in &segments {
        let _ = write!(out, "/{}", encode_component(segment));
    }
    let directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if segments.is_empty() || directory {
        out.push('/');
    }
}
