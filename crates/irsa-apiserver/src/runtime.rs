//! What the containers of a pod really do.

/// Lets a pod's containers do things. Without one they only pretend to run.
pub trait Runtime: Send + Sync {}
