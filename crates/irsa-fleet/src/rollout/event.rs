//! What a rollout reports while it runs, and how each workload ends.

use crate::workload::WorkloadRef;

/// What happens to a workload.
#[derive(Clone, Debug)]
pub enum Event {
    /// A dry run shows whether new pods will have the setting.
    Proving,
    /// It was started, or found to be rolling already.
    Started {
        /// Pods that will be recreated.
        pods: u64,
        /// An earlier run started it.
        resumed: bool,
    },
    /// Some of its pods are new and ready.
    Progress {
        /// Pods that are new and ready.
        done: u64,
        /// All its pods.
        of: u64,
    },
    /// It cannot go on yet.
    Waiting {
        /// What it is waiting for.
        reason: String,
    },
    /// It ended.
    Ended(Outcome),
}

/// Receives the events of a rollout.
pub trait Observer: Sync {
    /// Called for each event, from several tasks at once.
    fn event(&self, workload: &WorkloadRef, event: Event);
}

/// The state in which an interrupted workload was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Nothing was changed.
    NotStarted,
    /// Its controller continues the rolling update.
    Rolling,
    /// The rolling update is complete; its pods were not verified.
    Rolled,
    /// Some of its pods were evicted; nothing recreates the others.
    Stopped {
        /// Evicted pods.
        evicted: u64,
        /// All stale pods.
        of: u64,
    },
    /// The API server did not tell in time.
    Unknown,
}

/// How a workload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its pods are new and ready, and have the current setting.
    Verified {
        /// Number of pods.
        pods: usize,
    },
    /// It failed, for this reason.
    Failed(String),
    /// It was rolling when the rollout was interrupted.
    Interrupted(Interruption),
    /// It was not started.
    NotStarted(NotStarted),
}

/// Why a workload was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// The rollout was interrupted.
    Interrupted,
    /// `RunOptions::max_failures` was reached.
    Failures,
    /// `RunOptions::total_timeout` had passed.
    OutOfTime,
}

impl NotStarted {
    /// The reason, for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Interrupted => "the rollout was interrupted",
            Self::Failures => "too many other workloads failed",
            Self::OutOfTime => "the time limit of the rollout was reached",
        }
    }
}
