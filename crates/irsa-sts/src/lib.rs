//! The AWS side of IRSA in one process: an STS and an S3 that verify everything, for laptops and CI.
//!
//! [`Aws`] holds accounts, roles, OIDC providers, users and buckets; [`Aws::handle`] answers a request that came over
//! a [`Connection`], picking service and region by host name as AWS does. Nothing here listens: who has a socket (the
//! lab's proxy, `irsa sts`) reads requests and hands them in.

mod aws;
mod call;
pub mod config;
mod connection;
mod directory;
mod error;
pub mod events;
mod fault;
mod host;
mod ids;
mod keys;
pub mod oidc;
mod s3;
pub mod sigv4;
mod state;
mod sts;
mod token;
pub mod trust;
mod xml;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod testing;

pub use aws::Aws;
pub use call::{Call, CallError, EventSink, Identity, Resource, Tls};
pub use config::{Clock, Config, ConfigError};
pub use connection::Connection;
pub use fault::{FaultAnswer, RegionFault};
pub use host::{Endpoint, EndpointClass, Service};
