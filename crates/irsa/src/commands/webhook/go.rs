//! Values in the spellings that Go's flag libraries accept, so that an argument list of the Go webhook works as it is.

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    irsa_core::annotations::parse_bool(text)
        .ok_or_else(|| "expected true or false (or 1, t, T, TRUE, True, 0, f, F, FALSE, False)".to_owned())
}

/// A whole number as Go's `strconv.ParseInt(text, 0, 64)` reads it: also `0x50`, `0o120`, `0b1010000`, `1_000`.
pub(super) fn integer(text: &str) -> Result<i64, String> {
    irsa_core::flags::parse_number(text)
        .ok_or_else(|| "expected a whole number such as 80, 0x50 or 1_000".to_owned())
}

/// The number of a port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    integer(text)?
        .try_into()
        .map_err(|_| "expected a port from 0 to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("0", 0),
            ("443", 443),
            ("-1", -1),
            ("+7", 7),
            ("0x1BB", 443),
            ("0b1010", 10),
            ("0o17", 15),
            ("017", 15),
            ("1_000", 1000),
            ("0x_1f", 31),
        ] {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        for text in ["", "-", "_1", "1_", "1__0", "0x", "08", "1.5", "a", "--1"] {
            assert!(integer(text).is_err(), "{text}");
        }
        assert_eq!(port("0x1bb"), Ok(443));
        assert!(port("65536").is_err() && port("-1").is_err());
    }

    #[test]
    fn booleans_are_read_as_go_reads_them() {
        assert_eq!(boolean("T"), Ok(true));
        assert_eq!(boolean("0"), Ok(false));
        assert!(boolean("yes").is_err());
    }
}
