//! The note that the arena library leaves in every file it is linked into: where its pointer to the process's observer is.
//!
//! Relied on: the words it leads to lie in a writable segment of the file; a note that says otherwise is none. Absent: the other
//! words of the note, which lead to lists of arenas.

use crate::elf::Elf;
use object::LittleEndian;
use object::elf::{PF_W, PT_LOAD, PT_NOTE};
use object::read::elf::ProgramHeader;

const OWNER: &[u8] = b"arenascope";
const KIND: u32 = 1;
/// Version of the note and of the observer's table.
const HEAD_BYTES: usize = 8;

/// A copy of the arena library in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LibraryNote {
    /// Address in the file of the word that points to the process's observer.
    pub observer: u64,
    /// Version of the observer's table.
    pub version: u32,
}

impl Elf {
    /// The copies of the arena library in this file. One file has several when versions of the crate meet in it; notes that say
    /// the same count once. O(bytes of notes).
    pub(crate) fn library_notes(&self) -> Vec<LibraryNote> {
        let data = self.bytes.as_slice();
        let mut found: Vec<LibraryNote> = Vec::new();
        for header in self.program_headers().iter().filter(|header| header.p_type(LittleEndian) == PT_NOTE) {
            let Ok(Some(mut notes)) = header.notes(LittleEndian, data) else { continue };
            let (offset, _) = header.file_range(LittleEndian);
            let Some(segment) = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)) else { continue };
            while let Ok(Some(note)) = notes.next() {
                if note.name() != OWNER || note.n_type(LittleEndian).0 != KIND {
                    continue;
                }
                let desc = note.desc();
                let skip = (desc.as_ptr() as usize).wrapping_sub(segment.as_ptr() as usize) as u64;
                let address: u64 = header.p_vaddr(LittleEndian);
                if let Some(note) = read(desc, address.wrapping_add(skip))
                    && self.is_writable(note.observer)
                    && !found.contains(&note)
                {
                    found.push(note);
                }
            }
        }
        found
    }

    fn is_writable(&self, address: u64) -> bool {
        self.program_headers().iter().any(|header| {
            let start: u64 = header.p_vaddr(LittleEndian);
            header.p_type(LittleEndian) == PT_LOAD
                && header.p_flags(LittleEndian).contains(PF_W)
                && address.checked_sub(start).is_some_and(|skip| skip.saturating_add(8) <= header.p_memsz(LittleEndian))
        })
    }
}

/// Reads a descriptor whose first byte has this address.
fn read(desc: &[u8], address: u64) -> Option<LibraryNote> {
    let version = u32::from_le_bytes(desc.get(4..HEAD_BYTES)?.try_into().ok()?);
    let difference = u64::from_le_bytes(desc.get(HEAD_BYTES..HEAD_BYTES + 8)?.try_into().ok()?);
    let observer = address.wrapping_add(HEAD_BYTES as u64).wrapping_add(difference);
    observer.is_multiple_of(8).then_some(LibraryNote { observer, version })
}
