//! What each SDK reads and what it does without it: one row per family and release.

use std::fmt;

use super::family::{Certainty, Family, Sdk, Version};

/// How an SDK treats `AWS_STS_REGIONAL_ENDPOINTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsVariable {
    /// Not at all.
    Never,
    /// `legacy` and `regional`, spelt exactly; anything else is an error. Empty counts as unset.
    Exact,
    /// `legacy` and `regional` in any case; anything else is an error. Empty counts as unset.
    AnyCase,
    /// The same, and empty is an error too.
    AnyCaseNotEmpty,
    /// Only exactly `legacy` is global, everything else regional; nothing is an error.
    OnlyLegacy,
    /// Only exactly `regional` is regional, everything else global; nothing is an error.
    OnlyRegional,
}

/// What stops working when the variable has a value that the SDK refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlastRadius {
    /// Nothing: the variable is ignored.
    Nothing,
    /// Calls to STS, and with them the pod's credentials.
    StsCalls,
    /// Every client of STS, and with them the pod's credentials.
    StsClients,
    /// Every client of STS and S3.
    StsAndS3Clients,
    /// Every client of every service, even with static keys.
    EveryClient,
    /// The whole session: nothing of the SDK works.
    Session,
}

impl BlastRadius {
    /// The word used in machine-readable outputs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::StsCalls => "sts-calls",
            Self::StsClients => "sts-clients",
            Self::StsAndS3Clients => "sts-and-s3-clients",
            Self::EveryClient => "every-client",
            Self::Session => "session",
        }
    }
}

impl fmt::Display for BlastRadius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing: the variable is ignored",
            Self::StsCalls => "every call to STS, so the pod gets no credentials",
            Self::StsClients => "every STS client, so the pod gets no credentials",
            Self::StsAndS3Clients => "every STS and S3 client",
            Self::EveryClient => "every client of every service, even with static keys",
            Self::Session => "the creation of a session, so nothing works",
        })
    }
}

/// What an SDK does when it finds no region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutRegion {
    /// It calls the global endpoint, whatever the variable says.
    Global,
    /// It fails with this text; with the global endpoint asked for, it does not need a region if `unless_global`.
    Fails { text: &'static str, unless_global: bool },
    /// It takes this region.
    Assumes(&'static str),
}

/// Whether an SDK reads the shared config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadsConfig {
    /// Yes.
    Always,
    /// Only with `AWS_SDK_LOAD_CONFIG`.
    OptIn,
    /// No.
    Never,
}

/// What an SDK does with `AWS_DEFAULTS_MODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DefaultsMode {
    /// Nothing.
    Ignored,
    /// It refuses unknown values; known ones do not move STS.
    Checked,
    /// It moves the default to regional, and unknown values are refused where `checked`.
    Moves { checked: bool },
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) reads: ReadsVariable,
    /// Whether the endpoint is global when nothing is said.
    pub(crate) default_is_global: bool,
    /// Whether `legacy` means global in every region of partition `aws`, not only in the listed ones.
    pub(crate) legacy_is_everywhere: bool,
    /// The variables that give the region, in their order.
    pub(crate) region_variables: &'static [&'static str],
    pub(crate) without_region: WithoutRegion,
    /// The text when an endpoint is given by hand and the region is missing, where it differs.
    pub(crate) endpoint_without_region: Option<&'static str>,
    pub(crate) blast_radius: BlastRadius,
    /// Whether `AWS_ENDPOINT_URL_STS` and `AWS_ENDPOINT_URL` are read.
    pub(crate) reads_endpoint_url: bool,
    /// Whether `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT` are read.
    pub(crate) reads_variants: bool,
    /// Whether FIPS or dual-stack together with an endpoint by hand is an error.
    pub(crate) has_rule_set: bool,
    /// Whether `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` is read.
    pub(crate) reads_ignore: bool,
    pub(crate) defaults_mode: DefaultsMode,
    pub(crate) reads_config: ReadsConfig,
    /// Whether an empty region counts as a region, so that the host is `sts..amazonaws.com`.
    pub(crate) empty_region_counts: bool,
    /// Whether the region of the instance is asked for when no variable gives one.
    pub(crate) asks_instance: bool,
    pub(crate) certainty: Certainty,
}

