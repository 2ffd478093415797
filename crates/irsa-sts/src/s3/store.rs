//! What is in S3: buckets, objects and uploads under way, in memory and bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use super::checksum::Checksum;
use super::error::{S3Error, S3Result};
use crate::config::Bucket;

/// How much may be stored, so that an endless test loop fails with a text and not with the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) buckets: usize,
    pub(crate) objects: usize,
    /// Bytes of all bodies together, parts of unfinished uploads included.
    pub(crate) bytes: u64,
    pub(crate) uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buckets: 1_000,
            objects: 100_000,
            bytes: 1 << 30,
            uploads: 1_000,
        }
    }
}

/// Everything stored.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) limits: Limits,
    buckets: BTreeMap<String, BucketEntry>,
    uploads: BTreeMap<String, Upload>,
    objects: usize,
    bytes: u64,
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct BucketEntry {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) created: Timestamp,
    pub(crate) objects: BTreeMap<String, Arc<Object>>,
}

/// An object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) body: Bytes,
    /// With its quotes.
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    /// Content headers and user metadata, given back as they came.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) checksum: Option<Checksum>,
}

/// A multipart upload that is not finished.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) begun: Timestamp,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) parts: BTreeMap<u32, Part>,
}

/// A part of an upload.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) body: Bytes,
    /// With its quotes.
    pub(crate) etag: String,
    pub(crate) md5: [u8; 16],
    pub(crate) modified: Timestamp,
}

impl Object {
    /// What counts against the bound: key, body, and the headers kept with it.
    fn size(&self, key: &str) -> u64 {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        (key.len() + self.body.len() + headers) as u64
    }
}

impl Store {
    pub(crate) fn bucket(&self, name: &str) -> Option<&BucketEntry> {
        self.buckets.get(name)
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&String, &BucketEntry)> {
        self.buckets.iter()
    }

    /// The bucket, if it exists and belongs to `account`, and to the account that the caller expects.
    pub(crate) fn owned(&self, name: &str, account: &str, expected: Option<&str>) -> S3Result<&BucketEntry> {
        let bucket = self
            .buckets
            .get(name)
            .ok_or_else(|| S3Error::no_such_bucket(name))?;
        if bucket.account == account && expected.is_none_or(|expected| expected == account) {
            Ok(bucket)
        } else {
            Err(S3Error::access_denied())
        }
    }

    pub(crate) fn create_bucket(
        &mut self,
        name: &str,
        account: &str,
        region: &str,
        now: Timestamp,
    ) -> S3Result<()> {
        check_bucket_name(name)?;
        if let Some(existing) = self.buckets.get(name) {
            let conflict = |code, message| {
                S3Error::new(http::StatusCode::CONFLICT, code, message).with("BucketName", name)
            };
            if existing.account != account {
                return Err(conflict(
                    "BucketAlreadyExists",
                    "The requested bucket name is not available. The bucket namespace is shared by all users of \
                     the system. Please select a different name and try again.",
                ));
            }
            // The oldest region says yes to a bucket that the caller has already.
            if existing.region == "us-east-1" && region == "us-east-1" {
                return Ok(());
            }
            return Err(conflict(
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            ));
        }
        if self.buckets.len() >= self.limits.buckets {
            return Err(S3Error::bad(
                "TooManyBuckets",
                "You have attempted to create more buckets than allowed",
            ));
        }
        self.buckets.insert(
            name.to_owned(),
            BucketEntry {
                account: account.to_owned(),
                region: region.to_owned(),
                created: now,
                objects: BTreeMap::new(),
            },
        );
        Ok(())
    }

    /// Creates the buckets of an account's configuration.
    pub(crate) fn add_configured(
        &mut self,
        account: &str,
        buckets: &[Bucket],
        now: Timestamp,
    ) -> Result<(), String> {
        for bucket in buckets {
            self.create_bucket(&bucket.name, account, &bucket.region, now)
                .map_err(|error| format!("bucket {:?}: {}", bucket.name, error.message))?;
        }
        Ok(())
    }

