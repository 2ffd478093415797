//! Service account tokens and the documents that their verifiers read.

use base64::Engine as _;
use irsa_apiserver::{Config, NodeConfig};
use serde_json::{Value, json};

use crate::support::Cluster;

const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

async fn cluster() -> Cluster {
    Cluster::with(Config {
        issuer: Some(ISSUER.into()),
        ..Config::default()
    })
    .await
}

fn part(token: &str, index: usize) -> Value {
    let part = token.trim().split('.').nth(index).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn pod(cluster: &Cluster) -> String {
    cluster.ok("create serviceaccount app").await;
    cluster
        .ok_with(
            &[
                "run",
                "p",
                "--image=i",
                "--overrides",
                r#"{"spec":{"serviceAccountName":"app"}}"#,
            ],
            None,
        )
        .await;
    cluster.ok("wait --for=condition=Ready pod/p --timeout=30s").await;
    cluster.ok("get pod p -o jsonpath={.metadata.uid}").await
}

#[tokio::test]
async fn a_plain_token_is_for_the_api_and_lives_an_hour() {
    let cluster = cluster().await;
    let token = cluster.ok("create token default").await;
    let (header, claims) = (part(&token, 0), part(&token, 1));
    assert_eq!(header["alg"], "RS256");
    assert!(header.get("typ").is_none());
    assert_eq!(claims["aud"], json!(["https://kubernetes.default.svc"]));
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["sub"], "system:serviceaccount:default:default");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    assert_eq!(claims["nbf"], claims["iat"]);
    assert!(claims["kubernetes.io"].get("pod").is_none());
}

#[tokio::test]
async fn a_token_bound_to_a_pod_names_pod_and_node() {
    let cluster = cluster().await;
    let uid = pod(&cluster).await;
    let token = cluster
        .ok(&format!(
            "create token app --audience=sts.amazonaws.com --duration=24h --bound-object-kind=Pod --bound-object-name=p --bound-object-uid={uid}"
        ))
        .await;
    let claims = part(&token, 1);
    let private = &claims["kubernetes.io"];
    assert_eq!(private["pod"], json!({ "name": "p", "uid": uid }));
    assert_eq!(private["node"]["name"], NodeConfig::default().name);
    assert!(!private["node"]["uid"].as_str().unwrap().is_empty());
    assert_eq!(private["namespace"], "default");
    assert_eq!(private["serviceaccount"]["name"], "app");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        86_400
    );
    let said = cluster
        .fails("create token app --bound-object-kind=Pod --bound-object-name=p --bound-object-uid=stale")
        .await;
    assert!(
        said.contains("the UID in the bound object reference (stale) does not match the UID in record"),
        "{said}"
    );
}

async fn ask(cluster: &Cluster, spec: Value) -> (u16, Value) {
    let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
    cluster
        .request(
            "POST",
            "/api/v1/namespaces/default/serviceaccounts/default/token",
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
}

#[tokio::test]
async fn lives_have_bounds() {
    let cluster = cluster().await;
    let (code, status) = ask(&cluster, json!({ "expirationSeconds": 599 })).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"
    );
    let (code, status) = ask(&cluster, json!({ "expirationSeconds": 1_i64 << 33 })).await;
    assert_eq!(code, 422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .ends_with("may not specify a duration larger than 2^32 seconds")
    );
    let (code, answer) = ask(
        &cluster,
        json!({ "expirationSeconds": 200_000, "audiences": ["a", "b"] }),
    )
    .await;
    assert_eq!(code, 201);
    assert_eq!(answer["spec"]["expirationSeconds"], 86_400);
    let claims = part(answer["status"]["token"].as_str().unwrap(), 1);
    assert_eq!(claims["aud"], json!(["a", "b"]));
}

#[tokio::test]
async fn the_token_of_a_pods_own_volume_is_extended_and_that_of_sts_is_not() {
    let cluster = cluster().await;
    pod(&cluster).await;
    let pod = cluster.server.api().get("pods", "default", "p").unwrap();
    let volume = pod["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned();
    let issued = cluster.server.tokens().pod_token(pod.value(), &volume).unwrap();
    let claims = part(&issued.token, 1);
    let issued_at = claims["iat"].as_i64().unwrap();
    assert_eq!(
        claims["kubernetes.io"]["warnafter"].as_i64().unwrap() - issued_at,
        3607
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - issued_at, 7_776_000);
    assert_eq!(issued.expires - issued_at, 3607);
    let files = cluster
        .server
        .tokens()
        .projected_files(pod.value(), &volume)
        .unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["token", "ca.crt", "namespace"]);
    assert_eq!(files[1].content, cluster.server.ca_pem().as_bytes());
    assert_eq!(files[2].content, b"default");
}

