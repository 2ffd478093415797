//! Webhooks, called as kube-apiserver calls them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use irsa_apiserver::Config;
use serde_json::{Value, json};

use crate::runtime::Local;
use crate::support::{Cluster, WEB, eventually};
use crate::webhook::{Answer, Webhook, allowing, patching};

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"app":"p"}},
    "spec":{"containers":[{"name":"a","image":"i"}]}}"#;

fn label(key: &str, value: &str) -> Value {
    json!([{ "op": "add", "path": format!("/metadata/labels/{key}"), "value": value }])
}

#[tokio::test]
async fn a_mutating_webhook_sees_the_pod_as_the_api_server_shows_it_and_changes_it() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| patching(label("seen", "yes"))).await;
    cluster.apply(&webhook.mutating("w", json!({}))).await;
    cluster.apply(POD).await;
    let seen = cluster.ok("get pod p -o jsonpath={.metadata.labels.seen}").await;
    assert_eq!(seen, "yes");

    let review = webhook.seen().remove(0);
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["query"], "timeout=5s");
    let request = &review["request"];
    assert_eq!(
        request["kind"],
        json!({ "group": "", "version": "v1", "kind": "Pod" })
    );
    assert_eq!(
        request["resource"],
        json!({ "group": "", "version": "v1", "resource": "pods" })
    );
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(request["namespace"], "default");
    assert_eq!(request["name"], "p");
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(request["dryRun"], false);
    assert_eq!(request["oldObject"], Value::Null);
    // What built-in admission adds is there, what the server adds afterwards is not.
    let object = &request["object"];
    assert_eq!(object["spec"]["serviceAccountName"], "default");
    assert!(
        object["spec"]["volumes"][0]["name"]
            .as_str()
            .unwrap()
            .starts_with("kube-api-access-")
    );
    assert_eq!(object["spec"]["restartPolicy"], "Always");
    assert!(object["metadata"].get("uid").is_none());
}

#[tokio::test]
async fn pods_of_a_workload_are_admitted_without_a_name_in_the_name_of_its_controller() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| patching(label("seen", "yes"))).await;
    cluster.apply(&webhook.mutating("w", json!({}))).await;
    cluster.apply(WEB).await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
    let pods = cluster.ok("get pods -l seen=yes -o name").await;
    assert_eq!(pods.lines().count(), 2, "{pods}");
    let request = webhook.seen().remove(0)["request"].clone();
    assert!(request.get("name").is_none(), "{request}");
    assert!(
        request["object"]["metadata"]["generateName"]
            .as_str()
            .unwrap()
            .starts_with("web-")
    );
    assert_eq!(
        request["userInfo"]["username"],
        "system:serviceaccount:kube-system:replicaset-controller"
    );
}

#[tokio::test]
async fn a_refusal_is_printed_in_the_webhooks_words() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| {
        Answer::Response(json!({ "allowed": false, "status": { "code": 403, "message": "no role" } }))
    })
    .await;
    cluster.apply(&webhook.mutating("w", json!({}))).await;
    let said = cluster.fails_with(&["apply", "-f", "-"], Some(POD)).await;
    assert!(
        said.contains("admission webhook \"w.example.com\" denied the request: no role"),
        "{said}"
    );
}

#[tokio::test]
async fn a_workload_whose_pods_are_refused_says_so_and_recovers() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| {
        Answer::Response(json!({ "allowed": false, "status": { "message": "not today" } }))
    })
    .await;
    cluster.apply(&webhook.mutating("w", json!({}))).await;
    cluster.apply(WEB).await;
    eventually("the refusal is an event", async || {
        let described = cluster.ok("describe replicaset -l app=web").await;
        described.contains("FailedCreate") && described.contains("denied the request: not today")
    })
    .await;
    eventually("the deployment tells of it", async || {
        cluster
            .ok("get deployment web -o jsonpath={.status.conditions[?(@.type==\"ReplicaFailure\")].message}")
            .await
            .contains("not today")
    })
    .await;
    cluster.ok("delete mutatingwebhookconfiguration w").await;
    cluster.ok("rollout status deployment/web --timeout=30s").await;
}

