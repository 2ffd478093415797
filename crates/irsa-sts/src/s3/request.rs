//! One request to S3 taken apart: bucket, key, subresource parameters; from host, path and query as they were sent.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use irsa_core::partition::HostClass;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::checksum::Checksum;
use super::error::{S3Error, S3Result};
use super::store::{BucketEntry, Store};
use crate::host::Endpoint;

/// The longest key in bytes.
const MAX_KEY: usize = 1024;

/// The prefix of user metadata.
const METADATA: &str = "x-amz-meta-";

/// The most bytes of user metadata: names without their prefix, and values.
const MAX_METADATA: usize = 2048;

/// A request, read but not yet believed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Where the bucket's name stands.
    pub(crate) addressing: Addressing,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    /// Decoded, in the order sent. Authentication parameters included.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request that was authenticated: what an operation acts on.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The request, its body without the frames that it travelled in.
    pub(crate) request: Request,
    /// The caller's account.
    pub(crate) account: String,
    /// The checksum that came with the body, verified.
    pub(crate) checksum: Option<Checksum>,
    /// The region of the endpoint.
    pub(crate) region: String,
    pub(crate) now: Timestamp,
}

impl Accepted {
    /// The bucket of the request, if it exists and is the caller's.
    pub(crate) fn bucket_in<'s>(&self, store: &'s Store) -> S3Result<&'s BucketEntry> {
        store.owned(
            self.request.bucket()?,
            &self.account,
            self.request.header("x-amz-expected-bucket-owner"),
        )
    }
}

/// Where the bucket's name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// In the host.
    Virtual,
    /// In the path, or nowhere.
    Path,
}

impl Request {
    /// Takes a request apart.
    pub(crate) fn parse(parts: &Parts, body: Bytes, endpoint: &Endpoint) -> S3Result<Self> {
        match endpoint.name.class {
            HostClass::Regional | HostClass::Global | HostClass::Accelerate => {}
            other => {
                return Err(S3Error::not_implemented(&format!("{} endpoints", other.as_str())));
            }
        }
        let path = parts.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let (addressing, bucket, key) = match &endpoint.name.resource {
            Some(bucket) => (Addressing::Virtual, Some(bucket.clone()), path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                let bucket = (!bucket.is_empty()).then(|| decode_path(bucket)).transpose()?;
                (Addressing::Path, bucket, key)
            }
        };
        let key = (!key.is_empty()).then(|| decode_path(key)).transpose()?;
        if key.as_ref().is_some_and(|key| key.len() > MAX_KEY) {
            return Err(S3Error::bad("KeyTooLongError", "Your key is too long")
                .with("MaxSizeAllowed", MAX_KEY.to_string()));
        }
        let query = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode_query(name)?, decode_query(value)?))
            })
            .collect::<S3Result<_>>()?;
        Ok(Self {
            method: parts.method.clone(),
            addressing,
            bucket,
            key,
            query,
            headers: parts.headers.clone(),
            body,
        })
    }

    /// A parameter's value.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bucket. Only for operations that have one.
    pub(crate) fn bucket(&self) -> S3Result<&str> {
        self.bucket
            .as_deref()
            .ok_or_else(|| S3Error::method_not_allowed(&self.method))
    }

    /// The key. Only for operations that have one.
    pub(crate) fn key(&self) -> S3Result<&str> {
        self.key
            .as_deref()
            .ok_or_else(|| S3Error::method_not_allowed(&self.method))
    }

    /// The headers that are stored with an object and given back: content headers and the user's metadata.
    ///
    /// # Errors
    /// When the user's metadata is larger than S3 takes.
    pub(crate) fn stored_headers(&self) -> S3Result<Vec<(HeaderName, HeaderValue)>> {
        const KEPT: [&str; 6] = [
            "cache-control",
            "content-disposition",
            "content-encoding",
            "content-language",
            "content-type",
            "expires",
        ];
        let metadata: usize = self
            .headers
            .iter()
            .filter_map(|(name, value)| Some(name.as_str().strip_prefix(METADATA)?.len() + value.len()))
            .sum();
        if metadata > MAX_METADATA {
            return Err(S3Error::bad(
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size",
            )
            .with("Size", metadata.to_string())
            .with("MaxSizeAllowed", MAX_METADATA.to_string()));
        }
        Ok(self
            .headers
            .iter()
            .filter(|(name, _)| KEPT.contains(&name.as_str()) || name.as_str().starts_with(METADATA))
            .filter_map(|(name, value)| {
                if name.as_str() != "content-encoding" {
                    return Some((name.clone(), value.clone()));
                }
                // `aws-chunked` is how the body travelled, not what it is.
                let rest: Vec<_> = value
                    .to_str()
                    .ok()?
                    .split(',')
                    .map(str::trim)
                    .filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked") && !coding.is_empty())
                    .collect();
                let value = HeaderValue::from_str(&rest.join(",")).ok()?;
                (!rest.is_empty()).then(|| (name.clone(), value))
            })
            .collect())
    }
}

