//! The file that `irsa sts --config` reads, YAML or JSON, and what it becomes.
//!
//! Field names are those of the AWS APIs in camel case. A field that is not known is an error, with its line. Paths are
//! relative to the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Account, Bucket, Config, ConfigError, IssuerDocuments, OidcProvider, Role, TokenVersion, User};

/// Largest file that is read, and largest file that it names.
const MAX_FILE: u64 = 4 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    accounts: Vec<AccountFile>,
    #[serde(default)]
    global_endpoint_accepts_local_region: bool,
    #[serde(default)]
    web_identity_leeway_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountFile {
    id: String,
    #[serde(default)]
    partition: Option<String>,
    #[serde(default)]
    deactivated_regions: BTreeSet<String>,
    #[serde(default)]
    global_endpoint_token_version: TokenVersion,
    #[serde(default)]
    oidc_providers: Vec<ProviderFile>,
    #[serde(default)]
    roles: Vec<RoleFile>,
    #[serde(default)]
    users: Vec<UserFile>,
    #[serde(default)]
    buckets: Vec<BucketFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProviderFile {
    url: String,
    #[serde(default = "default_client_ids", rename = "clientIDs", alias = "clientIds")]
    client_ids: Vec<String>,
    #[serde(default)]
    jwks_file: Option<PathBuf>,
    #[serde(default)]
    documents: Option<DocumentsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DocumentsFile {
    #[serde(default)]
    base_url: Option<String>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    bearer_token_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RoleFile {
    name: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    max_session_duration: Option<u32>,
    #[serde(default)]
    trust_policy: Option<Value>,
    #[serde(default)]
    trust_policy_file: Option<PathBuf>,
    #[serde(default)]
    service_accounts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UserFile {
    name: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    root: bool,
    access_key_id: String,
    #[serde(default)]
    secret_access_key: Option<String>,
    #[serde(default)]
    secret_access_key_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BucketFile {
    name: String,
    region: String,
}

impl Config {
    /// Reads a configuration file and the files that it names. Clock and event sink are the defaults.
    ///
    /// # Errors
    /// When a file cannot be read, or is not a configuration; the text says where and what is expected. What cannot
    /// be for other reasons (a trust policy, an account id) is found by [`crate::Aws::new`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        Self::from_text(
            &text,
            &path.display().to_string(),
            path.parent().unwrap_or(Path::new(".")),
        )
    }

    /// The same from text; `name` is for messages, `folder` is what paths are relative to.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn from_text(text: &str, name: &str, folder: &Path) -> Result<Self, ConfigError> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| ConfigError::Parse {
            path: name.to_owned(),
            message: error.to_string(),
        })?;
        if (file.api_version.as_str(), file.kind.as_str()) != ("irsa/v1", "StsConfig") {
            return Err(ConfigError::Parse {
                path: name.to_owned(),
                message: format!(
                    "it begins with apiVersion {:?} and kind {:?}; expected are \"irsa/v1\" and \"StsConfig\"",
                    file.api_version, file.kind
                ),
            });
        }
        Ok(Self {
            accounts: file
                .accounts
                .into_iter()
                .map(|account| account.resolve(folder))
                .collect::<Result<_, _>>()?,
            global_accepts_local_region: file.global_endpoint_accepts_local_region,
            web_identity_leeway: file.web_identity_leeway_seconds.map(Duration::from_secs),
            ..Self::default()
        })
    }
}

impl AccountFile {
    fn resolve(self, folder: &Path) -> Result<Account, ConfigError> {
        let partition = self.partition.unwrap_or_else(|| "aws".to_owned());
        let roles = self
            .roles
            .into_iter()
            .map(|role| role.resolve(folder, &self.id, &partition, &self.oidc_providers))
            .collect::<Result<_, _>>()?;
        Ok(Account {
            deactivated_regions: self.deactivated_regions,
            global_token_version: self.global_endpoint_token_version,
            roles,
            oidc_providers: self
                .oidc_providers
                .into_iter()
                .map(|provider| provider.resolve(folder, &self.id))
                .collect::<Result<_, _>>()?,
            users: self
                .users
                .into_iter()
                .map(|user| user.resolve(folder, &self.id))
                .collect::<Result<_, _>>()?,
            buckets: self
                .buckets
                .into_iter()
                .map(|bucket| Bucket {
                    name: bucket.name,
                    region: bucket.region,
                })
                .collect(),
            partition,
            id: self.id,
        })
    }
}