#[tokio::test]
async fn warnings_are_printed_by_kubectl() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| {
        Answer::Response(json!({ "allowed": true, "warnings": ["the role has no trust"] }))
    })
    .await;
    cluster.apply(&webhook.mutating("w", json!({}))).await;
    let said = cluster.run(&["apply", "-f", "-"], Some(POD)).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("Warning: the role has no trust"), "{said:?}");
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_fails_the_request_or_is_ignored() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| Answer::Silence).await;
    cluster
        .apply(&webhook.mutating("w", json!({ "timeoutSeconds": 1 })))
        .await;
    let said = cluster.fails_with(&["apply", "-f", "-"], Some(POD)).await;
    let expected = format!(
        "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://{}/mutate?timeout=1s\": context deadline exceeded",
        webhook.address
    );
    assert!(said.contains(&expected), "{said}");
    cluster
        .apply(&webhook.mutating("w", json!({ "timeoutSeconds": 1, "failurePolicy": "Ignore" })))
        .await;
    cluster.apply(POD).await;
}

#[tokio::test]
async fn failures_are_told_as_kubernetes_tells_them() {
    let cluster = Cluster::start().await;
    let answers = Arc::new(parking_lot::Mutex::new(Answer::Raw(500, "boom".into())));
    let answer = Arc::clone(&answers);
    let webhook = Webhook::start(&["127.0.0.1"], move |_| answer.lock().clone()).await;
    cluster.apply(&webhook.mutating("w", json!({}))).await;
    let refusal = async || cluster.fails_with(&["apply", "-f", "-"], Some(POD)).await;
    let said = refusal().await;
    assert!(
        said.contains("failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding"),
        "{said}"
    );
    *answers.lock() = Answer::Raw(200, "{}".into());
    let said = refusal().await;
    assert!(
        said.contains("received invalid webhook response: webhook response was absent"),
        "{said}"
    );
    *answers.lock() = patching(json!([{ "op": "replace", "path": "/spec/nothing/there", "value": 1 }]));
    let said = refusal().await;
    assert!(said.contains("Internal error occurred"), "{said}");

    // Another authority than that of the certificate.
    let stranger = Webhook::start(&["127.0.0.1"], |_| allowing()).await;
    let foreign = json!({ "clientConfig": {
        "url": format!("https://{}/", webhook.address), "caBundle": stranger.ca_bundle(),
    } });
    cluster.apply(&webhook.mutating("w", foreign)).await;
    let said = refusal().await;
    assert!(
        said.contains("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "{said}"
    );
    let named = json!({ "clientConfig": {
        "url": format!("https://localhost:{}/", webhook.address.port()), "caBundle": webhook.ca_bundle(),
    } });
    cluster.apply(&webhook.mutating("w", named)).await;
    let said = refusal().await;
    assert!(
        said.contains("x509: certificate is valid for 127.0.0.1, not localhost"),
        "{said}"
    );
    let closed =
        json!({ "clientConfig": { "url": "https://127.0.0.1:1/", "caBundle": webhook.ca_bundle() } });
    cluster.apply(&webhook.mutating("w", closed)).await;
    let said = refusal().await;
    assert!(
        said.contains("dial tcp 127.0.0.1:1: connect: connection refused"),
        "{said}"
    );
    let absent = json!({ "clientConfig": {
        "service": { "namespace": "default", "name": "none", "path": "/mutate" }, "caBundle": webhook.ca_bundle(),
    } });
    cluster.apply(&webhook.mutating("w", absent)).await;
    let said = refusal().await;
    assert!(
        said.contains("Post \"https://none.default.svc:443/mutate?timeout=5s\": service \"none\" not found"),
        "{said}"
    );
}

#[tokio::test]
async fn selectors_and_dry_runs_are_respected() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| patching(label("seen", "yes"))).await;
    let selecting = json!({
        "namespaceSelector": { "matchExpressions": [{
            "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["quiet"],
        }] },
        "objectSelector": { "matchExpressions": [{ "key": "skip", "operator": "DoesNotExist" }] },
        "sideEffects": "None",
    });
    cluster.apply(&webhook.mutating("w", selecting)).await;
    cluster.ok("create namespace quiet").await;
    cluster
        .ok_with(&["apply", "-n", "quiet", "-f", "-"], Some(POD))
        .await;
    cluster
        .apply(&POD.replace("\"app\":\"p\"", "\"skip\":\"\""))
        .await;
    assert!(webhook.seen().is_empty());
    cluster
        .ok_with(
            &["apply", "--dry-run=server", "-f", "-"],
            Some(&POD.replace("\"name\":\"p\"", "\"name\":\"q\"")),
        )
        .await;
    assert_eq!(webhook.seen().remove(0)["request"]["dryRun"], true);
    cluster.fails("get pod q").await;

    let wild = webhook.mutating(
        "w",
        json!({ "sideEffects": "Some", "admissionReviewVersions": ["v1beta1"] }),
    );
    // v1 refuses `Some`; whatever the API says of it, a dry run never reaches such a webhook.
    let said = cluster.run(&["apply", "-f", "-"], Some(&wild)).await;
    if said.code == 0 {
        let pod = POD.replace("\"name\":\"p\"", "\"name\":\"q\"");
        let said = cluster
            .fails_with(&["apply", "--dry-run=server", "-f", "-"], Some(&pod))
            .await;
        assert!(said.contains("does not support dry run"), "{said}");
    }
}

