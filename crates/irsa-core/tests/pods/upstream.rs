//! `--compat upstream`: the same pod after the patch as with the Go webhook.

use irsa_core::endpoint::EndpointType;
use irsa_core::identity::{ConfigMap, CredentialsFile, Identity, Known, Lookup, Method, NoIdentity, resolve};
use irsa_core::settings::Settings;
use serde_json::{Value, json};

use crate::support::*;
use crate::upstream_model::{Flags, Found, mutate};

pub(crate) fn upstream() -> Settings {
    settings().upstream()
}

pub(crate) fn flags(settings: &Settings, container_credentials: bool) -> Flags {
    let own = &settings.container_credentials;
    let (mount_path, volume_name, token_path) = if container_credentials {
        (&own.mount_path, &own.volume_name, &own.token_path)
    } else {
        (&settings.mount_path, &settings.volume_name, &settings.token_path)
    };
    Flags {
        region: settings.region.as_deref().unwrap_or_default().to_owned(),
        mount_path: mount_path.to_string(),
        volume_name: volume_name.to_string(),
        token_path: token_path.to_string(),
        full_uri: own.full_uri.to_string(),
    }
}

pub(crate) fn found(identity: &Identity<'_>) -> Found {
    Found {
        role_arn: match identity.method {
            Method::WebIdentity { role_arn } => Some(role_arn.to_owned()),
            Method::ContainerCredentials => None,
        },
        audience: identity.audience.to_owned(),
        regional: identity.choice.endpoint == EndpointType::Regional,
        token_expiration: identity.token_expiration,
    }
}

fn assert_same(pod: &Value, annotations: &[(&str, &str)], settings: &Settings) {
    let account = service_account(annotations, settings).unwrap();
    let identity = identity(&account, settings);
    let container_credentials = identity.method == Method::ContainerCredentials;
    let expected = mutate(pod, &found(&identity), &flags(settings, container_credentials));
    assert_eq!(patched(pod, &identity, settings), expected);
}

#[test]
fn a_pod_that_needs_everything_gets_the_volume_first_and_the_variables_in_the_same_order() {
    let settings = Settings {
        flag: Some(EndpointType::Regional),
        ..upstream()
    };
    let mut pod = pod_with_env(json!([{"name": "A", "value": "1"}]));
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    assert_same(&pod, &[("role-arn", ROLE)], &settings);
    let account = reader(&settings);
    let after = patched(&pod, &identity(&account, &settings), &settings);
    assert_eq!(after["spec"]["volumes"][0]["name"], "aws-iam-token");
    assert_eq!(
        env(&after),
        [
            "A=1",
            "AWS_STS_REGIONAL_ENDPOINTS=regional",
            "AWS_DEFAULT_REGION=us-west-2",
            "AWS_REGION=us-west-2",
            &format!("AWS_ROLE_ARN={ROLE}"),
            &format!("AWS_WEB_IDENTITY_TOKEN_FILE={TOKEN_FILE}"),
        ]
    );
}

#[test]
fn global_writes_nothing_whoever_chose_it() {
    let settings = Settings {
        flag: Some(EndpointType::Regional),
        ..upstream()
    };
    let account = service_account(
        &[("role-arn", ROLE), ("sts-regional-endpoints", "false")],
        &settings,
    )
    .unwrap();
    let after = patched(
        &pod_with_env(json!([])),
        &identity(&account, &settings),
        &settings,
    );
    assert!(
        env(&after).iter().all(|var| !var.starts_with("AWS_STS")),
        "{after}"
    );
}

#[test]
fn either_region_variable_suppresses_both() {
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let pod = pod_with_env(json!([{"name": name, "value": "eu-west-1"}]));
        assert_same(&pod, &[("role-arn", ROLE)], &upstream());
        let settings = upstream();
        let account = reader(&settings);
        let after = patched(&pod, &identity(&account, &settings), &settings);
        assert_eq!(
            env(&after).iter().filter(|var| var.contains("REGION=")).count(),
            1
        );
    }
}

#[test]
fn either_identity_variable_suppresses_both_and_the_mount_still_comes() {
    for name in ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        let pod = pod_with_env(json!([{"name": name, "value": "mine"}]));
        assert_same(&pod, &[("role-arn", ROLE)], &upstream());
        let settings = upstream();
        let account = reader(&settings);
        let after = patched(&pod, &identity(&account, &settings), &settings);
        assert_eq!(
            after["spec"]["containers"][0]["volumeMounts"][0]["name"],
            "aws-iam-token"
        );
    }
}

