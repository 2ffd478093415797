//! The AWS SDK for Rust in a pod's environment, against the lab's STS: through every endpoint it can be sent to, and
//! refused for every reason.
//!
//! The SDK must find proxy, CA, token and region by itself, as it does in a pod. So it runs in a process of its own:
//! this test binary again, started by `irsa lab run`, with [`probe`] as its only test.

use std::path::PathBuf;
use std::process::Output;

use aws_sdk_sts::config::BehaviorVersion;
use aws_sdk_sts::error::DisplayErrorContext;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::common::{Lab, root, succeeded};

const SCOPE_ERROR: &str = "Credential should be scoped to a valid region. ";
const DENIED: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
const ROLE_SESSION: &str = "arn:aws:sts::111122223333:assumed-role/aws-node/";

/// Credentials by the default chain, then GetCallerIdentity; one line with what came of it.
#[test]
#[ignore = "the other side of these tests, which start it as a pod's process"]
fn probe() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        match aws_sdk_sts::Client::new(&config)
            .get_caller_identity()
            .send()
            .await
        {
            Ok(identity) => println!("PROBE ok {}", identity.arn().unwrap_or_default()),
            Err(error) => println!("PROBE refused {}", DisplayErrorContext(&error)),
        }
    });
}

/// A lab with the guide's DaemonSet, and one of its pods.
struct Pods {
    lab: Lab,
    pod: String,
}

impl Pods {
    fn start() -> Self {
        let lab = Lab::start::<&str>(&[]);
        lab.kubectl(&[
            "apply",
            "-f",
            root().join("examples/aws-node.yaml").to_str().unwrap(),
        ]);
        let mut pods = Self {
            lab,
            pod: String::new(),
        };
        pods.settle();
        pods
    }

    /// Waits for the pods and takes one.
    fn settle(&mut self) {
        self.lab
            .k("rollout status -n kube-system ds/aws-node --timeout=60s");
        let names = self.lab.k("get pods -n kube-system -l k8s-app=aws-node -o name");
        self.pod = names
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("pod/")
            .to_owned();
    }

    /// The procedure: annotate, delete, wait.
    fn choose(&mut self, regional: bool) {
        self.lab.k(&format!(
            "annotate serviceaccount -n kube-system aws-node --overwrite eks.amazonaws.com/sts-regional-endpoints={regional}"
        ));
        self.lab.k("delete pods -n kube-system -l k8s-app=aws-node");
        self.settle();
    }

