//! S3: buckets and objects in memory, reached by presigned URLs and signed requests that are verified as AWS verifies
//! them.
//!
//! The order of a request: taken apart ([`request`]) → the claim is read ([`auth`]) → the region that serves it and
//! whose scope it must have ([`region`]) → redirect when the bucket is elsewhere → time, key, signature, body → the
//! operation. Authorisation is one rule: everything in the caller's own account, as a role with `s3:*` has it.

mod answer;
mod auth;
mod buckets;
mod checksum;
mod error;
mod multipart;
mod objects;
mod operation;
mod region;
mod request;
pub(crate) mod store;
mod xml;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::answer::S3Answer;
use self::auth::{Claim, Place};
use self::error::{S3Error, S3Result};
use self::operation::Operation;
use self::request::{Accepted, Addressing, Request};
use crate::call::{Call, CallError, Identity, Resource, bounded};
use crate::connection::Connection;
use crate::host::{Endpoint, EndpointClass, Service};
use crate::ids;
use crate::sigv4::RequestView;
use crate::state::State;

/// What is found out about a request on the way, for its record.
struct Trace {
    operation: Option<Operation>,
    bucket: Option<String>,
    key: Option<String>,
    region: String,
    identity: Identity,
    account: Option<String>,
    parameters: Map<String, Value>,
    additional: Map<String, Value>,
}

impl Trace {
    /// Adds to CloudTrail's `additionalEventData`.
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.additional.insert(name.to_owned(), value.into());
    }
}

