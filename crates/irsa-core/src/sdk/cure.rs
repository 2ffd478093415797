//! Cures for "Credential should be scoped to a valid region", each tried against the rules.

use super::{Answer, Call, Code, Environment, Sdk, SignedCalls, sts};
use crate::partition::{AWS_GLOBAL, GLOBAL_SIGNING_REGION, sts_host};

/// One proposal, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cure {
    /// The stable name in machine-readable outputs.
    pub id: &'static str,
    /// What to do.
    pub what: String,
    /// Whether signed calls are accepted after it.
    pub works: bool,
    /// What the SDK would do after it.
    pub after: Answer,
}

/// Every proposal for a call that is refused for its scope, those of the AWS documentation first. Whether each works
/// is computed by [`sts()`] with the change made.
#[must_use]
pub fn scope_cures(sdk: Sdk, environment: &Environment, code: Code<'_>) -> Vec<Cure> {
    let before = sts(sdk, environment, code, Call::Program);
    let region = before
        .region
        .as_ref()
        .map_or("us-east-1", |(region, _)| region.as_str())
        .to_owned();
    let regional_url = format!("https://{}", sts_host(&region, false, false));

    let with_value = |value: Option<&str>| Environment {
        sts_regional_endpoints: value.map(str::to_owned),
        ..environment.clone()
    };
    let without_url = Environment {
        endpoint_url: None,
        endpoint_url_sts: None,
        ..environment.clone()
    };
    let in_region = |region: &str, environment: &Environment| Environment {
        region: Some(region.to_owned()),
        default_region: Some(region.to_owned()),
        ..environment.clone()
    };
    // A region in the code would win over the environment.
    let code_in = |region| Code {
        region: code.region.map(|_| region),
        ..code
    };
    let no_endpoint = Code {
        endpoint: None,
        ..code
    };

    let tried = |id, what: String, environment: &Environment, code: Code<'_>| {
        let after = sts(sdk, environment, code, Call::Program);
        Cure {
            id,
            what,
            works: after.signed_calls == SignedCalls::Accepted,
            after,
        }
    };
    vec![
        tried(
            "annotate-global",
            "annotate the service account with eks.amazonaws.com/sts-regional-endpoints=false".to_owned(),
            &with_value(Some("legacy")),
            code,
        ),
        tried("unset-variable", "remove AWS_STS_REGIONAL_ENDPOINTS from the pod".to_owned(), &with_value(None), code),
        tried(
            "annotate-regional",
            "annotate the service account with eks.amazonaws.com/sts-regional-endpoints=true".to_owned(),
            &with_value(Some("regional")),
            code,
        ),
        tried(
            "drop-endpoint",
            "remove the endpoint URL (in the program, AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL) and let the SDK find it"
                .to_owned(),
            &without_url,
            no_endpoint,
        ),
        tried(
            "regional-url",
            format!("use the URL of the client's own region, {regional_url}"),
            &Environment { endpoint_url_sts: Some(regional_url.clone()), ..environment.clone() },
            Code { endpoint: code.endpoint.map(|_| regional_url.as_str()), ..code },
        ),
        tried(
            "region-us-east-1",
            format!("give the STS client the region {GLOBAL_SIGNING_REGION}, which signs for the global endpoint"),
            &in_region(GLOBAL_SIGNING_REGION, environment),
            code_in(GLOBAL_SIGNING_REGION),
        ),
        tried(
            "region-aws-global",
            format!("keep the endpoint URL and give the STS client the region {AWS_GLOBAL}"),
            &in_region(AWS_GLOBAL, environment),
            code_in(AWS_GLOBAL),
        ),
        tried(
            "drop-endpoint-region-aws-global",
            format!("remove the endpoint URL and give the STS client the region {AWS_GLOBAL}: global on purpose"),
            &in_region(AWS_GLOBAL, &without_url),
            Code { endpoint: None, ..code_in(AWS_GLOBAL) },
        ),
    ]
}
