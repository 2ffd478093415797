//! Puts the parts of the server together: admission, tokens, controllers, node agents, and what the routes share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::admission::Chain;
use crate::agent::{Agent, Parts};
use crate::api::{Admission, Api, BoxFuture};
use crate::config::Config;
use crate::controllers;
use crate::http::Context;
use crate::logs::Logs;
use crate::runtime::{Cluster, Containers};
use crate::status::Result;
use crate::tokens::Tokens;
use crate::version::Version;

/// What the server knows of itself before the parts are put together.
pub(crate) struct Setup {
    /// The API, with the objects of a new cluster in it.
    pub(crate) api: Arc<Api>,
    pub(crate) config: Config,
    pub(crate) version: Version,
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Bearer token of the administrator.
    pub(crate) token: String,
    /// The CA of the API server's certificate.
    pub(crate) ca_pem: String,
    /// Issuer of service account tokens.
    pub(crate) issuer: String,
    /// Becomes true when the server is to end.
    pub(crate) ending: watch::Receiver<bool>,
}

/// Tasks that run until the server ends, when they are dropped.
pub(crate) type Tasks = Vec<BoxFuture<'static, ()>>;

/// Builds everything; called once, before the server answers its first request. Nodes, service accounts and the CA's
/// ConfigMaps are there when this returns.
///
/// # Errors
/// The pod network cannot be used, or the first objects cannot be stored.
pub(crate) async fn assemble(setup: Setup) -> Result<(Context, Tasks)> {
    let Setup { api, config, .. } = setup;
    api.set_version(setup.version.clone());
    let tokens = Arc::new(Tokens::new(Arc::clone(&api), setup.issuer, &setup.version));
    let logs = Arc::new(Logs::default());
    let containers = Arc::new(Containers::default());
    let admission = Arc::new(Chain::new(Arc::downgrade(&api), Arc::clone(&containers)));
    api.set_admission(Arc::clone(&admission) as Arc<dyn Admission>);
    let agent = Agent::new(Parts {
        api: Arc::clone(&api),
        version: setup.version.clone(),
        nodes: config.nodes,
        pod_network: config.pod_network,
        pace: config.pace,
        runtime: config.runtime.clone(),
        logs: Arc::clone(&logs),
        containers: Arc::clone(&containers),
    })?;
    controllers::prepare(&api, &setup.ca_pem).await?;
    agent.register().await?;
    if let Some(runtime) = &config.runtime {
        runtime.attach(Cluster {
            api: Arc::clone(&api),
            tokens: Arc::clone(&tokens),
            logs: Arc::clone(&logs),
            url: setup.url.clone(),
            ca_pem: setup.ca_pem.clone(),
        });
    }

    let mut tasks = controllers::essential(&api, &setup.ca_pem);
    if config.controllers {
        tasks.extend(controllers::workloads(&api));
        tasks.push(Box::pin(Arc::clone(&agent).run()));
        tasks.push(Box::pin(agent.heartbeats()));
    }
    let early = Arc::clone(&tokens);
    tasks.push(Box::pin(async move {
        // Nobody waits for this: the first token makes the key itself when it is not there yet.
        let _ = tokio::task::spawn_blocking(move || early.warm_up()).await;
    }));
    let context = Context {
        api,
        version: setup.version,
        url: setup.url,
        admin_token: setup.token,
        tokens,
        authorization: config.authorization,
        anonymous_discovery: config.anonymous_discovery,
        logs,
        runtime: config.runtime,
        containers,
        admission,
        ending: setup.ending,
    };
    Ok((context, tasks))
}
