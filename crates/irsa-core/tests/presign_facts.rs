//! Presigned URLs against what was measured: every cell of the table of forms, and the answers of S3 and STS.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use irsa_core::presign::{
    Addressing, Anatomy, AnatomyError, Note, Predicted, PresignOptions, SignatureVersion, Target, predict,
};
use irsa_core::sdk::{Certainty, Environment, Family, Release, Sdk};
use proptest::prelude::*;

const PLAIN: PresignOptions<'_> = PresignOptions {
    region: None,
    addressing: Addressing::Auto,
    signature: None,
    dual_stack: false,
    accelerate: false,
    endpoint: None,
};
const V4: PresignOptions<'_> = PresignOptions {
    signature: Some(SignatureVersion::V4),
    ..PLAIN
};
const VIRTUAL: PresignOptions<'_> = PresignOptions {
    addressing: Addressing::Virtual,
    ..V4
};
const PATH: PresignOptions<'_> = PresignOptions {
    addressing: Addressing::Path,
    ..V4
};

fn environment(region: Option<&str>) -> Environment {
    Environment {
        region: region.map(str::to_owned),
        default_region: region.map(str::to_owned),
        ..Environment::default()
    }
}

/// `HOST/PATH VERSION REGION`, or the text of the error; and what it rests on.
fn form(
    sdk: &str,
    environment: &Environment,
    options: &PresignOptions<'_>,
    bucket: &str,
) -> (String, Certainty) {
    let prediction = predict(sdk.parse().unwrap(), environment, options, bucket, "path");
    let text = match prediction.predicted {
        Predicted::Error(text) => text,
        Predicted::DecidedByFile => "decided by a file".to_owned(),
        Predicted::Never => "never".to_owned(),
        Predicted::Form(form) => {
            let region = form.scope_region.map(|r| format!(" {r}")).unwrap_or_default();
            format!("{}{} {}{region}", form.host, form.path, form.signature)
        }
    };
    (text, prediction.certainty)
}

fn check(sdk: &str, options: &PresignOptions<'_>, cells: [(Option<&str>, &str); 4]) {
    for (region, expected) in cells {
        // The STS setting changes nothing, in any cell.
        for variable in [None, Some("legacy"), Some("regional")] {
            let mut environment = environment(region);
            environment.sts_regional_endpoints = variable.map(str::to_owned);
            let (text, certainty) = form(sdk, &environment, options, "bucket");
            assert_eq!(text, expected, "{sdk} {region:?} {options:?}");
            assert_eq!(certainty, Certainty::Tested, "{sdk} {region:?} {options:?}");
        }
    }
}

const WEST: Option<&str> = Some("us-west-2");
const EAST: Option<&str> = Some("us-east-1");
const HONG_KONG: Option<&str> = Some("ap-east-1");

#[test]
fn boto3_by_default() {
    for sdk in [
        "botocore@1.20.112",
        "botocore@1.29.165",
        "botocore@1.44.5",
        "aws-cli-v1@1.46.3",
    ] {
        check(
            sdk,
            &PLAIN,
            [
                (WEST, "bucket.s3.amazonaws.com/path SigV2"),
                (EAST, "bucket.s3.amazonaws.com/path SigV2"),
                (HONG_KONG, "bucket.s3.amazonaws.com/path SigV4 ap-east-1"),
                (None, "bucket.s3.amazonaws.com/path SigV2"),
            ],
        );
    }
}

