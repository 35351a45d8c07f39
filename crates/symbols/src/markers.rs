//! The markers of a file: places where an inlined allocator tells what it does (`arenascope-mark.h`), as its notes say.
//!
//! A marker's note is SystemTap's (`.note.stapsdt`, <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>) of the provider
//! `arenascope`; those of other providers are passed over. Relied on: any bytes are accepted, notes that make no sense are told apart and
//! never taken; a note of a function that the linker threw away is passed over. Absent: whether a nop stands there (who patches looks),
//! and files whose section headers are gone.

use crate::image::Image;
use crate::operand::{self, Argument, Operand};
use arenascope_event::Role;
use object::{Object, ObjectSection, ObjectSymbol};

/// What a marker tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MarkerKind {
    /// What a function of this role would do.
    Role(Role),
    /// The program names a moment.
    Moment,
}

impl MarkerKind {
    fn from_word(word: &str) -> Option<MarkerKind> {
        if word == "moment" {
            return Some(MarkerKind::Moment);
        }
        Role::from_word(word).map(MarkerKind::Role)
    }

    /// The probe's name.
    pub const fn word(self) -> &'static str {
        match self {
            MarkerKind::Role(role) => role.word(),
            MarkerKind::Moment => "moment",
        }
    }

    /// How many arguments its notes have, least and most.
    const fn arguments(self) -> (usize, usize) {
        match self {
            // Arena, capacity, name; the name's length.
            MarkerKind::Role(Role::Create) => (3, 4),
            // Arena, block, size; alignment.
            MarkerKind::Role(Role::Alloc) => (3, 4),
            // Arena, old block, new block, size.
            MarkerKind::Role(Role::Resize) => (4, 4),
            MarkerKind::Role(Role::Free | Role::Mark | Role::Rewind) => (2, 2),
            MarkerKind::Role(Role::Reset | Role::Destroy) => (1, 1),
            // Name; its length.
            MarkerKind::Moment => (1, 2),
        }
    }
}

/// One marker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marker {
    /// Address of its nop in the file.
    pub address: u64,
    /// What it tells.
    pub kind: MarkerKind,
    /// Its arguments. Symbols are resolved: [`Operand::Symbol`] has an empty name and the address in the file as its offset.
    pub arguments: Vec<Argument>,
}

/// A note of a marker that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableMarker {
    /// Address in the file, as far as it is known.
    pub address: u64,
    /// What it tells, if that is known.
    pub kind: Option<MarkerKind>,
    /// Why not, behind "one of them ".
    pub why: String,
}

/// The markers of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Markers {
    /// Those that can be watched, by address, each address once.
    pub found: Vec<Marker>,
    /// The others.
    pub unreadable: Vec<UnreadableMarker>,
}

/// The type of SystemTap's notes.
const NOTE_TYPE: u32 = 3;
/// No marker has more, and a longer text is none of ours.
const MOST_ARGUMENTS: usize = 12;
/// Longest text of arguments that is read, bytes.
const MOST_TEXT: usize = 4096;

/// One note: place, base as it was linked, provider, name and arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Note<'a> {
    place: u64,
    base: u64,
    provider: &'a [u8],
    name: &'a [u8],
    arguments: &'a [u8],
}

/// All of SystemTap's notes in the bytes of a note section; what is damaged ends the list.
fn notes(section: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let mut rest = section;
    std::iter::from_fn(move || {
        loop {
            let word = |at: usize| Some(u32::from_le_bytes(*rest.get(at..)?.first_chunk()?));
            let (owner_bytes, about_bytes, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
            let after = rest.get(12..)?;
            let owner = after.get(..owner_bytes)?;
            let about = after.get(owner_bytes.checked_next_multiple_of(4)?..)?;
            let note = about.get(..about_bytes)?;
            rest = about.get(about_bytes.checked_next_multiple_of(4)?..).unwrap_or(&[]);
            if kind == NOTE_TYPE
                && owner == b"stapsdt\0"
                && let Some(note) = note_of(note)
            {
                return Some(note);
            }
        }
    })
}

fn note_of(bytes: &[u8]) -> Option<Note<'_>> {
    let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let mut strings = bytes.get(24..)?.split(|byte| *byte == 0);
    Some(Note {
        place: word(0)?,
        base: word(8)?,
        provider: strings.next()?,
        name: strings.next()?,
        arguments: strings.next().unwrap_or(&[]),
    })
}

/// The arguments of a note of this kind.
fn arguments(kind: MarkerKind, text: &[u8]) -> Result<Vec<Argument>, String> {
    if text.len() > MOST_TEXT {
        return Err(format!("has {} bytes of arguments", text.len()));
    }
    let text = std::str::from_utf8(text).map_err(|_| "has arguments that are no text")?;
    let words: Vec<&str> = text.split_ascii_whitespace().take(MOST_ARGUMENTS).collect();
    let (least, most) = kind.arguments();
    if words.len() < least || words.len() > most {
        let belong = if least == most { least.to_string() } else { format!("{least} or {most}") };
        let noun = if words.len() == 1 { "argument" } else { "arguments" };
        return Err(format!("has {} {noun} where {belong} belong", words.len()));
    }
    let read = |word: &&str| operand::parse(word).map_err(|why| format!("has an argument `{word}` that {why}"));
    words.iter().map(read).collect()
}

