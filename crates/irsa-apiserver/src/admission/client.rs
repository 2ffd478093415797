//! Calls webhooks over TLS: services resolved through the cluster, certificates checked against the `caBundle`, and
//! failures told in the words of Kubernetes' client.

use std::error::Error as StdError;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::net::TcpStream;

use super::hook::{Hook, Target};
use crate::api::Api;
use crate::object::ObjectExt;
use crate::pod::target_port;
use crate::runtime::Containers;
use crate::services::backends;

/// The largest answer that is read.
const MAX_ANSWER: usize = 10 * 1024 * 1024;

/// Finds the address of a webhook's host.
#[derive(Clone)]
pub(super) struct Resolver {
    // The API owns the admission chain, which owns this.
    pub(super) api: Weak<Api>,
    pub(super) containers: Arc<Containers>,
}

/// Why no connection was made, as Go would say it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DialError(String);

impl Resolver {
    /// The local addresses behind a service's port, in no particular order; at least one.
    fn service(&self, namespace: &str, name: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let say = |text: String| Err(DialError(text));
        let Some(api) = self.api.upgrade() else {
            return say("the server is ending".into());
        };
        let Some(service) = api.store().get("services", namespace, name) else {
            return say(format!("service {name:?} not found"));
        };
        if service.str_at(&["spec", "type"]) == "ExternalName" {
            return say("service type \"ExternalName\" is not supported for webhooks".into());
        }
        let Some(entry) = service
            .list_at(&["spec", "ports"])
            .iter()
            .find(|entry| entry.int_at(&["port"]) == Some(i64::from(port)))
        else {
            return say(format!("no service port {port} found for service {name:?}"));
        };
        let ready = |pod: &&crate::object::Object| {
            pod.deletion_timestamp().is_none() && crate::pod::is_ready(pod.value())
        };
        let mut found: Vec<SocketAddr> = backends(api.store(), service.value())
            .iter()
            .filter(ready)
            .filter_map(|pod| {
                self.containers
                    .address(pod.uid(), target_port(pod.value(), entry)?)
            })
            .collect();
        // Endpoints that somebody wrote by hand: addresses of this machine.
        let endpoints = api.store().get("endpoints", namespace, name);
        let subsets = endpoints
            .as_ref()
            .map_or(&[][..], |endpoints| endpoints.list_at(&["subsets"]));
        for subset in subsets {
            let number = subset
                .list_at(&["ports"])
                .iter()
                .find(|one| {
                    entry.str_at(&["name"]).is_empty() || one.str_at(&["name"]) == entry.str_at(&["name"])
                })
                .and_then(|one| u16::try_from(one.int_at(&["port"])?).ok());
            for address in subset.list_at(&["addresses"]) {
                // Pods that only pretend to run answer nobody.
                if address.get("targetRef").is_some() {
                    continue;
                }
                if let (Some(number), Ok(address)) = (number, address.str_at(&["ip"]).parse()) {
                    found.push(SocketAddr::new(address, number));
                }
            }
        }
        if found.is_empty() {
            return say(format!("no endpoints available for service {name:?}"));
        }
        let first = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % found.len();
        found.rotate_left(first);
        Ok(found)
    }

    async fn connect(
        self,
        service: Option<(String, String, u16)>,
        uri: Uri,
    ) -> Result<TokioIo<TcpStream>, DialError> {
        let addresses: Vec<SocketAddr> = match service {
            Some((namespace, name, port)) => self.service(&namespace, &name, port)?,
            None => {
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let port = uri.port_u16().unwrap_or(443);
                tokio::net::lookup_host((host.as_str(), port))
                    .await
                    .map_err(|_| DialError(format!("dial tcp: lookup {host}: no such host")))?
                    .collect()
            }
        };
        let mut last = DialError("dial tcp: no addresses".into());
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => last = DialError(format!("dial tcp {address}: connect: {}", io_text(&error))),
            }
        }
        Err(last)
    }
}

fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::TimedOut => "connection timed out".into(),
        std::io::ErrorKind::HostUnreachable => "no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        _ => error.to_string(),
    }
}

/// Dials for the pooled client.
#[derive(Clone)]
struct Dial {
    resolver: Resolver,
    service: Option<(String, String, u16)>,
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.resolver.clone().connect(self.service.clone(), uri))
    }
}

/// A webhook's connection pool.
pub(super) struct HookClient {
    client: Client<HttpsConnector<Dial>, Full<Bytes>>,
    url: String,
    seconds: u64,
}

