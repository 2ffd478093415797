//! The rules of `core::sdk` against what was measured with real SDKs: every row of the matrix is a test here.
//!
//! `G` is `sts.amazonaws.com` signed for `us-east-1`, `R` the host of the region signed for it; anything else is the
//! text of an error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use irsa_core::sdk::{
    BlastRadius, Call, Certainty, Code, Concern, Environment, Outcome, Reason, Sdk, SignedCalls, scope_cures,
    sts,
};

const E1: &str = "InvalidSTSRegionalEndpointsConfigError: STS regional endpoints option {} is invalid. Valid options \
                  are: \"legacy\", \"regional\"";
const E2: &str = "Error: Region is missing";
const E3: &str = "InvalidEnvironmentalVariable: invalid AWS_STS_REGIONAL_ENDPOINTS environmental variable. Expect \
                  \"legacy\"  or \"regional\". Got \"{}\".";
const E4: &str = "ConfigError: Missing region in config";
const E5: &str = "Invalid Configuration: Missing Region";
const E6: &str = "failed to load environment config, failed to load, AWS_STS_REGIONAL_ENDPOINTS from env config, \
                  unable to resolve the value of STSRegionalEndpoint for {}";

fn sdk(text: &str) -> Sdk {
    text.parse().unwrap()
}

fn environment(region: Option<&str>, variable: Option<&str>) -> Environment {
    Environment {
        region: region.map(str::to_owned),
        default_region: region.map(str::to_owned),
        sts_regional_endpoints: variable.map(str::to_owned),
        ..Environment::default()
    }
}

/// `G`, `R`, a host with its signing region, or the text of the error.
fn shown(outcome: &Outcome, region: Option<&str>) -> String {
    match outcome {
        Outcome::DecidedByFile => "decided by a file".to_owned(),
        Outcome::Failure(failure) => failure.text.clone(),
        Outcome::Endpoint(e) if e.host == "sts.amazonaws.com" && e.signing_region == "us-east-1" => {
            "G".to_owned()
        }
        Outcome::Endpoint(e)
            if region
                .is_some_and(|r| e.host == format!("sts.{r}.amazonaws.com") && e.signing_region == r) =>
        {
            "R".to_owned()
        }
        Outcome::Endpoint(e) => format!("{} {}", e.host, e.signing_region),
    }
}

/// Columns of the matrix.
const VALUES: [Option<&str>; 7] = [
    None,
    Some("regional"),
    Some("legacy"),
    Some("global"),
    Some("true"),
    Some(""),
    Some("REGIONAL"),
];

fn check_row(sdk_text: &str, region: Option<&str>, expected: [&str; 7]) {
    for (value, expected) in VALUES.into_iter().zip(expected) {
        let answer = sts(
            sdk(sdk_text),
            &environment(region, value),
            Code::default(),
            Call::Credentials,
        );
        let mut expected = expected.replace("{}", value.unwrap_or_default());
        // The command line prints the text of an exception, not its class.
        if let Some((_, text)) = expected
            .split_once("ConfigError: ")
            .filter(|_| sdk_text.starts_with("aws-cli"))
        {
            expected = text.to_owned();
        }
        assert_eq!(
            shown(&answer.outcome, region),
            expected,
            "{sdk_text}, region {region:?}, AWS_STS_REGIONAL_ENDPOINTS {value:?}"
        );
        assert_eq!(answer.certainty, Certainty::Tested, "{sdk_text}");
        if let Outcome::Endpoint(_) = answer.outcome {
            assert_eq!(answer.signed_calls, SignedCalls::Accepted);
        }
    }
}

#[test]
fn botocore_with_the_legacy_default() {
    for sdk in [
        "botocore@1.29.165",
        "botocore@1.39.17",
        "boto3@old",
        "aws-cli-v1@1.41.17",
        "boto3@1.39.0",
    ] {
        check_row(sdk, Some("us-west-2"), ["G", "R", "G", E1, E1, "G", E1]);
        check_row(sdk, Some("ap-east-1"), ["R", "R", "R", E1, E1, "R", E1]);
        check_row(sdk, Some("ap-northeast-2"), ["R", "R", "R", E1, E1, "R", E1]);
        check_row(sdk, Some("us-east-1"), ["G", "R", "G", E1, E1, "G", E1]);
        check_row(sdk, None, ["G", "G", "G", E1, E1, "G", E1]);
        check_row(sdk, Some("aws-global"), ["G", "G", "G", E1, E1, "G", E1]);
    }
}

