//! Errors as S3 puts them on the wire.
//!
//! Texts are those of real answers where one was seen; SDKs and people match on them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::xml::XmlWriter;

/// An error answer of S3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct S3Error {
    pub(crate) status: StatusCode,
    /// `<Code>`.
    pub(crate) code: &'static str,
    /// `<Message>`.
    pub(crate) message: String,
    /// Elements that this code has besides, in order.
    pub(crate) details: Vec<(&'static str, String)>,
    /// `Location`, of redirects.
    pub(crate) location: Option<String>,
    /// `x-amz-bucket-region`: lets clients find the region by themselves.
    pub(crate) bucket_region: Option<String>,
}

pub(crate) type S3Result<T> = Result<T, S3Error>;

impl S3Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
            location: None,
            bucket_region: None,
        }
    }

    /// 400.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 403.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404.
    pub(crate) fn missing(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 403 `AccessDenied`.
    pub(crate) fn access_denied() -> Self {
        Self::forbidden("AccessDenied", "Access Denied")
    }

    /// 400 `InvalidArgument`.
    pub(crate) fn invalid_argument(name: &str, value: &str, message: impl Into<String>) -> Self {
        Self::bad("InvalidArgument", message)
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    /// 404 `NoSuchBucket`.
    pub(crate) fn no_such_bucket(bucket: &str) -> Self {
        Self::missing("NoSuchBucket", "The specified bucket does not exist").with("BucketName", bucket)
    }

    /// 404 `NoSuchKey`.
    pub(crate) fn no_such_key(key: &str) -> Self {
        Self::missing("NoSuchKey", "The specified key does not exist.").with("Key", key)
    }

    /// 400 `MalformedXML`.
    pub(crate) fn malformed_xml() -> Self {
        Self::bad(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    }

    /// 501 `NotImplemented`.
    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("A header or query you provided implies functionality that is not implemented: {what}"),
        )
    }

    /// 405 `MethodNotAllowed`.
    pub(crate) fn method_not_allowed(method: &Method) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .with("Method", method.as_str())
    }

    /// Adds an element.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Says in which region the bucket is.
    pub(crate) fn in_region(mut self, region: impl Into<String>) -> Self {
        self.bucket_region = Some(region.into());
        self
    }

    /// The answer. HEAD has no body, so there clients see the status only.
    pub(crate) fn response(&self, request_id: &str, host_id: &str, head: bool) -> Response<Bytes> {
        let body = if head || self.status == StatusCode::NOT_MODIFIED {
            Bytes::new()
        } else {
            let mut document = XmlWriter::s3("Error", None);
            document.text("Code", self.code);
            document.text("Message", &self.message);
            for (name, value) in &self.details {
                document.text(name, value);
            }
            document.text("RequestId", request_id);
            document.text("HostId", host_id);
            document.finish().into()
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let mut put = |name, value: &Option<String>| {
            if let Some(value) = value.as_deref().and_then(|v| HeaderValue::from_str(v).ok()) {
                headers.insert(name, value);
            }
        };
        put(LOCATION, &self.location);
        put(
            http::HeaderName::from_static("x-amz-bucket-region"),
            &self.bucket_region,
        );
        response
    }
}
