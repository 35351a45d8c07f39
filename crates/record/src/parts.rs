//! Small ranges of the host's memory, read by one system call.
//!
//! ```text
//!   host   │ block │zone│ block │zone│   ···   │ freed block │        each range is what it was asked for, nothing between
//!   page   │zone│zone│freed block│
//! ```
//!
//! Relied on: the kernel reads, so that memory which went away is an answer and no fault; a range that cannot be read hides
//! none behind it. Deliberately absent: what the bytes should be, and merging of ranges that lie close together. A range costs
//! some 10 ns and the call 800, so joined ranges would gain nothing, and pages between them would be touched.

use crate::system::{PARTS, read_own_memory, read_own_parts};

/// Bytes read at once: a page.
pub(crate) const BYTES: usize = 4096;

/// Ranges of the host that are read at once, one behind the other.
pub(crate) struct Parts {
    list: [[u64; 2]; PARTS],
    count: usize,
    bytes: usize,
}

impl Parts {
    /// No range.
    pub const NONE: Parts = Parts { list: [[0; 2]; PARTS], count: 0, bytes: 0 };

    /// False when there is no room for it.
    pub fn add(&mut self, start: u64, len: usize) -> bool {
        let bytes = self.bytes.saturating_add(len);
        let Some(place) = self.list.get_mut(self.count).filter(|_| bytes <= BYTES) else { return false };
        *place = [start, len as u64];
        self.count = self.count.wrapping_add(1);
        self.bytes = bytes;
        true
    }

    /// The ranges, address and bytes.
    pub fn list(&self) -> &[[u64; 2]] {
        self.list.get(..self.count).unwrap_or(&[])
    }

    /// Reads them to `page`, by one system call.
    pub fn read<'p>(&self, pid: u32, page: &'p mut [u8]) -> Read<'p> {
        let to = page.get_mut(..self.bytes).unwrap_or(&mut []);
        let got = read_own_parts(pid, self.list(), to);
        Read { pid, page, got, at: 0 }
    }
}

/// What [`Parts`] held.
pub(crate) struct Read<'p> {
    pid: u32,
    page: &'p mut [u8],
    got: usize,
    at: usize,
}

impl Read<'_> {
    /// The bytes of the next part; `None` where nobody can read them. Behind such a part each is read by itself.
    pub fn next(&mut self, start: u64, len: usize) -> Option<&[u8]> {
        let from = self.at;
        self.at = from.saturating_add(len);
        let place = self.page.get_mut(from..self.at)?;
        (self.at <= self.got || read_own_memory(self.pid, start, place) == len).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    static HOST: [u8; 16] = *b"abcdefghijklmnop";

    #[test]
    fn each_range_is_told_whatever_lies_beside_it() {
        let host = HOST.as_ptr() as u64;
        // Ranges, and what they hold: the first page and the kernel's half can be read by nobody.
        let ranges: [(u64, usize, Option<&[u8]>); 6] = [
            (host, 3, Some(b"abc")),
            (host + 5, 1, Some(b"f")),
            (host + 2, 8, Some(b"cdefghij")),
            (0, 0, Some(b"")),
            (8, 4, None),
            (0xffff_8000_0000_0000, 2, None),
        ];
        let mut page = [0u8; BYTES];
        for length in 0..=5u32 {
            for number in 0..6usize.pow(length) {
                let chosen: std::vec::Vec<_> =
                    (0..length).map(|place| ranges[number / 6usize.pow(place) % ranges.len()]).collect();
                let mut parts = Parts::NONE;
                assert!(chosen.iter().all(|(start, len, _)| parts.add(*start, *len)));
                assert_eq!(parts.list().len(), chosen.len());
                page.fill(b'?');
                let mut read = parts.read(std::process::id(), &mut page);
                for (start, len, holds) in &chosen {
                    assert_eq!(read.next(*start, *len), *holds, "{chosen:?}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        for len in [1, 100, 128, 129, 1024, 4095, 4096, 4097] {
            let room = (BYTES / len).min(PARTS);
            let mut parts = Parts::NONE;
            let taken = (0..100).filter(|_| parts.add(0x1000, len)).count();
            assert_eq!(taken, room, "{len}");
            assert_eq!(parts.list(), std::vec![[0x1000, len as u64]; room]);
            let rest = BYTES - room * len;
            let fits = room < PARTS;
            assert!(!parts.add(1, rest + 1), "{len}");
            assert_eq!(parts.add(1, rest), fits, "{len}");
        }
    }
}
