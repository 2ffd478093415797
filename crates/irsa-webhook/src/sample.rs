//! Log lines that a flood of admissions could write: the first of each period are written, the others are counted.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The length of a period.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines in one period.
const LINES: u32 = 20;

/// Lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct Sampled(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Sampled {
    /// Calls `write` unless there have been enough lines in this period. It is given the number of lines left out since
    /// the last one that was written.
    pub(crate) fn warn(&self, write: impl FnOnce(u64)) {
        if let Some(left_out) = self.admit(Instant::now()) {
            write(left_out);
        }
    }

    fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state
            .began
            .is_none_or(|began| now.duration_since(began) >= PERIOD)
        {
            state.began = Some(now);
            state.written = 0;
        }
        if state.written == LINES {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_some_lines_and_counts_the_others() {
        let sampled = Sampled::default();
        let now = Instant::now();
        let lines = (0..1000).filter_map(|_| sampled.admit(now)).count();
        assert_eq!(lines, 20);
        assert_eq!(sampled.admit(now + PERIOD), Some(980));
        assert_eq!(sampled.admit(now + PERIOD), Some(0));
    }
}
