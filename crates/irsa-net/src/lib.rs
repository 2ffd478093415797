//! What every server of irsa needs at its edge, written once.
//!
//! ```text
//! listener → connection → TLS → HTTP → body drawn from a budget → handler
//! ```
//!
//! A [`Listener`] accepts connections within [`Limits`] and hands each to a [`Protocol`]; [`Http`] is the usual one.
//! The [`Phase`] of a server, sent through a [`Drain`], ends it without losing a request. [`Budget`] bounds the memory
//! of requests and answers in flight. [`tls`] holds the certificate that is served and [`files`] follows the files it
//! comes from; [`ca`] makes certificates. [`Readiness`] tells whether everything that a server waits for is there.

pub mod body;
pub mod budget;
pub mod ca;
mod connection;
mod drain;
pub mod files;
mod limits;
mod listener;
mod readiness;
mod slots;
mod stall;
pub mod tls;

pub use budget::Budget;
pub use connection::{Connection, Handler, Http, Protocol};
pub use drain::{Drain, Phase, Phases};
pub use limits::{Limits, Observer, Refusal};
pub use listener::Listener;
pub use readiness::{Condition, Readiness};
