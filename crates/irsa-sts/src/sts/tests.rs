//! STS as a client meets it, through [`Aws::handle`].

mod identity;
mod protocol;
mod signature;
mod token;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::call::{Call, EventSink};
use crate::config::{Account, Clock, Config, IssuerDocuments, OidcProvider, Role, User};
use crate::connection::Connection;
use crate::oidc::testing::Signer;
use crate::testing::{Keys, in_header, signed};

const ACCOUNT: &str = "111122223333";
const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE";
const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE";
const ROLE: &str = "arn:aws:iam::111122223333:role/pods/reader";
const SUBJECT: &str = "system:serviceaccount:kube-system:aws-node";
const REGIONAL: &str = "sts.us-west-2.amazonaws.com";
const GLOBAL: &str = "sts.amazonaws.com";
const SCOPE_ERROR: &str = "Credential should be scoped to a valid region. ";

/// An AWS with one account, one issuer, a role for `aws-node`, and a clock that stands until it is moved.
struct World {
    aws: Aws,
    signer: Signer,
    now: Arc<Mutex<Timestamp>>,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls(Mutex<Vec<Call>>);

impl EventSink for Calls {
    fn record(&self, call: Call) {
        self.0.lock().push(call);
    }
}

/// What came back.
#[derive(Debug)]
struct Seen {
    status: StatusCode,
    response: Response<Bytes>,
    body: String,
}

impl Seen {
    fn element(&self, name: &str) -> String {
        let (_, rest) = self
            .body
            .split_once(&format!("<{name}>"))
            .unwrap_or_else(|| panic!("no {name} in {}", self.body));
        rest.split_once(&format!("</{name}>"))
            .unwrap()
            .0
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
    }

    /// Status, code and message of an error.
    fn error(&self) -> (u16, String, String) {
        assert!(self.body.contains("<ErrorResponse xmlns="), "{}", self.body);
        (
            self.status.as_u16(),
            self.element("Code"),
            self.element("Message"),
        )
    }

    fn keys(&self) -> Keys {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        Keys {
            access_key_id: self.element("AccessKeyId"),
            secret_access_key: self.element("SecretAccessKey"),
            session_token: Some(self.element("SessionToken")),
        }
    }
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let signer = Signer::new("ES256", "key-1");
        let now = Arc::new(Mutex::new("2026-11-24T00:18:30Z".parse::<Timestamp>().unwrap()));
        let calls = Arc::new(Calls::default());
        let mut account = Account::new(ACCOUNT);
        account.oidc_providers.push(OidcProvider {
            url: ISSUER.to_owned(),
            client_ids: vec!["sts.amazonaws.com".to_owned()],
            documents: IssuerDocuments::Jwks(signer.jwks()),
        });
        let issuer = ISSUER.strip_prefix("https://").unwrap();
        let mut role = Role::new(
            "reader",
            json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow",
                "Principal": {"Federated": PROVIDER},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {
                    format!("{issuer}:sub"): SUBJECT,
                    format!("{issuer}:aud"): "sts.amazonaws.com",
                }},
            }]}),
        );
        role.path = "/pods/".to_owned();
        account.roles.push(role);
        account.users.push(User {
            name: "alice".to_owned(),
            path: "/".to_owned(),
            root: false,
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        });
        let clock = now.clone();
        let mut config = Config {
            accounts: vec![account],
            clock: Clock::new(move || *clock.lock()),
            events: Some(calls.clone()),
            ..Config::default()
        };
        change(&mut config);
        Self {
            aws: Aws::new(config).unwrap(),
            signer,
            now,
            calls,
        }
    }

    fn now(&self) -> Timestamp {
        *self.now.lock()
    }

    fn pass(&self, seconds: i64) {
        let mut now = self.now.lock();
        *now += SignedDuration::from_secs(seconds);
    }

    fn claims(&self) -> Value {
        let now = self.now().as_second();
        json!({
            "iss": ISSUER, "sub": SUBJECT, "aud": ["sts.amazonaws.com"],
            "iat": now, "nbf": now, "exp": now + 3600,
            "kubernetes.io": {"namespace": "kube-system", "serviceaccount": {"name": "aws-node"}},
        })
    }

    fn token(&self) -> String {
        self.signer.sign(&self.claims())
    }

    async fn send(&self, host: &str, request: Request<Bytes>) -> Seen {
        let connection = Connection::to(host).with_tls("TLSv1.3", "TLS_AES_128_GCM_SHA256");
        let response = self.aws.handle(request, &connection).await;
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        Seen {
            status: response.status(),
            response,
            body,
        }
    }

    async fn post(&self, host: &str, parameters: &[(&str, &str)]) -> Seen {
        self.send(host, form(host, parameters)).await
    }

    async fn assume(&self, host: &str, token: &str) -> Seen {
        self.post(
            host,
            &[
                ("Action", "AssumeRoleWithWebIdentity"),
                ("Version", "2011-06-15"),
                ("RoleArn", ROLE),
                ("RoleSessionName", "session-1"),
                ("WebIdentityToken", token),
            ],
        )
        .await
    }

    /// A signed call.
    async fn call(&self, host: &str, keys: &Keys, region: &str, action: &str, more: &[(&str, &str)]) -> Seen {
        let mut parameters = vec![("Action", action), ("Version", "2011-06-15")];
        parameters.extend_from_slice(more);
        let mut request = form(host, &parameters);
        *request.uri_mut() = format!("https://{host}/").parse().unwrap();
        self.send(
            host,
            signed(request, keys, region, "sts", self.now(), in_header()),
        )
        .await
    }

    async fn caller_identity(&self, host: &str, keys: &Keys, region: &str) -> Seen {
        self.call(host, keys, region, "GetCallerIdentity", &[]).await
    }

    fn last_call(&self) -> Call {
        self.calls.0.lock().last().cloned().unwrap()
    }
}

fn alice() -> Keys {
    Keys {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: None,
    }
}

fn form(host: &str, parameters: &[(&str, &str)]) -> Request<Bytes> {
    let body: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    Request::post("/")
        .header("host", host)
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(Bytes::from(body.join("&")))
        .unwrap()
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
