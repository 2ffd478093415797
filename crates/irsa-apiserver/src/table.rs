//! Tables: what `kubectl get` shows, made by the server.

mod age;
mod builtin;
mod column;
mod custom;
mod pod;

use serde_json::{Value, json};

use self::column::{Column, NAME};
use self::custom::CustomColumn;
use crate::object::Stored;
use crate::resources::Resource;

/// What of its object goes along with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// The `includeObject` parameter.
    pub(crate) fn of(parameter: Option<&str>) -> Self {
        match parameter {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// Writes one table.
pub(crate) struct Table {
    builtin: &'static [Column],
    custom: Vec<CustomColumn>,
    rows: usize,
}

impl Table {
    /// A table for objects of a resource.
    pub(crate) fn new(resource: &Resource, version: &str) -> Self {
        let definition = resource.custom.as_deref();
        let custom = definition
            .map(|definition| custom::columns(definition, version))
            .unwrap_or_default();
        Self {
            // The age of a custom resource is one of the columns that its definition names, if it names any.
            builtin: if custom.is_empty() {
                builtin::columns(&resource.storage)
            } else {
                &[NAME]
            },
            custom,
            rows: 0,
        }
    }

    pub(crate) fn begin(&mut self, out: &mut Vec<u8>, metadata: &Value, with_columns: bool) {
        let builtin = self.builtin.iter().map(|(name, cell)| {
            let (wide, name) = name.strip_prefix('+').map_or((false, *name), |name| (true, name));
            (name, cell.kind(), wide)
        });
        let custom = self
            .custom
            .iter()
            .map(|column| (column.name.as_str(), column.kind, column.wide));
        let definition = |(name, kind, wide)| {
            json!({
                "name": name, "type": kind, "format": if name == "Name" { "name" } else { "" },
                "description": "", "priority": i32::from(wide),
            })
        };
        let columns: Value = match with_columns {
            true => builtin.chain(custom).map(definition).collect(),
            false => Value::Null,
        };
        out.extend_from_slice(
            format!(
                r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{metadata},"columnDefinitions":{columns},"rows":["#
            )
            .as_bytes(),
        );
    }

    pub(crate) fn row(&mut self, out: &mut Vec<u8>, object: &Stored, include: Include) {
        if self.rows > 0 {
            out.push(b',');
        }
        self.rows += 1;
        let builtin = self.builtin.iter().map(|(_, cell)| cell.read(object.value()));
        let custom = self.custom.iter().map(|column| column.read(object.value()));
        let cells: Value = builtin.chain(custom).collect();
        out.extend_from_slice(format!(r#"{{"cells":{cells},"object":"#).as_bytes());
        match include {
            Include::None => out.extend_from_slice(b"null"),
            Include::Metadata => object.write_metadata(out),
            Include::Object => out.extend_from_slice(&object.json()),
        }
        out.push(b'}');
    }

    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"]}");
    }
}
