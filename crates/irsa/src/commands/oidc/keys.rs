//! From public keys in PEM to a key set, with the key ids that the API server puts into its tokens.

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The DER of `AlgorithmIdentifier { rsaEncryption, NULL }`.
const RSA_ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// The keys in a PEM file, each as a JSON Web Key.
///
/// # Errors
/// When there is none, or one that is not public or that STS does not know.
pub(super) fn read(pem: &[u8]) -> anyhow::Result<Vec<Value>> {
    let mut keys = Vec::new();
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = block.map_err(|error| anyhow::anyhow!("this is no PEM: {error}"))?;
        let spki = match kind {
            SectionKind::PublicKey => der,
            SectionKind::Certificate => {
                let (_, certificate) =
                    x509_parser::parse_x509_certificate(&der).context("its certificate is not readable")?;
                certificate.public_key().raw.to_vec()
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => bail!(
                "this is a private key, which belongs nowhere but on the API server; give its public half: openssl pkey -in FILE -pubout"
            ),
            _ => continue,
        };
        keys.push(jwk(&spki)?);
    }
    for der in pkcs1(pem)? {
        keys.push(jwk(&spki_of_pkcs1(&der))?);
    }
    if keys.is_empty() {
        bail!("there is no public key in it; expected -----BEGIN PUBLIC KEY-----");
    }
    Ok(keys)
}

/// Blocks of the older form `RSA PUBLIC KEY`, which the PEM reader passes over.
fn pkcs1(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN RSA PUBLIC KEY-----";
    const END: &str = "-----END RSA PUBLIC KEY-----";
    let text = String::from_utf8_lossy(pem);
    let mut found = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let body = block.split(END).next().unwrap_or_default();
        let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        let der = base64::engine::general_purpose::STANDARD
            .decode(body)
            .context("its RSA PUBLIC KEY is no base64")?;
        found.push(der);
    }
    Ok(found)
}

/// Wraps a bare RSA key as the `SubjectPublicKeyInfo` that everything else speaks of.
fn spki_of_pkcs1(der: &[u8]) -> Vec<u8> {
    // A bit string begins with the count of unused bits.
    let bits = tlv(0x03, &[&[0], der].concat());
    tlv(0x30, &[&RSA_ALGORITHM[..], &bits].concat())
}

/// A DER value with its tag and length.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let length: Vec<u8> = content
                .len()
                .to_be_bytes()
                .into_iter()
                .skip_while(|&b| b == 0)
                .collect();
            der.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            der.extend(length);
        }
    }
    der.extend(content);
    der
}

