//! Which form an SDK gives a presigned URL of S3: host, path, signature version and scope.

use super::{SignatureVersion, takes_sigv2};
use crate::partition::{
    AWS_GLOBAL, AwsHost, GLOBAL_SIGNING_REGION, HostClass, Partition, S3Addressing, S3HostOptions,
    S3RuleError, Service, is_virtual_hostable, s3_host,
};
use crate::sdk::{
    self, BlastRadius, Call, Certainty, ClientOf, Code, Environment, Family, File, NoSettings, Outcome,
    Profile, Reason, Sdk, Settings, Version, refused_defaults_mode, switch,
};

/// The addressing style that the program or its configuration asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// Nothing is said.
    #[default]
    Auto,
    /// `virtual`.
    Virtual,
    /// `path`.
    Path,
}

/// What the program says about S3, besides the environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PresignOptions<'a> {
    /// The client's region, where the program gives one.
    pub region: Option<&'a str>,
    /// The addressing style.
    pub addressing: Addressing,
    /// The signature version, where the program asks for one.
    pub signature: Option<SignatureVersion>,
    /// Whether dual-stack endpoints are asked for.
    pub dual_stack: bool,
    /// Whether Transfer Acceleration is asked for.
    pub accelerate: bool,
    /// An endpoint URL given to the client.
    pub endpoint: Option<&'a str>,
}

/// The form of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// `https`, or the scheme of an endpoint given by hand.
    pub scheme: String,
    /// The host, with the port of an endpoint given by hand.
    pub host: String,
    /// The path, key included, with a leading slash; percent-encoded.
    pub path: String,
    /// Where the bucket's name stands.
    pub addressing: S3Addressing,
    /// The version of the signature.
    pub signature: SignatureVersion,
    /// The region in the credential scope; SigV2 has none.
    pub scope_region: Option<String>,
}

impl Form {
    /// An HTTPS URL whose SigV4 signature is scoped to `region`.
    fn signed_v4(host: String, path: String, addressing: S3Addressing, region: &str) -> Self {
        Self {
            scheme: "https".to_owned(),
            host,
            path,
            addressing,
            signature: SignatureVersion::V4,
            scope_region: Some(region.to_owned()),
        }
    }

    /// The form of the host in one word, as [`super::Anatomy::form`] has it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match AwsHost::parse(&self.host) {
            Some(host) if host.service == Service::S3 => match host.class {
                HostClass::Regional | HostClass::Global if host.fips => "fips",
                HostClass::Regional | HostClass::Global if host.dual_stack => "dualstack",
                class => class.as_str(),
            },
            _ => "custom",
        }
    }

    /// The URL without its query.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }

    /// The URL with words in place of what only a signer knows.
    #[must_use]
    pub fn template(&self) -> String {
        let url = self.url();
        match (self.signature, self.scope_region.as_deref()) {
            (SignatureVersion::V2, _) => {
                format!(
                    "{url}?AWSAccessKeyId=KEYID&Signature=SIGNATURE&x-amz-security-token=TOKEN&Expires=TIME"
                )
            }
            (SignatureVersion::V4, region) => format!(
                "{url}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=KEYID/DATE/{}/s3/aws4_request\
                 &X-Amz-Date=TIME&X-Amz-Expires=SECONDS&X-Amz-SignedHeaders=host&X-Amz-Security-Token=TOKEN\
                 &X-Amz-Signature=SIGNATURE",
                region.unwrap_or_default()
            ),
            (SignatureVersion::V4a, region) => format!(
                "{url}?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=KEYID/DATE/s3/aws4_request\
                 &X-Amz-Region-Set={}&X-Amz-Date=TIME&X-Amz-Expires=SECONDS&X-Amz-SignedHeaders=host\
                 &X-Amz-Security-Token=TOKEN&X-Amz-Signature=SIGNATURE",
                region.unwrap_or("*")
            ),
        }
    }
}

/// Why the form is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyForm {
    /// An endpoint given by hand.
    Endpoint,
    /// boto3 presigns on the global host unless told otherwise.
    GlobalWhenPresigning,
    /// The region has its own host, which this SDK always uses.
    Region,
    /// In us-east-1 this SDK still uses the global host.
    UsEast1,
    /// There is no region.
    NoRegion,
    /// The addressing style asks for the bucket in the host.
    VirtualStyle,
    /// The addressing style asks for the bucket in the path.
    PathStyle,
    /// The bucket's name cannot stand in a host.
    BucketName,
    /// Dual-stack endpoints are asked for.
    DualStack,
    /// FIPS endpoints are asked for.
    Fips,
    /// Transfer Acceleration is asked for.
    Accelerate,
    /// The bucket is an access point.
    AccessPoint,
    /// The bucket is a directory bucket.
    Express,
    /// `AWS_S3_US_EAST_1_REGIONAL_ENDPOINT` or `AWS_DEFAULTS_MODE` move us-east-1 to its own host.
    UsEast1Regional,
    /// The partition has no global host that boto3 would use.
    Partition,
    /// The value of `AWS_STS_REGIONAL_ENDPOINTS` keeps the SDK from making an S3 client at all.
    VariableRefused,
    /// The config file keeps the SDK from making a client, or was not read.
    ConfigFile,
}

