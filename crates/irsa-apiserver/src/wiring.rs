//! Where admission, tokens, controllers, node agents and the paths that are not plain objects join the server.

use std::sync::Arc;

use tokio::sync::watch;

use crate::admission::Chain;
use crate::agent::{Agent, Containers, Parts};
use crate::api::{Admission, Api, BoxFuture};
use crate::config::{Config, Version};
use crate::controllers;
use crate::exec::ExecRoutes;
use crate::hooks::{Authenticator, Routes};
use crate::logs::{LogRoutes, Logs};
use crate::oidc::TokenRoutes;
use crate::runtime::Cluster;
use crate::server::Error;
use crate::tokens::Tokens;

/// What the server knows of itself when the others join.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The API, with the objects of a new cluster in it.
    pub(crate) api: Arc<Api>,
    /// Settings.
    pub(crate) config: Config,
    /// Version of the cluster.
    pub(crate) version: Version,
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// The CA of the API server's certificate.
    pub(crate) ca_pem: String,
    /// Issuer of service account tokens.
    pub(crate) issuer: String,
    /// Becomes true when the server is to end.
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// What joins the server.
pub(crate) struct Extensions {
    /// Knows service account tokens.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    /// Asked in this order.
    pub(crate) routes: Vec<Arc<dyn Routes>>,
    /// Run until the server ends, when they are dropped.
    pub(crate) tasks: Vec<BoxFuture<'static, ()>>,
    /// Service account tokens, for the server's owner.
    pub(crate) tokens: Arc<Tokens>,
    /// What containers printed, for the server's owner.
    pub(crate) logs: Arc<Logs>,
}

/// Builds everything that joins the server; called once, before the server answers its first request. Nodes, service
/// accounts and the CA's ConfigMaps are there when this returns.
pub(crate) async fn extend(setup: &Setup) -> Result<Extensions, Error> {
    let api = &setup.api;
    let tokens = Arc::new(Tokens::new(Arc::clone(api), setup.issuer.clone(), &setup.version));
    let logs = Arc::new(Logs::default());
    let containers = Arc::new(Containers::default());
    let admission = Arc::new(Chain::new(Arc::downgrade(api), Arc::clone(&containers)));
    api.set_admission(Arc::clone(&admission) as Arc<dyn Admission>);
    let agent = Agent::new(Parts {
        api: Arc::clone(api),
        version: setup.version.clone(),
        nodes: setup.config.nodes.clone(),
        pod_network: setup.config.pod_network.clone(),
        pace: setup.config.pace,
        runtime: setup.config.runtime.clone(),
        logs: Arc::clone(&logs),
        containers: Arc::clone(&containers),
    })?;
    controllers::prepare(api, &setup.ca_pem).await?;
    agent.register().await?;
    if let Some(runtime) = &setup.config.runtime {
        runtime.attach(Cluster {
            api: Arc::clone(api),
            tokens: Arc::clone(&tokens),
            logs: Arc::clone(&logs),
            url: setup.url.clone(),
            ca_pem: setup.ca_pem.clone(),
        });
    }

    let mut tasks = controllers::essential(api, &setup.ca_pem);
    if setup.config.controllers {
        tasks.extend(controllers::workloads(api));
        tasks.push(Box::pin(Arc::clone(&agent).run()));
        tasks.push(Box::pin(agent.heartbeats()));
    }
    let early = Arc::clone(&tokens);
    tasks.push(Box::pin(async move {
        // Not waited for by anybody: the first token makes the key itself when this is not done yet.
        let _ = tokio::task::spawn_blocking(move || early.warm_up()).await;
    }));
    let routes: Vec<Arc<dyn Routes>> = vec![
        Arc::new(TokenRoutes::new(
            Arc::clone(&tokens),
            setup.url.clone(),
            setup.config.anonymous_discovery,
        )),
        Arc::new(LogRoutes {
            logs: Arc::clone(&logs),
            ending: setup.shutdown.clone(),
        }),
        Arc::new(ExecRoutes {
            runtime: setup.config.runtime.clone(),
            logs: Arc::clone(&logs),
            containers,
            admission,
            ending: setup.shutdown.clone(),
        }),
    ];
    Ok(Extensions {
        authenticator: Some(Arc::clone(&tokens) as Arc<dyn Authenticator>),
        routes,
        tasks,
        tokens,
        logs,
    })
}
