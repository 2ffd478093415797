//! Signature Version 2 of S3 in a query: `AWSAccessKeyId`, `Expires`, `Signature`.
//!
//! boto3 and the AWS CLI v1 still presign with it by default in regions older than 2014, so that such URLs are what
//! many pods make.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::canonical::{RequestView, decode_component};

/// Parameters that are part of the resource that is signed.
const SIGNED_PARAMETERS: [&str; 28] = [
    "accelerate",
    "acl",
    "cors",
    "defaultObjectAcl",
    "delete",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "website",
];

/// What a URL signed with version 2 claims.
#[derive(Debug, Clone)]
pub struct QueryAuthentication {
    /// The access key id.
    pub access_key_id: String,
    /// End of validity, seconds since 1970, as sent.
    pub expires: String,
    /// `x-amz-security-token`.
    pub session_token: Option<String>,
    signature: Vec<u8>,
}

/// Why such a URL cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("query-string authentication needs the Signature, Expires and AWSAccessKeyId parameters")]
pub struct Incomplete;

impl QueryAuthentication {
    /// What the URL claims; `Ok(None)` when it has none of the parameters.
    ///
    /// # Errors
    /// When only some are there.
    pub fn of(request: &RequestView<'_>) -> Result<Option<Self>, Incomplete> {
        let find = |wanted: &str| {
            request
                .query_pairs()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .and_then(|(_, value)| decode_component(value))
        };
        // Base64 has plus signs, and a client that does not encode them means them.
        let signature = request
            .query_pairs()
            .find(|(name, _)| *name == "Signature")
            .and_then(|(_, value)| decode_component(&value.replace('+', "%2B")));
        match (find("AWSAccessKeyId"), find("Expires"), signature) {
            (None, _, None) => Ok(None),
            (Some(access_key_id), Some(expires), Some(signature)) => Ok(Some(Self {
                access_key_id,
                expires,
                session_token: find("x-amz-security-token"),
                signature: STANDARD.decode(signature).unwrap_or_default(),
            })),
            _ => Err(Incomplete),
        }
    }

    /// The string that was to be signed. `resource_prefix` is `/BUCKET` for a virtual-hosted request, empty for path
    /// style.
    #[must_use]
    pub fn string_to_sign(&self, request: &RequestView<'_>, resource_prefix: &str) -> String {
        let header_or_query = |name: &str| {
            request
                .header(name)
                .map(str::to_owned)
                .or_else(|| {
                    request
                        .query_pairs()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .and_then(|(_, value)| decode_component(value))
                })
                .unwrap_or_default()
        };
        let mut out = format!(
            "{}\n{}\n{}\n{}\n",
            request.method,
            header_or_query("content-md5"),
            header_or_query("content-type"),
            self.expires
        );
        for (name, value) in amz_headers(request) {
            out.push_str(&name);
            out.push(':');
            out.push_str(&value);
            out.push('\n');
        }
        out.push_str(resource_prefix);
        out.push_str(request.path);
        let mut parameters: Vec<(&str, Option<String>)> = request
            .query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) => (name, decode_component(value)),
                None => (pair, None),
            })
            .filter(|(name, _)| SIGNED_PARAMETERS.contains(name))
            .collect();
        parameters.sort();
        for (i, (name, value)) in parameters.iter().enumerate() {
            out.push(if i == 0 { '?' } else { '&' });
            out.push_str(name);
            if let Some(value) = value {
                out.push('=');
                out.push_str(value);
            }
        }
        out
    }

    /// Whether the signature is that of the secret. Returns the string to sign when it is not.
    ///
    /// # Errors
    /// The string to sign as the server sees it, when the signature is another.
    pub fn verify(
        &self,
        request: &RequestView<'_>,
        resource_prefix: &str,
        secret_access_key: &str,
    ) -> Result<(), String> {
        let string_to_sign = self.string_to_sign(request, resource_prefix);
        let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret_access_key.as_bytes());
        let expected = hmac::sign(&key, string_to_sign.as_bytes());
        verify_slices_are_equal(expected.as_ref(), &self.signature).map_err(|_| string_to_sign)
    }
}

/// `x-amz-*` of headers and query, lower case, sorted, values of one name joined.
fn amz_headers(request: &RequestView<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for name in request
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-"))
    {
        let values: Vec<String> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
            .collect();
        found.push((name.as_str().to_owned(), values.join(",")));
    }
    for (name, value) in request.query_pairs() {
        let name = name.to_ascii_lowercase();
        if name.starts_with("x-amz-") && !found.iter().any(|(there, _)| *there == name) {
            found.push((name, decode_component(value).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn view<'a>(query: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
        RequestView {
            method: "GET",
            path: "/photos/puppy.jpg",
            query,
            headers,
            authority: None,
        }
    }

    /// Query string request authentication of the S3 documentation.
    #[test]
    fn the_documented_url_is_verified() {
        let headers = HeaderMap::new();
        let query = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";
        let request = view(query, &headers);
        let claim = QueryAuthentication::of(&request).unwrap().unwrap();
        assert_eq!(
            claim.string_to_sign(&request, "/johnsmith"),
            "GET\n\n\n1175139620\n/johnsmith/photos/puppy.jpg"
        );
        claim.verify(&request, "/johnsmith", SECRET).unwrap();
        assert!(claim.verify(&request, "/other", SECRET).is_err());
        assert!(claim.verify(&request, "/johnsmith", "wrong").is_err());
    }

    #[test]
    fn a_token_and_overrides_in_the_query_are_signed() {
        let headers = HeaderMap::new();
        let request = view(
            "response-content-type=text%2Fplain&AWSAccessKeyId=ASIAX&x-amz-security-token=a%2Fb%3D&Signature=AA%3D%3D\
             &Expires=1&acl&x-id=GetObject",
            &headers,
        );
        let claim = QueryAuthentication::of(&request).unwrap().unwrap();
        assert_eq!(claim.session_token.as_deref(), Some("a/b="));
        assert_eq!(
            claim.string_to_sign(&request, "/b"),
            "GET\n\n\n1\nx-amz-security-token:a/b=\n/b/photos/puppy.jpg?acl&response-content-type=text/plain"
        );
    }

    #[test]
    fn a_part_of_the_parameters_is_an_error_and_none_is_none() {
        let headers = HeaderMap::new();
        assert!(QueryAuthentication::of(&view("a=b", &headers)).unwrap().is_none());
        assert!(QueryAuthentication::of(&view("AWSAccessKeyId=a&Expires=1", &headers)).is_err());
    }
}
