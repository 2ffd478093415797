//! Who answers behind the lab's proxy: its AWS, and the cluster's OIDC issuer under the name that its tokens carry.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use irsa_sts::{Aws, Connection};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::control::issuer_host;
use crate::proxy::{Backend, Facts};

/// The largest document of an issuer.
const MAX_DOCUMENT: usize = 1 << 20;
/// How long the cluster may take to answer with one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The names of the lab's AWS, and that of the cluster's issuer.
#[derive(Debug)]
pub(crate) struct LabBackend {
    pub(crate) aws: Arc<Aws>,
    /// The region in which all of the lab's nodes stand.
    pub(crate) region: String,
    pub(crate) issuer: Issuer,
}

impl Backend for LabBackend {
    fn accepts(&self, host: &str) -> bool {
        Aws::serves(host) || host == self.issuer.host
    }

    fn max_body(&self, host: &str) -> usize {
        Aws::max_body(host)
    }

    fn handle(self: Arc<Self>, request: Request<Bytes>, facts: Facts) -> BoxFuture<'static, Response<Bytes>> {
        async move {
            if facts.host == self.issuer.host {
                return self.issuer.answer(&request).await;
            }
            let connection = Connection {
                source_ip: facts.source_ip,
                caller_region: Some(self.region.clone()),
                ..Connection::to(facts.host).with_tls(facts.tls_version, facts.cipher)
            };
            self.aws.handle(request, &connection).await
        }
        .boxed()
    }
}

/// The public documents of the cluster's issuer, which the cluster serves under an address of its own.
#[derive(Debug)]
pub(crate) struct Issuer {
    host: String,
    /// `https://127.0.0.1:PORT` of the cluster.
    api: String,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Issuer {
    /// The issuer of that URL, whose paths the API at `api` serves.
    pub(crate) fn new(issuer: &str, api: &str, ca_pem: &str) -> Result<Self, String> {
        let host = issuer_host(issuer).ok_or_else(|| format!("{issuer} is no URL"))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self {
            host,
            api: api.to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    async fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "an issuer's documents are only read\n",
            );
        }
        let path = request.uri().path();
        // Nothing else of the cluster's API is to be had under this name.
        if !path.starts_with("/id/") || path.split('/').any(|part| part == "..") {
            return text(
                StatusCode::NOT_FOUND,
                "this issuer has its documents under /id/\n",
            );
        }
        match tokio::time::timeout(PATIENCE, self.fetch(path)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => text(
                StatusCode::BAD_GATEWAY,
                &format!("the cluster does not answer: {error}\n"),
            ),
            Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "the cluster does not answer\n"),
        }
    }

    async fn fetch(&self, path: &str) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let uri: Uri = format!("{}{path}", self.api).parse()?;
        let (parts, body) = self.client.get(uri).await?.into_parts();
        let body = Limited::new(body, MAX_DOCUMENT).collect().await?.to_bytes();
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        for name in [header::CONTENT_TYPE, header::CACHE_CONTROL] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        Ok(response)
    }
}

fn text(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
