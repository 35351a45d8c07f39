//! Questions about real files: compiled here, and of Debian. A missing compiler fails these tests.

mod compile;
mod damage;
mod functions;
mod libraries;
mod lines;
mod passing;
mod plt;
mod signature;
