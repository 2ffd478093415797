//! The AWS side alone, for the tests of other projects: its content from a configuration, its doors a CONNECT proxy,
//! TLS, and plain HTTP that plays one endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use irsa_net::body::Bounds;
use irsa_net::{Budget, Drain, Handler, Http, Limits, Listener, Phase};
use irsa_sts::{Aws, Connection};

use crate::ca::{self, Authority};
use crate::proxy::{self, Backend, Facts, Proxy};

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
    drain: Drain,
}

#[derive(Debug)]
struct AwsBackend(Aws);

impl Backend for AwsBackend {
    fn accepts(&self, host: &str) -> bool {
        Aws::serves(host)
    }

    fn max_body(&self, host: &str) -> usize {
        Aws::max_body(host)
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
        let bounds = Bounds {
            bytes: doors.proxy.max_body,
            time: doors.proxy.body_time,
        };
        let budget = doors.proxy.budget.clone();
        let proxy = Proxy::start(doors.proxy, authority, Arc::new(AwsBackend(aws.clone()))).await?;
        let drain = Drain::default();
        let mut plain = Vec::new();
        for (host, address) in doors.plain {
            let failed = |source| Error::Listen {
                host: host.clone(),
                address,
                source,
            };
            let listener = Listener::bind(address).await.map_err(failed)?;
            plain.push((host.clone(), listener.address()));
            let played = Http::plain(Played {
                aws: aws.clone(),
                bounds: Bounds {
                    bytes: bounds.bytes.min(Aws::max_body(&host)),
                    ..bounds
                },
                host: host.into(),
                budget: budget.clone(),
            });
            tokio::spawn(listener.serve(played, Limits::default(), Arc::new(()), drain.phases()));
        }
        Ok(Self { proxy, plain, drain })
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
        self.drain.advance(Phase::Stopping);
        self.proxy.shutdown().await;
    }
}

/// One endpoint in plain HTTP.
#[derive(Clone)]
struct Played {
    aws: Aws,
    host: Arc<str>,
    bounds: Bounds,
    budget: Budget,
}

impl Handler for Played {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        // The share is given back when the answer is made.
        let (request, _share) = match proxy::collect(request, self.bounds, &self.budget).await {
            Ok(received) => received,
            Err(refusal) => return refusal,
        };
        let mut connection = Connection::to(&*self.host);
        connection.source_ip = peer.ip();
        self.aws.handle(request, &connection).await.map(Full::new)
    }
}