#[test]
fn botocore_with_the_regional_default() {
    for sdk in [
        "botocore@1.40.0",
        "botocore@1.44.5",
        "boto3",
        "aws-cli-v1@1.42.0",
        "aws-cli-v1@1.46.3",
        "aws-cli-v1",
    ] {
        for region in ["us-west-2", "us-east-1"] {
            check_row(sdk, Some(region), ["R", "R", "G", E1, E1, "R", E1]);
        }
        for region in ["ap-east-1", "ap-northeast-2"] {
            check_row(sdk, Some(region), ["R", "R", "R", E1, E1, "R", E1]);
        }
        for region in [None, Some("aws-global")] {
            check_row(sdk, region, ["G", "G", "G", E1, E1, "G", E1]);
        }
    }
}

#[test]
fn sdks_that_ignore_the_variable() {
    for region in ["us-west-2", "us-east-1", "ap-east-1", "ap-northeast-2"] {
        for sdk in ["aws-cli-v2@2.36.7", "js-v3@3.1173.0", "rust"] {
            check_row(sdk, Some(region), ["R"; 7]);
        }
    }
    for region in [None, Some("aws-global")] {
        check_row("aws-cli-v2", region, ["G"; 7]);
    }
    check_row("js-v3", None, [E2; 7]);
    check_row("rust", Some("aws-global"), ["G"; 7]);
    check_row("rust", None, [E5; 7]);
}

#[test]
fn javascript_v2() {
    for region in ["us-west-2", "ap-northeast-2", "ap-east-1"] {
        check_row("js-v2", Some(region), ["G", "R", "G", E3, E3, E3, "R"]);
    }
    check_row("js-v2", None, ["G", E4, "G", E3, E3, E3, E4]);
}

#[test]
fn go_v1() {
    for region in ["us-west-2", "us-east-1"] {
        check_row("go-v1@1.55.6", Some(region), ["G", "R", "G", E6, E6, "G", "R"]);
    }
    for region in ["ap-east-1", "ap-northeast-2"] {
        check_row("go-v1", Some(region), ["R", "R", "R", E6, E6, "R", "R"]);
    }
    for region in [None, Some("aws-global")] {
        check_row("go-v1", region, ["G", "G", "G", E6, E6, "G", "G"]);
    }
}

#[test]
fn blast_radius_of_a_refused_value() {
    let radius = |name: &str| match sts(
        sdk(name),
        &environment(Some("us-west-2"), Some("global")),
        Code::default(),
        Call::Credentials,
    )
    .outcome
    {
        Outcome::Failure(failure) => failure.blast_radius,
        Outcome::Endpoint(_) | Outcome::DecidedByFile => BlastRadius::Nothing,
    };
    for (name, expected) in [
        ("botocore@1.20.112", BlastRadius::StsClients),
        ("botocore@1.27.96", BlastRadius::StsClients),
        ("botocore@1.28.5", BlastRadius::StsAndS3Clients),
        ("botocore@1.29.0", BlastRadius::EveryClient),
        ("botocore@1.44.5", BlastRadius::EveryClient),
        ("boto3", BlastRadius::EveryClient),
        ("go-v1", BlastRadius::Session),
        ("js-v2", BlastRadius::StsCalls),
        ("aws-cli-v2", BlastRadius::Nothing),
        ("js-v3", BlastRadius::Nothing),
        ("rust", BlastRadius::Nothing),
    ] {
        assert_eq!(radius(name), expected, "{name}");
    }
}

