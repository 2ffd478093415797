//! Whether the server may be sent admissions, and every reason why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// One thing that has to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its name, as `/readyz` prints it.
    pub name: &'static str,
    /// Why it is not so; `None` when it is.
    pub reason: Option<String>,
}

/// The conditions of one server, each set by the part that knows.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<Condition>>>,
    broken: Arc<AtomicBool>,
}

impl Readiness {
    /// States that `name` is needed and not so yet.
    pub fn require(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, Some(reason.into()));
    }

    /// Sets or clears the reason why `name` is not so.
    pub fn set(&self, name: &'static str, reason: Option<String>) {
        let mut conditions = self.conditions.lock();
        match conditions.iter_mut().find(|condition| condition.name == name) {
            Some(condition) => condition.reason = reason,
            None => conditions.push(Condition { name, reason }),
        }
    }

    /// States that `name` will never be so again: a task of this process has ended by a defect. Only a restart helps.
    pub fn break_down(&self, name: &'static str) {
        self.broken.store(true, Ordering::Relaxed);
        self.set(
            name,
            Some("a task has ended by a defect of this program; the process has to be restarted".to_owned()),
        );
    }

    /// Whether the process does what it was started for, as `/healthz` tells it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
    }

    /// All conditions, in the order in which they were first stated.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        self.conditions.lock().clone()
    }

    /// Whether there is no reason against it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conditions
            .lock()
            .iter()
            .all(|condition| condition.reason.is_none())
    }

    /// The page of `/readyz`: one line a condition, in the form that Kubernetes components print.
    #[must_use]
    pub fn page(&self) -> (bool, String) {
        let conditions = self.conditions();
        let ready = conditions.iter().all(|condition| condition.reason.is_none());
        let mut text = String::new();
        for Condition { name, reason } in conditions {
            match reason {
                None => text.push_str(&format!("[+]{name} ok\n")),
                Some(reason) => text.push_str(&format!("[-]{name} not ready: {reason}\n")),
            }
        }
        text.push_str(if ready {
            "readyz check passed\n"
        } else {
            "readyz check failed\n"
        });
        (ready, text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed() {
        let readiness = Readiness::default();
        readiness.require("certificate", "not read yet");
        readiness.require("serviceaccounts", "first list is running");
        readiness.set("certificate", None);
        let (ready, page) = readiness.page();
        assert!(!ready && !readiness.is_ready());
        assert_eq!(
            page,
            "[+]certificate ok\n[-]serviceaccounts not ready: first list is running\nreadyz check failed\n"
        );
        readiness.set("serviceaccounts", None);
        assert!(readiness.is_ready() && readiness.is_alive());
    }

    #[test]
    fn what_has_broken_down_is_neither_ready_nor_alive() {
        let readiness = Readiness::default();
        readiness.break_down("serviceaccounts");
        assert!(!readiness.is_ready() && !readiness.is_alive());
        assert!(readiness.page().1.contains("has to be restarted"));
    }
}
