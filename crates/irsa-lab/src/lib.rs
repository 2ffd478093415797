//! Webhook, cluster and AWS in one process.

pub mod ca;
pub mod proxy;