#[tokio::test]
async fn webhooks_are_asked_in_order_and_again_when_a_later_one_changed_the_pod() {
    let cluster = Cluster::start().await;
    let first = Webhook::start(&["127.0.0.1"], |review| {
        let late = &review["request"]["object"]["metadata"]["labels"]["late"];
        patching(label(
            "first",
            if late.is_string() {
                "after-late"
            } else {
                "before-late"
            },
        ))
    })
    .await;
    let second = Webhook::start(&["127.0.0.1"], |_| patching(label("late", "yes"))).await;
    cluster
        .apply(&first.mutating("a-first", json!({ "reinvocationPolicy": "IfNeeded" })))
        .await;
    cluster.apply(&second.mutating("b-second", json!({}))).await;
    cluster.apply(POD).await;
    let labels = cluster.ok("get pod p -o jsonpath={.metadata.labels}").await;
    assert!(labels.contains("\"first\":\"after-late\""), "{labels}");
    assert_eq!((first.seen().len(), second.seen().len()), (2, 1));
}

#[tokio::test]
async fn an_old_webhook_gets_the_old_review() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| patching(label("seen", "yes"))).await;
    cluster
        .apply(&webhook.mutating("w", json!({ "admissionReviewVersions": ["v1beta1"] })))
        .await;
    cluster.apply(POD).await;
    assert_eq!(webhook.seen().remove(0)["apiVersion"], "admission.k8s.io/v1beta1");
    assert_eq!(
        cluster.ok("get pod p -o jsonpath={.metadata.labels.seen}").await,
        "yes"
    );
}

#[tokio::test]
async fn a_validating_webhook_may_refuse_a_deletion() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |review| {
        let allowed = review["request"]["oldObject"]["metadata"]["name"] != "keep";
        Answer::Response(json!({ "allowed": allowed }))
    })
    .await;
    let rules = json!({ "rules": [{
        "operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
    }] });
    cluster
        .apply(&webhook.configuration("ValidatingWebhookConfiguration", "w", rules))
        .await;
    cluster.ok("create configmap keep").await;
    cluster.ok("create configmap lose").await;
    let said = cluster.fails("delete configmap keep").await;
    assert!(said.contains("denied the request without explanation"), "{said}");
    cluster.ok("delete configmap lose").await;
}