#[test]
fn boto3_with_signature_version_4() {
    for sdk in ["botocore@1.20.112", "botocore@1.29.165", "botocore@1.44.5"] {
        check(
            sdk,
            &V4,
            [
                (WEST, "bucket.s3.amazonaws.com/path SigV4 us-west-2"),
                (EAST, "bucket.s3.amazonaws.com/path SigV4 us-east-1"),
                (HONG_KONG, "bucket.s3.amazonaws.com/path SigV4 ap-east-1"),
                (None, "bucket.s3.amazonaws.com/path SigV4 us-east-1"),
            ],
        );
        check(
            sdk,
            &PATH,
            [
                (WEST, "s3.us-west-2.amazonaws.com/bucket/path SigV4 us-west-2"),
                (EAST, "s3.amazonaws.com/bucket/path SigV4 us-east-1"),
                (
                    HONG_KONG,
                    "s3.ap-east-1.amazonaws.com/bucket/path SigV4 ap-east-1",
                ),
                (None, "s3.amazonaws.com/bucket/path SigV4 us-east-1"),
            ],
        );
    }
    for sdk in ["botocore@1.20.112", "botocore@1.44.5"] {
        check(
            sdk,
            &VIRTUAL,
            [
                (WEST, "bucket.s3.us-west-2.amazonaws.com/path SigV4 us-west-2"),
                (EAST, "bucket.s3.amazonaws.com/path SigV4 us-east-1"),
                (
                    HONG_KONG,
                    "bucket.s3.ap-east-1.amazonaws.com/path SigV4 ap-east-1",
                ),
                (None, "bucket.s3.amazonaws.com/path SigV4 us-east-1"),
            ],
        );
    }
    check(
        "botocore@1.29.165",
        &VIRTUAL,
        [
            (WEST, "bucket.s3.amazonaws.com/path SigV4 us-west-2"),
            (EAST, "bucket.s3.amazonaws.com/path SigV4 us-east-1"),
            (HONG_KONG, "bucket.s3.amazonaws.com/path SigV4 ap-east-1"),
            (None, "bucket.s3.amazonaws.com/path SigV4 us-east-1"),
        ],
    );
}

#[test]
fn boto3_variants_and_special_buckets() {
    let at = |options: &PresignOptions<'_>, bucket: &str| {
        form("botocore@1.44.5", &environment(WEST), options, bucket)
    };
    for (options, bucket, expected) in [
        (
            PresignOptions {
                dual_stack: true,
                ..V4
            },
            "bucket",
            "bucket.s3.dualstack.us-west-2.amazonaws.com/path SigV4 us-west-2",
        ),
        (
            PresignOptions {
                accelerate: true,
                ..V4
            },
            "bucket",
            "bucket.s3-accelerate.amazonaws.com/path SigV4 us-west-2",
        ),
        (
            V4,
            "my.dotted.bucket",
            "s3.us-west-2.amazonaws.com/my.dotted.bucket/path SigV4 us-west-2",
        ),
        (V4, "UPPER", "s3.amazonaws.com/UPPER/path SigV4 us-west-2"),
        (
            V4,
            "arn:aws:s3:us-west-2:111122223333:accesspoint/ap1",
            "ap1-111122223333.s3-accesspoint.us-west-2.amazonaws.com/path SigV4 us-west-2",
        ),
        (
            V4,
            "data--usw2-az1--x-s3",
            "data--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com/path SigV4 us-west-2",
        ),
    ] {
        assert_eq!(
            at(&options, bucket),
            (expected.to_owned(), Certainty::Tested),
            "{bucket}"
        );
    }
    let endpoint = PresignOptions {
        endpoint: Some("https://s3.us-west-2.amazonaws.com"),
        ..V4
    };
    assert_eq!(
        at(&endpoint, "bucket").0,
        "s3.us-west-2.amazonaws.com/bucket/path SigV4 us-west-2"
    );
    let local = PresignOptions {
        endpoint: Some("http://127.0.0.1:4566"),
        ..V4
    };
    assert_eq!(
        at(&local, "bucket").0,
        "127.0.0.1:4566/bucket/path SigV4 us-west-2"
    );
    let china = form("boto3", &environment(Some("cn-north-1")), &V4, "bucket");
    assert_eq!(
        china.0,
        "bucket.s3.cn-north-1.amazonaws.com.cn/path SigV4 cn-north-1"
    );
}

#[test]
fn sdks_that_use_the_host_of_the_region() {
    let regional = [
        (WEST, "bucket.s3.us-west-2.amazonaws.com/path SigV4 us-west-2"),
        (EAST, "bucket.s3.us-east-1.amazonaws.com/path SigV4 us-east-1"),
        (
            HONG_KONG,
            "bucket.s3.ap-east-1.amazonaws.com/path SigV4 ap-east-1",
        ),
    ];
    for sdk in ["aws-cli-v2@2.36.7", "js-v3", "rust"] {
        for (region, expected) in regional {
            assert_eq!(
                form(sdk, &environment(region), &PLAIN, "bucket"),
                (expected.to_owned(), Certainty::Tested)
            );
        }
    }
    assert_eq!(
        form("js-v3", &environment(None), &PLAIN, "bucket").0,
        "Error: Region is missing"
    );
    assert_eq!(
        form("rust", &environment(None), &PLAIN, "bucket").0,
        "A region must be set when sending requests to S3."
    );
}

