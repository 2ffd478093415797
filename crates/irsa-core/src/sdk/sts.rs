//! Which STS endpoint one SDK calls in one environment.

use super::answer::{
    Answer, Call, Concern, Endpoint, Failure, Outcome, Reason, RegionSource, SignedCalls, signed_calls,
};
use super::family::{Certainty, Family, Version};
use super::hosts;
use super::profile::{
    BlastRadius, DefaultsMode, Profile, ReadsVariable, WithoutRegion, refusal, refused_defaults_mode,
};
use super::settings::{ClientOf, NoSettings, Settings};
use super::{Code, Environment, Sdk};
use crate::partition::{
    AWS_GLOBAL, Activation, GLOBAL_SIGNING_REGION, GLOBAL_STS_HOST, Membership, Partition, StsClass,
    activation, fips_pseudo_region, is_host_label, is_legacy_global, sts_fips_exists,
};

/// Which STS endpoint `sdk` calls.
///
/// With [`Call::Credentials`] an endpoint in `code` is not looked at, and the region only where it moves the exchange of
/// the token, too. With [`Call::Program`] the call fails where the exchange does: it is signed with what that gives.
#[must_use]
pub fn sts(sdk: Sdk, environment: &Environment, code: Code<'_>, call: Call) -> Answer {
    // botocore does not make a client with a URL that it cannot use, so that nothing is exchanged for it.
    if let Some(url) = code.endpoint.filter(|_| sdk.family.carries_botocore())
        && !hosts::is_url(&Profile::of(sdk, false), url)
    {
        return Asked::answer(sdk, environment, code, Call::Program);
    }
    // The provider of JavaScript v2 makes its own client, which knows nothing of the program's.
    let region = code.region.filter(|_| sdk.family != Family::JsV2);
    let exchange = Asked::answer(
        sdk,
        environment,
        Code {
            endpoint: None,
            region,
        },
        Call::Credentials,
    );
    if call == Call::Credentials || matches!(exchange.outcome, Outcome::Failure(_) | Outcome::DecidedByFile) {
        return exchange;
    }
    Asked::answer(sdk, environment, code, Call::Program)
}

struct Asked {
    sdk: Sdk,
    profile: Profile,
    settings: Settings,
    call: Call,
    concerns: Vec<Concern>,
    certainty: Certainty,
}

type Decision = (Outcome, Reason);

