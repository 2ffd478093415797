//! Rows of Athena and CloudTrail Lake: columns by name, as the queries of [`crate::query`] select them.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::audit::{Operation, Seen};
use crate::record::{self, Other, endpoint};

/// Columns without which a row says nothing.
pub(crate) const REQUIRED: [&str; 3] = ["event_name", "role", "first_seen"];

/// The columns of a table.
#[derive(Debug, Default, Clone)]
pub(crate) struct Columns(HashMap<String, usize>);

impl Columns {
    /// Reads the heading. Upper case and underscores make no difference: Athena knows only lower case.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            names
                .into_iter()
                .enumerate()
                .map(|(index, name)| (plain(name), index))
                .collect(),
        )
    }

    fn value<'a>(&self, row: &[&'a str], name: &str) -> &'a str {
        self.0
            .get(&plain(name))
            .and_then(|index| row.get(*index))
            .copied()
            .unwrap_or_default()
    }

    /// Whether this is a table with a whole record in one column.
    pub(crate) fn has_records(&self) -> bool {
        self.record_column().is_some()
    }

    fn record_column(&self) -> Option<&'static str> {
        ["eventJson", "CloudTrailEvent"]
            .into_iter()
            .find(|name| self.0.contains_key(&plain(name)))
    }

    /// The required columns that are not there.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        if self.has_records() {
            return Vec::new();
        }
        REQUIRED
            .into_iter()
            .filter(|name| !self.0.contains_key(&plain(name)))
            .collect()
    }

    /// Reads one row.
    pub(crate) fn observe(&self, row: &[&str], see: impl FnOnce(&Seen<'_>)) -> Result<(), Other> {
        if let Some(column) = self.record_column() {
            return record::observe(self.value(row, column).as_bytes(), see);
        }
        let value = |name| self.value(row, name);
        let first = time(value("first_seen")).ok_or(Other::Damaged)?;
        let last = match value("last_seen") {
            "" => first,
            text => time(text).ok_or(Other::Damaged)?,
        };
        let calls = match value("calls") {
            "" => 1,
            text => text.parse().map_err(|_| Other::Damaged)?,
        };
        let host = value("host");
        see(&Seen {
            provider: value("provider"),
            subject: value("subject"),
            role: value("role"),
            principal_type: value("principal_type"),
            operation: match value("event_name") {
                "AssumeRoleWithWebIdentity" => Operation::Exchange,
                _ => Operation::Call,
            },
            endpoint: endpoint(value("endpoint_type"), host),
            host,
            region: value("region"),
            serving_region: value("serving_region"),
            user_agent: value("user_agent"),
            error: Some(value("error_code")).filter(|code| !code.is_empty()),
            calls,
            first,
            last,
        });
        Ok(())
    }
}

fn plain(name: &str) -> String {
    name.trim().replace('_', "").to_ascii_lowercase()
}

/// `2026-11-24T00:18:30Z` as in records, or `2026-11-24 00:18:30.000`, which is UTC, as CloudTrail Lake prints it.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let civil: DateTime = text.trim_end_matches(" UTC").parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

/// What an element of a list may be besides a record.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Wrapped {
    /// An event of `aws cloudtrail lookup-events`: the record as text.
    LookupEvent {
        /// The record.
        #[serde(rename = "CloudTrailEvent")]
        event: String,
    },
    /// A row of `aws athena get-query-results`; the first one is the heading.
    AthenaRow {
        /// Its cells.
        #[serde(rename = "Data")]
        data: Vec<AthenaCell>,
    },
    /// A row of `aws cloudtrail get-query-results`: one object for each column.
    LakeRow(Vec<HashMap<String, Option<String>>>),
}

/// A cell of Athena; an empty one has no value.
#[derive(Deserialize)]
pub(crate) struct AthenaCell {
    #[serde(rename = "VarCharValue", default)]
    pub(crate) value: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_as_many_calls_as_its_query_has_added_up() {
        let columns = Columns::new(["EventName", "role", "firstseen", "last_seen", "calls", "host"]);
        assert_eq!(columns.missing(), [""; 0]);
        let row = [
            "AssumeRoleWithWebIdentity",
            "r",
            "2026-01-01 00:00:00.000",
            "2026-01-02T00:00:00Z",
            "7",
            "sts.amazonaws.com",
        ];
        let mut told = String::new();
        columns
            .observe(&row, |seen| {
                told = format!("{} {:?} {} {}", seen.calls, seen.endpoint, seen.first, seen.last);
            })
            .unwrap();
        assert_eq!(told, "7 Global 2026-01-01T00:00:00Z 2026-01-02T00:00:00Z");
    }

    #[test]
    fn columns_that_are_missing_are_named_and_bad_cells_are_damage() {
        assert_eq!(
            Columns::new(["a", "role"]).missing(),
            ["event_name", "first_seen"]
        );
        assert_eq!(Columns::new(["eventJson"]).missing(), [""; 0]);
        let columns = Columns::new(["event_name", "role", "first_seen", "calls"]);
        for row in [
            ["x", "r", "never", "1"],
            ["x", "r", "2026-01-01T00:00:00Z", "-1"],
            ["x", "r", "", ""],
        ] {
            assert_eq!(columns.observe(&row, |_| ()), Err(Other::Damaged));
        }
    }
}
