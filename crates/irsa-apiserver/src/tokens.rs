//! Service account tokens: issued as `TokenRequest` issues them, recognised as the API server and `TokenReview`
//! recognise them.
//!
//! Claims, bounds and texts are those of kube-apiserver with `--service-account-max-token-expiration=24h` and
//! extended expiration on, which is what EKS runs.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use crate::api::{Api, Caller};
use crate::object::ObjectExt;
use crate::status::{Cause, Result, Status};

/// Audience of tokens for the API itself.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc";
/// The shortest life that may be asked for, in seconds.
pub const MIN_EXPIRATION: i64 = 600;
/// Longer lives are cut to this one silently, in seconds.
pub const MAX_EXPIRATION: i64 = 86_400;
/// The life of a token when none is asked for, in seconds.
pub const DEFAULT_EXPIRATION: i64 = 3_600;
/// The life that the `kube-api-access` volume asks for. Tokens of pods for the API with exactly this life are made
/// to last much longer, so that old clients that never read the file again go on working.
pub const EXTENDED_FOR: i64 = 3_607;
const EXTENDED: i64 = 31_536_000;
/// EKS extends by ninety days.
const EXTENDED_EKS: i64 = 7_776_000;
/// Longer tokens are not looked at.
const MAX_TOKEN: usize = 16 * 1024;

struct SigningKey {
    pair: KeyPair,
    id: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl SigningKey {
    fn generate() -> Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| Status::internal("cannot generate an RSA key for service account tokens"))?;
        let public = pair.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
        let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public.as_ref());
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(digest),
            pair,
            modulus,
            exponent,
        })
    }

    fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({ "alg": "RS256", "kid": self.id });
        let mut token = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                token.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Status::internal("cannot sign a service account token"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn jwk(&self) -> Value {
        json!({
            "use": "sig", "kty": "RSA", "kid": self.id, "alg": "RS256",
            "n": URL_SAFE_NO_PAD.encode(&self.modulus), "e": URL_SAFE_NO_PAD.encode(&self.exponent),
        })
    }
}

/// A token that was issued.
#[derive(Clone)]
pub struct IssuedToken {
    /// The compact JWT. A secret.
    pub token: String,
    /// When its user has to have a new one, seconds since 1970. Extended tokens live longer than that.
    pub expires: i64,
    /// Its life in seconds, after the bounds were applied.
    pub expiration_seconds: i64,
    /// Audiences, the API's when none were asked for.
    pub audiences: Vec<String>,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken")
            .field("expires", &self.expires)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}

/// One file of a projected volume.
#[derive(Clone)]
pub struct ProjectedFile {
    /// Path below the mount.
    pub path: String,
    /// Content; a secret when `expires` is set.
    pub content: Vec<u8>,
    /// For tokens: when it expires, seconds since 1970. A kubelet writes a new one after 80 % of its life.
    pub expires: Option<i64>,
    /// For tokens: its life in seconds.
    pub expiration_seconds: Option<i64>,
}

impl std::fmt::Debug for ProjectedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectedFile")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Issues and recognises service account tokens.
pub struct Tokens {
    api: Arc<Api>,
    issuer: String,
    // The node claim and the token's id came with 1.30.
    names_node: bool,
    extended: i64,
    first: OnceLock<Arc<SigningKey>>,
    // The newest last; only it signs.
    added: RwLock<Vec<Arc<SigningKey>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// What a token says, once its signature, issuer and times have been found good.
struct Verified {
    claims: Value,
    audiences: Vec<String>,
}

impl Tokens {
    /// Tokens of `issuer`. The key is made when it is first needed; see [`Tokens::warm_up`].
    pub(crate) fn new(api: Arc<Api>, issuer: String, version: &crate::version::Version) -> Self {
        Self {
            api,
            issuer,
            names_node: version.is_at_least(1, 30),
            extended: if version.platform.is_some() {
                EXTENDED_EKS
            } else {
                EXTENDED
            },
            first: OnceLock::new(),
            added: RwLock::default(),
        }
    }

    /// Makes the signing key now; takes a tenth of a second, so not on a thread that others wait for.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn warm_up(&self) -> Result<()> {
        self.first_key().map(|_| ())
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    fn first_key(&self) -> Result<Arc<SigningKey>> {
        if let Some(key) = self.first.get() {
            return Ok(Arc::clone(key));
        }
        // Two first callers may both make one; the slower's is dropped.
        let key = Arc::new(SigningKey::generate()?);
        Ok(Arc::clone(self.first.get_or_init(|| key)))
    }

