//! From annotations, ConfigMap and credentials file to identities, outside compatibility mode.

use irsa_core::annotations::{self, Problem};
use irsa_core::arn::{ArnError, Compose, RoleArn};
use irsa_core::endpoint::{ChoiceSource, EndpointType, Platform};
use irsa_core::identity::{ConfigMap, CredentialsFile, Known, Lookup, NoIdentity, ServiceAccount, resolve};
use irsa_core::settings::Settings;
use serde_json::json;

use crate::support::*;

fn said(annotations: &[(&str, &str)]) -> Vec<String> {
    let read = annotations::service_account("eks.amazonaws.com", None, annotations.iter().copied());
    read.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn every_wrong_annotation_is_told_with_place_value_and_cure() {
    for (key, value, expected) in [
        (
            "eks.amazonaws.com/sts-regional-endpoints",
            "regional",
            "service account annotation eks.amazonaws.com/sts-regional-endpoints is ignored: invalid boolean `regional`; use `true` for the regional endpoint or `false` for the global one",
        ),
        (
            "eks.amazonaws.com/sts-regional-endpoint",
            "true",
            "service account annotation eks.amazonaws.com/sts-regional-endpoint is ignored: it is not a known annotation; rename it to eks.amazonaws.com/sts-regional-endpoints",
        ),
        (
            "eks.amazon.com/role-arn",
            ROLE,
            "service account annotation eks.amazon.com/role-arn is ignored: it is not a known annotation; rename it to eks.amazonaws.com/role-arn",
        ),
        (
            "iam.amazonaws.com/role",
            "reader",
            "service account annotation iam.amazonaws.com/role is for kiam or kube2iam and has no effect here; use eks.amazonaws.com/role-arn with the full ARN",
        ),
        (
            "eks.amazonaws.com/role-arn",
            "arn:aws:iam:::111122223333:role/reader",
            "service account annotation eks.amazonaws.com/role-arn: STS will refuse `arn:aws:iam:::111122223333:role/reader`, which is not the ARN of a role: it does not have the form `arn:PARTITION:iam::ACCOUNT:role/NAME`: count the colons; use the form arn:aws:iam::111122223333:role/NAME",
        ),
        (
            "eks.amazonaws.com/token-expiration",
            "1h",
            "service account annotation eks.amazonaws.com/token-expiration is ignored: `1h` is not a whole number of seconds; use 600 to 86400",
        ),
        (
            "eks.amazonaws.com/token-expiration",
            "60",
            "service account annotation eks.amazonaws.com/token-expiration: `60` seconds is less than Kubernetes allows, so 600 is used; set at least 600",
        ),
        (
            "eks.amazonaws.com/token-expiration",
            "90000",
            "service account annotation eks.amazonaws.com/token-expiration: `90000` seconds is more than EKS allows, which silently uses 86400; set at most 86400",
        ),
        (
            "eks.amazonaws.com/audience",
            "",
            "service account annotation eks.amazonaws.com/audience is empty and is ignored; remove it, or set an audience such as sts.amazonaws.com",
        ),
        (
            "eks.amazonaws.com/skip-containers",
            "a",
            "service account annotation eks.amazonaws.com/skip-containers has no effect here: it is a pod annotation; remove it here and write it as a pod annotation",
        ),
    ] {
        assert_eq!(said(&[(key, value)]), [expected]);
    }
}

#[test]
fn misspelt_keys_are_recognised_and_others_are_left_in_peace() {
    for key in [
        "eks.amazonaws.com/role_arn",
        "eks.amazonaws.com/Role-ARN",
        "eks.amazonaws.com/rolearn",
        "eks.amazonaws.com/sts-regional-endpoits",
        "eks.amazonaws.com/token-expirations",
        "eks.amazonaw.com/role-arn",
        "amazonaws.com/role-arn",
        "iam.amazonaws.com/role-arn",
        "role-arn",
        "sts-regional-endpoints",
    ] {
        let said = said(&[(key, "x")]);
        assert!(
            said.len() == 1 && said[0].contains("rename it to eks.amazonaws.com/"),
            "{key}: {said:?}"
        );
        assert!(annotations::concerns("eks.amazonaws.com", key));
    }
    for key in [
        "eks.amazonaws.com/nodegroup",
        "eks.amazonaws.com/compute-type",
        "kubectl.kubernetes.io/last-applied-configuration",
        "meta.helm.sh/release-name",
        "audience",
        "example.com/role-arn",
        "eks.amazonaws.com/",
        "/role-arn",
        "",
    ] {
        assert_eq!(said(&[(key, "x")]), [] as [String; 0], "{key}");
        assert!(!annotations::concerns("eks.amazonaws.com", key));
    }
}

#[test]
fn beside_a_prefix_of_one_s_own_the_usual_one_belongs_to_another_webhook() {
    let read = |key| annotations::service_account("irsa.example.com", None, [(key, "x")]).warnings;
    assert!(read("eks.amazonaws.com/role-arn").is_empty());
    assert!(
        matches!(&read("irsa.exmple.com/role-arn")[0].problem, Problem::Misspelt { meant } if &**meant == "irsa.example.com/role-arn")
    );
}

#[test]
fn annotations_of_namespaces_and_pods_are_read_too() {
    let namespace = annotations::namespace(
        "eks.amazonaws.com",
        [("eks.amazonaws.com/sts-regional-endpoints", "T")],
    );
    assert_eq!(namespace.endpoint, Some(EndpointType::Regional));
    let bad = annotations::namespace(
        "eks.amazonaws.com",
        [
            ("eks.amazonaws.com/sts-regional-endpoints", "yes"),
            ("eks.amazonaws.com/role-arn", ROLE),
        ],
    );
    assert_eq!(bad.endpoint, None);
    assert_eq!(bad.warnings.len(), 2);
    let pod = annotations::pod(
        "eks.amazonaws.com",
        false,
        [
            ("eks.amazonaws.com/skip-containers", "a,\"b,c\""),
            ("eks.amazonaws.com/token-expiration", "3600"),
            ("eks.amazonaws.com/role-arn", ROLE),
        ],
    );
    assert_eq!(pod.skip.unwrap().iter().collect::<Vec<_>>(), ["a", "b,c"]);
    assert_eq!(pod.token_expiration, Some(3600));
    assert!(
        pod.warnings[0]
            .to_string()
            .contains("it is a service account annotation")
    );
}

#[test]
fn a_long_value_is_shortened_in_its_warning() {
    let long = "é".repeat(500);
    let said = said(&[("eks.amazonaws.com/role-arn", &long)]);
    assert!(said[0].len() < 400 && said[0].contains('…'));
}

#[test]
fn arns_are_checked_part_by_part() {
    let arn = RoleArn::parse("arn:aws-us-gov:iam::111122223333:role/team/a/reader").unwrap();
    assert_eq!(
        (arn.partition, arn.account, arn.path, arn.name),
        ("aws-us-gov", "111122223333", "team/a/", "reader")
    );
    assert_eq!(
        arn.to_string(),
        "arn:aws-us-gov:iam::111122223333:role/team/a/reader"
    );
    for (text, error) in [
        ("", ArnError::Empty),
        (" arn:aws:iam::111122223333:role/r", ArnError::WhiteSpace),
        ("reader", ArnError::NotAnArn),
        ("arn:aws:iam:111122223333:role/r", ArnError::Form),
        ("arn:aws:iam::111122223333", ArnError::Form),
        ("arn:gcp:iam::111122223333:role/r", ArnError::Partition),
        ("arn:aws:sts::111122223333:assumed-role/r/s", ArnError::Service),
        ("arn:aws:iam:us-west-2:111122223333:role/r", ArnError::Region),
        ("arn:aws:iam::11112222333:role/r", ArnError::Account),
        ("arn:aws:iam::111122223333:user/r", ArnError::NotARole),
        ("arn:aws:iam::111122223333:role/", ArnError::Name),
        ("arn:aws:iam::111122223333:role/a:b", ArnError::Name),
        ("arn:aws:iam::111122223333:role/é/b", ArnError::Path),
    ] {
        assert_eq!(RoleArn::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_service_account_that_does_not_concern_us_needs_no_memory() {
    let settings = settings();
    assert_eq!(
        ServiceAccount::from_annotations([("a", "b"), ("x/y", "z")], &settings),
        None
    );
    assert_eq!(ServiceAccount::from_annotations([], &settings), None);
    assert!(ServiceAccount::from_annotations([("eks.amazon.com/role-arn", ROLE)], &settings).is_some());
    assert!(size_of::<ServiceAccount>() <= 64);
}

#[test]
fn the_endpoint_type_is_decided_by_the_first_who_says_something() {
    let mut settings = Settings {
        flag: Some(EndpointType::Global),
        platform: Some(Platform::parse("1.29", None).unwrap()),
        ..settings()
    };
    let entry = json!({"ns/sa": {"RoleARN": ROLE, "UseRegionalSTS": true}}).to_string();
    let map = ConfigMap::parse(&entry, &settings).unwrap();
    let annotated = service_account(
        &[("sts-regional-endpoints", "false"), ("role-arn", ROLE)],
        &settings,
    )
    .unwrap();
    let plain = reader(&settings);
    let decide = |account, entry: bool, namespace, settings: &Settings| {
        let lookup = Lookup {
            service_account: Known::Annotated(account),
            config_map: map.find("ns", "sa").filter(|_| entry),
            namespace,
            container_credentials: false,
        };
        let choice = resolve(&lookup, settings).unwrap().choice;
        (choice.endpoint, choice.source)
    };
    use EndpointType::{Global, Regional};
    assert_eq!(
        decide(&annotated, true, Some(Regional), &settings),
        (Global, ChoiceSource::ServiceAccount)
    );
    assert_eq!(
        decide(&plain, true, Some(Global), &settings),
        (Regional, ChoiceSource::ConfigMap)
    );
    assert_eq!(
        decide(&plain, false, Some(Regional), &settings),
        (Regional, ChoiceSource::Namespace)
    );
    assert_eq!(
        decide(&plain, false, None, &settings),
        (Global, ChoiceSource::Flag)
    );
    settings.flag = None;
    assert_eq!(
        decide(&plain, false, None, &settings),
        (Regional, ChoiceSource::Platform)
    );
    settings.platform = None;
    assert_eq!(
        decide(&plain, false, None, &settings),
        (Global, ChoiceSource::Unset)
    );
    settings.namespace_defaults = false;
    assert_eq!(
        decide(&plain, false, Some(Regional), &settings),
        (Global, ChoiceSource::Unset)
    );
    settings.platform = Some(Platform::parse("1.24", Some("eks.1")).unwrap());
    assert_eq!(
        decide(&annotated, true, Some(Regional), &settings),
        (Global, ChoiceSource::PlatformTooOld)
    );
}

#[test]
fn a_pod_of_a_cluster_that_is_too_old_gets_no_endpoint_variable() {
    let settings = Settings {
        platform: Some(Platform::parse("1.22", Some("eks.9")).unwrap()),
        ..settings()
    };
    let account = service_account(
        &[("role-arn", ROLE), ("sts-regional-endpoints", "true")],
        &settings,
    )
    .unwrap();
    let after = patched(
        &pod_with_env(json!([])),
        &identity(&account, &settings),
        &settings,
    );
    assert!(env(&after).iter().all(|var| !var.starts_with("AWS_STS")));
}

#[test]
fn fields_of_the_config_map_fill_in_what_the_service_account_leaves_out() {
    let settings = settings();
    let document = json!({
        "ns/sa": {"RoleARN": "arn:aws:iam::111122223333:role/entry", "Audience": "amazonaws.com", "UseRegionalSTS": true, "TokenExpiration": 3600},
        "ns/bare": {"RoleARN": ROLE, "Audience": "", "TokenExpiration": 0},
        "ns/short": {"RoleARN": ROLE, "TokenExpiration": 60},
    });
    let map = ConfigMap::parse(&document.to_string(), &settings).unwrap();
    let entry = from_config_map(&map, "ns", "sa", &settings).unwrap();
    assert_eq!((entry.audience, entry.token_expiration), ("amazonaws.com", 3600));
    let bare = from_config_map(&map, "ns", "bare", &settings).unwrap();
    assert_eq!(
        (bare.audience, bare.token_expiration, bare.choice.source),
        ("sts.amazonaws.com", 86400, ChoiceSource::Unset)
    );
    assert_eq!(
        from_config_map(&map, "ns", "short", &settings)
            .unwrap()
            .token_expiration,
        600
    );
    assert_eq!(map.warnings().len(), 1);

    // Annotations without a role: the entry's role, with their endpoint type and validity.
    let account = service_account(
        &[("sts-regional-endpoints", "false"), ("token-expiration", "7200")],
        &settings,
    )
    .unwrap();
    let lookup = Lookup {
        service_account: Known::Annotated(&account),
        config_map: map.find("ns", "sa"),
        ..Lookup::NOTHING
    };
    let mixed = resolve(&lookup, &settings).unwrap();
    assert_eq!(
        (mixed.audience, mixed.token_expiration, mixed.choice.endpoint),
        ("amazonaws.com", 7200, EndpointType::Global)
    );

    // A role of its own: audience and validity of the entry belong to the entry's role.
    let account = reader(&settings);
    let lookup = Lookup {
        service_account: Known::Annotated(&account),
        config_map: map.find("ns", "sa"),
        ..Lookup::NOTHING
    };
    let own = resolve(&lookup, &settings).unwrap();
    assert_eq!(
        (own.audience, own.token_expiration, own.choice.endpoint),
        ("sts.amazonaws.com", 86400, EndpointType::Regional)
    );
}

#[test]
fn patterns_of_namespaces_match_the_most_specific_first() {
    let settings = settings();
    let role = |name: &str| json!({"RoleARN": format!("arn:aws:iam::111122223333:role/{name}")});
    let document = json!({
        "*/sa": role("all"), "test-*/sa": role("test"), "test-a*/sa": role("test-a"), "test-abc/sa": role("exact"), "p?d/sa": role("one"),
        "*/only-here": role("only-here"),
    });
    let map = ConfigMap::parse(&document.to_string(), &settings).unwrap();
    for (namespace, expected) in [
        ("test-abc", "exact"),
        ("test-ab", "test-a"),
        ("test-", "test"),
        ("test-x-a", "test"),
        ("pod", "one"),
        ("pood", "all"),
        ("", "all"),
    ] {
        let arn = map.find(namespace, "sa").unwrap().role_arn().unwrap();
        assert_eq!(arn.rsplit('/').next(), Some(expected), "{namespace}");
    }
    assert!(map.find("test-abc", "only-here").is_some());
    assert!(map.find("test-abc", "other").is_none());
}

#[test]
fn a_broken_entry_harms_only_itself() {
    let settings = settings();
    let document = json!({
        "no-slash": {"RoleARN": ROLE}, "ns/null": null, "ns/list": [], "a/b/c": {"RoleARN": ROLE}, "/sa": {"RoleARN": ROLE},
        "ns/types": {"RoleARN": ROLE, "Audience": 1, "UseRegionalSTS": "true", "TokenExpiration": "x"},
        "ns/no-role": {"Audience": "a"}, "ns/bad-role": {"RoleARN": "reader"}, "ns/good": {"RoleARN": ROLE},
    });
    let map = ConfigMap::parse(&document.to_string(), &settings).unwrap();
    let said: Vec<String> = map.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 10, "{said:#?}");
    assert!(said.iter().any(|w| w == "entry of the pod-identity-webhook ConfigMap `no-slash` is ignored: its key is not of the form namespace/serviceaccount; write the key as namespace/serviceaccount"));
    assert!(said.iter().any(|w| w.contains(
        "UseRegionalSTS `\"true\"` is ignored, because it is not `true` or `false` without quotes"
    )));
    for name in ["types", "bad-role", "good"] {
        assert!(from_config_map(&map, "ns", name, &settings).is_ok(), "{name}");
    }
    assert_eq!(
        from_config_map(&map, "ns", "no-role", &settings),
        Err(NoIdentity::NoRole)
    );
    for text in ["", "[]", "{", "null"] {
        let error = ConfigMap::parse(text, &settings).unwrap_err().to_string();
        assert!(
            error.starts_with("`config` of the pod-identity-webhook ConfigMap is not usable: "),
            "{error}"
        );
    }
}

#[test]
fn names_of_roles_are_composed_in_entries_too() {
    let compose = Compose {
        account: "111122223333".into(),
        partition: "aws-us-gov".into(),
    };
    let settings = Settings {
        compose: Some(compose),
        ..settings()
    };
    let map = ConfigMap::parse(&json!({"ns/sa": {"RoleARN": "a/b"}}).to_string(), &settings).unwrap();
    assert_eq!(
        map.find("ns", "sa").unwrap().role_arn(),
        Some("arn:aws-us-gov:iam::111122223333:role/a/b")
    );
    let account = service_account(&[("role-arn", "bad name")], &settings).unwrap();
    assert!(account.warnings()[0].to_string().contains("white space"));
}

#[test]
fn the_credentials_file_lists_service_accounts_and_survives_bad_entries() {
    let file = CredentialsFile::parse(
        br#"{"identities":[{"namespace":"b","serviceAccount":"x"},{"namespace":"a","serviceAccount":"y"},{"namespace":"a"},7,{"Namespace":"c","serviceaccount":"z"}]}"#,
    )
    .unwrap();
    assert!(
        file.contains("a", "y")
            && file.contains("b", "x")
            && file.contains("c", "z")
            && !file.contains("a", "x")
    );
    assert_eq!(file.len(), 3);
    assert!(
        file.warnings()[0]
            .to_string()
            .contains("`identities[2]` is ignored")
    );
    for empty in ["", "  \n", "{}", r#"{"identities":null}"#, r#"{"identities":[]}"#] {
        assert!(
            CredentialsFile::parse(empty.as_bytes()).unwrap().is_empty(),
            "{empty:?}"
        );
    }
    assert!(CredentialsFile::parse(b"{").is_err());
    assert!(
        CredentialsFile::parse(br#"{"identities":7}"#)
            .unwrap_err()
            .to_string()
            .contains("a number, not a list")
    );
}

#[test]
fn container_credentials_follow_the_same_sources_as_any_other_service_account() {
    let mut settings = Settings {
        flag: Some(EndpointType::Regional),
        ..settings()
    };
    settings.set_token_expiration(3600);
    let entry = json!({"*/sa": {"RoleARN": ROLE, "UseRegionalSTS": false, "TokenExpiration": 7200}});
    let map = ConfigMap::parse(&entry.to_string(), &settings).unwrap();
    let resolved = |service_account, config_map| {
        let lookup = Lookup {
            service_account,
            config_map,
            namespace: None,
            container_credentials: true,
        };
        let identity = resolve(&lookup, &settings).unwrap();
        (
            identity.choice.endpoint,
            identity.choice.source,
            identity.token_expiration,
        )
    };
    use EndpointType::{Global, Regional};
    assert_eq!(
        resolved(Known::Unknown, None),
        (Regional, ChoiceSource::Flag, 3600)
    );
    assert_eq!(
        resolved(Known::Unknown, map.find("ns", "sa")),
        (Global, ChoiceSource::ConfigMap, 7200)
    );
    let account = service_account(
        &[("sts-regional-endpoints", "true"), ("token-expiration", "900")],
        &settings,
    )
    .unwrap();
    assert_eq!(
        resolved(Known::Annotated(&account), map.find("ns", "sa")),
        (Regional, ChoiceSource::ServiceAccount, 900)
    );
}

#[test]
fn a_validity_that_the_api_server_would_refuse_is_cut_to_what_it_takes() {
    let settings = settings();
    let account = service_account(
        &[("role-arn", ROLE), ("token-expiration", "9000000000")],
        &settings,
    )
    .unwrap();
    let after = patched(
        &pod_with_env(json!([])),
        &identity(&account, &settings),
        &settings,
    );
    let token = &after["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["expirationSeconds"], 4_294_967_296_i64);
    assert!(account.warnings()[0].to_string().contains("more than EKS allows"));
}

#[test]
fn an_empty_config_map_knows_nobody() {
    let map = ConfigMap::default();
    assert!(
        map.find("kube-system", "aws-node").is_none()
            && map.entries().next().is_none()
            && map.warnings().is_empty()
    );
}
