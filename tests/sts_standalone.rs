//! `irsa sts` as another project's CI uses it: its own issuer's keys in a file, the SDK through the proxy and in plain
//! HTTP, and mistakes in the file told.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::common::{irsa, signal, succeeded};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A cluster's issuer: a key, its public half in `jwks.json`, a token in `token`.
fn issuer(folder: &Path) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = key.public_key().as_ref();
    let jwks = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "k",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    }]});
    std::fs::write(folder.join("jwks.json"), jwks.to_string()).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!(
        "{}.{}",
        part(json!({"alg": "ES256", "kid": "k"})),
        part(json!({
            "iss": ISSUER, "sub": "system:serviceaccount:team-a:reader", "aud": ["sts.amazonaws.com"],
            "iat": now, "exp": now + 3600,
        }))
    );
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    std::fs::write(
        folder.join("token"),
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)),
    )
    .unwrap();
}

const CONFIG: &str = "
apiVersion: irsa/v1
kind: StsConfig
accounts:
  - id: '111122223333'
    oidcProviders: [{url: 'https://kubernetes.default.svc.cluster.local', jwksFile: jwks.json}]
    roles: [{name: reader, serviceAccounts: ['team-*/reader']}]
";

/// A running `irsa sts`, ended when dropped, and what it said about how to use it.
struct Sts {
    child: Child,
    said: String,
}

impl Sts {
    fn start(folder: &Path) -> Self {
        let mut child = irsa()
            .current_dir(folder)
            .args(["sts", "--config", "sts.yaml", "-o", "json"])
            .args(["--play", "sts.eu-central-1.amazonaws.com=127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        while !said.contains("Calls follow") {
            said.push_str(
                &lines
                    .next()
                    .unwrap_or_else(|| panic!("irsa sts ended: {said}"))
                    .unwrap(),
            );
            said.push('\n');
        }
        // Read on, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, said }
    }

    /// What stands behind the equal sign of an `export`.
    fn variable(&self, name: &str) -> String {
        let (_, rest) = self
            .said
            .split_once(&format!("{name}="))
            .unwrap_or_else(|| panic!("no {name}: {}", self.said));
        rest.split_whitespace().next().unwrap().to_owned()
    }
}

impl Drop for Sts {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
        }
        let _ = self.child.wait();
    }
}

#[test]
fn an_sdk_reaches_it_by_proxy_and_in_plain_http_and_every_call_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    issuer(folder.path());
    std::fs::write(folder.path().join("sts.yaml"), CONFIG).unwrap();
    let mut sts = Sts::start(folder.path());
    let sdk = |region: &str, variables: &[(&str, String)]| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sts_sdk::probe", "--ignored", "--nocapture"])
            .env_clear()
            .env("HOME", folder.path())
            .env("AWS_REGION", region)
            .env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/reader")
            .env("AWS_ROLE_SESSION_NAME", "ci")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", folder.path().join("token"))
            .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
            .output()
            .unwrap();
        succeeded("probe", output)
    };
    let expected = "PROBE ok arn:aws:sts::111122223333:assumed-role/reader/ci";
    let by_proxy = [
        ("HTTPS_PROXY", sts.variable("HTTPS_PROXY")),
        ("SSL_CERT_FILE", sts.variable("SSL_CERT_FILE")),
    ];
    let seen = sdk("us-west-2", &by_proxy);
    assert!(seen.contains(expected), "{seen}");
    let plain = [("AWS_ENDPOINT_URL_STS", sts.variable("AWS_ENDPOINT_URL_STS"))];
    let seen = sdk("eu-central-1", &plain);
    assert!(seen.contains(expected), "{seen}");
    // The endpoint that is played decides, not the name by which it is reached.
    let seen = sdk("us-west-2", &plain);
    assert!(
        seen.contains("Credential should be scoped to a valid region. "),
        "{seen}"
    );

    let stdout = sts.child.stdout.take().unwrap();
    drop(sts);
    let records: Vec<Value> = BufReader::new(stdout)
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let calls: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record["eventName"].as_str().unwrap(),
                record["awsRegion"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        calls,
        [
            ("AssumeRoleWithWebIdentity", "us-west-2"),
            ("GetCallerIdentity", "us-west-2"),
            ("AssumeRoleWithWebIdentity", "eu-central-1"),
            ("GetCallerIdentity", "eu-central-1"),
            ("AssumeRoleWithWebIdentity", "eu-central-1"),
            ("GetCallerIdentity", "eu-central-1"),
        ]
    );
}

#[test]
fn a_mistake_in_the_file_is_told_with_its_place_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(folder.path().join("sts.yaml"), text).unwrap();
        let output = irsa()
            .current_dir(folder.path())
            .args(["sts", "--config", "sts.yaml", "--check"])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = check(CONFIG);
    assert_eq!(code, Some(2));
    assert!(text.contains("cannot read jwks.json"), "{text}");
    issuer(folder.path());
    assert_eq!(check(CONFIG).0, Some(0));
    let (code, text) = check(&CONFIG.replace("serviceAccounts", "serviceAccount"));
    assert_eq!(code, Some(2));
    assert!(
        text.contains("unknown field") && text.contains("serviceAccount") && text.contains("line 7"),
        "{text}"
    );
    let (code, text) = check(&CONFIG.replace("'111122223333'", "'1'"));
    assert_eq!(code, Some(2));
    assert!(
        text.contains("account 1: an account id is exactly twelve digits"),
        "{text}"
    );
}