impl Image {
    /// The markers of the file. O(bytes of the notes); symbol tables are read only where an argument names a variable.
    pub fn markers(&self) -> Markers {
        let section = self.elf.section(".note.stapsdt");
        let base = self.elf.file.section_by_name(".stapsdt.base").map(|section| section.address());
        let mut markers = Markers::default();
        for note in notes(section).filter(|note| note.provider == b"arenascope") {
            // Who moves a program (prelink) moves the base too, and not what the notes say.
            let moved = base.map_or(0, |base| base.wrapping_sub(note.base));
            let address = note.place.wrapping_add(moved);
            if note.place == 0 || self.code(address, 1).is_none() {
                // Its function went away, and the note stayed.
                continue;
            }
            let kind = MarkerKind::from_word(&String::from_utf8_lossy(note.name));
            let read = match kind {
                Some(kind) => {
                    arguments(kind, note.arguments).and_then(|arguments| self.resolved(kind, address, arguments))
                }
                None => Err("has a name that is no role: was it made for a newer arenascope?".to_owned()),
            };
            match read {
                Ok(marker) => markers.found.push(marker),
                Err(why) => markers.unreadable.push(UnreadableMarker { address, kind, why }),
            }
        }
        markers.found.sort_by_key(|marker| marker.address);
        markers.found.dedup_by_key(|marker| marker.address);
        markers
    }

    fn resolved(&self, kind: MarkerKind, address: u64, mut arguments: Vec<Argument>) -> Result<Marker, String> {
        for argument in &mut arguments {
            if let Operand::Symbol { name, offset } = &mut argument.operand {
                let at = self.variable(name).ok_or_else(|| {
                    format!(
                        "has the variable `{name}` as an argument, which no symbol table names (any more): hand the marker \
                         a copy in a local one, or compile with -DARENASCOPE_MARK_CONSTRAINT='\"nr\"'"
                    )
                })?;
                *offset = at.wrapping_add_signed(*offset) as i64;
                name.clear();
            }
        }
        Ok(Marker { address, kind, arguments })
    }

    /// The address of the variable of this name, if there is one alone. O(symbols).
    fn variable(&self, name: &str) -> Option<u64> {
        let all = self.elf.file.symbols().chain(self.elf.file.dynamic_symbols());
        let named = all.filter(|symbol| symbol.is_definition() && symbol.name() == Ok(name));
        let mut places: Vec<u64> = named.map(|symbol| symbol.address()).collect();
        places.sort_unstable();
        places.dedup();
        match places.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}

/// For the fuzz target: reads the bytes of a note section, and each note of ours as one.
#[doc(hidden)]
pub fn read_notes(section: &[u8]) -> usize {
    let ours = notes(section).filter(|note| note.provider == b"arenascope");
    ours.filter(|note| {
        MarkerKind::from_word(&String::from_utf8_lossy(note.name))
            .is_some_and(|kind| arguments(kind, note.arguments).is_ok())
    })
    .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], kind: u32, about: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((owner.len() as u32).to_le_bytes());
        bytes.extend((about.len() as u32).to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        for part in [owner, about] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn about(place: u64, text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [place, 0x2000, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(text);
        bytes
    }

    #[test]
    fn notes_of_others_lie_between_ours() {
        let ours = about(0x1000, b"arenascope\0alloc\08@%rdi 8@%rax 8@$24\0");
        let section = [
            note(b"stapsdt\0", 3, &about(1, b"libc\0setjmp\08@%rdi\0")),
            note(b"GNU\0", 3, &ours),
            note(b"stapsdt\0", 3, &ours),
            note(b"stapsdt\0", 4, &ours),
            note(b"stapsdt\0", 3, b"short"),
            note(b"stapsdt\0", 3, &about(0x1001, b"arenascope\0reset\08@%rdi\0")),
        ]
        .concat();
        let places: Vec<u64> =
            notes(&section).filter(|note| note.provider == b"arenascope").map(|note| note.place).collect();
        assert_eq!((places, read_notes(&section)), (vec![0x1000, 0x1001], 2));
        for end in 0..section.len() {
            assert!(notes(section.get(..end).unwrap_or(&[])).count() <= 3, "cut at {end}");
        }
    }

    #[test]
    fn lengths_that_lie_end_the_list() {
        for lengths in [[u32::MAX, 8], [8, u32::MAX], [u32::MAX, u32::MAX], [9, 9]] {
            let mut section = Vec::new();
            section.extend(lengths.iter().flat_map(|word| word.to_le_bytes()));
            section.extend(3u32.to_le_bytes());
            section.extend(b"stapsdt\0");
            assert_eq!(notes(&section).count(), 0, "{lengths:?}");
        }
    }

    #[test]
    fn a_marker_has_the_arguments_of_its_role() {
        use MarkerKind::{Moment, Role as Of};
        for (kind, text, fits) in [
            (Of(Role::Alloc), "8@%rdi 8@%rax 8@$24", true),
            (Of(Role::Alloc), "8@%rdi 8@%rax 8@$24 8@$16", true),
            (Of(Role::Alloc), "8@%rdi 8@%rax", false),
            (Of(Role::Reset), "8@%rdi 8@%rax", false),
            (Of(Role::Reset), "", false),
            (Of(Role::Reset), "8@%xmm0", false),
            (Moment, "8@%rdi 8@$4", true),
            (Moment, "8@%rdi\u{a0}8@$4", false),
        ] {
            assert_eq!(arguments(kind, text.as_bytes()).is_ok(), fits, "{kind:?} {text}");
        }
        assert!(arguments(Moment, &[0xff, 0xfe]).is_err());
        assert!(arguments(Moment, &b"8@%rdi ".repeat(1000)).is_err());
    }
}
