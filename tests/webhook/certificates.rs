//! Certificates that the webhook makes itself: agreed on by replicas, written into the configuration, healed, rotated.

use std::time::Duration;

use irsa_webhook::certificates::managed::Managed;
use irsa_webhook::{Certificates, Server};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::support::{Caller, Cluster, ROLE, ROLE_KEY, eventually, metric};

const NAME: &str = "pod-identity-webhook";

fn managed() -> Managed {
    Managed {
        namespace: "kube-system".into(),
        secret: NAME.into(),
        service: NAME.into(),
        names: vec!["127.0.0.1".into()],
        webhook_configuration: Some(NAME.into()),
        ca_lifetime: Duration::from_secs(8760 * 3600),
        leaf_lifetime: Duration::from_secs(2160 * 3600),
        overlap: Duration::from_secs(60),
        poll: Duration::from_millis(200),
    }
}

async fn configuration(cluster: &Cluster) -> Api<MutatingWebhookConfiguration> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let object = serde_json::from_value(json!({
        "metadata": {"name": NAME},
        "webhooks": [{
            "name": "pod-identity-webhook.amazonaws.com",
            "clientConfig": {"service": {"name": NAME, "namespace": "kube-system", "path": "/mutate"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1beta1"],
            // Nobody's pods: these tests call the webhook themselves.
            "namespaceSelector": {"matchLabels": {"nobody": "never"}},
        }],
    }))
    .unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    api
}

/// The `caBundle` as PEM.
async fn bundle(api: &Api<MutatingWebhookConfiguration>) -> String {
    let object = api.get(NAME).await.unwrap();
    let bundle = object.webhooks.unwrap()[0].client_config.ca_bundle.clone();
    String::from_utf8(bundle.map(|bytes| bytes.0).unwrap_or_default()).unwrap()
}

async fn replica(cluster: &Cluster, managed: Managed) -> Server {
    let (mut config, _) = cluster.config();
    config.certificates = Certificates::Managed(managed);
    Server::start(config).await.unwrap()
}

/// Admits a pod, trusting exactly what the configuration says: as an API server would.
async fn admits(server: &Server, api: &Api<MutatingWebhookConfiguration>) -> Result<Option<String>, String> {
    Caller::new(server.address(), &bundle(api).await)
        .role_of("default", "app")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_agree_on_one_ca() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let api = configuration(&cluster).await;
    let servers = futures::future::join_all((0..4).map(|_| replica(&cluster, managed()))).await;
    for server in &servers {
        server.ready(Duration::from_secs(30)).await.unwrap();
    }
    let trusted = bundle(&api).await;
    assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 1, "{trusted}");
    let serial = servers[0].serving().validity().unwrap().serial;
    for server in &servers {
        assert_eq!(server.serving().validity().unwrap().serial, serial);
        assert_eq!(admits(server, &api).await, Ok(Some(ROLE.to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_bundle_that_somebody_overwrites_is_healed() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let api = configuration(&cluster).await;
    let server = replica(&cluster, managed()).await;
    server.ready(Duration::from_secs(30)).await.unwrap();
    let good = bundle(&api).await;
    for wrong in [Some(super::support::Pki::new().ca), None] {
        let mut object = api.get(NAME).await.unwrap();
        object.webhooks.as_mut().unwrap()[0].client_config.ca_bundle =
            wrong.map(|pem| ByteString(pem.into_bytes()));
        api.replace(NAME, &PostParams::default(), &object).await.unwrap();
        eventually("the caBundle is healed", async || bundle(&api).await == good).await;
        assert_eq!(admits(&server, &api).await, Ok(Some(ROLE.to_owned())));
    }
    // Deleted and applied again, as by a deployment tool.
    api.delete(NAME, &DeleteParams::default()).await.unwrap();
    configuration(&cluster).await;
    eventually("the new configuration has the caBundle", async || {
        bundle(&api).await == good
    })
    .await;
    assert!(metric(&server, "irsa_webhook_ca_bundle_writes_total") >= 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_lost_gets_back_the_certificate_in_service() {
    let cluster = Cluster::start().await;
    let api = configuration(&cluster).await;
    let server = replica(&cluster, managed()).await;
    server.ready(Duration::from_secs(30)).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    let before = secrets.get(NAME).await.unwrap();
    let good = bundle(&api).await;
    secrets.delete(NAME, &DeleteParams::default()).await.unwrap();
    eventually("the Secret is back", async || {
        secrets.get_opt(NAME).await.unwrap().is_some()
    })
    .await;
    assert_eq!(secrets.get(NAME).await.unwrap().data, before.data);
    let patch = json!({"data": {"ca.crt": "bm9uc2Vuc2U="}});
    secrets
        .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    eventually("the Secret is mended", async || {
        secrets.get(NAME).await.unwrap().data == before.data
    })
    .await;
    assert_eq!(bundle(&api).await, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_of_certificate_and_ca_under_load_loses_nothing() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let api = configuration(&cluster).await;
    // Seconds instead of months: a certificate lives 6 s, a CA 18 s, and a new CA is trusted 1 s before it signs.
    let quick = Managed {
        ca_lifetime: Duration::from_secs(18),
        leaf_lifetime: Duration::from_secs(6),
        overlap: Duration::from_secs(1),
        poll: Duration::from_millis(100),
        ..managed()
    };
    let servers = futures::future::join_all((0..2).map(|_| replica(&cluster, quick.clone()))).await;
    for server in &servers {
        server.ready(Duration::from_secs(30)).await.unwrap();
    }
    let first = bundle(&api).await;
    let mut most = 0;
    let mut admissions = 0;
    // Until the first CA is gone: every admission trusts what the configuration says at that moment.
    let rotated = async {
        loop {
            let now = bundle(&api).await;
            most = most.max(now.matches("BEGIN CERTIFICATE").count());
            for server in &servers {
                assert_eq!(
                    admits(server, &api).await,
                    Ok(Some(ROLE.to_owned())),
                    "after {admissions} admissions"
                );
                admissions += 1;
            }
            if !now.contains(first.trim()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), rotated)
        .await
        .expect("the CA is rotated");
    assert!(most >= 2, "old and new CA are trusted together for a while");
    assert!(servers.iter().all(|server| server.readiness().is_ready()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_being_ready_is_said() {
    let cluster = Cluster::start().await;
    let server = replica(&cluster, managed()).await;
    eventually("the reason is there", async || {
        server.readiness().page().1.contains("does not exist; apply it")
    })
    .await;
    assert!(!server.readiness().is_ready());
    configuration(&cluster).await;
    server.ready(Duration::from_secs(30)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_cert_manager_is_left_alone() {
    let cluster = Cluster::start().await;
    configuration(&cluster).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    let foreign: Secret = serde_json::from_value(json!({
        "metadata": {"name": NAME, "annotations": {"cert-manager.io/certificate-name": NAME}},
        "stringData": {"tls.crt": "theirs"},
    }))
    .unwrap();
    let before = secrets.create(&PostParams::default(), &foreign).await.unwrap();
    let server = replica(&cluster, managed()).await;
    eventually("the reason is there", async || {
        server.readiness().page().1.contains("belongs to cert-manager")
    })
    .await;
    assert_eq!(
        secrets.get(NAME).await.unwrap().metadata.resource_version,
        before.metadata.resource_version
    );
}
