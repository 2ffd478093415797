//! The environment variables of a container which decide about endpoints.

use super::aws_config::AwsConfig;
use super::family::Family;
use crate::variable::Variable;

/// Variables as a container has them; empty values are kept, because some SDKs refuse them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `AWS_STS_REGIONAL_ENDPOINTS`.
    pub sts_regional_endpoints: Option<String>,
    /// `AWS_REGION`.
    pub region: Option<String>,
    /// `AWS_DEFAULT_REGION`.
    pub default_region: Option<String>,
    /// `AWS_USE_FIPS_ENDPOINT`.
    pub use_fips: Option<String>,
    /// `AWS_USE_DUALSTACK_ENDPOINT`.
    pub use_dual_stack: Option<String>,
    /// `AWS_ENDPOINT_URL_STS`.
    pub endpoint_url_sts: Option<String>,
    /// `AWS_ENDPOINT_URL_S3`.
    pub endpoint_url_s3: Option<String>,
    /// `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<String>,
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`.
    pub ignore_configured_endpoint_urls: Option<String>,
    /// `AWS_DEFAULTS_MODE`.
    pub defaults_mode: Option<String>,
    /// `AWS_SDK_LOAD_CONFIG`, which only Go v1 looks at.
    pub sdk_load_config: Option<String>,
    /// `AWS_S3_US_EAST_1_REGIONAL_ENDPOINT`.
    pub s3_us_east_1_regional_endpoint: Option<String>,
    /// `AWS_PROFILE`.
    pub profile: Option<String>,
    /// `AWS_DEFAULT_PROFILE`, which botocore prefers.
    pub default_profile: Option<String>,
    /// `AWS_CONFIG_FILE`: a path. What the file says is in `config`.
    pub config_file: Option<String>,
    /// The shared config file, where it was read. Without it, a variable that selects a profile or a file makes the
    /// answer unknown.
    pub config: Option<AwsConfig>,
}

impl Environment {
    /// The variables that are looked at, in the order in which outputs show them.
    pub const VARIABLES: [Variable; 15] = [
        Variable::StsRegionalEndpoints,
        Variable::Region,
        Variable::DefaultRegion,
        Variable::UseFips,
        Variable::UseDualStack,
        Variable::EndpointUrlSts,
        Variable::EndpointUrlS3,
        Variable::EndpointUrl,
        Variable::IgnoreConfiguredEndpointUrls,
        Variable::DefaultsMode,
        Variable::SdkLoadConfig,
        Variable::S3UsEast1RegionalEndpoint,
        Variable::Profile,
        Variable::DefaultProfile,
        Variable::ConfigFile,
    ];

    /// Their names.
    pub const NAMES: [&'static str; 15] = {
        let mut names = [""; 15];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::VARIABLES[at].as_str();
            at += 1;
        }
        names
    };

    /// Takes the known variables out of `NAME=value` pairs; of a name given twice the last one counts, as it does in
    /// a container.
    pub fn from_pairs<N: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in pairs {
            if let Some(slot) = environment.slot(name.as_ref()) {
                *slot = Some(value.into());
            }
        }
        environment
    }

    /// Sets or clears a variable by name. Names that decide nothing are ignored.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        if let Some(slot) = self.slot(name) {
            *slot = value;
        }
    }

    /// The variables that are set, by name, in the order of [`Environment::NAMES`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        Self::NAMES
            .into_iter()
            .filter_map(|name| Some((name, self.get(name)?)))
    }

    /// The value of a variable by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.value(Variable::from_name(name)?)
    }

    /// The value of a variable.
    #[must_use]
    pub fn value(&self, variable: Variable) -> Option<&str> {
        match variable {
            Variable::StsRegionalEndpoints => &self.sts_regional_endpoints,
            Variable::Region => &self.region,
            Variable::DefaultRegion => &self.default_region,
            Variable::UseFips => &self.use_fips,
            Variable::UseDualStack => &self.use_dual_stack,
            Variable::EndpointUrlSts => &self.endpoint_url_sts,
            Variable::EndpointUrlS3 => &self.endpoint_url_s3,
            Variable::EndpointUrl => &self.endpoint_url,
            Variable::IgnoreConfiguredEndpointUrls => &self.ignore_configured_endpoint_urls,
            Variable::DefaultsMode => &self.defaults_mode,
            Variable::SdkLoadConfig => &self.sdk_load_config,
            Variable::S3UsEast1RegionalEndpoint => &self.s3_us_east_1_regional_endpoint,
            Variable::Profile => &self.profile,
            Variable::DefaultProfile => &self.default_profile,
            Variable::ConfigFile => &self.config_file,
            _ => return None,
        }
        .as_deref()
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match Variable::from_name(name)? {
            Variable::StsRegionalEndpoints => &mut self.sts_regional_endpoints,
            Variable::Region => &mut self.region,
            Variable::DefaultRegion => &mut self.default_region,
            Variable::UseFips => &mut self.use_fips,
            Variable::UseDualStack => &mut self.use_dual_stack,
            Variable::EndpointUrlSts => &mut self.endpoint_url_sts,
            Variable::EndpointUrlS3 => &mut self.endpoint_url_s3,
            Variable::EndpointUrl => &mut self.endpoint_url,
            Variable::IgnoreConfiguredEndpointUrls => &mut self.ignore_configured_endpoint_urls,
            Variable::DefaultsMode => &mut self.defaults_mode,
            Variable::SdkLoadConfig => &mut self.sdk_load_config,
            Variable::S3UsEast1RegionalEndpoint => &mut self.s3_us_east_1_regional_endpoint,
            Variable::Profile => &mut self.profile,
            Variable::DefaultProfile => &mut self.default_profile,
            Variable::ConfigFile => &mut self.config_file,
            _ => return None,
        })
    }

    /// Whether `AWS_SDK_LOAD_CONFIG` makes Go v1 or JavaScript v2 read the config file: Go wants a boolean, JavaScript
    /// any text.
    pub(crate) fn loads_config(&self, family: Family) -> bool {
        Self::filled(self.sdk_load_config.as_ref()).is_some_and(|v| {
            family == Family::JsV2 || matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True")
        })
    }

    /// A value that is set and not empty.
    pub(crate) fn filled(value: Option<&String>) -> Option<&str> {
        value.map(String::as_str).filter(|v| !v.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_place_and_the_last_value_counts() {
        let environment =
            Environment::from_pairs(Environment::NAMES.iter().map(|n| (*n, format!("value of {n}"))));
        let read: Vec<_> = environment.iter().map(|(n, v)| (n, v.to_owned())).collect();
        assert_eq!(read, Environment::NAMES.map(|n| (n, format!("value of {n}"))));

        let twice = Environment::from_pairs([("AWS_REGION", "a"), ("OTHER", "x"), ("AWS_REGION", "b")]);
        assert_eq!(twice.region.as_deref(), Some("b"));
        assert_eq!(twice.iter().count(), 1);
    }
}
