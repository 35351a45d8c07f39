//! What the C library needs beyond the public calls: the header's layout as a table, the creation site, the observer's place.
//!
//! May be relied on by `arenascope-capi`, and by nobody else: not part of the public face, may change with any version.
#![allow(unsafe_code)] // Declares one unsafe function.

use crate::probe::{Observer, process_observer};
use crate::{Arena, Builder, Error, Owned};
use core::mem::{MaybeUninit, offset_of};

/// A documented field of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name, the same in Rust and C.
    pub name: &'static str,
    /// Bytes from the header's start.
    pub offset: usize,
    /// Its size in bytes.
    pub bytes: usize,
}

const fn size_behind<T>(_: fn(&Arena) -> &T) -> usize {
    size_of::<T>()
}

macro_rules! fields {
    ($($name:ident)*) => {
        &[$(Field { name: stringify!($name), offset: offset_of!(Arena, $name), bytes: size_behind(|a| &a.$name) }),*]
    };
}

/// All documented fields, in order.
pub const LAYOUT: &[Field] = fields!(
    magic layout_version header_bytes cursor base limit true_limit high_water stored_limit
    capacity committed reserved id generation depth scope owner_tid pid events
    site_file site_file_bytes site_line name name_bytes site_column name_inline
    observer clean_from flags scopes reset_generation commits refusals
);

/// Writes the creation site down. `file` is UTF-8 and lives forever; column unknown.
pub fn set_site(arena: &Arena, file: &'static str, line: u32) {
    arena.site_file.set(if file.is_empty() { core::ptr::null() } else { file.as_ptr() });
    arena.site_file_bytes.set(u32::try_from(file.len()).unwrap_or(0));
    arena.site_line.set(line);
    arena.site_column.set(0);
}

/// An arena in a buffer, with the builder's name and observer.
#[track_caller]
pub fn in_buffer<'b>(buffer: &'b mut [MaybeUninit<u8>], builder: &Builder<'_>) -> Result<Owned<'b>, Error> {
    Arena::in_buffer_as(buffer, builder)
}

/// The arena's own observer, or null.
pub fn own_observer(arena: &Arena) -> *const Observer {
    arena.observer.get()
}

/// Puts an observer into the header and changes nothing else: watching goes on or not, as before.
///
/// # Safety
/// As [`Arena::observe`], for as long as it stands there.
pub unsafe fn set_own_observer(arena: &Arena, observer: *const Observer) {
    arena.observer.set(observer);
}

/// The process's observer, or null.
pub fn everyones_observer() -> *const Observer {
    process_observer()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_table_holds_every_field_that_the_header_documents() {
        let header = include_str!("header.rs");
        let mut documented = Vec::new();
        let mut offset = None;
        for line in header.lines().map(str::trim) {
            if let Some((number, _)) = line.strip_prefix("/// +").and_then(|rest| rest.split_once(':')) {
                offset = number.parse::<usize>().ok();
            } else if let Some((name, _)) = line.strip_prefix("pub(crate) ").and_then(|rest| rest.split_once(':')) {
                documented.extend(offset.take().map(|offset| (name, offset)));
            }
        }
        let listed: Vec<_> = LAYOUT.iter().map(|field| (field.name, field.offset)).collect();
        assert_eq!(listed, documented);
    }
}
