//! One file a command: arguments in, a report or an answer out.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod install;
pub(crate) mod lab;
pub(crate) mod man;
pub(crate) mod offline;
pub(crate) mod oidc;
pub(crate) mod rollout;
pub(crate) mod set;
pub(crate) mod status;
pub(crate) mod sts;
pub(crate) mod uninstall;
pub(crate) mod url;
pub(crate) mod version;
pub(crate) mod webhook;
