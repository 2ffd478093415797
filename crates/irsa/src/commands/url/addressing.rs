//! Where a bucket stands in a URL.

use irsa_core::partition::S3Addressing;

/// The word in documents.
pub(super) fn addressing_word(addressing: S3Addressing) -> &'static str {
    match addressing {
        S3Addressing::Virtual => "virtual",
        S3Addressing::Path => "path",
        S3Addressing::AccessPoint => "access-point",
        S3Addressing::MultiRegionAccessPoint => "multi-region-access-point",
        S3Addressing::Express => "express",
    }
}
