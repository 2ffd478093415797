//! The roles of the lab's AWS: one for every role ARN that a service account of the cluster asks for, trusted by just
//! those service accounts, as an operator would have set it up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use irsa_core::arn::RoleArn;
use irsa_sts::Aws;
use irsa_sts::config::{Account, IssuerDocuments, OidcProvider, Role};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::json;

/// How the AWS side is told of the cluster's roles.
pub(crate) struct Roles {
    pub(crate) aws: Arc<Aws>,
    /// `https://oidc.eks.us-west-2.amazonaws.com/id/…`
    pub(crate) issuer: String,
    pub(crate) documents: IssuerDocuments,
    pub(crate) annotation: String,
    pub(crate) audience: String,
    // Role ARN to the subjects that may assume it. A role outlives its service accounts: in AWS it would, too.
    pub(crate) trusted: BTreeMap<String, BTreeSet<String>>,
}

impl Roles {
    /// Follows the service accounts until dropped.
    pub(crate) async fn follow(mut self, client: Client) {
        let accounts = Api::<PartialObjectMeta<ServiceAccount>>::all(client);
        let mut events = watcher(accounts, watcher::Config::default()).boxed();
        loop {
            match events.try_next().await {
                Ok(Some(watcher::Event::Apply(account) | watcher::Event::InitApply(account))) => {
                    if let Err(error) = self.see(&account) {
                        tracing::warn!(%error, "a role of the lab's AWS could not be made");
                    }
                }
                Ok(Some(watcher::Event::Init | watcher::Event::InitDone | watcher::Event::Delete(_))) => {}
                Ok(None) => return,
                // The watcher itself tries again, with a pause.
                Err(error) => tracing::debug!(%error, "watching service accounts"),
            }
        }
    }

    fn see(&mut self, account: &PartialObjectMeta<ServiceAccount>) -> Result<(), irsa_sts::ConfigError> {
        let annotations = account.metadata.annotations.iter().flatten();
        let Some((_, text)) = annotations.into_iter().find(|(key, _)| **key == self.annotation) else {
            return Ok(());
        };
        // What cannot be a role does not exist in AWS either; the pod will be told so.
        let Ok(arn) = RoleArn::parse(text) else {
            return Ok(());
        };
        let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
        let name = account.metadata.name.as_deref().unwrap_or_default();
        let subject = format!("system:serviceaccount:{namespace}:{name}");
        let subjects = self.trusted.entry(text.clone()).or_default();
        if !subjects.insert(subject) {
            return Ok(());
        }
        if !self.aws.accounts().iter().any(|id| id == arn.account) {
            self.aws.add_account(Account {
                partition: arn.partition.to_owned(),
                ..Account::new(arn.account)
            })?;
        }
        self.aws.put_oidc_provider(
            arn.account,
            OidcProvider {
                url: self.issuer.clone(),
                client_ids: vec![self.audience.clone()],
                documents: self.documents.clone(),
            },
        )?;
        let issuer = self.issuer.trim_start_matches("https://");
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {
                    "Federated": format!("arn:{}:iam::{}:oidc-provider/{issuer}", arn.partition, arn.account)
                },
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {
                    format!("{issuer}:sub"): subjects,
                    format!("{issuer}:aud"): self.audience,
                }},
            }],
        });
        let role = Role {
            path: format!("/{}", arn.path),
            ..Role::new(arn.name, policy)
        };
        self.aws.put_role(arn.account, role)
    }
}
