//! The two documents that name identities besides annotations: the ConfigMap and the container credentials file.

use std::time::Duration;

use irsa_webhook::Server;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::support::{Caller, Cluster, ROLE, ROLE_KEY, eventually, metric, patched, pod, review, variable};

const NAME: &str = "pod-identity-webhook";

async fn follows(cluster: &Cluster) -> (Server, Caller) {
    let (mut config, pki) = cluster.config();
    config.config_map_namespace = Some("kube-system".into());
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    (server, caller)
}

fn entry(role: &str) -> serde_json::Value {
    json!({"RoleARN": role, "Audience": "", "UseRegionalSTS": true, "TokenExpiration": 0})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_map_names_roles_and_a_broken_entry_harms_only_itself() {
    let cluster = Cluster::start().await;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
    for (namespace, name) in [
        ("default", "exact"),
        ("default", "any"),
        ("default", "glob"),
        ("default", "annotated"),
    ] {
        let annotations: &[(&str, &str)] = if name == "annotated" {
            &[(ROLE_KEY, ROLE)]
        } else {
            &[]
        };
        cluster.service_account(namespace, name, annotations).await;
    }
    let (server, caller) = follows(&cluster).await;
    assert_eq!(caller.role_of("default", "exact").await, Ok(None));

    let exact = "arn:aws:iam::111122223333:role/exact";
    let config = json!({
        "default/exact": entry(exact),
        "*/any": entry("arn:aws:iam::111122223333:role/any"),
        "def*/glob": entry("arn:aws:iam::111122223333:role/glob"),
        "default/annotated": entry("arn:aws:iam::111122223333:role/overridden"),
        "no-slash": entry("arn:aws:iam::111122223333:role/none"),
        "default/null": null,
        "default/number": 7,
    });
    let data = |config: String| json!({"metadata": {"name": NAME}, "data": {"config": config}});
    let object = serde_json::from_value(data(config.to_string())).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    for (name, role) in [
        ("exact", "exact"),
        ("any", "any"),
        ("glob", "glob"),
        ("annotated", "app"),
    ] {
        let expected = format!("arn:aws:iam::111122223333:role/{role}");
        eventually(name, async || {
            caller.role_of("default", name).await == Ok(Some(expected.clone()))
        })
        .await;
    }

    // Text that is no JSON leaves the last good content in use.
    let broken = Patch::Merge(data("{".to_owned()));
    api.patch(NAME, &PatchParams::default(), &broken).await.unwrap();
    let smaller = Patch::Merge(data(
        json!({"default/any": entry("arn:aws:iam::111122223333:role/mine")}).to_string(),
    ));
    assert_eq!(
        caller.role_of("default", "exact").await,
        Ok(Some(exact.to_owned()))
    );
    api.patch(NAME, &PatchParams::default(), &smaller).await.unwrap();
    eventually("an entry that was taken out is gone", async || {
        caller.role_of("default", "exact").await == Ok(None)
    })
    .await;
    let mine = "arn:aws:iam::111122223333:role/mine".to_owned();
    assert_eq!(caller.role_of("default", "any").await, Ok(Some(mine)));

    api.delete(NAME, &DeleteParams::default()).await.unwrap();
    eventually("its deletion empties it", async || {
        caller.role_of("default", "any").await == Ok(None)
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_credentials_file_is_followed() {
    let cluster = Cluster::start().await;
    for name in ["app", "other"] {
        cluster.service_account("default", name, &[]).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identities.json");
    let (mut config, pki) = cluster.config();
    config.container_credentials = Some(path.clone());
    // Changes are seen at once, not at the next poll.
    config.poll = Duration::from_secs(3600);
    let server = Server::start(config).await.unwrap();
    eventually("the missing file is a reason not to be ready", async || {
        server
            .readiness()
            .page()
            .1
            .contains("[-]container-credentials-file not ready: --watch-container-credentials-config")
    })
    .await;
    let identities = json!({"identities": [{"namespace": "default", "serviceAccount": "app"}]}).to_string();
    std::fs::write(&path, &identities).unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    let uri = async |name: &str| {
        let response = caller.review(review("default", &pod(name))).await.unwrap();
        variable(
            &patched(&pod(name), &response),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        )
    };
    assert_eq!(
        uri("app").await.as_deref(),
        Some("http://169.254.170.23/v1/credentials")
    );
    assert_eq!(uri("other").await, None);

    let response = caller.review(review("default", &pod("app"))).await.unwrap();
    let after = patched(&pod("app"), &response);
    assert_eq!(
        after["metadata"]["labels"]["eks.amazonaws.com/pod-identity"],
        "enabled"
    );
    let volumes = after["spec"]["volumes"].as_array().unwrap();
    let token = volumes
        .iter()
        .find(|volume| volume["name"] == "eks-pod-identity-token")
        .unwrap();
    let token = &token["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "pods.eks.amazonaws.com");
    let seconds = token["expirationSeconds"].as_i64().unwrap();
    assert!((79_200..=86_400).contains(&seconds), "{seconds}");

    std::fs::write(&path, "{").unwrap();
    eventually("the new content has been looked at", async || {
        metric(
            &server,
            "irsa_webhook_container_credentials_loads_total{result=\"error\"}",
        ) > 0.0
    })
    .await;
    assert!(uri("app").await.is_some(), "the last good content stays");
    for empty in [Some(""), Some("null"), None] {
        std::fs::write(&path, &identities).unwrap();
        eventually("the list is back", async || uri("app").await.is_some()).await;
        match empty {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        eventually("an empty or deleted file is an empty list", async || {
            uri("app").await.is_none()
        })
        .await;
    }
    server.shutdown().await;
}
