//! What is kept of a self-made certificate, and when it changes: pure, with the time given in.
//!
//! Kept are CAs, newest first, and one serving certificate. All CAs that are kept are trusted (they are the
//! `caBundle`); a new one is trusted for a while before it signs what is served, and an old one is trusted until nobody
//! serves what it signed. So at every moment what is served is trusted, whichever replica and whichever API server.

use std::time::Duration;

use irsa_net::ca::{self, BACKDATE, Period};
use irsa_net::tls::{self, Pair, Validity};
use jiff::Timestamp;

/// Why certificates cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making failed.
    #[error(transparent)]
    Make(#[from] ca::Error),
    /// What is kept cannot be used.
    #[error("{0}")]
    Kept(#[from] tls::Error),
    /// What is kept is incomplete.
    #[error("{0}")]
    Incomplete(&'static str),
}

/// How long things are valid, and the names on the certificate.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) names: Vec<String>,
    pub(super) ca_lifetime: Duration,
    pub(super) leaf_lifetime: Duration,
    pub(super) overlap: Duration,
}

/// A CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ca {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) validity: Validity,
    name: String,
}

/// Everything that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Newest first, never empty.
    pub(super) cas: Vec<Ca>,
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) validity: Validity,
    issuer: String,
}

/// The PEM blocks of a text, each by itself.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block = String::new();
    for line in text.lines() {
        if line.starts_with("-----BEGIN") {
            block.clear();
        }
        block.push_str(line);
        block.push('\n');
        if line.starts_with("-----END") {
            blocks.push(std::mem::take(&mut block));
        }
    }
    blocks
}

impl Ca {
    fn read(cert: String, key: String) -> Result<Self, Error> {
        // Also checks that the key belongs to the certificate.
        let validity = Pair::from_pem(cert.as_bytes(), key.as_bytes())?.validity;
        Ok(Self {
            name: validity.subject.clone(),
            cert,
            key,
            validity,
        })
    }

    fn make(terms: &Terms, now: Timestamp) -> Result<Self, Error> {
        // The name tells CAs apart: it is how a certificate names the one that signed it.
        let name = format!("irsa webhook CA {}", uuid());
        let made = ca::Ca::generate(&name, Period::starting(now, i64_secs(terms.ca_lifetime)))?;
        Self::read(made.pem().to_owned(), made.key_pem())
    }

    fn age(&self, now: Timestamp) -> i64 {
        now.as_second() - self.validity.not_before.as_second() - BACKDATE
    }
}

impl Kept {
    /// Reads what is kept; `ca_certs` and `ca_keys` in the same order.
    pub(super) fn read(ca_certs: &str, ca_keys: &str, cert: &str, key: &str) -> Result<Self, Error> {
        let (certs, keys) = (blocks(ca_certs), blocks(ca_keys));
        if certs.is_empty() {
            return Err(Error::Incomplete("there is no CA"));
        }
        if certs.len() != keys.len() {
            return Err(Error::Incomplete("there are not as many CA keys as CAs"));
        }
        let cas = certs
            .into_iter()
            .zip(keys)
            .map(|(cert, key)| Ca::read(cert, key))
            .collect::<Result<Vec<_>, _>>()?;
        let validity = Pair::from_pem(cert.as_bytes(), key.as_bytes())?.validity;
        let issuer = validity.issuer.clone();
        if !cas.iter().any(|ca| ca.name == issuer) {
            return Err(Error::Incomplete(
                "the serving certificate is signed by none of the CAs",
            ));
        }
        Ok(Self {
            cas,
            cert: cert.to_owned(),
            key: key.to_owned(),
            validity,
            issuer,
        })
    }

    /// The `caBundle`: every CA that is kept.
    pub(super) fn bundle(&self) -> String {
        self.cas.iter().map(|ca| ca.cert.as_str()).collect()
    }

    pub(super) fn ca_keys(&self) -> String {
        self.cas.iter().map(|ca| ca.key.as_str()).collect()
    }

