//! Which region serves a request, and what happens when the bucket is in another one.

use http::StatusCode;
use irsa_core::partition::{self, Activation, HostClass};

use super::error::S3Error;
use super::request::Addressing;
use crate::host::Endpoint;

/// Regions that still take signature version 2: those from before 2014.
const VERSION_2_REGIONS: [&str; 8] = [
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "eu-west-1",
    "sa-east-1",
    "us-east-1",
    "us-west-1",
    "us-west-2",
];

/// The region that serves a request.
///
/// DNS leads `BUCKET.s3.amazonaws.com` to the bucket's region; every other name leads where it says, and names
/// without region lead to `us-east-1`.
pub(crate) fn serving<'a>(
    endpoint: &'a Endpoint,
    addressing: Addressing,
    bucket_region: Option<&'a str>,
) -> &'a str {
    let by_bucket = matches!(endpoint.name.class, HostClass::Global | HostClass::Accelerate)
        && addressing == Addressing::Virtual;
    match bucket_region {
        // DNS of the global name knows no region that must be enabled first.
        Some(region) if by_bucket && (has_global_dns(region) || is_accelerate(endpoint)) => region,
        _ => &endpoint.region,
    }
}

/// What a region answers for a bucket that is elsewhere.
pub(crate) fn elsewhere(
    endpoint: &Endpoint,
    addressing: Addressing,
    bucket: &str,
    bucket_region: &str,
) -> S3Error {
    if !has_global_dns(bucket_region) {
        // Regions launched after 2019-03-20 are not redirected to.
        return S3Error::bad(
            "IllegalLocationConstraintException",
            format!(
                "The {bucket_region} location constraint is incompatible for the region specific endpoint this \
                 request was sent to."
            ),
        )
        .in_region(bucket_region);
    }
    let host = regional_host(endpoint, addressing, bucket, bucket_region);
    S3Error::new(
        StatusCode::MOVED_PERMANENTLY,
        "PermanentRedirect",
        "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all \
         future requests to this endpoint.",
    )
    .with("Endpoint", host)
    .with("Bucket", bucket)
    .in_region(bucket_region)
}

/// What the global name answers while DNS does not know a new bucket yet: `Location` has the same path and query, but
/// following it breaks a presigned URL, because the host is signed.
pub(crate) fn not_yet_in_dns(
    endpoint: &Endpoint,
    bucket: &str,
    bucket_region: &str,
    path_and_query: &str,
) -> S3Error {
    let host = regional_host(endpoint, Addressing::Virtual, bucket, bucket_region);
    let mut error = S3Error::new(
        StatusCode::TEMPORARY_REDIRECT,
        "TemporaryRedirect",
        "Please re-send this request to the specified temporary endpoint. Continue to use the original request \
         endpoint for future requests.",
    )
    .with("Endpoint", host.as_str())
    .with("Bucket", bucket)
    .in_region(bucket_region);
    error.location = Some(format!("https://{host}{path_and_query}"));
    error
}

/// Whether signature version 2 is still taken.
pub(crate) fn takes_version_2(region: &str) -> bool {
    VERSION_2_REGIONS.contains(&region)
}

/// Whether the global name leads to this region: regions that must be enabled first are left out of it.
pub(crate) fn has_global_dns(region: &str) -> bool {
    matches!(
        partition::activation(region),
        Activation::Always | Activation::Default
    )
}

fn is_accelerate(endpoint: &Endpoint) -> bool {
    endpoint.name.class == HostClass::Accelerate
}

fn regional_host(endpoint: &Endpoint, addressing: Addressing, bucket: &str, region: &str) -> String {
    let suffix = endpoint.name.partition.dns_suffix();
    match addressing {
        Addressing::Virtual => format!("{bucket}.s3.{region}.{suffix}"),
        Addressing::Path => format!("s3.{region}.{suffix}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn served(host: &str, addressing: Addressing, bucket: Option<&str>) -> String {
        serving(&Endpoint::of_host(host).unwrap(), addressing, bucket).to_owned()
    }

    #[test]
    fn the_global_name_with_a_bucket_leads_to_the_buckets_region() {
        let global = "b.s3.amazonaws.com";
        let virtual_ = Addressing::Virtual;
        assert_eq!(served(global, virtual_, Some("us-west-2")), "us-west-2");
        assert_eq!(served(global, virtual_, None), "us-east-1");
        // Not to regions that must be enabled first.
        assert_eq!(served(global, virtual_, Some("ap-east-1")), "us-east-1");
        assert_eq!(
            served("s3.amazonaws.com", Addressing::Path, Some("us-west-2")),
            "us-east-1"
        );
        assert_eq!(
            served("b.s3.eu-west-1.amazonaws.com", virtual_, Some("us-west-2")),
            "eu-west-1"
        );
    }

    #[test]
    fn a_redirect_names_the_host_in_the_form_that_was_used() {
        let to = |host: &str, addressing| {
            elsewhere(&Endpoint::of_host(host).unwrap(), addressing, "b", "us-west-2").details[0]
                .1
                .clone()
        };
        assert_eq!(
            to("b.s3.eu-west-1.amazonaws.com", Addressing::Virtual),
            "b.s3.us-west-2.amazonaws.com"
        );
        assert_eq!(
            to("s3.amazonaws.com", Addressing::Path),
            "s3.us-west-2.amazonaws.com"
        );
    }
}
