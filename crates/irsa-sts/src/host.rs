//! Which service, endpoint class and region a host name addresses; only names that exist on AWS do.

use irsa_core::partition::{self, AwsHost, HostClass, Membership, Partition};

/// The services played here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Security Token Service.
    Sts,
    /// Simple Storage Service.
    S3,
}

impl Service {
    /// CloudTrail's `eventSource`.
    #[must_use]
    pub fn event_source(self) -> &'static str {
        match self {
            Self::Sts => "sts.amazonaws.com",
            Self::S3 => "s3.amazonaws.com",
        }
    }

    /// The service name in a credential scope.
    #[must_use]
    pub fn signing_name(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::S3 => "s3",
        }
    }
}

/// The class of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointClass {
    /// `sts.REGION.api.aws`, `s3.dualstack.REGION.amazonaws.com`.
    DualStack,
    /// `sts-fips.REGION.amazonaws.com` and its like.
    Fips,
    /// Without region: `sts.amazonaws.com`, `s3.amazonaws.com`.
    Global,
    /// `sts.REGION.amazonaws.com`.
    Regional,
}

impl EndpointClass {
    /// The word of CloudTrail's `endpointType`, which knows two.
    #[must_use]
    pub fn endpoint_type(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::DualStack | Self::Fips | Self::Regional => "regional",
        }
    }
}

/// An endpoint that is played here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its service.
    pub service: Service,
    /// Its class.
    pub class: EndpointClass,
    /// The region in its name; for the global endpoint of STS `us-east-1`, for that of S3 the same: the region whose
    /// trail and credential scope it has.
    pub region: String,
    /// What the name says in full.
    pub name: AwsHost,
}

impl Endpoint {
    /// The endpoint of a host (port and case do not matter), or `None` for a name that is no STS or S3 endpoint or
    /// that AWS does not have.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let name = AwsHost::parse(host)?;
        let service = match name.service {
            partition::Service::Sts if sts_exists(&name) => Service::Sts,
            partition::Service::S3 if is_known_region(name.region.as_deref()) => Service::S3,
            _ => return None,
        };
        let class = if name.class == HostClass::Global {
            EndpointClass::Global
        } else if name.fips {
            EndpointClass::Fips
        } else if name.dual_stack {
            EndpointClass::DualStack
        } else {
            EndpointClass::Regional
        };
        let region = name
            .region
            .clone()
            .unwrap_or_else(|| name.partition.implicit_global_region().to_owned());
        Some(Self {
            service,
            class,
            region,
            name,
        })
    }

    /// The endpoint in words, for explanations.
    pub(crate) fn host_shown(&self) -> &'static str {
        match self.class {
            EndpointClass::DualStack => "this dual-stack endpoint",
            EndpointClass::Fips => "this FIPS endpoint",
            EndpointClass::Global => "the global endpoint",
            EndpointClass::Regional => "this regional endpoint",
        }
    }

    /// The region that serves a call: for the global endpoint of STS the caller's own region if that is enabled by
    /// default (as AWS does since 2025 where the name was resolved inside the VPC), else `us-east-1`.
    #[must_use]
    pub fn serving_region<'a>(&'a self, caller_region: Option<&'a str>) -> &'a str {
        match caller_region {
            Some(region)
                if self.class == EndpointClass::Global
                    && self.service == Service::Sts
                    && Partition::of_region(region).name() == "aws"
                    && matches!(
                        partition::activation(region),
                        partition::Activation::Always | partition::Activation::Default
                    ) =>
            {
                region
            }
            _ => &self.region,
        }
    }
}

/// STS names that resolve on AWS: SDKs build more.
fn sts_exists(name: &AwsHost) -> bool {
    let Some(region) = name.region.as_deref() else {
        return true;
    };
    if !is_known_region(Some(region)) {
        return false;
    }
    let partition = name.partition.name();
    let fips = !name.fips || (partition == "aws" && partition::sts_fips_exists(region));
    let dual_stack = !name.dual_stack || matches!(partition, "aws" | "aws-cn" | "aws-us-gov");
    fips && dual_stack
}

fn is_known_region(region: Option<&str>) -> bool {
    region.is_none_or(|region| {
        let (partition, membership) = Partition::locate(region);
        membership == Membership::Listed && partition.pseudo_region() != Some(region)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn sts(host: &str) -> Option<(EndpointClass, String)> {
        Endpoint::of_host(host)
            .filter(|e| e.service == Service::Sts)
            .map(|e| (e.class, e.region))
    }

    #[test]
    fn every_region_has_a_regional_endpoint() {
        for region in partition::all_regions() {
            let host = partition::sts_host(region, false, false);
            assert_eq!(
                sts(&host),
                Some((EndpointClass::Regional, region.to_owned())),
                "{host}"
            );
        }
    }

    #[test]
    fn the_global_endpoint_belongs_to_us_east_1() {
        assert_eq!(
            sts("STS.amazonaws.com:443"),
            Some((EndpointClass::Global, "us-east-1".to_owned()))
        );
    }

    #[test]
    fn fips_and_dual_stack_names_exist_where_aws_has_them() {
        assert_eq!(
            sts("sts-fips.us-west-2.amazonaws.com").unwrap().0,
            EndpointClass::Fips
        );
        assert_eq!(sts("sts-fips.us-west-2.api.aws").unwrap().0, EndpointClass::Fips);
        assert_eq!(
            sts("sts.eu-central-1.api.aws").unwrap().0,
            EndpointClass::DualStack
        );
        assert_eq!(
            sts("sts.cn-north-1.api.amazonwebservices.com.cn").unwrap().0,
            EndpointClass::DualStack
        );
        assert_eq!(sts("sts-fips.eu-central-1.amazonaws.com"), None);
        assert_eq!(sts("sts-fips.us-gov-west-1.amazonaws.com"), None);
        assert_eq!(sts("sts.us-iso-east-1.api.aws.ic.gov"), None);
    }

    #[test]
    fn names_that_resolve_nowhere_are_not_played() {
        for host in [
            "sts.aws-cn-global.amazonaws.com.cn",
            "sts.xx-foo-1.amazonaws.com",
            "sts.amazonaws.com.cn",
            "sts.us-west-2.amazonaws.com.evil.example",
            "ec2.us-west-2.amazonaws.com",
            "localhost",
            "",
        ] {
            assert_eq!(Endpoint::of_host(host), None, "{host}");
        }
    }

    #[test]
    fn the_global_endpoint_is_served_locally_only_in_regions_enabled_by_default() {
        let global = Endpoint::of_host("sts.amazonaws.com").unwrap();
        assert_eq!(global.serving_region(Some("us-west-2")), "us-west-2");
        assert_eq!(global.serving_region(Some("ap-northeast-2")), "ap-northeast-2");
        assert_eq!(global.serving_region(Some("ap-east-1")), "us-east-1");
        assert_eq!(global.serving_region(Some("cn-north-1")), "us-east-1");
        assert_eq!(global.serving_region(None), "us-east-1");
        let regional = Endpoint::of_host("sts.eu-west-1.amazonaws.com").unwrap();
        assert_eq!(regional.serving_region(Some("us-west-2")), "eu-west-1");
    }
}
