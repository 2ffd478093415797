//! STS: the query protocol and its actions.

use bytes::Bytes;
use http::{Request, Response};

use crate::aws::Inner;
use crate::connection::Connection;
use crate::host::Endpoint;

/// Answers one request to an STS endpoint.
pub(crate) async fn handle(
    _aws: &Inner,
    _request: Request<Bytes>,
    _connection: &Connection,
    _endpoint: &Endpoint,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
    response
}
