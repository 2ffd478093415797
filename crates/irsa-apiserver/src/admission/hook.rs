//! One webhook of a configuration: what it wants to be asked about.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{AdmissionRequest, Api, Operation};
use crate::object::ObjectExt;
use crate::resources::Resource;
use crate::selectors::LabelSelector;

/// What becomes of a request when the webhook cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailurePolicy {
    Fail,
    Ignore,
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Url(String),
    Service {
        namespace: String,
        name: String,
        path: String,
        port: u16,
    },
}

impl Target {
    /// The address that is called, and that errors show.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Service {
                namespace,
                name,
                path,
                port,
            } => format!("https://{name}.{namespace}.svc:{port}{path}"),
        }
    }
}

#[derive(Clone, Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// A webhook, read once for each version of its configuration.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) name: String,
    pub(super) target: Target,
    /// PEM; empty for the system's roots.
    pub(super) ca_bundle: Vec<u8>,
    rules: Vec<Rule>,
    namespace_selector: LabelSelector,
    object_selector: LabelSelector,
    exact: bool,
    pub(super) timeout: Duration,
    pub(super) failure_policy: FailurePolicy,
    pub(super) reinvoke: bool,
    side_effects: String,
    review_versions: Vec<String>,
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    value
        .list_at(&[key])
        .iter()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

impl Hook {
    /// Reads a webhook as the API stores it; missing parts have the defaults of `admissionregistration.k8s.io/v1`.
    pub(super) fn parse(webhook: &Value) -> Result<Self, String> {
        use base64::Engine as _;
        let client = webhook.get("clientConfig").unwrap_or(&Value::Null);
        let target = match client.get("service").filter(|service| !service.is_null()) {
            Some(service) => {
                let path = service.str_at(&["path"]);
                Target::Service {
                    namespace: service.str_at(&["namespace"]).to_owned(),
                    name: service.str_at(&["name"]).to_owned(),
                    path: if path.starts_with('/') {
                        path.to_owned()
                    } else {
                        format!("/{path}")
                    },
                    port: service
                        .int_at(&["port"])
                        .and_then(|port| u16::try_from(port).ok())
                        .unwrap_or(443),
                }
            }
            None => Target::Url(client.str_at(&["url"]).to_owned()),
        };
        let ca_bundle = base64::engine::general_purpose::STANDARD
            .decode(client.str_at(&["caBundle"]))
            .map_err(|error| format!("could not get REST client: caBundle is not base64: {error}"))?;
        let selector = |key: &str| match webhook.get(key).filter(|selector| !selector.is_null()) {
            Some(selector) => {
                LabelSelector::from_object(Some(selector)).map_err(|error| format!("{key}: {error}"))
            }
            None => Ok(LabelSelector::from_object(Some(&json!({}))).unwrap_or_default()),
        };
        let rules = webhook
            .list_at(&["rules"])
            .iter()
            .map(|rule| Rule {
                operations: strings(rule, "operations"),
                groups: strings(rule, "apiGroups"),
                versions: strings(rule, "apiVersions"),
                resources: strings(rule, "resources"),
                scope: rule.str_at(&["scope"]).to_owned(),
            })
            .collect();
        let seconds = webhook.int_at(&["timeoutSeconds"]).unwrap_or(10).clamp(1, 30);
        Ok(Self {
            name: webhook.str_at(&["name"]).to_owned(),
            target,
            ca_bundle,
            rules,
            namespace_selector: selector("namespaceSelector")?,
            object_selector: selector("objectSelector")?,
            exact: webhook.str_at(&["matchPolicy"]) == "Exact",
            timeout: Duration::from_secs(seconds.unsigned_abs()),
            failure_policy: if webhook.str_at(&["failurePolicy"]) == "Ignore" {
                FailurePolicy::Ignore
            } else {
                FailurePolicy::Fail
            },
            reinvoke: webhook.str_at(&["reinvocationPolicy"]) == "IfNeeded",
            side_effects: webhook.str_at(&["sideEffects"]).to_owned(),
            review_versions: strings(webhook, "admissionReviewVersions"),
        })
    }

    /// Whether it may be asked about a dry run.
    pub(super) fn allows_dry_run(&self) -> bool {
        matches!(self.side_effects.as_str(), "None" | "NoneOnDryRun")
    }

    /// The first version of AdmissionReview that both sides know.
    pub(super) fn review_version(&self) -> Option<&str> {
        self.review_versions
            .iter()
            .map(String::as_str)
            .find(|version| matches!(*version, "v1" | "v1beta1"))
    }

