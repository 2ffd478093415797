//! One file for each family of paths.

pub(super) mod discovery;
pub(super) mod exec;
pub(super) mod health;
pub(super) mod logs;
pub(super) mod oidc;
pub(super) mod resources;
pub(super) mod reviews;
