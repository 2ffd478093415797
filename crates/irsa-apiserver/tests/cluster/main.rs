//! What the cluster does by itself: controllers, node agent, admission webhooks, tokens, exec and logs, driven by real
//! kubectl.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod admission;
mod exec;
mod runtime;
mod scale;
#[allow(dead_code, unreachable_pub)]
#[path = "../api/support.rs"]
mod support;
mod tokens;
mod webhook;
mod workloads;
