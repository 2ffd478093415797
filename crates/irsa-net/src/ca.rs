//! A certificate authority: makes a CA, and server certificates that it signs.
//!
//! The webhook keeps one in a Secret; the lab and tests make one and forget it. Who may be trusted for how long, and
//! what is kept, is the business of the caller.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::time::ASN1Time;

/// The longest common name that X.509 allows, in bytes.
const COMMON_NAME: usize = 64;
/// Certificates are valid from a little before they are made, in seconds: clocks differ.
pub const BACKDATE: i64 = 300;
/// A year, in seconds: below the 398 days that some clients allow.
pub const YEAR: i64 = 365 * 24 * 3600;

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate for `{name}`: {source}")]
pub struct Error {
    /// The name that the certificate was for.
    pub name: String,
    /// What the library said.
    pub source: rcgen::Error,
}

/// The first and the last second in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first.
    pub from: Timestamp,
    /// The last.
    pub until: Timestamp,
}

impl Period {
    /// So many seconds from `now`, and [`BACKDATE`] before it.
    #[must_use]
    pub fn starting(now: Timestamp, seconds: i64) -> Self {
        let at = |offset: i64| {
            Timestamp::from_second(now.as_second().saturating_add(offset)).unwrap_or(Timestamp::MAX)
        };
        Self {
            from: at(-BACKDATE),
            until: at(seconds),
        }
    }

    /// A year from now, for a CA that does not outlive its process.
    #[must_use]
    pub fn a_year() -> Self {
        Self::starting(Timestamp::now(), YEAR)
    }

    fn set(self, params: &mut CertificateParams) {
        let time = |at: Timestamp| ASN1Time::from_timestamp(at.as_second()).map(|time| time.to_datetime());
        // Beyond the year 9999 the library's own defaults stay.
        if let (Ok(from), Ok(until)) = (time(self.from), time(self.until)) {
            (params.not_before, params.not_after) = (from, until);
        }
    }
}

/// A certificate authority with its key.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    name: String,
    pem: String,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A certificate that a [`Ca`] has signed, with its key.
#[derive(Debug)]
pub struct Issued {
    certificate: rcgen::Certificate,
    key_der: Vec<u8>,
    key_pem: String,
}

impl Ca {
    /// Makes a new CA whose subject is `name`. Its key is ECDSA P-256: an RSA key takes too long to make.
    ///
    /// # Errors
    /// What the library says.
    pub fn generate(name: &str, period: Period) -> Result<Self, Error> {
        let failed = |source| Error {
            name: name.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name);
        period.set(&mut params);
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            name: name.to_owned(),
            pem,
        })
    }

    /// The CA that [`Ca::generate`] made under `name`, from its certificate and its key.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn restore(name: &str, pem: &str, key_pem: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key_pem).map_err(|source| Error {
            name: name.to_owned(),
            source,
        })?;
        Ok(Self {
            issuer: Issuer::new(params(name), key),
            name: name.to_owned(),
            pem: pem.to_owned(),
        })
    }

    /// The certificate, which clients have to trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The private key.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Signs a server certificate for these DNS names and IP addresses, with a new key.
    ///
    /// # Errors
    /// A name that is none.
    pub fn issue(&self, names: &[&str], period: Period) -> Result<Issued, Error> {
        let key = KeyPair::generate().map_err(|source| Error {
            name: names.join(", "),
            source,
        })?;
        self.issue_with(names, period, &key)
    }

    /// The same with a key that exists: making a key costs more than making a certificate.
    ///
    /// # Errors
    /// A name that is none.
    pub fn issue_with(&self, names: &[&str], period: Period, key: &KeyPair) -> Result<Issued, Error> {
        let failed = |source| Error {
            name: names.join(", "),
            source,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(first) = names.first().filter(|name| name.len() <= COMMON_NAME) {
            params.distinguished_name.push(DnType::CommonName, *first);
        }
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().map_err(failed)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python 3.13 checks strictly (VERIFY_X509_STRICT) and wants the authority named.
        params.use_authority_key_identifier_extension = true;
        period.set(&mut params);
        Ok(Issued {
            certificate: params.signed_by(key, &self.issuer).map_err(failed)?,
            key_der: key.serialize_der(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

impl Issued {
    /// The certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The private key as PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The certificate as DER.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// The private key as DER.
    #[must_use]
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key_der.clone()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::tls::Pair;

    #[test]
    fn tls_clients_accept_the_ca_as_a_root() {
        let ca = Ca::generate("test", Period::a_year()).unwrap();
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap();
        roots.add(der).unwrap();
        assert_eq!(roots.len(), 1);
    }

    #[test]
    fn a_certificate_is_good_for_its_names_and_its_period() {
        let ca = Ca::generate("test", Period::a_year()).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let restored = Ca::restore("test", ca.pem(), &ca.key_pem()).unwrap();
        let issued = restored
            .issue(&["a.test", "127.0.0.1", "::1"], Period::starting(now, 1000))
            .unwrap();
        let pair = Pair::from_pem(issued.pem().as_bytes(), issued.key_pem().as_bytes()).unwrap();
        assert_eq!(pair.validity.names, ["a.test", "127.0.0.1", "::1"]);
        assert_eq!(pair.validity.not_before.as_second(), 1_800_000_000 - BACKDATE);
        assert_eq!(pair.validity.not_after.as_second(), 1_800_001_000);
    }

    #[test]
    fn a_name_that_is_none_is_refused_and_named() {
        let ca = Ca::generate("test", Period::a_year()).unwrap();
        let error = ca.issue(&["snow\u{2603}man"], Period::a_year()).unwrap_err();
        assert!(error.to_string().contains("snow\u{2603}man"), "{error}");
    }
}
