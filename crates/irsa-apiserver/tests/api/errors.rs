//! Refusals: one clear line each.

use crate::support::{Cluster, WEB};

#[tokio::test(flavor = "multi_thread")]
async fn refusals_read_as_those_of_kubernetes() {
    let cluster = Cluster::bare().await;
    cluster.ok("create sa mysa").await;
    for (line, expected) in [
        (
            "get cm nope",
            "Error from server (NotFound): configmaps \"nope\" not found",
        ),
        (
            "get foo",
            "error: the server doesn't have a resource type \"foo\"",
        ),
        (
            "get --raw /nothing",
            "Error from server (NotFound): the server could not find the requested resource",
        ),
        (
            "create sa mysa",
            "error: failed to create serviceaccount: serviceaccounts \"mysa\" already exists",
        ),
        (
            "create sa x -n nons",
            "error: failed to create serviceaccount: namespaces \"nons\" not found",
        ),
        (
            "--token=bad get ns",
            "error: You must be logged in to the server (Unauthorized)",
        ),
        ("top pods", "error: Metrics API not available"),
    ] {
        assert_eq!(cluster.fails(line).await.trim(), expected, "{line}");
    }
    let refused = cluster.fails("create sa My_SA").await;
    assert!(
        refused.contains("metadata.name: Invalid value: \"My_SA\": a lowercase RFC 1123 subdomain must"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_change_is_refused() {
    let cluster = Cluster::bare().await;
    cluster.apply(WEB).await;
    let selector = WEB
        .replace("app: web}}\n  template", "app: other}}\n  template")
        .replace("labels: {app: web}}\n    spec", "labels: {app: other}}\n    spec");
    assert!(
        cluster
            .fails_with(&["apply", "-f", "-"], Some(&selector))
            .await
            .contains("field is immutable")
    );
    cluster.ok("run p --image=x").await;
    let refused = cluster
        .fails_with(
            &["patch", "pod", "p", "-p", r#"{"spec":{"dnsPolicy":"Default"}}"#],
            None,
        )
        .await;
    assert!(
        refused.contains("spec: Forbidden: pod updates may not change fields other than"),
        "{refused}"
    );
    cluster.ok("set image pod/p p=y").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_and_content_types_get_a_status() {
    let cluster = Cluster::bare().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let json = [("content-type", "application/json")];
    let long = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 << 20));
    for (method, path, headers, body, code) in [
        ("POST", path, &json[..], "{", 400),
        ("POST", path, &json, "", 400),
        ("POST", path, &json, "[]", 400),
        (
            "POST",
            path,
            &json,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}"#,
            400,
        ),
        (
            "POST",
            path,
            &json,
            r#"{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"x"}}"#,
            400,
        ),
        ("POST", path, &json, r#"{"metadata":{"name":"x"}}"#, 400),
        (
            "POST",
            path,
            &json,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}"#,
            422,
        ),
        (
            "POST",
            path,
            &json,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":3}"#,
            400,
        ),
        (
            "POST",
            path,
            &json,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"y"}}"#,
            400,
        ),
        ("POST", path, &json, &long, 413),
        ("POST", path, &[("content-type", "text/plain")], "{}", 415),
        (
            "POST",
            path,
            &[("content-type", "application/vnd.kubernetes.protobuf")],
            "k8s\0\u{1}",
            400,
        ),
        ("PATCH", "/api/v1/namespaces/default", &json, "{}", 415),
        (
            "PATCH",
            "/api/v1/namespaces/default",
            &[("content-type", "application/json-patch+json")],
            "{}",
            400,
        ),
        (
            "PATCH",
            "/api/v1/namespaces/default",
            &[("content-type", "application/merge-patch+json")],
            "3",
            400,
        ),
        ("PUT", path, &json, "{}", 405),
        ("DELETE", "/api/v1/nodes/none", &json, "", 404),
        ("GET", "/api/v1/namespaces/default/nodes", &[], "", 404),
        ("GET", "/api/v2", &[], "", 404),
        ("GET", path, &[("accept", "application/xml")], "", 406),
        ("GET", "/api/v1/configmaps?limit=x", &[], "", 400),
        ("GET", "/api/v1/configmaps?resourceVersion=x", &[], "", 400),
        ("GET", "/api/v1/configmaps?resourceVersion=999999", &[], "", 504),
        (
            "GET",
            "/api/v1/configmaps?resourceVersionMatch=Exact",
            &[],
            "",
            422,
        ),
        (
            "GET",
            "/api/v1/configmaps?watch=1&sendInitialEvents=true",
            &[],
            "",
            422,
        ),
        (
            "POST",
            "/api/v1/namespaces/default/configmaps?dryRun=Some",
            &json,
            r#"{"kind":"ConfigMap","apiVersion":"v1"}"#,
            422,
        ),
        ("GET", "/api/v1/nodes/%ff", &[], "", 400),
        (
            "GET",
            "/api/v1/namespaces",
            &[("authorization", "Bearer x")],
            "",
            401,
        ),
        (
            "GET",
            "/api/v1/namespaces",
            &[("authorization", "Basic eDp5")],
            "",
            401,
        ),
    ] {
        let (found, status) = cluster.request(method, path, headers, body.to_owned()).await;
        assert_eq!(found, code, "{method} {path}: {status}");
        assert_eq!(status["kind"], "Status", "{method} {path}: {status}");
        assert!(
            !status["message"].as_str().unwrap().is_empty(),
            "{method} {path}: {status}"
        );
    }
}