/// The three columns of the table of region variables: only `AWS_REGION`, only `AWS_DEFAULT_REGION`, both and
/// different; with `AWS_STS_REGIONAL_ENDPOINTS=regional`.
#[test]
fn which_region_variable_is_read() {
    let host = |name: &str, region: Option<&str>, default_region: Option<&str>| {
        let environment = Environment {
            region: region.map(str::to_owned),
            default_region: default_region.map(str::to_owned),
            sts_regional_endpoints: Some("regional".into()),
            ..Environment::default()
        };
        match sts(sdk(name), &environment, Code::default(), Call::Credentials).outcome {
            Outcome::Endpoint(endpoint) => endpoint.host,
            Outcome::Failure(failure) => failure.text,
            Outcome::DecidedByFile => "decided by a file".to_owned(),
        }
    };
    let (a, b, global) = (
        "sts.us-west-2.amazonaws.com",
        "sts.eu-west-1.amazonaws.com",
        "sts.amazonaws.com",
    );
    for (name, only_region, only_default, both) in [
        ("boto3", global, b, b),
        ("boto3@old", global, b, b),
        ("aws-cli-v1", global, b, b),
        ("aws-cli-v2", a, b, a),
        ("js-v3", a, E2, a),
        ("js-v2", a, E4, a),
        ("rust", a, b, a),
        ("go-v1", a, global, a),
        ("go-v2", a, b, a),
    ] {
        assert_eq!(
            host(name, Some("us-west-2"), None),
            only_region,
            "{name} with AWS_REGION"
        );
        assert_eq!(
            host(name, None, Some("eu-west-1")),
            only_default,
            "{name} with AWS_DEFAULT_REGION"
        );
        assert_eq!(
            host(name, Some("us-west-2"), Some("eu-west-1")),
            both,
            "{name} with both"
        );
    }
    let lone = Environment {
        region: Some("us-west-2".into()),
        ..Environment::default()
    };
    let answer = sts(sdk("boto3"), &lone, Code::default(), Call::Credentials);
    assert_eq!(answer.reason, Reason::NoRegion);
    assert!(
        answer
            .concerns
            .contains(&Concern::RegionVariableNotRead("AWS_REGION")),
        "{:?}",
        answer.concerns
    );
}

#[test]
fn go_v1_reads_the_default_region_when_told_to_load_its_configuration() {
    let environment = Environment {
        default_region: Some("eu-west-1".into()),
        sts_regional_endpoints: Some("regional".into()),
        sdk_load_config: Some("1".into()),
        ..Environment::default()
    };
    let answer = sts(sdk("go-v1"), &environment, Code::default(), Call::Credentials);
    assert_eq!(answer.endpoint().unwrap().host, "sts.eu-west-1.amazonaws.com");
}

#[test]
fn defaults_mode_moves_the_old_default_to_regional() {
    let mut environment = environment(Some("us-west-2"), None);
    environment.defaults_mode = Some("standard".into());
    let answer = sts(
        sdk("botocore@1.29.165"),
        &environment,
        Code::default(),
        Call::Credentials,
    );
    assert_eq!(shown(&answer.outcome, Some("us-west-2")), "R");
    assert_eq!(
        (answer.reason, answer.certainty),
        (Reason::DefaultsMode, Certainty::Tested)
    );

    environment.sts_regional_endpoints = Some("legacy".into());
    let answer = sts(
        sdk("botocore@1.29.165"),
        &environment,
        Code::default(),
        Call::Credentials,
    );
    assert_eq!(
        shown(&answer.outcome, Some("us-west-2")),
        "G",
        "the variable is stronger"
    );
}

#[test]
fn fips_and_dual_stack_override_legacy() {
    let mut environment = environment(Some("us-west-2"), Some("legacy"));
    environment.use_fips = Some("true".into());
    let answer = sts(sdk("boto3"), &environment, Code::default(), Call::Credentials);
    assert_eq!(
        answer.endpoint().unwrap().host,
        "sts-fips.us-west-2.amazonaws.com"
    );
    assert_eq!((answer.class(), answer.reason), ("fips", Reason::Fips));

    environment.use_fips = None;
    environment.use_dual_stack = Some("true".into());
    let answer = sts(sdk("boto3"), &environment, Code::default(), Call::Credentials);
    assert_eq!(answer.endpoint().unwrap().host, "sts.us-west-2.api.aws");
    assert_eq!((answer.class(), answer.reason), ("dualstack", Reason::DualStack));

    environment.use_dual_stack = None;
    environment.use_fips = Some("true".into());
    environment.default_region = Some("eu-west-1".into());
    let answer = sts(sdk("boto3"), &environment, Code::default(), Call::Credentials);
    assert!(
        answer
            .concerns
            .contains(&Concern::FipsNotPublished("eu-west-1".into())),
        "{:?}",
        answer.concerns
    );
}

