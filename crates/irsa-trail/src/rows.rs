//! Rows of Athena and CloudTrail Lake: columns by name, as the queries of [`crate::query`] select them.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::audit::{Operation, Seen};
use crate::record::{self, Other, endpoint};

/// The columns that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Provider,
    Subject,
    Role,
    PrincipalType,
    EventName,
    EndpointType,
    Host,
    Region,
    ServingRegion,
    UserAgent,
    ErrorCode,
    Calls,
    FirstSeen,
    LastSeen,
    /// A whole record, as CloudTrail Lake has it.
    EventJson,
    /// A whole record, as `lookup-events` has it.
    CloudTrailEvent,
}

/// Each column at the place of its discriminant, with its name.
const COLUMNS: [(Column, &str); 16] = [
    (Column::Provider, "provider"),
    (Column::Subject, "subject"),
    (Column::Role, "role"),
    (Column::PrincipalType, "principal_type"),
    (Column::EventName, "event_name"),
    (Column::EndpointType, "endpoint_type"),
    (Column::Host, "host"),
    (Column::Region, "region"),
    (Column::ServingRegion, "serving_region"),
    (Column::UserAgent, "user_agent"),
    (Column::ErrorCode, "error_code"),
    (Column::Calls, "calls"),
    (Column::FirstSeen, "first_seen"),
    (Column::LastSeen, "last_seen"),
    (Column::EventJson, "event_json"),
    (Column::CloudTrailEvent, "cloud_trail_event"),
];

/// Columns without which a row says nothing.
const REQUIRED: [Column; 3] = [Column::EventName, Column::Role, Column::FirstSeen];

/// Where in a row each column is.
#[derive(Debug, Default, Clone)]
pub(crate) struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    /// Reads the heading. Upper case and underscores make no difference: Athena knows only lower case.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut columns = Self::default();
        for (index, heading) in names.into_iter().enumerate() {
            if let Some((column, _)) = COLUMNS.iter().find(|(_, name)| plain(name).eq(plain(heading))) {
                columns.0[*column as usize] = Some(index);
            }
        }
        columns
    }

    fn value<'a>(&self, row: &[&'a str], column: Column) -> &'a str {
        self.0[column as usize]
            .and_then(|index| row.get(index))
            .copied()
            .unwrap_or_default()
    }

    /// The column that holds whole records, if the table is of that kind.
    fn record_column(&self) -> Option<Column> {
        [Column::EventJson, Column::CloudTrailEvent]
            .into_iter()
            .find(|column| self.0[*column as usize].is_some())
    }

    /// The required columns that are not there.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        if self.record_column().is_some() {
            return Vec::new();
        }
        REQUIRED
            .into_iter()
            .filter(|column| self.0[*column as usize].is_none())
            .map(|column| COLUMNS[column as usize].1)
            .collect()
    }

    /// Reads one row.
    pub(crate) fn observe(&self, row: &[&str], see: impl FnOnce(&Seen<'_>)) -> Result<(), Other> {
        if let Some(column) = self.record_column() {
            return record::observe(self.value(row, column).as_bytes(), see);
        }
        let value = |column| self.value(row, column);
        let first = time(value(Column::FirstSeen)).ok_or(Other::Damaged)?;
        let last = match value(Column::LastSeen) {
            "" => first,
            text => time(text).ok_or(Other::Damaged)?,
        };
        let calls = match value(Column::Calls) {
            "" => 1,
            text => text.parse().map_err(|_| Other::Damaged)?,
        };
        let host = value(Column::Host);
        see(&Seen {
            provider: value(Column::Provider),
            subject: value(Column::Subject),
            role: value(Column::Role),
            principal_type: value(Column::PrincipalType),
            operation: match value(Column::EventName) {
                "AssumeRoleWithWebIdentity" => Operation::Exchange,
                _ => Operation::Call,
            },
            endpoint: endpoint(value(Column::EndpointType), host),
            host,
            region: value(Column::Region),
            serving_region: value(Column::ServingRegion),
            user_agent: value(Column::UserAgent),
            error: Some(value(Column::ErrorCode)).filter(|code| !code.is_empty()),
            calls,
            first,
            last,
        });
        Ok(())
    }
}

fn plain(name: &str) -> impl Iterator<Item = u8> {
    name.trim()
        .bytes()
        .filter(|byte| *byte != b'_')
        .map(|byte| byte.to_ascii_lowercase())
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
    fn every_column_stands_at_its_own_place() {
        for (place, (column, _)) in COLUMNS.iter().enumerate() {
            assert_eq!(*column as usize, place);
        }
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
