//! What the debug handlers answer (`--enable-debugging-handlers`), under the paths and in the forms of the Go webhook.

use irsa_core::endpoint::EndpointType;
use serde_json::{Map, json};

use crate::directory::Directory;
use crate::review;

/// The page of `/debug/alpha/cache`: annotated service accounts by `namespace/name`, with the field names of Go.
pub(crate) fn cache(directory: &Directory) -> String {
    let settings = directory.settings();
    let mut entries: Vec<_> = directory.annotated();
    entries.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let page: Map<_, _> = entries
        .into_iter()
        .map(|(namespace, name, account)| {
            let endpoint = account.endpoint().or(settings.flag);
            let entry = json!({
                "RoleARN": account.role_arn().unwrap_or_default(),
                "Audience": account.audience().unwrap_or(&settings.audience),
                "UseRegionalSTS": endpoint.is_some_and(EndpointType::is_regional),
                "TokenExpiration": account.token_expiration().unwrap_or(settings.token_expiration),
            });
            (format!("{namespace}/{name}"), entry)
        })
        .collect();
    serde_json::to_string_pretty(&page).unwrap_or_default()
}

/// The answer of `/debug/alpha/deny`.
pub(crate) fn deny() -> Vec<u8> {
    review::denial("admission.k8s.io/v1", "", "Test deny message")
}
