//! The host of S3 for a bucket: the part of AWS's rule set that presigned URLs meet.

use super::{AWS_GLOBAL, GLOBAL_SIGNING_REGION, Partition};

/// Where a bucket's name goes in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Addressing {
    /// In the host: `BUCKET.s3…`.
    Virtual,
    /// In the path: `s3…/BUCKET`.
    Path,
    /// The host of an access point: `NAME-ACCOUNT.s3-accesspoint…`.
    AccessPoint,
    /// The host of a multi-region access point; such requests are signed with SigV4a.
    MultiRegionAccessPoint,
    /// The host of a directory bucket: `BUCKET.s3express-ZONE…`.
    Express,
}

/// What the rule set is asked, besides bucket and region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct S3HostOptions {
    /// The rule set's `UseGlobalEndpoint`: drops the region, in `us-east-1` only.
    pub use_global: bool,
    /// Whether FIPS endpoints were asked for.
    pub fips: bool,
    /// Whether endpoints with IPv6 were asked for.
    pub dual_stack: bool,
    /// Whether Transfer Acceleration was asked for.
    pub accelerate: bool,
    /// Whether the bucket must stay out of the host.
    pub path_style: bool,
}

/// Where requests for a bucket go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Host {
    /// The host.
    pub host: String,
    /// What stands before the key in the path: empty, or `/BUCKET`.
    pub path_prefix: String,
    /// Where the bucket's name went.
    pub addressing: S3Addressing,
    /// The region that signs; `*` for multi-region access points.
    pub signing_region: String,
}

/// Combinations that S3's rule set refuses, with its own words as text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum S3RuleError {
    /// Acceleration needs the bucket in the host.
    #[error("Path-style addressing cannot be used with S3 Accelerate")]
    PathWithAccelerate,
    /// Access points are never in the path.
    #[error("Path-style addressing cannot be used with ARN buckets")]
    PathWithArn,
    /// Acceleration has no FIPS endpoints.
    #[error("Accelerate cannot be used with FIPS")]
    AccelerateWithFips,
    /// China has no acceleration; the rule set refuses nowhere else.
    #[error("S3 Accelerate cannot be used in this region")]
    AccelerateInChina,
    /// Access points cannot be accelerated.
    #[error("Access Points do not support S3 Accelerate")]
    AccessPointWithAccelerate,
    /// Directory buckets cannot be accelerated.
    #[error("S3Express does not support S3 Accelerate.")]
    ExpressWithAccelerate,
    /// China has no FIPS endpoints of S3.
    #[error("Partition does not support FIPS")]
    FipsInChina,
    /// Multi-region access points know neither FIPS, IPv6 nor acceleration.
    #[error("S3 MRAP does not support {0}")]
    MultiRegion(&'static str),
    /// A bucket's ARN that names no access point.
    #[error("Invalid ARN: `{0}` is not the ARN of an S3 access point")]
    NotAnAccessPoint(String),
    /// The ARN is of another partition than the client's region.
    #[error("Client was configured for partition `{client}` but ARN (`{arn}`) has `{partition}`")]
    ForeignPartition {
        /// The client's partition.
        client: &'static str,
        /// The ARN.
        arn: String,
        /// The ARN's partition.
        partition: &'static str,
    },
    /// The multi-region access point is of another partition than the client's region.
    #[error("Client was configured for partition `{client}` but bucket referred to partition `{partition}`")]
    ForeignMultiRegion {
        /// The client's partition.
        client: &'static str,
        /// The ARN's partition.
        partition: String,
    },
    /// The bucket's name cannot be a directory bucket's although it ends like one.
    #[error("Unrecognized S3Express bucket name format.")]
    ExpressName,
}

/// Whether a bucket's name can stand in a host under a wildcard certificate: DNS-safe and without dots.
#[must_use]
pub fn is_virtual_hostable(bucket: &str) -> bool {
    let bytes = bucket.as_bytes();
    let alphanumeric = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&bytes.len())
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes
            .iter()
            .all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The zone id in the name of a directory bucket or of its access point (`…--usw2-az1--x-s3`).
#[must_use]
pub fn express_zone(bucket: &str) -> Option<&str> {
    let stem = bucket
        .strip_suffix("--x-s3")
        .or_else(|| bucket.strip_suffix("--xa-s3"))?;
    let (name, zone) = stem.rsplit_once("--")?;
    (!name.is_empty() && zone.contains("-az")).then_some(zone)
}

