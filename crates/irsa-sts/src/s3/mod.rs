//! S3: buckets, objects, presigned URLs.

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::aws::Aws;
use crate::config::Bucket;
use crate::connection::Connection;
use crate::host::Endpoint;

/// The state of S3: buckets and what is in them.
pub(crate) struct S3;

impl S3 {
    /// S3 with these buckets, each with its owner's account.
    pub(crate) fn new(_buckets: &[(String, Bucket)]) -> Result<Self, String> {
        Ok(Self)
    }

    /// Creates buckets on behalf of their owners.
    pub(crate) fn add_buckets(&self, _buckets: &[(String, Bucket)]) -> Result<(), String> {
        Ok(())
    }
}

/// Answers one request to an S3 endpoint.
pub(crate) async fn handle(
    _aws: &Aws,
    _request: Request<Bytes>,
    _connection: &Connection,
    _endpoint: &Endpoint,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    response
}
