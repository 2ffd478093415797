//! Where other modules join the server: tokens that authenticate, paths that are not plain objects (token requests,
//! logs, exec, OIDC discovery), and what containers really do.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::api::{Api, BoxFuture, Caller};

/// Body of every answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

pub use crate::runtime::Runtime;

/// Knows bearer tokens: the administrator's is the server's own, service account tokens are known to an
/// implementation of this.
pub trait Authenticator: Send + Sync {
    /// Whose token it is; `None` when it is nobody's, has expired, or is meant for another audience.
    fn authenticate(&self, token: &str) -> Option<Caller>;
}

/// What a path addresses, as the server read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressed {
    /// API group; empty for the core group and for paths outside the API.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace; empty when the path has none.
    pub namespace: String,
    /// Plural name of the resource; empty for paths outside the API.
    pub plural: String,
    /// Name; empty for collections.
    pub name: String,
    /// Subresource and whatever follows it.
    pub subresource: String,
}

/// Serves some paths before the general handling sees them.
pub trait Routes: Send + Sync {
    /// Whether this request is answered here. `caller` is `None` for a request without credentials, which only public
    /// paths may answer.
    fn wants(&self, method: &http::Method, path: &str, at: &Addressed, caller: Option<&Caller>) -> bool;

    /// Answers it. The body is unread (at most [`crate::http::MAX_BODY`] bytes of it may be), and upgrades
    /// (`hyper::upgrade::on`) work.
    fn serve<'a>(
        &'a self,
        api: &'a Arc<Api>,
        request: Request<Incoming>,
        at: Addressed,
        caller: Option<Caller>,
    ) -> BoxFuture<'a, Response<Body>>;
}
