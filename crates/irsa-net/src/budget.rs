//! One budget for the memory of all requests and answers in flight.
//!
//! Everything counts from its first byte. A body whose length is announced takes its whole share before it is read, so
//! that large bodies wait for each other instead of blocking each other half-read. When there is no room, bodies that
//! arrive too slowly give up their share: an ordinary client sends its body within milliseconds, so this hits stalled
//! uploads and not the API server. Large bodies never take the last quarter, which is for the small ones that nearly all
//! are; of those that wait, the smallest is served first.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What one request costs apart from its body: its task, its header, its parsed form.
const REQUEST: usize = 8 * 1024;
/// A share of more than this is large.
const LARGE: usize = 256 * 1024;
/// A body that has been arriving for less time than this never gives up its share.
const GRACE: Duration = Duration::from_millis(250);
/// Bytes a second below which a body is slow.
const SLOW: usize = 256 * 1024;
/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(8);
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
    next: u64,
    /// Who waits, by the size of the share that it would have then.
    waiting: BTreeSet<(usize, u64)>,
    /// Bodies that are still arriving.
    arriving: BTreeMap<u64, Arriving>,
}

impl State {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[derive(Debug)]
struct Arriving {
    since: Instant,
    /// The size of the share.
    bytes: usize,
    progress: Arc<Progress>,
}

/// How far the body of a request has arrived.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    received: AtomicUsize,
    give_up: Notify,
}

impl Progress {
    /// So many bytes of the body are there.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    /// Waits until the share has to be given up.
    pub(crate) async fn give_up(&self) {
        self.give_up.notified().await;
    }
}

/// The share of one request; returned to the budget when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Inner>,
    bytes: usize,
    arriving: Option<(u64, Arc<Progress>)>,
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
    /// [`Full`] when there is no room for them within a moment, or when the share has to be given up.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        if self.try_grow(bytes, None) {
            return Ok(());
        }
        let budget = Arc::clone(&self.budget);
        let progress = self.arriving.as_ref().map(|(_, progress)| Arc::clone(progress));
        let give_up = async {
            match &progress {
                Some(progress) => progress.give_up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = tokio::time::timeout(budget.patience, self.wait(&budget, bytes)) => {
                result.unwrap_or(Err(Full))
            }
            () = give_up => Err(Full),
        }
    }

    async fn wait(&mut self, budget: &Inner, bytes: usize) -> Result<(), Full> {
        if bytes > budget.room(self.bytes + bytes) {
            return Err(Full);
        }
        let waiting = Waiting::begin(budget, self.bytes + bytes)?;
        loop {
            let mut freed = pin!(budget.freed.notified());
            // From here on nothing that is returned is missed.
            freed.as_mut().enable();
            if self.try_grow(bytes, Some(waiting.place)) {
                return Ok(());
            }
            let own = self.arriving.as_ref().map(|(id, _)| *id);
            let again = budget.make_room(own, bytes);
            let _ = tokio::time::timeout(again, freed).await;
        }
    }

    /// Takes `bytes` if they are there and nobody who waits comes first.
    fn try_grow(&mut self, bytes: usize, place: Option<(usize, u64)>) -> bool {
        let mut state = self.budget.state.lock();
        let first = state.waiting.first();
        let comes_first = match place {
            Some(place) => first == Some(&place),
            None => first.is_none_or(|(smallest, _)| self.bytes + bytes <= *smallest),
        };
        let room = self.budget.room(self.bytes + bytes);
        if !comes_first || room.saturating_sub(state.used) < bytes {
            return false;
        }
        state.used += bytes;
        self.bytes += bytes;
        if let Some((id, _)) = &self.arriving
            && let Some(arriving) = state.arriving.get_mut(id)
        {
            arriving.bytes = self.bytes;
        }
        true
    }

    /// Says that the body of this request is arriving from now on, so that the share may have to be given up.
    pub(crate) fn arriving(&mut self) -> Arc<Progress> {
        if let Some((_, progress)) = &self.arriving {
            return Arc::clone(progress);
        }
        let progress = Arc::<Progress>::default();
        let mut state = self.budget.state.lock();
        let id = state.id();
        let arriving = Arriving {
            since: Instant::now(),
            bytes: self.bytes,
            progress: Arc::clone(&progress),
        };
        state.arriving.insert(id, arriving);
        self.arriving = Some((id, Arc::clone(&progress)));
        progress
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
        let waiting = !state.waiting.is_empty();
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
    /// How much there is in all for a share of so many bytes.
    fn room(&self, share: usize) -> usize {
        if share > LARGE {
            self.total / 4 * 3
        } else {
            self.total
        }
    }

    /// Tells slow bodies, other than `own`, to give up their shares, the largest first and as many as are needed for
    /// `bytes`. Returns how long to wait until others may be told.
    fn make_room(&self, own: Option<u64>, bytes: usize) -> Duration {
        let slow = |arriving: &Arriving| {
            let age = arriving.since.elapsed();
            let received = arriving.progress.received.load(Ordering::Relaxed) as f64;
            age >= self.grace && received < age.as_secs_f64() * SLOW as f64
        };
        let mut state = self.state.lock();
        let mut old: Vec<(usize, u64)> = state
            .arriving
            .iter()
            .filter(|(id, arriving)| Some(**id) != own && slow(arriving))
            .map(|(id, arriving)| (arriving.bytes, *id))
            .collect();
        old.sort_unstable();
        let mut needed = bytes;
        while needed > 0
            && let Some((size, id)) = old.pop()
        {
            if let Some(arriving) = state.arriving.remove(&id) {
                arriving.progress.give_up.notify_one();
            }
            needed = needed.saturating_sub(size);
        }
        self.grace.max(Duration::from_millis(1))
    }
}

