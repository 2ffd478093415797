//! Where admission, tokens, controllers, node agents and the paths that are not plain objects join the server.

use std::sync::Arc;

use tokio::sync::watch;

use crate::api::{Api, BoxFuture};
use crate::config::{Config, Version};
use crate::hooks::{Authenticator, Routes};
use crate::server::Error;

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
#[derive(Default)]
pub(crate) struct Extensions {
    /// Knows service account tokens.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    /// Asked in this order.
    pub(crate) routes: Vec<Arc<dyn Routes>>,
    /// Run until the server ends, when they are dropped.
    pub(crate) tasks: Vec<BoxFuture<'static, ()>>,
}

/// Builds everything that joins the server; called once, before the server answers its first request.
pub(crate) fn extend(_setup: &Setup) -> Result<Extensions, Error> {
    Ok(Extensions::default())
}
