//! Presigned URLs of S3 and STS: what one says ([`Anatomy`]), what AWS would answer to it ([`Problem`]), and which
//! form each SDK gives them ([`predict()`]).
//!
//! The form of an S3 URL is chosen by SDK, addressing style and settings of S3. The STS setting of a service account
//! does not change it: that was tried with every SDK at hand.

mod anatomy;
mod predict;
mod problem;
mod time;
mod url;
mod verdict;

pub use anatomy::{Anatomy, AnatomyError, CredentialScope, Parameter, Signature, Target, Validity};
pub use predict::{Addressing, Form, Predicted, Prediction, PresignOptions, WhyForm, predict};
pub use problem::{Note, Problem};
pub use time::{format_date, parse_date};
pub use url::mask;

/// The versions of AWS request signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureVersion {
    /// HMAC-SHA1 over a short text; S3 in its oldest regions only.
    V2,
    /// HMAC-SHA256 with a credential scope.
    V4,
    /// ECDSA with a set of regions.
    V4a,
}

impl SignatureVersion {
    /// The word used in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "SigV2",
            Self::V4 => "SigV4",
            Self::V4a => "SigV4a",
        }
    }
}

impl std::fmt::Display for SignatureVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The regions in which S3 still takes signatures of version 2, and for which boto3 still makes them.
#[must_use]
pub fn takes_sigv2(region: &str) -> bool {
    matches!(
        region,
        "ap-northeast-1"
            | "ap-southeast-1"
            | "ap-southeast-2"
            | "eu-west-1"
            | "sa-east-1"
            | "us-east-1"
            | "us-west-1"
            | "us-west-2"
            | "us-gov-west-1"
    )
}
