//! Where all arenas of the process are found: a list of the mappings that hold them.
#![forbid(unsafe_code)]

use core::cell::Cell;

/// A place in the list, inside the header.
pub(crate) struct Listed {
    pub(crate) next: Cell<*mut Listed>,
    pub(crate) previous: Cell<*mut Listed>,
}
