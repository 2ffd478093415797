//! Operations on buckets: create, look up, list their content, delete.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::S3Answer;
use super::error::{S3Error, S3Result};
use super::region;
use super::request::{Accepted, Request};
use super::store::{Object, Store};
use super::xml::leaves;
use crate::xml::{S3_NAMESPACE, XmlWriter};

/// The most keys in one answer.
const MAX_KEYS: usize = 1000;

/// What `encoding-type=url` leaves as it is.
const URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'*')
    .remove(b'/');

/// `ListBuckets`: those of the caller's account.
pub(super) fn list_buckets(store: &Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let prefix = request.parameter("prefix").unwrap_or_default();
    let wanted_region = request.parameter("bucket-region");
    let mut document = XmlWriter::s3("ListAllMyBucketsResult", Some(S3_NAMESPACE));
    owner(&mut document, &accepted.account);
    document.open("Buckets");
    for (name, bucket) in store.buckets() {
        if bucket.account != accepted.account
            || !name.starts_with(prefix)
            || wanted_region.is_some_and(|region| region != bucket.region)
        {
            continue;
        }
        document.open("Bucket");
        document.text("Name", name);
        document.text("CreationDate", &iso(bucket.created));
        document.text("BucketRegion", &bucket.region);
        document.close();
    }
    Ok(S3Answer::xml(document))
}

/// `CreateBucket`. The region comes from the body; the endpoint decides which regions it may be.
pub(super) fn create(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let name = request.bucket()?;
    let asked = asked_region(&request.body)?;
    let region = region_of_new(asked.as_deref(), &accepted.region)?;
    store.create_bucket(name, &accepted.account, region, accepted.now)?;
    Ok(S3Answer::empty(StatusCode::OK).header("location", &format!("/{name}")))
}

/// The `LocationConstraint` of a `CreateBucketConfiguration`; an empty one counts as none.
fn asked_region(body: &[u8]) -> S3Result<Option<String>> {
    if body.is_empty() {
        return Ok(None);
    }
    Ok(leaves(body, "CreateBucketConfiguration")?
        .into_iter()
        .find(|leaf| leaf.path == "LocationConstraint")
        .map(|leaf| leaf.text.trim().to_owned())
        .filter(|region| !region.is_empty()))
}

/// The region of a bucket that is created through the endpoint of region `here`.
fn region_of_new<'a>(asked: Option<&'a str>, here: &'a str) -> S3Result<&'a str> {
    let incompatible = |constraint: &str| {
        S3Error::bad(
            "IllegalLocationConstraintException",
            format!(
                "The {constraint} location constraint is incompatible for the region specific endpoint this request \
                 was sent to."
            ),
        )
    };
    let invalid = |constraint: &str| {
        S3Error::bad(
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
        )
        .with("LocationConstraint", constraint)
    };
    match asked {
        None if here == "us-east-1" => Ok(here),
        None => Err(incompatible("unspecified")),
        Some("EU") => Ok("eu-west-1"),
        // us-east-1 is the absence of a constraint; naming it is an error.
        Some("us-east-1") if here == "us-east-1" => Err(invalid("us-east-1")),
        Some(region) if region == here => Ok(region),
        // The oldest endpoint creates buckets in every region that is enabled by default.
        Some(region) if here == "us-east-1" && region::has_global_dns(region) => Ok(region),
        Some(region)
            if here != "us-east-1" || irsa_core::partition::all_regions().any(|known| known == region) =>
        {
            Err(incompatible(region))
        }
        Some(region) => Err(invalid(region)),
    }
}

/// `HeadBucket`.
pub(super) fn head(store: &Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let bucket = accepted.bucket_in(store)?;
    Ok(S3Answer::empty(StatusCode::OK).header("x-amz-bucket-region", &bucket.region))
}

/// `DeleteBucket`.
pub(super) fn delete(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let name = request.bucket()?;
    accepted.bucket_in(store)?;
    store.delete_bucket(name)?;
    Ok(S3Answer::empty(StatusCode::NO_CONTENT))
}

/// `GetBucketLocation`.
pub(super) fn location(store: &Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let bucket = accepted.bucket_in(store)?;
    let mut document = XmlWriter::s3("LocationConstraint", Some(S3_NAMESPACE));
    // us-east-1 is the absence of a constraint.
    if bucket.region != "us-east-1" {
        document.content(&bucket.region);
    }
    Ok(S3Answer::xml(document))
}

/// `GetBucketVersioning`: never switched on.
pub(super) fn versioning(store: &Store, accepted: &Accepted) -> S3Result<S3Answer> {
    accepted.bucket_in(store)?;
    Ok(S3Answer::xml(XmlWriter::s3(
        "VersioningConfiguration",
        Some(S3_NAMESPACE),
    )))
}