/// What the AWS CLI prints without a region.
const CLI_NO_REGION: &str =
    "You must specify a region. You can also configure your region by running \"aws configure\".";

const AWS_REGION: &[&str] = &["AWS_REGION"];
const BOTH: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
const DEFAULT_ONLY: &[&str] = &["AWS_DEFAULT_REGION"];

/// The SDKs of the generation after July 2022: always regional, the variable unknown.
const MODERN: Profile = Profile {
    reads: ReadsVariable::Never,
    default_is_global: false,
    legacy_is_everywhere: false,
    region_variables: AWS_REGION,
    without_region: WithoutRegion::Fails {
        text: "Invalid Configuration: Missing Region",
        unless_global: false,
    },
    endpoint_without_region: None,
    blast_radius: BlastRadius::Nothing,
    reads_endpoint_url: true,
    reads_variants: true,
    has_rule_set: true,
    reads_ignore: true,
    defaults_mode: DefaultsMode::Ignored,
    reads_config: ReadsConfig::Always,
    empty_region_counts: false,
    asks_instance: false,
    certainty: Certainty::Memory,
};

impl Profile {
    /// The row for `sdk`; `load_config` is Go v1's `AWS_SDK_LOAD_CONFIG`.
    pub(crate) fn of(sdk: Sdk, load_config: bool) -> Self {
        match sdk.family {
            Family::Botocore | Family::CliV1 => Self::botocore(sdk),
            Family::CliV2 => Self {
                region_variables: BOTH,
                without_region: WithoutRegion::Global,
                endpoint_without_region: Some(CLI_NO_REGION),
                has_rule_set: false,
                defaults_mode: DefaultsMode::Moves { checked: true },
                empty_region_counts: true,
                asks_instance: true,
                certainty: Certainty::Tested,
                ..MODERN
            },
            Family::JsV3 => Self {
                without_region: WithoutRegion::Fails {
                    text: "Error: Region is missing",
                    unless_global: false,
                },
                reads_endpoint_url: sdk.version().is_none_or(|v| v >= Version(3, 378, 0)),
                // Release 3.654.0 did not, 3.1174.0 did; nobody looked between them.
                reads_ignore: sdk.version().is_none_or(|v| v > Version(3, 654, 0)),
                defaults_mode: DefaultsMode::Checked,
                empty_region_counts: true,
                certainty: Certainty::Tested,
                ..MODERN
            },
            Family::Rust => Self {
                region_variables: BOTH,
                asks_instance: true,
                certainty: Certainty::Tested,
                ..MODERN
            },
            Family::GoV2 => Self {
                region_variables: BOTH,
                certainty: Certainty::Read,
                ..MODERN
            },
            Family::JavaV2 => Self {
                without_region: WithoutRegion::Fails {
                    text: "SdkClientException: Unable to load region from any of the providers in the chain",
                    unless_global: false,
                },
                asks_instance: true,
                ..MODERN
            },
            Family::Kotlin | Family::Swift => MODERN,
            Family::DotNetV4 => Self {
                without_region: WithoutRegion::Fails {
                    text: "AmazonClientException: No RegionEndpoint or ServiceURL configured",
                    unless_global: false,
                },
                asks_instance: true,
                certainty: Certainty::Documented,
                ..MODERN
            },
            Family::Cpp => Self {
                region_variables: DEFAULT_ONLY,
                without_region: WithoutRegion::Assumes("us-east-1"),
                reads_endpoint_url: false,
                certainty: Certainty::Read,
                ..MODERN
            },
            Family::JsV2 => Self {
                reads: ReadsVariable::AnyCaseNotEmpty,
                default_is_global: true,
                legacy_is_everywhere: true,
                without_region: WithoutRegion::Fails {
                    text: "ConfigError: Missing region in config",
                    unless_global: true,
                },
                blast_radius: BlastRadius::StsCalls,
                reads_config: ReadsConfig::OptIn,
                reads_endpoint_url: false,
                has_rule_set: false,
                certainty: Certainty::Tested,
                ..MODERN
            },
            Family::GoV1 => Self {
                reads: ReadsVariable::AnyCase,
                default_is_global: true,
                region_variables: if load_config { BOTH } else { AWS_REGION },
                without_region: WithoutRegion::Global,
                blast_radius: BlastRadius::Session,
                reads_config: ReadsConfig::OptIn,
                reads_endpoint_url: false,
                has_rule_set: false,
                certainty: Certainty::Tested,
                ..MODERN
            },
            Family::JavaV1 => Self {
                reads: ReadsVariable::AnyCaseNotEmpty,
                default_is_global: true,
                without_region: WithoutRegion::Fails {
                    text: "SdkClientException: Unable to find a region via the region provider chain. Must provide \
                           an explicit region in the builder or setup environment to supply a region.",
                    unless_global: false,
                },
                blast_radius: BlastRadius::StsClients,
                reads_endpoint_url: false,
                reads_variants: false,
                has_rule_set: false,
                asks_instance: true,
                certainty: Certainty::Read,
                ..MODERN
            },
            Family::DotNetV3 | Family::PowerShell => Self {
                reads: ReadsVariable::AnyCase,
                default_is_global: sdk.is_before_change(),
                without_region: WithoutRegion::Fails {
                    text: "AmazonClientException: No RegionEndpoint or ServiceURL configured",
                    unless_global: false,
                },
                blast_radius: BlastRadius::StsClients,
                defaults_mode: DefaultsMode::Moves { checked: false },
                asks_instance: true,
                certainty: Certainty::Documented,
                ..MODERN
            },
            Family::Php => Self {
                reads: ReadsVariable::AnyCase,
                default_is_global: sdk.is_before_change(),
                // Its provider of web identity credentials takes us-east-1 when the program gives no region.
                without_region: WithoutRegion::Assumes("us-east-1"),
                blast_radius: BlastRadius::StsClients,
                defaults_mode: DefaultsMode::Moves { checked: false },
                certainty: Certainty::Read,
                ..MODERN
            },
            Family::Ruby => Self {
                reads: ReadsVariable::OnlyLegacy,
                region_variables: BOTH,
                without_region: WithoutRegion::Fails {
                    text: "Aws::Errors::MissingRegionError: No region was provided. Configure the `:region` option or \
                           export the region name to ENV['AWS_REGION']",
                    unless_global: false,
                },
                defaults_mode: DefaultsMode::Moves { checked: false },
                certainty: Certainty::Read,
                ..MODERN
            },
            Family::NginxS3Gateway => Self {
                reads_config: ReadsConfig::Never,
                reads: ReadsVariable::OnlyRegional,
                default_is_global: true,
                legacy_is_everywhere: true,
                without_region: WithoutRegion::Fails {
                    text: "AWS_REGION is not set: the gateway builds a host that does not exist",
                    unless_global: true,
                },
                reads_endpoint_url: false,
                reads_variants: false,
                has_rule_set: false,
                certainty: Certainty::Read,
                ..MODERN
            },
        }
    }

