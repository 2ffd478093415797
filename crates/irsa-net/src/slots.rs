//! The open connections of a listener, and which of them makes room when there are too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A new connection is not ended before it has had so much time for its handshake and its first request: newcomers
/// would otherwise only push out each other.
const YOUNG: Duration = Duration::from_millis(500);

/// One open connection.
#[derive(Debug)]
pub(crate) struct Slot {
    id: u64,
    since: Instant,
    proven: AtomicBool,
    busy: AtomicU64,
    /// Ticks of the clock of [`Slots`] at the end of the last request.
    last_used: AtomicU64,
    pub(crate) evict: Notify,
}

impl Slot {
    /// Whether the connection has carried a request.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Slots {
    open: Mutex<Vec<Arc<Slot>>>,
    clock: AtomicU64,
    /// Told when a connection ends or becomes idle.
    room: Notify,
}

impl Slots {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// A slot for a new connection, if fewer than `limit` are open.
    pub(crate) fn take(&self, limit: usize) -> Option<Arc<Slot>> {
        let mut open = self.open.lock();
        if open.len() >= limit {
            return None;
        }
        let id = self.tick();
        let slot = Arc::new(Slot {
            id,
            since: Instant::now(),
            proven: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            last_used: AtomicU64::new(id),
            evict: Notify::new(),
        });
        open.push(Arc::clone(&slot));
        Some(slot)
    }

    /// Ends the oldest connection that has carried no request and has had time for one, else the one that has been idle
    /// longest. The slot is free when [`Slots::room`] says so. Returns after how long it is worth trying again.
    pub(crate) fn evict(&self, now: Instant) -> Option<Duration> {
        let open = self.open.lock();
        // Slots are in the order of their arrival.
        if let Some(silent) = open.iter().find(|slot| !slot.is_proven()) {
            let age = now.saturating_duration_since(silent.since);
            if age < YOUNG {
                return Some(YOUNG - age);
            }
            silent.evict.notify_one();
            return None;
        }
        let idle = open
            .iter()
            .filter(|slot| slot.busy.load(Ordering::Relaxed) == 0)
            .min_by_key(|slot| slot.last_used.load(Ordering::Relaxed));
        if let Some(idle) = idle {
            idle.evict.notify_one();
        }
        None
    }

    /// Waits until a connection has ended or has become idle since the last call.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    pub(crate) fn leave(&self, slot: &Slot) {
        self.open.lock().retain(|open| open.id != slot.id);
        self.room.notify_one();
    }
}

/// A request in progress on a connection. Dropped too when the client gives up.
pub(crate) struct Busy {
    slots: Arc<Slots>,
    slot: Arc<Slot>,
}

impl Busy {
    pub(crate) fn begin(slots: Arc<Slots>, slot: Arc<Slot>) -> Self {
        slot.proven.store(true, Ordering::Relaxed);
        slot.busy.fetch_add(1, Ordering::Relaxed);
        Self { slots, slot }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.slot.last_used.store(self.slots.tick(), Ordering::Relaxed);
        if self.slot.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.slots.room.notify_one();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use futures_lite::now;

    use super::*;

    /// A minimal `now_or_never`, so that the test needs no runtime.
    mod futures_lite {
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};

        pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
            match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            }
        }
    }

    fn evicted(slot: &Slot) -> bool {
        now(slot.evict.notified()).is_some()
    }

    #[test]
    fn silent_connections_make_room_first_then_the_longest_idle_and_busy_ones_never() {
        let slots = Arc::new(Slots::default());
        let busy = slots.take(3).unwrap();
        let idle = slots.take(3).unwrap();
        let silent = slots.take(3).unwrap();
        let request = Busy::begin(Arc::clone(&slots), Arc::clone(&busy));
        drop(Busy::begin(Arc::clone(&slots), Arc::clone(&idle)));
        assert!(slots.take(3).is_none(), "the limit holds");
        let at = Instant::now();
        assert!(slots.evict(at).is_some() && !evicted(&silent), "it is new");
        let later = at + YOUNG;
        assert!(slots.evict(later).is_none() && evicted(&silent) && !evicted(&idle));
        slots.leave(&silent);
        let used = slots.take(3).unwrap();
        drop(Busy::begin(Arc::clone(&slots), Arc::clone(&used)));
        slots.evict(later);
        assert!(evicted(&idle) && !evicted(&used));
        slots.leave(&idle);
        slots.leave(&used);
        slots.evict(later);
        assert!(!evicted(&busy), "all that are left are busy");
        while now(slots.room()).is_some() {}
        drop(request);
        assert!(
            now(slots.room()).is_some(),
            "a connection that becomes idle is room"
        );
    }
}
