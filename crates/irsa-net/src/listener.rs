//! Accepting connections, bounded in number and in time, and drained so that no request is lost.
//!
//! A connection has to finish its handshake and its first request in a bounded time. At the limit a new connection is
//! not turned away: it takes the place of the oldest connection that has not carried a request yet, or else of the one
//! that has been idle longest. So a flood of silent connections pushes out its own, never the API server's. When all
//! connections are busy, new ones wait in the kernel's queue.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::connection::{Connection, Shared};
use crate::drain::{Phase, Phases};
use crate::slots::Slot;

/// How many connections, and how long each step of one may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections at most, of all kinds.
    pub connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the end of the first request's header.
    pub first_request: Duration,
    /// Between requests, and for the header of a later one. Where the client is an API server this has to be longer
    /// than the 90 s after which that closes an idle connection itself: if the server closed first, a request could be
    /// lost on its way.
    pub idle: Duration,
    /// For a single write that the peer does not read.
    pub write: Duration,
    /// Bytes of the read buffer of one connection, which also bounds the header of an HTTP/1 request.
    pub buffer: usize,
    /// Bytes of the header of an HTTP/2 request.
    pub header: u32,
    /// Bytes that a client may send on one HTTP/2 connection before the server has read them.
    pub window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000,
            streams: 250,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(30),
            buffer: 256 * 1024,
            header: 128 * 1024,
            window: 1024 * 1024,
        }
    }
}

/// Why a connection ended before it carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// No complete request came in time.
    Silent,
    /// It made room for a newer connection at the limit.
    Evicted,
}

impl Refusal {
    /// All of them, for registering metrics.
    pub const ALL: [Self; 4] = [
        Self::Handshake,
        Self::HandshakeTimeout,
        Self::Silent,
        Self::Evicted,
    ];

    /// A short stable name, fit for a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Silent => "silent",
            Self::Evicted => "evicted",
        }
    }
}

/// Told of what happens to connections; `()` ignores it.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted.
    fn opened(&self) {}
    /// A connection has ended, for whatever reason.
    fn closed(&self) {}
    /// A connection ended before it carried a request.
    fn refused(&self, _refusal: Refusal) {}
    /// The system could not accept a connection.
    fn accept_failed(&self) {}
}

impl Observer for () {}

/// What is spoken on the connections of a listener.
pub trait Protocol: Send + Sync + 'static {
    /// Serves one connection to its end. The future is dropped when the connection has to make room for another.
    fn serve(self: Arc<Self>, stream: TcpStream, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// One bound port.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 takes any free one.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpListener::bind(address).await?)
    }

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the phase says stop and the last connection is done.
    pub async fn serve<P: Protocol>(
        self,
        protocol: Arc<P>,
        limits: Limits,
        observer: Arc<dyn Observer>,
        mut phases: Phases,
    ) {
        let shared = Arc::new(Shared::new(limits, observer, phases.clone()));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = phases.reached(Phase::Lingering) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (stream, peer, slot) = accept(&self.listener, &shared) => {
                    // Answers are one small write; waiting to fill a packet would only add latency.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(run(Arc::clone(&protocol), stream, Connection::new(Arc::clone(&shared), slot, peer)));
                }
            }
        }
        drop(self);
        let done = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = done => {}
            () = phases.reached(Phase::Aborting) => {}
        }
        connections.shutdown().await;
    }
}

async fn run<P: Protocol>(protocol: Arc<P>, stream: TcpStream, connection: Connection) {
    let shared = Arc::clone(&connection.shared);
    let slot = Arc::clone(&connection.slot);
    shared.observer.opened();
    tokio::select! {
        () = protocol.serve(stream, connection) => {}
        () = slot.evict.notified() => shared.observer.refused(Refusal::Evicted),
    }
    shared.slots.leave(&slot);
    shared.observer.closed();
}

/// The next connection that there is room for. Cancel-safe up to the connection in hand, which is closed.
async fn accept(listener: &TcpListener, shared: &Shared) -> (TcpStream, SocketAddr, Arc<Slot>) {
    let mut back_off = Duration::from_millis(5);
    let (stream, peer) = loop {
        match listener.accept().await {
            Ok(accepted) => break accepted,
            Err(error) => {
                shared.observer.accept_failed();
                // A connection that died in the queue says nothing about the next one; anything else (no file
                // descriptors, no memory) will not be better at once.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    tracing::warn!(%error, "cannot accept connections; trying again shortly");
                    tokio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(Duration::from_secs(1));
                }
            }
        }
    };
    loop {
        if let Some(slot) = shared.slots.take(shared.limits.connections.max(1)) {
            return (stream, peer, slot);
        }
        match shared.slots.evict(Instant::now()) {
            Some(wait) => {
                let _ = tokio::time::timeout(wait, shared.slots.room()).await;
            }
            None => shared.slots.room().await,
        }
    }
}
