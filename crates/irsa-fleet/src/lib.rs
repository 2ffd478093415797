//! A running cluster, seen through the rules of `irsa-core`: inventory, findings, plan, rollout, verification.

pub mod apply;
pub mod assess;
pub mod check;
pub mod cluster;
mod credentials;
pub mod directory;
pub mod doctor;
pub mod effective;
pub mod explain;
pub mod finding;
pub mod manifests;
mod owner;
pub mod pages;
pub mod plan;
pub mod probe;
pub mod report;
pub mod rollout;
pub mod status;
pub mod webhook;
pub mod wire;
pub mod workload;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod versions_tests;
