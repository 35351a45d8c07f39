//! `.note.arenascope`: where a binary's copy of the library begins its lists, read from the binary as it lies in memory.
//!
//! The layout is that of the library's `note.rs`: owner "arenascope", type 1; two 32-bit numbers, then 64-bit differences, each from its own place: at 16
//! to the first arena with memory of its own, at 24 to the first shared one, at 32 to the first slab. Program headers are read from memory, so that
//! neither the file nor its section table is needed. Deliberately absent: the observer, which is the agent's affair.

use crate::layout::{u32_at, u64_at};
use crate::lists::List;
use crate::memory::{Backing, Mappings, Memory};

/// Program headers that are read of one file.
const MOST_HEADERS: u16 = 128;
/// Bytes of notes that are read of one segment.
const MOST_NOTES: u64 = 64 << 10;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `e_phentsize` of a 64-bit file.
const HEADER: u16 = 56;

/// The heads of lists that notes name, each the address of the word that names the first entry.
pub fn heads(memory: &dyn Memory, mappings: &Mappings) -> Vec<(u64, List)> {
    let mut heads = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.readable) {
        if matches!(mapping.backing, Backing::File { offset: 0, .. }) {
            of_file(memory, mapping.start, &mut heads);
        }
    }
    heads.sort_unstable();
    heads.dedup();
    heads.retain(|(head, _)| mappings.at(*head).is_some_and(|mapping| mapping.writable));
    heads
}

fn of_file(memory: &dyn Memory, start: u64, heads: &mut Vec<(u64, List)>) {
    let mut file = [0; 64];
    if memory.read(start, &mut file).is_err() || file.first_chunk() != Some(b"\x7fELF\x02\x01") {
        return;
    }
    let half = |at: usize| (u32_at(&file, at) & 0xffff) as u16;
    let (offset, size, count) = (u64_at(&file, 32), half(54), half(56).min(MOST_HEADERS));
    let mut table = vec![0; usize::from(count) * usize::from(HEADER)];
    if size != HEADER || memory.read(start.wrapping_add(offset), &mut table).is_err() {
        return;
    }
    let segments = || table.chunks_exact(usize::from(HEADER));
    // p_type, p_offset, p_vaddr, p_memsz, p_align.
    let first = segments().find(|segment| u32_at(segment, 0) == PT_LOAD && u64_at(segment, 8) == 0);
    let Some(first) = first else { return };
    let bias = start.wrapping_sub(u64_at(first, 16) & !(crate::memory::PAGE - 1));
    for segment in segments().filter(|segment| u32_at(segment, 0) == PT_NOTE) {
        let (at, bytes) = (bias.wrapping_add(u64_at(segment, 16)), u64_at(segment, 40).min(MOST_NOTES));
        let mut notes = vec![0; bytes as usize];
        if memory.read(at, &mut notes).is_ok() {
            of_notes(at, &notes, if u64_at(segment, 48) == 8 { 8 } else { 4 }, heads);
        }
    }
}

fn of_notes(start: u64, notes: &[u8], align: usize, heads: &mut Vec<(u64, List)>) {
    let mut at = 0;
    while let Some(note) = notes.get(at..).filter(|rest| rest.len() >= 12) {
        let (name_bytes, bytes, kind) = (u32_at(note, 0) as usize, u32_at(note, 4) as usize, u32_at(note, 8));
        let Some(begin) = name_bytes.checked_add(12).and_then(|end| end.checked_next_multiple_of(align)) else {
            return;
        };
        let Some(end) = begin.checked_add(bytes) else { return };
        let (name, told) = (note.get(12..12usize.saturating_add(name_bytes)), note.get(begin..end));
        if let (Some(b"arenascope\0"), 1, Some(told)) = (name, kind, told)
            && u32_at(told, 0) >= 1
            && told.len() >= 40
        {
            for (index, list) in List::ALL.into_iter().enumerate() {
                let place = 16 + 8 * index;
                let from = start.wrapping_add((at + begin + place) as u64);
                heads.push((from.wrapping_add(u64_at(told, place)), list));
            }
        }
        let Some(next) = end.checked_next_multiple_of(align).and_then(|end| at.checked_add(end)) else { return };
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_count_from_their_own_place() {
        let mut notes = Vec::new();
        for number in [4u32, 4, 1] {
            notes.extend(number.to_le_bytes());
        }
        notes.extend(b"GNU\0abcd");
        for number in [11u32, 40, 1] {
            notes.extend(number.to_le_bytes());
        }
        notes.extend(b"arenascope\0\0");
        let begin = notes.len();
        notes.extend(1u32.to_le_bytes());
        notes.extend(2u32.to_le_bytes());
        for (index, target) in [0x5000u64, 0x6000, 0x7000, 0x8000].into_iter().enumerate() {
            let from = 0x1000 + (begin + 8 + index * 8) as u64;
            notes.extend(target.wrapping_sub(from).to_le_bytes());
        }
        let mut heads = Vec::new();
        of_notes(0x1000, &notes, 4, &mut heads);
        assert_eq!(heads, [(0x6000, List::Alone), (0x7000, List::Shared), (0x8000, List::Slabs)]);
        // Cut off anywhere: no note, and no harm.
        for end in 0..notes.len() {
            let mut heads = Vec::new();
            of_notes(0x1000, notes.get(..end).unwrap_or_default(), 4, &mut heads);
            assert!(heads.is_empty());
        }
    }
}
