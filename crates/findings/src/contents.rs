//! What captured bytes say of a block: untouched, filled, or in use.
//!
//! May be relied on: pure, linear in the bytes looked at. Absent on purpose: what it means for a program; a rule
//! decides that.

use arenascope_event::Address;
use arenascope_replay::Block;

/// What lies in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contents {
    /// Every byte is 0.
    Zero,
    /// Every byte has the same other value: the pattern of an allocator that fills, or a use.
    Fill,
    /// One word at an end that points into the same captured memory, and zeros: the link of a free list.
    Link,
    /// Different bytes: somebody wrote here.
    Written,
    /// Not captured to its end, and what was captured tells nothing; or a block of no bytes.
    Unknown,
}

/// The contents of `block` in `captured`, which began at `base`.
pub(crate) fn contents(block: &Block, base: Address, captured: &[u8]) -> Contents {
    let whole = block.size > 0 && block.address >= base;
    let offset = usize::try_from(block.address.0.wrapping_sub(base.0)).unwrap_or(usize::MAX);
    let size = usize::try_from(block.size).unwrap_or(usize::MAX);
    let Some(rest) = captured.get(offset..).filter(|_| whole) else { return Contents::Unknown };
    let seen = rest.get(..size).unwrap_or(rest);
    let Some(&first) = seen.first() else { return Contents::Unknown };
    let uniform = seen.iter().all(|byte| *byte == first);
    match (uniform, first, seen.len() == size) {
        (false, ..) if seen.len() == size && is_link(seen, base, captured.len()) => Contents::Link,
        (false, ..) => Contents::Written,
        (true, _, false) => Contents::Unknown,
        (true, 0, true) => Contents::Zero,
        // One or two bytes that are alike are no pattern.
        (true, _, true) if size < 4 => Contents::Written,
        (true, _, true) => Contents::Fill,
    }
}

/// True for zeros but for one word at the start or the end, which is an address in the `len` bytes from `base`.
fn is_link(bytes: &[u8], base: Address, len: usize) -> bool {
    let points = |word: &[u8; 8]| {
        let within = u64::from_le_bytes(*word).checked_sub(base.0);
        within.is_some_and(|within| within < len as u64)
    };
    let zero = |rest: &[u8]| rest.iter().all(|byte| *byte == 0);
    bytes.split_first_chunk().is_some_and(|(word, rest)| points(word) && zero(rest))
        || bytes.split_last_chunk().is_some_and(|(rest, word)| points(word) && zero(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arenascope_event::{EventNumber, ThreadNumber};

    fn block(address: u64, size: u64) -> Block {
        // A block as replay makes it: through the public way, one alloc event.
        let mut replay = arenascope_replay::Replay::new(&arenascope_event::ProcessFacts::default());
        let kind = arenascope_event::EventKind::Alloc {
            arena: arenascope_event::ArenaKey(0),
            order: 0,
            block: Address(address),
            size,
            align: None,
        };
        let event =
            arenascope_event::Event { number: EventNumber(1), time_ns: 0, thread: ThreadNumber(1), site: None, kind };
        replay.apply(&event).block.expect("an alloc hands out a block")
    }

    #[test]
    fn bytes_tell_untouched_filled_and_used_apart() {
        let table: [(u64, u64, &[u8], Contents); 12] = [
            (0x1000, 4, &[0, 0, 0, 0], Contents::Zero),
            (0x1000, 4, &[0xcd, 0xcd, 0xcd, 0xcd], Contents::Fill),
            (0x1000, 4, &[0, 0, 0, 1], Contents::Written),
            (0x1000, 1, &[7], Contents::Written),
            (0x1002, 2, &[1, 2, 0, 0], Contents::Zero),
            (0x1002, 4, &[1, 2, 0, 0], Contents::Unknown),
            (0x1002, 4, &[1, 2, 0, 9], Contents::Written),
            (0x1004, 4, &[1, 2, 0, 0], Contents::Unknown),
            (0x0fff, 4, &[1, 2, 0, 0, 0], Contents::Unknown),
            (0x1000, 0, &[0, 0], Contents::Unknown),
            (0x1000, u64::MAX, &[0, 0], Contents::Unknown),
            (0x1000, 4, &[], Contents::Unknown),
        ];
        let link = |word: u64| [&word.to_le_bytes()[..], &[0; 8]].concat();
        let (inside, outside, last) = (link(0x1008), link(0x1010), [&[0; 8][..], &0x1000_u64.to_le_bytes()].concat());
        let links: [(u64, u64, &[u8], Contents); 3] = [
            (0x1000, 16, &inside, Contents::Link),
            (0x1000, 16, &outside, Contents::Written),
            (0x1000, 16, &last, Contents::Link),
        ];
        for (address, size, captured, expected) in table.into_iter().chain(links) {
            assert_eq!(contents(&block(address, size), Address(0x1000), captured), expected, "{address:#x} {size}");
        }
    }
}
