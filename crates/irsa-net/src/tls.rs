//! The TLS side of a server: the versions and cipher suites that it speaks, and the certificate that it serves.
//!
//! The server configuration is built once. What changes is the certificate, behind [`Serving`], which every
//! handshake reads without a lock: a rotation therefore never interrupts a connection and keeps session resumption.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use tokio::sync::Notify;

/// Why the TLS settings or a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A version older than TLS 1.2 was asked for.
    #[error(
        "`{0}` is not a minimum TLS version this server can offer: it speaks 1.2 and 1.3; use `1.2` or `1.3`"
    )]
    MinVersion(String),
    /// A suite that is unknown or that rustls does not implement.
    #[error(
        "cipher suite `{0}` is not offered: it is unknown, or has no forward secrecy or no authenticated encryption; remove it from the list. Offered: {1}"
    )]
    CipherSuite(String, String),
    /// The list left nothing for the only version allowed.
    #[error("the cipher suites given leave nothing that TLS {0} could use")]
    NoCipherSuite(&'static str),
    /// The certificate chain is empty or not PEM.
    #[error("no certificate in PEM form found: {0}")]
    NoCertificate(String),
    /// The private key is missing or not PEM.
    #[error("no private key in PEM form found: {0}")]
    NoKey(String),
    /// Certificate and key do not belong together, or the key type is not supported.
    #[error("certificate and private key cannot be used together: {0}")]
    Mismatch(String),
    /// The leaf could not be read as X.509.
    #[error("the certificate is not valid X.509: {0}")]
    X509(String),
    /// rustls refused the settings.
    #[error("TLS settings: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The oldest protocol version offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl MinVersion {
    /// Reads the spellings of the Go webhook: `1.2`, `1.3`, `VersionTLS12`, `VersionTLS13`.
    ///
    /// # Errors
    /// Anything else; 1.0 and 1.1 are refused because the TLS library does not implement them.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "1.2" | "VersionTLS12" => Ok(Self::Tls12),
            "1.3" | "VersionTLS13" => Ok(Self::Tls13),
            other => Err(Error::MinVersion(other.to_owned())),
        }
    }
}

/// Versions and suites offered to clients.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// The oldest version.
    pub min_version: MinVersion,
    /// The TLS 1.2 suites, `None` for all that rustls has. TLS 1.3 suites are always offered, as in Go.
    pub cipher_suites: Option<Vec<CipherSuite>>,
}

impl TlsOptions {
    /// Reads a comma-separated list of suites in the names of Go's `crypto/tls` (which are IANA's).
    ///
    /// # Errors
    /// A name that rustls does not implement, named together with the names that it does.
    pub fn parse_cipher_suites(list: &str) -> Result<Option<Vec<CipherSuite>>, Error> {
        let mut suites = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match aws_lc_rs::ALL_CIPHER_SUITES
                .iter()
                .find(|suite| go_name(suite) == canonical(name))
            {
                Some(suite) => suites.push(suite.suite()),
                None => {
                    let offered: Vec<String> = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(go_name).collect();
                    return Err(Error::CipherSuite(name.to_owned(), offered.join(", ")));
                }
            }
        }
        Ok((!suites.is_empty()).then_some(suites))
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(allowed) = &self.cipher_suites {
            provider
                .cipher_suites
                .retain(|suite| is_tls13(suite) || allowed.contains(&suite.suite()));
        }
        Arc::new(provider)
    }

    /// The configuration of the server; `alpn` in order of preference.
    ///
    /// # Errors
    /// Suites and versions that exclude each other.
    pub fn server_config(&self, serving: Arc<Serving>, alpn: &[&[u8]]) -> Result<ServerConfig, Error> {
        let provider = self.provider();
        let versions: &[&rustls::SupportedProtocolVersion] = match self.min_version {
            MinVersion::Tls12 if provider.cipher_suites.iter().all(is_tls13) => {
                return Err(Error::NoCipherSuite("1.2"));
            }
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(serving);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(config)
    }
}

