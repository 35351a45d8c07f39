//! A trace file as bytes: mapped, because a trace may be sparse and far larger than memory.
//!
//! The only file of this crate with unsafe code. Absent: meaning.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A file's bytes, read-only.
pub struct Mapped(Option<memmap2::Mmap>);

impl Mapped {
    /// Maps the whole file as it is now. An empty file gives no bytes.
    pub fn new(file: &File) -> io::Result<Mapped> {
        if file.metadata()?.len() == 0 {
            return Ok(Mapped(None));
        }
        // SAFETY: the mapping is private to this value and only lent out as `&[u8]`. Its bytes must not change meanwhile:
        // a trace is written by one launcher, which has sealed it before it names it to anyone; the recorder of a process
        // that still runs only adds bytes behind its commit words, which readers do not look at before the word covers
        // them. A user who truncates the file under us gets SIGBUS, as with any program that maps files.
        unsafe { memmap2::Mmap::map(file) }.map(|map| Mapped(Some(map)))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
