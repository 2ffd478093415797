//! A running cluster, seen through the rules of `irsa-core`: inventory, findings, plan, rollout, verification.

pub mod cluster;
pub mod pages;
pub mod wire;
