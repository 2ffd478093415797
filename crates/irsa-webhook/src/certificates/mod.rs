//! Where the serving certificate comes from: files that somebody else renews, or one this server makes itself.

pub mod files;
