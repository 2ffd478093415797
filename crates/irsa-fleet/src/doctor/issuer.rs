//! The cluster as an OIDC provider: its discovery document, its keys, and a token held against both.

use base64::Engine as _;
use irsa_core::identity;
use serde_json::{Value, json};

use super::{Check, Verdict};
use crate::{cluster::Cluster, directory::Directory, probe};

/// What the discovery documents say.
#[derive(Debug, Default)]
pub(super) struct Known {
    issuer: Option<String>,
    key_ids: Vec<String>,
}

pub(super) async fn discovery(cluster: &Cluster, probe: bool) -> (Check, Known) {
    let mut check = Check::new("issuer", "OIDC issuer, discovery and keys");
    let mut known = Known::default();
    let document = match cluster.get_value("/.well-known/openid-configuration").await {
        Ok(document) => document,
        Err(error) => {
            return (
                check.skip(format!("the discovery document cannot be read: {error}")),
                known,
            );
        }
    };
    let issuer = document["issuer"].as_str().unwrap_or_default().to_owned();
    check.see(format!("the issuer is {issuer}"));
    if !issuer.starts_with("https://") {
        check.wrong(
            Verdict::Fail,
            "the issuer is no https URL, which IAM requires",
            "set --service-account-issuer of the API server to an https URL",
        );
    }
    for field in [
        "response_types_supported",
        "id_token_signing_alg_values_supported",
        "jwks_uri",
    ] {
        if document[field].is_null() {
            check.wrong(
                Verdict::Fail,
                format!("the discovery document has no {field}, which STS requires"),
                "publish the document that the API server serves",
            );
        }
    }
    let keys = match cluster.get_value("/openid/v1/jwks").await {
        Ok(keys) => keys,
        Err(error) => {
            check.see(format!("the keys cannot be read: {error}"));
            known.issuer = Some(issuer);
            return (check, known);
        }
    };
    known.key_ids = key_ids(&keys);
    if known.key_ids.is_empty() {
        check.wrong(
            Verdict::Fail,
            "the API server publishes no key",
            "set --service-account-key-file of the API server",
        );
    } else {
        let count = known.key_ids.len();
        check.see(if count == 1 {
            "the API server publishes 1 key".to_owned()
        } else {
            format!("the API server publishes {count} keys")
        });
    }
    if probe {
        published(&mut check, &issuer, &known.key_ids).await;
    } else {
        check.see("what AWS sees at the issuer's URL was not fetched: --probe does it");
    }
    known.issuer = Some(issuer);
    (check, known)
}

fn key_ids(keys: &Value) -> Vec<String> {
    keys["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|key| key["kid"].as_str())
        .map(str::to_owned)
        .collect()
}

/// Fetches what AWS fetches, and holds it against what the API server says.
async fn published(check: &mut Check, issuer: &str, key_ids_inside: &[String]) {
    let cure = "publish the discovery document and the keys of the API server at the issuer's URL";
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let document = match fetch(&url).await {
        Ok(document) => document,
        Err(why) => {
            check.wrong(Verdict::Fail, format!("{url}: {why}"), cure);
            return;
        }
    };
    if document["issuer"] != *issuer {
        check.wrong(
            Verdict::Fail,
            format!(
                "{url} names issuer {}, tokens name {issuer}",
                document["issuer"].as_str().unwrap_or("none")
            ),
            cure,
        );
    }
    let Some(jwks) = document["jwks_uri"].as_str() else {
        check.wrong(Verdict::Fail, format!("{url} has no jwks_uri"), cure);
        return;
    };
    match fetch(jwks).await {
        Ok(keys) => {
            let outside = key_ids(&keys);
            let missing: Vec<&String> = key_ids_inside.iter().filter(|id| !outside.contains(id)).collect();
            if missing.is_empty() {
                check.see(format!("{jwks} holds every key that the API server signs with"));
            } else {
                check.wrong(
                    Verdict::Fail,
                    format!(
                        "{jwks} lacks {} of the keys that the API server signs with: STS answers InvalidIdentityToken",
                        missing.len()
                    ),
                    cure,
                );
            }
        }
        Err(why) => {
            check.wrong(Verdict::Fail, format!("{jwks}: {why}"), cure);
        }
    }
}

/// One public document, with the authorities of this machine.
async fn fetch(url: &str) -> Result<Value, String> {
    let uri: http::Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
    let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("it is no https URL".to_owned());
    };
    let base: http::Uri = format!("https://{authority}")
        .parse()
        .map_err(|_| "it is no URL".to_owned())?;
    let mut config = kube::Config::new(base);
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    config.read_timeout = Some(std::time::Duration::from_secs(5));
    config.default_retry = false;
    let client = kube::Client::try_from(config).map_err(|error| error.to_string())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    let text = client
        .request_text(request)
        .await
        .map_err(|error| crate::cluster::innermost(&error))?;
    serde_json::from_str(&text).map_err(|error| format!("it is not JSON ({error})"))
}

