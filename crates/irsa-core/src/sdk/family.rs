//! SDK families, their releases, and how people name them.

use std::fmt;
use std::str::FromStr;

/// A line of AWS SDKs that behaves alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// botocore, and boto3 on top of it.
    Botocore,
    /// AWS CLI version 1, which carries botocore.
    CliV1,
    /// AWS CLI version 2.
    CliV2,
    /// JavaScript version 2.
    JsV2,
    /// JavaScript version 3.
    JsV3,
    /// Rust.
    Rust,
    /// Go version 1.
    GoV1,
    /// Go version 2.
    GoV2,
    /// Java version 1.
    JavaV1,
    /// Java version 2.
    JavaV2,
    /// .NET version 3.
    DotNetV3,
    /// .NET version 4.
    DotNetV4,
    /// PHP version 3.
    Php,
    /// Ruby version 3.
    Ruby,
    /// C++.
    Cpp,
    /// Kotlin.
    Kotlin,
    /// Swift.
    Swift,
    /// AWS Tools for PowerShell.
    PowerShell,
    /// nginx-s3-gateway, which talks to STS without an SDK.
    NginxS3Gateway,
}

impl Family {
    /// Every family, the common ones first.
    pub const ALL: [Self; 19] = [
        Self::Botocore,
        Self::CliV1,
        Self::CliV2,
        Self::GoV1,
        Self::GoV2,
        Self::JavaV1,
        Self::JavaV2,
        Self::JsV2,
        Self::JsV3,
        Self::DotNetV3,
        Self::DotNetV4,
        Self::Php,
        Self::Ruby,
        Self::Rust,
        Self::Cpp,
        Self::Kotlin,
        Self::Swift,
        Self::PowerShell,
        Self::NginxS3Gateway,
    ];

    /// The name on the command line and in machine-readable outputs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Botocore => "boto3",
            Self::CliV1 => "aws-cli-v1",
            Self::CliV2 => "aws-cli-v2",
            Self::JsV2 => "js-v2",
            Self::JsV3 => "js-v3",
            Self::Rust => "rust",
            Self::GoV1 => "go-v1",
            Self::GoV2 => "go-v2",
            Self::JavaV1 => "java-v1",
            Self::JavaV2 => "java-v2",
            Self::DotNetV3 => "dotnet-v3",
            Self::DotNetV4 => "dotnet-v4",
            Self::Php => "php",
            Self::Ruby => "ruby",
            Self::Cpp => "cpp",
            Self::Kotlin => "kotlin",
            Self::Swift => "swift",
            Self::PowerShell => "powershell",
            Self::NginxS3Gateway => "nginx-s3-gateway",
        }
    }

    /// The name people know.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Botocore => "boto3 / botocore",
            Self::CliV1 => "AWS CLI v1",
            Self::CliV2 => "AWS CLI v2",
            Self::JsV2 => "JavaScript v2",
            Self::JsV3 => "JavaScript v3",
            Self::Rust => "Rust",
            Self::GoV1 => "Go v1",
            Self::GoV2 => "Go v2",
            Self::JavaV1 => "Java v1",
            Self::JavaV2 => "Java v2",
            Self::DotNetV3 => ".NET v3",
            Self::DotNetV4 => ".NET v4",
            Self::Php => "PHP v3",
            Self::Ruby => "Ruby v3",
            Self::Cpp => "C++",
            Self::Kotlin => "Kotlin",
            Self::Swift => "Swift",
            Self::PowerShell => "PowerShell",
            Self::NginxS3Gateway => "nginx-s3-gateway",
        }
    }

    /// The first release whose default is the regional endpoint, for families that changed it on 2025-07-31 and whose
    /// version is known.
    #[must_use]
    pub fn first_regional_release(self) -> Option<Version> {
        match self {
            Self::Botocore => Some(Version(1, 40, 0)),
            Self::CliV1 => Some(Version(1, 42, 0)),
            Self::Php => Some(Version(3, 351, 12)),
            _ => None,
        }
    }

    /// Whether releases of the family begin with this number.
    fn has_major(self, major: u32) -> bool {
        match self {
            Self::Botocore | Self::Rust | Self::Swift => major <= 1,
            Self::CliV1 | Self::GoV1 | Self::GoV2 | Self::JavaV1 | Self::Cpp | Self::Kotlin => major == 1,
            Self::CliV2 | Self::JsV2 | Self::JavaV2 => major == 2,
            Self::JsV3 | Self::DotNetV3 | Self::Php | Self::Ruby => major == 3,
            Self::DotNetV4 => major == 4,
            Self::PowerShell => (3..=5).contains(&major),
            // Its tags are dates of a kind.
            Self::NginxS3Gateway => true,
        }
    }

    /// Whether it is botocore or carries it.
    #[must_use]
    pub(crate) fn carries_botocore(self) -> bool {
        matches!(self, Self::Botocore | Self::CliV1 | Self::CliV2)
    }

    /// Whether the default of this family was changed from global to regional on 2025-07-31.
    #[must_use]
    pub fn changed_its_default(self) -> bool {
        matches!(
            self,
            Self::Botocore | Self::CliV1 | Self::Php | Self::DotNetV3 | Self::PowerShell
        )
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// A version of three numbers; what follows them is of no interest to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads `1`, `1.40`, `1.40.0`, `v1.40.0-rc1`; missing numbers are zero.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let mut numbers = text[..end]
            .trim_end_matches('.')
            .split('.')
            .map(|n| n.parse().map_err(|_| ()));
        let mut next = || numbers.next().unwrap_or(Ok(0));
        Ok(Self(next()?, next()?, next()?))
    }
}

