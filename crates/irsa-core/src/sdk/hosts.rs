//! The host of STS that a release builds: what it knows of AWS's partitions depends on its age.

use super::family::{Family, Version};
use super::{Sdk, profile::Profile};
use crate::partition::{Partition, sts_host};

/// The host of STS in `region`, or the error of a release that cannot build it.
pub(super) fn host(sdk: Sdk, region: &str, fips: bool, dual_stack: bool) -> Result<String, String> {
    if sdk.family == Family::JsV2 {
        return Ok(js_v2(region, fips, dual_stack));
    }
    let partition = Partition::of_region(region);
    if !sdk.knows(partition) {
        // No pattern matches, so that the region is taken for one of partition `aws`.
        let name = if fips { "sts-fips" } else { "sts" };
        let suffix = if dual_stack { "api.aws" } else { "amazonaws.com" };
        return Ok(format!("{name}.{region}.{suffix}"));
    }
    if dual_stack && let Some(error) = without_dual_stack(sdk, partition, fips) {
        return Err(error);
    }
    Ok(sts_host(region, fips, dual_stack))
}

/// The regions that JavaScript v2 stands for: it replaces two of the pseudo-regions by a real one.
pub(super) fn js_v2_region(region: &str) -> &str {
    match region {
        "aws-global" => "us-east-1",
        "aws-us-gov-global" => "us-gov-west-1",
        region => region,
    }
}

/// Whether JavaScript v2 has a rule for the region's partition; it takes all others for `aws`, which has a global
/// endpoint.
pub(super) fn js_v2_partition(region: &str) -> Option<&'static str> {
    [
        ("cn-", "amazonaws.com.cn"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("us-iso-", "c2s.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-gov-", "amazonaws.com"),
    ]
    .into_iter()
    .find_map(|(prefix, suffix)| region.starts_with(prefix).then_some(suffix))
}

fn js_v2(region: &str, fips: bool, dual_stack: bool) -> String {
    let suffix = js_v2_partition(region).unwrap_or("amazonaws.com");
    let dual_stack_suffix = if region.starts_with("cn-") {
        "api.amazonwebservices.com.cn"
    } else {
        "api.aws"
    };
    let region = region.to_ascii_lowercase();
    match (fips, dual_stack) {
        (false, false) => format!("sts.{region}.{suffix}"),
        (false, true) => format!("sts.{region}.{dual_stack_suffix}"),
        (true, true) => format!("sts-fips.{region}.{dual_stack_suffix}"),
        // GovCloud's ordinary hosts are the FIPS ones.
        (true, false) if region.starts_with("us-gov-") => format!("sts.{region}.{suffix}"),
        (true, false) if region.starts_with("us-isof-") || region.starts_with("eu-isoe-") => {
            format!("sts-fips.{region}.amazonaws.com")
        }
        (true, false) => format!("sts-fips.{region}.{suffix}"),
    }
}

impl Sdk {
    /// Whether a release knows a partition. Read in the packages that the measurements were made with; between two of
    /// them the later one counts.
    pub(crate) fn knows(self, partition: &Partition) -> bool {
        let (botocore, js) = match partition.name() {
            "aws-eusc" if self.family == Family::JsV2 => return false,
            "aws-eusc" => (Version(1, 36, 0), Version(3, 655, 0)),
            "aws-iso-e" | "aws-iso-f" => (Version(1, 29, 0), Version(3, 311, 0)),
            _ => return true,
        };
        is_at_least(self, botocore, js)
    }
}

/// The error of a release that has no dual-stack endpoints in a partition.
fn without_dual_stack(sdk: Sdk, partition: &Partition, fips: bool) -> Option<String> {
    let text = if fips {
        "FIPS and DualStack are enabled, but this partition does not support one or both"
    } else {
        "DualStack is enabled but this partition does not support DualStack"
    };
    let name = partition.name();
    let isolated = matches!(name, "aws-iso" | "aws-iso-b" | "aws-iso-e" | "aws-iso-f");
    let supported = is_at_least(sdk, Version(1, 40, 1), Version(3, 655, 0));
    match sdk.family {
        Family::JsV3 if isolated && !supported => Some(format!("EndpointError: {text}")),
        // Its older resolver goes first, and does not know these partitions' variants to this day.
        Family::Botocore | Family::CliV1
            if matches!(name, "aws-iso-e" | "aws-iso-f") || (name == "aws-eusc" && !supported) =>
        {
            let variants = if fips {
                "'dualstack', 'fips'"
            } else {
                "'dualstack'"
            };
            Some(sdk.error(
                "EndpointVariantError",
                &format!(
                    "Unable to construct a modeled endpoint with the following variant(s) [{variants}]: "
                ),
            ))
        }
        Family::Botocore | Family::CliV1 if isolated && !supported => {
            Some(sdk.error("EndpointResolutionError", text))
        }
        _ => None,
    }
}

fn is_at_least(sdk: Sdk, botocore: Version, js: Version) -> bool {
    match sdk.family {
        Family::JsV3 => sdk.version().is_none_or(|version| version >= js),
        Family::Botocore | Family::CliV1 => sdk.botocore().is_none_or(|version| version >= botocore),
        _ => true,
    }
}

/// Whether a text is a URL with a scheme and a host, as SDKs want an endpoint.
pub(super) fn is_url(profile: &Profile, url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => return !scheme.is_empty() && address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    !scheme.is_empty()
        && !host.is_empty()
        && if profile.empty_region_counts && !profile.has_rule_set {
            host.split('.').all(is_label)
        } else {
            !host.contains(char::is_whitespace)
        }
}
