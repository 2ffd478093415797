//! `pods/NAME/log`.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::http::answer::Body;
use crate::http::asked::{Asked, Context};
use crate::http::path::Query;
use crate::logs::{Part, Reader};
use crate::object::ObjectExt;
use crate::pod::{choose_container, waiting_reason};
use crate::shutdown::ended;
use crate::status::{self, Cause, Status};

pub(crate) fn open(context: &Context, asked: &Asked<'_>) -> status::Result<Response<Body>> {
    let query = asked.query;
    let pod = context.api.get("pods", &asked.at.namespace, &asked.at.name)?;
    let part = part(query)?;
    let container = choose_container(&pod, query.get("container"))?;
    if let Some(reason) = waiting_reason(&pod, &container) {
        return Err(Status::bad_request(format!(
            "container {container:?} in pod {:?} is waiting to start: {reason}",
            pod.name()
        )));
    }
    let previous = query.flag("previous");
    let log = match context.logs.find(pod.uid(), &container, previous) {
        Some(log) => log,
        None if previous => {
            return Err(Status::bad_request(format!(
                "previous terminated container {container:?} in pod {:?} not found",
                pod.name()
            )));
        }
        None => context.logs.of(pod.uid(), &container),
    };
    let mut reader = Reader::new(log, part);
    let (first, more) = reader.read();
    let body = if query.flag("follow") && more {
        let rest = stream::unfold((reader, context.ending.clone()), following);
        let first = stream::iter((!first.is_empty()).then(|| Ok(Frame::data(first))));
        StreamBody::new(first.chain(rest)).boxed_unsync()
    } else {
        Full::new(first).boxed_unsync()
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

type Following = (Reader, watch::Receiver<bool>);

/// What was written since the last read; `None` when the log, the server or the limit has ended.
async fn following(
    (mut reader, mut ending): Following,
) -> Option<(Result<Frame<Bytes>, Infallible>, Following)> {
    loop {
        tokio::select! {
            () = reader.changed() => {}
            () = ended(&mut ending) => return None,
        }
        let (text, more) = reader.read();
        if !text.is_empty() {
            return Some((Ok(Frame::data(text)), (reader, ending)));
        }
        if !more {
            return None;
        }
    }
}

/// Reads `PodLogOptions`.
///
/// # Errors
/// 422 for numbers and times that cannot be read or are out of range.
fn part(query: &Query) -> status::Result<Part> {
    let invalid = |field: &str, value: &str, detail: &str| {
        let cause = Cause::invalid(field, &Value::from(value), detail);
        Status::invalid("PodLogOptions", "", "", &[cause])
    };
    let number = |field: &str, least: u64, bound: &str| {
        let Some(value) = query.get(field) else {
            return Ok(None);
        };
        let number = value
            .parse::<i64>()
            .map_err(|_| invalid(field, value, "must be a number"))?;
        match u64::try_from(number) {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(invalid(field, value, bound)),
        }
    };
    let ago = number("sinceSeconds", 1, "must be greater than 0")?
        .and_then(|seconds| Timestamp::now().checked_sub(Duration::from_secs(seconds)).ok());
    let since = match query.get("sinceTime") {
        None => ago,
        Some(time) => Some(
            time.parse()
                .map_err(|_| invalid("sinceTime", time, "must be a time as in RFC 3339"))?,
        ),
    };
    Ok(Part {
        timestamps: query.flag("timestamps"),
        tail: number("tailLines", 0, "must be greater than or equal to 0")?,
        since,
        limit: number("limitBytes", 1, "must be greater than 0")?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_option_is_named_in_the_refusal() {
        for (query, field) in [
            ("tailLines=-1", "tailLines"),
            ("limitBytes=0", "limitBytes"),
            ("sinceSeconds=0", "sinceSeconds"),
            ("sinceTime=yesterday", "sinceTime"),
            ("tailLines=x", "tailLines"),
        ] {
            let status = part(&Query::parse(query)).unwrap_err();
            assert_eq!(status.code, 422);
            assert!(status.message.contains(field), "{}", status.message);
        }
    }
}