#[test]
fn sdks_that_keep_us_east_1_on_the_global_host() {
    for sdk in ["js-v2", "go-v1"] {
        for (region, expected) in [
            (WEST, "bucket.s3.us-west-2.amazonaws.com/path SigV4 us-west-2"),
            (EAST, "bucket.s3.amazonaws.com/path SigV4 us-east-1"),
            (
                HONG_KONG,
                "bucket.s3.ap-east-1.amazonaws.com/path SigV4 ap-east-1",
            ),
        ] {
            assert_eq!(
                form(sdk, &environment(region), &V4, "bucket"),
                (expected.to_owned(), Certainty::Tested),
                "{sdk}"
            );
        }
    }
    assert_eq!(
        form("js-v2", &environment(None), &V4, "bucket").0,
        "bucket.s3.amazonaws.com/path SigV4 us-east-1"
    );
}

#[test]
fn the_setting_of_s3_moves_us_east_1_only() {
    let mut east = environment(EAST);
    east.s3_us_east_1_regional_endpoint = Some("regional".into());
    for sdk in ["boto3", "aws-cli-v1", "js-v2", "go-v1", "js-v3", "rust"] {
        let (text, _) = form(sdk, &east, &V4, "bucket");
        assert_eq!(
            text, "bucket.s3.us-east-1.amazonaws.com/path SigV4 us-east-1",
            "{sdk}"
        );
    }
    let mut west = environment(WEST);
    west.s3_us_east_1_regional_endpoint = Some("regional".into());
    assert_eq!(
        form("boto3", &west, &V4, "bucket").0,
        "bucket.s3.amazonaws.com/path SigV4 us-west-2"
    );

    let mut mode = environment(EAST);
    mode.defaults_mode = Some("standard".into());
    assert_eq!(
        form("boto3", &mode, &V4, "bucket").0,
        "bucket.s3.us-east-1.amazonaws.com/path SigV4 us-east-1"
    );

    east.s3_us_east_1_regional_endpoint = Some("bad".into());
    assert_eq!(
        form("boto3", &east, &V4, "bucket").0,
        "InvalidS3UsEast1RegionalEndpointConfigError: S3 us-east-1 regional endpoint option bad is invalid. Valid options \
         are: \"legacy\", \"regional\""
    );
}

/// The one way in which the STS variable reaches presigned URLs: a value that the SDK refuses.
#[test]
fn a_refused_value_of_the_sts_variable_stops_presigning_where_it_stops_s3_clients() {
    let mut west = environment(WEST);
    west.sts_regional_endpoints = Some("global".into());
    for (sdk, stops) in [
        ("botocore@1.27.96", false),
        ("botocore@1.28.5", true),
        ("botocore@1.29.165", true),
        ("botocore@1.44.5", true),
        ("go-v1", true),
        ("js-v2", false),
        ("js-v3", false),
        ("aws-cli-v2", false),
        ("rust", false),
    ] {
        let (text, _) = form(sdk, &west, &V4, "bucket");
        assert_eq!(!text.starts_with("bucket.s3."), stops, "{sdk}: {text}");
    }
}

#[test]
fn every_family_has_a_prediction() {
    for family in Family::ALL {
        let prediction = predict(Sdk::current(family), &environment(WEST), &PLAIN, "bucket", "path");
        match prediction.predicted {
            Predicted::Form(form) => assert!(form.template().contains("path?"), "{family}"),
            Predicted::Never => assert_eq!(family, Family::NginxS3Gateway),
            Predicted::Error(text) => panic!("{family}: {text}"),
            Predicted::DecidedByFile => panic!("{family}"),
        }
        let none = predict(Sdk::current(family), &environment(None), &PLAIN, "bucket", "path");
        assert!(!none.why.sentence().is_empty());
    }
}

