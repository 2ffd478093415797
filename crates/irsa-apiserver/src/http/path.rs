//! Paths and queries.

use crate::status::{Result, Status};

/// What a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// API group; empty for the core group and for paths outside the API.
    pub(crate) group: String,
    /// Version of the group.
    pub(crate) version: String,
    /// Namespace; empty when the path has none.
    pub(crate) namespace: String,
    /// Plural name of the resource; empty for paths outside the API.
    pub(crate) plural: String,
    /// Name; empty for collections.
    pub(crate) name: String,
    /// Subresource and whatever follows it.
    pub(crate) subresource: String,
}

/// Takes a path apart: `/api/v1/namespaces/NS/pods/NAME/log`, `/apis/apps/v1/deployments`.
/// Paths that are no objects come back without `plural`.
pub(crate) fn parse(path: &str) -> Result<Address> {
    let segments = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| decode(segment, false))
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| Status::bad_request("the path is not UTF-8 after percent-decoding"))?;
    let mut segments = segments.into_iter();
    let mut at = Address::default();
    match segments.next().as_deref() {
        Some("api") => {}
        Some("apis") => at.group = segments.next().unwrap_or_default(),
        _ => return Ok(at),
    }
    at.version = segments.next().unwrap_or_default();
    let mut rest: Vec<String> = segments.collect();
    if rest.first().is_some_and(|first| first == "namespaces") && at.group.is_empty() {
        // `namespaces/NS` and its subresources are the namespace itself.
        let own = match rest.get(2).map(String::as_str) {
            None => true,
            Some(subresource) => rest.len() == 3 && matches!(subresource, "status" | "finalize"),
        };
        if !own {
            at.namespace = rest[1].clone();
            rest.drain(..2);
        }
    } else if rest.first().is_some_and(|first| first == "namespaces") && rest.len() > 2 {
        at.namespace = rest[1].clone();
        rest.drain(..2);
    }
    let mut rest = rest.into_iter();
    at.plural = rest.next().unwrap_or_default();
    at.name = rest.next().unwrap_or_default();
    at.subresource = rest.collect::<Vec<_>>().join("/");
    Ok(at)
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a query; pairs that are not UTF-8 are left out.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(key, true)?, decode(value, true)?))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of a parameter that is not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        self.pairs
            .iter()
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a parameter is `true` or `1`, or there without a value.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.pairs
            .iter()
            .any(|(name, value)| name == key && matches!(value.as_str(), "true" | "1" | "" | "t" | "True"))
    }

    /// A parameter that must be an integer.
    pub(crate) fn int(&self, key: &str) -> Result<Option<i64>> {
        self.get(key)
            .map(|value| {
                value.parse().map_err(|_| {
                    Status::bad_request(format!(
                        "strconv.ParseInt: parsing {value:?}: invalid syntax ({key})"
                    ))
                })
            })
            .transpose()
    }
}

/// Decodes percent signs, and `+` in queries; `None` for what is not UTF-8 then.
fn decode(text: &str, plus: bool) -> Option<String> {
    let spaced = if plus {
        text.replace('+', " ")
    } else {
        text.to_owned()
    };
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(
        group: &str,
        version: &str,
        namespace: &str,
        plural: &str,
        name: &str,
        subresource: &str,
    ) -> Address {
        Address {
            group: group.into(),
            version: version.into(),
            namespace: namespace.into(),
            plural: plural.into(),
            name: name.into(),
            subresource: subresource.into(),
        }
    }

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        for (path, expected) in [
            ("/api/v1/pods", at("", "v1", "", "pods", "", "")),
            ("/api/v1/namespaces", at("", "v1", "", "namespaces", "", "")),
            ("/api/v1/namespaces/x", at("", "v1", "", "namespaces", "x", "")),
            (
                "/api/v1/namespaces/x/finalize",
                at("", "v1", "", "namespaces", "x", "finalize"),
            ),
            (
                "/api/v1/namespaces/x/pods/p/log",
                at("", "v1", "x", "pods", "p", "log"),
            ),
            (
                "/apis/apps/v1/namespaces/x/deployments/d/scale",
                at("apps", "v1", "x", "deployments", "d", "scale"),
            ),
            ("/api/v1/nodes/a%2Fb", at("", "v1", "", "nodes", "a/b", "")),
            ("/version", at("", "", "", "", "", "")),
            ("/apis/apps", at("apps", "", "", "", "", "")),
        ] {
            assert_eq!(parse(path).unwrap(), expected, "{path}");
        }
        assert!(parse("/api/v1/nodes/%ff").is_err());
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28d%29&watch=true&limit=x");
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert!(query.flag("watch"));
        assert!(query.int("limit").is_err());
    }
}
