//! The answer about one STS call: which endpoint, why, and what AWS makes of it.

use std::fmt;

use super::family::{Certainty, Sdk};
use super::profile::{BlastRadius, ReadsVariable};
use crate::partition::{AwsHost, GLOBAL_STS_HOST, Service, StsClass};

/// Where a region came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionSource {
    /// The program's code.
    Code,
    /// The profile in the shared config file.
    ConfigFile,
    /// This variable.
    Variable(&'static str),
    /// Nowhere: the SDK assumes it.
    Assumed,
}

impl fmt::Display for RegionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code => "the program",
            Self::ConfigFile => "the config file",
            Self::Variable(name) => name,
            Self::Assumed => "the SDK's own assumption",
        })
    }
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// An endpoint in the program's code.
    EndpointInCode,
    /// `AWS_ENDPOINT_URL_STS`.
    EndpointUrlSts,
    /// `AWS_ENDPOINT_URL`.
    EndpointUrl,
    /// `endpoint_url` in the shared config file.
    EndpointInConfigFile,
    /// `AWS_USE_FIPS_ENDPOINT` (or a region that means FIPS).
    Fips,
    /// `AWS_USE_DUALSTACK_ENDPOINT`.
    DualStack,
    /// The region is `aws-global`.
    RegionIsGlobal,
    /// There is no region.
    NoRegion,
    /// The region is no possible name of one.
    RegionIsInvalid,
    /// The variable says `regional`.
    VariableRegional,
    /// The variable says `legacy`.
    VariableLegacy,
    /// The variable says `legacy`, but the region is not among those that it moves.
    LegacyNotForRegion,
    /// The variable has a value that the SDK refuses.
    VariableRefused,
    /// `AWS_DEFAULTS_MODE`.
    DefaultsMode,
    /// Nothing is said and this release defaults to global.
    DefaultGlobal,
    /// Nothing is said and this release defaults to global, but not in this region.
    DefaultGlobalNotForRegion,
    /// Nothing is said and this release defaults to regional.
    DefaultRegional,
    /// This SDK knows only regional endpoints.
    AlwaysRegional,
    /// A combination of settings that excludes itself.
    Conflict,
    /// `AWS_DEFAULTS_MODE` has a value that the SDK refuses.
    DefaultsModeRefused,
    /// The endpoint URL is not a URL with a scheme and a host.
    EndpointIsInvalid,
    /// The selected profile, or a section that it names, does not exist or cannot be read.
    ConfigFileRefused,
    /// `AWS_PROFILE` or `AWS_CONFIG_FILE` names a file that nobody has read.
    ConfigFileUnread,
}

impl Reason {
    /// The stable name in machine-readable outputs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::EndpointInCode => "endpoint-in-code",
            Self::EndpointUrlSts => "endpoint-url-sts",
            Self::EndpointUrl => "endpoint-url",
            Self::EndpointInConfigFile => "endpoint-in-config-file",
            Self::Fips => "fips",
            Self::DualStack => "dualstack",
            Self::RegionIsGlobal => "region-is-aws-global",
            Self::NoRegion => "no-region",
            Self::RegionIsInvalid => "region-is-invalid",
            Self::VariableRegional => "variable-regional",
            Self::VariableLegacy => "variable-legacy",
            Self::LegacyNotForRegion => "legacy-not-for-region",
            Self::VariableRefused => "variable-refused",
            Self::DefaultsMode => "defaults-mode",
            Self::DefaultGlobal => "default-global",
            Self::DefaultGlobalNotForRegion => "default-global-not-for-region",
            Self::DefaultRegional => "default-regional",
            Self::AlwaysRegional => "always-regional",
            Self::Conflict => "conflict",
            Self::DefaultsModeRefused => "defaults-mode-refused",
            Self::EndpointIsInvalid => "endpoint-is-invalid",
            Self::ConfigFileRefused => "config-file-refused",
            Self::ConfigFileUnread => "config-file-unread",
        }
    }

    /// The reason as a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::EndpointInCode => "the program gives the endpoint itself",
            Self::EndpointUrlSts => "AWS_ENDPOINT_URL_STS gives the endpoint",
            Self::EndpointUrl => "AWS_ENDPOINT_URL gives the endpoint of every service",
            Self::EndpointInConfigFile => "the config file gives the endpoint",
            Self::Fips => {
                "FIPS endpoints are asked for, which overrides the choice between regional and global"
            }
            Self::DualStack => {
                "dual-stack endpoints are asked for, which overrides the choice between regional and global"
            }
            Self::RegionIsGlobal => "the region is `aws-global`, which means the global endpoint",
            Self::NoRegion => "this SDK finds no region",
            Self::RegionIsInvalid => "the region is no possible name of a region",
            Self::VariableRegional => "AWS_STS_REGIONAL_ENDPOINTS asks for the regional endpoint",
            Self::VariableLegacy => "AWS_STS_REGIONAL_ENDPOINTS asks for the global endpoint",
            Self::LegacyNotForRegion => {
                "AWS_STS_REGIONAL_ENDPOINTS asks for the global endpoint, which does not serve this region"
            }
            Self::VariableRefused => "this SDK refuses the value of AWS_STS_REGIONAL_ENDPOINTS",
            Self::DefaultsMode => "AWS_DEFAULTS_MODE makes the regional endpoint the default",
            Self::DefaultGlobal => "nothing is said, and this release defaults to the global endpoint",
            Self::DefaultGlobalNotForRegion => {
                "this release defaults to the global endpoint, but not in this region"
            }
            Self::DefaultRegional => "nothing is said, and this release defaults to the regional endpoint",
            Self::AlwaysRegional => "this SDK never reads AWS_STS_REGIONAL_ENDPOINTS: it is always regional",
            Self::Conflict => "two settings exclude each other",
            Self::DefaultsModeRefused => "this SDK refuses the value of AWS_DEFAULTS_MODE",
            Self::EndpointIsInvalid => "the endpoint URL is not a URL with a scheme and a host",
            Self::ConfigFileRefused => "the config file lacks what is asked of it",
            Self::ConfigFileUnread => "a config file decides, and it was not read",
        }
    }
}

