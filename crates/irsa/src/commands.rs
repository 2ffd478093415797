//! One file a command: arguments in, a report or an answer out.

pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod fleet;
pub(crate) mod lab;
pub(crate) mod man;
pub(crate) mod status;
pub(crate) mod version;
pub(crate) mod webhook;