#[test]
fn a_container_with_a_variable_of_each_group_is_left_alone_but_the_pod_gets_the_volume() {
    let pod = pod_with_env(json!([
        {"name": "AWS_ROLE_ARN", "value": "mine"},
        {"name": "AWS_REGION", "value": "eu-west-1"},
        {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "legacy"},
    ]));
    assert_same(&pod, &[("role-arn", ROLE)], &upstream());
}

#[test]
fn all_containers_skipped_still_gives_the_pod_its_volume() {
    let mut pod = pod_with_env(json!([]));
    pod["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": "main"});
    assert_same(&pod, &[("role-arn", ROLE)], &upstream());
}

#[test]
fn names_in_skip_containers_keep_their_white_space() {
    let settings = upstream();
    let account = reader(&settings);
    let mut pod = pod(json!([{"name": "a"}, {"name": "b"}]));
    pod["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": "a, b"});
    let after = patched(&pod, &identity(&account, &settings), &settings);
    assert!(env_of(&after["spec"]["containers"][0]).is_empty());
    assert!(!env_of(&after["spec"]["containers"][1]).is_empty());
}

#[test]
fn a_list_that_is_no_csv_skips_nobody_and_quotes_are_understood() {
    let settings = upstream();
    let account = reader(&settings);
    for (list, skipped) in [
        ("a\"b", false),
        ("\"main\"", true),
        ("\"x\"y", false),
        ("\n\nmain\nother", true),
        ("", false),
    ] {
        let mut pod = pod_with_env(json!([]));
        pod["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": list});
        let after = patched(&pod, &identity(&account, &settings), &settings);
        assert_eq!(env(&after).is_empty(), skipped, "{list:?}");
    }
}

