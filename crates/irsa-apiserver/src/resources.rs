//! Which resources the API has: the built-in ones, and those that CustomResourceDefinitions add.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use crate::object::ObjectExt;

/// One resource: how it is addressed, named, and what can be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Served versions, the preferred one first. Objects are stored in the first.
    pub versions: Vec<String>,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Kind of the objects.
    pub kind: String,
    /// Kind of a list of them.
    pub list_kind: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Short names of kubectl.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Subresources by name.
    pub subresources: Vec<String>,
    /// Name in the [`crate::store::Store`]: `pods`, `deployments.apps`.
    pub storage: String,
    /// Whether objects can be read, listed and watched (false for reviews, which are only created).
    pub stored: bool,
    /// The definition, when a CustomResourceDefinition made it.
    pub custom: Option<Arc<Value>>,
}

impl Resource {
    /// `apiVersion` of objects in the preferred version.
    #[must_use]
    pub fn api_version(&self) -> String {
        api_version(&self.group, self.version())
    }

    /// The preferred version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.versions.first().map_or("v1", String::as_str)
    }

    /// `plural.group` for messages (as in `deployments.apps "x" not found`).
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether there is this subresource.
    #[must_use]
    pub fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|one| one == subresource)
    }
}

/// `group/version`, or the version alone for the core group.
#[must_use]
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// group, versions, plural, singular, kind, namespaced, short names, categories, subresources
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static str,
    &'static str,
    &'static str,
);