impl WhyForm {
    /// The stable name in machine-readable outputs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::GlobalWhenPresigning => "global-when-presigning",
            Self::Region => "region",
            Self::UsEast1 => "us-east-1",
            Self::NoRegion => "no-region",
            Self::VirtualStyle => "virtual-style",
            Self::PathStyle => "path-style",
            Self::BucketName => "bucket-name",
            Self::DualStack => "dualstack",
            Self::Fips => "fips",
            Self::Accelerate => "accelerate",
            Self::AccessPoint => "access-point",
            Self::Express => "express",
            Self::UsEast1Regional => "us-east-1-regional",
            Self::Partition => "partition",
            Self::VariableRefused => "variable-refused",
            Self::ConfigFile => "config-file",
        }
    }

    /// The reason as a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Endpoint => "an endpoint URL is given",
            Self::GlobalWhenPresigning => {
                "this SDK presigns on the global host unless addressing style, endpoint or a setting of S3 say otherwise"
            }
            Self::Region => "this SDK uses the host of the region",
            Self::UsEast1 => "in us-east-1 this SDK uses the global host unless told otherwise",
            Self::NoRegion => "without a region this SDK uses the global host",
            Self::VirtualStyle => "the addressing style `virtual` uses the host of the region",
            Self::PathStyle => "the addressing style `path` keeps the bucket out of the host",
            Self::BucketName => "the bucket's name cannot stand in a host under a certificate",
            Self::DualStack => "dual-stack endpoints are asked for",
            Self::Fips => "FIPS endpoints are asked for",
            Self::Accelerate => "Transfer Acceleration is asked for",
            Self::AccessPoint => "the bucket is an access point",
            Self::Express => "the bucket is a directory bucket",
            Self::UsEast1Regional => "the setting of S3 for us-east-1 is `regional`",
            Self::Partition => "in this partition this SDK uses the host of the region",
            Self::VariableRefused => {
                "this SDK refuses the value of AWS_STS_REGIONAL_ENDPOINTS, and with it every S3 client"
            }
            Self::ConfigFile => "a config file decides",
        }
    }
}

/// What an SDK makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicted {
    /// A URL of this form.
    Form(Form),
    /// An error with this text.
    Error(String),
    /// A config file decides that nobody has read.
    DecidedByFile,
    /// This program never presigns.
    Never,
}

/// The prediction for one SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The SDK that was asked about.
    pub sdk: Sdk,
    /// What it makes.
    pub predicted: Predicted,
    /// What decided the form.
    pub why: WhyForm,
    /// What the answer rests on.
    pub certainty: Certainty,
}

/// Which form `sdk` gives the presigned URL of `key` in `bucket`.
#[must_use]
pub fn predict(
    sdk: Sdk,
    environment: &Environment,
    options: &PresignOptions<'_>,
    bucket: &str,
    key: &str,
) -> Prediction {
    let (predicted, why, certainty) = match Asked::new(sdk, environment, options, bucket, key) {
        Err(NoSettings::FileUnread) => (Predicted::DecidedByFile, WhyForm::ConfigFile, Certainty::Read),
        Err(NoSettings::Refused(text)) => (Predicted::Error(text), WhyForm::ConfigFile, Certainty::Tested),
        Ok(_) if sdk.family == Family::NginxS3Gateway => (Predicted::Never, WhyForm::Region, Certainty::Read),
        Ok(asked) => match asked.refusal(environment) {
            Some((text, why)) => (Predicted::Error(text), why, Certainty::Tested),
            None if matches!(sdk.family, Family::Botocore | Family::CliV1) => asked.botocore(),
            None => asked.others(),
        },
    };
    Prediction {
        sdk,
        predicted,
        why,
        certainty,
    }
}

struct Asked<'a> {
    sdk: Sdk,
    bucket: &'a str,
    key: String,
    region: Option<String>,
    fips: bool,
    dual_stack: bool,
    accelerate: bool,
    addressing: Addressing,
    signature: Option<SignatureVersion>,
    endpoint: Option<String>,
    /// `AWS_S3_US_EAST_1_REGIONAL_ENDPOINT` or `us_east_1_regional_endpoint`.
    us_east_1: Option<String>,
    defaults_mode: Option<String>,
}

