//! `get` and `list`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::http::answer::{self, Body};
use crate::http::asked::{Asked, Context};
use crate::http::negotiate::Form;
use crate::object::{Object, ObjectExt, Stored};
use crate::resources::{Resource, api_version};
use crate::selectors::{FieldSelector, LabelSelector};
use crate::status::{Cause, Result, Status};
use crate::store::{Key, Listing};
use crate::{conversion, table};

/// Label and field selectors of a request.
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn of(asked: &Asked<'_>) -> Result<Self> {
        let labels = LabelSelector::parse(asked.query.get("labelSelector").unwrap_or_default())
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let mut fields = FieldSelector::parse(asked.query.get("fieldSelector").unwrap_or_default())
            .map_err(|error| Status::bad_request(error.to_string()))?;
        if let Some(field) = fields.unsupported(&asked.resource) {
            return Err(Status::bad_request(format!("field label not supported: {field}")));
        }
        if !asked.at.name.is_empty() {
            fields = FieldSelector::parse(&format!("metadata.name={}", asked.at.name)).unwrap_or_default();
        }
        Ok(Self { labels, fields })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    pub(crate) fn matches(&self, object: &Stored) -> bool {
        (self.labels.is_everything() || self.labels.matches(object.labels()))
            && (self.fields.is_everything() || self.fields.matches(object.value()))
    }

    /// The only name that can match.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.wanted("metadata.name")
    }
}

/// The JSON of an object in the version that was asked for.
pub(crate) fn write_object(out: &mut Vec<u8>, resource: &Resource, version: &str, object: &Stored) {
    match conversion::from_stored(resource, version, object) {
        None => out.extend_from_slice(&object.json()),
        Some(value) => out.extend_from_slice(value.to_string().as_bytes()),
    }
}

/// An answer with one object, in the form that the client asked for.
pub(crate) fn one(asked: &Asked<'_>, status: StatusCode, object: &Object) -> Result<Response<Body>> {
    let mut out = Vec::new();
    match Form::of(asked.headers)? {
        Form::Objects => {
            if asked.resource.version() == asked.at.version && asked.resource.group != "events.k8s.io" {
                return Ok(answer::bytes(status, object.json()));
            }
            write_object(&mut out, &asked.resource, &asked.at.version, object);
        }
        Form::Metadata => object.write_metadata(&mut out),
        Form::Table => {
            let metadata = json!({ "resourceVersion": object.str_at(&["metadata", "resourceVersion"]) });
            let include = table::Include::of(asked.query.get("includeObject"));
            let mut table = table::Table::new(&asked.resource, &asked.at.version);
            table.begin(&mut out, &metadata, true);
            table.row(&mut out, object, include);
            table.end(&mut out);
        }
    }
    Ok(answer::bytes(status, out))
}

#[derive(Debug, PartialEq)]
struct Token {
    version: u64,
    key: Key,
    seen: usize,
}

