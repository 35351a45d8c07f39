//! Where all arenas of the process are found: three lists of the memory that holds them.
//!
//! May be relied on: whoever holds the lock sees only mapped memory. The lists change when memory is mapped or unmapped, not
//! when an arena begins or ends. A debugger walks [`ALONE`], [`SHARED`] and [`SLABS`] forward: links are written so that each list is
//! whole at any moment. Deliberately absent: arenas in a caller's buffer, which may vanish without a word.
#![allow(unsafe_code)] // Follows and writes links between headers.

use crate::header::{Arena, MAGIC};
use crate::lock::Lock;
use crate::shared;
use crate::shared_header::Berth;
use crate::slab::Slab;
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// A place in a list, inside a header.
#[repr(C)]
pub(crate) struct Listed {
    /// First, for outsiders: an entry's word is where the next one's lies.
    next: Cell<*mut Listed>,
    previous: Cell<*mut Listed>,
}

impl Listed {
    pub(crate) const fn new() -> Self {
        Listed { next: Cell::new(core::ptr::null_mut()), previous: Cell::new(core::ptr::null_mut()) }
    }

    /// For regions that are in no list: a link of their owner's.
    pub(crate) fn borrow_link(&self) -> &Cell<*mut Listed> {
        &self.next
    }
}

/// One list.
#[repr(C)]
pub(crate) struct Registry {
    first: AtomicPtr<Listed>,
    lock: Lock,
}

/// Regions with a mapping, or a heap block, of their own.
pub(crate) static ALONE: Registry = Registry::new();

/// Shared arenas.
pub(crate) static SHARED: Registry = Registry::new();

/// Mappings that hold small arenas.
pub(crate) static SLABS: Registry = Registry::new();

// The note in the binary names a list by its first word.
const _: () = assert!(offset_of!(Registry, first) == 0);

impl Registry {
    const fn new() -> Self {
        Registry { first: AtomicPtr::new(core::ptr::null_mut()), lock: Lock::new() }
    }

    fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        self.lock.locked(work, || self.mend())
    }

    /// After the lock was taken over from a thread that is not there: it may have stopped between two links. Forward the list is whole at
    /// any moment; backward it is made so.
    #[cold]
    fn mend(&self) {
        let mut previous = core::ptr::null_mut();
        let mut at = self.first.load(Ordering::Relaxed);
        while let Some(entry) = NonNull::new(at) {
            // SAFETY: listed entries are mapped: they are taken out before they are unmapped, and the lock is ours.
            let this = unsafe { entry.as_ref() };
            this.previous.set(previous);
            previous = at;
            at = this.next.get();
        }
    }

    /// Calls `visit` for each entry. It must not map or unmap arenas' memory.
    pub(crate) fn each(&self, mut visit: impl FnMut(NonNull<Listed>)) {
        self.locked(|| {
            let mut at = self.first.load(Ordering::Relaxed);
            while let Some(entry) = NonNull::new(at) {
                // SAFETY: listed entries are mapped until they are removed, which needs the lock we hold.
                at = unsafe { entry.as_ref() }.next.get();
                visit(entry);
            }
        });
    }
}

/// Calls `visit` for the header of each living arena that the lists lead to. The arena may be in use by its thread, and may end
/// during the call, but stays mapped. `visit` must not map or unmap arenas' memory.
pub(crate) fn each_arena(mut visit: impl FnMut(*mut Arena)) {
    let mut living = |header: *mut Arena| {
        // SAFETY: the header is mapped while the lock is held; a single aligned load, as an outsider's.
        let magic = unsafe { AtomicU64::from_ptr((*header).magic.as_ptr()).load(Ordering::Acquire) };
        if magic == MAGIC {
            visit(header);
        }
    };
    ALONE.each(|entry| living(entry.as_ptr().wrapping_byte_sub(offset_of!(Arena, listed)).cast()));
    SHARED.each(|entry| {
        // SAFETY: a listed header is mapped while the lock is held, and so are its rows.
        unsafe { &*shared::of_entry(entry) }.berths().for_each(|berth| living(Berth::arena(berth).as_ptr()));
    });
    SLABS.each(|entry| {
        let slab = entry.as_ptr().wrapping_byte_sub(offset_of!(Slab, listed)).cast::<Slab>();
        // SAFETY: a listed slab is mapped while the lock is held.
        let (stride, carved) = unsafe { ((*slab).stride, (*slab).carved.load(Ordering::Acquire)) };
        for index in 0..carved {
            living(slab.wrapping_byte_add(size_of::<Slab>() + index * stride).cast());
        }
    });
}

/// Puts an entry first.
///
/// # Safety
/// The entry is mapped, stays where it is until `remove`, and is in no list. Its pointer may reach the whole header it is in.
pub(crate) unsafe fn add(registry: &Registry, entry: NonNull<Listed>) {
    // SAFETY: mapped (the caller's condition).
    let this = unsafe { entry.as_ref() };
    registry.locked(|| {
        let first = registry.first.load(Ordering::Relaxed);
        this.next.set(first);
        this.previous.set(core::ptr::null_mut());
        if let Some(first) = NonNull::new(first) {
            // SAFETY: listed, hence mapped; links are written under the lock only.
            unsafe { first.as_ref() }.previous.set(entry.as_ptr());
        }
        registry.first.store(entry.as_ptr(), Ordering::Release);
    });
}

/// Takes an entry out.
///
/// # Safety
/// The entry is in this list.
pub(crate) unsafe fn remove(registry: &Registry, entry: NonNull<Listed>) {
    // SAFETY: listed, hence mapped.
    let this = unsafe { entry.as_ref() };
    registry.locked(|| {
        let (next, previous) = (this.next.get(), this.previous.get());
        match NonNull::new(previous) {
            // SAFETY: neighbours are listed, hence mapped; links are written under the lock only.
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => registry.first.store(next, Ordering::Release),
        }
        if let Some(next) = NonNull::new(next) {
            // SAFETY: as above.
            unsafe { next.as_ref() }.previous.set(previous);
        }
    });
}