    fn run(&self, variables: &[(&str, &str)], command: &[&str]) -> Output {
        let mut args = vec![
            "lab".to_owned(),
            "run".to_owned(),
            "-n".to_owned(),
            "kube-system".to_owned(),
        ];
        for (name, value) in variables {
            args.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        args.extend([self.pod.clone(), "--".to_owned()]);
        args.extend(command.iter().map(|&word| word.to_owned()));
        self.lab.irsa(&args)
    }

    /// What the SDK says in the pod's environment with some variables changed.
    fn sdk(&self, variables: &[(&str, &str)]) -> String {
        let program = std::env::current_exe().unwrap();
        let output = self.run(
            variables,
            &[
                program.to_str().unwrap(),
                "--exact",
                "sts_sdk::probe",
                "--ignored",
                "--nocapture",
            ],
        );
        let seen = succeeded("irsa lab run … probe", output);
        let line = seen
            .lines()
            .find_map(|line| line.split_once("PROBE "))
            .unwrap_or_else(|| panic!("no answer: {seen}"));
        line.1.to_owned()
    }

    /// The same with another web identity token.
    fn sdk_with_token(&self, token: &str) -> String {
        let file = self.file("token", token);
        self.sdk(&[("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap())])
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.lab.state().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Host, endpoint type and trail of the last calls of an action, newest last.
    fn endpoints(&self, action: &str) -> Vec<(String, String, String)> {
        let output = self.lab.irsa(&["lab", "events", "-o", "json", "--name", action]);
        succeeded("irsa lab events", output)
            .lines()
            .map(|line| {
                let record: Value = serde_json::from_str(line).unwrap();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (
                    text(&record["tlsDetails"]["clientProvidedHostHeader"]),
                    text(&record["additionalEventData"]["RequestDetails"]["endpointType"]),
                    text(&record["awsRegion"]),
                )
            })
            .collect()
    }

    fn token(&self, service_account: &str, audience: &str) -> String {
        let token = self.lab.k(&format!(
            "create token -n kube-system {service_account} --audience={audience} --duration=1h"
        ));
        token.trim().to_owned()
    }
}

fn endpoint(host: &str, kind: &str, region: &str) -> (String, String, String) {
    (host.to_owned(), kind.to_owned(), region.to_owned())
}

#[test]
fn the_sdk_gets_its_roles_credentials_through_the_regional_and_the_global_endpoint() {
    let pods = Pods::start();
    let seen = pods.sdk(&[]);
    assert!(seen.starts_with(&format!("ok {ROLE_SESSION}")), "{seen}");
    let regional = endpoint("sts.us-west-2.amazonaws.com", "regional", "us-west-2");
    let regional = std::slice::from_ref(&regional);
    assert_eq!(pods.endpoints("AssumeRoleWithWebIdentity"), regional);
    assert_eq!(pods.endpoints("GetCallerIdentity"), regional);

    // The only way in which this SDK goes there: it knows no AWS_STS_REGIONAL_ENDPOINTS.
    let seen = pods.sdk(&[("AWS_REGION", "aws-global")]);
    assert!(seen.starts_with(&format!("ok {ROLE_SESSION}")), "{seen}");
    let global = endpoint("sts.amazonaws.com", "global", "us-east-1");
    assert_eq!(pods.endpoints("AssumeRoleWithWebIdentity").last(), Some(&global));
    assert_eq!(pods.endpoints("GetCallerIdentity").last(), Some(&global));
}

#[test]
fn tokens_that_are_not_the_pods_own_are_refused() {
    let pods = Pods::start();
    let good = pods.token("aws-node", "sts.amazonaws.com");
    let seen = pods.sdk_with_token(&good);
    assert!(seen.starts_with(&format!("ok {ROLE_SESSION}")), "{seen}");

    let seen = pods.sdk_with_token(&pods.token("aws-node", "somebody.else"));
    assert!(
        seen.contains("InvalidIdentityToken") && seen.contains("Incorrect token audience"),
        "{seen}"
    );

    pods.lab.k("create serviceaccount -n kube-system other");
    let seen = pods.sdk_with_token(&pods.token("other", "sts.amazonaws.com"));
    assert!(seen.contains("AccessDenied") && seen.contains(DENIED), "{seen}");

    // The same header and claims, signed by somebody else.
    let (signed, _) = good.rsplit_once('.').unwrap();
    let foreign = format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(foreign_signature(signed.as_bytes()))
    );
    let seen = pods.sdk_with_token(&foreign);
    assert!(
        seen.contains("The web identity token provided could not be validated"),
        "{seen}"
    );

    let claims = json!({"iss": "https://oidc.eks.us-west-2.amazonaws.com/id/NOBODY", "sub": "x", "aud": "y"});
    let stranger = format!(
        "{}.{}.AAAA",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let seen = pods.sdk_with_token(&stranger);
    assert!(
        seen.contains(
            "No OpenIDConnect provider found in your account for https://oidc.eks.us-west-2.amazonaws.com/id/NOBODY"
        ),
        "{seen}"
    );
}

fn foreign_signature(message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &aws_lc_rs::signature::RSA_PKCS1_SHA256,
        &aws_lc_rs::rand::SystemRandom::new(),
        message,
        &mut signature,
    )
    .unwrap();
    signature
}

#[test]
fn a_deactivated_region_refuses_the_pod_and_another_takes_it() {
    let pods = Pods::start();
    succeeded(
        "irsa lab region",
        pods.lab.irsa(&["lab", "region", "deactivate", "us-west-2"]),
    );
    let seen = pods.sdk(&[]);
    assert!(
        seen.contains("RegionDisabledException")
            && seen.contains("STS is not activated in this region for account:111122223333."),
        "{seen}"
    );
    let seen = pods.sdk(&[("AWS_REGION", "us-east-2")]);
    assert!(seen.starts_with(&format!("ok {ROLE_SESSION}")), "{seen}");
    succeeded(
        "irsa lab region",
        pods.lab.irsa(&["lab", "region", "activate", "us-west-2"]),
    );
    assert!(pods.sdk(&[]).starts_with("ok "));
}

#[test]
fn an_application_that_asks_for_the_global_endpoint_is_cured_by_its_own_settings_and_by_no_annotation() {
    let mut pods = Pods::start();
    let explicit = ("AWS_ENDPOINT_URL_STS", "https://sts.amazonaws.com");
    let refused = |seen: &str| {
        assert!(
            seen.contains("SignatureDoesNotMatch") && seen.contains(SCOPE_ERROR),
            "{seen}"
        );
    };
    // Whatever the annotation says, the SDK signs for the pod's region.
    refused(&pods.sdk(&[explicit]));
    for regional in [true, false] {
        pods.choose(regional);
        refused(&pods.sdk(&[explicit]));
    }
    let (host, kind, trail) = pods.endpoints("GetCallerIdentity").pop().unwrap();
    assert_eq!(
        (host.as_str(), kind.as_str(), trail.as_str()),
        ("sts.amazonaws.com", "global", "us-east-1")
    );
    // What does help: no explicit endpoint, the regional one, or a client in the region that the global one takes.
    for cure in [
        &[][..],
        &[("AWS_ENDPOINT_URL_STS", "https://sts.us-west-2.amazonaws.com")],
        &[explicit, ("AWS_REGION", "us-east-1")],
    ] {
        let seen = pods.sdk(cure);
        assert!(
            seen.starts_with(&format!("ok {ROLE_SESSION}")),
            "{cure:?}: {seen}"
        );
    }
}

#[test]
fn a_token_that_was_good_is_refused_once_it_has_expired() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let lab = runtime
        .block_on(irsa_lab::Lab::start(irsa_lab::LabConfig::default()))
        .unwrap();
    let kubectl = |args: &[&str]| {
        let output = std::process::Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", lab.kubeconfig_path())
            .output()
            .unwrap();
        succeeded(&format!("kubectl {}", args.join(" ")), output)
    };
    kubectl(&[
        "apply",
        "-f",
        root().join("examples/aws-node.yaml").to_str().unwrap(),
    ]);
    let token = kubectl(&[
        "create",
        "token",
        "-n",
        "kube-system",
        "aws-node",
        "--audience=sts.amazonaws.com",
        "--duration=1h",
    ]);
    let files = tempfile::tempdir().unwrap();
    let token_file = files.path().join("token");
    std::fs::write(&token_file, token.trim()).unwrap();
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, &lab.reach().ca_pem).unwrap();
    let probe = || {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sts_sdk::probe", "--ignored", "--nocapture"])
            .env_clear()
            .env("HOME", files.path())
            .env("HTTPS_PROXY", &lab.reach().proxy)
            .env("SSL_CERT_FILE", &ca)
            .env("AWS_REGION", "us-west-2")
            .env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/aws-node")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token_file)
            .output()
            .unwrap();
        succeeded("probe", output)
    };
    // The role is made when the service account is seen.
    crate::common::eventually("the role exists", || {
        let seen = probe();
        if seen.contains(&format!("PROBE ok {ROLE_SESSION}")) {
            Ok(())
        } else {
            Err(seen)
        }
    });
    // Past the hour and the five minutes that AWS gives.
    let two_hours = jiff::SignedDuration::from_hours(2);
    lab.aws()
        .set_clock(irsa_sts::Clock::new(move || jiff::Timestamp::now() + two_hours));
    let seen = probe();
    assert!(
        seen.contains("ExpiredTokenException") && seen.contains("Token expired: current date/time"),
        "{seen}"
    );
    runtime.block_on(lab.shutdown());
}
