//! Which form an SDK gives a presigned URL of S3: host, path, signature version and scope.

use super::{SignatureVersion, takes_sigv2};
use crate::partition::{
    AWS_GLOBAL, AwsHost, GLOBAL_SIGNING_REGION, HostClass, Partition, S3Addressing, S3HostOptions, Service,
    is_virtual_hostable, s3_host,
};
use crate::sdk::{
    self, BlastRadius, Call, Certainty, Code, Environment, Family, Outcome, Reason, RegionSource, Sdk,
    Version,
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
    /// The host.
    pub host: String,
    /// The path, key included, with a leading slash.
    pub path: String,
    /// Where the bucket's name stands.
    pub addressing: S3Addressing,
    /// The version of the signature.
    pub signature: SignatureVersion,
    /// The region in the credential scope; SigV2 has none.
    pub scope_region: Option<String>,
}

impl Form {
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

    /// The URL with words in place of what only a signer knows.
    #[must_use]
    pub fn template(&self) -> String {
        let Self { host, path, .. } = self;
        match (self.signature, self.scope_region.as_deref()) {
            (SignatureVersion::V2, _) => {
                format!(
                    "https://{host}{path}?AWSAccessKeyId=KEYID&Signature=SIGNATURE&x-amz-security-token=TOKEN&Expires=TIME"
                )
            }
            (SignatureVersion::V4, region) => format!(
                "https://{host}{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=KEYID/DATE/{}/s3/aws4_request\
                 &X-Amz-Date=TIME&X-Amz-Expires=SECONDS&X-Amz-SignedHeaders=host&X-Amz-Security-Token=TOKEN\
                 &X-Amz-Signature=SIGNATURE",
                region.unwrap_or_default()
            ),
            (SignatureVersion::V4a, region) => format!(
                "https://{host}{path}?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=KEYID/DATE/s3/aws4_request\
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
    let asked = Asked::new(sdk, environment, options, bucket, key);
    let (predicted, why, certainty) = match asked.refusal() {
        Some((text, why)) => (Predicted::Error(text), why, Certainty::Tested),
        None if sdk.family == Family::NginxS3Gateway => (Predicted::Never, WhyForm::Region, Certainty::Read),
        None if matches!(sdk.family, Family::Botocore | Family::CliV1) => asked.botocore(),
        None => asked.others(),
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
    environment: &'a Environment,
    options: &'a PresignOptions<'a>,
    bucket: &'a str,
    key: &'a str,
    region: Option<String>,
    fips: bool,
    dual_stack: bool,
}

impl<'a> Asked<'a> {
    fn new(
        sdk: Sdk,
        environment: &'a Environment,
        options: &'a PresignOptions<'a>,
        bucket: &'a str,
        key: &'a str,
    ) -> Self {
        // Where the region comes from is a rule of `sdk`; the STS answer carries it.
        let code = Code {
            endpoint: None,
            region: options.region,
        };
        let region = sdk::sts(sdk, environment, code, Call::Program)
            .region
            // C++ assumes a region for every client, PHP for its credentials only.
            .filter(|(_, source)| sdk.family == Family::Cpp || *source != RegionSource::Assumed)
            .map(|(region, _)| region);
        Self {
            sdk,
            environment,
            options,
            bucket,
            key: key.strip_prefix('/').unwrap_or(key),
            region,
            fips: Environment::is_on(environment.use_fips.as_ref()),
            dual_stack: options.dual_stack || Environment::is_on(environment.use_dual_stack.as_ref()),
        }
    }

    /// The refusal of a bad value: of S3's own variable by the SDKs that read it strictly, of the STS variable by those
    /// whose S3 clients do not survive it.
    fn refusal(&self) -> Option<(String, WhyForm)> {
        if let Some(text) = self.sts_refusal() {
            return Some((text, WhyForm::VariableRefused));
        }
        let value = self.environment.s3_us_east_1_regional_endpoint.as_deref()?;
        let strict = matches!(self.sdk.family, Family::Botocore | Family::CliV1);
        let text = format!(
            "InvalidS3UsEast1RegionalEndpointConfigError: S3 us-east-1 regional endpoint option {value} is invalid. Valid \
             options are: \"legacy\", \"regional\""
        );
        (strict && !matches!(value, "legacy" | "regional")).then_some((text, WhyForm::UsEast1Regional))
    }

    fn sts_refusal(&self) -> Option<String> {
        let answer = sdk::sts(self.sdk, self.environment, Code::default(), Call::Program);
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
            Outcome::Failure(_) | Outcome::Endpoint(_) => None,
        }
    }

    /// Whether us-east-1 was moved to its own host.
    fn us_east_1_is_regional(&self) -> bool {
        match self.environment.s3_us_east_1_regional_endpoint.as_deref() {
            Some(value) => value.eq_ignore_ascii_case("regional"),
            None => Environment::filled(self.environment.defaults_mode.as_ref())
                .is_some_and(|mode| !mode.eq_ignore_ascii_case("legacy")),
        }
    }

    fn endpoint(&self) -> Option<&str> {
        if let Some(endpoint) = self.options.endpoint {
            return Some(endpoint);
        }
        if Environment::is_on(self.environment.ignore_configured_endpoint_urls.as_ref()) {
            return None;
        }
        let read = !matches!(
            self.sdk.family,
            Family::JsV2 | Family::GoV1 | Family::JavaV1 | Family::Cpp
        ) && !self.sdk.version().is_some_and(|v| {
            (self.sdk.family == Family::Botocore && v < Version(1, 31, 0))
                || (self.sdk.family == Family::CliV1 && v < Version(1, 29, 0))
        });
        Environment::filled(self.environment.endpoint_url_s3.as_ref())
            .or(Environment::filled(self.environment.endpoint_url.as_ref()))
            .filter(|_| read)
    }

    fn at_path(&self, prefix: &str) -> String {
        format!("{prefix}/{}", self.key)
    }

    /// The host as the rule set has it.
    fn by_rule_set(&self, region: &str, use_global: bool, path_style: bool) -> Result<Form, String> {
        let options = S3HostOptions {
            use_global,
            fips: self.fips,
            dual_stack: self.dual_stack,
            accelerate: self.options.accelerate,
            path_style,
        };
        let host = s3_host(region, self.bucket, options).map_err(|e| e.to_string())?;
        let is_multi_region = host.addressing == S3Addressing::MultiRegionAccessPoint;
        Ok(Form {
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
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = authority
            .split(['/', '?', '#'])
            .next()
            .unwrap_or(authority)
            .to_ascii_lowercase();
        let is_address = authority.starts_with('[')
            || authority
                .split(':')
                .next()
                .is_some_and(|h| h.parse::<std::net::Ipv4Addr>().is_ok());
        let in_host =
            self.options.addressing != Addressing::Path && is_virtual_hostable(self.bucket) && !is_address;
        Form {
            host: if in_host {
                format!("{}.{authority}", self.bucket)
            } else {
                authority
            },
            path: if in_host {
                self.at_path("")
            } else {
                self.at_path(&format!("/{}", self.bucket))
            },
            addressing: if in_host {
                S3Addressing::Virtual
            } else {
                S3Addressing::Path
            },
            signature: SignatureVersion::V4,
            scope_region: Some(region.to_owned()),
        }
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
        if self.options.accelerate {
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
        let real = if region == AWS_GLOBAL {
            GLOBAL_SIGNING_REGION
        } else {
            region
        };
        // Without a request for a version boto3 still makes SigV2 where the region takes it.
        let v2 = self.options.signature == Some(SignatureVersion::V2)
            || (self.options.signature.is_none() && takes_sigv2(real) && self.special_bucket().is_none());
        let (form, why, certainty) = self.botocore_host(region, real);
        let predicted = match form {
            Ok(mut form) => {
                if v2 && form.signature == SignatureVersion::V4 {
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
        if let Some(why) = self.special_bucket() {
            return (self.by_rule_set(real, false, false), why, Certainty::Tested);
        }
        if let Some(url) = self.endpoint() {
            return (
                Ok(self.by_endpoint(url, real)),
                WhyForm::Endpoint,
                Certainty::Memory,
            );
        }
        if let Some(why) = self.variant() {
            let path = self.options.addressing == Addressing::Path;
            let certainty = if why == WhyForm::Fips {
                Certainty::Memory
            } else {
                Certainty::Tested
            };
            return (self.by_rule_set(region, false, path), why, certainty);
        }
        let moved = self.us_east_1_is_regional();
        if self.options.addressing == Addressing::Path {
            return (
                self.by_rule_set(region, !moved, true),
                WhyForm::PathStyle,
                Certainty::Tested,
            );
        }
        let partition = Partition::of_region(region);
        if partition.name() != "aws" {
            return (
                self.by_rule_set(region, false, false),
                WhyForm::Partition,
                Certainty::Memory,
            );
        }
        // A dotted name is DNS-safe and keeps its region; one that is not even that loses it.
        if self.bucket.contains('.') && is_virtual_hostable(&self.bucket.replace('.', "-")) {
            return (
                self.by_rule_set(region, !moved, true),
                WhyForm::BucketName,
                Certainty::Tested,
            );
        }
        if self.options.addressing == Addressing::Virtual && !self.loses_virtual_style() {
            let why = if region == GLOBAL_SIGNING_REGION && !moved {
                WhyForm::UsEast1
            } else {
                WhyForm::VirtualStyle
            };
            return (self.by_rule_set(region, !moved, false), why, Certainty::Tested);
        }
        if region == GLOBAL_SIGNING_REGION && moved {
            return (
                self.by_rule_set(region, false, false),
                WhyForm::UsEast1Regional,
                Certainty::Tested,
            );
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
        let certainty = if self.options.addressing == Addressing::Virtual
            && self.sdk.version() != Some(Version(1, 29, 165))
        {
            Certainty::Memory
        } else {
            Certainty::Tested
        };
        (form, why, certainty)
    }

    /// botocore 1.29.165 presigned on the global host even with the style `virtual`; 1.20.112 and 1.39.17 did not.
    fn loses_virtual_style(&self) -> bool {
        let version = match self.sdk.family {
            Family::CliV1 => self.sdk.version().map(|Version(a, b, c)| Version(a, b + 2, c)),
            _ => self.sdk.version(),
        };
        version.is_some_and(|v| (Version(1, 28, 0)..Version(1, 30, 0)).contains(&v))
    }

    /// Everyone else: the region's own host, and most with an exception for us-east-1.
    fn others(&self) -> (Predicted, WhyForm, Certainty) {
        let family = self.sdk.family;
        let tested = matches!(
            family,
            Family::CliV2 | Family::JsV3 | Family::Rust | Family::JsV2 | Family::GoV1
        );
        let base = if tested {
            Certainty::Tested
        } else {
            Certainty::Memory
        };
        let us_east_1_is_global = matches!(
            family,
            Family::JsV2
                | Family::GoV1
                | Family::JavaV1
                | Family::JavaV2
                | Family::DotNetV3
                | Family::Php
                | Family::Ruby
        );
        let Some(region) = self.region.as_deref() else {
            return self.without_region();
        };
        let real = if region == AWS_GLOBAL {
            GLOBAL_SIGNING_REGION
        } else {
            region
        };
        let path = self.options.addressing == Addressing::Path;
        let use_global = us_east_1_is_global && !self.us_east_1_is_regional();
        let (form, why, certainty) = if let Some(why) = self.special_bucket() {
            (self.by_rule_set(real, false, false), why, Certainty::Memory)
        } else if let Some(url) = self.endpoint() {
            (
                Ok(self.by_endpoint(url, real)),
                WhyForm::Endpoint,
                Certainty::Memory,
            )
        } else if let Some(why) = self.variant() {
            (self.by_rule_set(region, false, path), why, Certainty::Memory)
        } else if path {
            (
                self.by_rule_set(region, use_global, true),
                WhyForm::PathStyle,
                Certainty::Memory,
            )
        } else if !is_virtual_hostable(self.bucket) {
            (
                self.by_rule_set(region, use_global, true),
                WhyForm::BucketName,
                Certainty::Memory,
            )
        } else if region == GLOBAL_SIGNING_REGION && use_global {
            (self.by_rule_set(region, true, false), WhyForm::UsEast1, base)
        } else if region == GLOBAL_SIGNING_REGION && us_east_1_is_global {
            (
                self.by_rule_set(region, false, false),
                WhyForm::UsEast1Regional,
                base,
            )
        } else {
            (self.by_rule_set(region, false, false), WhyForm::Region, base)
        };
        match form {
            Err(text) => (Predicted::Error(text), why, Certainty::Read),
            Ok(mut form) => {
                let mut certainty = certainty;
                // JS v2 was run with version 4 asked for; by itself it takes version 2 where the region does.
                let v2_by_default =
                    family == Family::JsV2 && self.options.signature.is_none() && takes_sigv2(real);
                let can_v2 = matches!(family, Family::JsV2 | Family::JavaV1 | Family::DotNetV3);
                if form.signature == SignatureVersion::V4
                    && (v2_by_default || (can_v2 && self.options.signature == Some(SignatureVersion::V2)))
                {
                    form.signature = SignatureVersion::V2;
                    form.scope_region = None;
                    certainty = Certainty::Memory;
                }
                (Predicted::Form(form), why, certainty)
            }
        }
    }

    fn without_region(&self) -> (Predicted, WhyForm, Certainty) {
        let error = |text: &str, certainty| (Predicted::Error(text.to_owned()), WhyForm::NoRegion, certainty);
        let path_style = self.options.addressing == Addressing::Path;
        match self.sdk.family {
            Family::JsV2 | Family::CliV2 => {
                let tested = self.sdk.family == Family::JsV2;
                let certainty = if tested {
                    Certainty::Tested
                } else {
                    Certainty::Memory
                };
                match self.by_rule_set(AWS_GLOBAL, true, path_style) {
                    Ok(form) => (Predicted::Form(form), WhyForm::NoRegion, certainty),
                    Err(text) => (Predicted::Error(text), WhyForm::NoRegion, certainty),
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
                let code = Code::default();
                let answer = sdk::sts(self.sdk, self.environment, code, Call::Program);
                match answer.outcome {
                    Outcome::Failure(failure) => error(&failure.text, answer.certainty),
                    Outcome::Endpoint(_) => error("no region is set", Certainty::Memory),
                }
            }
        }
    }
}
