//! A whole lab in this process: cluster, webhook, AWS and the way to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use irsa_apiserver::{ApiServer, Authorization, NodeConfig};
use irsa_core::endpoint::{ParseError, Platform};
use irsa_core::partition::{Membership, Partition};
use irsa_core::settings::Settings;
use irsa_net::files::Files;
use irsa_sts::config::{Account, IssuerDocuments};
use irsa_sts::events::EventLog;
use irsa_sts::{Aws, ConfigError};
use irsa_webhook::{Certificates, Cluster, Drain, Server};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::task::JoinSet;

use crate::backend::{Issuer, LabBackend};
use crate::ca::Authority;
use crate::control::{self, Addresses, Control};
use crate::proxy::{self, Proxy};
use crate::roles::Roles;
use crate::run::Reach;
use crate::runtime::LabRuntime;
use crate::state::{self, StateDir};

/// The Kubernetes version that the lab's cluster says it has.
pub const DEFAULT_KUBERNETES: &str = "1.32";
/// The lab's region.
pub const DEFAULT_REGION: &str = "us-west-2";
/// The account of the examples.
pub const DEFAULT_ACCOUNT: &str = "111122223333";

/// The minor versions of Kubernetes 1.x that the lab's cluster can say it has.
const KUBERNETES_MINORS: std::ops::RangeInclusive<u16> = 14..=37;

/// How long the webhook may take to have read the service accounts of an empty cluster.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(30);

/// Settings of a [`Lab`].
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// Kubernetes version that the cluster says it has, and that the endpoint rules see.
    pub kubernetes: String,
    /// EKS platform version, `eks.1`; `None` for a cluster that is not EKS.
    pub platform: Option<String>,
    /// The region in which the nodes stand.
    pub region: String,
    /// How many nodes there are.
    pub nodes: u8,
    /// The account of the lab's AWS that exists from the start. Accounts that role ARNs name are added.
    pub account: String,
    /// Where the API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where kubeconfig, CA and addresses are written; a folder of its own when `None`.
    pub state_dir: Option<PathBuf>,
    /// Who may do what in the cluster.
    pub authorization: Authorization,
    /// Whether the lab's own webhook runs; without it the cluster starts as one where nothing is installed.
    pub with_webhook: bool,
    /// What the webhook is told. Its platform is that of the cluster.
    pub webhook: Settings,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            kubernetes: DEFAULT_KUBERNETES.to_owned(),
            platform: Some("eks.1".to_owned()),
            region: DEFAULT_REGION.to_owned(),
            nodes: 2,
            account: DEFAULT_ACCOUNT.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            state_dir: None,
            authorization: Authorization::default(),
            with_webhook: true,
            webhook: Settings {
                region: Some(DEFAULT_REGION.into()),
                ..Settings::default()
            },
        }
    }
}

impl LabConfig {
    /// Refuses what no cluster can be, or what would open the lab to others.
    fn check(&self) -> Result<Platform, Error> {
        let platform = Platform::parse(&self.kubernetes, self.platform.as_deref())?;
        let version = platform.kubernetes;
        if version.major != 1 || !KUBERNETES_MINORS.contains(&version.minor) {
            return Err(Error::NoSuchKubernetes {
                version: self.kubernetes.clone(),
                known: KUBERNETES_MINORS,
            });
        }
        if Partition::locate(&self.region).1 == Membership::Assumed {
            return Err(Error::NoSuchRegion(self.region.clone()));
        }
        if !self.listen.ip().is_loopback() {
            return Err(Error::Exposed(self.listen));
        }
        Ok(platform)
    }
}

