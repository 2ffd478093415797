//! What the webhook of a cluster does, seen in a dry-run pod.
//!
//! The flags of a webhook in the control plane cannot be read, and whether it answers at all shows only in a pod. A pod
//! created with `dryRun=All` passes through every webhook and is not stored.

use irsa_core::{
    annotations,
    endpoint::{Choice, EndpointType},
    identity,
    variable::Variable,
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Error},
    directory::Directory,
};

/// What a dry-run pod showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Namespace and name of the service account that was tried.
    pub account: (String, String),
    /// Whether the pod got an identity.
    pub mutated: bool,
    /// What the irsa webhook recorded in the pod; other webhooks record nothing.
    pub record: Option<Choice>,
    /// The value of `AWS_STS_REGIONAL_ENDPOINTS` in it.
    pub value: Option<String>,
    /// The region in it.
    pub region: Option<String>,
}

/// A service account with a role, of the namespace if one is given. One without the annotation is preferred, because its
/// pod shows the default.
pub fn candidate(directory: &Directory, namespace: Option<&str>) -> Option<(String, String)> {
    let mut candidates: Vec<(bool, &str, &str)> = directory
        .accounts
        .iter()
        .filter(|(known, _)| namespace.is_none_or(|namespace| &***known == namespace))
        .flat_map(|(namespace, accounts)| {
            accounts
                .iter()
                .map(move |(name, account)| (account.written.is_some(), &**namespace, &**name))
        })
        .filter(|(_, namespace, name)| {
            identity::resolve(&directory.lookup(namespace, name), &directory.webhooks.settings).is_ok()
        })
        .collect();
    candidates.sort_unstable();
    candidates
        .first()
        .map(|(_, namespace, name)| ((*namespace).to_owned(), (*name).to_owned()))
}

/// Creates a dry-run pod of a service account.
pub async fn probe(
    cluster: &Cluster,
    directory: &Directory,
    account: (String, String),
) -> Result<Probe, Error> {
    let (namespace, name) = &account;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "irsa-probe-", "namespace": namespace},
        "spec": {"serviceAccountName": name, "containers": [{"name": "probe", "image": "registry.k8s.io/pause:3.10"}]},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager=irsa");
    let answer = cluster.post(&path, &pod).await?;
    Ok(read(&answer, directory, account))
}

fn read(answer: &Value, directory: &Directory, account: (String, String)) -> Probe {
    let variables = answer["spec"]["containers"][0]["env"].as_array();
    let value = |wanted: Variable| {
        variables
            .into_iter()
            .flatten()
            .find(|variable| variable["name"] == wanted.as_str())
            .and_then(|variable| variable["value"].as_str())
            .map(str::to_owned)
    };
    let record = format!(
        "{}/{}",
        directory.webhooks.settings.annotation_prefix,
        annotations::RECORD
    );
    Probe {
        account,
        mutated: value(Variable::RoleArn).is_some() || value(Variable::ContainerCredentialsFullUri).is_some(),
        record: answer["metadata"]["annotations"][record.as_str()]
            .as_str()
            .and_then(Choice::from_record),
        value: value(Variable::StsRegionalEndpoints),
        region: value(Variable::Region).or_else(|| value(Variable::DefaultRegion)),
    }
}

/// Where settings are only assumed, learns from a dry-run pod which webhook answers. Without the permission to create
/// pods, or without a service account to try, the assumptions stay.
pub async fn learn(
    cluster: &Cluster,
    directory: &mut Directory,
    namespace: Option<&str>,
) -> Result<(), Error> {
    if !directory.webhooks.may_learn() {
        return Ok(());
    }
    let Some(account) = candidate(directory, namespace) else {
        return Ok(());
    };
    match probe(cluster, directory, account).await {
        Ok(probe) => {
            observe(directory, &probe);
            Ok(())
        }
        // Any answer of the API server means only that nothing can be learned.
        Err(Error::Api { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes what a dry-run pod showed for what new pods get.
pub fn observe(directory: &mut Directory, probe: &Probe) {
    let (namespace, name) = &probe.account;
    if let Some(record) = probe.record {
        directory.webhooks.observe(record, &directory.version);
    } else if probe.mutated {
        let lookup = directory.lookup(namespace, name);
        let own: Option<EndpointType> = lookup
            .service_account
            .annotations()
            .and_then(identity::ServiceAccount::endpoint);
        if own.is_some() || (lookup.config_map.is_none() && lookup.namespace.is_none()) {
            directory
                .webhooks
                .observe_value(own, probe.value.as_deref(), &directory.version);
        }
    }
    if directory.webhooks.settings.region.is_none() {
        directory.webhooks.settings.region = probe.region.as_deref().map(Into::into);
    }
}