/// `ListObjectsV2`, and `ListObjects` where the client still asks in the old way.
pub(super) fn list_objects(store: &Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let name = request.bucket()?;
    let bucket = accepted.bucket_in(store)?;
    let listing = Listing::of(request)?;
    let page = listing.page(bucket.objects.iter().map(|(key, object)| (key, &**object)));

    let mut document = XmlWriter::s3("ListBucketResult", Some(S3_NAMESPACE));
    let text = |document: &mut XmlWriter, element, value: &str| {
        if listing.encode {
            document.text(element, &utf8_percent_encode(value, URL).to_string());
        } else {
            document.text(element, value);
        }
    };
    document.text("Name", name);
    text(&mut document, "Prefix", &listing.prefix);
    if let Some(delimiter) = &listing.delimiter {
        text(&mut document, "Delimiter", delimiter);
    }
    if listing.version_2 {
        document.text("KeyCount", &(page.keys.len() + page.prefixes.len()).to_string());
        if let Some(token) = request.parameter("continuation-token") {
            document.text("ContinuationToken", token);
        }
        if let Some(start) = request.parameter("start-after") {
            text(&mut document, "StartAfter", start);
        }
        if let Some(last) = &page.next_after {
            document.text("NextContinuationToken", &URL_SAFE_NO_PAD.encode(last));
        }
    } else {
        text(
            &mut document,
            "Marker",
            request.parameter("marker").unwrap_or_default(),
        );
        if let (Some(last), Some(_)) = (&page.next_after, &listing.delimiter) {
            text(&mut document, "NextMarker", last);
        }
    }
    document.text("MaxKeys", &listing.max_keys.to_string());
    if listing.encode {
        document.text("EncodingType", "url");
    }
    document.text(
        "IsTruncated",
        if page.next_after.is_some() {
            "true"
        } else {
            "false"
        },
    );
    for (key, object) in page.keys {
        document.open("Contents");
        text(&mut document, "Key", key);
        document.text("LastModified", &iso(object.modified));
        document.text("ETag", &object.etag);
        if let Some(checksum) = &object.checksum {
            document.text("ChecksumAlgorithm", checksum.algorithm.name());
        }
        document.text("Size", &object.body.len().to_string());
        if listing.owner {
            owner(&mut document, &accepted.account);
        }
        document.text("StorageClass", "STANDARD");
        document.close();
    }
    for prefix in page.prefixes {
        document.open("CommonPrefixes");
        text(&mut document, "Prefix", &prefix);
        document.close();
    }
    Ok(S3Answer::xml(document))
}

/// What a listing asks for.
struct Listing {
    version_2: bool,
    prefix: String,
    delimiter: Option<String>,
    after: String,
    max_keys: usize,
    encode: bool,
    owner: bool,
}

/// One page of a listing.
struct Page<'a> {
    keys: Vec<(&'a str, &'a Object)>,
    prefixes: BTreeSet<String>,
    /// Where the next page begins, if there is one.
    next_after: Option<String>,
}

impl Listing {
    fn of(request: &Request) -> S3Result<Self> {
        let parameter = |name: &str| {
            request
                .parameter(name)
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        let version_2 = request.parameter("list-type") == Some("2");
        let max_keys = match request.parameter("max-keys") {
            None => MAX_KEYS,
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| {
                    S3Error::invalid_argument(
                        "max-keys",
                        text,
                        "Provided max-keys not an integer or within integer range",
                    )
                })?
                .min(MAX_KEYS),
        };
        let after = if version_2 {
            match parameter("continuation-token") {
                Some(token) => URL_SAFE_NO_PAD
                    .decode(&token)
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| {
                        S3Error::invalid_argument(
                            "continuation-token",
                            &token,
                            "The continuation token provided is incorrect",
                        )
                    })?,
                None => parameter("start-after").unwrap_or_default(),
            }
        } else {
            parameter("marker").unwrap_or_default()
        };
        Ok(Self {
            version_2,
            prefix: parameter("prefix").unwrap_or_default(),
            delimiter: parameter("delimiter"),
            after,
            max_keys,
            encode: request.parameter("encoding-type") == Some("url"),
            owner: !version_2 || request.parameter("fetch-owner") == Some("true"),
        })
    }

    fn page<'a>(&self, objects: impl Iterator<Item = (&'a String, &'a Object)>) -> Page<'a> {
        let mut page = Page {
            keys: Vec::new(),
            prefixes: BTreeSet::new(),
            next_after: None,
        };
        let mut last = None;
        for (key, object) in objects {
            let Some(rest) = key.strip_prefix(self.prefix.as_str()) else {
                continue;
            };
            let common = self.delimiter.as_deref().and_then(|delimiter| {
                rest.find(delimiter)
                    .map(|at| &key[..self.prefix.len() + at + delimiter.len()])
            });
            // A page that ended with a common prefix has told of all keys under it.
            let name = common.unwrap_or(key);
            if name <= self.after.as_str() || common.is_some_and(|c| page.prefixes.contains(c)) {
                continue;
            }
            if page.keys.len() + page.prefixes.len() == self.max_keys {
                // A page of no keys promises nothing, or clients would ask for ever.
                page.next_after = last;
                break;
            }
            match common {
                Some(common) => {
                    page.prefixes.insert(common.to_owned());
                }
                None => page.keys.push((key, object)),
            }
            last = Some(name.to_owned());
        }
        page
    }
}

/// The owner of things: the account.
fn owner(document: &mut XmlWriter, account: &str) {
    document.open("Owner");
    document.text("ID", account);
    document.close();
}

/// S3 writes milliseconds, always zero.
pub(super) fn iso(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    format!("{whole:.3}")
}
