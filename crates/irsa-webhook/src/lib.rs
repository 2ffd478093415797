//! The admission server of irsa: gives the pods of annotated service accounts their identity and their STS endpoint.
//!
//! ```text
//! bytes → review that borrows from them → directory: who is this service account → irsa-core: patch → bytes
//! ```
//!
//! [`Server::start`] runs the whole thing in this process: the command `irsa webhook`, the lab and the tests all start
//! this same server. The rules are in `irsa-core`; here are the wire, the watches and the certificate.

pub mod admit;
pub mod certificates;
pub mod cluster;
pub mod config;
mod debug;
pub mod directory;
mod http;
pub mod imds;
mod listener;
pub mod metrics;
mod platform;
pub mod readiness;
pub mod review;
mod server;
pub mod tls;

pub use config::{Certificates, Cluster, Config, Drain};
pub use listener::Limits;
pub use server::{Error, Server};
