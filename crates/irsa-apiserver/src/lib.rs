//! A Kubernetes API in one process, for real kubectl.
//!
//! [`ApiServer::start`] listens with TLS on loopback and answers like a small cluster; [`api::Api`] is the same API
//! without HTTP, for controllers in this process. Objects are [`serde_json::Value`]s.

mod admission;
pub mod agent;
pub mod api;
mod bootstrap;
pub mod config;
mod controllers;
mod defaults;
mod discovery;
mod exec;
mod fields;
pub mod hooks;
pub mod http;
pub mod logs;
mod managed;
mod namespaces;
pub mod object;
mod oidc;
mod openapi;
pub mod patch;
pub mod protobuf;
pub mod resources;
pub mod runtime;
mod schema;
pub mod selectors;
mod server;
mod services;
pub mod status;
pub mod store;
mod strategic;
mod table;
pub mod tokens;
mod validation;
mod versions;
mod wiring;

pub use config::{Config, NodeConfig, Version};
pub use server::{ApiServer, Error};