    fn botocore(sdk: Sdk) -> Self {
        let version = sdk.botocore();
        let since = |minor, patch| version.is_none_or(|v| v >= Version(1, minor, patch));
        Self {
            // The variable came with 1.13.2.
            reads: if since(13, 2) {
                ReadsVariable::Exact
            } else {
                ReadsVariable::Never
            },
            default_is_global: sdk.is_before_change(),
            legacy_is_everywhere: false,
            region_variables: DEFAULT_ONLY,
            without_region: WithoutRegion::Global,
            endpoint_without_region: Some(if sdk.family == Family::CliV1 {
                CLI_NO_REGION
            } else {
                "NoRegionError: You must specify a region."
            }),
            blast_radius: if since(29, 0) {
                BlastRadius::EveryClient
            } else if since(28, 0) {
                BlastRadius::StsAndS3Clients
            } else {
                BlastRadius::StsClients
            },
            reads_endpoint_url: since(31, 0),
            reads_variants: since(23, 0),
            // It has one, and takes a URL with FIPS or dual-stack nevertheless.
            has_rule_set: false,
            reads_ignore: true,
            defaults_mode: if since(24, 0) {
                DefaultsMode::Moves { checked: true }
            } else {
                DefaultsMode::Ignored
            },
            reads_config: ReadsConfig::Always,
            empty_region_counts: true,
            asks_instance: false,
            certainty: Certainty::Tested,
        }
    }

