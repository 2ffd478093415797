//! Our endpoint rules against AWS's own: the resolvers inside `aws-sdk-sts` and `aws-sdk-s3`, over every region and
//! every combination of switches.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::error::Error;

use futures::FutureExt as _;
use irsa_core::partition::{
    AWS_GLOBAL, PARTITIONS, S3HostOptions, StsRequest, all_regions, resolve_sts, s3_host,
};

/// Real regions, pseudo-regions, and names that no list holds.
fn regions() -> Vec<&'static str> {
    all_regions()
        .chain(PARTITIONS.iter().filter_map(|p| p.pseudo_region()))
        .chain([
            "us-west-9",
            "us-gov-foo-3",
            "us-iso-foo-1",
            "eusc-de-west-1",
            "cn-east-7",
            "xx-foo-1",
            "local",
        ])
        .collect()
}

const SWITCH: [bool; 2] = [false, true];

/// The resolvers answer at once; only their interface is asynchronous.
fn now<F: Future>(future: F) -> F::Output {
    future
        .now_or_never()
        .expect("a resolver that waits for something")
}

/// The innermost text of an error.
fn text(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        out = cause.to_string();
        next = cause.source();
    }
    out
}

mod sts {
    use super::*;
    use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

    /// URL and signing region (the client's own when the rule set names none), or the error's text.
    fn theirs(resolver: &DefaultResolver, request: &StsRequest<'_>) -> Result<(String, String), String> {
        let params = Params::builder()
            .set_region(request.region.map(str::to_owned))
            .use_global_endpoint(request.use_global)
            .use_fips(request.fips)
            .use_dual_stack(request.dual_stack)
            .set_endpoint(request.endpoint.map(str::to_owned))
            .build()
            .unwrap();
        let endpoint = now(resolver.resolve_endpoint(&params)).map_err(|e| text(e.as_ref()))?;
        let signing_region = endpoint
            .auth_schemes()
            .first()
            .and_then(|scheme| scheme.get("signingRegion"))
            .map(|region| region.as_string().unwrap().to_owned());
        Ok((
            endpoint.url().to_owned(),
            signing_region.unwrap_or_else(|| request.region.unwrap_or_default().to_owned()),
        ))
    }

    #[test]
    fn sts_endpoints_are_those_of_the_sdk_for_every_region_and_switch() {
        let resolver = DefaultResolver::new();
        let mut compared = 0;
        for region in regions().into_iter().map(Some).chain([None]) {
            for use_global in SWITCH {
                for fips in SWITCH {
                    for dual_stack in SWITCH {
                        for endpoint in [
                            None,
                            Some("https://sts.amazonaws.com"),
                            Some("http://127.0.0.1:4566"),
                        ] {
                            let request = StsRequest {
                                region,
                                use_global,
                                fips,
                                dual_stack,
                                endpoint,
                            };
                            let ours = resolve_sts(&request)
                                .map(|e| (e.url, e.signing_region))
                                .map_err(|e| e.to_string());
                            assert_eq!(ours, theirs(&resolver, &request), "{request:?}");
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert!(compared > 1400, "{compared}");
    }
}

mod s3 {
    use super::*;
    use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

    fn theirs(
        resolver: &DefaultResolver,
        region: &str,
        bucket: &str,
        options: S3HostOptions,
    ) -> Result<(String, String), String> {
        let params = Params::builder()
            .region(region)
            .bucket(bucket)
            .use_global_endpoint(options.use_global)
            .use_fips(options.fips)
            .use_dual_stack(options.dual_stack)
            .accelerate(options.accelerate)
            .force_path_style(options.path_style)
            .disable_s3_express_session_auth(true)
            .build()
            .unwrap();
        let endpoint = now(resolver.resolve_endpoint(&params)).map_err(|e| text(e.as_ref()))?;
        let scheme = &endpoint.auth_schemes()[0];
        let signing_region = match scheme.get("signingRegion") {
            Some(region) => region.as_string().unwrap(),
            None => scheme.get("signingRegionSet").unwrap().as_array().unwrap()[0]
                .as_string()
                .unwrap(),
        };
        Ok((endpoint.url().to_owned(), signing_region.to_owned()))
    }

    #[test]
    fn s3_hosts_are_those_of_the_sdk_for_every_region_bucket_and_switch() {
        let resolver = DefaultResolver::new();
        let mut compared = 0;
        for region in regions() {
            for bucket in [
                "bucket",
                "my.dotted.bucket",
                "UPPER",
                "arn:aws:s3:us-west-2:111122223333:accesspoint/ap1",
                "arn:aws:s3:us-west-2:111122223333:accesspoint:ap1",
                "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap",
                "data--usw2-az1--x-s3",
            ] {
                for bits in 0_u8..32 {
                    let bit = |n: u8| bits & (1 << n) != 0;
                    let options = S3HostOptions {
                        use_global: bit(0),
                        fips: bit(1),
                        dual_stack: bit(2),
                        accelerate: bit(3),
                        path_style: bit(4),
                    };
                    // The path of a directory bucket is no form that presigning meets.
                    if bucket.ends_with("--x-s3") && options.path_style {
                        continue;
                    }
                    let ours = s3_host(region, bucket, options)
                        .map(|h| (format!("https://{}{}", h.host, h.path_prefix), h.signing_region));
                    match (ours, theirs(&resolver, region, bucket, options)) {
                        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{region} {bucket} {options:?}"),
                        (Err(ours), Err(theirs)) => {
                            assert_eq!(ours.to_string(), theirs, "{region} {bucket} {options:?}");
                        }
                        (ours, theirs) => panic!("{region} {bucket} {options:?}: {ours:?} but {theirs:?}"),
                    }
                    compared += 1;
                }
            }
        }
        assert!(compared > 12_000, "{compared}");
        assert!(regions().contains(&AWS_GLOBAL));
    }
}
