//! The library's note, read from a module as it lies in memory.
//!
//! Relied on: any bytes are accepted, and what does not fit is no note. Absent: memory; bytes in, addresses out.

/// The note's owner with its zero, and its type (`arenascope::note`).
const OWNER: &[u8] = b"arenascope\0";
const KIND: u32 = 1;
/// The build id's owner and type (the linker's `--build-id`).
const GNU: &[u8] = b"GNU\0";
const BUILD_ID: u32 = 3;
/// Places in the descriptor whose differences lead to the observer's word and to the function that sets it.
const OBSERVER: usize = 8;
const OBSERVE: usize = 40;

/// What one note says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Address of the word that points to the process's observer.
    pub observer: u64,
    /// Address of the function that sets it; `None` in a copy from before there was one.
    pub observe: Option<u64>,
}

/// Hands each of the library's notes in `notes`, which lie at address `start`, to `found`, and each build id to `id`.
pub(super) fn each(start: u64, notes: &[u8], align: usize, mut found: impl FnMut(Found), mut id: impl FnMut(&[u8])) {
    let mut at = 0usize;
    while let Some(note) = notes.get(at..).filter(|rest| rest.len() >= 12) {
        let (Some(name_bytes), Some(bytes), Some(kind)) = (u32_at(note, 0), u32_at(note, 4), u32_at(note, 8)) else {
            return;
        };
        let (name_bytes, bytes) = (name_bytes as usize, bytes as usize);
        let Some(begin) = name_bytes.checked_add(12).and_then(|end| end.checked_next_multiple_of(align)) else {
            return;
        };
        let Some(end) = begin.checked_add(bytes) else { return };
        let (name, told) = (note.get(12..name_bytes.saturating_add(12)), note.get(begin..end));
        let place = start.wrapping_add((at + begin) as u64);
        match (name, kind, told) {
            (Some(OWNER), KIND, Some(told)) => {
                let leads = |place_in: usize| {
                    let from = place.wrapping_add(place_in as u64);
                    Some(from.wrapping_add(u64_at(told, place_in)?))
                };
                if let Some(observer) = leads(OBSERVER).filter(|observer| observer.is_multiple_of(8)) {
                    found(Found { observer, observe: leads(OBSERVE) });
                }
            }
            (Some(GNU), BUILD_ID, Some(told)) => id(told),
            _ => {}
        }
        let Some(next) = end.checked_next_multiple_of(align).and_then(|end| at.checked_add(end)) else { return };
        at = next;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn notes_are_found_and_cut_off_ones_are_none() {
        let mut notes = Vec::new();
        for number in [4u32, 4, 3] {
            notes.extend(number.to_le_bytes());
        }
        notes.extend(b"GNU\0abcd");
        for bytes in [40u32, 48] {
            for number in [11u32, bytes, 1] {
                notes.extend(number.to_le_bytes());
            }
            notes.extend(b"arenascope\0\0");
            let begin = notes.len();
            notes.extend(1u32.to_le_bytes());
            notes.extend(1u32.to_le_bytes());
            for place in (8..u64::from(bytes)).step_by(8) {
                notes.extend((0x9000 + place).wrapping_sub(0x1000 + begin as u64 + place).to_le_bytes());
            }
        }
        let read = |notes: &[u8]| {
            let (mut all, mut ids) = (Vec::new(), Vec::new());
            each(0x1000, notes, 4, |found| all.push(found), |id| ids.push(id.to_vec()));
            (all, ids)
        };
        let (all, ids) = read(&notes);
        assert_eq!(ids, [b"abcd"]);
        let found = |observe| Found { observer: 0x9008, observe };
        assert_eq!(all, [found(None), found(Some(0x9028))]);
        for end in 0..notes.len() {
            let (all, _) = read(notes.get(..end).unwrap_or_default());
            assert!(all.len() < 2, "{end}");
        }
    }
}