/// A configuration that serves one certificate for as long as it lives: HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3.
///
/// # Errors
/// Certificate and key that do not belong together.
pub fn fixed(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn is_tls13(suite: &SupportedCipherSuite) -> bool {
    matches!(suite, SupportedCipherSuite::Tls13(_))
}

/// rustls writes `TLS13_AES_…` for what IANA and Go call `TLS_AES_…`.
fn go_name(suite: &SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}

/// Go keeps two old names without the `_SHA256` that IANA added.
fn canonical(name: &str) -> String {
    match name {
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
            format!("{name}_SHA256")
        }
        _ => name.to_owned(),
    }
}

/// What a certificate says about itself, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second in which it is valid.
    pub not_before: Timestamp,
    /// The last second in which it is valid.
    pub not_after: Timestamp,
    /// The serial number in hexadecimal, to tell two apart in a log.
    pub serial: String,
    /// The DNS names and IP addresses it is good for.
    pub names: Vec<String>,
    /// The common name of its subject.
    pub subject: String,
    /// The common name of its issuer.
    pub issuer: String,
}

impl Validity {
    /// Reads the end-entity certificate `der`.
    ///
    /// # Errors
    /// When it is not X.509.
    pub fn of(der: &[u8]) -> Result<Self, Error> {
        let (_, certificate) =
            x509_parser::parse_x509_certificate(der).map_err(|error| Error::X509(error.to_string()))?;
        let time = |at: x509_parser::time::ASN1Time| {
            Timestamp::from_second(at.timestamp()).map_err(|error| Error::X509(error.to_string()))
        };
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|extension| {
                extension
                    .value
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        x509_parser::extensions::GeneralName::DNSName(dns) => Some((*dns).to_owned()),
                        x509_parser::extensions::GeneralName::IPAddress(bytes) => ip(bytes),
                        _ => None,
                    })
                    .collect()
            })
            .unwrap_or_default();
        Ok(Self {
            not_before: time(certificate.validity().not_before)?,
            not_after: time(certificate.validity().not_after)?,
            serial: certificate.raw_serial_as_string().replace(':', ""),
            names,
            subject: common_name(certificate.subject()),
            issuer: common_name(certificate.issuer()),
        })
    }
}

fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let first = name.iter_common_name().next();
    first
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

/// A certificate chain with its key, checked to belong together.
#[derive(Debug)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    /// What the leaf says about itself.
    pub validity: Validity,
}

impl Pair {
    /// Reads a PEM chain (leaf first) and a PEM key (PKCS#1, PKCS#8 or SEC1).
    ///
    /// # Errors
    /// Says which of the two is missing, unreadable, or does not fit the other.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        let certificates = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::NoCertificate(error.to_string()))?;
        let leaf = certificates
            .first()
            .ok_or_else(|| Error::NoCertificate("the file has no CERTIFICATE block".into()))?;
        let validity = Validity::of(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| Error::NoKey(error.to_string()))?;
        // `from_der` also compares the public keys, so that a half-written pair is never served.
        let key = CertifiedKey::from_der(certificates, key, &aws_lc_rs::default_provider())
            .map_err(|error| Error::Mismatch(error.to_string()))?;
        Ok(Self {
            key: Arc::new(key),
            validity,
        })
    }
}

/// The certificate that new connections are served with. Until there is one, handshakes fail.
#[derive(Default)]
pub struct Serving {
    current: ArcSwapOption<Pair>,
    missing: Mutex<Option<String>>,
    changed: Notify,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving")
            .field("validity", &self.validity())
            .finish()
    }
}

impl Serving {
    /// Serves every new connection with `pair`.
    pub fn set(&self, pair: Pair) {
        self.current.store(Some(Arc::new(pair)));
        self.changed.notify_one();
    }

    /// Says why there is no certificate yet. Has no effect once there is one.
    pub fn set_missing(&self, reason: String) {
        *self.missing.lock() = Some(reason);
        self.changed.notify_one();
    }

