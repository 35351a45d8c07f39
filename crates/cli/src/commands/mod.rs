//! The verbs, one file each. A verb does its work and returns an exit status or an error; `main` says the error.

pub mod complete;
pub mod diff;
pub mod findings;
pub mod lab;
pub mod log;
pub mod ps;
pub mod run;
pub mod show;
mod show_outside;
