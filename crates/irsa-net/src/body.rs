//! Reading request bodies: bounded in size, in time, and in what all of them together take.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::budget::{Budget, Full, Share};

/// A body of more than this takes its whole share before it is read.
const SMALL: usize = 64 * 1024;
/// For how long the rest of a refused body is read.
const DISCARD: Duration = Duration::from_secs(2);

/// The bounds of one body.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most bytes that are accepted.
    pub bytes: usize,
    /// From the end of the header to the end of the body.
    pub time: Duration,
}

/// Why a body was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is too large.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It takes too long to arrive.
    #[error("the body did not arrive within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// There is no memory for it now.
    #[error("too many requests in flight; try again")]
    Full,
    /// The client ended it early.
    #[error("the body broke off: {0}")]
    Broken(String),
}

impl From<Full> for Refused {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl Refused {
    /// The status that says so.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// A body and its share of the budget.
#[derive(Debug)]
pub struct Received {
    /// The whole body.
    pub bytes: Bytes,
    /// To be kept until the answer is made, and best beyond; see [`Share::answer`].
    pub share: Share,
}

/// Reads the whole body.
///
/// # Errors
/// [`Refused`]. Of a body that is too large, the rest has been read and thrown away, up to a bound.
pub async fn read(mut body: Incoming, bounds: Bounds, budget: &Budget) -> Result<Received, Refused> {
    let whole = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if whole > bounds.bytes {
        discard(body, bounds).await;
        return Err(Refused::TooLarge(bounds.bytes));
    }
    let mut share = budget.request().await?;
    let mut deadline = pin!(tokio::time::sleep(bounds.time));
    // Nobody gets memory for a few bytes that they only promise, but a body of some size has to be sure of its room.
    let mut taken = if whole > SMALL { whole } else { 0 };
    tokio::select! {
        taken = share.grow(taken) => taken?,
        () = &mut deadline => return Err(Refused::Full),
    }
    let progress = share.arriving();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = progress.give_up() => return Err(Refused::Full),
            () = &mut deadline => return Err(Refused::TooSlow(bounds.time)),
        };
        let data = match frame {
            None => break,
            Some(Err(error)) => return Err(Refused::Broken(error.to_string())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        let length = first.len() + rest.len() + data.len();
        if length > bounds.bytes {
            drop((first, rest, share));
            discard(body, bounds).await;
            return Err(Refused::TooLarge(bounds.bytes));
        }
        progress.received(length);
        // Most bodies come in one or two pieces; only then is the second one copied behind the first.
        if first.is_empty() && rest.is_empty() {
            share.grow(length.saturating_sub(taken)).await?;
            taken = taken.max(length);
            first = data;
            continue;
        }
        let needed = length - rest.len();
        if rest.capacity() - rest.len() < needed {
            // Twice as much each time, but never more than has been announced.
            let capacity = (rest.capacity() * 2).clamp(length, length.max(whole));
            share.grow(capacity.saturating_sub(taken)).await?;
            taken = taken.max(capacity);
            rest.reserve(capacity - rest.len());
        }
        rest.extend_from_slice(&std::mem::take(&mut first));
        rest.extend_from_slice(&data);
    }
    share.arrived();
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Received { bytes, share })
}

/// Reads what a client still sends and throws it away, up to a bound: a connection that is closed while the client is
/// still sending may take the answer with it.
pub async fn discard(mut body: Incoming, bounds: Bounds) {
    let mut left = bounds.bytes;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(bounds.time.min(DISCARD), reading).await;
}

/// Gives an HTTP/2 request, which has `:authority` instead, a `host` header.
pub fn add_host<B>(request: &mut Request<B>) {
    if request.version() == Version::HTTP_2
        && !request.headers().contains_key(header::HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, value);
    }
}
