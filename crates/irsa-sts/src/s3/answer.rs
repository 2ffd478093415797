//! What an operation gives back.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::xml::XmlWriter;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct S3Answer {
    response: Response<Bytes>,
}

impl S3Answer {
    /// Without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        Self { response }
    }

    /// 200 with a document.
    pub(crate) fn xml(document: XmlWriter) -> Self {
        let mut response = Response::new(document.finish().into());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        Self { response }
    }

    /// With a body as it is.
    pub(crate) fn body(status: StatusCode, body: Bytes) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Self { response }
    }

    /// Sets a header. A value that no header can have is left out.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Sets a header that was stored.
    pub(crate) fn stored_header(mut self, name: &HeaderName, value: &HeaderValue) -> Self {
        self.response.headers_mut().insert(name.clone(), value.clone());
        self
    }

    pub(crate) fn into_response(self) -> Response<Bytes> {
        self.response
    }
}
