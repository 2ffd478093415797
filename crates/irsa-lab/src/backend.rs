//! Who answers behind the lab's proxy: its AWS, and the cluster's OIDC issuer under the name that its tokens carry.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use irsa_sts::{Aws, Connection};

use crate::proxy::{Backend, Facts};

/// The names of the lab's AWS.
#[derive(Debug)]
pub(crate) struct LabBackend {
    pub(crate) aws: Arc<Aws>,
    /// The region in which all of the lab's nodes stand.
    pub(crate) region: String,
}

impl Backend for LabBackend {
    fn accepts(&self, host: &str) -> bool {
        Aws::serves(host)
    }

    fn handle(self: Arc<Self>, request: Request<Bytes>, facts: Facts) -> BoxFuture<'static, Response<Bytes>> {
        async move {
            let connection = Connection {
                source_ip: facts.source_ip,
                caller_region: Some(self.region.clone()),
                ..Connection::to(facts.host).with_tls(facts.tls_version, facts.cipher)
            };
            self.aws.handle(request, &connection).await
        }
        .boxed()
    }
}
