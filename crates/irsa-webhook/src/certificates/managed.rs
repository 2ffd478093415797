//! A certificate that this server makes itself: no cert-manager, no certificate signing requests.
//!
//! CA and serving certificate are kept in a Secret, so that every replica serves the same ones; the API server's own
//! optimistic concurrency (create fails when it exists, replace fails when it has changed) decides between replicas
//! that write at the same time, so there are never two CAs. The `caBundle` of the MutatingWebhookConfiguration is
//! written by whoever sees first that it is not right, and watched: what somebody else overwrites is healed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irsa_net::Condition;
use irsa_net::tls::Serving;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;

use super::authority::{self, Kept, Terms};
use crate::cluster::{self, FIELD_MANAGER};
use crate::directory::follow::{Event, Follow};
use crate::metrics::{Metrics, Watch};

/// The name of the caBundle's condition in `/readyz`.
pub const CONDITION: &str = "webhook-configuration";

/// Attempts to agree with other replicas in one go.
const ATTEMPTS: usize = 8;

const CA_CERT: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const TLS_CERT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";

/// Where the certificate is kept, for whom it is, and how long things last.
#[derive(Clone, Debug)]
pub struct Managed {
    /// The namespace of Secret and Service.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// The Service in front of the webhook; the certificate is good for its DNS names.
    pub service: String,
    /// Further names and addresses.
    pub names: Vec<String>,
    /// The MutatingWebhookConfiguration whose `caBundle` is kept right; `None` leaves it to somebody else.
    pub webhook_configuration: Option<String>,
    /// How long a CA is valid.
    pub ca_lifetime: Duration,
    /// How long a serving certificate is valid.
    pub leaf_lifetime: Duration,
    /// How long a new CA is trusted before it signs, and an old one after it has last signed.
    pub overlap: Duration,
    /// How often the Secret is looked at.
    pub poll: Duration,
}

/// Why there is no agreement yet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Secret cannot be read or written.
    #[error("Secret {0}: {1}")]
    Secret(String, ApiError),
    /// Somebody else's Secret.
    #[error(
        "Secret {0} belongs to cert-manager: mount it and pass --in-cluster=false, or choose another --tls-secret"
    )]
    Foreign(String),
    /// The certificate cannot be made.
    #[error(transparent)]
    Authority(#[from] authority::Error),
    /// Too many replicas write at once.
    #[error("Secret {0} is being written by others all the time")]
    Contended(String),
    /// The configuration cannot be read or written.
    #[error("MutatingWebhookConfiguration {0}: {1}")]
    Configuration(String, ApiError),
    /// There is none.
    #[error(
        "MutatingWebhookConfiguration {0} does not exist; apply it, or pass --webhook-configuration= to leave it to somebody else"
    )]
    NoConfiguration(String),
    /// None of its webhooks is this one.
    #[error("MutatingWebhookConfiguration {0} has no webhook that calls Service {1}")]
    NoWebhook(String, String),
}

/// An error of the Kubernetes API, with the rights that are needed where it is about rights.
#[derive(Debug)]
pub struct ApiError {
    source: Box<kube::Error>,
    needed: &'static str,
}

impl ApiError {
    const SECRET: &str = "get and update of it, and create of Secrets in its namespace";
    const CONFIGURATION: &str = "get, list, watch and update of it";

    fn new(source: kube::Error, needed: &'static str) -> Self {
        Self {
            source: Box::new(source),
            needed,
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&cluster::reason(&self.source))?;
        match &*self.source {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                write!(f, "; allow {}", self.needed)
            }
            _ => Ok(()),
        }
    }
}

/// How changes are written.
fn post_params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