impl ProviderFile {
    fn resolve(self, folder: &Path, account: &str) -> Result<OidcProvider, ConfigError> {
        let documents = match (self.jwks_file, self.documents) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::value(
                    format!("account {account}, OIDC provider {:?}", self.url),
                    "has both jwksFile and documents; give one",
                ));
            }
            (Some(file), None) => IssuerDocuments::Jwks(read(&folder.join(file))?),
            (None, documents) => {
                let documents = documents.unwrap_or(DocumentsFile {
                    base_url: None,
                    ca_file: None,
                    bearer_token_file: None,
                });
                let optional = |path: Option<PathBuf>| path.map(|path| read(&folder.join(path))).transpose();
                IssuerDocuments::Fetch {
                    base_url: documents.base_url,
                    ca_pem: optional(documents.ca_file)?,
                    bearer_token: optional(documents.bearer_token_file)?.map(|token| token.trim().to_owned()),
                }
            }
        };
        Ok(OidcProvider {
            url: self.url,
            client_ids: self.client_ids,
            documents,
        })
    }
}

impl RoleFile {
    fn resolve(
        self,
        folder: &Path,
        account: &str,
        partition: &str,
        providers: &[ProviderFile],
    ) -> Result<Role, ConfigError> {
        let at = format!("account {account}, role {:?}", self.name);
        let trust_policy = match (
            self.trust_policy,
            self.trust_policy_file,
            self.service_accounts.as_slice(),
        ) {
            (Some(policy), None, []) => policy,
            (None, Some(file), []) => {
                let path = folder.join(file);
                serde_json::from_str(&read(&path)?).map_err(|error| ConfigError::Value {
                    at,
                    message: format!("{} is not JSON: {error}", path.display()),
                })?
            }
            (None, None, accounts @ [_, ..]) => {
                trust_service_accounts(&at, accounts, account, partition, providers)?
            }
            _ => {
                return Err(ConfigError::value(
                    at,
                    "says whom it trusts by exactly one of serviceAccounts, trustPolicy and trustPolicyFile",
                ));
            }
        };
        let mut role = Role::new(self.name, trust_policy);
        if let Some(path) = self.path {
            role.path = path;
        }
        if let Some(seconds) = self.max_session_duration {
            role.max_session_duration = seconds;
        }
        Ok(role)
    }
}

impl UserFile {
    fn resolve(self, folder: &Path, account: &str) -> Result<User, ConfigError> {
        let secret_access_key = match (self.secret_access_key, self.secret_access_key_file) {
            (Some(secret), None) => secret,
            (None, Some(file)) => read(&folder.join(file))?.trim().to_owned(),
            _ => {
                return Err(ConfigError::value(
                    format!("account {account}, user {:?}", self.name),
                    "has exactly one of secretAccessKey and secretAccessKeyFile",
                ));
            }
        };
        Ok(User {
            name: self.name,
            path: self.path.unwrap_or_else(|| "/".to_owned()),
            root: self.root,
            access_key_id: self.access_key_id,
            secret_access_key,
        })
    }
}

/// The trust policy of the EKS guide, for every provider of the account. `NAMESPACE/NAME`, with `*` and `?`.
fn trust_service_accounts(
    at: &str,
    accounts: &[String],
    account: &str,
    partition: &str,
    providers: &[ProviderFile],
) -> Result<Value, ConfigError> {
    if providers.is_empty() {
        return Err(ConfigError::value(
            at,
            "has serviceAccounts, but the account has no oidcProviders that know them",
        ));
    }
    let mut subjects = Vec::new();
    for name in accounts {
        match name.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                subjects.push(json!(format!("system:serviceaccount:{namespace}:{name}")));
            }
            _ => {
                return Err(ConfigError::value(
                    at,
                    format!("service account {name:?} is not NAMESPACE/NAME, as kube-system/aws-node is"),
                ));
            }
        }
    }
    let statements: Vec<Value> = providers
        .iter()
        .map(|provider| {
            let issuer = provider.url.strip_prefix("https://").unwrap_or(&provider.url);
            let mut subject = Map::new();
            subject.insert(format!("{issuer}:sub"), Value::Array(subjects.clone()));
            let mut audience = Map::new();
            audience.insert(format!("{issuer}:aud"), json!(provider.client_ids));
            json!({
                "Effect": "Allow",
                "Principal": {"Federated": format!("arn:{partition}:iam::{account}:oidc-provider/{issuer}")},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringLike": subject, "StringEquals": audience},
            })
        })
        .collect();
    Ok(json!({"Version": "2012-10-17", "Statement": statements}))
}

