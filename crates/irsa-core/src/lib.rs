//! The rules of STS endpoints for Kubernetes service accounts: pure, no I/O.

pub mod annotations;
pub mod arn;
pub mod duration;
pub mod endpoint;
pub mod errors;
pub mod finding;
pub mod flags;
pub mod identity;
pub mod mutation;
pub mod names;
pub mod node;
pub mod partition;
pub mod pod;
pub mod presign;
pub mod sdk;
pub mod selector;
pub mod settings;
pub mod text;
pub mod variable;
pub mod variables;
