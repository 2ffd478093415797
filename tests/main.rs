//! The whole, from outside: the built `irsa`, real kubectl, real SDKs. One binary, one module a topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub
)]

mod audit;
mod command;
mod common;
mod explain;
mod fleet_check;
mod fleet_rollout;
mod fleet_set;
mod fleet_stage;
mod fleet_status;
mod hostile;
mod install;
mod kube_client;
mod lab_run;
mod presign_s3;
mod procedure;
mod sts_sdk;
mod sts_standalone;
mod url;
mod webhook;