/// Where S3's rule set sends requests for `bucket` from a client in `region`.
///
/// # Errors
///
/// The combinations that the rule set refuses, with its own words.
pub fn s3_host(region: &str, bucket: &str, options: S3HostOptions) -> Result<S3Host, S3RuleError> {
    let S3HostOptions {
        use_global,
        fips,
        dual_stack,
        accelerate,
        path_style,
    } = options;
    let partition = Partition::of_region(region);
    let suffix = partition.dns_suffix();
    if accelerate && fips {
        return Err(S3RuleError::AccelerateWithFips);
    }
    if fips && partition.name() == "aws-cn" {
        return Err(S3RuleError::FipsInChina);
    }
    if bucket.starts_with("arn:") {
        return access_point(region, bucket, options);
    }
    if bucket.ends_with("--x-s3") || bucket.ends_with("--xa-s3") {
        if accelerate {
            return Err(S3RuleError::ExpressWithAccelerate);
        }
        let zone = express_zone(bucket).ok_or(S3RuleError::ExpressName)?;
        let dash_fips = if fips { "-fips" } else { "" };
        let dual = if dual_stack { "dualstack." } else { "" };
        return Ok(S3Host {
            host: format!("{bucket}.s3express{dash_fips}-{zone}.{dual}{region}.{suffix}"),
            path_prefix: String::new(),
            addressing: S3Addressing::Express,
            signing_region: region.to_owned(),
        });
    }
    let in_host = !path_style && is_virtual_hostable(bucket);
    if accelerate {
        if !in_host {
            return Err(S3RuleError::PathWithAccelerate);
        }
        if partition.name() == "aws-cn" {
            return Err(S3RuleError::AccelerateInChina);
        }
    }
    let real = if region == AWS_GLOBAL {
        GLOBAL_SIGNING_REGION
    } else {
        region
    };
    let is_global = region == AWS_GLOBAL || (use_global && region == GLOBAL_SIGNING_REGION);
    let service = match (accelerate, fips, dual_stack) {
        (true, _, false) => format!("s3-accelerate.{suffix}"),
        // A quirk of the rule set: no such host exists.
        (true, _, true) if region == AWS_GLOBAL => format!("s3-accelerate.dualstack.{real}.{suffix}"),
        (true, _, true) => format!("s3-accelerate.dualstack.{suffix}"),
        (false, true, false) => format!("s3-fips.{real}.{suffix}"),
        (false, true, true) => format!("s3-fips.dualstack.{real}.{suffix}"),
        (false, false, true) => format!("s3.dualstack.{real}.{suffix}"),
        (false, false, false) if is_global => format!("s3.{suffix}"),
        (false, false, false) => format!("s3.{real}.{suffix}"),
    };
    Ok(if in_host {
        S3Host {
            host: format!("{bucket}.{service}"),
            path_prefix: String::new(),
            addressing: S3Addressing::Virtual,
            signing_region: real.to_owned(),
        }
    } else {
        S3Host {
            host: service,
            path_prefix: format!("/{bucket}"),
            addressing: S3Addressing::Path,
            signing_region: real.to_owned(),
        }
    })
}