const ROWS: &[Row] = &[
    ("", "v1", "bindings", "binding", "Binding", true, "", "", ""),
    (
        "",
        "v1",
        "configmaps",
        "configmap",
        "ConfigMap",
        true,
        "cm",
        "",
        "",
    ),
    (
        "",
        "v1",
        "endpoints",
        "endpoints",
        "Endpoints",
        true,
        "ep",
        "",
        "",
    ),
    ("", "v1", "events", "event", "Event", true, "ev", "", ""),
    (
        "",
        "v1",
        "limitranges",
        "limitrange",
        "LimitRange",
        true,
        "limits",
        "",
        "",
    ),
    (
        "",
        "v1",
        "namespaces",
        "namespace",
        "Namespace",
        false,
        "ns",
        "",
        "finalize status",
    ),
    ("", "v1", "nodes", "node", "Node", false, "no", "", "status"),
    (
        "",
        "v1",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        "PersistentVolumeClaim",
        true,
        "pvc",
        "",
        "status",
    ),
    (
        "",
        "v1",
        "persistentvolumes",
        "persistentvolume",
        "PersistentVolume",
        false,
        "pv",
        "",
        "status",
    ),
    (
        "",
        "v1",
        "pods",
        "pod",
        "Pod",
        true,
        "po",
        "all",
        "attach binding ephemeralcontainers eviction exec log portforward status",
    ),
    (
        "",
        "v1",
        "podtemplates",
        "podtemplate",
        "PodTemplate",
        true,
        "",
        "",
        "",
    ),
    (
        "",
        "v1",
        "replicationcontrollers",
        "replicationcontroller",
        "ReplicationController",
        true,
        "rc",
        "all",
        "scale status",
    ),
    (
        "",
        "v1",
        "resourcequotas",
        "resourcequota",
        "ResourceQuota",
        true,
        "quota",
        "",
        "status",
    ),
    ("", "v1", "secrets", "secret", "Secret", true, "", "", ""),
    (
        "",
        "v1",
        "serviceaccounts",
        "serviceaccount",
        "ServiceAccount",
        true,
        "sa",
        "",
        "token",
    ),
    (
        "", "v1", "services", "service", "Service", true, "svc", "all", "status",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
        "mutatingwebhookconfiguration",
        "MutatingWebhookConfiguration",
        false,
        "",
        "api-extensions",
        "",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "validatingwebhookconfiguration",
        "ValidatingWebhookConfiguration",
        false,
        "",
        "api-extensions",
        "",
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "customresourcedefinition",
        "CustomResourceDefinition",
        false,
        "crd crds",
        "api-extensions",
        "status",
    ),
    (
        "apps",
        "v1",
        "controllerrevisions",
        "controllerrevision",
        "ControllerRevision",
        true,
        "",
        "",
        "",
    ),
    (
        "apps",
        "v1",
        "daemonsets",
        "daemonset",
        "DaemonSet",
        true,
        "ds",
        "all",
        "status",
    ),
    (
        "apps",
        "v1",
        "deployments",
        "deployment",
        "Deployment",
        true,
        "deploy",
        "all",
        "scale status",
    ),
    (
        "apps",
        "v1",
        "replicasets",
        "replicaset",
        "ReplicaSet",
        true,
        "rs",
        "all",
        "scale status",
    ),
    (
        "apps",
        "v1",
        "statefulsets",
        "statefulset",
        "StatefulSet",
        true,
        "sts",
        "all",
        "scale status",
    ),
    (
        "authentication.k8s.io",
        "v1",
        "selfsubjectreviews",
        "selfsubjectreview",
        "SelfSubjectReview",
        false,
        "",
        "",
        "",
    ),
    (
        "authentication.k8s.io",
        "v1",
        "tokenreviews",
        "tokenreview",
        "TokenReview",
        false,
        "",
        "",
        "",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        "LocalSubjectAccessReview",
        true,
        "",
        "",
        "",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
        false,
        "",
        "",
        "",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        "SelfSubjectRulesReview",
        false,
        "",
        "",
        "",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "subjectaccessreviews",
        "subjectaccessreview",
        "SubjectAccessReview",
        false,
        "",
        "",
        "",
    ),
    (
        "autoscaling",
        "v2 v1",
        "horizontalpodautoscalers",
        "horizontalpodautoscaler",
        "HorizontalPodAutoscaler",
        true,
        "hpa",
        "all",
        "status",
    ),
    (
        "batch", "v1", "cronjobs", "cronjob", "CronJob", true, "cj", "all", "status",
    ),
    ("batch", "v1", "jobs", "job", "Job", true, "", "all", "status"),
    (
        "coordination.k8s.io",
        "v1",
        "leases",
        "lease",
        "Lease",
        true,
        "",
        "",
        "",
    ),
    (
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        "endpointslice",
        "EndpointSlice",
        true,
        "",
        "",
        "",
    ),
    (
        "events.k8s.io",
        "v1",
        "events",
        "event",
        "Event",
        true,
        "ev",
        "",
        "",
    ),
    (
        "networking.k8s.io",
        "v1",
        "ingressclasses",
        "ingressclass",
        "IngressClass",
        false,
        "",
        "",
        "",
    ),
    (
        "networking.k8s.io",
        "v1",
        "ingresses",
        "ingress",
        "Ingress",
        true,
        "ing",
        "",
        "status",
    ),
    (
        "networking.k8s.io",
        "v1",
        "networkpolicies",
        "networkpolicy",
        "NetworkPolicy",
        true,
        "netpol",
        "",
        "",
    ),
    (
        "policy",
        "v1",
        "poddisruptionbudgets",
        "poddisruptionbudget",
        "PodDisruptionBudget",
        true,
        "pdb",
        "",
        "status",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "clusterrolebinding",
        "ClusterRoleBinding",
        false,
        "",
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "clusterroles",
        "clusterrole",
        "ClusterRole",
        false,
        "",
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "rolebindings",
        "rolebinding",
        "RoleBinding",
        true,
        "",
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "roles",
        "role",
        "Role",
        true,
        "",
        "",
        "",
    ),
    (
        "scheduling.k8s.io",
        "v1",
        "priorityclasses",
        "priorityclass",
        "PriorityClass",
        false,
        "pc",
        "",
        "",
    ),
    (
        "storage.k8s.io",
        "v1",
        "csidrivers",
        "csidriver",
        "CSIDriver",
        false,
        "",
        "",
        "",
    ),
    (
        "storage.k8s.io",
        "v1",
        "csinodes",
        "csinode",
        "CSINode",
        false,
        "",
        "",
        "",
    ),
    (
        "storage.k8s.io",
        "v1",
        "storageclasses",
        "storageclass",
        "StorageClass",
        false,
        "sc",
        "",
        "",
    ),
    (
        "storage.k8s.io",
        "v1",
        "volumeattachments",
        "volumeattachment",
        "VolumeAttachment",
        false,
        "",
        "",
        "status",
    ),
];

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn builtin() -> Vec<Arc<Resource>> {
    ROWS.iter()
        .map(
            |&(group, versions, plural, singular, kind, namespaced, short, categories, subresources)| {
                // Both API groups of events show the same objects, stored in the core form.
                let storage = match (group, plural) {
                    ("" | "events.k8s.io", plural) => plural.to_owned(),
                    (group, plural) => format!("{plural}.{group}"),
                };
                let stored = !matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
                    && plural != "bindings";
                Arc::new(Resource {
                    group: group.into(),
                    versions: words(versions),
                    plural: plural.into(),
                    singular: singular.into(),
                    kind: kind.into(),
                    list_kind: format!("{kind}List"),
                    namespaced,
                    short_names: words(short),
                    categories: words(categories),
                    subresources: words(subresources),
                    storage,
                    stored,
                    custom: None,
                })
            },
        )
        .collect()
}

