//! What S3 or STS would answer to a presigned URL, as far as the URL shows it.
//!
//! The signature itself cannot be verified without the secret key. AWS checks everything else before it.

use super::anatomy::{Anatomy, AnatomyError, CredentialScope, Signature, Target};
use super::problem::{Note, Problem};
use super::time::{format_date, parse_date};
use super::{SignatureVersion, takes_sigv2};
use crate::partition::{Activation, GLOBAL_SIGNING_REGION, HostClass, activation};
use crate::sdk::{Certainty, SignedCalls};

const QUERY_ERROR: &str = "AuthorizationQueryParametersError";

impl Anatomy {
    /// Parses a presigned URL and determines what AWS would answer to it.
    ///
    /// `now` is in seconds since 1970. `bucket_region` is the region of the bucket, if the caller knows it, because a
    /// host without a region does not show it.
    ///
    /// # Errors
    ///
    /// The text is not a URL, or the URL is not presigned.
    pub fn read(url: &str, now: i64, bucket_region: Option<&str>) -> Result<Self, AnatomyError> {
        let mut anatomy = Self::parse(url, now)?;
        judge(&mut anatomy, now, bucket_region);
        Ok(anatomy)
    }
}

/// Fills in problems and notes.
fn judge(anatomy: &mut Anatomy, now: i64, bucket_region: Option<&str>) {
    let problems = match anatomy.target {
        Target::S3 { .. } => s3_problems(anatomy, now, bucket_region),
        Target::Sts { .. } => sts_problems(anatomy, now),
        Target::Other => Vec::new(),
    };
    let notes = notes(anatomy, bucket_region);
    anatomy.problems = problems;
    anatomy.notes = notes;
}

fn query_error(message: impl Into<String>, certainty: Certainty) -> Problem {
    Problem {
        status: 400,
        code: QUERY_ERROR,
        message: message.into(),
        certainty,
    }
}

fn s3_problems(anatomy: &Anatomy, now: i64, bucket_region: Option<&str>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let v2_too = anatomy.parameter("AWSAccessKeyId").is_some() || anatomy.parameter("Signature").is_some();
    match &anatomy.signature {
        Signature::V4 { .. } if v2_too => problems.push(Problem {
            status: 400,
            code: "InvalidArgument",
            message: "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                      parameter or the Authorization header should be specified"
                .to_owned(),
            certainty: Certainty::Memory,
        }),
        Signature::V4 { .. } => s3_v4_parameters(anatomy, &mut problems),
        Signature::V2 { .. } => s3_v2(anatomy, bucket_region, &mut problems),
    }
    if let Some(problem) = wrong_s3_region(anatomy, bucket_region) {
        problems.push(problem);
    }
    if anatomy.validity.is_some_and(|v| v.left < 0) {
        problems.push(access_denied("Request has expired", Certainty::Reported));
    }
    // Clocks may differ by a quarter of an hour.
    let leeway = now.saturating_add(15 * 60);
    if anatomy
        .validity
        .and_then(|v| v.signed_at)
        .is_some_and(|at| at > leeway)
    {
        problems.push(access_denied("Request is not valid yet", Certainty::Memory));
    }
    key_and_token(anatomy, &mut problems);
    problems
}

fn access_denied(message: &str, certainty: Certainty) -> Problem {
    Problem {
        status: 403,
        code: "AccessDenied",
        message: message.to_owned(),
        certainty,
    }
}

fn s3_v4_parameters(anatomy: &Anatomy, problems: &mut Vec<Problem>) {
    let Signature::V4 {
        algorithm,
        scope,
        date,
        expires,
        ..
    } = &anatomy.signature
    else {
        return;
    };
    let needed = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Signature",
        "X-Amz-Date",
        "X-Amz-SignedHeaders",
        "X-Amz-Expires",
    ];
    if needed
        .iter()
        .any(|name| anatomy.parameter(name).is_none_or(str::is_empty))
    {
        problems.push(query_error(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
             X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            Certainty::Reported,
        ));
        return;
    }
    if !matches!(
        algorithm.as_deref(),
        Some("AWS4-HMAC-SHA256" | "AWS4-ECDSA-P256-SHA256")
    ) {
        problems.push(query_error(
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"",
            Certainty::Memory,
        ));
    }
    if date.as_deref().is_none_or(|d| parse_date(d).is_none()) {
        problems.push(query_error(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
            Certainty::Reported,
        ));
    }
    match expires.as_deref().map(str::parse::<i64>) {
        Some(Ok(seconds)) if seconds < 0 => {
            problems.push(query_error("X-Amz-Expires must be non-negative", Certainty::Reported));
        }
        Some(Ok(seconds)) if seconds > 604_800 => problems.push(query_error(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             604800 seconds",
            Certainty::Reported,
        )),
        Some(Ok(_)) => {}
        Some(Err(_)) | None => {
            problems.push(query_error("X-Amz-Expires should be a number", Certainty::Reported));
        }
    }
    let Some(scope) = scope else {
        problems.push(query_error(
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            Certainty::Memory,
        ));
        return;
    };
    let parsing = |what: String| {
        query_error(
            format!("Error parsing the X-Amz-Credential parameter; {what}"),
            Certainty::Reported,
        )
    };
    if !matches!(
        scope.service.as_str(),
        "s3" | "s3express" | "s3-object-lambda" | "s3-outposts"
    ) {
        problems.push(parsing(format!(
            "incorrect service \"{}\". This endpoint belongs to \"s3\".",
            scope.service
        )));
    }
    if scope.terminator != "aws4_request" {
        problems.push(parsing(format!(
            "incorrect terminal \"{}\". This endpoint uses \"aws4_request\".",
            scope.terminator
        )));
    }
    let date = date.as_deref().unwrap_or_default();
    if parse_date(date).is_some() && !date.starts_with(&scope.date) {
        problems.push(query_error(
            format!(
                "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\".",
                scope.date,
                date.get(..8).unwrap_or_default()
            ),
            Certainty::Reported,
        ));
    }
}