impl<'a> Asked<'a> {
    fn new(
        sdk: Sdk,
        environment: &'a Environment,
        options: &PresignOptions<'_>,
        bucket: &'a str,
        key: &str,
    ) -> Result<Self, NoSettings> {
        let profile = Profile::of(sdk, environment.loads_config(sdk.family));
        let code = Code {
            endpoint: options.endpoint,
            region: options.region,
        };
        let settings = Settings::of(sdk, &profile, environment, code, ClientOf::S3)?;
        let file = File::of(sdk, &profile, environment)?;
        let assumed = (sdk.family == Family::Cpp).then(|| GLOBAL_SIGNING_REGION.to_owned());
        // Only botocore and what carries it reads settings under `s3 =`.
        let in_file = |name: &str| file.s3(name).filter(|_| sdk.family.carries_botocore());
        let is_on = |name: &str| switch(sdk, None, in_file(name)).unwrap_or(false);
        let addressing = match (options.addressing, in_file("addressing_style")) {
            (Addressing::Auto, Some("virtual")) => Addressing::Virtual,
            (Addressing::Auto, Some("path")) => Addressing::Path,
            (said, _) => said,
        };
        let signature = match (options.signature, in_file("signature_version")) {
            (None, Some("s3v4")) => Some(SignatureVersion::V4),
            (None, Some("s3")) => Some(SignatureVersion::V2),
            (said, _) => said,
        };
        Ok(Self {
            sdk,
            bucket,
            key: encoded(key),
            region: settings
                .region
                .map(|(region, _)| region)
                .filter(|region| !region.is_empty())
                .or(assumed),
            fips: settings.fips,
            dual_stack: options.dual_stack || settings.dual_stack || is_on("use_dualstack_endpoint"),
            accelerate: options.accelerate || is_on("use_accelerate_endpoint"),
            addressing,
            // The command line has no version 2: any setting makes it sign version 4.
            signature: match signature {
                Some(SignatureVersion::V2) if matches!(sdk.family, Family::CliV1 | Family::CliV2) => {
                    Some(SignatureVersion::V4)
                }
                signature => signature,
            },
            endpoint: settings.endpoint.map(|(url, _)| url),
            us_east_1: environment
                .s3_us_east_1_regional_endpoint
                .clone()
                .or_else(|| in_file("us_east_1_regional_endpoint").map(str::to_owned)),
            defaults_mode: settings.defaults_mode,
        })
    }

    /// The refusal of a bad value: of S3's own variable by the SDKs that read it strictly, of the STS variable by those
    /// whose S3 clients do not survive it.
    fn refusal(&self, environment: &Environment) -> Option<(String, WhyForm)> {
        if let Some(text) = self.sts_refusal(environment) {
            return Some((text, WhyForm::VariableRefused));
        }
        if let Some(text) = self.client_refusal() {
            return Some((text, WhyForm::VariableRefused));
        }
        let value = self.us_east_1.as_deref()?;
        let text = match self.sdk.family {
            Family::Botocore | Family::CliV1 if !matches!(value, "legacy" | "regional") => self.sdk.error(
                "InvalidS3UsEast1RegionalEndpointConfigError",
                &format!(
                    "S3 us-east-1 regional endpoint option {value} is invalid. Valid options are: \"legacy\", \
                     \"regional\""
                ),
            ),
            Family::JsV2 if !["legacy", "regional"].contains(&value.to_ascii_lowercase().as_str()) => format!(
                "InvalidEnvironmentalVariable: invalid AWS_S3_US_EAST_1_REGIONAL_ENDPOINT environmental variable. \
                 Expect \"legacy\"  or \"regional\". Got \"{value}\"."
            ),
            _ => return None,
        };
        Some((text, WhyForm::UsEast1Regional))
    }

    /// What keeps every client from being made, S3's as well.
    fn client_refusal(&self) -> Option<String> {
        let botocore = matches!(self.sdk.family, Family::Botocore | Family::CliV1);
        if !botocore && (self.sdk.family != Family::JsV3 || self.region.is_none()) {
            return None;
        }
        if let Some(text) = self
            .defaults_mode
            .as_deref()
            .and_then(|mode| refused_defaults_mode(self.sdk, mode))
        {
            return Some(text);
        }
        let url = self.endpoint.as_deref().filter(|url| !url.contains("://"))?;
        Some(if botocore {
            self.sdk.error("ValueError", &format!("Invalid endpoint: {url}"))
        } else {
            "ERR_INVALID_URL: Invalid URL".to_owned()
        })
    }

