//! The built-in plugins that run before webhooks: ServiceAccount, DefaultTolerationSeconds, Priority; and a refusal
//! of webhook configurations that this cluster cannot honour.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::serviceaccount;
use crate::api::{AdmissionRequest, Api, Operation};
use crate::object::{Object, ObjectExt, entry_object};
use crate::pod::containers;
use crate::resources::Resource;
use crate::status::{Result, Status};

/// How often the account `default` is looked for: a namespace may be younger than its account.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Letters and digits of generated names.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

fn suffix() -> String {
    uuid::Uuid::new_v4()
        .as_bytes()
        .iter()
        .take(5)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// The name for messages: `generateName` while there is no name.
fn shown_name(object: &Value) -> &str {
    match object.name() {
        "" => object.str_at(&["metadata", "generateName"]),
        name => name,
    }
}

/// Refuses what would end in an attachment: kubectl would wait, or print nothing and exit with 0.
pub(super) fn refuse_attachment(request: &AdmissionRequest<'_>) -> Result<()> {
    let is_pod = request.resource.storage == "pods" && request.subresource.is_empty();
    let manager = request.options.str_at(&["fieldManager"]);
    let is_read = |container: &Value| container.get("stdin") == Some(&Value::Bool(true));
    let attaches = is_pod
        && request.operation == Operation::Create
        && matches!(manager, "kubectl-run" | "kubectl-debug")
        && request
            .object
            .as_ref()
            .is_some_and(|pod| containers(pod).any(is_read));
    if attaches {
        let message = "this cluster cannot attach to containers, which kubectl run -i needs: leave out -i, and use \
                       kubectl exec -i or kubectl logs -f";
        return Err(Status::custom(501, "NotImplemented", message));
    }
    Ok(())
}

/// Runs the plugins on a write. They may run again after webhooks: all of them are idempotent.
pub(super) async fn run(
    api: &Arc<Api>,
    operation: Operation,
    resource: &Resource,
    subresource: &str,
    object: &mut Value,
) -> Result<()> {
    if resource.storage == "pods" && (subresource == "binding" || operation == Operation::Create) {
        api.add_topology_labels(object);
    }
    if !subresource.is_empty() {
        return Ok(());
    }
    match (resource.storage.as_str(), operation) {
        ("pods", Operation::Create) => {
            service_account(api, object).await?;
            tolerations(object);
            priority(api, object)
        }
        (
            "mutatingwebhookconfigurations.admissionregistration.k8s.io"
            | "validatingwebhookconfigurations.admissionregistration.k8s.io",
            Operation::Create | Operation::Update,
        ) => refuse_conditions(resource, object),
        _ => Ok(()),
    }
}

async fn account(api: &Arc<Api>, namespace: &str, name: &str) -> Option<Object> {
    let looks = if name == "default" { LOOKS } else { 1 };
    for look in 0..looks {
        if let Some(found) = api.store().get("serviceaccounts", namespace, name) {
            return Some(found);
        }
        if look + 1 < looks {
            tokio::time::sleep(PAUSE).await;
        }
    }
    None
}

async fn service_account(api: &Arc<Api>, pod: &mut Value) -> Result<()> {
    if pod.annotation(serviceaccount::MIRROR).is_some() {
        return Ok(());
    }
    let name = serviceaccount::set_name(pod);
    let namespace = pod.namespace().to_owned();
    let Some(found) = account(api, &namespace, &name).await else {
        let why =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(Status::forbidden("pods", shown_name(pod), &why));
    };
    serviceaccount::inject(pod, found.value(), &suffix);
    Ok(())
}

/// Pods stay for five minutes on a node that is lost.
fn tolerations(pod: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = pod.list_at(&["spec", "tolerations"]).iter().any(|one| {
            let about = one.str_at(&["key"]);
            let effect = one.str_at(&["effect"]);
            (about == key || about.is_empty()) && matches!(effect, "NoExecute" | "")
        });
        if tolerated {
            continue;
        }
        let toleration =
            json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 });
        let spec = entry_object(pod, "spec");
        match spec.get_mut("tolerations") {
            Some(Value::Array(list)) => list.push(toleration),
            _ => {
                spec.insert("tolerations".into(), json!([toleration]));
            }
        }
    }
}

fn priority(api: &Arc<Api>, pod: &mut Value) -> Result<()> {
    const CLASSES: &str = "priorityclasses.scheduling.k8s.io";
    let named = pod.str_at(&["spec", "priorityClassName"]).to_owned();
    let class = if named.is_empty() {
        api.store()
            .find(CLASSES, None, |class| {
                class.get("globalDefault") == Some(&Value::Bool(true))
            })
            .into_iter()
            .next()
    } else {
        let found = api.store().get(CLASSES, "", &named);
        if found.is_none() {
            let why = format!("no PriorityClass with name {named} was found");
            return Err(Status::forbidden("pods", shown_name(pod), &why));
        }
        found
    };
    let value = class
        .as_ref()
        .and_then(|class| class.int_at(&["value"]))
        .unwrap_or_default();
    let policy = class
        .as_ref()
        .map(|class| class.str_at(&["preemptionPolicy"]).to_owned())
        .filter(|policy| !policy.is_empty())
        .unwrap_or_else(|| "PreemptLowerPriority".to_owned());
    let given = pod.int_at(&["spec", "priority"]);
    if given.is_some_and(|given| given != value) {
        let why = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
            given.unwrap_or_default()
        );
        return Err(Status::forbidden("pods", shown_name(pod), &why));
    }
    let spec = entry_object(pod, "spec");
    if let Some(class) = class {
        spec.insert("priorityClassName".into(), class.name().into());
    }
    spec.insert("priority".into(), value.into());
    spec.entry("preemptionPolicy").or_insert_with(|| policy.into());
    Ok(())
}

/// Conditions are CEL, which is not evaluated here. Calling the webhook as if they were not there would be wrong.
fn refuse_conditions(resource: &Resource, configuration: &Value) -> Result<()> {
    for (index, webhook) in configuration.list_at(&["webhooks"]).iter().enumerate() {
        if !webhook.list_at(&["matchConditions"]).is_empty() {
            let why = format!(
                "webhooks[{index}].matchConditions: this cluster does not evaluate CEL expressions; remove them, or use objectSelector or namespaceSelector"
            );
            return Err(Status::forbidden(
                &resource.qualified(),
                configuration.name(),
                &why,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_added_once_and_not_beside_own_ones() {
        let mut pod = json!({ "spec": { "tolerations": [
            { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 },
        ] } });
        tolerations(&mut pod);
        let first = pod.clone();
        tolerations(&mut pod);
        assert_eq!(pod, first);
        let list = pod["spec"]["tolerations"].as_array().unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[1]["key"], "node.kubernetes.io/unreachable");
    }

    #[test]
    fn a_pod_that_tolerates_everything_needs_no_more() {
        let mut pod = json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } });
        tolerations(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 1);
    }
}
