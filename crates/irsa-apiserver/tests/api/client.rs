//! kube, the Rust client, against the same API.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use serde_json::json;

use crate::support::Cluster;

async fn client(cluster: &Cluster) -> kube::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Kubeconfig::from_yaml(&cluster.server.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    kube::Client::try_from(config).unwrap()
}

fn config_map(value: serde_json::Value) -> ConfigMap {
    serde_json::from_value(value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_creates_patches_conflicts_and_deletes() {
    let cluster = Cluster::bare().await;
    let api: Api<ConfigMap> = Api::namespaced(client(&cluster).await, "default");
    let first = api
        .create(
            &PostParams::default(),
            &config_map(json!({ "metadata": { "name": "a" }, "data": { "x": "1" } })),
        )
        .await
        .unwrap();
    let merged = api
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({ "data": { "y": "2" } })),
        )
        .await
        .unwrap();
    assert_eq!(merged.data.unwrap().len(), 2);
    let conflict = api
        .replace("a", &PostParams::default(), &first)
        .await
        .unwrap_err();
    assert!(
        matches!(conflict, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict")
    );
    let applied =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "z": "3" } });
    let applied = api
        .patch("a", &PatchParams::apply("kube"), &Patch::Apply(applied))
        .await
        .unwrap();
    assert_eq!(applied.data.unwrap().len(), 3);
    assert_eq!(
        api.list(&ListParams::default().limit(1))
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_kube_see_the_same_with_lists_and_with_streams() {
    let cluster = Cluster::bare().await;
    let api: Api<ServiceAccount> = Api::all(client(&cluster).await);
    let account = |name: &str| -> ServiceAccount {
        serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "default" } })).unwrap()
    };
    let namespaced: Api<ServiceAccount> = Api::namespaced(client(&cluster).await, "default");
    for name in ["a", "b", "c"] {
        namespaced
            .create(&PostParams::default(), &account(name))
            .await
            .unwrap();
    }
    for (config, later) in [
        (watcher::Config::default().page_size(2), "d"),
        (watcher::Config::default().streaming_lists(), "e"),
    ] {
        let mut events = Box::pin(watcher::watcher(api.clone(), config));
        let mut initial = 0;
        loop {
            match events.next().await.unwrap().unwrap() {
                Event::Init => {}
                Event::InitApply(_) => initial += 1,
                Event::InitDone => break,
                other => panic!("{other:?} before the end of the initial list"),
            }
        }
        assert!(initial >= 3);
        namespaced
            .create(&PostParams::default(), &account(later))
            .await
            .unwrap();
        match events.next().await.unwrap().unwrap() {
            Event::Apply(seen) => assert_eq!(seen.metadata.name.as_deref(), Some(later)),
            other => panic!("{other:?}"),
        }
    }
}
