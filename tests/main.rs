//! The whole, from outside: the built `irsa`, real kubectl, real SDKs. One binary, one module a topic.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod command;
mod common;
mod install;
mod kube_client;
mod procedure;
mod sts_sdk;
mod webhook;
