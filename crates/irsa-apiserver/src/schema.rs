//! Which fields the built-in kinds have, of which types, and how their lists are merged. Strict decoding, strategic
//! merge patches, server-side apply, OpenAPI and `explain` all read this one table.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::object::ObjectExt;
use crate::resources::Resource;

/// Type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Int,
    Number,
    Bool,
    /// Base64.
    Bytes,
    Time,
    Quantity,
    IntOrString,
    /// Anything.
    Any,
    List(Box<Type>),
    Map(Box<Type>),
    /// A type of the table.
    Named(&'static str),
}

/// How a list is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// As a whole.
    Atomic,
    /// Each value once.
    Set,
    /// Element by element, told apart by these fields. Strategic merge patches know the first only.
    Keyed(Vec<&'static str>),
    /// Not a list; the value of each key by itself.
    Granular,
}

/// A field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    /// Field numbers in protobuf, from the outside in; empty when it has none.
    pub(crate) numbers: Vec<u32>,
    pub(crate) kind: Type,
    pub(crate) merge: Merge,
}

/// A struct.
#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) name: &'static str,
    /// Name in OpenAPI.
    pub(crate) definition: &'static str,
    /// Changed only as a whole by server-side apply.
    pub(crate) atomic: bool,
    pub(crate) fields: Vec<Field>,
}

impl Struct {
    /// Whether objects of this type also have `apiVersion` and `kind`: whatever has metadata may.
    pub(crate) fn is_object(&self) -> bool {
        self.field("metadata")
            .is_some_and(|field| field.kind == Type::Named("ObjectMeta"))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        // Sorted, because the table is made that way (checked by a test).
        self.fields
            .binary_search_by(|field| field.name.cmp(name))
            .ok()
            .map(|index| &self.fields[index])
    }
}

static TABLE: LazyLock<HashMap<&'static str, Struct>> =
    LazyLock::new(|| read(include_str!("../schema/kubernetes.txt")));

static ROOTS: LazyLock<HashMap<&'static str, &'static str>> =
    LazyLock::new(|| TABLE.values().map(|one| (one.definition, one.name)).collect());

/// A struct by its short name.
pub(crate) fn lookup(name: &str) -> Option<&'static Struct> {
    TABLE.get(name)
}

/// All structs.
pub(crate) fn all() -> impl Iterator<Item = &'static Struct> {
    TABLE.values()
}

/// The struct of a kind; `None` for custom resources.
pub(crate) fn root(group: &str, version: &str, kind: &str) -> Option<&'static Struct> {
    let package = if group.is_empty() {
        "core"
    } else {
        group.split('.').next().unwrap_or(group)
    };
    let name = if group == "apiextensions.k8s.io" {
        format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}")
    } else {
        format!("io.k8s.api.{package}.{version}.{kind}")
    };
    ROOTS.get(name.as_str()).and_then(|short| lookup(short))
}

/// The struct of a resource's objects as they are stored.
pub(crate) fn of(resource: &Resource) -> Option<&'static Struct> {
    if resource.custom.is_some() {
        return None;
    }
    root(&resource.group, resource.version(), &resource.kind)
}

