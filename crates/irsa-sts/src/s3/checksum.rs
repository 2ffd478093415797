//! The checksums that clients send with a body, and the MD5 that is an object's ETag.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Digest as _;

use super::error::{S3Error, S3Result};

/// The algorithms of `x-amz-checksum-…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// A checksum that was sent and is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    /// Base64.
    pub(crate) value: String,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The name of the element that carries it in XML.
    pub(crate) fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// The name in messages and listings: `CRC32C`.
    pub(crate) fn name(self) -> &'static str {
        self.element().trim_start_matches("Checksum")
    }

    /// Base64 of the checksum of `body`.
    pub(crate) fn of(self, body: &[u8]) -> String {
        let crc32 = |algorithm| {
            // The library answers 64 bits for every width; these fit 32.
            let value = u32::try_from(crc_fast::checksum(algorithm, body)).unwrap_or_default();
            STANDARD.encode(value.to_be_bytes())
        };
        match self {
            Self::Crc32 => crc32(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => crc32(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => {
                STANDARD.encode(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, body).to_be_bytes())
            }
            Self::Sha1 => STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, body)),
            Self::Sha256 => STANDARD.encode(digest::digest(&digest::SHA256, body)),
        }
    }
}

/// Checks what the client sent, by `find` from header or trailer name to value, against `body`.
pub(crate) fn verify<'a>(
    body: &[u8],
    mut find: impl FnMut(&'static str) -> Option<&'a str>,
) -> S3Result<Option<Checksum>> {
    let wrong = |name: &str| {
        S3Error::bad(
            "BadDigest",
            format!("The {name} you specified did not match what we received."),
        )
    };
    if let Some(sent) = find("content-md5")
        && sent != STANDARD.encode(md5_of(body))
    {
        return Err(wrong("Content-MD5"));
    }
    let mut verified = None;
    for algorithm in Algorithm::ALL {
        if let Some(sent) = find(algorithm.header()) {
            let value = algorithm.of(body);
            if value != sent {
                return Err(wrong(algorithm.name()));
            }
            verified = Some(Checksum { algorithm, value });
        }
    }
    Ok(verified)
}

/// MD5, for ETags: S3's own choice, not a protection of anything.
pub(crate) fn md5_of(body: &[u8]) -> [u8; 16] {
    md5::Md5::digest(body).into()
}

/// The ETag of a body, quotes included.
pub(crate) fn etag(md5: [u8; 16]) -> String {
    format!("\"{}\"", hex::encode(md5))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_gives_its_published_check_value() {
        // The "check" input and values of the CRC catalogue, big-endian in base64.
        let body = b"123456789";
        let raw = |algorithm: Algorithm| hex::encode(STANDARD.decode(algorithm.of(body)).unwrap());
        assert_eq!(raw(Algorithm::Crc32), "cbf43926");
        assert_eq!(raw(Algorithm::Crc32c), "e3069283");
        assert_eq!(raw(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(raw(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(etag(md5_of(body)), "\"25f9e794323b453885f5181f1b624d0b\"");
    }

    #[test]
    fn a_wrong_checksum_is_refused_by_its_name() {
        let error = verify(b"x", |name| {
            (name == "x-amz-checksum-crc32").then_some("AAAAAA==")
        })
        .unwrap_err();
        assert_eq!(error.code, "BadDigest");
        assert_eq!(
            error.message,
            "The CRC32 you specified did not match what we received."
        );
    }
}
