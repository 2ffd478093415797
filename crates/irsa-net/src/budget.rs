//! One budget for the memory of all requests and answers in flight.
//!
//! Everything counts from its first byte. When the budget is used up, bodies that have been arriving for some time give
//! up their share, the largest first: a body that arrives at an ordinary speed is complete within milliseconds, so this
//! hits stalled uploads and not the API server. Where that is not enough, a request waits a moment for others to finish;
//! of those that wait, the smallest is served first.

use std::collections::{BTreeMap, BTreeSet};
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
    bytes: usize,
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
    /// [`Full`] when there is no room for them within a moment, or when the share has to be given up.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        if self.try_grow(bytes, None) {
            return Ok(());
        }
        let budget = Arc::clone(&self.budget);
        let give_up = self.arriving.as_ref().map(|(_, give_up)| Arc::clone(give_up));
        let give_up = async {
            match give_up {
                Some(give_up) => give_up.notified().await,
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
        if bytes > budget.total {
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
        if !comes_first || self.budget.total.saturating_sub(state.used) < bytes {
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

    /// Says that the body of this request is arriving, so that the share may have to be given up: wait for the result
    /// beside the body.
    pub(crate) fn arriving(&mut self) -> Arc<Notify> {
        if let Some((_, give_up)) = &self.arriving {
            return Arc::clone(give_up);
        }
        let give_up = Arc::new(Notify::new());
        let mut state = self.budget.state.lock();
        let id = state.id();
        let arriving = Arriving {
            since: Instant::now(),
            bytes: self.bytes,
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
    /// Tells bodies that have been arriving for some time, other than `own`, to give up their shares, the largest first
    /// and as many as are needed for `bytes`. Returns how long to wait until others may be told.
    fn make_room(&self, own: Option<u64>, bytes: usize) -> Duration {
        let mut state = self.state.lock();
        let mut old: Vec<(usize, u64)> = state
            .arriving
            .iter()
            .filter(|(id, arriving)| Some(**id) != own && arriving.since.elapsed() >= self.grace)
            .map(|(id, arriving)| (arriving.bytes, *id))
            .collect();
        old.sort_unstable();
        let mut needed = bytes;
        while needed > 0
            && let Some((size, id)) = old.pop()
        {
            if let Some(arriving) = state.arriving.remove(&id) {
                arriving.give_up.notify_one();
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