    fn signing_key(&self) -> Result<Arc<SigningKey>> {
        if let Some(newest) = self.added.read().last() {
            return Ok(Arc::clone(newest));
        }
        self.first_key()
    }

    fn keys(&self) -> Result<Vec<Arc<SigningKey>>> {
        let mut keys = vec![self.first_key()?];
        keys.extend(self.added.read().iter().cloned());
        Ok(keys)
    }

    /// Adds a key that signs from now on; tokens of the earlier ones stay good. Returns its key id.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn rotate_key(&self) -> Result<String> {
        let key = Arc::new(SigningKey::generate()?);
        let id = key.id.clone();
        self.first_key()?;
        self.added.write().push(key);
        Ok(id)
    }

    /// The public keys, newest first.
    ///
    /// # Errors
    /// The system has no randomness for the first key.
    pub fn jwks(&self) -> Result<Value> {
        let keys: Vec<Value> = self.keys()?.iter().rev().map(|key| key.jwk()).collect();
        Ok(json!({ "keys": keys }))
    }

    /// Signs any claims with the present key, for tests of verifiers: nothing is checked or added.
    ///
    /// # Errors
    /// The system has no randomness for the first key.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        self.signing_key()?.sign(claims)
    }

    /// Answers a `TokenRequest` for a service account.
    ///
    /// # Errors
    /// 404 for the service account or the bound object, 409 for a stale uid, 422 for a bad expiration, 400.
    pub fn request(&self, namespace: &str, account: &str, request: &Value) -> Result<Value> {
        let invalid = |field: &str, value: &Value, detail: &str| {
            Status::invalid(
                "TokenRequest",
                "authentication.k8s.io",
                request.name(),
                &[Cause::invalid(field, value, detail)],
            )
        };
        if !request.name().is_empty() && request.name() != account {
            return Err(Status::bad_request(format!(
                "metadata.name must match service account name: {:?} is not {account:?}",
                request.name()
            )));
        }
        if !request.namespace().is_empty() && request.namespace() != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let seconds = match request.at(&["spec", "expirationSeconds"]) {
            None | Some(Value::Null) => DEFAULT_EXPIRATION,
            Some(value) => {
                let seconds = value
                    .as_i64()
                    .ok_or_else(|| invalid("spec.expirationSeconds", value, "must be an integer"))?;
                if seconds < MIN_EXPIRATION {
                    let detail = "may not specify a duration less than 10 minutes";
                    return Err(invalid("spec.expirationSeconds", value, detail));
                }
                if seconds > 1 << 32 {
                    let detail = "may not specify a duration larger than 2^32 seconds";
                    return Err(invalid("spec.expirationSeconds", value, detail));
                }
                seconds
            }
        };
        let audiences: Vec<String> = request
            .list_at(&["spec", "audiences"])
            .iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect();
        let bound = request
            .at(&["spec", "boundObjectRef"])
            .filter(|bound| !bound.is_null());
        let issued = self.issue(namespace, account, &audiences, seconds, bound)?;
        let mut spec = json!({
            "audiences": issued.audiences, "expirationSeconds": issued.expiration_seconds,
            "boundObjectRef": Value::Null,
        });
        if let Some(bound) = bound {
            spec["boundObjectRef"] = bound.clone();
        }
        Ok(json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": { "name": account, "namespace": namespace, "creationTimestamp": crate::object::now() },
            "spec": spec,
            "status": { "token": issued.token, "expirationTimestamp": timestamp(issued.expires) },
        }))
    }

    /// Issues a token. `seconds` is cut to [`MAX_EXPIRATION`]; `bound` is a `boundObjectRef`.
    ///
    /// # Errors
    /// 404 for the service account or the bound object, 409 for a stale uid, 400.
    pub fn issue(
        &self,
        namespace: &str,
        account: &str,
        audiences: &[String],
        seconds: i64,
        bound: Option<&Value>,
    ) -> Result<IssuedToken> {
        let service_account = self.api.get("serviceaccounts", namespace, account)?;
        let seconds = seconds.min(MAX_EXPIRATION);
        let for_api = audiences.is_empty();
        let audiences = if for_api {
            vec![API_AUDIENCE.to_owned()]
        } else {
            audiences.to_vec()
        };
        let now = Timestamp::now().as_second();
        let mut names = Map::new();
        names.insert("namespace".into(), namespace.into());
        let mut bound_to_pod = false;
        if let Some(bound) = bound {
            bound_to_pod = self.bind(&mut names, namespace, account, bound)?;
        }
        names.insert(
            "serviceaccount".into(),
            json!({ "name": account, "uid": service_account.uid() }),
        );
        let mut expires = now + seconds;
        let own_audience = for_api || audiences == [API_AUDIENCE];
        if bound_to_pod && own_audience && seconds == EXTENDED_FOR {
            names.insert("warnafter".into(), (now + seconds).into());
            expires = now + self.extended;
        }
        let mut claims = json!({ "aud": audiences, "exp": expires, "iat": now, "iss": self.issuer });
        if self.names_node {
            claims["jti"] = uuid::Uuid::new_v4().to_string().into();
        }
        claims["kubernetes.io"] = Value::Object(names);
        claims["nbf"] = now.into();
        claims["sub"] = format!("system:serviceaccount:{namespace}:{account}").into();
        Ok(IssuedToken {
            token: self.signing_key()?.sign(&claims)?,
            expires: now + seconds,
            expiration_seconds: seconds,
            audiences,
        })
    }

    /// Adds the bound object to the private claims; true for a pod.
    fn bind(
        &self,
        names: &mut Map<String, Value>,
        namespace: &str,
        account: &str,
        bound: &Value,
    ) -> Result<bool> {
        let (kind, version, name) = (bound.kind(), bound.api_version(), bound.str_at(&["name"]));
        let check_uid = |found: &str| {
            let asked = bound.str_at(&["uid"]);
            if asked.is_empty() || asked == found {
                return Ok(());
            }
            Err(Status::conflict(
                kind,
                name,
                &format!(
                    "the UID in the bound object reference ({asked}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ))
        };
        match (version, kind) {
            ("v1", "Pod") => {
                let pod = self.api.get("pods", namespace, name)?;
                if pod.str_at(&["spec", "serviceAccountName"]) != account {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                check_uid(pod.uid())?;
                let node_name = pod.str_at(&["spec", "nodeName"]);
                if self.names_node && !node_name.is_empty() {
                    let mut node = json!({ "name": node_name });
                    if let Ok(found) = self.api.get("nodes", "", node_name) {
                        node["uid"] = found.uid().into();
                    }
                    names.insert("node".into(), node);
                }
                names.insert("pod".into(), json!({ "name": name, "uid": pod.uid() }));
                Ok(true)
            }
            ("v1", "Secret") => {
                let secret = self.api.get("secrets", namespace, name)?;
                check_uid(secret.uid())?;
                names.insert("secret".into(), json!({ "name": name, "uid": secret.uid() }));
                Ok(false)
            }
            ("v1", "Node") => {
                let node = self.api.get("nodes", "", name)?;
                check_uid(node.uid())?;
                names.insert("node".into(), json!({ "name": name, "uid": node.uid() }));
                Ok(false)
            }
            _ => {
                let (group, version) = version.split_once('/').unwrap_or(("", version));
                Err(Status::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )))
            }
        }
    }

    /// The token that a kubelet would write for a `serviceAccountToken` source of a pod's projected volume; the first
    /// one when the volume has several.
    ///
    /// # Errors
    /// 400 when the pod has no such volume or the volume no such source, else as [`Tokens::issue`].
    pub fn pod_token(&self, pod: &Value, volume: &str) -> Result<IssuedToken> {
        let source = projected_sources(pod, volume)?
            .iter()
            .find_map(|source| source.get("serviceAccountToken"))
            .ok_or_else(|| {
                Status::bad_request(format!(
                    "volume {volume:?} of pod {}/{} has no serviceAccountToken source",
                    pod.namespace(),
                    pod.name()
                ))
            })?;
        self.token_of(pod, source)
    }

    fn token_of(&self, pod: &Value, source: &Value) -> Result<IssuedToken> {
        let audiences: Vec<String> = match source.str_at(&["audience"]) {
            "" => Vec::new(),
            audience => vec![audience.to_owned()],
        };
        let account = match pod.str_at(&["spec", "serviceAccountName"]) {
            "" => "default",
            account => account,
        };
        let bound = json!({ "kind": "Pod", "apiVersion": "v1", "name": pod.name(), "uid": pod.uid() });
        let seconds = source
            .int_at(&["expirationSeconds"])
            .unwrap_or(DEFAULT_EXPIRATION);
        self.issue(pod.namespace(), account, &audiences, seconds, Some(&bound))
    }

    /// The files that a kubelet would write into a projected volume of a pod: tokens, ConfigMaps, Secrets and the
    /// downward API's metadata fields.
    ///
    /// # Errors
    /// 400 when the pod has no such volume, 404 when something that is not optional is missing.
    pub fn projected_files(&self, pod: &Value, volume: &str) -> Result<Vec<ProjectedFile>> {
        let mut files = Vec::new();
        let plain = |path: &str, content: Vec<u8>| ProjectedFile {
            path: path.to_owned(),
            content,
            expires: None,
            expiration_seconds: None,
        };
        for source in projected_sources(pod, volume)? {
            if let Some(source) = source.get("serviceAccountToken") {
                let issued = self.token_of(pod, source)?;
                files.push(ProjectedFile {
                    path: source.str_at(&["path"]).to_owned(),
                    content: issued.token.into_bytes(),
                    expires: Some(issued.expires),
                    expiration_seconds: Some(issued.expiration_seconds),
                });
            }
            for (key, resource) in [("configMap", "configmaps"), ("secret", "secrets")] {
                let Some(source) = source.get(key) else { continue };
                let found = self.api.get(resource, pod.namespace(), source.str_at(&["name"]));
                let object = match found {
                    Ok(object) => object,
                    Err(_) if source.get("optional") == Some(&Value::Bool(true)) => continue,
                    Err(status) => return Err(status),
                };
                for (key, content) in data_of(object.value()) {
                    let items = source.list_at(&["items"]);
                    if items.is_empty() {
                        files.push(plain(&key, content));
                    } else if let Some(item) = items.iter().find(|item| item.str_at(&["key"]) == key) {
                        files.push(plain(item.str_at(&["path"]), content));
                    }
                }
            }
            for item in source.list_at(&["downwardAPI", "items"]) {
                let value = downward(pod, item.str_at(&["fieldRef", "fieldPath"]));
                files.push(plain(item.str_at(&["path"]), value.into_bytes()));
            }
        }
        Ok(files)
    }

    fn verify(&self, token: &str) -> std::result::Result<Verified, &'static str> {
        const INVALID: &str = "invalid bearer token";
        if token.len() > MAX_TOKEN {
            return Err(INVALID);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| INVALID)?;
        let keys = self.keys().map_err(|_| INVALID)?;
        let key = keys
            .iter()
            .find(|key| header.kid.as_deref() == Some(key.id.as_str()))
            .ok_or(INVALID)?;
        let mut rules = Validation::new(Algorithm::RS256);
        rules.leeway = 0;
        rules.validate_nbf = true;
        // Audiences are compared by the callers, who differ.
        rules.validate_aud = false;
        rules.set_issuer(&[&self.issuer]);
        rules.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
        let decoding = DecodingKey::from_rsa_raw_components(&key.modulus, &key.exponent);
        let claims = jsonwebtoken::decode::<Value>(token, &decoding, &rules)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => "service account token has expired",
                jsonwebtoken::errors::ErrorKind::ImmatureSignature => {
                    "service account token is not valid yet"
                }
                _ => INVALID,
            })?
            .claims;
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            _ => return Err(INVALID),
        };
        self.check_objects(&claims)?;
        Ok(Verified { claims, audiences })
    }

    /// A token dies with its service account, its pod, its secret and its node.
    fn check_objects(&self, claims: &Value) -> std::result::Result<(), &'static str> {
        let private = claims.get("kubernetes.io").unwrap_or(&Value::Null);
        let namespace = private.str_at(&["namespace"]);
        let same = |key: &str, resource: &str, namespace: &str| {
            let Some(named) = private.get(key) else {
                return true;
            };
            self.api
                .store()
                .get(resource, namespace, named.str_at(&["name"]))
                .is_some_and(|found| found.uid() == named.str_at(&["uid"]))
        };
        if private.get("serviceaccount").is_none() || !same("serviceaccount", "serviceaccounts", namespace) {
            return Err("service account token has been invalidated");
        }
        if !same("pod", "pods", namespace) || !same("secret", "secrets", namespace) {
            return Err("service account token has been invalidated");
        }
        // The node of a pod's token is information only.
        if private.get("pod").is_none() && !same("node", "nodes", "") {
            return Err("service account token has been invalidated");
        }
        Ok(())
    }

    /// Whose token it is; `None` when it is nobody's, has expired, or is meant for another audience than the API.
    pub(crate) fn authenticate(&self, token: &str) -> Option<Caller> {
        let verified = self.verify(token).ok()?;
        let for_api = verified.audiences.iter().any(|audience| audience == API_AUDIENCE);
        for_api.then(|| caller_of(&verified.claims))
    }

    /// Answers a `TokenReview`.
    #[must_use]
    pub fn review(&self, review: &Value) -> Value {
        let asked: Vec<&str> = review
            .list_at(&["spec", "audiences"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let wanted = if asked.is_empty() {
            vec![API_AUDIENCE]
        } else {
            asked
        };
        let status = match self.verify(review.str_at(&["spec", "token"])) {
            Ok(verified) => {
                let common: Vec<&str> = wanted
                    .iter()
                    .copied()
                    .filter(|audience| verified.audiences.iter().any(|own| own == audience))
                    .collect();
                if common.is_empty() {
                    json!({
                        "user": {},
                        "error": format!(
                            "[invalid bearer token, token audiences {} is invalid for the target audiences {}]",
                            go_strings(&verified.audiences), go_strings(&wanted)
                        ),
                    })
                } else {
                    json!({
                        "authenticated": true, "user": caller_of(&verified.claims).user_info(),
                        "audiences": common,
                    })
                }
            }
            Err("invalid bearer token") => json!({ "user": {}, "error": "invalid bearer token" }),
            Err(why) => json!({ "user": {}, "error": format!("[invalid bearer token, {why}]") }),
        };
        let mut spec = Map::new();
        for key in ["token", "audiences"] {
            if let Some(value) = review.at(&["spec", key]) {
                spec.insert(key.into(), value.clone());
            }
        }
        json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {}, "spec": spec, "status": status,
        })
    }
}

