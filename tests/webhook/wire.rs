//! What is answered to requests of every kind, good and bad.

use hyper::{Method, StatusCode};
use irsa_webhook::Server;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{
    Caller, Cluster, ROLE, ROLE_KEY, UID, metric, patched, pod, review, tls_client, variable,
};

const JSON: Option<&str> = Some("application/json");

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_an_annotated_service_account_gets_its_identity_in_the_version_it_was_asked_in() {
    let cluster = Cluster::start().await;
    let annotations = [
        (ROLE_KEY, ROLE),
        ("eks.amazonaws.com/sts-regional-endpoints", "true"),
    ];
    cluster.service_account("default", "app", &annotations).await;
    let (server, caller) = cluster.server().await;
    for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
        let body = review("default", &pod("app")).replace("admission.k8s.io/v1", version);
        let (status, text) = caller
            .request(Method::POST, "/mutate?timeout=10s", JSON, body)
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&answer["kind"], &answer["apiVersion"]),
            (&json!("AdmissionReview"), &json!(version))
        );
        assert_eq!(
            (&answer["response"]["uid"], &answer["response"]["allowed"]),
            (&json!(UID), &json!(true))
        );
        let pod = patched(&pod("app"), &answer["response"]);
        assert_eq!(variable(&pod, "AWS_ROLE_ARN").as_deref(), Some(ROLE));
        assert_eq!(
            variable(&pod, "AWS_STS_REGIONAL_ENDPOINTS").as_deref(),
            Some("regional")
        );
        assert_eq!(variable(&pod, "A").as_deref(), Some("b"));
        // Reinvocation: what came out, sent in again, needs nothing.
        let again = caller.review(review("default", &pod)).await.unwrap();
        assert!(again["patch"].is_null(), "{again}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_a_precise_answer_with_the_right_status() {
    let cluster = Cluster::start().await;
    let (mut config, pki) = cluster.config();
    config.limits.body_bytes = 64 * 1024;
    config.limits.body = Duration::from_millis(500);
    let server = Server::start(config).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    let good = review("default", &pod("app"));
    let large = "x".repeat(64 * 1024 + 1);
    for (method, path, media, body, status, part) in [
        (
            Method::GET,
            "/mutate",
            JSON,
            "",
            StatusCode::METHOD_NOT_ALLOWED,
            "POST",
        ),
        (
            Method::DELETE,
            "/mutate",
            JSON,
            "",
            StatusCode::METHOD_NOT_ALLOWED,
            "POST",
        ),
        (
            Method::POST,
            "/mutate",
            Some("text/plain"),
            good.as_str(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "application/json",
        ),
        (
            Method::POST,
            "/mutate",
            None,
            good.as_str(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "application/json",
        ),
        (
            Method::POST,
            "/mutate",
            JSON,
            "",
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview",
        ),
        (
            Method::POST,
            "/mutate",
            JSON,
            "{\"kind\":",
            StatusCode::BAD_REQUEST,
            "not an AdmissionReview",
        ),
        (
            Method::POST,
            "/mutate",
            JSON,
            "{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}",
            StatusCode::BAD_REQUEST,
            "`Pod`",
        ),
        (
            Method::POST,
            "/mutate",
            JSON,
            large.as_str(),
            StatusCode::PAYLOAD_TOO_LARGE,
            "65536",
        ),
        (
            Method::POST,
            "/elsewhere",
            JSON,
            good.as_str(),
            StatusCode::NOT_FOUND,
            "/mutate",
        ),
        (
            Method::GET,
            "/debug/alpha/deny",
            None,
            "",
            StatusCode::NOT_FOUND,
            "not found",
        ),
        (
            Method::POST,
            "/healthz",
            None,
            "",
            StatusCode::METHOD_NOT_ALLOWED,
            "GET",
        ),
        (Method::GET, "/healthz", None, "", StatusCode::OK, "ok"),
        (
            Method::POST,
            "/mutate",
            Some("application/json; charset=utf-8"),
            good.as_str(),
            StatusCode::OK,
            "allowed",
        ),
    ] {
        let (got, text) = caller
            .request(method.clone(), path, media, body.to_owned())
            .await
            .unwrap();
        assert_eq!(got, status, "{method} {path} {media:?}: {text}");
        assert!(text.contains(part), "{method} {path} {media:?}: {text}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_answered_and_one_without_a_length_is_capped() {
    let cluster = Cluster::start().await;
    let (mut config, pki) = cluster.config();
    config.limits.body = Duration::from_millis(300);
    config.limits.body_bytes = 32 * 1024;
    let server = Server::start(config).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls_client(&pki.ca)));
    let connect = async || {
        let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        connector
            .connect("127.0.0.1".try_into().unwrap(), stream)
            .await
            .unwrap()
    };
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let read = async |mut stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>| {
        let mut text = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text))
            .await
            .unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };

    let mut slow = connect().await;
    slow.write_all(format!("{head}content-length: 1000\r\n\r\n{{").as_bytes())
        .await
        .unwrap();
    let answer = read(slow).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

    let mut endless = connect().await;
    endless
        .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
        .await
        .unwrap();
    for _ in 0..40 {
        if endless
            .write_all(format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes())
            .await
            .is_err()
        {
            break;
        }
    }
    let answer = read(endless).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_creation_of_a_pod_is_admitted_untouched() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let (server, caller) = cluster.server().await;
    let base: Value = serde_json::from_str(&review("default", &pod("app"))).unwrap();
    for change in [
        json!({"operation": "UPDATE"}),
        json!({"operation": "DELETE", "object": null}),
        json!({"subResource": "ephemeralcontainers", "operation": "UPDATE"}),
        json!({"kind": {"group": "example.com", "version": "v1", "kind": "Pod"}, "object": {"spec": 7}}),
    ] {
        let mut body = base.clone();
        for (key, value) in change.as_object().unwrap() {
            body["request"][key] = value.clone();
        }
        let response = caller.review(body.to_string()).await.unwrap();
        assert_eq!(response["allowed"], true, "{change}");
        assert!(response["patch"].is_null(), "{change}: {response}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_lists_every_reason_and_comes_with_the_caches() {
    let cluster = Cluster::start().await;
    cluster.gate.set(super::support::Pass::Shut);
    let (config, pki) = cluster.config();
    let server = Server::start(config).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    let (status, page) = caller.request(Method::GET, "/readyz", None, "").await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    for line in [
        "[+]certificate ok",
        "[-]serviceaccounts not ready:",
        "[-]namespaces not ready:",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    cluster.gate.set(super::support::Pass::Open);
    server.ready(Duration::from_secs(20)).await.unwrap();
    let (status, page) = caller.request(Method::GET, "/readyz", None, "").await.unwrap();
    assert_eq!(status, StatusCode::OK, "{page}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_tell_the_user_what_is_wrong_with_the_annotations() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "typo", &[("eks.amazon.com/role-arn", ROLE)])
        .await;
    let annotations = [
        (ROLE_KEY, ROLE),
        ("eks.amazonaws.com/sts-regional-endpoints", "regional"),
    ];
    cluster.service_account("default", "boolean", &annotations).await;
    let (server, caller) = cluster.server().await;
    let response = caller.review(review("default", &pod("typo"))).await.unwrap();
    assert!(response["patch"].is_null());
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.contains("eks.amazonaws.com/role-arn"), "{warning}");
    let response = caller.review(review("default", &pod("boolean"))).await.unwrap();
    assert!(
        response["warnings"].to_string().contains("invalid boolean"),
        "{response}"
    );
    assert!(!response["patch"].is_null());
    let page = server.metrics().page(irsa_webhook::metrics::Format::OpenMetrics);
    for line in [
        "irsa_webhook_admissions_total{reason=\"unusable\"} 1",
        "irsa_webhook_admissions_total{reason=\"mutated\"} 1",
        "irsa_webhook_warnings_total{kind=\"misspelt\"} 1",
        "irsa_webhook_warnings_total{kind=\"not_a_boolean\"} 1",
        "pod_identity_webhook_pod_count{method=\"sts_web_identity\"} 1",
        "http_request_count{verb=\"POST\",path=\"/mutate\",code=\"200\"} 2",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_too_many_containers_is_admitted_unchanged_with_a_warning() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let (server, caller) = cluster.server().await;
    let pod_of = |count: usize| {
        let mut pod = pod("app");
        pod["spec"]["containers"] = vec![json!({"name": "app"}); count].into();
        pod
    };
    let response = caller.review(review("default", &pod_of(1_000))).await.unwrap();
    assert!(response["patch"].is_string());
    for count in [1_001, 45_000] {
        let response = caller.review(review("default", &pod_of(count))).await.unwrap();
        assert_eq!(response["allowed"], true);
        assert!(response["patch"].is_null());
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.contains("more than 1000 containers"), "{warning}");
    }
    let too_large = metric(&server, "irsa_webhook_admissions_total{reason=\"too_large\"}");
    assert_eq!(too_large, 2.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_identity_that_cannot_be_given_refuses_the_pod() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    cluster.service_account("default", "plain", &[]).await;
    let (server, caller) = cluster.server().await;
    let ask = async |name: &str| {
        let body = review("default", &pod(name));
        let (status, text) = caller
            .request(Method::POST, "/mutate/required", JSON, body)
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["response"].take()
    };
    assert_eq!(ask("app").await["allowed"], true);
    for name in ["plain", "missing"] {
        let response = ask(name).await;
        assert_eq!(response["allowed"], false, "{response}");
        assert!(
            response["status"]["message"]
                .as_str()
                .unwrap()
                .contains("needs an identity"),
            "{response}"
        );
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_handlers_answer_only_when_they_are_switched_on() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let (mut config, pki) = cluster.config();
    config.debug_handlers = true;
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    let (status, _) = caller
        .request(Method::GET, "/debug/alpha/500", None, "")
        .await
        .unwrap();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let (_, deny) = caller
        .request(Method::GET, "/debug/alpha/deny", None, "")
        .await
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&deny).unwrap()["response"]["allowed"],
        false
    );
    let address = server.metrics_address().unwrap();
    let page = plain(address, "/debug/alpha/cache").await;
    assert!(page.contains("\"default/app\"") && page.contains(ROLE), "{page}");
    plain(address, "/debug/alpha/cache/clear").await;
    assert!(!plain(address, "/debug/alpha/cache").await.contains(ROLE));
    assert!(plain(address, "/metrics").await.contains("version=0.0.4"));
    server.shutdown().await;
}

/// A GET in the clear.
async fn plain(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