    /// Waits until [`Serving::set`] or [`Serving::set_missing`] has been called since the last time; for one task.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Why the certificate is not good at the time `now`, if it is not.
    #[must_use]
    pub fn problem(&self, now: Timestamp) -> Option<String> {
        let Some(validity) = self.validity() else {
            let missing = self.missing.lock().clone();
            return Some(missing.unwrap_or_else(|| "not read yet".to_owned()));
        };
        if now > validity.not_after {
            Some(format!("expired at {}", validity.not_after))
        } else if now < validity.not_before {
            Some(format!("not valid before {}", validity.not_before))
        } else {
            None
        }
    }

    /// What the certificate now served says about itself.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.current.load().as_ref().map(|pair| pair.validity.clone())
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|pair| Arc::clone(&pair.key))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::ca::{Ca, Period, YEAR};

    fn made(name: &str) -> (String, String) {
        let ca = Ca::generate("test", Period::a_year()).unwrap();
        let issued = ca.issue(&[name, "127.0.0.1"], Period::a_year()).unwrap();
        (issued.pem(), issued.key_pem().to_owned())
    }

    #[test]
    fn a_certificate_that_is_missing_or_expired_is_a_problem() {
        let serving = Serving::default();
        let now = Timestamp::now();
        assert_eq!(serving.problem(now).as_deref(), Some("not read yet"));
        serving.set_missing("the Secret cannot be read".to_owned());
        assert_eq!(serving.problem(now).as_deref(), Some("the Secret cannot be read"));
        let (cert, key) = made("a.test");
        serving.set(Pair::from_pem(cert.as_bytes(), key.as_bytes()).unwrap());
        assert_eq!(serving.problem(now), None);
        let later = Timestamp::from_second(now.as_second() + 2 * YEAR).unwrap();
        assert!(serving.problem(later).unwrap().starts_with("expired at"));
    }

    #[test]
    fn versions_are_read_in_both_spellings_of_go_and_old_ones_are_refused() {
        assert_eq!(MinVersion::parse("1.3").unwrap(), MinVersion::Tls13);
        assert_eq!(MinVersion::parse("VersionTLS12").unwrap(), MinVersion::Tls12);
        let error = MinVersion::parse("1.0").unwrap_err().to_string();
        assert!(error.contains("use `1.2` or `1.3`"), "{error}");
    }

    #[test]
    fn cipher_suites_have_the_names_of_go_and_an_unknown_one_is_named() {
        let suites = TlsOptions::parse_cipher_suites(
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_AES_128_GCM_SHA256",
        )
        .unwrap()
        .unwrap();
        assert_eq!(suites.len(), 3);
        assert_eq!(TlsOptions::parse_cipher_suites(" ").unwrap(), None);
        let error = TlsOptions::parse_cipher_suites("TLS_RSA_WITH_AES_128_CBC_SHA")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("TLS_RSA_WITH_AES_128_CBC_SHA") && error.contains("TLS_ECDHE_RSA_WITH"),
            "{error}"
        );
    }

    #[test]
    fn only_tls13_suites_with_a_minimum_of_12_are_refused() {
        let options = TlsOptions {
            min_version: MinVersion::Tls12,
            cipher_suites: TlsOptions::parse_cipher_suites("TLS_AES_128_GCM_SHA256").unwrap(),
        };
        let error = options
            .server_config(Arc::new(Serving::default()), &[])
            .unwrap_err();
        assert!(matches!(error, Error::NoCipherSuite("1.2")));
    }

    #[test]
    fn a_pair_knows_its_names_and_dates_and_a_foreign_key_is_refused() {
        let (cert, key) = made("a.test");
        let (_, other) = made("b.test");
        let pair = Pair::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(pair.validity.names, ["a.test", "127.0.0.1"]);
        assert!(pair.validity.not_before < pair.validity.not_after);
        assert!(matches!(
            Pair::from_pem(cert.as_bytes(), other.as_bytes()),
            Err(Error::Mismatch(_))
        ));
        assert!(matches!(
            Pair::from_pem(b"", key.as_bytes()),
            Err(Error::NoCertificate(_))
        ));
        assert!(matches!(
            Pair::from_pem(cert.as_bytes(), cert.as_bytes()),
            Err(Error::NoKey(_))
        ));
    }
}