/// The endpoint that is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host, without port.
    pub host: String,
    /// The URL.
    pub url: String,
    /// The region in the credential scope of signed calls.
    pub signing_region: String,
    /// The kind of endpoint.
    pub class: StsClass,
}

/// An error of the SDK itself: nothing reaches AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The text, exactly, as far as it is known.
    pub text: String,
    /// What stops working.
    pub blast_radius: BlastRadius,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This endpoint is called.
    Endpoint(Endpoint),
    /// The SDK fails.
    Failure(Failure),
    /// A config file decides that nobody has read: naming a host would be a guess.
    DecidedByFile,
}

impl Endpoint {
    /// The endpoint of a URL as the SDK calls it.
    pub(super) fn at(url: impl Into<String>, signing_region: impl Into<String>, class: StsClass) -> Self {
        let url = url.into();
        Self {
            host: host_of(&url),
            signing_region: signing_region.into(),
            class,
            url,
        }
    }

    /// The endpoint that a setting names. One that names the global host is the global endpoint.
    pub(super) fn named(url: impl Into<String>, signing_region: impl Into<String>) -> Self {
        let mut endpoint = Self::at(url, signing_region, StsClass::Custom);
        let host = endpoint.host.strip_suffix('.').unwrap_or(&endpoint.host);
        if host.eq_ignore_ascii_case(GLOBAL_STS_HOST) {
            endpoint.class = StsClass::Global;
        }
        endpoint
    }
}

/// What AWS makes of the scope of signed calls (`GetCallerIdentity`, `AssumeRole`). `AssumeRoleWithWebIdentity` is
/// not signed and never fails so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedCalls {
    /// The scope is the one that this host takes.
    Accepted,
    /// The host takes another region in the scope.
    Refused {
        /// The region that the host takes.
        expected: String,
    },
    /// The host is not one of AWS's: nobody can know.
    Unknown,
}

impl SignedCalls {
    /// The error code of AWS for a scope that the host does not take.
    pub const REFUSAL_CODE: &'static str = "SignatureDoesNotMatch";
    /// The message of AWS for it; it really ends with a blank.
    pub const REFUSAL_MESSAGE: &'static str = "Credential should be scoped to a valid region. ";

    /// The word in machine-readable outputs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused { .. } => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// What boto3 and the AWS CLI print for it.
    #[must_use]
    pub fn refusal_text(operation: &str) -> String {
        format!(
            "An error occurred ({}) when calling the {operation} operation: {}",
            Self::REFUSAL_CODE,
            Self::REFUSAL_MESSAGE
        )
    }
}