/// Why a lab did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A version that Kubernetes does not have.
    #[error("there is no Kubernetes {version} for the lab: use 1.{} to 1.{}", .known.start(), .known.end())]
    NoSuchKubernetes {
        /// What was asked for.
        version: String,
        /// The minor versions that there are.
        known: std::ops::RangeInclusive<u16>,
    },
    /// A name that no AWS partition has regions like.
    #[error("{0} is not an AWS region: use one such as us-west-2, cn-north-1 or us-gov-west-1")]
    NoSuchRegion(String),
    /// An address that others can reach.
    #[error(
        "the lab listens on loopback only, not on {0}: its API allows everything, and runs commands on this machine"
    )]
    Exposed(SocketAddr),
    /// A version that is none.
    #[error(transparent)]
    Version(#[from] ParseError),
    /// The folder.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The embedded cluster.
    #[error("the embedded cluster: {0}")]
    Cluster(#[from] irsa_apiserver::Error),
    /// The certificate authority.
    #[error("the lab's certificate authority: {0}")]
    Authority(#[from] crate::ca::Error),
    /// The AWS side.
    #[error("the lab's AWS: {0}")]
    Aws(#[from] ConfigError),
    /// The proxy.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// The webhook.
    #[error("the webhook: {0}")]
    Webhook(#[from] irsa_webhook::Error),
    /// The webhook started and did not become ready.
    #[error("the webhook is not ready: {0}")]
    NotReady(String),
    /// The control endpoint.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// A call to the embedded cluster.
    #[error("the embedded cluster's API: {0}")]
    Api(Box<kube::Error>),
    /// The way from the issuer's name to the cluster.
    #[error("the lab's issuer: {0}")]
    Issuer(String),
    /// Our own kubeconfig.
    #[error("the lab's kubeconfig: {0}")]
    Kubeconfig(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// A running lab. Everything it wrote is removed when it ends.
#[derive(Debug)]
pub struct Lab {
    region: String,
    api: ApiServer,
    aws: Arc<Aws>,
    events: Arc<EventLog>,
    proxy: Proxy,
    reach: Reach,
    webhook: Option<Server>,
    _control: Control,
    state: StateDir,
    tasks: JoinSet<()>,
}

impl Lab {
    /// Starts one on the current tokio runtime. It is ready when this returns. A rustls provider must be installed.
    ///
    /// # Errors
    /// [`Error`]; what had started by then is ended again.
    pub async fn start(config: LabConfig) -> Result<Self, Error> {
        let platform = config.check()?;
        // What labs have left behind that were killed.
        crate::run::sweep();
        state::sweep();
        let mut state = StateDir::take(match config.state_dir.clone() {
            Some(path) => path,
            None => std::env::temp_dir().join(format!("irsa-lab-{}", uuid::Uuid::new_v4().simple())),
        })?;
        let authority = Arc::new(Authority::generate("irsa lab")?);
        state.write_ca(authority.pem())?;

        let issuer_id = uuid::Uuid::new_v4().simple().to_string().to_ascii_uppercase();
        let issuer = format!("https://oidc.eks.{}.amazonaws.com/id/{issuer_id}", config.region);
        let runtime = Arc::new(LabRuntime::default());
        let api = start_cluster(&config, &issuer, Arc::clone(&runtime)).await?;
        state.write_kubeconfig(&api.kubeconfig())?;
        let client = client(&api.kubeconfig()).await?;

        let events = Arc::new(EventLog::default());
        let aws = Arc::new(Aws::new(irsa_sts::Config {
            events: Some(Arc::clone(&events) as Arc<dyn irsa_sts::EventSink>),
            accounts: vec![Account::new(&config.account)],
            ..irsa_sts::Config::default()
        })?);
        let backend = LabBackend {
            aws: Arc::clone(&aws),
            region: config.region.clone(),
            issuer: Issuer::new(&issuer, api.url(), api.ca_pem()).map_err(Error::Issuer)?,
        };
        let proxy = Proxy::start(
            proxy::Config::default(),
            Arc::clone(&authority),
            Arc::new(backend),
        )
        .await?;

        let control = Control::start(control::State {
            aws: Arc::clone(&aws),
            events: Arc::clone(&events),
            logs: runtime.logs(),
        })
        .await?;
        let addresses = Addresses {
            api_version: "irsa/v1".to_owned(),
            kind: "LabAddresses".to_owned(),
            control: control.address(),
            token: control.token().to_owned(),
            proxy: proxy.url(),
            direct: proxy.direct_address(),
            issuer: issuer.clone(),
            account: config.account.clone(),
            region: config.region.clone(),
            process: std::process::id(),
        };
        let reach = addresses.reach(authority.pem().to_owned());
        runtime.connect(client.clone(), reach.clone());
        state.write(control::FILE, &addresses.to_json())?;

        let mut tasks = JoinSet::new();
        let documents = format!("{}/id/{issuer_id}", api.url());
        let roles = roles(&config.webhook, Arc::clone(&aws), &api, issuer, documents);
        tasks.spawn(roles.follow(client.clone()));

        let mut settings = config.webhook;
        if settings.compat == irsa_core::settings::Compat::None {
            settings.platform = config.platform.is_some().then_some(platform);
        }
        let webhook = if config.with_webhook {
            let webhook = start_webhook(&mut state, &authority, &api, settings).await?;
            register(&client, &webhook, &authority).await?;
            Some(webhook)
        } else {
            None
        };
        Ok(Self {
            region: config.region,
            api,
            aws,
            events,
            proxy,
            reach,
            webhook,
            _control: control,
            state,
            tasks,
        })
    }

    /// `https://127.0.0.1:PORT` of the cluster.
    #[must_use]
    pub fn url(&self) -> &str {
        self.api.url()
    }

    /// The region in which the nodes stand.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The cluster.
    #[must_use]
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// The AWS side.
    #[must_use]
    pub fn aws(&self) -> &Arc<Aws> {
        &self.aws
    }

    /// What the AWS side was asked.
    #[must_use]
    pub fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// Where a local process finds the AWS side.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The way to the AWS side.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The lab's own webhook, unless the lab runs without.
    #[must_use]
    pub fn webhook(&self) -> Option<&Server> {
        self.webhook.as_ref()
    }

    /// The folder with all that others need to find the lab.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// A kubeconfig for kubectl.
    #[must_use]
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.state.kubeconfig()
    }

    /// A client of the cluster.
    ///
    /// # Errors
    /// [`Error::Kubeconfig`].
    pub async fn client(&self) -> Result<Client, Error> {
        client(&self.api.kubeconfig()).await
    }

    /// Ends everything and removes what was written.
    pub async fn shutdown(mut self) {
        self.tasks.abort_all();
        // The webhook last heard of nobody who could still ask it once the API is gone.
        self.api.shutdown().await;
        if let Some(webhook) = self.webhook {
            webhook.shutdown_with(Drain::at_once()).await;
        }
        self.proxy.shutdown().await;
        drop(self.state);
    }
}

async fn client(kubeconfig: &str) -> Result<Client, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Kubeconfig(error.to_string());
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|error| failed(&error))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(&error))?;
    Ok(Client::try_from(config)?)
}

/// The cluster, whose tokens are those of `issuer`.
async fn start_cluster(
    config: &LabConfig,
    issuer: &str,
    runtime: Arc<LabRuntime>,
) -> Result<ApiServer, Error> {
    let config = irsa_apiserver::Config {
        listen: config.listen,
        kubernetes: config.kubernetes.clone(),
        platform: config.platform.clone(),
        issuer: Some(issuer.to_owned()),
        nodes: nodes(config.nodes, &config.region),
        authorization: config.authorization,
        runtime: Some(runtime),
        ..irsa_apiserver::Config::default()
    };
    Ok(ApiServer::start(config).await?)
}

/// Makes the roles that service accounts name trust the cluster's issuer.
fn roles(webhook: &Settings, aws: Arc<Aws>, api: &ApiServer, issuer: String, documents: String) -> Roles {
    let (prefix, key) = (&webhook.annotation_prefix, irsa_core::annotations::ROLE_ARN);
    Roles {
        aws,
        documents: IssuerDocuments::Fetch {
            base_url: Some(documents),
            ca_pem: Some(api.ca_pem().to_owned()),
            bearer_token: None,
        },
        issuer,
        annotation: format!("{prefix}/{key}"),
        audience: webhook.audience.to_string(),
        trusted: Default::default(),
    }
}

/// The webhook of production, from certificate files as production has them.
async fn start_webhook(
    state: &mut StateDir,
    authority: &Authority,
    api: &ApiServer,
    settings: Settings,
) -> Result<Server, Error> {
    let issued = authority.issue("127.0.0.1")?;
    let files = Files {
        cert: state.write("webhook.crt", issued.pem().as_bytes())?,
        key: state.write("webhook.key", issued.key_pem().as_bytes())?,
        poll: Duration::from_secs(10),
    };
    let server = Server::start(irsa_webhook::Config {
        cluster: Cluster::Kubeconfig(api.kubeconfig()),
        settings,
        config_map_namespace: Some("default".to_owned()),
        metrics_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        drain: Drain::at_once(),
        ..irsa_webhook::Config::new(Certificates::Files(files))
    })
    .await?;
    server.ready(WEBHOOK_PATIENCE).await.map_err(Error::NotReady)?;
    Ok(server)
}

/// Tells the cluster of the webhook, as EKS's own configuration does.
async fn register(client: &Client, webhook: &Server, authority: &Authority) -> Result<(), Error> {
    use base64::Engine;
    let name = "pod-identity-webhook";
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "iam-for-pods.amazonaws.com",
            "clientConfig": {
                "url": format!("https://{}/mutate", webhook.address()),
                "caBundle": base64::engine::general_purpose::STANDARD.encode(authority.pem()),
            },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "*",
            }],
            "objectSelector": {"matchExpressions": [{
                "key": format!("eks.amazonaws.com/{}", irsa_core::annotations::SKIP_LABEL), "operator": "DoesNotExist",
            }]},
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "admissionReviewVersions": ["v1", "v1beta1"],
        }],
    });
    Api::<MutatingWebhookConfiguration>::all(client.clone())
        .patch(
            name,
            &PatchParams::apply("irsa-lab").force(),
            &Patch::Apply(configuration),
        )
        .await?;
    Ok(())
}

