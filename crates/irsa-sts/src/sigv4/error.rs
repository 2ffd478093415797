//! What can be wrong with a signature before it is computed.

use super::date::AmzDate;

/// Why a request's claim cannot be read. Each service has its own code and text for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// `Authorization` header and `X-Amz-Algorithm` parameter at once.
    #[error("signed both in the header and in the query")]
    Both,
    /// More than one `Authorization` header with a signature.
    #[error("more than one Authorization header")]
    Duplicate,
    /// An algorithm of the AWS4 family that is not taken.
    #[error("algorithm {0:?} is not AWS4-HMAC-SHA256")]
    Algorithm(String),
    /// A part of the header is not `key=value`.
    #[error("{part:?} in the Authorization header has no equal sign")]
    NotAPair {
        /// The part.
        part: String,
        /// The whole header, for the text (AWS shows its hash).
        header: String,
    },
    /// Parameters of the header, or the date, are not there.
    #[error("the Authorization header is incomplete: {0:?}")]
    IncompleteHeader(IncompleteHeader),
    /// Parameters of the query are not there, in AWS's order.
    #[error("the query has no {0:?}")]
    MissingParameters(Vec<&'static str>),
    /// The date is not in basic ISO form.
    #[error("{0:?} is not a date like 20150830T123600Z")]
    Date(String),
    /// `host` is not signed.
    #[error("the Host header is not signed")]
    HostNotSigned,
    /// The credential has not five parts.
    #[error("the credential {credential:?} has not five parts")]
    Credential {
        /// What was sent.
        credential: String,
        /// The date of the signature, which AWS looks at first.
        date: AmzDate,
    },
    /// A query that is not percent-encoding of UTF-8.
    #[error("the query is not well-formed at {0:?}")]
    Query(String),
}

/// What an `Authorization` header lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IncompleteHeader {
    /// No `Credential=`.
    pub credential: bool,
    /// No `Signature=`.
    pub signature: bool,
    /// No `SignedHeaders=`.
    pub signed_headers: bool,
    /// Neither `X-Amz-Date` nor `Date`.
    pub date: bool,
    /// The whole header, for the text (AWS shows its hash).
    pub header: String,
}