/// What is known of a value: decides what is one field and what consists of fields. Server-side apply, field
/// management and strategic merge patches all walk objects by it.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// One field.
    Leaf,
    /// Fields by key of custom resources, whose schema is not used: maps are granular, lists are not.
    Free,
    Struct(&'static Struct),
    Map(&'static Type),
    Keyed(&'static [&'static str], &'static Type),
    Set,
}

impl Shape {
    /// The shape of a resource's objects.
    pub(crate) fn of(resource: &Resource) -> Self {
        of(resource).map_or(Self::Free, Self::Struct)
    }

    fn of_type(kind: &'static Type, merge: &'static Merge) -> Self {
        match (kind, merge) {
            (_, Merge::Atomic) => Self::Leaf,
            (Type::Named(name), _) => match lookup(name) {
                Some(found) if !found.atomic => Self::Struct(found),
                _ => Self::Leaf,
            },
            (Type::Map(inner), _) => Self::Map(inner),
            (Type::List(inner), Merge::Keyed(keys)) => Self::Keyed(keys, inner),
            (Type::List(_), Merge::Set) => Self::Set,
            _ => Self::Leaf,
        }
    }

    /// The shape of a field, of a map's value, or (with any key) of a list's element.
    pub(crate) fn child(self, key: &str) -> Self {
        match self {
            Self::Struct(known) => match known.field(key) {
                Some(field) => Self::of_type(&field.kind, &field.merge),
                None => Self::Free,
            },
            Self::Map(inner) | Self::Keyed(_, inner) => Self::of_type(inner, &Merge::Granular),
            Self::Free if key == "metadata" => lookup("ObjectMeta").map_or(Self::Free, Self::Struct),
            Self::Free => Self::Free,
            Self::Leaf | Self::Set => Self::Leaf,
        }
    }
}

fn read(text: &'static str) -> HashMap<&'static str, Struct> {
    let mut table = HashMap::new();
    let mut current: Option<Struct> = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else {
            continue;
        };
        let third = words.next();
        if !line.starts_with(' ') {
            if let Some(done) = current.take() {
                table.insert(done.name, done);
            }
            let atomic = third == Some("atomic");
            current = Some(Struct {
                name: first,
                definition: second,
                atomic,
                fields: Vec::new(),
            });
            continue;
        }
        let (Some(third), fourth) = (third, words.next()) else {
            continue;
        };
        let kind = parse_type(third);
        let merge = match (fourth, &kind) {
            (Some("set"), _) => Merge::Set,
            (Some("atomic"), _) => Merge::Atomic,
            (Some(keys), _) => Merge::Keyed(keys.trim_start_matches("key=").split(',').collect()),
            (None, Type::List(_)) => Merge::Atomic,
            (None, _) => Merge::Granular,
        };
        if let Some(current) = &mut current {
            let name = first.trim_end_matches('!');
            let numbers = second
                .split('.')
                .filter_map(|number| number.parse().ok())
                .collect();
            current.fields.push(Field {
                name,
                required: name != first,
                numbers,
                kind,
                merge,
            });
        }
    }
    if let Some(done) = current.take() {
        table.insert(done.name, done);
    }
    for one in table.values_mut() {
        one.fields.sort_by_key(|field| field.name);
    }
    table
}

fn parse_type(text: &'static str) -> Type {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Type::List(Box::new(parse_type(inner)));
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        return Type::Map(Box::new(parse_type(inner)));
    }
    match text {
        "string" => Type::String,
        "int" => Type::Int,
        "number" => Type::Number,
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "quantity" => Type::Quantity,
        "int-or-string" => Type::IntOrString,
        "any" => Type::Any,
        name => Type::Named(name),
    }
}

/// A value is of another type than its field; the text is the one of Go's JSON decoder, which people know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TypeError(String);

/// Drops what the kind does not have and what is null, and says which fields were unknown.
///
/// # Errors
/// [`TypeError`] for the first value of a wrong type.
pub(crate) fn prune(resource: &Resource, object: &mut Value) -> Result<Vec<String>, TypeError> {
    let mut unknown = Vec::new();
    if let Some(root) = of(resource) {
        let mut path = String::new();
        prune_struct(root, object, &mut path, &mut unknown)?;
    } else if let Some(metadata) = object.get_mut("metadata")
        && let Some(meta) = lookup("ObjectMeta")
    {
        let mut path = "metadata".to_owned();
        prune_struct(meta, metadata, &mut path, &mut unknown)?;
    }
    Ok(unknown)
}

fn wrong(owner: &str, path: &str, value: &Value, expected: &str) -> TypeError {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if expected.starts_with("int") => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    TypeError(format!(
        "json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {expected}"
    ))
}

fn prune_struct(
    schema: &'static Struct,
    value: &mut Value,
    path: &mut String,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    let Value::Object(map) = value else {
        return Err(wrong(schema.name, path, value, &format!("v1.{}", schema.name)));
    };
    let length = path.len();
    let mut failure = None;
    map.retain(|key, value| {
        if failure.is_some() {
            return true;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        let keep = match schema.field(key) {
            None if schema.is_object() && matches!(key.as_str(), "apiVersion" | "kind") => !value.is_null(),
            None => {
                unknown.push(path.clone());
                false
            }
            Some(_) if value.is_null() => false,
            Some(field) => {
                failure = prune_value(&field.kind, schema.name, value, path, unknown).err();
                true
            }
        };
        path.truncate(length);
        keep
    });
    failure.map_or(Ok(()), Err)
}

fn prune_value(
    kind: &Type,
    owner: &str,
    value: &mut Value,
    path: &mut String,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    let ok = match kind {
        Type::Any => true,
        Type::String | Type::Time => value.is_string(),
        Type::Bytes => match value.as_str() {
            None => false,
            Some(text) => {
                use base64::Engine as _;
                if base64::engine::general_purpose::STANDARD
                    .decode(text.trim())
                    .is_err()
                {
                    return Err(TypeError(format!("illegal base64 data in {owner}.{path}")));
                }
                true
            }
        },
        Type::Bool => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Int => {
            // 3.0 is an integer for Kubernetes, and some YAML readers make it of 3.
            if let Some(whole) = value
                .as_f64()
                .filter(|number| value.is_f64() && number.fract() == 0.0)
                && whole.abs() < 9e15
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "checked to be a whole number below 2^53"
                )]
                let whole = whole as i64;
                *value = whole.into();
            }
            value.is_i64()
        }
        Type::IntOrString => value.is_i64() || value.is_string(),
        Type::Quantity => {
            if value.is_number() {
                *value = value.to_string().into();
            }
            value.is_string()
        }
        Type::List(_) | Type::Map(_) => return prune_elements(kind, owner, value, path, unknown),
        Type::Named(name) => match lookup(name) {
            Some(schema) => {
                prune_struct(schema, value, path, unknown)?;
                true
            }
            None => true,
        },
    };
    if ok {
        Ok(())
    } else {
        Err(wrong(owner, path, value, &go_type(kind)))
    }
}