    fn sts_refusal(&self, environment: &Environment) -> Option<String> {
        let answer = sdk::sts(self.sdk, environment, Code::default(), Call::Credentials);
        match answer.outcome {
            Outcome::Failure(failure)
                if answer.reason == Reason::VariableRefused
                    && matches!(
                        failure.blast_radius,
                        BlastRadius::StsAndS3Clients | BlastRadius::EveryClient | BlastRadius::Session
                    ) =>
            {
                Some(failure.text)
            }
            _ => None,
        }
    }

    /// Whether us-east-1 was moved to its own host.
    fn us_east_1_is_regional(&self) -> bool {
        match (&self.us_east_1, &self.defaults_mode) {
            (Some(value), _) => value.eq_ignore_ascii_case("regional"),
            (None, Some(mode)) => {
                self.sdk.family != Family::JsV2 && !mode.is_empty() && !mode.eq_ignore_ascii_case("legacy")
            }
            (None, None) => false,
        }
    }

    fn at_path(&self, prefix: &str) -> String {
        format!("{prefix}/{}", self.key)
    }

    /// What the rule set refuses, as this SDK's users see it.
    fn rule_error(&self, text: &str) -> String {
        match self.sdk.family {
            // botocore has classes of its own for two of the refusals.
            Family::Botocore if text == "Access Points do not support S3 Accelerate" => format!(
                "UnsupportedS3AccesspointConfigurationError: Unsupported configuration when using S3 access-points: {text}"
            ),
            Family::Botocore if text == "Accelerate cannot be used with FIPS" => {
                format!("UnsupportedS3ConfigurationError: Unsupported configuration when using S3: {text}")
            }
            Family::Botocore => format!("EndpointResolutionError: {text}"),
            // Its own check, before the rule set.
            Family::JsV3 if self.bucket.starts_with("arn:") && self.addressing == Addressing::Path => {
                format!("Error: {text}")
            }
            Family::JsV3 => format!("EndpointError: {text}"),
            _ => text.to_owned(),
        }
    }

    /// The host as the rule set has it.
    fn by_rule_set(&self, region: &str, use_global: bool, path_style: bool) -> Result<Form, String> {
        let options = S3HostOptions {
            use_global,
            fips: self.fips,
            dual_stack: self.dual_stack,
            accelerate: self.accelerate,
            path_style,
        };
        let host = s3_host(region, self.bucket, options).map_err(|e| {
            let looks_at_partition = self.rule_set_before_fips_check() && region.starts_with("cn-");
            if e == S3RuleError::AccelerateWithFips && looks_at_partition {
                return self.rule_error("Partition does not support FIPS");
            }
            self.rule_error(&e.to_string())
        })?;
        let mut host = host;
        let partition = Partition::of_region(region);
        // A partition that the release has not heard of is `aws` to it.
        if !self.sdk.knows(partition)
            && let Some(labels) = host.host.strip_suffix(partition.dns_suffix())
        {
            host.host = format!("{labels}amazonaws.com");
        }
        let is_multi_region = host.addressing == S3Addressing::MultiRegionAccessPoint;
        Ok(Form {
            scheme: "https".to_owned(),
            path: self.at_path(&host.path_prefix),
            host: host.host,
            addressing: host.addressing,
            signature: if is_multi_region {
                SignatureVersion::V4a
            } else {
                SignatureVersion::V4
            },
            scope_region: Some(host.signing_region),
        })
    }

    /// The host of an endpoint given by hand: the bucket goes before it, or into the path.
    fn by_endpoint(&self, url: &str, region: &str) -> Form {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let authority = match self.sdk.family {
            Family::Botocore | Family::CliV1 => authority.to_owned(),
            Family::JsV3 if scheme == "https" => {
                let lower = authority.to_ascii_lowercase();
                lower.strip_suffix(":443").map_or(lower.clone(), str::to_owned)
            }
            _ => authority.to_ascii_lowercase(),
        };
        let is_address = authority.starts_with('[')
            || authority
                .split(':')
                .next()
                .is_some_and(|h| h.parse::<std::net::Ipv4Addr>().is_ok());
        // boto3 keeps the bucket out of a host that it does not know unless told otherwise.
        let wanted = match self.addressing {
            Addressing::Virtual => true,
            Addressing::Path => false,
            Addressing::Auto => !matches!(self.sdk.family, Family::Botocore | Family::CliV1),
        };
        // Without TLS no certificate has to cover the dots.
        let dots = scheme == "http" && matches!(self.sdk.family, Family::Botocore | Family::CliV1);
        let fits = is_virtual_hostable(self.bucket)
            || (dots
                && is_virtual_hostable(&self.bucket.replace('.', "-"))
                && self.bucket.parse::<std::net::Ipv4Addr>().is_err());
        let in_host = wanted && fits && !is_address;
        let (host, prefix, addressing) = if in_host {
            (
                format!("{}.{authority}", self.bucket),
                path.to_owned(),
                S3Addressing::Virtual,
            )
        } else {
            (authority, format!("{path}/{}", self.bucket), S3Addressing::Path)
        };
        Form {
            scheme: scheme.to_owned(),
            host,
            path: self.at_path(&prefix),
            addressing,
            signature: SignatureVersion::V4,
            scope_region: Some(region.to_owned()),
        }
    }

