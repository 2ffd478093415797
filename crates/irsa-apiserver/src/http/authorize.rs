//! Whether a caller may do what a request asks for.

use http::{HeaderMap, Method};

use super::asked::Context;
use super::path::{Address, Query};
use crate::api::Caller;
use crate::config::Authorization;
use crate::rbac::{self, Action};
use crate::selectors::FieldSelector;
use crate::status::Result;

/// What a request asks for, in the words of roles.
pub(crate) fn action(method: &Method, at: &Address, query: &Query, path: &str) -> Action {
    if at.plural.is_empty() {
        return Action {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_owned(),
            ..Action::default()
        };
    }
    let named = !at.name.is_empty();
    let verb = match (method.as_str(), named) {
        ("GET" | "HEAD", _) if query.flag("watch") => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        (other, _) => other,
    };
    // A list of one name is about that object.
    let selector = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default()).unwrap_or_default();
    let name = if named || matches!(verb, "create" | "update" | "patch") {
        &at.name
    } else {
        selector.wanted("metadata.name").unwrap_or_default()
    };
    // A namespace is within itself, so that roles in it can be about it.
    let namespace = match (at.group.as_str(), at.plural.as_str()) {
        ("", "namespaces") => &at.name,
        _ => &at.namespace,
    };
    let slash = if at.subresource.is_empty() { "" } else { "/" };
    Action {
        verb: verb.to_owned(),
        group: at.group.clone(),
        resource: format!("{}{slash}{}", at.plural, at.subresource),
        namespace: namespace.clone(),
        name: name.to_owned(),
        path: String::new(),
    }
}

/// Why an action is allowed; `None` when it is not.
pub(crate) fn allows(context: &Context, caller: &Caller, action: &Action) -> Option<String> {
    match context.authorization {
        Authorization::AlwaysAllow => Some("this cluster allows everything".to_owned()),
        Authorization::Rbac => rbac::allows(context.api.store(), caller, action),
    }
}

/// Refuses what the caller may not do.
///
/// # Errors
/// 403 with user, verb and resource.
pub(crate) fn check(context: &Context, caller: &Caller, action: &Action) -> Result<()> {
    match allows(context, caller, action) {
        Some(_) => Ok(()),
        None => Err(action.refusal(caller)),
    }
}

/// The caller that `--as` and `--as-group` ask to be.
///
/// # Errors
/// 403 when the caller may not impersonate them.
pub(crate) fn impersonated(context: &Context, caller: Caller, headers: &HeaderMap) -> Result<Caller> {
    let values = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect()
    };
    let Some(user) = values("impersonate-user").into_iter().next() else {
        return Ok(caller);
    };
    let mut groups = values("impersonate-group");
    let may = |resource: &str, namespace: &str, name: &str| {
        let action = Action {
            verb: "impersonate".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Action::default()
        };
        check(context, &caller, &action)
    };
    let account = user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => {
            may("serviceaccounts", namespace, name)?;
            if groups.is_empty() {
                groups = vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                ];
            }
        }
        None => may("users", "", &user)?,
    }
    for group in values("impersonate-group") {
        may("groups", "", &group)?;
    }
    groups.push("system:authenticated".to_owned());
    Ok(Caller {
        username: user,
        uid: String::new(),
        groups,
        extra: Vec::new(),
        ..caller
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::http::path;

    #[test]
    fn requests_become_the_verbs_of_roles() {
        for (method, path, query, expected) in [
            (Method::GET, "/api/v1/namespaces/n/pods", "", "list n pods -"),
            (
                Method::GET,
                "/api/v1/namespaces/n/pods",
                "watch=1",
                "watch n pods -",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/n/pods",
                "fieldSelector=metadata.name%3Dp",
                "list n pods p",
            ),
            (Method::GET, "/api/v1/namespaces/n/pods/p", "", "get n pods p"),
            (
                Method::POST,
                "/api/v1/namespaces/n/pods/p/eviction",
                "",
                "create n pods/eviction p",
            ),
            (Method::PATCH, "/api/v1/namespaces/n/pods/p", "", "patch n pods p"),
            (
                Method::DELETE,
                "/api/v1/namespaces/n/pods",
                "",
                "deletecollection n pods -",
            ),
            (Method::GET, "/api/v1/namespaces/n", "", "get n namespaces n"),
            (Method::GET, "/metrics", "", "get - - -"),
        ] {
            let at = path::parse(path).unwrap();
            let action = action(&method, &at, &Query::parse(query), path);
            let dash = |text: &str| {
                if text.is_empty() {
                    "-".to_owned()
                } else {
                    text.to_owned()
                }
            };
            let (namespace, resource) = (dash(&action.namespace), dash(&action.resource));
            let said = format!("{} {namespace} {resource} {}", action.verb, dash(&action.name));
            assert_eq!(said, expected, "{method} {path}?{query}");
        }
    }
}