/// Asks for a short-lived token of a service account and looks into it. The token itself is shown to nobody.
pub(super) async fn token(
    cluster: &Cluster,
    directory: &Directory,
    namespace: Option<&str>,
    known: &Known,
) -> Check {
    let mut check = Check::new("token", "Token of a service account");
    let Some((namespace, name)) =
        probe::candidate(directory, namespace).or_else(|| probe::candidate(directory, None))
    else {
        return check.skip("no service account has a role, so there is nothing to try");
    };
    let lookup = directory.lookup(&namespace, &name);
    let Ok(identity) = identity::resolve(&lookup, &directory.webhooks.settings) else {
        return check.skip("no service account has a role, so there is nothing to try");
    };
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [identity.audience], "expirationSeconds": 600}});
    let answer = match cluster.post(&path, &body).await {
        Ok(answer) => answer,
        Err(error) if super::unavailable(&error) => {
            return check.skip(format!(
                "a token of {namespace}/{name} may not be asked for: {error}"
            ));
        }
        Err(error) => {
            check.wrong(
                Verdict::Fail,
                error.to_string(),
                "the API server must be able to make tokens: check --service-account-signing-key-file",
            );
            return check;
        }
    };
    let Some((header, claims)) = answer["status"]["token"].as_str().and_then(decode) else {
        check.wrong(
            Verdict::Fail,
            "what the API server returned is no JWT",
            "check --service-account-signing-key-file of the API server",
        );
        return check;
    };
    let audiences: Vec<&str> = match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    check.see(format!(
        "a token of {namespace}/{name} has audience {} and subject {}",
        audiences.join(", "),
        claims["sub"].as_str().unwrap_or("none")
    ));
    if audiences != [identity.audience] {
        check.wrong(
            Verdict::Fail,
            format!("{} was asked for", identity.audience),
            "check the API server's --api-audiences",
        );
    }
    if let Some(issuer) = &known.issuer {
        if claims["iss"] == **issuer {
            check.see("its issuer is that of the discovery document");
        } else {
            check.wrong(
                Verdict::Fail,
                format!(
                    "its issuer {} is not that of the discovery document: STS answers \"No OpenIDConnect provider found\"",
                    claims["iss"].as_str().unwrap_or("none")
                ),
                "set --service-account-issuer and --service-account-jwks-uri alike on every API server",
            );
        }
    }
    if !known.key_ids.is_empty() {
        let key = header["kid"].as_str().unwrap_or_default();
        if known.key_ids.iter().any(|id| id == key) {
            check.see("it is signed with one of the published keys");
        } else {
            check.wrong(
                Verdict::Fail,
                format!(
                    "it is signed with key `{key}`, which is not published: STS answers InvalidIdentityToken"
                ),
                "publish the keys again",
            );
        }
    }
    check
}

/// Header and claims of a JWT, unverified: the API server is asked, not doubted.
fn decode(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(part)
            .ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    Some((parts.next()??, parts.next()??))
}
