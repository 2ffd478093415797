//! Ids of findings as arguments; a wrong one is answered with those that exist.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use irsa_fleet::finding::{FailOn, Id};

/// Reads the id of a finding.
pub(crate) fn finding_ids() -> impl TypedValueParser<Value = Id> {
    let ids = Id::ALL
        .iter()
        .map(|id| PossibleValue::new(id.as_str()).help(id.describe()));
    PossibleValuesParser::new(ids).try_map(|id| id.parse::<Id>())
}

/// Reads `--fail-on`.
///
/// # Errors
/// It is neither a severity nor a list of ids; the message lists them.
pub(crate) fn fail_on(text: &str) -> Result<FailOn, String> {
    text.parse().map_err(|error| {
        let ids: Vec<&str> = Id::ALL.iter().map(|id| id.as_str()).collect();
        format!("{error}. The ids are: {}", ids.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_answered_with_those_that_exist() {
        let command = clap::Command::new("irsa").arg(
            clap::Arg::new("finding")
                .long("finding")
                .value_parser(finding_ids()),
        );
        let error = command
            .clone()
            .try_get_matches_from(["irsa", "--finding", "stale-pods"])
            .map(|_| ())
            .map_err(|error| error.to_string());
        assert!(
            error.as_ref().is_err_and(|text| text.contains("unmutated-pod")),
            "{error:?}"
        );
        assert!(
            command
                .try_get_matches_from(["irsa", "--finding", "stale-pod"])
                .is_ok()
        );
        assert!(fail_on("loud").is_err_and(|text| text.contains("stale-pod")));
        assert_eq!(fail_on("never"), Ok(FailOn::Never));
    }
}