    pub(crate) fn delete_bucket(&mut self, name: &str) -> S3Result<()> {
        if let Some(bucket) = self.buckets.get(name)
            && !bucket.objects.is_empty()
        {
            return Err(S3Error::new(
                http::StatusCode::CONFLICT,
                "BucketNotEmpty",
                "The bucket you tried to delete is not empty",
            )
            .with("BucketName", name));
        }
        self.buckets.remove(name);
        let orphans: Vec<_> = self
            .uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == name)
            .map(|(id, _)| id.clone())
            .collect();
        for id in orphans {
            self.remove_upload(&id);
        }
        Ok(())
    }

    pub(crate) fn put(&mut self, bucket: &str, key: &str, object: Object) -> S3Result<Arc<Object>> {
        let entry = self
            .buckets
            .get(bucket)
            .ok_or_else(|| S3Error::no_such_bucket(bucket))?;
        let replaced = entry.objects.get(key).map(|object| object.size(key));
        if replaced.is_none() && self.objects >= self.limits.objects {
            return Err(full(&format!("{} objects", self.limits.objects)));
        }
        let bytes = self.bytes - replaced.unwrap_or(0) + object.size(key);
        if bytes > self.limits.bytes {
            return Err(full(&format!("{} bytes", self.limits.bytes)));
        }
        self.bytes = bytes;
        if replaced.is_none() {
            self.objects += 1;
        }
        let object = Arc::new(object);
        if let Some(entry) = self.buckets.get_mut(bucket) {
            entry.objects.insert(key.to_owned(), Arc::clone(&object));
        }
        Ok(object)
    }

    pub(crate) fn delete(&mut self, bucket: &str, key: &str) -> bool {
        let removed = self
            .buckets
            .get_mut(bucket)
            .and_then(|bucket| bucket.objects.remove(key));
        if let Some(object) = &removed {
            self.objects -= 1;
            self.bytes -= object.size(key);
        }
        removed.is_some()
    }

    pub(crate) fn begin_upload(&mut self, id: String, upload: Upload) -> S3Result<()> {
        if self.uploads.len() >= self.limits.uploads {
            return Err(full(&format!("{} unfinished uploads", self.limits.uploads)));
        }
        self.uploads.insert(id, upload);
        Ok(())
    }

    /// The upload of this id, if it is for this bucket and key.
    pub(crate) fn upload(&self, id: &str, bucket: &str, key: &str) -> S3Result<&Upload> {
        self.uploads
            .get(id)
            .filter(|upload| upload.bucket == bucket && upload.key == key)
            .ok_or_else(|| {
                S3Error::missing(
                    "NoSuchUpload",
                    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                     aborted or completed.",
                )
                .with("UploadId", id)
            })
    }

    pub(crate) fn put_part(&mut self, id: &str, number: u32, part: Part) -> S3Result<()> {
        let Some(upload) = self.uploads.get_mut(id) else {
            return Ok(());
        };
        let replaced = upload.parts.get(&number).map_or(0, |part| part.body.len() as u64);
        let bytes = self.bytes - replaced + part.body.len() as u64;
        if bytes > self.limits.bytes {
            return Err(full(&format!("{} bytes", self.limits.bytes)));
        }
        self.bytes = bytes;
        upload.parts.insert(number, part);
        Ok(())
    }

    pub(crate) fn remove_upload(&mut self, id: &str) -> Option<Upload> {
        let upload = self.uploads.remove(id)?;
        self.bytes -= upload
            .parts
            .values()
            .map(|part| part.body.len() as u64)
            .sum::<u64>();
        Some(upload)
    }
}

fn full(bound: &str) -> S3Error {
    S3Error::bad(
        "EntityTooLarge",
        format!("The S3 of this irsa lab is in memory and holds at most {bound}"),
    )
}

/// What AWS keeps for its own purposes in the names of general purpose buckets.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// The rules for names of general purpose buckets.
fn check_bucket_name(name: &str) -> S3Result<()> {
    let good = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && name
            .split('.')
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !RESERVED_PREFIXES
            .iter()
            .any(|reserved| name.starts_with(reserved))
        && !RESERVED_SUFFIXES.iter().any(|reserved| name.ends_with(reserved));
    if good {
        Ok(())
    } else {
        Err(S3Error::bad("InvalidBucketName", "The specified bucket is not valid.").with("BucketName", name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn object(metadata: usize) -> Object {
        Object {
            body: Bytes::from_static(b"body"),
            etag: String::new(),
            modified: Timestamp::UNIX_EPOCH,
            headers: vec![(
                HeaderName::from_static("x-amz-meta-k"),
                HeaderValue::try_from("x".repeat(metadata)).unwrap(),
            )],
            checksum: None,
        }
    }

    #[test]
    fn keys_and_metadata_count_as_stored_and_are_given_back() {
        let mut store = Store::default();
        store
            .create_bucket("bucket", "1", "us-east-1", Timestamp::UNIX_EPOCH)
            .unwrap();
        store.limits.bytes = 1000;
        assert_eq!(
            store.put("bucket", "key", object(1000)).unwrap_err().code,
            "EntityTooLarge"
        );
        assert_eq!(
            store
                .put("bucket", &"k".repeat(1000), object(1))
                .unwrap_err()
                .code,
            "EntityTooLarge"
        );
        for _ in 0..3 {
            store.put("bucket", "key", object(900)).unwrap();
        }
        assert!(store.delete("bucket", "key"));
        assert_eq!(store.bytes, 0);
    }
}
