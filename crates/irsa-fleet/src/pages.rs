//! Lists, read page by page: while one page is parsed, the next one is already being fetched. At most two are held.

use std::fmt;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::{
    cluster::{Cluster, Error, parse},
    wire::{ListMeta, Page, Text},
};

/// Objects in a page, as in kubectl.
pub const PAGE: usize = 500;

/// The parameters of a list request.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Label selector in the API's syntax.
    pub labels: Option<String>,
    /// Field selector in the API's syntax.
    pub fields: Option<String>,
    /// Objects in a page; [`PAGE`] if not set.
    pub limit: Option<usize>,
}

impl Query {
    /// Path of one page of a collection, `next` being the token of the page before it.
    pub(crate) fn path(&self, collection: &str, next: &str) -> String {
        let mut path = format!("{collection}?limit={}", self.limit.unwrap_or(PAGE));
        for (name, value) in [
            ("labelSelector", self.labels.as_deref()),
            ("fieldSelector", self.fields.as_deref()),
            ("continue", Some(next).filter(|next| !next.is_empty())),
        ] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        path
    }
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn escape(value: &str) -> PercentEncode<'_> {
    utf8_percent_encode(value, RESERVED)
}

/// Path of a collection, in one namespace or in all.
pub fn collection(group_version: &str, namespace: Option<&str>, resource: &str) -> String {
    let root = if group_version.contains('/') {
        format!("/apis/{group_version}")
    } else {
        format!("/api/{group_version}")
    };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{resource}"),
        None => format!("{root}/{resource}"),
    }
}

/// Calls `each` with the bytes of each page of a list, in order. Returns the number of pages.
pub async fn pages(
    cluster: &Cluster,
    collection: &str,
    query: &Query,
    mut each: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<usize, Error> {
    let mut count = 0;
    let mut body = fetch(cluster, &query.path(collection, "")).await?;
    loop {
        count += 1;
        let next = next_token(&body).map_err(|source| Error::Malformed {
            what: format!("GET {collection}"),
            source,
        })?;
        let prefetch = next.map(|next| {
            let (cluster, path) = (cluster.clone(), query.path(collection, &next));
            tokio::spawn(async move { fetch(&cluster, &path).await })
        });
        let done = each(&body);
        // Freed before the next page is awaited.
        drop(body);
        let Some(prefetch) = prefetch else {
            done?;
            return Ok(count);
        };
        if let Err(error) = done {
            prefetch.abort();
            return Err(error);
        }
        body = match prefetch.await {
            Ok(answer) => answer?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
    }
}

/// Calls `each` with each object of a list.
pub async fn for_each<T>(
    cluster: &Cluster,
    collection: &str,
    query: &Query,
    mut each: impl for<'a> FnMut(T::Of<'a>),
) -> Result<usize, Error>
where
    T: Kind,
{
    pages(cluster, collection, query, |body| {
        let page: Page<'_, T::Of<'_>> = parse(collection, body)?;
        page.items.into_iter().for_each(&mut each);
        Ok(())
    })
    .await
}

/// The type of the objects in a page, for any lifetime that they borrow from it.
pub trait Kind {
    /// The type that borrows from a page.
    type Of<'a>: Deserialize<'a>;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $of:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;
        impl Kind for $name {
            type Of<'a> = crate::wire::$of<'a>;
        }
    )*};
}

kinds! {
    /// Service accounts.
    ServiceAccounts = ServiceAccount;
    /// Namespaces.
    Namespaces = Namespace;
    /// Nodes.
    Nodes = Node;
}

/// Fetches one page. After a list has expired between two pages, it continues where the API server says that it can.
async fn fetch(cluster: &Cluster, path: &str) -> Result<Bytes, Error> {
    let mut delay = std::time::Duration::from_millis(200);
    for _ in 0..4 {
        match cluster.get(path).await {
            Err(Error::Api { status, what }) if status.code == 410 => {
                let next = &status.metadata.next;
                let (Some((before, _)), false) = (path.split_once("&continue="), next.is_empty()) else {
                    return Err(Error::Api { what, status });
                };
                return cluster.get(&format!("{before}&continue={}", escape(next))).await;
            }
            Err(Error::Api { status, what }) if status.code == 403 && is_everywhere(path) => {
                return Err(Error::ForbiddenEverywhere { what, status });
            }
            Err(Error::Api { status, .. }) if matches!(status.code, 429 | 503 | 504) => {
                let hint = status.details.map_or(0, |details| details.retry_after_seconds);
                tokio::time::sleep(delay.max(std::time::Duration::from_secs(hint.min(10)))).await;
                delay *= 2;
            }
            other => return other,
        }
    }
    cluster.get(path).await
}

/// Whether a list of objects that have a namespace spans all namespaces.
fn is_everywhere(path: &str) -> bool {
    let collection = path.split('?').next().unwrap_or(path);
    matches!(collection, "/api/v1/pods" | "/api/v1/serviceaccounts")
}

/// The continue token, found without parsing the items: API servers write the metadata of a list before them.
fn next_token(body: &[u8]) -> Result<Option<String>, serde_json::Error> {
    struct Seek<'t>(&'t mut Option<Option<String>>);

    impl<'de> Visitor<'de> for Seek<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Text<'de>>()? {
                if key == "metadata" {
                    let meta: ListMeta<'de> = map.next_value()?;
                    *self.0 = Some(
                        meta.next
                            .map(|next| next.to_string())
                            .filter(|next| !next.is_empty()),
                    );
                    // Stops here. The parser reports the rest as an error, which is ignored below.
                    return Ok(());
                }
                map.next_value::<IgnoredAny>()?;
            }
            *self.0 = Some(None);
            Ok(())
        }
    }

    let mut found = None;
    let outcome = serde_json::Deserializer::from_slice(body).deserialize_map(Seek(&mut found));
    match found {
        Some(token) => Ok(token),
        None => outcome.map(|()| None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_before_the_items_are_parsed() {
        let body = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"a/b=","x":1},"items":[this is never read"#;
        assert_eq!(next_token(body).unwrap().as_deref(), Some("a/b="));
        assert_eq!(
            next_token(br#"{"items":[],"metadata":{"continue":""}}"#).unwrap(),
            None
        );
        assert_eq!(next_token(br#"{"items":[]}"#).unwrap(), None);
        assert!(next_token(b"<html>").is_err());
        assert!(next_token(br#"{"items":[}"#).is_err());
    }

    #[test]
    fn selectors_and_tokens_are_escaped() {
        let query = Query {
            labels: Some("app in (a,b)".to_owned()),
            fields: None,
            limit: Some(2),
        };
        assert_eq!(
            query.path(&collection("v1", Some("kube-system"), "pods"), "a/b="),
            "/api/v1/namespaces/kube-system/pods?limit=2&labelSelector=app%20in%20%28a%2Cb%29&continue=a%2Fb%3D"
        );
        assert_eq!(
            collection("apps/v1", None, "deployments"),
            "/apis/apps/v1/deployments"
        );
    }
}