fn decode_path(text: &str) -> S3Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| S3Error::bad("InvalidURI", "Couldn't parse the specified URI.").with("URI", text))
}

/// In a query `+` stands for a blank.
fn decode_query(text: &str) -> S3Result<String> {
    decode_path(&text.replace('+', " "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn parse(host: &str, target: &str) -> S3Result<Request> {
        let (parts, body) = http::Request::get(target)
            .body(Bytes::new())
            .unwrap()
            .into_parts();
        Request::parse(&parts, body, &Endpoint::of_host(host).unwrap())
    }

    #[test]
    fn bucket_and_key_are_found_in_host_and_path() {
        for (host, target, addressing, bucket, key) in [
            ("s3.amazonaws.com", "/", Addressing::Path, None, None),
            (
                "s3.us-west-2.amazonaws.com",
                "/b",
                Addressing::Path,
                Some("b"),
                None,
            ),
            (
                "s3.us-west-2.amazonaws.com",
                "/b/",
                Addressing::Path,
                Some("b"),
                None,
            ),
            (
                "s3.dualstack.us-west-2.amazonaws.com",
                "/b/k/%C3%A9%2Bx",
                Addressing::Path,
                Some("b"),
                Some("k/é+x"),
            ),
            (
                "my.b.s3.amazonaws.com",
                "/",
                Addressing::Virtual,
                Some("my.b"),
                None,
            ),
            (
                "b.s3.us-west-2.amazonaws.com",
                "//k//",
                Addressing::Virtual,
                Some("b"),
                Some("/k//"),
            ),
            (
                "b.s3-accelerate.amazonaws.com",
                "/k",
                Addressing::Virtual,
                Some("b"),
                Some("k"),
            ),
        ] {
            let request = parse(host, target).unwrap();
            assert_eq!(
                (
                    request.addressing,
                    request.bucket.as_deref(),
                    request.key.as_deref()
                ),
                (addressing, bucket, key),
                "{host}{target}"
            );
        }
    }

    #[test]
    fn parameters_are_decoded_and_a_bare_one_is_empty() {
        let request = parse("b.s3.amazonaws.com", "/?uploads&prefix=a%2Fb+c&&x").unwrap();
        assert_eq!(request.parameter("uploads"), Some(""));
        assert_eq!(request.parameter("prefix"), Some("a/b c"));
        assert_eq!(request.parameter("y"), None);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(
            parse("b.s3.amazonaws.com", "/%ff").unwrap_err().code,
            "InvalidURI"
        );
        let long = format!("/{}", "k".repeat(MAX_KEY + 1));
        assert_eq!(
            parse("b.s3.amazonaws.com", &long).unwrap_err().code,
            "KeyTooLongError"
        );
    }

    #[test]
    fn how_a_body_travelled_is_not_stored() {
        let (parts, body) = http::Request::put("/k")
            .header("content-encoding", "aws-chunked,gzip")
            .header("x-amz-meta-a", "1")
            .header("x-amz-date", "x")
            .body(Bytes::new())
            .unwrap()
            .into_parts();
        let endpoint = Endpoint::of_host("b.s3.amazonaws.com").unwrap();
        let request = Request::parse(&parts, body, &endpoint).unwrap();
        let stored: Vec<_> = request
            .stored_headers()
            .unwrap()
            .into_iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(stored, ["content-encoding: gzip", "x-amz-meta-a: 1"]);
    }
}
