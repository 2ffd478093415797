//! The API as its clients see it: real kubectl over real TLS, and kube as a second client.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod apply;
mod authorization;
mod client;
mod delete;
mod differences;
mod errors;
mod get;
mod protocol;
mod support;
mod watch;
mod workloads;
mod write;
