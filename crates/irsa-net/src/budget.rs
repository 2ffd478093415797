//! One budget for the memory of all requests and answers in flight.
//!
//! Everything counts from its first byte. When the budget is used up, the request whose body has been arriving for the
//! longest time gives up its share: a body that arrives at an ordinary speed is complete within milliseconds, so this
//! hits stalled uploads and not the API server. When there is none, a request waits a moment for others to finish.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What one request costs apart from its body: its task, its header, its parsed form.
const REQUEST: usize = 8 * 1024;
/// A body that has been arriving for less time than this never gives up its share.
const GRACE: Duration = Duration::from_millis(250);
/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many requests wait for memory at once; the others are refused at once.
const WAITERS: usize = 256;

/// There is no room for the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests in flight")]
pub struct Full;

/// A number of bytes, drawn on by all requests of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    grace: Duration,
    patience: Duration,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    waiting: usize,
    arrivals: u64,
    /// Bodies that are still arriving, oldest first.
    arriving: BTreeMap<u64, Arriving>,
}

#[derive(Debug)]
struct Arriving {
    since: Instant,
    give_up: Arc<Notify>,
}

/// The share of one request; returned to the budget when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Inner>,
    bytes: usize,
    arriving: Option<(u64, Arc<Notify>)>,
}

impl Budget {
    /// A budget of `total` bytes.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self::with(total, GRACE, PATIENCE)
    }

    fn with(total: usize, grace: Duration, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            total,
            grace,
            patience,
            state: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// Bytes that are in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.state.lock().used
    }

    /// A share for one more request.
    ///
    /// # Errors
    /// [`Full`] when there is no room for it within a moment.
    pub async fn request(&self) -> Result<Share, Full> {
        let mut share = Share {
            budget: Arc::clone(&self.0),
            bytes: 0,
            arriving: None,
        };
        share.grow(REQUEST).await?;
        Ok(share)
    }
}

impl Share {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Full`] when there is no room for them within a moment.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        if self.try_grow(bytes) {
            return Ok(());
        }
        if bytes > self.budget.total {
            return Err(Full);
        }
        let budget = Arc::clone(&self.budget);
        let _waiting = Waiting::begin(&budget)?;
        let deadline = Instant::now() + budget.patience;
        loop {
            let mut freed = pin!(budget.freed.notified());
            // From here on nothing that is returned is missed.
            freed.as_mut().enable();
            if self.try_grow(bytes) {
                return Ok(());
            }
            let patience = budget.make_room(self.arriving.as_ref().map(|(id, _)| *id));
            let until = deadline.min(Instant::now() + patience);
            if tokio::time::timeout_at(until, freed).await.is_err() && Instant::now() >= deadline {
                return Err(Full);
            }
        }
    }

    fn try_grow(&mut self, bytes: usize) -> bool {
        let mut state = self.budget.state.lock();
        if self.budget.total.saturating_sub(state.used) < bytes {
            return false;
        }
        state.used += bytes;
        self.bytes += bytes;
        true
    }

    /// Says that the body of this request is arriving, so that the share may have to be given up: wait for the result
    /// beside the body.
    pub(crate) fn arriving(&mut self) -> Arc<Notify> {
        if let Some((_, give_up)) = &self.arriving {
            return Arc::clone(give_up);
        }
        let give_up = Arc::new(Notify::new());
        let mut state = self.budget.state.lock();
        let id = state.arrivals;
        state.arrivals += 1;
        let arriving = Arriving {
            since: Instant::now(),
            give_up: Arc::clone(&give_up),
        };
        state.arriving.insert(id, arriving);
        self.arriving = Some((id, Arc::clone(&give_up)));
        give_up
    }

    /// Says that the body is complete: from now on the share is kept until it is dropped.
    pub(crate) fn arrived(&mut self) {
        if let Some((id, _)) = self.arriving.take() {
            self.budget.state.lock().arriving.remove(&id);
        }
    }

    /// Bytes that keep this share until the last of them has been sent. What the share has beyond their number is
    /// returned at once; what it lacks is taken even if that is more than there is, since they exist already.
    #[must_use]
    pub fn answer(mut self, bytes: Vec<u8>) -> Bytes {
        self.arrived();
        self.set(REQUEST + bytes.capacity());
        Bytes::from_owner(Charged { bytes, _share: self })
    }

    fn set(&mut self, bytes: usize) {
        let mut state = self.budget.state.lock();
        state.used = state.used + bytes - self.bytes;
        let less = bytes < self.bytes;
        self.bytes = bytes;
        let waiting = state.waiting > 0;
        drop(state);
        if less && waiting {
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.arrived();
        self.set(0);
    }
}

struct Charged {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Inner {
    /// Tells the body that has been arriving for the longest time, other than `own`, to give up its share; returns how
    /// long to wait until another one may be told.
    fn make_room(&self, own: Option<u64>) -> Duration {
        let mut state = self.state.lock();
        let oldest = state.arriving.iter().find(|(id, _)| Some(**id) != own);
        let Some((&id, arriving)) = oldest else {
            return self.patience;
        };
        let age = arriving.since.elapsed();
        if age < self.grace {
            return self.grace - age;
        }
        arriving.give_up.notify_one();
        state.arriving.remove(&id);
        self.grace
    }
}

/// One of those who wait for memory.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn begin(inner: &'a Inner) -> Result<Self, Full> {
        let mut state = inner.state.lock();
        if state.waiting >= WAITERS {
            return Err(Full);
        }
        state.waiting += 1;
        Ok(Self(inner))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_is_dropped_or_sent_comes_back() {
        let budget = Budget::new(4 * REQUEST);
        let mut share = budget.request().await.unwrap();
        share.grow(1000).await.unwrap();
        assert_eq!(budget.used(), REQUEST + 1000);
        let answer = share.answer(Vec::with_capacity(300));
        assert_eq!(budget.used(), REQUEST + 300);
        drop(answer.clone());
        assert_eq!(budget.used(), REQUEST + 300);
        drop(answer);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_request_without_room_is_refused_after_a_while() {
        let budget = Budget::with(REQUEST, LONG, SOON);
        let _only = budget.request().await.unwrap();
        assert_eq!(budget.request().await.unwrap_err(), Full);
    }

    #[tokio::test]
    async fn a_request_without_room_is_served_as_soon_as_another_one_is_done() {
        let budget = Budget::with(REQUEST, LONG, LONG);
        let first = budget.request().await.unwrap();
        let (share, ()) = tokio::join!(budget.request(), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        drop(share.unwrap());
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_that_has_been_arriving_for_long_gives_way_and_a_young_one_does_not() {
        let old = Budget::with(REQUEST, Duration::ZERO, LONG);
        let mut stalled = old.request().await.unwrap();
        let told = stalled.arriving();
        let (share, ()) = tokio::join!(old.request(), async {
            told.notified().await;
            drop(stalled);
        });
        share.unwrap();

        let young = Budget::with(REQUEST, LONG, SOON);
        let mut arriving = young.request().await.unwrap();
        let spared = arriving.arriving();
        assert_eq!(young.request().await.unwrap_err(), Full);
        let told = tokio::time::timeout(Duration::from_millis(1), spared.notified()).await;
        assert!(told.is_err());
    }
}
