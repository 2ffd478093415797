//! The lab's own certificate authority: one CA, and a server certificate for each name when it is first asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use irsa_net::ca::{self, Ca, Issued, Period};
use irsa_net::tls;
use parking_lot::Mutex;
use rcgen::KeyPair;
use rustls::ServerConfig;

/// How many names may have a certificate at one time; the oldest gives way.
/// Virtual-hosted buckets make the number of names unbounded otherwise.
pub const MAX_LEAVES: usize = 1024;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate library refused.
    #[error(transparent)]
    Certificate(#[from] ca::Error),
    /// The TLS library refused the certificate just made.
    #[error("cannot serve TLS for `{name}`: {source}")]
    Tls {
        /// The name that was to be served.
        name: String,
        /// What the library said.
        source: rustls::Error,
    },
}

/// A certificate authority that lives as long as its lab.
pub struct Authority {
    ca: Ca,
    /// One key for every server certificate: making a key costs more than making a certificate.
    leaf_key: KeyPair,
    period: Period,
    leaves: Mutex<Leaves>,
}

#[derive(Default)]
struct Leaves {
    by_name: HashMap<String, Arc<ServerConfig>>,
    oldest_first: VecDeque<String>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new CA whose subject is `common_name`, valid for a year.
    pub fn generate(common_name: &str) -> Result<Self, Error> {
        let period = Period::a_year();
        let leaf_key = KeyPair::generate().map_err(|source| ca::Error {
            name: common_name.to_owned(),
            source,
        })?;
        Ok(Self {
            ca: Ca::generate(common_name, period)?,
            leaf_key,
            period,
            leaves: Mutex::default(),
        })
    }

    /// The CA certificate, PEM. What `AWS_CA_BUNDLE` and its like point to.
    pub fn pem(&self) -> &str {
        self.ca.pem()
    }

    /// A certificate and its key for one DNS name or IP address.
    pub fn issue(&self, name: &str) -> Result<Issued, Error> {
        Ok(self.ca.issue_with(&[name], self.period, &self.leaf_key)?)
    }

    /// The TLS settings with which `name` is served: HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3.
    pub fn server_config(&self, name: &str) -> Result<Arc<ServerConfig>, Error> {
        if let Some(config) = self.leaves.lock().by_name.get(name) {
            return Ok(Arc::clone(config));
        }
        let failed = |source| Error::Tls {
            name: name.to_owned(),
            source,
        };
        let issued = self.issue(name)?;
        let config = Arc::new(tls::fixed(vec![issued.der()], issued.key_der()).map_err(failed)?);

        let mut leaves = self.leaves.lock();
        if leaves
            .by_name
            .insert(name.to_owned(), Arc::clone(&config))
            .is_none()
        {
            leaves.oldest_first.push_back(name.to_owned());
        }
        while leaves.oldest_first.len() > MAX_LEAVES {
            if let Some(oldest) = leaves.oldest_first.pop_front() {
                leaves.by_name.remove(&oldest);
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn one_name_gets_one_certificate_and_the_oldest_of_too_many_gives_way() {
        let authority = Authority::generate("test").unwrap();
        let first = authority.server_config("sts.amazonaws.com").unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &authority.server_config("sts.amazonaws.com").unwrap()
        ));
        for bucket in 0..MAX_LEAVES {
            authority
                .server_config(&format!("b{bucket}.s3.amazonaws.com"))
                .unwrap();
        }
        assert_eq!(authority.leaves.lock().by_name.len(), MAX_LEAVES);
        assert!(!Arc::ptr_eq(
            &first,
            &authority.server_config("sts.amazonaws.com").unwrap()
        ));
    }
}