impl Token {
    fn encode(&self) -> String {
        let value = json!({ "v": 1, "rv": self.version, "ns": &*self.key.0, "name": &*self.key.1, "seen": self.seen });
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn decode(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        Some(Self {
            version: value.get("rv")?.as_u64()?,
            key: (
                value.get("ns")?.as_str()?.into(),
                value.get("name")?.as_str()?.into(),
            ),
            seen: usize::try_from(value.get("seen")?.as_u64()?).ok()?,
        })
    }
}

pub(crate) fn get(context: &Context, asked: &Asked<'_>) -> Result<Response<Body>> {
    let object = find(context, asked)?;
    one(asked, StatusCode::OK, &object)
}

pub(crate) fn find(context: &Context, asked: &Asked<'_>) -> Result<Object> {
    context
        .api
        .store()
        .get(&asked.resource.storage, &asked.at.namespace, &asked.at.name)
        .ok_or_else(|| Status::not_found(&asked.resource.qualified(), &asked.at.name))
}

pub(crate) fn list(context: &Context, asked: &Asked<'_>) -> Result<Response<Body>> {
    let form = Form::of(asked.headers)?;
    let selection = Selection::of(asked)?;
    if asked.query.get("sendInitialEvents").is_some() {
        return Err(list_options(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    let limit = asked.query.int("limit")?.unwrap_or(0);
    let limit = if limit <= 0 {
        usize::MAX
    } else {
        usize::try_from(limit).unwrap_or(usize::MAX)
    };
    let wanted = asked.query.get("resourceVersion");
    let matching = asked.query.get("resourceVersionMatch");
    let token = asked.query.get("continue");
    check_versions(wanted, matching, token)?;
    if token.is_none() {
        check_version(context, wanted)?;
        check_exact(context, asked, wanted, matching)?;
    }

    let (listing, seen) = fetch(context, asked, &selection, limit, token)?;
    let mut metadata = Map::new();
    metadata.insert(
        "resourceVersion".into(),
        listing.resource_version.to_string().into(),
    );
    if let Some(key) = &listing.next {
        let seen = seen + listing.items.len();
        let token = Token {
            version: listing.resource_version,
            key: key.clone(),
            seen,
        };
        metadata.insert("continue".into(), token.encode().into());
        if selection.is_everything() && asked.scope().is_none() {
            metadata.insert(
                "remainingItemCount".into(),
                listing.total.saturating_sub(seen).into(),
            );
        }
    }
    Ok(answer::bytes(
        StatusCode::OK,
        write_list(asked, form, &Value::Object(metadata), &listing.items),
    ))
}

fn fetch(
    context: &Context,
    asked: &Asked<'_>,
    selection: &Selection,
    limit: usize,
    token: Option<&str>,
) -> Result<(Listing, usize)> {
    let store = context.api.store();
    let storage = &asked.resource.storage;
    let keep = |object: &Object| selection.matches(object);
    if let Some(token) = token {
        let token = Token::decode(token).ok_or_else(|| Status::bad_request("continue key is not valid"))?;
        let listing =
            store.page_at(storage, token.version, asked.scope(), &token.key, limit, keep).ok_or_else(|| {
                Status::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a \
                     new list without the continue parameter.",
                )
            })?;
        return Ok((listing, token.seen));
    }
    // One name in one namespace needs no search.
    if let Some(name) = selection.name()
        && (asked.scope().is_some() || !asked.resource.namespaced)
    {
        let resource_version = store.resource_version();
        let found = store
            .get(storage, &asked.at.namespace, name)
            .filter(|object| selection.matches(object));
        let items: Vec<Object> = found.into_iter().collect();
        return Ok((
            Listing {
                items,
                resource_version,
                next: None,
                total: 0,
            },
            0,
        ));
    }
    let listing = if limit == usize::MAX {
        store.page(storage, asked.scope(), None, limit, keep)
    } else {
        store.first_page(storage, asked.scope(), limit, keep)
    };
    Ok((listing, 0))
}

fn write_list(asked: &Asked<'_>, form: Form, metadata: &Value, items: &[Object]) -> Vec<u8> {
    let version = &asked.at.version;
    let mut out = Vec::with_capacity(256 + items.len() * 1024);
    match form {
        Form::Table => {
            let include = table::Include::of(asked.query.get("includeObject"));
            let mut table = table::Table::new(&asked.resource, version);
            table.begin(&mut out, metadata, true);
            for object in items {
                table.row(&mut out, object, include);
            }
            table.end(&mut out);
            return out;
        }
        Form::Objects => {
            let kind = json!(asked.resource.list_kind);
            let api_version = json!(api_version(&asked.resource.group, version));
            out.extend_from_slice(
                format!(r#"{{"kind":{kind},"apiVersion":{api_version},"metadata":{metadata},"items":["#).as_bytes(),
            );
        }
        Form::Metadata => out.extend_from_slice(
            format!(
                r#"{{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{metadata},"items":["#
            )
            .as_bytes(),
        ),
    }
    for (index, object) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match form {
            Form::Metadata => object.write_metadata(&mut out),
            _ => write_object(&mut out, &asked.resource, version, object),
        }
    }
    out.extend_from_slice(b"]}");
    out
}

/// Refuses versions that are no numbers or lie in the future.
pub(crate) fn check_version(context: &Context, wanted: Option<&str>) -> Result<Option<u64>> {
    let Some(text) = wanted else { return Ok(None) };
    let Ok(version) = text.parse::<u64>() else {
        return Err(Status::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        )));
    };
    let current = context.api.store().resource_version();
    if version > current {
        let mut status = Status::timeout(format!(
            "Too large resource version: {version}, current: {current}"
        ));
        status.details = Some(Box::new(json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        })));
        return Err(status);
    }
    Ok(Some(version))
}

/// `resourceVersionMatch=Exact` can be served for the present state only.
fn check_exact(
    context: &Context,
    asked: &Asked<'_>,
    wanted: Option<&str>,
    matching: Option<&str>,
) -> Result<()> {
    let (Some("Exact"), Some(wanted)) = (matching, wanted.and_then(|text| text.parse::<u64>().ok())) else {
        return Ok(());
    };
    let unchanged = context
        .api
        .store()
        .changes_after(&asked.resource.storage, wanted)
        .is_ok_and(|changes| changes.is_empty());
    if unchanged {
        Ok(())
    } else {
        Err(Status::expired(format!(
            "The resourceVersion for the provided list is too old: {wanted}"
        )))
    }
}
fn list_options(field: &str, detail: &str) -> Status {
    Status::invalid(
        "ListOptions",
        "meta.k8s.io",
        "",
        &[Cause::forbidden(field, detail)],
    )
}

/// The combinations that Kubernetes refuses.
pub(super) fn check_versions(
    wanted: Option<&str>,
    matching: Option<&str>,
    token: Option<&str>,
) -> Result<()> {
    if token.is_some() && wanted.is_some_and(|version| version != "0") {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let Some(matching) = matching else { return Ok(()) };
    if token.is_some() {
        return Err(list_options(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if wanted.is_none() {
        return Err(list_options(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    match matching {
        "NotOlderThan" => Ok(()),
        "Exact" if wanted == Some("0") => Err(list_options(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )),
        "Exact" => Ok(()),
        other => {
            let cause = Cause::not_supported(
                "resourceVersionMatch",
                &Value::from(other),
                &["Exact", "NotOlderThan", ""],
            );
            Err(Status::invalid("ListOptions", "meta.k8s.io", "", &[cause]))
        }
    }
}