fn s3_v2(anatomy: &Anatomy, bucket_region: Option<&str>, problems: &mut Vec<Problem>) {
    let host_region = anatomy.aws_host.as_ref().and_then(|h| h.region.as_deref());
    let needed = ["AWSAccessKeyId", "Expires", "Signature"];
    if needed
        .iter()
        .any(|name| anatomy.parameter(name).is_none_or(str::is_empty))
    {
        problems.push(access_denied(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            Certainty::Memory,
        ));
    } else if anatomy.validity.is_none() {
        problems.push(access_denied(
            "Invalid date (should be seconds since epoch): Expires",
            Certainty::Memory,
        ));
    }
    if let Some(region) = host_region.or(bucket_region)
        && !takes_sigv2(region)
    {
        problems.push(Problem {
            status: 400,
            code: "InvalidRequest",
            message:
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
                    .to_owned(),
            certainty: Certainty::Reported,
        });
    }
}

/// What S3 says when scope, host and bucket are not of one region.
fn wrong_s3_region(anatomy: &Anatomy, bucket_region: Option<&str>) -> Option<Problem> {
    let host = anatomy.aws_host.as_ref();
    let host_region = host.and_then(|h| h.region.as_deref());
    let is_global = host.is_some_and(|h| h.class == HostClass::Global);
    let scope_region = anatomy.scope().and_then(|s| s.region.as_deref());

    // The region that answers knows its own name; a host without region finds the bucket's.
    if let (Some(scope), Some(expected)) = (scope_region, host_region.or(bucket_region))
        && scope != expected
    {
        return Some(query_error(
            format!(
                "Error parsing the X-Amz-Credential parameter; the region '{scope}' is wrong; expecting '{expected}'"
            ),
            Certainty::Reported,
        ));
    }
    let bucket_region = bucket_region.or(if is_global { scope_region } else { None })?;
    let reached = match (host_region, is_global) {
        (Some(region), _) => region,
        (None, true) => GLOBAL_SIGNING_REGION,
        (None, false) => return None,
    };
    if bucket_region == reached {
        return None;
    }
    if activation(bucket_region) == Activation::OptIn {
        // Regions launched after 2019-03-20 are neither found nor redirected to.
        return Some(Problem {
            status: 400,
            code: "IllegalLocationConstraintException",
            message: format!(
                "The {bucket_region} location constraint is incompatible for the region specific endpoint this request \
                 was sent to."
            ),
            certainty: Certainty::Documented,
        });
    }
    (!is_global).then(|| Problem {
        status: 301,
        code: "PermanentRedirect",
        message: "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all \
                  future requests to this endpoint."
            .to_owned(),
        certainty: Certainty::Reported,
    })
}

fn key_and_token(anatomy: &Anatomy, problems: &mut Vec<Problem>) {
    let Some(key) = anatomy.access_key_id() else {
        return;
    };
    match (
        key.starts_with("ASIA"),
        key.starts_with("AKIA"),
        anatomy.session_token,
    ) {
        (true, _, None) => problems.push(Problem {
            status: 403,
            code: "InvalidAccessKeyId",
            message: "The AWS Access Key Id you provided does not exist in our records.".to_owned(),
            certainty: Certainty::Reported,
        }),
        (_, true, Some(_)) => problems.push(Problem {
            status: 400,
            code: "InvalidToken",
            message: "The provided token is malformed or otherwise invalid.".to_owned(),
            certainty: Certainty::Reported,
        }),
        _ => {}
    }
}

