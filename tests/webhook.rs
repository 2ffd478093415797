//! The admission server against an embedded Kubernetes API: the wire, the certificate, and what it holds against.

mod certificates;
mod documents;
mod holds;
mod process;
mod support;
mod unknown;
mod wire;