impl Asked {
    fn answer(sdk: Sdk, environment: &Environment, code: Code<'_>, call: Call) -> Answer {
        let profile = Profile::of(sdk, environment.loads_config(sdk.family));
        let (settings, none) = match Settings::of(sdk, &profile, environment, code, ClientOf::Sts) {
            Ok(settings) => (settings, None),
            Err(none) => (Settings::default(), Some(none)),
        };
        let mut asked = Self {
            sdk,
            profile,
            concerns: settings.concerns.clone(),
            settings,
            call,
            certainty: profile.certainty,
        };
        let region = match (&asked.settings.region, profile.without_region) {
            (None, WithoutRegion::Assumes(region)) => Some((region.to_owned(), RegionSource::Assumed)),
            (found, _) => found.clone(),
        };
        let known = region.as_ref().map(|(region, _)| region.as_str());
        let (outcome, reason) = match none {
            None => asked.decide(known),
            Some(NoSettings::FileUnread) => (Outcome::DecidedByFile, Reason::ConfigFileUnread),
            Some(NoSettings::Refused(text)) => {
                fail(text, BlastRadius::EveryClient, Reason::ConfigFileRefused)
            }
        };
        let signed_calls = match &outcome {
            Outcome::Endpoint(endpoint) => {
                asked.note_endpoint(endpoint, known);
                signed_calls(endpoint)
            }
            Outcome::Failure(_) | Outcome::DecidedByFile => SignedCalls::Unknown,
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

    fn at_most(&mut self, certainty: Certainty) {
        self.certainty = self.certainty.max(certainty);
    }

    /// Whether global is asked for, and who says so. `Err` is the refusal of the value.
    fn wanted(&mut self) -> Result<(bool, Reason), Decision> {
        let said = self.settings.sts_regional_endpoints.clone();
        if let Some((value, in_file)) = &said {
            match self.profile.read(value) {
                Err(()) => {
                    return Err(fail(
                        refusal(self.sdk, value, *in_file),
                        self.profile.blast_radius,
                        Reason::VariableRefused,
                    ));
                }
                Ok(Some(global)) => {
                    if !value.eq_ignore_ascii_case("legacy") && !value.eq_ignore_ascii_case("regional") {
                        self.concerns.push(Concern::ValueUnknown(value.clone()));
                    }
                    let reason = if global {
                        Reason::VariableLegacy
                    } else {
                        Reason::VariableRegional
                    };
                    return Ok((global, reason));
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
        // A mode gives defaults: what is set, even to nothing, is stronger.
        let moved = said.is_none()
            && matches!(self.profile.defaults_mode, DefaultsMode::Moves { .. })
            && self
                .settings
                .defaults_mode
                .as_ref()
                .is_some_and(|mode| !mode.is_empty() && !mode.eq_ignore_ascii_case("legacy"));
        Ok(match (self.profile.default_is_global, moved) {
            (true, true) => {
                if self.profile.certainty != Certainty::Tested {
                    self.at_most(Certainty::Memory);
                }
                (false, Reason::DefaultsMode)
            }
            (true, false) => (true, Reason::DefaultGlobal),
            (false, _) => (false, Reason::DefaultRegional),
        })
    }

    /// Goes through the checks in the order in which the family makes them.
    fn decide(&mut self, region: Option<&str>) -> Decision {
        let decided = match self.sdk.family {
            Family::JsV2 => self.decide_js_v2(region),
            Family::JsV3 => self.decide_js_v3(region),
            Family::Botocore | Family::CliV1 | Family::CliV2 => self.decide_botocore(region),
            _ => self.decide_other(region),
        };
        decided.unwrap_or_else(|refused| refused)
    }

    fn decide_botocore(&mut self, region: Option<&str>) -> Result<Decision, Decision> {
        if let Some(region) = region.filter(|r| !r.is_empty() && !is_botocore_region(r)) {
            return Err(fail(
                self.sdk.error(
                    "InvalidRegionError",
                    &format!("Provided region_name '{region}' doesn't match a supported format."),
                ),
                BlastRadius::EveryClient,
                Reason::RegionIsInvalid,
            ));
        }
        self.check_defaults_mode()?;
        let custom = self.settings.endpoint.clone();
        if let Some((url, _)) = custom
            .as_ref()
            .filter(|(url, _)| !hosts::is_url(&self.profile, url))
        {
            return Err(self.invalid_endpoint(url));
        }
        let wanted = self.wanted();
        let (global, who) = match wanted {
            Ok(wanted) => wanted,
            // Before 1.28 the variable is looked at only when the endpoint is to be found.
            Err(_) if custom.is_some() && self.profile.blast_radius == BlastRadius::StsClients => {
                (false, Reason::VariableRefused)
            }
            Err(refused) => return Err(refused),
        };
        if let Some((url, reason)) = custom {
            let real = region.and_then(fips_pseudo_region).or(region);
            return match (real, self.call) {
                (Some(region), _) => Ok(at_url(&url, region, reason)),
                (None, Call::Credentials) => Ok(at_url(&url, AWS_GLOBAL, reason)),
                (None, Call::Program) => {
                    let text = self.profile.endpoint_without_region.unwrap_or_default();
                    Err(fail(text, BlastRadius::StsClients, Reason::NoRegion))
                }
            };
        }
        if region == Some("") {
            let name = if self.settings.fips { "sts-fips" } else { "sts" };
            return Err(self.invalid_endpoint(&format!("https://{name}..amazonaws.com")));
        }
        self.by_rules(region.unwrap_or(AWS_GLOBAL), region.is_none(), global, who)
    }

    fn decide_js_v3(&mut self, region: Option<&str>) -> Result<Decision, Decision> {
        let Some(region) = region else {
            return Ok(self.no_region(false));
        };
        self.check_defaults_mode()?;
        let version = self.sdk.version();
        let is_at_least = |at_least| version.is_none_or(|v| v >= at_least);
        let invalid = |text: String| Err(fail(text, BlastRadius::EveryClient, Reason::RegionIsInvalid));
        let bad_label = !region.is_empty() && !is_host_label(region);
        // Measured in 3.310.0, 3.654.0 and 3.1174.0; nobody looked between them.
        if is_at_least(Version(3, 655, 0)) && (region.is_empty() || bad_label) {
            return invalid(format!(
                "Error: Region not accepted: region=\"{region}\" is not a valid hostname component."
            ));
        }
        if bad_label {
            return invalid("ERR_INVALID_URL: Invalid URL".to_owned());
        }
        if region.is_empty() && is_at_least(Version(3, 311, 0)) {
            return invalid("Error: expected `region` to be configured for `aws.auth#sigv4`".to_owned());
        }
        let (_, who) = self.wanted()?;
        let pseudo = fips_pseudo_region(region);
        // The client for the exchange is given the real region and not the wish for FIPS.
        let fips = self.settings.fips || (pseudo.is_some() && self.call == Call::Program);
        let region = pseudo.unwrap_or(region);
        self.settings.fips = fips;
        if let Some((url, reason)) = self.settings.endpoint.clone() {
            if fips || self.settings.dual_stack {
                return Err(self.conflict());
            }
            if !hosts::is_url(&self.profile, &url) {
                let text = "ERR_INVALID_URL: Invalid URL";
                return Err(fail(text, BlastRadius::StsClients, Reason::EndpointIsInvalid));
            }
            return Ok(at_url(&lower_host(&url), region, reason));
        }
        if region == AWS_GLOBAL && !fips && !self.settings.dual_stack && is_at_least(Version(3, 655, 0)) {
            return Err(fail(
                "Error: @aws-sdk/core::resolveAwsSdkSigV4Config - `credentials` not provided and no \
                 credentialDefaultProvider was configured.",
                BlastRadius::StsCalls,
                Reason::RegionIsGlobal,
            ));
        }
        self.by_rules(region, false, false, who)
    }

    fn decide_js_v2(&mut self, region: Option<&str>) -> Result<Decision, Decision> {
        let (global, who) = self.wanted()?;
        let region = region.filter(|region| !region.is_empty());
        let variants = self.settings.fips || self.settings.dual_stack;
        let custom = self.settings.endpoint.clone();
        let Some(region) = region else {
            return Ok(self.no_region(global && !variants && custom.is_none()));
        };
        let real = fips_pseudo_region(region);
        self.settings.fips |= real.is_some();
        let region = hosts::js_v2_region(real.unwrap_or(region));
        if let Some((url, reason)) = custom {
            return Ok(at_url(&url, region, reason));
        }
        let variants = self.settings.fips || self.settings.dual_stack;
        if global && !variants && hosts::js_v2_partition(region).is_none() {
            let reason = if region == GLOBAL_SIGNING_REGION && self.region_is(AWS_GLOBAL) {
                Reason::RegionIsGlobal
            } else {
                who
            };
            return Ok((Outcome::Endpoint(global_endpoint()), reason));
        }
        self.by_rules(region, false, global, who)
    }

    fn region_is(&self, wanted: &str) -> bool {
        self.settings
            .region
            .as_ref()
            .is_some_and(|(region, _)| region == wanted)
    }

    /// The families that nobody ran, and Rust and Go v1, which were run with ordinary settings.
    fn decide_other(&mut self, region: Option<&str>) -> Result<Decision, Decision> {
        let (global, who) = self.wanted()?;
        if let Some(region) = region.filter(|r| !is_host_label(r)) {
            self.at_most(Certainty::Memory);
            let text = format!("`{region}` cannot stand in a host name");
            return Err(fail(text, BlastRadius::EveryClient, Reason::RegionIsInvalid));
        }
        let pseudo = region.and_then(fips_pseudo_region);
        self.settings.fips |= pseudo.is_some();
        let region = pseudo.or(region);
        if let Some((url, reason)) = self.settings.endpoint.clone() {
            if reason != Reason::EndpointInCode && self.profile.certainty != Certainty::Tested {
                self.at_most(Certainty::Documented);
            }
            return self.custom(&url, reason, region);
        }
        let Some(region) = region else {
            return Ok(self.no_region(global));
        };
        let variants = self.settings.fips || self.settings.dual_stack;
        if global
            && self.profile.legacy_is_everywhere
            && !variants
            && Partition::of_region(region).has_global_sts()
        {
            return Ok((Outcome::Endpoint(global_endpoint()), who));
        }
        self.by_rules(region, false, global, who)
    }

    fn custom(&mut self, url: &str, reason: Reason, region: Option<&str>) -> Result<Decision, Decision> {
        if self.settings.fips || self.settings.dual_stack {
            if self.profile.has_rule_set {
                self.at_most(Certainty::Read);
                return Err(self.conflict());
            }
            self.at_most(Certainty::Memory);
        }
        match (region, self.profile.without_region) {
            (Some(region), _) => Ok(at_url(url, region, reason)),
            (None, WithoutRegion::Fails { text, .. }) => {
                Err(fail(text, BlastRadius::StsClients, Reason::NoRegion))
            }
            (None, WithoutRegion::Global | WithoutRegion::Assumes(_)) => {
                // Go v1 without a region: its resolver takes the global endpoint's scope.
                self.at_most(Certainty::Memory);
                Ok(at_url(url, GLOBAL_SIGNING_REGION, reason))
            }
        }
    }

    fn check_defaults_mode(&self) -> Result<(), Decision> {
        let checked = matches!(
            self.profile.defaults_mode,
            DefaultsMode::Checked | DefaultsMode::Moves { checked: true }
        );
        match self.settings.defaults_mode.as_deref().filter(|_| checked) {
            Some(mode) => refused_defaults_mode(self.sdk, mode).map_or(Ok(()), |text| {
                Err(fail(text, BlastRadius::EveryClient, Reason::DefaultsModeRefused))
            }),
            None => Ok(()),
        }
    }

    fn invalid_endpoint(&self, url: &str) -> Decision {
        let reason = if self.settings.endpoint.is_some() {
            Reason::EndpointIsInvalid
        } else {
            Reason::RegionIsInvalid
        };
        let text = self.sdk.error("ValueError", &format!("Invalid endpoint: {url}"));
        fail(text, BlastRadius::StsClients, reason)
    }

    fn conflict(&self) -> Decision {
        let what = if self.settings.fips { "FIPS" } else { "Dualstack" };
        let text = format!("Invalid Configuration: {what} and custom endpoint are not supported");
        let text = match self.sdk.family {
            Family::JsV3 => format!("EndpointError: {text}"),
            _ => text,
        };
        fail(text, BlastRadius::StsClients, Reason::Conflict)
    }

    /// What AWS's rules give for a region; `assumed` when it stands for none.
    fn by_rules(
        &mut self,
        region: &str,
        assumed: bool,
        global: bool,
        who: Reason,
    ) -> Result<Decision, Decision> {
        let (pseudo_fips, region) = match fips_pseudo_region(region) {
            Some(real) if self.sdk.family != Family::JsV3 => (true, real),
            _ => (false, region),
        };
        let (fips, dual_stack) = (self.settings.fips || pseudo_fips, self.settings.dual_stack);
        if !fips && !dual_stack && (region == AWS_GLOBAL || (global && is_legacy_global(region))) {
            let reason = match region {
                AWS_GLOBAL if assumed => Reason::NoRegion,
                AWS_GLOBAL => Reason::RegionIsGlobal,
                _ => who,
            };
            return Ok((Outcome::Endpoint(global_endpoint()), reason));
        }
        let host = hosts::host(self.sdk, region, fips, dual_stack)
            .map_err(|text| fail(text, BlastRadius::StsClients, Reason::Conflict))?;
        let (class, reason) = match (fips, dual_stack, who) {
            (true, ..) => (StsClass::Fips, Reason::Fips),
            (false, true, _) => (StsClass::DualStack, Reason::DualStack),
            (false, false, Reason::VariableLegacy) => (StsClass::Regional, Reason::LegacyNotForRegion),
            (false, false, Reason::DefaultGlobal) => (StsClass::Regional, Reason::DefaultGlobalNotForRegion),
            (false, false, who) => (StsClass::Regional, who),
        };
        // botocore takes the scope of `aws-global` for its variants, too.
        let signing = match region {
            AWS_GLOBAL if self.sdk.family.carries_botocore() => GLOBAL_SIGNING_REGION,
            region => region,
        };
        let host = match self.sdk.family {
            Family::JsV3 => host.to_ascii_lowercase(),
            _ => host,
        };
        let endpoint = Endpoint::at(format!("https://{host}"), signing, class);
        Ok((Outcome::Endpoint(endpoint), reason))
    }

    fn no_region(&mut self, global: bool) -> Decision {
        match self.profile.without_region {
            WithoutRegion::Fails { text, unless_global } if !(unless_global && global) => {
                fail(text, BlastRadius::StsClients, Reason::NoRegion)
            }
            _ => (Outcome::Endpoint(global_endpoint()), Reason::NoRegion),
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

fn fail(text: impl Into<String>, blast_radius: BlastRadius, reason: Reason) -> Decision {
    (
        Outcome::Failure(Failure {
            text: text.into(),
            blast_radius,
        }),
        reason,
    )
}

fn at_url(url: &str, region: &str, reason: Reason) -> Decision {
    (Outcome::Endpoint(Endpoint::named(url, region)), reason)
}

fn global_endpoint() -> Endpoint {
    Endpoint::at(
        format!("https://{GLOBAL_STS_HOST}"),
        GLOBAL_SIGNING_REGION,
        StsClass::Global,
    )
}

/// JavaScript parses URLs, which makes hosts lower case.
fn lower_host(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            format!(
                "{}://{}{path}",
                scheme.to_ascii_lowercase(),
                host.to_ascii_lowercase()
            )
        }
        None => url.to_owned(),
    }
}

/// botocore's own check of a region's name.
fn is_botocore_region(region: &str) -> bool {
    region.len() <= 63
        && !region.starts_with('-')
        && !region.ends_with('-')
        && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !region.bytes().all(|b| b.is_ascii_digit())
}
