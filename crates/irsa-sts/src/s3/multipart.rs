//! Uploads in parts: what the transfer managers of SDKs and `aws s3 cp` do with larger files.

use http::StatusCode;

use super::answer::S3Answer;
use super::buckets::iso;
use super::checksum;
use super::error::{S3Error, S3Result};
use super::request::Accepted;
use super::store::{Object, Part, Store, Upload};
use super::xml::leaves;
use crate::xml::{S3_NAMESPACE, XmlWriter};

/// Part numbers go from 1 to this.
const MAX_PART: u32 = 10_000;
/// The least bytes of every part but the last.
const MIN_PART: usize = 5 << 20;

/// `CreateMultipartUpload`.
pub(super) fn begin(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    accepted.bucket_in(store)?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    store.begin_upload(
        id.clone(),
        Upload {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            begun: accepted.now,
            headers: request.stored_headers()?,
            parts: std::collections::BTreeMap::new(),
        },
    )?;
    let mut document = XmlWriter::s3("InitiateMultipartUploadResult", Some(S3_NAMESPACE));
    document.text("Bucket", bucket);
    document.text("Key", key);
    document.text("UploadId", &id);
    Ok(S3Answer::xml(document))
}

/// `UploadPart`.
pub(super) fn put_part(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    accepted.bucket_in(store)?;
    let id = request.parameter("uploadId").unwrap_or_default();
    let text = request.parameter("partNumber").unwrap_or_default();
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=MAX_PART).contains(number))
        .ok_or_else(|| {
            S3Error::invalid_argument(
                "partNumber",
                text,
                "Part number must be an integer between 1 and 10000, inclusive",
            )
        })?;
    store.upload(id, bucket, key)?;
    let md5 = checksum::md5_of(&request.body);
    let etag = checksum::etag(md5);
    store.put_part(
        id,
        number,
        Part {
            body: request.body.clone(),
            etag: etag.clone(),
            md5,
            modified: accepted.now,
        },
    )?;
    let answer = S3Answer::empty(StatusCode::OK).header("etag", &etag);
    Ok(match &accepted.checksum {
        Some(checksum) => answer.header(checksum.algorithm.header(), &checksum.value),
        None => answer,
    })
}

/// `CompleteMultipartUpload`.
pub(super) fn complete(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    accepted.bucket_in(store)?;
    let id = request.parameter("uploadId").unwrap_or_default();
    let upload = store.upload(id, bucket, key)?;
    let wanted = wanted_parts(&request.body)?;
    let mut body = Vec::new();
    let mut md5s = Vec::new();
    let mut previous = 0;
    for (place, (number, etag)) in wanted.iter().enumerate() {
        if *number <= previous {
            return Err(S3Error::bad(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ));
        }
        previous = *number;
        let part = upload
            .parts
            .get(number)
            .filter(|part| part.etag.trim_matches('"') == etag.trim_matches('"'))
            .ok_or_else(|| {
                S3Error::bad(
                    "InvalidPart",
                    "One or more of the specified parts could not be found. The part may not have been uploaded, or \
                     the specified entity tag may not match the part's entity tag.",
                )
                .with("UploadId", id)
                .with("PartNumber", number.to_string())
            })?;
        if place + 1 < wanted.len() && part.body.len() < MIN_PART {
            return Err(S3Error::bad(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        body.extend_from_slice(&part.body);
        md5s.extend_from_slice(&part.md5);
    }
    let etag = format!("\"{}-{}\"", hex::encode(checksum::md5_of(&md5s)), wanted.len());
    let headers = store
        .remove_upload(id)
        .map(|upload| upload.headers)
        .unwrap_or_default();
    store.put(
        bucket,
        key,
        Object {
            body: body.into(),
            etag: etag.clone(),
            modified: accepted.now,
            headers,
            checksum: None,
        },
    )?;
    let mut document = XmlWriter::s3("CompleteMultipartUploadResult", Some(S3_NAMESPACE));
    document.text("Location", &format!("/{bucket}/{key}"));
    document.text("Bucket", bucket);
    document.text("Key", key);
    document.text("ETag", &etag);
    Ok(S3Answer::xml(document))
}

/// `AbortMultipartUpload`.
pub(super) fn abort(store: &mut Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    accepted.bucket_in(store)?;
    let id = request.parameter("uploadId").unwrap_or_default();
    store.upload(id, bucket, key)?;
    store.remove_upload(id);
    Ok(S3Answer::empty(StatusCode::NO_CONTENT))
}

/// `ListParts`, all on one page.
pub(super) fn list_parts(store: &Store, accepted: &Accepted) -> S3Result<S3Answer> {
    let request = &accepted.request;
    let (bucket, key) = (request.bucket()?, request.key()?);
    accepted.bucket_in(store)?;
    let id = request.parameter("uploadId").unwrap_or_default();
    let upload = store.upload(id, bucket, key)?;
    let mut document = XmlWriter::s3("ListPartsResult", Some(S3_NAMESPACE));
    document.text("Bucket", bucket);
    document.text("Key", key);
    document.text("UploadId", id);
    document.text("Initiated", &iso(upload.begun));
    document.text("MaxParts", &MAX_PART.to_string());
    document.text("IsTruncated", "false");
    for (number, part) in &upload.parts {
        document.open("Part");
        document.text("PartNumber", &number.to_string());
        document.text("LastModified", &iso(part.modified));
        document.text("ETag", &part.etag);
        document.text("Size", &part.body.len().to_string());
        document.close();
    }
    Ok(S3Answer::xml(document))
}

fn wanted_parts(body: &[u8]) -> S3Result<Vec<(u32, String)>> {
    let mut parts: Vec<(usize, Option<u32>, Option<String>)> = Vec::new();
    for leaf in leaves(body, "CompleteMultipartUpload")? {
        if parts.last().is_none_or(|(nth, ..)| *nth != leaf.nth) {
            parts.push((leaf.nth, None, None));
        }
        if let Some((_, number, etag)) = parts.last_mut() {
            match leaf.path.as_str() {
                "Part/PartNumber" => *number = leaf.text.trim().parse().ok(),
                "Part/ETag" => *etag = Some(leaf.text.trim().to_owned()),
                _ => {}
            }
        }
    }
    let parts: Option<Vec<_>> = parts
        .into_iter()
        .map(|(_, number, etag)| Some((number?, etag?)))
        .collect();
    parts
        .filter(|parts| !parts.is_empty())
        .ok_or_else(S3Error::malformed_xml)
}
