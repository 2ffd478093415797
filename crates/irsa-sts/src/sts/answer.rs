//! Answers on the wire.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::error::{Fault, StsError};
use crate::token::Issued;
use crate::xml::{FAULT_NAMESPACE, STS_NAMESPACE, XmlWriter};

/// What an action answers when it succeeds.
pub(super) enum Answer {
    /// The members of `<…Result>`.
    Result(XmlWriter),
    /// A redirect, to documentation.
    Redirect(&'static str),
}

impl Answer {
    pub(super) fn redirect(to: &'static str) -> Self {
        Self::Redirect(to)
    }

    /// Starts the result of an action.
    pub(super) fn begin(action: &'static str) -> XmlWriter {
        let mut xml = XmlWriter::sts(format!("{action}Response"), STS_NAMESPACE);
        xml.open(format!("{action}Result"));
        xml
    }
}

/// Writes `<Credentials>`.
pub(super) fn credentials(xml: &mut XmlWriter, issued: &Issued) {
    xml.open("Credentials");
    xml.text("AccessKeyId", &issued.access_key_id);
    xml.text("SecretAccessKey", &issued.secret_access_key);
    xml.text("SessionToken", &issued.session_token);
    xml.text("Expiration", &format!("{:.0}", issued.expires_at));
    xml.close();
}

/// The response to a call.
pub(super) fn render(result: Result<Answer, StsError>, request_id: &str) -> Response<Bytes> {
    let (status, body) = match result {
        Ok(Answer::Redirect(to)) => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::FOUND;
            response
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static(to));
            insert_request_id(&mut response, request_id);
            return response;
        }
        Ok(Answer::Result(xml)) => (StatusCode::OK, result_body(xml, request_id)),
        Err(error) => (error.status, error_body(&error, request_id)),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    insert_request_id(&mut response, request_id);
    response
}

fn result_body(mut xml: XmlWriter, request_id: &str) -> Vec<u8> {
    xml.close();
    xml.open("ResponseMetadata");
    xml.text("RequestId", request_id);
    xml.finish()
}

fn insert_request_id(response: &mut Response<Bytes>, request_id: &str) {
    if let Ok(value) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
}

fn error_body(error: &StsError, request_id: &str) -> Vec<u8> {
    let namespace = if error.from_front {
        FAULT_NAMESPACE
    } else {
        STS_NAMESPACE
    };
    let mut xml = XmlWriter::sts("ErrorResponse", namespace);
    xml.open("Error");
    xml.text(
        "Type",
        match error.fault {
            Fault::Sender => "Sender",
            Fault::Receiver => "Receiver",
        },
    );
    xml.text("Code", &error.code);
    if !error.message.is_empty() {
        xml.text("Message", &error.message);
    }
    xml.close();
    xml.text("RequestId", request_id);
    xml.finish()
}
