//! A Kubernetes API in one process, for real kubectl.
//!
//! [`ApiServer::start`] listens with TLS on loopback and answers like a small cluster; [`api::Api`] is the same API
//! without HTTP, for controllers in this process. Objects are [`serde_json::Value`]s.

mod addresses;
mod admission;
mod agent;
pub mod api;
mod bootstrap;
mod conditions;
pub mod config;
mod controllers;
mod conversion;
mod defaults;
mod discovery;
mod exec;
mod fields;
mod http;
pub mod logs;
mod managed;
mod namespaces;
pub mod object;
mod openapi;
pub mod patch;
pub mod pod;
pub mod protobuf;
mod rbac;
pub mod resources;
pub mod runtime;
mod schema;
pub mod selectors;
mod server;
mod services;
mod shutdown;
pub mod status;
pub mod store;
mod strategic;
mod table;
pub mod tokens;
mod validation;
mod version;
mod wiring;

pub use config::{Authorization, Config, NodeConfig, Pace};
pub use server::{ApiServer, Error};
pub use version::Version;
