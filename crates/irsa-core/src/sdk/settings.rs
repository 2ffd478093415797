//! What one SDK sees of variables, config file and code, before it decides anything.

use super::answer::{Concern, Reason, RegionSource};
use super::aws_config::Section;
use super::family::{Family, Version};
use super::profile::{Profile, ReadsConfig};
use super::{Code, Environment, Sdk};

/// The settings of one client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) region: Option<(String, RegionSource)>,
    /// `AWS_STS_REGIONAL_ENDPOINTS` or `sts_regional_endpoints`, and whether the file gave it.
    pub(crate) sts_regional_endpoints: Option<(String, bool)>,
    pub(crate) fips: bool,
    pub(crate) dual_stack: bool,
    /// The endpoint URL of the service, and who gave it.
    pub(crate) endpoint: Option<(String, Reason)>,
    pub(crate) defaults_mode: Option<String>,
    pub(crate) concerns: Vec<Concern>,
}

/// Why there are no settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoSettings {
    /// A file decides that was not read.
    FileUnread,
    /// The SDK refuses the file.
    Refused(String),
}

/// The service whose client is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientOf {
    Sts,
    S3,
}

impl ClientOf {
    fn id(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::S3 => "s3",
        }
    }
}

/// The profile of the config file that an SDK looks at.
#[derive(Clone, Copy, Default)]
pub(crate) struct File<'a> {
    profile: Option<&'a Section>,
    services: Option<&'a Section>,
}

impl<'a> File<'a> {
    pub(crate) fn of(sdk: Sdk, profile: &Profile, environment: &'a Environment) -> Result<Self, NoSettings> {
        let opted_in = profile.reads_config == ReadsConfig::Always
            || (profile.reads_config == ReadsConfig::OptIn && environment.loads_config(sdk.family));
        // JavaScript v2 reads its endpoint variants from the file even without opting in.
        if !opted_in && sdk.family != Family::JsV2 {
            return Ok(Self::default());
        }
        let botocore = sdk.family.carries_botocore();
        let selected = environment
            .default_profile
            .as_deref()
            .filter(|_| botocore)
            .or(environment.profile.as_deref())
            .filter(|name| !name.is_empty() || botocore);
        let Some(config) = &environment.config else {
            let unread = opted_in && (selected.is_some() || environment.config_file.is_some());
            return if unread {
                Err(NoSettings::FileUnread)
            } else {
                Ok(Self::default())
            };
        };
        let name = selected.unwrap_or("default");
        let found = config.profile(name);
        if found.is_none() && selected.is_some() && botocore {
            let text = format!("The config profile ({name}) could not be found");
            return Err(NoSettings::Refused(sdk.error("ProfileNotFound", &text)));
        }
        let services = match found.map(|found| config.services(found)) {
            Some(Ok(services)) => services,
            Some(Err(name)) if botocore && profile.reads_endpoint_url => {
                let text = format!(
                    "The profile is configured to use the services section but the \"{name}\" services \
                     configuration does not exist."
                );
                return Err(NoSettings::Refused(sdk.error("InvalidConfigError", &text)));
            }
            Some(Err(_)) | None => None,
        };
        Ok(Self {
            profile: found,
            services,
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.profile?.get(name)
    }

    /// A setting of a service: `endpoint_url` of the `services` section.
    fn service(&self, service: ClientOf, name: &str) -> Option<&'a str> {
        self.services?.nested(service.id(), name)
    }

    /// A setting under `s3 =`.
    pub(crate) fn s3(&self, name: &str) -> Option<&'a str> {
        self.profile?.nested("s3", name)
    }
}

impl Settings {
    /// What `sdk` sees when it makes a client of `service` with the options in `code`.
    pub(crate) fn of(
        sdk: Sdk,
        profile: &Profile,
        environment: &Environment,
        code: Code<'_>,
        service: ClientOf,
    ) -> Result<Self, NoSettings> {
        let file = File::of(sdk, profile, environment)?;
        // Without opting in, JavaScript v2 reads nothing else.
        let reads_all = profile.reads_config == ReadsConfig::Always || environment.loads_config(sdk.family);
        let from_file = |name: &str| file.get(name).filter(|_| reads_all);
        let mut settings = Self {
            sts_regional_endpoints: environment
                .sts_regional_endpoints
                .as_ref()
                .map(|value| (value.clone(), false))
                .or_else(|| Some((from_file("sts_regional_endpoints")?.to_owned(), true))),
            defaults_mode: environment
                .defaults_mode
                .as_deref()
                .or_else(|| from_file("defaults_mode"))
                .map(str::to_owned),
            ..Self::default()
        };
        settings.find_region(sdk, profile, environment, code, from_file("region"));
        let on = |variable: Option<&str>, setting: &str| {
            profile.reads_variants && switch(sdk, variable, file.get(setting)).unwrap_or(false)
        };
        settings.fips = on(environment.use_fips.as_deref(), "use_fips_endpoint");
        settings.dual_stack = on(environment.use_dual_stack.as_deref(), "use_dualstack_endpoint");
        settings.find_endpoint(sdk, profile, environment, &file, service);
        if let Some(url) = code.endpoint {
            settings.endpoint = Some((url.to_owned(), Reason::EndpointInCode));
        }
        Ok(settings)
    }

