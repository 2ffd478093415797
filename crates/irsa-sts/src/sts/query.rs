//! The query protocol: an action and its parameters, from a form body or a query string, in any order.

use std::collections::HashSet;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};

use crate::error::StsError;
use crate::sigv4::{RequestView, decode_component};

/// Largest form that is read: a token of 20,000 characters with every one escaped, and the rest.
pub(crate) const MAX_BODY: usize = 100 * 1024;

/// Most parameters that are looked at; fifty tags with key and value are a hundred.
const MAX_PARAMETERS: usize = 300;

/// The version of the STS API.
pub(super) const API_VERSION: &str = "2011-06-15";

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    /// The parameters of a request: those of the query string, and of a form body.
    pub(super) fn of(request: &RequestView<'_>, body: &[u8]) -> Result<Self, StsError> {
        if body.len() > MAX_BODY {
            return Err(StsError::sender(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                format!("The request is larger than {MAX_BODY} bytes."),
            ));
        }
        let mut parameters = Self::default();
        parameters.read(request.query)?;
        if request.method == Method::POST.as_str() && !body.is_empty() {
            check_content_type(request)?;
            let form = std::str::from_utf8(body).map_err(|_| malformed())?;
            parameters.read(form)?;
        }
        // A parameter that is there twice could be understood by one reader as the first, by another as the last.
        let mut seen = HashSet::new();
        if parameters.pairs.iter().any(|(name, _)| !seen.insert(name)) {
            return Err(malformed());
        }
        Ok(parameters)
    }

    fn read(&mut self, form: &str) -> Result<(), StsError> {
        for pair in form.split('&').filter(|pair| !pair.is_empty()) {
            if self.pairs.len() == MAX_PARAMETERS {
                return Err(malformed());
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode =
                |text: &str| decode_component(text.trim_end_matches(['\r', '\n'])).ok_or_else(malformed);
            self.pairs.push((decode(name)?, decode(value)?));
        }
        Ok(())
    }

    /// The value of a parameter. An empty one is there, as AWS sees it.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(there, _)| there == name)
            .map(|(_, value)| value.as_str())
    }

    /// The members of a list (`Name.member.N`, or `Name.member.N.Field` with a field), in the order of N.
    pub(super) fn members(&self, name: &str, field: Option<&str>) -> Vec<(u32, &str)> {
        let mut members: Vec<(u32, &str)> = self
            .pairs
            .iter()
            .filter_map(|(there, value)| {
                let rest = there.strip_prefix(name)?.strip_prefix(".member.")?;
                let number = match field {
                    Some(field) => rest.strip_suffix(field)?.strip_suffix('.')?,
                    None => rest,
                };
                number.parse().ok().map(|number| (number, value.as_str()))
            })
            .collect();
        members.sort_unstable();
        members
    }
}

fn check_content_type(request: &RequestView<'_>) -> Result<(), StsError> {
    let Some(content_type) = request.headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let text = content_type.to_str().unwrap_or_default();
    let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
    let charset = parameters
        .split(';')
        .find_map(|parameter| parameter.trim().strip_prefix("charset="))
        .map(|charset| charset.trim_matches('"'));
    if !kind
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err(StsError::sender(
            StatusCode::BAD_REQUEST,
            "InvalidContentType",
            "The content-type of the request is unsupported",
        ));
    }
    if charset.is_some_and(|charset| {
        !charset.eq_ignore_ascii_case("utf-8") && !charset.eq_ignore_ascii_case("utf8")
    }) {
        return Err(StsError::sender(
            StatusCode::BAD_REQUEST,
            "InvalidBodyEncoding",
            "The body encoding of the request is unsupported",
        ));
    }
    Ok(())
}

pub(super) fn malformed() -> StsError {
    StsError::sender(
        StatusCode::NOT_FOUND,
        "MalformedQueryString",
        "The query string contains a syntax error.",
    )
}