/// Which release of a family is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Release {
    /// A known version.
    Version(Version),
    /// One from before 2025-07-31, when several SDKs changed their default.
    Before20250731,
    /// A current one.
    Current,
}

/// An SDK: a family and the release that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sdk {
    /// The family.
    pub family: Family,
    /// The release.
    pub release: Release,
}

impl Sdk {
    /// A current release of `family`.
    #[must_use]
    pub const fn current(family: Family) -> Self {
        Self {
            family,
            release: Release::Current,
        }
    }

    /// The name that [`Sdk::from_str`] reads back: `boto3`, `boto3@old`, `botocore@1.29.165`.
    #[must_use]
    pub fn id(self) -> String {
        match (self.release, self.family) {
            (Release::Current, family) => family.id().to_owned(),
            (Release::Before20250731, family) => format!("{}@old", family.id()),
            // `boto3@` would be taken as a version of boto3, whose numbers differ from botocore's.
            (Release::Version(version), Family::Botocore) => format!("botocore@{version}"),
            (Release::Version(version), family) => format!("{}@{version}", family.id()),
        }
    }

    /// A set in which every difference between families and releases shows: each family as it is now, and those that
    /// changed their default also as they were before 2025-07-31.
    #[must_use]
    pub fn representatives() -> Vec<Self> {
        let mut all = Vec::new();
        for family in Family::ALL {
            if family.changed_its_default() {
                all.push(Self {
                    family,
                    release: Release::Before20250731,
                });
            }
            all.push(Self::current(family));
        }
        all
    }

    /// The version to reason with; for a release without number, one that stands for it.
    pub(crate) fn version(self) -> Option<Version> {
        match (self.release, self.family) {
            (Release::Version(version), _) => Some(version),
            (Release::Before20250731, Family::Botocore) => Some(Version(1, 39, 17)),
            (Release::Before20250731, Family::CliV1) => Some(Version(1, 41, 17)),
            (Release::Before20250731, Family::Php) => Some(Version(3, 351, 11)),
            (Release::Before20250731 | Release::Current, _) => None,
        }
    }

    /// Whether this release is older than the change of defaults on 2025-07-31.
    pub(crate) fn is_before_change(self) -> bool {
        match (self.release, self.family.first_regional_release()) {
            (Release::Before20250731, _) => true,
            (Release::Version(version), Some(first)) => version < first,
            (Release::Version(_) | Release::Current, _) => false,
        }
    }
}

impl fmt::Display for Sdk {
    /// For people: `boto3 / botocore before 1.40.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.family.title();
        match (self.release, self.family.first_regional_release()) {
            (Release::Version(version), _) => write!(f, "{title} {version}"),
            (Release::Before20250731, Some(first)) => write!(f, "{title} before {first}"),
            (Release::Before20250731, None) => write!(f, "{title} before 2025-07-31"),
            (Release::Current, Some(first)) => write!(f, "{title} {first} and later"),
            (Release::Current, None) => f.write_str(title),
        }
    }
}

