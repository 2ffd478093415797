//! What is known of a request when a policy is asked: its principal and its condition keys.

use std::collections::HashMap;
use std::fmt;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal<'a> {
    /// A token of an OIDC provider.
    Federated {
        /// The provider's ARN.
        provider_arn: &'a str,
    },
    /// A user, a role session or an account's root.
    Aws {
        /// Its ARN: `…:user/x`, `…:assumed-role/r/s`, `…:root`.
        arn: &'a str,
        /// Its account.
        account: &'a str,
        /// For a session, the ARN of its role.
        role_arn: Option<&'a str>,
    },
}

impl fmt::Display for Principal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Federated { provider_arn } => provider_arn,
            Self::Aws { arn, .. } => arn,
        })
    }
}

/// Condition keys and their values. Key names do not depend on case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConditionKeys {
    values: HashMap<String, Vec<String>>,
}

impl ConditionKeys {
    /// A context without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key to one value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, vec![value.into()]);
    }

    /// Sets a key to several values; no value is as good as no key.
    pub fn set_all(&mut self, key: &str, values: Vec<String>) {
        self.values.insert(key.to_ascii_lowercase(), values);
    }

    /// The values of a key given in lower case, empty when it is not there.
    pub(super) fn values(&self, lower_case_key: &str) -> &[String] {
        self.values.get(lower_case_key).map_or(&[], Vec::as_slice)
    }
}
