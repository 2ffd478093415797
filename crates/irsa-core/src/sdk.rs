//! Who obeys what: which STS endpoint a given AWS SDK calls in a given environment, and why.
//!
//! The variable `AWS_STS_REGIONAL_ENDPOINTS` is a request; every SDK has its own idea of it. [`sts()`] answers for one
//! SDK and version; [`Sdk::representatives`] gives the set in which every difference shows. What the answers rest on
//! is said by [`Certainty`].

mod answer;
mod aws_config;
mod cure;
mod environment;
mod family;
mod guess;
mod hosts;
mod profile;
mod settings;
mod sts;

pub use answer::{Answer, Call, Concern, Endpoint, Failure, Outcome, Reason, RegionSource, SignedCalls};
pub use aws_config::{AwsConfig, AwsConfigError};
pub use cure::{Cure, Remedy, scope_cures};
pub use environment::Environment;
pub use family::{Certainty, Family, ParseSdkError, Release, Sdk, Version};
pub use guess::{Guess, from_image, from_user_agent};
pub use profile::{BlastRadius, ReadsVariable};
pub(crate) use profile::{Profile, refused_defaults_mode};
pub(crate) use settings::{ClientOf, File, NoSettings, Settings, switch};
pub use sts::sts;

/// What the SDK is to be told about one STS call besides the environment: options given in the program's code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Code<'a> {
    /// An endpoint URL given to the client.
    pub endpoint: Option<&'a str>,
    /// A region given to the client.
    pub region: Option<&'a str>,
}