fn default_client_ids() -> Vec<String> {
    vec!["sts.amazonaws.com".to_owned()]
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.display().to_string(),
        source,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(failed(std::io::Error::other(format!(
            "larger than {MAX_FILE} bytes"
        ))));
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::Aws;
    use crate::oidc::testing::Signer;

    fn parse(text: &str, folder: &Path) -> Result<Aws, ConfigError> {
        Aws::new(Config::from_text(text, "sts.yaml", folder)?)
    }

    fn error(accounts: &str) -> String {
        let text = format!("apiVersion: irsa/v1\nkind: StsConfig\naccounts:\n{accounts}");
        parse(&text, Path::new("/nowhere")).unwrap_err().to_string()
    }

    #[test]
    fn the_example_is_a_configuration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let config = Config::from_file(&folder.join("sts/config.yaml")).unwrap();
        assert_eq!(config.accounts.len(), 1);
        Aws::new(config).unwrap();
    }

    #[test]
    fn every_field_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("jwks.json"), Signer::new("ES256", "k").jwks()).unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
        std::fs::write(
            folder.path().join("trust.json"),
            r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}}"#,
        )
        .unwrap();
        let text = "
apiVersion: irsa/v1
kind: StsConfig
globalEndpointAcceptsLocalRegion: true
webIdentityLeewaySeconds: 0
accounts:
  - id: '111122223333'
    partition: aws
    deactivatedRegions: [eu-south-1]
    globalEndpointTokenVersion: v2Token
    oidcProviders:
      - url: https://oidc.example/a
        clientIDs: [a, b]
        jwksFile: jwks.json
      - url: https://oidc.example/b
        documents: {baseUrl: 'http://127.0.0.1:8001'}
    roles:
      - {name: r1, path: /pods/, maxSessionDuration: 7200, serviceAccounts: [kube-system/aws-node, 'team-*/app']}
      - {name: r2, trustPolicyFile: trust.json}
    users:
      - {name: alice, accessKeyId: AKIAIOSFODNN7EXAMPLE, secretAccessKeyFile: secret}
    buckets: [{name: bucket, region: us-west-2}]
";
        let config = Config::from_text(text, "sts.yaml", folder.path()).unwrap();
        assert!(config.global_accepts_local_region);
        assert_eq!(config.web_identity_leeway, Some(Duration::ZERO));
        let account = &config.accounts[0];
        assert_eq!(account.global_token_version, TokenVersion::V2);
        assert_eq!(account.oidc_providers[1].client_ids, ["sts.amazonaws.com"]);
        assert_eq!(account.users[0].secret_access_key, "s3cret");
        assert_eq!(
            account.roles[0].trust_policy["Statement"][0]["Condition"]["StringLike"]["oidc.example/a:sub"],
            json!([
                "system:serviceaccount:kube-system:aws-node",
                "system:serviceaccount:team-*:app"
            ])
        );
        assert_eq!(
            account.roles[0].trust_policy["Statement"][1]["Principal"]["Federated"],
            json!("arn:aws:iam::111122223333:oidc-provider/oidc.example/b")
        );
        Aws::new(config).unwrap();
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let unknown = error("  - id: '111122223333'\n    rolls: []\n");
        assert!(
            unknown.contains("rolls") && unknown.contains("line 5"),
            "{unknown}"
        );
        assert_eq!(
            error("  - id: '1'\n"),
            "account 1: an account id is exactly twelve digits, as a string"
        );
        assert_eq!(
            error("  - {id: '111122223333', roles: [{name: r}]}\n"),
            "account 111122223333, role \"r\": says whom it trusts by exactly one of serviceAccounts, trustPolicy and \
             trustPolicyFile"
        );
        assert!(
            error("  - {id: '111122223333', roles: [{name: r, serviceAccounts: [a/b]}]}\n")
                .contains("oidcProviders")
        );
        let policy = "{Statement: {Effect: Allow, Principal: '*', Action: 'sts:*', Condition: {StringEqals: {'a:b': c}}}}";
        assert_eq!(
            error(&format!(
                "  - {{id: '111122223333', roles: [{{name: r, trustPolicy: {policy}}}]}}\n"
            )),
            "account 111122223333, role \"r\", trust policy: statement 1: condition operator \"StringEqals\" does not \
             exist"
        );
        assert!(
            error("  - {id: '111122223333', oidcProviders: [{url: 'https://x', jwksFile: none.json}]}\n")
                .starts_with("cannot read /nowhere/none.json")
        );
        let kind = parse("apiVersion: v1\nkind: ConfigMap\naccounts: []\n", Path::new(".")).unwrap_err();
        assert!(
            kind.to_string()
                .contains("expected are \"irsa/v1\" and \"StsConfig\"")
        );
    }

    #[test]
    fn a_secret_is_in_no_error() {
        let user = "{name: a, accessKeyId: short, secretAccessKey: hunter2hunter2}";
        let text = error(&format!("  - {{id: '111122223333', users: [{user}]}}\n"));
        assert!(
            text.contains("accessKeyId") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
