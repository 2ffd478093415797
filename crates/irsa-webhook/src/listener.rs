//! Accepting connections: bounded in number and in time, and drained so that nobody loses a request.
//!
//! A connection has to finish its handshake and its first request in a bounded time. At the limit a newcomer is not
//! turned away: it takes the place of the oldest connection that has not carried a request yet, or else of the one
//! idle longest. So a flood of silent connections pushes out its own, never the API server's.
//!
//! Draining has steps. *Closing* goes on serving, with `Connection: close` on every answer, so that clients move
//! elsewhere by themselves; *lingering* accepts no more; *stopping* ends each connection after its request in flight.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::metrics::{Metrics, Refusal};

/// How many connections, and how long each step of one may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections at most.
    pub connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the end of the first request's header.
    pub first_request: Duration,
    /// Between requests, and for the header of a later one. Longer than the 90 s after which the API server closes an
    /// idle connection itself: whoever closes first must not be the server, or a request could be lost on its way.
    pub idle: Duration,
    /// From the end of a request's header to the end of its body.
    pub body: Duration,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are being read or answered.
    pub inflight_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000,
            streams: 250,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            body: Duration::from_secs(10),
            // A pod is 1.5 MiB in etcd and 3 MiB in a request at most; a review carries it with its options.
            body_bytes: 7 * 1024 * 1024,
            inflight_bytes: 64 * 1024 * 1024,
        }
    }
}

/// How far the server is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Open,
    /// Serving, and asking clients to go elsewhere.
    Closing,
    /// Accepting no more, and asking clients to go elsewhere.
    Lingering,
    /// Ending each connection after its request in flight.
    Stopping,
    /// What is still open is cut off.
    Aborting,
}

/// Answers requests; cheap to clone.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// One request, one answer.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// What the accept loop needs to know of a connection.
#[derive(Debug)]
struct Slot {
    id: u64,
    proven: AtomicBool,
    busy: AtomicU64,
    /// Ticks of [`Slots::clock`] at the last end of a request.
    last_used: AtomicU64,
    evict: Notify,
}

/// The open connections, at most [`Limits::connections`].
#[derive(Debug, Default)]
struct Slots {
    open: Mutex<Vec<Arc<Slot>>>,
    clock: AtomicU64,
}

impl Slots {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// A place for a new connection, made by evicting another one at the limit.
    fn take(&self, limit: usize) -> (Arc<Slot>, bool) {
        let id = self.tick();
        let slot = Arc::new(Slot {
            id,
            proven: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            last_used: AtomicU64::new(id),
            evict: Notify::new(),
        });
        let mut open = self.open.lock();
        let mut evicted = false;
        if open.len() >= limit.max(1) {
            // Unproven ones are in the order of their arrival; an idle one is picked only if there is none.
            let victim = open
                .iter()
                .position(|slot| !slot.proven.load(Ordering::Relaxed))
                .or_else(|| {
                    open.iter()
                        .enumerate()
                        .filter(|(_, slot)| slot.busy.load(Ordering::Relaxed) == 0)
                        .min_by_key(|(_, slot)| slot.last_used.load(Ordering::Relaxed))
                        .map(|(index, _)| index)
                });
            if let Some(index) = victim {
                open.remove(index).evict.notify_one();
                evicted = true;
            }
        }
        open.push(Arc::clone(&slot));
        (slot, evicted)
    }

    fn leave(&self, slot: &Slot) {
        self.open.lock().retain(|open| open.id != slot.id);
    }
}

/// One bound port.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Listener {
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            tls,
            limits,
            metrics,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the phase says stop and the last connection is done.
    pub(crate) async fn serve<H: Handler>(self, handler: H, mut phase: watch::Receiver<Phase>) {
        let Self {
            listener,
            tls,
            limits,
            metrics,
            ..
        } = self;
        let acceptor = tls.map(TlsAcceptor::from);
        let shared = Arc::new(Shared {
            limits,
            metrics,
            slots: Slots::default(),
            acceptor,
            builder: OnceBuilder::default(),
        });
        let mut connections = JoinSet::new();
        let mut back_off = Duration::from_millis(5);
        loop {
            tokio::select! {
                biased;
                () = reached(&mut phase, Phase::Lingering) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _peer)) => {
                        back_off = Duration::from_millis(5);
                        let (slot, evicted) = shared.slots.take(shared.limits.connections);
                        if evicted {
                            shared.metrics.refused(Refusal::Evicted);
                        }
                        let (shared, handler, phase) = (Arc::clone(&shared), handler.clone(), phase.clone());
                        connections.spawn(async move {
                            shared.metrics.connection_opened();
                            shared.connection(stream, &slot, handler, phase).await;
                            shared.slots.leave(&slot);
                            shared.metrics.connection_closed();
                        });
                    }
                    Err(error) => {
                        shared.metrics.accept_error();
                        // A connection that died in the queue says nothing about the next one; anything else
                        // (no file descriptors, no memory) will not be better at once.
                        if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                            tracing::warn!(%error, "cannot accept connections; trying again shortly");
                            tokio::time::sleep(back_off).await;
                            back_off = (back_off * 2).min(Duration::from_secs(1));
                        }
                    }
                },
            }
        }
        drop(listener);
        loop {
            tokio::select! {
                joined = connections.join_next() => if joined.is_none() { break },
                () = reached(&mut phase, Phase::Aborting) => {
                    connections.shutdown().await;
                    break;
                }
            }
        }
    }
}