fn sts_problems(anatomy: &Anatomy, now: i64) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Signature::V4 {
        scope,
        date,
        signed_headers,
        ..
    } = &anatomy.signature
    else {
        return problems;
    };
    let incomplete = |message: String| Problem {
        status: 400,
        code: "IncompleteSignature",
        message,
        certainty: Certainty::Reported,
    };
    let refused = |message: String| Problem {
        status: 403,
        code: SignedCalls::REFUSAL_CODE,
        message,
        certainty: Certainty::Reported,
    };
    let needed = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Signature",
        "X-Amz-SignedHeaders",
        "X-Amz-Date",
    ];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|name| anatomy.parameter(name).is_none_or(str::is_empty))
        .collect();
    if !missing.is_empty() {
        let mut message = String::new();
        for name in missing {
            message.push_str(&format!("AWS query-string parameters must include '{name}'. "));
        }
        message.push_str("Re-examine the query-string parameters.");
        problems.push(incomplete(message));
        return problems;
    }
    if !signed_headers.iter().any(|h| h.eq_ignore_ascii_case("host")) {
        problems.push(refused(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
        ));
    }
    let date = date.as_deref().unwrap_or_default();
    let compact = |at: i64| format_date(at).replace(['-', ':'], "");
    match parse_date(date) {
        None => problems.push(incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))),
        Some(at) => {
            let leeway = Anatomy::STS_SECONDS;
            if at < now.saturating_sub(leeway) {
                problems.push(refused(format!(
                    "Signature expired: {date} is now earlier than {} ({} - 15 min.)",
                    compact(now.saturating_sub(leeway)),
                    compact(now)
                )));
            } else if at > now.saturating_add(leeway) {
                problems.push(refused(format!(
                    "Signature not yet current: {date} is still later than {} ({} + 15 min.)",
                    compact(now.saturating_add(leeway)),
                    compact(now)
                )));
            }
        }
    }
    match scope {
        None => problems.push(incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
            anatomy.parameter("X-Amz-Credential").unwrap_or_default()
        ))),
        Some(scope) => {
            let message = sts_scope_message(anatomy, scope, date);
            if !message.is_empty() {
                problems.push(refused(message));
            }
        }
    }
    problems
}

/// STS says everything that is wrong with a scope in one message, in this order.
fn sts_scope_message(anatomy: &Anatomy, scope: &CredentialScope, date: &str) -> String {
    let mut message = String::new();
    let expected = anatomy.aws_host.as_ref().and_then(|h| h.signing_region());
    if expected.is_some_and(|expected| scope.region.as_deref() != Some(expected)) {
        message.push_str(SignedCalls::REFUSAL_MESSAGE);
    }
    if scope.service != "sts" {
        message.push_str("Credential should be scoped to correct service: 'sts'. ");
    }
    if scope.terminator != "aws4_request" {
        message.push_str(&format!(
            "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'. ",
            scope.terminator
        ));
    }
    let day = date.get(..8).unwrap_or_default();
    if parse_date(date).is_some() && scope.date != day {
        message.push_str(&format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{day}', \
             from '{date}'. ",
            scope.date
        ));
    }
    message
}

fn notes(anatomy: &Anatomy, bucket_region: Option<&str>) -> Vec<Note> {
    let mut notes = Vec::new();
    let host = anatomy.aws_host.as_ref();
    let scope_region = anatomy.scope().and_then(|s| s.region.as_deref());
    match (&anatomy.target, host) {
        (_, None) => notes.push(Note::CustomHost),
        (Target::Other, Some(host)) => {
            if let crate::partition::Service::Other(name) = &host.service {
                notes.push(Note::UnknownService(name.clone()));
            }
        }
        (Target::Sts { .. }, _) => {
            if anatomy.parameter("X-Amz-Expires").is_some() {
                notes.push(Note::StsIgnoresExpires);
            }
        }
        (Target::S3 { .. }, Some(host)) => {
            if host.class == HostClass::Website {
                notes.push(Note::WebsiteTakesNoSignature);
            }
            if matches!(host.class, HostClass::Global | HostClass::Accelerate)
                && bucket_region.is_none()
                && let Some(region) = scope_region
            {
                notes.push(Note::BucketMustBeIn(region.to_owned()));
            }
            if host.class == HostClass::MultiRegionAccessPoint && anatomy.version() != SignatureVersion::V4a {
                notes.push(Note::NeedsSigV4a);
            }
            let region = bucket_region.or(scope_region);
            if host.class == HostClass::Global && region.is_some_and(|r| r != GLOBAL_SIGNING_REGION) {
                notes.push(Note::YoungBucket);
            }
            if anatomy.session_token.is_some()
                && let Some(region) = region.or(host.region.as_deref())
                && activation(region) == Activation::OptIn
            {
                notes.push(Note::GlobalTokensNotValid(region.to_owned()));
            }
        }
    }
    if let Signature::V4 { signed_headers, .. } = &anatomy.signature
        && !signed_headers.iter().any(|h| h.eq_ignore_ascii_case("host"))
        && matches!(anatomy.target, Target::S3 { .. })
    {
        notes.push(Note::HostNotSigned);
    }
    match anatomy.access_key_id() {
        Some(key) if key.starts_with("ASIA") => notes.push(Note::EndsWithSession),
        Some(key) if key.starts_with("AKIA") => notes.push(Note::LongTermKey),
        _ => {}
    }
    if anatomy.scheme == "http" {
        notes.push(Note::NotEncrypted);
    }
    notes
}
