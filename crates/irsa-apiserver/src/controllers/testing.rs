//! Objects for the tests of planners.

use std::sync::Arc;

use serde_json::Value;

use crate::object::{Object, Stored};

/// An object that was never stored.
pub(super) fn object(value: Value) -> Object {
    Arc::new(Stored::new(value, 0))
}