const NOW: i64 = 1_795_479_510; // 2026-11-24T00:18:30Z

fn v4(host_and_path: &str, region: &str) -> String {
    format!(
        "https://{host_and_path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAEXAMPLE%2F20261124%2F{region}%2Fs3%2Faws4_request&X-Amz-Date=20261124T001800Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token=IQoJb3JpZ2lu&X-Amz-Signature=0123456789abcdef"
    )
}

fn read(url: &str) -> Anatomy {
    Anatomy::read(url, NOW, None).unwrap()
}

fn answers(url: &str, bucket_region: Option<&str>) -> Vec<String> {
    Anatomy::read(url, NOW, bucket_region)
        .unwrap()
        .problems
        .iter()
        .map(|p| format!("{} {} {}", p.status, p.code, p.message))
        .collect()
}

#[test]
fn both_forms_of_the_aws_page_are_told_apart_and_consistent() {
    let regional = read(&v4("bucket.s3.us-west-2.amazonaws.com/path", "us-west-2"));
    assert_eq!(regional.form(), "regional");
    assert_eq!(regional.problems, []);
    assert_eq!(regional.validity.unwrap().left, 3570);
    assert_eq!(regional.session_token, Some(12));
    assert_eq!(regional.scope().unwrap().region.as_deref(), Some("us-west-2"));
    assert!(
        matches!(&regional.target, Target::S3 { bucket: Some(b), key, .. } if b == "bucket" && key == "path")
    );

    let global = read(&v4("bucket.s3.amazonaws.com/path", "us-west-2"));
    assert_eq!(global.form(), "global");
    assert_eq!(global.problems, []);
    assert!(global.notes.contains(&Note::BucketMustBeIn("us-west-2".into())));
    assert!(global.notes.contains(&Note::YoungBucket));
}

