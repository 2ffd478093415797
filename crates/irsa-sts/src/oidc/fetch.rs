//! Fetching an issuer's documents, from where the configuration says and from nowhere else.
//!
//! A token names its issuer, and an issuer's discovery document names where its keys are: both are data from outside.
//! So only registered issuers are asked, only at their base, no redirect is followed, `jwks_uri` is mapped to the
//! base, and what comes back is bounded in size and time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::jwks::KeySet;

/// Largest document that is read.
const MAX_DOCUMENT: usize = 256 * 1024;

/// Longest time for one document.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One issuer and how to reach it.
pub(crate) struct Issuer {
    url: String,
    base: String,
    /// Whether `base` is another place than the issuer's own.
    elsewhere: bool,
    authorization: Option<HeaderValue>,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// Why an issuer's keys could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// No answer.
    #[error("no answer from {url}: {message}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why there is none.
        message: String,
    },
    /// An answer that is not what it should be.
    #[error("{url}: {message}")]
    Unusable {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        message: String,
    },
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// An issuer whose documents are under `base_url` (the issuer URL itself when `None`).
    ///
    /// The error is a sentence about the configuration.
    pub(crate) fn new(
        url: &str,
        base_url: Option<&str>,
        ca_pem: Option<&str>,
        bearer_token: Option<&str>,
    ) -> Result<Self, String> {
        let base = base_url.unwrap_or(url).trim_end_matches('/');
        let parsed: Uri = base
            .parse()
            .map_err(|_| format!("baseUrl {base:?} is not a URL"))?;
        let good = matches!(parsed.scheme_str(), Some("https" | "http"))
            && parsed.host().is_some_and(|host| !host.is_empty())
            && parsed.query().is_none();
        if !good {
            return Err(format!(
                "baseUrl {base:?} is not a URL such as https://127.0.0.1:6443"
            ));
        }
        let authorization = bearer_token
            .map(|token| {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                    .map_err(|_| "the bearer token has characters that no header can carry".to_owned())?;
                value.set_sensitive(true);
                Ok::<_, String>(value)
            })
            .transpose()?;
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| format!("TLS cannot be set up: {error}"))?
                .with_root_certificates(roots(ca_pem)?)
                .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .build();
        Ok(Self {
            url: url.to_owned(),
            base: base.to_owned(),
            elsewhere: base_url.is_some_and(|base| base.trim_end_matches('/') != url.trim_end_matches('/')),
            authorization,
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(10))
                .build(connector),
        })
    }

    /// The issuer's keys, by its discovery document.
    pub(crate) async fn keys(&self) -> Result<KeySet, FetchError> {
        let url = format!("{}/.well-known/openid-configuration", self.base);
        let discovery: Discovery = serde_json::from_slice(&self.document(&url).await?)
            .map_err(|error| unusable(&url, format!("not a discovery document: {error}")))?;
        if discovery.issuer != self.url {
            return Err(unusable(
                &url,
                format!(
                    "is the discovery document of issuer {:?}, not of {:?}",
                    discovery.issuer, self.url
                ),
            ));
        }
        let jwks_url = self
            .place_of(&discovery.jwks_uri)
            .map_err(|message| unusable(&url, message))?;
        let jwks = self.document(&jwks_url).await?;
        KeySet::parse(&jwks).map_err(|error| unusable(&jwks_url, error.to_string()))
    }

    /// Where to fetch what `jwks_uri` names.
    fn place_of(&self, jwks_uri: &str) -> Result<String, String> {
        if let Some(rest) = jwks_uri.strip_prefix(self.url.trim_end_matches('/'))
            && rest.starts_with('/')
        {
            return Ok(format!("{}{rest}", self.base));
        }
        let wanted: Uri = jwks_uri
            .parse()
            .map_err(|_| format!("jwks_uri {jwks_uri:?} is not a URL"))?;
        let base: Uri = self
            .base
            .parse()
            .map_err(|_| format!("base {:?} is not a URL", self.base))?;
        let same_origin = wanted.scheme() == base.scheme() && wanted.authority() == base.authority();
        // A Kubernetes API server names its own address, which may be another one from here; its path is the same.
        if same_origin || self.elsewhere {
            let path = wanted.path_and_query().map_or("/", |path| path.as_str());
            return Ok(format!(
                "{}://{}{path}",
                base.scheme_str().unwrap_or("https"),
                base.authority()
                    .map(http::uri::Authority::as_str)
                    .unwrap_or_default()
            ));
        }
        Err(format!(
            "jwks_uri {jwks_uri:?} is at another place than the issuer; give the keys with jwksFile instead"
        ))
    }

    async fn document(&self, url: &str) -> Result<Bytes, FetchError> {
        match tokio::time::timeout(TIMEOUT, self.document_without_limit(url)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Unreachable {
                url: url.to_owned(),
                message: format!("nothing within {} seconds", TIMEOUT.as_secs()),
            }),
        }
    }

    async fn document_without_limit(&self, url: &str) -> Result<Bytes, FetchError> {
        let mut request = Request::get(url)
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .header(USER_AGENT, concat!("irsa-sts/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| unusable(url, error.to_string()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::Unreachable {
                url: url.to_owned(),
                message: chain(&error),
            })?;
        if response.status() != StatusCode::OK {
            return Err(unusable(url, format!("answers {}", response.status())));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT)
            .collect()
            .await
            .map_err(|error| unusable(url, format!("the answer cannot be read: {error}")))?;
        Ok(body.to_bytes())
    }
}