    /// The serving certificate as it goes into service.
    pub(super) fn pair(&self) -> Result<Pair, Error> {
        Ok(Pair::from_pem(self.cert.as_bytes(), self.key.as_bytes())?)
    }

    /// How long the serving certificate has been in use.
    pub(super) fn age(&self, now: Timestamp) -> i64 {
        now.as_second() - self.validity.not_before.as_second() - BACKDATE
    }

    fn sign(&mut self, ca: usize, terms: &Terms, now: Timestamp) -> Result<(), Error> {
        let Some(ca) = self.cas.get(ca) else {
            return Err(Error::Incomplete("there is no CA"));
        };
        let (cert, key) = leaf(ca, terms, now)?;
        let cas = std::mem::take(&mut self.cas);
        let bundle: String = cas.iter().map(|ca| ca.cert.as_str()).collect();
        let keys: String = cas.iter().map(|ca| ca.key.as_str()).collect();
        *self = Self::read(&bundle, &keys, &cert, &key)?;
        Ok(())
    }
}

fn leaf(ca: &Ca, terms: &Terms, now: Timestamp) -> Result<(String, String), Error> {
    let until = (now.as_second() + i64_secs(terms.leaf_lifetime)).min(ca.validity.not_after.as_second());
    let names: Vec<&str> = terms.names.iter().map(String::as_str).collect();
    let issued = ca::Ca::restore(&ca.name, &ca.cert, &ca.key)?
        .issue(&names, Period::starting(now, until - now.as_second()))?;
    Ok((issued.pem(), issued.key_pem().to_owned()))
}

/// What should be kept instead of `kept` at the time `now`, or `None` when it is right as it is. `trusted` says that
/// the newest CA is in the `caBundle` already, as far as that is known.
pub(super) fn next(
    kept: Option<&Kept>,
    terms: &Terms,
    trusted: bool,
    now: Timestamp,
) -> Result<Option<Kept>, Error> {
    let Some(kept) = kept else {
        let ca = Ca::make(terms, now)?;
        let (cert, key) = leaf(&ca, terms, now)?;
        return Ok(Some(Kept::read(&ca.cert.clone(), &ca.key.clone(), &cert, &key)?));
    };
    let mut next = kept.clone();
    let newest = &next.cas[0];
    if newest.age(now) * 3 >= i64_secs(terms.ca_lifetime) * 2 {
        next.cas.insert(0, Ca::make(terms, now)?);
    }
    let signer = next.cas.iter().position(|ca| ca.name == next.issuer);
    let alive = |ca: &Ca| ca.validity.not_after > now;
    let settled = trusted && next.cas[0].age(now) >= i64_secs(terms.overlap);
    // The newest CA signs once it is trusted everywhere, or when no other one can.
    let old_is_usable = signer.is_some_and(|index| index > 0 && alive(&next.cas[index]));
    let sign_with = if settled || !old_is_usable {
        0
    } else {
        signer.unwrap_or(0)
    };
    let whole = next.validity.not_after.as_second() - next.validity.not_before.as_second() - BACKDATE;
    let due = kept.age(now) * 3 >= whole * 2;
    let renamed = {
        let (mut have, mut want) = (next.validity.names.clone(), terms.names.clone());
        have.sort();
        want.sort();
        want.dedup();
        have != want
    };
    if due || renamed || signer != Some(sign_with) {
        next.sign(sign_with, terms, now)?;
    }
    // Replicas take a new certificate within their polling time; then nobody serves what an old CA signed.
    let forgotten = next.age(now) >= i64_secs(terms.overlap);
    let (newest, issuer) = (next.cas[0].name.clone(), next.issuer.clone());
    next.cas
        .retain(|ca| ca.name == newest || ca.name == issuer || (alive(ca) && !forgotten));
    Ok((next != *kept).then_some(next))
}

