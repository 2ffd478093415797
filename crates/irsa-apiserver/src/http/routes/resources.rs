//! Objects: reading, watching, writing, deleting, and the subresources that are objects.

mod read;
mod watch;
pub(super) mod write;

use http::{Method, Response};

use crate::http::answer::Body;
use crate::http::asked::{Asked, Context};
use crate::status::{Result, Status};

pub(crate) async fn serve(
    context: &Context,
    method: &Method,
    asked: &Asked<'_>,
    body: &[u8],
) -> Result<Response<Body>> {
    let (at, query) = (asked.at, asked.query);
    if !at.subresource.is_empty() {
        return write::subresource(context, method, asked, body).await;
    }
    match (method.as_str(), at.name.is_empty()) {
        // With a name: an old form of watching one object.
        ("GET", _) if query.flag("watch") => watch::serve(context, asked),
        ("GET", false) => read::get(context, asked),
        ("GET", true) => read::list(context, asked),
        ("POST", true) => write::create(context, asked, body).await,
        ("PUT", false) => write::update(context, asked, body).await,
        ("PATCH", false) => write::patch(context, asked, body).await,
        ("DELETE", false) => write::delete(context, asked, body).await,
        ("DELETE", true) => write::delete_collection(context, asked, body).await,
        _ => Err(Status::method_not_allowed()),
    }
}
