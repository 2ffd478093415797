//! The answer: which STS endpoint one SDK calls in one environment, why, and what AWS makes of it.

use std::fmt;

use super::family::{Certainty, Family, Sdk};
use super::profile::{BlastRadius, Profile, ReadsVariable, WithoutRegion, refusal};
use super::{Code, Environment};
use crate::partition::{
    AWS_GLOBAL, Activation, AwsHost, GLOBAL_SIGNING_REGION, Membership, Partition, Service, StsClass,
    StsRequest, activation, fips_pseudo_region, is_host_label, resolve_sts, sts_fips_exists,
};

/// Where a region came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionSource {
    /// The program's code.
    Code,
    /// This variable.
    Variable(&'static str),
    /// Nowhere: the SDK assumes it.
    Assumed,
}

impl fmt::Display for RegionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code => "the program",
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
}

impl Reason {
    /// The stable name in machine-readable outputs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::EndpointInCode => "endpoint-in-code",
            Self::EndpointUrlSts => "endpoint-url-sts",
            Self::EndpointUrl => "endpoint-url",
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
        }
    }

    /// The reason as a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::EndpointInCode => "the program gives the endpoint itself",
            Self::EndpointUrlSts => "AWS_ENDPOINT_URL_STS gives the endpoint",
            Self::EndpointUrl => "AWS_ENDPOINT_URL gives the endpoint of every service",
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
    /// The SDK's own `AssumeRoleWithWebIdentity`, which gets the pod its credentials. Options in the program's code do
    /// not reach it.
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
            Outcome::Failure(_) => None,
        }
    }

    /// The class in outputs: `regional`, `global`, `fips`, `dualstack`, `custom`, `error`.
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.endpoint().map_or("error", |e| e.class.as_str())
    }
}

