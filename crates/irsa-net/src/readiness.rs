//! Whether a server may be sent requests, and every reason why not.
//!
//! Each part that something waits for holds a [`Condition`] and says when it is met. A part that ends although it
//! should run for ever, breaks its condition: only a restart helps then.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

#[derive(Clone, Debug)]
enum State {
    Met,
    Unmet(String),
    Broken,
}

#[derive(Debug, Default)]
struct Inner {
    /// In the order in which they were first required.
    conditions: Mutex<Vec<(&'static str, State)>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

/// The conditions of one server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Inner>);

/// One thing that has to be so before the server is ready, held by the part that knows.
#[derive(Debug)]
pub struct Condition {
    readiness: Readiness,
    name: &'static str,
    ends: bool,
}

impl Readiness {
    /// A condition that is not met yet, for `reason`. Its `name` is what `/readyz` prints.
    #[must_use = "a condition that is dropped is broken"]
    pub fn require(&self, name: &'static str, reason: impl Into<String>) -> Condition {
        self.set(name, State::Unmet(reason.into()));
        Condition {
            readiness: self.clone(),
            name,
            ends: false,
        }
    }

    /// States that `name` will never be met again, because the task behind it has stopped.
    pub fn break_down(&self, name: &'static str) {
        self.set(name, State::Broken);
    }

    fn set(&self, name: &'static str, state: State) {
        let mut conditions = self.0.conditions.lock();
        match conditions.iter_mut().find(|(known, _)| *known == name) {
            // What is broken stays broken.
            Some((_, State::Broken)) => return,
            Some((_, known)) => *known = state,
            None => conditions.push((name, state)),
        }
        drop(conditions);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Whether the process does what it was started for, as `/healthz` tells it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let conditions = self.0.conditions.lock();
        !conditions.iter().any(|(_, state)| matches!(state, State::Broken))
    }

    /// Whether every condition is met.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let conditions = self.0.conditions.lock();
        conditions.iter().all(|(_, state)| matches!(state, State::Met))
    }

    /// Waits until every condition is met.
    pub async fn ready(&self) {
        self.wait(true).await;
    }

    /// Waits until a condition is not met.
    pub async fn not_ready(&self) {
        self.wait(false).await;
    }

    async fn wait(&self, ready: bool) {
        let mut changes = self.0.changes.subscribe();
        while self.is_ready() != ready {
            // The sender is in `self`, so this cannot fail.
            let _ = changes.changed().await;
        }
    }

    /// The page of `/readyz`: one line for each condition, in the form that Kubernetes components print.
    #[must_use]
    pub fn page(&self) -> (bool, String) {
        let conditions = self.0.conditions.lock();
        let mut text = String::new();
        for (name, state) in conditions.iter() {
            match state {
                State::Met => text.push_str(&format!("[+]{name} ok\n")),
                State::Unmet(reason) => text.push_str(&format!("[-]{name} not ready: {reason}\n")),
                State::Broken => text.push_str(&format!(
                    "[-]{name} not ready: internal error: a background task stopped unexpectedly; restart the process\n"
                )),
            }
        }
        let ready = conditions.iter().all(|(_, state)| matches!(state, State::Met));
        text.push_str(if ready {
            "readyz check passed\n"
        } else {
            "readyz check failed\n"
        });
        (ready, text)
    }
}

impl Condition {
    /// It is met.
    pub fn met(&self) {
        self.readiness.set(self.name, State::Met);
    }

    /// It is not met, for `reason`.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.readiness.set(self.name, State::Unmet(reason.into()));
    }

    /// It is met unless there is a reason against it.
    pub fn set(&self, reason: Option<String>) {
        match reason {
            None => self.met(),
            Some(reason) => self.unmet(reason),
        }
    }

    /// It stays as it is; whoever held it has nothing left to do.
    pub fn done(mut self) {
        self.ends = true;
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        if !self.ends {
            self.readiness.set(self.name, State::Broken);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed() {
        let readiness = Readiness::default();
        let certificate = readiness.require("certificate", "not read yet");
        let accounts = readiness.require("serviceaccounts", "the first list is running");
        certificate.met();
        let (ready, page) = readiness.page();
        assert!(!ready && !readiness.is_ready());
        assert_eq!(
            page,
            "[+]certificate ok\n[-]serviceaccounts not ready: the first list is running\nreadyz check failed\n"
        );
        accounts.met();
        assert!(readiness.is_ready() && readiness.is_alive());
    }

    #[test]
    fn a_part_that_stops_breaks_its_condition_unless_it_was_done() {
        let readiness = Readiness::default();
        let once = readiness.require("platform", "not known yet");
        once.met();
        once.done();
        assert!(readiness.is_ready() && readiness.is_alive());
        let watch = readiness.require("serviceaccounts", "not listed yet");
        watch.met();
        drop(watch);
        assert!(!readiness.is_ready() && !readiness.is_alive());
        assert!(readiness.page().1.contains("restart the process"));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_without_polling() {
        let readiness = Readiness::default();
        let condition = readiness.require("certificate", "not read yet");
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move {
                readiness.ready().await;
                readiness.not_ready().await;
            }
        });
        tokio::task::yield_now().await;
        condition.met();
        tokio::task::yield_now().await;
        condition.unmet("expired");
        waiting.await.unwrap();
    }
}
