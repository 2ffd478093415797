//! Authorization as the `RBAC` mode of kube-apiserver decides it: by Roles, ClusterRoles and their bindings.
//!
//! Pure but for reading the store: who may do what follows from the objects that are in it.

use serde_json::{Map, Value, json};

use crate::api::Caller;
use crate::object::{Object, ObjectExt};
use crate::selectors::LabelSelector;
use crate::status::Status;
use crate::store::Store;

const ROLES: &str = "roles.rbac.authorization.k8s.io";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Action {
    /// `get`, `list`, …; for paths outside the API the HTTP method in lower case.
    pub(crate) verb: String,
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// `pods`, or with a subresource `pods/log`; empty for paths outside the API.
    pub(crate) resource: String,
    /// Empty for all namespaces and cluster-scoped resources.
    pub(crate) namespace: String,
    /// Empty when the action is not about one object.
    pub(crate) name: String,
    /// The path, for what is not a resource.
    pub(crate) path: String,
}

impl Action {
    /// What a `ResourceAttributes` or `NonResourceAttributes` asks about.
    pub(crate) fn of_review(spec: &Value) -> Self {
        let text = |path: &[&str]| spec.str_at(path).to_owned();
        let resource = |key: &str| spec.str_at(&["resourceAttributes", key]);
        if spec.get("resourceAttributes").is_none_or(Value::is_null) {
            return Self {
                verb: text(&["nonResourceAttributes", "verb"]),
                path: text(&["nonResourceAttributes", "path"]),
                ..Self::default()
            };
        }
        let subresource = resource("subresource");
        let slash = if subresource.is_empty() { "" } else { "/" };
        Self {
            verb: resource("verb").to_owned(),
            group: resource("group").to_owned(),
            resource: format!("{}{slash}{subresource}", resource("resource")),
            namespace: resource("namespace").to_owned(),
            name: resource("name").to_owned(),
            path: String::new(),
        }
    }

    /// The refusal, in Kubernetes' words.
    pub(crate) fn refusal(&self, caller: &Caller) -> Status {
        let who = format!("User {:?} cannot {}", caller.username, self.verb);
        if self.resource.is_empty() {
            return Status::forbidden("", "", &format!("{who} path {:?}", self.path));
        }
        let place = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", self.namespace)
        };
        let (plural, _) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let dot = if self.group.is_empty() { "" } else { "." };
        Status::forbidden(
            &format!("{plural}{dot}{}", self.group),
            &self.name,
            &format!(
                "{who} resource {:?} in API group {:?} {place}",
                self.resource, self.group
            ),
        )
    }

    fn is_allowed_by(&self, rule: &Value) -> bool {
        let lists =
            |key: &str, wanted: &str| rule.list_at(&[key]).iter().any(|one| one == wanted || one == "*");
        if !lists("verbs", &self.verb) {
            return false;
        }
        if self.resource.is_empty() {
            return rule
                .list_at(&["nonResourceURLs"])
                .iter()
                .filter_map(Value::as_str)
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => self.path.starts_with(prefix),
                    None => self.path == pattern,
                });
        }
        let of_any = self.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        let names = rule.list_at(&["resourceNames"]);
        lists("apiGroups", &self.group)
            && (lists("resources", &self.resource)
                || of_any.is_some_and(|of_any| lists("resources", &of_any)))
            && (names.is_empty() || names.iter().any(|name| *name == self.name.as_str()))
    }
}

/// Why an action is allowed; `None` when it is not.
pub(crate) fn allows(store: &Store, caller: &Caller, action: &Action) -> Option<String> {
    if caller.groups.iter().any(|group| group == "system:masters") {
        return Some(String::new());
    }
    grants(store, caller, &action.namespace)
        .find(|grant| grant.rules.iter().any(|rule| action.is_allowed_by(rule)))
        .map(|grant| grant.reason)
}

/// The rules that apply to somebody in a namespace, as `SelfSubjectRulesReview` lists them.
pub(crate) fn rules(store: &Store, caller: &Caller, namespace: &str) -> Value {
    let everything =
        json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "nonResourceURLs": ["*"] });
    let rules: Vec<Value> = if caller.groups.iter().any(|group| group == "system:masters") {
        vec![everything]
    } else {
        grants(store, caller, namespace)
            .flat_map(|grant| grant.rules)
            .collect()
    };
    let with = |present: &str, keys: &[&str]| -> Vec<Value> {
        let rules = rules.iter().filter(|rule| rule.get(present).is_some());
        rules
            .map(|rule| {
                let parts = keys
                    .iter()
                    .filter_map(|key| Some(((*key).to_owned(), rule.get(key)?.clone())));
                Value::Object(parts.collect::<Map<_, _>>())
            })
            .collect()
    };
    json!({
        "resourceRules": with("resources", &["verbs", "apiGroups", "resources", "resourceNames"]),
        "nonResourceRules": with("nonResourceURLs", &["verbs", "nonResourceURLs"]),
        "incomplete": false,
    })
}

