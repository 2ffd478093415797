//! ControllerRevisions: the history of templates of DaemonSets and StatefulSets, for `kubectl rollout history|undo`.

use serde_json::{Value, json};

use super::context::Context;
use super::hash;
use super::owned::controller_reference;
use crate::api::WriteOptions;
use crate::object::{Object, ObjectExt, metadata_mut};
use crate::status::Result;

pub(super) const RESOURCE: &str = "controllerrevisions.apps";
/// Label of a pod that names its revision.
pub(super) const POD_LABEL: &str = "controller-revision-hash";
/// How often another hash is tried when the name is taken.
const COLLISIONS: i64 = 8;

/// The revisions of a workload, oldest first, and the one of its present template.
#[derive(Debug)]
pub(super) struct History {
    pub(super) present: Object,
    pub(super) all: Vec<Object>,
}

impl History {
    /// The oldest revisions beyond a limit that neither the present template nor `in_use` needs.
    fn surplus(&self, limit: usize, in_use: impl Fn(&Object) -> bool) -> Vec<&Object> {
        let spare = |revision: &&Object| revision.uid() != self.present.uid() && !in_use(revision);
        let mut old: Vec<&Object> = self.all.iter().filter(spare).collect();
        old.truncate(old.len().saturating_sub(limit));
        old
    }
}

fn number(revision: &Object) -> i64 {
    revision.int_at(&["revision"]).unwrap_or_default()
}

/// The template as revisions keep it: a patch that brings the workload back to it.
fn data_of(owner: &Value) -> Value {
    let mut template = owner.at(&["spec", "template"]).cloned().unwrap_or_default();
    template["$patch"] = "replace".into();
    json!({ "spec": { "template": template } })
}

fn revision_of(owner: &Object, data: &Value, hash_label: &str, hash: &str, number: i64) -> Value {
    let labels = owner.map_at(&["spec", "template", "metadata", "labels"]);
    let mut labels = labels.cloned().unwrap_or_default();
    labels.insert(hash_label.to_owned(), hash.into());
    let mut revision = json!({
        "metadata": {
            "name": format!("{}-{hash}", owner.name()), "labels": labels,
            "ownerReferences": [controller_reference(owner.value())],
        },
        "data": data, "revision": number,
    });
    if let Some(annotations) = owner.at(&["metadata", "annotations"]) {
        metadata_mut(&mut revision).insert("annotations".into(), annotations.clone());
    }
    revision
}

impl Context {
    /// Finds or makes the revision of the present template. `hash_label` is the label that the revision carries its
    /// hash in.
    pub(super) async fn history(&self, owner: &Object, hash_label: &str) -> Result<History> {
        let mut all = self.claim(RESOURCE, owner).await?;
        all.sort_by_key(number);
        let newest = all.last().map_or(0, number);
        let data = data_of(owner.value());
        let same = |revision: &&Object| revision.at(&["data"]) == Some(&data);
        let Some(found) = all.iter().rev().find(same).cloned() else {
            let present = self.new_revision(owner, &data, hash_label, newest + 1).await?;
            all.push(present.clone());
            return Ok(History { present, all });
        };
        if number(&found) == newest {
            return Ok(History { present: found, all });
        }
        // Back to an earlier template: it becomes the newest revision.
        let renumber = |revision: &mut Value| {
            revision["revision"] = (newest + 1).into();
            Ok(())
        };
        let present = self.modify(RESOURCE, &found, "", renumber).await?;
        all.retain(|one| one.uid() != found.uid());
        all.push(present.clone());
        Ok(History { present, all })
    }

    async fn new_revision(&self, owner: &Object, data: &Value, label: &str, number: i64) -> Result<Object> {
        let mut collisions = 0;
        loop {
            let revision = revision_of(owner, data, label, &hash::short(data, collisions), number);
            let options = WriteOptions::default();
            let made = self
                .api
                .create(&self.me, RESOURCE, owner.namespace(), revision, &options)
                .await;
            match made {
                Ok(written) => return Ok(written.object),
                Err(status) if status.reason == "AlreadyExists" && collisions < COLLISIONS => collisions += 1,
                Err(status) => return Err(status),
            }
        }
    }

    /// Deletes the oldest revisions beyond `spec.revisionHistoryLimit` that `in_use` does not name.
    pub(super) async fn trim_history(
        &self,
        limit: Option<i32>,
        history: &History,
        in_use: impl Fn(&Object) -> bool,
    ) -> Result<()> {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
        for revision in history.surplus(limit, in_use) {
            self.remove(RESOURCE, revision).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::object;
    use super::*;

    #[test]
    fn the_oldest_revisions_beyond_the_limit_go_unless_a_pod_uses_them() {
        let all: Vec<Object> = (1..=5)
            .map(|number| object(json!({ "metadata": { "uid": number.to_string() }, "revision": number })))
            .collect();
        let history = History {
            present: all[4].clone(),
            all,
        };
        let surplus = |limit, used: &str| -> Vec<i64> {
            let surplus = history.surplus(limit, |revision| revision.uid() == used);
            surplus.into_iter().map(number).collect()
        };
        assert_eq!(surplus(2, ""), [1, 2]);
        assert_eq!(surplus(2, "1"), [2]);
        assert_eq!(surplus(0, "1"), [2, 3, 4]);
        assert_eq!(surplus(10, ""), [0; 0]);
    }
}
