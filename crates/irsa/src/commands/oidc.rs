//! `irsa oidc`: the two documents by which AWS knows a cluster's tokens, from the cluster's public keys.

mod keys;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::output::Output;

/// Where the discovery document lies below the issuer, by OpenID Connect Discovery 1.0.
const DISCOVERY_PATH: &str = ".well-known/openid-configuration";
/// Where the keys lie below the issuer unless said otherwise: as the API server serves them itself.
const KEYS_PATH: &str = "openid/v1/jwks";
/// The most keys of one kind that IAM reads.
const MOST_KEYS: usize = 100;
/// The longest URL of a provider that IAM takes.
const LONGEST_ISSUER: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Print {
    /// Both, in one JSON document
    Both,
    /// .well-known/openid-configuration
    Discovery,
    /// The key set
    Jwks,
}

/// Print the OIDC discovery and key documents of a cluster with an issuer of its own
///
/// AWS verifies a pod's token with the key set that it finds at the issuer, so both documents have to be readable for
/// everybody, below the issuer's URL: in a bucket, behind a CDN, on a web server. docs/install-plain.md goes through it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The issuer: what the API server is told with --service-account-issuer
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The public key of --service-account-key-file, in PEM; may be repeated, for the time of a rotation
    #[arg(long = "public-key", value_name = "FILE", required = true)]
    public_keys: Vec<PathBuf>,
    /// Where the key set will lie; ISSUER/openid/v1/jwks when left out
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Write the documents below this directory, in the files that have to lie below the issuer
    #[arg(long, value_name = "DIR", conflicts_with = "print")]
    output_dir: Option<PathBuf>,
    /// Which of the documents to print
    #[arg(long, value_enum, default_value = "both", value_name = "WHICH")]
    print: Print,
}

/// The documents, ready to be printed.
#[derive(Debug)]
struct Documents {
    issuer: String,
    /// The path of the key set below the issuer, if it lies there.
    keys_path: Option<String>,
    discovery: Value,
    jwks: Value,
}

impl Args {
    fn documents(&self) -> anyhow::Result<Documents> {
        let issuer = check_issuer(&self.issuer)?;
        let jwks_uri = match &self.jwks_uri {
            Some(uri) if uri.starts_with("https://") => uri.clone(),
            Some(uri) => bail!("--jwks-uri {uri} does not begin with https://, and AWS reads nothing else"),
            None => format!("{issuer}/{KEYS_PATH}"),
        };
        let mut keys: Vec<Value> = Vec::new();
        for file in &self.public_keys {
            let pem =
                std::fs::read(file).with_context(|| format!("reading --public-key {}", file.display()))?;
            let read = keys::read(&pem).with_context(|| format!("--public-key {}", file.display()))?;
            // The same key twice is one key.
            keys.extend(
                read.into_iter()
                    .filter(|key| !keys.iter().any(|known| known["kid"] == key["kid"]))
                    .collect::<Vec<_>>(),
            );
        }
        for kind in ["RSA", "EC"] {
            let count = keys.iter().filter(|key| key["kty"] == kind).count();
            if count > MOST_KEYS {
                bail!(
                    "{count} {kind} keys are more than the {MOST_KEYS} that IAM reads: leave out those that no token is signed with any more"
                );
            }
        }
        let mut algorithms: Vec<Value> = keys.iter().map(|key| key["alg"].clone()).collect();
        algorithms.dedup();
        Ok(Documents {
            keys_path: jwks_uri
                .strip_prefix(&format!("{issuer}/"))
                .map(ToOwned::to_owned),
            discovery: json!({
                "issuer": issuer,
                "jwks_uri": jwks_uri,
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": algorithms,
            }),
            jwks: json!({"keys": keys}),
            issuer,
        })
    }
}

/// Checks an issuer by the rules of IAM's `CreateOpenIDConnectProvider`.
fn check_issuer(text: &str) -> anyhow::Result<String> {
    let Some(rest) = text.strip_prefix("https://") else {
        bail!("--issuer {text} does not begin with https://, and AWS knows no other issuers");
    };
    if text.len() > LONGEST_ISSUER {
        bail!("--issuer is longer than the {LONGEST_ISSUER} characters that IAM takes");
    }
    if rest.contains(['?', '#']) || rest.contains(char::is_whitespace) {
        bail!("--issuer {text} has a query, a fragment or white space, which IAM refuses");
    }
    if text.ends_with('/') {
        bail!(
            "--issuer {text} ends with a slash: tokens carry the issuer letter by letter, so give it as the API server has it, and there without the slash"
        );
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains(':') {
        bail!("--issuer {text} names no host, or a port, which IAM refuses");
    }
    Ok(text.to_owned())
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let documents = args.documents()?;
    let Documents {
        issuer,
        keys_path,
        discovery,
        jwks,
    } = &documents;
    if let Some(dir) = &args.output_dir {
        let Some(keys_path) = keys_path else {
            bail!(
                "--jwks-uri does not lie below --issuer, so no directory can hold both documents: use --print"
            );
        };
        write(&dir.join(DISCOVERY_PATH), discovery)?;
        write(&dir.join(keys_path), jwks)?;
        output.note(format_args!(
            "{}\n{}\nmust now be readable for everybody as\n{issuer}/{DISCOVERY_PATH}\n{issuer}/{keys_path}\nwith Content-Type application/json",
            dir.join(DISCOVERY_PATH).display(),
            dir.join(keys_path).display(),
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match args.print {
        Print::Both => serde_json::to_string_pretty(
            &json!({"apiVersion": "irsa/v1", "kind": "OidcDocuments", "discovery": discovery, "jwks": jwks}),
        )?,
        Print::Discovery => serde_json::to_string_pretty(discovery)?,
        Print::Jwks => serde_json::to_string_pretty(jwks)?,
    };
    output.out(text)?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, document: &Value) -> anyhow::Result<()> {
    let context = || format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(context)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(document)? + "\n").with_context(context)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn args(issuer: &str, keys: &[&Path]) -> Args {
        Args {
            issuer: issuer.to_owned(),
            public_keys: keys.iter().map(|key| key.to_path_buf()).collect(),
            jwks_uri: None,
            output_dir: None,
            print: Print::Both,
        }
    }

    #[test]
    fn the_documents_have_what_sts_asks_for_and_lie_where_the_api_server_has_them() {
        let key = keys::tests::file(keys::tests::RSA);
        let documents = args("https://oidc.example.com/prod", &[key.path(), key.path()])
            .documents()
            .unwrap();
        assert_eq!(
            documents.discovery,
            json!({
                "issuer": "https://oidc.example.com/prod",
                "jwks_uri": "https://oidc.example.com/prod/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            })
        );
        assert_eq!(documents.jwks["keys"].as_array().unwrap().len(), 1);
        assert_eq!(documents.keys_path.as_deref(), Some("openid/v1/jwks"));
    }

    #[test]
    fn issuers_that_iam_refuses_are_refused_with_a_sentence() {
        let long = format!("https://{}.example", "a".repeat(260));
        for (issuer, part) in [
            ("http://a.example", "does not begin with https://"),
            ("https://a.example/", "ends with a slash"),
            ("https://a.example:6443", "a port"),
            ("https://a.example?x", "a query"),
            ("https:///x", "names no host"),
            (&*long, "longer than"),
        ] {
            let error = check_issuer(issuer).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
