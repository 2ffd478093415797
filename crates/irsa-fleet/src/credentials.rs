//! Who a kubeconfig says that we are, and what the credentials show about why an API server refuses them.

use std::fmt;

use base64::Engine as _;
use jiff::Timestamp;
use kube::config::AuthInfo;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The user of a context.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Name of the context.
    pub(crate) context: String,
    user: String,
    /// The user's entry of the kubeconfig, in its own form. It holds secrets: nothing of it is shown.
    entry: Secret,
}

struct Secret(Value);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user \"{}\" (context \"{}\")", self.user, self.context)
    }
}

impl Credentials {
    pub(crate) fn new(context: String, user: String, entry: &AuthInfo) -> Self {
        Self {
            context,
            user,
            // An entry that cannot be written as JSON only makes `what_is_wrong` less precise.
            entry: Secret(serde_json::to_value(entry).unwrap_or_default()),
        }
    }

    /// Why the API server may have refused them: the end of their validity if that has passed.
    pub(crate) fn what_is_wrong(&self) -> String {
        let now = Timestamp::now();
        let entry = &self.entry.0;
        let file = |field: &str| std::fs::read(entry[field].as_str()?).ok();
        let token = match entry["token"].as_str() {
            Some(token) => Some(token.to_owned()),
            None => file("tokenFile").and_then(|bytes| String::from_utf8(bytes).ok()),
        };
        if let Some(token) = token {
            return match expiry_of_token(token.trim()) {
                Some(end) if end < now => format!("its token expired at {end}"),
                _ => "its token is not valid".to_owned(),
            };
        }
        let certificate = match entry["client-certificate-data"].as_str() {
            Some(data) => base64::engine::general_purpose::STANDARD.decode(data).ok(),
            None => file("client-certificate"),
        };
        if let Some(pem) = certificate {
            return match expiry_of_certificate(&pem) {
                Some(end) if end < now => format!("its client certificate expired at {end}"),
                _ => "its client certificate is not trusted".to_owned(),
            };
        }
        match entry["exec"]["command"].as_str() {
            Some(command) => format!("what `{command}` returned is not valid"),
            None => "Unauthorized".to_owned(),
        }
    }
}

/// The `exp` claim of a JWT, unverified; nothing if it is no JWT or has none.
fn expiry_of_token(token: &str) -> Option<Timestamp> {
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1)?)
        .ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_second(claims["exp"].as_i64()?).ok()
}

fn expiry_of_certificate(pem: &[u8]) -> Option<Timestamp> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn credentials(entry: Value) -> Credentials {
        Credentials::new(
            "prod".to_owned(),
            "alice".to_owned(),
            &serde_json::from_value(entry).unwrap(),
        )
    }

    fn token(expires: i64) -> String {
        let part = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(json!({})), part(json!({"exp": expires})))
    }

    #[test]
    fn an_expired_token_is_named_with_its_end_and_never_shown() {
        let expired = credentials(json!({"token": token(1_700_000_000)}));
        assert_eq!(expired.to_string(), "user \"alice\" (context \"prod\")");
        assert_eq!(
            expired.what_is_wrong(),
            "its token expired at 2023-11-14T22:13:20Z"
        );
        assert!(!format!("{expired:?}").contains("c2ln"));
        let other = credentials(json!({"token": token(99_999_999_999)}));
        assert_eq!(other.what_is_wrong(), "its token is not valid");
        assert_eq!(
            credentials(json!({"token": "opaque"})).what_is_wrong(),
            "its token is not valid"
        );
    }

    #[test]
    fn a_credential_plugin_is_named_by_its_command() {
        let plugin =
            credentials(json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}}));
        assert_eq!(plugin.what_is_wrong(), "what `aws` returned is not valid");
    }
}