/// Which STS endpoint `sdk` calls.
///
/// With [`Call::Credentials`] the options in `code` are not looked at.
#[must_use]
pub fn sts(sdk: Sdk, environment: &Environment, code: Code<'_>, call: Call) -> Answer {
    let code = if call == Call::Program {
        code
    } else {
        Code::default()
    };
    let load_config = Environment::filled(environment.sdk_load_config.as_ref())
        .is_some_and(|v| matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True"));
    let profile = Profile::of(sdk, load_config);
    let mut asked = Asked {
        sdk,
        profile,
        environment,
        code,
        concerns: Vec::new(),
        certainty: profile.certainty,
    };
    let region = asked.region();
    let (outcome, reason) = asked.decide(region.as_ref().map(|(r, _)| r.as_str()));
    if let Outcome::Endpoint(endpoint) = &outcome {
        asked.note_endpoint(endpoint, region.as_ref().map(|(r, _)| r.as_str()));
    }
    let signed_calls = match &outcome {
        Outcome::Endpoint(endpoint) => signed_calls(endpoint),
        Outcome::Failure(_) => SignedCalls::Unknown,
    };
    Answer {
        sdk,
        outcome,
        reason,
        region,
        reads: profile.reads,
        signed_calls,
        concerns: asked.concerns,
        certainty: asked.certainty,
    }
}

/// What AWS makes of the scope of calls to `endpoint`.
fn signed_calls(endpoint: &Endpoint) -> SignedCalls {
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

struct Asked<'a> {
    sdk: Sdk,
    profile: Profile,
    environment: &'a Environment,
    code: Code<'a>,
    concerns: Vec<Concern>,
    certainty: Certainty,
}

impl Asked<'_> {
    fn region(&mut self) -> Option<(String, RegionSource)> {
        if let Some(region) = self.code.region {
            return Some((region.to_owned(), RegionSource::Code));
        }
        let found = self.profile.region_variables.iter().copied().find_map(|name| {
            let value = self.environment.get(name).filter(|v| !v.is_empty())?;
            Some((value.to_owned(), RegionSource::Variable(name)))
        });
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            // A variable that says the same as the one that is read misleads nobody.
            let misleads = self
                .environment
                .get(name)
                .is_some_and(|v| !v.is_empty() && found.as_ref().is_none_or(|(region, _)| region != v));
            if misleads && !self.profile.region_variables.contains(&name) {
                self.concerns.push(Concern::RegionVariableNotRead(name));
            }
        }
        if found.is_none() && self.profile.asks_instance {
            self.concerns.push(Concern::RegionFromInstance);
        }
        match (found, self.profile.without_region) {
            (None, WithoutRegion::Assumes(region)) => Some((region.to_owned(), RegionSource::Assumed)),
            (found, _) => found,
        }
    }

    fn fail(
        &mut self,
        text: impl Into<String>,
        blast_radius: BlastRadius,
        reason: Reason,
    ) -> (Outcome, Reason) {
        (
            Outcome::Failure(Failure {
                text: text.into(),
                blast_radius,
            }),
            reason,
        )
    }

    fn at_most(&mut self, certainty: Certainty) {
        self.certainty = self.certainty.max(certainty);
    }

    /// The URL given by hand and who gave it, the strongest first.
    fn custom_endpoint(&mut self) -> Option<(String, Reason)> {
        if let Some(url) = self.code.endpoint {
            return Some((url.to_owned(), Reason::EndpointInCode));
        }
        if Environment::is_on(self.environment.ignore_configured_endpoint_urls.as_ref()) {
            return None;
        }
        let set = [
            (
                "AWS_ENDPOINT_URL_STS",
                &self.environment.endpoint_url_sts,
                Reason::EndpointUrlSts,
            ),
            (
                "AWS_ENDPOINT_URL",
                &self.environment.endpoint_url,
                Reason::EndpointUrl,
            ),
        ];
        for (name, value, reason) in set {
            let Some(url) = Environment::filled(value.as_ref()) else {
                continue;
            };
            if self.profile.reads_endpoint_url {
                // The families that were run were run with the variable; the others are documented to read it.
                if self.profile.certainty != Certainty::Tested {
                    self.at_most(Certainty::Documented);
                }
                return Some((url.to_owned(), reason));
            }
            self.concerns.push(Concern::EndpointUrlNotRead(name));
        }
        None
    }

    /// Whether global is asked for, and who says so. `Err` is the refusal of the value.
    fn wanted(&mut self) -> Result<(bool, Reason), String> {
        if let Some(value) = self.environment.sts_regional_endpoints.as_deref() {
            match self.profile.read(value) {
                Err(()) => return Err(value.to_owned()),
                Ok(Some(global)) => {
                    if !value.eq_ignore_ascii_case("legacy") && !value.eq_ignore_ascii_case("regional") {
                        self.concerns.push(Concern::ValueUnknown(value.to_owned()));
                    }
                    return Ok((
                        global,
                        if global {
                            Reason::VariableLegacy
                        } else {
                            Reason::VariableRegional
                        },
                    ));
                }
                Ok(None) if self.profile.reads == ReadsVariable::Never => {
                    self.concerns.push(Concern::VariableIgnored)
                }
                Ok(None) => self.concerns.push(Concern::VariableEmpty),
            }
        }
        if self.profile.reads == ReadsVariable::Never && !self.profile.default_is_global {
            return Ok((false, Reason::AlwaysRegional));
        }
        let mode = Environment::filled(self.environment.defaults_mode.as_ref())
            .is_some_and(|mode| !mode.eq_ignore_ascii_case("legacy"));
        Ok(
            if self.profile.default_is_global && self.profile.reads_defaults_mode && mode {
                if self.profile.certainty != Certainty::Tested {
                    self.at_most(Certainty::Memory);
                }
                (false, Reason::DefaultsMode)
            } else if self.profile.default_is_global {
                (true, Reason::DefaultGlobal)
            } else {
                (false, Reason::DefaultRegional)
            },
        )
    }

    fn decide(&mut self, region: Option<&str>) -> (Outcome, Reason) {
        let custom = self.custom_endpoint();
        let wanted = self.wanted();
        if let Err(value) = &wanted {
            // botocore before 1.28 looks at the variable only when it has to find the endpoint itself.
            let not_looked_at = custom.is_some()
                && self.profile.blast_radius == BlastRadius::StsClients
                && matches!(self.sdk.family, Family::Botocore | Family::CliV1);
            if !not_looked_at {
                return self.fail(
                    refusal(self.sdk.family, value),
                    self.profile.blast_radius,
                    Reason::VariableRefused,
                );
            }
        }
        let (global, who) = wanted.unwrap_or((false, Reason::VariableRefused));

        if let Some(region) = region.filter(|r| !is_host_label(r)) {
            return self.invalid_region(region);
        }
        let (region, pseudo_fips) = match region.and_then(fips_pseudo_region) {
            Some(real) => (Some(real), true),
            None => (region, false),
        };
        let on = |value: Option<&String>| Environment::is_on(value);
        let fips = pseudo_fips || (self.profile.reads_variants && on(self.environment.use_fips.as_ref()));
        let dual_stack = self.profile.reads_variants && on(self.environment.use_dual_stack.as_ref());

        if let Some((url, reason)) = custom {
            return self.custom(&url, reason, region, fips, dual_stack);
        }
        let Some(region) = region else {
            return self.no_region(global);
        };
        let moved_everywhere = global
            && self.profile.legacy_is_everywhere
            && Partition::of_region(region).has_global_sts()
            && !fips
            && !dual_stack;
        let effective = if moved_everywhere { AWS_GLOBAL } else { region };
        let request = StsRequest {
            region: Some(effective),
            use_global: global,
            fips,
            dual_stack,
            endpoint: None,
        };
        match resolve_sts(&request) {
            Err(error) => self.fail(error.to_string(), BlastRadius::StsClients, Reason::Conflict),
            Ok(resolved) => {
                let reason = match resolved.class {
                    StsClass::Fips => Reason::Fips,
                    StsClass::DualStack => Reason::DualStack,
                    StsClass::Global if region == AWS_GLOBAL => {
                        if self.profile.legacy_is_everywhere {
                            self.at_most(Certainty::Memory);
                        }
                        Reason::RegionIsGlobal
                    }
                    StsClass::Regional if who == Reason::VariableLegacy => Reason::LegacyNotForRegion,
                    StsClass::Regional if who == Reason::DefaultGlobal => Reason::DefaultGlobalNotForRegion,
                    _ => who,
                };
                (
                    Outcome::Endpoint(Endpoint {
                        host: host_of(&resolved.url),
                        url: resolved.url,
                        signing_region: resolved.signing_region,
                        class: resolved.class,
                    }),
                    reason,
                )
            }
        }
    }

    fn invalid_region(&mut self, region: &str) -> (Outcome, Reason) {
        self.at_most(Certainty::Memory);
        let text = match self.sdk.family {
            Family::Botocore | Family::CliV1 | Family::CliV2 => format!(
                "InvalidRegionError: Provided region_name '{region}' doesn't match a supported format."
            ),
            _ => format!("`{region}` cannot stand in a host name"),
        };
        self.fail(text, BlastRadius::EveryClient, Reason::RegionIsInvalid)
    }

    fn custom(
        &mut self,
        url: &str,
        reason: Reason,
        region: Option<&str>,
        fips: bool,
        dual_stack: bool,
    ) -> (Outcome, Reason) {
        let (fips, dual_stack) = if self.profile.has_rule_set {
            (fips, dual_stack)
        } else {
            if fips || dual_stack {
                self.at_most(Certainty::Memory);
            }
            (false, false)
        };
        let Some(region) = region else {
            let text = self
                .profile
                .endpoint_without_region
                .or(match self.profile.without_region {
                    WithoutRegion::Fails { text, .. } => Some(text),
                    WithoutRegion::Global | WithoutRegion::Assumes(_) => None,
                });
            return match text {
                Some(text) => self.fail(text, BlastRadius::StsClients, Reason::NoRegion),
                None => {
                    // Go v1 without a region: its resolver takes the global endpoint's scope.
                    self.at_most(Certainty::Memory);
                    self.custom(url, reason, Some(GLOBAL_SIGNING_REGION), fips, dual_stack)
                }
            };
        };
        let request = StsRequest {
            region: Some(region),
            use_global: false,
            fips,
            dual_stack,
            endpoint: Some(url),
        };
        match resolve_sts(&request) {
            Err(error) => {
                self.at_most(Certainty::Read);
                self.fail(error.to_string(), BlastRadius::StsClients, Reason::Conflict)
            }
            Ok(resolved) => (
                Outcome::Endpoint(Endpoint {
                    host: host_of(url),
                    url: resolved.url,
                    signing_region: resolved.signing_region,
                    class: StsClass::Custom,
                }),
                reason,
            ),
        }
    }

    fn no_region(&mut self, global: bool) -> (Outcome, Reason) {
        match self.profile.without_region {
            WithoutRegion::Fails { text, unless_global } if !(unless_global && global) => {
                self.fail(text, BlastRadius::StsClients, Reason::NoRegion)
            }
            _ => (
                Outcome::Endpoint(Endpoint {
                    host: crate::partition::GLOBAL_STS_HOST.to_owned(),
                    url: format!("https://{}", crate::partition::GLOBAL_STS_HOST),
                    signing_region: GLOBAL_SIGNING_REGION.to_owned(),
                    class: StsClass::Global,
                }),
                Reason::NoRegion,
            ),
        }
    }

    fn note_endpoint(&mut self, endpoint: &Endpoint, region: Option<&str>) {
        if endpoint.class == StsClass::Global {
            self.concerns.push(Concern::NotInVpcEndpoint);
            if let Some(region) = region.filter(|r| activation(r) == Activation::OptIn) {
                self.concerns
                    .push(Concern::TokensOfGlobalEndpoint(region.to_owned()));
            }
            return;
        }
        if endpoint.class == StsClass::Custom {
            return;
        }
        let Some(region) = region else { return };
        let region = fips_pseudo_region(region).unwrap_or(region);
        let (partition, membership) = Partition::locate(region);
        if membership == Membership::Assumed {
            self.concerns.push(Concern::RegionUnknown(region.to_owned()));
        } else if partition.pseudo_region() == Some(region) {
            self.concerns.push(Concern::PseudoRegion(region.to_owned()));
        } else if endpoint.class == StsClass::Fips && !sts_fips_exists(region) {
            self.concerns.push(Concern::FipsNotPublished(region.to_owned()));
        }
        if activation(region) == Activation::OptIn {
            self.concerns.push(Concern::RegionIsOptIn(region.to_owned()));
        }
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
