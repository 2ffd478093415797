//! Reading a host name back: which service, which kind of endpoint, which region.

use super::{AWS_GLOBAL, GLOBAL_SIGNING_REGION, Membership, PARTITIONS, Partition, is_host_label};

/// The AWS service behind a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// Security Token Service.
    Sts,
    /// Simple Storage Service, directory buckets and access points included.
    S3,
    /// Any other, by the label before the region (`ec2`, `oidc.eks`, …).
    Other(String),
}

/// The kind of endpoint that a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostClass {
    /// With a region in its name.
    Regional,
    /// Without a region in its name.
    Global,
    /// S3 Transfer Acceleration.
    Accelerate,
    /// An S3 access point.
    AccessPoint,
    /// An S3 multi-region access point.
    MultiRegionAccessPoint,
    /// An S3 directory bucket.
    Express,
    /// S3 static website hosting, which takes no signatures.
    Website,
    /// S3 Object Lambda.
    ObjectLambda,
    /// S3 on Outposts.
    Outposts,
}

impl HostClass {
    /// The word used in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regional => "regional",
            Self::Global => "global",
            Self::Accelerate => "accelerate",
            Self::AccessPoint => "access-point",
            Self::MultiRegionAccessPoint => "multi-region-access-point",
            Self::Express => "express",
            Self::Website => "website",
            Self::ObjectLambda => "object-lambda",
            Self::Outposts => "outposts",
        }
    }
}

/// What a host name of AWS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsHost {
    /// The service.
    pub service: Service,
    /// The kind of endpoint.
    pub class: HostClass,
    /// The region in the name.
    pub region: Option<String>,
    /// The partition, by region, else by suffix.
    pub partition: &'static Partition,
    /// Whether it is a FIPS endpoint by name. (GovCloud's ordinary STS hosts are FIPS ones too.)
    pub fips: bool,
    /// Whether it answers on IPv6 as well.
    pub dual_stack: bool,
    /// The interface endpoint (`vpce-…`) when the host belongs to one.
    pub vpc_endpoint: Option<String>,
    /// What stands before the service: a bucket, an access point.
    pub resource: Option<String>,
}

impl AwsHost {
    /// Reads a host, port and final dot allowed. `None` when it is not a name under AWS's suffixes, or its region
    /// belongs under another suffix.
    #[must_use]
    pub fn parse(host: &str) -> Option<Self> {
        let host = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) {
                name
            } else {
                host
            }
        });
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.is_empty() || host.len() > 253 {
            return None;
        }
        let host = host.to_ascii_lowercase();
        let (rest, suffix_owner, api_suffix) = split_suffix(&host)?;
        let labels: Vec<&str> = rest.split('.').collect();
        if labels.iter().any(|l| l.is_empty()) {
            return None;
        }
        let (labels, in_vpc) = match labels.split_last() {
            Some((&"vpce", before)) => (before, true),
            _ => (labels.as_slice(), false),
        };
        let (region, before) = split_region(labels);
        let partition = match region {
            Some(region) => {
                let (partition, membership) = Partition::locate(region);
                let suffix = |p: &'static Partition| {
                    if api_suffix {
                        p.dual_stack_dns_suffix()
                    } else {
                        p.dns_suffix()
                    }
                };
                if membership == Membership::Assumed {
                    suffix_owner
                } else if suffix(partition) == suffix(suffix_owner) {
                    partition
                } else {
                    return None;
                }
            }
            None => suffix_owner,
        };
        let mut parsed = classify(before, region)?;
        parsed.partition = partition;
        parsed.dual_stack |= api_suffix;
        parsed.region = parsed.region.or_else(|| region.map(str::to_owned));
        if in_vpc {
            parsed.take_vpc_endpoint()?;
        }
        (parsed.service != Service::Sts || parsed.is_sts_name(api_suffix)).then_some(parsed)
    }

    /// The only region which may sign for this host, when the name alone decides it.
    ///
    /// Hosts without region take `us-east-1` for STS; for S3 the bucket's own region decides.
    #[must_use]
    pub fn signing_region(&self) -> Option<&str> {
        match (&self.service, self.class, self.region.as_deref()) {
            (Service::Sts, HostClass::Global, _) => Some(GLOBAL_SIGNING_REGION),
            (_, _, region) => region,
        }
    }

    /// `sts.amazonaws.com` is the only STS host without region, and there is none with a resource before it.
    fn is_sts_name(&self, api_suffix: bool) -> bool {
        let real_global =
            self.partition.has_global_sts() && !api_suffix && !self.fips && self.vpc_endpoint.is_none();
        self.resource.is_none() && (self.class == HostClass::Regional || real_global)
    }

    /// `[BUCKET.]{bucket|accesspoint|control}.vpce-ID.s3…` and `vpce-ID.sts…`: moves the endpoint's id out of the
    /// resource.
    fn take_vpc_endpoint(&mut self) -> Option<()> {
        let resource = self.resource.take()?;
        let (before, id) = resource
            .rsplit_once('.')
            .map_or((None, resource.as_str()), |(b, id)| (Some(b), id));
        if !id.starts_with("vpce-") {
            return None;
        }
        self.vpc_endpoint = Some(id.to_owned());
        if let Some(before) = before {
            let (name, kind) = before
                .rsplit_once('.')
                .map_or((None, before), |(n, k)| (Some(n), k));
            match (kind, name) {
                ("bucket", name) => self.resource = name.map(str::to_owned),
                ("accesspoint", Some(name)) => {
                    self.class = HostClass::AccessPoint;
                    self.resource = Some(name.to_owned());
                }
                ("control", _) => {}
                _ => return None,
            }
        }
        Some(())
    }
}