/// Text that names no SDK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSdkError {
    /// No such family.
    #[error("unknown SDK `{0}`; known are {list}", list = known())]
    Family(String),
    /// The family has no releases with this major version.
    #[error("there is no release {version} of {family}")]
    NoSuchRelease {
        /// The family.
        family: &'static str,
        /// The version.
        version: Version,
    },
    /// The part after `@` is no version.
    #[error("`{0}` is not a version; use a number such as `1.40.0`, `old` (before 2025-07-31) or `current`")]
    Release(String),
}

fn known() -> String {
    Family::ALL.map(Family::id).join(", ")
}

impl FromStr for Sdk {
    type Err = ParseSdkError;

    /// Reads `FAMILY` or `FAMILY@RELEASE`, where the release is a version, `old` or `current`. Versions of boto3 are
    /// taken as versions of the botocore they carry.
    fn from_str(text: &str) -> Result<Self, ParseSdkError> {
        let (name, release) = text.split_once('@').map_or((text, None), |(n, r)| (n, Some(r)));
        let lower = name.trim().to_ascii_lowercase();
        let mut family = Family::ALL
            .into_iter()
            .find(|f| f.id() == lower || f.title().to_ascii_lowercase() == lower)
            .or_else(|| family_by_alias(&lower))
            .ok_or_else(|| ParseSdkError::Family(name.to_owned()))?;
        let release = match release.map(str::trim) {
            None | Some("current") => Release::Current,
            Some("old") => Release::Before20250731,
            Some(other) => {
                let version: Version = other
                    .parse()
                    .map_err(|()| ParseSdkError::Release(other.to_owned()))?;
                // `awscli@1.27.0` can only mean the first version of the command line.
                let is_cli = matches!(lower.as_str(), "awscli" | "aws-cli" | "cli");
                if is_cli && version < Version(2, 0, 0) {
                    family = Family::CliV1;
                }
                if !family.has_major(version.0) {
                    return Err(ParseSdkError::NoSuchRelease {
                        family: family.title(),
                        version,
                    });
                }
                Release::Version(if lower == "boto3" {
                    botocore_of_boto3(version)
                } else {
                    version
                })
            }
        };
        Ok(Self { family, release })
    }
}

fn family_by_alias(name: &str) -> Option<Family> {
    Some(match name {
        "botocore" | "python" => Family::Botocore,
        "awscli" | "aws-cli" | "cli" | "awscli-v2" | "awscliv2" | "cli-v2" => Family::CliV2,
        "awscli-v1" | "cli-v1" => Family::CliV1,
        "js" | "javascript" | "node" => Family::JsV3,
        "go" => Family::GoV2,
        "java" => Family::JavaV2,
        "dotnet" | ".net" | "net" => Family::DotNetV4,
        "c++" => Family::Cpp,
        "nginx" => Family::NginxS3Gateway,
        _ => return None,
    })
}

/// boto3 carries a botocore whose minor version was three ahead of its own until 1.33.
pub(super) fn botocore_of_boto3(version: Version) -> Version {
    let Version(major, minor, patch) = version;
    if major == 1 && (9..=28).contains(&minor) {
        Version(1, minor + 3, patch)
    } else {
        version
    }
}

/// The botocore inside an AWS CLI v1, as far as the rules need it.
pub(super) fn botocore_of_cli_v1(version: Version) -> Version {
    let Version(major, minor, patch) = version;
    // Both ends are read in the packages' own pins: 1.42.0 carries 1.40.0, 1.27.0 carries 1.29.0.
    match (major, minor) {
        (1, 37..) => Version(1, minor - 2, patch),
        (1, 19..=32) => Version(1, minor + 2, patch),
        (1, 33..=36) => Version(1, 35, patch),
        (1, ..=18) => Version(1, minor.saturating_sub(1), patch),
        _ => version,
    }
}

/// What an answer rests on, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// The SDK was run in that environment and its requests were looked at.
    Tested,
    /// The SDK's source was read.
    Read,
    /// AWS documents it.
    Documented,
    /// Others report it: issues, logs, emulators.
    Reported,
    /// Believed, checked by nobody.
    Memory,
}

