//! The cluster as an OIDC provider: its discovery document and its keys, as the API server and as AWS see them.

use serde_json::Value;

use super::{Check, Verdict, cure};
use crate::cluster::Cluster;

/// What the discovery documents say.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) issuer: Option<String>,
    pub(super) key_ids: Vec<String>,
}

pub(super) async fn check(cluster: &Cluster, probe: bool) -> (Check, Known) {
    let mut check = Check::new("issuer", "OIDC issuer, discovery and keys");
    let mut known = Known::default();
    let document = match cluster.get_value("/.well-known/openid-configuration").await {
        Ok(document) => document,
        Err(error) => {
            return (
                check.unknown("the discovery document cannot be read", &error),
                known,
            );
        }
    };
    let issuer = document["issuer"].as_str().unwrap_or_default().to_owned();
    look_into(&mut check, &document, &issuer);
    match cluster.jwks().await {
        Ok(keys) => {
            known.key_ids = key_ids(&keys);
            match known.key_ids.len() {
                0 => check.wrong(
                    Verdict::Fail,
                    "the API server publishes no key",
                    "set --service-account-key-file of the API server",
                ),
                1 => check.see("the API server publishes 1 key"),
                count => check.see(format!("the API server publishes {count} keys")),
            };
            if probe {
                published(&mut check, &issuer, &known.key_ids).await;
            } else {
                check.see("what AWS sees at the issuer's URL was not fetched: --probe does it");
            }
        }
        Err(error) => {
            check.wrong(
                Verdict::Unknown,
                format!("the keys cannot be read: {error}"),
                cure(&error),
            );
        }
    }
    known.issuer = Some(issuer);
    (check, known)
}

fn look_into(check: &mut Check, document: &Value, issuer: &str) {
    check.see(format!("the issuer is {issuer}"));
    if !issuer.starts_with("https://") {
        check.wrong(
            Verdict::Fail,
            "the issuer is not an https URL, which IAM requires",
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

/// Fetches what AWS fetches, and compares it with what the API server says.
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

/// Fetches a public document, trusting the certificate authorities of this machine.
async fn fetch(url: &str) -> Result<Value, String> {
    let uri: http::Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
    let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("not an https URL".to_owned());
    };
    let base: http::Uri = format!("https://{authority}")
        .parse()
        .map_err(|_| "not a URL".to_owned())?;
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
    serde_json::from_str(&text).map_err(|error| format!("not JSON ({error})"))
}