/// Waits until the phase is `wanted` or later; a sender that is gone means the last phase.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|now| *now >= wanted).await;
}

#[derive(Default)]
struct OnceBuilder(std::sync::OnceLock<auto::Builder<TokioExecutor>>);

struct Shared {
    limits: Limits,
    metrics: Arc<Metrics>,
    slots: Slots,
    acceptor: Option<TlsAcceptor>,
    builder: OnceBuilder,
}

impl Shared {
    fn builder(&self) -> &auto::Builder<TokioExecutor> {
        self.builder.0.get_or_init(|| {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.idle)
                .max_buf_size(64 * 1024)
                .max_headers(64)
                .http2()
                .timer(TokioTimer::new())
                .max_concurrent_streams(self.limits.streams)
                .max_header_list_size(16 * 1024)
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(1024 * 1024)
                .keep_alive_interval(self.limits.idle / 2)
                .keep_alive_timeout(self.limits.handshake.max(Duration::from_secs(1)));
            builder
        })
    }

    async fn connection<H: Handler>(
        self: &Arc<Self>,
        stream: TcpStream,
        slot: &Arc<Slot>,
        handler: H,
        phase: watch::Receiver<Phase>,
    ) {
        // Answers are one small write; waiting to fill a packet would only add latency.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = &self.acceptor else {
            return self.http(stream, slot, handler, phase, false).await;
        };
        let handshake = tokio::time::timeout(self.limits.handshake, acceptor.accept(stream));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            () = slot.evict.notified() => return,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
                self.http(stream, slot, handler, phase, http2).await;
            }
            Ok(Err(error)) => {
                self.metrics.refused(Refusal::Handshake);
                tracing::debug!(%error, "TLS handshake failed");
            }
            Err(_elapsed) => self.metrics.refused(Refusal::HandshakeTimeout),
        }
    }

    async fn http<H: Handler, S>(
        self: &Arc<Self>,
        stream: S,
        slot: &Arc<Slot>,
        handler: H,
        mut phase: watch::Receiver<Phase>,
        http2: bool,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = {
            let (shared, slot, phase) = (Arc::clone(self), Arc::clone(slot), phase.clone());
            service_fn(move |request: Request<Incoming>| {
                let (handler, phase) = (handler.clone(), phase.clone());
                let busy = Busy::begin(Arc::clone(&shared), Arc::clone(&slot));
                async move {
                    let http1 = request.version() <= Version::HTTP_11;
                    let mut response = handler.handle(request).await;
                    drop(busy);
                    if http1 && *phase.borrow() >= Phase::Closing {
                        response
                            .headers_mut()
                            .insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, std::convert::Infallible>(response)
                }
            })
        };
        let mut connection = pin!(self.builder().serve_connection(TokioIo::new(stream), service));
        let mut first_request = pin!(tokio::time::sleep(self.limits.first_request));
        let mut asked_to_end = false;
        // HTTP/2 has a farewell that loses nothing, so it is said as soon as clients should go elsewhere; an idle
        // HTTP/1 connection would be closed at once, perhaps under a request on its way, so it is kept until stopping.
        let end_at = if http2 { Phase::Closing } else { Phase::Stopping };
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection ended");
                    }
                    break;
                }
                () = &mut first_request, if !slot.proven.load(Ordering::Relaxed) => {
                    if !slot.proven.load(Ordering::Relaxed) {
                        self.metrics.refused(Refusal::Silent);
                        break;
                    }
                }
                () = slot.evict.notified() => break,
                () = reached(&mut phase, end_at), if !asked_to_end => {
                    asked_to_end = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// A request under way on a connection; ended also when the client gives it up.
struct Busy {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
}

impl Busy {
    fn begin(shared: Arc<Shared>, slot: Arc<Slot>) -> Self {
        slot.proven.store(true, Ordering::Relaxed);
        slot.busy.fetch_add(1, Ordering::Relaxed);
        Self { shared, slot }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.slot.busy.fetch_sub(1, Ordering::Relaxed);
        self.slot
            .last_used
            .store(self.shared.slots.tick(), Ordering::Relaxed);
    }
}
