//! What is printed is what the webhook, the API server and kubectl understand.

use clap::Parser;
use serde_json::json;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn plan(words: &[&str]) -> anyhow::Result<Plan> {
    Line::try_parse_from(std::iter::once("install").chain(words.iter().copied()))?
        .args
        .plan()
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
fn the_webhook_s_pods_are_not_its_own_concern() {
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
fn every_pod_is_asked_about_exactly_once() {
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
fn the_profile_of_kops_is_what_kops_users_have() {
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
fn access_is_no_more_than_what_the_flags_need() {
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
    assert!(rules(&[]).contains(&"watch namespaces".to_owned()));
    assert!(rules(&[]).contains(&"create secrets".to_owned()));
    assert!(!rules(&[]).iter().any(|rule| rule.ends_with("configmaps")));
    assert!(rules(&["--watch-config-map"]).contains(&"watch configmaps".to_owned()));
}

#[test]
fn what_contradicts_itself_or_the_webhook_is_refused_with_a_sentence() {
    for (words, part) in [
        (
            &["--set", "no-such-flag=1"] as &[_],
            "the webhook would not start with these flags: unexpected argument '--no-such-flag'",
        ),
        (&["--set=token-expiration=soon"], "invalid value 'soon'"),
        (
            &["--set=port=1"],
            "--set port cannot be honoured: the Service leads to port 9443",
        ),
        (&["--set=compat"], "is not of the form NAME=VALUE"),
        (&["--certificates=files"], "needs --tls-secret"),
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
            "holds no certificate",
        ),
        (&["--ca-bundle=/dev/null"], "is for --certificates=files"),
        (&["--name=Bad_Name"], "is no name in Kubernetes"),
        (&["--namespace=-x"], "is no name in Kubernetes"),
    ] {
        let error = format!("{:#}", plan(words).unwrap_err());
        assert!(error.contains(part), "{words:?}: {error}");
    }
}

#[test]
fn a_certificate_of_one_s_own_brings_its_ca_into_every_entry() {
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
fn uninstalling_names_what_was_installed_last_made_first() {
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
            let expected = object["kind"] != "Namespace" || plan.namespace == OWN_NAMESPACE;
            assert_eq!(
                removed.iter().any(|removed| key(removed) == key(&object)),
                expected,
                "{}",
                object["kind"]
            );
        }
        let secrets = removed.iter().filter(|object| object["kind"] == "Secret").count();
        assert_eq!(secrets, usize::from(plan.certificates == Certificates::Own));
    }
}
