//! Code that may jump into a function behind its first instruction: the compiler's `.cold` parts, and hand-written
//! neighbours that share a tail (glibc's `mempcpy` jumps to `memcpy + 3`).
//!
//! Relied on: nothing that a direct branch could use to enter is left out within [`REACH`]. Decoding 128 KiB costs a
//! millisecond, so the wide part is handed on only when its bytes hold a displacement that leads into the function's
//! first instructions; that scan takes some 0.1 ms. Absent: the decoding itself (`arenascope_code::detour`).

use arenascope_code::detour::Elsewhere;
use arenascope_symbols::Image;
use std::ops::Range;

/// Bytes looked through on either side.
const REACH: u64 = 64 << 10;
/// Bytes on either side that are always decoded: short jumps reach 127 bytes, and are too common to scan for.
const NEAR: u64 = 160;
/// Bytes from the function's start that a patch may take: `endbr64`, four bytes of a jump, and the rest of the longest
/// instruction.
const TAKEN: u64 = 4 + 4 + 15;

/// The code around the function at `start` (address in the file) of `size` bytes, to be asked for jumps into it.
/// `bias` is added to all addresses.
pub fn of(image: &Image, bias: u64, start: u64, size: u64) -> Vec<Elsewhere<'_>> {
    let Some((text_start, text)) = image.code_section(start) else { return Vec::new() };
    let symbols = image.symbols();
    // From a symbol on, so that decoding begins with an instruction.
    let part = |range: Range<u64>| {
        let first = symbols.partition_point(|symbol| symbol.address < range.start);
        let from = symbols.get(first).map_or(range.start, |symbol| symbol.address);
        let from = if from < start { from } else { range.start.min(start) }.max(text_start);
        let skip = usize::try_from(from.saturating_sub(text_start)).ok()?;
        let rest = text.get(skip..)?;
        let wanted = usize::try_from(range.end.saturating_sub(from)).ok()?;
        Some(Elsewhere { address: from.wrapping_add(bias), code: rest.get(..wanted.min(rest.len()))? })
    };
    let around = |reach: u64| start.saturating_sub(reach)..start.saturating_add(size).saturating_add(reach);
    let mut parts: Vec<Elsewhere<'_>> = part(around(NEAR)).into_iter().collect();
    let taken = start.wrapping_add(bias);
    let taken = taken.wrapping_add(1)..taken.wrapping_add(TAKEN);
    parts.extend(part(around(REACH)).filter(|wide| leads_into(wide, &taken)));
    parts.extend(cold_parts(image, start).filter_map(|(address, size)| {
        let code = image.code(address, usize::try_from(size).ok()?)?;
        Some(Elsewhere { address: address.wrapping_add(bias), code })
    }));
    parts
}

/// Start and size of the `.cold` parts of the function at `start`.
fn cold_parts(image: &Image, start: u64) -> impl Iterator<Item = (u64, u64)> {
    let symbols = image.symbols();
    let first = symbols.partition_point(|symbol| symbol.address < start);
    let here = symbols.get(first..).unwrap_or_default();
    let names: Vec<&str> =
        here.iter().take_while(|symbol| symbol.address == start).map(|symbol| &*symbol.name).collect();
    symbols.iter().filter_map(move |symbol| {
        let whole = symbol.name.find(".cold").and_then(|at| symbol.name.get(..at))?;
        names.contains(&whole).then_some((symbol.address, symbol.size))
    })
}

/// True when some four bytes, taken for the displacement that ends an instruction, lead into `taken`. Never false when
/// a direct near branch with a 32-bit displacement does.
fn leads_into(part: &Elsewhere<'_>, taken: &Range<u64>) -> bool {
    let width = taken.end.wrapping_sub(taken.start);
    (4u64..).zip(part.code.windows(4)).any(|(end, bytes)| {
        let displacement = bytes.first_chunk().map_or(0, |bytes| i64::from(i32::from_le_bytes(*bytes)));
        let target = part.address.wrapping_add(end).wrapping_add_signed(displacement);
        target.wrapping_sub(taken.start) < width
    })
}

/// True when direct branches or calls with a 32-bit displacement lead to `target` from code of its section outside
/// `own`. All are addresses in the file. O(bytes of the section).
pub fn called_from_outside(image: &Image, target: u64, own: &[Range<u64>]) -> bool {
    let Some((start, text)) = image.code_section(target) else { return false };
    let mut ends = (4u64..).zip(text.windows(4)).filter(|(end, bytes)| {
        let displacement = bytes.first_chunk().map_or(0, |bytes| i64::from(i32::from_le_bytes(*bytes)));
        start.wrapping_add(*end).wrapping_add_signed(displacement) == target
    });
    ends.any(|(end, _)| {
        let before = |back: u64| usize::try_from(end - 4 - back).ok().and_then(|at| text.get(at)).copied();
        let is_branch = match (end > 4).then(|| before(1)).flatten() {
            Some(0xe8 | 0xe9) => true,
            Some(0x80..=0x8f) => end > 5 && before(2) == Some(0x0f),
            _ => false,
        };
        let from = start.wrapping_add(end - 4);
        is_branch && !own.iter().any(|range| range.contains(&from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displacements_that_lead_into_the_first_instructions_are_seen() {
        for (code, expected) in [
            // jmp to 0x1003, from 0x2000 + 5
            (&[0xe9, 0xfe, 0xef, 0xff, 0xff][..], true),
            // je to 0x1003
            (&[0x0f, 0x84, 0xfd, 0xef, 0xff, 0xff], true),
            // jmp to 0x1000: the function's start, welcome
            (&[0xe9, 0xfb, 0xef, 0xff, 0xff], false),
            (&[0x90, 0x90, 0x90, 0x90, 0x90, 0x90], false),
            (&[0xe9, 0xfe], false),
        ] {
            let part = Elsewhere { address: 0x2000, code };
            assert_eq!(leads_into(&part, &(0x1001..0x1017)), expected, "{code:x?}");
        }
    }
}
