//! The lab: webhook, cluster and AWS in one process, and the ways into it for unmodified clients.

mod backend;
pub mod ca;
pub mod caller;
pub mod container;
pub mod control;
pub mod foreground;
mod image;
mod lab;
pub mod netns;
pub mod proxy;
mod roles;
pub mod run;
pub mod runtime;
pub mod standalone;
pub mod state;
pub mod view;

pub use irsa_apiserver::Authorization;
pub use lab::{DEFAULT_ACCOUNT, DEFAULT_KUBERNETES, DEFAULT_REGION, Error, Lab, LabConfig};
