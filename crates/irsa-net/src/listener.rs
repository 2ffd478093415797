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

use crate::connection::{Connection, Protocol, Shared};
use crate::drain::{Phase, Phases};
use crate::limits::{Limits, Observer, Refusal};
use crate::slots::Slot;

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
