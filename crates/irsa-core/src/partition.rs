//! Partitions, their regions, and the hosts of STS and S3 in them.
//!
//! The lists are data taken from the AWS endpoint rules of 2026 (`partitions.json` of botocore 1.44.5). A region
//! that is not listed falls to the partition whose pattern it has, and a name without any pattern to `aws`: the
//! same order as every SDK's `aws.partition` function.

mod host;
mod s3;
mod sts;

pub use host::{AwsHost, HostClass, Service};
pub use s3::{S3Addressing, S3Host, S3HostOptions, S3RuleError, express_zone, is_virtual_hostable, s3_host};
pub use sts::{StsClass, StsEndpoint, StsRequest, StsRuleError, resolve_sts, sts_fips_exists, sts_host};

/// The pseudo-region which means "the global endpoint of partition `aws`".
pub const AWS_GLOBAL: &str = "aws-global";

/// The host of the only global STS endpoint there is; requests to it are signed for `us-east-1`.
pub const GLOBAL_STS_HOST: &str = "sts.amazonaws.com";

/// The region that signs requests to the global endpoints of partition `aws`.
pub const GLOBAL_SIGNING_REGION: &str = "us-east-1";

/// The regions that the setting `legacy` sends to the global STS endpoint, without the pseudo-region `aws-global`.
pub const LEGACY_GLOBAL_REGIONS: [&str; 15] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// Regions of partition `aws` that are enabled in every account but never were in the legacy list.
const DEFAULT_ENABLED_BESIDES_LEGACY: [&str; 2] = ["ap-northeast-2", "ap-northeast-3"];

/// One AWS partition: a set of regions with its own DNS suffix, accounts and ARNs.
#[derive(Debug, PartialEq, Eq)]
pub struct Partition {
    name: &'static str,
    dns_suffix: &'static str,
    dual_stack_dns_suffix: &'static str,
    implicit_global_region: &'static str,
    /// The part of the region pattern before `-\w+-\d+`: any of these.
    prefixes: &'static [&'static str],
    regions: &'static [&'static str],
    pseudo_region: Option<&'static str>,
}

/// Every partition, `aws` first.
pub static PARTITIONS: [Partition; 8] = [
    Partition {
        name: "aws",
        dns_suffix: "amazonaws.com",
        dual_stack_dns_suffix: "api.aws",
        implicit_global_region: "us-east-1",
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        regions: &[
            "af-south-1",
            "ap-east-1",
            "ap-east-2",
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-south-2",
            "ap-southeast-1",
            "ap-southeast-2",
            "ap-southeast-3",
            "ap-southeast-4",
            "ap-southeast-5",
            "ap-southeast-6",
            "ap-southeast-7",
            "ca-central-1",
            "ca-west-1",
            "eu-central-1",
            "eu-central-2",
            "eu-north-1",
            "eu-south-1",
            "eu-south-2",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
            "il-central-1",
            "me-central-1",
            "me-south-1",
            "me-west-1",
            "mx-central-1",
            "sa-east-1",
            "sa-west-1",
            "us-east-1",
            "us-east-2",
            "us-west-1",
            "us-west-2",
        ],
        pseudo_region: Some(AWS_GLOBAL),
    },
    Partition {
        name: "aws-cn",
        dns_suffix: "amazonaws.com.cn",
        dual_stack_dns_suffix: "api.amazonwebservices.com.cn",
        implicit_global_region: "cn-northwest-1",
        prefixes: &["cn"],
        regions: &["cn-north-1", "cn-northwest-1"],
        pseudo_region: Some("aws-cn-global"),
    },
    Partition {
        name: "aws-us-gov",
        dns_suffix: "amazonaws.com",
        dual_stack_dns_suffix: "api.aws",
        implicit_global_region: "us-gov-west-1",
        prefixes: &["us-gov"],
        regions: &["us-gov-east-1", "us-gov-west-1"],
        pseudo_region: Some("aws-us-gov-global"),
    },
    Partition {
        name: "aws-iso",
        dns_suffix: "c2s.ic.gov",
        dual_stack_dns_suffix: "api.aws.ic.gov",
        implicit_global_region: "us-iso-east-1",
        prefixes: &["us-iso"],
        regions: &["us-iso-east-1", "us-iso-west-1"],
        pseudo_region: Some("aws-iso-global"),
    },
    Partition {
        name: "aws-iso-b",
        dns_suffix: "sc2s.sgov.gov",
        dual_stack_dns_suffix: "api.aws.scloud",
        implicit_global_region: "us-isob-east-1",
        prefixes: &["us-isob"],
        regions: &["us-isob-east-1", "us-isob-west-1"],
        pseudo_region: Some("aws-iso-b-global"),
    },
    Partition {
        name: "aws-iso-e",
        dns_suffix: "cloud.adc-e.uk",
        dual_stack_dns_suffix: "api.cloud-aws.adc-e.uk",
        implicit_global_region: "eu-isoe-west-1",
        prefixes: &["eu-isoe"],
        regions: &["eu-isoe-west-1"],
        pseudo_region: Some("aws-iso-e-global"),
    },
    Partition {
        name: "aws-iso-f",
        dns_suffix: "csp.hci.ic.gov",
        dual_stack_dns_suffix: "api.aws.hci.ic.gov",
        implicit_global_region: "us-isof-south-1",
        prefixes: &["us-isof"],
        regions: &["us-isof-east-1", "us-isof-south-1"],
        pseudo_region: Some("aws-iso-f-global"),
    },
    Partition {
        name: "aws-eusc",
        dns_suffix: "amazonaws.eu",
        dual_stack_dns_suffix: "api.amazonwebservices.eu",
        implicit_global_region: "eusc-de-east-1",
        prefixes: &["eusc-de"],
        regions: &["eusc-de-east-1"],
        pseudo_region: None,
    },
];

