//! What can be wrong with a presigned URL.

use std::fmt;

use crate::sdk::Certainty;

/// An answer of AWS other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The error code.
    pub code: &'static str,
    /// The message, exactly as far as it is known.
    pub message: String,
    /// What the text rests on.
    pub certainty: Certainty,
}

/// Something that is no error yet, or not for AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The host names no region: the URL works only if the bucket is in this one.
    BucketMustBeIn(String),
    /// Requests for buckets younger than a day are redirected from the global host, and the redirect breaks the signature.
    YoungBucket,
    /// The URL ends with the session of its key.
    EndsWithSession,
    /// The key belongs to a user and never ends by itself.
    LongTermKey,
    /// Plain HTTP.
    NotEncrypted,
    /// The host is none of AWS's: only the parameters could be judged.
    CustomHost,
    /// Session tokens of the global STS endpoint are not valid in this opt-in region by default.
    GlobalTokensNotValid(String),
    /// STS does not look at `X-Amz-Expires`.
    StsIgnoresExpires,
    /// Website hosting takes no signatures.
    WebsiteTakesNoSignature,
    /// `host` is not among the signed headers.
    HostNotSigned,
    /// Multi-region access points take signatures of version 4a only.
    NeedsSigV4a,
    /// The service behind the host was not recognised.
    UnknownService(String),
}

impl Note {
    /// The stable name in machine-readable outputs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::BucketMustBeIn(_) => "bucket-must-be-in",
            Self::YoungBucket => "young-bucket",
            Self::EndsWithSession => "ends-with-session",
            Self::LongTermKey => "long-term-key",
            Self::NotEncrypted => "not-encrypted",
            Self::CustomHost => "custom-host",
            Self::GlobalTokensNotValid(_) => "global-tokens-not-valid",
            Self::StsIgnoresExpires => "sts-ignores-expires",
            Self::WebsiteTakesNoSignature => "website-takes-no-signature",
            Self::HostNotSigned => "host-not-signed",
            Self::NeedsSigV4a => "needs-sigv4a",
            Self::UnknownService(_) => "unknown-service",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BucketMustBeIn(region) => {
                write!(f, "the host names no region: the URL works only if the bucket is in {region}")
            }
            Self::YoungBucket => f.write_str(
                "until its name has spread (up to a day after its creation) a bucket outside us-east-1 answers here with \
                 307 TemporaryRedirect, and following it breaks the signature because the host is signed",
            ),
            Self::EndsWithSession => f.write_str(
                "the key is of a session: the URL ends with it, at the latest 12 hours after the role was assumed, \
                 whatever its own expiry says",
            ),
            Self::LongTermKey => f.write_str("the key is a user's own, not a role's session"),
            Self::NotEncrypted => f.write_str("plain HTTP: everyone on the way can use the URL"),
            Self::CustomHost => f.write_str("the host is none of AWS's: only the parameters could be judged"),
            Self::GlobalTokensNotValid(region) => write!(
                f,
                "a session token from the global STS endpoint is not valid in the opt-in region {region} unless the \
                 account's global endpoint tokens are of version 2"
            ),
            Self::StsIgnoresExpires => {
                f.write_str("STS takes a presigned request for 15 minutes, whatever X-Amz-Expires says")
            }
            Self::WebsiteTakesNoSignature => {
                f.write_str("website endpoints serve anonymous requests only and ignore the signature")
            }
            Self::HostNotSigned => f.write_str("`host` is not among the signed headers; AWS insists on it"),
            Self::NeedsSigV4a => f.write_str("multi-region access points take signatures of version 4a only"),
            Self::UnknownService(name) => {
                write!(f, "the host is of the service `{name}`: only S3 and STS URLs are judged")
            }
        }
    }
}
