//! Writing a plan: server-side apply under a field manager of its own, so that whoever else manages the annotation is
//! told apart, and a file from which everything can be set back.

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
    /// The server goes through everything and keeps nothing.
    pub dry_run: bool,
    /// Take the annotation over from whoever manages it.
    pub force: bool,
}

/// Why one service account was not written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else manages the annotation.
    #[error(
        "the annotation is managed by {}: change it there, or take it over with --force-conflicts",
        managers.join(", ")
    )]
    Conflict {
        /// Who.
        managers: Vec<String>,
    },
    /// The service account was changed or made anew since the plan.
    #[error("the service account has changed since the plan was made: run the command again")]
    Changed,
    /// The request failed.
    #[error(transparent)]
    Request(#[from] Error),
}

/// Writes one service account of a plan.
pub async fn apply(
    cluster: &Cluster,
    plan: &Plan,
    change: &Change,
    options: Options,
) -> Result<(), ApplyError> {
    if change.is_noop() {
        return Ok(());
    }
    if change.changed_meanwhile && !options.force {
        return Err(ApplyError::Changed);
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
    // Written by hand: taking that over is what the person at the keyboard asks for.
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

/// Removes the annotation, whoever wrote it, unless somebody else manages it.
async fn remove(cluster: &Cluster, plan: &Plan, change: &Change, options: Options) -> Result<(), ApplyError> {
    if !change.foreign_managers.is_empty() && !options.force {
        return Err(ApplyError::Conflict {
            managers: change.foreign_managers.clone(),
        });
    }
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

/// The managers that a conflict names: `conflict with "helm" using v1: .metadata.annotations…`.
fn managers_in_conflict(status: &ApiStatus) -> Vec<String> {
    let mut managers: Vec<String> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .filter_map(|cause| cause.message.split('"').nth(1))
        .map(str::to_owned)
        .collect();
    managers.sort();
    managers.dedup();
    managers
}

/// The file from which a change can be set back.
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
    /// What was changed.
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
    /// The file for a plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Undo".to_owned(),
            context: plan.context.clone(),
            server: plan.server.clone(),
            annotation: plan.annotation.clone(),
            changes: plan
                .to_apply()
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
            serde_json::from_str(text).map_err(|error| format!("it is no undo file of irsa: {error}"))?;
        if undo.kind != "Undo" || undo.api_version != API_VERSION {
            return Err(format!(
                "it is a {} of {}, not an Undo of {API_VERSION}",
                undo.kind, undo.api_version
            ));
        }
        Ok(undo)
    }

    /// What has to be wished for to set everything back.
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
    fn other_files_are_no_undo_files() {
        assert!(Undo::parse("{}").is_err());
        let text = r#"{"apiVersion":"irsa/v1","kind":"Status","context":"","server":"","annotation":"","changes":[]}"#;
        assert_eq!(
            Undo::parse(text).unwrap_err(),
            "it is a Status of irsa/v1, not an Undo of irsa/v1"
        );
    }
}