/// Answers one request to an S3 endpoint.
pub(crate) fn handle(
    state: &State,
    request: http::Request<Bytes>,
    connection: &Connection,
    endpoint: &Endpoint,
) -> Response<Bytes> {
    let now = state.now();
    let request_id = ids::request();
    let (parts, body) = request.into_parts();
    let received = body.len();
    let mut trace = Trace {
        operation: None,
        bucket: None,
        key: None,
        region: endpoint.region.clone(),
        identity: Identity::Anonymous,
        account: None,
        parameters: Map::new(),
        additional: Map::new(),
    };
    let view = RequestView::of(&parts);
    let result = Request::parse(&parts, body, endpoint)
        .and_then(|request| answer(state, &view, request, endpoint, now, &mut trace));

    let host_id = host_id(&request_id);
    let head = parts.method == Method::HEAD;
    let (mut response, error) = match result {
        Ok(answer) => (answer.into_response(), None),
        Err(error) => (
            error.response(&request_id, &host_id, head),
            Some(CallError {
                code: error.code.to_owned(),
                message: error.message,
            }),
        ),
    };
    let headers = response.headers_mut();
    headers.insert("server", HeaderValue::from_static("AmazonS3"));
    for (name, value) in [("x-amz-request-id", &request_id), ("x-amz-id-2", &host_id)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(operation) = trace.operation {
        trace.add("bytesTransferredIn", received);
        trace.add("bytesTransferredOut", response.body().len());
        if let Some(tls) = &connection.tls {
            trace.add("CipherSuite", tls.cipher.as_str());
        }
        state.record(Call {
            time: now,
            request_id,
            service: Service::S3,
            action: operation.name().to_owned(),
            host: connection.host.clone(),
            endpoint: endpoint.class,
            serving_region: trace.region.clone(),
            region: trace.region,
            identity: trace.identity,
            account: trace.account,
            request_parameters: Value::Object(trace.parameters),
            response_elements: Value::Null,
            additional: Value::Object(trace.additional),
            resources: resources(endpoint, trace.bucket.as_deref(), trace.key.as_deref()),
            read_only: operation.is_read_only(),
            explanation: None,
            // A condition that did not hold is no refusal of the service.
            error: error.filter(|_| response.status() != http::StatusCode::NOT_MODIFIED),
            status: response.status().as_u16(),
            user_agent: view.header("user-agent").map(bounded),
            source_ip: connection.source_ip,
            tls: connection.tls.clone(),
        });
    }
    response
}

fn answer(
    state: &State,
    view: &RequestView<'_>,
    mut request: Request,
    endpoint: &Endpoint,
    now: Timestamp,
    trace: &mut Trace,
) -> S3Result<S3Answer> {
    let operation = Operation::of(&request)?;
    trace.operation = Some(operation);
    trace.bucket.clone_from(&request.bucket);
    trace.key.clone_from(&request.key);
    trace.parameters = parameters(&request, view);

    let claim = Claim::of(view)?;
    if let Some(access_key_id) = claim.access_key_id() {
        trace.identity = Identity::Unproven {
            access_key_id: access_key_id.to_owned(),
        };
    }
    for (name, value) in [
        ("SignatureVersion", claim.signature_version()),
        ("AuthenticationMethod", claim.method()),
    ] {
        if let Some(value) = value {
            trace.add(name, value);
        }
    }

    let home = Home::of(state, &request, operation);
    let bucket_region = home.as_ref().map(|home| home.region.as_str());
    let place = Place {
        partition: endpoint.name.partition,
        region: region::serving(endpoint, request.addressing, bucket_region),
        now,
    };
    trace.region = place.region.to_owned();
    trace.account = home.as_ref().map(|home| home.account.clone());
    if let Some(home) = &home {
        home.check_dns(state, endpoint, &request, view)?;
    }
    claim.check_scope(place)?;
    if let Some(home) = &home
        && home.region != place.region
    {
        return Err(region::elsewhere(
            endpoint,
            request.addressing,
            &home.bucket,
            &home.region,
        ));
    }
    if let (Claim::Anonymous, Some(bucket), None) = (&claim, &request.bucket, &home)
        && operation != Operation::CreateBucket
    {
        return Err(S3Error::no_such_bucket(bucket));
    }
    claim.check_time(now)?;
    let authenticated = claim.verify(state, view, &request, place)?;
    let account = authenticated.caller.account;
    trace.identity = authenticated.caller.identity;
    trace.account.get_or_insert_with(|| account.clone());

    request.body = authenticated.body;
    let checksum = checksum::verify(&request.body, |name| {
        let trailer = authenticated.trailers.iter().find(|(known, _)| known == name);
        trailer
            .map(|(_, value)| value.as_str())
            .or_else(|| request.header(name))
    })?;
    let accepted = Accepted {
        request,
        account,
        checksum,
        region: endpoint.region.clone(),
        now,
    };
    operation.run(&state.store, &accepted)
}

/// The bucket of a request, where it exists.
struct Home {
    bucket: String,
    region: String,
    account: String,
}

impl Home {
    /// `None` for a bucket that does not exist or is yet to be created.
    fn of(state: &State, request: &Request, operation: Operation) -> Option<Self> {
        let bucket = request
            .bucket
            .as_ref()
            .filter(|_| operation != Operation::CreateBucket)?;
        let store = state.store.read();
        let entry = store.bucket(bucket)?;
        Some(Self {
            bucket: bucket.clone(),
            region: entry.region.clone(),
            account: entry.account.clone(),
        })
    }

    /// Whether DNS of the global name knows where the bucket is, which it does not while redirects of new buckets are
    /// switched on.
    fn check_dns(
        &self,
        state: &State,
        endpoint: &Endpoint,
        request: &Request,
        view: &RequestView<'_>,
    ) -> S3Result<()> {
        let redirected = state.redirects_new_buckets.load(Ordering::Relaxed)
            && endpoint.class == EndpointClass::Global
            && request.addressing == Addressing::Virtual
            && self.region != "us-east-1"
            && region::has_global_dns(&self.region);
        if !redirected {
            return Ok(());
        }
        let target = match view.query {
            "" => view.path.to_owned(),
            query => format!("{}?{query}", view.path),
        };
        Err(region::not_yet_in_dns(
            endpoint,
            &self.bucket,
            &self.region,
            &target,
        ))
    }
}

/// CloudTrail's `requestParameters` of S3: where and what, and the parameters of the query without anything secret.
fn parameters(request: &Request, view: &RequestView<'_>) -> Map<String, Value> {
    const SECRET: [&str; 6] = [
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-credential",
        "signature",
        "awsaccesskeyid",
        "x-amz-s3session-token",
    ];
    let mut found = Map::new();
    if let Some(bucket) = &request.bucket {
        found.insert("bucketName".to_owned(), json!(bucket));
    }
    if let Some(host) = view.header("host") {
        found.insert("Host".to_owned(), json!(host));
    }
    if let Some(key) = &request.key {
        found.insert("key".to_owned(), json!(key));
    }
    for (name, value) in &request.query {
        if !SECRET.contains(&name.to_ascii_lowercase().as_str()) {
            found.entry(name.clone()).or_insert_with(|| json!(value));
        }
    }
    found
}

fn resources(endpoint: &Endpoint, bucket: Option<&str>, key: Option<&str>) -> Vec<Resource> {
    let Some(bucket) = bucket else {
        return Vec::new();
    };
    let arn = format!("arn:{}:s3:::{bucket}", endpoint.name.partition.name());
    let mut found = Vec::new();
    if let Some(key) = key {
        found.push(Resource {
            account: None,
            kind: "AWS::S3::Object",
            arn: format!("{arn}/{key}"),
        });
    }
    found.push(Resource {
        account: None,
        kind: "AWS::S3::Bucket",
        arn,
    });
    found
}

/// `x-amz-id-2`: opaque, here derived from the request id.
fn host_id(request_id: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(checksum::md5_of(request_id.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
