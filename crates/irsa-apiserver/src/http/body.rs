//! Bodies of requests.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use crate::object::MAX_OBJECT;
use crate::status::{Result, Status};
use crate::{patch, protobuf};

/// How much of a body that is too large is read on, so that a client which first sends and then reads gets its answer.
const MAX_REFUSED: usize = 4 * MAX_OBJECT;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Reads a body of at most [`MAX_OBJECT`] bytes.
///
/// # Errors
/// 413 for a longer one, 504 for one that takes longer than a minute, 400 when the connection breaks.
pub(crate) async fn collect(body: Incoming) -> Result<Bytes> {
    tokio::time::timeout(BODY_TIME, read(body))
        .await
        .map_err(|_| Status::timeout("the body of the request did not arrive within a minute"))?
}

async fn read(mut body: Incoming) -> Result<Bytes> {
    let mut collected = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("cannot read the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= MAX_OBJECT {
            collected.extend_from_slice(&data);
        } else if length > MAX_REFUSED {
            break;
        }
    }
    if length > MAX_OBJECT {
        Err(Status::too_large(MAX_OBJECT))
    } else {
        Ok(collected.freeze())
    }
}

/// Reads a body that is an object in JSON, YAML or protobuf (which `kubectl create` sends), as its content type says.
///
/// # Errors
/// 400 for a body that cannot be read, 415 for other content types.
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Value> {
    let value = match media_type(headers).as_str() {
        "" | "application/json" => serde_json::from_slice(body).map_err(|error| {
            if body.is_empty() {
                Status::bad_request("the body of the request is empty: it must be a JSON object")
            } else {
                Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
            }
        })?,
        "application/yaml" | "application/x-yaml" | "text/yaml" => patch::parse_yaml(body)?,
        protobuf::MEDIA_TYPE => protobuf::decode(body)
            .map_err(|error| Status::bad_request(format!("cannot read the protobuf body: {error}")))?,
        _ => {
            return Err(Status::unsupported_media_type(
                "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ));
        }
    };
    if value.is_object() {
        Ok(value)
    } else {
        Err(Status::bad_request(
            "couldn't get version/kind; the body of the request is not a JSON object",
        ))
    }
}

/// The content type without its parameters, lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = value.unwrap_or_default().split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}