/// All resources that are served now.
#[derive(Debug)]
pub struct Registry {
    builtin: Vec<Arc<Resource>>,
    custom: RwLock<BTreeMap<String, Arc<Resource>>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            builtin: builtin(),
            custom: RwLock::default(),
        }
    }
}

impl Registry {
    /// Every resource, the built-in ones first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Resource>> {
        self.builtin
            .iter()
            .cloned()
            .chain(self.custom.read().values().cloned())
            .collect()
    }

    /// The resource of a path.
    #[must_use]
    pub fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let matches = |resource: &Resource| {
            resource.plural == plural
                && resource.group == group
                && resource.versions.iter().any(|served| served == version)
        };
        if let Some(found) = self.builtin.iter().find(|resource| matches(resource)) {
            return Some(Arc::clone(found));
        }
        self.custom
            .read()
            .values()
            .find(|resource| matches(resource))
            .cloned()
    }

    /// The resource of a name in the store, such as `deployments.apps`.
    #[must_use]
    pub fn by_storage(&self, storage: &str) -> Option<Arc<Resource>> {
        if let Some(found) = self.builtin.iter().find(|resource| resource.storage == storage) {
            return Some(Arc::clone(found));
        }
        self.custom.read().get(storage).cloned()
    }

    /// The resource whose objects have this `apiVersion` and `kind`.
    #[must_use]
    pub fn by_kind(&self, wanted: &str, kind: &str) -> Option<Arc<Resource>> {
        let matches = |resource: &Resource| {
            resource.kind == kind
                && resource
                    .versions
                    .iter()
                    .any(|version| api_version(&resource.group, version) == wanted)
        };
        if let Some(found) = self.builtin.iter().find(|resource| matches(resource)) {
            return Some(Arc::clone(found));
        }
        self.custom
            .read()
            .values()
            .find(|resource| matches(resource))
            .cloned()
    }

    /// The groups that are served, each with its versions, the preferred one first. The core group is not among them.
    #[must_use]
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in self.all() {
            if resource.group.is_empty() {
                continue;
            }
            let index = groups
                .iter()
                .position(|(group, _)| *group == resource.group)
                .unwrap_or_else(|| {
                    groups.push((resource.group.clone(), Vec::new()));
                    groups.len() - 1
                });
            for version in &resource.versions {
                if !groups[index].1.contains(version) {
                    groups[index].1.push(version.clone());
                }
            }
        }
        groups
    }

    /// Serves what a CustomResourceDefinition describes, from now on.
    pub fn define(&self, definition: &Value) {
        let spec = |path: &[&str]| {
            let mut full = vec!["spec"];
            full.extend_from_slice(path);
            definition.str_at(&full).to_owned()
        };
        let group = spec(&["group"]);
        let plural = spec(&["names", "plural"]);
        let kind = spec(&["names", "kind"]);
        let strings = |path: &[&str]| {
            definition
                .list_at(path)
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let served = definition.list_at(&["spec", "versions"]);
        let mut versions: Vec<(bool, String)> = served
            .iter()
            .filter(|version| version.get("served") == Some(&Value::Bool(true)))
            .map(|version| {
                (
                    version.get("storage") == Some(&Value::Bool(true)),
                    version.str_at(&["name"]).to_owned(),
                )
            })
            .collect();
        versions.sort_by_key(|(storage, _)| !storage);
        let mut subresources = Vec::new();
        for name in ["scale", "status"] {
            if served
                .iter()
                .any(|version| version.at(&["subresources", name]).is_some())
            {
                subresources.push(name.to_owned());
            }
        }
        let storage = format!("{plural}.{group}");
        let or = |value: String, other: String| if value.is_empty() { other } else { value };
        let resource = Resource {
            singular: or(spec(&["names", "singular"]), kind.to_lowercase()),
            list_kind: or(spec(&["names", "listKind"]), format!("{kind}List")),
            namespaced: spec(&["scope"]) == "Namespaced",
            short_names: strings(&["spec", "names", "shortNames"]),
            categories: strings(&["spec", "names", "categories"]),
            versions: versions.into_iter().map(|(_, name)| name).collect(),
            subresources,
            storage: storage.clone(),
            stored: true,
            custom: Some(Arc::new(definition.clone())),
            group,
            plural,
            kind,
        };
        self.custom.write().insert(storage, Arc::new(resource));
    }

    /// No longer serves the resource of a deleted CustomResourceDefinition (`plural.group`).
    pub fn undefine(&self, storage: &str) {
        self.custom.write().remove(storage);
    }
}
