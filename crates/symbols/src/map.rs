//! Bytes of files, for the life of the process. The only file of this crate that holds `unsafe`.
//!
//! Relied on: the same version of a file (device, inode, size, times of change) is held once, however often it is
//! opened, so what is never given back is bounded by the number of distinct files looked at. Files up to
//! [`READ_LIMIT`] are read; larger ones are mapped.
//!
//! Absent: giving bytes back. Parsed ELF and DWARF borrow from them everywhere, and `'static` keeps lifetimes and
//! self-references out of every other file.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Largest file that is read rather than mapped, bytes. A small program may be rebuilt in place while we look at it,
/// which would turn a mapping into SIGBUS; reading 4 MiB takes about a millisecond.
const READ_LIMIT: u64 = 4 << 20;

/// One file's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes(&'static [u8]);

/// Identity of one version of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Version {
        Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn held() -> &'static Mutex<HashMap<Version, Bytes>> {
    static HELD: OnceLock<Mutex<HashMap<Version, Bytes>>> = OnceLock::new();
    HELD.get_or_init(Mutex::default)
}

impl Bytes {
    /// The bytes of the regular file at `path`.
    pub(crate) fn of_file(path: &Path) -> io::Result<Bytes> {
        // Looked at before it is opened: opening a FIFO would wait for its other end.
        must_be_regular(&path.metadata()?)?;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        must_be_regular(&metadata)?;
        let version = Version::of(&metadata);
        if let Some(bytes) = held().lock().unwrap_or_else(PoisonError::into_inner).get(&version) {
            return Ok(*bytes);
        }
        let bytes = if version.bytes <= READ_LIMIT { read(file)? } else { map(&file)? };
        held().lock().unwrap_or_else(PoisonError::into_inner).insert(version, bytes);
        Ok(bytes)
    }

    /// Bytes computed from held ones (a decompressed section), computed once per source; empty when `make` fails.
    pub(crate) fn derived(source: &'static [u8], make: impl FnOnce() -> Option<Vec<u8>>) -> Bytes {
        static MADE: OnceLock<Mutex<HashMap<(usize, usize), Bytes>>> = OnceLock::new();
        let made = MADE.get_or_init(Mutex::default);
        let key = (source.as_ptr().addr(), source.len());
        if let Some(bytes) = made.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return *bytes;
        }
        let bytes = make().map_or(Bytes(&[]), |content| Bytes(content.leak()));
        *made.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(bytes)
    }

    /// A copy of bytes that come from elsewhere. Never given back.
    pub(crate) fn keep(bytes: &[u8]) -> Bytes {
        // Words, so that the copy is aligned for the ELF structures laid over it.
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        let (target, _) = object::pod::bytes_of_slice_mut(&mut words).split_at_mut(bytes.len());
        target.copy_from_slice(bytes);
        let words: &'static [u64] = words.leak();
        let all = object::pod::bytes_of_slice(words);
        Bytes(all.get(..bytes.len()).unwrap_or(all))
    }

    /// The bytes.
    pub(crate) fn as_slice(self) -> &'static [u8] {
        self.0
    }
}

fn must_be_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(())
}

fn read(file: File) -> io::Result<Bytes> {
    let mut content = Vec::new();
    // One more than the limit: a file that grew meanwhile is cut, not followed.
    file.take(READ_LIMIT + 1).read_to_end(&mut content)?;
    Ok(Bytes::keep(&content))
}

fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: The mapping is private and read-only, and it is leaked below, so the slice stays mapped for the life
    // of the process (nothing here ever unmaps it). What cannot be guaranteed is that nobody writes to the file: a
    // running executable refuses writers (ETXTBSY), linkers and package managers replace files instead of writing
    // into them, and files small enough to be rebuilt casually were read above. All bytes are treated as untrusted
    // by every parser, and none is read twice to decide one bound.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
    let map: &'static memmap2::Mmap = Box::leak(Box::new(map));
    Ok(Bytes(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_of_a_file_is_held_once_and_a_changed_one_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"first").unwrap();
        let one = Bytes::of_file(&path).unwrap();
        let two = Bytes::of_file(&path).unwrap();
        assert_eq!(one.as_slice().as_ptr(), two.as_slice().as_ptr());
        std::fs::write(&path, b"second!").unwrap();
        let three = Bytes::of_file(&path).unwrap();
        assert_eq!((one.as_slice(), three.as_slice()), (&b"first"[..], &b"second!"[..]));
    }

    #[test]
    fn large_files_are_mapped_with_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut content = vec![7u8; READ_LIMIT as usize + 3];
        content.push(9);
        std::fs::write(&path, &content).unwrap();
        assert!(Bytes::of_file(&path).unwrap().as_slice() == content);
    }

    #[test]
    fn a_directory_a_device_and_an_empty_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Bytes::of_file(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert!(Bytes::of_file(Path::new("/dev/null")).is_err());
        std::fs::write(dir.path().join("empty"), b"").unwrap();
        assert!(Bytes::of_file(&dir.path().join("empty")).unwrap().as_slice().is_empty());
    }
}