    fn find_region(
        &mut self,
        sdk: Sdk,
        profile: &Profile,
        environment: &Environment,
        code: Code<'_>,
        in_file: Option<&str>,
    ) {
        let counts = |value: &&str| profile.empty_region_counts || !value.is_empty();
        // JavaScript takes an empty text for none.
        let in_code = code
            .region
            .filter(|region| !region.is_empty() || !matches!(sdk.family, Family::JsV2 | Family::JsV3));
        if let Some(region) = in_code {
            self.region = Some((region.to_owned(), RegionSource::Code));
            return;
        }
        let found = profile.region_variables.iter().copied().find_map(|name| {
            let value = environment.get(name).filter(counts)?;
            Some((value.to_owned(), RegionSource::Variable(name)))
        });
        let found = found.or_else(|| Some((in_file.filter(counts)?.to_owned(), RegionSource::ConfigFile)));
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            // A variable that says the same as the one that is read misleads nobody.
            let misleads = environment
                .get(name)
                .is_some_and(|v| !v.is_empty() && found.as_ref().is_none_or(|(region, _)| region != v));
            if misleads && !profile.region_variables.contains(&name) {
                self.concerns.push(Concern::RegionVariableNotRead(name));
            }
        }
        if found.is_none() && profile.asks_instance {
            self.concerns.push(Concern::RegionFromInstance);
        }
        self.region = found;
    }

    fn find_endpoint(
        &mut self,
        sdk: Sdk,
        profile: &Profile,
        environment: &Environment,
        file: &File<'_>,
        service: ClientOf,
    ) {
        let (of_service, name) = match service {
            ClientOf::Sts => (&environment.endpoint_url_sts, "AWS_ENDPOINT_URL_STS"),
            ClientOf::S3 => (&environment.endpoint_url_s3, "AWS_ENDPOINT_URL_S3"),
        };
        let variables = [
            (name, of_service, Reason::EndpointUrlSts),
            ("AWS_ENDPOINT_URL", &environment.endpoint_url, Reason::EndpointUrl),
        ];
        let ignored = profile.reads_ignore
            && switch(
                sdk,
                environment.ignore_configured_endpoint_urls.as_deref(),
                file.get("ignore_configured_endpoint_urls"),
            )
            .unwrap_or(false);
        if ignored {
            return;
        }
        for (name, value, reason) in variables {
            let Some(url) = Environment::filled(value.as_ref()) else {
                continue;
            };
            if profile.reads_endpoint_url {
                self.endpoint = Some((url.to_owned(), reason));
                return;
            }
            self.concerns.push(Concern::EndpointUrlNotRead(name));
        }
        if profile.reads_endpoint_url
            && let Some(url) = file
                .service(service, "endpoint_url")
                .or_else(|| file.get("endpoint_url"))
                .filter(|url| !url.is_empty())
        {
            self.endpoint = Some((url.to_owned(), Reason::EndpointInConfigFile));
        }
    }
}

/// A switch: the variable first, then the file. JavaScript takes `true` and `false` only as they are written here and
/// passes over anything else; the others do not look at case.
pub(crate) fn switch(sdk: Sdk, variable: Option<&str>, in_file: Option<&str>) -> Option<bool> {
    if matches!(sdk.family, Family::JsV2 | Family::JsV3) {
        let exact = |value: &str| match value {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        return variable.and_then(exact).or_else(|| in_file.and_then(exact));
    }
    variable
        .or(in_file)
        .map(|value| value.eq_ignore_ascii_case("true"))
}

impl Sdk {
    /// An error as this SDK's users see it: botocore raises a class, its command line prints the text alone.
    pub(crate) fn error(self, class: &str, text: &str) -> String {
        match self.family {
            Family::CliV1 | Family::CliV2 => text.to_owned(),
            _ => format!("{class}: {text}"),
        }
    }

    /// The botocore of this release, for families that carry one; `None` for a current release.
    pub(crate) fn botocore(self) -> Option<Version> {
        match self.family {
            Family::CliV1 => self.version().map(super::family::botocore_of_cli_v1),
            Family::Botocore => self.version(),
            _ => None,
        }
    }
}
