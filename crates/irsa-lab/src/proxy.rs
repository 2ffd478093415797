//! The way in for unmodified AWS clients: a CONNECT proxy that ends TLS itself, and a plain TLS door for clients
//! that ignore proxies.
//!
//! Only names that the backend knows are let in; the lab never opens a connection to the outside, so everything
//! else is refused with a text that says so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use irsa_net::body::Bounds;
use irsa_net::budget::Share;
use irsa_net::{Budget, Connection, Drain, Limits, Listener, Phase, Protocol};
use parking_lot::Mutex;
use rustls::{CipherSuite, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;

use crate::ca::{self, Authority};

/// What one connection is, as the AWS side needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The name that the client asked for in TLS, or in CONNECT when it sent none. Lower case, no port.
    pub host: String,
    /// Where the connection came from.
    pub source_ip: IpAddr,
    /// As CloudTrail writes it: `TLSv1.3`.
    pub tls_version: &'static str,
    /// As CloudTrail writes it: `TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: String,
}

/// Who answers behind the proxy.
pub trait Backend: Send + Sync + 'static {
    /// Whether this host name is served here. The name is lower case and has no port.
    fn accepts(&self, host: &str) -> bool;

    /// The largest body in bytes that is worth reading for this host.
    fn max_body(&self, _host: &str) -> usize {
        usize::MAX
    }

    /// Answers one request. Its target is as the client sent it, and it always has a `host` header.
    fn handle(self: Arc<Self>, request: Request<Bytes>, facts: Facts) -> BoxFuture<'static, Response<Bytes>>;
}

/// Settings of a [`Proxy`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Where CONNECT is taken.
    pub listen: SocketAddr,
    /// Where TLS is taken directly.
    pub direct: SocketAddr,
    /// The largest request body in bytes; the backend may take less.
    pub max_body: usize,
    /// Memory for all bodies that are arriving or being answered.
    pub budget: Budget,
    /// How long a connection may be silent between two requests.
    pub idle: Duration,
    /// How long one request body may take to arrive.
    pub body_time: Duration,
    /// How many connections may be open at one time.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: loopback,
            direct: loopback,
            max_body: 64 << 20,
            budget: Budget::new(192 << 20),
            idle: Duration::from_secs(75),
            body_time: Duration::from_secs(120),
            max_connections: 1024,
        }
    }
}

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be bound.
    #[error("the AWS proxy cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate authority failed.
    #[error(transparent)]
    Authority(#[from] ca::Error),
}

/// A running proxy. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    direct: SocketAddr,
    shared: Arc<Shared>,
    drain: Drain,
    doors: JoinSet<()>,
}

