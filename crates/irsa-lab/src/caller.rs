//! A web identity call by a client of our own, for machines that have no AWS SDK to show it with.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Answers of STS are a few kilobytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection.
    #[error("cannot reach {host}: {source}")]
    Connect {
        /// The name that was asked for.
        host: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The CA or the name is not one.
    #[error("cannot set up TLS to {0}")]
    Tls(String),
    /// HTTP.
    #[error("{0} broke off: {1}")]
    Http(String, Box<dyn std::error::Error + Send + Sync>),
}

/// Exchanges a service account's token at `host` of a lab, as an SDK does: unsigned, form-encoded.
///
/// Returns the status and the XML of the answer.
///
/// # Errors
/// [`Error`]; a refusal by STS is an answer.
pub async fn assume_role_with_web_identity(
    lab: SocketAddr,
    ca_pem: &str,
    host: &str,
    role_arn: &str,
    session: &str,
    token: &str,
) -> Result<(StatusCode, String), Error> {
    let tls = |_| Error::Tls(host.to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()).flatten() {
        roots.add(certificate).map_err(tls)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Tls(host.to_owned()))?;
    let connect = |source| Error::Connect {
        host: host.to_owned(),
        source,
    };
    let tcp = TcpStream::connect(lab).await.map_err(connect)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(connect)?;
    let http = |error: hyper::Error| Error::Http(host.to_owned(), error.into());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let connection = tokio::spawn(connection);
    let body = form(&[
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role_arn),
        ("RoleSessionName", session),
        ("WebIdentityToken", token),
    ]);
    let request = Request::post("/")
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::USER_AGENT, concat!("irsa/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Error::Http(host.to_owned(), error.into()))?;
    let answer = sender.send_request(request).await.map_err(http)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| Error::Http(host.to_owned(), error))?;
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}
