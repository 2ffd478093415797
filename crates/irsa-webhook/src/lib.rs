//! The admission server of irsa: gives the pods of annotated service accounts their identity and their STS endpoint.
//!
//! ```text
//! bytes → review that borrows from them → directory: who is this service account → irsa-core: patch → bytes
//! ```
//!
//! [`Server::start`] runs the whole thing in this process: the command `irsa webhook`, the lab and the tests all start
//! this same server. The rules are in `irsa-core`, listeners and TLS in `irsa-net`; here are the wire, the watches and
//! the certificate.

pub mod admit;
pub mod certificates;
pub mod cluster;
pub mod config;
mod debug;
pub mod directory;
mod http;
pub mod imds;
pub mod metrics;
mod platform;
pub mod review;
mod sample;
mod server;

pub use cluster::Cluster;
pub use config::{Certificates, Config, Drain, Limits};
pub use server::{Error, Server};
