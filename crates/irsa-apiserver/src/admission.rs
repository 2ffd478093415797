//! Admission: the built-in plugins, then MutatingWebhookConfigurations, and at the end ValidatingWebhookConfigurations,
//! called as kube-apiserver calls them.

mod client;
mod hook;
mod plugins;
mod review;
pub(crate) mod serviceaccount;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use self::client::{HookClient, Resolver};
use self::hook::{FailurePolicy, Hook};
use self::review::Verdict;
use crate::api::{Admission, AdmissionRequest, Admitted, Api, BoxFuture};
use crate::object::{Object, ObjectExt};
use crate::runtime::Containers;
use crate::status::{Result, Status};

const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

/// A webhook that can be called, or why it cannot.
#[derive(Debug)]
struct Ready {
    hook: Hook,
    client: std::result::Result<HookClient, String>,
}

type Compiled = Arc<Vec<Arc<Ready>>>;

/// The admission chain of the cluster.
pub(crate) struct Chain {
    resolver: Resolver,
    // By uid of the configuration, with the version it was read at.
    compiled: Mutex<HashMap<String, (u64, Compiled)>>,
}

/// How asking one webhook ended.
enum Asked {
    Answer(Verdict),
    /// It could not be asked, and that does not matter.
    Ignored,
}

impl Chain {
    pub(crate) fn new(api: Weak<Api>, containers: Arc<Containers>) -> Self {
        Self {
            resolver: Resolver { api, containers },
            compiled: Mutex::default(),
        }
    }

    /// The webhooks of all configurations of a kind, in the order in which they are asked: by configuration's name.
    fn hooks(&self, api: &Api, resource: &str) -> Vec<Arc<Ready>> {
        let configurations = api.store().list(resource, None).items;
        if configurations.is_empty() {
            return Vec::new();
        }
        configurations
            .iter()
            .flat_map(|configuration| self.compile(configuration).iter().cloned().collect::<Vec<_>>())
            .collect()
    }

    fn compile(&self, configuration: &Object) -> Compiled {
        let mut compiled = self.compiled.lock();
        if let Some((version, hooks)) = compiled.get(configuration.uid())
            && *version == configuration.version()
        {
            return Arc::clone(hooks);
        }
        let hooks: Compiled = Arc::new(
            configuration
                .list_at(&["webhooks"])
                .iter()
                .filter_map(|webhook| match Hook::parse(webhook) {
                    Ok(hook) => {
                        let client = HookClient::new(&hook, self.resolver.clone());
                        Some(Arc::new(Ready { hook, client }))
                    }
                    Err(why) => {
                        // Validation lets none through; one written past it must not stop the cluster.
                        tracing::warn!(
                            configuration = configuration.name(),
                            why,
                            "a webhook is not called"
                        );
                        None
                    }
                })
                .collect(),
        );
        // Those of configurations that have gone or changed are few; they are dropped with the next one.
        if compiled.len() > 64 {
            compiled.clear();
        }
        compiled.insert(
            configuration.uid().to_owned(),
            (configuration.version(), Arc::clone(&hooks)),
        );
        hooks
    }

    async fn ask(
        &self,
        ready: &Ready,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
        version: &str,
        mutating: bool,
    ) -> Result<Asked> {
        let hook = &ready.hook;
        if request.dry_run && !hook.allows_dry_run() {
            return Err(Status::bad_request(format!(
                "admission webhook {:?} does not support dry run",
                hook.name
            )));
        }
        let outcome = self.exchange(ready, request, object, version, mutating).await;
        match outcome {
            Ok(verdict) => Ok(Asked::Answer(verdict)),
            Err(why) => self.failed(hook, &why),
        }
    }

    fn failed(&self, hook: &Hook, why: &str) -> Result<Asked> {
        let message = format!("failed calling webhook {:?}: {why}", hook.name);
        match hook.failure_policy {
            FailurePolicy::Fail => Err(Status::internal(message)),
            FailurePolicy::Ignore => {
                tracing::warn!("{message}; the request goes on, as failurePolicy asks");
                Ok(Asked::Ignored)
            }
        }
    }

    async fn exchange(
        &self,
        ready: &Ready,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
        version: &str,
        mutating: bool,
    ) -> std::result::Result<Verdict, String> {
        let hook = &ready.hook;
        let review_version = hook.review_version().ok_or(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
        )?;
        let client = ready.client.as_ref().map_err(Clone::clone)?;
        let uid = uuid::Uuid::new_v4().to_string();
        let shown = object.cloned().map(|mut object| {
            if mutating {
                review::without_server_fields(request.operation, &mut object);
            }
            object
        });
        let question = review::question(request, shown.as_ref(), &uid, version, review_version);
        let body = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        let answer = client.post(Bytes::from(body)).await?;
        review::answer(&answer, &hook.name, &uid, review_version, mutating)
    }

