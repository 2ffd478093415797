//! What the STS does per second: one thread without HTTP, and two threads with HTTP on loopback, clients included.
//!
//! `cargo bench -p irsa-sts --bench sts`; figures in docs/performance-sts.md.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use irsa_sts::config::{Account, IssuerDocuments, OidcProvider, Role, User};
use irsa_sts::events::EventLog;
use irsa_sts::sigv4::{AmzDate, CredentialScope, SigningKey, sha256_hex};
use irsa_sts::{Aws, Config, Connection};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const HOST: &str = "sts.us-west-2.amazonaws.com";
const ISSUER: &str = "https://oidc.example/id/EX";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const CLIENTS: u64 = 16;

/// An AWS with an event log, and a token of RS256 with 2048 bits, as Kubernetes makes them.
fn world() -> (Aws, String) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    // An RSAPublicKey of 2048 bits: nine bytes of framing, n, two of framing, e.
    let public = key.public_key().as_ref();
    let jwks = json!({"keys": [{
        "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k",
        "n": URL_SAFE_NO_PAD.encode(&public[9..265]),
        "e": URL_SAFE_NO_PAD.encode(&public[267..]),
    }]});
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({
        "aud": ["sts.amazonaws.com"], "exp": now + 86400, "iat": now, "nbf": now, "iss": ISSUER,
        "kubernetes.io": {
            "namespace": "kube-system",
            "node": {"name": "ip-192-168-79-166.us-west-2.compute.internal", "uid": "0f5b1c0e-6d0b-4a52-9d2b-0f3c1b2a3d4e"},
            "pod": {"name": "aws-node-6mfgv", "uid": "4c1a9a52-0d50-4c1f-8a53-1f2e3d4c5b6a"},
            "serviceaccount": {"name": "aws-node", "uid": "d3b07384-d113-4ec5-a5d6-6b2f1a9c8e7f"},
        },
        "sub": "system:serviceaccount:kube-system:aws-node",
    });
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": "k"}).to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        input.as_bytes(),
        &mut signature,
    )
    .unwrap();
    let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));

    let mut account = Account::new("111122223333");
    account.oidc_providers.push(OidcProvider {
        url: ISSUER.to_owned(),
        client_ids: vec!["sts.amazonaws.com".to_owned()],
        documents: IssuerDocuments::Jwks(jwks.to_string()),
    });
    account.roles.push(Role::new(
        "aws-node",
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/EX"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                "oidc.example/id/EX:sub": "system:serviceaccount:kube-system:aws-node",
                "oidc.example/id/EX:aud": "sts.amazonaws.com",
            }},
        }]}),
    ));
    account.users.push(User {
        name: "alice".to_owned(),
        path: "/".to_owned(),
        root: false,
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
    });
    let aws = Aws::new(Config {
        accounts: vec![account],
        events: Some(std::sync::Arc::new(EventLog::default())),
        ..Config::default()
    })
    .unwrap();
    (aws, token)
}

fn assume_role(token: &str) -> Request<Bytes> {
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Faws-node\
         &RoleSessionName=botocore-session-1675698641&WebIdentityToken={token}"
    );
    form(body)
}

fn form(body: String) -> Request<Bytes> {
    Request::post("/")
        .header("host", HOST)
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .header("user-agent", "Boto3/1.44.5 md/Botocore#1.44.5")
        .body(Bytes::from(body))
        .unwrap()
}

/// Signed by the long-term key, or by the session that `token` gives.
fn caller_identity(key: &str, secret: &str, session_token: Option<&str>) -> Request<Bytes> {
    let date = AmzDate::from(jiff::Timestamp::now());
    let scope = CredentialScope::parse(&format!("{key}/{}/us-west-2/sts/aws4_request", date.day())).unwrap();
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let mut signed = "content-type;host;x-amz-date".to_owned();
    let mut headers = format!(
        "content-type:application/x-www-form-urlencoded; charset=utf-8\nhost:{HOST}\nx-amz-date:{date}\n"
    );
    if let Some(token) = session_token {
        signed.push_str(";x-amz-security-token");
        headers.push_str(&format!("x-amz-security-token:{token}\n"));
    }
    let canonical = format!("POST\n/\n\n{headers}\n{signed}\n{}", sha256_hex(body.as_bytes()));
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        sha256_hex(canonical.as_bytes())
    );
    let signature = SigningKey::derive(secret, &scope)
        .sign(to_sign.as_bytes())
        .to_hex();
    let mut request = form(body.to_owned());
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={signed}, Signature={signature}");
    request
        .headers_mut()
        .insert("authorization", authorization.parse().unwrap());
    request
        .headers_mut()
        .insert("x-amz-date", date.to_string().parse().unwrap());
    if let Some(token) = session_token {
        request
            .headers_mut()
            .insert("x-amz-security-token", token.parse().unwrap());
    }
    request
}

async fn serve(aws: Aws) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let aws = aws.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let aws = aws.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let response = aws
                        .handle(Request::from_parts(parts, body), &Connection::to(HOST))
                        .await;
                    Ok::<_, Infallible>(response.map(Full::new))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// Sends `count` requests over kept connections and says how long all of them took.
async fn load(address: SocketAddr, request: Request<Bytes>, count: u64) -> Duration {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        clients.push(sender);
    }
    let started = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut sender| {
            let request = request.clone();
            tokio::spawn(async move {
                for _ in 0..count.div_ceil(CLIENTS) {
                    let answer: Response<Incoming> =
                        sender.send_request(request.clone().map(Full::new)).await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.into_body().collect().await.unwrap();
                    sender.ready().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    started.elapsed()
}

fn element<'a>(body: &'a str, name: &str) -> &'a str {
    body.split_once(&format!("<{name}>"))
        .unwrap()
        .1
        .split_once('<')
        .unwrap()
        .0
}

fn benches(criterion: &mut Criterion) {
    let (aws, token) = world();
    let runtime: Runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let connection = Connection::to(HOST);
    let answer = runtime.block_on(aws.handle(assume_role(&token), &connection));
    assert_eq!(answer.status(), 200);
    let body = String::from_utf8(answer.into_body().to_vec()).unwrap();
    let session = (
        element(&body, "AccessKeyId"),
        element(&body, "SecretAccessKey"),
        element(&body, "SessionToken"),
    );
    let address = runtime.block_on(serve(aws.clone()));
    let cases = [
        ("AssumeRoleWithWebIdentity, RS256", assume_role(&token)),
        (
            "GetCallerIdentity, long-term key",
            caller_identity(KEY, SECRET, None),
        ),
        (
            "GetCallerIdentity, session",
            caller_identity(session.0, session.1, Some(session.2)),
        ),
    ];

    let mut group = criterion.benchmark_group("one thread, no HTTP");
    group.throughput(Throughput::Elements(1));
    for (name, request) in &cases {
        let single = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let answer = single.block_on(aws.handle(request.clone(), &connection));
                assert_eq!(answer.status(), 200);
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("two threads, HTTP on loopback, 16 clients included");
    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    for (name, request) in &cases {
        group.bench_function(*name, |bencher| {
            bencher.iter_custom(|count| {
                let rounded = count.div_ceil(CLIENTS) * CLIENTS;
                let took = runtime.block_on(load(address, request.clone(), rounded));
                took.mul_f64(count as f64 / rounded as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(sts, benches);
criterion_main!(sts);
