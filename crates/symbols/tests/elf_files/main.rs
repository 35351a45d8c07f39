//! Questions about real files: compiled here, and of Debian. A missing compiler fails these tests.

mod compile;
mod functions;
mod passing;
mod signature;
