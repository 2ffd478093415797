//! The environment variables that a rule looks at. Their names stand here and nowhere else.

use std::fmt;

macro_rules! variables {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// An environment variable of AWS SDKs that a rule looks at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Variable {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Variable {
            /// The name of the variable.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The variable of this name, if a rule looks at it.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                // Most variables of most containers are not AWS's: one comparison for them.
                if !name.starts_with("AWS_") {
                    return None;
                }
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

variables! {
    /// The endpoint type: `regional` or `legacy`.
    StsRegionalEndpoints = "AWS_STS_REGIONAL_ENDPOINTS",
    /// The region for boto3, AWS CLI v1 and others.
    DefaultRegion = "AWS_DEFAULT_REGION",
    /// The region for most SDKs.
    Region = "AWS_REGION",
    /// The role to assume.
    RoleArn = "AWS_ROLE_ARN",
    /// The file with the service account's token.
    WebIdentityTokenFile = "AWS_WEB_IDENTITY_TOKEN_FILE",
    /// The name of the session, which CloudTrail shows.
    RoleSessionName = "AWS_ROLE_SESSION_NAME",
    /// Where container credentials are asked for.
    ContainerCredentialsFullUri = "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    /// The same as a path on the ECS metadata host.
    ContainerCredentialsRelativeUri = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    /// The token sent there.
    ContainerAuthorizationToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    /// The file with the token sent there.
    ContainerAuthorizationTokenFile = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    /// Half of static credentials, which SDKs prefer to everything written by a webhook.
    AccessKeyId = "AWS_ACCESS_KEY_ID",
    /// Whether FIPS endpoints are used.
    UseFips = "AWS_USE_FIPS_ENDPOINT",
    /// Whether dual-stack endpoints are used.
    UseDualStack = "AWS_USE_DUALSTACK_ENDPOINT",
    /// The endpoint URL of STS.
    EndpointUrlSts = "AWS_ENDPOINT_URL_STS",
    /// The endpoint URL of S3.
    EndpointUrlS3 = "AWS_ENDPOINT_URL_S3",
    /// The endpoint URL of every service.
    EndpointUrl = "AWS_ENDPOINT_URL",
    /// Whether endpoint URLs of the environment are ignored.
    IgnoreConfiguredEndpointUrls = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    /// The set of defaults, which decides the endpoint type in some SDKs.
    DefaultsMode = "AWS_DEFAULTS_MODE",
    /// Whether Go v1 reads the shared configuration.
    SdkLoadConfig = "AWS_SDK_LOAD_CONFIG",
    /// The form of S3's endpoint in us-east-1.
    S3UsEast1RegionalEndpoint = "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
    /// The profile of the shared configuration.
    Profile = "AWS_PROFILE",
    /// The same for botocore, which prefers it.
    DefaultProfile = "AWS_DEFAULT_PROFILE",
    /// The path of the shared configuration.
    ConfigFile = "AWS_CONFIG_FILE",
}

impl Variable {
    /// Those that identity webhooks write, in the order in which they append them.
    pub const WRITTEN: [Self; 8] = [
        Self::StsRegionalEndpoints,
        Self::DefaultRegion,
        Self::Region,
        Self::RoleArn,
        Self::WebIdentityTokenFile,
        Self::RoleSessionName,
        Self::ContainerCredentialsFullUri,
        Self::ContainerAuthorizationTokenFile,
    ];

    /// The variables of the container credentials protocol. SDKs combine them, so that one set by the author and one
    /// written by a webhook would send a token where neither meant it to go.
    pub const CONTAINER_CREDENTIALS: [Self; 4] = [
        Self::ContainerCredentialsFullUri,
        Self::ContainerCredentialsRelativeUri,
        Self::ContainerAuthorizationToken,
        Self::ContainerAuthorizationTokenFile,
    ];

    /// Whether identity webhooks write it.
    #[must_use]
    pub fn is_written(self) -> bool {
        Self::WRITTEN.contains(&self)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