/// Nodes as EKS names them, the first being that of the user guide.
fn nodes(count: u8, region: &str) -> Vec<NodeConfig> {
    let suffix = if region == "us-east-1" {
        "ec2.internal".to_owned()
    } else {
        format!("{region}.compute.internal")
    };
    (0..count)
        .map(|index| {
            // 192.168.79.166 is the guide's; the others stand in the neighbouring subnets.
            let address = [
                192,
                168,
                79_u8.wrapping_add(index.wrapping_mul(16)),
                166_u8.wrapping_add(index),
            ];
            let zone = format!("{region}{}", char::from(b'a' + index % 3));
            NodeConfig {
                name: format!(
                    "ip-{}-{}-{}-{}.{suffix}",
                    address[0], address[1], address[2], address[3]
                ),
                address: Ipv4Addr::from(address).to_string(),
                labels: vec![
                    ("topology.kubernetes.io/region".to_owned(), region.to_owned()),
                    ("topology.kubernetes.io/zone".to_owned(), zone.clone()),
                ],
                provider_id: Some(format!("aws:///{zone}/i-0123456789abcde{index:02x}")),
            }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_that_cannot_be_is_refused_with_what_would_do() {
        let refused = |change: &dyn Fn(&mut LabConfig)| {
            let mut config = LabConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(LabConfig::default().check().is_ok());
        assert!(refused(&|config| config.region = "mars".into()).contains("mars is not an AWS region"));
        for version in ["9.99", "1.99", "1.2"] {
            assert!(refused(&|config| config.kubernetes = version.into()).contains("use 1.14 to 1.37"));
        }
        let open = refused(&|config| config.listen = ([0, 0, 0, 0], 6443).into());
        assert!(open.contains("loopback only"), "{open}");
    }
}