impl std::fmt::Debug for HookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookClient")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl HookClient {
    /// A client that trusts the webhook's `caBundle`, or the system's roots without one.
    pub(super) fn new(hook: &Hook, resolver: Resolver) -> Result<Self, String> {
        let url = hook.target.url();
        let parsed: Uri = url
            .parse()
            .map_err(|error| format!("could not get REST client: {url:?}: {error}"))?;
        if parsed.scheme_str() != Some("https") || parsed.host().is_none() {
            return Err(format!("could not get REST client: {url:?} is not an https URL"));
        }
        let mut roots = RootCertStore::empty();
        if hook.ca_bundle.is_empty() {
            for certificate in rustls_native_certs::load_native_certs().certs {
                // One odd certificate of the system does not spoil the others.
                let _ = roots.add(certificate);
            }
        } else {
            for certificate in CertificateDer::pem_slice_iter(&hook.ca_bundle) {
                certificate
                    .ok()
                    .and_then(|certificate| roots.add(certificate).ok())
                    .ok_or("could not get REST client: unable to load root certificates: unable to parse bytes as PEM block")?;
            }
            if roots.is_empty() {
                return Err("could not get REST client: unable to load root certificates: unable to parse bytes as PEM block".into());
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("could not get REST client: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let service = match &hook.target {
            Target::Url(_) => None,
            Target::Service {
                namespace,
                name,
                port,
                ..
            } => Some((namespace.clone(), name.clone(), *port)),
        };
        // HTTP/1.1 only, as the API server does it so that calls spread over endpoints.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(Dial { resolver, service });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(std::time::Duration::from_secs(30))
            .build(connector);
        Ok(Self {
            client,
            url,
            seconds: hook.timeout.as_secs(),
        })
    }

    /// Posts a review and returns the answer's body.
    pub(super) async fn post(&self, body: Bytes) -> Result<Bytes, String> {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}timeout={}s", self.url, self.seconds);
        let failed = |why: String| format!("failed to call webhook: Post {url:?}: {why}");
        let request = Request::post(&url)
            .header(http::header::ACCEPT, "application/json, */*")
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| failed(error.to_string()))?;
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| failed(explain(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| failed(explain(error.as_ref())))?
                .to_bytes();
            if status.is_success() {
                Ok(body)
            } else {
                Err(format!("failed to call webhook: {}", refused(status, &body)))
            }
        };
        let patience = std::time::Duration::from_secs(self.seconds);
        match tokio::time::timeout(patience, exchange).await {
            Ok(result) => result,
            Err(_) => Err(failed("context deadline exceeded".into())),
        }
    }
}

/// What Kubernetes' client makes of a status that is no success.
fn refused(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(2048).collect();
    match status.as_u16() {
        401 => "the server has asked for the client to provide credentials".into(),
        403 => "unknown".into(),
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        415 => text,
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".into(),
        code if code >= 500 && text.is_empty() => {
            "an error on the server (\"\") has prevented the request from succeeding".into()
        }
        code if code >= 500 => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        _ => "the server rejected our request for an unknown reason".into(),
    }
}

/// The cause of a failed exchange, in the words of Go's `crypto/tls` and `net/http` where they are known.
fn explain(error: &(dyn StdError + 'static)) -> String {
    let mut cause = Some(error);
    let mut last = error.to_string();
    while let Some(current) = cause {
        if let Some(dial) = current.downcast_ref::<DialError>() {
            return dial.to_string();
        }
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return tls_text(tls);
        }
        if let Some(hyper) = current.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed())
        {
            return "EOF".into();
        }
        last = current.to_string();
        cause = match current.downcast_ref::<std::io::Error>() {
            Some(io) => match (io.get_ref(), io.kind()) {
                // What an I/O error wraps is not its source, but that of its source.
                (Some(inner), _) => Some(inner as &(dyn StdError + 'static)),
                (None, std::io::ErrorKind::UnexpectedEof) => return "EOF".into(),
                (None, std::io::ErrorKind::ConnectionReset) => {
                    return "read: connection reset by peer".into();
                }
                (None, std::io::ErrorKind::BrokenPipe) => return "write: broken pipe".into(),
                (None, _) => None,
            },
            None => current.source(),
        };
    }
    last
}

fn tls_text(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};

    let certificate = |text: &str| format!("tls: failed to verify certificate: x509: {text}");
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            certificate("certificate signed by unknown authority")
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => certificate("certificate has expired or is not yet valid"),
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let names: Vec<String> = presented.iter().map(|name| plain_name(name)).collect();
            certificate(&format!(
                "certificate is valid for {}, not {}",
                names.join(", "),
                expected.to_str()
            ))
        }
        Error::InvalidCertificate(CertificateError::NotValidForName) => {
            certificate("certificate is not valid for this name")
        }
        Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".into(),
        Error::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        other => format!("tls: {other}"),
    }
}

/// `DnsName("a")` as `a`.
fn plain_name(name: &str) -> String {
    name.split_once('(')
        .map_or(name, |(_, rest)| rest.trim_end_matches(')'))
        .trim_matches('"')
        .to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_webhook_is_quoted() {
        assert_eq!(
            refused(StatusCode::INTERNAL_SERVER_ERROR, b"boom\n"),
            "an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(
            refused(StatusCode::NOT_FOUND, b""),
            "the server could not find the requested resource"
        );
    }

    #[test]
    fn tls_failures_have_the_words_of_go() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(
            tls_text(&unknown),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        );
        assert_eq!(plain_name("DnsName(\"a.b.svc\")"), "a.b.svc");
    }
}