impl Managed {
    fn terms(&self) -> Terms {
        let Self {
            namespace, service, ..
        } = self;
        let mut names = vec![
            format!("{service}.{namespace}.svc"),
            service.clone(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc.cluster.local"),
        ];
        names.extend(self.names.iter().cloned());
        Terms {
            names,
            ca_lifetime: self.ca_lifetime,
            leaf_lifetime: self.leaf_lifetime,
            overlap: self.overlap,
        }
    }

    fn secret_name(&self) -> String {
        format!("{}/{}", self.namespace, self.secret)
    }
}

/// Keeps Secret, `caBundle` and served certificate right for as long as the server runs.
pub(crate) struct Keeper {
    managed: Managed,
    terms: Terms,
    client: Client,
    serving: Arc<Serving>,
    condition: Condition,
    metrics: Arc<Metrics>,
    kept: Option<Kept>,
    /// The configuration as the watch last showed it.
    configuration: Option<DynamicObject>,
    /// The configuration in a list that is not complete yet.
    listing: Option<DynamicObject>,
    /// Whether the watch has shown anything yet.
    listed: bool,
    /// Whether the newest CA has been seen in the `caBundle`.
    trusted: bool,
}

impl Keeper {
    pub(crate) fn new(
        managed: Managed,
        client: Client,
        serving: Arc<Serving>,
        condition: Condition,
        metrics: Arc<Metrics>,
    ) -> Self {
        let terms = managed.terms();
        Self {
            managed,
            terms,
            client,
            serving,
            condition,
            metrics,
            kept: None,
            configuration: None,
            listing: None,
            listed: false,
            trusted: false,
        }
    }

