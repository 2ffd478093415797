//! Which form of an answer a client accepts.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::status::{Result, Status};

const SERVED: &str = "application/json, application/json;as=Table, application/json;as=PartialObjectMetadata";

/// Form of objects in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Whole objects.
    Objects,
    /// Only their metadata.
    Metadata,
    /// A table for people.
    Table,
}

struct Accepted<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Accepted<'_> {
    fn get(&self, key: &str) -> &str {
        self.parameters
            .iter()
            .find(|(name, _)| *name == key)
            .map_or("", |(_, value)| value)
    }
}

fn accepted(headers: &HeaderMap) -> Vec<Accepted<'_>> {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|one| {
            let mut parts = one.split(';').map(str::trim);
            let media = parts.next().filter(|media| !media.is_empty())?;
            let parameters = parts.filter_map(|part| part.split_once('=')).collect();
            Some(Accepted { media, parameters })
        })
        .collect()
}

fn is_json(media: &str) -> bool {
    matches!(media, "application/json" | "application/*" | "*/*")
}

impl Form {
    /// The first form that the client accepts and the server has.
    ///
    /// # Errors
    /// 406.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self> {
        let accepted = accepted(headers);
        if accepted.is_empty() {
            return Ok(Self::Objects);
        }
        for one in &accepted {
            if !is_json(one.media) {
                continue;
            }
            let meta = one.get("g") == "meta.k8s.io" && matches!(one.get("v"), "v1" | "v1beta1");
            match one.get("as") {
                "" => return Ok(Self::Objects),
                "Table" if meta => return Ok(Self::Table),
                "PartialObjectMetadata" | "PartialObjectMetadataList" if meta => return Ok(Self::Metadata),
                _ => {}
            }
        }
        Err(Status::not_acceptable(SERVED))
    }
}

/// Whether the client takes discovery of all groups in one document.
pub(crate) fn wants_aggregated(headers: &HeaderMap) -> bool {
    // Only when it is preferred to what follows: the first that can be served decides.
    for one in accepted(headers) {
        if !is_json(one.media) {
            continue;
        }
        match one.get("as") {
            "" => return false,
            "APIGroupDiscoveryList" if one.get("g") == "apidiscovery.k8s.io" && one.get("v") == "v2" => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// For documents that exist in one form only.
///
/// # Errors
/// 406.
pub(crate) fn accepts(headers: &HeaderMap, media: &str) -> Result<()> {
    let accepted = accepted(headers);
    let takes = |one: &Accepted<'_>| one.media == media || matches!(one.media, "application/*" | "*/*");
    if accepted.is_empty() || accepted.iter().any(takes) {
        Ok(())
    } else {
        Err(Status::not_acceptable(media))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        headers
    }

    #[test]
    fn the_first_form_that_is_served_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(Form::of(&headers(table)).unwrap(), Form::Table);
        let proto = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(Form::of(&headers(proto)).unwrap(), Form::Metadata);
        assert_eq!(Form::of(&headers("*/*")).unwrap(), Form::Objects);
        assert_eq!(
            Form::of(&headers("application/vnd.kubernetes.protobuf"))
                .unwrap_err()
                .code,
            406
        );
    }
}