    /// An access point behind an endpoint given by hand keeps its label before that endpoint's host.
    fn access_point_at_endpoint(&self, form: Form) -> Form {
        let (Some(url), S3Addressing::AccessPoint) = (&self.endpoint, form.addressing) else {
            return form;
        };
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let label = form.host.split('.').next().unwrap_or_default();
        Form {
            scheme: scheme.to_owned(),
            host: format!("{label}.{authority}"),
            ..form
        }
    }

    fn accelerated_endpoint(&self) -> String {
        self.rule_error(if self.rule_set_before_fips_check() {
            "Host override cannot be combined with Dualstack, FIPS, or S3 Accelerate"
        } else {
            "A custom endpoint cannot be combined with S3 Accelerate"
        })
    }

    /// What JavaScript v3 does not take together with an endpoint.
    fn endpoint_conflict(&self) -> Option<String> {
        let variant = self.variant()?;
        if self.rule_set_before_fips_check()
            || (variant == WhyForm::Accelerate && !self.dual_stack && !self.fips)
        {
            return Some(self.accelerated_endpoint());
        }
        if self.fips {
            return Some(self.rule_error("A custom endpoint cannot be combined with FIPS"));
        }
        Some(self.rule_error("Cannot set dual-stack in combination with a custom endpoint."))
    }

    fn special_bucket(&self) -> Option<WhyForm> {
        if self.bucket.starts_with("arn:") {
            Some(WhyForm::AccessPoint)
        } else if self.bucket.ends_with("--x-s3") || self.bucket.ends_with("--xa-s3") {
            Some(WhyForm::Express)
        } else {
            None
        }
    }

    fn variant(&self) -> Option<WhyForm> {
        if self.accelerate {
            Some(WhyForm::Accelerate)
        } else if self.fips {
            Some(WhyForm::Fips)
        } else if self.dual_stack {
            Some(WhyForm::DualStack)
        } else {
            None
        }
    }

    /// boto3 and AWS CLI v1.
    fn botocore(&self) -> (Predicted, WhyForm, Certainty) {
        let region = self.region.as_deref().unwrap_or(AWS_GLOBAL);
        let real = real_region(region);
        // Without a request for a version boto3 still makes SigV2 where the region takes it.
        let v2_by_default = takes_sigv2(real) || real == "us-gov-east-1";
        let v2 = self.signature == Some(SignatureVersion::V2) || (self.signature.is_none() && v2_by_default);
        let (form, why, certainty) = self.botocore_host(region, real);
        let predicted = match form {
            Ok(mut form) => {
                if v2 && form.signature == SignatureVersion::V4 && form.addressing != S3Addressing::Express {
                    form.signature = SignatureVersion::V2;
                    form.scope_region = None;
                }
                Predicted::Form(form)
            }
            Err(text) => Predicted::Error(text),
        };
        (predicted, why, certainty)
    }

