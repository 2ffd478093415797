//! The pods of a Job that have ended. They count even when somebody deletes them afterwards.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::object::ObjectExt;

/// The annotation and label of a pod that say which index it is for.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

pub(super) fn index_of(pod: &Value) -> Option<i64> {
    pod.annotation(INDEX)?.parse().ok()
}

/// Pods by uid, and the indexes that are done.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    succeeded: HashSet<String>,
    failed: HashMap<String, Timestamp>,
    indexes: BTreeSet<i64>,
    /// Deleted by the Job's own controller: neither a success nor a failure.
    dismissed: HashSet<String>,
}

impl Tally {
    /// Notes a pod. One that is deleted before it has succeeded has failed, as in `isPodFailed` of the Job controller.
    pub(super) fn note(&mut self, pod: &Value, gone: bool, at: Timestamp) {
        let uid = pod.uid();
        if self.dismissed.contains(uid) || self.failed.contains_key(uid) {
            return;
        }
        let phase = pod.str_at(&["status", "phase"]);
        if phase == "Succeeded" {
            self.succeeded.insert(uid.to_owned());
            self.indexes.extend(index_of(pod));
        } else if phase == "Failed" || pod.deletion_timestamp().is_some() || gone {
            self.failed.insert(uid.to_owned(), at);
        }
    }

    /// Leaves a pod that the controller is about to delete out of the count.
    pub(super) fn dismiss(&mut self, uid: &str) {
        self.dismissed.insert(uid.to_owned());
    }

    /// How many pods have succeeded; of an indexed Job, how many indexes are done.
    pub(super) fn succeeded(&self, indexed: bool) -> usize {
        if indexed {
            self.indexes.len()
        } else {
            self.succeeded.len()
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    pub(super) fn last_failure(&self) -> Option<Timestamp> {
        self.failed.values().max().copied()
    }

    pub(super) fn indexes(&self) -> &BTreeSet<i64> {
        &self.indexes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, phase: &str, going: bool) -> Value {
        let mut pod = json!({ "metadata": { "uid": uid, "annotations": { INDEX: "4" } },
            "status": { "phase": phase } });
        if going {
            pod["metadata"]["deletionTimestamp"] = "2026-11-24T07:00:00Z".into();
        }
        pod
    }

    fn counted(pods: &[(Value, bool)], dismissed: &str) -> (usize, usize) {
        let mut tally = Tally::default();
        tally.dismiss(dismissed);
        for (pod, gone) in pods {
            tally.note(pod, *gone, Timestamp::UNIX_EPOCH);
        }
        (tally.succeeded(false), tally.failed())
    }

    #[test]
    fn a_pod_that_is_deleted_before_it_has_succeeded_is_a_failure_for_good() {
        assert_eq!(counted(&[(pod("a", "Running", false), false)], ""), (0, 0));
        assert_eq!(counted(&[(pod("a", "Running", true), false)], ""), (0, 1));
        assert_eq!(counted(&[(pod("a", "Running", false), true)], ""), (0, 1));
        let ends_well = [
            (pod("a", "Running", true), false),
            (pod("a", "Succeeded", true), true),
        ];
        assert_eq!(counted(&ends_well, ""), (0, 1));
        let deleted_later = [
            (pod("a", "Succeeded", false), false),
            (pod("a", "Succeeded", true), true),
        ];
        assert_eq!(counted(&deleted_later, ""), (1, 0));
    }

    #[test]
    fn a_pod_that_the_controller_deletes_does_not_count() {
        assert_eq!(counted(&[(pod("a", "Running", true), true)], "a"), (0, 0));
    }
}
