//! Queries that fetch just what an audit needs: for Athena over CloudTrail's log bucket, for CloudTrail Lake, and with
//! the AWS CLI alone.
//!
//! The SQL adds up in the service, so that a result has one row for each distinct caller. Column names of the tables are
//! those of AWS's own `CREATE TABLE` statements ("Create a table for CloudTrail logs in Athena"), whose `useridentity` has
//! no identity provider: it is the beginning of the principal's id. Athena charges by the bytes that it reads, and
//! CloudTrail's JSON is read as a whole whatever is selected: only partitions save cost.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How the table of Athena is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// One column `timestamp` with days as `2026/11/24`: AWS's table with partition projection.
    Timestamp,
    /// Columns `year`, `month` and `day`: AWS's table with manual partitions.
    YearMonthDay,
    /// None: every query reads everything.
    None,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Begin.
    pub since: Timestamp,
    /// End, not included.
    pub until: Timestamp,
}

/// A name that is no SQL identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the name of a table.
    #[error(
        "`{0}` is not the name of a table: letters, digits and underscores, with the database and a dot before it if needed"
    )]
    Table(String),
    /// Not the id of an event data store.
    #[error(
        "`{0}` is not the id of an event data store, such as 0123abcd-0123-abcd-0123-0123456789ab, or its ARN"
    )]
    EventDataStore(String),
    /// Not the name of a region.
    #[error("`{0}` is not the name of a region, such as us-west-2")]
    Region(String),
}

/// The query for Athena over `table`, `DATABASE.TABLE` or `TABLE`.
pub fn athena(question: &Question, table: &str, partitions: Partitions) -> Result<String, NameError> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !table.split('.').all(is_name) || table.split('.').count() > 2 {
        return Err(NameError::Table(table.to_owned()));
    }
    let quoted: Vec<String> = table.split('.').map(|name| format!("\"{name}\"")).collect();
    let (from, to) = days(question);
    let partition = match partitions {
        Partitions::Timestamp => format!("  AND \"timestamp\" BETWEEN '{from}' AND '{to}'\n"),
        Partitions::YearMonthDay => {
            format!("  AND year || '/' || month || '/' || day BETWEEN '{from}' AND '{to}'\n")
        }
        Partitions::None => String::new(),
    };
    Ok(format!(
        "\
SELECT eventname AS event_name,
       useridentity.type AS principal_type,
       COALESCE(useridentity.sessioncontext.webidfederationdata.federatedprovider,
                regexp_extract(useridentity.principalid, '^(.*):[^:]+:system:serviceaccount:', 1)) AS provider,
       IF(eventname = 'AssumeRoleWithWebIdentity', useridentity.username) AS subject,
       IF(eventname = 'AssumeRoleWithWebIdentity', json_extract_scalar(requestparameters, '$.roleArn'),
          useridentity.sessioncontext.sessionissuer.arn) AS role,
       json_extract_scalar(additionaleventdata, '$.RequestDetails.endpointType') AS endpoint_type,
       json_extract_scalar(additionaleventdata, '$.RequestDetails.awsServingRegion') AS serving_region,
       tlsdetails.clientprovidedhostheader AS host,
       awsregion AS region,
       useragent AS user_agent,
       errorcode AS error_code,
       COUNT(*) AS calls,
       MIN(eventtime) AS first_seen,
       MAX(eventtime) AS last_seen
FROM {table}
WHERE eventsource = 'sts.amazonaws.com'
  AND (eventname = 'AssumeRoleWithWebIdentity'
       OR useridentity.sessioncontext.webidfederationdata.federatedprovider IS NOT NULL)
  AND eventtime >= '{since:.0}' AND eventtime < '{until:.0}'
{partition}GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
",
        table = quoted.join("."),
        since = question.since,
        until = question.until,
    ))
}

/// The query for CloudTrail Lake, for the event data store with this id or ARN.
pub fn lake(question: &Question, store: &str) -> Result<String, NameError> {
    let id = store.rsplit('/').next().unwrap_or(store);
    if id.len() != 36 || !id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(NameError::EventDataStore(store.to_owned()));
    }
    let civil = |at: Timestamp| {
        at.to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string()
    };
    Ok(format!(
        "\
SELECT eventName AS event_name,
       userIdentity.type AS principal_type,
       regexp_extract(userIdentity.principalId, '^(.*):[^:]+:system:serviceaccount:', 1) AS provider,
       userIdentity.userName AS subject,
       element_at(requestParameters, 'roleArn') AS role,
       regexp_extract(element_at(additionalEventData, 'RequestDetails'), 'endpointType[^a-z]+(global|regional)', 1)
         AS endpoint_type,
       regexp_extract(element_at(additionalEventData, 'RequestDetails'), 'awsServingRegion[^a-z]+([a-z0-9-]+)', 1)
         AS serving_region,
       tlsDetails.clientProvidedHostHeader AS host,
       awsRegion AS region,
       userAgent AS user_agent,
       errorCode AS error_code,
       COUNT(*) AS calls,
       MIN(eventTime) AS first_seen,
       MAX(eventTime) AS last_seen
FROM {id}
WHERE eventSource = 'sts.amazonaws.com'
  AND eventName = 'AssumeRoleWithWebIdentity'
  AND eventTime >= '{}' AND eventTime < '{}'
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
",
        civil(question.since),
        civil(question.until),
    ))
}

