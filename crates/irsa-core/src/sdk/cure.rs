//! Cures for "Credential should be scoped to a valid region", each tried against the rules.

use super::{Answer, Call, Code, Environment, Sdk, SignedCalls, sts};
use crate::partition::{AWS_GLOBAL, GLOBAL_SIGNING_REGION, sts_host};

/// A proposal for a call that is refused for its scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remedy {
    /// Annotate the service account for the global endpoint.
    AnnotateGlobal,
    /// Remove `AWS_STS_REGIONAL_ENDPOINTS`.
    UnsetVariable,
    /// Annotate the service account for the regional endpoint.
    AnnotateRegional,
    /// Remove the endpoint URL.
    DropEndpoint,
    /// Replace the endpoint URL by that of the client's own region.
    RegionalUrl {
        /// The URL.
        url: Box<str>,
    },
    /// Give the client the region that signs for the global endpoint.
    RegionUsEast1,
    /// Give the client the region `aws-global`.
    RegionAwsGlobal,
    /// Both of the above: no endpoint URL, and the region `aws-global`.
    DropEndpointRegionAwsGlobal,
}

impl Remedy {
    /// The stable name in machine-readable outputs.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::AnnotateGlobal => "annotate-global",
            Self::UnsetVariable => "unset-variable",
            Self::AnnotateRegional => "annotate-regional",
            Self::DropEndpoint => "drop-endpoint",
            Self::RegionalUrl { .. } => "regional-url",
            Self::RegionUsEast1 => "region-us-east-1",
            Self::RegionAwsGlobal => "region-aws-global",
            Self::DropEndpointRegionAwsGlobal => "drop-endpoint-region-aws-global",
        }
    }

    /// What to do, in words.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::AnnotateGlobal => {
                "annotate the service account with eks.amazonaws.com/sts-regional-endpoints=false".to_owned()
            }
            Self::UnsetVariable => "remove AWS_STS_REGIONAL_ENDPOINTS from the pod".to_owned(),
            Self::AnnotateRegional => {
                "annotate the service account with eks.amazonaws.com/sts-regional-endpoints=true".to_owned()
            }
            Self::DropEndpoint => {
                "remove the endpoint URL (in the program, AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL) and let the SDK find it"
                    .to_owned()
            }
            Self::RegionalUrl { url } => format!("use the URL of the client's own region, {url}"),
            Self::RegionUsEast1 => format!(
                "give the STS client the region {GLOBAL_SIGNING_REGION}, which signs for the global endpoint"
            ),
            Self::RegionAwsGlobal => {
                format!("keep the endpoint URL and give the STS client the region {AWS_GLOBAL}")
            }
            Self::DropEndpointRegionAwsGlobal => format!(
                "remove the endpoint URL and give the STS client the region {AWS_GLOBAL}: global on purpose"
            ),
        }
    }
}

/// One proposal, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cure {
    /// What to do.
    pub remedy: Remedy,
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

    let tried = |remedy, environment: &Environment, code: Code<'_>| {
        let after = sts(sdk, environment, code, Call::Program);
        Cure {
            remedy,
            works: after.signed_calls == SignedCalls::Accepted,
            after,
        }
    };
    let at_regional_url = Environment {
        endpoint_url_sts: Some(regional_url.clone()),
        ..environment.clone()
    };
    let regional_code = Code {
        endpoint: code.endpoint.map(|_| regional_url.as_str()),
        ..code
    };
    vec![
        tried(Remedy::AnnotateGlobal, &with_value(Some("legacy")), code),
        tried(Remedy::UnsetVariable, &with_value(None), code),
        tried(Remedy::AnnotateRegional, &with_value(Some("regional")), code),
        tried(Remedy::DropEndpoint, &without_url, no_endpoint),
        tried(
            Remedy::RegionalUrl {
                url: regional_url.as_str().into(),
            },
            &at_regional_url,
            regional_code,
        ),
        tried(
            Remedy::RegionUsEast1,
            &in_region(GLOBAL_SIGNING_REGION, environment),
            code_in(GLOBAL_SIGNING_REGION),
        ),
        tried(
            Remedy::RegionAwsGlobal,
            &in_region(AWS_GLOBAL, environment),
            code_in(AWS_GLOBAL),
        ),
        tried(
            Remedy::DropEndpointRegionAwsGlobal,
            &in_region(AWS_GLOBAL, &without_url),
            Code {
                endpoint: None,
                ..code_in(AWS_GLOBAL)
            },
        ),
    ]
}