struct Grant {
    rules: Vec<Value>,
    reason: String,
}

/// What all bindings grant to somebody: those of the cluster, and those of the namespace when there is one.
fn grants<'a>(store: &'a Store, caller: &'a Caller, namespace: &'a str) -> impl Iterator<Item = Grant> + 'a {
    let cluster = store.list(CLUSTER_BINDINGS, None).items;
    let own = if namespace.is_empty() {
        Vec::new()
    } else {
        store.list(BINDINGS, Some(namespace)).items
    };
    cluster.into_iter().chain(own).filter_map(move |binding| {
        let subject = binding
            .list_at(&["subjects"])
            .iter()
            .find(|subject| is(caller, subject, &binding))?;
        let (kind, name) = (
            binding.str_at(&["roleRef", "kind"]),
            binding.str_at(&["roleRef", "name"]),
        );
        let role = match kind {
            "ClusterRole" => store.get(CLUSTER_ROLES, "", name)?,
            "Role" => store.get(ROLES, binding.namespace(), name)?,
            _ => return None,
        };
        let whole = match binding.namespace() {
            "" => binding.name().to_owned(),
            namespace => format!("{}/{namespace}", binding.name()),
        };
        let reason = format!(
            "RBAC: allowed by {} {whole:?} of {kind} {name:?} to {} {:?}",
            binding.kind(),
            subject.kind(),
            subject_name(subject, &binding)
        );
        let rules = rules_of(store, &role);
        Some(Grant { rules, reason })
    })
}

/// A service account is named with its namespace, which may be left out where the binding has one.
fn subject_name(subject: &Value, binding: &Object) -> String {
    let name = subject.str_at(&["name"]);
    match (subject.kind(), subject.str_at(&["namespace"])) {
        ("ServiceAccount", "") => format!("{name}/{}", binding.namespace()),
        ("ServiceAccount", namespace) => format!("{name}/{namespace}"),
        _ => name.to_owned(),
    }
}

