//! The proof before anything is restarted: a pod with the workload's own template, created with `dryRun=All`, passes
//! through the real webhook, and the result is compared with the plan.

use serde_json::{Value, json};

use super::{Target, sanitize::sanitize};
use crate::{
    assess,
    cluster::{Cluster, Error},
    directory::Directory,
    effective::Families,
    finding::Id,
    wire,
    workload::Workload,
};

/// What the dry run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// New pods will have the current setting.
    Holds,
    /// They will not, for this reason.
    Fails(String),
}

/// Lets the API server and its webhooks create a pod of the target without storing it.
pub async fn prove(cluster: &Cluster, directory: &Directory, target: &Target) -> Result<Proof, Error> {
    let namespace = &*target.workload.reference.namespace;
    let Some(pod) = sample(cluster, directory, target).await? else {
        return Ok(Proof::Fails(
            "there is no pod template to try, and none of its pods exists any more".to_owned(),
        ));
    };
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager=irsa");
    let answer = match cluster.post(&path, &pod).await {
        Ok(answer) => answer,
        Err(error) if matches!(error.code(), Some(400..=499)) && !error.is_forbidden() => {
            return Ok(Proof::Fails(format!(
                "the API server would not create such a pod: {error}"
            )));
        }
        Err(error) => return Err(error),
    };
    Ok(judge(&answer, directory))
}

/// Compares a pod that came back from a dry run with the setting of its service account.
fn judge(answer: &Value, directory: &Directory) -> Proof {
    let text = answer.to_string();
    let pod: wire::Pod<'_> = match serde_json::from_str(&text) {
        Ok(pod) => pod,
        Err(error) => return Proof::Fails(format!("the pod of the dry run cannot be read: {error}")),
    };
    let Some(view) = assess::pod(&pod, directory, &Families::default()) else {
        return Proof::Holds;
    };
    let against = view
        .findings
        .iter()
        .find(|finding| matches!(finding.id(), Id::UnmutatedPod | Id::StalePod | Id::StaleRole));
    match against {
        Some(finding) => {
            let message = match finding.id() {
                Id::UnmutatedPod => "no webhook wrote an identity into it".to_owned(),
                _ => finding.message(),
            };
            Proof::Fails(format!(
                "a new pod would not have the setting either, as a dry run shows: {message}"
            ))
        }
        None => Proof::Holds,
    }
}

/// A pod of the workload's template; without a template, of one of its pods.
async fn sample(cluster: &Cluster, directory: &Directory, target: &Target) -> Result<Option<Value>, Error> {
    let workload = &target.workload;
    let bare = &*workload.reference.kind == "Pod";
    if let Some(template) = workload.template().filter(|_| !bare) {
        return Ok(Some(of_template(workload, template)));
    }
    let settings = &directory.webhooks.settings;
    for stale in &target.stale {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}",
            workload.reference.namespace, stale.name
        );
        if let Some(pod) = cluster.find(&path).await? {
            let mut pod = sanitize(&pod, settings);
            if let Some(metadata) = pod["metadata"].as_object_mut() {
                metadata.remove("name");
                metadata.insert("generateName".to_owned(), json!("irsa-proof-"));
            }
            return Ok(Some(pod));
        }
    }
    Ok(None)
}

fn of_template(workload: &Workload, template: &Value) -> Value {
    let mut metadata = template["metadata"].as_object().cloned().unwrap_or_default();
    metadata.remove("name");
    metadata.remove("creationTimestamp");
    metadata.insert(
        "generateName".to_owned(),
        json!(format!("{}-irsa-proof-", workload.reference.name)),
    );
    metadata.insert("namespace".to_owned(), json!(workload.reference.namespace));
    let mut spec = template["spec"].clone();
    // The StatefulSet controller adds a volume for each claim; the template alone does not have them.
    let claims = workload.object["spec"]["volumeClaimTemplates"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|claim| claim["metadata"]["name"].as_str());
    for claim in claims {
        let volume = json!({"name": claim, "emptyDir": {}});
        match spec["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => spec["volumes"] = json!([volume]),
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::workload::{Way, WorkloadRef};

    #[test]
    fn the_claims_of_a_stateful_set_become_volumes_of_the_sample_pod() {
        let workload = Workload {
            reference: WorkloadRef {
                namespace: "db".into(),
                kind: "StatefulSet".into(),
                api_version: "apps/v1".into(),
                name: "pg".into(),
            },
            way: Way::Restart,
            object: json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "template": {"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}, "spec": {"containers": []}}}}),
        };
        let pod = of_template(&workload, workload.template().unwrap());
        assert_eq!(pod["metadata"]["generateName"], "pg-irsa-proof-");
        assert_eq!(pod["metadata"]["namespace"], "db");
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "data", "emptyDir": {}}]));
    }
}