    fn botocore_host(&self, region: &str, real: &str) -> (Result<Form, String>, WhyForm, Certainty) {
        let tested = Certainty::Tested;
        if let Some(why) = self.special_bucket() {
            let form = self
                .by_rule_set(real, false, false)
                .map(|form| self.access_point_at_endpoint(form));
            return (form, why, tested);
        }
        if let Some(url) = &self.endpoint {
            if self.accelerate {
                return (Err(self.accelerated_endpoint()), WhyForm::Endpoint, tested);
            }
            return (Ok(self.by_endpoint(url, region)), WhyForm::Endpoint, tested);
        }
        let path = self.addressing == Addressing::Path;
        if self.accelerate {
            // It sets the style aside.
            return (
                self.by_rule_set(self.region.as_deref().unwrap_or(real), false, false),
                WhyForm::Accelerate,
                tested,
            );
        }
        if path && self.fips && self.rule_set_before_fips_check() && real.starts_with("cn-") {
            return (Ok(self.fips_in_china(real)), WhyForm::Fips, tested);
        }
        if self.dual_stack {
            let why = self.variant().unwrap_or(WhyForm::DualStack);
            return (self.by_rule_set(region, false, path), why, tested);
        }
        let moved = self.us_east_1_is_regional();
        let variant = |why| if self.fips { WhyForm::Fips } else { why };
        if path {
            return (
                self.by_rule_set(region, !moved, true),
                variant(WhyForm::PathStyle),
                tested,
            );
        }
        let partition = Partition::of_region(region);
        if partition.name() != "aws" && self.sdk.knows(partition) {
            return (
                self.by_rule_set(region, false, false),
                variant(WhyForm::Partition),
                tested,
            );
        }
        // A name that is no label of a host is refused before the global host is chosen, and keeps its region.
        if !is_host_label(self.bucket) {
            return (
                self.by_rule_set(region, !moved, true),
                variant(WhyForm::BucketName),
                tested,
            );
        }
        if self.addressing == Addressing::Virtual && !self.loses_virtual_style() {
            let why = if region == GLOBAL_SIGNING_REGION && !moved {
                WhyForm::UsEast1
            } else {
                WhyForm::VirtualStyle
            };
            return (self.by_rule_set(region, !moved, false), variant(why), tested);
        }
        if region == GLOBAL_SIGNING_REGION && moved {
            let form = self.by_rule_set(region, false, false);
            return (form, variant(WhyForm::UsEast1Regional), tested);
        }
        let why = if self.region.is_none() {
            WhyForm::NoRegion
        } else if is_virtual_hostable(self.bucket) {
            WhyForm::GlobalWhenPresigning
        } else {
            WhyForm::BucketName
        };
        let form = self.by_rule_set(AWS_GLOBAL, true, false).map(|form| Form {
            scope_region: Some(real.to_owned()),
            ..form
        });
        (form, variant(why), tested)
    }

    /// botocore 1.29.165 presigned on the global host even with the style `virtual`; 1.20.112 and 1.34.162 did not.
    fn loses_virtual_style(&self) -> bool {
        self.sdk
            .botocore()
            .is_some_and(|v| (Version(1, 28, 0)..Version(1, 30, 0)).contains(&v))
    }

    /// Older rule sets look at the partition only when the bucket is in the host.
    fn rule_set_before_fips_check(&self) -> bool {
        match self.sdk.family {
            Family::JsV3 => self.sdk.version().is_some_and(|v| v < Version(3, 378, 0)),
            _ => self.sdk.botocore().is_some_and(|v| v < Version(1, 31, 0)),
        }
    }

    fn fips_in_china(&self, region: &str) -> Form {
        let addressing = if self.addressing == Addressing::Path {
            S3Addressing::Path
        } else {
            S3Addressing::Virtual
        };
        let suffix = Partition::of_region(region).dns_suffix();
        let dual = if self.dual_stack { ".dualstack" } else { "" };
        let service = format!("s3-fips{dual}.{region}.{suffix}");
        let (host, path) = match addressing {
            S3Addressing::Path => (service, self.at_path(&format!("/{}", self.bucket))),
            _ => (format!("{}.{service}", self.bucket), self.at_path("")),
        };
        Form::signed_v4(host, path, addressing, region)
    }

    /// Everyone else: the region's own host, and most with an exception for us-east-1.
    fn others(&self) -> (Predicted, WhyForm, Certainty) {
        let family = self.sdk.family;
        let Some(region) = self.region.as_deref() else {
            return self.without_region();
        };
        let real = real_region(region);
        let (form, why, certainty) = match family {
            Family::JsV2 => self.js_v2_host(real),
            Family::JsV3 => self.js_v3_host(region, real),
            _ => self.other_host(region, real),
        };
        match form {
            Err(text) => (Predicted::Error(text), why, certainty.max(Certainty::Read)),
            Ok(mut form) => {
                let variants = self.fips || self.dual_stack;
                let v2_by_default =
                    family == Family::JsV2 && self.signature.is_none() && takes_sigv2(real) && !variants;
                let can_v2 = matches!(family, Family::JsV2 | Family::JavaV1 | Family::DotNetV3);
                if form.signature == SignatureVersion::V4
                    && (v2_by_default || (can_v2 && self.signature == Some(SignatureVersion::V2)))
                {
                    form.signature = SignatureVersion::V2;
                    form.scope_region = None;
                }
                (Predicted::Form(form), why, certainty)
            }
        }
    }

