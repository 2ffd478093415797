//! Which operation a request is: by method, by what it addresses, and by its subresource.

use jiff::Timestamp;
use parking_lot::RwLock;

use super::answer::Answer;
use super::checksum::Checksum;
use super::error::{S3Error, S3Result};
use super::request::Request;
use super::store::Store;
use super::{buckets, multipart, objects};
use crate::host::Endpoint;

/// The operations that are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucket,
    DeleteObject,
    DeleteObjects,
    GetBucketLocation,
    GetBucketVersioning,
    GetObject,
    HeadBucket,
    HeadObject,
    ListBuckets,
    ListObjects,
    ListParts,
    PutObject,
    UploadPart,
}

/// Subresources that change what a request means; asking for one that is not played must not be taken for the plain
/// operation.
const SUBRESOURCES: [&str; 34] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versionId",
    "versions",
    "website",
];

impl Operation {
    pub(super) fn of(request: &Request) -> S3Result<Self> {
        let has = |name: &str| request.parameter(name).is_some();
        let method = request.method.as_str();
        let addressed = (request.bucket.is_some(), request.key.is_some());
        let found = match (method, addressed) {
            ("POST", (true, true)) if has("uploads") => Some(Self::CreateMultipartUpload),
            ("POST", (true, true)) if has("uploadId") => Some(Self::CompleteMultipartUpload),
            ("PUT", (true, true)) if has("uploadId") && has("partNumber") => Some(Self::UploadPart),
            ("DELETE", (true, true)) if has("uploadId") => Some(Self::AbortMultipartUpload),
            ("GET", (true, true)) if has("uploadId") => Some(Self::ListParts),
            ("POST", (true, false)) if has("delete") => Some(Self::DeleteObjects),
            ("GET", (true, false)) if has("location") => Some(Self::GetBucketLocation),
            ("GET", (true, false)) if has("versioning") => Some(Self::GetBucketVersioning),
            _ => None,
        };
        if let Some(found) = found {
            return match found {
                Self::UploadPart if request.header("x-amz-copy-source").is_some() => {
                    Err(S3Error::not_implemented("UploadPartCopy"))
                }
                found => Ok(found),
            };
        }
        if let Some(name) = SUBRESOURCES.iter().find(|name| has(name)) {
            return Err(S3Error::not_implemented(name));
        }
        match (method, addressed) {
            ("GET", (false, false)) => Ok(Self::ListBuckets),
            ("PUT", (true, false)) if !has("versioning") => Ok(Self::CreateBucket),
            ("HEAD", (true, false)) => Ok(Self::HeadBucket),
            ("GET", (true, false)) => Ok(Self::ListObjects),
            ("DELETE", (true, false)) => Ok(Self::DeleteBucket),
            ("PUT", (true, true)) if request.header("x-amz-copy-source").is_some() => Ok(Self::CopyObject),
            ("PUT", (true, true)) => Ok(Self::PutObject),
            ("GET", (true, true)) => Ok(Self::GetObject),
            ("HEAD", (true, true)) => Ok(Self::HeadObject),
            ("DELETE", (true, true)) => Ok(Self::DeleteObject),
            ("PUT", (true, false)) => Err(S3Error::not_implemented("versioning")),
            ("POST", (true, false)) => Err(S3Error::not_implemented("browser uploads by POST")),
            _ => Err(S3Error::method_not_allowed(&request.method)),
        }
    }

    /// CloudTrail's `eventName`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::CopyObject => "CopyObject",
            Self::CreateBucket => "CreateBucket",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::DeleteBucket => "DeleteBucket",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::GetObject => "GetObject",
            Self::HeadBucket => "HeadBucket",
            Self::HeadObject => "HeadObject",
            Self::ListBuckets => "ListBuckets",
            Self::ListObjects => "ListObjects",
            Self::ListParts => "ListParts",
            Self::PutObject => "PutObject",
            Self::UploadPart => "UploadPart",
        }
    }

    pub(super) fn is_read_only(self) -> bool {
        matches!(
            self,
            Self::GetBucketLocation
                | Self::GetBucketVersioning
                | Self::GetObject
                | Self::HeadBucket
                | Self::HeadObject
                | Self::ListBuckets
                | Self::ListObjects
                | Self::ListParts
        )
    }

    /// Does it, on behalf of `account`.
    pub(super) fn run(
        self,
        store: &RwLock<Store>,
        request: &Request,
        checksum: Option<Checksum>,
        account: &str,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> S3Result<Answer> {
        let write = || store.write();
        let read = || store.read();
        match self {
            Self::AbortMultipartUpload => multipart::abort(&mut write(), request, account),
            Self::CompleteMultipartUpload => multipart::complete(&mut write(), request, account, now),
            Self::CopyObject => {
                let source = request.header("x-amz-copy-source").unwrap_or_default();
                objects::copy(&mut write(), request, source, account, now)
            }
            Self::CreateBucket => buckets::create(&mut write(), request, account, endpoint, now),
            Self::CreateMultipartUpload => multipart::begin(&mut write(), request, account, now),
            Self::DeleteBucket => buckets::delete(&mut write(), request, account),
            Self::DeleteObject => objects::delete(&mut write(), request, account),
            Self::DeleteObjects => objects::delete_many(&mut write(), request, account),
            Self::GetBucketLocation => buckets::location(&read(), request, account),
            Self::GetBucketVersioning => buckets::versioning(&read(), request, account),
            Self::GetObject | Self::HeadObject => objects::get(&read(), request, account),
            Self::HeadBucket => buckets::head(&read(), request, account),
            Self::ListBuckets => buckets::list_buckets(&read(), request, account),
            Self::ListObjects => buckets::list_objects(&read(), request, account),
            Self::ListParts => multipart::list_parts(&read(), request, account),
            Self::PutObject => objects::put(&mut write(), request, checksum, account, now),
            Self::UploadPart => multipart::put_part(&mut write(), request, checksum.as_ref(), account, now),
        }
    }
}