/// One key. Its id is the SHA-256 of its DER, as the API server names the key in the tokens that it signs.
fn jwk(spki: &[u8]) -> anyhow::Result<Value> {
    let (_, info) = SubjectPublicKeyInfo::from_der(spki).context("its public key is not readable")?;
    let kid = BASE64URL.encode(digest(&SHA256, spki));
    let unsigned = |number: &[u8]| {
        let start = number.iter().position(|&b| b != 0).unwrap_or(number.len());
        BASE64URL.encode(&number[start..])
    };
    match info.parsed().context("its public key is not readable")? {
        PublicKey::RSA(key) => {
            if key.key_size() < 2048 {
                bail!(
                    "its RSA key has {} bits; make one with 2048 or more",
                    key.key_size()
                );
            }
            Ok(
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": unsigned(key.modulus), "e": unsigned(key.exponent)}),
            )
        }
        PublicKey::EC(point) => {
            let (curve, alg, size) = match point.key_size() {
                256 => ("P-256", "ES256", 32),
                384 => ("P-384", "ES384", 48),
                // 521 bits do not fill their bytes.
                521 | 528 => ("P-521", "ES512", 66),
                bits => bail!("its elliptic curve of {bits} bits is none that OIDC knows; use RSA or P-256"),
            };
            let [4, coordinates @ ..] = point.data() else {
                bail!("its elliptic curve point is compressed; use the uncompressed form")
            };
            if coordinates.len() != 2 * size {
                bail!("its elliptic curve point is of the wrong length");
            }
            let (x, y) = coordinates.split_at(size);
            Ok(
                json!({"kty": "EC", "kid": kid, "use": "sig", "alg": alg, "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)}),
            )
        }
        _ => bail!("its public key is neither RSA nor elliptic curve, and STS knows no other"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAoy6aZ1RanLe5PTyKN/tU\n\
OSBQpt7QoS3DJrnZ28nKj33YWTpmtqFaA3CY4dyjtbFwMiwig8XBX8XXm9EOz9rj\n\
YNjs7dKlrRsfx3+V9lpCwYWkUEe1r+WMTBI4FHa+MDoAMR2JnI+SxEbT/PL8yEHb\n\
EXgobEojtIqzql1u4gKGE/goH9fAHlu02TOfvRS+Zosvea6OzHEypXqlM2fglSWW\n\
O5nd9hECZ9qwVN7GyyQ3X15MsgB2RWu+YAT1Yh46YAv19pyblRww5GONhCbUnOTF\n\
d5P3q5r2UJatCu6GeosPQgVOOfdEVqnzp/ZD62VUWfM93XP+p/Bksv8qiJvCXcZV\n\
2QIDAQAB\n\
-----END PUBLIC KEY-----\n";
    const RSA_PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----\n\
MIIBCgKCAQEAoy6aZ1RanLe5PTyKN/tUOSBQpt7QoS3DJrnZ28nKj33YWTpmtqFa\n\
A3CY4dyjtbFwMiwig8XBX8XXm9EOz9rjYNjs7dKlrRsfx3+V9lpCwYWkUEe1r+WM\n\
TBI4FHa+MDoAMR2JnI+SxEbT/PL8yEHbEXgobEojtIqzql1u4gKGE/goH9fAHlu0\n\
2TOfvRS+Zosvea6OzHEypXqlM2fglSWWO5nd9hECZ9qwVN7GyyQ3X15MsgB2RWu+\n\
YAT1Yh46YAv19pyblRww5GONhCbUnOTFd5P3q5r2UJatCu6GeosPQgVOOfdEVqnz\n\
p/ZD62VUWfM93XP+p/Bksv8qiJvCXcZV2QIDAQAB\n\
-----END RSA PUBLIC KEY-----\n";
    const RSA_KID: &str = "sHkCSDBAGrl1kSbY0X7EilXZLciyMa-py4JmquZr2t4";
    const RSA_N: &str = "oy6aZ1RanLe5PTyKN_tUOSBQpt7QoS3DJrnZ28nKj33YWTpmtqFaA3CY4dyjtbFwMiwig8XBX8XXm9EOz9rjYNjs7dKlrRsfx3-V9lpCwYWkUEe1r-WMTBI4FHa-MDoAMR2JnI-SxEbT_PL8yEHbEXgobEojtIqzql1u4gKGE_goH9fAHlu02TOfvRS-Zosvea6OzHEypXqlM2fglSWWO5nd9hECZ9qwVN7GyyQ3X15MsgB2RWu-YAT1Yh46YAv19pyblRww5GONhCbUnOTFd5P3q5r2UJatCu6GeosPQgVOOfdEVqnzp_ZD62VUWfM93XP-p_Bksv8qiJvCXcZV2Q";
    const EC: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErw6xKhcKtfSTJ1+ZY5kDBuArdV7c\n\
enceanhHFeIoUA6z8GL0l1Da3hDFd1QD8ccD+g+ybVLd4mqkbAbkFX9ABQ==\n\
-----END PUBLIC KEY-----\n";
    const EC_X: &str = "rw6xKhcKtfSTJ1-ZY5kDBuArdV7cenceanhHFeIoUA4";
    const EC_Y: &str = "s_Bi9JdQ2t4QxXdUA_HHA_oPsm1S3eJqpGwG5BV_QAU";

    pub(in super::super) fn file(pem: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        file
    }

    #[test]
    fn an_rsa_key_has_the_id_and_numbers_that_openssl_and_the_api_server_see() {
        let keys = read(RSA.as_bytes()).unwrap();
        assert_eq!(keys[0]["kid"], RSA_KID);
        assert_eq!(keys[0]["e"], "AQAB");
        assert_eq!(keys[0]["n"], RSA_N);
    }

    #[test]
    fn the_older_form_of_the_same_key_is_the_same_key() {
        assert_eq!(read(RSA_PKCS1.as_bytes()).unwrap(), read(RSA.as_bytes()).unwrap());
    }

    #[test]
    fn an_elliptic_curve_key_has_its_coordinates() {
        let key = &read(EC.as_bytes()).unwrap()[0];
        assert_eq!(
            (key["crv"].as_str(), key["alg"].as_str()),
            (Some("P-256"), Some("ES256"))
        );
        assert_eq!((key["x"].as_str(), key["y"].as_str()), (Some(EC_X), Some(EC_Y)));
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_a_sentence() {
        let private = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n";
        for (pem, part) in [
            ("", "there is no public key in it"),
            ("hello", "there is no public key in it"),
            (private, "this is a private key"),
            (
                "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n",
                "not readable",
            ),
            (
                "-----BEGIN RSA PUBLIC KEY-----\n!\n-----END RSA PUBLIC KEY-----\n",
                "no base64",
            ),
        ] {
            let error = format!("{:#}", read(pem.as_bytes()).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
