//! Names and creation sites: texts that a header points at, or the reason why they cannot be told.
//!
//! May be relied on: at most [`MOST_BYTES`] are read, and only from mapped memory. Deliberately absent: escaping, which is the views' affair.

use crate::layout::{u32_at, u64_at};
use crate::memory::Memory;

/// Longer names and file names are no names, in bytes.
pub const MOST_BYTES: u32 = 64 << 10;

/// A text that a header points at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text {
    /// There is none.
    None,
    /// The text.
    Known(String),
    /// There is one, and this is why it cannot be told.
    Unknown(String),
}

impl Text {
    /// The text; empty when there is none or it is not known.
    pub fn as_str(&self) -> &str {
        if let Text::Known(text) = self { text } else { "" }
    }

    /// Reads `bytes` bytes at `at`: `bytes` ≤ [`MOST_BYTES`].
    fn read(memory: &dyn Memory, at: u64, bytes: u32) -> Text {
        if at == 0 || bytes == 0 {
            return Text::None;
        }
        let mut text = vec![0; bytes.min(MOST_BYTES) as usize];
        match memory.read(at, &mut text) {
            Err(why) => Text::Unknown(format!("{bytes} bytes at {at:#x}: {why}")),
            Ok(()) => String::from_utf8(text).map_or_else(
                |error| Text::Unknown(format!("not UTF-8: {:?}", String::from_utf8_lossy(error.as_bytes()))),
                Text::Known,
            ),
        }
    }
}

/// Where an arena was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Where {
    /// The file.
    pub file: Text,
    /// From 1; 0 when not known.
    pub line: u32,
    /// From 1; 0 when not known.
    pub column: u32,
}

/// The places of a header's fields for its name and site, in bytes from the header.
pub(crate) struct Fields {
    pub(crate) file: usize,
    pub(crate) file_bytes: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) name: usize,
    pub(crate) name_bytes: usize,
    pub(crate) inline: usize,
}

/// Bytes of `name_inline`.
const INLINE_BYTES: u64 = 32;

impl Fields {
    /// What of these fields cannot be, if anything. `at` is the header's address.
    pub(crate) fn contradiction(&self, at: u64, header: &[u8]) -> Option<String> {
        let (name, name_bytes) = (u64_at(header, self.name), u32_at(header, self.name_bytes));
        let (file, file_bytes) = (u64_at(header, self.file), u32_at(header, self.file_bytes));
        let inline = at.wrapping_add(self.inline as u64);
        if name_bytes > MOST_BYTES {
            return Some(format!("a name of {name_bytes} bytes"));
        }
        if name == 0 && name_bytes > 0 {
            return Some(format!("a name of {name_bytes} bytes that is nowhere"));
        }
        if name == inline && u64::from(name_bytes) > INLINE_BYTES {
            return Some(format!("a name of {name_bytes} bytes in a field of {INLINE_BYTES}"));
        }
        if file_bytes > MOST_BYTES {
            return Some(format!("a creation site whose file's name has {file_bytes} bytes"));
        }
        (file == 0 && file_bytes > 0).then(|| format!("a creation site's file of {file_bytes} bytes that is nowhere"))
    }

    /// Reads the texts of a header without contradiction. An inline name is taken from the header as it was read.
    pub(crate) fn read(&self, memory: &dyn Memory, at: u64, header: &[u8]) -> (Text, Where) {
        let (name, name_bytes) = (u64_at(header, self.name), u32_at(header, self.name_bytes));
        let inline = header.get(self.inline..).and_then(|rest| rest.get(..name_bytes as usize));
        let name = match inline {
            Some(text) if name_bytes > 0 && name == at.wrapping_add(self.inline as u64) => {
                match std::str::from_utf8(text) {
                    Ok(text) => Text::Known(text.to_owned()),
                    Err(_) => Text::Unknown(format!("not UTF-8: {:?}", String::from_utf8_lossy(text))),
                }
            }
            _ => Text::read(memory, name, name_bytes),
        };
        let file = Text::read(memory, u64_at(header, self.file), u32_at(header, self.file_bytes));
        (name, Where { file, line: u32_at(header, self.line), column: u32_at(header, self.column) })
    }
}
