//! `kube`, the Rust client, as a second opinion on the embedded cluster's API: watch, patch types, conflict, paging.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use serde_json::json;

use crate::common::Lab;

async fn client(lab: &Lab) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(lab.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"test": "kube"}}, "data": {"key": value, "other": "kept"}
    }))
    .unwrap()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("not within 30 seconds: {what}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_of_creation_change_and_deletion_in_order() {
    let lab = Lab::start::<&str>(&[]);
    let maps = Api::<ConfigMap>::namespaced(client(&lab).await, "default");
    let version = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut events = maps
        .watch(&WatchParams::default().labels("test=kube"), &version)
        .await
        .unwrap()
        .boxed();

    maps.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({"data": {"key": "2"}}));
    maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    // Another label: out of the watch's sight, which it must be told as a deletion.
    let patch = Patch::Merge(json!({"metadata": {"labels": {"test": "other"}}}));
    maps.patch("a", &PatchParams::default(), &patch).await.unwrap();

    let mut seen = Vec::new();
    while seen.len() < 3 {
        match soon("the next event", events.try_next()).await.unwrap().unwrap() {
            WatchEvent::Added(map) => seen.push(format!("added {}", map.data.unwrap()["key"])),
            WatchEvent::Modified(map) => seen.push(format!("modified {}", map.data.unwrap()["key"])),
            WatchEvent::Deleted(map) => seen.push(format!("deleted {}", map.metadata.name.unwrap())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(seen, ["added 1", "modified 2", "deleted a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_watcher_see_everything_that_is_there_and_that_comes() {
    let lab = Lab::start::<&str>(&[]);
    let client = client(&lab).await;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
    maps.create(&PostParams::default(), &config_map("before", "1"))
        .await
        .unwrap();
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let config = config.labels("test=kube");
        let mut events = watcher(maps.clone(), config).boxed();
        let mut initial = Vec::new();
        loop {
            match soon("the initial list", events.try_next())
                .await
                .unwrap()
                .unwrap()
            {
                watcher::Event::InitApply(map) => initial.push(map.metadata.name.unwrap()),
                watcher::Event::InitDone => break,
                watcher::Event::Init => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(initial, ["before"]);
        maps.create(&PostParams::default(), &config_map("after", "1"))
            .await
            .unwrap();
        let event = soon("the created object", events.try_next())
            .await
            .unwrap()
            .unwrap();
        assert!(
            matches!(&event, watcher::Event::Apply(map) if map.metadata.name.as_deref() == Some("after")),
            "{event:?}"
        );
        maps.delete("after", &DeleteParams::default()).await.unwrap();
        let event = soon("the deletion", events.try_next()).await.unwrap().unwrap();
        assert!(matches!(event, watcher::Event::Delete(_)), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_merge_strategic_and_apply_patches_each_do_what_they_are_for() {
    let lab = Lab::start::<&str>(&[]);
    let client = client(&lab).await;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
    maps.create(&PostParams::default(), &config_map("m", "1"))
        .await
        .unwrap();
    let params = PatchParams::default();

    let operations: json_patch::Patch = serde_json::from_value(json!([
        {"op": "test", "path": "/data/key", "value": "1"},
        {"op": "replace", "path": "/data/key", "value": "json"},
    ]))
    .unwrap();
    let map = maps
        .patch("m", &params, &Patch::Json::<()>(operations))
        .await
        .unwrap();
    assert_eq!(map.data.unwrap()["key"], "json");

    let map = maps
        .patch("m", &params, &Patch::Merge(json!({"data": {"key": null}})))
        .await
        .unwrap();
    assert_eq!(
        map.data.unwrap().into_iter().collect::<Vec<_>>(),
        [("other".to_owned(), "kept".to_owned())]
    );

    let pods = Api::<Pod>::namespaced(client, "default");
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "one", "image": "a:1"}, {"name": "two", "image": "b:1"}]}
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    let strategic = json!({"spec": {"containers": [{"name": "two", "image": "b:2"}]}});
    let pod = pods
        .patch("p", &params, &Patch::Strategic(strategic))
        .await
        .unwrap();
    let images: Vec<_> = pod
        .spec
        .unwrap()
        .containers
        .into_iter()
        .map(|container| container.image.unwrap())
        .collect();
    assert_eq!(images, ["a:1", "b:2"]);

    let apply =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"mine": "x"}});
    let map = maps
        .patch("m", &PatchParams::apply("first"), &Patch::Apply(&apply))
        .await
        .unwrap();
    assert_eq!(map.data.unwrap()["mine"], "x");
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"mine": "y"}});
    let refused = maps
        .patch("m", &PatchParams::apply("second"), &Patch::Apply(&theirs))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 409),
        "{refused:?}"
    );
    let map = maps
        .patch("m", &PatchParams::apply("second").force(), &Patch::Apply(&theirs))
        .await
        .unwrap();
    assert_eq!(map.data.unwrap()["mine"], "y");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_over_a_newer_version_is_a_conflict() {
    let lab = Lab::start::<&str>(&[]);
    let accounts = Api::<ServiceAccount>::namespaced(client(&lab).await, "default");
    let old = accounts.get("default").await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"a": "1"}}}));
    accounts
        .patch("default", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let refused = accounts
        .replace("default", &PostParams::default(), &old)
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(
        status.message.contains("the object has been modified"),
        "{}",
        status.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_together_are_the_list_even_while_it_changes() {
    let lab = Lab::start::<&str>(&[]);
    let maps = Api::<ConfigMap>::namespaced(client(&lab).await, "default");
    for index in 0..7 {
        maps.create(&PostParams::default(), &config_map(&format!("m{index}"), "1"))
            .await
            .unwrap();
    }
    let mut params = ListParams::default().labels("test=kube").limit(3);
    let mut names = Vec::new();
    loop {
        let page = maps.list(&params).await.unwrap();
        assert!(page.items.len() <= 3);
        names.extend(page.items.into_iter().map(|map| map.metadata.name.unwrap()));
        let _ = maps.delete("m6", &DeleteParams::default()).await;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
}
