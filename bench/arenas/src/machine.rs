//! The machine: pinning a thread to a CPU, and memory that is there before anything is measured.
#![allow(unsafe_code)] // System calls.

use std::ptr::null_mut;

/// The CPU for everything that runs alone: the last one, as the first serves more interrupts.
pub fn pin_to_last() {
    pin(online() - 1);
}

/// Pins the calling thread to the `cpu`-th CPU (counted around, on smaller machines).
pub fn pin(cpu: usize) {
    // SAFETY: a set of this function's own, zeroed as CPU_ZERO does, read by the kernel only during the call.
    let status = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu % online(), &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if status != 0 {
        eprintln!("arena-bench: cannot pin to CPU {cpu}: {}", std::io::Error::last_os_error());
    }
}

fn online() -> usize {
    // SAFETY: sysconf has no conditions.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1).max(1)
}

/// Populates and frees `bytes` at once. A virtual machine gives memory that lies idle back to its host, and getting it
/// again costs the next one to touch it 10 times a page fault: that must not be the contender that happens to be first.
pub fn touch(bytes: usize) {
    if bytes == 0 {
        return;
    }
    // SAFETY: a fresh private mapping, used by nobody, unmapped whole.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let at = libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if at == libc::MAP_FAILED {
            eprintln!("arena-bench: cannot touch {bytes} bytes: {}", std::io::Error::last_os_error());
            return;
        }
        // Huge pages make it quick; freed, they serve small pages as well.
        libc::madvise(at, bytes, libc::MADV_HUGEPAGE);
        for page in (0..bytes).step_by(4096) {
            at.cast::<u8>().add(page).write_volatile(1);
        }
        libc::munmap(at, bytes);
    }
}

/// A mapping of its own, aligned to huge pages.
pub struct Region {
    base: *mut u8,
    bytes: usize,
}

impl Region {
    /// At least `bytes` bytes, nothing populated.
    pub fn of_huge_pages(bytes: usize) -> Self {
        let huge = 2 << 20;
        let bytes = bytes.next_multiple_of(huge);
        // SAFETY: a fresh mapping with room to align; it is used from an aligned address on and unmapped whole, its edges
        // first.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let at = libc::mmap(null_mut(), bytes + huge, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
            let before = at.addr().next_multiple_of(huge) - at.addr();
            let base = at.byte_add(before);
            if before > 0 {
                libc::munmap(at, before);
            }
            libc::munmap(base.byte_add(bytes), huge - before);
            libc::madvise(base, bytes, libc::MADV_HUGEPAGE);
            base.cast()
        };
        Self { base, bytes }
    }

    /// Where it begins.
    pub fn start(&self) -> *mut u8 {
        self.base
    }

    /// Populates `bytes` at `offset` and lends them.
    pub fn populated<T>(&mut self, offset: usize, bytes: usize) -> &mut [std::mem::MaybeUninit<T>] {
        assert!(offset + bytes <= self.bytes && align_of::<T>() <= 4096 && offset.is_multiple_of(4096));
        // SAFETY: inside the mapping, by the assertion, and page-aligned; MaybeUninit needs no values; `&mut self` makes
        // the loan the only one.
        unsafe {
            let at = self.base.add(offset);
            libc::madvise(at.cast(), bytes, libc::MADV_POPULATE_WRITE);
            std::slice::from_raw_parts_mut(at.cast(), bytes / size_of::<T>())
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping made above, once.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}
