//! What is registered: accounts, roles, providers, users; checked when it is put in, quick to look up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use irsa_core::partition::{self, Partition};

use crate::config::{Account, ConfigError, IssuerDocuments, OidcProvider, Role, TokenVersion, User};
use crate::ids;
use crate::oidc::Keys;
use crate::trust::TrustPolicy;

/// All accounts and the keys of their users.
#[derive(Default)]
pub(crate) struct Directory {
    accounts: BTreeMap<String, AccountEntry>,
    keys: HashMap<String, Arc<UserEntry>>,
}

/// One account.
pub(crate) struct AccountEntry {
    pub(crate) id: String,
    pub(crate) partition: &'static Partition,
    pub(crate) global_token_version: TokenVersion,
    deactivated: BTreeSet<String>,
    roles: HashMap<String, Arc<RoleEntry>>,
    providers: HashMap<String, Arc<ProviderEntry>>,
}

/// A role, checked.
pub(crate) struct RoleEntry {
    pub(crate) name: String,
    pub(crate) arn: String,
    /// `AROA…`
    pub(crate) id: String,
    pub(crate) max_session_duration: u32,
    pub(crate) trust: TrustPolicy,
}

/// A provider, checked.
pub(crate) struct ProviderEntry {
    pub(crate) url: String,
    /// The issuer without `https://`: the name of the provider in ARNs and condition keys.
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) client_ids: Vec<String>,
    pub(crate) keys: Arc<Keys>,
    documents: IssuerDocuments,
}

/// A user, checked.
pub(crate) struct UserEntry {
    pub(crate) name: String,
    pub(crate) arn: String,
    /// `AIDA…`, or the account for root.
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) root: bool,
    pub(crate) secret_access_key: String,
}

impl Directory {
    pub(crate) fn add_account(&mut self, account: Account) -> Result<(), ConfigError> {
        let at = format!("account {}", account.id);
        if account.id.len() != 12 || !account.id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ConfigError::value(
                at,
                "an account id is exactly twelve digits, as a string",
            ));
        }
        if self.accounts.contains_key(&account.id) {
            return Err(ConfigError::value(
                at,
                "is there twice; give everything of one account in one entry",
            ));
        }
        let Some(partition) = Partition::named(&account.partition) else {
            let known: Vec<_> = partition::PARTITIONS.iter().map(Partition::name).collect();
            return Err(ConfigError::value(
                at,
                format!(
                    "there is no partition {:?}; known are {}",
                    account.partition,
                    known.join(", ")
                ),
            ));
        };
        let mut entry = AccountEntry {
            id: account.id.clone(),
            partition,
            global_token_version: account.global_token_version,
            deactivated: BTreeSet::new(),
            roles: HashMap::new(),
            providers: HashMap::new(),
        };
        for region in &account.deactivated_regions {
            entry.deactivate(region)?;
        }
        for role in account.roles {
            entry.put_role(role)?;
        }
        for provider in account.oidc_providers {
            entry.put_provider(provider)?;
        }
        self.accounts.insert(account.id.clone(), entry);
        for user in account.users {
            if let Err(error) = self.put_user(&account.id, user) {
                self.accounts.remove(&account.id);
                self.keys.retain(|_, user| user.account != account.id);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(crate) fn account(&self, id: &str) -> Option<&AccountEntry> {
        self.accounts.get(id)
    }

    pub(crate) fn account_mut(&mut self, id: &str) -> Result<&mut AccountEntry, ConfigError> {
        self.accounts
            .get_mut(id)
            .ok_or_else(|| ConfigError::value(format!("account {id}"), "does not exist; add it first"))
    }

    pub(crate) fn account_ids(&self) -> Vec<String> {
        self.accounts.keys().cloned().collect()
    }

    pub(crate) fn user_by_key(&self, access_key_id: &str) -> Option<Arc<UserEntry>> {
        self.keys.get(access_key_id).cloned()
    }

    pub(crate) fn put_user(&mut self, account: &str, user: User) -> Result<(), ConfigError> {
        let partition = self.account_mut(account)?.partition.name();
        let at = format!("account {account}, user {:?}", user.name);
        if !is_name(&user.name, 64) {
            return Err(ConfigError::value(
                at,
                "a user name is 1 to 64 of letters, digits and _+=,.@-",
            ));
        }
        check_path(&at, &user.path)?;
        let key = user.access_key_id.as_str();
        if !(16..=128).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(ConfigError::value(
                at,
                format!("accessKeyId {key:?} is not 16 to 128 letters and digits, like AKIAIOSFODNN7EXAMPLE"),
            ));
        }
        if key.starts_with("ASIA") {
            return Err(ConfigError::value(
                at,
                "accessKeyId begins with ASIA, which is for temporary credentials; a user's begins with AKIA",
            ));
        }
        if user.secret_access_key.is_empty() {
            return Err(ConfigError::value(at, "secretAccessKey is empty"));
        }
        if let Some(other) = self.keys.get(key)
            && (other.account != account || other.name != user.name)
        {
            return Err(ConfigError::value(
                at,
                format!(
                    "accessKeyId {key} is already that of user {:?} in account {}",
                    other.name, other.account
                ),
            ));
        }
        let arn = if user.root {
            format!("arn:{partition}:iam::{account}:root")
        } else {
            format!("arn:{partition}:iam::{account}:user{}{}", user.path, user.name)
        };
        let entry = UserEntry {
            id: if user.root {
                account.to_owned()
            } else {
                ids::principal("AIDA", &arn)
            },
            arn,
            name: user.name,
            account: account.to_owned(),
            root: user.root,
            secret_access_key: user.secret_access_key,
        };
        self.keys
            .retain(|_, old| old.account != entry.account || old.name != entry.name);
        self.keys.insert(user.access_key_id, Arc::new(entry));
        Ok(())
    }
}

