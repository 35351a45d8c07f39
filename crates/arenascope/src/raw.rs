//! What the C library needs beyond the public calls: the header's layout as a table, the creation site, the observer's place.
//!
//! May be relied on by `arenascope-capi`, and by nobody else: not part of the public face, may change with any version.
#![allow(unsafe_code)] // Berths, descriptors and places of shared memory by their raw names.

use crate::fork::{ShareArena, ShareError};
use crate::header::flags;
use crate::probe::{Observer, process_observer};
use crate::shared_header::{Berth, SharedHeader};
use crate::{Arena, ArenaPool, Builder, CheckRequest, Error, Owned, OwnedArena, SharedArena, check, memory_file};
use core::mem::{MaybeUninit, offset_of};
use core::ptr::NonNull;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

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

/// The report that the arena is in the midst of will not end: its call was left for good. Later events are told again.
pub fn end_report(arena: &Arena) {
    arena.flags.set(arena.flags.get() & !crate::header::flags::REPORTING);
}

/// The process's observer, or null.
pub fn everyones_observer() -> *const Observer {
    process_observer()
}

/// Whether the address lies in a living block, for arenas whose blocks lie elsewhere.
pub fn contains_checked(arena: &Arena, address: *const u8) -> bool {
    arena.is_checked() && arena.offset_of(address).is_some()
}

/// Has the contents of living blocks copied to where they would lie, if they lie elsewhere.
pub fn show_checked(arena: &Arena) {
    arena.show_checked();
}

/// Passes the question of an arena's creation on to an observer that may have no ear for it.
///
/// # Safety
/// The observer is null, or a table that lives and is as long as it says.
pub unsafe fn pass_question_on(observer: *const Observer, request: &mut CheckRequest) {
    // SAFETY: the caller's condition.
    unsafe { check::ask_observer(observer, request) }
}

/// True for a thread's handle of a shared arena: what it hands out is not its own to take back.
#[inline]
pub fn is_leased(arena: &Arena) -> bool {
    arena.flags.get() & flags::LEASED != 0
}

/// True for an arena that something else ends: a shared arena, or the handle of a fork policy.
#[inline]
pub fn is_ended_by_another(arena: &Arena) -> bool {
    arena.flags.get() & (flags::LEASED | flags::UNLISTED) != 0
}

/// Writes the creation site of a shared arena down, as [`set_site`], before any thread has a handle.
pub fn set_shared_site(arena: &SharedArena, file: &'static str, line: u32) {
    let header = arena.header();
    header.site_file.set(if file.is_empty() { core::ptr::null() } else { file.as_ptr() });
    header.site_file_bytes.set(u32::try_from(file.len()).unwrap_or(0));
    header.site_line.set(line);
    header.site_column.set(0);
}

/// A berth for this thread, as its arena: a [`Local`](crate::Local) without its drop.
pub fn hold_berth(arena: &SharedArena) -> Result<NonNull<Arena>, Error> {
    arena.header().hold_berth().map(Berth::arena)
}

/// Leaves the berth to the next thread.
///
/// # Safety
/// The arena comes from [`hold_berth`], its shared arena lives, and nobody uses it any more.
pub unsafe fn leave_berth(arena: NonNull<Arena>) {
    // SAFETY: the caller's condition: the `arena` of a berth, whose link is its shared arena's header.
    unsafe {
        let shared = arena.as_ref().link.get().cast::<SharedHeader>();
        (*shared).leave_berth(arena.byte_sub(offset_of!(Berth, arena)).cast());
    }
}

/// `work` with the berth that this thread remembers, or a berth for the call. It asks no other shared arena.
pub fn with_berth<R>(arena: &SharedArena, work: impl FnOnce(&Arena) -> R) -> Result<R, Error> {
    arena.with_berth(work)
}

/// An arena that waits in the pool; not taken into use yet.
pub fn take_waiting(pool: &ArenaPool) -> Option<OwnedArena> {
    pool.pop()
}

/// Leaves an empty arena in the pool; gives it back when the pool's limits are reached.
pub fn leave_waiting(pool: &ArenaPool, arena: OwnedArena) -> Option<OwnedArena> {
    pool.push(arena)
}

/// As [`ShareArena::attach`], by a copy of the descriptor.
///
/// # Safety
/// As there. The descriptor is not negative.
pub unsafe fn attach(descriptor: RawFd) -> Result<ShareArena, ShareError> {
    // SAFETY: the caller's condition. If nothing is open there, the system says so.
    let file = unsafe {
        core::hint::assert_unchecked(descriptor >= 0);
        BorrowedFd::borrow_raw(descriptor)
    };
    let file = memory_file::copy(file).map_err(ShareError::MapRefused)?;
    // SAFETY: the caller's condition.
    unsafe { ShareArena::attach(file) }
}

/// The number of the memory file's descriptor, which stays the arena's.
pub fn descriptor(arena: &ShareArena) -> RawFd {
    arena.as_fd().as_raw_fd()
}

/// Where `bytes` bytes lie that were leased; None for 0 and outside.
pub fn place(arena: &ShareArena, at: u64, bytes: usize) -> Option<NonNull<u8>> {
    arena.place(at, bytes as u64, 1, 1)
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
