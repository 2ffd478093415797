//! Tables: what `kubectl get` shows, made by the server.

mod cells;
mod custom;
mod workloads;

use serde_json::{Value, json};

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

/// Name, type, and whether it is shown with `-o wide` only.
pub(crate) type Column = (String, &'static str, bool);

/// Makes the cells of one object.
pub(crate) type Cells = Box<dyn Fn(&Value) -> Vec<Value>>;

/// Writes one table.
pub(crate) struct Table {
    columns: Vec<Column>,
    cells: Cells,
    rows: usize,
}

impl Table {
    /// A table for objects of a resource.
    pub(crate) fn new(resource: &Resource, version: &str) -> Self {
        let (columns, cells) = match &resource.custom {
            Some(definition) => custom::table(definition, version),
            None => cells::table(&resource.storage),
        };
        Self {
            columns,
            cells,
            rows: 0,
        }
    }

    pub(crate) fn begin(&mut self, out: &mut Vec<u8>, metadata: &Value, with_columns: bool) {
        let columns: Value = if with_columns {
            self.columns
                .iter()
                .map(|(name, kind, wide)| {
                    json!({
                        "name": name, "type": kind, "format": if name == "Name" { "name" } else { "" },
                        "description": "", "priority": i32::from(*wide),
                    })
                })
                .collect()
        } else {
            Value::Null
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
        let cells = Value::Array((self.cells)(object.value()));
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