/// `arn:PARTITION:s3:[REGION]:ACCOUNT:accesspoint/NAME` (or `accesspoint:NAME`).
fn access_point(client_region: &str, arn: &str, options: S3HostOptions) -> Result<S3Host, S3RuleError> {
    let S3HostOptions {
        fips,
        dual_stack,
        accelerate,
        path_style,
        ..
    } = options;
    if path_style {
        return Err(S3RuleError::PathWithArn);
    }
    let bad = || S3RuleError::NotAnAccessPoint(arn.to_owned());
    let mut parts = arn.splitn(6, ':').skip(1);
    let (Some(partition), Some("s3"), Some(region), Some(account), Some(resource)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(bad());
    };
    let name = resource
        .strip_prefix("accesspoint")
        .and_then(|r| r.strip_prefix(['/', ':']))
        .ok_or_else(bad)?;
    let client = Partition::of_region(client_region);
    let label = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if region.is_empty() {
        if !name.split('.').all(label) {
            return Err(bad());
        }
        return match (dual_stack, fips, accelerate) {
            (true, _, _) => Err(S3RuleError::MultiRegion("dual-stack")),
            (_, true, _) => Err(S3RuleError::MultiRegion("FIPS")),
            (_, _, true) => Err(S3RuleError::MultiRegion("S3 Accelerate")),
            _ if partition != client.name() => Err(S3RuleError::ForeignMultiRegion {
                client: client.name(),
                partition: partition.to_owned(),
            }),
            _ => Ok(S3Host {
                host: format!("{name}.accesspoint.s3-global.{}", client.dns_suffix()),
                path_prefix: String::new(),
                addressing: S3Addressing::MultiRegionAccessPoint,
                signing_region: "*".to_owned(),
            }),
        };
    }
    if !label(name) || !label(account) || !label(region) {
        return Err(bad());
    }
    // The rule set goes by the region in the ARN, not by its second field.
    let owner = Partition::of_region(region);
    if owner != client {
        return Err(S3RuleError::ForeignPartition {
            client: client.name(),
            arn: arn.to_owned(),
            partition: owner.name(),
        });
    }
    let suffix = owner.dns_suffix();
    if accelerate {
        return Err(S3RuleError::AccessPointWithAccelerate);
    }
    let dash_fips = if fips { "-fips" } else { "" };
    let dual = if dual_stack { "dualstack." } else { "" };
    Ok(S3Host {
        host: format!("{name}-{account}.s3-accesspoint{dash_fips}.{dual}{region}.{suffix}"),
        path_prefix: String::new(),
        addressing: S3Addressing::AccessPoint,
        signing_region: region.to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn url(region: &str, bucket: &str, options: S3HostOptions) -> String {
        match s3_host(region, bucket, options) {
            Ok(S3Host {
                host,
                path_prefix,
                signing_region,
                ..
            }) => format!("{host}{path_prefix} {signing_region}"),
            Err(error) => error.to_string(),
        }
    }

    const PLAIN: S3HostOptions = S3HostOptions {
        use_global: false,
        fips: false,
        dual_stack: false,
        accelerate: false,
        path_style: false,
    };

    #[test]
    fn ordinary_buckets_stand_in_the_host_of_their_region() {
        assert_eq!(
            url("us-west-2", "bucket", PLAIN),
            "bucket.s3.us-west-2.amazonaws.com us-west-2"
        );
        assert_eq!(
            url("us-east-1", "bucket", PLAIN),
            "bucket.s3.us-east-1.amazonaws.com us-east-1"
        );
        assert_eq!(
            url("cn-north-1", "bucket", PLAIN),
            "bucket.s3.cn-north-1.amazonaws.com.cn cn-north-1"
        );
        assert_eq!(
            url("aws-global", "bucket", PLAIN),
            "bucket.s3.amazonaws.com us-east-1"
        );
    }

    #[test]
    fn use_global_drops_the_region_of_us_east_1_only() {
        let global = S3HostOptions {
            use_global: true,
            ..PLAIN
        };
        assert_eq!(
            url("us-east-1", "bucket", global),
            "bucket.s3.amazonaws.com us-east-1"
        );
        assert_eq!(
            url("us-west-2", "bucket", global),
            "bucket.s3.us-west-2.amazonaws.com us-west-2"
        );
    }

    #[test]
    fn names_that_no_certificate_covers_go_into_the_path() {
        assert_eq!(
            url("us-west-2", "my.dotted.bucket", PLAIN),
            "s3.us-west-2.amazonaws.com/my.dotted.bucket us-west-2"
        );
        assert_eq!(
            url("aws-global", "UPPER", PLAIN),
            "s3.amazonaws.com/UPPER us-east-1"
        );
        assert_eq!(
            url("us-west-2", "ab", PLAIN),
            "s3.us-west-2.amazonaws.com/ab us-west-2"
        );
    }

    #[test]
    fn variants_of_the_host() {
        let dual_stack = S3HostOptions {
            dual_stack: true,
            ..PLAIN
        };
        let accelerate = S3HostOptions {
            accelerate: true,
            ..PLAIN
        };
        let fips = S3HostOptions { fips: true, ..PLAIN };
        assert_eq!(
            url("us-west-2", "bucket", dual_stack),
            "bucket.s3.dualstack.us-west-2.amazonaws.com us-west-2"
        );
        assert_eq!(
            url("us-west-2", "bucket", accelerate),
            "bucket.s3-accelerate.amazonaws.com us-west-2"
        );
        assert_eq!(
            url("us-west-2", "bucket", fips),
            "bucket.s3-fips.us-west-2.amazonaws.com us-west-2"
        );
        assert_eq!(
            url("us-west-2", "my.bucket", accelerate),
            "Path-style addressing cannot be used with S3 Accelerate"
        );
        assert_eq!(
            url("cn-north-1", "bucket", accelerate),
            "S3 Accelerate cannot be used in this region"
        );
        assert_eq!(
            url("cn-north-1", "bucket", fips),
            "Partition does not support FIPS"
        );
    }

    #[test]
    fn access_points_and_directory_buckets_have_hosts_of_their_own() {
        let arn = "arn:aws:s3:us-west-2:111122223333:accesspoint/ap1";
        assert_eq!(
            url("us-west-2", arn, PLAIN),
            "ap1-111122223333.s3-accesspoint.us-west-2.amazonaws.com us-west-2"
        );
        assert_eq!(
            url(
                "us-east-1",
                "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap",
                PLAIN
            ),
            "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com *"
        );
        assert_eq!(
            url("us-west-2", "data--usw2-az1--x-s3", PLAIN),
            "data--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com us-west-2"
        );
        assert_eq!(
            url("cn-north-1", arn, PLAIN),
            format!("Client was configured for partition `aws-cn` but ARN (`{arn}`) has `aws`")
        );
        assert!(url("us-west-2", "arn:aws:sqs:us-west-2:1:queue", PLAIN).starts_with("Invalid ARN"));
        assert_eq!(
            url("us-west-2", "data--x-s3", PLAIN),
            "Unrecognized S3Express bucket name format."
        );
    }
}