#[test]
fn clients_that_were_not_run() {
    let check = |name: &str, region: &str, value: Option<&str>, expected: &str, certainty| {
        let answer = sts(
            sdk(name),
            &environment(Some(region), value),
            Code::default(),
            Call::Credentials,
        );
        assert_eq!(
            shown(&answer.outcome, Some(region)),
            expected,
            "{name} {region} {value:?}"
        );
        assert_eq!(answer.certainty, certainty, "{name}");
    };
    for value in VALUES {
        check("go-v2", "us-west-2", value, "R", Certainty::Read);
        check("cpp", "us-west-2", value, "R", Certainty::Read);
        check("dotnet-v4", "us-west-2", value, "R", Certainty::Documented);
        for name in ["java-v2", "kotlin", "swift"] {
            check(name, "us-west-2", value, "R", Certainty::Memory);
        }
    }
    for value in [
        None,
        Some(""),
        Some("regional"),
        Some("REGIONAL"),
        Some("global"),
        Some("true"),
    ] {
        check("ruby", "us-west-2", value, "R", Certainty::Read);
    }
    check("ruby", "us-west-2", Some("legacy"), "G", Certainty::Read);
    check("ruby", "us-west-2", Some("LEGACY"), "R", Certainty::Read);

    let php = "InvalidArgumentException: Configuration parameter must either be 'legacy' or 'regional'.";
    let mut in_code = environment(Some("us-west-2"), None);
    for (name, value, expected) in [
        ("php@3.351.11", None, "G"),
        ("php@3.351.12", None, "R"),
        ("php", Some("LEGACY"), "G"),
        ("php", Some(""), "R"),
        ("php", Some("global"), php),
    ] {
        in_code.sts_regional_endpoints = value.map(str::to_owned);
        let answer = sts(sdk(name), &in_code, Code::default(), Call::Credentials);
        assert_eq!(
            shown(&answer.outcome, Some("us-west-2")),
            expected,
            "{name} {value:?}"
        );
    }

    for name in ["dotnet-v3", "powershell"] {
        check(
            &format!("{name}@old"),
            "us-west-2",
            None,
            "G",
            Certainty::Documented,
        );
        check(
            &format!("{name}@old"),
            "ap-east-1",
            None,
            "R",
            Certainty::Documented,
        );
        check(name, "us-west-2", None, "R", Certainty::Documented);
        check(name, "us-west-2", Some("legacy"), "G", Certainty::Documented);
        check(
            name,
            "us-west-2",
            Some("global"),
            "InvalidOperationException",
            Certainty::Documented,
        );
    }
    let java = "SdkClientException: Unexpected value set for AWS_STS_REGIONAL_ENDPOINTS environment variable: 'global'";
    check("java-v1", "us-west-2", None, "G", Certainty::Read);
    check("java-v1", "us-west-2", Some("Regional"), "R", Certainty::Read);
    check("java-v1", "us-west-2", Some("global"), java, Certainty::Read);

    for (value, expected) in [
        (None, "G"),
        (Some("regional"), "R"),
        (Some("legacy"), "G"),
        (Some("true"), "G"),
    ] {
        check("nginx-s3-gateway", "us-west-2", value, expected, Certainty::Read);
    }
}

