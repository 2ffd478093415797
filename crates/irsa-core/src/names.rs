//! Syntax of names, labels and annotations (RFC 1123 and Kubernetes' own), with Kubernetes' own words for what is wrong.

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn shaped(text: &str, inner: impl Fn(u8) -> bool, edge: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|byte| inner(*byte)),
        _ => false,
    }
}

/// A DNS label of RFC 1123, as names of namespaces, containers and ports' hosts.
///
/// # Errors
/// What is wrong with it.
pub fn dns_label(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 characters".into());
    }
    if shaped(
        text,
        |byte| lower_alphanumeric(byte) || byte == b'-',
        lower_alphanumeric,
    ) {
        return Ok(());
    }
    // Something that is a subdomain but not a label has dots.
    if dns_subdomain(text).is_ok() {
        return Err("must not contain dots".into());
    }
    Err("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
         with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        .into())
}

/// A DNS subdomain of RFC 1123, as most names.
///
/// # Errors
/// What is wrong with it.
pub fn dns_subdomain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err("must be no more than 253 characters".into());
    }
    let label = |label: &str| {
        shaped(
            label,
            |byte| lower_alphanumeric(byte) || byte == b'-',
            lower_alphanumeric,
        )
    };
    if !text.is_empty() && text.split('.').all(label) {
        return Ok(());
    }
    Err("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        .into())
}

/// A DNS label of RFC 1035, as names of services.
///
/// # Errors
/// What is wrong with it.
pub fn dns_1035_label(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 characters".into());
    }
    let first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if first
        && shaped(
            text,
            |byte| lower_alphanumeric(byte) || byte == b'-',
            lower_alphanumeric,
        )
    {
        return Ok(());
    }
    Err("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
         character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation \
         is '[a-z]([-a-z0-9]*[a-z0-9])?')"
        .into())
}

/// A name that is one segment of a path, as those of RBAC objects.
///
/// # Errors
/// What is wrong with it.
pub fn path_segment(text: &str) -> Result<(), String> {
    match text {
        "." | ".." => Err(format!("may not be '{text}'")),
        _ if text.contains('/') => Err("may not contain '/'".into()),
        _ if text.contains('%') => Err("may not contain '%'".into()),
        _ => Ok(()),
    }
}

/// A label key or annotation key: `[prefix/]name`.
///
/// # Errors
/// What is wrong with it.
pub fn qualified_name(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            return Err(format!(
                "a qualified name {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
        }
        Some(("", _)) => return Err("prefix part must be non-empty".into()),
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|why| format!("prefix part {why}"))?;
            name
        }
    };
    if name.is_empty() {
        return Err("name part must be non-empty".into());
    }
    if name.len() > 63 {
        return Err("name part must be no more than 63 characters".into());
    }
    if shaped(
        name,
        |byte| alphanumeric(byte) || b"-_.".contains(&byte),
        alphanumeric,
    ) {
        return Ok(());
    }
    Err(format!("name part {NAME_RULE}"))
}

const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// The value of a label.
///
/// # Errors
/// What is wrong with it.
pub fn label_value(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 characters".into());
    }
    if text.is_empty()
        || shaped(
            text,
            |byte| alphanumeric(byte) || b"-_.".contains(&byte),
            alphanumeric,
        )
    {
        return Ok(());
    }
    Err("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
         and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
         validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        .into())
}

/// A name of an environment variable: anything printable without `=`.
///
/// # Errors
/// What is wrong with it.
pub fn environment_variable(text: &str) -> Result<(), String> {
    if !text.is_empty()
        && text
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
    {
        return Ok(());
    }
    Err(
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .into(),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in [
            "a",
            "aws-node",
            "0a",
            "a.b",
            "ip-192-168-79-166.us-west-2.compute.internal",
        ] {
            assert!(dns_subdomain(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "a_b", ".a", &"a".repeat(254)] {
            assert!(dns_subdomain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_with_dots_is_told_so() {
        assert_eq!(dns_label("a.b").unwrap_err(), "must not contain dots");
        assert!(
            dns_label("a_b")
                .unwrap_err()
                .starts_with("a lowercase RFC 1123 label")
        );
    }

    #[test]
    fn label_keys_may_have_a_domain_before_one_slash() {
        for good in ["k8s-app", "eks.amazonaws.com/sts-regional-endpoints", "a.b_c"] {
            assert!(qualified_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "A.com/x!", "-a"] {
            assert!(qualified_name(bad).is_err(), "{bad}");
        }
    }
}
