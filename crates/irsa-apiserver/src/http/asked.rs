//! What a request asks for, and what the routes that answer it share.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::watch;

use super::path::{Address, Query};
use crate::api::{Admission, Api, Caller};
use crate::config::Authorization;
use crate::logs::Logs;
use crate::resources::Resource;
use crate::runtime::{Containers, Runtime};
use crate::tokens::Tokens;
use crate::version::Version;

/// What all routes share.
pub(crate) struct Context {
    pub(crate) api: Arc<Api>,
    pub(crate) version: Version,
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Bearer token of the administrator.
    pub(crate) admin_token: String,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) authorization: Authorization,
    /// Whether OIDC discovery and keys are served without credentials.
    pub(crate) anonymous_discovery: bool,
    pub(crate) logs: Arc<Logs>,
    pub(crate) runtime: Option<Arc<dyn Runtime>>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) admission: Arc<dyn Admission>,
    /// Becomes true when the server is to end.
    pub(crate) ending: watch::Receiver<bool>,
}

/// A request for objects, read as far as every verb needs it.
pub(crate) struct Asked<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) resource: Arc<Resource>,
    pub(crate) at: &'a Address,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// The namespace to list; `None` for all and for cluster-scoped resources.
    pub(crate) fn scope(&self) -> Option<&str> {
        Some(self.at.namespace.as_str()).filter(|namespace| self.resource.namespaced && !namespace.is_empty())
    }
}