    /// Runs until the task is dropped.
    pub(crate) async fn run(mut self) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let follow = self.managed.webhook_configuration.as_ref().map(|name| Follow {
            api: self.configurations(),
            fields: format!("metadata.name={name}"),
            which: Watch::WebhookConfiguration,
            condition: None,
            metrics: Arc::clone(&self.metrics),
        });
        let watching = async move {
            match follow {
                Some(follow) => {
                    // The receiver lives as long as this future does.
                    follow.run(|event| tell.send(event).unwrap_or_default()).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = watching => {}
            () = self.react(&mut told) => {}
        }
    }

    /// Keeps everything right whenever something has happened, and at every poll.
    async fn react(&mut self, events: &mut mpsc::UnboundedReceiver<Event<DynamicObject>>) {
        let mut looks = tokio::time::interval(self.managed.poll);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                Some(event) = events.recv() => if !self.seen(event) { continue },
            }
            let result = self.keep().await;
            match &result {
                Ok(()) => failing = false,
                Err(error) => {
                    match error {
                        Error::Configuration(..) | Error::NoConfiguration(_) | Error::NoWebhook(..) => {
                            self.bundle_missing(error.to_string());
                        }
                        _ => self.serving.set_missing(error.to_string()),
                    }
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the certificate cannot be kept right; trying again");
                    }
                }
            }
        }
    }

    /// A failure before the `caBundle` was right is a reason not to be ready; later on, what is there goes on working.
    fn bundle_missing(&self, reason: String) {
        if !self.trusted {
            self.condition.unmet(reason);
        }
    }

    fn configurations(&self) -> Api<DynamicObject> {
        Api::all_with(
            self.client.clone(),
            &ApiResource::erase::<MutatingWebhookConfiguration>(&()),
        )
    }

    /// Whether the event is a reason to look.
    fn seen(&mut self, event: Event<DynamicObject>) -> bool {
        let ours = |object: &DynamicObject| object.metadata.name == self.managed.webhook_configuration;
        match event {
            Event::Begin => self.listing = None,
            Event::Listed(object) if ours(&object) => self.listing = Some(object),
            Event::Complete => {
                self.configuration = self.listing.take();
                self.listed = true;
                return true;
            }
            Event::Applied(object) if ours(&object) => {
                self.configuration = Some(object);
                return true;
            }
            Event::Deleted(object) if ours(&object) => {
                self.configuration = None;
                return true;
            }
            Event::Down(Some(reason)) => self.bundle_missing(reason),
            Event::Listed(_) | Event::Applied(_) | Event::Deleted(_) | Event::Up | Event::Down(None) => {}
        }
        false
    }

    async fn keep(&mut self) -> Result<(), Error> {
        self.agree().await?;
        let changed = self.write_bundle().await?;
        if changed {
            // What waited for the new CA to be trusted may go on.
            self.agree().await?;
        }
        Ok(())
    }

    /// Reads the Secret, changes it if it is time, and takes what it has into service.
    async fn agree(&mut self) -> Result<(), Error> {
        let name = self.managed.secret_name();
        let failed = |error| Error::Secret(name.clone(), ApiError::new(error, ApiError::SECRET));
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.managed.namespace);
        for _ in 0..ATTEMPTS {
            let existing = api.get_opt(&self.managed.secret).await.map_err(failed)?;
            let stored = match &existing {
                None => None,
                Some(secret) => {
                    let annotations = secret.metadata.annotations.as_ref();
                    if annotations
                        .is_some_and(|all| all.keys().any(|key| key.starts_with("cert-manager.io/")))
                    {
                        return Err(Error::Foreign(name.clone()));
                    }
                    match read(secret) {
                        Ok(kept) => Some(kept),
                        Err(error) => {
                            tracing::warn!(secret = %name, %error, "what the Secret has cannot be used and is replaced");
                            None
                        }
                    }
                }
            };
            // A Secret that was deleted or broken gets back what every replica serves, not a new CA.
            let restored = stored.is_none() && self.kept.is_some();
            let base = stored.or_else(|| self.kept.clone());
            let trusted = self.trusted || self.managed.webhook_configuration.is_none();
            let next = authority::next(base.as_ref(), &self.terms, trusted, Timestamp::now())?;
            let (kept, write) = match (next, base) {
                (Some(next), _) => (next, true),
                (None, Some(base)) => (base, restored),
                (None, None) => continue,
            };
            if write {
                let params = post_params();
                let object = secret(&self.managed, existing.clone(), &kept);
                let written = match existing {
                    None => api.create(&params, &object).await,
                    Some(_) => api.replace(&self.managed.secret, &params, &object).await,
                };
                match written {
                    Ok(_) => {
                        tracing::info!(secret = %name, cas = kept.cas.len(), not_after = %kept.validity.not_after, "certificate written")
                    }
                    // Another replica was quicker: what it wrote is as good.
                    Err(kube::Error::Api(status)) if status.code == 409 => continue,
                    Err(error) => return Err(failed(error)),
                }
            }
            return self.take(kept);
        }
        Err(Error::Contended(name))
    }

    fn take(&mut self, kept: Kept) -> Result<(), Error> {
        if self.kept.as_ref() == Some(&kept) {
            return Ok(());
        }
        if self.kept.as_ref().is_none_or(|before| before.cas != kept.cas) {
            self.trusted = false;
        }
        if self.kept.as_ref().is_none_or(|before| before.cert != kept.cert) {
            let pair = kept.pair()?;
            if let Some(before) = &self.kept {
                self.metrics.rotated(before.age(Timestamp::now()));
            }
            tracing::info!(serial = %pair.validity.serial, not_after = %pair.validity.not_after, "certificate in service");
            self.metrics.serving_certificate(&pair.validity);
            self.metrics.certificate_reloaded(true);
            self.serving.set(pair);
        }
        self.metrics.ca_certificate(&kept.cas[0].validity);
        self.kept = Some(kept);
        Ok(())
    }

    /// Makes the `caBundle` right; whether that is new.
    async fn write_bundle(&mut self) -> Result<bool, Error> {
        let (Some(name), Some(kept)) = (self.managed.webhook_configuration.clone(), &self.kept) else {
            self.condition.met();
            return Ok(false);
        };
        if !self.listed {
            return Ok(false);
        }
        let bundle = STANDARD.encode(kept.bundle());
        let Some(object) = &mut self.configuration else {
            return Err(Error::NoConfiguration(name));
        };
        let (ours, written) = set_bundle(&mut object.data, &self.managed, &bundle);
        if ours == 0 {
            let service = format!("{}/{}", self.managed.namespace, self.managed.service);
            return Err(Error::NoWebhook(name, service));
        }
        if written > 0 {
            let object = object.clone();
            // With its resource version: of two replicas one is told to look again, by the watch.
            match self
                .configurations()
                .replace(&name, &post_params(), &object)
                .await
            {
                Ok(object) => {
                    self.configuration = Some(object);
                    self.metrics.ca_bundle_written();
                    tracing::info!(configuration = %name, webhooks = written, "caBundle written");
                }
                Err(error) => {
                    self.configuration = self.configurations().get_opt(&name).await.ok().flatten();
                    match error {
                        kube::Error::Api(status) if status.code == 409 => return Ok(false),
                        error => {
                            return Err(Error::Configuration(
                                name,
                                ApiError::new(error, ApiError::CONFIGURATION),
                            ));
                        }
                    }
                }
            }
        }
        self.condition.met();
        Ok(!std::mem::replace(&mut self.trusted, true))
    }
}