    /// Whether the variable with this value is refused, and how it is read otherwise: `Some(true)` is global.
    pub(crate) fn read(&self, value: &str) -> Result<Option<bool>, ()> {
        let any_case = |v: &str| match v.to_ascii_lowercase().as_str() {
            "legacy" => Ok(Some(true)),
            "regional" => Ok(Some(false)),
            _ => Err(()),
        };
        match (self.reads, value) {
            (ReadsVariable::Never, _)
            | (ReadsVariable::Exact | ReadsVariable::AnyCase | ReadsVariable::OnlyLegacy, "") => Ok(None),
            (ReadsVariable::Exact, "legacy") => Ok(Some(true)),
            (ReadsVariable::Exact, "regional") => Ok(Some(false)),
            (ReadsVariable::Exact, _) => Err(()),
            (ReadsVariable::AnyCase | ReadsVariable::AnyCaseNotEmpty, other) => any_case(other),
            (ReadsVariable::OnlyLegacy, other) => Ok(Some(other == "legacy")),
            (ReadsVariable::OnlyRegional, other) => Ok(Some(other != "regional")),
        }
    }
}

/// The exact text with which an SDK refuses a value of the variable, or of the setting in the config file.
pub(crate) fn refusal(sdk: Sdk, value: &str, in_file: bool) -> String {
    match sdk.family {
        Family::JsV2 if in_file => format!(
            "InvalidConfiguration: invalid sts_regional_endpoints profile config. Expect \"legacy\"  or \"regional\". \
             Got \"{value}\"."
        ),
        Family::JsV2 => format!(
            "InvalidEnvironmentalVariable: invalid AWS_STS_REGIONAL_ENDPOINTS environmental variable. Expect \
             \"legacy\"  or \"regional\". Got \"{value}\"."
        ),
        Family::GoV1 => format!(
            "failed to load environment config, failed to load, AWS_STS_REGIONAL_ENDPOINTS from env config, unable to \
             resolve the value of STSRegionalEndpoint for {value}"
        ),
        Family::JavaV1 => format!(
            "SdkClientException: Unexpected value set for AWS_STS_REGIONAL_ENDPOINTS environment variable: '{value}'"
        ),
        Family::Php => {
            "InvalidArgumentException: Configuration parameter must either be 'legacy' or 'regional'."
                .to_owned()
        }
        // The class is known, its words are not.
        Family::DotNetV3 | Family::PowerShell => "InvalidOperationException".to_owned(),
        _ => sdk.error(
            "InvalidSTSRegionalEndpointsConfigError",
            &format!(
                "STS regional endpoints option {value} is invalid. Valid options are: \"legacy\", \"regional\""
            ),
        ),
    }
}

/// The text with which an SDK refuses a value of `AWS_DEFAULTS_MODE`; `None` if it takes it.
pub(crate) fn refused_defaults_mode(sdk: Sdk, mode: &str) -> Option<String> {
    const MODES: [&str; 6] = [
        "legacy",
        "auto",
        "standard",
        "in-region",
        "cross-region",
        "mobile",
    ];
    if MODES.contains(&mode.to_ascii_lowercase().as_str()) {
        return None;
    }
    Some(match sdk.family {
        Family::JsV3 => format!(
            "Error: Invalid parameter for \"defaultsMode\", expect in-region, cross-region, mobile, standard, legacy, \
             got {mode}"
        ),
        _ => sdk.error(
            "InvalidDefaultsMode",
            &format!(
                "Client configured with invalid defaults mode: {mode}. Valid defaults modes include: {}.",
                MODES.join(", ")
            ),
        ),
    })
}
