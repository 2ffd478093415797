//! A short-lived token of a service account, compared with the discovery documents. It is never shown.

use base64::Engine as _;
use irsa_core::identity;
use serde_json::{Value, json};

use super::{Check, Verdict, issuer::Known};
use crate::{
    cluster::{Cluster, Error},
    directory::Directory,
    probe,
};

pub(super) async fn check(
    cluster: &Cluster,
    directory: &Directory,
    namespace: Option<&str>,
    known: &Known,
) -> Check {
    let mut check = Check::new("token", "Token of a service account");
    let candidate = probe::candidate(directory, namespace).or_else(|| probe::candidate(directory, None));
    let Some((namespace, name)) = candidate else {
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
        Err(error)
            if matches!(error, Error::Api { .. }) && !error.is_forbidden() && !error.is_not_found() =>
        {
            check.wrong(
                Verdict::Fail,
                error.to_string(),
                "the API server must be able to issue tokens: check --service-account-signing-key-file",
            );
            return check;
        }
        Err(error) => {
            return check.unknown(
                &format!("no token of {namespace}/{name} can be requested"),
                &error,
            );
        }
    };
    match answer["status"]["token"].as_str().and_then(decode) {
        Some((header, claims)) => {
            audience(
                &mut check,
                &claims,
                identity.audience,
                &format!("{namespace}/{name}"),
            );
            issuer_and_key(&mut check, &header, &claims, known);
        }
        None => {
            check.wrong(
                Verdict::Fail,
                "what the API server returned is not a JWT",
                "check --service-account-signing-key-file of the API server",
            );
        }
    }
    check
}

fn audience(check: &mut Check, claims: &Value, wanted: &str, account: &str) {
    let audiences: Vec<&str> = match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    check.see(format!(
        "a token of {account} has audience {} and subject {}",
        audiences.join(", "),
        claims["sub"].as_str().unwrap_or("none")
    ));
    if audiences != [wanted] {
        check.wrong(
            Verdict::Fail,
            format!("{wanted} was requested"),
            "check the API server's --api-audiences",
        );
    }
}

fn issuer_and_key(check: &mut Check, header: &Value, claims: &Value, known: &Known) {
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
    let key = header["kid"].as_str().unwrap_or_default();
    if known.key_ids.is_empty() {
        check.wrong(
            Verdict::Unknown,
            format!("it is signed with key `{key}`; which keys are published is not known"),
            "see the check of the issuer",
        );
    } else if known.key_ids.iter().any(|id| id == key) {
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

/// Header and claims of a JWT, without verification: it comes from the API server itself.
fn decode(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(part)
            .ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_published_keys_the_signature_of_a_token_is_unknown_not_right() {
        let claims = json!({"iss": "https://issuer", "aud": ["sts.amazonaws.com"]});
        let mut known = Known {
            issuer: Some("https://issuer".to_owned()),
            key_ids: Vec::new(),
        };
        let verdict = |known: &Known| {
            let mut check = Check::new("token", "Token");
            issuer_and_key(&mut check, &json!({"kid": "a"}), &claims, known);
            check.verdict
        };
        assert_eq!(verdict(&known), Verdict::Unknown);
        known.key_ids = vec!["a".to_owned()];
        assert_eq!(verdict(&known), Verdict::Pass);
        known.key_ids = vec!["b".to_owned()];
        assert_eq!(verdict(&known), Verdict::Fail);
    }
}
