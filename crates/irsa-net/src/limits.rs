//! The limits of a listener, and who is told when a connection ends because of them.

use std::time::Duration;

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
