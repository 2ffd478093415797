//! Documents about the API itself: the list of paths, groups, resources, OpenAPI.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::http::answer::{self, Body};
use crate::http::asked::Context;
use crate::http::negotiate;
use crate::status::{Result, Status};
use crate::{discovery, openapi};

pub(crate) fn serve(
    context: &Context,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
) -> Result<Response<Body>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed());
    }
    let (registry, version) = (context.api.registry(), &context.version);
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if let ["api"] | ["apis"] = segments.as_slice()
        && negotiate::wants_aggregated(headers)
    {
        return Ok(answer::aggregated(&discovery::aggregated(
            registry,
            segments == ["api"],
        )));
    }
    let document = match segments.as_slice() {
        [] => Some(discovery::paths(registry)),
        ["api"] => Some(discovery::core()),
        ["apis"] => Some(discovery::groups(registry)),
        ["apis", group] => discovery::group(registry, group),
        ["api", version] => discovery::resources(registry, "", version),
        ["apis", group, version] => discovery::resources(registry, group, version),
        ["openapi", "v2"] => {
            if negotiate::accepts(headers, "application/json").is_err() {
                negotiate::accepts(headers, openapi::V2_PROTOBUF)?;
                let mut response = answer::bytes(StatusCode::OK, openapi::v2_protobuf(version));
                let content_type = HeaderValue::from_static(openapi::V2_CONTENT);
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                return Ok(response);
            }
            Some(openapi::v2(registry, version))
        }
        ["openapi", "v3"] => Some(openapi::v3_index(registry)),
        ["openapi", "v3", "api", served] => openapi::v3(registry, version, "", served),
        ["openapi", "v3", "apis", group, served] => openapi::v3(registry, version, group, served),
        _ => None,
    };
    let document = document.ok_or_else(Status::no_such_path)?;
    Ok(answer::json(StatusCode::OK, &document))
}