/// Prunes the elements of a list or the values of a map.
fn prune_elements(
    kind: &Type,
    owner: &str,
    value: &mut Value,
    path: &mut String,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    let length = path.len();
    let mut prune = |inner: &Type, place: String, element: &mut Value| {
        path.push_str(&place);
        let done = prune_value(inner, owner, element, path, unknown);
        path.truncate(length);
        done
    };
    match (kind, value) {
        (Type::List(inner), Value::Array(list)) => {
            let mut elements = list.iter_mut().enumerate();
            elements.try_for_each(|(index, element)| prune(inner, format!("[{index}]"), element))
        }
        (Type::Map(inner), Value::Object(map)) => map.iter_mut().try_for_each(|(key, element)| {
            // In maps of text, null is the empty text.
            if element.is_null() && **inner == Type::String {
                *element = "".into();
            }
            prune(inner, format!(".{key}"), element)
        }),
        (kind, value) => Err(wrong(owner, path, value, &go_type(kind))),
    }
}

fn go_type(kind: &Type) -> String {
    match kind {
        Type::String => "string".into(),
        Type::Int => "int32".into(),
        Type::Number => "float64".into(),
        Type::Bool => "bool".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Time => "v1.Time".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Any => "runtime.RawExtension".into(),
        Type::List(inner) => format!("[]{}", go_type(inner)),
        Type::Map(inner) => format!("map[string]{}", go_type(inner)),
        Type::Named(name) => format!("v1.{}", name.rsplit('.').next().unwrap_or(name)),
    }
}

/// The key of an element of a keyed list, as server-side apply writes it. A missing protocol is TCP.
pub(crate) fn element_key(keys: &[&'static str], element: &Value) -> Option<Value> {
    let mut key = serde_json::Map::new();
    let mut sorted: Vec<_> = keys.to_vec();
    sorted.sort_unstable();
    for name in sorted {
        let value = match element.at(&[name]) {
            Some(value) => value.clone(),
            None if name == "protocol" => "TCP".into(),
            None => return None,
        };
        key.insert(name.to_owned(), value);
    }
    Some(Value::Object(key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Registry;

    #[test]
    fn every_named_type_of_the_table_is_in_the_table() {
        fn check(kind: &Type) {
            match kind {
                Type::Named(name) => assert!(lookup(name).is_some(), "{name}"),
                Type::List(inner) | Type::Map(inner) => check(inner),
                _ => {}
            }
        }
        for one in all() {
            assert!(
                one.fields.windows(2).all(|pair| pair[0].name < pair[1].name),
                "{}",
                one.name
            );
            one.fields.iter().for_each(|field| check(&field.kind));
        }
    }

    #[test]
    fn every_built_in_resource_has_a_schema() {
        for resource in Registry::default().all() {
            assert!(of(&resource).is_some(), "{}", resource.storage);
        }
    }

    #[test]
    fn unknown_fields_are_dropped_and_named_with_their_path() {
        let resource = Registry::default().by_storage("pods").unwrap();
        let mut pod = json!({ "spec": { "containers": [{ "name": "a", "imagee": "x" }], "nodeSelector": null }, "x": 1 });
        assert_eq!(
            prune(&resource, &mut pod).unwrap(),
            ["spec.containers[0].imagee", "x"]
        );
        assert_eq!(pod, json!({ "spec": { "containers": [{ "name": "a" }] } }));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_in_the_words_of_go() {
        let resource = Registry::default().by_storage("deployments.apps").unwrap();
        let mut deployment = json!({ "spec": { "replicas": "3" } });
        assert_eq!(
            prune(&resource, &mut deployment).unwrap_err().to_string(),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
    }
}
