//! Where the serving certificate comes from: files that somebody else renews (see [`irsa_net::files`]), or one that this
//! server makes itself.

mod authority;
pub mod managed;