#[test]
fn opt_in_china_and_govcloud_regions_stay_regional_with_legacy() {
    for (region, host) in [
        ("eu-south-1", "sts.eu-south-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
    ] {
        let answer = sts(
            sdk("boto3"),
            &environment(Some(region), Some("legacy")),
            Code::default(),
            Call::Credentials,
        );
        assert_eq!(answer.endpoint().unwrap().host, host);
        assert_eq!(answer.reason, Reason::LegacyNotForRegion);
    }
    let js = sts(
        sdk("js-v2"),
        &environment(Some("eu-south-1"), Some("legacy")),
        Code::default(),
        Call::Credentials,
    );
    assert_eq!(js.endpoint().unwrap().host, "sts.amazonaws.com");
    assert!(
        js.concerns
            .contains(&Concern::TokensOfGlobalEndpoint("eu-south-1".into())),
        "{:?}",
        js.concerns
    );
}

mod explicit_global_endpoint {
    use super::*;

    const GLOBAL: Code<'_> = Code {
        endpoint: Some("https://sts.amazonaws.com"),
        region: None,
    };

    /// The application of the AWS page: it asks for the global endpoint itself and its region is us-west-2. Whatever
    /// the variable says, its calls are signed for us-west-2 and refused.
    #[test]
    fn signed_calls_are_refused_whatever_the_variable_says() {
        for name in [
            "botocore@1.20.112",
            "botocore@1.29.165",
            "botocore@1.44.5",
            "aws-cli-v1",
            "aws-cli-v2",
            "js-v2",
            "js-v3",
            "rust",
            "go-v1",
        ] {
            for value in [None, Some("legacy"), Some("regional")] {
                let answer = sts(
                    sdk(name),
                    &environment(Some("us-west-2"), value),
                    GLOBAL,
                    Call::Program,
                );
                let endpoint = answer.endpoint().unwrap();
                assert_eq!(
                    (endpoint.host.as_str(), endpoint.signing_region.as_str()),
                    ("sts.amazonaws.com", "us-west-2")
                );
                assert_eq!(answer.class(), "global");
                assert_eq!(answer.reason, Reason::EndpointInCode);
                assert_eq!(
                    answer.signed_calls,
                    SignedCalls::Refused {
                        expected: "us-east-1".into()
                    },
                    "{name}"
                );
                assert_eq!(answer.certainty, Certainty::Tested);
            }
        }
        assert_eq!(
            SignedCalls::refusal_text("GetCallerIdentity"),
            "An error occurred (SignatureDoesNotMatch) when calling the GetCallerIdentity operation: Credential should \
             be scoped to a valid region. "
        );
    }

    #[test]
    fn the_variable_of_the_endpoint_does_the_same() {
        let mut environment = environment(Some("us-west-2"), Some("legacy"));
        environment.endpoint_url_sts = Some("https://sts.amazonaws.com".into());
        let answer = sts(sdk("boto3"), &environment, Code::default(), Call::Credentials);
        assert_eq!(answer.reason, Reason::EndpointUrlSts);
        assert_eq!(
            answer.signed_calls,
            SignedCalls::Refused {
                expected: "us-east-1".into()
            }
        );

        environment.ignore_configured_endpoint_urls = Some("true".into());
        let answer = sts(sdk("boto3"), &environment, Code::default(), Call::Credentials);
        assert_eq!(
            (answer.class(), answer.reason),
            ("global", Reason::VariableLegacy)
        );

        environment.ignore_configured_endpoint_urls = None;
        let answer = sts(sdk("go-v1"), &environment, Code::default(), Call::Credentials);
        assert_eq!(answer.class(), "global");
        assert!(
            answer
                .concerns
                .contains(&Concern::EndpointUrlNotRead("AWS_ENDPOINT_URL_STS"))
        );
    }

    #[test]
    fn an_endpoint_in_the_program_does_not_touch_how_it_gets_its_credentials() {
        let answer = sts(
            sdk("boto3"),
            &environment(Some("us-west-2"), None),
            GLOBAL,
            Call::Credentials,
        );
        assert_eq!(answer.endpoint().unwrap().host, "sts.us-west-2.amazonaws.com");
    }

    #[test]
    fn without_a_region_botocore_refuses_and_with_the_pseudo_region_aws_does() {
        let answer = sts(sdk("boto3"), &environment(None, None), GLOBAL, Call::Program);
        assert_eq!(
            shown(&answer.outcome, None),
            "NoRegionError: You must specify a region."
        );
        let answer = sts(
            sdk("boto3"),
            &environment(Some("aws-global"), None),
            GLOBAL,
            Call::Program,
        );
        assert_eq!(answer.endpoint().unwrap().signing_region, "aws-global");
        assert_eq!(
            answer.signed_calls,
            SignedCalls::Refused {
                expected: "us-east-1".into()
            }
        );
    }

    #[test]
    fn only_cures_that_touch_endpoint_or_region_work() {
        for name in [
            "boto3@old",
            "boto3",
            "aws-cli-v1",
            "aws-cli-v2",
            "js-v2",
            "js-v3",
            "rust",
            "go-v1",
        ] {
            let cures = scope_cures(
                sdk(name),
                &environment(Some("us-west-2"), Some("regional")),
                GLOBAL,
            );
            let verdicts: Vec<_> = cures.iter().map(|c| (c.remedy.id(), c.works)).collect();
            assert_eq!(
                verdicts,
                [
                    ("annotate-global", false),
                    ("unset-variable", false),
                    ("annotate-regional", false),
                    ("drop-endpoint", true),
                    ("regional-url", true),
                    ("region-us-east-1", true),
                    // JavaScript v2 takes it for us-east-1.
                    ("region-aws-global", name == "js-v2"),
                    // Current releases of JavaScript v3 find no credentials for it.
                    ("drop-endpoint-region-aws-global", name != "js-v3"),
                ],
                "{name}"
            );
        }
    }

    #[test]
    fn cures_reach_an_endpoint_that_the_environment_gives() {
        let mut environment = environment(Some("us-west-2"), None);
        environment.endpoint_url = Some("https://sts.amazonaws.com".into());
        let cures = scope_cures(sdk("js-v3"), &environment, Code::default());
        assert!(
            cures
                .iter()
                .find(|c| c.remedy.id() == "drop-endpoint")
                .unwrap()
                .works
        );
        assert!(
            cures
                .iter()
                .find(|c| c.remedy.id() == "regional-url")
                .unwrap()
                .works
        );
        assert!(
            !cures
                .iter()
                .find(|c| c.remedy.id() == "annotate-global")
                .unwrap()
                .works
        );
    }
}