#[test]
fn only_the_node_selector_makes_a_pod_a_windows_pod() {
    let settings = upstream();
    let account = reader(&settings);
    let mut pod = pod_with_env(json!([]));
    pod["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "windows"});
    assert_same(&pod, &[("role-arn", ROLE)], &settings);
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"});
    assert_same(&pod, &[("role-arn", ROLE)], &settings);
    pod["spec"]["nodeSelector"] = json!({});
    pod["spec"]["os"] = json!({"name": "windows"});
    let after = patched(&pod, &identity(&account, &settings), &settings);
    assert!(env(&after).last().unwrap().ends_with(TOKEN_FILE));
}

#[test]
fn a_mount_of_the_volume_anywhere_counts_and_a_mount_at_its_path_does_not() {
    let settings = upstream();
    for mount in [
        json!({"name": "aws-iam-token", "mountPath": "/elsewhere"}),
        json!({"name": "mine", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount"}),
    ] {
        let pod = pod(json!([{"name": "main", "volumeMounts": [mount]}]));
        assert_same(&pod, &[("role-arn", ROLE)], &settings);
    }
}

#[test]
fn expiration_is_taken_from_the_pod_then_the_service_account_then_the_flag_with_a_floor_and_no_ceiling() {
    let mut settings = upstream();
    settings.set_token_expiration(60);
    assert_eq!(settings.token_expiration, 600);
    settings.set_token_expiration(7200);
    let seconds = |pod: &Value, annotations: &[(&str, &str)]| {
        let account = service_account(annotations, &settings).unwrap();
        let after = patched(pod, &identity(&account, &settings), &settings);
        after["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"]
            .as_i64()
            .unwrap()
    };
    let plain = pod_with_env(json!([]));
    assert_eq!(seconds(&plain, &[("role-arn", ROLE)]), 7200);
    assert_eq!(
        seconds(&plain, &[("role-arn", ROLE), ("token-expiration", "10000")]),
        10000
    );
    assert_eq!(
        seconds(&plain, &[("role-arn", ROLE), ("token-expiration", "-5")]),
        600
    );
    assert_eq!(
        seconds(&plain, &[("role-arn", ROLE), ("token-expiration", "ten")]),
        7200
    );
    assert_eq!(
        seconds(&plain, &[("role-arn", ROLE), ("token-expiration", "9000000000")]),
        9_000_000_000
    );
    let mut own = plain.clone();
    own["metadata"]["annotations"] = json!({"eks.amazonaws.com/token-expiration": "1"});
    assert_eq!(
        seconds(&own, &[("role-arn", ROLE), ("token-expiration", "10000")]),
        600
    );
    own["metadata"]["annotations"] = json!({"eks.amazonaws.com/token-expiration": "x"});
    assert_eq!(
        seconds(&own, &[("role-arn", ROLE), ("token-expiration", "10000")]),
        10000
    );
}

#[test]
fn an_empty_audience_is_the_api_servers_own() {
    let settings = upstream();
    let account = service_account(&[("role-arn", ROLE), ("audience", "")], &settings).unwrap();
    let after = patched(
        &pod_with_env(json!([])),
        &identity(&account, &settings),
        &settings,
    );
    let token = &after["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token, &json!({"expirationSeconds": 86400, "path": "token"}));
}

#[test]
fn a_service_account_without_a_role_is_left_alone_whatever_else_it_says() {
    let settings = upstream();
    let account = service_account(&[("sts-regional-endpoints", "true")], &settings).unwrap();
    let lookup = Lookup {
        service_account: Known::Annotated(&account),
        ..Lookup::NOTHING
    };
    assert_eq!(resolve(&lookup, &settings), Err(NoIdentity::NoRole));
    assert_eq!(
        resolve(&Lookup::NOTHING, &settings),
        Err(NoIdentity::ServiceAccountUnknown)
    );
    let plain = Lookup {
        service_account: Known::Plain,
        ..Lookup::NOTHING
    };
    assert_eq!(resolve(&plain, &settings), Err(NoIdentity::NoRole));
}

#[test]
fn an_entry_of_the_config_map_brings_all_its_fields_or_their_zero_values() {
    let settings = Settings {
        flag: Some(EndpointType::Regional),
        ..upstream()
    };
    let map = ConfigMap::parse(
        &json!({
            "kube-system/bare": {"RoleARN": ROLE},
            "kube-system/full": {"rolearn": ROLE, "audience": "amazonaws.com", "USEREGIONALSTS": true, "tokenExpiration": 60},
            "*/any": {"RoleARN": ROLE, "UseRegionalSTS": true},
            "test-*/glob": {"RoleARN": ROLE},
        })
        .to_string(),
        &settings,
    )
    .unwrap();
    let bare = from_config_map(&map, "kube-system", "bare", &settings).unwrap();
    assert_eq!(
        (bare.audience, bare.token_expiration, bare.choice.endpoint),
        ("", 86400, EndpointType::Global)
    );
    let full = from_config_map(&map, "kube-system", "full", &settings).unwrap();
    assert_eq!(
        (full.audience, full.token_expiration, full.choice.endpoint),
        ("amazonaws.com", 60, EndpointType::Regional)
    );
    assert!(from_config_map(&map, "anywhere", "any", &settings).is_ok());
    assert_eq!(
        from_config_map(&map, "test-1", "glob", &settings),
        Err(NoIdentity::NoRole)
    );
}

#[test]
fn the_service_account_with_a_role_wins_over_its_entry_as_a_whole_and_without_one_loses_as_a_whole() {
    let settings = upstream();
    let entry = json!({"a/b": {"RoleARN": "arn:aws:iam::111122223333:role/entry", "UseRegionalSTS": true}});
    let map = ConfigMap::parse(&entry.to_string(), &settings).unwrap();
    let resolved = |annotations: &[(&str, &str)]| {
        let account = service_account(annotations, &settings).unwrap();
        let lookup = Lookup {
            service_account: Known::Annotated(&account),
            config_map: map.find("a", "b"),
            ..Lookup::NOTHING
        };
        found(&resolve(&lookup, &settings).unwrap())
    };
    let own = resolved(&[("role-arn", ROLE)]);
    assert_eq!((own.role_arn.as_deref(), own.regional), (Some(ROLE), false));
    let entry = resolved(&[("sts-regional-endpoints", "false")]);
    assert!(entry.role_arn.unwrap().ends_with("/entry"));
    assert!(entry.regional);
}

#[test]
fn container_credentials_take_precedence_and_label_the_pod() {
    let settings = Settings {
        flag: Some(EndpointType::Regional),
        ..upstream()
    };
    let file = CredentialsFile::parse(
        br#"{"identities":[{"namespace":"kube-system","serviceAccount":"aws-node"}]}"#,
    )
    .unwrap();
    let account = reader(&settings);
    for (known, labels) in [
        (Known::Annotated(&account), json!({"a": "b"})),
        (Known::Plain, Value::Null),
    ] {
        let lookup = Lookup {
            service_account: known,
            container_credentials: file.contains("kube-system", "aws-node"),
            ..Lookup::NOTHING
        };
        let identity = resolve(&lookup, &settings).unwrap();
        let mut pod = pod_with_env(json!([{"name": "AWS_ROLE_ARN", "value": "mine"}]));
        if labels.is_null() {
            pod["metadata"].as_object_mut().unwrap().remove("labels");
        } else {
            pod["metadata"]["labels"] = labels;
        }
        let after = patched(&pod, &identity, &settings);
        assert_eq!(after, mutate(&pod, &found(&identity), &flags(&settings, true)));
        assert_eq!(
            after["metadata"]["labels"]["eks.amazonaws.com/pod-identity"],
            "enabled"
        );
        assert_eq!(after["spec"]["volumes"][0]["name"], "eks-pod-identity-token");
        assert!(env(&after).contains(&"AWS_STS_REGIONAL_ENDPOINTS=regional".to_owned()));
    }
}

#[test]
fn container_credentials_of_an_unknown_service_account_ignore_the_flag_and_the_entry_of_every_namespace() {
    let mut settings = Settings {
        flag: Some(EndpointType::Regional),
        ..upstream()
    };
    settings.set_token_expiration(3600);
    let map = ConfigMap::parse(
        &json!({"*/sa": {"RoleARN": ROLE, "UseRegionalSTS": true}}).to_string(),
        &settings,
    )
    .unwrap();
    let lookup = Lookup {
        config_map: map.find("ns", "sa"),
        container_credentials: true,
        ..Lookup::NOTHING
    };
    let identity = resolve(&lookup, &settings).unwrap();
    assert_eq!(
        (identity.choice.endpoint, identity.token_expiration),
        (EndpointType::Global, 86400)
    );
}

#[test]
fn the_default_validity_of_container_credentials_is_spread_between_79200_and_86400_seconds() {
    let settings = upstream();
    let lookup = Lookup {
        container_credentials: true,
        service_account: Known::Plain,
        ..Lookup::NOTHING
    };
    let identity = resolve(&lookup, &settings).unwrap();
    let bytes = serde_json::to_vec(&pod_with_env(json!([]))).unwrap();
    let pod = irsa_core::pod::Pod::parse(&bytes).unwrap();
    let mut seen = Vec::new();
    for random in [0, 1, 7200, 7201, u32::MAX] {
        let outcome = pod.patch(&identity, &settings, random).unwrap();
        let text = String::from_utf8(outcome.patch).unwrap();
        let (_, after) = text.split_once("\"expirationSeconds\":").unwrap();
        seen.push(after.split_once(',').unwrap().0.parse::<i64>().unwrap());
    }
    assert_eq!(seen[..4], [79200, 79201, 86400, 79200]);
    assert!((79200..=86400).contains(&seen[4]));
}

#[test]
fn paths_are_joined_as_go_joins_them() {
    for (mount, expected) in [
        ("/a//b/", "/a/b/token"),
        ("/a/../b/.", "/b/token"),
        ("rel/x", "rel/x/token"),
        ("/..", "/token"),
    ] {
        let settings = Settings {
            mount_path: mount.into(),
            ..upstream()
        };
        let account = reader(&settings);
        let after = patched(
            &pod_with_env(json!([])),
            &identity(&account, &settings),
            &settings,
        );
        assert_eq!(
            env(&after).last().unwrap(),
            &format!("AWS_WEB_IDENTITY_TOKEN_FILE={expected}")
        );
        assert_eq!(
            after["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
            mount
        );
    }
}

#[test]
fn a_role_that_is_no_arn_is_written_as_it_is_and_composed_only_if_that_is_set() {
    let settings = upstream();
    let account = service_account(&[("role-arn", "just-a-name")], &settings).unwrap();
    assert_eq!(
        found(&identity(&account, &settings)).role_arn.as_deref(),
        Some("just-a-name")
    );
    let compose = irsa_core::arn::Compose {
        account: "111122223333".into(),
        partition: "aws-cn".into(),
    };
    let settings = Settings {
        compose: Some(compose),
        ..upstream()
    };
    for (written, meant) in [
        ("path/name", "arn:aws-cn:iam::111122223333:role/path/name"),
        ("", "arn:aws-cn:iam::111122223333:role/"),
        (ROLE, ROLE),
    ] {
        let account = service_account(&[("role-arn", written)], &settings).unwrap();
        assert_eq!(
            found(&identity(&account, &settings)).role_arn.as_deref(),
            Some(meant)
        );
    }
}
