//! Which endpoint is called, in one cell.

use std::collections::{BTreeMap, BTreeSet};

use irsa_fleet::report::EndpointReport;
use owo_colors::Style;

use super::table::Cell;
use super::words::counted;

/// The class of endpoint that is called; unknown if there is no answer although there is an identity.
pub(crate) fn calls(endpoints: &[EndpointReport], identity: bool) -> Cell {
    let classes: BTreeSet<&str> = endpoints.iter().map(|endpoint| endpoint.class).collect();
    let mut by_sdk: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for endpoint in endpoints {
        by_sdk.entry(&endpoint.sdk).or_default().insert(endpoint.class);
    }
    let text = match classes.len() {
        0 if identity => "unknown".to_owned(),
        0 => "-".to_owned(),
        // The containers are alike, the SDKs are not.
        2.. if by_sdk.values().all(|classes| classes.len() == 1) => "by SDK".to_owned(),
        _ => classes.iter().copied().collect::<Vec<_>>().join(", "),
    };
    let style = if classes.contains("error") {
        Style::new().red()
    } else if classes.contains("global") {
        Style::new().yellow()
    } else {
        Style::new()
    };
    Cell::from(text).styled(style)
}

/// Each host once, the one of most SDKs first.
pub(crate) fn hosts(endpoints: &[EndpointReport]) -> String {
    let mut hosts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for endpoint in endpoints {
        let host = if endpoint.class == "error" {
            "error"
        } else {
            &endpoint.host
        };
        hosts.entry(host).or_default().insert(&endpoint.sdk);
    }
    let mut hosts: Vec<(&str, usize)> = hosts.into_iter().map(|(host, sdks)| (host, sdks.len())).collect();
    hosts.sort_by_key(|(host, sdks)| (std::cmp::Reverse(*sdks), *host));
    match hosts.as_slice() {
        [] => "-".to_owned(),
        [(host, _)] => (*host).to_owned(),
        several => {
            let parts: Vec<String> = several
                .iter()
                .map(|(host, sdks)| format!("{host} ({})", counted(*sdks, "SDK")))
                .collect();
            parts.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(sdk: &str, class: &'static str, host: &str) -> EndpointReport {
        EndpointReport {
            sdk: sdk.to_owned(),
            class,
            host: host.to_owned(),
            signing_region: String::new(),
            reason: "",
            certainty: "tested",
            containers: 1,
        }
    }

    #[test]
    fn classes_are_told_and_each_host_once() {
        let regional = || endpoint("boto3", "regional", "sts.us-west-2.amazonaws.com");
        let global = |sdk| endpoint(sdk, "global", "sts.amazonaws.com");
        let said = |endpoints: &[EndpointReport]| calls(endpoints, true).text().to_owned();
        assert_eq!(said(&[regional()]), "regional");
        assert_eq!(said(&[regional(), global("go-v1")]), "by SDK");
        assert_eq!(said(&[regional(), global("boto3")]), "global, regional");
        assert_eq!(said(&[]), "unknown");
        assert_eq!(calls(&[], false).text(), "-");
        assert_eq!(hosts(&[regional()]), "sts.us-west-2.amazonaws.com");
        assert_eq!(
            hosts(&[regional(), global("go-v1"), global("java-v1"), global("go-v1")]),
            "sts.amazonaws.com (2 SDKs), sts.us-west-2.amazonaws.com (1 SDK)"
        );
    }
}