/// One of those who wait for memory.
struct Waiting<'a> {
    budget: &'a Inner,
    place: (usize, u64),
}

impl<'a> Waiting<'a> {
    fn begin(budget: &'a Inner, bytes: usize) -> Result<Self, Full> {
        let mut state = budget.state.lock();
        if state.waiting.len() >= WAITERS {
            return Err(Full);
        }
        let place = (bytes, state.id());
        state.waiting.insert(place);
        Ok(Self { budget, place })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.state.lock().waiting.remove(&self.place);
        // It is the next one's turn.
        self.budget.freed.notify_waiters();
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
    async fn large_shares_leave_a_quarter_to_small_ones() {
        let budget = Budget::with(8 << 20, LONG, SOON);
        let mut large = budget.request().await.unwrap();
        large.grow(5 << 20).await.unwrap();
        let mut second = budget.request().await.unwrap();
        assert_eq!(second.grow(2 << 20).await, Err(Full));
        second.grow(LARGE - REQUEST).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_that_arrives_at_an_ordinary_speed_keeps_its_share() {
        let budget = Budget::with(REQUEST, Duration::ZERO, SOON);
        let mut fast = budget.request().await.unwrap();
        fast.arriving().received(1 << 30);
        assert_eq!(budget.request().await.unwrap_err(), Full);
    }

    #[tokio::test]
    async fn a_body_that_has_been_arriving_for_long_gives_way_and_a_young_one_does_not() {
        let old = Budget::with(REQUEST, Duration::ZERO, LONG);
        let mut stalled = old.request().await.unwrap();
        let told = stalled.arriving();
        let (share, ()) = tokio::join!(old.request(), async {
            told.give_up().await;
            drop(stalled);
        });
        share.unwrap();

        let young = Budget::with(REQUEST, LONG, SOON);
        let mut arriving = young.request().await.unwrap();
        let spared = arriving.arriving();
        assert_eq!(young.request().await.unwrap_err(), Full);
        let told = tokio::time::timeout(Duration::from_millis(1), spared.give_up()).await;
        assert!(told.is_err());
    }
}
