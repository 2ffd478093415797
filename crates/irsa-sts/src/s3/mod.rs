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
mod store;
mod xml;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response};
use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use self::answer::Answer;
use self::auth::{Claim, Place};
use self::error::{S3Error, S3Result};
use self::operation::Operation;
use self::request::{Addressing, Request};
use self::store::Store;
use crate::aws::Aws;
use crate::call::{Call, CallError, Identity, Resource, Service};
use crate::config::Bucket;
use crate::connection::Connection;
use crate::host::{Endpoint, EndpointClass};
use crate::ids;
use crate::sigv4::RequestView;

/// The state of S3: buckets and what is in them.
#[derive(Debug, Default)]
pub(crate) struct S3 {
    store: RwLock<Store>,
    redirects_new_buckets: AtomicBool,
}

impl S3 {
    /// S3 with these buckets, each with its owner's account.
    pub(crate) fn new(buckets: &[(String, Bucket)]) -> Result<Self, String> {
        let s3 = Self::default();
        s3.add_buckets(buckets)?;
        Ok(s3)
    }

    /// Creates buckets on behalf of their owners.
    pub(crate) fn add_buckets(&self, buckets: &[(String, Bucket)]) -> Result<(), String> {
        self.store.write().add_configured(buckets)
    }
}

impl Aws {
    /// Whether `BUCKET.s3.amazonaws.com` answers 307 for buckets outside `us-east-1`, as AWS does for up to a day after
    /// a bucket was created, until its DNS knows better. Off at first.
    pub fn set_redirects_new_buckets(&self, on: bool) {
        self.inner().s3.redirects_new_buckets.store(on, Ordering::Relaxed);
    }

    /// The names of all buckets. For a hosts file, which has no wildcards.
    #[must_use]
    pub fn bucket_names(&self) -> Vec<String> {
        let store = self.inner().s3.store.read();
        store.buckets().map(|(name, _)| name.clone()).collect()
    }
}

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

/// Answers one request to an S3 endpoint.
pub(crate) async fn handle(
    aws: &Aws,
    request: http::Request<Bytes>,
    connection: &Connection,
    endpoint: &Endpoint,
) -> Response<Bytes> {
    let now = aws.now();
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
        .and_then(|request| answer(aws, &view, request, endpoint, now, &mut trace));

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
        trace
            .additional
            .insert("bytesTransferredIn".to_owned(), json!(received));
        trace
            .additional
            .insert("bytesTransferredOut".to_owned(), json!(response.body().len()));
        if let Some(tls) = &connection.tls {
            trace
                .additional
                .insert("CipherSuite".to_owned(), json!(tls.cipher));
        }
        aws.record(Call {
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
            user_agent: view.header("user-agent").map(str::to_owned),
            source_ip: connection.source_ip,
            tls: connection.tls.clone(),
        });
    }
    response
}

fn answer(
    aws: &Aws,
    view: &RequestView<'_>,
    mut request: Request,
    endpoint: &Endpoint,
    now: Timestamp,
    trace: &mut Trace,
) -> S3Result<Answer> {
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
            trace.additional.insert(name.to_owned(), json!(value));
        }
    }

    let inner = aws.inner();
    // A bucket that is yet to be created is nowhere.
    let home = match &request.bucket {
        Some(bucket) if operation != Operation::CreateBucket => inner
            .s3
            .store
            .read()
            .bucket(bucket)
            .map(|entry| (bucket.clone(), entry.region.clone(), entry.account.clone())),
        _ => None,
    };
    let bucket_region = home.as_ref().map(|(_, region, _)| region.as_str());
    let serving = region::serving(endpoint, request.addressing, bucket_region);
    trace.region = serving.to_owned();
    trace.account = home.as_ref().map(|(.., account)| account.clone());
    if let Some((bucket, region, _)) = &home
        && inner.s3.redirects_new_buckets.load(Ordering::Relaxed)
        && endpoint.class == EndpointClass::Global
        && request.addressing == Addressing::Virtual
        && region != "us-east-1"
        && region == serving
    {
        let target = match view.query {
            "" => view.path.to_owned(),
            query => format!("{}?{query}", view.path),
        };
        return Err(region::not_yet_in_dns(endpoint, bucket, region, &target));
    }
    let place = Place {
        partition: endpoint.name.partition,
        region: serving,
        now,
    };
    claim.check_scope(place)?;
    if let Some((bucket, region, _)) = &home
        && region != serving
    {
        return Err(region::elsewhere(endpoint, request.addressing, bucket, region));
    }
    if let (Claim::Anonymous, Some(bucket), None) = (&claim, &request.bucket, &home)
        && operation != Operation::CreateBucket
    {
        return Err(S3Error::no_such_bucket(bucket));
    }
    claim.check_time(now)?;
    let authenticated = claim.verify(inner, view, &request, place)?;
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
    operation.run(&inner.s3.store, &request, checksum, &account, endpoint, now)
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