    /// One round over webhooks; `only` restricts it to those that are asked again.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of the two rounds, which belongs to one request"
    )]
    async fn round(
        &self,
        api: &Arc<Api>,
        hooks: &[Arc<Ready>],
        request: &AdmissionRequest<'_>,
        object: &mut Value,
        only: Option<&BTreeSet<usize>>,
        asked_before: &mut BTreeSet<usize>,
        again: &mut BTreeSet<usize>,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        for (index, ready) in hooks.iter().enumerate() {
            if only.is_some_and(|only| !only.contains(&index)) {
                continue;
            }
            let hook = &ready.hook;
            let wanted = hook.wants(api, request, (!object.is_null()).then_some(&*object));
            let Some(version) = wanted else { continue };
            let shown = (!object.is_null()).then_some(&*object);
            let verdict = match self.ask(ready, request, shown, version, true).await? {
                Asked::Answer(verdict) => verdict,
                Asked::Ignored => continue,
            };
            warnings.extend(verdict.warnings);
            if let Some(refusal) = verdict.refusal {
                return Err(refusal);
            }
            let changed = match verdict.patch {
                Some(patch) => match self.patch(hook, request, object, &patch, &verdict.patch_type)? {
                    Some(changed) => changed,
                    None => continue,
                },
                None => false,
            };
            if changed {
                again.append(asked_before);
            }
            if hook.reinvoke {
                asked_before.insert(index);
            }
        }
        Ok(())
    }

    /// Applies a webhook's patch; true when it changed something, `None` when the call counts as failed and ignored.
    fn patch(
        &self,
        hook: &Hook,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
        patch: &[u8],
        patch_type: &str,
    ) -> Result<Option<bool>> {
        let operations: json_patch::Patch = serde_json::from_slice(patch)
            .map_err(|error| Status::internal(format!("webhook {:?}: {error}", hook.name)))?;
        if operations.is_empty() {
            return Ok(Some(false));
        }
        if object.is_null() {
            return Err(Status::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            )));
        }
        if patch_type != "JSONPatch" {
            return self
                .failed(hook, &format!("unsupported patch type {patch_type:?}"))
                .map(|_| None);
        }
        let server_owned = object.get("metadata").cloned();
        let mut next = object.clone();
        review::without_server_fields(request.operation, &mut next);
        let before = next.clone();
        json_patch::patch(&mut next, &operations)
            .map_err(|error| Status::internal(format!("webhook {:?}: {error}", hook.name)))?;
        if !next.is_object() || !next.get("metadata").is_some_and(Value::is_object) {
            return Err(Status::internal(format!(
                "webhook {:?}: the patched object is no Kubernetes object",
                hook.name
            )));
        }
        let changed = next != before;
        // What the server has set is put back; webhooks cannot change it.
        if let Some(owned) = server_owned {
            let metadata = crate::object::metadata_mut(&mut next);
            for key in [
                "uid",
                "resourceVersion",
                "generation",
                "managedFields",
                "creationTimestamp",
            ] {
                match owned.get(key) {
                    Some(value) => metadata.insert(key.to_owned(), value.clone()),
                    None => metadata.shift_remove(key),
                };
            }
        }
        crate::defaults::apply(request.resource, &mut next);
        *object = next;
        Ok(Some(changed))
    }

    async fn mutate(&self, api: &Arc<Api>, request: AdmissionRequest<'_>) -> Result<Admitted> {
        let mut request = request;
        plugins::refuse_attachment(&request)?;
        let mut object = request.object.take().unwrap_or(Value::Null);
        let mut warnings = Vec::new();
        let operation = request.operation;
        if !object.is_null() {
            plugins::run(api, operation, request.resource, request.subresource, &mut object).await?;
        }
        // Configurations of webhooks are never asked about, so that a broken one can be repaired.
        let hooks = if matches!(request.resource.storage.as_str(), MUTATING | VALIDATING)
            || !request.resource.stored
        {
            Vec::new()
        } else {
            self.hooks(api, MUTATING)
        };
        if !hooks.is_empty() {
            let (mut asked, mut again) = (BTreeSet::new(), BTreeSet::new());
            let original = object.clone();
            self.round(
                api,
                &hooks,
                &request,
                &mut object,
                None,
                &mut asked,
                &mut again,
                &mut warnings,
            )
            .await?;
            if object != original && !object.is_null() {
                let output = object.clone();
                plugins::run(api, operation, request.resource, request.subresource, &mut object).await?;
                if object != output {
                    again.append(&mut asked);
                }
                if !again.is_empty() {
                    let only = std::mem::take(&mut again);
                    self.round(
                        api,
                        &hooks,
                        &request,
                        &mut object,
                        Some(&only),
                        &mut asked,
                        &mut again,
                        &mut warnings,
                    )
                    .await?;
                }
            }
        }
        Ok(Admitted {
            object: (!object.is_null()).then_some(object),
            warnings,
        })
    }

    async fn check(&self, api: &Arc<Api>, request: &AdmissionRequest<'_>) -> Result<Vec<String>> {
        if matches!(request.resource.storage.as_str(), MUTATING | VALIDATING) || !request.resource.stored {
            return Ok(Vec::new());
        }
        let hooks = self.hooks(api, VALIDATING);
        let object = request.object.as_ref();
        let calls = hooks.iter().filter_map(|ready| {
            let version = ready.hook.wants(api, request, object)?;
            Some(self.ask(ready, request, object, version, false))
        });
        let mut warnings = Vec::new();
        let mut refusal = None;
        for outcome in futures::future::join_all(calls).await {
            match outcome {
                Ok(Asked::Answer(verdict)) => {
                    warnings.extend(verdict.warnings);
                    if let Some(status) = verdict.refusal {
                        refusal.get_or_insert(status);
                    }
                }
                Ok(Asked::Ignored) => {}
                Err(status) => {
                    refusal.get_or_insert(status);
                }
            }
        }
        refusal.map_or(Ok(warnings), Err)
    }
}

impl Admission for Chain {
    fn admit<'a>(
        &'a self,
        api: &'a Arc<Api>,
        request: AdmissionRequest<'a>,
    ) -> BoxFuture<'a, Result<Admitted>> {
        Box::pin(self.mutate(api, request))
    }

    fn validate<'a>(
        &'a self,
        api: &'a Arc<Api>,
        request: &'a AdmissionRequest<'a>,
    ) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(self.check(api, request))
    }
}
