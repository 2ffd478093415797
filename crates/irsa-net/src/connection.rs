//! One connection: its handshake, its requests, and its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::drain::{Phase, Phases};
use crate::limits::{Limits, Observer, Refusal};
use crate::slots::{Busy, Slot, Slots};
use crate::stall::Stall;

/// Answers requests; cheap to clone.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers one request of the client at `peer`.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// HTTP/1.1 and HTTP/2, over TLS or in the clear.
pub struct Http<H> {
    tls: Option<TlsAcceptor>,
    handler: H,
}

impl<H: Handler> Http<H> {
    /// HTTP in the clear.
    pub fn plain(handler: H) -> Arc<Self> {
        Arc::new(Self { tls: None, handler })
    }

    /// HTTP over TLS.
    pub fn tls(handler: H, config: Arc<ServerConfig>) -> Arc<Self> {
        Arc::new(Self {
            tls: Some(TlsAcceptor::from(config)),
            handler,
        })
    }
}

impl<H: Handler> Protocol for Http<H> {
    async fn serve(self: Arc<Self>, stream: TcpStream, connection: Connection) {
        let handler = self.handler.clone();
        let peer = connection.peer();
        let service = move |request| {
            let handler = handler.clone();
            async move { handler.handle(request, peer).await }
        };
        match &self.tls {
            None => connection.http(stream, false, service).await,
            Some(acceptor) => {
                let Some(stream) = connection.handshake(acceptor.accept(stream)).await else {
                    return;
                };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
                connection.http(stream, http2, service).await;
            }
        }
    }
}

/// What is spoken on the connections of a listener.
pub trait Protocol: Send + Sync + 'static {
    /// Serves one connection to its end. The future is dropped when the connection has to make room for another.
    fn serve(self: Arc<Self>, stream: TcpStream, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// What the connections of one listener share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) slots: Arc<Slots>,
    phases: Phases,
    builder: auto::Builder<TokioExecutor>,
}

impl Shared {
    pub(crate) fn new(limits: Limits, observer: Arc<dyn Observer>, phases: Phases) -> Self {
        let builder = builder(&limits);
        Self {
            limits,
            observer,
            slots: Arc::default(),
            phases,
            builder,
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(limits.buffer)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header)
        .initial_stream_window_size(limits.window.min(256 * 1024))
        .initial_connection_window_size(limits.window)
        .keep_alive_interval(limits.idle / 2)
        .keep_alive_timeout(limits.handshake);
    builder
}

/// One connection of a listener, as a [`Protocol`] serves it.
pub struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<Slot>,
    peer: SocketAddr,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, slot: Arc<Slot>, peer: SocketAddr) -> Self {
        Self { shared, slot, peer }
    }

    /// The address of the client.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Keeps the connection from making room for others until the guard is dropped, as a request in progress does.
    #[must_use = "the connection is busy for as long as the guard lives"]
    pub fn busy(&self) -> impl Drop + Send + use<> {
        Busy::begin(Arc::clone(&self.shared.slots), Arc::clone(&self.slot))
    }

    /// Awaits a TLS handshake for as long as the limits allow; `None` when it failed, which is counted.
    pub async fn handshake<T>(&self, handshake: impl Future<Output = io::Result<T>>) -> Option<T> {
        match tokio::time::timeout(self.shared.limits.handshake, handshake).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                self.shared.observer.refused(Refusal::Handshake);
                tracing::debug!(peer = %self.peer, %error, "TLS handshake failed");
                None
            }
            Err(_elapsed) => {
                self.shared.observer.refused(Refusal::HandshakeTimeout);
                tracing::debug!(peer = %self.peer, "TLS handshake timed out");
                None
            }
        }
    }

    /// Serves HTTP requests on `stream` until either side ends it. `http2` says that HTTP/2 was agreed on, which has a
    /// way to end a connection that loses nothing.
    pub async fn http<S, F, A, B>(&self, stream: S, http2: bool, answer: F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Fn(Request<Incoming>) -> A + Send + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let shared = &self.shared;
        let service = {
            let (slots, slot, phases) = (
                Arc::clone(&shared.slots),
                Arc::clone(&self.slot),
                shared.phases.clone(),
            );
            service_fn(move |request: Request<Incoming>| {
                let busy = Busy::begin(Arc::clone(&slots), Arc::clone(&slot));
                let phases = phases.clone();
                let http1 = request.version() <= Version::HTTP_11;
                let answer = answer(request);
                async move {
                    let mut response = answer.await;
                    drop(busy);
                    if http1 && phases.now() >= Phase::Closing {
                        response
                            .headers_mut()
                            .insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let stream = TokioIo::new(Stall::new(stream, shared.limits.write));
        let connection = shared.builder.serve_connection_with_upgrades(stream, service);
        let mut connection = pin!(connection);
        let mut first_request = pin!(tokio::time::sleep(shared.limits.first_request));
        // Not hyper-util's `GracefulShutdown`: a connection that is still in its handshake when that is signalled never
        // hears of it. An idle HTTP/1 connection would be closed at once, perhaps under a request on its way, so it is
        // kept longer than an HTTP/2 one.
        let end_at = if http2 { Phase::Lingering } else { Phase::Stopping };
        let mut phases = shared.phases.clone();
        let mut asked_to_end = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(peer = %self.peer, %error, "connection ended");
                    }
                    break;
                }
                () = phases.reached(end_at), if !asked_to_end => {
                    asked_to_end = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut first_request, if !self.slot.is_proven() => {
                    if !self.slot.is_proven() {
                        shared.observer.refused(Refusal::Silent);
                        break;
                    }
                }
            }
        }
    }
}
