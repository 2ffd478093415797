//! What a pod needs before its containers can start: ConfigMaps and Secrets that its volumes and variables name.

use serde_json::Value;

use crate::api::Api;
use crate::object::ObjectExt;
use crate::tokens::MIN_EXPIRATION;

/// A reference that cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A volume cannot be mounted: the event's text.
    Volume(String),
    /// A container cannot be configured: its name and why.
    Variable(String, String),
}

fn optional(source: &Value) -> bool {
    source.get("optional") == Some(&Value::Bool(true))
}

/// The first thing that is missing.
pub(crate) fn missing(api: &Api, pod: &Value) -> Option<Missing> {
    let namespace = pod.namespace();
    let absent = |kind: &str, resource: &str, name: &str| {
        (!name.is_empty() && api.store().get(resource, namespace, name).is_none())
            .then(|| format!("{kind} {name:?} not found"))
    };
    let source = |source: &Value, config_map: &str, secret: &str, name_of_secret: &str| {
        if let Some(map) = source.get(config_map)
            && !optional(map)
            && let Some(why) = absent("configmap", "configmaps", map.str_at(&["name"]))
        {
            return Some(why);
        }
        let named = source.get(secret).filter(|secret| !optional(secret))?;
        absent("secret", "secrets", named.str_at(&[name_of_secret]))
    };
    for volume in pod.list_at(&["spec", "volumes"]) {
        let name = volume.str_at(&["name"]);
        let direct = source(volume, "configMap", "secret", "secretName");
        let projected = volume
            .list_at(&["projected", "sources"])
            .iter()
            .find_map(|projected| {
                let account = projected.get("serviceAccountToken");
                let short = account
                    .and_then(|account| account.int_at(&["expirationSeconds"]))
                    .is_some_and(|seconds| seconds < MIN_EXPIRATION);
                if short {
                    return Some("may not specify a duration less than 10 minutes".to_owned());
                }
                source(projected, "configMap", "secret", "name")
            });
        if let Some(why) = direct.or(projected) {
            return Some(Missing::Volume(format!(
                "MountVolume.SetUp failed for volume {name:?} : {why}"
            )));
        }
    }
    for list in ["initContainers", "containers"] {
        for container in pod.list_at(&["spec", list]) {
            let each = container
                .list_at(&["env"])
                .iter()
                .filter_map(|variable| variable.get("valueFrom"))
                .find_map(|from| source(from, "configMapKeyRef", "secretKeyRef", "name"));
            let all = container
                .list_at(&["envFrom"])
                .iter()
                .find_map(|from| source(from, "configMapRef", "secretRef", "name"));
            if let Some(why) = each.or(all) {
                return Some(Missing::Variable(container.str_at(&["name"]).to_owned(), why));
            }
        }
    }
    None
}