    /// The version of the resource in which the webhook wants the object; `None` when it does not want to be asked.
    pub(super) fn wants<'a>(
        &self,
        api: &Api,
        request: &AdmissionRequest<'a>,
        object: Option<&Value>,
    ) -> Option<&'a str> {
        let resource = request.resource;
        let version = self.matching_version(request.operation, resource, request.subresource)?;
        if !self.namespace_selector.is_everything() {
            let labels = if resource.storage == "namespaces" {
                object.or(request.old)?.labels().cloned()
            } else if resource.namespaced {
                api.store()
                    .get("namespaces", "", request.namespace)
                    .and_then(|namespace| namespace.labels().cloned())
            } else {
                None
            };
            let applies = resource.namespaced || resource.storage == "namespaces";
            if applies && !self.namespace_selector.matches(labels.as_ref()) {
                return None;
            }
        }
        if !self.object_selector.is_everything() {
            let matches = [object, request.old]
                .iter()
                .flatten()
                .any(|object| self.object_selector.matches(object.labels()));
            if !matches {
                return None;
            }
        }
        Some(version)
    }

    fn matching_version<'a>(
        &self,
        operation: Operation,
        resource: &'a Resource,
        subresource: &str,
    ) -> Option<&'a str> {
        let any = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        let candidates = if self.exact {
            resource.versions.get(..1)?
        } else {
            &resource.versions[..]
        };
        self.rules.iter().find_map(|rule| {
            let scope = match rule.scope.as_str() {
                "Namespaced" => resource.namespaced,
                "Cluster" => !resource.namespaced,
                _ => true,
            };
            let names = rule.resources.iter().any(|pattern| {
                let (name, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
                (name == "*" || name == resource.plural) && (sub == "*" || sub == subresource)
            });
            if !scope
                || !names
                || !any(&rule.operations, operation.as_str())
                || !any(&rule.groups, &resource.group)
            {
                return None;
            }
            candidates
                .iter()
                .find(|version| any(&rule.versions, version))
                .map(String::as_str)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn api() -> std::sync::Arc<Api> {
        Api::new("10.100.0.0/16").unwrap()
    }

    fn asks(webhook: Value, storage: &str, subresource: &str, object: &Value) -> bool {
        let api = api();
        let mut full = json!({ "name": "w", "clientConfig": { "url": "https://127.0.0.1/" } });
        for (key, value) in webhook.as_object().unwrap() {
            full[key] = value.clone();
        }
        let hook = Hook::parse(&full).unwrap();
        let resource = api.resource(storage).unwrap();
        let caller = crate::api::Caller::admin();
        let request = AdmissionRequest {
            operation: Operation::Create,
            resource: &resource,
            subresource,
            namespace: "n",
            name: "",
            object: None,
            old: None,
            caller: &caller,
            dry_run: false,
            options: Value::Null,
        };
        hook.wants(&api, &request, Some(object)).is_some()
    }

    fn rule(resources: &[&str]) -> Value {
        json!([{ "operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["v1"], "resources": resources }])
    }

    #[test]
    fn subresources_are_asked_about_only_when_they_are_named() {
        let object = json!({});
        for (patterns, subresource, expected) in [
            (vec!["pods"], "", true),
            (vec!["pods"], "status", false),
            (vec!["pods/*"], "status", true),
            (vec!["pods/*"], "", true),
            (vec!["*"], "", true),
            (vec!["*"], "status", false),
            (vec!["*/*"], "status", true),
            (vec!["*/scale"], "status", false),
            (vec!["services"], "", false),
        ] {
            let asked = asks(json!({ "rules": rule(&patterns) }), "pods", subresource, &object);
            // `pods/*` covers the object itself too, since the empty subresource matches `*`.
            assert_eq!(asked, expected, "{patterns:?} {subresource:?}");
        }
    }

    #[test]
    fn an_object_selector_decides_by_labels() {
        let webhook = json!({
            "rules": rule(&["pods"]),
            "objectSelector": { "matchExpressions": [{
                "key": "eks.amazonaws.com/skip-pod-identity-webhook", "operator": "DoesNotExist",
            }] },
        });
        assert!(asks(webhook.clone(), "pods", "", &json!({ "metadata": {} })));
        let skipped =
            json!({ "metadata": { "labels": { "eks.amazonaws.com/skip-pod-identity-webhook": "" } } });
        assert!(!asks(webhook, "pods", "", &skipped));
    }

    #[test]
    fn scope_tells_cluster_from_namespace() {
        let mut rules = rule(&["*"]);
        rules[0]["scope"] = "Cluster".into();
        assert!(!asks(json!({ "rules": rules }), "pods", "", &json!({})));
        assert!(asks(json!({ "rules": rules }), "nodes", "", &json!({})));
    }

    #[test]
    fn a_service_is_called_by_its_name_in_the_cluster() {
        let hook = Hook::parse(&json!({
            "name": "w", "clientConfig": { "service": { "namespace": "a", "name": "b", "path": "/mutate" } },
        }))
        .unwrap();
        assert_eq!(hook.target.url(), "https://b.a.svc:443/mutate");
        assert_eq!(hook.timeout, Duration::from_secs(10));
        assert_eq!(hook.failure_policy, FailurePolicy::Fail);
    }
}