#[tokio::test]
async fn conditions_that_cannot_be_evaluated_are_refused() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["127.0.0.1"], |_| allowing()).await;
    let conditional = json!({ "matchConditions": [{ "name": "c", "expression": "true" }] });
    let said = cluster
        .fails_with(&["apply", "-f", "-"], Some(&webhook.mutating("w", conditional)))
        .await;
    assert!(said.contains("webhooks[0].matchConditions"), "{said}");
}

#[tokio::test]
async fn a_webhook_in_a_pod_is_found_through_its_service() {
    let webhook = Webhook::start(&["hook.tools.svc"], |_| patching(label("seen", "yes"))).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let cluster = Cluster::with(Config {
        runtime: Some(Arc::new(Local {
            webhook: webhook.address,
            stopped: Arc::clone(&stopped),
        })),
        ..Config::default()
    })
    .await;
    cluster.ok("create namespace tools").await;
    cluster
        .apply(
            r#"
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: tools}
spec: {selector: {app: hook}, ports: [{port: 443, targetPort: https}]}
---
apiVersion: v1
kind: Pod
metadata: {name: hook, namespace: tools, labels: {app: hook}}
spec:
  containers: [{name: hook, image: webhook, ports: [{name: https, containerPort: 8443}]}]
"#,
        )
        .await;
    let through_service = json!({
        "clientConfig": {
            "service": { "namespace": "tools", "name": "hook", "path": "/mutate" }, "caBundle": webhook.ca_bundle(),
        },
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "default" } },
    });
    cluster
        .ok("wait -n tools --for=condition=Ready pod/hook --timeout=30s")
        .await;
    cluster
        .apply(&webhook.mutating("w", through_service.clone()))
        .await;
    cluster.apply(POD).await;
    assert_eq!(
        cluster.ok("get pod p -o jsonpath={.metadata.labels.seen}").await,
        "yes"
    );
    cluster.ok("delete pod -n tools hook").await;
    assert!(stopped.load(std::sync::atomic::Ordering::SeqCst));
    // Under a new name nothing is left of the connections to the old pod, which this test's server keeps open.
    cluster.ok("delete mutatingwebhookconfiguration w").await;
    cluster.apply(&webhook.mutating("w2", through_service)).await;
    let pod = POD.replace("\"name\":\"p\"", "\"name\":\"q\"");
    let said = cluster.fails_with(&["apply", "-f", "-"], Some(&pod)).await;
    assert!(
        said.contains("no endpoints available for service \"hook\""),
        "{said}"
    );
}

#[tokio::test]
async fn a_pod_of_an_unknown_service_account_is_refused() {
    let cluster = Cluster::start().await;
    let pod = POD.replace("\"spec\":{", "\"spec\":{\"serviceAccountName\":\"nobody\",");
    let said = cluster.fails_with(&["apply", "-f", "-"], Some(&pod)).await;
    assert!(
        said.contains("pods \"p\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"),
        "{said}"
    );
}

#[tokio::test]
async fn a_webhook_outside_the_cluster_is_found_through_endpoints_that_somebody_wrote() {
    let cluster = Cluster::start().await;
    let webhook = Webhook::start(&["hook.default.svc"], |_| patching(label("seen", "yes"))).await;
    cluster
        .apply(&format!(
            r#"
apiVersion: v1
kind: Service
metadata: {{name: hook}}
spec: {{ports: [{{port: 443}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{name: hook}}
subsets: [{{addresses: [{{ip: 127.0.0.1}}], ports: [{{port: {}}}]}}]
"#,
            webhook.address.port()
        ))
        .await;
    let through_service = json!({ "clientConfig": {
        "service": { "namespace": "default", "name": "hook", "path": "/mutate" }, "caBundle": webhook.ca_bundle(),
    } });
    cluster.apply(&webhook.mutating("w", through_service)).await;
    cluster.apply(POD).await;
    assert_eq!(
        cluster.ok("get pod p -o jsonpath={.metadata.labels.seen}").await,
        "yes"
    );
}
