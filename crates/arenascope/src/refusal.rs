//! The panicking faces: turns a refusal into the one panic that all of them share.
//!
//! May be relied on: the panic code stands here, out of line; a face that cannot be refused contains none of it. Deliberately
//! absent: the plain `alloc`, whose cold path panics by itself.
#![forbid(unsafe_code)]

use crate::{Arena, Error};
use core::panic::Location;

impl Arena {
    /// What was granted, or the panic.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn granted<T>(&self, result: Result<T, Error>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.refused(error, Location::caller()),
        }
    }

    #[cold]
    #[inline(never)]
    fn refused(&self, error: Error, caller: &'static Location<'static>) -> ! {
        panic!(
            "arena {} {:?}: a request at offset {} of {}: {error}; asked for at {caller}",
            self.id(),
            self.name(),
            self.offset(),
            self.capacity(),
        )
    }
}
