//! Identifiers in AWS's shapes: request ids, principals (`AROA…`), access keys that carry their account.

use aws_lc_rs::digest::{SHA256, digest};

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The id of a principal: a four-letter prefix and 17 characters that depend on its ARN only, so that it is the same
/// after a restart.
pub(crate) fn principal(prefix: &str, arn: &str) -> String {
    let hash = digest(&SHA256, arn.as_bytes());
    let mut id = String::with_capacity(21);
    id.push_str(prefix);
    id.extend(
        hash.as_ref()
            .iter()
            .take(17)
            .map(|byte| char::from(BASE32[usize::from(byte & 31)])),
    );
    id
}

/// A fresh request id.
pub(crate) fn request() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A temporary access key id that carries `account`, as AWS's do: `ASIA` and 16 characters of base32, whose first six
/// bytes hold a set bit, 40 bits of the account number and seven bits of `salt`.
pub(crate) fn temporary_key(account: &str, salt: [u8; 5]) -> String {
    let number: u64 = account.parse().unwrap_or(0) & 0xff_ffff_ffff;
    let head: u64 = (1 << 47) | (number << 7) | u64::from(salt[0] & 0x7f);
    let mut bytes = [0_u8; 10];
    bytes[..6].copy_from_slice(&head.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&salt[1..]);
    let mut id = String::with_capacity(20);
    id.push_str("ASIA");
    for group in bytes.chunks_exact(5) {
        let value = group
            .iter()
            .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        id.extend(
            (0..8)
                .rev()
                .map(|i| char::from(BASE32[(value >> (5 * i)) as usize & 31])),
        );
    }
    id
}

/// The account that an access key id carries, if it has the shape of one that does.
pub(crate) fn account_of_key(access_key_id: &str) -> Option<String> {
    let encoded = access_key_id.get(4..14)?;
    let mut value = 0_u64;
    for byte in encoded.bytes() {
        let digit = BASE32.iter().position(|b| *b == byte)?;
        value = (value << 5) | u64::try_from(digit).ok()?;
    }
    // Ten characters are 50 bits; the first 48 are the six bytes.
    let head = value >> 2;
    let account = (head & 0x7fff_ffff_ff80) >> 7;
    (head >> 47 == 1 && account < 1_000_000_000_000).then(|| format!("{account:012}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_key_tells_its_account_to_whoever_reads_it() {
        for account in ["111122223333", "000000000001", "999999999999"] {
            let key = temporary_key(account, [255, 1, 2, 3, 4]);
            assert_eq!(key.len(), 20);
            assert!(key.starts_with("ASIA"));
            assert_eq!(account_of_key(&key).as_deref(), Some(account));
        }
    }

    #[test]
    fn a_key_of_another_shape_tells_nothing() {
        for key in [
            "",
            "ASIA",
            "AKIAIOSFODNN7EXAMPLE",
            "AKIAIOSFODNN7EXAMPL€",
            "ASIA0000000000000000",
        ] {
            assert_eq!(account_of_key(key), None, "{key}");
        }
    }

    #[test]
    fn a_principal_keeps_its_id() {
        let id = principal("AROA", "arn:aws:iam::111122223333:role/r");
        assert_eq!(id, principal("AROA", "arn:aws:iam::111122223333:role/r"));
        assert_eq!(id.len(), 21);
        assert_ne!(id, principal("AROA", "arn:aws:iam::111122223333:role/s"));
    }
}
