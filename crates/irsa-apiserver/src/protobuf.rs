//! Objects in Kubernetes' protobuf form, which typed clients such as `kubectl create` send. Decoding only: every client
//! that sends protobuf takes JSON back.
//!
//! Pure and total: any bytes give an object or an error.

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::schema::{self, Struct, Type};

/// Content type of the form.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Every object begins with this.
const MAGIC: &[u8] = b"k8s\0";
/// Nesting that no kind reaches.
const MAX_DEPTH: usize = 48;

/// Why bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The bytes that every object begins with are missing.
    #[error("it does not begin with the bytes \"k8s\\0\"")]
    Magic,
    /// It ends in the middle of a field, or a field has an impossible length.
    #[error("it is cut off or malformed")]
    Malformed,
    /// A text is not UTF-8.
    #[error("a text in it is not UTF-8")]
    Text,
    /// It is nested deeper than any kind is.
    #[error("it is nested too deeply")]
    Depth,
    /// The kind is not one of the built-in ones.
    #[error("kind {0:?} is unknown")]
    Kind(String),
}

type Result<T> = std::result::Result<T, ProtobufError>;

/// Numbers that are pointers in Go: there their zero says something, elsewhere it says "not set".
const MEANT_ZEROS: &[&str] = &[
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completions",
    "defaultMode",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "maxReplicas",
    "minReplicas",
    "mode",
    "parallelism",
    "partition",
    "priority",
    "progressDeadlineSeconds",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsUser",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
    "value",
];

/// Booleans that are no pointers in Go: `false` there says "not set".
const UNMEANT_FALSE: &[&str] = &[
    "globalDefault",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "paused",
    "publishNotReadyAddresses",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
    "unschedulable",
];

/// Reads an object.
///
/// # Errors
/// [`ProtobufError`].
pub fn decode(body: &[u8]) -> Result<Value> {
    let rest = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(rest) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Wire::Bytes(bytes)) => api_version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let root = match kind.as_str() {
        // Every group and version has it.
        "DeleteOptions" => schema::lookup("DeleteOptions"),
        _ => schema::root(group, version, &kind),
    };
    let root = root.ok_or_else(|| ProtobufError::Kind(kind.clone()))?;
    let mut object = Map::new();
    object.insert("kind".into(), kind.into());
    object.insert("apiVersion".into(), api_version.into());
    read_struct(root, raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// A value as it is on the wire.
#[derive(Clone, Copy)]
enum Wire<'b> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'b [u8]),
    Fixed32,
}

/// The fields of a message.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(ProtobufError::Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Malformed)
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ProtobufError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn read(&mut self) -> Result<(u32, Wire<'b>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Malformed)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?.try_into().map_err(|_| ProtobufError::Malformed)?;
                Wire::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Malformed)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return Err(ProtobufError::Malformed),
        };
        Ok((number, wire))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u32, Wire<'b>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Text)
}

fn read_struct(
    schema: &'static Struct,
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<()> {
    read_level(schema, &[], bytes, into, depth)
}

/// Reads a message; `outer` are the numbers of the messages around it that JSON does not have.
fn read_level(
    schema: &'static Struct,
    outer: &[u32],
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Depth);
    }
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let path: Vec<u32> = outer.iter().copied().chain([number]).collect();
        if let Some(field) = schema.fields.iter().find(|field| field.numbers == path) {
            read_field(field.name, &field.kind, wire, into, depth)?;
        } else if let Wire::Bytes(inner) = wire
            && schema
                .fields
                .iter()
                .any(|field| field.numbers.len() > path.len() && field.numbers.starts_with(&path))
        {
            read_level(schema, &path, inner, into, depth + 1)?;
        }
    }
    Ok(())
}

