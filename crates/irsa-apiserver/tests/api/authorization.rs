//! Who may do what, with roles switched on and off.

use irsa_apiserver::{Authorization, Config};
use serde_json::{Value, json};

use crate::support::Cluster;

async fn with_roles() -> Cluster {
    let config = Config {
        authorization: Authorization::Rbac,
        controllers: false,
        nodes: Vec::new(),
        ..Config::default()
    };
    Cluster::with(config).await
}

/// The code of a request with the token of the service account `default`.
async fn as_default(cluster: &Cluster, method: &str, path: &str, body: &str) -> (u16, Value) {
    let issued = cluster
        .server
        .tokens()
        .issue("default", "default", &[], 3600, None);
    let bearer = format!("Bearer {}", issued.unwrap().token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    cluster.request(method, path, &headers, body.to_owned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_may_do_what_its_roles_grant_and_nothing_else() {
    let cluster = with_roles().await;
    let pods = "/api/v1/namespaces/default/pods";
    let (code, refused) = as_default(&cluster, "GET", pods, "").await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            403,
            "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \
             \"\" in the namespace \"default\""
        )
    );
    // Everybody who is known may look around.
    assert_eq!(as_default(&cluster, "GET", "/apis", "").await.0, 200);
    assert_eq!(as_default(&cluster, "GET", "/metrics", "").await.0, 403);
    cluster
        .ok("create role reader --verb=get,list --resource=pods")
        .await;
    cluster
        .ok("create rolebinding reader --role=reader --serviceaccount=default:default")
        .await;
    assert_eq!(as_default(&cluster, "GET", pods, "").await.0, 200);
    let watched = format!("{pods}?watch=1&timeoutSeconds=1");
    assert_eq!(as_default(&cluster, "GET", &watched, "").await.0, 403);
    let other = "/api/v1/namespaces/kube-system/pods";
    assert_eq!(as_default(&cluster, "GET", other, "").await.0, 403);
    assert_eq!(
        as_default(&cluster, "DELETE", &format!("{pods}/p"), "").await.0,
        403
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn access_reviews_agree_with_what_is_enforced() {
    let cluster = with_roles().await;
    cluster
        .ok("create clusterrolebinding viewer --clusterrole=view --serviceaccount=default:default")
        .await;
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (verb, resource, expected) in [
        ("list", "pods", true),
        ("list", "secrets", false),
        ("delete", "pods", false),
    ] {
        let asked = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": { "verb": verb, "resource": resource, "namespace": "default" } },
        });
        let (code, review) = as_default(&cluster, "POST", reviews, &asked.to_string()).await;
        assert_eq!(
            (code, &review["status"]["allowed"]),
            (201, &expected.into()),
            "{verb} {resource}"
        );
        let account = "system:serviceaccount:default:default";
        let line = format!("auth can-i {verb} {resource} --as={account}");
        let said = cluster.run(&line.split(' ').collect::<Vec<_>>(), None).await;
        assert_eq!(
            said.stdout.trim(),
            if expected { "yes" } else { "no" },
            "{line}: {said:?}"
        );
    }
    let refused = cluster.fails("get secrets --as=somebody").await;
    assert!(
        refused.contains("User \"somebody\" cannot list resource \"secrets\""),
        "{refused}"
    );
    assert!(
        cluster
            .ok("auth can-i --list --as=system:serviceaccount:default:default")
            .await
            .contains("configmaps")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_is_a_right_of_its_own() {
    let cluster = with_roles().await;
    let issued = cluster
        .server
        .tokens()
        .issue("default", "default", &[], 3600, None);
    let bearer = format!("Bearer {}", issued.unwrap().token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("impersonate-user", "kubernetes-admin"),
    ];
    let (code, refused) = cluster.request("GET", "/api/v1/nodes", &headers, "").await;
    assert_eq!(code, 403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("cannot impersonate resource \"users\""),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_roles_everything_is_allowed() {
    let cluster = Cluster::bare().await;
    assert_eq!(as_default(&cluster, "GET", "/api/v1/secrets", "").await.0, 200);
    assert_eq!(cluster.ok("auth can-i delete nodes").await.trim(), "yes");
}
