//! A trace file as bytes: mapped, because a trace may be sparse and far larger than memory.
//!
//! Holes are never touched in the file: on tmpfs merely reading one allocates a page, and on a full file system that is
//! SIGBUS. Where the file has a hole, the mapping is anonymous zeros instead.
//! One of two files of this crate with unsafe code. Absent: meaning.
#![allow(unsafe_code)]

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::null_mut;

const PAGE: u64 = 4096;

/// A file's bytes, read-only.
///
/// # Invariants
/// I1: `base..base + len` is mapped readable by `new` and unmapped by `drop` alone.
pub struct Mapped {
    base: *mut core::ffi::c_void,
    len: usize,
}

// SAFETY: the bytes are only read, and unmapping needs no particular thread.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the file as it is now, up to its last data: what follows is a hole. An empty file gives no bytes.
    pub fn new(file: &File) -> io::Result<Mapped> {
        let bytes = file.metadata()?.len();
        let mut ranges = Vec::new();
        let mut at = 0;
        while let Some((start, end)) = data_after(file, at, bytes)? {
            ranges.push((start, end));
            at = end;
        }
        // The last page of a file is whole in the page cache; its rest reads as zeros.
        let len = usize::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if len == 0 {
            return Ok(Mapped { base: null_mut(), len: 0 });
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { mmap_anonymous(null_mut(), len, ProtFlags::READ, flags) }?;
        let mapped = Mapped { base, len };
        for (start, end) in ranges {
            let from = start & !(PAGE - 1);
            let to = end.checked_next_multiple_of(PAGE).unwrap_or(end);
            // SAFETY: `from..end` lies inside the reservation just made, which only we know of; it is page-aligned, and
            // the last page of the reservation is whole. The file's bytes must not change under a reader: a trace is
            // written by one launcher, which has sealed it before it names it to anyone; the recorder of a process
            // that still runs only adds bytes behind its commit words. A user who truncates the file under us gets
            // SIGBUS, as with any program that maps files.
            unsafe {
                mmap(
                    base.wrapping_byte_add(from as usize),
                    (to - from) as usize,
                    ProtFlags::READ,
                    MapFlags::SHARED | MapFlags::FIXED,
                    file,
                    from,
                )
            }?;
        }
        Ok(mapped)
    }
}

/// The next range of the file that holds data, from `at` on.
fn data_after(file: &File, at: u64, bytes: u64) -> io::Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    if at >= bytes {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => {
            let end = seek(file, SeekFrom::Hole(start))?.min(bytes);
            Ok((start < end).then_some((start, end)))
        }
        // Only a hole is left.
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system that does not know holes: all is data.
        Err(rustix::io::Errno::INVAL) => Ok(Some((at, bytes))),
        Err(error) => Err(error.into()),
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: I1; see `new` for what may change behind the bytes.
        unsafe { std::slice::from_raw_parts(self.base.cast::<u8>(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: I1; every borrow of the bytes ended before the value is dropped.
            let _ = unsafe { munmap(self.base, self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_read_as_zeros_and_data_as_itself() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 36).expect("a sparse file");
        file.write_all_at(b"begin", 0).expect("a write");
        file.write_all_at(b"middle", (1 << 30) + 5000).expect("a write");
        let mapped = Mapped::new(&file).expect("a mapping");
        assert!(mapped.len() < (1 << 30) + (1 << 20), "the hole at the end is not mapped");
        assert_eq!(&mapped[..5], b"begin");
        assert_eq!(&mapped[(1 << 30) + 5000..][..6], b"middle");
        assert_eq!(mapped[1 << 29], 0);
        assert!(Mapped::new(&tempfile::tempfile().expect("a file")).expect("nothing").is_empty());
    }

    #[test]
    fn a_short_file_is_mapped_to_its_last_byte() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&[7; 5000], 0).expect("a write");
        let mapped = Mapped::new(&file).expect("a mapping");
        assert!(mapped.len() == 5000 && mapped.iter().all(|byte| *byte == 7));
    }
}
