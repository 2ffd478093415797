//! The end of namespaces: what is in one goes first, then the namespace.

use std::sync::Arc;
use std::time::Duration;

use crate::api::{Api, Caller, DeleteOptions};
use crate::object::ObjectExt;
use crate::status::Result;

/// Empties namespaces that are being deleted. Runs until dropped.
pub(crate) async fn run(api: Arc<Api>) {
    let mut watch = api.store().watch("namespaces", 0);
    loop {
        let Ok(event) = watch.next().await else {
            watch = api.store().watch("namespaces", api.store().resource_version());
            continue;
        };
        if event.object.deletion_timestamp().is_some() && event.change != crate::store::Change::Deleted {
            tokio::spawn(empty(Arc::clone(&api), event.object.name().to_owned()));
        }
    }
}

/// Deletes the contents again and again until nothing is left (finalizers and grace periods take their time).
async fn empty(api: Arc<Api>, namespace: String) {
    let me = Caller::controller("namespace-controller");
    let mut pause = Duration::from_millis(20);
    loop {
        let Some(object) = api.store().get("namespaces", "", &namespace) else {
            return;
        };
        if object.deletion_timestamp().is_none() {
            return;
        }
        let mut left = 0;
        for resource in api.registry().all() {
            if !resource.namespaced || !resource.stored || resource.group == "events.k8s.io" {
                continue;
            }
            let objects = api.store().list(&resource.storage, Some(&namespace)).items;
            for object in &objects {
                let gone = api
                    .delete(
                        &me,
                        &resource.storage,
                        &namespace,
                        object.name(),
                        &DeleteOptions::default(),
                    )
                    .await;
                if !matches!(gone, Ok(crate::api::Deleted::Gone(_))) {
                    left += 1;
                }
            }
        }
        if left == 0 {
            if finish(&api, &me, &namespace).await.is_ok() {
                sweep(&api, &namespace);
            }
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

async fn finish(api: &Arc<Api>, me: &Caller, namespace: &str) -> Result<()> {
    api.modify(me, "namespaces", "", namespace, "finalize", |object| {
        crate::object::entry_object(object, "spec").insert("finalizers".into(), serde_json::json!([]));
        Ok(())
    })
    .await?;
    Ok(())
}

/// Removes what was created between the last look and the namespace's end.
fn sweep(api: &Arc<Api>, namespace: &str) {
    for resource in api.registry().all() {
        if resource.namespaced && resource.stored {
            for object in api.store().list(&resource.storage, Some(namespace)).items {
                let _ = api
                    .store()
                    .delete(&resource.storage, namespace, object.name(), None);
            }
        }
    }
}
