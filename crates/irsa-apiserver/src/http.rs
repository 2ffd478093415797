//! The API over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::api::Api;
use crate::config::Version;
use crate::hooks::{Authenticator, Body, Routes};

/// The largest body of a request, as in Kubernetes.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

pub(crate) struct Server {
    api: Arc<Api>,
    version: Version,
    token: String,
    authenticator: Option<Arc<dyn Authenticator>>,
    routes: Vec<Arc<dyn Routes>>,
    ending: watch::Receiver<bool>,
}

impl Server {
    pub(crate) fn new(
        api: Arc<Api>,
        version: Version,
        token: String,
        authenticator: Option<Arc<dyn Authenticator>>,
        routes: Vec<Arc<dyn Routes>>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            api,
            version,
            token,
            authenticator,
            routes,
            ending,
        }
    }

    pub(crate) async fn serve(&self, _request: Request<Incoming>) -> Response<Body> {
        let mut response = Response::new(Full::new(Bytes::from_static(b"not yet")).boxed_unsync());
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        response
    }
}
