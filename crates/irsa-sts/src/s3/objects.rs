//! Operations on objects: put, get with ranges and conditions, copy, delete one or many.

use std::ops::Range;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::fmt::rfc2822::{self, DateTimePrinter};
use percent_encoding::percent_decode_str;

use super::answer::S3Answer;
use super::buckets::iso;
use super::checksum;
use super::error::{S3Error, S3Result};
use super::request::{Accepted, Request};
use super::store::{Object, Store};
use super::xml::leaves;
use crate::xml::{S3_NAMESPACE, XmlWriter};

/// The most keys in one `DeleteObjects`.
const MAX_DELETES: usize = 1000;

/// What S3 says of a body whose client did not say.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// `PutObject`.
pub(super) fn put(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    let existing = accepted.bucket_in(store)?.objects.get(key);
    write_conditions(request, existing.map(|object| object.etag.as_str()))?;
    let object = store.put(
        bucket,
        key,
        Object {
            etag: checksum::etag(checksum::md5_of(&request.body)),
            body: request.body.clone(),
            modified: accepted.now,
            headers: request.stored_headers()?,
            checksum: accepted.checksum.clone(),
        },
    )?;
    Ok(with_checksum(
        S3Answer::empty(StatusCode::OK).header("etag", &object.etag),
        &object,
    ))
}

/// `CopyObject`.
pub(super) fn copy(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    accepted.bucket_in(store)?;
    let source = request.header("x-amz-copy-source").unwrap_or_default();
    let invalid = || {
        S3Error::invalid_argument(
            "x-amz-copy-source",
            source,
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )
    };
    let decoded = percent_decode_str(source).decode_utf8().map_err(|_| invalid())?;
    let plain = decoded.strip_prefix('/').unwrap_or(&decoded);
    let plain = plain.split_once("?versionId=").map_or(plain, |(path, _)| path);
    let (from_bucket, from_key) = plain.split_once('/').ok_or_else(invalid)?;
    let from = store
        .owned(
            from_bucket,
            &accepted.account,
            request.header("x-amz-source-expected-bucket-owner"),
        )?
        .objects
        .get(from_key)
        .ok_or_else(|| S3Error::no_such_key(from_key))?;
    let replaces = request
        .header("x-amz-metadata-directive")
        .is_some_and(|directive| directive.eq_ignore_ascii_case("REPLACE"));
    if (from_bucket, from_key) == (bucket, key) && !replaces {
        return Err(S3Error::bad(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let copy = Object {
        body: from.body.clone(),
        etag: from.etag.clone(),
        modified: accepted.now,
        headers: if replaces {
            request.stored_headers()?
        } else {
            from.headers.clone()
        },
        checksum: from.checksum.clone(),
    };
    let object = store.put(bucket, key, copy)?;
    let mut document = XmlWriter::s3("CopyObjectResult", Some(S3_NAMESPACE));
    document.text("LastModified", &iso(object.modified));
    document.text("ETag", &object.etag);
    Ok(S3Answer::xml(document))
}

/// `GetObject` and `HeadObject`.
pub(super) fn get(store: &Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let key = request.key()?;
    let object = accepted
        .bucket_in(store)?
        .objects
        .get(key)
        .ok_or_else(|| S3Error::no_such_key(key))?;
    read_conditions(request, object)?;
    let size = object.body.len();
    let range = match request.header("range") {
        Some(header) => byte_range(header, size)?,
        None => None,
    };
    let body = object.body.slice(range.clone().unwrap_or(0..size));
    // HEAD tells the length of what it does not send.
    let length = body.len().to_string();
    let body = if request.method == Method::HEAD {
        Bytes::new()
    } else {
        body
    };
    let mut answer = match &range {
        Some(range) => S3Answer::body(StatusCode::PARTIAL_CONTENT, body).header(
            "content-range",
            &format!("bytes {}-{}/{size}", range.start, range.end - 1),
        ),
        None => S3Answer::body(StatusCode::OK, body),
    };
    answer = answer
        .header("content-length", &length)
        .header("content-type", DEFAULT_CONTENT_TYPE)
        .header("etag", &object.etag)
        .header("accept-ranges", "bytes");
    if let Ok(modified) = DateTimePrinter::new().timestamp_to_rfc9110_string(&object.modified) {
        answer = answer.header("last-modified", &modified);
    }
    for (name, value) in &object.headers {
        answer = answer.stored_header(name, value);
    }
    // The checksum is one of the whole object.
    let wants_checksum = request
        .header("x-amz-checksum-mode")
        .or_else(|| request.parameter("x-amz-checksum-mode"))
        .is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"));
    if wants_checksum && range.is_none() {
        answer = with_checksum(answer, object);
    }
    Ok(overridden(answer, request))
}

/// `DeleteObject`. Deleting what is not there is no error.
pub(super) fn delete(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    accepted.bucket_in(store)?;
    store.delete(bucket, key);
    Ok(S3Answer::empty(StatusCode::NO_CONTENT))
}

/// `DeleteObjects`.
pub(super) fn delete_many(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let bucket = request.bucket()?;
    accepted.bucket_in(store)?;
    let found = leaves(&request.body, "Delete")?;
    let quiet = found
        .iter()
        .any(|leaf| leaf.path == "Quiet" && leaf.text.trim() == "true");
    let keys: Vec<_> = found
        .into_iter()
        .filter(|leaf| leaf.path == "Object/Key")
        .map(|leaf| leaf.text)
        .collect();
    if keys.is_empty() || keys.len() > MAX_DELETES {
        return Err(S3Error::malformed_xml());
    }
    let mut document = XmlWriter::s3("DeleteResult", Some(S3_NAMESPACE));
    for key in keys {
        store.delete(bucket, &key);
        if !quiet {
            document.open("Deleted");
            document.text("Key", &key);
            document.close();
        }
    }
    Ok(S3Answer::xml(document))
}

fn with_checksum(answer: S3Answer, object: &Object) -> S3Answer {
    match &object.checksum {
        Some(checksum) => answer
            .header(checksum.algorithm.header(), &checksum.value)
            .header("x-amz-checksum-type", "FULL_OBJECT"),
        None => answer,
    }
}

/// `response-content-type` and its like: a signed URL may say with which headers its answer comes.
fn overridden(mut answer: S3Answer, request: &Request) -> S3Answer {
    const OVERRIDES: [(&str, &str); 6] = [
        ("response-cache-control", "cache-control"),
        ("response-content-disposition", "content-disposition"),
        ("response-content-encoding", "content-encoding"),
        ("response-content-language", "content-language"),
        ("response-content-type", "content-type"),
        ("response-expires", "expires"),
    ];
    for (parameter, header) in OVERRIDES {
        if let Some(value) = request.parameter(parameter) {
            answer = answer.header(header, value);
        }
    }
    answer
}

/// Conditions of a write: clients use `If-None-Match: *` to create once.
fn write_conditions(request: &Request, existing: Option<&str>) -> S3Result<()> {
    let failed = |condition: &'static str| {
        Err(S3Error::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
        .with("Condition", condition))
    };
    if request.header("if-none-match").is_some() && existing.is_some() {
        return failed("If-None-Match");
    }
    match (request.header("if-match"), existing) {
        (Some(wanted), Some(etag)) if !etag_matches(wanted, etag) => failed("If-Match"),
        (Some(_), None) => Err(S3Error::no_such_key(request.key.as_deref().unwrap_or_default())),
        _ => Ok(()),
    }
}

fn read_conditions(request: &Request, object: &Object) -> S3Result<()> {
    let date = |name| {
        request
            .header(name)
            .and_then(|text| rfc2822::parse(text).ok())
            .map(|zoned| zoned.timestamp().as_second())
    };
    let modified = object.modified.as_second();
    let failed = |condition: &'static str| {
        Err(S3Error::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
        .with("Condition", condition))
    };
    match request.header("if-match") {
        Some(wanted) if !etag_matches(wanted, &object.etag) => return failed("If-Match"),
        None if date("if-unmodified-since").is_some_and(|date| modified > date) => {
            return failed("If-Unmodified-Since");
        }
        _ => {}
    }
    let unchanged = match request.header("if-none-match") {
        Some(wanted) => etag_matches(wanted, &object.etag),
        None => date("if-modified-since").is_some_and(|date| modified <= date),
    };
    if unchanged {
        return Err(S3Error::new(
            StatusCode::NOT_MODIFIED,
            "NotModified",
            "Not Modified",
        ));
    }
    Ok(())
}

fn etag_matches(wanted: &str, etag: &str) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    wanted
        .split(',')
        .any(|one| one.trim() == "*" || bare(one) == bare(etag))
}

