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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_known_form_of_a_node_name_tells_its_region_or_nothing() {
        for (name, expected) in [
            ("ip-192-168-79-166.us-west-2.compute.internal", Some("us-west-2")),
            ("ip-192-168-79-166.us-west-2", Some("us-west-2")),
            ("ip-192-168-79-166.us-west-2/192.168.79.166", Some("us-west-2")),
            (
                "ip-192-168-45-132.us-west-2.compute.internal/192.168.45.132",
                Some("us-west-2"),
            ),
            ("ip-10-0-0-1.ec2.internal", Some("us-east-1")),
            ("i-0123456789abcdef.us-west-2.compute.internal", Some("us-west-2")),
            ("i-0123456789abcdef.ec2.internal", Some("us-east-1")),
            (
                "fargate-ip-192-0-2-0.us-gov-east-1.compute.internal",
                Some("us-gov-east-1"),
            ),
            ("ip-10-0-0-1.cn-north-1.compute.internal", Some("cn-north-1")),
            ("i-0123456789abcdef", None),
            ("mi-0a1b2c3d", None),
            ("ip-10-0-0-1.corp.example.com", None),
            ("ip-10-0-0-1.us-west-2.example.com", None),
            ("worker-1.us-west-2.compute.internal", None),
            ("ip-10-0-0-1.", None),
            ("", None),
        ] {
            assert_eq!(region_of_name(name), expected, "{name}");
        }
    }

    #[test]
    fn zones_and_provider_ids_tell_their_region() {
        for (zone, expected) in [
            ("us-west-2a", Some("us-west-2")),
            ("us-west-2-lax-1a", Some("us-west-2")),
            ("us-east-1-wl1-bos-wlz-1", Some("us-east-1")),
            ("us-isob-east-1a", Some("us-isob-east-1")),
            ("ap-southeast-3b", Some("ap-southeast-3")),
            ("us-west-2", Some("us-west-2")),
            ("usw2-az1", None),
            ("us-west", None),
            ("west-2", None),
            ("2-us-west", None),
            ("us-west-2A", None),
            ("", None),
        ] {
            assert_eq!(region_of_zone(zone), expected, "{zone}");
        }
        for (id, expected) in [
            ("aws:///us-west-2a/i-0123456789abcdef0", Some("us-west-2")),
            ("aws:////i-0123456789abcdef0", None),
            (
                "aws:///eu-central-1b/0d7e-uuid/fargate-ip-10-0-0-1.eu-central-1.compute.internal",
                Some("eu-central-1"),
            ),
            ("eks-hybrid:///us-west-2/cluster/mi-0a1b", Some("us-west-2")),
            ("eks-hybrid:///us-west-2a/cluster/mi-0a1b", None),
            ("gce://project/us-west1-a/vm", None),
            ("", None),
        ] {
            assert_eq!(region_of_provider_id(id), expected, "{id}");
        }
    }

    #[test]
    fn labels_are_trusted_before_the_provider_id_and_that_before_the_name() {
        let name = "ip-10-0-0-1.us-east-2.compute.internal";
        let id = Some("aws:///us-west-1a/i-0");
        let labels = [
            (OLD_ZONE_LABEL, "ap-south-1a"),
            (ZONE_LABEL, "eu-west-1a"),
            (OLD_REGION_LABEL, "eu-west-2"),
            (REGION_LABEL, "eu-west-3"),
            ("other", "x"),
        ];
        let found = |labels: &[(&'static str, &'static str)], id| {
            region(name, labels.iter().copied(), id).map(|found| (found.region, found.source))
        };
        assert_eq!(found(&labels, id), Some(("eu-west-3", RegionSource::RegionLabel)));
        assert_eq!(
            found(&labels[..3], id),
            Some(("eu-west-2", RegionSource::RegionLabel))
        );
        assert_eq!(
            found(&labels[..2], id),
            Some(("eu-west-1", RegionSource::ZoneLabel))
        );
        assert_eq!(
            found(&labels[..1], id),
            Some(("ap-south-1", RegionSource::ZoneLabel))
        );
        assert_eq!(
            found(&[(REGION_LABEL, "not a region")], id),
            Some(("us-west-1", RegionSource::ProviderId))
        );
        assert_eq!(found(&[], None), Some(("us-east-2", RegionSource::Name)));
        assert_eq!(region("mi-0a1b", [], None), None);
    }
}
