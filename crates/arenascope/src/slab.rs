//! Small regions in rows: one mapping holds many, so that a process can have more arenas than mappings.
//!
//! May be relied on: a slot belongs to one arena, or to the shelf of kept ones, or is retired; when all slots of a slab are
//! retired, the slab is unmapped. A retired slot's pages go back to the system at once, its addresses with the slab.
//! Deliberately absent: shelves (`pool`).
//!
//! ```text
//! mapping: │ Slab, 128 B │ header, payload │ header, payload │ …
//!                        ◄──── stride ────►
//! ```
#![allow(unsafe_code)] // Carves mappings into headers.

use crate::create::Seat;
use crate::geometry;
use crate::header::{Arena, HEADER_BYTES, flags};
use crate::region::{Region, Request, Source};
use crate::registry::{self, Listed};
use crate::{System, pool};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

/// "ASCOSLAB" as text: the first bytes of a mapping that holds small arenas.
pub const MAGIC_SLAB: u64 = u64::from_le_bytes(*b"ASCOSLAB");

/// The head of a mapping that holds small arenas in a row: for debuggers and other processes, as [`Arena`] is.
#[repr(C, align(128))]
pub struct Slab {
    /// +0: [`MAGIC_SLAB`].
    pub magic: u64,
    /// +8: bytes from one header to the next; the first stands 128 bytes after the slab's begin.
    pub stride: usize,
    /// +16: how many.
    pub slots: usize,
    /// +24: how many were ever used; those behind are zero.
    pub(crate) carved: AtomicUsize,
    /// +32: how many will not be used again.
    pub(crate) retired: AtomicUsize,
    pub(crate) class: usize,
    pub(crate) mapping: NonNull<u8>,
    pub(crate) mapping_bytes: usize,
    pub(crate) source: &'static dyn Source,
    pub(crate) listed: Listed,
}

const _: () = assert!(size_of::<Slab>() == 128);

// Outsiders follow the process's list of slabs through it.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(core::mem::offset_of!(Slab, listed) == 80);

/// About this much is mapped at once, in bytes.
const SLAB_BYTES: usize = 2 << 20;

/// Maps a slab of a class; None when the system has no memory or addresses.
#[cold]
#[inline(never)]
pub(crate) fn map(class: usize) -> Option<NonNull<Slab>> {
    let stride = geometry::small_stride(class, HEADER_BYTES);
    let slots = (SLAB_BYTES / stride).min(512);
    let bytes = size_of::<Slab>() + slots * stride;
    let region: Region = System.reserve_all(Request { bytes, head_bytes: 0 })?;
    let slab = region.start.cast::<Slab>();
    // SAFETY: the region is ours, committed as a whole, page-aligned and larger than a Slab.
    unsafe {
        slab.write(Slab {
            magic: MAGIC_SLAB,
            stride,
            slots,
            carved: AtomicUsize::new(0),
            retired: AtomicUsize::new(0),
            class,
            mapping: region.mapping,
            mapping_bytes: region.mapping_bytes,
            source: region.source,
            listed: Listed::new(),
        });
        registry::add(&registry::SLABS, listed(slab));
    }
    Some(slab)
}

fn listed(slab: NonNull<Slab>) -> NonNull<Listed> {
    // SAFETY: a field of a mapped slab; no reference is made.
    unsafe { NonNull::new_unchecked(&raw mut (*slab.as_ptr()).listed) }
}

/// The next unused slot. The second result says that it was the last one.
///
/// # Safety
/// The slab is mapped, and the caller is the one who carves it.
pub(crate) unsafe fn carve(slab: NonNull<Slab>) -> Option<(Seat, bool)> {
    // SAFETY: mapped; shared access only.
    let this = unsafe { slab.as_ref() };
    let index = this.carved.load(Ordering::Relaxed);
    if index >= this.slots {
        return None;
    }
    this.carved.store(index + 1, Ordering::Release);
    // SAFETY: index < slots: the slot lies in the mapping.
    let header = unsafe { slab.cast::<u8>().add(size_of::<Slab>() + index * this.stride) };
    Some((seat(header, slab, 0), index + 1 == this.slots))
}

/// The seat of a slot, whose payload from the address `clean_from` on is zero.
#[inline]
pub(crate) fn seat(header: NonNull<u8>, slab: NonNull<Slab>, clean_from: usize) -> Seat {
    // SAFETY: the slot's slab is mapped as long as the slot is not retired.
    let (class, stride, source) = unsafe {
        let slab = slab.as_ref();
        (slab.class, slab.stride, slab.source)
    };
    Seat {
        header,
        colour: 0,
        committed: stride,
        reserved: stride,
        clean_from,
        mapping: header,
        mapping_bytes: stride,
        class: class as u16,
        link: slab.as_ptr().cast(),
        flags: flags::ZEROED,
        source,
    }
}

/// Ends a slot's use for good.
///
/// # Safety
/// The slot's arena has ended, nothing refers to it, and it is on no shelf.
#[cold]
#[inline(never)]
pub(crate) unsafe fn retire(header: NonNull<Arena>) {
    // SAFETY: the slot is still in its slab: I1.
    let (slab, stride) = unsafe {
        let arena = header.as_ref();
        arena.magic.set(0);
        (arena.link.get().cast::<Slab>(), arena.mapping_bytes.get())
    };
    let Some(slab) = NonNull::new(slab) else { return };
    // SAFETY: this slot is not retired yet, so the slab is mapped.
    unsafe {
        let source = slab.as_ref().source;
        let start = header.addr().get() - slab.addr().get();
        let _ = source.decommit(slab.cast(), start, start + stride);
        retire_slots(slab, 1);
    }
}

/// # Safety
/// The slab is mapped and so many of its slots, retired by this call, are used by nobody.
pub(crate) unsafe fn retire_slots(slab: NonNull<Slab>, count: usize) {
    // SAFETY: the slab is mapped until the count is full, and this call's slots are still missing.
    let (slots, before) = unsafe {
        let this = slab.as_ref();
        (this.slots, this.retired.fetch_add(count, Ordering::AcqRel))
    };
    if before + count == slots {
        // SAFETY: all slots are retired: nobody uses the mapping, and nobody else can come to this line.
        unsafe {
            let this = slab.as_ref();
            registry::remove(&registry::SLABS, listed(slab));
            let (source, mapping, bytes) = (this.source, this.mapping, this.mapping_bytes);
            source.release(mapping, bytes);
        }
    }
}

/// Ends the use of a slab that is still being carved: its unused slots count as retired.
///
/// # Safety
/// The caller is the one who carves it, and will not again.
pub(crate) unsafe fn abandon(slab: NonNull<Slab>) {
    // SAFETY: not all slots are carved, so the slab is mapped.
    unsafe {
        let this = slab.as_ref();
        let unused = this.slots - this.carved.load(Ordering::Relaxed);
        if unused > 0 {
            retire_slots(slab, unused);
        }
    }
}

/// Whether a region's class is that of a slot.
#[inline]
pub(crate) fn is_slot(class: u16) -> bool {
    class < pool::ALONE
}
