//! The documents of `irsa url inspect`.

use irsa_core::presign::{self, Anatomy, Signature, Target};
use irsa_fleet::report::API_VERSION;
use serde::Serialize;

use super::addressing::addressing_word;

/// A list, as kubectl writes one.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    /// `irsa/v1`.
    api_version: &'static str,
    /// `PresignedUrlList`.
    kind: &'static str,
    /// One for each URL, in their order.
    items: Vec<T>,
}

/// The document of one URL.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct UrlReport {
    /// `irsa/v1`.
    api_version: &'static str,
    /// `PresignedUrl`.
    kind: &'static str,
    /// The URL, its secrets masked unless asked for.
    url: String,
    /// `s3`, `sts` or `other`.
    service: &'static str,
    /// `regional`, `global`, `dualstack`, `fips`, `accelerate`, `access-point`, `multi-region-access-point`, `express`, `website`, `object-lambda`, `outposts`, `vpc-endpoint` or `custom`.
    form: &'static str,
    /// The host, lower case, without port.
    host: String,
    /// The region in the host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_region: Option<String>,
    /// The partition of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'static str>,
    /// `virtual`, `path`, `access-point`, `multi-region-access-point` or `express`.
    #[serde(skip_serializing_if = "Option::is_none")]
    addressing: Option<&'static str>,
    /// The bucket, or what stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    /// The key, decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The action of STS.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// The signature, without its value.
    signature: SignatureReport,
    /// When it is good for, if that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    validity: Option<ValidityReport>,
    /// Whether a session token is present.
    session_token: bool,
    /// Every query parameter, in its order.
    parameters: Vec<ParameterReport>,
    /// Whether AWS would serve it, as far as the URL alone tells.
    consistent: bool,
    /// What AWS would answer instead; the first is the one that it would say.
    problems: Vec<ProblemReport>,
    /// What else is worth knowing.
    notes: Vec<NoteReport>,
}

/// A signature.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SignatureReport {
    /// `SigV2`, `SigV4` or `SigV4a`.
    version: &'static str,
    /// The access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    /// The credential scope; SigV2 has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ScopeReport>,
    /// SigV4a's regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    region_set: Option<String>,
    /// The signed headers.
    signed_headers: Vec<String>,
}

/// A credential scope.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ScopeReport {
    /// `YYYYMMDD`.
    date: String,
    /// The region; SigV4a has none here.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// The service.
    service: String,
    /// `aws4_request`.
    terminator: String,
}

/// When a URL is good for.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ValidityReport {
    /// When it was signed; SigV2 does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_at: Option<String>,
    /// When it ends.
    expires_at: String,
    /// Seconds left, negative when over.
    seconds_left: i64,
}

/// One query parameter.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ParameterReport {
    /// The name, decoded.
    name: String,
    /// Absent when masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Whether its holder could act with it.
    secret: bool,
}

/// An answer of AWS other than success.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ProblemReport {
    /// The HTTP status.
    status: u16,
    /// The error code.
    code: &'static str,
    /// The message, exactly as far as it is known.
    message: String,
    /// `tested`, `read`, `documented`, `reported` or `memory`.
    certainty: &'static str,
}

/// A note.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NoteReport {
    /// The stable name.
    id: &'static str,
    /// The note in words.
    message: String,
}

impl List<UrlReport> {
    pub(super) fn new(items: Vec<UrlReport>) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "PresignedUrlList",
            items,
        }
    }
}

impl UrlReport {
    /// The report of a URL, which is `url` where it may be shown.
    pub(super) fn new(url: &str, anatomy: &Anatomy, show_secrets: bool) -> Self {
        let (service, addressing, bucket, key, action) = match &anatomy.target {
            Target::S3 {
                bucket,
                key,
                addressing,
            } => (
                "s3",
                Some(addressing_word(*addressing)),
                bucket.clone(),
                Some(key.clone()),
                None,
            ),
            Target::Sts { action } => ("sts", None, None, None, action.clone()),
            Target::Other => ("other", None, None, None, None),
        };
        let (region_set, signed_headers) = match &anatomy.signature {
            Signature::V4 {
                region_set,
                signed_headers,
                ..
            } => (region_set.clone(), signed_headers.clone()),
            Signature::V2 { .. } => (None, Vec::new()),
        };
        Self {
            api_version: API_VERSION,
            kind: "PresignedUrl",
            url: url.to_owned(),
            service,
            form: anatomy.form(),
            host: anatomy.host.clone(),
            host_region: anatomy.aws_host.as_ref().and_then(|h| h.region.clone()),
            partition: anatomy.aws_host.as_ref().map(|h| h.partition.name()),
            addressing,
            bucket,
            key,
            action,
            signature: SignatureReport {
                version: anatomy.version().as_str(),
                access_key_id: anatomy
                    .access_key_id()
                    .filter(|id| !id.is_empty())
                    .map(str::to_owned),
                scope: anatomy.scope().map(|scope| ScopeReport {
                    date: scope.date.clone(),
                    region: scope.region.clone(),
                    service: scope.service.clone(),
                    terminator: scope.terminator.clone(),
                }),
                region_set,
                signed_headers,
            },
            validity: anatomy.validity.map(|validity| ValidityReport {
                signed_at: validity.signed_at.map(presign::format_date),
                expires_at: presign::format_date(validity.expires_at),
                seconds_left: validity.left,
            }),
            session_token: anatomy.session_token.is_some(),
            parameters: anatomy
                .parameters
                .iter()
                .map(|parameter| ParameterReport {
                    name: parameter.name.clone(),
                    value: (show_secrets || !parameter.secret).then(|| parameter.value.clone()),
                    secret: parameter.secret,
                })
                .collect(),
            consistent: anatomy.problems.is_empty(),
            problems: anatomy
                .problems
                .iter()
                .map(|problem| ProblemReport {
                    status: problem.status,
                    code: problem.code,
                    message: problem.message.clone(),
                    certainty: problem.certainty.as_str(),
                })
                .collect(),
            notes: anatomy
                .notes
                .iter()
                .map(|note| NoteReport {
                    id: note.id(),
                    message: note.to_string(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::offline::schema_is_current;

    #[test]
    fn the_schemas_of_inspect_are_current() {
        schema_is_current::<UrlReport>("presigned-url.json");
        schema_is_current::<List<UrlReport>>("presigned-url-list.json");
    }
}
