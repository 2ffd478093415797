//! Taking a URL apart without losing a byte of it: signatures are over the text as it was sent.

use std::fmt::Write as _;

/// Parameters whose values let their holder act, by lower-case name.
const SECRETS: [&str; 6] = [
    "signature",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-s3session-token",
    "webidentitytoken",
    "samlassertion",
];

/// Whether the value of this parameter must not be shown.
pub(super) fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// The parts of an absolute URL, still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

/// Splits `scheme://authority/path?query#fragment`; `None` if there is no scheme or no authority.
pub(super) fn split(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme_is_fine = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let rest = rest.split('#').next().unwrap_or(rest);
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match before_query.find('/') {
        Some(slash) => before_query.split_at(slash),
        None => (before_query, ""),
    };
    (scheme_is_fine && !authority.is_empty()).then_some(Parts {
        scheme,
        authority,
        path,
        query,
    })
}

/// Percent-decoding; `+` stays as it is, as AWS has it. Broken escapes are kept as written, and bytes that are not
/// UTF-8 are replaced.
pub(super) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let hex = |b: Option<&u8>| {
        b.and_then(|b| char::from(*b).to_digit(16))
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        if let (b'%', Some(high), Some(low)) = (byte, hex(bytes.get(i + 1)), hex(bytes.get(i + 2))) {
            out.push(high * 16 + low);
            i += 3;
        } else {
            out.push(byte);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The pairs of a query, decoded, in their order. A name without `=` has an empty value.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// The URL with the values of its secret parameters replaced by their length, and without a password.
#[must_use]
pub fn mask(url: &str) -> String {
    let (base, fragment) = url.split_once('#').map_or((url, None), |(b, f)| (b, Some(f)));
    let (before, query) = base.split_once('?').map_or((base, None), |(b, q)| (b, Some(q)));
    let mut out = match (before.split_once("://"), before.rfind('@')) {
        (Some((scheme, rest)), Some(_)) => {
            match rest.split_once('/').unwrap_or((rest, "")).0.rsplit_once('@') {
                Some((user, _)) => format!("{scheme}://***{}", &rest[user.len()..]),
                None => before.to_owned(),
            }
        }
        _ => before.to_owned(),
    };
    if let Some(query) = query {
        for (i, pair) in query.split('&').enumerate() {
            out.push(if i == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, value)) if is_secret(&decode(name)) => {
                    // Writing to a String does not fail.
                    let _ = write!(out, "{name}=***({} characters)", decode(value).chars().count());
                }
                _ => out.push_str(pair),
            }
        }
    }
    // Nothing signed stands in a fragment, but a pasted one may hold anything.
    if fragment.is_some() {
        out.push_str("#***");
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_split_without_loss() {
        let parts = split("https://b.s3.amazonaws.com:443/a%20b/c?x=1&y#f").unwrap();
        assert_eq!(
            (parts.scheme, parts.authority, parts.path, parts.query),
            ("https", "b.s3.amazonaws.com:443", "/a%20b/c", "x=1&y")
        );
        assert_eq!(split("https://host?q=a/b").unwrap().authority, "host");
        assert_eq!(split("host/path"), None);
        assert_eq!(split("https:///path"), None);
        assert_eq!(split("://host"), None);
    }

    #[test]
    fn decoding_keeps_what_it_cannot_read() {
        assert_eq!(decode("a%20b+c%2Fd"), "a b+c/d");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%C3%A9"), "é");
        assert_eq!(decode("%FF"), "\u{fffd}");
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let masked = mask(
            "https://u:p@b.s3.amazonaws.com/k?X-Amz-Signature=abcdef&X-Amz-Date=20240101T000000Z&x-amz-security-token=IQo%2F&Signature=zz&X%2DAmz%2DSignature=evil#frag",
        );
        assert_eq!(
            masked,
            "https://***@b.s3.amazonaws.com/k?X-Amz-Signature=***(6 characters)&X-Amz-Date=20240101T000000Z&x-amz-security-token=***(4 characters)&Signature=***(2 characters)&X%2DAmz%2DSignature=***(4 characters)#***"
        );
    }

    proptest! {
        #[test]
        fn nothing_panics_on_any_text(url in "\\PC*", query in "[%&=a-zA-Z0-9/?#@:é-]{0,60}") {
            for text in [url.clone(), format!("https://h/{url}"), format!("https://{query}"), format!("https://h/p?{query}")] {
                let _ = mask(&text);
                let _ = split(&text);
                let _ = decode(&text);
                let _ = pairs(&text).count();
            }
        }

        #[test]
        fn a_masked_url_never_holds_the_secret(secret in "[A-Za-z0-9]{12,40}", before in "[a-z]{1,5}", i in 0usize..6) {
            let url = format!("https://h/p?{before}=1&{}={secret}&z=2", SECRETS[i]);
            prop_assert!(!mask(&url).contains(&secret));
        }
    }
}
