//! ControllerRevisions: the history of templates of DaemonSets and StatefulSets, for `kubectl rollout history|undo`.

use serde_json::{Value, json};

use super::pods::{claim, controller_reference};
use super::{Context, hash};
use crate::api::{DeleteOptions, WriteOptions};
use crate::object::{Object, ObjectExt, metadata_mut};
use crate::selectors::LabelSelector;
use crate::status::Result;

const RESOURCE: &str = "controllerrevisions.apps";
/// Label of a pod that names its revision.
pub(crate) const POD_LABEL: &str = "controller-revision-hash";
/// How often another name is tried when the hash is somebody else's.
const COLLISIONS: i64 = 8;

/// The revisions of a workload, oldest first, and the one of its present template.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) present: Object,
    pub(crate) all: Vec<Object>,
}

/// The template as revisions keep it: a patch that brings the workload back to it.
fn data_of(owner: &Value) -> Value {
    let mut template = owner.at(&["spec", "template"]).cloned().unwrap_or_default();
    template["$patch"] = "replace".into();
    json!({ "spec": { "template": template } })
}

/// Finds or makes the revision of the present template. `hash_label` is the label that the revision carries its hash
/// in.
pub(crate) async fn sync(
    context: &Context,
    owner: &Object,
    selector: &LabelSelector,
    hash_label: &str,
) -> Result<History> {
    let api = &context.api;
    let mut all = claim(api, &context.me, RESOURCE, owner, selector).await?;
    let number = |revision: &Value| revision.int_at(&["revision"]).unwrap_or_default();
    all.sort_by_key(|revision| number(revision.value()));
    let newest = all.last().map_or(0, |last| number(last.value()));
    let data = data_of(owner.value());
    let same = |revision: &&Object| revision.at(&["data"]) == Some(&data);
    if let Some(found) = all.iter().rev().find(same).cloned() {
        if number(found.value()) == newest {
            return Ok(History { present: found, all });
        }
        // Back to an earlier template: it becomes the newest revision.
        let written = api
            .modify(
                &context.me,
                RESOURCE,
                owner.namespace(),
                found.name(),
                "",
                |one| {
                    one["revision"] = (newest + 1).into();
                    Ok(())
                },
            )
            .await?;
        all.retain(|one| one.uid() != found.uid());
        all.push(written.object.clone());
        return Ok(History {
            present: written.object,
            all,
        });
    }
    let mut collisions = 0;
    loop {
        let hash = hash::short(&data, collisions);
        let mut labels = owner
            .map_at(&["spec", "template", "metadata", "labels"])
            .cloned()
            .unwrap_or_default();
        labels.insert(hash_label.to_owned(), hash.as_str().into());
        let mut revision = json!({
            "metadata": {
                "name": format!("{}-{hash}", owner.name()), "labels": labels,
                "ownerReferences": [controller_reference(owner.value())],
            },
            "data": data, "revision": newest + 1,
        });
        if let Some(annotations) = owner.at(&["metadata", "annotations"]) {
            metadata_mut(&mut revision).insert("annotations".into(), annotations.clone());
        }
        let options = WriteOptions::default();
        match api
            .create(&context.me, RESOURCE, owner.namespace(), revision, &options)
            .await
        {
            Ok(written) => {
                all.push(written.object.clone());
                return Ok(History {
                    present: written.object,
                    all,
                });
            }
            Err(status) if status.reason == "AlreadyExists" && collisions < COLLISIONS => collisions += 1,
            Err(status) => return Err(status),
        }
    }
}

/// Deletes the oldest revisions beyond `spec.revisionHistoryLimit` that `in_use` does not name.
pub(crate) async fn clean_up(
    context: &Context,
    owner: &Object,
    history: &History,
    in_use: impl Fn(&Object) -> bool,
) -> Result<()> {
    let limit = owner
        .int_at(&["spec", "revisionHistoryLimit"])
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(10);
    let old: Vec<&Object> = history
        .all
        .iter()
        .filter(|revision| revision.uid() != history.present.uid() && !in_use(revision))
        .collect();
    for revision in old.iter().take(old.len().saturating_sub(limit)) {
        let gone = context
            .api
            .delete(
                &context.me,
                RESOURCE,
                owner.namespace(),
                revision.name(),
                &DeleteOptions::default(),
            )
            .await;
        if let Err(status) = gone
            && status.code != 404
        {
            return Err(status);
        }
    }
    Ok(())
}