    /// JavaScript v2, which has no rule set.
    fn js_v2_host(&self, region: &str) -> (Result<Form, String>, WhyForm, Certainty) {
        let tested = Certainty::Tested;
        let path = self.addressing == Addressing::Path;
        if self.bucket.starts_with("arn:") {
            if path {
                let text = "InvalidConfiguration: Cannot construct path-style endpoint with access point";
                return (Err(text.to_owned()), WhyForm::AccessPoint, tested);
            }
            let text = if self.endpoint.is_some() {
                Some("Custom endpoint is not compatible with access point ARN")
            } else if self.accelerate {
                Some("useAccelerateEndpoint config is not supported with access point ARN")
            } else {
                None
            };
            if let Some(text) = text {
                return (
                    Err(format!("InvalidConfiguration: {text}")),
                    WhyForm::AccessPoint,
                    tested,
                );
            }
            return (
                self.by_rule_set(region, false, false),
                WhyForm::AccessPoint,
                tested,
            );
        }
        if let Some(url) = &self.endpoint {
            return (Ok(self.by_endpoint(url, region)), WhyForm::Endpoint, tested);
        }
        let in_path = path || !is_virtual_hostable(self.bucket);
        if self.accelerate && !in_path {
            let dual = if self.dual_stack { ".dualstack" } else { "" };
            let host = format!("{}.s3-accelerate{dual}.amazonaws.com", self.bucket);
            let form = Form::signed_v4(host, self.at_path(""), S3Addressing::Virtual, region);
            return (Ok(form), WhyForm::Accelerate, tested);
        }
        if self.fips && region.starts_with("cn-") {
            return (Ok(self.fips_in_china(region)), WhyForm::Fips, tested);
        }
        let plain = self.without_acceleration();
        let use_global = !self.us_east_1_is_regional();
        let why = self.variant().unwrap_or(match region {
            _ if path => WhyForm::PathStyle,
            _ if in_path => WhyForm::BucketName,
            GLOBAL_SIGNING_REGION if use_global => WhyForm::UsEast1,
            GLOBAL_SIGNING_REGION => WhyForm::UsEast1Regional,
            _ => WhyForm::Region,
        });
        // Directory buckets are ordinary ones to it.
        if self.special_bucket().is_some() {
            return (
                Ok(plain.as_ordinary(region, use_global && region == GLOBAL_SIGNING_REGION)),
                why,
                tested,
            );
        }
        (plain.by_rule_set(region, use_global, path), why, tested)
    }