/// Sets the `caBundle` of the webhooks that call us: how many those are, and how many were not right.
fn set_bundle(configuration: &mut Value, managed: &Managed, bundle: &str) -> (usize, usize) {
    let mut ours = 0;
    let mut written = 0;
    for webhook in configuration
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Some(client) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) else {
            continue;
        };
        let service = client.get("service").is_some_and(|service| {
            service["name"] == managed.service.as_str() && service["namespace"] == managed.namespace.as_str()
        });
        let url = client
            .get("url")
            .and_then(Value::as_str)
            .and_then(|url| url.parse::<http::Uri>().ok());
        let host = url
            .as_ref()
            .and_then(http::Uri::host)
            .map(|host| host.trim_matches(['[', ']']));
        if !service && !host.is_some_and(|host| managed.names.iter().any(|name| name == host)) {
            continue;
        }
        ours += 1;
        if client.get("caBundle").and_then(Value::as_str) != Some(bundle) {
            client.insert("caBundle".to_owned(), bundle.into());
            written += 1;
        }
    }
    (ours, written)
}

fn read(secret: &Secret) -> Result<Kept, authority::Error> {
    let text = |key| {
        let bytes = secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .map(|ByteString(bytes)| bytes.as_slice());
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    };
    Kept::read(text(CA_CERT), text(CA_KEY), text(TLS_CERT), text(TLS_KEY))
}

