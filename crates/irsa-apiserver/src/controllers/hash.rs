//! Short hashes of templates, for `pod-template-hash` and the names of revisions.

use serde_json::Value;

/// The characters of generated names in Kubernetes, which do not form words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short hash of a value, independent of the order of keys. Each value of `collisions` gives a different hash.
pub(crate) fn short(value: &Value, collisions: i64) -> String {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.value(value);
    if collisions > 0 {
        hash.bytes(&collisions.to_be_bytes());
    }
    // One character for each decimal digit of 32 bits, as in Kubernetes.
    let folded = (hash.0 ^ (hash.0 >> 32)) & 0xffff_ffff;
    folded
        .to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u64::from(*byte);
            self.0 = self.0.wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                self.bytes(b"{");
                for key in keys {
                    self.bytes(key.as_bytes());
                    self.bytes(b":");
                    self.value(&map[key]);
                }
                self.bytes(b"}");
            }
            Value::Array(list) => {
                self.bytes(b"[");
                for one in list {
                    self.value(one);
                    self.bytes(b",");
                }
                self.bytes(b"]");
            }
            other => self.bytes(other.to_string().as_bytes()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::short;

    #[test]
    fn does_not_depend_on_the_order_of_keys() {
        let one = json!({ "a": 1, "b": { "c": [1, 2], "d": null } });
        let other = json!({ "b": { "d": null, "c": [1, 2] }, "a": 1 });
        assert_eq!(short(&one, 0), short(&other, 0));
        assert_ne!(short(&one, 0), short(&json!({ "a": 1 }), 0));
        assert_ne!(short(&one, 0), short(&one, 1));
    }

    #[test]
    fn is_a_part_of_a_name() {
        let hash = short(&json!({ "spec": {} }), 0);
        assert!((5..=10).contains(&hash.len()), "{hash}");
        assert!(hash.bytes().all(|byte| super::ALPHABET.contains(&byte)));
    }
}