    fn without_acceleration(&self) -> Asked<'_> {
        Asked {
            key: self.key.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            us_east_1: self.us_east_1.clone(),
            defaults_mode: self.defaults_mode.clone(),
            accelerate: false,
            ..*self
        }
    }

    /// The host of a directory bucket for a release that does not know them.
    fn as_ordinary(&self, region: &str, global: bool) -> Form {
        let suffix = Partition::of_region(region).dns_suffix();
        let service = if global {
            format!("s3.{suffix}")
        } else {
            format!("s3.{region}.{suffix}")
        };
        let (host, path, addressing) = if self.addressing == Addressing::Path {
            (
                service,
                self.at_path(&format!("/{}", self.bucket)),
                S3Addressing::Path,
            )
        } else {
            (
                format!("{}.{service}", self.bucket),
                self.at_path(""),
                S3Addressing::Virtual,
            )
        };
        Form::signed_v4(host, path, addressing, region)
    }

    fn js_v3_host(&self, region: &str, real: &str) -> (Result<Form, String>, WhyForm, Certainty) {
        let tested = Certainty::Tested;
        let path = self.addressing == Addressing::Path;
        if let Some(why) = self.special_bucket() {
            let path = path && why == WhyForm::AccessPoint;
            let form = self
                .check_arn_region(real)
                .and_then(|()| self.by_rule_set(real, false, path))
                .map(|form| self.access_point_at_endpoint(form));
            return (form, why, tested);
        }
        if let Some(url) = &self.endpoint {
            if let Some(text) = self.endpoint_conflict() {
                return (Err(text), WhyForm::Endpoint, tested);
            }
            return (Ok(self.by_endpoint(url, real)), WhyForm::Endpoint, tested);
        }
        if path && self.fips && real.starts_with("cn-") && self.rule_set_before_fips_check() {
            return (Ok(self.fips_in_china(real)), WhyForm::Fips, tested);
        }
        let why = self.variant().unwrap_or(if path {
            WhyForm::PathStyle
        } else if is_virtual_hostable(self.bucket) {
            WhyForm::Region
        } else {
            WhyForm::BucketName
        });
        (self.by_rule_set(region, false, path), why, tested)
    }

    /// Until some release after 3.654.0 an access point had to be in the client's region.
    fn check_arn_region(&self, region: &str) -> Result<(), String> {
        let of_arn = self.bucket.split(':').nth(3).unwrap_or_default();
        let checks = self.sdk.version().is_some_and(|v| v < Version(3, 655, 0));
        if !checks || of_arn.is_empty() || of_arn == region || self.addressing == Addressing::Path {
            return Ok(());
        }
        Err(format!(
            "EndpointError: Invalid configuration: region from ARN `{of_arn}` does not match client region `{region}` \
             and UseArnRegion is `false`"
        ))
    }

    fn other_host(&self, region: &str, real: &str) -> (Result<Form, String>, WhyForm, Certainty) {
        let family = self.sdk.family;
        let base = if matches!(family, Family::CliV2 | Family::Rust | Family::GoV1) {
            Certainty::Tested
        } else {
            Certainty::Memory
        };
        let us_east_1_is_global = matches!(
            family,
            Family::GoV1 | Family::JavaV1 | Family::JavaV2 | Family::DotNetV3 | Family::Php | Family::Ruby
        );
        let path = self.addressing == Addressing::Path;
        let use_global = us_east_1_is_global && !self.us_east_1_is_regional();
        let memory = Certainty::Memory;
        if let Some(why) = self.special_bucket() {
            return (self.by_rule_set(real, false, false), why, memory);
        }
        if let Some(url) = &self.endpoint {
            return (Ok(self.by_endpoint(url, real)), WhyForm::Endpoint, memory);
        }
        if let Some(why) = self.variant() {
            return (self.by_rule_set(region, false, path), why, memory);
        }
        if path || !is_virtual_hostable(self.bucket) {
            let why = if path {
                WhyForm::PathStyle
            } else {
                WhyForm::BucketName
            };
            return (self.by_rule_set(region, use_global, true), why, memory);
        }
        let (why, global) = match region {
            GLOBAL_SIGNING_REGION if use_global => (WhyForm::UsEast1, true),
            GLOBAL_SIGNING_REGION if us_east_1_is_global => (WhyForm::UsEast1Regional, false),
            _ => (WhyForm::Region, false),
        };
        (self.by_rule_set(region, global, false), why, base)
    }

    fn without_region(&self) -> (Predicted, WhyForm, Certainty) {
        let error = |text: &str, certainty| (Predicted::Error(text.to_owned()), WhyForm::NoRegion, certainty);
        match self.sdk.family {
            // JavaScript v2 makes a client for us-east-1.
            Family::JsV2 => {
                let (form, _, certainty) = self.js_v2_host(GLOBAL_SIGNING_REGION);
                let variants = self.fips || self.dual_stack;
                let v2 = match self.signature {
                    Some(asked) => asked == SignatureVersion::V2,
                    None => !variants,
                };
                match form {
                    Err(text) => (Predicted::Error(text), WhyForm::NoRegion, certainty),
                    Ok(form) => {
                        let form = Form {
                            signature: if v2 {
                                SignatureVersion::V2
                            } else {
                                SignatureVersion::V4
                            },
                            scope_region: (!v2).then(|| GLOBAL_SIGNING_REGION.to_owned()),
                            ..form
                        };
                        (Predicted::Form(form), WhyForm::NoRegion, certainty)
                    }
                }
            }
            Family::CliV2 => {
                let path = self.addressing == Addressing::Path;
                match self.by_rule_set(AWS_GLOBAL, true, path) {
                    Ok(form) => (Predicted::Form(form), WhyForm::NoRegion, Certainty::Memory),
                    Err(text) => error(&text, Certainty::Memory),
                }
            }
            Family::Rust => error(
                "A region must be set when sending requests to S3.",
                Certainty::Read,
            ),
            Family::GoV1 => error(
                "MissingRegion: could not find region configuration",
                Certainty::Memory,
            ),
            Family::Php => error(
                "InvalidArgumentException: Missing required client configuration options: region",
                Certainty::Memory,
            ),
            _ => {
                // The SDK says the same about every client without a region.
                let nothing = Environment::default();
                let answer = sdk::sts(self.sdk, &nothing, Code::default(), Call::Credentials);
                match answer.outcome {
                    Outcome::Failure(failure) => error(&failure.text, answer.certainty),
                    _ => error("no region is set", Certainty::Memory),
                }
            }
        }
    }
}

/// The region that signs for the pseudo-region of the global host.
fn real_region(region: &str) -> &str {
    if region == AWS_GLOBAL {
        GLOBAL_SIGNING_REGION
    } else {
        region
    }
}

/// Whether a name is a label of a host, in letters of either case.
fn is_host_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A key as it stands in a URL: RFC 3986's unreserved characters and slashes as they are.
fn encoded(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