fn is(caller: &Caller, subject: &Value, binding: &Object) -> bool {
    let name = subject.str_at(&["name"]);
    match subject.kind() {
        "User" => name == "*" || caller.username == name,
        "Group" => caller.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let namespace = match subject.str_at(&["namespace"]) {
                "" => binding.namespace(),
                namespace => namespace,
            };
            caller.username == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

/// The rules of a role, and of those that it aggregates.
fn rules_of(store: &Store, role: &Object) -> Vec<Value> {
    let mut rules = role.list_at(&["rules"]).to_vec();
    for selector in role.list_at(&["aggregationRule", "clusterRoleSelectors"]) {
        if let Ok(selector) = LabelSelector::from_object(Some(selector)) {
            for part in store.find(CLUSTER_ROLES, None, |part| selector.matches(part.labels())) {
                rules.extend_from_slice(part.list_at(&["rules"]));
            }
        }
    }
    rules
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn account(name: &str) -> Caller {
        Caller {
            username: format!("system:serviceaccount:n:{name}"),
            groups: vec!["system:serviceaccounts".into(), "system:authenticated".into()],
            ..Caller::admin()
        }
    }

    fn action(verb: &str, resource: &str, namespace: &str, name: &str) -> Action {
        Action {
            verb: verb.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Action::default()
        }
    }

    fn store() -> Store {
        let store = Store::new();
        let put = |resource: &str, object: Value| store.create(resource, object).unwrap();
        put(
            CLUSTER_ROLES,
            json!({ "metadata": { "name": "read-pods" }, "rules": [
            { "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/log"] },
        ] }),
        );
        put(
            ROLES,
            json!({ "metadata": { "name": "one-secret", "namespace": "n" }, "rules": [
            { "verbs": ["*"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["tls"] },
        ] }),
        );
        put(
            CLUSTER_ROLES,
            json!({ "metadata": { "name": "paths" }, "rules": [
            { "verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"] },
        ] }),
        );
        let reference = |kind: &str, name: &str| json!({ "kind": kind, "name": name });
        put(
            BINDINGS,
            json!({
                "kind": "RoleBinding", "metadata": { "name": "a", "namespace": "n" },
                "roleRef": reference("ClusterRole", "read-pods"),
                "subjects": [{ "kind": "ServiceAccount", "name": "a", "namespace": "n" }],
            }),
        );
        put(
            BINDINGS,
            json!({
                "kind": "RoleBinding", "metadata": { "name": "b", "namespace": "n" },
                "roleRef": reference("Role", "one-secret"), "subjects": [{ "kind": "ServiceAccount", "name": "a" }],
            }),
        );
        put(
            CLUSTER_BINDINGS,
            json!({
                "kind": "ClusterRoleBinding", "metadata": { "name": "c" },
                "roleRef": reference("ClusterRole", "paths"),
                "subjects": [{ "kind": "Group", "name": "system:serviceaccounts" }],
            }),
        );
        store
    }

    #[test]
    fn a_role_binding_grants_in_its_namespace_only() {
        let store = store();
        let may = |action: Action| allows(&store, &account("a"), &action).is_some();
        assert!(may(action("list", "pods", "n", "")));
        assert!(may(action("get", "pods/log", "n", "p")));
        assert!(!may(action("get", "pods/exec", "n", "p")));
        assert!(!may(action("delete", "pods", "n", "p")));
        assert!(!may(action("list", "pods", "other", "")));
        assert!(!may(action("list", "pods", "", "")), "all namespaces");
        assert!(allows(&store, &account("b"), &action("list", "pods", "n", "")).is_none());
        assert!(allows(&store, &Caller::admin(), &action("list", "pods", "other", "")).is_some());
    }

    #[test]
    fn resource_names_restrict_a_rule_to_these_objects() {
        let store = store();
        let may =
            |name: &str| allows(&store, &account("a"), &action("update", "secrets", "n", name)).is_some();
        assert!(may("tls"));
        assert!(!may("other"));
        assert!(!may(""));
    }

    #[test]
    fn paths_outside_the_api_match_exactly_or_by_prefix() {
        let store = store();
        let may = |path: &str| {
            let action = Action {
                verb: "get".into(),
                path: path.into(),
                ..Action::default()
            };
            allows(&store, &account("b"), &action).is_some()
        };
        assert!(may("/metrics") && may("/logs/x"));
        assert!(!may("/metrics/x") && !may("/healthz"));
    }

    #[test]
    fn a_refusal_names_user_verb_resource_group_and_namespace() {
        let mut asked = action("get", "deployments", "n", "d");
        asked.group = "apps".into();
        assert_eq!(
            asked.refusal(&account("a")).message,
            "deployments.apps \"d\" is forbidden: User \"system:serviceaccount:n:a\" cannot get resource \"deployments\" \
             in API group \"apps\" in the namespace \"n\""
        );
        let list = action("list", "nodes", "", "").refusal(&account("a")).message;
        assert!(
            list.ends_with("cannot list resource \"nodes\" in API group \"\" at the cluster scope"),
            "{list}"
        );
    }

    #[test]
    fn an_aggregating_role_has_the_rules_of_those_it_selects() {
        let store = store();
        let labels = json!({ "aggregate": "yes" });
        let create = |resource: &str, object: Value| store.create(resource, object).unwrap();
        create(
            CLUSTER_ROLES,
            json!({ "metadata": { "name": "part", "labels": labels }, "rules": [
            { "verbs": ["get"], "apiGroups": [""], "resources": ["nodes"] },
        ] }),
        );
        create(
            CLUSTER_ROLES,
            json!({
                "metadata": { "name": "whole" }, "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": labels }] },
            }),
        );
        create(
            CLUSTER_BINDINGS,
            json!({
                "kind": "ClusterRoleBinding", "metadata": { "name": "d" },
                "roleRef": { "kind": "ClusterRole", "name": "whole" }, "subjects": [{ "kind": "User", "name": "u" }],
            }),
        );
        let user = Caller {
            username: "u".into(),
            groups: Vec::new(),
            ..Caller::admin()
        };
        let reason = allows(&store, &user, &action("get", "nodes", "", "x"));
        assert_eq!(
            reason.as_deref(),
            Some("RBAC: allowed by ClusterRoleBinding \"d\" of ClusterRole \"whole\" to User \"u\"")
        );
    }
}