fn read_field(
    name: &str,
    kind: &'static Type,
    wire: Wire<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<()> {
    match kind {
        Type::List(element) => {
            let values = match (&**element, wire) {
                (Type::Int, Wire::Bytes(mut packed)) => {
                    let mut values = Vec::new();
                    while !packed.is_empty() {
                        let mut fields = Fields(packed);
                        values.push(integer(fields.varint()?));
                        packed = fields.0;
                    }
                    values
                }
                (element, wire) => read_value(element, wire, depth)?.into_iter().collect(),
            };
            if let Value::Array(list) = into.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                list.extend(values);
            }
        }
        Type::Map(inner) => {
            let Wire::Bytes(entry) = wire else {
                return Err(ProtobufError::Malformed);
            };
            let mut key = String::new();
            let mut value = None;
            for field in Fields(entry) {
                match field? {
                    (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                    (2, wire) => value = read_map_value(inner, wire, depth)?,
                    _ => {}
                }
            }
            let value = value.unwrap_or_else(|| Value::String(String::new()));
            if let Value::Object(map) = into.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                map.insert(key, value);
            }
        }
        kind => {
            if let Some(value) = read_value(kind, wire, depth)?
                && is_meant(name, kind, &value)
            {
                into.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// Lists cannot be values of maps in protobuf: they are wrapped in a message with one field.
fn read_map_value(kind: &'static Type, wire: Wire<'_>, depth: usize) -> Result<Option<Value>> {
    if let (Type::List(_), Wire::Bytes(bytes)) = (kind, wire) {
        let mut holder = Map::new();
        for field in Fields(bytes) {
            if let (1, wire) = field? {
                read_field("items", kind, wire, &mut holder, depth + 1)?;
            }
        }
        return Ok(Some(
            holder
                .shift_remove("items")
                .unwrap_or_else(|| Value::Array(Vec::new())),
        ));
    }
    read_value(kind, wire, depth)
}

#[expect(
    clippy::cast_possible_wrap,
    reason = "protobuf writes negative integers as their two's complement"
)]
fn integer(value: u64) -> Value {
    Value::from(value as i64)
}

fn read_value(kind: &'static Type, wire: Wire<'_>, depth: usize) -> Result<Option<Value>> {
    Ok(Some(match (kind, wire) {
        (Type::String, Wire::Bytes(bytes)) => Value::String(text(bytes)?),
        (Type::Bytes, Wire::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        (Type::Int, Wire::Varint(value)) => integer(value),
        (Type::Bool, Wire::Varint(value)) => Value::Bool(value != 0),
        (Type::Number, Wire::Fixed64(bits)) => Value::from(f64::from_bits(bits)),
        (Type::Time, Wire::Bytes(bytes)) => return time(bytes),
        (Type::Quantity, Wire::Bytes(bytes)) => {
            let mut quantity = String::new();
            for field in Fields(bytes) {
                if let (1, Wire::Bytes(bytes)) = field? {
                    quantity = text(bytes)?;
                }
            }
            quantity.into()
        }
        (Type::IntOrString, Wire::Bytes(bytes)) => {
            let (mut is_text, mut number, mut string) = (false, 0, String::new());
            for field in Fields(bytes) {
                match field? {
                    (1, Wire::Varint(kind)) => is_text = kind == 1,
                    (2, Wire::Varint(value)) => number = value,
                    (3, Wire::Bytes(bytes)) => string = text(bytes)?,
                    _ => {}
                }
            }
            if is_text { string.into() } else { integer(number) }
        }
        (Type::Any, Wire::Bytes(bytes)) => {
            let mut value = Value::Null;
            for field in Fields(bytes) {
                if let (1, Wire::Bytes(raw)) = field? {
                    value = serde_json::from_slice(raw).map_err(|_| ProtobufError::Malformed)?;
                }
            }
            value
        }
        (Type::Named(name), Wire::Bytes(bytes)) => {
            let mut map = Map::new();
            if let Some(schema) = schema::lookup(name) {
                read_struct(schema, bytes, &mut map, depth + 1)?;
            }
            Value::Object(map)
        }
        _ => return Err(ProtobufError::Malformed),
    }))
}

/// `None` for Go's zero time, which has no fields.
fn time(bytes: &[u8]) -> Result<Option<Value>> {
    let (mut seconds, mut nanos) = (0, 0);
    if bytes.is_empty() {
        return Ok(None);
    }
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Varint(value)) => seconds = value,
            (2, Wire::Varint(value)) => nanos = value,
            _ => {}
        }
    }
    #[expect(
        clippy::cast_possible_wrap,
        reason = "protobuf writes negative integers as their two's complement"
    )]
    let seconds = seconds as i64;
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufError::Malformed)?;
    let timestamp = jiff::Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Malformed)?;
    let format = if nanos == 0 {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    };
    Ok(Some(timestamp.strftime(format).to_string().into()))
}

/// Go writes the zero of what is no pointer, where JSON would leave it out.
fn is_meant(name: &str, kind: &Type, value: &Value) -> bool {
    match (kind, value) {
        (Type::String | Type::Quantity | Type::Bytes, Value::String(text)) => !text.is_empty(),
        (Type::Int, Value::Number(number)) => number.as_i64() != Some(0) || MEANT_ZEROS.contains(&name),
        (Type::IntOrString, Value::Number(number)) => number.as_i64() != Some(0) || name.starts_with("max"),
        (Type::Bool, Value::Bool(false)) => !UNMEANT_FALSE.contains(&name),
        (Type::Any, Value::Null) => false,
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_service_account_with_labels_is_read() {
        let labels = field(11, &[field(1, b"a"), field(2, b"b")].concat());
        let metadata = [field(1, b"mysa"), labels, field(8, b"")].concat();
        assert_eq!(
            decode(&object("v1", "ServiceAccount", &field(1, &metadata))).unwrap(),
            json!({ "kind": "ServiceAccount", "apiVersion": "v1", "metadata": { "name": "mysa", "labels": { "a": "b" } } })
        );
    }

    #[test]
    fn fields_of_inlined_messages_come_out_beside_the_others() {
        // spec (2) > volumes (1) > volumeSource (2) > emptyDir (2)
        let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
        let pod = decode(&object("v1", "Pod", &field(2, &field(1, &volume)))).unwrap();
        assert_eq!(pod["spec"]["volumes"], json!([{ "name": "v", "emptyDir": {} }]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_object_or_an_error(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&raw);
            let _ = decode(&[MAGIC, &raw[..]].concat());
            if raw.len() < 120 {
                let _ = decode(&object("v1", "Pod", &raw));
            }
        }
    }
}