/// How a region came to its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// The region (or pseudo-region) is in the partition's list.
    Listed,
    /// Not listed, but it has the partition's pattern: probably newer than this build.
    Matched,
    /// Neither: SDKs assume partition `aws`, and the host they build most likely does not exist.
    Assumed,
}

/// Whether accounts can use STS in a region without doing anything for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Active in every account, and cannot be switched off (`us-east-1`).
    Always,
    /// Active unless the account has deactivated STS there.
    Default,
    /// Active only in accounts that have enabled the region.
    OptIn,
    /// The region is not known to this build.
    Unknown,
}

impl Partition {
    /// The partition of `region`, and how that is known.
    #[must_use]
    pub fn locate(region: &str) -> (&'static Self, Membership) {
        if let Some(listed) = PARTITIONS.iter().find(|p| p.lists(region)) {
            return (listed, Membership::Listed);
        }
        if let Some(matched) = PARTITIONS.iter().find(|p| p.matches(region)) {
            return (matched, Membership::Matched);
        }
        (&PARTITIONS[0], Membership::Assumed)
    }

    /// The partition of `region`, as every SDK decides it: listed, else by pattern, else `aws`.
    #[must_use]
    pub fn of_region(region: &str) -> &'static Self {
        Self::locate(region).0
    }

    /// The partition with this name, as it appears in ARNs (`aws`, `aws-cn`, …).
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PARTITIONS.iter().find(|p| p.name == name)
    }

    /// The name, as it appears in ARNs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The suffix of ordinary hosts, `amazonaws.com` for instance.
    #[must_use]
    pub fn dns_suffix(&self) -> &'static str {
        self.dns_suffix
    }

    /// The suffix of hosts that answer on IPv4 and IPv6, `api.aws` for instance.
    #[must_use]
    pub fn dual_stack_dns_suffix(&self) -> &'static str {
        self.dual_stack_dns_suffix
    }

    /// The region that stands for the whole partition.
    #[must_use]
    pub fn implicit_global_region(&self) -> &'static str {
        self.implicit_global_region
    }

    /// The real regions, in alphabetical order.
    #[must_use]
    pub fn regions(&self) -> &'static [&'static str] {
        self.regions
    }

    /// The pseudo-region (`aws-global`, …) if the partition has one.
    #[must_use]
    pub fn pseudo_region(&self) -> Option<&'static str> {
        self.pseudo_region
    }

    /// Whether there is one STS endpoint for the whole partition: only in `aws`.
    #[must_use]
    pub fn has_global_sts(&self) -> bool {
        self.name == "aws"
    }

    fn lists(&self, region: &str) -> bool {
        self.pseudo_region == Some(region) || self.regions.contains(&region)
    }

    /// `^(prefix|…)-\w+-\d+$` by hand.
    fn matches(&self, region: &str) -> bool {
        self.prefixes.iter().any(|prefix| {
            region
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.split_once('-'))
                .is_some_and(|(word, number)| {
                    !word.is_empty()
                        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                        && !number.is_empty()
                        && number.bytes().all(|b| b.is_ascii_digit())
                })
        })
    }
}

/// Every real region of every partition.
pub fn all_regions() -> impl Iterator<Item = &'static str> {
    PARTITIONS.iter().flat_map(|p| p.regions.iter().copied())
}

/// Whether `legacy` sends this region to the global STS endpoint (`aws-global` included).
#[must_use]
pub fn is_legacy_global(region: &str) -> bool {
    region == AWS_GLOBAL || LEGACY_GLOBAL_REGIONS.contains(&region)
}