/// The name without AWS's suffix, whose suffix it was, and whether it was the dual-stack one.
fn split_suffix(host: &str) -> Option<(&str, &'static Partition, bool)> {
    PARTITIONS.iter().find_map(|partition| {
        [
            (partition.dns_suffix(), false),
            (partition.dual_stack_dns_suffix(), true),
        ]
        .into_iter()
        .find_map(|(suffix, api)| {
            let rest = host.strip_suffix(suffix)?.strip_suffix('.')?;
            Some((rest, partition, api))
        })
    })
}

/// The region, if the last label is one, and the labels before it.
fn split_region<'a, 'b>(labels: &'b [&'a str]) -> (Option<&'a str>, &'b [&'a str]) {
    let Some((&last, before)) = labels.split_last() else {
        return (None, labels);
    };
    let known = Partition::locate(last).1 != Membership::Assumed;
    // A region that this build cannot know is still seen after the label of the service.
    let after_service =
        matches!(before.last(), Some(&("sts" | "sts-fips"))) && last != AWS_GLOBAL && is_host_label(last);
    if !before.is_empty() && (known || after_service) {
        (Some(last), before)
    } else {
        (None, labels)
    }
}

/// What the labels before the region say. The partition is filled in by the caller.
fn classify(labels: &[&str], region: Option<&str>) -> Option<AwsHost> {
    let (&last, before) = labels.split_last()?;
    let (service, before, dual_stack) = match (last, before.split_last()) {
        ("dualstack", Some((&service, before))) => (service, before, true),
        _ => (last, before, false),
    };
    let resource = (!before.is_empty()).then(|| before.join("."));
    let mut host = AwsHost {
        service: Service::S3,
        class: if region.is_some() {
            HostClass::Regional
        } else {
            HostClass::Global
        },
        region: None,
        partition: &PARTITIONS[0],
        fips: false,
        dual_stack,
        vpc_endpoint: None,
        resource,
    };
    match service {
        "sts" => host.service = Service::Sts,
        "sts-fips" => (host.service, host.fips) = (Service::Sts, true),
        "s3" => {}
        "s3-fips" => host.fips = true,
        "s3-external-1" if region.is_none() => {
            (host.class, host.region) = (HostClass::Regional, Some(GLOBAL_SIGNING_REGION.to_owned()));
        }
        "s3-accelerate" => host.class = HostClass::Accelerate,
        "s3-accesspoint" => host.class = HostClass::AccessPoint,
        "s3-accesspoint-fips" => (host.class, host.fips) = (HostClass::AccessPoint, true),
        "s3-global" if before.last() == Some(&"accesspoint") => {
            host.class = HostClass::MultiRegionAccessPoint;
            host.resource = Some(before[..before.len() - 1].join(".")).filter(|r| !r.is_empty());
        }
        "s3-object-lambda" => host.class = HostClass::ObjectLambda,
        "s3-object-lambda-fips" => (host.class, host.fips) = (HostClass::ObjectLambda, true),
        "s3-outposts" => host.class = HostClass::Outposts,
        "s3-website" => host.class = HostClass::Website,
        _ => {
            if let Some(zone) = service.strip_prefix("s3express-") {
                host.class = HostClass::Express;
                host.fips = zone.starts_with("fips-") || zone.ends_with("-fips");
            } else if let (None, Some(region)) = (region, old_dash_region(service, "s3-website-")) {
                (host.class, host.region) = (HostClass::Website, Some(region.to_owned()));
            } else if let (None, Some(region)) = (region, old_dash_region(service, "s3-")) {
                (host.class, host.region) = (HostClass::Regional, Some(region.to_owned()));
            } else {
                host.service = Service::Other(labels.join("."));
                host.resource = None;
                host.dual_stack = false;
            }
        }
    }
    Some(host)
}

/// The region in names of the oldest form, `s3-us-west-2.amazonaws.com`.
fn old_dash_region<'a>(label: &'a str, prefix: &str) -> Option<&'a str> {
    label
        .strip_prefix(prefix)
        .filter(|region| Partition::locate(region).1 == Membership::Listed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{S3HostOptions, all_regions, s3_host, sts_host};
    use super::*;

    /// One line per host: service class region partition flags.
    fn read(host: &str) -> String {
        let Some(h) = AwsHost::parse(host) else {
            return "not AWS".to_owned();
        };
        let service = match &h.service {
            Service::Sts => "sts",
            Service::S3 => "s3",
            Service::Other(name) => name,
        };
        let mut line = format!(
            "{service} {} {} {}",
            h.class.as_str(),
            h.region.as_deref().unwrap_or("-"),
            h.partition.name()
        );
        for (flag, word) in [(h.fips, " fips"), (h.dual_stack, " dualstack")] {
            if flag {
                line.push_str(word);
            }
        }
        if let Some(id) = &h.vpc_endpoint {
            line.push_str(&format!(" {id}"));
        }
        if let Some(resource) = &h.resource {
            line.push_str(&format!(" [{resource}]"));
        }
        line
    }

    #[test]
    fn hosts_are_read_back() {
        for (host, expected) in [
            ("sts.amazonaws.com", "sts global - aws"),
            ("STS.amazonaws.com.:443", "sts global - aws"),
            ("sts.us-west-2.amazonaws.com", "sts regional us-west-2 aws"),
            (
                "sts.us-gov-west-1.amazonaws.com",
                "sts regional us-gov-west-1 aws-us-gov",
            ),
            (
                "sts.cn-north-1.amazonaws.com.cn",
                "sts regional cn-north-1 aws-cn",
            ),
            (
                "sts-fips.us-east-1.amazonaws.com",
                "sts regional us-east-1 aws fips",
            ),
            ("sts.us-west-2.api.aws", "sts regional us-west-2 aws dualstack"),
            (
                "sts-fips.us-west-2.api.aws",
                "sts regional us-west-2 aws fips dualstack",
            ),
            ("sts.xx-foo-1.amazonaws.com", "sts regional xx-foo-1 aws"),
            (
                "vpce-0a1b-x9.sts.us-west-2.vpce.amazonaws.com",
                "sts regional us-west-2 aws vpce-0a1b-x9",
            ),
            (
                "vpce-0a1b-x9-us-west-2a.sts.us-west-2.vpce.amazonaws.com",
                "sts regional us-west-2 aws vpce-0a1b-x9-us-west-2a",
            ),
            ("sts.cn-north-1.amazonaws.com", "not AWS"),
            ("sts.amazonaws.com.cn", "not AWS"),
            ("foo.sts.us-west-2.amazonaws.com", "not AWS"),
            ("sts.example.com", "not AWS"),
            ("amazonaws.com", "not AWS"),
            ("evilamazonaws.com", "not AWS"),
            ("", "not AWS"),
            ("s3.amazonaws.com", "s3 global - aws"),
            ("bucket.s3.amazonaws.com", "s3 global - aws [bucket]"),
            (
                "bucket.s3.us-west-2.amazonaws.com",
                "s3 regional us-west-2 aws [bucket]",
            ),
            ("s3.s3.us-west-2.amazonaws.com", "s3 regional us-west-2 aws [s3]"),
            (
                "a.b.c.s3.us-west-2.amazonaws.com",
                "s3 regional us-west-2 aws [a.b.c]",
            ),
            (
                "bucket.s3-us-west-2.amazonaws.com",
                "s3 regional us-west-2 aws [bucket]",
            ),
            (
                "bucket.s3.dualstack.us-west-2.amazonaws.com",
                "s3 regional us-west-2 aws dualstack [bucket]",
            ),
            (
                "bucket.s3-fips.us-west-2.amazonaws.com",
                "s3 regional us-west-2 aws fips [bucket]",
            ),
            (
                "bucket.s3-accelerate.amazonaws.com",
                "s3 accelerate - aws [bucket]",
            ),
            (
                "bucket.s3-accelerate.dualstack.amazonaws.com",
                "s3 accelerate - aws dualstack [bucket]",
            ),
            ("s3-external-1.amazonaws.com", "s3 regional us-east-1 aws"),
            (
                "ap1-111122223333.s3-accesspoint.us-west-2.amazonaws.com",
                "s3 access-point us-west-2 aws [ap1-111122223333]",
            ),
            (
                "mfz.mrap.accesspoint.s3-global.amazonaws.com",
                "s3 multi-region-access-point - aws [mfz.mrap]",
            ),
            (
                "b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com",
                "s3 express us-west-2 aws [b--usw2-az1--x-s3]",
            ),
            (
                "bucket.s3-website-us-west-2.amazonaws.com",
                "s3 website us-west-2 aws [bucket]",
            ),
            (
                "bucket.s3-website.eu-central-1.amazonaws.com",
                "s3 website eu-central-1 aws [bucket]",
            ),
            (
                "bkt.bucket.vpce-0a1b-x9.s3.us-west-2.vpce.amazonaws.com",
                "s3 regional us-west-2 aws vpce-0a1b-x9 [bkt]",
            ),
            (
                "ap1-1.accesspoint.vpce-0a1b-x9.s3.us-west-2.vpce.amazonaws.com",
                "s3 access-point us-west-2 aws vpce-0a1b-x9 [ap1-1]",
            ),
            (
                "oidc.eks.us-west-2.amazonaws.com",
                "oidc.eks regional us-west-2 aws",
            ),
            ("iam.amazonaws.com", "iam global - aws"),
            (
                "ec2.us-iso-east-1.c2s.ic.gov",
                "ec2 regional us-iso-east-1 aws-iso",
            ),
        ] {
            assert_eq!(read(host), expected, "{host}");
        }
    }

    #[test]
    fn every_host_that_we_build_is_read_back_as_what_it_is() {
        for region in all_regions() {
            for (fips, dual_stack) in [(false, false), (true, false), (false, true), (true, true)] {
                let host = sts_host(region, fips, dual_stack);
                let read = AwsHost::parse(&host).unwrap();
                assert_eq!(read.service, Service::Sts, "{host}");
                assert_eq!(
                    (read.region.as_deref(), read.dual_stack),
                    (Some(region), dual_stack),
                    "{host}"
                );
                assert_eq!(read.signing_region(), Some(region));
                assert_eq!(read.partition, Partition::of_region(region), "{host}");
                assert!(read.fips == fips || region.starts_with("us-gov"), "{host}");

                let options = S3HostOptions {
                    fips,
                    dual_stack,
                    ..S3HostOptions::default()
                };
                if let Ok(built) = s3_host(region, "bucket", options) {
                    let read = AwsHost::parse(&built.host).unwrap();
                    assert_eq!((read.fips, read.dual_stack), (fips, dual_stack), "{}", built.host);
                    assert_eq!(read.resource.as_deref(), Some("bucket"));
                    assert_eq!(read.region.as_deref(), Some(region));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn reading_any_text_never_panics(host in "\\PC*") {
            let _ = AwsHost::parse(&host);
        }

        #[test]
        fn reading_any_name_under_a_suffix_never_panics(rest in "[a-z0-9.-]{0,80}", i in 0usize..8, api: bool) {
            let partition = &PARTITIONS[i];
            let suffix = if api { partition.dual_stack_dns_suffix() } else { partition.dns_suffix() };
            let _ = AwsHost::parse(&format!("{rest}.{suffix}"));
            let _ = AwsHost::parse(&format!("{rest}.s3.us-west-2.vpce.{suffix}"));
        }
    }
}