/// Something beside the answer that its reader should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// No FIPS endpoint is published for the region: the name will not resolve.
    FipsNotPublished(String),
    /// The region is not known to this build and has no partition's pattern: the host probably does not exist.
    RegionUnknown(String),
    /// The pseudo-region has no STS: the host does not exist.
    PseudoRegion(String),
    /// The region is opt-in: its endpoint answers only accounts that have enabled it.
    RegionIsOptIn(String),
    /// A variable that gives a region is not read by this SDK.
    RegionVariableNotRead(&'static str),
    /// Without a region the SDK asks the instance for one; pods often cannot reach it.
    RegionFromInstance,
    /// The variable is set, and this SDK ignores it.
    VariableIgnored,
    /// The variable is set but empty.
    VariableEmpty,
    /// The value means nothing to this SDK but is silently accepted.
    ValueUnknown(String),
    /// Session tokens of the global endpoint are not accepted in opt-in regions unless the account says so.
    TokensOfGlobalEndpoint(String),
    /// An interface endpoint of the VPC does not cover the global host.
    NotInVpcEndpoint,
    /// `AWS_ENDPOINT_URL…` is set, and this SDK does not read it.
    EndpointUrlNotRead(&'static str),
}

impl Concern {
    /// The stable name in machine-readable outputs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::FipsNotPublished(_) => "fips-not-published",
            Self::RegionUnknown(_) => "region-unknown",
            Self::PseudoRegion(_) => "pseudo-region",
            Self::RegionIsOptIn(_) => "region-is-opt-in",
            Self::RegionVariableNotRead(_) => "region-variable-not-read",
            Self::RegionFromInstance => "region-from-instance",
            Self::VariableIgnored => "variable-ignored",
            Self::VariableEmpty => "variable-empty",
            Self::ValueUnknown(_) => "value-unknown",
            Self::TokensOfGlobalEndpoint(_) => "tokens-of-global-endpoint",
            Self::NotInVpcEndpoint => "not-in-vpc-endpoint",
            Self::EndpointUrlNotRead(_) => "endpoint-url-not-read",
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FipsNotPublished(region) => {
                write!(
                    f,
                    "no FIPS endpoint of STS is published for {region}: the name will not resolve"
                )
            }
            Self::RegionUnknown(region) => {
                write!(
                    f,
                    "`{region}` looks like no region of AWS: the host probably does not exist"
                )
            }
            Self::PseudoRegion(region) => {
                write!(f, "`{region}` has no STS endpoint: the host does not exist")
            }
            Self::RegionIsOptIn(region) => {
                write!(
                    f,
                    "{region} is an opt-in region: its endpoint answers only accounts that have enabled it"
                )
            }
            Self::RegionVariableNotRead(name) => write!(f, "this SDK does not read {name}"),
            Self::RegionFromInstance => {
                f.write_str("this SDK asks the instance metadata for a region, which pods often cannot reach")
            }
            Self::VariableIgnored => f.write_str("AWS_STS_REGIONAL_ENDPOINTS is ignored by this SDK"),
            Self::VariableEmpty => {
                f.write_str("AWS_STS_REGIONAL_ENDPOINTS is empty, which this SDK takes as unset")
            }
            Self::ValueUnknown(value) => {
                write!(
                    f,
                    "`{value}` is neither `regional` nor `legacy`; this SDK accepts it silently"
                )
            }
            Self::TokensOfGlobalEndpoint(region) => write!(
                f,
                "session tokens of the global endpoint are not valid in the opt-in region {region} unless the account's \
                 global endpoint tokens are of version 2"
            ),
            Self::NotInVpcEndpoint => f.write_str(
                "an interface VPC endpoint covers the regional host only, never sts.amazonaws.com",
            ),
            Self::EndpointUrlNotRead(name) => write!(f, "this SDK does not read {name}"),
        }
    }
}

/// Which calls are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Call {
    /// The SDK's own `AssumeRoleWithWebIdentity`, which gets the pod its credentials. An endpoint in the program's code
    /// does not reach it; a region does, except in JavaScript v2.
    #[default]
    Credentials,
    /// STS calls that the program makes with a client of its own.
    Program,
}

/// The answer for one SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The SDK that was asked about.
    pub sdk: Sdk,
    /// What happens.
    pub outcome: Outcome,
    /// What decided.
    pub reason: Reason,
    /// The region, if the SDK has one, and where it is from.
    pub region: Option<(String, RegionSource)>,
    /// How the SDK treats the variable.
    pub reads: ReadsVariable,
    /// What AWS makes of signed calls to that endpoint.
    pub signed_calls: SignedCalls,
    /// What else is worth knowing.
    pub concerns: Vec<Concern>,
    /// What the answer rests on.
    pub certainty: Certainty,
}

impl Answer {
    /// The endpoint, if one is reached.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.outcome {
            Outcome::Endpoint(endpoint) => Some(endpoint),
            Outcome::Failure(_) | Outcome::DecidedByFile => None,
        }
    }

    /// The class in outputs: `regional`, `global`, `fips`, `dualstack`, `custom`, `error`, `unknown`.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match &self.outcome {
            Outcome::Endpoint(endpoint) => endpoint.class.as_str(),
            Outcome::Failure(_) => "error",
            Outcome::DecidedByFile => "unknown",
        }
    }
}

/// What AWS makes of the scope of calls to `endpoint`.
pub(super) fn signed_calls(endpoint: &Endpoint) -> SignedCalls {
    match AwsHost::parse(&endpoint.host) {
        Some(host) if host.service == Service::Sts => match host.signing_region() {
            Some(expected) if expected == endpoint.signing_region => SignedCalls::Accepted,
            Some(expected) => SignedCalls::Refused {
                expected: expected.to_owned(),
            },
            None => SignedCalls::Unknown,
        },
        _ => SignedCalls::Unknown,
    }
}

/// The host of a URL, without user, port and path; the whole text if it is no URL.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = if host.starts_with('[') {
        host.split_once(']')
            .map_or(host, |(name, _)| name.trim_start_matches('['))
    } else {
        host.split_once(':').map_or(host, |(name, _)| name)
    };
    host.to_ascii_lowercase()
}
