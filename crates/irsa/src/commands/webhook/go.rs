//! Values in the spellings that Go's flag libraries accept, so that an argument list of the Go webhook works as it is.

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    irsa_core::annotations::parse_bool(text)
        .ok_or_else(|| "expected true or false (or 1, t, T, TRUE, True, 0, f, F, FALSE, False)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_as_go_reads_them() {
        assert_eq!(boolean("T"), Ok(true));
        assert_eq!(boolean("0"), Ok(false));
        assert!(boolean("yes").is_err());
    }
}
