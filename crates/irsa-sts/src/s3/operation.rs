//! Which operation a request is: by method, by what it addresses, and by its subresource.

use parking_lot::RwLock;

use super::answer::S3Answer;
use super::error::{S3Error, S3Result};
use super::request::{Accepted, Request};
use super::store::Store;
use super::{buckets, multipart, objects};

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

/// Headers that ask for something that is not played here. Values that ask for what happens anyway are accepted.
const UNSUPPORTED_HEADERS: [(&str, &[&str]); 28] = [
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-bucket-object-lock-enabled", &["false"]),
    ("x-amz-bypass-governance-retention", &["false"]),
    ("x-amz-checksum-type", &["FULL_OBJECT"]),
    ("x-amz-copy-source-if-match", &[]),
    ("x-amz-copy-source-if-modified-since", &[]),
    ("x-amz-copy-source-if-none-match", &[]),
    ("x-amz-copy-source-if-unmodified-since", &[]),
    ("x-amz-copy-source-range", &[]),
    ("x-amz-copy-source-server-side-encryption-customer-algorithm", &[]),
    ("x-amz-grant-full-control", &[]),
    ("x-amz-grant-read", &[]),
    ("x-amz-grant-read-acp", &[]),
    ("x-amz-grant-write", &[]),
    ("x-amz-grant-write-acp", &[]),
    ("x-amz-mfa", &[]),
    ("x-amz-object-lock-legal-hold", &["OFF"]),
    ("x-amz-object-lock-mode", &[]),
    ("x-amz-object-lock-retain-until-date", &[]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
    ("x-amz-server-side-encryption", &["AES256"]),
    ("x-amz-server-side-encryption-aws-kms-key-id", &[]),
    ("x-amz-server-side-encryption-customer-algorithm", &[]),
    ("x-amz-storage-class", &["STANDARD"]),
    ("x-amz-tagging", &[""]),
    ("x-amz-tagging-directive", &["COPY"]),
    ("x-amz-website-redirect-location", &[]),
    ("x-amz-write-offset-bytes", &[]),
];

impl Operation {
    pub(super) fn of(request: &Request) -> S3Result<Self> {
        if let Some((name, _)) = UNSUPPORTED_HEADERS.iter().find(|(name, accepted)| {
            request.headers.get(*name).is_some_and(|sent| {
                !accepted
                    .iter()
                    .any(|accepted| sent.as_bytes() == accepted.as_bytes())
            })
        }) {
            return Err(S3Error::not_implemented(name));
        }
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

    /// Carries it out.
    pub(super) fn run(self, store: &RwLock<Store>, accepted: &Accepted) -> S3Result<S3Answer> {
        let write = || store.write();
        let read = || store.read();
        match self {
            Self::AbortMultipartUpload => multipart::abort(&mut write(), accepted),
            Self::CompleteMultipartUpload => multipart::complete(&mut write(), accepted),
            Self::CopyObject => objects::copy(&mut write(), accepted),
            Self::CreateBucket => buckets::create(&mut write(), accepted),
            Self::CreateMultipartUpload => multipart::begin(&mut write(), accepted),
            Self::DeleteBucket => buckets::delete(&mut write(), accepted),
            Self::DeleteObject => objects::delete(&mut write(), accepted),
            Self::DeleteObjects => objects::delete_many(&mut write(), accepted),
            Self::GetBucketLocation => buckets::location(&read(), accepted),
            Self::GetBucketVersioning => buckets::versioning(&read(), accepted),
            Self::GetObject | Self::HeadObject => objects::get(&read(), accepted),
            Self::HeadBucket => buckets::head(&read(), accepted),
            Self::ListBuckets => buckets::list_buckets(&read(), accepted),
            Self::ListObjects => buckets::list_objects(&read(), accepted),
            Self::ListParts => multipart::list_parts(&read(), accepted),
            Self::PutObject => objects::put(&mut write(), accepted),
            Self::UploadPart => multipart::put_part(&mut write(), accepted),
        }
    }
}
