//! How far a server is on its way down.

use tokio::sync::watch;

/// The steps of a shutdown, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Open,
    /// Serving new and old connections, but asking HTTP/1 clients to close theirs after each answer.
    Closing,
    /// Accepting no more connections. HTTP/2 clients are told to go away (GOAWAY), HTTP/1 clients as before.
    Lingering,
    /// Ending each connection after its request in flight.
    Stopping,
    /// Closing what is still open.
    Aborting,
}

/// Moves the listeners of one server from phase to phase. Dropping it aborts them.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

/// The receiving side of a [`Drain`].
#[derive(Clone, Debug)]
pub struct Phases(watch::Receiver<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Open))
    }
}

impl Drain {
    /// The receiving side, for a listener.
    #[must_use]
    pub fn phases(&self) -> Phases {
        Phases(self.0.subscribe())
    }

    /// Moves on to `phase`. Going back has no effect on connections that have already been told.
    pub fn advance(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}

impl Phases {
    /// The current phase.
    #[must_use]
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is `wanted` or later. Cancel-safe. A [`Drain`] that is gone counts as the last phase.
    pub async fn reached(&mut self, wanted: Phase) {
        let _ = self.0.wait_for(|now| *now >= wanted).await;
    }
}
