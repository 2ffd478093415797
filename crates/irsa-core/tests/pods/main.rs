//! The mutation seen from outside: pods before and after their patch.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod configuration;
mod mutation;
mod properties;
mod support;
mod upstream;
mod upstream_model;
