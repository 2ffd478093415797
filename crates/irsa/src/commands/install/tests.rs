//! The manifests are valid for the webhook, the API server and kubectl.

use clap::Parser;
use serde_json::json;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn plan(words: &[&str]) -> anyhow::Result<Plan> {
    let args = Line::try_parse_from(std::iter::once("install").chain(words.iter().copied()))?.args;
    let region = args.region.clone();
    args.plan(region)
}

fn objects(words: &[&str]) -> Vec<Value> {
    plan(words).unwrap().objects()
}

fn find(objects: &[Value], kind: &str) -> Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}"))
        .clone()
}

fn webhook_args(objects: &[Value]) -> Vec<String> {
    let args = find(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    serde_json::from_value(args).unwrap()
}

const VARIANTS: [&[&str]; 6] = [
    &[],
    &["--profile=kops", "--region=eu-west-1"],
    &[
        "--certificates=cert-manager",
        "--host-network",
        "--service-monitor",
        "--opt-in=false",
        "--network-policy=false",
    ],
    &[
        "--sts-regional-endpoint",
        "--watch-config-map",
        "--set",
        "compat=upstream",
        "--namespace=identity",
        "--name=x",
    ],
    &[
        "--set=compose-role-arn=true",
        "--set=global-endpoint-value=legacy",
        "--replicas=3",
        "--failure-policy=fail",
    ],
    &["--annotation-prefix=irsa.example.com"],
];

#[test]
fn every_variant_prints_documents_that_read_back_as_they_are() {
    for words in VARIANTS {
        for object in objects(words) {
            let text = serde_saphyr::to_string(&object).unwrap();
            let read: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(read, object, "{words:?}\n{text}");
        }
    }
}

#[test]
fn every_variant_gives_the_webhook_flags_that_it_has_and_ports_that_agree() {
    for words in VARIANTS {
        let objects = objects(words);
        let args = webhook_args(&objects);
        assert_eq!(args[0], "webhook");
        WebhookLine::try_parse_from(&args).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let service = find(&objects, "Service");
        for (index, (name, flag)) in [("admission", "--port"), ("metrics", "--metrics-port")]
            .into_iter()
            .enumerate()
        {
            assert_eq!(service["spec"]["ports"][index]["targetPort"], name);
            assert_eq!(container["ports"][index]["name"], name);
            assert!(
                args.contains(&format!("{flag}={}", container["ports"][index]["containerPort"])),
                "{args:?}"
            );
        }
    }
}

#[test]
fn the_webhook_is_not_called_for_its_own_pods() {
    for words in VARIANTS {
        let objects = objects(words);
        let labels = find(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"].clone();
        for webhook in find(&objects, "MutatingWebhookConfiguration")["webhooks"]
            .as_array()
            .unwrap()
        {
            let excluded = &webhook["objectSelector"]["matchExpressions"][0];
            assert_eq!(excluded["operator"], "DoesNotExist");
            assert!(
                labels.get(excluded["key"].as_str().unwrap()).is_some(),
                "{words:?}"
            );
        }
    }
}

#[test]
fn exactly_one_webhook_entry_matches_each_pod() {
    let configuration = find(&objects(&[]), "MutatingWebhookConfiguration");
    let matches = |selector: &Value, label: Option<&str>| {
        selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|condition| match condition["operator"].as_str() {
                Some("In") => label == Some("required"),
                Some("NotIn") => label != Some("required"),
                _ => true,
            })
    };
    for (pod, namespace, expected) in [
        (None, None, ("pods.irsa.dev", "Ignore")),
        (Some("optional"), None, ("pods.irsa.dev", "Ignore")),
        (Some("required"), None, ("required-pods.irsa.dev", "Fail")),
        (
            Some("required"),
            Some("required"),
            ("required-pods.irsa.dev", "Fail"),
        ),
        (None, Some("required"), ("required-namespaces.irsa.dev", "Fail")),
    ] {
        let asked: Vec<_> = configuration["webhooks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|webhook| {
                matches(&webhook["objectSelector"], pod) && matches(&webhook["namespaceSelector"], namespace)
            })
            .map(|webhook| {
                (
                    webhook["name"].as_str().unwrap(),
                    webhook["failurePolicy"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(asked, [expected], "{pod:?} in {namespace:?}");
    }
}

#[test]
fn the_kops_profile_has_the_settings_of_kops() {
    let objects = objects(&["--profile=kops"]);
    let args = webhook_args(&objects);
    for arg in [
        "--token-audience=amazonaws.com",
        "--watch-config-map=true",
        "--sts-regional-endpoint=true",
        "--namespace=kube-system",
        "--kubernetes=none",
    ] {
        assert!(args.contains(&arg.to_owned()), "{arg} in {args:?}");
    }
    assert!(objects.iter().all(|object| object["kind"] != "Namespace"));
    let configuration = find(&objects, "MutatingWebhookConfiguration");
    assert_eq!(configuration["webhooks"][0]["failurePolicy"], "Fail");
    let expressions = &configuration["webhooks"][0]["objectSelector"]["matchExpressions"];
    assert_eq!(
        expressions[1],
        json!({"key": "kops.k8s.io/managed-by", "operator": "NotIn", "values": ["kops"]})
    );
    assert_eq!(
        expressions[2],
        json!({"key": "k8s-app", "operator": "NotIn", "values": ["kube-apiserver"]})
    );
}

#[test]
fn roles_grant_only_what_the_flags_need() {
    let rules = |words: &[&str]| {
        let objects = objects(words);
        objects
            .iter()
            .filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role")
            .flat_map(|role| role["rules"].as_array().unwrap().clone())
            .flat_map(|rule| {
                let resource = rule["resources"][0].as_str().unwrap().to_owned();
                rule["verbs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|verb| format!("{} {resource}", verb.as_str().unwrap()))
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        rules(&["--certificates=cert-manager", "--set=compat=upstream"]),
        [
            "get serviceaccounts",
            "list serviceaccounts",
            "watch serviceaccounts"
        ]
    );
    assert_eq!(
        rules(&["--watch-config-map"]),
        [
            "get serviceaccounts",
            "list serviceaccounts",
            "watch serviceaccounts",
            "list namespaces",
            "watch namespaces",
            "get mutatingwebhookconfigurations",
            "list mutatingwebhookconfigurations",
            "watch mutatingwebhookconfigurations",
            "update mutatingwebhookconfigurations",
            "create secrets",
            "get secrets",
            "update secrets",
            "list configmaps",
            "watch configmaps",
        ]
    );
    assert!(!rules(&[]).iter().any(|rule| rule.ends_with("configmaps")));
}

#[test]
fn contradictory_and_unknown_flags_are_rejected_with_a_reason() {
    for (words, part) in [
        (
            &["--set", "no-such-flag=1"] as &[_],
            "the webhook would not start with these flags: unexpected argument '--no-such-flag'",
        ),
        (&["--set=token-expiration=soon"], "invalid value 'soon'"),
        (
            &["--set=port=1"],
            "--set port cannot be used: the Service expects port 9443",
        ),
        (&["--set=compat"], "expected NAME=VALUE"),
        (&["--certificates=files"], "requires --tls-secret"),
        (
            &[
                "--certificates=files",
                "--tls-secret=x",
                "--ca-bundle=/no/such/file",
            ],
            "reading --ca-bundle /no/such/file",
        ),
        (
            &["--certificates=files", "--tls-secret=x", "--ca-bundle=/dev/null"],
            "does not contain a PEM certificate",
        ),
        (
            &["--ca-bundle=/dev/null"],
            "can only be used with --certificates=files",
        ),
        (&["--name=Bad_Name"], "invalid name `Bad_Name` for --name"),
        (&["--namespace=-x"], "invalid name `-x` for --namespace"),
        (
            &["--namespace=kube-system", "--create-namespace"],
            "every cluster already has the namespace kube-system",
        ),
        (
            &["--api-server-cidr=10.0.0.0/33"],
            "expected an address range such as 10.0.0.0/16",
        ),
        (&["--metrics-namespace=monitoring"], "expected KEY=VALUE"),
    ] {
        let error = format!("{:#}", plan(words).unwrap_err());
        assert!(error.contains(part), "{words:?}: {error}");
    }
}

#[test]
fn the_ca_of_certificate_files_is_set_in_every_webhook_entry() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let bundle = format!("--ca-bundle={}", file.path().display());
    let objects = objects(&["--certificates=files", "--tls-secret=mine", &bundle]);
    for webhook in find(&objects, "MutatingWebhookConfiguration")["webhooks"]
        .as_array()
        .unwrap()
    {
        assert!(
            webhook["clientConfig"]["caBundle"]
                .as_str()
                .unwrap()
                .starts_with("LS0tLS1CRUdJTi")
        );
    }
    let pod = find(&objects, "Deployment")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "mine");
    assert!(webhook_args(&objects).contains(&"--in-cluster=false".to_owned()));
}

#[test]
fn uninstall_lists_the_installed_objects_in_reverse_order() {
    for words in VARIANTS {
        let plan = plan(words).unwrap();
        let removed = removal(&plan);
        assert_eq!(removed[0]["kind"], "MutatingWebhookConfiguration");
        let key = |object: &Value| {
            (
                object["kind"].clone(),
                object["metadata"]["name"].clone(),
                object["metadata"].get("namespace").cloned(),
            )
        };
        for object in plan.objects() {
            assert!(
                removed.iter().any(|removed| key(removed) == key(&object)),
                "{}",
                object["kind"]
            );
        }
        let secrets = removed.iter().filter(|object| object["kind"] == "Secret").count();
        assert_eq!(secrets, usize::from(plan.certificates == Certificates::Own));
    }
}

#[test]
fn only_a_namespace_that_the_installation_creates_is_labelled_and_deleted() {
    for (words, created) in [
        (&[] as &[_], Some("irsa-system")),
        (&["--namespace=shared"], None),
        (&["--namespace=own", "--create-namespace"], Some("own")),
        (&["--create-namespace=false"], None),
    ] {
        let plan = plan(words).unwrap();
        let name_of_namespace = |objects: &[Value]| {
            let namespace = objects.iter().find(|object| object["kind"] == "Namespace");
            namespace.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        };
        assert_eq!(
            name_of_namespace(&plan.objects()).as_deref(),
            created,
            "{words:?}"
        );
        assert_eq!(
            name_of_namespace(&removal(&plan)).as_deref(),
            created,
            "{words:?}"
        );
    }
    let namespace = find(&objects(&[]), "Namespace");
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
}

#[test]
fn an_update_in_the_network_of_the_node_does_not_wait_for_a_port_that_is_in_use() {
    let rolling =
        |words: &[&str]| find(&objects(words), "Deployment")["spec"]["strategy"]["rollingUpdate"].clone();
    assert_eq!(
        rolling(&["--host-network"]),
        json!({"maxUnavailable": 1, "maxSurge": 0})
    );
    assert_eq!(rolling(&[]), json!({"maxUnavailable": 0, "maxSurge": 1}));
}

#[test]
fn the_network_policy_restricts_sources_as_told() {
    let ingress = |words: &[&str]| find(&objects(words), "NetworkPolicy")["spec"]["ingress"].clone();
    let admission = json!([{"port": 9443, "protocol": "TCP"}]);
    let metrics = json!([{"port": 9999, "protocol": "TCP"}]);
    assert_eq!(ingress(&[]), json!([{"ports": admission}, {"ports": metrics}]));
    assert_eq!(
        ingress(&[
            "--api-server-cidr=10.0.0.0/16,fd00::/8",
            "--metrics-namespace=kubernetes.io/metadata.name=monitoring"
        ]),
        json!([
            {"ports": admission, "from": [{"ipBlock": {"cidr": "10.0.0.0/16"}}, {"ipBlock": {"cidr": "fd00::/8"}}]},
            {"ports": metrics, "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]},
        ])
    );
}

#[test]
fn service_links_do_not_reach_the_webhook_s_environment() {
    let pod = find(&objects(&[]), "Deployment")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["enableServiceLinks"], false);
}