fn unusable(url: &str, message: impl Into<String>) -> FetchError {
    FetchError::Unusable {
        url: url.to_owned(),
        message: message.into(),
    }
}

fn roots(ca_pem: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| format!("the CA is not PEM: {error}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("the CA cannot be used: {error}"))?;
            }
            if roots.is_empty() {
                return Err("the CA has no certificate in it".to_owned());
            }
        }
        // Certificates that the system has but rustls cannot read are of no use here; the others are taken.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// An error with its causes, which hyper's own text leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn issuer(url: &str, base: Option<&str>) -> Issuer {
        Issuer::new(url, base, None, None).unwrap()
    }

    #[test]
    fn keys_are_looked_for_at_the_issuer_or_its_base_only() {
        let own = issuer("https://oidc.example/id/EX", None);
        assert_eq!(
            own.place_of("https://oidc.example/id/EX/keys").unwrap(),
            "https://oidc.example/id/EX/keys"
        );
        assert_eq!(
            own.place_of("https://oidc.example/keys").unwrap(),
            "https://oidc.example/keys"
        );
        assert!(own.place_of("https://169.254.169.254/keys").is_err());
        assert!(own.place_of("http://oidc.example/id/EX2/keys").is_err());
        assert!(own.place_of("https://oidc.example.evil/id/EX/keys").is_err());
        assert!(
            own.place_of("https://oidc.example/id/EXevil/keys")
                .is_ok_and(|url| url.starts_with("https://oidc.example/"))
        );
        assert!(own.place_of("nonsense \n").is_err());

        let mapped = issuer(
            "https://oidc.eks.us-west-2.amazonaws.com/id/EX",
            Some("https://127.0.0.1:6443/"),
        );
        assert_eq!(
            mapped
                .place_of("https://oidc.eks.us-west-2.amazonaws.com/id/EX/keys")
                .unwrap(),
            "https://127.0.0.1:6443/keys"
        );
        assert_eq!(
            mapped.place_of("https://172.18.0.2:6443/openid/v1/jwks").unwrap(),
            "https://127.0.0.1:6443/openid/v1/jwks"
        );
    }

    #[test]
    fn a_base_or_ca_that_cannot_be_is_a_sentence() {
        let error = |base: Option<&str>, ca: Option<&str>, token: Option<&str>| {
            Issuer::new("https://oidc.example", base, ca, token)
                .err()
                .unwrap()
        };
        assert!(error(Some("ftp://x"), None, None).contains("is not a URL such as"));
        assert!(error(Some("127.0.0.1:6443"), None, None).contains("is not a URL"));
        assert_eq!(error(None, Some(""), None), "the CA has no certificate in it");
        assert!(error(None, None, Some("a\nb")).contains("bearer token"));
    }
}