/// Whether STS answers in `region` for an account that has changed nothing.
#[must_use]
pub fn activation(region: &str) -> Activation {
    let (partition, membership) = Partition::locate(region);
    if membership != Membership::Listed || partition.pseudo_region == Some(region) {
        return Activation::Unknown;
    }
    if region == GLOBAL_SIGNING_REGION {
        Activation::Always
    } else if partition.name != "aws"
        || LEGACY_GLOBAL_REGIONS.contains(&region)
        || DEFAULT_ENABLED_BESIDES_LEGACY.contains(&region)
    {
        Activation::Default
    } else {
        Activation::OptIn
    }
}

/// Whether SDKs can put `region` into a host name: letters, digits and hyphens, at most 63, no hyphen at the rim.
///
/// botocore refuses other names with `InvalidRegionError`; the rest build a host that cannot exist.
#[must_use]
pub fn is_host_label(region: &str) -> bool {
    !region.is_empty()
        && region.len() <= 63
        && !region.starts_with('-')
        && !region.ends_with('-')
        && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The real region behind a deprecated FIPS pseudo-region (`us-west-2-fips`, `fips-us-west-2`).
#[must_use]
pub fn fips_pseudo_region(region: &str) -> Option<&str> {
    region
        .strip_suffix("-fips")
        .or_else(|| region.strip_prefix("fips-"))
        .filter(|real| !real.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn regions_and_suffixes_are_those_of_the_endpoint_rules() {
        let counts: Vec<_> = PARTITIONS.iter().map(|p| (p.name, p.regions.len())).collect();
        assert_eq!(
            counts,
            [
                ("aws", 36),
                ("aws-cn", 2),
                ("aws-us-gov", 2),
                ("aws-iso", 2),
                ("aws-iso-b", 2),
                ("aws-iso-e", 1),
                ("aws-iso-f", 2),
                ("aws-eusc", 1)
            ]
        );
        for partition in &PARTITIONS {
            assert!(partition.regions.is_sorted(), "{}", partition.name);
            assert!(partition.lists(partition.implicit_global_region));
            for region in partition.regions {
                assert!(
                    partition.matches(region),
                    "{region} has not the pattern of {}",
                    partition.name
                );
                let matching: Vec<_> = PARTITIONS
                    .iter()
                    .filter(|p| p.matches(region))
                    .map(|p| p.name)
                    .collect();
                assert_eq!(matching, [partition.name], "{region}");
            }
        }
    }

    #[test]
    fn unlisted_regions_fall_to_their_pattern_and_then_to_aws() {
        for (region, name, how) in [
            ("us-west-2", "aws", Membership::Listed),
            ("aws-global", "aws", Membership::Listed),
            ("aws-cn-global", "aws-cn", Membership::Listed),
            ("eu-west-9", "aws", Membership::Matched),
            ("us-gov-foo-3", "aws-us-gov", Membership::Matched),
            ("us-iso-middle-7", "aws-iso", Membership::Matched),
            ("us-isob-x-1", "aws-iso-b", Membership::Matched),
            ("eusc-de-west-2", "aws-eusc", Membership::Matched),
            ("eusc-fr-west-2", "aws", Membership::Assumed),
            ("xx-foo-1", "aws", Membership::Assumed),
            ("us-west-2a", "aws", Membership::Assumed),
            ("us--2", "aws", Membership::Assumed),
            ("", "aws", Membership::Assumed),
        ] {
            let (partition, membership) = Partition::locate(region);
            assert_eq!((partition.name, membership), (name, how), "{region}");
        }
    }

    #[test]
    fn the_legacy_list_is_fifteen_regions_and_the_pseudo_region() {
        assert!(is_legacy_global("aws-global"));
        assert_eq!(all_regions().filter(|r| is_legacy_global(r)).count(), 15);
        assert!(
            !is_legacy_global("ap-northeast-2"),
            "Seoul is enabled by default but not in the list"
        );
        assert!(
            !is_legacy_global("ap-northeast-3"),
            "Osaka is enabled by default but not in the list"
        );
        assert!(!is_legacy_global("aws-cn-global"));
    }

    #[test]
    fn seventeen_regions_of_aws_are_enabled_by_default() {
        let aws = Partition::named("aws").unwrap();
        let count = |wanted| aws.regions.iter().filter(|r| activation(r) == wanted).count();
        assert_eq!(count(Activation::Always) + count(Activation::Default), 17);
        assert_eq!(count(Activation::OptIn), 36 - 17);
        assert_eq!(activation("us-east-1"), Activation::Always);
        assert_eq!(activation("me-west-1"), Activation::OptIn);
        assert_eq!(activation("cn-north-1"), Activation::Default);
        assert_eq!(activation("eu-west-9"), Activation::Unknown);
        assert_eq!(activation("aws-global"), Activation::Unknown);
    }
}