#[test]
fn settings_that_exclude_each_other_fail_with_the_words_of_the_rule_set() {
    let mut environment = environment(Some("us-west-2"), None);
    environment.endpoint_url_sts = Some("https://sts.us-west-2.amazonaws.com".into());
    environment.use_fips = Some("true".into());
    let answer = sts(sdk("js-v3"), &environment, Code::default(), Call::Credentials);
    assert_eq!(
        shown(&answer.outcome, None),
        "EndpointError: Invalid Configuration: FIPS and custom endpoint are not supported"
    );
    assert_eq!((answer.class(), answer.reason), ("error", Reason::Conflict));
    // boto3 calls the URL.
    let answer = sts(sdk("boto3"), &environment, Code::default(), Call::Credentials);
    assert_eq!(
        (answer.class(), answer.reason),
        ("custom", Reason::EndpointUrlSts)
    );
}

#[test]
fn unusual_regions_and_urls() {
    let answer = sts(
        sdk("boto3"),
        &environment(Some("us west 2"), None),
        Code::default(),
        Call::Credentials,
    );
    assert_eq!(
        shown(&answer.outcome, None),
        "InvalidRegionError: Provided region_name 'us west 2' doesn't match a supported format."
    );
    let answer = sts(
        sdk("rust"),
        &environment(Some("us-west-2a"), None),
        Code::default(),
        Call::Credentials,
    );
    assert_eq!(answer.concerns, [Concern::RegionUnknown("us-west-2a".into())]);
    let answer = sts(
        sdk("boto3"),
        &environment(Some("us-west-2-fips"), None),
        Code::default(),
        Call::Credentials,
    );
    let endpoint = answer.endpoint().unwrap();
    assert_eq!(
        (endpoint.host.as_str(), endpoint.signing_region.as_str()),
        ("sts-fips.us-west-2.amazonaws.com", "us-west-2")
    );

    let mut environment = environment(Some("us-west-2"), None);
    environment.endpoint_url_sts = Some("http://user@[::1]:4566/path".into());
    let answer = sts(sdk("rust"), &environment, Code::default(), Call::Credentials);
    assert_eq!(answer.endpoint().unwrap().host, "::1");
    assert_eq!(answer.signed_calls, SignedCalls::Unknown);
}

proptest::proptest! {
    #[test]
    fn no_environment_makes_the_rules_panic(
        index in 0usize..19,
        values in proptest::collection::vec(proptest::option::of("\\PC{0,24}|legacy|regional|true|us-west-2"), 12),
        endpoint in proptest::option::of("\\PC{0,24}"),
    ) {
        let pairs = Environment::NAMES.into_iter().zip(values).filter_map(|(n, v)| Some((n, v?)));
        let environment = Environment::from_pairs(pairs);
        let code = Code { endpoint: endpoint.as_deref(), region: None };
        for release in [irsa_core::sdk::Release::Current, irsa_core::sdk::Release::Before20250731] {
            let sdk = Sdk { family: irsa_core::sdk::Family::ALL[index], release };
            let answer = sts(sdk, &environment, code, Call::Program);
            proptest::prop_assert!(!answer.class().is_empty());
            let _ = scope_cures(sdk, &environment, code);
        }
    }
}