struct Shared {
    config: Config,
    authority: Arc<Authority>,
    backend: Arc<dyn Backend>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// How long open requests may take once the proxy is told to stop.
const DRAIN: Duration = Duration::from_secs(2);
impl Proxy {
    /// Binds and starts to serve. Needs a Tokio runtime.
    pub async fn start(
        config: Config,
        authority: Arc<Authority>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, Error> {
        let bind = async |address: SocketAddr| {
            Listener::bind(address)
                .await
                .map_err(|source| Error::Listen { address, source })
        };
        let connect = bind(config.listen).await?;
        let direct = bind(config.direct).await?;
        let addresses = (connect.address(), direct.address());
        let limits = Limits {
            connections: config.max_connections,
            idle: config.idle,
            ..Limits::default()
        };
        let shared = Arc::new(Shared {
            config,
            authority,
            backend,
        });
        let drain = Drain::default();
        let mut doors = JoinSet::new();
        for (listener, entry) in [(connect, Entry::Connect), (direct, Entry::Direct)] {
            let door = Arc::new(Door {
                shared: Arc::clone(&shared),
                entry,
            });
            doors.spawn(listener.serve(door, limits.clone(), Arc::new(()), drain.phases()));
        }
        Ok(Self {
            address: addresses.0,
            direct: addresses.1,
            shared,
            drain,
            doors,
        })
    }

    /// Where CONNECT is taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `HTTPS_PROXY` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where TLS is taken directly.
    pub fn direct_address(&self) -> SocketAddr {
        self.direct
    }

    /// The CA certificate of every name served here, PEM.
    pub fn ca_pem(&self) -> &str {
        self.shared.authority.pem()
    }

    /// Takes no more connections, lets running requests end for a moment, then closes.
    pub async fn shutdown(mut self) {
        self.drain.advance(Phase::Stopping);
        let ended = async { while self.doors.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::debug!("connections of the AWS proxy were still open when it stopped");
        }
    }
}

/// How a connection begins.
#[derive(Clone, Copy)]
enum Entry {
    /// Plain HTTP with CONNECT, then TLS.
    Connect,
    /// TLS from the first byte.
    Direct,
}

/// One of the two ports.
struct Door {
    shared: Arc<Shared>,
    entry: Entry,
}

impl Protocol for Door {
    async fn serve(self: Arc<Self>, stream: TcpStream, connection: Connection) {
        match self.entry {
            Entry::Connect => serve_connect(&self.shared, stream, &connection).await,
            Entry::Direct => serve_tls(&self.shared, stream, &connection, None).await,
        }
    }
}

async fn serve_connect(shared: &Arc<Shared>, stream: TcpStream, connection: &Connection) {
    let (tunnel_out, tunnel_in) = tokio::sync::oneshot::channel();
    let service = {
        let (shared, tunnel_out) = (Arc::clone(shared), Mutex::new(Some(tunnel_out)));
        move |request: Request<Incoming>| std::future::ready(connect(&shared, request, &tunnel_out))
    };
    connection.http(stream, false, service).await;
    if let Ok((host, upgrade)) = tunnel_in.await {
        let upgrade: hyper::upgrade::OnUpgrade = upgrade;
        match upgrade.await {
            Ok(stream) => serve_tls(shared, TokioIo::new(stream), connection, Some(host)).await,
            Err(error) => {
                tracing::debug!(peer = %connection.peer(), %error, "CONNECT was not followed by a tunnel");
            }
        }
    }
}

type Tunnel = tokio::sync::oneshot::Sender<(String, hyper::upgrade::OnUpgrade)>;

/// Decides about one request to the proxy itself.
fn connect(
    shared: &Shared,
    mut request: Request<Incoming>,
    tunnel: &Mutex<Option<Tunnel>>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::CONNECT {
        return refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "this is the CONNECT proxy of an irsa lab; it serves AWS names over https only. \
             Set HTTPS_PROXY (not HTTP_PROXY) to it and use https:// URLs\n"
                .to_owned(),
        );
    }
    let Some(authority) = request.uri().authority() else {
        return refuse(StatusCode::BAD_REQUEST, "CONNECT needs HOST:PORT\n".to_owned());
    };
    let host = authority.host().to_ascii_lowercase();
    let port = authority.port_u16().unwrap_or(443);
    if port != 443 || !shared.backend.accepts(&host) {
        tracing::debug!(%host, port, "the AWS proxy refused a name");
        return refuse(
            StatusCode::FORBIDDEN,
            format!(
                "{host}:{port} is not served by this irsa lab. It answers for AWS STS and S3 names and for its own \
                 OIDC issuer, on port 443, and never opens a connection to the outside. \
                 To reach the name directly add it to NO_PROXY\n"
            ),
        );
    }
    match tunnel.lock().take() {
        Some(tunnel) => {
            let _ = tunnel.send((host, hyper::upgrade::on(&mut request)));
            Response::new(Full::default())
        }
        None => refuse(StatusCode::BAD_REQUEST, "one CONNECT per connection\n".to_owned()),
    }
}

async fn serve_tls<S>(shared: &Arc<Shared>, stream: S, connection: &Connection, connect: Option<String>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let peer = connection.peer();
    let handshake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let asked = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let host = asked
            .or(connect)
            .ok_or_else(|| other("the client named no host (no SNI)"))?;
        if !shared.backend.accepts(&host) {
            return Err(other(&format!("`{host}` is not served by this lab")));
        }
        let config = shared
            .authority
            .server_config(&host)
            .map_err(std::io::Error::other)?;
        Ok((host, start.into_stream(config).await?))
    };
    // Most often the client does not trust the lab's CA: worth a warning.
    let warned = async {
        handshake.await.inspect_err(
            |error: &std::io::Error| tracing::warn!(%peer, %error, "TLS with an AWS client failed"),
        )
    };
    let Some((host, stream)) = connection.handshake(warned).await else {
        return;
    };
    let (_, session) = stream.get_ref();
    let http2 = session.alpn_protocol() == Some(b"h2".as_slice());
    let facts = facts(host, peer, session);
    let service = {
        let shared = Arc::clone(shared);
        move |request| {
            let (shared, facts) = (Arc::clone(&shared), facts.clone());
            async move { answer(&shared, request, facts).await }
        }
    };
    connection.http(stream, http2, service).await;
}

/// Reads the whole body, then asks the backend.
async fn answer(shared: &Shared, request: Request<Incoming>, facts: Facts) -> Response<Full<Bytes>> {
    let bounds = Bounds {
        bytes: shared.config.max_body.min(shared.backend.max_body(&facts.host)),
        time: shared.config.body_time,
    };
    match collect(request, bounds, &shared.config.budget).await {
        // The share is given back when the answer is made.
        Ok((request, _share)) => Arc::clone(&shared.backend)
            .handle(request, facts)
            .await
            .map(Full::new),
        Err(refusal) => refusal,
    }
}

/// Reads a request's body within bounds and gives the request a `host` header.
///
/// The error is the answer to the client.
pub(crate) async fn collect(
    request: Request<Incoming>,
    bounds: Bounds,
    budget: &Budget,
) -> Result<(Request<Bytes>, Share), Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let received = irsa_net::body::read(body, bounds, budget)
        .await
        .map_err(|refused| refuse(refused.status(), format!("{refused}\n")))?;
    let mut request = Request::from_parts(parts, received.bytes);
    // `host` is what signatures name.
    irsa_net::body::add_host(&mut request);
    Ok((request, received.share))
}

fn refuse(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn other(text: &str) -> std::io::Error {
    std::io::Error::other(text.to_owned())
}

fn facts(host: String, peer: SocketAddr, session: &ServerConnection) -> Facts {
    Facts {
        host,
        source_ip: peer.ip(),
        tls_version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: session
            .negotiated_cipher_suite()
            .map(|suite| cipher_name(suite.suite()))
            .unwrap_or_default(),
    }
}

/// CloudTrail has the RFC 8446 names for TLS 1.3 and OpenSSL's names for TLS 1.2.
fn cipher_name(suite: CipherSuite) -> String {
    let rustls_name = suite.as_str().unwrap_or_default();
    if let Some(rest) = rustls_name.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    rustls_name
        .trim_start_matches("TLS_")
        .replace("_WITH_", "_")
        .replace("AES_", "AES")
        .trim_end_matches(if rustls_name.contains("CHACHA20") {
            "_SHA256"
        } else {
            ""
        })
        .replace('_', "-")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