#[test]
fn mismatches_get_the_words_of_s3() {
    let west = v4("bucket.s3.us-west-2.amazonaws.com/path", "us-west-2");
    for (url, bucket_region, expected) in [
        (
            v4("bucket.s3.ap-northeast-2.amazonaws.com/path", "us-east-1"),
            None,
            "400 AuthorizationQueryParametersError Error parsing the X-Amz-Credential parameter; the region 'us-east-1' is wrong; expecting 'ap-northeast-2'",
        ),
        (
            v4("bucket.s3.amazonaws.com/path", "us-east-1"),
            Some("eu-central-1"),
            "400 AuthorizationQueryParametersError Error parsing the X-Amz-Credential parameter; the region 'us-east-1' is wrong; expecting 'eu-central-1'",
        ),
        (
            west.clone(),
            Some("eu-central-1"),
            "301 PermanentRedirect The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
        ),
        (
            v4("bucket.s3.amazonaws.com/path", "af-south-1"),
            None,
            "400 IllegalLocationConstraintException The af-south-1 location constraint is incompatible for the region specific endpoint this request was sent to.",
        ),
        (
            west.replace("&X-Amz-Expires=3600", ""),
            None,
            "400 AuthorizationQueryParametersError Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ),
        (
            west.replace("=3600", "=604801"),
            None,
            "400 AuthorizationQueryParametersError X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        ),
        (
            west.replace("=3600", "=-1"),
            None,
            "400 AuthorizationQueryParametersError X-Amz-Expires must be non-negative",
        ),
        (
            west.replace("=3600", "=soon"),
            None,
            "400 AuthorizationQueryParametersError X-Amz-Expires should be a number",
        ),
        (
            west.replace("%2Fs3%2F", "%2Fsts%2F"),
            None,
            "400 AuthorizationQueryParametersError Error parsing the X-Amz-Credential parameter; incorrect service \"sts\". This endpoint belongs to \"s3\".",
        ),
        (
            west.replace("aws4_request", "aws5_request"),
            None,
            "400 AuthorizationQueryParametersError Error parsing the X-Amz-Credential parameter; incorrect terminal \"aws5_request\". This endpoint uses \"aws4_request\".",
        ),
        (
            west.replace("%2F20261124%2F", "%2F20261123%2F"),
            None,
            "400 AuthorizationQueryParametersError Invalid credential date \"20261123\". This date is not the same as X-Amz-Date: \"20261124\".",
        ),
        (
            west.replace("20261124T001800Z", "2026-11-24"),
            None,
            "400 AuthorizationQueryParametersError X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
        ),
        (west.replace("=3600", "=10"), None, "403 AccessDenied Request has expired"),
        (
            west.replace("&X-Amz-Security-Token=IQoJb3JpZ2lu", ""),
            None,
            "403 InvalidAccessKeyId The AWS Access Key Id you provided does not exist in our records.",
        ),
        (
            "https://bucket.s3.eu-central-1.amazonaws.com/path?AWSAccessKeyId=AKIAEXAMPLE&Signature=abc&Expires=1795483110".to_owned(),
            None,
            "400 InvalidRequest The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
        (
            "https://bucket.s3.amazonaws.com/path?AWSAccessKeyId=AKIAEXAMPLE&Signature=abc&Expires=1795479500".to_owned(),
            None,
            "403 AccessDenied Request has expired",
        ),
    ] {
        assert_eq!(answers(&url, bucket_region).first().map(String::as_str), Some(expected), "{url}");
    }
    assert_eq!(answers(&west, Some("us-west-2")), Vec::<String>::new());
}

fn sts(host: &str, region: &str, date: &str) -> String {
    format!(
        "https://{host}/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAEXAMPLE/{}/{region}/sts/aws4_request&X-Amz-Date={date}&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Security-Token=IQo&X-Amz-Signature=00",
        &date[..8]
    )
}

#[test]
fn sts_urls_get_the_words_of_sts() {
    let today = "20261124T001800Z";
    let good = read(&sts("sts.us-west-2.amazonaws.com", "us-west-2", today));
    assert_eq!(good.problems, []);
    assert_eq!(
        good.target,
        Target::Sts {
            action: Some("GetCallerIdentity".into())
        }
    );
    assert_eq!(good.validity.unwrap().left, 900 - 30);
    assert!(good.notes.contains(&Note::StsIgnoresExpires));

    for (url, expected) in [
        (
            sts("sts.amazonaws.com", "us-west-2", today),
            "403 SignatureDoesNotMatch Credential should be scoped to a valid region. ",
        ),
        (
            sts("sts.amazonaws.com", "us-west-2", today).replace("/sts/aws4", "/s3/aws5"),
            "403 SignatureDoesNotMatch Credential should be scoped to a valid region. Credential should be scoped to correct service: 'sts'. Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. ",
        ),
        (
            sts("sts.us-west-2.amazonaws.com", "us-west-2", "20261123T001800Z"),
            "403 SignatureDoesNotMatch Signature expired: 20261123T001800Z is now earlier than 20261124T000330Z (20261124T001830Z - 15 min.)",
        ),
        (
            sts("sts.us-west-2.amazonaws.com", "us-west-2", today).replace("host%3B", ""),
            "403 SignatureDoesNotMatch 'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            sts("sts.us-west-2.amazonaws.com", "us-west-2", today).replace("/us-west-2/", "/"),
            "400 IncompleteSignature Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'ASIAEXAMPLE/20261124/sts/aws4_request'",
        ),
        (
            sts("sts.us-west-2.amazonaws.com", "us-west-2", today)
                .replace("&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id", ""),
            "400 IncompleteSignature AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters.",
        ),
    ] {
        assert_eq!(
            answers(&url, None).first().map(String::as_str),
            Some(expected),
            "{url}"
        );
    }
}

#[test]
fn text_that_is_no_presigned_url_is_refused_with_a_hint() {
    let error = |url: &str| Anatomy::read(url, NOW, None).unwrap_err();
    assert_eq!(error("hello"), AnatomyError::NotAUrl);
    assert_eq!(
        error("https://bucket.s3.amazonaws.com/path"),
        AnatomyError::NotSigned
    );
    assert!(
        error("https://bucket.s3.amazonaws.com/path?versionId=1")
            .to_string()
            .contains("quote the URL")
    );
    assert_eq!(
        error(&format!("https://h/?X-Amz-Signature={}", "a".repeat(70_000))),
        AnatomyError::TooLong(70_027)
    );
}

/// What is predicted, filled in, reads back as what was predicted.
#[test]
fn predicted_forms_read_back_as_themselves() {
    let mut compared = 0;
    for sdk in Sdk::representatives() {
        for region in irsa_core::partition::all_regions().map(Some).chain([None]) {
            for options in [
                PLAIN,
                V4,
                VIRTUAL,
                PATH,
                PresignOptions {
                    dual_stack: true,
                    ..PLAIN
                },
            ] {
                for bucket in [
                    "bucket",
                    "my.dotted.bucket",
                    "arn:aws:s3:us-west-2:111122223333:accesspoint/ap1",
                ] {
                    let prediction = predict(sdk, &environment(region), &options, bucket, "a/b");
                    let Predicted::Form(form) = prediction.predicted else {
                        continue;
                    };
                    // A partition that JavaScript v2 does not know gets a host that AWS does not have.
                    if form.word() == "custom" {
                        continue;
                    }
                    let read = Anatomy::read(&form.template(), NOW, None).unwrap();
                    assert_eq!(read.form(), form.word(), "{sdk} {region:?} {options:?}");
                    assert_eq!(read.version(), form.signature);
                    assert_eq!(read.scope().and_then(|s| s.region.clone()), form.scope_region);
                    assert!(
                        matches!(&read.target, Target::S3 { key, addressing, .. } if key == "a/b" && *addressing == form.addressing),
                        "{:?}",
                        read.target
                    );
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

proptest! {
    #[test]
    fn no_text_makes_inspection_panic(text in "\\PC*", now: i64) {
        let _ = Anatomy::read(&text, now, None);
        let _ = Anatomy::read(&format!("https://{text}?X-Amz-Signature=a"), now, Some(&text));
        let _ = Anatomy::read(&format!("https://b.s3.amazonaws.com/{text}"), now, None);
    }

    #[test]
    fn no_parameter_makes_inspection_panic(
        host in "(sts|bucket\\.s3|s3|x)(\\.us-west-2|\\.af-south-1)?\\.amazonaws\\.com|localhost:80|\\[::1\\]",
        values in proptest::collection::vec(proptest::option::of("\\PC{0,20}|AKIA1/2026/us-west-2/(s3|sts)/aws4_request|20261124T001800Z|-?[0-9]{1,20}"), 12),
        now: i64,
        region in proptest::option::of("[a-z]{2}-[a-z]{4}-[0-9]"),
    ) {
        let names = [
            "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
            "X-Amz-Security-Token", "X-Amz-Region-Set", "AWSAccessKeyId", "Expires", "Signature", "Action",
        ];
        let query: Vec<String> = names.iter().zip(&values).filter_map(|(n, v)| Some(format!("{n}={}", v.as_ref()?))).collect();
        let url = format!("https://{host}/key?{}", query.join("&"));
        if let Ok(anatomy) = Anatomy::read(&url, now, region.as_deref()) {
            prop_assert!(!anatomy.form().is_empty());
        }
    }

    #[test]
    fn no_settings_make_prediction_panic(
        i in 0usize..19, bucket in "\\PC{0,30}|arn:aws:s3:[a-z0-9:/-]{0,40}|[a-z0-9.-]{1,30}--x-s3", key in "\\PC{0,20}",
        endpoint in proptest::option::of("\\PC{0,20}|https://[a-z.:0-9\\[\\]]{0,20}"), region in proptest::option::of("\\PC{0,20}"),
        bits: u8,
    ) {
        let options = PresignOptions {
            region: region.as_deref(),
            addressing: [Addressing::Auto, Addressing::Virtual, Addressing::Path][usize::from(bits % 3)],
            signature: None,
            dual_stack: bits & 4 != 0,
            accelerate: bits & 8 != 0,
            endpoint: endpoint.as_deref(),
        };
        let release = if bits & 16 != 0 { Release::Current } else { Release::Before20250731 };
        let sdk = Sdk { family: Family::ALL[i], release };
        if let Predicted::Form(form) = predict(sdk, &Environment::default(), &options, &bucket, &key).predicted {
            let _ = Anatomy::read(&form.template(), 0, None);
        }
    }
}
