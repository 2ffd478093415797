//! CloudTrail records, read as evidence: which service account really called which STS endpoint, from which SDK.
//!
//! [`read::read`] takes files, folders and streams in any of the forms in which people have their records, and adds
//! them up in an [`audit::Tally`]. Memory grows with the number of distinct callers, not with the number of records.
//! [`report`] is the documented outcome, and [`query`] writes the queries that fetch just the records needed.

pub mod audit;
mod json;
pub mod query;
pub mod read;
mod record;
pub mod report;
mod rows;
