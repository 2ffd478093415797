//! Operations on buckets: create, look up, list their content, delete.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::Answer;
use super::error::{S3Error, S3Result};
use super::region;
use super::request::Request;
use super::store::{Object, Store};
use super::xml::{Document, NAMESPACE, leaves};
use crate::host::Endpoint;

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
pub(super) fn list_buckets(store: &Store, request: &Request, account: &str) -> S3Result<Answer> {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let wanted_region = request.parameter("bucket-region");
    let mut document = Document::new("ListAllMyBucketsResult", Some(NAMESPACE));
    owner(&mut document, account);
    document.open("Buckets");
    for (name, bucket) in store.buckets() {
        if bucket.account != account
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
    Ok(Answer::xml(document))
}

/// `CreateBucket`. The region comes from the body; the endpoint decides which regions it may be.
pub(super) fn create(
    store: &mut Store,
    request: &Request,
    account: &str,
    endpoint: &Endpoint,
    now: Timestamp,
) -> S3Result<Answer> {
    let name = request.bucket()?;
    let asked = if request.body.is_empty() {
        None
    } else {
        leaves(&request.body, "CreateBucketConfiguration")?
            .into_iter()
            .find(|leaf| leaf.path == "LocationConstraint")
            .map(|leaf| leaf.text.trim().to_owned())
            .filter(|region| !region.is_empty())
    };
    let incompatible = |constraint: &str| {
        S3Error::bad(
            "IllegalLocationConstraintException",
            format!(
                "The {constraint} location constraint is incompatible for the region specific endpoint this request \
                 was sent to."
            ),
        )
    };
    let here = endpoint.region.as_str();
    let region = match asked.as_deref() {
        None if here == "us-east-1" => here,
        None => return Err(incompatible("unspecified")),
        Some("EU") => "eu-west-1",
        Some(region) if region == here && here != "us-east-1" => region,
        // The oldest endpoint creates buckets of every region that needs no enabling.
        Some(region) if here == "us-east-1" && region != here => {
            if region::has_global_dns(region) {
                region
            } else if irsa_core::partition::all_regions().any(|known| known == region) {
                return Err(incompatible(region));
            } else {
                return Err(S3Error::bad(
                    "InvalidLocationConstraint",
                    "The specified location-constraint is not valid",
                )
                .with("LocationConstraint", region));
            }
        }
        Some(region) if region == here => {
            return Err(S3Error::bad(
                "InvalidLocationConstraint",
                "The specified location-constraint is not valid",
            )
            .with("LocationConstraint", region));
        }
        Some(region) => return Err(incompatible(region)),
    };
    store.create_bucket(name, account, region, now)?;
    Ok(Answer::empty(StatusCode::OK).header("location", &format!("/{name}")))
}

/// `HeadBucket`.
pub(super) fn head(store: &Store, request: &Request, account: &str) -> S3Result<Answer> {
    let bucket = store.owned(request.bucket()?, account)?;
    Ok(Answer::empty(StatusCode::OK).header("x-amz-bucket-region", &bucket.region))
}

/// `DeleteBucket`.
pub(super) fn delete(store: &mut Store, request: &Request, account: &str) -> S3Result<Answer> {
    let name = request.bucket()?;
    store.owned(name, account)?;
    store.delete_bucket(name)?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// `GetBucketLocation`.
pub(super) fn location(store: &Store, request: &Request, account: &str) -> S3Result<Answer> {
    let bucket = store.owned(request.bucket()?, account)?;
    let mut document = Document::new("LocationConstraint", Some(NAMESPACE));
    // us-east-1 is the absence of a constraint.
    if bucket.region != "us-east-1" {
        document.content(&bucket.region);
    }
    Ok(Answer::xml(document))
}

/// `GetBucketVersioning`: never switched on.
pub(super) fn versioning(store: &Store, request: &Request, account: &str) -> S3Result<Answer> {
    store.owned(request.bucket()?, account)?;
    Ok(Answer::xml(Document::new(
        "VersioningConfiguration",
        Some(NAMESPACE),
    )))
}

/// `ListObjectsV2`, and `ListObjects` where the client still asks in the old way.
pub(super) fn list_objects(store: &Store, request: &Request, account: &str) -> S3Result<Answer> {
    let name = request.bucket()?;
    let bucket = store.owned(name, account)?;
    let listing = Listing::of(request)?;
    let page = listing.page(bucket.objects.iter().map(|(key, object)| (key, &**object)));

    let mut document = Document::new("ListBucketResult", Some(NAMESPACE));
    let text = |document: &mut Document, element, value: &str| {
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
            document.text(
                "ChecksumAlgorithm",
                checksum.algorithm.element().trim_start_matches("Checksum"),
            );
        }
        document.text("Size", &object.body.len().to_string());
        if listing.owner {
            owner(&mut document, account);
        }
        document.text("StorageClass", "STANDARD");
        document.close();
    }
    for prefix in page.prefixes {
        document.open("CommonPrefixes");
        text(&mut document, "Prefix", &prefix);
        document.close();
    }
    Ok(Answer::xml(document))
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
fn owner(document: &mut Document, account: &str) {
    document.open("Owner");
    document.text("ID", account);
    document.close();
}

/// S3 writes milliseconds.
pub(super) fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
