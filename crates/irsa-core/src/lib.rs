//! The rules of STS endpoints for Kubernetes service accounts: pure, no I/O.

pub mod partition;
