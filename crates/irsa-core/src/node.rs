//! The region of a node, from what the Kubernetes API tells about it.

use std::fmt;

/// Label with the region, set by the cloud provider.
pub const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// Label with the availability zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const OLD_REGION_LABEL: &str = "failure-domain.beta.kubernetes.io/region";
const OLD_ZONE_LABEL: &str = "failure-domain.beta.kubernetes.io/zone";

/// Where the region of a node was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionSource {
    /// The label `topology.kubernetes.io/region` or its predecessor.
    RegionLabel,
    /// The label `topology.kubernetes.io/zone` or its predecessor.
    ZoneLabel,
    /// The zone in `spec.providerID`.
    ProviderId,
    /// The node's name.
    Name,
}

impl RegionSource {
    /// A short stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RegionLabel => "region-label",
            Self::ZoneLabel => "zone-label",
            Self::ProviderId => "provider-id",
            Self::Name => "node-name",
        }
    }
}

impl fmt::Display for RegionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A region and where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeRegion<'a> {
    /// Such as `us-west-2`.
    pub region: &'a str,
    /// Where it was read.
    pub source: RegionSource,
}

/// The region of a node: label, zone label, providerID, name, in this order of trust. `None` when none of them
/// tells, as for hybrid nodes (`mi-…`), Auto Mode names (`i-…`) without labels, or a DHCP domain of one's own.
pub fn region<'a>(
    name: &'a str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    provider_id: Option<&'a str>,
) -> Option<NodeRegion<'a>> {
    // Indexed by trust: region label, old region label, zone label, old zone label.
    let mut from_labels = [None; 4];
    for (key, value) in labels {
        let (slot, region) = match key {
            REGION_LABEL => (0, plain_region(value)),
            OLD_REGION_LABEL => (1, plain_region(value)),
            ZONE_LABEL => (2, region_of_zone(value)),
            OLD_ZONE_LABEL => (3, region_of_zone(value)),
            _ => continue,
        };
        from_labels[slot] = region;
    }
    let label = |slots: [usize; 2]| from_labels[slots[0]].or(from_labels[slots[1]]);
    let found = |region: Option<&'a str>, source| region.map(|region| NodeRegion { region, source });
    found(label([0, 1]), RegionSource::RegionLabel)
        .or_else(|| found(label([2, 3]), RegionSource::ZoneLabel))
        .or_else(|| {
            found(
                provider_id.and_then(region_of_provider_id),
                RegionSource::ProviderId,
            )
        })
        .or_else(|| found(region_of_name(name), RegionSource::Name))
}

/// The region in a `spec.providerID`: `aws:///us-west-2a/i-0abc`, `aws:///us-west-2a/UUID/fargate-ip-…`,
/// `eks-hybrid:///us-west-2/CLUSTER/mi-0abc`.
#[must_use]
pub fn region_of_provider_id(provider_id: &str) -> Option<&str> {
    let (scheme, rest) = provider_id.split_once(":///")?;
    let first = rest.split('/').next()?;
    match scheme {
        "aws" => region_of_zone(first),
        "eks-hybrid" => plain_region(first),
        _ => None,
    }
}

/// The region of an availability zone, local zone or wavelength zone: `us-west-2a`, `us-west-2-lax-1a`,
/// `us-east-1-wl1-bos-wlz-1`. Zone *ids* (`usw2-az1`) do not tell it.
#[must_use]
pub fn region_of_zone(zone: &str) -> Option<&str> {
    region_prefix(zone).filter(|region| {
        let after = &zone[region.len()..];
        after.is_empty() || after.starts_with('-') || after.bytes().all(|b| b.is_ascii_lowercase())
    })
}

/// The region in a node's name: `ip-10-0-0-1.us-west-2.compute.internal`, `i-0abc.us-west-2.compute.internal`,
/// `fargate-ip-10-0-0-1.us-west-2.compute.internal`, `ip-10-0-0-1.ec2.internal` (which is `us-east-1`), and the
/// abbreviated `ip-192-168-79-166.us-west-2` of the AWS page, also with its `/ADDRESS`.
#[must_use]
pub fn region_of_name(name: &str) -> Option<&str> {
    let name = name.split('/').next().unwrap_or(name);
    let (host, domain) = name.split_once('.')?;
    if !["ip-", "i-", "fargate-ip-"]
        .iter()
        .any(|start| host.starts_with(start))
    {
        return None;
    }
    if domain == "ec2.internal" {
        return Some("us-east-1");
    }
    let (region, rest) = domain.split_once('.').unwrap_or((domain, ""));
    if !(rest.is_empty() || rest == "compute.internal" || rest.starts_with("compute.amazonaws.com")) {
        return None;
    }
    plain_region(region)
}

/// A text that is nothing but a region.
fn plain_region(text: &str) -> Option<&str> {
    region_prefix(text).filter(|region| region.len() == text.len())
}

/// The region which a text begins with: two or more words of lower-case letters and a number, joined by hyphens.
fn region_prefix(text: &str) -> Option<&str> {
    let mut words = 0;
    let mut at = 0;
    for part in text.split('-') {
        let letters = part.bytes().take_while(u8::is_ascii_lowercase).count();
        if letters > 0 && letters == part.len() {
            words += 1;
            at += part.len() + 1;
            continue;
        }
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        return (words >= 2 && digits > 0).then(|| &text[..at + digits]);
    }
    None
}
