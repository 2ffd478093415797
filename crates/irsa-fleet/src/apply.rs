//! Writing a plan by server-side apply under a field manager of our own, so that an annotation which a tool manages is
//! not overwritten by accident, and the undo file.

use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{ApiStatus, Cluster, Error, PatchKind},
    plan::{BY_HAND, Change, MANAGER, Plan, Wish},
    report::API_VERSION,
};

/// How a plan is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Let the API server check every change without storing it.
    pub dry_run: bool,
    /// Take the annotation over from the tool that manages it.
    pub force: bool,
}

/// Requests under way at the same time.
const PARALLEL: usize = 8;

/// Why one service account was not written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A tool manages the annotation.
    #[error(
        "the annotation is managed by {}: change it there, or take it over with --force-conflicts",
        managers.join(", ")
    )]
    Conflict {
        /// Names of the tools or field managers.
        managers: Vec<String>,
    },
    /// The service account was changed, or deleted and created again, since the plan was made.
    #[error("the service account has changed since the plan was made: run the command again")]
    Changed,
    /// The request failed.
    #[error(transparent)]
    Request(#[from] Error),
}

/// Writes service accounts of a plan, several at a time. The results are in the order of `changes`.
pub async fn apply_all<'c>(
    cluster: &Cluster,
    plan: &Plan,
    changes: impl IntoIterator<Item = &'c Change>,
    options: Options,
) -> Vec<(&'c Change, Result<(), ApplyError>)> {
    stream::iter(changes)
        .map(|change| async move { (change, apply(cluster, plan, change, options).await) })
        .buffered(PARALLEL)
        .collect()
        .await
}

/// Writes one service account of a plan.
async fn apply(cluster: &Cluster, plan: &Plan, change: &Change, options: Options) -> Result<(), ApplyError> {
    if change.is_noop() {
        return Ok(());
    }
    if change.changed_meanwhile && !options.force {
        return Err(ApplyError::Changed);
    }
    if !change.foreign_managers.is_empty() && !options.force {
        return Err(ApplyError::Conflict {
            managers: change.foreign_managers.clone(),
        });
    }
    let Some(value) = &change.after else {
        return remove(cluster, plan, change, options).await;
    };
    let body = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": change.name,
            "namespace": change.namespace,
            // Applying would otherwise create an account that was deleted meanwhile.
            "uid": change.uid,
            "annotations": {plan.annotation.as_str(): value},
        },
    });
    let first = cluster
        .patch(&path(change, options, options.force), PatchKind::Apply, &body)
        .await;
    let Err(Error::Api { status, what }) = first else {
        return first.map(drop).map_err(ApplyError::Request);
    };
    if status.code != 409 {
        return Err(Error::Api { what, status }.into());
    }
    let managers = managers_in_conflict(&status);
    if managers.is_empty() {
        return Err(ApplyError::Changed);
    }
    if !managers.iter().all(|manager| BY_HAND.contains(&manager.as_str())) {
        return Err(ApplyError::Conflict { managers });
    }
    // Written by hand: taking it over is what this command is asked to do.
    cluster
        .patch(&path(change, options, true), PatchKind::Apply, &body)
        .await?;
    Ok(())
}

fn path(change: &Change, options: Options, force: bool) -> String {
    format!(
        "/api/v1/namespaces/{}/serviceaccounts/{}?fieldManager={MANAGER}&force={force}{}",
        change.namespace,
        change.name,
        if options.dry_run { "&dryRun=All" } else { "" }
    )
}

/// Removes the annotation. Unlike apply, a merge patch also removes what another manager wrote.
async fn remove(cluster: &Cluster, plan: &Plan, change: &Change, options: Options) -> Result<(), ApplyError> {
    let body = json!({"metadata": {
        "uid": change.uid,
        "resourceVersion": change.resource_version,
        "annotations": {plan.annotation.as_str(): null},
    }});
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{}?fieldManager={MANAGER}{}",
        change.namespace,
        change.name,
        if options.dry_run { "&dryRun=All" } else { "" }
    );
    match cluster.patch(&path, PatchKind::Merge, &body).await {
        Err(error) if error.is_conflict() => Err(ApplyError::Changed),
        other => other.map(drop).map_err(ApplyError::Request),
    }
}

/// The managers in a conflict, which Kubernetes names only in the text: `conflict with "helm" using v1`.
fn managers_in_conflict(status: &ApiStatus) -> Vec<String> {
    let mut managers: Vec<String> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .filter(|cause| cause.reason == "FieldManagerConflict")
        // foreign text: only the API server's message has the name of the manager
        .filter_map(|cause| cause.message.split('"').nth(1))
        .map(str::to_owned)
        .collect();
    managers.sort();
    managers.dedup();
    managers
}

/// An undo file: the annotations before and after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// `irsa/v1`.
    pub api_version: String,
    /// `Undo`.
    pub kind: String,
    /// Name of the context that was written to.
    pub context: String,
    /// URL of the API server that was written to.
    pub server: String,
    /// Full name of the annotation.
    pub annotation: String,
    /// The changed service accounts.
    pub changes: Vec<UndoChange>,
}

/// One service account in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UndoChange {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The annotation before; nothing if there was none.
    pub before: Option<String>,
    /// The annotation as it was written; nothing if it was removed.
    pub after: Option<String>,
}

impl Undo {
    /// The file for some changes of a plan.
    pub fn of<'c>(plan: &Plan, changes: impl IntoIterator<Item = &'c Change>) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Undo".to_owned(),
            context: plan.context.clone(),
            server: plan.server.clone(),
            annotation: plan.annotation.clone(),
            changes: changes
                .into_iter()
                .map(|change| UndoChange {
                    namespace: change.namespace.clone(),
                    name: change.name.clone(),
                    before: change.before.clone(),
                    after: change.after.clone(),
                })
                .collect(),
        }
    }

    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let undo: Self =
            serde_json::from_str(text).map_err(|error| format!("not an undo file of irsa: {error}"))?;
        if undo.kind != "Undo" || undo.api_version != API_VERSION {
            return Err(format!(
                "the file contains a {} of {}, not an Undo of {API_VERSION}",
                undo.kind, undo.api_version
            ));
        }
        Ok(undo)
    }

    /// The settings that restore the annotations as they were before.
    pub fn wishes(&self) -> impl Iterator<Item = ((String, String), Wish)> {
        self.changes.iter().map(|change| {
            (
                (change.namespace.clone(), change.name.clone()),
                Wish::Back {
                    before: change.before.clone(),
                    after: change.after.clone(),
                },
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_managers_in_a_conflict_are_named_once() {
        let status: ApiStatus = serde_json::from_value(json!({"code": 409, "reason": "Conflict", "message": "Apply failed",
            "details": {"causes": [
                {"reason": "FieldManagerConflict", "message": "conflict with \"helm\" using v1", "field": ".metadata.annotations.a"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"helm\" using v1", "field": ".metadata.annotations.b"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"argocd-controller\" using v1", "field": ".metadata.annotations.b"},
            ]}}))
        .unwrap();
        assert_eq!(managers_in_conflict(&status), ["argocd-controller", "helm"]);
        assert!(managers_in_conflict(&ApiStatus::default()).is_empty());
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        assert!(Undo::parse("{}").is_err());
        let text = r#"{"apiVersion":"irsa/v1","kind":"Status","context":"","server":"","annotation":"","changes":[]}"#;
        assert_eq!(
            Undo::parse(text).unwrap_err(),
            "the file contains a Status of irsa/v1, not an Undo of irsa/v1"
        );
    }
}
