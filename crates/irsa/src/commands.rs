//! One file a command: arguments in, a report or an answer out.

pub(crate) mod completion;
pub(crate) mod man;
pub(crate) mod version;