#[tokio::test]
async fn the_api_knows_its_tokens_and_not_those_for_others() {
    let cluster = cluster().await;
    let own = cluster.ok("create token default").await;
    let who = cluster
        .ok_with(
            &[
                "auth",
                "whoami",
                "-o",
                "jsonpath={.status.userInfo.username}",
                "--token",
                own.trim(),
                "--kubeconfig",
                "/dev/null",
                "--server",
                cluster.server.url(),
                "--insecure-skip-tls-verify",
            ],
            None,
        )
        .await;
    assert_eq!(who, "system:serviceaccount:default:default");
    let foreign = cluster
        .ok("create token default --audience=sts.amazonaws.com")
        .await;
    let bearer = format!("Bearer {}", foreign.trim());
    let (code, _) = cluster
        .request("GET", "/api/v1/namespaces", &[("authorization", &bearer)], "")
        .await;
    assert_eq!(code, 401);

    let review = |audience: &str| {
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": { "token": foreign.trim(), "audiences": [audience] } })
        .to_string()
    };
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let json_type = [("content-type", "application/json")];
    let (_, answer) = cluster
        .request("POST", path, &json_type, review("sts.amazonaws.com"))
        .await;
    assert_eq!(answer["status"]["authenticated"], true, "{answer}");
    assert_eq!(
        answer["status"]["user"]["username"],
        "system:serviceaccount:default:default"
    );
    let (_, answer) = cluster.request("POST", path, &json_type, review("other")).await;
    assert!(answer["status"].get("authenticated").is_none(), "{answer}");
}

#[tokio::test]
async fn a_token_dies_with_its_pod() {
    let cluster = cluster().await;
    pod(&cluster).await;
    let token = cluster
        .ok("create token app --bound-object-kind=Pod --bound-object-name=p")
        .await;
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        cluster.request("GET", "/api/v1/namespaces", &headers, "").await.0,
        200
    );
    cluster.ok("delete pod p").await;
    assert_eq!(
        cluster.request("GET", "/api/v1/namespaces", &headers, "").await.0,
        401
    );
}

#[tokio::test]
async fn the_issuers_documents_are_public_and_lead_to_the_keys() {
    let cluster = cluster().await;
    let path = "/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
    let discovery = format!("{path}/.well-known/openid-configuration");
    let (code, document) = cluster
        .request("GET", &discovery, &[("authorization", "")], "")
        .await;
    assert_eq!(code, 200, "{document}");
    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(document["jwks_uri"], format!("{ISSUER}/keys"));
    assert_eq!(
        document["id_token_signing_alg_values_supported"],
        json!(["RS256"])
    );
    let (_, root) = cluster
        .request("GET", "/.well-known/openid-configuration", &[], "")
        .await;
    assert_eq!(
        root["jwks_uri"],
        format!("{}/openid/v1/jwks", cluster.server.url())
    );
    let (_, keys) = cluster.request("GET", &format!("{path}/keys"), &[], "").await;
    let token = cluster.ok("create token default").await;
    assert_eq!(keys["keys"][0]["kid"], part(&token, 0)["kid"]);

    // A new key signs, the old one is still published and its tokens are still good.
    let id = cluster.server.tokens().rotate_key().unwrap();
    let (_, keys) = cluster.request("GET", "/openid/v1/jwks", &[], "").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert_eq!(part(&cluster.ok("create token default").await, 0)["kid"], id);
    let bearer = format!("Bearer {}", token.trim());
    let (code, _) = cluster
        .request("GET", "/api/v1/namespaces", &[("authorization", &bearer)], "")
        .await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn documents_can_be_closed_to_strangers() {
    let cluster = Cluster::with(Config {
        anonymous_discovery: false,
        ..Config::default()
    })
    .await;
    let path = "/.well-known/openid-configuration";
    assert_eq!(
        cluster.request("GET", path, &[("authorization", "")], "").await.0,
        401
    );
    assert_eq!(cluster.request("GET", path, &[], "").await.0, 200);
}

#[tokio::test]
async fn an_old_cluster_has_no_node_in_its_tokens() {
    let cluster = Cluster::with(Config {
        kubernetes: "1.29".into(),
        ..Config::default()
    })
    .await;
    pod(&cluster).await;
    let token = cluster
        .ok("create token app --bound-object-kind=Pod --bound-object-name=p")
        .await;
    let claims = part(&token, 1);
    assert_eq!(claims["kubernetes.io"]["pod"]["name"], "p");
    assert!(claims["kubernetes.io"].get("node").is_none());
    assert!(claims.get("jti").is_none());
}