impl AccountEntry {
    pub(crate) fn role(&self, name: &str) -> Option<Arc<RoleEntry>> {
        self.roles.get(name).cloned()
    }

    /// The provider whose URL is `issuer`, character for character.
    pub(crate) fn provider(&self, issuer: &str) -> Option<Arc<ProviderEntry>> {
        self.providers.get(issuer).cloned()
    }

    pub(crate) fn is_active(&self, region: &str) -> bool {
        !self.deactivated.contains(region)
    }

    pub(crate) fn put_role(&mut self, role: Role) -> Result<(), ConfigError> {
        let at = format!("account {}, role {:?}", self.id, role.name);
        if !is_name(&role.name, 64) {
            return Err(ConfigError::value(
                at,
                "a role name is 1 to 64 of letters, digits and _+=,.@-",
            ));
        }
        check_path(&at, &role.path)?;
        if !(3600..=43200).contains(&role.max_session_duration) {
            return Err(ConfigError::value(
                at,
                format!(
                    "maxSessionDuration is {}; it is 3600 to 43200 seconds",
                    role.max_session_duration
                ),
            ));
        }
        let arn = format!(
            "arn:{}:iam::{}:role{}{}",
            self.partition.name(),
            self.id,
            role.path,
            role.name
        );
        let trust = TrustPolicy::from_value(&role.trust_policy)
            .map_err(|error| ConfigError::value(format!("{at}, trust policy"), error.to_string()))?;
        self.roles.insert(
            role.name.clone(),
            Arc::new(RoleEntry {
                id: ids::principal("AROA", &arn),
                arn,
                name: role.name,
                max_session_duration: role.max_session_duration,
                trust,
            }),
        );
        Ok(())
    }

    pub(crate) fn put_provider(&mut self, provider: OidcProvider) -> Result<(), ConfigError> {
        let at = format!("account {}, OIDC provider {:?}", self.id, provider.url);
        let name = provider
            .url
            .strip_prefix("https://")
            .filter(|rest| !rest.is_empty())
            .ok_or_else(|| ConfigError::value(&at, "the URL of an issuer begins with https://"))?;
        if provider.url.len() > 255 || name.contains(['?', '#', '@', ' ']) {
            return Err(ConfigError::value(
                at,
                "the URL of an issuer has at most 255 characters and no query, fragment or user",
            ));
        }
        if provider.client_ids.len() > 100
            || provider
                .client_ids
                .iter()
                .any(|id| id.is_empty() || id.len() > 255)
        {
            return Err(ConfigError::value(
                at,
                "a provider has at most 100 client ids of 1 to 255 characters",
            ));
        }
        let name = name.to_owned();
        // A provider that is put in again, with another client id for instance, keeps the keys that it knows.
        let same = |old: &&Arc<ProviderEntry>| old.url == provider.url && old.documents == provider.documents;
        let keys = match self.providers.get(&provider.url).filter(same) {
            Some(old) => old.keys.clone(),
            None => Keys::new(&provider.url, &provider.documents)
                .map(Arc::new)
                .map_err(|message| ConfigError::value(&at, message))?,
        };
        let arn = format!(
            "arn:{}:iam::{}:oidc-provider/{name}",
            self.partition.name(),
            self.id
        );
        self.providers.insert(
            provider.url.clone(),
            Arc::new(ProviderEntry {
                url: provider.url,
                name,
                arn,
                client_ids: provider.client_ids,
                keys,
                documents: provider.documents,
            }),
        );
        Ok(())
    }

    pub(crate) fn deactivate(&mut self, region: &str) -> Result<(), ConfigError> {
        if partition::activation(region) == partition::Activation::Always {
            return Err(ConfigError::value(
                format!("account {}, region {region}", self.id),
                "STS cannot be deactivated in this region",
            ));
        }
        self.deactivated.insert(region.to_owned());
        Ok(())
    }

    pub(crate) fn activate(&mut self, region: &str) {
        self.deactivated.remove(region);
    }
}

fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

fn check_path(at: &str, path: &str) -> Result<(), ConfigError> {
    let good = path == "/"
        || (path.len() <= 512
            && path.starts_with('/')
            && path.ends_with('/')
            && path.bytes().all(|b| b.is_ascii_graphic()));
    good.then_some(())
        .ok_or_else(|| ConfigError::value(at, format!("path {path:?} is not / or /something/")))
}