/// The Secret to write: the existing one with other data, so that labels and the like stay.
fn secret(managed: &Managed, existing: Option<Secret>, kept: &Kept) -> Secret {
    let mut secret = existing.unwrap_or_else(|| {
        let mut new = Secret {
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        };
        new.metadata.name = Some(managed.secret.clone());
        new.metadata.namespace = Some(managed.namespace.clone());
        let label = ("app.kubernetes.io/managed-by".to_owned(), "irsa".to_owned());
        new.metadata.labels = Some(BTreeMap::from([label]));
        new
    });
    let data = secret.data.get_or_insert_default();
    for (key, text) in [
        (CA_CERT, kept.bundle()),
        (CA_KEY, kept.ca_keys()),
        (TLS_CERT, kept.cert.clone()),
        (TLS_KEY, kept.key.clone()),
    ] {
        data.insert(key.to_owned(), ByteString(text.into_bytes()));
    }
    secret
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn managed() -> Managed {
        Managed {
            namespace: "eks".into(),
            secret: "pod-identity-webhook".into(),
            service: "pod-identity-webhook".into(),
            names: vec!["127.0.0.1".into(), "::1".into()],
            webhook_configuration: Some("pod-identity-webhook".into()),
            ca_lifetime: Duration::from_secs(9000),
            leaf_lifetime: Duration::from_secs(900),
            overlap: Duration::from_secs(10),
            poll: Duration::from_secs(1),
        }
    }

    #[test]
    fn only_webhooks_that_call_us_get_our_bundle_and_unknown_fields_stay() {
        let mut configuration = json!({"webhooks": [
            {"name": "ours", "future": 1, "clientConfig": {"service": {"name": "pod-identity-webhook", "namespace": "eks"}}},
            {"name": "by-url", "clientConfig": {"url": "https://127.0.0.1:8443/mutate", "caBundle": "b2xk"}},
            {"name": "six", "clientConfig": {"url": "https://[::1]:8443/mutate", "caBundle": "bmV3"}},
            {"name": "theirs", "clientConfig": {"service": {"name": "istio", "namespace": "eks"}, "caBundle": "b2xk"}},
            {"name": "odd", "clientConfig": 7},
        ]});
        assert_eq!(set_bundle(&mut configuration, &managed(), "bmV3"), (3, 2));
        let webhooks = &configuration["webhooks"];
        assert_eq!(webhooks[0]["clientConfig"]["caBundle"], "bmV3");
        assert_eq!(webhooks[0]["future"], 1);
        assert_eq!(webhooks[1]["clientConfig"]["caBundle"], "bmV3");
        assert_eq!(webhooks[3]["clientConfig"]["caBundle"], "b2xk");
        assert_eq!(set_bundle(&mut configuration, &managed(), "bmV3"), (3, 0));
    }

    #[tokio::test]
    async fn a_new_list_does_not_forget_the_configuration_before_it_is_complete() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client =
            Client::try_from(kube::Config::new(http::Uri::from_static("http://127.0.0.1:1"))).unwrap();
        let readiness = irsa_net::Readiness::default();
        let condition = readiness.require(CONDITION, "not written yet");
        let mut keeper = Keeper::new(managed(), client, Arc::default(), condition, Arc::default());
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "pod-identity-webhook"},
        }))
        .unwrap();
        assert!(keeper.seen(Event::Applied(object.clone())));
        assert!(!keeper.seen(Event::Begin));
        assert!(keeper.configuration.is_some());
        assert!(!keeper.seen(Event::Down(Some("connection refused".into()))));
        assert!(!keeper.seen(Event::Begin));
        assert!(!keeper.seen(Event::Listed(object)));
        assert!(keeper.seen(Event::Complete));
        assert!(keeper.configuration.is_some());
        keeper.seen(Event::Begin);
        keeper.seen(Event::Complete);
        assert!(
            keeper.configuration.is_none(),
            "a list without it says that it is gone"
        );
    }

    #[test]
    fn rights_are_only_asked_for_where_they_are_missing() {
        let refused = kube::Error::Service("connection refused".into());
        let text = ApiError::new(refused, ApiError::SECRET).to_string();
        assert!(text.contains("refused") && !text.contains("allow"), "{text}");
        let status = kube::core::Status::failure("secrets is forbidden", "Forbidden").with_code(403);
        let text = ApiError::new(kube::Error::Api(status.boxed()), ApiError::SECRET).to_string();
        assert!(text.starts_with("secrets is forbidden; allow get"), "{text}");
    }

    #[test]
    fn the_certificate_is_good_for_every_name_of_the_service() {
        let kept = authority::next(None, &managed().terms(), true, Timestamp::now())
            .unwrap()
            .unwrap();
        for name in [
            "pod-identity-webhook.eks.svc",
            "pod-identity-webhook.eks.svc.cluster.local",
            "127.0.0.1",
            "::1",
        ] {
            assert!(
                kept.validity.names.iter().any(|have| have == name),
                "{name} in {:?}",
                kept.validity.names
            );
        }
        let written = secret(&managed(), None, &kept);
        assert_eq!(read(&written).unwrap(), kept);
    }
}