fn uuid() -> String {
    let mut bytes = [0; 8];
    // A failure leaves zeros: a name that is not unique still works, certificates are told apart by their keys too.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn i64_secs(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            names: vec!["a.test".into(), "127.0.0.1".into()],
            ca_lifetime: Duration::from_secs(900_000),
            leaf_lifetime: Duration::from_secs(90_000),
            overlap: Duration::from_secs(100),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn step(kept: Option<&Kept>, trusted: bool, seconds: i64) -> Option<Kept> {
        next(kept, &terms(), trusted, at(seconds)).unwrap()
    }

    fn reread(kept: &Kept) -> Kept {
        Kept::read(&kept.bundle(), &kept.ca_keys(), &kept.cert, &kept.key).unwrap()
    }

    #[test]
    fn the_first_ca_signs_at_once_and_then_nothing_changes() {
        let first = step(None, false, 0).unwrap();
        assert_eq!(first.cas.len(), 1);
        assert_eq!(first.issuer, first.cas[0].name);
        assert_eq!(first.validity.names, ["a.test", "127.0.0.1"]);
        assert_eq!(reread(&first), first);
        assert_eq!(step(Some(&first), false, 0), None);
        assert_eq!(step(Some(&first), true, 59_000), None);
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_and_by_the_same_ca() {
        let first = step(None, true, 0).unwrap();
        let second = step(Some(&first), true, 60_001).unwrap();
        assert_eq!(second.cas, first.cas);
        assert_ne!(second.cert, first.cert);
        assert_eq!(step(Some(&second), true, 60_002), None);
    }

    #[test]
    fn a_new_ca_is_trusted_before_it_signs_and_the_old_one_until_nobody_needs_it() {
        let mut kept = step(None, true, 0).unwrap();
        for seconds in (70_000..600_000).step_by(70_000) {
            kept = step(Some(&kept), true, seconds).unwrap();
            assert_eq!(kept.cas.len(), 1, "at {seconds}");
        }
        let both = step(Some(&kept), true, 600_001).unwrap();
        assert_eq!(both.cas.len(), 2);
        assert_eq!(
            (both.cas[1].clone(), &both.issuer),
            (kept.cas[0].clone(), &kept.issuer)
        );
        // Not yet trusted for long enough, or not seen in the caBundle: the old one goes on signing.
        assert_eq!(step(Some(&both), true, 600_050), None);
        assert_eq!(step(Some(&both), false, 600_300), None);
        let signed = step(Some(&both), true, 600_200).unwrap();
        assert_eq!(signed.issuer, signed.cas[0].name);
        assert_eq!(signed.cas.len(), 2);
        let alone = step(Some(&signed), true, 600_301).unwrap();
        assert_eq!(alone.cas.len(), 1);
        assert_eq!(alone.cert, signed.cert);
        assert_eq!(step(Some(&alone), true, 600_302), None);
    }

    #[test]
    fn other_names_make_another_certificate() {
        let first = step(None, true, 0).unwrap();
        let other = Terms {
            names: vec!["b.test".into()],
            ..terms()
        };
        let second = next(Some(&first), &other, true, at(10)).unwrap().unwrap();
        assert_eq!(second.validity.names, ["b.test"]);
        assert_eq!(second.cas, first.cas);
    }

    #[test]
    fn a_certificate_does_not_outlive_its_ca() {
        let short = Terms {
            ca_lifetime: Duration::from_secs(1000),
            ..terms()
        };
        let kept = next(None, &short, true, at(0)).unwrap().unwrap();
        assert_eq!(kept.validity.not_after, kept.cas[0].validity.not_after);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (a, b) = (step(None, true, 0).unwrap(), step(None, true, 0).unwrap());
        let read = |ca: &str, ca_key: &str, cert: &str, key: &str| Kept::read(ca, ca_key, cert, key).is_err();
        assert!(read("", "", &a.cert, &a.key));
        assert!(read(&a.bundle(), &b.ca_keys(), &a.cert, &a.key));
        assert!(read(&a.bundle(), &a.ca_keys(), &b.cert, &b.key));
        assert!(read(&a.bundle(), &a.ca_keys(), &a.cert, &b.key));
        assert!(read(&(a.bundle() + &b.bundle()), &a.ca_keys(), &a.cert, &a.key));
    }
}