impl Certainty {
    /// The word used in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tested => "tested",
            Self::Read => "read",
            Self::Documented => "documented",
            Self::Reported => "reported",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Family, Release), String> {
        text.parse::<Sdk>()
            .map(|s| (s.family, s.release))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn sdks_are_read_by_name_and_release() {
        assert_eq!(read("boto3"), Ok((Family::Botocore, Release::Current)));
        assert_eq!(read("boto3@old"), Ok((Family::Botocore, Release::Before20250731)));
        assert_eq!(
            read("botocore@1.29.165"),
            Ok((Family::Botocore, Release::Version(Version(1, 29, 165))))
        );
        assert_eq!(
            read("boto3@1.26.165"),
            Ok((Family::Botocore, Release::Version(Version(1, 29, 165))))
        );
        assert_eq!(
            read("boto3@1.40"),
            Ok((Family::Botocore, Release::Version(Version(1, 40, 0))))
        );
        assert_eq!(
            read("AWS-CLI-V1@1.41.17"),
            Ok((Family::CliV1, Release::Version(Version(1, 41, 17))))
        );
        assert_eq!(read(".NET v3"), Ok((Family::DotNetV3, Release::Current)));
        assert_eq!(read("go"), Ok((Family::GoV2, Release::Current)));
        assert!(read("cobol").unwrap_err().contains("known are boto3, aws-cli-v1"));
        assert!(read("boto3@new").unwrap_err().contains("`old`"));
        for family in Family::ALL {
            assert_eq!(read(family.id()), Ok((family, Release::Current)));
        }
    }

    fn major(family: Family) -> u32 {
        (1..5).find(|major| family.has_major(*major)).unwrap()
    }

    #[test]
    fn releases_that_do_not_exist_are_refused_and_wrong_names_mapped() {
        for text in [
            "boto3@2.0",
            "js-v3@2.1.0",
            "js-v2@3.5",
            "aws-cli-v1@2.3",
            "go-v1@2",
        ] {
            assert!(
                read(text).unwrap_err().starts_with("there is no release"),
                "{text}"
            );
        }
        assert_eq!(
            read("awscli@1.27"),
            Ok((Family::CliV1, Release::Version(Version(1, 27, 0))))
        );
        assert_eq!(
            read("aws-cli@2.15.0"),
            Ok((Family::CliV2, Release::Version(Version(2, 15, 0))))
        );
        assert_eq!(read("awscli"), Ok((Family::CliV2, Release::Current)));
    }

    #[test]
    fn ids_read_back_as_the_same_sdk() {
        let mut sdks = Sdk::representatives();
        sdks.extend(Family::ALL.map(|family| Sdk {
            family,
            release: Release::Version(Version(major(family), 26, 3)),
        }));
        for sdk in sdks {
            assert_eq!(sdk.id().parse(), Ok(sdk));
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        let version = |t: &str| t.parse::<Version>();
        assert_eq!(version("v1.40.0-rc1"), Ok(Version(1, 40, 0)));
        assert_eq!(version("1.9"), Ok(Version(1, 9, 0)));
        assert!(version("1.9.9").unwrap() < version("1.10.0").unwrap());
        assert_eq!(version(""), Err(()));
        assert_eq!(version("latest"), Err(()));
        assert_eq!(version("1.99999999999.0"), Err(()));
    }

    #[test]
    fn the_botocore_inside_other_packages() {
        for (cli, botocore) in [
            ((1, 42, 0), (1, 40, 0)),
            ((1, 41, 17), (1, 39, 17)),
            ((1, 27, 0), (1, 29, 0)),
        ] {
            let Version(a, b, c) = botocore_of_cli_v1(Version(cli.0, cli.1, cli.2));
            assert_eq!((a, b, c), botocore);
        }
        assert_eq!(botocore_of_boto3(Version(1, 28, 0)), Version(1, 31, 0));
        assert_eq!(botocore_of_boto3(Version(1, 34, 5)), Version(1, 34, 5));
    }

    #[test]
    fn representatives_name_both_sides_of_the_change() {
        let names: Vec<_> = Sdk::representatives().iter().map(ToString::to_string).collect();
        assert!(
            names.contains(&"boto3 / botocore before 1.40.0".to_owned()),
            "{names:?}"
        );
        assert!(names.contains(&"boto3 / botocore 1.40.0 and later".to_owned()));
        assert!(names.contains(&".NET v3 before 2025-07-31".to_owned()));
        assert_eq!(names.len(), Family::ALL.len() + 5);
    }
}
