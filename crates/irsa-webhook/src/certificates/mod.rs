//! Where the serving certificate comes from: files that somebody else renews, or one this server makes itself.

mod authority;
pub mod files;
pub mod managed;
