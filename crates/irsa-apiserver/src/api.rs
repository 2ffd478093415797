//! The one path that every read and write takes, whether it comes over HTTP or from a controller in this process:
//! defaulting, admission, validation, field management, graceful deletion and finalizers.
//!
//! A controller holds an `Arc<Api>` and a [`Caller`]:
//!
//! ```ignore
//! let me = Caller::controller("replicaset-controller");
//! let mut watch = api.store().watch("replicasets.apps", api.store().resource_version());
//! api.create(&me, "pods", "default", pod, &WriteOptions::default()).await?;             // admission webhooks run
//! api.modify(&me, "pods", "default", "p", "status", |pod| { pod["status"]["phase"] = "Running".into(); Ok(()) }).await?;
//! api.delete(&me, "pods", "default", "p", &DeleteOptions::grace(0)).await?;             // the agent's last word
//! ```
//!
//! Reads are [`Api::get`], [`Api::store`]`.list/find/watch`. Names of resources are those of [`crate::store`].

mod delete;
mod eviction;
mod prepare;
mod scale;
mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::addresses::Addresses;
use crate::object::{Object, ObjectExt, as_object_mut, metadata_mut};
use crate::resources::{Registry, Resource};
use crate::status::{Result, Status};
use crate::store::Store;
use crate::version::Version;

pub use crate::patch::PatchKind;
pub use delete::{DeleteOptions, Deleted, Propagation};
pub use scale::scale_of;
pub use write::{FieldValidation, Place, WriteOptions, Written};

/// A future that borrows from its arguments.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who makes a request, as authentication found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `system:serviceaccount:NAMESPACE:NAME`, `kubernetes-admin`, …
    pub username: String,
    /// The uid of a service account; empty for others.
    pub uid: String,
    /// Groups, such as `system:masters`.
    pub groups: Vec<String>,
    /// Extra facts, such as the pod that a token is bound to.
    pub extra: Vec<(String, Vec<String>)>,
    /// Field manager when the request names none: the first part of its user agent.
    pub manager: String,
}

impl Caller {
    /// The administrator that the kubeconfig names.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            username: "kubernetes-admin".into(),
            uid: String::new(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            extra: Vec::new(),
            manager: "irsa".into(),
        }
    }

    /// A controller of the cluster, acting as its service account in `kube-system`.
    #[must_use]
    pub fn controller(name: &str) -> Self {
        Self {
            username: format!("system:serviceaccount:kube-system:{name}"),
            uid: String::new(),
            groups: vec![
                "system:serviceaccounts".into(),
                "system:serviceaccounts:kube-system".into(),
                "system:authenticated".into(),
            ],
            extra: Vec::new(),
            manager: "kube-controller-manager".into(),
        }
    }

    /// The agent of a node.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self {
            username: format!("system:node:{name}"),
            uid: String::new(),
            groups: vec!["system:nodes".into(), "system:authenticated".into()],
            extra: Vec::new(),
            manager: "kubelet".into(),
        }
    }

    /// `userInfo` as reviews carry it.
    #[must_use]
    pub fn user_info(&self) -> Value {
        let mut info = serde_json::Map::new();
        info.insert("username".into(), self.username.as_str().into());
        if !self.uid.is_empty() {
            info.insert("uid".into(), self.uid.as_str().into());
        }
        info.insert("groups".into(), self.groups.clone().into());
        if !self.extra.is_empty() {
            let extra = self
                .extra
                .iter()
                .map(|(key, values)| (key.clone(), Value::from(values.clone())));
            info.insert("extra".into(), Value::Object(extra.collect()));
        }
        Value::Object(info)
    }
}

/// What is being done, in the words of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A new state of an object.
    Update,
    /// The end of an object.
    Delete,
    /// `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl Operation {
    /// As written in rules and reviews.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A write on its way into the store.
#[derive(Debug)]
pub struct AdmissionRequest<'a> {
    /// What is being done.
    pub operation: Operation,
    /// The resource.
    pub resource: &'a Resource,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name; empty while `generateName` is still to be resolved.
    pub name: &'a str,
    /// The new state, defaulted; `None` for deletions.
    pub object: Option<Value>,
    /// The present state, for updates and deletions.
    pub old: Option<&'a Value>,
    /// Who asks.
    pub caller: &'a Caller,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The options of the request (`CreateOptions`, …) as JSON.
    pub options: Value,
}

/// What admission makes of a write.
#[derive(Debug, Default)]
pub struct Admitted {
    /// The state to store; the request's `object`, changed or not.
    pub object: Option<Value>,
    /// `Warning` headers for the client.
    pub warnings: Vec<String>,
}

/// The admission chain: built-in plugins (ServiceAccount, Priority, …) and webhooks.
///
/// `admit` may change the object. It runs after defaulting; defaults and validation run (again) on its result, and
/// only then `validate`, which may only refuse. Both get the [`Api`] for reads.
pub trait Admission: Send + Sync {
    /// The mutating phase.
    fn admit<'a>(
        &'a self,
        api: &'a Arc<Api>,
        request: AdmissionRequest<'a>,
    ) -> BoxFuture<'a, Result<Admitted>>;

    /// The validating phase; returns warnings.
    fn validate<'a>(
        &'a self,
        api: &'a Arc<Api>,
        request: &'a AdmissionRequest<'a>,
    ) -> BoxFuture<'a, Result<Vec<String>>> {
        let _ = (api, request);
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// The API of the cluster without HTTP.
pub struct Api {
    store: Arc<Store>,
    registry: Arc<Registry>,
    admission: OnceLock<Arc<dyn Admission>>,
    version: OnceLock<Version>,
    services: Addresses,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// An API over an empty store, without admission until [`Api::set_admission`]. Service addresses are taken
    /// from `service_network`, such as `10.100.0.0/16`.
    ///
    /// # Errors
    /// The network is not an IPv4 network of at most 28 bits of prefix.
    pub fn new(service_network: &str) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            store: Arc::new(Store::new()),
            registry: Arc::default(),
            admission: OnceLock::new(),
            version: OnceLock::new(),
            services: Addresses::parse("service", service_network)?,
        }))
    }

    /// The objects.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The resources that are served.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Sets the admission chain, once. Later calls change nothing.
    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        let _ = self.admission.set(admission);
    }

    /// Sets the version that the cluster claims to have, once.
    pub(crate) fn set_version(&self, version: Version) {
        let _ = self.version.set(version);
    }

    /// Gives a pod that has a node the region and zone of that node, as the PodTopologyLabels plugin does since 1.35.
    pub(crate) fn add_topology_labels(&self, pod: &mut Value) {
        if !self
            .version
            .get()
            .is_some_and(|version| version.is_at_least(1, 35))
        {
            return;
        }
        let Some(node) = self.store.get("nodes", "", pod.str_at(&["spec", "nodeName"])) else {
            return;
        };
        for key in ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"] {
            if let Some(value) = node.label(key) {
                let labels = metadata_mut(pod).entry("labels").or_insert_with(|| json!({}));
                as_object_mut(labels).insert(key.to_owned(), value.into());
            }
        }
    }

    /// The resource of a storage name.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn resource(&self, storage: &str) -> Result<Arc<Resource>> {
        self.registry.by_storage(storage).ok_or_else(Status::no_such_path)
    }

    /// One object.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Object> {
        self.store
            .get(resource, namespace, name)
            .ok_or_else(|| Status::not_found(resource, name))
    }

    /// The address of the service `kubernetes`.
    #[must_use]
    pub fn kubernetes_address(&self) -> String {
        self.services.first()
    }
}
