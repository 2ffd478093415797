//! The lab's own certificate authority: one CA, and a server certificate for each name when it is first asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// How many names may have a certificate at one time; the oldest gives way.
/// Virtual-hosted buckets make the number of names unbounded otherwise.
pub const MAX_LEAVES: usize = 1024;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate library refused.
    #[error("cannot make a certificate for `{name}`: {source}")]
    Certificate {
        /// The name that the certificate was for.
        name: String,
        /// What the library said.
        source: rcgen::Error,
    },
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
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// One key for every server certificate: making a key costs more than making a certificate.
    leaf_key: KeyPair,
    validity: Validity,
    leaves: Mutex<Leaves>,
}

/// First and last day as year, month, day.
type Validity = ((i32, u8, u8), (i32, u8, u8));

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
    /// Makes a new CA whose subject is `common_name`, valid from yesterday for a year.
    pub fn generate(common_name: &str) -> Result<Self, Error> {
        let failed = |source| Error::Certificate {
            name: common_name.to_owned(),
            source,
        };
        let validity = validity();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "irsa lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        set_validity(&mut params, validity);
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
            leaf_key,
            validity,
            leaves: Mutex::default(),
        })
    }

    /// The CA certificate, PEM. What `AWS_CA_BUNDLE` and its like point to.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate chain and key for one DNS name or IP address, both DER.
    pub fn issue(&self, name: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let failed = |source| Error::Certificate {
            name: name.to_owned(),
            source,
        };
        let mut params = CertificateParams::default();
        // A common name may have 64 characters and bucket host names have more: the alternative name is enough.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().map_err(failed)?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python 3.13 checks strictly (VERIFY_X509_STRICT) and wants the authority named.
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, self.validity);
        let leaf = params.signed_by(&self.leaf_key, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        Ok((vec![leaf.der().clone()], key))
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
        let (chain, key) = self.issue(name)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(failed)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);

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

/// From yesterday, because clocks of clients differ, for a year: under the 398 days that some clients allow.
fn validity() -> Validity {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let parts = |date: jiff::civil::Date| {
        (
            i32::from(date.year()),
            u8::try_from(date.month()).unwrap_or(1),
            u8::try_from(date.day()).unwrap_or(1),
        )
    };
    (
        parts(today.saturating_sub(Span::new().days(1))),
        parts(today.saturating_add(Span::new().days(365))),
    )
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let ((y, m, d), (to_y, to_m, to_d)) = validity;
    params.not_before = rcgen::date_time_ymd(y, m, d);
    params.not_after = rcgen::date_time_ymd(to_y, to_m, to_d);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use rustls::RootCertStore;
    use rustls_pki_types::pem::PemObject;

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

    #[test]
    fn its_ca_is_one_that_tls_clients_accept_as_a_root() {
        let authority = Authority::generate("test").unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
            .unwrap();
        assert_eq!(roots.len(), 1);
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_the_name_in_the_text() {
        let authority = Authority::generate("test").unwrap();
        let error = authority.issue("snow\u{2603}man").unwrap_err();
        assert!(error.to_string().contains("snow\u{2603}man"), "{error}");
    }
}
