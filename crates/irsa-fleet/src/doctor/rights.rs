//! The permissions of this user, asked with SelfSubjectAccessReview.

use serde_json::json;

use super::{Check, Verdict};
use crate::cluster::{Cluster, Error};

/// A permission and what is missing without it.
struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    namespaced: bool,
    weight: Verdict,
    without: &'static str,
}

const fn right(
    verb: &'static str,
    resource: &'static str,
    namespaced: bool,
    weight: Verdict,
    without: &'static str,
) -> Right {
    Right {
        verb,
        group: "",
        resource,
        namespaced,
        weight,
        without,
    }
}

const RIGHTS: [Right; 8] = [
    right("list", "pods", true, Verdict::Fail, "nothing is known about pods"),
    right(
        "list",
        "serviceaccounts",
        true,
        Verdict::Fail,
        "nothing is known about service accounts",
    ),
    right(
        "list",
        "nodes",
        false,
        Verdict::Warn,
        "regions are taken from the pods' own settings",
    ),
    right(
        "list",
        "namespaces",
        false,
        Verdict::Warn,
        "annotations of namespaces are not considered",
    ),
    Right {
        group: "admissionregistration.k8s.io",
        ..right(
            "list",
            "mutatingwebhookconfigurations",
            false,
            Verdict::Warn,
            "the webhook's settings are assumed",
        )
    },
    right(
        "create",
        "pods",
        true,
        Verdict::Warn,
        "the webhook cannot be tried with a dry-run pod",
    ),
    right(
        "patch",
        "serviceaccounts",
        true,
        Verdict::Warn,
        "irsa set cannot change anything",
    ),
    Right {
        group: "apps",
        ..right(
            "patch",
            "deployments",
            true,
            Verdict::Warn,
            "irsa rollout cannot restart anything",
        )
    },
];

pub(super) async fn check(cluster: &Cluster, namespace: Option<&str>) -> Check {
    let mut check = Check::new("rights", "Permissions of this user");
    for right in &RIGHTS {
        match allowed(cluster, right, namespace).await {
            Ok(true) => {}
            Ok(false) => {
                check.wrong(
                    right.weight,
                    format!(
                        "{} {} is not allowed: {}",
                        right.verb, right.resource, right.without
                    ),
                    "ask for the permission; docs/doctor.md lists a ClusterRole",
                );
            }
            Err(error) => return check.unknown("the API server does not tell what is allowed", &error),
        }
    }
    if check.evidence.is_empty() {
        check.see("everything that irsa needs is allowed");
    }
    check
}

async fn allowed(cluster: &Cluster, right: &Right, namespace: Option<&str>) -> Result<bool, Error> {
    let mut attributes = json!({"verb": right.verb, "group": right.group, "resource": right.resource});
    if let (true, Some(namespace)) = (right.namespaced, namespace) {
        attributes["namespace"] = json!(namespace);
    }
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = cluster.post(path, &body).await?;
    Ok(answer["status"]["allowed"] == true)
}