fn caller_of(claims: &Value) -> Caller {
    let private = claims.get("kubernetes.io").unwrap_or(&Value::Null);
    let namespace = private.str_at(&["namespace"]);
    let mut extra = Vec::new();
    let mut add = |key: &str, value: String| {
        extra.push((format!("authentication.kubernetes.io/{key}"), vec![value]));
    };
    if let Some(id) = claims.get("jti").and_then(Value::as_str) {
        add("credential-id", format!("JTI={id}"));
    }
    for key in ["node", "pod"] {
        for part in ["name", "uid"] {
            let value = private.str_at(&[key, part]);
            if !value.is_empty() {
                add(&format!("{key}-{part}"), value.to_owned());
            }
        }
    }
    Caller {
        username: claims.str_at(&["sub"]).to_owned(),
        uid: private.str_at(&["serviceaccount", "uid"]).to_owned(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ],
        extra,
        manager: "unknown".into(),
    }
}

fn go_strings<T: AsRef<str>>(list: &[T]) -> String {
    let quoted: Vec<String> = list.iter().map(|one| format!("{:?}", one.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

fn timestamp(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn projected_sources<'a>(pod: &'a Value, volume: &str) -> Result<&'a [Value]> {
    pod.list_at(&["spec", "volumes"])
        .iter()
        .find(|one| one.str_at(&["name"]) == volume && one.get("projected").is_some())
        .map(|one| one.list_at(&["projected", "sources"]))
        .ok_or_else(|| {
            Status::bad_request(format!(
                "pod {}/{} has no projected volume {volume:?}",
                pod.namespace(),
                pod.name()
            ))
        })
}

/// The entries of a ConfigMap or Secret as bytes.
fn data_of(object: &Value) -> Vec<(String, Vec<u8>)> {
    let encoded = |text: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap_or_default()
    };
    let secret = object.kind() == "Secret";
    let mut entries = Vec::new();
    for (key, in_base64) in [("data", secret), ("binaryData", true)] {
        for (name, value) in object.map_at(&[key]).into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let bytes = if in_base64 {
                encoded(text)
            } else {
                text.as_bytes().to_vec()
            };
            entries.push((name.clone(), bytes));
        }
    }
    entries
}

/// A metadata field as the downward API writes it.
fn downward(pod: &Value, path: &str) -> String {
    let map = |key: &str| {
        let mut lines: Vec<String> = pod
            .map_at(&["metadata", key])
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={:?}", value.as_str().unwrap_or_default()))
            .collect();
        lines.sort();
        lines.join("\n")
    };
    match path {
        "metadata.labels" => map("labels"),
        "metadata.annotations" => map("annotations"),
        "status.hostIP"
        | "status.podIP"
        | "spec.nodeName"
        | "spec.serviceAccountName"
        | "metadata.name"
        | "metadata.namespace"
        | "metadata.uid" => {
            let keys: Vec<&str> = path.split('.').collect();
            pod.str_at(&keys).to_owned()
        }
        _ => {
            let keyed = |prefix: &str, key: &str| {
                let name = path.strip_prefix(prefix)?.strip_suffix("']")?;
                Some(pod.map_at(&["metadata", key])?.get(name)?.as_str()?.to_owned())
            };
            keyed("metadata.labels['", "labels")
                .or_else(|| keyed("metadata.annotations['", "annotations"))
                .unwrap_or_default()
        }
    }
}