/// One range of `Range`. What is no byte range, or more than one, is answered in full, as HTTP wants it.
fn byte_range(header: &str, size: usize) -> S3Result<Option<Range<usize>>> {
    let Some(spec) = header.strip_prefix("bytes=").map(str::trim) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Ok(None);
    };
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return Ok(None),
    };
    if range.is_empty() {
        return Err(S3Error::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "InvalidRange",
            "The requested range is not satisfiable",
        )
        .with("RangeRequested", header)
        .with("ActualObjectSize", size.to_string()));
    }
    Ok(Some(range))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        for (header, wanted) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-99", Some(2..10)),
            ("bytes=5-", Some(5..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=", None),
            ("bytes=99999999999999999999-", None),
        ] {
            assert_eq!(byte_range(header, 10).unwrap(), wanted, "{header}");
        }
    }

    #[test]
    fn a_range_behind_the_end_cannot_be_had() {
        for header in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(byte_range(header, 10).unwrap_err().code, "InvalidRange");
        }
        assert_eq!(byte_range("bytes=0-", 0).unwrap_err().code, "InvalidRange");
    }

    #[test]
    fn etags_match_with_and_without_quotes() {
        assert!(etag_matches("\"a\", \"b\"", "\"b\""));
        assert!(etag_matches("b", "\"b\""));
        assert!(etag_matches("*", "\"b\""));
        assert!(!etag_matches("\"c\"", "\"b\""));
    }
}