/// Commands of the AWS CLI, one a region. Calls to the global endpoint are in the trail of `us-east-1`, which is
/// therefore always among them.
pub fn cli(question: &Question, regions: &[String]) -> Result<String, NameError> {
    let is_region = |region: &str| {
        !region.is_empty()
            && region
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let mut text = String::new();
    let with_global = std::iter::once("us-east-1").chain(
        regions
            .iter()
            .map(String::as_str)
            .filter(|region| *region != "us-east-1"),
    );
    for region in with_global {
        if !is_region(region) {
            return Err(NameError::Region(region.to_owned()));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "aws cloudtrail lookup-events --region {region} --output json \\\n  --lookup-attributes \
             AttributeKey=EventName,AttributeValue=AssumeRoleWithWebIdentity \\\n  --start-time {:.0} --end-time {:.0} \
             > sts-{region}.json",
            question.since, question.until
        );
    }
    Ok(text)
}

/// The first and the last day as partitions name them. Records arrive up to a day late, in the partition of the day on
/// which they were delivered.
fn days(question: &Question) -> (String, String) {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).strftime("%Y/%m/%d").to_string();
    let end = question.until.as_second().saturating_add(24 * 60 * 60);
    let end = Timestamp::from_second(end).unwrap_or(question.until);
    (day(question.since), day(end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rows::Columns;

    fn question() -> Question {
        Question {
            since: "2026-11-24T12:00:00Z".parse().unwrap(),
            until: "2026-11-25T12:00:00Z".parse().unwrap(),
        }
    }

    /// What stands after `AS` outside of parentheses.
    fn columns(sql: &str) -> Vec<&str> {
        sql.lines()
            .filter_map(|line| {
                line.rsplit_once(" AS ")
                    .map(|(_, name)| name.trim_end_matches(','))
            })
            .collect()
    }

    #[test]
    fn queries_select_the_columns_that_the_reader_needs() {
        let store = "0123abcd-0123-abcd-0123-0123456789ab";
        for sql in [
            athena(&question(), "logs.trail", Partitions::Timestamp).unwrap(),
            lake(&question(), store).unwrap(),
        ] {
            let names = columns(&sql);
            assert_eq!(
                Columns::new(names.iter().copied()).missing(),
                [""; 0],
                "{names:?}"
            );
            for name in [
                "subject",
                "host",
                "user_agent",
                "calls",
                "endpoint_type",
                "last_seen",
            ] {
                assert!(names.contains(&name), "{name}: {names:?}");
            }
        }
    }

    #[test]
    fn only_the_partitions_of_the_period_and_of_late_records_are_read() {
        let sql = |partitions| athena(&question(), "trail", partitions).unwrap();
        assert!(sql(Partitions::Timestamp).contains(r#""timestamp" BETWEEN '2026/11/24' AND '2026/11/26'"#));
        assert!(sql(Partitions::YearMonthDay).contains("BETWEEN '2026/11/24' AND '2026/11/26'"));
        assert!(!sql(Partitions::None).contains("BETWEEN"));
        assert!(sql(Partitions::None).contains("eventtime >= '2026-11-24T12:00:00Z'"));
    }

    #[test]
    fn names_that_would_change_the_query_are_refused() {
        for table in ["", "a.b.c", "a;b", "a b", "a\"", "a.", "x--"] {
            assert!(athena(&question(), table, Partitions::None).is_err(), "{table}");
        }
        assert!(lake(&question(), "x' OR '1'='1").is_err());
        assert!(lake(&question(), "arn:aws:cloudtrail:us-east-1:111122223333:eventdatastore/0123abcd-0123-abcd-0123-0123456789ab").is_ok());
        assert!(cli(&question(), &["us-west-2; rm".to_owned()]).is_err());
    }

    #[test]
    fn the_global_endpoints_trail_is_always_asked() {
        let text = cli(&question(), &["eu-west-1".to_owned()]).unwrap();
        assert_eq!(text.matches("--region us-east-1").count(), 1);
        assert_eq!(text.matches("--region eu-west-1").count(), 1);
        assert_eq!(cli(&question(), &[]).unwrap().matches("--region").count(), 1);
    }
}
