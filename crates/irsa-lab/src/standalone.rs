//! The AWS side alone, for the tests of other projects: its content from a configuration, its doors a CONNECT proxy,
//! TLS, and plain HTTP that plays one endpoint.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use irsa_sts::{Aws, Connection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::ca::{self, Authority};
use crate::proxy::{self, Backend, Facts, Proxy};

/// How long a connection may be silent between two requests.
const IDLE: Duration = Duration::from_secs(75);
/// How long to wait after `accept` failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many plain connections may be open at one time.
const MAX_CONNECTIONS: usize = 1024;

/// What a [`Standalone`] listens on.
#[derive(Clone, Debug)]
pub struct Doors {
    /// The CONNECT proxy and the direct TLS door.
    pub proxy: proxy::Config,
    /// Plain HTTP: which endpoint is played where.
    pub plain: Vec<(String, SocketAddr)>,
}

/// Why it could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The proxy.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// The certificate authority.
    #[error(transparent)]
    Authority(#[from] ca::Error),
    /// A plain address could not be bound.
    #[error("cannot listen on {address} to play {host}: {source}")]
    Listen {
        /// The endpoint.
        host: String,
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Not a name that AWS has.
    #[error(
        "{0} is not an endpoint of STS or S3 that exists on AWS; names such as sts.us-west-2.amazonaws.com and \
         s3.us-west-2.amazonaws.com are"
    )]
    NotAnEndpoint(String),
}

/// A running AWS. Dropping it stops it.
#[derive(Debug)]
pub struct Standalone {
    proxy: Proxy,
    plain: Vec<(String, SocketAddr)>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct AwsBackend(Aws);

impl Backend for AwsBackend {
    fn accepts(&self, host: &str) -> bool {
        Aws::serves(host)
    }

    fn handle(self: Arc<Self>, request: Request<Bytes>, facts: Facts) -> BoxFuture<'static, Response<Bytes>> {
        async move {
            let mut connection = Connection::to(facts.host).with_tls(facts.tls_version, facts.cipher);
            connection.source_ip = facts.source_ip;
            self.0.handle(request, &connection).await
        }
        .boxed()
    }
}

impl Standalone {
    /// Binds everything and starts to serve. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be bound, or a name that is to be played does not exist.
    pub async fn start(aws: Aws, doors: Doors) -> Result<Self, Error> {
        if let Some((host, _)) = doors.plain.iter().find(|(host, _)| !Aws::serves(host)) {
            return Err(Error::NotAnEndpoint(host.clone()));
        }
        let authority = Arc::new(Authority::generate("irsa sts")?);
        let max_body = doors.proxy.max_body;
        let body_time = doors.proxy.body_time;
        let proxy = Proxy::start(doors.proxy, authority, Arc::new(AwsBackend(aws.clone()))).await?;
        let (stop, stopped) = watch::channel(false);
        let mut plain = Vec::new();
        for (host, address) in doors.plain {
            let failed = |source| Error::Listen {
                host: host.clone(),
                address,
                source,
            };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            plain.push((host.clone(), listener.local_addr().map_err(failed)?));
            let played = Arc::new(Played {
                aws: aws.clone(),
                host,
                max_body,
                body_time,
            });
            tokio::spawn(accept(played, listener, stopped.clone()));
        }
        Ok(Self { proxy, plain, stop })
    }

    /// The proxy, with its addresses and its CA.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Which endpoint is played in plain HTTP at which address.
    #[must_use]
    pub fn plain(&self) -> &[(String, SocketAddr)] {
        &self.plain
    }

    /// Takes no more connections, lets running requests end for a moment, then closes.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        self.proxy.shutdown().await;
    }
}

/// One endpoint in plain HTTP.
struct Played {
    aws: Aws,
    host: String,
    max_body: usize,
    body_time: Duration,
}

async fn accept(played: Arc<Played>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let (stream, peer) = tokio::select! {
            biased;
            _ = stopped.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, host = played.host, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let played = Arc::clone(&played);
        let mut stopped = stopped.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = serve(&played, stream, peer) => {}
                _ = stopped.changed() => {}
            }
            drop(permit);
        });
    }
}

async fn serve(played: &Arc<Played>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let played = Arc::clone(played);
        async move {
            let request = match proxy::collect(request, played.max_body, played.body_time).await {
                Ok(request) => request,
                Err(refusal) => return Ok::<_, Infallible>(refusal),
            };
            let mut connection = Connection::to(played.host.as_str());
            connection.source_ip = peer.ip();
            let response = played.aws.handle(request, &connection).await;
            Ok(response.map(Full::new))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(256 << 10)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "a plain connection ended early");
    }
}
